"""The ops bake: errors and slow answers of a version that has just taken over, and where a rollback goes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evergreen.domain.bake import Traffic, judge_alarm, judge_bake, roll_back
from evergreen.domain.model_events import RollbackDecided, RollbackImpossible
from evergreen.domain.state import Bake, BakePhase, ModelState, RollbackCause, Version, VersionStatus
from evergreen.spec import ModelSpec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BAKE = Bake(version=2, replaced=1, phase=BakePhase.OPS, since=NOON)
A_GOOD_DAY = Traffic(requests=10_000, errors=20, slow=100)
NOTHING = Traffic(0, 0, 0)
SPEC = ModelSpec.parse(
    {"model": "churn", "task": "binary", "features": {"age": {"type": "number"}}, "labels": {"classes": ["0", "1"]}}
)


def judged(traffic, after, baseline=A_GOOD_DAY, spec=SPEC):
    return judge_bake(spec, BAKE, traffic, baseline, NOON + after)


def minutes(count):
    return timedelta(minutes=count)


def test_a_version_that_fails_is_rolled_back_at_once():
    decision = judged(Traffic(200, 60, 0), minutes(1))
    assert (decision.cause, decision.passed) == (RollbackCause.ERRORS, False)
    assert decision.because.startswith("60 of 200 requests failed, ")


def test_a_version_that_is_slow_is_rolled_back_for_its_latency():
    decision = judged(Traffic(200, 0, 80), minutes(1))
    assert decision.cause is RollbackCause.LATENCY
    assert decision.because.startswith("80 of 200 requests took over 1000 ms, ")


def test_errors_go_before_latency():
    assert judged(Traffic(200, 100, 100), minutes(1)).cause is RollbackCause.ERRORS


def test_a_few_errors_are_no_proof():
    decision = judged(Traffic(200, 3, 5), minutes(10))
    assert (decision.cause, decision.passed) == (None, False)
    assert decision.because == "watched 0:10:00, the bake lasts 0:30:00"


def test_a_healthy_version_passes_when_its_time_is_up():
    decision = judged(Traffic(2_000, 4, 20), minutes(30))
    assert (decision.cause, decision.passed) == (None, True)
    assert decision.because == "4 of 2000 requests failed, 20 were slow"


def test_too_little_traffic_extends_the_bake():
    decision = judged(Traffic(5, 0, 0), minutes(45))
    assert not decision.passed
    assert decision.because == "5 requests are too few to judge: the bake is extended"


def test_the_extension_has_an_end():
    decision = judged(Traffic(5, 0, 0), timedelta(days=2))
    assert decision.passed
    assert decision.because.endswith("too little traffic within 2 days, 0:00:00")


def test_no_traffic_at_all_is_neither_good_nor_bad():
    decision = judged(NOTHING, minutes(31), baseline=NOTHING)
    assert (decision.cause, decision.passed) == (None, False)


def test_a_first_version_is_held_to_the_hard_limit_alone():
    assert judged(Traffic(300, 25, 0), minutes(30), baseline=NOTHING).cause is None
    assert judged(Traffic(300, 90, 0), minutes(30), baseline=NOTHING).cause is RollbackCause.ERRORS


def test_the_hard_limit_holds_however_bad_the_replaced_version_was():
    was_bad = Traffic(10_000, 3_000, 0)
    assert judged(Traffic(1_000, 300, 0), minutes(5), baseline=was_bad).cause is RollbackCause.ERRORS


def test_the_replaced_versions_own_slowness_is_tolerated():
    was_slow = Traffic(10_000, 0, 4_000)
    assert judged(Traffic(1_000, 0, 400), minutes(30), baseline=was_slow).passed


def test_the_numbers_are_kept():
    evidence = judged(Traffic(200, 60, 0), minutes(1)).evidence
    assert (evidence["requests"], evidence["errors"], evidence["baseline_requests"]) == (200, 60, 10_000)
    assert evidence["log_e_errors"] > evidence["log_e_threshold"] > evidence["log_e_slow"]


@pytest.mark.parametrize("looks", [30])
def test_looking_every_minute_does_not_make_a_healthy_version_bad(looks):
    for minute in range(1, looks + 1):
        steady = Traffic(100 * minute, minute // 5, minute)
        assert judged(steady, minutes(minute)).cause is None


def a_version(number, status, promoted=None, fingerprint="f"):
    at = None if promoted is None else NOON - timedelta(days=promoted)
    return Version(number, status, "s3://a/m.tar.gz", "0" * 64, fingerprint, NOON - timedelta(days=90), promoted_at=at)


def rolled_back(*versions):
    state = ModelState("churn", production=versions[-1].number, versions=versions)
    return roll_back(state, RollbackCause.QUALITY, "it is worse", {"gain": -0.1}, actor="ada", now=NOON)


# --- an alarm at any other time ---------------------------------------------------------------------------------------


def test_an_alarm_rolls_back_a_version_that_fails_unlike_it_used_to():
    decision = judge_alarm(SPEC, Traffic(300, 60, 0), A_GOOD_DAY)
    assert (decision.cause, decision.passed) == (RollbackCause.ERRORS, False)
    assert judge_alarm(SPEC, Traffic(300, 0, 90), A_GOOD_DAY).cause is RollbackCause.LATENCY


@pytest.mark.parametrize("traffic", [NOTHING, Traffic(5, 3, 0), Traffic(300, 3, 9)])
def test_an_alarm_without_evidence_is_not_enough(traffic):
    decision = judge_alarm(SPEC, traffic, A_GOOD_DAY)
    assert (decision.cause, decision.passed) == (None, False)


def test_an_alarm_needs_more_evidence_than_a_bake_since_it_looks_where_errors_gather():
    convincing = next(n for n in range(300) if judged(Traffic(300, n, 0), minutes(1)).cause is not None)
    decision = judge_alarm(SPEC, Traffic(300, convincing, 0), A_GOOD_DAY)
    assert decision.cause is None
    assert judge_alarm(SPEC, Traffic(300, 2 * convincing, 0), A_GOOD_DAY).cause is RollbackCause.ERRORS


def test_alarms_of_a_year_on_the_worst_half_hours_take_no_healthy_version_out():
    rng = np.random.default_rng(0)
    half_hours = rng.binomial(300, A_GOOD_DAY.errors / A_GOOD_DAY.requests, size=(100, 17_520))
    worst = half_hours.max(axis=1)
    assert all(judge_alarm(SPEC, Traffic(300, int(n), 0), A_GOOD_DAY).cause is None for n in worst)


def test_a_rollback_goes_to_the_version_that_was_good_last():
    event = rolled_back(
        a_version(1, VersionStatus.GOOD, promoted=30),
        a_version(2, VersionStatus.GOOD, promoted=20),
        a_version(3, VersionStatus.ROLLED_BACK, promoted=10),
        a_version(4, VersionStatus.BAKING, promoted=1),
    )
    assert isinstance(event, RollbackDecided)
    assert (event.version, event.to_version, event.cause) == (4, 2, RollbackCause.QUALITY)
    assert (event.because, event.evidence, event.actor) == ("it is worse", {"gain": -0.1}, "ada")


def test_a_rollback_with_nowhere_to_go_says_so_and_changes_nothing():
    event = rolled_back(
        a_version(1, VersionStatus.GOOD, promoted=30, fingerprint="other features"),
        a_version(2, VersionStatus.BAKING, promoted=1),
    )
    assert isinstance(event, RollbackImpossible)
    assert event.version == 2
    assert event.because == "it is worse; no other version is known to be good: production is left as it is"


def beside(traffic, other, **how):
    return judge_bake(SPEC, BAKE, traffic, A_GOOD_DAY, NOON + minutes(10), beside=other, **how)


def test_an_hour_that_is_bad_for_both_versions_of_a_canary_takes_neither_out():
    failing = Traffic(400, 32, 0)
    assert beside(failing, None).cause is RollbackCause.ERRORS
    assert beside(failing, Traffic(3_600, 288, 0)).cause is None


def test_a_canary_that_is_worse_than_the_other_version_at_the_same_hour_is_rolled_back():
    decision = beside(Traffic(400, 60, 0), Traffic(3_600, 180, 0))
    assert decision.cause is RollbackCause.ERRORS
    assert (decision.evidence["beside_requests"], decision.evidence["beside_errors"]) == (3_600, 180)


def test_an_hour_better_than_the_day_before_does_not_make_the_test_stricter():
    usual = Traffic(400, 10, 0)
    alone, together = beside(usual, None), beside(usual, Traffic(50_000, 0, 0))
    assert together.evidence["log_e_errors"] == alone.evidence["log_e_errors"]


def test_the_limit_of_errors_holds_whatever_the_other_version_does():
    assert beside(Traffic(400, 160, 0), Traffic(3_600, 1_440, 0)).cause is RollbackCause.ERRORS


def test_a_few_requests_of_the_other_version_say_nothing():
    assert beside(Traffic(400, 32, 0), Traffic(59, 59, 0)).cause is RollbackCause.ERRORS
