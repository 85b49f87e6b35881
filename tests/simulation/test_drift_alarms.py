"""Drift on simulated months: twenty columns with a weekly cycle and days of their own, judged each day."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from evergreen.statistics.drift import DriftStatus, detect
from evergreen.statistics.profile import Binning, Profile

pytestmark = pytest.mark.slow

COLUMNS = 20
WEEK, MONTH = 7, 30
ATOMS = np.round(np.arange(-50, 51) * 0.1, 1)
"""The values a column takes: fine enough for a normal distribution, few enough to draw counts in place of rows."""

Floats = NDArray[np.float64]
NAMES = [f"c{i:02d}" for i in range(COLUMNS)]


@cache
def binning() -> Binning:
    reference = np.random.default_rng(0).normal(size=5_000).round(1)
    return Binning.fit(dict.fromkeys(NAMES, reference))


@cache
def bins_of_atoms() -> NDArray[np.int64]:
    """The bin of each atom within a column: all columns are binned alike."""
    alone = [Profile.count({name: [atom] for name in NAMES}, binning()) for atom in ATOMS]
    return np.array([profile.sparse_column(NAMES[0])[0][0] for profile in alone])


def profile_of(counts: NDArray[np.int64]) -> Profile:
    """The profile of so many rows at each atom, shape (columns, atoms)."""
    bins = np.unique(bins_of_atoms())
    held = np.zeros((COLUMNS, len(bins)), dtype=np.int64)
    np.add.at(held.T, np.searchsorted(bins, bins_of_atoms()), counts.T)
    where = (np.array(binning().starts[:-1])[:, None] + bins)[held > 0]
    return Profile(binning(), int(counts[0].sum()), where, held[held > 0])


@dataclass(frozen=True)
class Traffic:
    """How a model's inputs behave: rows a day, the swing of the week, and how much a day differs from its weekday."""

    rows_a_week: int
    weekly: float = 0.2
    daily: float = 0.05

    def days(self, rng: np.random.Generator, days: int, moved: Floats | float = 0.0) -> list[Profile]:
        """``moved``: what is added to each day's mean, shape (days, columns), in standard deviations."""
        phase = np.arange(COLUMNS) * WEEK / COLUMNS
        mean = self.weekly * np.sin(2 * np.pi * (np.arange(days)[:, None] + phase) / WEEK)
        mean = mean + rng.normal(0.0, self.daily, (days, COLUMNS)) + moved
        edges = np.concatenate([[-np.inf], (ATOMS[1:] + ATOMS[:-1]) / 2, [np.inf]])
        shares = np.diff(ndtr(edges - mean[..., None]), axis=-1)
        rows = np.full(WEEK, self.rows_a_week // WEEK) + (np.arange(WEEK) < self.rows_a_week % WEEK)
        return [profile_of(rng.multinomial(rows[day % WEEK], shares[day])) for day in range(days)]


def weeks_of(days: list[Profile]) -> list[Profile]:
    return [Profile.total(days[start : start + WEEK]) for start in range(0, len(days), WEEK)]


def trailing_week(days: list[Profile], day: int) -> Profile:
    return Profile.total(days[day - WEEK + 1 : day + 1])


def alarms_in_a_month(rng: np.random.Generator, traffic: Traffic, cycles: int, *, calibrate: bool = True) -> bool:
    days = traffic.days(rng, WEEK * cycles + WEEK + MONTH)
    reference = weeks_of(days[: WEEK * cycles])
    if not calibrate:
        reference = [Profile.total(reference)]
    looks = range(WEEK * (cycles + 1), len(days))
    return any(detect(reference, trailing_week(days, day)).drift for day in looks)


def test_counts_drawn_into_bins_are_the_profile_of_rows():
    traffic = Traffic(700)
    rng = np.random.default_rng(1)
    counts = rng.multinomial(500, np.full(len(ATOMS), 1 / len(ATOMS)), size=COLUMNS)
    rows = {name: np.repeat(ATOMS, held) for name, held in zip(NAMES, counts, strict=True)}
    assert profile_of(counts) == Profile.count(rows, binning())
    assert sum(day.rows for day in traffic.days(rng, WEEK)) == 700


@pytest.mark.parametrize(
    ("rows", "cycles", "daily"),
    [(1_000, 4, 0.05), (1_000, 8, 0.05), (100_000, 4, 0.05), (100_000, 6, 0.1), (100_000, 8, 0.2), (100_000, 4, 0.2)],
)
def test_an_ordinary_month_seldom_alarms(rows, cycles, daily, board, repetitions):
    n = repetitions(6, 150)
    traffic = Traffic(rows, daily=daily)
    hits = sum(alarms_in_a_month(np.random.default_rng((21, i)), traffic, cycles) for i in range(n))
    scenario = f"a month, {rows:,} rows a window, {cycles} reference weeks, days' sd {daily}"
    board.at_most("drift", scenario, hits, n, 0.10)


@pytest.mark.parametrize("rows", [100, 200])
def test_a_small_window_seldom_alarms(rows, board, repetitions):
    n = repetitions(6, 150)
    hits = sum(alarms_in_a_month(np.random.default_rng((22, i)), Traffic(rows), 4) for i in range(n))
    board.at_most("drift", f"a month, {rows} rows a window and a reference week, 4 reference weeks", hits, n, 0.10)


def test_a_small_window_against_a_large_reference_seldom_alarms(board, repetitions):
    """One look at 143 rows beside 5,000 of the same distribution, with and without weeks to calibrate by."""
    n = repetitions(60, 1_000)
    for cycles in (1, 5):
        hits = 0
        for i in range(n):
            rng = np.random.default_rng((23, cycles, i))
            reference = [Traffic(5_000 // cycles, weekly=0.0, daily=0.0).days(rng, 7) for _ in range(cycles)]
            window = Profile.total(Traffic(143, weekly=0.0, daily=0.0).days(rng, 7))
            hits += detect([Profile.total(days) for days in reference], window).drift is not False
        board.at_most("drift", f"143 rows beside 5,000 in {cycles} cycles, one look", hits, n, 0.01)


def test_the_same_rows_again_never_alarm(board, repetitions):
    n, hits = repetitions(20, 200), 0
    for i in range(n):
        rng = np.random.default_rng((24, i))
        reference = weeks_of(Traffic(1_000, daily=0.2).days(rng, WEEK * 4))
        hits += detect(reference, Profile.total(reference)).status is not DriftStatus.NO_DRIFT
        hits += detect(reference[:1], reference[0]).status is not DriftStatus.NO_DRIFT
    board.at_most("drift", "identical windows", hits, 2 * n, 0.0)


@pytest.mark.parametrize(
    ("rows", "cycles", "daily"), [(1_000, 4, 0.05), (100_000, 4, 0.05), (100_000, 6, 0.1), (100_000, 8, 0.2)]
)
def test_half_a_standard_deviation_in_one_column_of_twenty_is_found_in_days(rows, cycles, daily, board, repetitions):
    n, traffic, longest = repetitions(10, 200), Traffic(rows, daily=daily), 14
    found = np.full(n, longest + 1.0)
    for i in range(n):
        rng = np.random.default_rng((25, i))
        moved = np.zeros((WEEK * (cycles + 1) + longest, COLUMNS))
        start = WEEK * (cycles + 1)
        moved[start:, i % COLUMNS] = 0.5
        days = traffic.days(rng, len(moved), moved)
        reference = weeks_of(days[: WEEK * cycles])
        for day in range(start, len(days)):
            judged = detect(reference, trailing_week(days, day))
            if judged.columns[i % COLUMNS].drifted:
                found[i] = day - start + 1
                break
    scenario = f"+0.5 sd in 1 of 20, {rows:,} rows a window, {cycles} reference weeks, days' sd {daily}"
    late = int((found > longest).sum())
    spread = f"mean {found.mean():.1f}, 90th percentile {np.quantile(found, 0.9):g}, {late} of {n} not in two weeks"
    ordinary = daily <= 0.1
    goal = "<= 5" if ordinary else "known limit"
    board.note("drift", f"{scenario}: days to find", goal, f"median {np.median(found):g}, {spread}")
    assert not ordinary or np.median(found) <= 5
    assert late <= 0.05 * n


def test_a_threshold_that_knows_no_weeks_would_be_seen(board, repetitions):
    """Without the model's own weeks to calibrate by, an ordinary cycle and many rows alarm in most months."""
    n = repetitions(12, 100)
    traffic = Traffic(100_000, daily=0.2)
    hits = sum(alarms_in_a_month(np.random.default_rng((26, i)), traffic, 4, calibrate=False) for i in range(n))
    board.breaks("drift", "weeks not told apart: 0.1 and a test", hits, n, 0.10)
