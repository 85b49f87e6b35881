"""docs/security.md: what it says is held by tests that exist, and nothing that runs loads a pickle."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TESTS = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
RUNS = [*(ROOT / "layers/core/evergreen").rglob("*.py"), *(ROOT / "functions").glob("*/app.py")]
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize(("file", "test"), TESTS, ids=lambda part: part)
def test_a_test_that_the_page_names_exists(file, test):
    source = (ROOT / file).read_text(encoding="utf-8")
    assert not test or f"def {test}(" in source


def test_the_page_names_tests_at_all():
    assert len(TESTS) > 10


@pytest.mark.parametrize("path", RUNS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_runs_loads_a_pickle(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not UNSAFE & {name.partition(".")[0] for name in imported}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.literal_eval(node.value) is False
