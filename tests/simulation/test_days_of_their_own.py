"""The shadow's verdict where days have a fate of their own: the rule, beside what else could be done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from evergreen.statistics.days import DailyMeans, Days, log_e_of_t
from evergreen.statistics.sequential import LossSums
from evergreen.statistics.special import chi_square_tail

pytestmark = pytest.mark.slow

Ints = NDArray[np.int64]
DAYS, FIRST_LOOK, DISCORDANCE, NEEDED = 28, 3, 0.1, math.log(100.0)
SHIFT_AT = 14


@dataclass(frozen=True)
class Trial:
    """Where one version alone was right, and all requests, a day."""

    wins: Ints
    losses: Ints
    rows: Ints

    def seen(self) -> Iterator[tuple[LossSums, Days]]:
        """What is known at the end of each day from the third on."""
        sums = LossSums.count([])
        for day in range(len(self.rows)):
            won, lost, rows = int(self.wins[day]), int(self.losses[day]), int(self.rows[day])
            sums += LossSums.count(np.repeat([1.0, -1.0, 0.0], [won, lost, rows - won - lost]))
            if day + 1 >= FIRST_LOOK:
                yield sums, self._days(day + 1)

    def _days(self, count: int) -> Days:
        wins, losses, rows = self.wins[:count], self.losses[:count], self.rows[:count].astype(float)
        apart = (wins - losses).astype(float)
        variance = (wins + losses).sum() / rows.sum() - (apart.sum() / rows.sum()) ** 2
        held = rows > 0
        return Days(np.flatnonzero(held), rows[held], apart[held], rows[held] * variance)


Rule = Callable[[LossSums, Days], bool]


def evergreen(sums: LossSums, days: Days) -> bool:
    """Rows as bets over the dispersion of successive days, and a t-test of the daily means: the mean of both."""
    used, means = days.dispersion().used, days.means()
    return (_may_be_proven(sums, used) or daily_means_alone(sums, days)) and _is_proven(sums, used, means)


def about_the_mean(sums: LossSums, days: Days) -> bool:
    """Rows as bets, divided by the dispersion of all days about their mean where it is significant: the rule before."""
    return _is_proven(sums, _dispersion_about_the_mean(days))


def daily_means_alone(sums: LossSums, days: Days) -> bool:
    """The t-test of the daily means, and nothing of the rows."""
    return days.means().log_e_above(0.0) >= NEEDED


def rows_alone(sums: LossSums, days: Days) -> bool:
    """Rows as bets over the dispersion of successive days, and nothing of the daily means."""
    return _is_proven(sums, days.dispersion().used)


def independent(sums: LossSums, days: Days) -> bool:
    """Rows as bets, whatever days do."""
    return _is_proven(sums, 1.0)


def _is_proven(sums: LossSums, overdispersion: float, days: DailyMeans | None = None) -> bool:
    if days is None and not _may_be_proven(sums, overdispersion):
        return False
    return sums.verdict(overdispersion=overdispersion, days=days).log_e_promote >= NEEDED


def _may_be_proven(sums: LossSums, overdispersion: float) -> bool:
    """Whether the best of the bets has reached it: their mean can't before. It spares most of the verdicts."""
    return max(sums.promote) / 2**44 / overdispersion >= NEEDED


RULES: dict[str, Rule] = {
    "the rule": evergreen,
    "the rule before": about_the_mean,
    "daily means alone": daily_means_alone,
    "rows alone": rows_alone,
}


def _dispersion_about_the_mean(days: Days) -> float:
    freedom = len(days.rows) - 1
    expected = days.rows * days.sums.sum() / days.rows.sum()
    chi_square = float(((days.sums - expected) ** 2 / days.noise).sum())
    if chi_square_tail(chi_square, freedom) >= 0.05:
        return 1.0
    return max(1.0, chi_square / max(freedom - 2, 1))


def a_trial(
    rng: np.random.Generator,
    rows: Ints,
    *,
    gain: NDArray[np.float64] | float = 0.0,
    points: float = 0.0,
    lasting: float = 0.0,
):
    """Days whose gains vary by so many points about the gain, each like the day before to some degree."""
    own = rng.normal(size=len(rows))
    for day in range(1, len(rows)):
        own[day] = lasting * own[day - 1] + math.sqrt(1.0 - lasting**2) * own[day]
    gains = np.clip(gain + points / 100.0 * own, -DISCORDANCE, DISCORDANCE)
    wins = rng.binomial(rows, (DISCORDANCE + gains) / 2)
    losses = rng.binomial(rows - wins, (DISCORDANCE - gains) / 2 / (1.0 - (DISCORDANCE + gains) / 2))
    return Trial(wins, losses, rows)


def steady(a_day: int) -> Ints:
    return np.full(DAYS, a_day)


def with_a_gap(a_day: int) -> Ints:
    """A week in which one request of fifty comes."""
    rows = steady(a_day)
    rows[10:17] = a_day // 50
    return rows


def swinging(a_day: int) -> Ints:
    """Weekdays of full traffic, and week-ends of a fifth."""
    return np.where(np.arange(DAYS) % 7 < 5, a_day, a_day // 5)


def promoted_on(trials: Iterable[Trial], *rules: Rule) -> list[list[int | None]]:
    """For each rule, the day on which each trial was promoted."""
    return [list(days) for days in zip(*(_promoted_on(trial, rules) for trial in trials), strict=True)]


def _promoted_on(trial: Trial, rules: Sequence[Rule]) -> list[int | None]:
    found: list[int | None] = [None] * len(rules)
    for day, (sums, days) in enumerate(trial.seen(), start=FIRST_LOOK):
        for i, rule in enumerate(rules):
            if found[i] is None and rule(sums, days):
                found[i] = day
        if None not in found:
            break
    return found


def hits(days: Sequence[int | None]) -> int:
    return sum(day is not None for day in days)


def figures(found: Sequence[int | None]) -> str:
    """The share that was promoted, and the median day on which it was, where most were."""
    days = sorted(day for day in found if day is not None)
    share = f"{100 * len(days) / len(found):.3g} %"
    return f"{share}, day {days[len(found) // 2]}" if len(days) > len(found) / 2 else share


@pytest.mark.parametrize("a_day", [500, 5_000])
@pytest.mark.parametrize("points", [0, 1, 3])
@pytest.mark.parametrize("traffic", [steady, with_a_gap, swinging], ids=lambda traffic: traffic.__name__)
def test_an_equal_candidate_is_hardly_ever_promoted_whatever_days_do(traffic, points, a_day, board, repetitions):
    n = repetitions(20, 1_000) if traffic is steady else repetitions(8, 400)
    drawn = [a_trial(np.random.default_rng((31, points, i)), traffic(a_day), points=points) for i in range(n)]
    found, before = (hits(days) for days in promoted_on(drawn, evergreen, about_the_mean))
    name = f"days' sd {points} points, {a_day:,} rows a day, {traffic.__name__.replace('_', ' ')}, 26 looks"
    board.at_most("shadow", name, found, n, 0.01)
    board.note("shadow", f"{name}: the rule before", "", f"{100 * before / n:.3g} % of {n:,}")


LATE = np.where(np.arange(DAYS) < SHIFT_AT, 0.0, 0.04)
GAINS = {
    "+1 point, days alike": (0.01, 0.0),
    "+1 point, days' sd 1": (0.01, 1.0),
    "+3 points, days alike": (0.03, 0.0),
    "+3 points, days' sd 3": (0.03, 3.0),
    "+4 points from mid-trial on, days alike": (LATE, 0.0),
    "+4 points from mid-trial on, days' sd 1": (LATE, 1.0),
}


@pytest.mark.parametrize("a_day", [500, 5_000])
@pytest.mark.parametrize("story", GAINS)
def test_what_a_gain_takes(story, a_day, board, repetitions):
    n, (gain, points) = repetitions(6, 200), GAINS[story]
    drawn = (a_trial(np.random.default_rng((32, i)), steady(a_day), gain=gain, points=points) for i in range(n))
    for name, found in zip(RULES, promoted_on(drawn, *RULES.values()), strict=True):
        board.note("shadow", f"{story}, {a_day:,} rows a day: {name}", "promoted", f"{figures(found)} of {n}")


@pytest.mark.parametrize("points", [0.0, 1.0])
def test_a_gain_that_comes_in_mid_trial_is_proven_with_few_rows(points, board, repetitions):
    """Days until the proof, counted from the shift on; those without one count as all that were left."""
    n = repetitions(20, 200)
    drawn = (a_trial(np.random.default_rng((33, i)), steady(5_000), gain=LATE, points=points) for i in range(n))
    now, before = ([(day or DAYS) - SHIFT_AT for day in days] for days in promoted_on(drawn, evergreen, about_the_mean))
    share = float(np.mean(now) / np.mean(before))
    name = f"+4 points from mid-trial on, days' sd {points:g}: rows since then, in units of what the rule before takes"
    if points:
        board.note("shadow", name, "known limit", f"{share:.3g}")
    else:
        board.no_more_than("shadow", name, share, 0.5, allowing=0.1)


@pytest.mark.parametrize("a_day", [500, 5_000])
def test_days_that_last_are_a_known_limit(a_day, board, repetitions):
    """No goal: days that are like the day before are fewer than they look."""
    n = repetitions(6, 300)
    drawn = [a_trial(np.random.default_rng((34, i)), steady(a_day), points=1.0, lasting=0.5) for i in range(n)]
    for name, found in zip(RULES, promoted_on(drawn, *RULES.values()), strict=True):
        scenario = f"days' sd 1 point, each correlated 0.5 with the day before, {a_day:,} rows a day: {name}"
        board.note("shadow", scenario, "known limit", f"{100 * hits(found) / n:.3g} % of {n}")


def test_rows_taken_for_independent_would_be_seen(board, repetitions):
    n = repetitions(30, 300)
    drawn = (a_trial(np.random.default_rng((35, i)), steady(5_000), points=3.0) for i in range(n))
    (found,) = promoted_on(drawn, independent)
    board.breaks("shadow", "rows alone, whatever days do: sd 3 points, 5,000 rows a day", hits(found), n, 0.01)


def test_the_test_of_daily_means_is_an_e_value(board, repetitions):
    """Its mean is at most 1 for equal versions; the days' scale is anything."""
    n = repetitions(4_000, 40_000)
    rng = np.random.default_rng(36)
    means = rng.normal(size=(n, 6)) * np.exp(rng.normal(size=(n, 1)))
    t = means.mean(axis=1) / (means.std(axis=1, ddof=1) / math.sqrt(6))
    found = np.exp([log_e_of_t(float(each), 6) for each in t])
    board.no_more_than("shadow", "mean e-value of six daily means", float(found.mean()), 1.0, allowing=0.1)
