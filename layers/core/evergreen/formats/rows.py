"""A request's rows, CSV or JSON, read alike for predict, in an endpoint's container and out of captured requests.

Standard library alone, and Python 3.10: an endpoint's container runs it too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evergreen.errors import EvergreenError
from evergreen.model.schema import Feature, FeatureSchema, Kind

__all__ = ["BESIDE_ROWS", "MOST_PROBLEMS", "ROW_LISTS", "Accepted", "RowsError", "by_name", "csv_lines", "listed"]

ROW_LISTS = ("instances", "inputs", "dataframe_records", "rows")
"""Keys under which SageMaker's users send their rows."""

BESIDE_ROWS = ("inference_ids", "groups")
"""What the predict function takes beside its rows; an endpoint's ids come as InferenceId, so they change nothing."""

_NUMBER = Kind.NUMBER

MOST_PROBLEMS = 20
"""More of them help nobody."""


class RowsError(EvergreenError, ValueError):
    """Rows that can't be read; ``problems`` says which and why, a sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Accepted:
    """What a caller takes as rows of a JSON document; how they are read is the same for all.

    Parameters
    ----------
    row_lists
        Keys that may hold the list of rows; the first one that does counts.
    beside
        Keys that may stand beside it; None: whatever stands there.
    bare
        Whether rows may come without such a key, as one row, a list of rows or a ``dataframe_split``, and as lists of
        values in the model's order.
    """

    row_lists: Sequence[str] = ROW_LISTS
    beside: Sequence[str] | None = BESIDE_ROWS
    bare: bool = True


def csv_lines(text: str, *, strict: bool = False) -> list[list[str]]:
    r"""Return the fields of each line; an empty line has none.

    Parameters
    ----------
    strict
        Whether a quote in the wrong place is refused, as the csv module has it.

    Raises
    ------
    RowsError
        It is not CSV.

    Examples
    --------
    >>> csv_lines('50,"gold, or so"\n\n31,\n')
    [['50', 'gold, or so'], [], ['31', '']]
    """
    lines = io.StringIO(text, newline="")
    try:
        return list(csv.reader(lines, strict=True) if strict else csv.reader(lines))  # any option costs 2 us a call
    except csv.Error as error:
        raise RowsError(f"the body is not CSV: {error}") from error


def listed(document: Any, accepted: Accepted) -> list[Any]:
    """Return the rows of a JSON document as they were sent, in any of the shapes that are accepted.

    Raises
    ------
    RowsError
        It has another shape, or keys that nobody asked for.

    Examples
    --------
    >>> listed({"instances": [[50, "gold"]], "groups": None}, Accepted())
    [[50, 'gold']]
    >>> listed({"age": 50, "plan": "gold"}, Accepted())
    [{'age': 50, 'plan': 'gold'}]
    >>> listed([50, "gold"], Accepted())
    [[50, 'gold']]
    """
    if isinstance(document, dict):
        return _listed_in(document, accepted)
    if not accepted.bare:
        raise RowsError(f'the body is not an object: send {{"{accepted.row_lists[0]}": [{{...}}]}}')
    if isinstance(document, list):
        # A list of bare values is one row in the model's order.
        return document if not document or isinstance(document[0], (dict, list)) else [document]
    raise RowsError(f"the body is a {type(document).__name__}: send a row, a list of rows or {accepted.row_lists[0]}")


def _listed_in(document: Mapping[str, Any], accepted: Accepted) -> list[Any]:
    if accepted.bare and isinstance(document.get("dataframe_split"), dict):
        return _split_rows(document["dataframe_split"])
    for name in accepted.row_lists:
        rows = document.get(name)
        if isinstance(rows, list):
            break
    else:
        if accepted.bare:
            return [document]
        name, rows = accepted.row_lists[0], None
    if accepted.beside is not None:
        known = (name, *accepted.beside)
        unknown = [key for key in document if key not in known]
        if unknown:
            sent = sorted(unknown)[:MOST_PROBLEMS]
            raise RowsError(*(f"key {key!r} is unknown: send {', '.join(known)}" for key in sent))
    if rows is None or not (accepted.bare or all(isinstance(row, dict) for row in rows)):
        raise RowsError(f"{name} is not a list of objects")
    return rows


def _split_rows(split: Mapping[str, Any]) -> list[Any]:
    columns, data = split.get("columns"), split.get("data")
    if not (isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data)):
        raise RowsError("dataframe_split needs columns, a list of names, and data, a list of lists")
    wrong = next((row for row in data if len(row) != len(columns)), None)
    if wrong is not None or not all(isinstance(name, str) for name in columns):
        width = len(columns if wrong is None else wrong)
        raise RowsError(f"dataframe_split has {len(columns)} columns and a row of {width}: name each value")
    return [dict(zip(columns, row, strict=True)) for row in data]


def by_name(
    rows: Sequence[Any],
    schema: FeatureSchema,
    *,
    called: Callable[[int], str],
    number: Callable[[str], float] | None = None,
) -> list[Any]:
    """Return each row as its values by feature name.

    Parameters
    ----------
    rows
        Objects by name, which stay as they are, or lists of values in the model's order.
    schema
        Names the values of lists.
    called
        What a row is called in a problem, by its place from 0.
    number
        Reads a number where the values of lists are text, in which an empty field is a missing value; raises ValueError
        where there is none. None: values are what they were sent as.

    Raises
    ------
    RowsError
        A row is no object and no list, has another number of fields than the model, or no number where one belongs.

    Examples
    --------
    >>> schema = FeatureSchema.of("regression", {"age": "number", "plan": "categorical"})
    >>> by_name([["50", "gold"], ["", "free"]], schema, called="line {}".format, number=float)
    [{'age': 50.0, 'plan': 'gold'}, {'age': None, 'plan': 'free'}]
    >>> by_name([["old", "gold"]], schema, called="line {}".format, number=float)
    Traceback (most recent call last):
        ...
    evergreen.formats.rows.RowsError: line 0: feature 'age' is 'old', not a number
    """
    found: list[Any] = []
    problems: list[str] = []
    for place, row in enumerate(rows):
        named, wrong = (row, ()) if isinstance(row, dict) else _named(row, schema.features, number)
        found.append(named)
        if wrong:
            problems += [called(place) + problem for problem in wrong]
            if len(problems) >= MOST_PROBLEMS:
                break
    if problems:
        raise RowsError(*problems[:MOST_PROBLEMS])
    return found


def _named(
    row: Any, features: Sequence[Feature], number: Callable[[str], float] | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A row's values by name, and what is wrong with it."""
    try:
        return _in_order(row, features, number), ()
    except RowsError as error:
        return {}, error.problems


def _in_order(row: Any, features: Sequence[Feature], number: Callable[[str], float] | None) -> dict[str, Any]:
    """Name a row's values; what is wrong with them comes without the row's name."""
    if not isinstance(row, (list, tuple)):
        raise RowsError(f" is a {type(row).__name__}: send an object by feature name, or a list in the model's order")
    if len(row) != len(features):
        raise RowsError(f" has {len(row)} fields: the model takes {len(features)}")
    if number is None:
        return {feature.name: value for feature, value in zip(features, row, strict=True)}
    values: dict[str, Any] = {}
    wrong = []
    for feature, text in zip(features, row, strict=True):
        value = None
        if text and not text.isspace():
            try:
                value = number(text) if feature.kind is _NUMBER else text
            except ValueError:
                wrong.append(f": feature {feature.name!r} is {text!r}, not a number")
        values[feature.name] = value
    if wrong:
        raise RowsError(*wrong)
    return values
