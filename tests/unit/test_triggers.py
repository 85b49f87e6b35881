"""Whether a model is retrained: the checks, who may start it, what holds it back, and the wishes that wait."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.catalog import DailySums
from evergreen.domain.model_events import RetrainingHeldBack, RetrainingRequested
from evergreen.domain.state import (
    Bake,
    BakePhase,
    HeldBack,
    ModelState,
    Repoint,
    Run,
    Shadow,
    ShadowRole,
    Version,
    VersionStatus,
    Wish,
)
from evergreen.domain.transitions import transition
from evergreen.domain.triggers.arbiter import RetrainDecision, arbitrate, by_trigger, events_of, grant
from evergreen.domain.triggers.check import Check, Direction, Outcome, Trigger, check_failed, run_check
from evergreen.domain.triggers.checks import (
    check_age,
    check_concept_drift,
    check_data_drift,
    check_new_data,
    check_performance,
    check_prediction_shift,
    matured_days,
)
from evergreen.domain.triggers.governance import (
    FORCED,
    Asked,
    HoldBackRule,
    Labelled,
    hold_back,
    tokens_there,
)
from evergreen.spec import ModelSpec
from evergreen.statistics.profile import Binning, Profile

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
            "freshness": {"enabled": strategy == "continuous"},
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
        ("scheduled", Trigger.BUSINESS_EVENT, True),
        ("triggered", Trigger.DATA_DRIFT, True),
        ("hybrid", Trigger.NEW_DATA, True),
        ("continuous", Trigger.PERFORMANCE, False),
        ("continuous", Trigger.BUSINESS_EVENT, True),
    ],
)
def test_the_strategy_says_which_triggers_count(strategy, trigger, retrains):
    assert decided(found(trigger), spec=a_spec(strategy)).retrain is retrains


def test_a_check_that_the_strategy_does_not_count_is_still_told():
    decision = decided(found(Trigger.PERFORMANCE), spec=a_spec("continuous"))
    assert (decision.trigger, decision.checks) == (None, (found(Trigger.PERFORMANCE),))
    assert decision.because == "the strategy does not retrain on this: performance says so"


SHADOW = Shadow(2, ShadowRole.CHALLENGER, 1, NOW)


@pytest.mark.parametrize(
    ("state", "rule", "because"),
    [
        ({"paused": True}, "paused", "the model is paused"),
        ({"run": Run("d1", "schedule", NOW)}, "open_run", "retraining d1 is still open"),
        ({"repoint": Repoint(4, 1, None)}, "deploying", "version 4 is being deployed and watched"),
        ({"bake": Bake(5, 1, BakePhase.OPS, NOW)}, "deploying", "version 5 is being deployed and watched"),
        (
            {"retrainings": (NOW - 0.5 * DAY,)},
            "cooldown",
            "the last retraining was requested 0.5 days ago, the cooldown is 1.0 days",
        ),
        (
            {"retrainings": (NOW - 3 * DAY,), "tokens": 0.0},
            "tokens",
            "0.10 of 2 tokens are there, performance needs 1",
        ),
        (
            {"retrainings": tuple(NOW - days * DAY for days in (29, 22, 15, 8))},
            "budget",
            "4 retrainings in 30 days, the budget is 4",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_governance_holds_a_trigger_back_and_says_why(state, rule, because):
    decision = decided(found(Trigger.PERFORMANCE), **state)
    assert not decision.retrain
    assert (decision.trigger, decision.held_back.rule) == (Trigger.PERFORMANCE, rule)
    assert decision.because == f"{because} (performance says so)"


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"retrainings": (NOW - DAY,)},
        {"retrainings": tuple(NOW - days * DAY for days in (30, 22, 15, 8))},
        {"versions": (a_version(1, VersionStatus.GOOD), a_version(2, VersionStatus.REJECTED))},
        {"shadow": SHADOW},
        {"versions": (a_version(3, VersionStatus.CANDIDATE),)},
    ],
    ids=["a new model", "after the cooldown", "within the budget", "nothing", "one in shadow", "one that waits"],
)
def test_otherwise_nothing_holds_it_back(state):
    assert held(Trigger.PERFORMANCE, **state) is None


def held(trigger, *, now=NOW, spec=None, new=None, came=0, **state):
    return hold_back(Asked(ModelState("churn", **state), spec or a_spec(), trigger, now, Labelled(new, came)))


# --- tokens and new rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [t for t in Trigger if t is not Trigger.ONLINE])
def test_the_last_token_is_kept_for_what_can_not_wait(trigger):
    one_left = {"retrainings": (NOW - 2 * DAY,), "tokens": 1.0}
    at_once = trigger in (Trigger.PERFORMANCE, Trigger.CONCEPT_DRIFT, Trigger.BUSINESS_EVENT)
    found_by = held(trigger, **one_left)
    assert (found_by is None) is at_once
    if not at_once:
        kept = "the last one is kept for a model that is proven worse"
        assert found_by.because == f"1.07 of 2 tokens are there, {trigger} needs 2: {kept}"
    assert held(trigger, came=5_000, **one_left) is None
    single = a_spec(tokens={"burst": 1})
    assert held(trigger, spec=single, **one_left) is None, "of one token none can be kept"


def test_a_calendar_that_was_asked_for_needs_no_token():
    spent = {"retrainings": (NOW - 7 * DAY,), "tokens": 0.0}
    assert held(Trigger.SCHEDULE, spec=a_spec("scheduled"), **spent) is None
    assert held(Trigger.SCHEDULE, spec=a_spec("hybrid"), **spent).rule is HoldBackRule.TOKENS


@pytest.mark.parametrize(
    ("left", "days", "came", "there"),
    [
        (0.0, 0, 0, 0.0),
        (0.0, 15, 0, 0.5),
        (0.0, 15, 4_000, 0.8),
        (0.25, 30, 5_000, 1.25),
        (1.0, 300, 0, 2.0),
        (1.0, 1, 9_999, 2.0),
        (None, 0, 0, 1.0),
        (0.0, -3, 0, 0.0),
    ],
)
def test_tokens_come_back_with_rows_or_with_time_up_to_the_burst(left, days, came, there):
    state = ModelState("churn", retrainings=(NOW - days * DAY,), tokens=left)
    assert tokens_there(Asked(state, a_spec(), Trigger.SCHEDULE, NOW, Labelled(0, came))) == pytest.approx(there)


def test_with_time_alone_rows_bring_no_token():
    spec = a_spec(tokens={"refill_rows": None})
    state = ModelState("churn", retrainings=(NOW - 3 * DAY,), tokens=0.0)
    assert tokens_there(Asked(state, spec, Trigger.SCHEDULE, NOW, Labelled(0, 10**6))) == pytest.approx(0.1)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 4_000), st.sampled_from(Trigger)), max_size=60),
    st.integers(1, 5),
)
def test_in_any_span_there_are_no_more_retrainings_than_the_burst_and_what_came_back(steps, burst):
    """From any retraining to any later one; what people force is beside it."""
    spec = a_spec(cooldown="1h", monthly_budget=10_000, tokens={"burst": burst, "refill_every": "10d"})
    state, now, rows, came, told_at = ModelState("churn"), NOW, 0, 0, []
    for days, labelled, trigger in steps:
        now, rows, came = now + days * DAY, rows + labelled, came + labelled
        decision = arbitrate(state, spec, [found(trigger)], now, Labelled(None, came))
        if decision.retrain:
            state, came = replace(told(state, decision), run=None), 0
            told_at.append((now, rows))
    for first, (begun, rows_then) in enumerate(told_at):
        for last, (ended, rows_now) in enumerate(told_at[first:], start=first):
            back = max((ended - begun) / (10 * DAY), 0) + (rows_now - rows_then) / 5_000
            assert last - first + 1 <= burst + back + 1e-3 * (last - first + 1)


@pytest.mark.parametrize(("new", "is_held"), [(None, False), (0, True), (99, True), (100, False)])
def test_nothing_is_trained_again_on_the_rows_of_the_newest_training(new, is_held):
    hold = held(Trigger.PERFORMANCE, new=new)
    assert (hold is not None) is is_held
    if is_held:
        told_so = f"{new} labelled rows are new since the newest training, 100 are needed"
        assert (hold.rule, hold.because) == (HoldBackRule.NEW_ROWS, told_so)


def test_the_limit_of_new_rows_is_the_specs():
    spec = ModelSpec.parse(a_spec().to_json() | {"training": {"min_new_rows": 0}})
    assert held(Trigger.SCHEDULE, spec=spec, new=0) is None


def test_a_wish_is_not_held_back_with_a_drift_that_fired_beside_it():
    state = {"retrainings": (NOW - 3 * DAY,), "tokens": 1.0}
    assert decided(found(Trigger.DATA_DRIFT), **state).held_back.rule is HoldBackRule.TOKENS
    decision = decided(found(Trigger.DATA_DRIFT), wish=A_WISH, **state)
    assert (decision.retrain, decision.trigger) == (True, Trigger.BUSINESS_EVENT)


def test_a_request_says_what_was_there_and_takes_a_token():
    decision = arbitrate(ModelState("churn"), a_spec(), [found(Trigger.PERFORMANCE)], NOW, Labelled(4_000, 0))
    assert (decision.tokens, decision.new_rows) == (2.0, 4_000)
    (event,) = events_of(ModelState("churn"), decision, actor="me")
    assert (event.tokens, event.new_rows) == (2.0, 4_000)
    assert transition(ModelState("churn"), event).tokens == 1.0


def test_what_is_forced_takes_a_token_and_leaves_no_debt():
    state = ModelState("churn", retrainings=(NOW - DAY / 4,), tokens=0.0)
    decision = grant(state, a_spec(), replace(A_WISH, time=NOW), Labelled(0, 0), waived=FORCED)
    assert decision.retrain
    assert told(state, decision).tokens == 0.0


def test_a_note_of_an_older_release_is_read_without_tokens():
    document = decided(found(Trigger.DATA_DRIFT)).to_json()
    del document["tokens"], document["new_rows"]
    read = RetrainDecision.from_json(document)
    assert (read.tokens, read.new_rows, read.retrain) == (None, None, True)


def test_nothing_is_held_back_that_did_not_fire():
    assert decided(found(Trigger.PERFORMANCE, Outcome.QUIET), paused=True).held_back is None


def test_a_decision_is_stored_with_every_check():
    stored = decided(found(Trigger.DATA_DRIFT), paused=True).to_json()
    assert stored["time"] == "2026-03-01T00:00:00+00:00"
    assert (stored["retrain"], stored["trigger"]) == (False, "data_drift")
    assert (stored["rule"], stored["held_back"]) == ("paused", "the model is paused")
    assert by_trigger(stored["checks"])["data_drift"] == {
        "trigger": "data_drift",
        "outcome": "fired",
        "score": 0.4,
        "threshold": 0.3,
        "direction": "higher_is_worse",
        "samples": 500,
        "because": "data_drift says so",
    }


def test_a_stored_decision_is_read_as_it_was():
    details = ({"name": "age", "score": 0.4},)
    decision = decided(replace(found(Trigger.DATA_DRIFT), details=details), wish=A_WISH, paused=True)
    assert RetrainDecision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


# --- the checks -------------------------------------------------------------------------------------------------------

A_WEEK = [(500, 450)] * 7


def labelled(*days, start=datetime(2026, 2, 1, tzinfo=UTC)):
    return {f"{start + i * DAY:%Y-%m-%d}": day for i, day in enumerate(days)}


def performance(days, reference=tuple(A_WEEK), plain=None, **rules):
    spec = a_spec(performance=rules)
    return check_performance(spec, days, reference, plain=plain or {}, since=NOW - 30 * DAY, now=NOW)


def test_labels_that_prove_the_version_worse_fire():
    check = performance(labelled(*[(100, 91)] * 13, *[(100, 70)] * 14))
    assert (check.outcome, check.samples, check.threshold) == (Outcome.FIRED, 2_700, 730.0)
    assert check.score >= check.threshold
    assert check.because == "accuracy 0.801 on 2,700 matured labels since 2026-01-30, 0.870 is to be held"


def test_labels_as_good_as_the_reference_are_quiet_and_still_have_a_score():
    check = performance(labelled(*[(100, 91)] * 27))
    assert check.outcome is Outcome.QUIET
    assert 0.0 <= check.score < check.threshold


GOOD, BAD = [(100, 91)] * 27, [(100, 91)] * 13 + [(100, 70)] * 14


def test_a_version_that_only_its_live_state_keeps_good_is_to_be_trained_anew():
    check = performance(labelled(*GOOD), plain=labelled(*BAD))
    assert check.outcome is Outcome.FIRED
    assert check.score >= check.threshold
    assert check.because == (
        "as it was trained: accuracy 0.801 on 2,700 matured labels since 2026-01-30, 0.870 is to be held; "
        "with its live state: accuracy 0.910 on 2,700 matured labels since 2026-01-30, 0.870 is to be held"
    )


def test_who_still_answers_well_waits_for_a_second_token_and_who_does_not_takes_the_last():
    state, spec = ModelState("churn", retrainings=(NOW - 40 * DAY,), tokens=0.0), a_spec()
    hidden = performance(labelled(*GOOD), plain=labelled(*BAD))
    for check, held in ((hidden, HoldBackRule.TOKENS), (performance(labelled(*BAD)), None)):
        for each in (check, check_concept_drift(check, performance(labelled(*GOOD)))):
            decision = arbitrate(state, spec, [each], NOW)
            assert each.outcome is Outcome.FIRED
            assert (decision.held_back and decision.held_back.rule) == held
            assert Check.from_json(each.to_json()) == replace(each, score=round(each.score, 6))


def test_answers_that_a_live_state_made_worse_fire_though_the_version_is_as_good_as_it_was():
    check = performance(labelled(*BAD), plain=labelled(*GOOD))
    assert check.outcome is Outcome.FIRED
    assert check.because.startswith("accuracy 0.801 on 2,700 matured labels")
    assert "; as it was trained: accuracy 0.910 on" in check.because


def test_where_both_are_as_good_as_they_were_nothing_fires():
    assert performance(labelled(*GOOD), plain=labelled(*GOOD)).outcome is Outcome.QUIET


def test_few_answers_as_it_was_trained_say_nothing():
    few = labelled((9, 0), start=NOW - 3 * DAY)
    assert performance(labelled(*GOOD), plain=few) == performance(labelled(*GOOD))


def test_too_few_recent_labels_prove_nothing_and_keep_the_score_there_is():
    check = performance(labelled(*[(100, 91)] * 10))
    assert (check.outcome, check.threshold, check.samples) == (Outcome.INSUFFICIENT_DATA, 730.0, 1_000)
    assert check.score is not None
    assert check.because == "0 matured labels in 7 days, 100 are needed"


def test_without_validation_days_there_is_nothing_to_compare_with():
    check = performance(labelled(*[(100, 50)] * 27), reference=(), accuracy_threshold=0.9)
    assert (check.outcome, check.score) == (Outcome.INSUFFICIENT_DATA, None)
    assert check.because == "the version has no validation days to compare with"


def test_only_days_whose_labels_have_all_come_count_and_only_the_versions_own():
    files = [{"2": {"2026-02-27": [50, 40], "2026-02-28": [9, 9]}}, {"1": {"2026-02-27": [7, 7]}}]
    files.append({"2": {"2026-02-26": [10, 1], "2026-02-27": [5, 5]}})
    assert matured_days(map(DailySums.read, files), 2, DAY, NOW) == {"2026-02-26": (10, 1), "2026-02-27": (55, 45)}


@pytest.mark.parametrize(
    ("labels", "inputs", "outcome", "because"),
    [
        ("fired", "quiet", "fired", "no input column drifted, so what they mean has changed"),
        ("fired", "fired", "quiet", "the version degraded and its inputs drifted too"),
        ("quiet", "quiet", "quiet", "the labels do not prove the version degraded"),
        ("quiet", "insufficient_data", "quiet", "the labels do not prove the version degraded"),
        ("fired", "insufficient_data", "insufficient_data", "data_drift is not known: data_drift says so"),
        ("fired", "error", "insufficient_data", "data_drift is not known: data_drift says so"),
        ("insufficient_data", "quiet", "insufficient_data", "performance is not known: performance says so"),
    ],
)
def test_concept_drift_is_a_degradation_that_the_inputs_do_not_explain(labels, inputs, outcome, because):
    check = check_concept_drift(found(Trigger.PERFORMANCE, Outcome(labels)), found(Trigger.DATA_DRIFT, Outcome(inputs)))
    assert (check.trigger, check.outcome, check.because) == (Trigger.CONCEPT_DRIFT, outcome, because)
    assert (check.score, check.threshold, check.samples) == (0.4, 0.3, 500)


def test_a_degradation_that_the_inputs_do_not_explain_names_the_retraining():
    decision = decided(found(Trigger.PERFORMANCE), found(Trigger.CONCEPT_DRIFT), found(Trigger.DATA_DRIFT))
    assert decision.trigger is Trigger.CONCEPT_DRIFT


RNG = np.random.default_rng(0)
BINNING = Binning.fit({f"c{i}": RNG.normal(size=2_000) for i in range(25)})


def a_profile(rows=500, *, moved=0, by=1.0, seed=1):
    rng = np.random.default_rng(seed)
    columns = {f"c{i}": rng.normal(size=rows) + (by if i < moved else 0.0) for i in range(25)}
    return Profile.count(columns, BINNING)


CYCLES = [a_profile(seed=seed) for seed in range(8)]


def test_data_drift_names_the_worst_columns_with_their_scores():
    check = check_data_drift(a_spec(), CYCLES, a_profile(moved=2, seed=99))
    assert (check.outcome, check.samples, len(check.details)) == (Outcome.FIRED, 500, 20)
    assert {d["name"] for d in check.details[:2]} == {"c0", "c1"}
    assert [d["drifted"] for d in check.details] == [True] * 2 + [False] * 18
    assert check.details[0].keys() == {"name", "kind", "score", "threshold", "direction", "drifted"}
    assert check.score == pytest.approx(check.details[0]["score"], abs=1e-4)
    assert check.because.startswith("2 of 25 columns drifted: c")


def test_inputs_like_the_reference_are_quiet_and_say_how_far_they_are():
    check = check_data_drift(a_spec(), CYCLES, a_profile(seed=99))
    assert check.outcome is Outcome.QUIET
    assert 0.0 < check.score < check.threshold
    assert len(check.details) == 20


def test_many_columns_a_little_off_are_drift_by_their_share():
    swinging = [a_profile(rows=20_000, moved=25, by=0.11 * (-1) ** k, seed=k) for k in range(8)]
    check = check_data_drift(
        a_spec(data_drift={"drift_threshold": 0.3}), swinging, a_profile(rows=20_000, moved=25, by=0.33, seed=99)
    )
    assert check.outcome is Outcome.FIRED
    assert check.score >= check.threshold, "what fired is what is told"


def test_few_rows_say_nothing_about_the_inputs():
    check = check_data_drift(a_spec(), CYCLES, a_profile(rows=99))
    assert (check.outcome, check.score, check.samples) == (Outcome.INSUFFICIENT_DATA, None, 99)


ANSWERS = Binning.fit({"prediction": RNG.uniform(size=2_000)})


def answers(rows, *, by=0.0, seed=0):
    return Profile.count({"prediction": np.random.default_rng(seed).uniform(size=rows) + by}, ANSWERS)


def test_answers_that_moved_fire():
    check = check_prediction_shift(a_spec(), answers(1_000), answers(400, by=0.2, seed=1))
    assert (check.outcome, check.threshold, check.samples) == (Outcome.FIRED, 0.2, 400)
    assert check.because.startswith("the answers' wasserstein distance to the validation answers is 0.")


def test_a_distance_that_chance_may_do_does_not_fire():
    pairs = [(answers(120, seed=seed), answers(100, seed=1_000 + seed)) for seed in range(200)]
    beyond = [c for c in (check_prediction_shift(a_spec(), *pair) for pair in pairs) if c.score > c.threshold]
    quiet = [check for check in beyond if check.outcome is Outcome.QUIET]
    assert len(beyond) > 10, "small windows are far by chance alone"
    assert len(beyond) - len(quiet) <= 4, "a hundredth of all windows, and some luck"
    assert quiet[0].because.endswith("threshold 0.20, which chance may do with 100 answers")


def test_a_threshold_that_the_spec_lowers_counts():
    moved = answers(20_000, by=0.025, seed=1)
    assert check_prediction_shift(a_spec(), answers(20_000), moved).outcome is Outcome.QUIET
    spec = a_spec(prediction_shift={"threshold": 0.05})
    assert check_prediction_shift(spec, answers(20_000), moved).outcome is Outcome.FIRED


@pytest.mark.parametrize(
    ("reference", "window", "because"),
    [
        (answers(1_000), None, "0 answers in the last cycle are too few to compare"),
        (answers(1_000), answers(99), "99 answers in the last cycle are too few to compare"),
        (None, answers(500), "0 validation answers are too few to compare with"),
        (answers(50), answers(500), "50 validation answers are too few to compare with"),
    ],
)
def test_few_answers_on_either_side_say_nothing(reference, window, because):
    check = check_prediction_shift(a_spec(), reference, window)
    assert (check.outcome, check.threshold, check.because) == (Outcome.INSUFFICIENT_DATA, 0.2, because)


def test_a_check_that_raises_is_an_error_with_a_reason_and_no_row_in_it():
    def broken():
        raise ValueError("could not convert 'Jane Doe, 4 High Street' to float")

    check = run_check(Trigger.DATA_DRIFT, broken)
    assert (check.trigger, check.outcome, check.score) == (Trigger.DATA_DRIFT, Outcome.ERROR, None)
    assert check.because.startswith("ValueError at test_triggers.py:")
    assert "Jane" not in json.dumps(check.to_json())


def test_an_error_of_the_system_is_told_whole():
    assert check_failed(Trigger.DATA_DRIFT, FileNotFoundError("s3://data/profiles/churn/7.json")).because == (
        "FileNotFoundError: s3://data/profiles/churn/7.json"
    )


def test_an_error_stops_no_other_check_and_is_counted():
    decision = decided(found(Trigger.DATA_DRIFT, Outcome.ERROR), found(Trigger.PERFORMANCE))
    assert decision.trigger is Trigger.PERFORMANCE
    assert [check.trigger for check in decision.errors] == [Trigger.DATA_DRIFT]


# --- wishes -----------------------------------------------------------------------------------------------------------

A_WISH = Wish("prices changed", "shop.pricing", NOW - DAY)


def told(state, decision, wish=None):
    """The state after what the history is told of a decision."""
    for event in events_of(state, decision, actor="ada" if wish is None else wish.actor, wish=wish):
        state = transition(state, event)
    return state


def test_a_wish_is_granted_when_nothing_stands_in_its_way():
    decision = grant(ModelState("churn"), a_spec(), A_WISH)
    assert (decision.retrain, decision.because) == (True, "prices changed")
    state = told(ModelState("churn"), decision, A_WISH)
    assert (state.run.trigger, state.wish) == ("business_event", None)


def test_a_wish_that_is_held_back_waits_until_a_retraining_is_requested():
    state = ModelState("churn", paused=True)
    state = told(state, grant(state, a_spec(), A_WISH), A_WISH)
    assert (state.wish, state.run) == (A_WISH, None)
    still = arbitrate(state, a_spec("scheduled"), [found(Trigger.SCHEDULE, Outcome.QUIET)], NOW)
    assert (still.trigger, still.held_back.rule) == (Trigger.BUSINESS_EVENT, "paused")
    free = replace(state, paused=False)
    decision = arbitrate(free, a_spec("scheduled"), [], NOW)
    assert decision.because == "prices changed (wished for by shop.pricing on 2026-02-28 00:00)"
    assert told(free, decision).wish is None


def test_a_retraining_by_another_trigger_answers_the_wish_too():
    decision = decided(found(Trigger.PERFORMANCE), wish=A_WISH)
    assert decision.trigger is Trigger.PERFORMANCE
    assert "prices changed" in decision.because
    assert told(ModelState("churn", wish=A_WISH), decision).wish is None


def test_a_late_tick_knows_nothing_of_a_newer_wish_and_leaves_it_waiting():
    early = NOW - 2 * DAY
    state = ModelState("churn", wish=A_WISH)
    assert arbitrate(state, a_spec(), [], early).trigger is None
    decision = arbitrate(state, a_spec(), [found(Trigger.PERFORMANCE)], early)
    assert told(state, decision).wish == A_WISH


def test_a_wish_that_comes_twice_is_told_once_and_starts_one_retraining():
    paused = ModelState("churn", paused=True)
    once = told(paused, grant(paused, a_spec(), A_WISH), A_WISH)
    assert told(once, grant(once, a_spec(), A_WISH), A_WISH) == once
    free = told(ModelState("churn"), grant(ModelState("churn"), a_spec(), A_WISH), A_WISH)
    over = replace(free, run=None)  # the retraining failed for good, or its version lost
    again = grant(over, a_spec(), A_WISH)
    assert not again.retrain
    assert again.because == "prices changed: answered by the retraining of 2026-02-28 00:00"
    assert told(over, again, A_WISH) == over


def test_force_waives_what_paces_retrainings_and_nothing_else():
    spent = ModelState("churn", retrainings=tuple(NOW - days * DAY for days in (9, 8, 7, 0.5)), tokens=0.0)
    wish = replace(A_WISH, time=NOW)
    assert grant(spent, a_spec(), wish).held_back.rule is HoldBackRule.COOLDOWN
    assert grant(spent, a_spec(), wish, Labelled(new=0), waived=FORCED).retrain
    running = replace(spent, run=Run("d1", "schedule", NOW))
    assert grant(running, a_spec(), wish, waived=FORCED).held_back.rule is HoldBackRule.OPEN_RUN


# --- what the history is told -----------------------------------------------------------------------------------------


def test_what_is_held_back_is_told_when_the_trigger_or_the_rule_changes():
    state, kinds = ModelState("churn", paused=True), []
    steps = [
        (Trigger.DATA_DRIFT, {}),
        (Trigger.DATA_DRIFT, {}),
        (Trigger.PERFORMANCE, {}),
        (Trigger.PERFORMANCE, {}),
        (Trigger.PERFORMANCE, {"paused": False, "bake": Bake(2, 1, BakePhase.OPS, NOW)}),
        (Trigger.PERFORMANCE, {"bake": None}),
    ]
    for trigger, change in steps:
        state = replace(state, **change)
        events = events_of(state, arbitrate(state, a_spec(), [found(trigger)], NOW), actor="evaluate_triggers")
        kinds.append([type(event).__name__ for event in events])
        for event in events:
            state = transition(state, event)
    held, nothing = ["RetrainingHeldBack"], []
    assert kinds == [held, nothing, held, nothing, held, ["RetrainingRequested"]]
    assert state.held_back is None


def test_a_held_back_trigger_is_told_with_its_rule():
    state = ModelState("churn", paused=True)
    (event,) = events_of(state, arbitrate(state, a_spec(), [found(Trigger.DATA_DRIFT)], NOW), actor="me")
    assert (event.would_have, event.rule, event.wish) == ("data_drift", "paused", None)
    assert event.because == "the model is paused (data_drift says so)"
    assert transition(state, event).held_back == HeldBack("data_drift", "paused")


# --- whatever comes ---------------------------------------------------------------------------------------------------

STATES = st.builds(
    ModelState,
    model=st.just("churn"),
    paused=st.booleans(),
    run=st.sampled_from([None, Run("d1", "schedule", NOW)]),
    shadow=st.sampled_from([None, SHADOW]),
    bake=st.sampled_from([None, Bake(5, 1, BakePhase.OPS, NOW)]),
    repoint=st.sampled_from([None, Repoint(4, 1, None)]),
    retrainings=st.lists(st.integers(0, 40), max_size=6).map(
        lambda days: tuple(NOW - d * DAY for d in sorted(days, reverse=True))
    ),
    wish=st.sampled_from([None, A_WISH, replace(A_WISH, time=NOW + DAY)]),
)
CHECKS = st.lists(st.builds(found, st.sampled_from(Trigger), st.sampled_from(Outcome)), max_size=8)
SPECS = st.sampled_from([a_spec(name) for name in ("scheduled", "triggered", "continuous", "hybrid")])


@given(STATES, SPECS, CHECKS)
def test_nothing_starts_beside_an_open_run_and_what_is_held_back_has_a_rule(state, spec, checks):
    decision = arbitrate(state, spec, checks, NOW)
    assert not (decision.retrain and (state.run or state.paused or state.bake or state.repoint))
    assert decision.retrain == (decision.trigger is not None and decision.held_back is None)
    if decision.held_back is not None:
        assert decision.held_back.rule in HoldBackRule
        assert decision.held_back.because in decision.because
    assert set(checks) <= set(decision.checks), "every check is in the decision, whatever it says"
    assert RetrainDecision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


@given(STATES, SPECS, st.sampled_from([frozenset(), FORCED]))
def test_no_wish_starts_a_second_run_by_force_or_without(state, spec, waived):
    decision = grant(state, spec, replace(A_WISH, time=NOW + DAY), waived=waived)
    assert not (decision.retrain and state.run)


WISHES = st.builds(
    Wish, st.sampled_from(["prices", "stock"]), st.just("shop"), st.integers(0, 96).map(lambda h: NOW + h * DAY / 24)
)
STEPS = st.lists(
    st.one_of(WISHES, st.sampled_from(["evaluate", "late tick", "pause", "go on", "run ends", "drift"])), max_size=30
)


@given(STEPS)
def test_a_wish_is_never_lost_whatever_the_order_of_evaluations(steps):
    """Once all wishes have come and nothing stands in the way, a retraining not older than the newest was requested."""
    spec = a_spec(cooldown="1h", monthly_budget=1_000, tokens={"burst": 100})
    state, newest, hour = ModelState("churn"), None, 0
    for step in [*steps, "go on", "run ends", "evaluate", "run ends", "evaluate"]:
        hour += 6
        now = NOW + (5 * DAY if step == "evaluate" else DAY) + timedelta(hours=hour)
        if isinstance(step, Wish):
            newest = step if newest is None or step.time > newest.time else newest
            state = told(state, grant(state, spec, step), step)
        elif step == "late tick":
            state = told(state, arbitrate(state, spec, [found(Trigger.DATA_DRIFT)], NOW + DAY))
        elif step in ("evaluate", "drift"):
            checks = [found(Trigger.DATA_DRIFT)] if step == "drift" else []
            state = told(state, arbitrate(state, spec, checks, now))
        elif step == "run ends":
            state = replace(state, run=None)
        else:
            state = replace(state, paused=step == "pause")
    assert state.wish is None
    assert newest is None or max(state.retrainings) >= newest.time


def test_what_was_told_are_the_two_events_there_are():
    for state, kind in (
        (ModelState("churn"), RetrainingRequested),
        (ModelState("churn", paused=True), RetrainingHeldBack),
    ):
        (event,) = events_of(state, grant(state, a_spec(), A_WISH), actor="ada", wish=A_WISH)
        assert isinstance(event, kind)
        assert event.actor == "ada"
