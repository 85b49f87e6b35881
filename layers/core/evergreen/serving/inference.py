"""What AWS's scikit-learn image calls in an endpoint's container: model_fn once, then three functions a request.

The image answers 500 to any exception of these functions, so what the caller did wrong is handed on as a value, and
output_fn makes the 4xx of it. Runs on the image's Python 3.10 with numpy, ONNX Runtime and the image's own werkzeug
and boto3. A version that has a live state answers by the newest one that its follower could read.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen.errors import what_failed
from evergreen.formats.rows import MOST_PROBLEMS, Accepted, RowsError, by_name, csv_lines, listed
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import FACTS_FILE, Artifact, ArtifactError, ArtifactHashError, Predictions, Scorer
from evergreen.serving.follower import Follower
from evergreen.serving.live_pointers import AwsStates
from evergreen.serving.source import (
    LIVE_BUCKET_VARIABLE,
    LIVE_SECONDS,
    LIVE_SECONDS_VARIABLE,
    LIVE_TABLE_VARIABLE,
    MODEL_VARIABLE,
    SHA256_VARIABLE,
    VERSION_VARIABLE,
    LivePlace,
    content_sha256,
    loaded_names,
)
from evergreen.training.live_version import LiveVersion

__all__ = ["Answers", "Model", "Refusal", "Table", "input_fn", "model_fn", "output_fn", "predict_fn"]

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
ACCEPTED = Accepted()
"""Every shape that SageMaker's users send."""

_LONGEST_PROBLEM = 300

Row = Mapping[str, Any] | Sequence[Any]
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
    """What the model answered.

    Parameters
    ----------
    predictions
        The answers.
    classes
        The names of its classes in order; None for regression.
    state
        The live state that answered; None: the version, as it was trained.
    plain
        Where a state answered, what the version would have said without.
    """

    predictions: Predictions
    classes: Sequence[str] | None
    state: int | None = None
    plain: Predictions | None = None


@dataclass(frozen=True)
class Model:
    """The version that this container serves, ready to answer.

    Parameters
    ----------
    scorer
        The version as it was trained.
    live
        What its live state answers by; None where its archive holds nothing for one.
    follower
        Has the newest state; None where nobody told where states are.
    """

    scorer: Scorer
    live: LiveVersion | None = None
    follower: Follower | None = None

    @property
    def schema(self) -> FeatureSchema:
        """What it takes."""
        return self.scorer.schema

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> Answers:
        """Answer by the newest state. Whatever is wrong with it costs no caller an answer: the plain one is given."""
        return self._fresh(rows) or Answers(self.scorer.score_rows(rows), self.schema.classes)

    def _fresh(self, rows: Sequence[Mapping[str, Any]]) -> Answers | None:
        state = None if self.follower is None else self.follower.state
        if state is None or self.live is None or self.follower is None:
            return None
        try:
            said = state.state.answer(self.live.asked(rows, state.preparation))
        except Exception as error:  # whatever a live state throws
            self.follower.could_not_answer(state, what_failed(error))
            return None
        if not said.is_finite:
            self.follower.could_not_answer(state, "it says no finite numbers")
            return None
        fresh, plain = self.scorer.answered(said.fresh), self.scorer.answered(said.plain)
        return Answers(fresh, self.schema.classes, state.number, plain)


def model_fn(model_dir: str) -> Model:
    """Load the one model that this container may serve, and begin to follow its live state if it has one.

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
    files = _files(Path(model_dir))
    actual = content_sha256(files)
    if actual != expected:
        raise ArtifactHashError(expected, actual)
    scorer, number = Artifact.from_files(files).scorer(), _number()
    place = LivePlace(os.environ.get(LIVE_TABLE_VARIABLE, ""), os.environ.get(LIVE_BUCKET_VARIABLE, ""))
    if number is None or not place.table:
        return Model(scorer)
    live = LiveVersion.from_files(files, number)
    return Model(scorer, live, None if live is None else _followed(live, number, place))


def _files(folder: Path) -> dict[str, bytes]:
    """What is loaded, read once: what was checked is what answers."""
    facts = folder / FACTS_FILE
    names = loaded_names(facts.read_bytes() if facts.is_file() else b"")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _number() -> int | None:
    version = os.environ.get(VERSION_VARIABLE, "")
    return int(version) if version.isdecimal() else None


def _followed(live: LiveVersion, number: int, place: LivePlace) -> Follower:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    follower = Follower(live, number, AwsStates(place, os.environ.get(MODEL_VARIABLE, ""), number, region))
    seconds = float(os.environ.get(LIVE_SECONDS_VARIABLE) or LIVE_SECONDS)
    follower.follow(seconds, seed=os.environ.get("HOSTNAME", ""))
    return follower


def input_fn(body: str | bytes, content_type: str) -> Table | Refusal:
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
            return Table([fields for fields in csv_lines(text) if fields], as_text=True)
        if kind == JSON:
            return Table(listed(_json(text), ACCEPTED))
        if kind == JSON_LINES:
            lines = (line for line in text.splitlines() if line.strip())
            return Table([row for line in lines for row in listed(_json(line), ACCEPTED)])
    except RowsError as error:
        return _refusal(400, error.problems)
    return Refusal(415, (f"content type {kind!r} is not served: send {CSV}, {JSON} or {JSON_LINES}",))


def predict_fn(request: Table | Refusal, model: Model) -> Answers | Refusal:
    """Answer the rows, or say what is wrong with them, each problem with its row and feature."""
    if isinstance(request, Refusal):
        return request
    if not request.rows:
        return Refusal(400, ("the request has no rows: send one at least",))
    number = float if request.as_text else None
    try:
        rows = by_name(request.rows, model.schema, called="instances[{}]".format, number=number)
    except RowsError as error:
        return _refusal(422, error.problems)
    problems: list[str] = []
    for place, row in enumerate(rows):
        found = model.schema.validate(row) + _unwritable(row)
        problems += [f"instances[{place}]: {problem}" for problem in found]
        if len(problems) >= MOST_PROBLEMS:
            break
    return _refusal(422, problems) if problems else model.answer(rows)


def _refusal(status: int, problems: Sequence[str]) -> Refusal:
    return Refusal(status, tuple(problem[:_LONGEST_PROBLEM] for problem in problems[:MOST_PROBLEMS]))


def output_fn(prediction: Answers | Refusal, accept: str) -> Any:
    """Write the answer as JSON or CSV, or the refusal as a JSON problem.

    JSON: ``{"model": ..., "version": ..., "predictions": [{"prediction": ..., "probabilities": {class: ...}}]}``,
    model and version where the environment names them, probabilities null for a regression. Where a live state
    answered, its number is ``state``, and each answer has the ``plain`` one beside it. CSV: a line a row, the label and
    its classes' probabilities as one field, ``1,"[0.2, 0.8]"``, or the value of a regression, whoever answered.

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


def _text(body: str | bytes) -> str:
    if isinstance(body, str):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise RowsError(f"the body is not UTF-8: {error}") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RowsError:
        raise
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise RowsError(f"the body is not JSON: {reason}") from error


def _refuse_constant(name: str) -> Any:
    raise RowsError(f"the body holds {name}, which JSON does not have: send null if a value is unknown")


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
    rows = _named(answers.predictions, answers.classes)
    if answers.plain is not None:
        rows = [row | {"plain": plain} for row, plain in zip(rows, _named(answers.plain, answers.classes), strict=True)]
    state = {} if answers.state is None else {"state": answers.state}
    return json.dumps({**_served(), **state, "predictions": rows}, allow_nan=False)


def _named(found: Predictions, classes: Sequence[str] | None) -> list[dict[str, Any]]:
    return [
        {
            "prediction": answer,
            "probabilities": None if chances is None else dict(zip(classes or (), chances, strict=True)),
        }
        for answer, chances in zip(found.predictions, found.probability_rows, strict=True)
    ]


def _served() -> dict[str, Any]:
    """Who answers, as far as the container was told."""
    model, number = os.environ.get(MODEL_VARIABLE), _number()
    return {**({"model": model} if model else {}), **({} if number is None else {"version": number})}


def _as_csv(answers: Answers) -> str:
    found = answers.predictions
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    for answer, chances in zip(found.predictions, found.probability_rows, strict=True):
        writer.writerow([answer] if chances is None else [answer, json.dumps(chances)])
    return lines.getvalue()


def _problem(refusal: Refusal) -> Any:
    from werkzeug.wrappers import Response

    body = {"title": "The request can't be answered as it is", "status": refusal.status, "problems": refusal.problems}
    return Response(json.dumps(body), status=refusal.status, mimetype="application/problem+json")
