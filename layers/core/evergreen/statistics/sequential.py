"""Verdicts that stay valid however often they are looked at: the shadow's, and the bake's after a repoint.

An *e-value* has expectation at most 1 when its null hypothesis is true, so it ever reaches ``1/alpha`` with
probability at most ``alpha`` (Ville's inequality), at any schedule of looks. All of them here are functions of
counts or of sums: nothing is remembered between looks, files may arrive in any order, and late labels need no replay.

Sources: Waudby-Smith & Ramdas, arXiv 2010.09686 (betting); Howard et al., arXiv 1810.08240 (mixtures);
Choe & Ramdas, arXiv 2110.00115 (two forecasters on one stream); Lindon et al., arXiv 2205.14762 (canary counts).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_between, as_count, as_number, as_share
from evergreen.statistics.days import DailyMeans
from evergreen.statistics.special import beta_upper_quantile, log_beta, log_beta_tail
from evergreen.statistics.words import Word

Floats = npt.NDArray[np.float64]

BETS: Floats = 0.02 * 45.0 ** (np.arange(12) / 11.0)
"""The twelve stakes, 0.02 to 0.9, whose average is the e-value of a gain."""

MIN_BAKE_REQUESTS = 60
"""Fewer requests than this can't call a version healthy."""

BASELINE_TAIL = 0.05
"""The baseline's bad share is taken at its one-sided upper 95 % Clopper-Pearson bound."""

_LARGEST = sys.float_info.max
_UNITS = 2**44
_CHUNK = 1 << 16
_NODES = 40
_ANGLES = (2.0 * np.arange(_NODES) + 1.0) * math.pi / (2.0 * _NODES)
_CURVE_AT: Floats = 0.9 * np.cos(_ANGLES)
_CURVE_WEIGHTS: Floats = np.where(np.arange(_NODES) % 2, -1.0, 1.0) * np.sin(_ANGLES)
_FARTHEST_PROJECTION = 10**15


class Verdict(Word):
    """What the rows seen so far say of the shadow."""

    PROMOTE = "promote"
    KEEP = "keep"
    NEED_MORE_DATA = "need_more_data"


class Health(Word):
    """What the requests since the repoint say of the new version."""

    HEALTHY = "healthy"
    ROLL_BACK = "roll_back"
    TOO_LITTLE_TRAFFIC = "too_little_traffic"


@dataclass(frozen=True, slots=True)
class ShadowVerdict:
    """A verdict on the shadow with its evidence.

    Attributes
    ----------
    verdict : Verdict
        ``promote`` when ``log_e_promote >= log(1 / alpha)``, else ``keep`` when
        ``log_e_keep >= log(1 / alpha_keep)``, else ``need_more_data``.
    rows : int
        Rows (or groups) compared.
    gain : float or None
        Mean of shadow minus production, -1 to 1; None without rows.
    interval : tuple of float
        Confidence sequence of the gain: the m that neither side's e-value rejects at ``alpha``. Each end holds at
        every look with probability ``1 - alpha``, so both hold together with ``1 - 2 * alpha``, and the lower end
        passes ``margin`` exactly when the verdict becomes ``promote``.
    rows_to_decide : int or None
        Rows still needed until either e-value would reach its threshold at the gain seen so far; 0 when decided,
        None when at this gain it never would.
    e_promote, e_keep : float
        The e-values, held at the largest float where they overflow.
    log_e_promote, log_e_keep : float
        Their logarithms, which don't.
    margin, min_gain, alpha, alpha_keep : float
        What was asked.
    """

    verdict: Verdict
    rows: int
    gain: float | None
    interval: tuple[float, float]
    rows_to_decide: int | None
    e_promote: float
    e_keep: float
    log_e_promote: float
    log_e_keep: float
    margin: float
    min_gain: float
    alpha: float
    alpha_keep: float


@dataclass(frozen=True, slots=True)
class BakeHealth:
    """How a version does since the repoint, for one metric.

    Attributes
    ----------
    health : Health
        ``roll_back`` when ``log_e >= log(threshold)``; else ``too_little_traffic`` below 60 requests; else ``healthy``.
    log_e : float
        Logarithm of the e-value against "the bad share is at most ``p0``".
    threshold : float
        What the e-value (not its logarithm) has to reach: ``metrics / alpha``.
    p0 : float
        The bad share that was still acceptable.
    share : float or None
        The bad share seen; None without requests.
    requests : int
        Requests since the repoint.
    """

    health: Health
    log_e: float
    threshold: float
    p0: float
    share: float | None
    requests: int

    @property
    def e(self) -> float:
        """E-value, held at the largest float where it overflows."""
        return _exp(self.log_e)


@dataclass(frozen=True, slots=True)
class LossSums:
    """The additive sums that a verdict on bounded loss differences needs.

    Count each file on its own and add: the sums are whole numbers (in units of 2**-44), so any order and any split
    give the same bytes.

    Attributes
    ----------
    margin, min_gain : float
        The two gains tested; only sums of the same two can be added.
    rows : int
        Differences counted.
    total : int
        Their sum.
    promote, keep : tuple of int
        Sums of ``log(1 + bet * (x - margin))`` and of ``log(1 + bet * (min_gain - x))``, one for each of the 12 bets.
    curve : tuple of int
        Sums of ``log(1 + u * x)`` at 40 Chebyshev nodes u in [-0.9, 0.9]: between them it is a polynomial to twelve
        digits, which gives the confidence sequence.

    Examples
    --------
    >>> monday = LossSums.count([0.5, 0.0, -0.25], margin=0.0, min_gain=0.02)
    >>> tuesday = LossSums.count([1.0, 0.25], margin=0.0, min_gain=0.02)
    >>> monday + tuesday == LossSums.count([0.25, 1.0, -0.25, 0.0, 0.5], margin=0.0, min_gain=0.02)
    True
    >>> (monday + tuesday).verdict().gain
    0.3
    """

    margin: float
    min_gain: float
    rows: int
    total: int
    promote: tuple[int, ...]
    keep: tuple[int, ...]
    curve: tuple[int, ...]

    @classmethod
    def count(cls, differences: npt.ArrayLike, *, margin: float = 0.0, min_gain: float = 0.02) -> LossSums:
        """Sum up bounded differences.

        Parameters
        ----------
        differences : array_like of float, shape (n,)
            ``clip((loss_production - loss_shadow) / c, -1, 1)`` a row, or its mean a group.
        margin : float
            The gain to beat, above -1 and below 1.
        min_gain : float
            The gain worth having, above -1 and below 1.

        Raises
        ------
        ValueError
            When a difference is not a number from -1 to 1, or a gain is out of range.
        """
        margin = as_between("margin", margin, -1, 1)
        min_gain = as_between("min_gain", min_gain, -1, 1)
        x = _bounded(differences)
        total = 0
        sums = [0] * (2 * len(BETS) + _NODES)
        slopes = np.concatenate([_bets_for(margin), -_bets_for(-min_gain), _CURVE_AT])
        centres = np.concatenate([np.full(len(BETS), margin), np.full(len(BETS), min_gain), np.zeros(_NODES)])
        for start in range(0, len(x), _CHUNK):
            values, repeats = np.unique(x[start : start + _CHUNK], return_counts=True)
            total += int((_as_units(values) * repeats).sum())
            for j, (slope, centre) in enumerate(zip(slopes.tolist(), centres.tolist(), strict=True)):
                sums[j] += int((_as_units(np.log1p(slope * (values - centre))) * repeats).sum())
        bets = len(BETS)
        return cls(
            margin=margin,
            min_gain=min_gain,
            rows=len(x),
            total=total,
            promote=tuple(sums[:bets]),
            keep=tuple(sums[bets : 2 * bets]),
            curve=tuple(sums[2 * bets :]),
        )

    def merge(self, other: LossSums) -> LossSums:
        """Return the sums of both.

        Raises
        ------
        ValueError
            When the two were counted for different margins.
        """
        for key in ("margin", "min_gain"):
            if getattr(self, key) != getattr(other, key):
                remedy = f"merge only sums counted with {key}={getattr(self, key)!r}, or count the file again"
                raise StatisticsInputError(key, getattr(other, key), remedy)
        return LossSums(
            margin=self.margin,
            min_gain=self.min_gain,
            rows=self.rows + other.rows,
            total=self.total + other.total,
            promote=_added(self.promote, other.promote),
            keep=_added(self.keep, other.keep),
            curve=_added(self.curve, other.curve),
        )

    def __add__(self, other: LossSums) -> LossSums:
        return self.merge(other)

    def verdict(
        self,
        *,
        alpha: float = 0.01,
        alpha_keep: float = 0.05,
        overdispersion: float = 1.0,
        days: DailyMeans | None = None,
    ) -> ShadowVerdict:
        """Judge what has been summed up so far.

        Parameters
        ----------
        alpha : float
            Chance of ever promoting a shadow whose gain is at most ``margin``.
        alpha_keep : float
            Chance of ever keeping production although the gain is at least ``min_gain``.
        overdispersion : float
            At least 1: how many rows are worth one independent row (``Days.dispersion``). Every e-value is that of so
            many fewer rows, and stays one whatever is passed (Jensen's inequality).
        days : DailyMeans, optional
            The same differences by day. From three days on each e-value is the mean of the rows' and of the days'.
        """
        curve = _from_units(self.curve)
        return _judge(
            rows=self.rows,
            gain=self.total / _UNITS / self.rows if self.rows else None,
            promote=_from_units(self.promote),
            keep=_from_units(self.keep),
            log_growth=lambda u: _interpolate(curve, u),
            margin=self.margin,
            min_gain=self.min_gain,
            alpha=alpha,
            alpha_keep=alpha_keep,
            overdispersion=overdispersion,
            days=days,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON data (whole numbers, beyond 53 bits)."""
        return {
            "margin": self.margin,
            "min_gain": self.min_gain,
            "rows": self.rows,
            "total": self.total,
            "promote": list(self.promote),
            "keep": list(self.keep),
            "curve": list(self.curve),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LossSums:
        """Read what ``to_json`` wrote.

        Examples
        --------
        >>> sums = LossSums.count([0.5, -0.5])
        >>> LossSums.from_json(sums.to_json()) == sums
        True
        """
        for key, length in (("promote", len(BETS)), ("keep", len(BETS)), ("curve", _NODES)):
            if len(data[key]) != length:
                raise StatisticsInputError(key, f"{len(data[key])} sums", f"pass the {length} that to_json wrote")
        return cls(
            margin=as_between("margin", data["margin"], -1, 1),
            min_gain=as_between("min_gain", data["min_gain"], -1, 1),
            rows=as_count("rows", data["rows"]),
            total=int(data["total"]),
            promote=tuple(int(s) for s in data["promote"]),
            keep=tuple(int(s) for s in data["keep"]),
            curve=tuple(int(s) for s in data["curve"]),
        )


def shadow_verdict(
    wins: int,
    losses: int,
    ties: int,
    *,
    margin: float = 0.0,
    alpha: float = 0.01,
    min_gain: float = 0.02,
    alpha_keep: float = 0.05,
) -> ShadowVerdict:
    """Judge the shadow by how often it was right where production was wrong, and the other way round.

    Count matured rows only, in whole cycles, with one row a group, and none the shadow was trained on.

    Parameters
    ----------
    wins, losses, ties : int
        Requests that only the shadow, only production, and both or neither got right.
    margin : float
        The gain to beat, above -1 and below 1: 0 must be better; -0.01 is "fresher and not worse".
    alpha : float
        Chance of ever promoting a shadow whose gain is at most ``margin``.
    min_gain : float
        The gain worth having, above -1 and below 1.
    alpha_keep : float
        Chance of ever keeping production although the gain is at least ``min_gain``.

    Raises
    ------
    ValueError
        When a count is negative or not whole, or another argument is out of range.

    Notes
    -----
    ``E = mean_j (1 + b_j (1 - m))**wins * (1 - b_j (1 + m))**losses * (1 - b_j m)**ties`` with twelve bets b_j, each
    divided by ``1 + m`` for a margin above 0; for ``keep`` with both sides swapped and ``-min_gain``. A mixture of
    capital processes: arXiv 2010.09686, section 4; two forecasters on one stream: arXiv 2110.00115.

    Examples
    --------
    >>> better = shadow_verdict(wins=90, losses=40, ties=870)
    >>> better.verdict.value, better.gain, better.rows_to_decide
    ('promote', 0.05, 0)
    >>> better.e_promote > 100 and better.interval[0] > 0
    True
    >>> shadow_verdict(wins=52, losses=48, ties=900).verdict.value
    'need_more_data'
    >>> shadow_verdict(wins=50, losses=90, ties=860).verdict.value
    'keep'
    """
    won, lost, tied = as_count("wins", wins), as_count("losses", losses), as_count("ties", ties)
    margin = as_between("margin", margin, -1, 1)
    min_gain = as_between("min_gain", min_gain, -1, 1)
    rows = won + lost + tied
    return _judge(
        rows=rows,
        gain=(won - lost) / rows if rows else None,
        promote=_log_bets(won, lost, tied, margin),
        keep=_log_bets(lost, won, tied, -min_gain),
        log_growth=lambda u: won * np.log1p(u) + lost * np.log1p(-u),
        margin=margin,
        min_gain=min_gain,
        alpha=alpha,
        alpha_keep=alpha_keep,
    )


def shadow_verdict_from_losses(
    differences: npt.ArrayLike,
    *,
    margin: float = 0.0,
    alpha: float = 0.01,
    min_gain: float = 0.02,
    alpha_keep: float = 0.05,
    overdispersion: float = 1.0,
    days: DailyMeans | None = None,
) -> ShadowVerdict:
    """Judge the shadow by any bounded loss: absolute error, cost, Brier score, or mean differences a group.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
        ``clip((loss_production - loss_shadow) / c, -1, 1)``, c the 99.9th percentile of the reference's loss
        differences (a lower one moves the target); one a row, or one mean a group.
    margin, alpha, min_gain, alpha_keep : float
        As in ``shadow_verdict``, in units of c.
    overdispersion, days
        As in ``LossSums.verdict``.

    Raises
    ------
    ValueError
        When a difference is not a number from -1 to 1, or another argument is out of range.

    Notes
    -----
    ``LossSums.count(differences, ...).verdict(...)``; add the sums of several files to judge them together.

    Examples
    --------
    >>> shadow_verdict_from_losses([0.4, 0.1, -0.1] * 100).verdict.value
    'promote'
    """
    sums = LossSums.count(differences, margin=margin, min_gain=min_gain)
    return sums.verdict(alpha=alpha, alpha_keep=alpha_keep, overdispersion=overdispersion, days=days)


def bake_health(
    bad: int,
    requests: int,
    baseline_bad: int,
    baseline_requests: int,
    *,
    tolerance: float = 0.02,
    limit: float | None = None,
    floor: float = 0.0,
    metrics: int = 2,
    alpha: float = 0.01,
) -> BakeHealth:
    """Judge one metric of a new version: errors, or requests slower than the objective.

    Parameters
    ----------
    bad, requests : int
        Bad requests and all requests since the repoint.
    baseline_bad, baseline_requests : int
        The same of the previous version's last 24 hours. Without any, what is acceptable is ``limit``, or
        ``floor + tolerance`` when there is no limit either.
    tolerance : float
        How much above the baseline's upper 95 % bound is still acceptable.
    limit : float, optional
        A hard limit of the bad share, tested in the same way whatever the baseline was.
    floor : float
        What is acceptable at any baseline (0.05 for latency).
    metrics : int
        How many metrics are watched; they share ``alpha``.
    alpha : float
        Chance of ever rolling back a healthy version.

    Returns
    -------
    BakeHealth
        With ``p0`` and ``log_e`` of whichever of the two tests, baseline or limit, has the more evidence.

    Raises
    ------
    ValueError
        When a count is negative, not whole or above its total, or another argument is out of range.

    Notes
    -----
    ``ln E = betaln(a+k, b+n-k) + ln I'(p0; a+k, b+n-k) - betaln(a, b) - ln I'(p0; a, b) - k ln p0 - (n-k) ln(1-p0)``
    with a = b = 1/2: the likelihood of a share above p0, drawn from Jeffreys' prior cut there, over the likelihood
    of p0. Counts under continuous monitoring: arXiv 2205.14762; mixtures: arXiv 1810.08240.

    Examples
    --------
    >>> bake_health(3, 300, 144, 14_400).health.value
    'healthy'
    >>> bake_health(30, 300, 144, 14_400).health.value
    'roll_back'
    >>> bake_health(0, 12, 144, 14_400).health.value
    'too_little_traffic'
    """
    k, n = _part_of("bad", bad, "requests", requests)
    baseline_k, baseline_n = _part_of("baseline_bad", baseline_bad, "baseline_requests", baseline_requests)
    tolerance = as_share("tolerance", tolerance)
    floor = as_share("floor", floor)
    alpha = as_between("alpha", alpha, 0, 1)
    if as_count("metrics", metrics) < 1:
        raise StatisticsInputError("metrics", metrics, "pass how many metrics are watched, 1 or more")
    acceptable = [] if limit is None else [as_between("limit", limit, 0, 1)]
    if baseline_n:
        acceptable.append(max(floor, _upper_bound(baseline_k, baseline_n) + tolerance))
    elif limit is None:
        if floor + tolerance <= 0.0:
            raise StatisticsInputError("tolerance", tolerance, "pass one above 0, or a limit: there is no baseline")
        acceptable.append(floor + tolerance)
    evidence = [(_log_e_of_share(k, n, p0), p0) for p0 in acceptable]
    log_e, p0 = max(evidence, key=lambda found: (found[0], -found[1]))
    threshold = metrics / alpha
    if log_e >= math.log(threshold):
        health = Health.ROLL_BACK
    elif n < MIN_BAKE_REQUESTS:
        health = Health.TOO_LITTLE_TRAFFIC
    else:
        health = Health.HEALTHY
    return BakeHealth(
        health=health, log_e=log_e, threshold=threshold, p0=min(p0, 1.0), share=k / n if n else None, requests=n
    )


def _judge(
    *,
    rows: int,
    gain: float | None,
    promote: Floats,
    keep: Floats,
    log_growth: Callable[[Floats], Floats],
    margin: float,
    min_gain: float,
    alpha: float,
    alpha_keep: float,
    overdispersion: float = 1.0,
    days: DailyMeans | None = None,
) -> ShadowVerdict:
    """Weigh both sides' bets, given as each bet's log capital; ``log_growth(u)`` is the sum of log(1 + u x)."""
    if as_number("overdispersion", overdispersion) < 1.0:
        raise StatisticsInputError("overdispersion", overdispersion, "pass a number of at least 1")
    promote, keep = promote / overdispersion, keep / overdispersion
    worth = rows / overdispersion
    speak = days is not None and days.speaks

    def above(m: float) -> float:
        by_rows = _log_e_of_gain(worth, lambda u: log_growth(u) / overdispersion, m)
        return by_rows if days is None or not speak else _log_mean_of(by_rows, days.log_e_above(m))

    def below(m: float) -> float:
        by_rows = _log_e_of_gain(worth, lambda u: log_growth(-u) / overdispersion, -m)
        return by_rows if days is None or not speak else _log_mean_of(by_rows, days.log_e_below(m))

    to_promote = -math.log(as_between("alpha", alpha, 0, 1))
    to_keep = -math.log(as_between("alpha_keep", alpha_keep, 0, 1))
    log_e_promote, log_e_keep = _log_mean_exp(promote), _log_mean_exp(keep)
    if days is not None and speak:
        log_e_promote = _log_mean_of(log_e_promote, days.log_e_above(margin))
        log_e_keep = _log_mean_of(log_e_keep, days.log_e_below(min_gain))
    if log_e_promote >= to_promote:
        verdict = Verdict.PROMOTE
    elif log_e_keep >= to_keep:
        verdict = Verdict.KEEP
    else:
        verdict = Verdict.NEED_MORE_DATA
    shared = math.log(2.0) if speak else 0.0
    sides = ((promote, to_promote + shared), (keep, to_keep + shared))
    return ShadowVerdict(
        verdict=verdict,
        rows=rows,
        gain=gain,
        interval=(
            _lower_end(worth, gain, above, to_promote),
            -_lower_end(worth, None if gain is None else -gain, lambda m: below(-m), to_promote),
        ),
        rows_to_decide=_rows_to_decide(rows, sides) if verdict is Verdict.NEED_MORE_DATA else 0,
        e_promote=_exp(log_e_promote),
        e_keep=_exp(log_e_keep),
        log_e_promote=log_e_promote,
        log_e_keep=log_e_keep,
        margin=margin,
        min_gain=min_gain,
        alpha=float(alpha),
        alpha_keep=float(alpha_keep),
    )


def _bets_for(margin: float) -> Floats:
    """Return the bets against "the gain is at most margin", scaled so that no loss can ruin them."""
    return BETS / (1.0 + max(margin, 0.0))


def _log_bets(wins: int, losses: int, ties: int, margin: float) -> Floats:
    """Return each bet's log capital after these counts."""
    bets = _bets_for(margin)
    capital: Floats = (
        wins * np.log1p(bets * (1.0 - margin))
        + losses * np.log1p(-bets * (1.0 + margin))
        + ties * np.log1p(-bets * margin)
    )
    return capital


def _log_e_of_gain(rows: float, log_growth: Callable[[Floats], Floats], margin: float) -> float:
    """Return the log e-value against any margin m.

    From log(1 + b (x - m)) = log(1 - b m) + log(1 + u x) with u = b / (1 - b m).
    """
    bets = _bets_for(margin)
    rest = 1.0 - bets * margin
    return _log_mean_exp(rows * np.log(rest) + log_growth(bets / rest))


def _lower_end(rows: float, gain: float | None, log_e: Callable[[float], float], needed: float) -> float:
    """Find the largest margin whose e-value, which falls as the margin rises, reaches exp(needed); -1 if none does.

    No e-value reaches anything at the gain seen, so the end lies below it; a secant that keeps its bracket (Illinois)
    finds it in a few steps.
    """
    if rows == 0 or gain is None or log_e(-1.0) < needed:
        return -1.0
    high, above = gain, log_e(gain) - needed
    step = math.sqrt(2.0 * needed / rows)
    low = max(-1.0, high - step)
    while (below := log_e(low) - needed) < 0.0:
        high, above, step = low, below, 2.0 * step
        low = max(-1.0, low - step)
    kept_low = kept_high = False
    while high - low > 1e-10 and below > 1e-10:
        middle = (low * above - high * below) / (above - below)
        found = log_e(middle) - needed
        if found >= 0.0:
            low, below = middle, found
            above, kept_high, kept_low = (above / 2.0 if kept_high else above), True, False
        else:
            high, above = middle, found
            below, kept_low, kept_high = (below / 2.0 if kept_low else below), True, False
    return low


def _rows_to_decide(rows: int, sides: Iterable[tuple[Floats, float]]) -> int | None:
    """Count the rows still needed by the faster side when every bet goes on growing as it has."""
    needed = [_rows_needed(log_capital / rows, threshold) for log_capital, threshold in sides if rows]
    reachable = [total for total in needed if total is not None]
    return max(1, min(reachable) - rows) if reachable else None


def _rows_needed(growth: Floats, threshold: float) -> int | None:
    """Find the first n with log mean exp(n * growth) >= threshold: it is convex in n and 0 at 0, so it crosses once."""
    fastest = float(growth.max())
    if fastest * _FARTHEST_PROJECTION < threshold + math.log(len(growth)):
        return None
    low, high = 0, math.ceil((threshold + math.log(len(growth))) / fastest) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _log_mean_exp(middle * growth) >= threshold:
            high = middle
        else:
            low = middle
    return high


def _bounded(differences: npt.ArrayLike) -> Floats:
    remedy = "pass numbers from -1 to 1: clip((loss_production - loss_shadow) / c, -1, 1)"
    try:
        x = np.asarray(differences, dtype=np.float64)
    except (TypeError, ValueError):
        raise StatisticsInputError("differences", differences, remedy) from None
    if x.ndim != 1:
        raise StatisticsInputError("differences", f"an array of shape {x.shape}", "pass one number a row")
    wrong = ~(np.abs(x) <= 1.0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise StatisticsInputError(f"differences[{at}]", float(x[at]), remedy)
    return x


def _interpolate(curve: Floats, at: Floats) -> Floats:
    """Interpolate between the Chebyshev nodes, barycentrically, at any points within [-0.9, 0.9]."""
    apart = at[..., None] - _CURVE_AT
    hit = apart == 0.0
    weights = _CURVE_WEIGHTS / np.where(hit, 1.0, apart)
    between = (weights * curve).sum(axis=-1) / weights.sum(axis=-1)
    value: Floats = np.where(hit.any(axis=-1), curve[hit.argmax(axis=-1)], between)
    return value


def _log_e_of_share(k: int, n: int, p0: float) -> float:
    """Return the log e-value of k bad of n against "the bad share is at most p0"; 0 when p0 rejects nothing."""
    if p0 >= 1.0 or n == 0:
        return 0.0
    a = b = 0.5
    return (
        log_beta(a + k, b + n - k)
        + log_beta_tail(p0, a + k, b + n - k)
        - log_beta(a, b)
        - log_beta_tail(p0, a, b)
        - k * math.log(p0)
        - (n - k) * math.log1p(-p0)
    )


def _upper_bound(k: int, n: int) -> float:
    """Return Clopper and Pearson's one-sided upper 95 % bound of a share."""
    return 1.0 if k == n else beta_upper_quantile(BASELINE_TAIL, k + 1.0, float(n - k))


def _part_of(key: str, part: object, whole_key: str, whole: object) -> tuple[int, int]:
    k, n = as_count(key, part), as_count(whole_key, whole)
    if k > n:
        raise StatisticsInputError(key, part, f"pass at most {whole_key}, which is {n}")
    return k, n


def _log_mean_exp(x: Floats) -> float:
    largest = float(x.max())
    return largest + math.log(float(np.exp(x - largest).mean()))


def _log_mean_of(x: float, y: float) -> float:
    return max(x, y) + math.log1p(math.exp(-abs(x - y))) - math.log(2.0)


def _exp(x: float) -> float:
    return math.exp(x) if x < math.log(_LARGEST) else _LARGEST


def _as_units(x: Floats) -> npt.NDArray[np.int64]:
    return np.rint(x * _UNITS).astype(np.int64)


def _from_units(sums: tuple[int, ...]) -> Floats:
    return np.array([s / _UNITS for s in sums])


def _added(ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(ours, theirs, strict=True))
