"""The shadow's verdict and the bake's health."""

from __future__ import annotations

import json
import math
import sys
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special as reference

from evergreen.statistics.sequential import (
    BETS,
    Health,
    LossSums,
    ShadowVerdict,
    Verdict,
    bake_health,
    shadow_verdict,
    shadow_verdict_from_losses,
)

counts = st.integers(0, 5_000)
differences = st.lists(st.floats(-1.0, 1.0, allow_nan=False), max_size=60)


def as_differences(wins: int, losses: int, ties: int) -> np.ndarray:
    return np.concatenate([np.ones(wins), -np.ones(losses), np.zeros(ties)])


def test_the_e_value_is_the_formula() -> None:
    wins, losses, ties, margin = 40, 22, 300, 0.01
    bets = BETS / (1 + margin)
    each = (1 + bets * (1 - margin)) ** wins * (1 - bets * (1 + margin)) ** losses * (1 - bets * margin) ** ties
    found = shadow_verdict(wins, losses, ties, margin=margin)
    assert found.e_promote == pytest.approx(each.mean(), rel=1e-12)
    each = (1 + BETS * 1.02) ** losses * (1 - BETS * 0.98) ** wins * (1 + BETS * 0.02) ** ties
    assert found.e_keep == pytest.approx(each.mean(), rel=1e-12)


def test_no_rows_say_nothing() -> None:
    found = shadow_verdict(0, 0, 0)
    assert (found.verdict, found.rows, found.gain, found.rows_to_decide) == ("need_more_data", 0, None, None)
    assert found.interval == (-1.0, 1.0)
    assert shadow_verdict_from_losses([]).verdict is Verdict.NEED_MORE_DATA


def test_a_clear_gain_is_promoted_a_clear_loss_is_kept_and_a_small_gain_waits() -> None:
    assert shadow_verdict(200, 100, 1_700).verdict is Verdict.PROMOTE
    assert shadow_verdict(100, 200, 1_700).verdict is Verdict.KEEP
    assert shadow_verdict(105, 95, 800).verdict is Verdict.NEED_MORE_DATA


def test_fresher_and_not_worse_needs_a_negative_margin() -> None:
    assert shadow_verdict(100, 100, 5_000, min_gain=0.5).verdict is Verdict.KEEP
    assert shadow_verdict(100, 100, 5_000, margin=-0.02, min_gain=0.5).verdict is Verdict.PROMOTE


def test_huge_counts_overflow_nothing() -> None:
    found = shadow_verdict(10**9, 10**5, 10**9)
    assert found.verdict is Verdict.PROMOTE
    assert found.e_promote == sys.float_info.max
    assert math.isfinite(found.log_e_promote)
    assert found.e_keep == 0.0
    assert 0.4 < found.interval[0] < found.interval[1] < 0.6


def test_the_projection_is_where_the_verdict_comes() -> None:
    wins, losses, ties = 70, 55, 875
    seen = shadow_verdict(wins, losses, ties, min_gain=-0.9)
    assert seen.verdict is Verdict.NEED_MORE_DATA
    assert seen.rows_to_decide is not None
    times = (seen.rows + seen.rows_to_decide) / seen.rows
    later = [round(n * times) for n in (wins, losses, ties)]
    assert shadow_verdict(*later).log_e_promote == pytest.approx(math.log(100), rel=0.01)


def test_the_projection_gives_up_where_neither_side_grows() -> None:
    assert shadow_verdict(2_010, 1_990, 0, min_gain=0.01).rows_to_decide is None


@given(counts, counts, counts, st.sampled_from([-0.05, 0.0, 0.03]))
@settings(max_examples=60)
def test_the_interval_holds_the_gain_and_passes_the_margin_when_promoted(
    wins: int, losses: int, ties: int, margin: float
) -> None:
    found = shadow_verdict(wins, losses, ties, margin=margin)
    low, high = found.interval
    assert -1.0 <= low <= high <= 1.0
    if found.gain is not None:
        assert low <= found.gain <= high
    if abs(found.log_e_promote - math.log(100)) > 1e-3:
        assert (low > margin) == (found.verdict is Verdict.PROMOTE)


@given(counts, counts, counts)
@settings(max_examples=40)
def test_one_more_win_never_weakens_the_shadow(wins: int, losses: int, ties: int) -> None:
    before, after = shadow_verdict(wins, losses, ties), shadow_verdict(wins + 1, losses, ties)
    assert after.log_e_promote > before.log_e_promote
    assert after.log_e_keep < before.log_e_keep
    worse = shadow_verdict(wins, losses + 1, ties)
    assert worse.log_e_promote < before.log_e_promote


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=30)
def test_losses_of_minus_one_zero_and_one_are_the_counts(wins: int, losses: int, ties: int) -> None:
    by_counts = shadow_verdict(wins, losses, ties)
    by_losses = shadow_verdict_from_losses(as_differences(wins, losses, ties))
    assert by_losses.verdict == by_counts.verdict
    assert by_losses.rows == by_counts.rows
    assert by_losses.gain == by_counts.gain
    assert by_losses.log_e_promote == pytest.approx(by_counts.log_e_promote, abs=1e-9)
    assert by_losses.log_e_keep == pytest.approx(by_counts.log_e_keep, abs=1e-9)
    assert by_losses.interval == pytest.approx(by_counts.interval, abs=1e-6)


def test_the_interval_from_losses_inverts_the_e_value() -> None:
    x = np.random.default_rng(5).uniform(-0.6, 0.7, size=4_000)
    low, high = shadow_verdict_from_losses(x).interval

    def log_e(values: np.ndarray, margin: float) -> float:
        bets = BETS / (1 + max(margin, 0.0))
        return float(reference.logsumexp([np.log1p(b * (values - margin)).sum() for b in bets])) - math.log(12)

    assert log_e(x, low) == pytest.approx(math.log(100), abs=1e-3)
    assert log_e(-x, -high) == pytest.approx(math.log(100), abs=1e-3)


@given(differences, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=40)
def test_sums_of_pieces_in_any_order_are_the_sums_of_the_whole(
    values: list[float], random: Random, pieces: int
) -> None:
    whole = LossSums.count(values, margin=0.01, min_gain=0.03)
    shuffled = list(values)
    random.shuffle(shuffled)
    parts = [LossSums.count(shuffled[i::pieces], margin=0.01, min_gain=0.03) for i in range(pieces)]
    merged = parts[0]
    for part in parts[1:]:
        merged = part + merged
    assert merged == whole
    assert merged.verdict() == whole.verdict()
    assert LossSums.from_json(json.loads(json.dumps(merged.to_json()))) == whole


def test_sums_of_more_rows_than_a_chunk_are_the_sums_of_the_whole() -> None:
    x = np.random.default_rng(6).uniform(-1, 1, size=150_000)
    assert LossSums.count(x) == LossSums.count(x[:100_001]) + LossSums.count(x[100_001:])
    expected = np.log1p(BETS[:, None] * x).sum(axis=1)
    assert np.array(LossSums.count(x).promote) / 2**44 == pytest.approx(expected, abs=1e-7)


def test_sums_for_other_margins_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"margin is 0\.01; merge only sums counted with margin=0\.0"):
        LossSums.count([0.1]).merge(LossSums.count([0.1], margin=0.01))


def test_an_equal_shadow_is_hardly_ever_promoted_whoever_looks_when() -> None:
    rng = np.random.default_rng(11)
    promoted = 0
    for _ in range(200):
        outcomes = rng.choice([1, -1, 0], p=[0.1, 0.1, 0.8], size=6_000)
        looks = np.arange(100, 6_001, 100)
        wins = np.cumsum(outcomes == 1)[looks - 1]
        losses = np.cumsum(outcomes == -1)[looks - 1]
        bets = wins[:, None] * np.log1p(BETS) + losses[:, None] * np.log1p(-BETS)
        evidence = reference.logsumexp(bets, axis=1) - math.log(12)
        at = int(evidence.argmax())
        found = shadow_verdict(int(wins[at]), int(losses[at]), int(looks[at] - wins[at] - losses[at]))
        assert found.log_e_promote == pytest.approx(evidence[at])
        promoted += found.verdict is Verdict.PROMOTE
    assert promoted <= 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wins": -1}, "wins is -1; pass a whole count of 0 or more"),
        ({"losses": 1.5}, "losses is 1.5; pass a whole count"),
        ({"ties": math.nan}, "ties is nan; pass a whole count"),
        ({"ties": "3"}, "ties is '3'; pass a whole count"),
        ({"wins": None}, "wins is None; pass a whole count"),
        ({"alpha": 0.0}, "alpha is 0.0; pass a number above 0 and below 1"),
        ({"alpha": 1}, "alpha is 1; pass a number above 0 and below 1"),
        ({"alpha_keep": math.nan}, "alpha_keep is nan"),
        ({"margin": 1.0}, "margin is 1.0; pass a number above -1 and below 1"),
        ({"min_gain": math.inf}, "min_gain is inf"),
    ],
)
def test_bad_input_is_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shadow_verdict(**({"wins": 5, "losses": 3, "ties": 9} | arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[0.1, math.nan], [1.2], [math.inf], [[0.1]], ["a"], [None]])
def test_losses_out_of_bounds_are_refused(wrong: list[object]) -> None:
    with pytest.raises(ValueError, match="differences"):
        shadow_verdict_from_losses(wrong)  # type: ignore[arg-type]


def test_whole_floats_and_numpy_integers_are_counts() -> None:
    assert shadow_verdict(np.int64(5), 3.0, np.float64(9)) == shadow_verdict(5, 3, 9)  # type: ignore[arg-type]


def test_a_verdict_is_a_frozen_word() -> None:
    found = shadow_verdict(5, 3, 9)
    assert isinstance(found, ShadowVerdict)
    assert json.dumps(found.verdict) == '"need_more_data"'
    assert f"{found.verdict}" == "need_more_data"
    with pytest.raises(AttributeError):
        found.rows = 3  # type: ignore[misc]


# the bake


def test_the_bakes_e_value_is_the_formula() -> None:
    k, n, p0, a, b = 12, 200, 0.03, 0.5, 0.5
    expected = (
        reference.betaln(a + k, b + n - k)
        + math.log(reference.betaincc(a + k, b + n - k, p0))
        - reference.betaln(a, b)
        - math.log(reference.betaincc(a, b, p0))
        - k * math.log(p0)
        - (n - k) * math.log(1 - p0)
    )
    found = bake_health(k, n, 0, 0, tolerance=p0)
    assert found.p0 == p0
    assert found.log_e == pytest.approx(expected, rel=1e-10)
    assert found.e == pytest.approx(math.exp(expected), rel=1e-9)
    assert found.threshold == 200.0


def test_the_baseline_is_taken_at_its_upper_bound() -> None:
    found = bake_health(0, 100, 10, 1_000)
    assert found.p0 == pytest.approx(float(reference.betainccinv(11, 990, 0.05)) + 0.02, rel=1e-9)
    assert bake_health(0, 100, 10, 1_000, floor=0.3).p0 == 0.3


def test_a_failing_version_is_rolled_back_and_a_healthy_one_is_not() -> None:
    assert bake_health(2, 100, 14, 1_440).health is Health.HEALTHY
    assert bake_health(8, 16, 14, 1_440).health is Health.ROLL_BACK
    assert bake_health(0, 59, 14, 1_440).health is Health.TOO_LITTLE_TRAFFIC
    assert bake_health(0, 60, 14, 1_440).health is Health.HEALTHY
    assert bake_health(0, 0, 0, 0).share is None


def test_a_hard_limit_holds_whatever_the_baseline_was() -> None:
    assert bake_health(90, 300, 450, 1_000).health is Health.HEALTHY
    found = bake_health(90, 300, 450, 1_000, limit=0.1)
    assert (found.health, found.p0) == ("roll_back", 0.1)


def test_without_a_baseline_the_limit_or_the_floor_is_what_is_acceptable() -> None:
    assert bake_health(0, 100, 0, 0, limit=0.1).p0 == 0.1
    assert bake_health(0, 100, 0, 0, floor=0.05).p0 == pytest.approx(0.07)
    with pytest.raises(ValueError, match=r"tolerance is 0\.0; .*there is no baseline"):
        bake_health(0, 100, 0, 0, tolerance=0.0)


@given(
    st.sampled_from([0, 1, 7, 10**3, 10**6 - 1, 10**6]),
    st.sampled_from([1, 59, 60, 10**3, 10**6]),
    st.sampled_from([0, 1, 10**3, 10**6 - 1, 10**6]),
    st.sampled_from([0, 1, 10**3, 10**6]),
    st.sampled_from([None, 1e-9, 0.1, 1 - 1e-12]),
    st.sampled_from([0.0, 1e-12, 0.02, 0.999]),
)
def test_extremes_give_numbers(k: int, n: int, base_k: int, base_n: int, limit: float | None, tolerance: float) -> None:
    if base_n == 0 and limit is None and tolerance == 0.0:
        return
    found = bake_health(min(k, n), n, min(base_k, base_n), base_n, limit=limit, tolerance=tolerance)
    assert math.isfinite(found.log_e)
    assert math.isfinite(found.e)
    assert 0.0 < found.p0 <= 1.0


@given(st.integers(0, 200), st.integers(0, 1_000))
@settings(max_examples=40)
def test_more_failures_are_more_evidence(bad: int, good: int) -> None:
    fewer, more = bake_health(bad, bad + good, 14, 1_440), bake_health(bad + 1, bad + good + 1, 14, 1_440)
    if fewer.share is not None and fewer.share > fewer.p0:
        assert more.log_e > fewer.log_e


def test_healthy_versions_are_hardly_ever_rolled_back() -> None:
    rng = np.random.default_rng(12)
    rolled_back = 0
    for _ in range(100):
        bad_before = int(rng.binomial(1_440, 0.01))
        bad = np.cumsum(rng.random(60) < 0.01)
        rolled_back += any(
            bake_health(int(bad[n - 1]), n, bad_before, 1_440).health is Health.ROLL_BACK for n in range(5, 61, 5)
        )
    assert rolled_back <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bad": 11}, "bad is 11; pass at most requests, which is 10"),
        ({"requests": -1}, "requests is -1"),
        ({"baseline_bad": 200}, "baseline_bad is 200; pass at most baseline_requests"),
        ({"alpha": 2}, "alpha is 2"),
        ({"metrics": 0}, "metrics is 0; pass how many metrics are watched"),
        ({"limit": 0.0}, "limit is 0.0"),
        ({"tolerance": -0.1}, "tolerance is -0.1; pass a number of at least 0 and below 1"),
        ({"floor": math.nan}, "floor is nan"),
    ],
)
def test_a_bad_bake_is_refused_by_name(arguments: dict[str, object], message: str) -> None:
    good = {"bad": 1, "requests": 10, "baseline_bad": 1, "baseline_requests": 100}
    with pytest.raises(ValueError, match=message):
        bake_health(**(good | arguments))  # type: ignore[arg-type]
