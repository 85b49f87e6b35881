"""The shadow's verdict on simulated counts: how often it promotes by luck, and how many rows a real gain takes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from evergreen.statistics.sequential import BETS, LossSums, Verdict, shadow_verdict

pytestmark = pytest.mark.slow

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

AT_ONCE = 100
"""Paths held in memory at a time."""


class Paths:
    """Wins and losses of many candidates after each look's rows, shape (paths, looks)."""

    def __init__(self, seed: int, paths: int, looks: Ints, gain: float, discordance: float) -> None:
        rng = np.random.default_rng(seed)
        rows = np.diff(looks, prepend=0)
        win, lose = (discordance + gain) / 2, (discordance - gain) / 2
        new_wins = rng.binomial(rows, win, size=(paths, len(looks)))
        new_losses = rng.binomial(rows - new_wins, lose / (1 - win))
        self.rows, self.wins, self.losses = looks, new_wins.cumsum(axis=1), new_losses.cumsum(axis=1)

    def log_e(self, margin: float = 0.0) -> Floats:
        return log_e(self.wins, self.losses, self.rows - self.wins - self.losses, margin)

    def counts(self, path: int, look: int) -> tuple[int, int, int]:
        wins, losses = int(self.wins[path, look]), int(self.losses[path, look])
        return wins, losses, int(self.rows[look]) - wins - losses


def log_e(wins: Ints, losses: Ints, ties: Ints, margin: float) -> Floats:
    """The specification's formula for whole arrays of counts; `assert_same_as_the_package` holds it to the package."""
    total = np.full(wins.shape, -np.inf)
    for bet in BETS / (1 + max(margin, 0.0)):
        capital = wins * np.log1p(bet * (1 - margin)) + losses * np.log1p(-bet * (1 + margin))
        if margin:
            capital = capital + ties * np.log1p(-bet * margin)
        np.logaddexp(total, capital, out=total)
    return total - np.log(len(BETS))


def assert_same_as_the_package(paths: Paths, ours: Floats, margin: float, alpha: float, sample: int = 25) -> None:
    """The evidence at each path's strongest look and at a look drawn at random is what the entry point says."""
    rng = np.random.default_rng(0)
    strongest = ours.argmax(axis=1)
    first = np.argsort(-ours.max(axis=1))[: sample // 2]
    others = rng.choice(len(ours), size=sample // 2, replace=False)
    for path in {*first.tolist(), *others.tolist()}:
        for look in (int(strongest[path]), int(rng.integers(len(paths.rows)))):
            theirs = shadow_verdict(*paths.counts(path, look), margin=margin, alpha=alpha)
            assert theirs.log_e_promote == pytest.approx(ours[path, look], abs=1e-8)
            assert (theirs.verdict is Verdict.PROMOTE) == (ours[path, look] >= -np.log(alpha))


def promoted_at_any_look(
    seed: int, n: int, looks: Ints, gain: float, discordance: float, *, margin: float = 0.0, alpha: float = 0.01
) -> dict[str, int]:
    """How many of n candidates are ever promoted, by schedule of looks."""
    daily, hundreds = looks % 1_000 == 0, looks % 100 == 0
    found = {"daily": 0, "each 100 rows": 0, "nearly each row": 0}
    for start in range(0, n, AT_ONCE):
        paths = Paths(seed + start, min(AT_ONCE, n - start), looks, gain, discordance)
        e = paths.log_e(margin)
        if start == 0:
            assert_same_as_the_package(paths, e, margin, alpha)
        for schedule, at in (("daily", daily), ("each 100 rows", hundreds), ("nearly each row", looks > 0)):
            found[schedule] += int((e[:, at].max(axis=1) >= -np.log(alpha)).sum())
    return found


def looks_until(horizon: int) -> Ints:
    """Each row up to 1,000, each tenth up to 10,000, each hundredth after: all schedules at once."""
    grid = (np.arange(1, 1_001), np.arange(1_010, 10_001, 10), np.arange(10_100, horizon + 1, 100))
    return np.concatenate(grid)


@pytest.mark.parametrize("discordance", [0.02, 0.10, 0.40])
def test_an_equal_candidate_is_hardly_ever_promoted_however_often_it_is_looked_at(discordance, board, repetitions):
    n, horizon = repetitions(300, 4_000), repetitions(20_000, 50_000)
    found = promoted_at_any_look(1, n, looks_until(horizon), 0.0, discordance)
    for schedule, hits in found.items():
        board.at_most("shadow", f"equal, answers differ in {discordance:.0%}, looks {schedule}", hits, n, 0.01)


@pytest.mark.parametrize("discordance", [0.02, 0.10, 0.40])
def test_a_worse_candidate_is_promoted_once_in_a_thousand(discordance, board, repetitions):
    """A look at each row is held to more: in the first rows a point is little beside their luck."""
    n, horizon = repetitions(300, 4_000), repetitions(20_000, 50_000)
    found = promoted_at_any_look(2, n, looks_until(horizon), -0.01, discordance)
    for schedule, hits in found.items():
        scenario = f"1 point worse, answers differ in {discordance:.0%}, looks {schedule}"
        board.at_most("shadow", scenario, hits, n, 0.003 if schedule == "nearly each row" else 0.001)


@pytest.mark.parametrize("margin", [-0.01, 0.01])
def test_a_gain_of_exactly_the_margin_is_not_enough(margin, board, repetitions):
    n, horizon = repetitions(300, 4_000), repetitions(20_000, 50_000)
    for discordance in (0.02, 0.10):
        found = promoted_at_any_look(3, n, looks_until(horizon), margin, discordance, margin=margin)
        scenario = f"gain = margin = {margin:+.2f}, answers differ in {discordance:.0%}, looks nearly each row"
        board.at_most("shadow", scenario, found["nearly each row"], n, 0.01)


def test_twenty_in_place_of_a_hundred_would_be_seen(board, repetitions):
    """The threshold 1/0.05, which looks familiar, promotes too often."""
    n = repetitions(1_000, 4_000)
    hits = promoted_at_any_look(1, n, looks_until(20_000), 0.0, 0.10, alpha=0.05)["nearly each row"]
    board.breaks("shadow", "promote at 20 in place of 100", hits, n, 0.01)


def test_a_bet_that_ignores_the_margin_would_be_seen(board, repetitions):
    """Leave out the ties, as a test of margin 0 may, and "not more than a point worse" promotes what is worse."""
    n, looks = repetitions(300, 2_000), np.arange(100, 20_001, 100)
    hits = 0
    for start in range(0, n, AT_ONCE):
        paths = Paths(4 + start, min(AT_ONCE, n - start), looks, 0.01, 0.10)
        hits += sum(
            shadow_verdict(*paths.counts(path, len(looks) - 1), margin=0.0).verdict is Verdict.PROMOTE
            for path in range(len(paths.wins))
        )
    board.breaks("shadow", "a margin of 0.01 forgotten, at a gain of 0.01", hits, n, 0.01)


def mcnemar_rows(gain: float, discordance: float, alpha: float = 0.01, power: float = 0.9) -> int:
    """How many rows an exact one-sided McNemar test of the fixed size needs."""

    def reached(rows: int) -> float:
        differing = np.arange(rows + 1)
        needed = binom.isf(alpha, differing, 0.5) + 1
        enough = binom.sf(needed - 1, differing, (discordance + gain) / 2 / discordance)
        return float((binom.pmf(differing, rows, discordance) * enough).sum())

    low, high = 1, 200_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


@pytest.mark.parametrize(
    ("gain", "discordance"), [(0.02, 0.04), (0.02, 0.10), (0.02, 0.30), (0.05, 0.10), (0.05, 0.30), (0.10, 0.30)]
)
def test_a_real_gain_takes_hardly_more_rows_than_one_test_of_the_right_size(gain, discordance, board, repetitions):
    n, fixed = repetitions(300, 4_000), mcnemar_rows(gain, discordance)
    step = max(1, fixed // 200)
    looks = np.arange(step, 8 * fixed, step)
    taken = []
    for start in range(0, n, AT_ONCE):
        paths = Paths(5 + start, min(AT_ONCE, n - start), looks, gain, discordance)
        e = paths.log_e()
        if start == 0:
            assert_same_as_the_package(paths, e, 0.0, 0.01)
        reached = e >= np.log(100)
        assert reached.any(axis=1).all(), "the horizon is too short for a mean"
        taken.append(looks[reached.argmax(axis=1)])
    times = np.concatenate(taken) / fixed
    name = f"gain {gain:.0%}, answers differ in {discordance:.0%} (McNemar: {fixed:,} rows)"
    luck = 3.5 / np.sqrt(n)
    board.no_more_than(
        "shadow", f"{name}: mean rows / McNemar's", float(times.mean()), 1.15, allowing=luck * times.std()
    )
    board.no_more_than("shadow", f"{name}: 90th percentile", float(np.quantile(times, 0.9)), 1.85, allowing=2 * luck)
    board.at_least("shadow", f"{name}: promoted by twice the rows", int((times <= 2).sum()), n, 0.9)


def test_a_candidate_with_the_least_gain_worth_having_is_seldom_sent_away(board, repetitions):
    n, looks = repetitions(300, 4_000), looks_until(repetitions(20_000, 50_000))
    for discordance in (0.04, 0.10, 0.40):
        hits = 0
        for start in range(0, n, AT_ONCE):
            paths = Paths(6 + start, min(AT_ONCE, n - start), looks, 0.02, discordance)
            ties = paths.rows - paths.wins - paths.losses
            keep = log_e(paths.losses, paths.wins, ties, -0.02)
            promote = paths.log_e()
            kept_first = (keep >= np.log(20)).argmax(axis=1)
            kept = (keep >= np.log(20)).any(axis=1)
            promoted_before = (promote >= np.log(100)) & (np.arange(len(looks)) <= kept_first[:, None])
            hits += int((kept & ~promoted_before.any(axis=1)).sum())
            for path in np.flatnonzero(kept & ~promoted_before.any(axis=1))[:3]:
                assert shadow_verdict(*paths.counts(int(path), int(kept_first[path]))).verdict is Verdict.KEEP
        board.at_most(
            "shadow", f"keep although the gain is min_gain, answers differ in {discordance:.0%}", hits, n, 0.05
        )


# Losses that are not only right or wrong.


def brier_of_equal_models(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Two calibrated models that each know another half of what there is to know."""
    from scipy.special import ndtr

    ours, theirs = rng.normal(size=shape), rng.normal(size=shape)
    truth = ours + theirs + rng.normal(size=shape) > 1.5
    production, shadow = ndtr((ours - 1.5) / np.sqrt(2)), ndtr((theirs - 1.5) / np.sqrt(2))
    return (production - truth) ** 2 - (shadow - truth) ** 2


def skewed_errors(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Absolute errors of equal mean: the shadow's are mostly smaller, and now and then far larger."""
    shadow = rng.lognormal(-0.5, 1.0, size=shape)
    production = rng.lognormal(-0.125, 0.5, size=shape)
    return production - shadow


def rare_disasters(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """The shadow is a little better 98 times in 100, and pays it all back in the other two."""
    disaster = rng.random(shape) < 0.02
    return np.where(disaster, -0.98 * rng.exponential(size=shape), 0.02) + 0.1 * rng.normal(size=shape)


@pytest.mark.parametrize("losses", [brier_of_equal_models, skewed_errors, rare_disasters])
def test_bounded_losses_of_equal_mean_are_hardly_ever_promoted(losses, board, repetitions):
    n, block, blocks = repetitions(150, 2_000), 100, repetitions(100, 200)
    hits = 0
    for path in range(n):
        rng = np.random.default_rng((7, path))
        reference = losses(rng, (1, 20_000))[0]
        scale = float(np.quantile(np.abs(reference), 0.999))
        x = np.clip(losses(rng, (blocks, block)) / scale, -1.0, 1.0)
        capital = np.stack([np.log1p(bet * x).sum(axis=1) for bet in BETS]).cumsum(axis=1)
        e = np.logaddexp.reduce(capital, axis=0) - np.log(len(BETS))
        hits += bool(e.max() >= np.log(100))
        if path < 5:
            look = int(e.argmax())
            theirs = LossSums.count(x[: look + 1].ravel()).verdict()
            assert theirs.log_e_promote == pytest.approx(e[look], abs=1e-6)
    name = losses.__name__.replace("_", " ")
    board.at_most("shadow", f"{name}, clipped at the 99.9th percentile, looks each 100 rows", hits, n, 0.01)
