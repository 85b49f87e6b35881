"""The bodies that callers send: rows to answer, and labelled rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from evergreen.errors import BadRequestError
from evergreen.formats.rows import MOST_PROBLEMS, Accepted, RowsError, by_name, csv_lines, listed
from evergreen.model.schema import FeatureSchema

ACCEPTED = Accepted(row_lists=("instances",), bare=False)
"""Rows by name and under one key, so that ids and groups can stand beside them."""

MAX_ROWS = 1_000
MAX_BODY_BYTES = 5_000_000
MAX_ANSWER_BYTES = 5_000_000
"""Lambda's events and answers hold 6 MB, with what is around the body."""
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
            request = _from_csv(body, schema)
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
        raise BadRequestError(tuple(problems[:MOST_PROBLEMS]), status=422)
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
    try:
        rows = listed(document, ACCEPTED)
    except RowsError as error:
        raise BadRequestError(error.problems) from error
    inference_ids, groups = document.get("inference_ids"), document.get("groups")
    if inference_ids is not None and not _strings(inference_ids):
        raise BadRequestError((f"inference_ids is not a list of strings of 1 to {LONGEST_ID} characters",))
    if groups is not None and not (isinstance(groups, list) and all(g is None or isinstance(g, str) for g in groups)):
        raise BadRequestError(("groups is not a list of strings or nulls",))
    return PredictRequest(rows, inference_ids, groups)


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and 0 < len(v) <= LONGEST_ID for v in value)


def _from_csv(body: str, schema: FeatureSchema) -> PredictRequest:
    try:
        lines = csv_lines(body)
    except RowsError as error:
        raise BadRequestError(error.problems) from error

    def called(place: int) -> str:
        return f"line {[number for number, fields in enumerate(lines, start=1) if fields][place]}"

    try:
        return PredictRequest(by_name([fields for fields in lines if fields], schema, called=called, number=float))
    except RowsError as error:
        raise BadRequestError(error.problems, status=422) from error


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
