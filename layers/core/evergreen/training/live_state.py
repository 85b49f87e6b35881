"""What a version learns from matured labels between its trainings, and how much it trusts that.

Answers are mixed at three places, each by what the parts have cost on the newest labelled rows: the members' leaves,
plain, refreshed and stepped, and a linear model (a blend); the blend and its recalibrations; and last the plain answer
and what all this makes of it. The last mixture is the guard. Its weights are those of the fixed share forecaster, so
whatever the labels are, freshness costs at most :meth:`Guard.bound` more than the plain answers do.

Sources: exponential weights and fixed share, Herbster & Warmuth, "Tracking the best expert", Machine Learning 32, 1998;
exp-concavity of the square loss, Cesa-Bianchi & Lugosi, "Prediction, learning, and games", 2006, section 3.3; blending
versions by their newest error, Brzezinski & Stefanowski's AUE2, IEEE TNNLS 25, 2014; recalibration, Platt 1999.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.statistics.losses import absolute_error, brier
from evergreen.training.leaf_steps import LeafSteps, stepped
from evergreen.training.leaves import Ids, LeafCounts, LeafTable, Values
from evergreen.training.live_linear import Linear

MOST_MEMBERS = 5
FEWEST_JUDGED = 50
"""Rows that a part must have answered before its own loss says what it is worth; until then it counts as the best."""
_TREE_BY_TREE = 50
"""From so many rows on leaves are looked up a tree at a time."""
_FEWEST_CALIBRATED = 100
_FEWEST_LOST, _PROVEN = 20.0, 3.0
"""Rows where just one of the fresh and the plain answer was right, and standard errors, to hold a state back."""
_PRIOR_ROWS = 100.0
"""How many rows speak for leaving the answers as they are when they are recalibrated."""
_NEWTON_STEPS = 4

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""Codes of the classes, or values."""
Series = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pace:
    """How quickly a live state follows the labels.

    Parameters
    ----------
    half_lives
        Of the leaves' labels, in labels.
    blend_rows, blend_rate
        The members are weighed by exp(-rate x their mean loss on the newest so many rows).
    mix_rows, mix_rate
        So are their blends, the linear model and the recalibrations.
    calibration_rows
        The newest rows that each recalibration is fitted on.
    """

    half_lives: tuple[float, float] = (300.0, 1_000.0)
    blend_rows: int = 500
    blend_rate: float = 50.0
    mix_rows: int = 1_000
    mix_rate: float = 100.0
    calibration_rows: tuple[int, int] = (1_000, 3_000)

    @classmethod
    def of_delay(cls, rows: float) -> Pace:
        """Follow labels that are known so many rows late.

        What is late is out of date when it comes: the windows grow with the delay, and the weights follow slowly.

        Examples
        --------
        >>> Pace.of_delay(100) == Pace()
        True
        >>> Pace.of_delay(600).half_lives, Pace.of_delay(600).mix_rows
        ((600, 1800), 3000)
        """
        if rows <= _SHORT_DELAY:
            return cls()
        window = round(5 * rows)
        return cls(
            half_lives=(max(300.0, rows), max(1_000.0, 3 * rows)),
            blend_rows=window,
            blend_rate=20.0,
            mix_rows=window,
            mix_rate=20.0,
            calibration_rows=(max(1_000, window), max(3_000, window)),
        )

    @property
    def longest(self) -> int:
        """The newest rows that are remembered."""
        return max(self.blend_rows, self.mix_rows, *self.calibration_rows)


_SHORT_DELAY = 300
_DELAY_ROWS = 1_000
"""After so many rows half of what was known of the delay is forgotten."""


@dataclass(frozen=True, eq=False)
class Member:
    """An estimator inside a version, and what labels have taught its leaves.

    A member has the number of the version that it was trained as. An estimator without leaves has no table, and
    nothing to refresh.
    """

    number: int
    table: LeafTable | None
    counts: tuple[LeafCounts, ...] = ()
    steps: LeafSteps | None = None

    @classmethod
    def new(cls, number: int, table: LeafTable | None) -> Member:
        """A member that has learned nothing since its training."""
        if table is None:
            return cls(number, None)
        return cls(number, table, (LeafCounts.none(table),) * len(Pace.half_lives), LeafSteps.none(table))

    def learned(self, leaves: Ids, labels: Labels, pace: Pace, *, spread: float = 1.0) -> Member:
        """Count a batch of labels in the leaves that their rows fell into, and move these by what is left to learn."""
        paced = zip(self.counts, pace.half_lives, strict=True)
        counts = tuple(count.learned(leaves, labels, half_life) for count, half_life in paced)
        steps = self.steps
        if steps is not None:
            steps = steps.learned(leaves, self.answers(leaves)[_SLOW], labels, spread)
        return replace(self, counts=counts, steps=steps)

    @cached_property
    def _values(self) -> Values:
        """Its leaves as trained, refreshed and moved, ``[L, (2 + half-lives) K]``: one look-up finds them all."""
        table, steps = self.table, self.steps
        if table is None or steps is None:
            raise ValueError(f"member {self.number} has no leaves")
        kinds = [table.values, *(counts.values(table) for counts in self.counts), steps.moved]
        return np.concatenate(kinds, axis=1).astype(np.float64)

    def answers(self, leaves: Ids) -> list[Values]:
        """What it says, plain, refreshed and stepped, to rows that fell into these leaves: ``[N, K]`` each."""
        values, trees = self._values, leaves.shape[1]
        if len(leaves) < _TREE_BY_TREE:
            said = values[leaves].sum(axis=1)
        else:  # the same sums, six times as fast: a tree's values stay near
            said, one = np.zeros((len(leaves), values.shape[1])), np.empty((len(leaves), values.shape[1]))
            for column in np.ascontiguousarray(leaves.T):
                said += np.take(values, column, axis=0, out=one, mode="clip")
        columns = said.shape[1] // len(_KINDS)
        *refreshed, moved = (said[:, first : first + columns] for first in range(0, said.shape[1], columns))
        means = [each / trees for each in refreshed]
        classes = moved.shape[1] if moved.shape[1] > 1 else 0
        return [*means, stepped(means[_SLOW], moved, classes)]


@dataclass(frozen=True, eq=False)
class Asked:
    """``N`` rows as the estimators see them, before any state: what a state answers is a function of it.

    Parameters
    ----------
    ids
        The leaves that the rows fell into, by the number of the member.
    own
        Of members without leaves their answers, ``[N, K]``.
    inputs
        Of the linear model, ``[N, D]``; None where there is none.
    """

    ids: Mapping[int, Ids]
    own: Mapping[int, Values] = field(default_factory=dict)
    inputs: npt.NDArray[Any] | None = None

    def take(self, rows: Any) -> Asked:
        """Some of the rows: a slice, a mask or places."""
        inputs = None if self.inputs is None else self.inputs[rows]
        return Asked({n: ids[rows] for n, ids in self.ids.items()}, {n: o[rows] for n, o in self.own.items()}, inputs)


@dataclass(frozen=True, eq=False)
class Answered:
    """What each part of a state said to ``N`` rows; kept until their labels are known.

    Parameters
    ----------
    plain
        The newest member's own answers, ``[N, K]``.
    fresh
        The state's answers.
    guarded
        What its guard lets it say; `fresh` is the plain answer instead while it is held back.
    adapted
        What the state would say without its guard.
    parts
        By name, what each series that is weighed said.
    """

    plain: Values
    fresh: Values
    guarded: Values
    adapted: Values
    parts: dict[str, Values]

    @property
    def is_finite(self) -> bool:
        """Whether the answers are numbers, all of them."""
        return bool(np.isfinite(self.fresh).all())

    @property
    def mixed(self) -> Values:
        """What the state would say without its recalibrations."""
        return self.parts[_MIXED]


@dataclass(frozen=True)
class Guard:
    """The weight of what was learned against the plain answer: a fixed share forecaster of two.

    Parameters
    ----------
    weight
        Of what was learned.
    rate
        Of a loss between 0 and 1. For the Brier score and the square loss 0.5 is exp-concave.
    share
        Of the weight that changes sides with each row, so that neither ever falls below it.
    """

    weight: float = 0.5
    rate: float = 0.5
    share: float = 1e-4

    def learned(self, plain: Sequence[float], adapted: Sequence[float]) -> Guard:
        """Take the losses of a batch of rows, each between 0 and 1, oldest first."""
        weight = self.weight
        for one, other in zip(plain, adapted, strict=True):
            odds = math.exp(-self.rate * (other - one))
            weight = weight * odds / (weight * odds + 1.0 - weight)
            weight = (1.0 - self.share) * weight + self.share / 2
        return replace(self, weight=weight)

    def bound(self, rows: int, switches: int = 0) -> float:
        """How much more the mixture can have lost than the plain answers, as a sum of losses, whatever came.

        Fixed share, Herbster & Warmuth 1998, for two experts and a loss that is exp-concave at this rate. It holds for
        labels that are learned before the next row is asked; for a regression while answers and labels are within four
        spreads of one another.

        Parameters
        ----------
        rows
            Labelled rows, all in all.
        switches
            How often the best of the two changes in the comparison; 0: the plain answers all the way.

        Examples
        --------
        >>> round(Guard().bound(10_000), 1)
        2.4
        """
        moved = self.share / 2
        paths = math.log(2) - switches * math.log(moved) - max(0, rows - 1 - switches) * math.log1p(-moved)
        return paths / self.rate


@dataclass(frozen=True, eq=False)
class LiveState:
    """What a version knows that its training did not.

    Parameters
    ----------
    classes
        How many there are; 0 for a regression.
    spread
        What a loss is divided by: 1 for classes, for a regression the labels' mean distance from their median.
    members
        Oldest first; the newest one's own answer is the version's plain answer.
    losses
        By series, of the newest rows, oldest first; NaN where the series did not answer. All have the same length.
    answers, labels
        Of the newest rows: what the state said before recalibration, ``[W, K]``, and what was true, ``[W]``.
    guard
        How much it trusts itself.
    lost
        Of the newest rows, oldest first, whether the guarded answer was wrong where the plain one was right (1), or the
        other way round (-1); for a regression how much farther off it was, in spreads. ``[W]``.
    linear
        The model that learns each label as it comes; None where the inputs for one are not known.
    rows
        Labels learned.
    delay
        How many rows are asked before the label of one is learned, on the slow average; it sets the pace.
    """

    classes: int
    spread: float
    members: tuple[Member, ...] = ()
    losses: dict[str, Series] = field(default_factory=dict)
    answers: Values = field(default_factory=lambda: np.zeros((0, 1)))
    labels: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    guard: Guard = field(default_factory=Guard)
    lost: Series = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    linear: Linear | None = None
    rows: int = 0
    delay: float = 0.0

    @property
    def pace(self) -> Pace:
        """How quickly it follows."""
        return Pace.of_delay(self.delay)

    @cached_property
    def is_held_back(self) -> bool:
        """Whether it was proven worse than the plain answers on the newest rows: then these are what it says.

        The guard weighs losses, and a probability can be better where the class is worse. So classes are counted too:
        the signed count over its standard error, on rows where just one of the two was right, is above 3. What it would
        have said is counted on, so that it is heard again once it has been right.
        """
        lost = self.lost[-self.pace.mix_rows :].astype(np.float64)
        squares = float((lost * lost).sum())
        return squares >= _FEWEST_LOST and float(lost.sum()) > _PROVEN * math.sqrt(squares)

    # --- answering ----------------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answered:
        """Answer ``N`` rows, which all members were asked."""
        parts: dict[str, Values] = {}
        by_kind: dict[str, list[tuple[str, Values]]] = {kind: [] for kind in _KINDS}
        for member in self.members:
            for kind, said in zip(_KINDS, _said(member, asked), strict=True):
                by_kind[kind].append((f"{kind} {member.number}", said))
        parts |= dict(one for some in by_kind.values() for one in some)
        blends = {f"blend {kind}": self._blended(some, "blend") for kind, some in by_kind.items()}
        if self.linear is not None and self.linear.rows and asked.inputs is not None:
            blends["linear"] = self.linear.answers(asked.inputs)
        mixed = self._blended(list(blends.items()), "mix")
        told = {_MIXED: mixed}
        for number, correction in enumerate(self._corrections):
            told[f"recalibrated {number}"] = mixed if correction is None else correction.applied(mixed)
        adapted = self._blended(list(told.items()), "mix")
        plain = by_kind[_KINDS[0]][-1][1]
        guarded = (1.0 - self.guard.weight) * plain + self.guard.weight * adapted
        return Answered(plain, plain if self.is_held_back else guarded, guarded, adapted, parts | blends | told)

    def _blended(self, parts: list[tuple[str, Values]], place: str) -> Values:
        if len(parts) == 1:
            return parts[0][1]
        weights = self.weights(tuple(name for name, _ in parts), place)
        blended = np.zeros_like(parts[0][1])
        for weight, (_, said) in zip(weights, parts, strict=True):  # a product would add up many rows in another order
            blended += weight * said
        return blended

    def weights(self, names: Sequence[str], place: str) -> npt.NDArray[np.float64]:
        """How the parts of a blend are weighed now, ``[len(names)]``; place is ``blend`` or ``mix``."""
        key = (place, *names)
        if key not in self._weights:
            self._weights[key] = self._weighed(names, place)
        return self._weights[key]

    @cached_property
    def _weights(self) -> dict[tuple[str, ...], npt.NDArray[np.float64]]:
        """What was weighed of this state before: it is asked many times before it learns."""
        return {}

    def _weighed(self, names: Sequence[str], place: str) -> npt.NDArray[np.float64]:
        rows, rate = (
            (self.pace.blend_rows, self.pace.blend_rate)
            if place == "blend"
            else (self.pace.mix_rows, self.pace.mix_rate)
        )
        cost = np.array([_mean(self.losses.get(name), rows) for name in names]) / self.spread
        known = np.isfinite(cost)
        if not known.any():
            return np.full(len(names), 1.0 / len(names))
        cost = np.where(known, cost, cost[known].min())
        weights = np.exp(-rate * (cost - cost.min()))
        normed: npt.NDArray[np.float64] = weights / weights.sum()
        return normed

    @cached_property
    def _corrections(self) -> list[Correction | None]:
        return [
            correction(self.answers[-rows:], self.labels[-rows:], self.classes) for rows in self.pace.calibration_rows
        ]

    # --- learning -----------------------------------------------------------------------------------------------------

    def learn(self, asked: Asked, said: Answered | None, labels: Labels, late: float) -> LiveState:
        """Learn a batch of matured rows, oldest first, by what was said when they were asked.

        Parameters
        ----------
        asked
            The rows.
        said
            What the state as it was then answered; series that it did not have yet are missing. None where it is not
            known: the leaves and the linear model learn, and nobody is judged.
        labels
            ``[N]``.
        late
            Rows that have been asked and are not learned yet.
        """
        if not len(labels):
            return self
        moved = 1.0 - 0.5 ** (len(labels) / _DELAY_ROWS)
        delay = self.delay + moved * (late - self.delay) if self.rows else float(late)
        pace = Pace.of_delay(delay)
        members = tuple(
            member.learned(asked.ids[member.number], labels, pace, spread=self.spread)
            if member.table is not None and member.number in asked.ids
            else member
            for member in self.members
        )
        linear = self.linear
        if linear is not None and asked.inputs is not None:
            linear = linear.learned(asked.inputs, labels)
        learned = replace(self, members=members, linear=linear, rows=self.rows + len(labels), delay=delay)
        return learned if said is None else learned._judged(said, labels, pace.longest)

    def _judged(self, said: Answered, labels: Labels, keep: int) -> LiveState:
        """Note what was said and what was true, and let the guard see it."""
        told = {
            name: row_loss(answers, labels, self.classes).astype(np.float32) for name, answers in said.parts.items()
        }
        before, now = len(self.labels), len(labels)
        losses = {}
        for name in {**self.losses, **told}:
            old, new = self.losses.get(name), told.get(name)
            old = np.full(before, np.nan, np.float32) if old is None else old
            new = np.full(now, np.nan, np.float32) if new is None else new
            losses[name] = np.concatenate([old, new])[-keep:]
        losses = {name: series for name, series in losses.items() if not np.isnan(series).all()}
        answers = said.mixed if not before else np.concatenate([self.answers, said.mixed])
        return replace(
            self,
            losses=losses,
            answers=answers[-keep:],
            labels=np.concatenate([self.labels, labels.astype(np.float64)])[-keep:],
            guard=self.guard.learned(
                self._bounded(said.plain, labels).tolist(), self._bounded(said.adapted, labels).tolist()
            ),
            lost=np.concatenate([self.lost, self._lost(said, labels)])[-keep:],
        )

    def _lost(self, said: Answered, labels: Labels) -> Series:
        if self.classes:
            wrong = [(answers.argmax(axis=1) != labels).astype(np.float32) for answers in (said.guarded, said.plain)]
            return np.asarray(wrong[0] - wrong[1], dtype=np.float32)
        far = [row_loss(answers, labels, 0) / self.spread for answers in (said.guarded, said.plain)]
        return np.clip(far[0] - far[1], -1.0, 1.0).astype(np.float32)

    def _bounded(self, answers: Values, labels: Labels) -> Values:
        """Losses between 0 and 1 that are exp-concave: the Brier score, or the square of a clipped scaled error."""
        loss = row_loss(answers, labels, self.classes)
        if self.classes:
            return loss
        clipped: Values = np.minimum(loss / (_FAR * self.spread), 1.0) ** 2
        return clipped

    def missed(self, answers: Values, labels: Labels) -> Values:
        """Labels less answers: a column for each class; a value in spreads, at most four of them; ``[N, K]``."""
        if self.classes:
            missed: Values = np.eye(self.classes)[labels.astype(np.int64)] - answers
            return missed
        return np.clip((labels[:, np.newaxis] - answers) / self.spread, -_FAR, _FAR)

    # --- versions -----------------------------------------------------------------------------------------------------

    def with_member(self, number: int, table: LeafTable | None) -> LiveState:
        """Take in a newly trained estimator; of more than five the oldest leaves.

        Parameters
        ----------
        number
            Of the version that it was trained as.
        table
            Its leaves.
        """
        kept = [member for member in self.members if member.number != number][-(MOST_MEMBERS - 1) :]
        return self.of_members([*(member.number for member in kept), number], {number: table})

    def of_members(self, numbers: Sequence[int], tables: Mapping[int, LeafTable | None]) -> LiveState:
        """The state of a version with these members, oldest first; who is new has learned nothing yet.

        Parameters
        ----------
        numbers
            The members.
        tables
            Their leaves, as the version's archive holds them; of those who stay they may be left out.
        """
        known = {member.number: member for member in self.members}
        members = tuple(
            replace(known[number], table=tables.get(number, known[number].table))
            if number in known
            else Member.new(number, tables[number])
            for number in numbers
        )
        gone = tuple(f" {number}" for number in known if number not in numbers)
        losses = {name: series for name, series in self.losses.items() if not (gone and name.endswith(gone))}
        return replace(self, members=members, losses=losses)


_KINDS = ("plain", "quick", "slow", "stepped")
_SLOW = _KINDS.index("slow")
_MIXED = "mixed"
_FAR = 4.0
"""A regression's error of so many spreads is as bad as any, to the guard."""


def _said(member: Member, asked: Asked) -> list[Values]:
    if member.table is None:
        return [asked.own[member.number]] * len(_KINDS)
    return member.answers(asked.ids[member.number])


def _mean(series: Series | None, rows: int) -> float:
    if series is None:
        return math.nan
    newest = series[-rows:]
    known = newest[~np.isnan(newest)]
    return float(known.mean(dtype=np.float64)) if len(known) >= FEWEST_JUDGED else math.nan


def row_loss(answers: Values, labels: Labels, classes: int) -> Values:
    """The Brier score of each row (half of it, between 0 and 1), or its absolute error; float64 ``[N]``.

    Examples
    --------
    >>> row_loss(np.array([[0.2, 0.8], [1.0, 0.0]]), np.array([1, 1]), 2).round(2).tolist()
    [0.04, 1.0]
    >>> row_loss(np.array([[3.0]]), np.array([5.0]), 0).tolist()
    [2.0]
    """
    return brier(answers, labels) if classes else absolute_error(answers[:, 0], labels)


# --- recalibration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Correction:
    """How answers are corrected by what is known of earlier ones.

    Parameters
    ----------
    classes
        How many there are; 0 for a regression.
    offset
        Two classes: of the logit. More: a bias for each, ``[K]``. A regression: of the value.
    slope
        Of the logit; of the value; not for more than two classes.
    """

    classes: int
    offset: Any
    slope: float = 1.0
    centre: float = 0.0

    def applied(self, answers: Values) -> Values:
        """Answers ``[N, K]`` as corrected."""
        if self.classes == 2:
            likely = 1 / (1 + np.exp(-(self.offset + self.slope * _logit(answers))))
            return np.stack([1 - likely, likely], axis=1)
        if self.classes:
            return _softmax(np.log(np.clip(answers, 0.003, 1)) + self.offset)
        corrected: Values = answers + self.offset + self.slope * (answers - self.centre)
        return corrected


def correction(seen: Values, labels: npt.NDArray[np.float64], classes: int) -> Correction | None:
    """Find how to correct answers, with a ridge towards leaving them as they are.

    Two classes: intercept and slope of the logit. More: a bias for each class. A regression: offset and slope, robust
    against single rows (Huber).

    Parameters
    ----------
    seen, labels
        ``W`` earlier answers, ``[W, K]``, and what was true, ``[W]``.
    classes
        How many there are; 0 for a regression.

    Returns
    -------
    Correction or None
        None with fewer than 100 rows.
    """
    if len(labels) < _FEWEST_CALIBRATED:
        return None
    if classes == 2:
        return _of_two(seen, labels)
    if classes:
        return _of_many(seen, labels.astype(np.int64))
    return _of_values(seen[:, 0], labels)


def _logit(answers: Values) -> Values:
    likely = np.clip(answers[:, 1], 0.005, 0.995)
    odds: Values = np.log(likely / (1 - likely))
    return odds


def _of_two(seen: Values, labels: npt.NDArray[np.float64]) -> Correction:
    x, offset, slope = _logit(seen), 0.0, 1.0
    weak = 0.05 * _PRIOR_ROWS
    for _ in range(_NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-(offset + slope * x)))
        weight = likely * (1 - likely) + 1e-6
        missed = labels - likely
        gradient = np.array([missed.sum() - weak * offset, (missed * x).sum() - _PRIOR_ROWS * (slope - 1)])
        cross = (weight * x).sum()
        curvature = np.array([[weight.sum() + weak, cross], [cross, (weight * x * x).sum() + _PRIOR_ROWS]])
        step = np.linalg.solve(curvature, gradient)
        offset, slope = offset + step[0], min(max(slope + step[1], 0.2), 3.0)
    return Correction(2, offset, slope)


def _of_many(seen: Values, labels: npt.NDArray[np.int64]) -> Correction:
    x, bias = np.log(np.clip(seen, 0.003, 1)), np.zeros(seen.shape[1])
    true, weak = np.bincount(labels, minlength=seen.shape[1]), 0.05 * _PRIOR_ROWS
    for _ in range(_NEWTON_STEPS):
        likely = _softmax(x + bias)
        step = (true - likely.sum(0) - weak * bias) / ((likely * (1 - likely)).sum(0) + weak + 1e-6)
        bias = bias + 0.7 * step
    return Correction(seen.shape[1], bias)


def _softmax(x: Values) -> Values:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    normed: Values = raised / raised.sum(axis=1, keepdims=True)
    return normed


def _of_values(seen: Values, labels: npt.NDArray[np.float64]) -> Correction:
    centre, scale = seen.mean(), seen.std() + 1e-9
    x, missed, found = (seen - centre) / scale, labels - seen, np.zeros(2)
    for _ in range(_NEWTON_STEPS + 1):
        left = missed - found[0] - found[1] * x
        weight = 1 / np.maximum(1, np.abs(left) / (np.median(np.abs(left)) * 1.48 + 1e-9))
        cross = (weight * x).sum()
        normal = np.array([[weight.sum() + _PRIOR_ROWS, cross], [cross, (weight * x * x).sum() + _PRIOR_ROWS]])
        found = np.linalg.solve(normal, np.array([(weight * missed).sum(), (weight * missed * x).sum()]))
    return Correction(0, float(found[0]), float(found[1] / scale), float(centre))
