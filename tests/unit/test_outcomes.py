"""Joining labels with captures: each label once, the last one of an id counts, production and shadow side by side."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.catalog import DailySums
from evergreen.formats import outcomes
from evergreen.formats.captures import Capture, GroundTruth, LiveAnswer
from evergreen.formats.outcome_lines import from_json_lines, to_json_lines
from evergreen.model.schema import FeatureSchema
from evergreen.spec import ModelSpec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BINARY = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
REGRESSION = FeatureSchema.of("regression", {"age": "number"})


def answered(event_id, version=1, prediction="1", chance=0.75, group=None, **features):
    chances = None if chance is None else {"0": 1 - chance, "1": chance}
    return Capture(event_id, NOON, version, {"age": 41.0, "plan": "a"} | features, prediction, chances, group)


def table(*captures, schema=BINARY):
    return outcomes.captures_to_table(captures, schema)


def joined(labels, production, shadow=None, schema=BINARY):
    return outcomes.join(labels, NOON + timedelta(days=1), production, shadow, schema)


IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
LABELS = st.lists(st.builds(GroundTruth, event_id=IDS, label=st.sampled_from(["0", "1"])), max_size=15)


@given(LABELS, st.lists(IDS, unique=True), st.lists(IDS, unique=True))
def test_every_label_is_joined_or_missing_exactly_once_and_the_last_of_an_id_counts(labels, captured, shadowed):
    production = table(*(answered(event_id) for event_id in captured))
    shadow = table(*(answered(event_id, version=2) for event_id in shadowed))
    found, missing = joined(labels, production, shadow)
    last = {label.event_id: label.label for label in labels}
    assert dict(zip(found["event_id"].to_pylist(), found["actual"].to_pylist(), strict=True)) == {
        event_id: label for event_id, label in last.items() if event_id in captured
    }
    assert missing == [GroundTruth(event_id, label) for event_id, label in last.items() if event_id not in captured]
    assert found.num_rows + len(missing) == len(last)
    seen = found["shadow_version"].to_pylist()
    assert seen == [2 if event_id in shadowed else None for event_id in found["event_id"].to_pylist()]


@given(LABELS)
def test_joining_the_same_file_again_writes_the_same_bytes(labels):
    production = table(answered("a"), answered("b"))
    once, again = (outcomes.to_parquet(joined(labels, production)[0]) for _ in range(2))
    assert once == again


def test_an_outcome_holds_what_both_versions_answered_and_what_was_true():
    production = table(answered("a", group="shop-7", age=30.0))
    shadow = table(answered("a", version=2, prediction="0", chance=0.25))
    found, missing = joined([GroundTruth("a", "0")], production, shadow)
    assert missing == []
    assert found.schema == outcomes.outcome_schema(BINARY)
    assert found.to_pylist() == [
        {
            "event_id": "a",
            "inference_time": NOON,
            "label_time": NOON + timedelta(days=1),
            "group": "shop-7",
            "production_version": 1,
            "prediction": "1",
            "probabilities": [0.25, 0.75],
            "plain_prediction": None,
            "shadow_version": 2,
            "shadow_prediction": "0",
            "shadow_probabilities": [0.75, 0.25],
            "actual": "0",
            "feature.age": 30.0,
            "feature.plan": "a",
        }
    ]


def test_without_a_shadow_its_columns_are_null():
    for shadow in (None, table()):
        found, _ = joined([GroundTruth("a", "1")], table(answered("a")), shadow)
        assert found["shadow_version"].to_pylist() == [None]
        assert found["shadow_probabilities"].to_pylist() == [None]


def test_a_regressions_labels_are_numbers():
    capture = Capture("a", NOON, 1, {"age": None}, 2.5, None)
    found, _ = joined([GroundTruth("a", "3.5")], table(capture, schema=REGRESSION), schema=REGRESSION)
    assert (found["prediction"].to_pylist(), found["actual"].to_pylist()) == ([2.5], [3.5])
    assert found["feature.age"].to_pylist() == [None]


def test_a_feature_that_was_not_sent_is_null_and_a_class_never_seen_has_no_probability():
    capture = Capture("a", NOON, 1, {}, "1", {"1": 1.0})
    row = table(capture).to_pylist()[0]
    assert (row["feature.age"], row["feature.plan"], row["probabilities"]) == (None, None, [0.0, 1.0])


def test_parquet_comes_back_as_it_was_written_also_by_column():
    captures = table(answered("a"), answered("b", chance=None))
    assert outcomes.from_parquet(outcomes.to_parquet(captures)) == captures
    assert outcomes.from_parquet(outcomes.to_parquet(captures), ["event_id"]).column_names == ["event_id"]


def test_tables_add_up_and_no_tables_are_an_empty_one():
    one, other = table(answered("a")), table(answered("b"))
    empty = outcomes.capture_schema(BINARY)
    assert outcomes.concat([one, table(), other], empty)["event_id"].to_pylist() == ["a", "b"]
    assert outcomes.concat([], empty).num_rows == 0


def test_a_file_of_an_earlier_release_knows_no_states_and_is_read_with_the_others():
    live = replace(answered("a"), live=LiveAnswer(7, "0", {"0": 0.9, "1": 0.1}))
    new, old = table(live, answered("b")), table(answered("c")).drop_columns(["state"])
    both = outcomes.concat([old, new], outcomes.capture_schema(BINARY))
    assert dict(zip(both["event_id"].to_pylist(), both["state"].to_pylist(), strict=True)) == {
        "a": 7,
        "b": None,
        "c": None,
    }
    assert outcomes.states_said(old, None) == {}


def test_which_states_answered_is_kept_beside_the_row_that_is_learned():
    production = table(replace(answered("a"), live=LiveAnswer(7, "0", None)), answered("b"))
    shadow = table(replace(answered("a", version=2), live=LiveAnswer(3, "0", None)))
    found, _ = joined([GroundTruth("a", "1"), GroundTruth("b", "0")], production, shadow)
    states = outcomes.states_said(production, shadow)
    assert [row.states for row in from_json_lines(to_json_lines(found, states))] == [{1: 7, 2: 3}, {}]
    assert [row.states for row in from_json_lines(to_json_lines(found))] == [{}, {}], "as earlier releases wrote it"


def both_answered(*rows):
    """Outcomes of production 1 and shadow 2: (id, answer, shadow's answer, truth)."""
    labels = [GroundTruth(event_id, truth) for event_id, _, _, truth in rows]
    production = table(*(answered(event_id, prediction=answer) for event_id, answer, _, _ in rows))
    shadow = table(*(answered(event_id, version=2, prediction=answer) for event_id, _, answer, _ in rows))
    return joined(labels, production, shadow)[0]


def a_spec(schema=BINARY, **shadow):
    features = {feature.name: {"type": feature.kind.value} for feature in schema.features}
    labels = {} if schema.classes is None else {"classes": schema.classes}
    return ModelSpec.parse(
        {"model": "churn", "task": schema.task.value, "features": features, "labels": labels, "shadow": shadow}
    )


def paired(found, production=1, shadow=2, spec=None):
    return outcomes.paired(found, spec or a_spec(), production=production, shadow=shadow)


def test_a_pair_has_the_loss_of_both_on_the_same_request():
    pairs = paired(both_answered(("a", "1", "0", "0"), ("b", "1", "1", "1"), ("c", "0", "1", "0")))
    assert pairs.production_loss.tolist() == [1.0, 0.0, 0.0]
    assert pairs.shadow_loss.tolist() == [0.0, 0.0, 1.0]
    assert pairs.inference_time.tolist() == [int(NOON.timestamp()) * 1_000_000] * 3


def test_rows_of_other_versions_or_without_a_shadow_make_no_pair():
    alone, _ = joined([GroundTruth("a", "1")], table(answered("a")))
    assert len(paired(alone).group) == 0
    assert len(paired(both_answered(("a", "1", "0", "0")), production=7).group) == 0


def test_a_label_that_was_corrected_in_a_later_file_counts_once_with_its_last_value():
    first, corrected = both_answered(("a", "1", "0", "1")), both_answered(("a", "1", "0", "0"))
    pairs = paired(pa.concat_tables([first, corrected]))
    assert (pairs.production_loss.tolist(), pairs.shadow_loss.tolist()) == ([1.0], [0.0])


def test_brier_is_the_squared_distance_from_the_truth():
    production, shadow = table(answered("a", chance=0.75)), table(answered("a", version=2, chance=0.5))
    pairs = paired(joined([GroundTruth("a", "1")], production, shadow)[0], spec=a_spec(metric="brier"))
    assert (pairs.production_loss, pairs.shadow_loss) == (pytest.approx([0.0625]), pytest.approx([0.25]))


def test_absolute_error_is_in_the_labels_unit():
    production, shadow = (
        table(Capture("a", NOON, version, {}, said, None), schema=REGRESSION) for version, said in ((1, 2.5), (2, -2.0))
    )
    found, _ = joined([GroundTruth("a", "-1")], production, shadow, schema=REGRESSION)
    pairs = paired(found, spec=a_spec(REGRESSION))
    assert (pairs.production_loss.tolist(), pairs.shadow_loss.tolist()) == ([3.5], [1.0])


def test_a_cost_matrix_weighs_each_mistake():
    spec = a_spec(metric="cost", cost={"1": {"0": 20}})
    pairs = paired(both_answered(("a", "0", "1", "1"), ("b", "1", "0", "0")), spec=spec)
    assert (pairs.production_loss.tolist(), pairs.shadow_loss.tolist()) == ([20.0, 1.0], [0.0, 0.0])


def test_a_pair_remembers_what_both_said_and_what_was_true():
    answers = paired(both_answered(("a", "1", "0", "0"), ("b", "1", "1", "stranger"))).answers
    assert (answers.production.tolist(), answers.shadow.tolist()) == ([1, 1], [0, 1])
    assert answers.actual.tolist() == [0, 2]  # a label that is none of the classes is nobody's answer


def test_days_are_counted_by_the_version_that_answered():
    found = both_answered(("a", "1", "0", "0"), ("b", "1", "1", "1"))
    assert outcomes.daily_sums(found, error_tolerance=None) == DailySums({1: {"2026-01-01": (2, 1)}})
    assert outcomes.daily_sums(found.slice(0, 0), error_tolerance=None) == DailySums()


def test_what_a_version_would_have_answered_as_it_was_trained_is_counted_apart():
    fresh = [replace(answered(name), live=LiveAnswer(7, plain, None)) for name, plain in (("a", "0"), ("b", "1"))]
    found, _ = joined([GroundTruth(name, "1") for name in "abc"], table(*fresh, answered("c", prediction="0")))
    assert found[outcomes.PLAIN].to_pylist() == ["0", "1", None]
    plain = outcomes.daily_sums(found, error_tolerance=None, answers=outcomes.PLAIN)
    assert plain == DailySums({1: {"2026-01-01": (2, 1)}})
    assert outcomes.daily_sums(found, error_tolerance=None) == DailySums({1: {"2026-01-01": (3, 2)}})


def test_captures_of_an_earlier_release_say_nothing_of_the_version_as_it_was_trained():
    old = table(answered("a")).drop_columns([outcomes.PLAIN])
    found, _ = joined([GroundTruth("a", "1")], old)
    assert found[outcomes.PLAIN].to_pylist() == [None]
    assert outcomes.daily_sums(found, error_tolerance=None, answers=outcomes.PLAIN) == DailySums()


def test_a_regressions_answer_is_right_within_its_tolerance():
    captures = [Capture(event_id, NOON, 1, {}, 2.0, None) for event_id in ("a", "b")]
    labels = [GroundTruth("a", "2.5"), GroundTruth("b", "2.6")]
    found, _ = joined(labels, table(*captures, schema=REGRESSION), schema=REGRESSION)
    assert outcomes.daily_sums(found, error_tolerance=0.5) == DailySums({1: {"2026-01-01": (2, 1)}})


def test_features_are_given_as_profiles_take_them():
    columns = outcomes.feature_columns(table(answered("a"), answered("b", age=None, plan=None)), BINARY)
    np.testing.assert_array_equal(columns["age"], [41.0, np.nan])
    assert (columns["age"].dtype, columns["plan"].tolist()) == (np.float64, ["a", None])


def test_what_is_profiled_of_a_binary_answer_is_the_positive_probability():
    assert outcomes.prediction_column(table(answered("a", chance=0.75)), BINARY)["prediction"].tolist() == [0.75]
    regression = table(Capture("a", NOON, 1, {}, 2.5, None), schema=REGRESSION)
    assert outcomes.prediction_column(regression, REGRESSION)["prediction"].tolist() == [2.5]
