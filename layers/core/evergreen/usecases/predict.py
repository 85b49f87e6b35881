"""Answer requests with the production version, or with the two of a canary, and capture the answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.domain.aliases import AliasRecord
from evergreen.domain.shares import is_among, is_captured
from evergreen.errors import BadRequestError, what_failed
from evergreen.formats import request_ids
from evergreen.formats.captures import Capture, LiveAnswer, capture_line
from evergreen.formats.requests import PredictRequest, parse_request
from evergreen.model.schema import MODEL_NAME
from evergreen.model.scorer import ArtifactError, Predictions, Scorer
from evergreen.ports import Ports
from evergreen.usecases.steps.loaded_models import Model, Serving, models_of, serving


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller and what is counted."""

    version: int
    latency_ms: float  # the objective of the alias: a slower answer counts as slow
    body: dict[str, Any] | None  # None: the version failed
    failure: str = ""
    uncaptured: Sequence[str] = ()  # inference ids that could not be captured
    refused: bool = False  # the version could not be loaded: its bytes are gone, damaged or not those recorded
    state: int | None = None  # the live state that answered; None: the version, as it was trained
    stale: str = ""  # why the version's live state could not answer


@dataclass(frozen=True, slots=True)
class Description:
    """What callers may know of a model; no body: its version could not be loaded."""

    version: int
    body: dict[str, Any] | None
    failure: str = ""


def request_id_of(id_of_the_call: str, now: datetime) -> str:
    """The request's id: a UUIDv7 of its time and of the id that API Gateway gave the call.

    Examples
    --------
    >>> from datetime import UTC
    >>> request_id_of("JKJaXmPLvHcESHA=", datetime(2026, 3, 1, tzinfo=UTC))
    '019ca6b1-dc00-77e4-b76c-18285e06bffc'
    """
    digest = hashlib.sha256(id_of_the_call.encode()).digest()
    return request_ids.uuid7(now, int.from_bytes(digest[:10]) >> 6)


def predict(model: str, content_type: str, body: str, *, request_id: str, now: datetime, ports: Ports) -> Answer:
    """Answer a request with the version in production; while a canary runs, with the one that its id falls to.

    Raises
    ------
    BadRequestError
        The model is unknown (404) or the body is not what it takes; each problem names its field.
    """
    cache = serving(ports)
    record = _production(model, now, ports)
    answering = _routed(record, request_id)
    try:
        scorer = cache.scorer(answering, now)
    except (ArtifactError, FileNotFoundError) as error:  # it can't be loaded: the version's own failure too
        return Answer(answering.version, record.latency_ms, None, failure=what_failed(error), refused=True)
    request = parse_request(content_type, body, scorer.schema)
    try:
        said = _fresh(cache, model, answering, scorer, request.rows, now)
        predictions = said.predictions or scorer.score_rows(request.rows)
    except Exception as error:  # whatever a version throws is its own failure: it is counted, and the bake sees it
        return Answer(answering.version, record.latency_ms, None, failure=what_failed(error))
    captures = _captures(request, scorer, predictions, said, answering.version, request_id, now)
    answer = {
        "model": model,
        "version": answering.version,
        **({} if said.state is None else {"state": said.state}),
        "request_id": request_id,
        "predictions": [
            {"inference_id": c.event_id, "prediction": c.prediction, "probabilities": c.probabilities} for c in captures
        ],
    }
    kept = [capture for capture in captures if is_captured(record.sampling, capture.event_id)]
    lines = [capture_line(capture, model=model, variant="production") for capture in kept]
    lost = cache.capture(lines, now) if lines else ()
    return Answer(
        answering.version,
        record.latency_ms,
        answer,
        uncaptured=[kept[place].event_id for place in lost],
        state=said.state,
        stale=said.stale,
    )


@dataclass(frozen=True, slots=True)
class _Fresh:
    """What a version's live state says; nothing where it has none, or why it could not."""

    predictions: Predictions | None = None
    plain: Predictions | None = None
    state: int | None = None
    stale: str = ""


def _fresh(
    cache: Serving, model: str, answering: Model, scorer: Scorer, rows: Sequence[Mapping[str, Any]], now: datetime
) -> _Fresh:
    """Answer with the version's live state. Whatever is wrong with it costs no caller an answer: the plain one is."""
    try:
        history = cache.live_state(model, answering, now)
        if history is None:
            return _Fresh()
        said = history.of_now(rows)
    except Exception as error:  # whatever a live state throws: the caller is answered plain, and it is counted
        return _Fresh(stale=what_failed(error))
    if not said.is_finite:
        return _Fresh(stale=f"state {history.now.number} says no finite numbers")
    return _Fresh(scorer.answered(said.fresh), scorer.answered(said.plain), history.now.number)


def describe(model: str, *, now: datetime, ports: Ports) -> Description:
    """Say which version answers, what it takes and what it may say; not where it lies.

    Raises
    ------
    BadRequestError
        The model is unknown (404).
    """
    record = _production(model, now, ports)
    try:
        schema = serving(ports).scorer(models_of(record)[0], now).schema
    except (ArtifactError, FileNotFoundError) as error:
        return Description(record.version, None, failure=what_failed(error))
    beside = record.canary
    canary = None if beside is None else {"share": beside.share, "rest": beside.version}
    facts = {"model": model, "version": record.version, "canary": canary, **schema.to_json()}
    return Description(record.version, facts)


def _production(model: str, now: datetime, ports: Ports) -> AliasRecord:
    record = serving(ports).alias(model, "production", now) if re.fullmatch(MODEL_NAME, model) else None
    if record is None:
        problem = (
            f"no version of model {model!r} is in production; a model of endpoint kind sagemaker is asked by "
            "InvokeEndpoint at its endpoint"
        )
        raise BadRequestError((problem,), status=404)
    return record


def _routed(record: AliasRecord, request_id: str) -> Model:
    """The version that answers a request: all of its rows, and the same one for the same id."""
    watched, *beside = models_of(record)
    if record.canary is None or is_among(record.canary.share, "canary", request_id):
        return watched
    return beside[0]


def _by_class(scorer: Scorer, predictions: Any) -> list[dict[str, float] | None]:
    classes = scorer.schema.classes
    if classes is None:
        return [None] * len(predictions)
    return [dict(zip(classes, row, strict=True)) for row in predictions.probability_rows]


def _captures(
    request: PredictRequest,
    scorer: Scorer,
    predictions: Predictions,
    said: _Fresh,
    version: int,
    request_id: str,
    now: datetime,
) -> list[Capture]:
    numbers = range(len(request.rows))
    inference_ids = request.inference_ids or [request_id_of(f"{request_id}/{row}", now) for row in numbers]
    groups = request.groups or [None] * len(request.rows)
    live: list[LiveAnswer | None] = [None] * len(request.rows)
    if said.plain is not None and said.state is not None:
        plain: Sequence[str | float] = said.plain.predictions
        chances_of = _by_class(scorer, said.plain)
        live = [LiveAnswer(said.state, one, chances) for one, chances in zip(plain, chances_of, strict=True)]
    answers: Sequence[str | float] = predictions.predictions
    return [
        Capture(event_id, now, version, row, answer, chances, group, beside)
        for event_id, row, answer, chances, group, beside in zip(
            inference_ids, request.rows, answers, _by_class(scorer, predictions), groups, live, strict=True
        )
    ]
