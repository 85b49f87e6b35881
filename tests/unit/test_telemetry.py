"""What a metric is called is said once, and each is one that CloudWatch takes and a function writes."""

import ast
from pathlib import Path

import pytest
from aws_lambda_powertools.metrics import MetricUnit

from evergreen import telemetry

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("functions", "layers", "infra/evergreen_ops")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name != "telemetry.py"
]
CONSTANTS = {name for name, value in vars(telemetry).items() if isinstance(value, telemetry.Metric)}


def test_each_is_a_metric_that_cloudwatch_takes():
    assert len(set(telemetry.METRICS)) == len(telemetry.METRICS) == len(CONSTANTS)
    assert {metric.unit for metric in telemetry.METRICS} <= {unit.value for unit in MetricUnit}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_else_names_a_metric(path):
    """Handlers add constants of telemetry; no code spells a metric's name, its namespace or a call of Powertools'."""
    tree = ast.parse(path.read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    # CloudWatch's own metrics of Lambda share a name with one of ours.
    assert not texts & ({metric.name for metric in telemetry.METRICS} - {"Errors"})
    calls = {node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")}
    assert not calls & {"add_metric", "single_metric"}
    keywords = {k.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords}
    assert "namespace" not in keywords, "the stack's own: Powertools reads it from the environment"


def test_each_is_written_by_a_function():
    used = {
        node.attr
        for path in (ROOT / "functions").glob("*/app.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "telemetry"
    }
    assert used >= CONSTANTS
