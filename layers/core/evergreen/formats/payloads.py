"""What endpoints take and answer, as SageMaker captures it: CSV, JSON or BASE64, one row or many a record.

Formats: AWS documentation, model-monitor-data-capture-endpoint, cdf-inference (the built-in algorithms' requests and
answers) and model-monitor-model-quality-schedules (inference_attribute, probability_attribute and its threshold).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from evergreen.errors import EvergreenError
from evergreen.formats.rows import Accepted, RowsError, by_name, csv_lines, listed
from evergreen.model.schema import FeatureSchema

__all__ = [
    "Answer",
    "AnswerLayout",
    "PayloadError",
    "class_of",
    "label_field",
    "read_answers",
    "read_labels",
    "read_plain",
    "read_rows",
]

ACCEPTED = Accepted(beside=None)
"""Whatever an endpoint of any making took."""

_ANSWER_LISTS = ("predictions", "outputs")
_LABELS = ("prediction", "predicted_label", "label", "class")
_CHANCES = ("probabilities", "probability", "score", "scores")


class PayloadError(EvergreenError, ValueError):
    """A payload that can't be read as rows, answers or labels of the model; says which and why in one sentence."""


@dataclass(frozen=True)
class AnswerLayout:
    """Where an answer holds its label and its probability, in Model Monitor's words.

    Parameters
    ----------
    inference_attribute
        The place of the label or value: a number for a CSV field, a dotted name for JSON (``"predictions.label"``).
        None: found by itself.
    probability_attribute
        The place of the probability of the second class, or of all classes in their order. None: found by itself.
    probability_threshold
        A probability of the second class above this is that class, where no label is given.
    """

    inference_attribute: str | None = None
    probability_attribute: str | None = None
    probability_threshold: float = 0.5


@dataclass(frozen=True)
class Answer:
    """One answer: the label (a value for regression) and, where it was given, a probability for each class."""

    prediction: str | float
    probabilities: Mapping[str, float] | None


def read_rows(payload: Mapping[str, Any], schema: FeatureSchema) -> list[dict[str, Any]]:
    r"""Read the rows of a captured request.

    Parameters
    ----------
    payload
        ``endpointInput``: data, encoding (CSV, JSON or BASE64) and observedContentType.
    schema
        Names CSV fields and JSON lists, which come without names, in its order.

    Returns
    -------
    list of dict
        Feature values by name; an empty field is None.

    Raises
    ------
    PayloadError
        The data is not what its encoding says, or a row has another number of fields than there are features.

    Examples
    --------
    >>> schema = FeatureSchema.of("regression", {"age": "number", "plan": "categorical"})
    >>> read_rows({"data": "50,gold\n,free\n", "encoding": "CSV"}, schema)
    [{'age': 50.0, 'plan': 'gold'}, {'age': None, 'plan': 'free'}]
    """
    content = _decode(payload)
    try:
        rows = content if isinstance(content, list) else _json_rows(content.values)
        return by_name(rows, schema, called="a row".format, number=_finite)
    except RowsError as error:
        raise PayloadError(error.problems[0]) from error


def read_answers(payload: Mapping[str, Any], schema: FeatureSchema, layout: AnswerLayout, rows: int) -> list[Answer]:
    """Read the answers of a captured response, one a row.

    Parameters
    ----------
    payload
        ``endpointOutput``.
    schema
        Tells the task and, for a classification, the classes.
    layout
        Where label and probability are.
    rows
        How many rows were asked about: two numbers are two answers, or the probabilities of one.

    Raises
    ------
    PayloadError
        The data is not what its encoding says, holds nothing that is an answer of the model's task, or has not one
        answer a row.

    Examples
    --------
    >>> schema = FeatureSchema.of("binary", {"age": "number"}, classes=["0", "1"])
    >>> read_answers({"data": "0.9", "encoding": "CSV"}, schema, AnswerLayout(), 1)
    [Answer(prediction='1', probabilities={'0': 0.1, '1': 0.9})]
    >>> line = '{"predictions": [{"score": 0.2, "predicted_label": 0}]}'
    >>> read_answers({"data": line, "encoding": "JSON"}, schema, AnswerLayout(), 1)[0].prediction
    '0'
    """
    content = _decode(payload)
    if isinstance(content, list):
        # The built-in algorithms write the answers to several rows into one line.
        lines = [[field] for field in content[0]] if len(content) == 1 < rows == len(content[0]) else content
        answers = [_from_fields(fields, schema, layout) for fields in lines]
    else:
        answers = [_from_json(value, schema, layout) for value in _json_answers(content.values, rows)]
    if len(answers) != rows:
        raise PayloadError(f"there are {len(answers)} answers to {rows} rows")
    return answers


def read_plain(payload: Mapping[str, Any], schema: FeatureSchema, rows: int) -> tuple[int, list[Answer]] | None:
    """Read which live state a container of ours answered by, and what it would have answered without, one a row.

    None where no state answered, or where the answer does not say: CSV, and whatever is not ours.

    Examples
    --------
    >>> schema = FeatureSchema.of("regression", {"age": "number"})
    >>> line = '{"state": 7, "predictions": [{"prediction": 2.5, "plain": {"prediction": 2.0}}]}'
    >>> read_plain({"data": line, "encoding": "JSON"}, schema, 1)
    (7, [Answer(prediction=2.0, probabilities=None)])
    """
    content = _decode(payload)
    told = content.values[0] if isinstance(content, _Json) and len(content.values) == 1 else None
    state = told.get("state") if isinstance(told, dict) else None
    if not isinstance(state, int) or isinstance(state, bool) or not isinstance(told, dict):
        return None
    answers = told.get("predictions")
    if not isinstance(answers, list) or not all(isinstance(one, dict) and "plain" in one for one in answers):
        return None
    plain = [_from_json(one["plain"], schema, AnswerLayout()) for one in answers]
    return (state, plain) if len(plain) == rows else None


def read_labels(payload: Mapping[str, Any]) -> list[str]:
    r"""Read ``groundTruthData``: the label of each row of the record it belongs to.

    Raises
    ------
    PayloadError
        The data is not what its encoding says, or a label is no text or number.

    Examples
    --------
    >>> read_labels({"data": "1\n0\n", "encoding": "CSV"}), read_labels({"data": "[1.5, 2]", "encoding": "JSON"})
    (['1', '0'], ['1.5', '2'])
    """
    content = _decode(payload)
    if isinstance(content, list):
        if any(len(fields) != 1 for fields in content):
            widest = max(map(len, content))
            raise PayloadError(f"a line of groundTruthData has {widest} fields; write one label a line")
        return [fields[0] for fields in content]
    return [_label_text(value) for value in _one_or_many(content.values)]


def label_field(label: str) -> str:
    """A label as the CSV that :func:`read_labels` reads the same again.

    Examples
    --------
    >>> label_field("1"), label_field("a,b"), label_field("")
    ('1', '"a,b"', '""')
    """
    if label and not any(character in label for character in ',"\r\n'):
        return label
    return '"' + label.replace('"', '""') + '"'


@dataclass(frozen=True)
class _Json:
    """The JSON documents of a payload: one, or one a line."""

    values: list[Any]


def _decode(payload: Mapping[str, Any]) -> list[list[str]] | _Json:
    """Return CSV lines as their fields, or JSON."""
    data, encoding = payload["data"], payload.get("encoding", "CSV")
    kind = str(payload.get("observedContentType") or "").split(";")[0].strip().lower()
    if not isinstance(data, str):
        data = orjson.dumps(data).decode()  # some clients write the label itself in place of its text
    match encoding:
        case "CSV":
            return _csv(data)
        case "JSON":
            return _json(data)
        case "BASE64":
            return _from_base64(data, kind)
        case _:
            raise PayloadError(f"encoding is {encoding!r}: CSV, JSON and BASE64 are read")


def _from_base64(data: str, kind: str) -> list[list[str]] | _Json:
    """What SageMaker knew no other encoding for (text/html, say) is JSON or CSV all the same, or can't be read."""
    try:
        text = base64.b64decode(data, validate=True).decode()
    except ValueError as error:
        raise PayloadError(f"the BASE64 data ({kind or 'of no content type'}) is no text: {error}") from error
    if kind == "text/csv":
        return _csv(text)
    try:
        return _json(text)
    except PayloadError:
        return _csv(text)


def _csv(text: str) -> list[list[str]]:
    try:
        lines = [fields for fields in csv_lines(text, strict=True) if fields]
    except RowsError as error:
        raise PayloadError(str(error)) from error
    if not lines:
        raise PayloadError("the data is empty")
    return lines


def _json(text: str) -> _Json:
    try:
        return _Json([orjson.loads(text)])
    except orjson.JSONDecodeError as whole:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise PayloadError(f"the data is no JSON: {whole}") from whole
        try:
            return _Json([orjson.loads(line) for line in lines])  # application/jsonlines
        except orjson.JSONDecodeError as error:
            raise PayloadError(f"the data is neither JSON nor JSON Lines: {error}") from error


def _one_or_many(values: list[Any]) -> list[Any]:
    """A single document that is a list holds many; several documents (JSON Lines) are one each."""
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _json_rows(values: list[Any]) -> list[Any]:
    """The rows of all documents; those without names are text, as if they had come as CSV."""
    one = values[0]
    several = one if len(values) == 1 and isinstance(one, list) and one and isinstance(one[0], dict) else values
    rows = [row for document in several for row in listed(document, ACCEPTED)]
    return [[_written(value) for value in row] if isinstance(row, list) else row for row in rows]


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _json_answers(values: list[Any], rows: int) -> list[Any]:
    """One value a row: a list holds an answer for each, or is the one answer to a single row."""
    a_line_each = len(values) > 1
    answers: list[Any] = []
    for value in values:
        found = next((value[name] for name in _ANSWER_LISTS if isinstance(value, dict) and name in value), value)
        is_one = not isinstance(found, list) or a_line_each or (rows == 1 and len(found) != 1)
        answers += [found] if is_one else found
    return answers


def _are_chances(value: Sequence[Any], schema: FeatureSchema) -> bool:
    """Whether numbers are one answer's probabilities: as many as there are classes, and their sum is 1."""
    numbers = [_number(given) for given in value]
    if schema.classes is None or len(numbers) != len(schema.classes) or any(n is None or n < 0 for n in numbers):
        return False
    return math.isclose(sum(n for n in numbers if n is not None), 1.0, abs_tol=1e-3)


def _from_fields(fields: Sequence[str], schema: FeatureSchema, layout: AnswerLayout) -> Answer:
    if layout.inference_attribute is None and layout.probability_attribute is None:
        return _from_list(fields, schema, layout)
    return _answer(
        None if layout.inference_attribute is None else _field(fields, layout.inference_attribute),
        None if layout.probability_attribute is None else _field(fields, layout.probability_attribute),
        schema,
        layout,
    )


def _field(fields: Sequence[str], place: str) -> str:
    try:
        return fields[int(place)]
    except (ValueError, IndexError):
        raise PayloadError(f"the answer has {len(fields)} CSV fields, and none is number {place!r}") from None


def _from_json(value: Any, schema: FeatureSchema, layout: AnswerLayout) -> Answer:
    if isinstance(value, dict):
        label, chances = layout.inference_attribute, layout.probability_attribute
        if label is None and chances is None:
            label = next((name for name in _LABELS if name in value), None)
            chances = next((name for name in _CHANCES if name in value), None)
            if label is None and chances is None:
                raise PayloadError(f"the answer has {', '.join(value)}: set capture.inference_attribute to the label's")
            if schema.classes is None and label is None:
                label, chances = chances, None
        return _answer(_at(value, label), _at(value, chances), schema, layout)
    return _from_list(value if isinstance(value, list) else [value], schema, layout)


def _at(value: Mapping[str, Any], path: str | None) -> Any:
    if path is None:
        return None
    found: Any = value
    for part in path.split("."):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            raise PayloadError(f"the answer has no {path!r}")
    return found


def _from_list(values: Sequence[Any], schema: FeatureSchema, layout: AnswerLayout) -> Answer:
    """Read an answer whose parts have no names: a label, a probability, both, or a probability for each class."""
    if schema.classes is None:
        if len(values) != 1:
            raise PayloadError(f"the answer has {len(values)} values: set capture.inference_attribute to the right one")
        return _answer(values[0], None, schema, layout)
    chances, label = _are_chances(values, schema), class_of(values[0], schema)
    match len(values), label, chances:
        case 1, str(), _:
            return _answer(label, None, schema, layout)
        case 1, None, _:
            return _answer(None, values[0], schema, layout)
        case _, None, True:
            return _answer(None, list(values), schema, layout)
        case 2, str(), False:
            return _answer(label, values[1], schema, layout)
        case _:
            raise PayloadError(
                f"the answer has {len(values)} values, which can be read in more than one way or in none: set "
                "capture.inference_attribute and capture.probability_attribute"
            )


def _answer(label: Any, chances: Any, schema: FeatureSchema, layout: AnswerLayout) -> Answer:
    if schema.classes is None:
        value = _number(label)
        if value is None:
            raise PayloadError(f"the answer is {label!r}, not a finite number")
        return Answer(value, None)
    probabilities = None if chances is None else _by_class(chances, schema)
    if label is None:
        if probabilities is None:
            raise PayloadError("the answer has neither a label nor a probability")
        return Answer(_likeliest(probabilities, schema, layout), probabilities)
    known = class_of(label, schema)
    return Answer(_label_text(label) if known is None else known, probabilities)


def _by_class(chances: Any, schema: FeatureSchema) -> dict[str, float]:
    classes = schema.classes or ()
    if isinstance(chances, str) and chances.lstrip().startswith("["):
        chances = _json(chances).values[0]  # a list in one CSV field, as scikit-learn's containers write it
    if isinstance(chances, dict):
        named = {str(name): _chance(value) for name, value in chances.items()}
        return {name: named[name] for name in classes if name in named}
    if isinstance(chances, list):
        if len(chances) != len(classes):
            raise PayloadError(f"the answer has {len(chances)} probabilities for {len(classes)} classes")
        return dict(zip(classes, map(_chance, chances), strict=True))
    if len(classes) != 2:
        raise PayloadError(f"the answer has one probability for {len(classes)} classes")
    second = _chance(chances)
    return {classes[0]: round(1 - second, 12), classes[1]: second}


def _chance(given: Any) -> float:
    number = _number(given)
    if number is None or not 0 <= number <= 1:
        raise PayloadError(f"probability {given!r} is not between 0 and 1")
    return number


def _likeliest(probabilities: Mapping[str, float], schema: FeatureSchema, layout: AnswerLayout) -> str:
    classes = schema.classes or ()
    if len(classes) == 2:
        return classes[1] if probabilities.get(classes[1], 0.0) > layout.probability_threshold else classes[0]
    return max(classes, key=lambda name: probabilities.get(name, 0.0))


def class_of(given: Any, schema: FeatureSchema) -> str | None:
    """The class that a label names, as text or, where both are numbers, by value; None where it names none.

    Examples
    --------
    >>> class_of("1.0", FeatureSchema.of("binary", {"age": "number"}, classes=["0", "1"]))
    '1'
    """
    classes = schema.classes or ()
    text = _label_text(given).strip()
    if text in classes:
        return text
    number = _number(text)
    return None if number is None else next((name for name in classes if _number(name) == number), None)


def _label_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | dict):
        raise PayloadError(f"label {value!r} is no text or number")
    return orjson.dumps(value).decode()


def _number(given: Any) -> float | None:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
