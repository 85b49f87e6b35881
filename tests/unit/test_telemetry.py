"""What a metric is called is said once, and each is one that CloudWatch takes and a function writes."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from aws_lambda_powertools.metrics import MetricUnit
from hypothesis import given
from hypothesis import strategies as st
from samtranslator.yaml_helper import yaml_parse

from evergreen import telemetry

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("functions", "layers", "infra/evergreen_ops")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name != "telemetry.py"
]
RESOURCES = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
ALARMS = {name: found["Properties"] for name, found in RESOURCES.items() if found["Type"] == "AWS::CloudWatch::Alarm"}
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


TABLE = re.findall(r"^\| `(\w+)` \| (.+?) \| (\w+) \| (.*?) ?\| .+ \|$", (ROOT / "docs/metrics.md").read_text(), re.M)


def test_the_page_of_metrics_names_each_as_it_is_written():
    told = [(name, unit, tuple(re.findall(r"`(\w+)`", dimensions))) for name, dimensions, unit, _ in TABLE]
    assert sorted(told) == sorted((metric.name, metric.unit, metric.dimensions) for metric in telemetry.METRICS)
    of_the_stack = sum(telemetry.MODEL not in metric.dimensions for metric in telemetry.METRICS)
    assert f"Metrics without `Model` are {of_the_stack} for the whole stack" in (ROOT / "docs/metrics.md").read_text()


def test_what_a_busy_model_costs_is_what_its_hourly_metrics_cost():
    written = Counter(when for *_, when in TABLE)
    rows = re.findall(r"^\| .+ \| (\d+) \| (\d+\.\d\d) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    assert [(int(count), float(dollars)) for count, dollars in rows] == [
        (count, round(0.3 * count, 2)) for count in (written["each hour"], written["while a shadow is there"])
    ]


class Written(dict):
    def add_metric(self, name, unit, value):
        self[name] = value


@given(st.sampled_from(telemetry.METRICS), st.one_of(st.integers(0, 5), st.booleans(), st.floats(-5, 5)))
def test_only_a_count_of_nothing_is_left_out(metric, value):
    written = Written()
    telemetry.add(written, metric, value)
    assert written == ({} if metric.unit == "Count" and value == 0 else {metric.name: value})


@pytest.mark.parametrize("name", [name for name, found in ALARMS.items() if found.get("Namespace") == "Evergreen"])
def test_an_alarm_on_what_is_not_written_rests(name):
    """What is counted is written only when there is something to count."""
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"
