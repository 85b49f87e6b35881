"""Answer requests with the production version, or with the two of a canary, and capture the answers."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen import ids
from evergreen.domain.errors import BadRequestError, what_failed
from evergreen.domain.shares import is_among, is_captured
from evergreen.formats import Capture, capture_line
from evergreen.inbound import parse_json
from evergreen.ports import AliasRecord, Ports
from evergreen.schema import FeatureSchema, Kind
from evergreen.scoring import ArtifactError, Scorer
from evergreen.usecases.answering import Model, models_of, serving

MAX_ROWS = 1_000
MAX_BODY_BYTES = 5_000_000
MAX_ANSWER_BYTES = 5_000_000
"""Lambda's events and answers hold 6 MB, with what is around the body."""

_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # as specs name models
_ANSWERED_ROW_BYTES = 120  # without probabilities
_PROBABILITY_BYTES = 28  # without the name of the class


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """Rows to answer, with the caller's ids where it gave any."""

    rows: Sequence[Mapping[str, Any]]
    inference_ids: Sequence[str] | None = None
    groups: Sequence[str | None] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller and what is counted."""

    version: int
    latency_ms: float  # the objective of the alias: a slower answer counts as slow
    body: dict[str, Any] | None  # None: the version failed
    failure: str = ""
    uncaptured: Sequence[str] = ()  # inference ids that could not be captured
    refused: bool = False  # the version could not be loaded: its bytes are gone, damaged or not those recorded


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
    return ids.uuid7(now, int.from_bytes(digest[:10]) >> 6)


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
        predictions = scorer.score_rows(request.rows)
    except Exception as error:  # whatever a version throws is its own failure: it is counted, and the bake sees it
        return Answer(answering.version, record.latency_ms, None, failure=what_failed(error))
    probabilities = _by_class(scorer, predictions)
    captures = _captures(request, predictions.predictions, probabilities, answering.version, request_id, now)
    answer = {
        "model": model,
        "version": answering.version,
        "request_id": request_id,
        "predictions": [
            {"inference_id": c.event_id, "prediction": c.prediction, "probabilities": c.probabilities} for c in captures
        ],
    }
    kept = [capture for capture in captures if is_captured(record.sampling, capture.event_id)]
    lines = [capture_line(capture, model=model, variant="production") for capture in kept]
    lost = cache.capture(lines, now) if lines else 0
    uncaptured = [capture.event_id for capture in kept] if lost else ()
    return Answer(answering.version, record.latency_ms, answer, uncaptured=uncaptured[:lost])


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
    record = serving(ports).alias(model, "production", now) if _MODEL_NAME.fullmatch(model) else None
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
    answers: Sequence[str | float],
    probabilities: Sequence[Mapping[str, float] | None],
    version: int,
    request_id: str,
    now: datetime,
) -> list[Capture]:
    numbers = range(len(request.rows))
    inference_ids = request.inference_ids or [request_id_of(f"{request_id}/{row}", now) for row in numbers]
    groups = request.groups or [None] * len(request.rows)
    return [
        Capture(event_id, now, version, row, answer, chances, group)
        for event_id, row, answer, chances, group in zip(
            inference_ids, request.rows, answers, probabilities, groups, strict=True
        )
    ]


def parse_request(content_type: str, body: str, schema: FeatureSchema) -> PredictRequest:
    """Read and validate a JSON or CSV body.

    JSON: ``{"instances": [{feature: value, ...}], "inference_ids": [...], "groups": [...]}``, the last two optional.
    CSV: one row a line, the features in the model's order, an empty field for a missing value.
    """
    kind = content_type.split(";", maxsplit=1)[0].strip().lower() or "application/json"
    if len(body) > MAX_BODY_BYTES or len(body.encode()) > MAX_BODY_BYTES:
        raise BadRequestError((f"the body has more than {MAX_BODY_BYTES:,} bytes: send fewer rows",), status=413)
    match kind:
        case "application/json":
            request = _from_json(body)
        case "text/csv":
            request = PredictRequest(_from_csv(body, schema))
        case _:
            problem = f"content type {kind!r} is not served: send application/json or text/csv"
            raise BadRequestError((problem,), status=415)
    count, most = len(request.rows), most_rows(schema)
    if not 1 <= count <= most:
        raise BadRequestError((f"the request has {count} rows: send 1 to {most}",), status=413 if count else 400)
    problems = [f"instances[{i}]: {problem}" for i, row in enumerate(request.rows) for problem in schema.validate(row)]
    for name, given in (("inference_ids", request.inference_ids), ("groups", request.groups)):
        if given is not None and len(given) != count:
            problems.append(f"{name} has {len(given)} entries for {count} instances: send one each, or none")
    if len(set(request.inference_ids or ())) < len(request.inference_ids or ()):
        problems.append("inference_ids has an id twice: a label could not tell the rows apart")
    if problems:
        raise BadRequestError(tuple(problems[:20]), status=422)
    return request


def most_rows(schema: FeatureSchema) -> int:
    """How many rows a request to the model may have: fewer where the probabilities of many classes fill the answer.

    Examples
    --------
    >>> most_rows(FeatureSchema.of("regression", {"age": "number"}))
    1000
    >>> most_rows(FeatureSchema.of("multiclass", {"age": "number"}, [f"product {i:05}" for i in range(1_000)]))
    121
    """
    classes = schema.classes or ()
    row = _ANSWERED_ROW_BYTES + sum(len(name.encode()) + _PROBABILITY_BYTES for name in classes)
    return max(1, min(MAX_ROWS, MAX_ANSWER_BYTES // row))


def _from_json(body: str) -> PredictRequest:
    if not body:
        raise BadRequestError(('the request has no body: send {"instances": [{...}]}',))
    document = parse_json(body)
    if not isinstance(document, dict):
        raise BadRequestError(('the body is not an object: send {"instances": [{...}]}',))
    unknown = sorted(set(document) - {"instances", "inference_ids", "groups"})
    if unknown:
        raise BadRequestError(
            tuple(f"key {name!r} is unknown: send instances, inference_ids, groups" for name in unknown)
        )
    rows = document.get("instances")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadRequestError(("instances is not a list of objects",))
    inference_ids, groups = document.get("inference_ids"), document.get("groups")
    if inference_ids is not None and not _strings(inference_ids):
        raise BadRequestError(("inference_ids is not a list of strings of 1 to 128 characters",))
    if groups is not None and not (isinstance(groups, list) and all(g is None or isinstance(g, str) for g in groups)):
        raise BadRequestError(("groups is not a list of strings or nulls",))
    return PredictRequest(rows, inference_ids, groups)


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and 0 < len(v) <= 128 for v in value)


def _from_csv(body: str, schema: FeatureSchema) -> list[dict[str, Any]]:
    try:
        lines = list(csv.reader(io.StringIO(body, newline="")))
    except csv.Error as error:
        raise BadRequestError((f"the body is not CSV: {error}",)) from error
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, fields in enumerate(lines):
        if not fields:
            continue
        if len(fields) != len(schema.features):
            problems.append(f"line {number + 1} has {len(fields)} fields: the model takes {len(schema.features)}")
            continue
        row: dict[str, Any] = {}
        for feature, text in zip(schema.features, fields, strict=True):
            try:
                row[feature.name] = _csv_value(feature.kind, text)
            except ValueError:
                problems.append(f"line {number + 1}: feature {feature.name!r} is {text!r}, not a number")
        rows.append(row)
    if problems:
        raise BadRequestError(tuple(problems[:20]), status=422)
    return rows


def _csv_value(kind: Kind, text: str) -> str | float | None:
    if not text.strip():
        return None
    return float(text) if kind is Kind.NUMBER else text
