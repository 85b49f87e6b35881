"""What an answer costs is said once: Arrow tables and files bring columns, and all losses are the same."""

import ast
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.domain import pairs
from evergreen.formats import outcomes
from evergreen.formats.captures import Capture, GroundTruth
from evergreen.spec import Metric, ModelSpec
from evergreen_ops.questions import verdict

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = ("a", "b", "c")
COSTS = {"a": {"b": 20.0, "c": 0.5}, "c": {"a": 3.25}}


@dataclass(frozen=True)
class Row:
    """What was true, and what two versions said: labels and the chance of the second class, or values."""

    actual: str | float
    said: tuple[str | float, str | float]
    chance: tuple[float, float]


CHANCES = st.floats(0, 1)
VALUES = st.floats(-1e6, 1e6)


def rows_of(metric):
    """Rows that fit the metric, some with labels that are none of the classes: a file of costs has no such labels."""
    match metric:
        case Metric.ABSOLUTE_ERROR:
            actual = said = VALUES
        case Metric.ACCURACY | Metric.MACRO_F1:
            actual = said = st.sampled_from([*NAMES, "stranger", "other"])
        case Metric.COST:
            actual = said = st.sampled_from(NAMES)
        case Metric.BRIER:
            actual = said = st.sampled_from(NAMES[:2])
    row = st.builds(Row, actual, st.tuples(said, said), st.tuples(CHANCES, CHANCES))
    return st.lists(row, min_size=1, max_size=12)


def spec_of(metric):
    task = {Metric.ABSOLUTE_ERROR: "regression", Metric.BRIER: "binary"}.get(metric, "multiclass")
    classes = {"regression": None, "binary": NAMES[:2], "multiclass": NAMES}[task]
    return ModelSpec.parse(
        {
            "model": "churn",
            "task": task,
            "features": {"age": {"type": "number"}},
            "labels": {} if classes is None else {"classes": classes},
            "shadow": {"metric": metric.value} | ({"cost": COSTS} if metric is Metric.COST else {}),
        }
    )


def from_arrow(rows, spec):
    schema = spec.feature_schema()

    def chances(second):
        return {NAMES[0]: 1.0 - second, NAMES[1]: second} if spec.shadow_metric is Metric.BRIER else None

    both = [
        outcomes.captures_to_table(
            [
                Capture(f"r{i}", NOON, version + 1, {}, row.said[version], chances(row.chance[version]))
                for i, row in enumerate(rows)
            ],
            schema,
        )
        for version in (0, 1)
    ]
    labels = [GroundTruth(f"r{i}", str(row.actual)) for i, row in enumerate(rows)]
    table, missing = outcomes.join(labels, NOON + timedelta(days=1), *both, schema)
    assert not missing
    return table


def from_file(rows, metric, folder):
    of_classes = metric is not Metric.BRIER
    columns = {
        name: [row.said[side] if of_classes else row.chance[side] for row in rows]
        for side, name in enumerate(("production", "shadow"))
    }
    path = folder / "log.parquet"
    actual = [row.actual for row in rows]
    named = set(actual).union(columns["production"], columns["shadow"])
    cost = {(true, said): c for true, of in COSTS.items() for said, c in of.items() if {true, said} <= named}
    pq.write_table(pa.table(columns | {"actual": actual}), path)
    log = verdict.load(path, verdict.Columns(), metric=metric, positive=NAMES[1], cost=cost)
    return log.outcomes


@pytest.mark.parametrize("metric", list(Metric), ids=str)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_losses_are_the_same_to_the_last_bit_wherever_the_answers_are_read_from(metric, data, tmp_path):
    rows, spec = data.draw(rows_of(metric)), spec_of(metric)
    if metric is Metric.BRIER:  # a file has two labels, or it is not told whose the probabilities are
        rows += [Row("a", ("a", "b"), (0.25, 0.5)), Row("b", ("b", "b"), (0.75, 1.0))]
    if metric in (Metric.ACCURACY, Metric.MACRO_F1, Metric.COST):  # columns with no class in common are refused
        rows += [Row("a", ("a", "a"), (0.0, 0.0))]
    table = from_arrow(rows, spec)
    arrow = outcomes.paired(table, spec, production=1, shadow=2)
    other = from_file(rows, metric, tmp_path)
    assert other.production_loss.tobytes() == arrow.production_loss.tobytes()
    assert other.shadow_loss.tobytes() == arrow.shadow_loss.tobytes()


@pytest.mark.parametrize("metric", list(Metric), ids=str)
def test_whoever_needs_losses_asks_the_one_function(metric, monkeypatch, tmp_path):
    """Computed a second time anywhere, they would not be what this one answers."""
    monkeypatch.setattr(pairs, "losses", lambda actual, said, **more: np.full(len(actual), 7.25))
    spec = spec_of(metric)
    values = metric is Metric.ABSOLUTE_ERROR
    rows = [Row(1.5, (1.0, 2.0), (0, 0))] * 2 if values else [Row(n, (n, n), (0.5, 0.5)) for n in NAMES[:2]]
    table = from_arrow(rows, spec)
    for found in (
        outcomes.paired(table, spec, production=1, shadow=2),
        from_file(rows, metric, tmp_path),
    ):
        assert (found.production_loss.tolist(), found.shadow_loss.tolist()) == ([7.25] * 2, [7.25] * 2)


def test_two_labels_that_are_no_classes_are_right_only_where_they_are_the_same():
    rows = [Row("x", ("x", "y"), (0, 0)), Row("a", ("x", "a"), (0, 0))]
    spec = spec_of(Metric.ACCURACY)
    found = outcomes.paired(from_arrow(rows, spec), spec, production=1, shadow=2)
    assert (found.production_loss.tolist(), found.shadow_loss.tolist()) == ([0.0, 1.0], [1.0, 0.0])
    assert (found.answers.actual.tolist(), found.answers.shadow.tolist()) == ([3, 0], [3, 0])


def test_a_label_that_is_no_class_costs_the_same_whatever_was_said():
    rows = [Row("x", ("a", "b"), (0, 0)), Row("a", ("b", "x"), (0, 0))]
    spec = spec_of(Metric.COST)
    found = outcomes.paired(from_arrow(rows, spec), spec, production=1, shadow=2)
    assert (found.production_loss.tolist(), found.shadow_loss.tolist()) == ([0.0, 20.0], [0.0, 0.0])


# --- an id counts once ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3)), max_size=12))
def test_an_id_counts_once_with_the_last_of_its_rows_and_rows_without_one_stand_alone(entries):
    ids, order = [name for name, _ in entries], [time for _, time in entries]
    kept = pairs.last_of_each(ids, order).tolist()
    assert sorted(ids[row] for row in kept if ids[row]) == sorted({name for name in ids if name})
    assert sum(ids[row] is None for row in kept) == ids.count(None)
    for row in kept:
        rivals = [other for other, name in enumerate(ids) if name == ids[row] and name is not None]
        assert all((order[other], other) <= (order[row], row) for other in rivals)


@pytest.mark.parametrize("counts", ["last", "first"])
def test_whoever_counts_an_id_once_asks_the_one_function(counts, monkeypatch, tmp_path):
    """Where the one function is told that the first label counts, the first label counts everywhere."""
    if counts == "first":
        for place in (outcomes, verdict.pairs):
            monkeypatch.setattr(place, "last_of_each", lambda ids, order=None: [ids.index(name) for name in set(ids)])
    spec = spec_of(Metric.ACCURACY)
    first, last = ([Row(label, ("a", "b"), (0, 0))] for label in ("a", "b"))
    found = {"first": ([0.0], [1.0]), "last": ([1.0], [0.0])}[counts]
    table = pa.concat_tables([from_arrow(first, spec), from_arrow(last, spec)])
    arrow = outcomes.paired(table, spec, production=1, shadow=2)
    assert (arrow.production_loss.tolist(), arrow.shadow_loss.tolist()) == found
    pq.write_table(
        pa.table({"id": [1, 1], "production": ["a"] * 2, "shadow": ["b"] * 2, "actual": ["a", "b"]}), tmp_path / "l"
    )
    log = verdict.load(tmp_path / "l", verdict.Columns(id="id"), metric=Metric.ACCURACY).outcomes
    assert (log.production_loss.tolist(), log.shadow_loss.tolist()) == found
    labels = [GroundTruth("r0", "a"), GroundTruth("r0", "b")]
    captured = outcomes.captures_to_table([Capture("r0", NOON, 1, {}, "a", None)], spec.feature_schema())
    joined, _ = outcomes.join(labels, NOON, captured, None, spec.feature_schema())
    assert joined["actual"].to_pylist() == [{"first": "a", "last": "b"}[counts]]


# --- the fact stands once -------------------------------------------------------------------------------------------

CORE = ROOT / "layers/core/evergreen"
ROOMS = [path for room in ("domain", "formats", "usecases", "training") for path in (CORE / room).rglob("*.py")]
JUDGES = [path for path in [*ROOMS, Path(verdict.__file__)] if path.name not in ("export.py", "scores.py", "leaks.py")]
"""export compares two runtimes, scores and leaks give one figure for many rows."""


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_neither_is_written_a_second_time(path):
    for found, instead in second_definitions(ast.parse(path.read_text(encoding="utf-8"))):
        assert path.name == "pairs.py", f"line {found.lineno}: {ast.unparse(found)}; use {instead}"


def second_definitions(tree):
    """``np.abs(a - b)``, ``(a - b) ** 2``, ``spec.shadow.cost``, and ``{row.event_id: row for row in rows}``."""
    index = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign) and _is_index(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="abs" | "absolute"), args=[ast.BinOp(op=ast.Sub())]):
                yield node, "evergreen.statistics.losses"
            case ast.BinOp(left=ast.BinOp(op=ast.Sub()), op=ast.Pow()):
                yield node, "evergreen.statistics.losses"
            case ast.Attribute(attr="cost", value=ast.Attribute(attr="shadow")):
                yield node, "evergreen.domain.pairs.cost_matrix"
            case ast.DictComp(key=key) if ast.unparse(key).endswith("event_id") and id(node) not in index:
                yield node, "evergreen.domain.pairs.last_of_each"


def _is_index(assigned):
    """Where a capture is found by its id: nothing is counted."""
    return ast.unparse(assigned.targets[0]) == "row_of"


def test_the_search_finds_a_second_definition():
    again = ["np.abs(said - actual)", "(p - y) ** 2", "spec.shadow.cost", "{r.event_id: r for r in rows}"]
    others = ["np.abs(x)", "y ** 2", "row_of = {event_id: row for row, event_id in enumerate(ids)}"]
    found = second_definitions(ast.parse("\n".join(again + others)))
    assert sorted(ast.unparse(node) for node, _ in found) == sorted(again)
