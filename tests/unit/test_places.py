"""No code names a region or a partition: it is told by the template, by a client, or by the local cloud's place."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("functions", "layers/core", "infra") for path in sorted((ROOT / folder).rglob("*.py"))]
ITS_PLACE = ROOT / "infra" / "local_cloud" / "kernel" / "place.py"
PRINCIPAL = re.compile(r"([a-z0-9-]+\.)+amazonaws\.com")  # services sign so in every partition
FIXED = re.compile(r"arn:aws:|\b[a-z]{2}(-gov)?-(north|south|east|west|central)[a-z]*-\d\b|amazonaws\.com")


def texts(path):
    """The texts of a module that are no documentation."""
    tree = ast.parse(path.read_text())
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told)
    return [constant.value for constant in constants if isinstance(constant.value, str)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_names_one(path):
    found = [text for text in texts(path) if FIXED.search(text) and not PRINCIPAL.fullmatch(text)]
    assert found == [] or path == ITS_PLACE


def test_the_template_names_them_in_its_mapping_and_its_rule_alone():
    text = (ROOT / "template.yaml").read_text()
    first, last = text.index("  ImagesNeedAKnownRegion:"), text.index("Conditions:\n")
    rest = re.sub(PRINCIPAL, "", text[:first] + text[last:])
    assert FIXED.findall(re.sub(r"https://\S+", "", rest)) == []
