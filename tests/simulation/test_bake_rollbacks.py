"""The ops bake on simulated minutes: healthy versions that must stay, and bad ones that must go."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaincc, betaln

from evergreen.statistics.sequential import Health, bake_health

pytestmark = pytest.mark.slow

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

WINDOW, TWO_DAYS, DAY = 30, 2 * 1440, 1440
ENOUGH = math.log(2 / 0.01)


def log_e(bad: Ints, requests: Ints, p0: Floats) -> Floats:
    """The specification's formula for whole arrays; `rolled_back` holds it to the package."""
    a = b = 0.5
    with np.errstate(divide="ignore"):
        return (
            betaln(a + bad, b + requests - bad)
            + np.log(betaincc(a + bad, b + requests - bad, p0))
            - betaln(a, b)
            - np.log(betaincc(a, b, p0))
            - bad * np.log(p0)
            - (requests - bad) * np.log1p(-p0)
        )


def rolled_back(
    seed: int,
    n: int,
    a_minute: float,
    share: float,
    *,
    before: float | None = None,
    minutes: int = WINDOW,
    baseline_minutes: int = DAY,
    floor: float = 0.0,
    limit: float | None = None,
    tolerance: float = 0.02,
    by_estimate: bool = False,
) -> int:
    """How many of n bakes are rolled back at any minute."""
    hits = 0
    for start in range(0, n, 200):
        rng = np.random.default_rng((seed, start))
        size = min(200, n - start)
        requests = rng.poisson(a_minute, (size, minutes))
        bad = rng.binomial(requests, share).cumsum(axis=1)
        requests = requests.cumsum(axis=1)
        baseline = rng.poisson(a_minute * baseline_minutes, size)
        baseline_bad = rng.binomial(baseline, share if before is None else before)
        rules = {"floor": floor, "limit": limit, "tolerance": tolerance}
        if by_estimate:
            # A baseline a million times as long has no uncertainty left: its upper bound is the estimate.
            baseline, baseline_bad = baseline * 1_000_000, baseline_bad * 1_000_000
        baselines = zip(baseline_bad.tolist(), baseline.tolist(), strict=True)
        p0 = np.array([bake_health(0, 0, k, m, **rules).p0 for k, m in baselines])
        # The evidence falls while nothing bad comes, so only minutes with something bad can be the highest.
        worse = np.diff(bad, axis=1, prepend=0) > 0
        evidence = np.full(bad.shape, -np.inf)
        lowest = np.broadcast_to(p0[:, None] if limit is None else np.minimum(p0, limit)[:, None], bad.shape)
        evidence[worse] = log_e(bad[worse], requests[worse], lowest[worse])
        strongest = evidence.argmax(axis=1)
        promising = np.argsort(-evidence.max(axis=1))[:10]
        for bake in promising:
            look = int(strongest[bake])
            k, m = int(bad[bake, look]), int(requests[bake, look])
            theirs = bake_health(k, m, int(baseline_bad[bake]), int(baseline[bake]), **rules)
            assert (theirs.health is Health.ROLL_BACK) == (evidence[bake, look] >= ENOUGH)
            if evidence[bake, look] > -math.inf:
                assert theirs.log_e == pytest.approx(evidence[bake, look], abs=1e-6)
        hits += int((evidence.max(axis=1) >= ENOUGH).sum())
    return hits


@pytest.mark.parametrize("a_minute", [0.2, 1, 10, 100])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05])
def test_a_healthy_version_is_hardly_ever_rolled_back(share, a_minute, board, repetitions):
    for minutes, name, n in (
        (WINDOW, "30 minutes", repetitions(400, 4_000)),
        (TWO_DAYS, "2 days", repetitions(60, 1_000)),
    ):
        hits = rolled_back(41, n, a_minute, share, minutes=minutes)
        scenario = f"healthy, {share:.1%} errors, {a_minute:g} requests a minute, a look each minute for {name}"
        board.at_most("bake", scenario, hits, n, 0.01)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_a_thin_baseline_rolls_nothing_healthy_back(share, board, repetitions):
    n = repetitions(400, 4_000)
    for minutes_before, before in ((10, "10 requests"), (60, "60 requests"), (288, "288 requests")):
        hits = rolled_back(42, n, 1, share, baseline_minutes=minutes_before, minutes=DAY, limit=0.1)
        board.at_most("bake", f"healthy, {share:.0%} errors, a baseline of {before}, a day's looks", hits, n, 0.01)


@pytest.mark.parametrize("share", [0.01, 0.04, 0.06])
def test_a_healthy_versions_slow_answers_are_no_reason(share, board, repetitions):
    n = repetitions(300, 4_000)
    for a_minute in (1, 100):
        hits = rolled_back(43, n, a_minute, share, floor=0.05)
        board.at_most("bake", f"healthy, {share:.0%} slow answers, {a_minute} requests a minute", hits, n, 0.01)


@pytest.mark.parametrize(("alpha", "name"), [(0.01, "2/alpha"), (0.2, "10 in place of 2/alpha = 200")])
def test_a_version_that_is_just_acceptable_stays(alpha, name, board, repetitions):
    """As many errors as the limit allows: every rollback is by luck, and the two metrics share 1 %."""
    n, limit = repetitions(300, 2_000), 0.1
    hits, fewest = 0, bad_needed(range(1, 30 * 20 + 1), limit, alpha)
    for i in range(n):
        failed = np.random.default_rng((47, i)).random(len(fewest)) < limit
        hits += bool((failed.cumsum() >= fewest).any())
    if alpha == 0.01:
        board.at_most(
            "bake", "errors exactly at the limit of 10 %, a look each request, one of 2 metrics", hits, n, 0.005
        )
    else:
        board.breaks("bake", f"roll back at {name}", hits, n, 0.01)


def bad_needed(requests: range, limit: float, alpha: float) -> Ints:
    """For each number of requests, the fewest bad ones that `bake_health` rolls back."""
    needed, bad = [], 0
    for of in requests:
        while bad <= of and bake_health(bad, of, 0, 0, limit=limit, alpha=alpha).health is not Health.ROLL_BACK:
            bad += 1
        needed.append(bad)
    return np.array(needed)


def test_a_bad_version_is_caught_within_the_window(board, repetitions):
    n = repetitions(400, 4_000)
    stories = (
        ("50 % errors at 1 request a minute", 1, 0.5, 0.0, 0.95),
        ("1 % -> 10 % errors at 10 requests a minute", 10, 0.1, 0.0, 0.85),
        ("1 % -> 20 % slow answers at 10 requests a minute", 10, 0.2, 0.05, 0.85),
        ("1 % -> 50 % slow answers at 1 request a minute", 1, 0.5, 0.05, 0.95),
    )
    for scenario, a_minute, share, floor, goal in stories:
        hits = rolled_back(44, n, a_minute, share, before=0.01, floor=floor)
        board.at_least("bake", f"{scenario}, caught within 30 minutes", hits, n, goal)


def test_a_point_estimate_of_the_baseline_would_be_seen(board, repetitions):
    """No upper bound and no tolerance: what the previous version happened to do is taken for what it would do."""
    n = repetitions(400, 4_000)
    hits = rolled_back(45, n, 1, 0.05, baseline_minutes=60, minutes=DAY, tolerance=1e-6, floor=0.005, by_estimate=True)
    board.breaks("bake", "a baseline of 60 requests at its point estimate, no tolerance", hits, n, 0.01)


def test_the_tutorials_rule_would_be_seen(board, repetitions):
    """More than one error in ten of a minute's requests, at any minute."""
    n = repetitions(400, 4_000)
    for a_minute in (1, 10):
        rng = np.random.default_rng(46)
        requests = rng.poisson(a_minute, (n, WINDOW))
        bad = rng.binomial(requests, 0.01)
        hits = int(((bad > 0.1 * requests) & (requests > 0)).any(axis=1).sum())
        board.breaks("bake", f"over 10 % errors in any minute, {a_minute} requests a minute", hits, n, 0.01)
