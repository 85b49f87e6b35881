"""Whether a model is retrained: the checks, who may start it, and what holds it back."""

from datetime import UTC, datetime, timedelta

import pytest

from evergreen.domain.lifecycle import (
    Bake,
    BakePhase,
    ModelState,
    Repoint,
    Run,
    Shadow,
    ShadowRole,
    Version,
    VersionStatus,
)
from evergreen.domain.triggers import (
    Check,
    Direction,
    Outcome,
    Trigger,
    arbitrate,
    by_trigger,
    check_age,
    check_new_data,
    hold_back_reason,
)
from evergreen.spec import ModelSpec

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def a_spec(strategy="hybrid", **triggers):
    return ModelSpec.parse(
        {
            "model": "churn",
            "task": "binary",
            "features": {"age": {"type": "number"}},
            "labels": {"classes": ["0", "1"]},
            "strategy": strategy,
            "triggers": triggers,
        }
    )


def found(trigger, outcome=Outcome.FIRED, because=None):
    return Check(trigger, outcome, 0.4, 0.3, Direction.HIGHER_IS_WORSE, 500, because or f"{trigger} says so")


def a_version(number, status):
    return Version(number, status, "s3://a/m.tar.gz", "0" * 64, "f", NOW - 30 * DAY)


def decided(*checks, spec=None, **state):
    return arbitrate(ModelState("churn", **state), spec or a_spec(), checks, NOW)


@pytest.mark.parametrize(
    ("strategy", "age", "outcome"),
    [
        ("scheduled", 6.9, Outcome.QUIET),
        ("scheduled", 7.0, Outcome.FIRED),
        ("hybrid", 89.9, Outcome.QUIET),
        ("hybrid", 90.0, Outcome.FIRED),
        ("triggered", 999.0, Outcome.QUIET),
        ("continuous", 999.0, Outcome.QUIET),
    ],
)
def test_age_counts_as_the_strategy_says(strategy, age, outcome):
    check = check_age(a_spec(strategy), NOW - age * DAY, NOW)
    assert check.outcome is outcome
    assert check.score == pytest.approx(age)


def test_a_hybrid_without_a_longest_age_never_retrains_by_the_calendar():
    spec = a_spec(schedule={"longest_age": None})
    assert check_age(spec, NOW - 999 * DAY, NOW).outcome is Outcome.QUIET


def test_age_says_why():
    check = check_age(a_spec(), NOW - 91.5 * DAY, NOW)
    assert check.because == "the last training is 91.5 days ago, the limit is 90.0"


@pytest.mark.parametrize(("rows", "outcome"), [(999, Outcome.QUIET), (1_000, Outcome.FIRED)])
def test_enough_new_rows_fire(rows, outcome):
    check = check_new_data(a_spec(), rows)
    assert (check.outcome, check.samples) == (outcome, rows)
    assert check.because == f"{rows:,} labelled rows are new, 1,000 are enough"


def test_a_check_that_fired_starts_a_retraining():
    decision = decided(found(Trigger.DATA_DRIFT), found(Trigger.SCHEDULE, Outcome.QUIET))
    assert decision.retrain
    assert (decision.trigger, decision.because) == (Trigger.DATA_DRIFT, "data_drift says so")


@pytest.mark.parametrize("outcome", [Outcome.QUIET, Outcome.INSUFFICIENT_DATA, Outcome.ERROR])
def test_no_data_and_an_error_are_no_reason_to_retrain(outcome):
    decision = decided(found(Trigger.PERFORMANCE, outcome))
    assert not decision.retrain
    assert decision.because == "no check fired"


def test_the_gravest_check_names_the_retraining_and_all_are_told():
    decision = decided(found(Trigger.SCHEDULE), found(Trigger.DATA_DRIFT), found(Trigger.PERFORMANCE))
    assert decision.trigger is Trigger.PERFORMANCE
    assert decision.because == "schedule says so; data_drift says so; performance says so"


@pytest.mark.parametrize(
    ("strategy", "trigger", "retrains"),
    [
        ("scheduled", Trigger.SCHEDULE, True),
        ("scheduled", Trigger.DATA_DRIFT, False),
        ("triggered", Trigger.DATA_DRIFT, True),
        ("hybrid", Trigger.NEW_DATA, True),
        ("continuous", Trigger.PERFORMANCE, False),
        ("continuous", Trigger.BUSINESS_EVENT, True),
    ],
)
def test_the_strategy_says_which_triggers_count(strategy, trigger, retrains):
    assert decided(found(trigger), spec=a_spec(strategy)).retrain is retrains


SHADOW = Shadow(2, ShadowRole.CHALLENGER, 1, NOW)


@pytest.mark.parametrize(
    ("state", "because"),
    [
        ({"paused": True}, "the model is paused"),
        ({"run": Run("d1", "schedule", NOW)}, "retraining d1 is still open"),
        ({"shadow": SHADOW}, "version 2 is in shadow or waits for it"),
        ({"versions": (a_version(3, VersionStatus.CANDIDATE),)}, "version 3 is in shadow or waits for it"),
        ({"repoint": Repoint(4, 1, None)}, "version 4 is being deployed and watched"),
        ({"bake": Bake(5, 1, BakePhase.OPS, NOW)}, "version 5 is being deployed and watched"),
        (
            {"retrainings": (NOW - 2.5 * DAY,)},
            "the last retraining was requested 2.5 days ago, the cooldown is 7.0 days",
        ),
        (
            {"retrainings": tuple(NOW - days * DAY for days in (29, 22, 15, 8))},
            "4 retrainings in 30 days, the budget is 4",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_governance_holds_a_trigger_back_and_says_why(state, because):
    decision = decided(found(Trigger.PERFORMANCE), **state)
    assert not decision.retrain
    assert (decision.trigger, decision.held_back) == (Trigger.PERFORMANCE, because)
    assert decision.because == f"{because} (performance says so)"


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"retrainings": (NOW - 7 * DAY,)},
        {"retrainings": tuple(NOW - days * DAY for days in (30, 22, 15, 8))},
        {"versions": (a_version(1, VersionStatus.GOOD), a_version(2, VersionStatus.REJECTED))},
    ],
    ids=["a new model", "after the cooldown", "within the budget", "nothing in the way"],
)
def test_otherwise_nothing_holds_it_back(state):
    assert hold_back_reason(ModelState("churn", **state), a_spec(), NOW) is None


def test_nothing_is_held_back_that_did_not_fire():
    assert decided(found(Trigger.PERFORMANCE, Outcome.QUIET), paused=True).held_back is None


def test_a_decision_is_stored_with_every_check():
    stored = decided(found(Trigger.DATA_DRIFT), paused=True).to_json()
    assert stored["time"] == "2026-03-01T00:00:00+00:00"
    assert (stored["retrain"], stored["trigger"], stored["held_back"]) == (False, "data_drift", "the model is paused")
    assert by_trigger(stored["checks"])["data_drift"] == {
        "trigger": "data_drift",
        "outcome": "fired",
        "score": 0.4,
        "threshold": 0.3,
        "direction": "higher_is_worse",
        "samples": 500,
        "because": "data_drift says so",
    }
