"""Score captured requests with the version in shadow, and write its answers beside production's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from time import perf_counter

import numpy as np

from evergreen.errors import EvergreenError, what_failed
from evergreen.formats.captures import Capture, capture_line, read_captures
from evergreen.formats.keys import FileKey
from evergreen.model.scorer import ArtifactError, Predictions, Scorer
from evergreen.ports import Ports
from evergreen.usecases.steps.live_states import LiveHistory
from evergreen.usecases.steps.loaded_models import Model, Serving, models_of, serving

BATCH = 1_000
"""Rows scored at a time; larger batches gain little (200 trees, a busy machine: 172 us a row, in 10,000 142)."""

_LONGEST_BATCH_SECONDS = 60.0
_SHORTEST_BATCH_SECONDS = 1.0
_SECONDS_TO_STORE = 20.0  # what was answered, before the function's time is up
_MOST_ALONE = 1_000  # rows of a file that fail each alone: the rest is not tried one by one


@dataclass(frozen=True, slots=True)
class ShadowScores:
    """What the shadow did with one capture file."""

    model: str
    version: int | None  # None: nothing is in shadow
    rows: int
    unanswered: int = 0
    failure: str = ""  # the first
    refused: bool = False  # the version could not be loaded
    row_ms: float | None = None  # how long a row took, in batches


def score_shadow(key: str, *, seconds_left: Callable[[], float], now: datetime, ports: Ports) -> ShadowScores:
    """Score a production capture file with the shadow alias's version.

    A shadow that throws, hangs or is slow touches nothing else: rows that it did not answer are counted, and a version
    that leaves too many of them unanswered is not promoted. One row that it can't answer costs no other row.
    """
    file = FileKey.parse(key)
    record = ports.aliases.read(file.model, "shadow") if file.variant == "production" else None  # nobody waits for it
    if record is None:
        return ShadowScores(file.model, None, 0)
    captures, _ = read_captures(ports.data.get(key))
    captures = [capture for capture in captures if capture.version != record.version]
    if not captures:
        return ShadowScores(file.model, record.version, 0)
    cache, model = serving(ports), models_of(record)[0]
    try:
        scorer = cache.scorer(model, now)
    except (ArtifactError, FileNotFoundError) as error:  # a bucket that can't be read raises: the file comes again
        failure = what_failed(error)
        return ShadowScores(file.model, record.version, 0, len(captures), failure, refused=True)
    shadow = _Shadow(scorer, _live_state(cache, file.model, model, now), record.version)
    started = perf_counter()
    answered, failure = _answer(shadow, captures, record.latency_ms, seconds_left)
    milliseconds = (perf_counter() - started) * 1_000
    if answered:
        lines = [capture_line(capture, model=file.model, variant="shadow") for capture in answered]
        target = file.answered_by_shadow(record.version)
        ports.data.put(target, b"\n".join(lines) + b"\n", content_type="application/jsonlines")
    rows, unanswered = len(answered), len(captures) - len(answered)
    return ShadowScores(file.model, record.version, rows, unanswered, failure, row_ms=milliseconds / len(captures))


@dataclass(frozen=True, slots=True)
class _Shadow:
    """The version in shadow, with its live state if it has one."""

    scorer: Scorer
    live: LiveHistory | None
    version: int


def _live_state(cache: Serving, name: str, model: Model, now: datetime) -> LiveHistory | None:
    """The version's live state; without one, or with one that can't be read, it answers as it was trained."""
    try:
        return cache.live_state(name, model, now)
    except (EvergreenError, FileNotFoundError):
        return None


def _answer(
    shadow: _Shadow, captures: Sequence[Capture], latency_ms: float, seconds_left: Callable[[], float]
) -> tuple[list[Capture], str]:
    """The rows that the version answered, in order, and why it did not answer the first of the others.

    A batch that fails is tried again row by row; one that takes longer than the objective allows for its rows ends it.
    """
    answered: list[Capture] = []
    failure, alone = "", 0
    waiting = deque(batched(captures, BATCH, strict=False))
    while waiting:
        batch = waiting.popleft()
        patience = max(_SHORTEST_BATCH_SECONDS, len(batch) * latency_ms / 1_000)
        within = min(patience, _LONGEST_BATCH_SECONDS, seconds_left() - _SECONDS_TO_STORE)
        if within <= 0:
            return answered, failure or "the function's time was up"
        try:
            answered += _captures(shadow, batch, within)
        except TimeoutError as error:
            return answered, failure or what_failed(error)
        except Exception as error:  # whatever a shadow throws is the shadow's failure, and nobody else's
            failure = failure or what_failed(error)
            if len(batch) == 1:
                alone += 1
            elif alone < _MOST_ALONE:
                waiting.extendleft((capture,) for capture in reversed(batch))
    return answered, failure


def _captures(shadow: _Shadow, captures: Sequence[Capture], within: float) -> list[Capture]:
    predictions = _said(shadow, captures, within)
    classes = shadow.scorer.schema.classes
    answers: Sequence[str | float] = predictions.predictions
    return [
        Capture(
            event_id=capture.event_id,
            time=capture.time,
            version=shadow.version,
            features=capture.features,
            prediction=answer,
            probabilities=None if classes is None or row is None else dict(zip(classes, row, strict=True)),
            group=capture.group,
        )
        for capture, answer, row in zip(captures, answers, predictions.probability_rows, strict=True)
    ]


def _said(shadow: _Shadow, captures: Sequence[Capture], within: float) -> Predictions:
    """What the version says to each request, with its live state as that was when the request was asked."""
    if shadow.live is None:
        return shadow.scorer.score_rows([capture.features for capture in captures], within)
    parts = shadow.live.answers(captures, within)
    return shadow.scorer.answered(np.concatenate([part.fresh if part.is_finite else part.plain for part in parts]))
