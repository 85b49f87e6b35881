"""The shadow's verdict on simulated requests: weeks, late labels and users, where tests of independent rows fail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from evergreen.domain.shadow import PairedOutcomes, Rules, Whole, judge
from evergreen.statistics.macro_f1 import macro_f1_verdict
from evergreen.statistics.sequential import Verdict, shadow_verdict

pytestmark = pytest.mark.slow

SINCE = datetime(2024, 3, 4, tzinfo=UTC)
DAY = 86_400_000_000
DAYS, MATURITY = 35, 20
RULES = Rules(maturity=timedelta(days=MATURITY), max_time=timedelta(days=DAYS))
WEEK = np.array([1.3, 1.2, 1.1, 1.0, 0.9, 0.6, 0.9])
"""Traffic by weekday, around its mean."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Requests:
    """Five weeks of requests: when they came, who was right, when the label came, and who asked."""

    time: Ints
    production_ok: NDArray[np.bool_]
    shadow_ok: NDArray[np.bool_]
    delay_days: Floats
    user: Ints
    """-1 where the request names none."""

    def labelled_by(self, now: datetime) -> PairedOutcomes:
        known = self.time + self.delay_days * DAY <= _microseconds(now)
        return PairedOutcomes(
            inference_time=self.time[known],
            production_loss=1.0 - self.production_ok[known],
            shadow_loss=1.0 - self.shadow_ok[known],
            group=self.user[known],
        )


def _microseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000


def requests(
    rng: np.random.Generator, day: Ints, gain: Floats, *, discordance: float = 0.1, user: Ints | None = None
) -> Requests:
    """One request for each entry of ``day``, whose expected gain is ``gain``; labels come within the hour."""
    n = len(day)
    drawn = rng.random(n)
    wins, losses = drawn < (discordance + gain) / 2, drawn > 1 - (discordance - gain) / 2
    both_right = ~wins & ~losses & (rng.random(n) < 0.9)
    return Requests(
        time=_microseconds(SINCE) + day * DAY + rng.integers(0, DAY, n),
        production_ok=both_right | losses,
        shadow_ok=both_right | wins,
        delay_days=rng.random(n) / 24,
        user=np.full(n, -1) if user is None else user,
    )


def independent_rows(rng, gain=0.0, a_day=300):
    day = np.repeat(np.arange(DAYS), a_day)
    return requests(rng, day, np.full(len(day), gain))


def weekly_cycle(rng):
    """The shadow gains on Monday to Wednesday what it loses from Thursday on; traffic is the same each day."""
    day = np.repeat(np.arange(DAYS), 300)
    swing = np.array([0.06, 0.06, 0.06, -0.03, -0.05, -0.05, -0.05])
    return requests(rng, day, swing[day % 7])


def weekly_cycle_and_traffic(rng):
    """The same where the days on which the shadow gains are the busy ones; over a week it cancels."""
    day = np.repeat(np.arange(DAYS), rng.poisson(300 * np.tile(WEEK, DAYS // 7)))
    swing = np.array([0.05, 0.05, 0.05, -0.05, -0.05, -0.05, 0.0])
    swing[6] = -(WEEK * swing).sum() / WEEK[6]
    return requests(rng, day, swing[day % 7])


def late_labels_of_wrong_answers(rng):
    """What the shadow got wrong is labelled up to twenty days later (a claim is checked), the rest within the hour."""
    drawn = independent_rows(rng)
    late = np.where(drawn.shadow_ok, drawn.delay_days, rng.uniform(1.0, 20.0, len(drawn.time)))
    return replace(drawn, delay_days=late)


def complaints(rng):
    """What production got wrong is complained of at once; that it was right shows after days or weeks."""
    drawn = independent_rows(rng)
    return replace(drawn, delay_days=np.where(drawn.production_ok, rng.uniform(1.0, 20.0, len(drawn.time)), 0.02))


def clustered_users(rng):
    """A user is served well by one version or the other, the busiest ask hundreds of times, and they come back."""
    users = 800
    rows = np.minimum(1 + rng.pareto(1.2, users) * 3, 600).astype(int)
    user = np.repeat(np.arange(users), rows)
    gain = rng.normal(0.0, 0.15, users).clip(-0.4, 0.4)
    return requests(rng, rng.integers(0, DAYS, len(user)), gain[user], discordance=0.4, user=user)


def users_of_some_weeks(rng):
    """New users come each week, stay for one to three, and the busy ones are served alike."""
    users = 1_500
    rows = np.minimum(1 + rng.pareto(1.3, users) * 3, 300).astype(int)
    user = np.repeat(np.arange(users), rows)
    first, weeks = rng.integers(0, DAYS - 7, users), rng.integers(1, 4, users)
    day = np.minimum(first[user] + rng.integers(0, 7 * weeks[user]), DAYS - 1)
    gain = rng.choice([-0.2, 0.2], users)
    return requests(rng, day, gain[user], discordance=0.4, user=user)


def day_effects(rng, points, a_day, days=DAYS):
    """Each day has a gain of its own, around zero: the weather, a campaign, a batch of one customer."""
    day = np.repeat(np.arange(days), a_day)
    return requests(rng, day, rng.normal(0.0, points / 100, days).clip(-0.1, 0.1)[day])


def promoted(drawn: Requests, rules: Rules = RULES, *, days: int = DAYS, whole: Whole | None = None) -> int | None:
    """Look each day, at the labels that are there; the day of the promotion."""
    return _promoted_on(range(1, days + rules.maturity.days + 1), drawn, rules, whole)


def promoted_at_the_end_of_a_cycle(drawn: Requests, rules: Rules = RULES, *, days: int = DAYS) -> int | None:
    """Look on the days when one more week counts: between them nothing does, where labels come within the maturity."""
    return _promoted_on(range(7 + rules.maturity.days, days + rules.maturity.days + 1, 7), drawn, rules, None)


def _promoted_on(looks: range, drawn: Requests, rules: Rules, whole: Whole | None) -> int | None:
    for day in looks:
        now = SINCE + timedelta(days=day)
        if judge(drawn.labelled_by(now), rules, since=SINCE, now=now, whole=whole).verdict == "promote":
            return day
    return None


DAILY = 30
"""Candidates that are looked at each day; the others, whose verdicts would be the same, at the end of each week."""


def false_promotions(candidates: Iterable[Requests], rules: Rules = RULES, *, days: int = DAYS) -> int:
    hits = 0
    for i, drawn in enumerate(candidates):
        found = promoted_at_the_end_of_a_cycle(drawn, rules, days=days)
        if i < DAILY:
            assert promoted(drawn, rules, days=days) == found
        hits += found is not None
    return hits


def tutorial_promotes(drawn: Requests) -> bool:
    """Shadow's accuracy above production's + 0.02, on the labels there are, each day."""
    for day in range(1, DAYS):
        known = drawn.labelled_by(SINCE + timedelta(days=day))
        if len(known) and known.production_loss.mean() - known.shadow_loss.mean() > 0.02:
            return True
    return False


def mcnemar_promotes(drawn: Requests) -> bool:
    """An exact two-sided McNemar test at 0.05 in the shadow's favour, on the labels there are, each day."""
    for day in range(1, DAYS):
        known = drawn.labelled_by(SINCE + timedelta(days=day))
        wins = int((known.production_loss > known.shadow_loss).sum())
        losses = int((known.production_loss < known.shadow_loss).sum())
        if wins > losses and 2 * binom.sf(wins - 1, wins + losses, 0.5) < 0.05:
            return True
    return False


NULLS = [
    independent_rows,
    weekly_cycle,
    weekly_cycle_and_traffic,
    late_labels_of_wrong_answers,
    complaints,
    clustered_users,
    users_of_some_weeks,
]


@pytest.mark.parametrize("story", NULLS, ids=lambda story: story.__name__)
def test_an_equal_candidate_is_hardly_ever_promoted(story, board, repetitions):
    n, naive, seed = repetitions(60, 2_000), repetitions(20, 200), 100 + NULLS.index(story)
    hits = false_promotions(story(np.random.default_rng((seed, i))) for i in range(n))
    name = story.__name__.replace("_", " ")
    board.at_most("shadow", f"{name}, five weeks of looks", hits, n, 0.01)
    tutorial = sum(tutorial_promotes(story(np.random.default_rng((seed, i)))) for i in range(naive))
    mcnemar = sum(mcnemar_promotes(story(np.random.default_rng((seed, i)))) for i in range(naive))
    board.note("shadow", f"{name}: the tutorial's rule", "", f"{tutorial / naive:.0%} of {naive}")
    board.note("shadow", f"{name}: McNemar's p < 0.05, each day", "", f"{mcnemar / naive:.0%} of {naive}")


@pytest.mark.parametrize(
    ("story", "rules", "mistake"),
    [
        (weekly_cycle, replace(RULES, cycle=timedelta(days=1)), "days in place of whole weeks"),
        (late_labels_of_wrong_answers, replace(RULES, maturity=timedelta(0)), "labels that have not matured"),
        (complaints, replace(RULES, maturity=timedelta(0)), "labels that have not matured, of complaints"),
    ],
    ids=["cycles", "maturity", "complaints"],
)
def test_a_rule_left_out_would_be_seen(story, rules, mistake, board, repetitions):
    n = repetitions(30, 200)
    hits = sum(promoted(story(np.random.default_rng((12, i))), rules) is not None for i in range(n))
    board.breaks("shadow", mistake, hits, n, 0.01)


@pytest.mark.parametrize("story", [clustered_users, users_of_some_weeks], ids=lambda story: story.__name__)
def test_users_taken_for_independent_rows_would_be_seen(story, board, repetitions):
    n = repetitions(60, 300)
    hits = 0
    for i in range(n):
        drawn = story(np.random.default_rng((12, i)))
        hits += promoted_at_the_end_of_a_cycle(replace(drawn, user=np.full(len(drawn.user), -1))) is not None
    board.breaks("shadow", f"{story.__name__.replace('_', ' ')} taken for independent rows", hits, n, 0.01)


def test_a_real_gain_is_promoted_after_a_whole_week(board, repetitions):
    n, rules = repetitions(40, 400), replace(RULES, maturity=timedelta(days=1))
    days = [promoted(independent_rows(np.random.default_rng((13, i)), gain=0.03), rules) for i in range(n)]
    found = [day for day in days if day is not None]
    board.at_least("shadow", "gain 3 %, 300 rows a day, promoted within five weeks", len(found), n, 0.9)
    board.note(
        "shadow", "gain 3 %, 300 rows a day, maturity a day: median day of the promotion", "", f"{np.median(found):g}"
    )


AT_ONCE = replace(RULES, maturity=timedelta(0))
"""Labels come within the hour in these."""


@pytest.mark.parametrize(("points", "a_day"), [(1, 300), (3, 300), (1, 3_000), (3, 3_000)])
@pytest.mark.parametrize("weeks", [4, 8])
def test_days_with_a_gain_of_their_own_promote_seldom(weeks, points, a_day, board, repetitions):
    n, rules = repetitions(20, 600), replace(AT_ONCE, max_time=timedelta(weeks=weeks))
    drawn = (day_effects(np.random.default_rng((14, weeks, i)), points, a_day, 7 * weeks) for i in range(n))
    hits = sum(promoted_at_the_end_of_a_cycle(each, rules, days=7 * weeks) is not None for each in drawn)
    scenario = f"days with a gain of their own, sd {points} points, {a_day:,} rows a day, {weeks} weeks"
    board.at_most("shadow", scenario, hits, n, 0.01)


@pytest.mark.parametrize(("points", "a_day"), [(0, 300), (2, 300), (2, 3_000)])
def test_a_replaced_version_that_watches_by_the_day_seldom_comes_back_by_luck(points, a_day, board, repetitions):
    """The sentinel: days in place of weeks, from the third on, for two weeks."""
    n, hits = repetitions(40, 600), 0
    for i in range(n):
        drawn = day_effects(np.random.default_rng((17, i)), points, a_day, 14)
        hits += promoted(drawn, AT_ONCE, days=14, whole=Whole(timedelta(days=1), 3)) is not None
    scenario = f"the sentinel by days, days' sd {points} points, {a_day:,} rows a day, two weeks"
    board.at_most("shadow", scenario, hits, n, 0.01)


def test_days_taken_for_independent_rows_would_be_seen(board, repetitions):
    n, hits = repetitions(40, 300), 0
    for i in range(n):
        drawn = day_effects(np.random.default_rng((15, i)), 3, 3_000, DAYS)
        day = (drawn.time - _microseconds(SINCE)) // DAY
        gain = drawn.shadow_ok.astype(int) - drawn.production_ok
        weeks = [gain[day < 7 * week] for week in range(1, DAYS // 7 + 1)]
        verdicts = [shadow_verdict(int((x > 0).sum()), int((x < 0).sum()), int((x == 0).sum())) for x in weeks]
        hits += any(found.verdict is Verdict.PROMOTE for found in verdicts)
    board.breaks("shadow", "days taken for independent rows, sd 3 points, 3,000 rows a day", hits, n, 0.02)


def test_labels_later_than_the_maturity_are_a_known_limit(board, repetitions):
    """No goal: what is not labelled yet can't be seen. The default maturity of a day, and days of delay."""
    n, rules = repetitions(10, 200), replace(RULES, maturity=timedelta(days=1))
    for mean_delay in (1, 2, 4):
        hits = 0
        for i in range(n):
            rng = np.random.default_rng((16, i))
            drawn = independent_rows(rng, a_day=1_000)
            late = np.where(drawn.shadow_ok, drawn.delay_days, rng.exponential(mean_delay, len(drawn.time)))
            hits += promoted(replace(drawn, delay_days=late), rules) is not None
        scenario = f"wrong answers labelled after {mean_delay} days on average, maturity 1 day, 1,000 rows a day"
        board.note("shadow", scenario, "known limit", f"{100 * hits / n:.3g} % of {n}")


# Macro-F1 is judged by a test of its own, asymptotically.


def answers(rng: np.random.Generator, rows: int, recalls: tuple[float, float, float]) -> tuple[Ints, Ints]:
    """True classes, 90, 7 and 3 in a hundred, and the answers of a model of these recalls."""
    actual = rng.choice(3, rows, p=[0.90, 0.07, 0.03])
    return actual, _answered(rng, actual, recalls)


def _answered(rng: np.random.Generator, actual: Ints, recalls: tuple[float, float, float]) -> Ints:
    right = rng.random(len(actual)) < np.array(recalls)[actual]
    return np.where(right, actual, (actual + rng.integers(1, 3, len(actual))) % 3)


@pytest.mark.parametrize("better", [0.0, 0.15], ids=["equal", "better"])
def test_macro_f1_promotes_what_is_better_on_rare_classes_and_nothing_equal(better, board, repetitions):
    n, rows = repetitions(60, 600), repetitions(10_000, 20_000)
    hits = 0
    for i in range(n):
        rng = np.random.default_rng((18, i))
        actual, production = answers(rng, rows, (0.95, 0.70, 0.50))
        shadow = _answered(rng, actual, (0.95, 0.70 + better, 0.50 + better))
        hits += any(
            macro_f1_verdict(actual[:seen], production[:seen], shadow[:seen]).verdict is Verdict.PROMOTE
            for seen in range(1_000, rows + 1, 1_000)
        )
    if better:
        board.at_least("shadow", "macro-F1, +15 points of recall on 7 % and 3 % of the rows, promoted", hits, n, 0.9)
    else:
        board.at_most("shadow", "macro-F1, equal, classes of 90, 7 and 3 %, a look each 1,000 rows", hits, n, 0.01)
