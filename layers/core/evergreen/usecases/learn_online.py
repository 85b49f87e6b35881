"""Learn from labelled feedback a batch at a time, and store what was learned under a conditional write."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from evergreen.domain.errors import ConflictingWriteError, UnknownModelError
from evergreen.inbound import FeedbackMessage
from evergreen.ports import Ports
from evergreen.schema import Task
from evergreen.spec import ModelSpec
from evergreen.training.online import OnlineState, PrequentialCounts, learn
from evergreen.usecases.references import load_reference

_TRIES = 5
_ROW_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class LearnedOnline:
    """What became of the batches: rows learned, how many were predicted right before, and messages to try again."""

    rows: int
    correct: int
    failed: tuple[str, ...]


def learn_online(messages: Sequence[FeedbackMessage], *, ports: Ports) -> LearnedOnline:
    """Learn each model's messages as one batch; predict first, so that the counts are honest.

    A row is known by its id and its label: delivered again, also in another batch, it is left alone; a corrected label
    is learned. Messages of a model whose state kept changing, or that is not known, go back to the queue.
    """
    by_model: dict[str, list[FeedbackMessage]] = defaultdict(list)
    for message in messages:
        by_model[message.model].append(message)
    rows = correct = 0
    failed: list[str] = []
    for model, batch in sorted(by_model.items()):
        try:
            counts = _learn(model, batch, ports)
        except (ConflictingWriteError, UnknownModelError):
            failed += [message.message_id for message in batch]
            continue
        rows += counts.rows
        correct += counts.correct
    return LearnedOnline(rows, correct, tuple(failed))


def state_key(model: str) -> str:
    """Where a model's online state lies, in the artifact bucket."""
    return f"online/{model}/state.npz"


def _learn(model: str, batch: Sequence[FeedbackMessage], ports: Ports) -> PrequentialCounts:
    state = ports.ledger.read(model)
    spec = ModelSpec.parse(state.spec)
    production = state.production_version
    binning = None
    if production is not None and production.reference:
        binning = load_reference(ports, production.reference).binning
    distinct = {message.inference_id: message for message in batch}
    key = state_key(model)
    for attempt in range(_TRIES):
        stored = ports.artifacts.get_with_etag(key)
        before = None if stored is None else OnlineState.from_bytes(stored[0])
        learned = _row_ids(before)
        fresh = {_row_id(message): message for message in distinct.values() if _row_id(message) not in learned}
        if not fresh:
            return PrequentialCounts(already_applied=True)
        labels = [_label(message.label, spec) for message in fresh.values()]
        rows = [message.features for message in fresh.values()]
        batch_id = "".join(sorted(fresh))
        after, counts = learn(before, rows, labels, spec.feature_schema(), batch_id=batch_id, binning=binning)
        if after is before:
            return counts
        try:
            ports.artifacts.put_if(key, after.to_bytes(), etag=None if stored is None else stored[1])
        except ConflictingWriteError:
            if attempt == _TRIES - 1:
                raise
        else:
            return counts
    raise AssertionError("unreachable")


def _row_id(message: FeedbackMessage) -> str:
    return hashlib.sha256(f"{message.inference_id}\n{message.label}".encode()).hexdigest()[:_ROW_ID_LENGTH]


def _row_ids(state: OnlineState | None) -> frozenset[str]:
    """The rows of the batches that the state remembers: a batch's id is the ids of its rows, one after the other."""
    batches = () if state is None else state.applied
    return frozenset(
        batch[start : start + _ROW_ID_LENGTH] for batch in batches for start in range(0, len(batch), _ROW_ID_LENGTH)
    )


def _label(text: str, spec: ModelSpec) -> str | float:
    return float(text) if spec.task is Task.REGRESSION else text
