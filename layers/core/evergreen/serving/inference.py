"""What AWS's scikit-learn image calls in an endpoint's container: model_fn once, then three functions a request.

The image answers 500 to any exception of these functions, so what the caller did wrong is handed on as a value, and
output_fn makes the 4xx of it. Runs on the image's Python 3.10 with numpy, ONNX Runtime and the image's own werkzeug.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from evergreen.model.schema import FeatureSchema, Kind
from evergreen.model.scorer import Artifact, ArtifactError, ArtifactHashError, Predictions, Scorer
from evergreen.serving.source import (
    MODEL_FILES,
    MODEL_VARIABLE,
    SHA256_VARIABLE,
    VERSION_VARIABLE,
    content_sha256,
)

__all__ = ["Answers", "Refusal", "Table", "input_fn", "model_fn", "output_fn", "predict_fn"]

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
_ROW_LISTS = ("instances", "inputs", "dataframe_records", "rows")
_BESIDE_ROWS = frozenset({"inference_ids", "groups"})
"""What the predict function takes beside its rows; an endpoint's ids come as InferenceId, so they change nothing."""
_MOST_PROBLEMS = 20
_LONGEST_PROBLEM = 300

Row = Union[Mapping[str, Any], Sequence[Any]]
"""Values by feature name, or in the model's order."""


@dataclass(frozen=True)
class Table:
    """The rows of a request, as they were sent.

    Parameters
    ----------
    rows
        One mapping or sequence a row.
    as_text
        Whether values are CSV fields, text all of them.
    """

    rows: Sequence[Row]
    as_text: bool = False


@dataclass(frozen=True)
class Refusal:
    """What keeps a request from being answered.

    Parameters
    ----------
    status
        The HTTP status, 400 to 499.
    problems
        At least one sentence.
    """

    status: int
    problems: Sequence[str]


@dataclass(frozen=True)
class Answers:
    """What the model answered, and the names of its classes (None for regression), in order."""

    predictions: Predictions
    classes: Union[Sequence[str], None]


class _RefusedError(Exception):
    """Ends the reading of a request; never leaves this module."""

    def __init__(self, status: int, *problems: str) -> None:
        super().__init__(problems)
        self.refusal = Refusal(status, problems)


def model_fn(model_dir: str) -> Scorer:
    """Load the one model that this container may serve.

    Parameters
    ----------
    model_dir
        Where SageMaker unpacked model.tar.gz.

    Raises
    ------
    ArtifactHashError
        The files are not those that the variable ``EVERGREEN_MODEL_SHA256`` names.
    ArtifactError
        The variable is not set, a file is missing, or the model can't be loaded.
    """
    expected = os.environ.get(SHA256_VARIABLE)
    if not expected:
        raise ArtifactError(f"{SHA256_VARIABLE} is not set: create the model with serving.source.container_environment")
    folder = Path(model_dir)
    actual = content_sha256({name: (folder / name).read_bytes() for name in MODEL_FILES if (folder / name).is_file()})
    if actual != expected:
        raise ArtifactHashError(expected, actual)
    return Artifact.load(folder).scorer()


def input_fn(body: Union[str, bytes], content_type: str) -> Union[Table, Refusal]:
    r"""Read a request's body; names and values are looked at by :func:`predict_fn`, which knows the model.

    Parameters
    ----------
    body
        ``text/csv``: one row a line in the model's order, an empty field for a missing value.
        ``application/json``: an object or list of one row, a list of rows, or ``{"instances": [rows]}``.
        ``application/jsonlines``: a row a line.
    content_type
        What the body is; parameters such as a charset are ignored.

    Examples
    --------
    >>> input_fn("50,gold\n", "text/csv").rows
    [['50', 'gold']]
    >>> input_fn('{"instances": [{"age": 50}]}', "application/json").rows
    [{'age': 50}]
    >>> input_fn("<age>50</age>", "text/xml").status
    415
    """
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    try:
        text = _text(body)
        if kind == CSV:
            return Table(_csv_lines(text), as_text=True)
        if kind == JSON:
            return Table(_rows_of(_json(text)))
        if kind == JSON_LINES:
            return Table([row for line in text.splitlines() if line.strip() for row in _rows_of(_json(line))])
    except _RefusedError as refused:
        return refused.refusal
    return Refusal(415, (f"content type {kind!r} is not served: send {CSV}, {JSON} or {JSON_LINES}",))


def predict_fn(request: Union[Table, Refusal], model: Scorer) -> Union[Answers, Refusal]:
    """Answer the rows, or say what is wrong with them, each problem with its row and feature."""
    if isinstance(request, Refusal):
        return request
    if not request.rows:
        return Refusal(400, ("the request has no rows: send one at least",))
    rows, problems = [], []
    for number, row in enumerate(request.rows):
        try:
            named = _named(row, model.schema, request.as_text)
        except _RefusedError as refused:
            found = list(refused.refusal.problems)
        else:
            rows.append(named)
            found = model.schema.validate(named) + _unwritable(named)
        problems += [f"instances[{number}]: {problem}" for problem in found]
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        return Refusal(422, tuple(problem[:_LONGEST_PROBLEM] for problem in problems[:_MOST_PROBLEMS]))
    return Answers(model.score_rows(rows), model.schema.classes)


def output_fn(prediction: Union[Answers, Refusal], accept: str) -> Any:
    """Write the answer as JSON or CSV, or the refusal as a JSON problem.

    JSON: ``{"model": ..., "version": ..., "predictions": [{"prediction": ..., "probabilities": {class: ...}}]}``,
    model and version where the environment names them, probabilities null for a regression. CSV: a line a row, the
    label and its classes' probabilities as one field, ``1,"[0.2, 0.8]"``, or the value of a regression.

    Returns
    -------
    tuple or werkzeug.wrappers.Response
        ``(body, content type)``, which the image sends with 200; or a response with a status of its own.
    """
    if isinstance(prediction, Refusal):
        return _problem(prediction)
    wanted = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    for kind in wanted:
        if kind in ("", "*/*", "application/*", JSON):
            return _as_json(prediction), JSON
        if kind in (CSV, "text/*"):
            return _as_csv(prediction), CSV
    return _problem(Refusal(406, (f"an answer as {accept!r} can't be given: accept {JSON} or {CSV}",)))


def _text(body: Union[str, bytes]) -> str:
    if isinstance(body, str):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise _RefusedError(400, f"the body is not UTF-8: {error}") from error


def _csv_lines(text: str) -> list[list[str]]:
    try:
        return [fields for fields in csv.reader(io.StringIO(text, newline="")) if fields]
    except csv.Error as error:
        raise _RefusedError(400, f"the body is not CSV: {error}") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise _RefusedError(400, f"the body is not JSON: {reason}") from error


def _refuse_constant(name: str) -> Any:
    raise _RefusedError(400, f"the body holds {name}, which JSON does not have: send null if a value is unknown")


def _rows_of(document: Any) -> list[Any]:
    """Return the rows of a JSON document, in any of the shapes that SageMaker's users send."""
    if isinstance(document, dict):
        split = document.get("dataframe_split")
        if isinstance(split, dict):
            return _split_rows(split)
        listed = next((name for name in _ROW_LISTS if isinstance(document.get(name), list)), None)
        if listed is None:
            return [document]
        unknown = sorted(set(document) - {listed} - _BESIDE_ROWS)
        if unknown:
            raise _RefusedError(400, f"key {unknown[0]!r} beside {listed!r} is unknown: send {listed!r} alone")
        rows: list[Any] = document[listed]
        return rows
    if isinstance(document, list):
        # A list of bare values is one row in the model's order.
        return document if not document or isinstance(document[0], (dict, list)) else [document]
    raise _RefusedError(400, f"the body is a {type(document).__name__}: send a row, a list of rows or instances")


def _split_rows(split: Mapping[str, Any]) -> list[Any]:
    columns, data = split.get("columns"), split.get("data")
    if not (isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data)):
        raise _RefusedError(400, "dataframe_split needs columns, a list of names, and data, a list of lists")
    wrong = next((row for row in data if len(row) != len(columns)), None)
    if wrong is not None or not all(isinstance(name, str) for name in columns):
        width = len(columns if wrong is None else wrong)
        raise _RefusedError(400, f"dataframe_split has {len(columns)} columns and a row of {width}: name each value")
    return [dict(zip(columns, row)) for row in data]


def _named(row: Row, schema: FeatureSchema, as_text: bool) -> Mapping[str, Any]:
    if isinstance(row, dict):
        return row
    if not isinstance(row, (list, tuple)):
        raise _RefusedError(
            422, f"it is a {type(row).__name__}: send an object by feature name, or a list in the model's order"
        )
    if len(row) != len(schema.features):
        raise _RefusedError(422, f"it has {len(row)} values: the model takes {len(schema.features)}")
    if not as_text:
        return dict(zip(schema.names, row))
    return {feature.name: _from_field(feature.kind, field) for feature, field in zip(schema.features, row)}


def _from_field(kind: Kind, field: str) -> Any:
    if not field.strip():
        return None
    if kind is not Kind.NUMBER:
        return field
    try:
        return float(field)
    except ValueError:
        return field  # the schema's check names the feature


def _unwritable(row: Mapping[str, Any]) -> list[str]:
    """Half a surrogate pair is valid JSON, and no text that the model could be asked about."""
    problems = []
    for name, value in row.items():
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                problems.append(f"feature {name!a} holds half a surrogate pair; send whole characters")
    return problems


def _as_json(answers: Answers) -> str:
    found, classes = answers.predictions, answers.classes or ()
    rows = [
        {"prediction": answer, "probabilities": None if chances is None else dict(zip(classes, chances))}
        for answer, chances in zip(found.predictions, found.probability_rows)
    ]
    return json.dumps({**_served(), "predictions": rows}, allow_nan=False)


def _served() -> dict[str, Any]:
    """Who answers, as far as the container was told."""
    model, version = os.environ.get(MODEL_VARIABLE), os.environ.get(VERSION_VARIABLE, "")
    return {**({"model": model} if model else {}), **({"version": int(version)} if version.isdecimal() else {})}


def _as_csv(answers: Answers) -> str:
    found = answers.predictions
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    for answer, chances in zip(found.predictions, found.probability_rows):
        writer.writerow([answer] if chances is None else [answer, json.dumps(chances)])
    return lines.getvalue()


def _problem(refusal: Refusal) -> Any:
    from werkzeug.wrappers import Response

    body = {"title": "The request can't be answered as it is", "status": refusal.status, "problems": refusal.problems}
    return Response(json.dumps(body), status=refusal.status, mimetype="application/problem+json")
