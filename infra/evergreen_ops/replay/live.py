"""A version's live state on rows of a stream: what it answers as labels come, without a cloud around it."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.training.delays import Delays
from evergreen.training.leaves import ForestLeaves, Ids, Values
from evergreen.training.live_linear import Linear
from evergreen.training.live_state import Answered, Asked, Labels, LiveState
from evergreen.training.recipe import Preparation
from evergreen_ops.replay.recipe import StreamModel, StreamRecipe, answers
from evergreen_ops.replay.scores import class_codes
from evergreen_ops.replay.streams import Stream

Array = npt.NDArray[Any]
LEARNED_AT_ONCE = 50
"""Rows between two looks for new labels."""


@dataclass(frozen=True)
class _Waiting:
    """Rows that were asked and whose labels are not known, or were not looked for."""

    rows: Array
    asked: Asked
    said: Answered


class LiveModel:
    """The members of a version with their live state, asked about the rows of a stream in their order."""

    def __init__(self, stream: Stream, recipe: StreamRecipe, first: Array, longest: timedelta) -> None:
        self._stream, self._rows, self._longest = stream, recipe.rows, longest
        self._delays = Delays()
        self._classes = recipe.job.schema.classes
        centre, spread, scale = 0.0, 1.0, 1.0
        if self._classes is None:
            values = stream.label[first].astype(float)
            centre, spread = float(np.median(values)), float(np.abs(values - np.median(values)).mean()) or 1.0
            scale = float(np.std(values)) or 1.0
        self._preparation = Preparation.learn(self._rows.take(first), standardise=True)
        inputs = self._preparation.matrix(self._rows.take(first))
        classes = len(self._classes or ())
        linear = Linear.new(classes, inputs.shape[1], centre, scale).learned(inputs, self._labels(first))
        self.state = LiveState(classes, spread, linear=linear)
        self._models: dict[int, tuple[StreamModel, ForestLeaves | None]] = {}
        self._waiting: list[_Waiting] = []

    def fork(self) -> LiveModel:
        """Return the same as it is now, to go its own way from here on."""
        other = copy(self)
        other._models, other._waiting = dict(self._models), list(self._waiting)
        return other

    def take(self, model: StreamModel) -> None:
        """Have a newly trained model answer from now on, with its ancestors."""
        number, leaves = len(self._models) + 1, ForestLeaves.of(model.fitted.estimator, self._classes)
        self._models[number] = (model, leaves)
        self.state = self.state.with_member(number, None if leaves is None else leaves.table)

    def ask(self, block: Array) -> Values:
        """Answer rows as they are asked, learning in between what has become known: the fresh answers, ``[N, K]``."""
        fresh = []
        of_all = self._asked(block, [member.number for member in self.state.members])
        for begin in range(0, len(block), LEARNED_AT_ONCE):
            some = slice(begin, begin + LEARNED_AT_ONCE)
            if block[some][0]:
                self.learn(self._stream.event_time[block[some][0] - 1])
            asked = of_all.take(some)
            said = self.state.answer(asked)
            self._waiting.append(_Waiting(block[some], asked, said))
            fresh.append(said.fresh)
        return np.concatenate(fresh)

    def learn(self, now: np.datetime64) -> None:
        """Learn every label that is known by a time and whose request is old enough."""
        due, left = [], []
        old_enough = now - np.timedelta64(self._delays.matured_after(self._longest))
        for waiting in self._waiting:
            known = self._stream.label_time[waiting.rows] <= now  # NaT compares as False
            known &= self._stream.event_time[waiting.rows] <= old_enough
            if known.any():
                due.append(_some(waiting, known))
            if not known.all():
                left.append(_some(waiting, ~known))
        self._waiting = left
        if not due:
            return
        batch = np.concatenate([waiting.rows for waiting in due])
        numbers = [member.number for member in self.state.members]
        if all(number in waiting.asked.ids for number in numbers for waiting in due):
            asked = _asked_together([waiting.asked for waiting in due], numbers)
        else:  # asked before a member came, or of one without leaves
            asked = self._asked(batch, numbers)
        late = sum(len(waiting.rows) for waiting in left)
        said, labels = _joined([waiting.said for waiting in due]), self._labels(batch)
        seconds = (self._stream.label_time[batch] - self._stream.event_time[batch]) / np.timedelta64(1, "s")
        self._delays = self._delays.seen(seconds).compared(seconds, self.state.missed(said.plain, labels))
        self.state = self.state.learn(asked, said, labels, late)

    def _asked(self, rows: Array, numbers: list[int]) -> Asked:
        taken = self._rows.take(rows)
        ids: dict[int, Ids] = {}
        own: dict[int, Values] = {}
        for number in numbers:
            model, leaves = self._models[number]
            matrix = model.fitted.preparation.matrix(taken)
            if leaves is None:
                own[number] = answers(model.fitted, matrix, self._classes)
            else:
                ids[number] = leaves.ids(model.fitted.estimator, matrix)
        return Asked(ids, own, self._preparation.matrix(taken))

    def _labels(self, rows: Array) -> Labels:
        if self._classes is None:
            return self._stream.label[rows].astype(float)
        return class_codes(self._stream.label[rows], self._classes)


def _some(waiting: _Waiting, rows: Array) -> _Waiting:
    if rows.all():
        return waiting
    said = waiting.said
    parts = {name: part[rows] for name, part in said.parts.items()}
    kept = Answered(said.plain[rows], said.fresh[rows], said.guarded[rows], said.adapted[rows], parts)
    return _Waiting(waiting.rows[rows], waiting.asked.take(rows), kept)


def _asked_together(asked: list[Asked], numbers: list[int]) -> Asked:
    ids = {number: np.concatenate([one.ids[number] for one in asked]) for number in numbers}
    return Asked(ids, {}, np.concatenate([one.inputs for one in asked if one.inputs is not None]))


def _joined(said: list[Answered]) -> Answered:
    names = dict.fromkeys(name for one in said for name in one.parts)
    parts = {
        name: np.concatenate([one.parts.get(name, np.full_like(one.plain, np.nan)) for one in said]) for name in names
    }
    return Answered(
        plain=np.concatenate([one.plain for one in said]),
        fresh=np.concatenate([one.fresh for one in said]),
        guarded=np.concatenate([one.guarded for one in said]),
        adapted=np.concatenate([one.adapted for one in said]),
        parts=parts,
    )
