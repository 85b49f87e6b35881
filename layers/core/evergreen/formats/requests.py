"""The bodies that callers send: rows to answer, and labelled rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from evergreen.errors import BadRequestError
from evergreen.model.schema import FeatureSchema, Kind

MAX_ROWS = 1_000
MAX_BODY_BYTES = 5_000_000
MAX_ANSWER_BYTES = 5_000_000
"""Lambda's events and answers hold 6 MB, with what is around the body."""
LONGEST_CLASS = 100
LONGEST_ID = 128
"""Characters of a label, and of the id of an answer."""

_ANSWERED_ROW_BYTES = 120  # without probabilities
_PROBABILITY_BYTES = 28  # without the name of the class


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """Rows to answer, with the caller's ids where it gave any."""

    rows: Sequence[Mapping[str, Any]]
    inference_ids: Sequence[str] | None = None
    groups: Sequence[str | None] | None = None


@dataclass(frozen=True, slots=True)
class FeedbackMessage:
    """One labelled row on the feedback queue."""

    message_id: str
    model: str
    inference_id: str
    label: str
    features: Mapping[str, Any]
    time: datetime


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
        raise BadRequestError((f"inference_ids is not a list of strings of 1 to {LONGEST_ID} characters",))
    if groups is not None and not (isinstance(groups, list) and all(g is None or isinstance(g, str) for g in groups)):
        raise BadRequestError(("groups is not a list of strings or nulls",))
    return PredictRequest(rows, inference_ids, groups)


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and 0 < len(v) <= LONGEST_ID for v in value)


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


def parse_json(body: str) -> Any:
    """The document in a request's body.

    Raises
    ------
    BadRequestError
        It is not JSON (NaN is not), is nested too deeply, or holds half a surrogate pair, which no file can hold.

    Examples
    --------
    >>> parse_json('{"a": 1}')
    {'a': 1}
    """
    try:
        return orjson.loads(body)
    except ValueError:
        return _parse_json_patiently(body)


def _parse_json_patiently(body: str) -> Any:
    """Find out what is wrong with a body, in words that say what to send instead."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRequestError((f"the body holds {error.object[error.start]!r}, which is no character",)) from error
    except ValueError as error:
        raise BadRequestError((f"the body is not JSON: {error}",)) from error
    except RecursionError as error:
        raise BadRequestError(("the body is nested too deeply",)) from error
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON: send null for a missing value")
