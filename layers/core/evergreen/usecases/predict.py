"""Answer requests with the production version, and capture every answer."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from evergreen import ids
from evergreen.domain.errors import BadRequestError
from evergreen.formats import Capture, capture_line
from evergreen.inbound import parse_json
from evergreen.ports import AliasRecord, Ports
from evergreen.schema import FeatureSchema, Kind
from evergreen.scoring import Artifact, ArtifactError, Scorer

ALIAS_CACHE = timedelta(seconds=5)
MAX_ROWS = 1_000


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
    uncaptured: int = 0


class Serving:
    """The versions that answer: alias records for seconds, models for as long as they are in use."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._aliases: dict[tuple[str, str], tuple[datetime, AliasRecord | None]] = {}

    def alias(self, model: str, alias: str, now: datetime) -> AliasRecord | None:
        """What the alias points to, at most :data:`ALIAS_CACHE` old."""
        cached = self._aliases.get((model, alias))
        if cached is None or not timedelta(0) <= now - cached[0] < ALIAS_CACHE:
            cached = (now, self._ports.aliases.read(model, alias))
            self._aliases[model, alias] = cached
        return cached[1]

    def scorer(self, record: AliasRecord) -> Scorer:
        """The version's model, hash-checked when it is loaded."""
        return _scorer(self._ports, record.artifact, record.sha256)


@lru_cache(maxsize=16)
def _scorer(ports: Ports, artifact: str, sha256: str) -> Scorer:
    return Artifact.from_tar(ports.artifacts.get(artifact), sha256).scorer()


@lru_cache(maxsize=2)
def serving(ports: Ports) -> Serving:
    """One cache for each set of ports."""
    return Serving(ports)


def predict(model: str, content_type: str, body: str, *, now: datetime, ports: Ports) -> Answer:
    """Answer a request with the production version.

    Raises
    ------
    BadRequestError
        The model is unknown (404) or the body is not what it takes; each problem names its field.
    """
    cache = serving(ports)
    record = cache.alias(model, "production", now)
    if record is None:
        raise BadRequestError((f"no version of model {model!r} is in production",), status=404)
    try:
        scorer = cache.scorer(record)
    except (ArtifactError, FileNotFoundError) as error:  # it can't be loaded: the version's own failure too
        return Answer(record.version, record.latency_ms, None, failure=f"{type(error).__name__}: {error}")
    request = parse_request(content_type, body, scorer.schema)
    try:
        predictions = scorer.score_rows(request.rows)
    except Exception as error:  # whatever a version throws is its own failure: it is counted, and the bake sees it
        return Answer(record.version, record.latency_ms, None, failure=f"{type(error).__name__}: {error}")
    captures = _captures(request, predictions.predictions, _by_class(scorer, predictions), record.version, now)
    answer = {
        "model": model,
        "version": record.version,
        "predictions": [
            {"inference_id": c.event_id, "prediction": c.prediction, "probabilities": c.probabilities} for c in captures
        ],
    }
    lines = [capture_line(capture, model=model, variant="production") for capture in captures]
    return Answer(record.version, record.latency_ms, answer, uncaptured=_hand_over(ports, lines))


def _hand_over(ports: Ports, lines: Sequence[bytes]) -> int:
    try:
        return ports.captures.put(lines)
    except Exception:  # a failing capture never fails an answer; the caller counts it
        return len(lines)


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
    now: datetime,
) -> list[Capture]:
    inference_ids = request.inference_ids or [ids.uuid7(now, secrets.randbits(74)) for _ in request.rows]
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
    match kind:
        case "application/json":
            request = _from_json(body)
        case "text/csv":
            request = PredictRequest(_from_csv(body, schema))
        case _:
            problem = f"content type {kind!r} is not served: send application/json or text/csv"
            raise BadRequestError((problem,), status=415)
    count = len(request.rows)
    if not 1 <= count <= MAX_ROWS:
        raise BadRequestError((f"the request has {count} rows: send 1 to {MAX_ROWS}",), status=413 if count else 400)
    problems = [f"instances[{i}]: {problem}" for i, row in enumerate(request.rows) for problem in schema.validate(row)]
    for name, given in (("inference_ids", request.inference_ids), ("groups", request.groups)):
        if given is not None and len(given) != count:
            problems.append(f"{name} has {len(given)} entries for {count} instances: send one each, or none")
    if problems:
        raise BadRequestError(tuple(problems[:20]), status=422)
    return request


def _from_json(body: str) -> PredictRequest:
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
