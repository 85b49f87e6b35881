"""Each function in a process of its own: it starts with what its own folder and layers provide, and with no more."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
FUNCTIONS = {
    Path(resource["Properties"]["CodeUri"]).name: resource["Properties"]
    for resource in TEMPLATE["Resources"].values()
    if resource["Type"] == "AWS::Serverless::Function"
}
# What Lambda's Python runtime brings along.
RUNTIME = {"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "urllib3", "six"}
HEAVY = {"scipy.stats", "sklearn", "pandas", "mlflow"}
# Adapters whose own imports only some functions provide; every other adapter starts everywhere.
ONLY_IN = {"traffic": "watch_deployment", "registry": "update_registry"}
MAY_LOAD = {"update_registry": {"mlflow"}}

PROBE = """
import importlib.util, json, sys
from importlib.machinery import PathFinder

given = json.load(sys.stdin)
before, find = set(sys.modules), PathFinder.find_spec

def find_what_is_provided(name, path=None, target=None):
    return None if path is None and name in given["absent"] else find(name, path, target)

PathFinder.find_spec = find_what_is_provided
spec = importlib.util.spec_from_file_location("app", given["app"])
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)
assert callable(app.handler)
loaded = sorted(set(sys.modules) - before)
for adapter in given["adapters"]:
    importlib.import_module(f"evergreen.aws.{adapter}")
print(json.dumps(loaded))
"""


def normal(name):
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(path):
    """The distributions that a requirements file names."""
    if not path.exists():
        return set()
    return {normal(found[1]) for found in re.finditer(r"^([A-Za-z0-9._-]+)==", path.read_text(), re.MULTILINE)}


def provided(name):
    files = [ROOT / "functions" / name / "requirements.txt", ROOT / "layers/core/requirements.txt"]
    return RUNTIME | {"evergreen"}.union(*map(required, files))


def adapters_of(name):
    adapters = [path.stem for path in sorted((ROOT / "layers/core/evergreen/aws").glob("[a-z]*.py"))]
    return [adapter for adapter in adapters if ONLY_IN.get(adapter, name) == name]


def environment():
    """The variables that the template sets, and the ones that Lambda does."""
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    aws = {"AWS_REGION": "us-east-1", "AWS_LAMBDA_FUNCTION_NAME": "function"}
    return {"PATH": os.environ["PATH"], **aws, **dict.fromkeys(variables, "INFO")}


@pytest.fixture(scope="module")
def started():
    """What each function loaded when it started, or how that failed; two are started at a time."""
    owners = {module: {normal(d) for d in found} for module, found in packages_distributions().items()}

    def start(name):
        absent = [module for module, distributions in owners.items() if not distributions & provided(name)]
        return subprocess.run(
            [sys.executable, "-c", PROBE],
            input=json.dumps(
                {"app": str(ROOT / "functions" / name / "app.py"), "absent": absent, "adapters": adapters_of(name)}
            ),
            env=environment(),
            cwd=ROOT / "functions" / name,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(FUNCTIONS, pool.map(start, FUNCTIONS), strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_starts_with_what_its_requirements_provide_and_loads_nothing_heavy(name, started):
    assert started[name].returncode == 0, started[name].stderr
    loaded = set(json.loads(started[name].stdout.splitlines()[-1]))
    assert loaded & (HEAVY - MAY_LOAD.get(name, set())) == set()
    assert "evergreen.bootstrap" in loaded
    assert any(module.startswith("evergreen.usecases.") for module in loaded)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_builds_no_client_when_it_is_imported(name, started):
    loaded = set(json.loads(started[name].stdout.splitlines()[-1]))
    assert not any(module.startswith("evergreen.aws.") for module in loaded)
