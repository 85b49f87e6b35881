"""The shadow's verdict by macro-F1: an asymptotic test, slower than the one on losses, for rare classes.

Macro-F1 is no mean over rows, so no exact bet on it exists. Its difference is linearised: each row (or group) has an
influence on it, their sum divided by its spread behaves like a random walk once there are enough rows of each class,
and a mixture over effect sizes turns that walk into an e-value that may be looked at any time. "Enough" is
``MIN_OF_CLASS`` labels of every class; until then, and for a long time after, it says need_more_data.

Sources: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, arXiv 2103.06476 (asymptotic confidence sequences); Robbins,
Annals of Mathematical Statistics 41 (1970) (the mixture).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_between
from evergreen.statistics.sequential import ShadowVerdict, Verdict

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

MIN_OF_CLASS = 50
"""Labels of each class below which nothing is said."""

_EFFECTS: Floats = np.geomspace(0.002, 1.0, 12)
"""Spreads of the mixture's effect sizes, gain over variance of a row's influence."""

_FARTHEST = 1e9


def macro_f1_verdict(
    actual: npt.ArrayLike,
    production: npt.ArrayLike,
    shadow: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    margin: float = 0.0,
    alpha: float = 0.01,
    min_gain: float = 0.02,
    alpha_keep: float = 0.05,
) -> ShadowVerdict:
    """Judge the shadow by macro-F1, asymptotically.

    Parameters
    ----------
    actual, production, shadow : array_like of int, shape (n,)
        Codes 0, 1, ... of the true class and of both answers.
    groups : array_like of int, shape (n,), optional
        Rows of one group (a user, a device) are taken to depend on each other.
    margin : float
        The gain in macro-F1 to beat, above -1 and below 1.
    alpha : float
        Chance of ever promoting a shadow whose gain is at most ``margin``, for large samples.
    min_gain : float
        The gain worth having, above -1 and below 1.
    alpha_keep : float
        Chance of ever keeping production although the gain is at least ``min_gain``, for large samples.

    Returns
    -------
    ShadowVerdict
        ``rows`` counts rows, also where groups are given.

    Raises
    ------
    ValueError
        When the lengths differ, a code is negative, or another argument is out of range.

    Notes
    -----
    The average runs over the classes that are among the labels. With S the gain less the margin, times n, and V the
    sum of the squared influences of rows or groups, ``E = mean_r 2 / sqrt(1 + r^2 V) * exp(r^2 S^2 / (2 (1 + r^2 V)))
    * Phi(r S / sqrt(1 + r^2 V))`` over twelve effect sizes r.

    Examples
    --------
    >>> actual = [0] * 900 + [1] * 100
    >>> production, shadow = [0] * 950 + [1] * 50, [0] * 910 + [1] * 90
    >>> found = macro_f1_verdict(actual, production, shadow)
    >>> found.verdict.value, round(found.gain, 3)
    ('promote', 0.151)
    """
    margin = as_between("margin", margin, -1, 1)
    min_gain = as_between("min_gain", min_gain, -1, 1)
    to_promote = -math.log(as_between("alpha", alpha, 0, 1))
    to_keep = -math.log(as_between("alpha_keep", alpha_keep, 0, 1))
    truth, ours, theirs = _codes("actual", actual), _codes("production", production), _codes("shadow", shadow)
    cluster = None if groups is None else _codes("groups", groups)
    for key, codes in (("production", ours), ("shadow", theirs), ("groups", cluster)):
        if codes is not None and len(codes) != len(truth):
            raise StatisticsInputError(key, f"of {len(codes)} rows", f"pass one a row, as actual has {len(truth)}")
    rows = len(truth)
    per_class = np.bincount(truth) if rows else np.zeros(0, dtype=np.int64)
    classes = np.flatnonzero(per_class)
    gain, spread = 0.0, 0.0
    if rows:
        better, influence = _macro_f1(truth, theirs, classes)
        worse, subtracted = _macro_f1(truth, ours, classes)
        gain = better - worse
        shares = influence - subtracted
        spread = float((_sums(shares, cluster) ** 2).sum())
    enough = len(classes) > 1 and int(per_class[classes].min()) >= MIN_OF_CLASS and spread > 0.0

    def log_e(side: float, null: float, times: float = 1.0) -> float:
        """Return the log e-value for ``side * gain > side * null`` if the log were ``times`` as long."""
        return _log_e(times * rows * side * (gain - null), times * spread) if enough else 0.0

    promote, keep = log_e(1.0, margin), log_e(-1.0, min_gain)
    verdict = Verdict.NEED_MORE_DATA
    if promote >= to_promote:
        verdict = Verdict.PROMOTE
    elif keep >= to_keep:
        verdict = Verdict.KEEP
    more: int | None = 0
    if verdict is Verdict.NEED_MORE_DATA:
        sides = (
            _times_needed(lambda times: log_e(1.0, margin, times) - to_promote),
            _times_needed(lambda times: log_e(-1.0, min_gain, times) - to_keep),
        )
        reached = [times for times in sides if times is not None]
        more = math.ceil((min(reached) - 1.0) * rows) if enough and reached else None
    return ShadowVerdict(
        verdict=verdict,
        rows=rows,
        gain=gain if rows else None,
        interval=(
            _end(lambda null: log_e(1.0, null) - to_promote, gain, -1.0) if enough else -1.0,
            _end(lambda null: log_e(-1.0, null) - to_promote, gain, 1.0) if enough else 1.0,
        ),
        rows_to_decide=more,
        e_promote=math.exp(min(promote, 700.0)),
        e_keep=math.exp(min(keep, 700.0)),
        log_e_promote=promote,
        log_e_keep=keep,
        margin=margin,
        min_gain=min_gain,
        alpha=float(alpha),
        alpha_keep=float(alpha_keep),
    )


def _codes(key: str, values: npt.ArrayLike) -> Codes:
    codes = np.asarray(values)
    if codes.ndim != 1 or (len(codes) and codes.dtype.kind not in "biu"):
        raise StatisticsInputError(key, f"of type {codes.dtype}", "pass one whole code a row")
    if len(codes) and int(codes.min()) < 0:
        raise StatisticsInputError(key, int(codes.min()), "pass codes of 0 or more")
    return codes.astype(np.int64)


def _macro_f1(actual: Codes, answered: Codes, classes: Codes) -> tuple[float, Floats]:
    """Return the macro-F1 and each row's influence on it (their mean is 0)."""
    total, influence = 0.0, np.zeros(len(actual))
    for k in classes:
        is_k, said_k = actual == k, answered == k
        size = float(is_k.mean() + said_k.mean())
        f1 = 2.0 * float((is_k & said_k).mean()) / size
        total += f1
        influence += (2.0 * (is_k & said_k) - f1 * (is_k.astype(np.float64) + said_k)) / size
    return total / len(classes), influence / len(classes)


def _sums(values: Floats, groups: Codes | None) -> Floats:
    return values if groups is None else np.bincount(groups, values)


def _log_e(distance: float, spread: float) -> float:
    """Return the logarithm of the mixture; ``distance`` is how far the walk is above its null."""
    wide = 1.0 + _EFFECTS**2 * spread
    logs = [
        math.log(2.0)
        - 0.5 * math.log(w)
        + r * r * distance * distance / (2.0 * w)
        + _log_normal_below(r * distance / math.sqrt(w))
        for r, w in zip(_EFFECTS.tolist(), wide.tolist(), strict=True)
    ]
    largest = max(logs)
    return float(largest + math.log(sum(math.exp(value - largest) for value in logs) / len(logs)))


def _log_normal_below(z: float) -> float:
    """Return the log of the normal distribution function; by its tail's expansion where that would underflow."""
    if z > -30.0:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(2.0 * math.pi) - 1.0 / (z * z)


def _times_needed(above: Callable[[float], float]) -> float | None:
    """Find how many times as many rows, all else equal, would reach the threshold."""
    if above(_FARTHEST) < 0.0:
        return None
    low, high = 0.0, math.log(_FARTHEST)
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        low, high = (low, middle) if above(math.exp(middle)) >= 0.0 else (middle, high)
    return math.exp(high)


def _end(above: Callable[[float], float], gain: float, far: float) -> float:
    """Find the margin between ``far`` and the gain where the e-value reaches its threshold; ``far`` where none does."""
    if above(far) < 0.0:
        return far
    rejected, kept = far, gain
    while abs(kept - rejected) > 1e-9:
        middle = (rejected + kept) / 2.0
        rejected, kept = (middle, kept) if above(middle) >= 0.0 else (rejected, middle)
    return rejected
