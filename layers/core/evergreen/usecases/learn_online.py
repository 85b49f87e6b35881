"""Learn from labelled feedback a batch at a time: every row once, whoever else learns at the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.checkpoint_trial import row_name
from evergreen.domain.checkpoints import OnlinePointer, Sums
from evergreen.domain.state import ModelState
from evergreen.errors import ConflictingWriteError, UnknownModelError
from evergreen.formats.keys import online_of
from evergreen.formats.requests import LONGEST_CLASS, FeedbackMessage
from evergreen.model.schema import Task
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.statistics.profile import Binning
from evergreen.training.learner import OnlineStateError
from evergreen.training.learning import grow, learn
from evergreen.training.online_state import OnlineState, PrequentialCounts
from evergreen.usecases.steps.online_states import (
    StateGoneError,
    learner_of,
    load_state,
    put_state,
    state_fingerprint,
    sweep,
)
from evergreen.usecases.steps.references import load_reference

ROWS_ARE_REMEMBERED = timedelta(days=60)
"""Longer than a message can come again: 14 days in its queue and 14 in the dead letters."""
_TRIES = 8
_DAYS_KEPT = 60


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row to learn, by the name that it is remembered under."""

    name: str
    features: Mapping[str, Any]
    label: str | float
    time: datetime


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of one model's rows: the counts of those that were learned now, and how many had been before."""

    model: str
    counts: PrequentialCounts = field(default_factory=PrequentialCounts)
    before: int = 0  # learned by an earlier delivery
    ignored: int = 0  # not to be learned so: online learning is off, or waits for matured labels
    updates: int = 0  # of the state, in all
    rows: int = 0


@dataclass(frozen=True, slots=True)
class LearnedOnline:
    """What became of a batch of messages: of each model, those to come again, and why."""

    models: tuple[Learned, ...]
    failed: tuple[str, ...]
    reasons: tuple[str, ...] = ()


def learn_online(messages: Sequence[FeedbackMessage], *, ports: Ports) -> LearnedOnline:
    """Learn each model's messages as one batch; predict first, so that the counts are honest.

    A row is known by its id and its label: delivered again, in whatever batch and however late, it is left alone; a
    corrected label is learned. A message that can't be learned fails alone, and is kept in the dead letters after its
    last delivery. Messages of a model that is not known, or whose state kept changing or was changed by somebody else,
    go back to the queue.
    """
    by_model: dict[str, list[FeedbackMessage]] = defaultdict(list)
    for message in messages:
        by_model[message.model].append(message)
    learned: list[Learned] = []
    failed: list[str] = []
    reasons: list[str] = []
    for model, batch in sorted(by_model.items()):
        try:
            result, problems = _learn_messages(model, batch, ports)
        except (ConflictingWriteError, UnknownModelError, OnlineStateError) as error:
            failed += [message.message_id for message in batch]
            reasons.append(f"{model}: {error}")
            continue
        learned.append(result)
        failed += problems
        reasons += [f"{model}: {reason}" for reason in sorted(set(problems.values()))]
    return LearnedOnline(tuple(learned), tuple(failed), tuple(reasons))


def _learn_messages(model: str, batch: Sequence[FeedbackMessage], ports: Ports) -> tuple[Learned, dict[str, str]]:
    state = ports.ledger.read(model)
    spec = spec_of(state)
    if not spec.online.enabled or spec.online.labels != "at_once":
        return Learned(model, ignored=len(batch)), {}
    fingerprint = state_fingerprint(spec)
    rows: dict[str, LabelledRow] = {}
    problems: dict[str, str] = {}
    for message in batch:
        problem = label_problem(message.label, spec) or row_problem(message.features, spec)
        if problem is not None:
            problems[message.message_id] = problem
            continue
        label = float(message.label) if spec.task is Task.REGRESSION else message.label
        row = LabelledRow(row_name(fingerprint, message.inference_id, label), message.features, label, message.time)
        rows[row.name] = row
    if not rows:
        return Learned(model), problems
    expires = max(row.time for row in rows.values()) + ROWS_ARE_REMEMBERED
    return learn_rows(state, spec, list(rows.values()), expires=expires, ports=ports), problems


def label_problem(label: object, spec: ModelSpec) -> str | None:
    """Say why a label can't be learned; the reason quotes nothing of the request."""
    if not isinstance(label, str):
        return "a label is no string"
    if spec.task is Task.REGRESSION:
        try:
            number = float(label)
        except ValueError:
            return "a label is no number"
        return None if abs(number) < float("inf") else "a label is no finite number"
    if not label or len(label) > LONGEST_CLASS:
        return f"a label has {len(label)} characters, 1 to {LONGEST_CLASS} are a class"
    if spec.online.new_classes == "refuse" and label not in (spec.labels.classes or ()):
        return "a label is none of labels.classes, and online.new_classes is refuse"
    return None


def row_problem(features: object, spec: ModelSpec) -> str | None:
    """Say why a row can't be learned; the reason quotes nothing of the request."""
    if not isinstance(features, Mapping):
        return "the features are no object"
    found = spec.feature_schema().validate(features)
    return f"{len(found)} features are missing, unknown or of another type" if found else None


def learn_rows(
    state: ModelState, spec: ModelSpec, rows: Sequence[LabelledRow], *, expires: datetime, ports: Ports
) -> Learned:
    """Learn those of the rows that nobody has learned yet, as one batch of at most 99.

    The state's pointer moves on and the rows are remembered in one transaction: a race that is lost is tried again
    with the state as it is then.

    Raises
    ------
    ConflictingWriteError
        The state kept changing: come again.
    OnlineStateError
        The stored state is not the one that was recorded, or the estimator can't learn the rows.
    """
    model, fingerprint = spec.model, state_fingerprint(spec)
    for attempt in range(_TRIES):
        before = ports.online.read(model, fingerprint)
        known = ports.online.learned(model, [row.name for row in rows])
        fresh = [row for row in rows if row.name not in known]
        if not fresh:
            if before is None:
                return Learned(model, before=len(known))
            sweep(ports, before)
            return Learned(model, before=len(known), updates=before.updates, rows=before.rows)
        try:
            learned_before = None if before is None else load_state(ports, before)
            after, counts = _learned(learned_before, fresh, spec, state, ports)
            pointer = put_state(ports, _moved_on(model, fingerprint, before, after, counts, fresh), after.to_bytes())
            ports.online.advance(before, pointer, [row.name for row in fresh], expires=expires)
        except (ConflictingWriteError, StateGoneError) as error:
            if attempt == _TRIES - 1:
                raise ConflictingWriteError(online_of(model)) from error
        else:
            sweep(ports, pointer)
            return Learned(model, counts, len(known), updates=pointer.updates, rows=pointer.rows)
    raise AssertionError("unreachable")


def _learned(
    before: OnlineState | None, rows: Sequence[LabelledRow], spec: ModelSpec, state: ModelState, ports: Ports
) -> tuple[OnlineState, PrequentialCounts]:
    schema = spec.feature_schema()
    labels = [row.label for row in rows]
    if spec.online.new_classes == "learn":
        classes = {*(schema.classes or ()), *map(str, labels)}
        if before is None:
            schema = schema.with_classes(classes)
        else:
            before = grow(before, classes)
    binning = _binning(state, ports) if before is None else None
    return learn(before, [row.features for row in rows], labels, schema, learner=learner_of(spec), binning=binning)


def _binning(state: ModelState, ports: Ports) -> Binning | None:
    production = state.production_version
    return load_reference(ports, production.reference).binning if production and production.reference else None


def _moved_on(
    model: str,
    fingerprint: str,
    before: OnlinePointer | None,
    after: OnlineState,
    counts: PrequentialCounts,
    rows: Sequence[LabelledRow],
) -> OnlinePointer:
    newest = max(row.time for row in rows)
    pointer = before or OnlinePointer(model, fingerprint, 0, "", "", 0, 0, newest)
    sums: Sums = (counts.rows, counts.scored, counts.correct, counts.loss)
    day = f"{newest.astimezone(UTC):%Y-%m-%d}"
    days = {**pointer.days, day: _added(pointer.days.get(day), sums)}
    return replace(
        pointer,
        version=pointer.version + 1,
        updates=after.updates,
        rows=after.rows,
        learned_until=max(pointer.learned_until, newest),
        total=_added(pointer.total, sums),
        days={each: days[each] for each in sorted(days)[-_DAYS_KEPT:]},
    )


def _added(one: Sums | None, other: Sums) -> Sums:
    if one is None:
        return other
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])
