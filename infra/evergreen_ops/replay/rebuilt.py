"""The versions of a replay, trained again without a cloud: what each would have answered where another one did.

A version is fitted by the same recipe on the rows that its training had, and learns labels as it did; so a promotion
can be judged by two answers to the same request, one of which nobody was given.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from evergreen.spec import ModelSpec
from evergreen.training.job import TrainingError
from evergreen_ops.replay.live import LiveModel
from evergreen_ops.replay.policies import base_rows
from evergreen_ops.replay.recipe import StreamModel, StreamRecipe, named
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream, as_instant
from evergreen_ops.replay.trainings import Change, Kind, Training

Array = npt.NDArray[Any]
Name = int | str
BLOCK_ROWS = 2_000
FIRST = 1
"""The first model's version."""


@dataclass(frozen=True, slots=True)
class Both:
    """The answers to the rows of a change, with it and without it; only rows that have a label.

    Attributes
    ----------
    rows : ndarray of int [N]
    new, old : ndarray [N]
        What the version that began to answer says, and the one before; None where a version can't be trained again.
    """

    rows: Array
    new: Array | None
    old: Array | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the versions of a replay say when they are trained again.

    Attributes
    ----------
    of_changes : tuple of Both
        In the order of the changes.
    production : ndarray [N]
        The answers to every row of the stream by the version that was in production; None or NaN where it can't be
        trained again.
    known : ndarray of bool [N]
        Where it can.
    """

    of_changes: tuple[Both, ...]
    production: Array
    known: Array


class _Answering(Protocol):
    """A version that answers rows in their order."""

    def fork(self) -> Self: ...
    def take(self, model: StreamModel) -> None: ...
    def answers(self, block: Array) -> Array: ...


@dataclass(slots=True)
class _Plain:
    """A version that learns nothing between trainings."""

    model: StreamModel | None = None

    def fork(self) -> _Plain:
        return _Plain(self.model)

    def take(self, model: StreamModel) -> None:
        self.model = model

    def answers(self, block: Array) -> Array:
        assert self.model is not None
        return self.model.predict(block)[0]


@dataclass(slots=True)
class _Fresh:
    """A version with its live state."""

    live: LiveModel
    classes: tuple[str, ...] | None

    def fork(self) -> _Fresh:
        return _Fresh(self.live.fork(), self.classes)

    def take(self, model: StreamModel) -> None:
        self.live.take(model)

    def answers(self, block: Array) -> Array:
        return named(self.live.ask(block), self.classes)[0]


def rebuild(
    stream: Stream,
    spec: ModelSpec,
    base: Base,
    changes: Sequence[Change],
    trained: Sequence[Training],
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Rebuilt:
    """Train the versions again and ask them.

    Parameters
    ----------
    stream, spec, base
        As the replay had them.
    changes, trained
        What the history says, oldest first.
    on_progress : callable
        Told how many rows have been asked.
    """
    spans = [_span(change, stream, base) for change in changes]
    walk = _Walk(stream, spec, base, _needed(changes, spans))
    births = _at_rows([(_row_after(stream, base, each.ended), each) for each in trained if each.refitted])
    moves = _at_rows(
        [(span[0], each) for each, span in zip(changes, spans, strict=True) if each.kind is not Kind.TRAINING]
    )
    cuts = {base.rows, stream.rows, *births, *moves, *(row for span in spans for row in span)}
    cuts |= set(range(base.rows, stream.rows, BLOCK_ROWS))
    said: dict[Name, Array] = defaultdict(lambda: _nothing(stream))
    production, known = _nothing(stream), np.zeros(stream.rows, dtype=bool)
    ordered = sorted(cuts)
    for begin, end in itertools.pairwise(ordered):
        for training in births.get(begin, ()):
            walk.train(training)
        for change in moves.get(begin, ()):
            walk.production = change.version
        block = np.arange(begin, end)
        for name, answers in walk.ask(block):
            said[name][block] = answers
        if walk.production in walk.versions:
            production[block], known[block] = said[walk.production][block], True
        if on_progress is not None:
            on_progress(end - base.rows)
    both = tuple(
        _both(change, np.arange(*span), stream, said, walk.born) for change, span in zip(changes, spans, strict=True)
    )
    return Rebuilt(both, production, known)


@dataclass(slots=True)
class _Walk:
    """The versions that somebody will still ask about, as a stream goes by."""

    stream: Stream
    spec: ModelSpec
    base: Base
    needed: Mapping[Name, int]  # the row after the last one that a version is asked
    versions: dict[Name, _Answering] = field(init=False)
    born: dict[Name, int] = field(init=False)  # the first row that each could be asked
    production: Name = FIRST
    recipe: StreamRecipe = field(init=False)
    newest: _Answering = field(init=False)  # that was in production and could be trained again

    def __post_init__(self) -> None:
        self.recipe = StreamRecipe(self.stream, self.spec)
        rows = base_rows(self.stream, self.spec, self.base)
        self.newest = _Plain()
        if self.spec.freshness.enabled:
            live = LiveModel(self.stream, self.recipe, rows, self.spec.labels.maturity)
            self.newest = _Fresh(live, self.recipe.job.schema.classes)
        self.newest.take(self.recipe.fit(rows))
        self.versions, self.born = {FIRST: self.newest}, {FIRST: self.base.rows}

    def train(self, training: Training) -> None:
        """Have a training's version stand by: what production has learned, and an estimator of its own."""
        rows = training_rows(self.stream, training)
        try:
            model = self.recipe.fit(rows)
        except TrainingError:  # too few rows
            return
        version = self.newest.fork()
        version.take(model)
        self.versions[training.name] = version
        self.born[training.name] = _row_after(self.stream, self.base, training.ended)

    def ask(self, block: Array) -> Iterator[tuple[Name, Array]]:
        """Ask production and whoever will be asked about; the others are forgotten."""
        for name in list(self.versions):
            if name != self.production and self.needed.get(name, 0) <= block[0]:
                del self.versions[name]
        self.newest = self.versions.get(self.production, self.newest)
        for name, version in self.versions.items():
            yield name, version.answers(block)


def training_rows(stream: Stream, training: Training) -> Array:
    """Return the rows that a training had: the newest labelled ones up to its last, known when it was decided."""
    known = stream.labelled & (stream.label_time <= as_instant(training.requested))
    if training.trained_until is not None:
        known &= stream.event_time <= as_instant(training.trained_until)
    rows: Array = np.flatnonzero(known)[-training.rows :]
    return rows


def _needed(changes: Sequence[Change], spans: Sequence[tuple[int, int]]) -> dict[Name, int]:
    needed: dict[Name, int] = {}
    for change, (_, end) in zip(changes, spans, strict=True):
        for name in (change.version, change.instead_of):
            if name is not None:
                needed[name] = max(needed.get(name, 0), end)
    return needed


def _span(change: Change, stream: Stream, base: Base) -> tuple[int, int]:
    begin = _row_after(stream, base, change.time)
    return begin, stream.rows if change.until is None else _row_after(stream, base, change.until)


def _row_after(stream: Stream, base: Base, moment: datetime) -> int:
    return max(base.rows, int(np.searchsorted(stream.event_time, as_instant(moment), side="right")))


def _at_rows[T](pairs: Iterable[tuple[int, T]]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = {}
    for row, each in pairs:
        found.setdefault(row, []).append(each)
    return found


def _both(change: Change, rows: Array, stream: Stream, said: Mapping[Name, Array], born: Mapping[Name, int]) -> Both:
    rows = rows[stream.labelled[rows]]

    def of(name: Name | None) -> Array | None:
        if name is None or not len(rows) or born.get(name, stream.rows) > rows[0]:
            return None
        answers: Array = said[name][rows]
        return answers

    return Both(rows, of(change.version), of(change.instead_of))


def _nothing(stream: Stream) -> Array:
    return np.full(stream.rows, None if stream.classes else np.nan, dtype=object if stream.classes else float)
