"""A version's live state on rows of a stream: what it answers as labels come, without a cloud around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.training.learner import Learner
from evergreen.training.leaves import Ids, LeafTable, Values
from evergreen.training.live_state import Answered, Labels, LiveState
from evergreen.training.online_state import OnlineState
from evergreen.training.recipe import Preparation
from evergreen_ops.replay.recipe import StreamModel, StreamRecipe, answers
from evergreen_ops.replay.scores import class_codes
from evergreen_ops.replay.streams import Stream

Array = npt.NDArray[Any]
LEARNED_AT_ONCE = 50
"""Rows between two looks for new labels."""
_RATES = {"SGDClassifier": 0.01, "SGDRegressor": 0.005}


@dataclass(frozen=True)
class _Waiting:
    """Rows that were asked and whose labels are not known, or were not looked for."""

    rows: Array
    said: Answered
    ids: dict[int, Ids]  # of the members that there were, by their numbers


class LiveModel:
    """The members of a version with their live state, asked about the rows of a stream in their order."""

    def __init__(self, stream: Stream, recipe: StreamRecipe, first: Array) -> None:
        self._stream, self._rows = stream, recipe.rows
        schema = recipe.job.schema
        self._classes = schema.classes
        if self._classes is None:
            values = stream.label[first].astype(float)
            centre, spread = float(np.median(values)), float(np.abs(values - np.median(values)).mean()) or 1.0
            scale = float(np.std(values)) or 1.0
        else:
            centre, spread, scale = 0.0, 1.0, 1.0
        learner = Learner.of(schema.task)
        rate = {"learning_rate": "constant", "eta0": _RATES[learner.estimator]}
        learner = replace(learner, params={**learner.params, **rate})
        preparation = Preparation.learn(self._rows.take(first), standardise=True)
        self.state = LiveState(len(self._classes or ()), spread)
        self._linear = OnlineState(schema, preparation, learner, label_centre=centre, label_scale=scale)
        self._models: tuple[StreamModel, ...] = ()
        self._waiting: list[_Waiting] = []
        for batch in np.array_split(first, max(1, len(first) // LEARNED_AT_ONCE)):
            self._learn_linear(batch)

    def take(self, model: StreamModel) -> None:
        """Have a newly trained model answer from now on, with its ancestors."""
        state = self.state.with_member(LeafTable.of(model.fitted.estimator, self._classes))
        known = {member.number: old for member, old in zip(self.state.members, self._models, strict=True)}
        self._models = (*(known[member.number] for member in state.members[:-1]), model)
        self.state = state

    def ask(self, block: Array) -> Values:
        """Answer rows as they are asked, learning in between what has become known: the fresh answers, ``[N, K]``."""
        fresh = []
        of_all = self._ids(block)
        linear_matrix = self._linear.matrix(self._rows.take(block)).astype(np.float32)
        for begin in range(0, len(block), LEARNED_AT_ONCE):
            some = block[begin : begin + LEARNED_AT_ONCE]
            if some[0]:
                self.learn(self._stream.event_time[some[0] - 1])
            ids = {number: leaves[begin : begin + LEARNED_AT_ONCE] for number, leaves in of_all.items()}
            said = self._answer(some, ids, linear_matrix[begin : begin + LEARNED_AT_ONCE])
            self._waiting.append(_Waiting(some, said, ids))
            fresh.append(said.fresh)
        return np.concatenate(fresh)

    def learn(self, now: np.datetime64) -> None:
        """Learn every label that is known by a time."""
        due, left = [], []
        for waiting in self._waiting:
            known = self._stream.label_time[waiting.rows] <= now  # NaT compares as False
            if known.any():
                due.append(_some(waiting, known))
            if not known.all():
                left.append(_some(waiting, ~known))
        self._waiting = left
        if not due:
            return
        batch = np.concatenate([waiting.rows for waiting in due])
        ids: list[Ids | None] = []
        for member, model in zip(self.state.members, self._models, strict=True):
            if member.table is None:
                ids.append(None)
            elif all(member.number in waiting.ids for waiting in due):
                ids.append(np.concatenate([waiting.ids[member.number] for waiting in due]))
            else:  # asked before the member came
                matrix = model.fitted.preparation.matrix(self._rows.take(batch))
                ids.append(member.table.ids(model.fitted.estimator, matrix))
        late = sum(len(waiting.rows) for waiting in left)
        self.state = self.state.learn(_joined([waiting.said for waiting in due]), ids, self._labels(batch), late)
        self._learn_linear(batch)

    def _ids(self, rows: Array) -> dict[int, Ids]:
        taken = self._rows.take(rows)
        return {
            member.number: member.table.ids(model.fitted.estimator, model.fitted.preparation.matrix(taken))
            for member, model in zip(self.state.members, self._models, strict=True)
            if member.table is not None
        }

    def _answer(self, rows: Array, ids: dict[int, Ids], matrix: npt.NDArray[np.float32]) -> Answered:
        own = [
            self._own(model, rows) if member.table is None else member.table.answers(ids[member.number])
            for member, model in zip(self.state.members, self._models, strict=True)
        ]
        linear = answers(self._linear.recipe(self._classes), matrix, self._classes)
        return self.state.answer([ids.get(member.number) for member in self.state.members], own, linear)

    def _own(self, model: StreamModel, rows: Array) -> Values:
        return answers(model.fitted, model.fitted.preparation.matrix(self._rows.take(rows)), self._classes)

    def _labels(self, rows: Array) -> Labels:
        if self._classes is None:
            return self._stream.label[rows].astype(float)
        return class_codes(self._stream.label[rows], self._classes)

    def _learn_linear(self, batch: Array) -> None:
        taken = self._rows.take(batch)
        actual = taken.actual
        if self._classes is None:
            actual = (actual - self._linear.label_centre) / self._linear.label_scale
        self._linear = self._linear.learned(self._linear.matrix(taken), actual, rows=len(batch))


def _some(waiting: _Waiting, rows: Array) -> _Waiting:
    if rows.all():
        return waiting
    said = waiting.said
    parts = {name: part[rows] for name, part in said.parts.items()}
    kept = Answered(said.plain[rows], said.fresh[rows], said.adapted[rows], parts)
    return _Waiting(waiting.rows[rows], kept, {number: leaves[rows] for number, leaves in waiting.ids.items()})


def _joined(said: list[Answered]) -> Answered:
    names = dict.fromkeys(name for one in said for name in one.parts)
    parts = {
        name: np.concatenate([one.parts.get(name, np.full_like(one.plain, np.nan)) for one in said]) for name in names
    }
    return Answered(
        plain=np.concatenate([one.plain for one in said]),
        fresh=np.concatenate([one.fresh for one in said]),
        adapted=np.concatenate([one.adapted for one in said]),
        parts=parts,
    )
