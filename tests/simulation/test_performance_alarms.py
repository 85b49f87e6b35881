"""Performance on simulated years: healthy ones that must not alarm, and drops that must be found in days."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evergreen.statistics.degradation import THRESHOLD, overdispersion, performance

pytestmark = pytest.mark.slow

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ACCEPTED, HEALTHY, FALLEN = 0.85, 0.87, 0.80
"""The user's threshold, two points above it, five points below it."""

REFERENCE_DAYS = 28
DISTANCES = np.geomspace(0.02, 0.6, 8)


def correct_a_day(rng: np.random.Generator, labels: int, accuracy: Floats, points: float) -> Ints:
    """Right answers of each day; ``points`` is how much a day's own accuracy differs, in points (one sd)."""
    own = (accuracy + rng.normal(0.0, points / 100, accuracy.shape)).clip(0.0, 1.0)
    return rng.binomial(labels, own)


def log_detectors(correct: Ints, labels: int, phi: Floats) -> Floats:
    """The specification's recursion for many years at once, shape (years, days); held to the package below."""
    p0 = 1 - ACCEPTED
    theta = p0 + (1 - p0) * DISTANCES
    log_m = np.full((len(correct), len(theta)), -np.inf)
    after = np.empty(correct.shape)
    for day in range(correct.shape[1]):
        errors = (labels - correct[:, day])[:, None]
        evidence = errors * np.log(theta / p0) + (labels - errors) * np.log((1 - theta) / (1 - p0))
        log_m = np.logaddexp(0.0, log_m) + evidence / phi[:, None]
        after[:, day] = np.logaddexp.reduce(log_m, axis=1) - np.log(len(theta))
    return after


def days_of(correct: Ints, labels: int) -> list[tuple[int, int]]:
    return [(labels, int(right)) for right in correct]


def judged_years(
    seed: int, n: int, labels: int, accuracy: Floats, points: float, *, reference_points: float | None = None
) -> tuple[Ints, Floats]:
    """Each year's right answers a day and the detector after each day; a sample is shown to the entry point."""
    rng = np.random.default_rng(seed)
    before = np.full((n, REFERENCE_DAYS), HEALTHY)
    reference = correct_a_day(rng, labels, before, points if reference_points is None else reference_points)
    correct = correct_a_day(rng, labels, np.broadcast_to(accuracy, (n, len(accuracy))), points)
    phi = np.array([overdispersion(days_of(days, labels)) for days in reference])
    score = log_detectors(correct, labels, phi)
    for year in range(min(n, 20)):
        worst = max(int(score[year].argmax()), 100 // labels + 1)
        daily = days_of(correct[year, : worst + 1], labels)
        found = performance(daily, days_of(reference[year], labels), accuracy_threshold=ACCEPTED)
        assert found.log_m == pytest.approx(score[year, worst], abs=1e-8)
        assert (found.status == "degraded") == (score[year, worst] >= np.log(THRESHOLD))
    return correct, score


@pytest.mark.parametrize("points", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("labels", [20, 100, 1_000, 10_000])
def test_a_healthy_year_seldom_alarms(labels, points, board, repetitions):
    n = repetitions(200, 4_000)
    _, score = judged_years(31, n, labels, np.full(365, HEALTHY), points)
    alarms = int((score.max(axis=1) >= np.log(THRESHOLD)).sum())
    scenario = f"a healthy year, {labels:,} labels a day, days' sd {points:g} points"
    board.at_most("performance", scenario, alarms, n, 0.05)


def test_an_accuracy_exactly_at_the_threshold_alarms_once_in_two_years_of_looks(board, repetitions):
    """The detector promises 730 looks between false alarms on average, so 60 days alarm in at most 60 of 730."""
    n, days = repetitions(300, 4_000), 60
    for labels in (100, 1_000):
        _, score = judged_years(35, n, labels, np.full(days, ACCEPTED), 0.0, reference_points=0.0)
        alarms = int((score.max(axis=1) >= np.log(THRESHOLD)).sum())
        scenario = f"accuracy exactly at the threshold, {labels:,} labels a day, 60 days"
        board.at_most("performance", scenario, alarms, n, days / THRESHOLD)


@pytest.mark.parametrize(("labels", "points"), [(100, 0.0), (100, 2.0), (1_000, 0.0), (1_000, 2.0), (20, 0.0)])
def test_a_drop_is_found_in_days(labels, points, board, repetitions):
    n, healthy = repetitions(200, 4_000), 60
    accuracy = np.concatenate([np.full(healthy, HEALTHY), np.full(240, FALLEN)])
    _, score = judged_years(32, n, labels, accuracy, points)
    after = score[:, healthy:] >= np.log(THRESHOLD)
    assert after.any(axis=1).all()
    days = after.argmax(axis=1) + 1
    spread = f"median {np.median(days):g}, 90th percentile {np.quantile(days, 0.9):g}"
    scenario = f"5 points below the threshold, {labels:,} labels a day, days' sd {points:g}"
    if labels == 100 and points == 0.0:
        board.no_more_than("performance", f"{scenario}: mean days to find", float(days.mean()), 10, allowing=0.5)
        board.note("performance", f"{scenario}: spread", "", spread)
    else:
        board.note("performance", f"{scenario}: days to find", "", f"mean {days.mean():.1f}, {spread}")


def test_days_taken_for_independent_rows_would_be_seen(board, repetitions):
    """phi forgotten: a reference that shows no overdispersion where the days have some."""
    n = repetitions(200, 1_000)
    _, score = judged_years(33, n, 10_000, np.full(365, HEALTHY), 2.0, reference_points=0.0)
    alarms = int((score.max(axis=1) >= np.log(THRESHOLD)).sum())
    board.breaks("performance", "phi forgotten, 10,000 labels a day", alarms, n, 0.05)


def test_a_point_estimate_would_be_seen(board, repetitions):
    """The accuracy of the last seven days, held against the threshold each day."""
    n = repetitions(200, 1_000)
    for labels in (20, 100):
        correct, _ = judged_years(34, n, labels, np.full(365, HEALTHY), 0.0)
        total = np.cumsum(correct, axis=1)
        week = (total[:, 7:] - total[:, :-7]) / (7 * labels)
        alarms = int((week.min(axis=1) < ACCEPTED).sum())
        board.breaks("performance", f"seven days' point estimate, {labels} labels a day", alarms, n, 0.05)
