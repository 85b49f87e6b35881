"""Which checkpoints are on trial, what they are judged on, and what it takes to be handed on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from evergreen.domain.checkpoint_trial import (
    is_due,
    is_over,
    judge_checkpoint,
    judged_until,
    newest_labels,
    on_trial,
    paired,
    row_name,
    trial_rules,
    unseen_since,
)
from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer
from evergreen.domain.pairs import OutcomeRow
from evergreen.formats import outcomes
from evergreen.formats.captures import Capture, GroundTruth
from evergreen.formats.outcome_lines import from_json_lines, to_json_lines
from evergreen.model.scorer import Predictions
from evergreen.spec import ModelSpec

NOW, DAY, HOUR = datetime(2026, 3, 10, 2, tzinfo=UTC), timedelta(days=1), timedelta(hours=1)
CHURN = {
    "model": "churn",
    "task": "binary",
    "features": {"age": {"type": "number"}, "plan": {"type": "categorical"}},
    "labels": {"classes": ["0", "1"], "maturity": "1d"},
    "training": {"min_rows": 100},
    "online": {"enabled": True},
}


def a_spec(**online):
    return ModelSpec.parse(CHURN | {"online": CHURN["online"] | online})


def checkpoint(number, *, days_ago=0.0, status="kept", fingerprint="f", **changes):
    frozen = NOW - days_ago * DAY
    made = OnlineCheckpoint("churn", number, fingerprint, number, f"k{number}", f"s{number}", frozen, frozen, 5, 500)
    return replace(made, status=CheckpointStatus(status), **changes)


def pointer(*, version=9, rows=500):
    return OnlinePointer("churn", "f", version, "k", "s", 5, rows, NOW)


# --- when -----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_kept_on_its_cadence_and_only_of_what_is_new():
    spec = a_spec(checkpoint="1d")
    assert is_due([], pointer(), spec, NOW)
    assert not is_due([], pointer(rows=99), spec, NOW)
    assert is_due([checkpoint(1, days_ago=1)], pointer(), spec, NOW)
    assert not is_due([checkpoint(1, days_ago=0.9)], pointer(), spec, NOW)
    assert not is_due([checkpoint(9, days_ago=5)], pointer(version=9), spec, NOW)
    assert is_due([checkpoint(1, days_ago=0.1, fingerprint="of other features")], pointer(), spec, NOW)


def test_a_checkpoint_that_is_no_better_does_not_keep_a_newer_one_waiting():
    spec = a_spec()
    running = [checkpoint(1, days_ago=3, status="on_trial"), checkpoint(2, days_ago=2, status="on_trial")]
    found = on_trial([*running, checkpoint(3, days_ago=0)], "f", spec)
    assert [each.number for each in found] == [3, 2, 1]
    found = on_trial([*running, checkpoint(3, days_ago=1.5)], "f", spec)  # half a cycle after the last one
    assert [each.number for each in found] == [2, 1]
    assert on_trial([checkpoint(1, status="dropped")], "f", spec) == ()
    assert on_trial(running, "of other features", spec) == ()


def test_a_trial_ends():
    spec = a_spec(trial="7d")
    assert not is_over(checkpoint(1, days_ago=7.9), spec, NOW)
    assert is_over(checkpoint(1, days_ago=8), spec, NOW)


def test_trials_that_run_at_once_share_the_chance_of_an_error():
    assert trial_rules(a_spec(trial="7d", cycle="1d")).alpha == pytest.approx(0.01 / 7)
    assert trial_rules(a_spec(trial="8d", cycle="2d")).alpha == pytest.approx(0.01 / 4)


def test_a_limit_in_rows_is_the_shadows_and_not_the_trials():
    spec = a_spec()
    limited = spec.model_copy(update={"shadow": spec.shadow.model_copy(update={"max_rows": 5})})
    assert trial_rules(limited).max_rows is None


# --- on what --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_judged_on_requests_after_all_that_it_has_learned():
    learned_later = checkpoint(1, days_ago=4, learned_until=NOW - 3 * DAY)  # a tick that was delivered late
    assert unseen_since(checkpoint(1, days_ago=4), NOW - 9 * DAY) == NOW - 4 * DAY + datetime.resolution
    assert unseen_since(learned_later, NOW - 9 * DAY) > NOW - 3 * DAY
    assert unseen_since(learned_later, NOW - DAY) == NOW - DAY


def test_it_is_judged_on_whole_cycles_three_at_the_least():
    spec = a_spec()
    assert judged_until(NOW - 3.9 * DAY, spec, NOW) == NOW - 3.9 * DAY
    assert judged_until(NOW - 4 * DAY, spec, NOW) == NOW - DAY


def row(name, time, actual="1", *, version=1, said="1", label_after=HOUR):
    chances = [float(said == "0"), float(said == "1")]
    return OutcomeRow(name, time, time + label_after, version, said, chances, actual, None, {"age": 40.0, "plan": "a"})


def test_a_request_counts_once_with_its_last_label_if_this_production_answered_it():
    first, corrected = row("a", NOW), row("a", NOW, "0", label_after=2 * HOUR)
    found = newest_labels([corrected, first, row("b", NOW, version=2), row("c", NOW - DAY)], version=1, since=NOW)
    assert found == [corrected]


def test_a_label_that_is_corrected_is_another_row_to_learn():
    assert row_name("f", "a", "1") == row_name("f", "a", "1")
    assert (
        len({row_name("f", "a", "1"), row_name("f", "a", "0"), row_name("f", "b", "1"), row_name("g", "a", "1")}) == 4
    )
    assert row_name("f", "a", 1) == row_name("f", "a", 1.0)


def days_of_rows(days, *, production_right, checkpoint_right, since):
    """Two hundred requests a day; answers of the checkpoint that are right on a share of them."""
    random, rows, answers = np.random.default_rng(0), [], []
    for number in range(days * 200):
        truth = str(number % 2)
        time = since + number * DAY / 200
        said = truth if random.random() < production_right else str(1 - number % 2)
        ours = truth if random.random() < checkpoint_right(time) else str(1 - number % 2)
        rows.append(row(f"r{number}", time, truth, said=said))
        answers.append(ours)
    chances = np.array([[float(a == "0"), float(a == "1")] for a in answers])
    return rows, Predictions(answers, None, chances)


def judged(days, production_right, checkpoint_right):
    spec, since = a_spec(), NOW - (days + 1) * DAY
    rows, answers = days_of_rows(
        days, production_right=production_right, checkpoint_right=checkpoint_right, since=since
    )
    found = judge_checkpoint(paired(rows, answers, spec), trial_rules(spec), since=since, now=NOW)
    return found.verdict


def test_a_better_checkpoint_is_proven_on_three_days_and_not_before():
    assert judged(3, 0.6, lambda time: 0.98) == "promote"
    assert judged(2, 0.6, lambda time: 0.98) == "need_more_data"


def test_one_that_is_worse_or_the_same_is_not():
    assert judged(5, 0.9, lambda time: 0.7) == "keep"
    assert judged(5, 0.9, lambda time: 0.9) != "promote"


# --- rows and losses ------------------------------------------------------------------------------------------------


def tables(spec, seed=0, count=60):
    """Outcomes of both versions, as join_labels stores them, and the same rows as learn_online reads them."""
    random, schema = np.random.default_rng(seed), spec.feature_schema()
    classes = spec.labels.classes

    def answer():
        if classes is None:
            return float(random.normal()), None
        chances = random.dirichlet(np.ones(len(classes)))
        return classes[int(chances.argmax())], dict(zip(classes, map(float, chances), strict=True))

    captures = []
    for version in (1, 2):
        captures.append([])
        for i in range(count):
            said, chances = answer()
            features = {"age": 20.0 + i, "plan": None if i % 7 == 0 else "b"}
            group = f"g{i // 3}" if i % 2 else None
            captures[-1].append(Capture(f"r{i}", NOW + i * HOUR, version, features, said, chances, group))
    truth = [str(float(random.normal())) if classes is None else str(random.choice(classes)) for _ in range(count)]
    labels = [GroundTruth(f"r{i}", truth[i]) for i in range(count)]
    production, shadow = (outcomes.captures_to_table(each, schema) for each in captures)
    table, _ = outcomes.join(labels, NOW + 9 * DAY, production, shadow, schema)
    shadows = captures[1]
    chances = None if classes is None else np.array([[c.probabilities[name] for name in classes] for c in shadows])
    said = [c.prediction for c in shadows]
    answered = Predictions(None, np.array(said), None) if classes is None else Predictions(said, None, chances)
    return table, from_json_lines(to_json_lines(table)), answered


COST = {"metric": "cost", "cost": {"1": {"0": 50}}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shadow": {"metric": "brier"}},
        {"shadow": {"metric": "macro_f1"}},
        {"shadow": COST},
        {"task": "multiclass", "labels": {"classes": ["0", "1", "2"]}},
        {"task": "regression", "labels": {}},
    ],
    ids=["accuracy", "brier", "macro_f1", "cost", "multiclass", "regression"],
)
def test_a_checkpoints_answers_are_paired_with_productions_as_a_shadows_are(changes):
    spec = ModelSpec.parse(CHURN | changes)
    table, rows, answered = tables(spec)
    expected = outcomes.paired(table, spec, production=1, shadow=2)
    found = paired(newest_labels(rows, version=1, since=NOW), answered, spec)
    np.testing.assert_array_equal(found.inference_time, expected.inference_time)
    np.testing.assert_allclose(found.production_loss, expected.production_loss, atol=1e-12)
    np.testing.assert_allclose(found.shadow_loss, expected.shadow_loss, atol=1e-12)
    np.testing.assert_array_equal(found.label_delay, expected.label_delay)
    assert found.group.tolist() == expected.group.tolist()
    if spec.labels.classes is not None:
        np.testing.assert_array_equal(found.answers.shadow, expected.answers.shadow)
        np.testing.assert_array_equal(found.answers.production, expected.answers.production)


def test_online_rows_hold_what_outcomes_hold_and_are_the_same_bytes():
    table, rows, _ = tables(a_spec())
    assert to_json_lines(table) == to_json_lines(table)
    assert [each.event_id for each in rows] == table["event_id"].to_pylist()
    assert [each.actual for each in rows] == table["actual"].to_pylist()
    assert [each.time for each in rows] == table["inference_time"].to_pylist()
    assert rows[0].features == {"age": 20.0, "plan": None}
    assert from_json_lines(to_json_lines(table.slice(0, 0))) == []
    assert isinstance(table, pa.Table)
