"""reference.json: what the data and the answers looked like when a version was trained, for drift and degradation."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.statistics.profile import Binning, Profile
from evergreen.training.read_rows import Rows

__all__ = ["PREDICTION", "Validated", "reference"]

PREDICTION = "prediction"
"""The column under which predictions are profiled."""
MAX_CYCLES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Validated:
    """The validation slice and what the validation fit answered to it.

    Parameters
    ----------
    times
        Inference times in microseconds, ``[N]``.
    answers
        What is profiled: the positive class's probability (binary), the label (multiclass) or the value (regression).
    correct
        Whether each answer counts as right, ``[N]``.
    """

    times: npt.NDArray[np.int64]
    answers: npt.NDArray[Any]
    correct: npt.NDArray[np.bool_]


def reference(rows: Rows, validated: Validated, *, cycle_days: float) -> dict[str, Any]:
    """Build the content of reference.json.

    Parameters
    ----------
    rows
        All rows the version is trained on; the bins are fitted on them.
    validated
        The validation slice.
    cycle_days
        The length of a cycle; whole cycles are counted back from the newest row, the newest eight are kept.

    Returns
    -------
    dict
        ``cycles`` (each from, to, profile), ``binning``, ``prediction`` and ``prediction_binning`` of the validation
        slice, and ``daily``: [rows, correct] of each validation day in order.
    """
    columns = rows.raw_columns()
    binning = Binning.fit(columns)
    answers = {PREDICTION: validated.answers}
    prediction_binning = Binning.fit(answers)
    return {
        "cycles": [
            {
                "from": _iso(int(start)),
                "to": _iso(int(end)),
                "profile": _text(Profile.count({name: column[part] for name, column in columns.items()}, binning)),
            }
            for start, end, part in _cycles(rows.times, cycle_days)
        ],
        "binning": binning.to_json(),
        "prediction": _text(Profile.count(answers, prediction_binning)),
        "prediction_binning": prediction_binning.to_json(),
        "daily": _daily(validated),
    }


def _cycles(times: npt.NDArray[np.int64], cycle_days: float) -> list[tuple[int, int, slice]]:
    """Whole cycles, oldest first, each after its start up to and with its end; all rows when not one is whole."""
    length, newest, oldest = max(1, round(cycle_days * _DAY)), int(times[-1]), int(times[0])
    whole = min(MAX_CYCLES, (newest - oldest) // length)
    if not whole:
        return [(oldest, newest, slice(0, len(times)))]
    edges = [newest - length * back for back in range(whole, -1, -1)]
    places = np.searchsorted(times, edges, side="right")
    return [
        (edges[index], edges[index + 1], slice(int(places[index]), int(places[index + 1])))
        for index in range(whole)
        if places[index + 1] > places[index]
    ]


def _daily(validated: Validated) -> list[list[int]]:
    days = validated.times // _DAY
    first = int(days.min())
    counts = np.bincount(days - first)
    right = np.bincount(days - first, weights=validated.correct).astype(np.int64)
    return [[int(count), int(correct)] for count, correct in zip(counts, right, strict=True) if count]


def _text(profile: Profile) -> str:
    return base64.b64encode(profile.to_bytes()).decode("ascii")


def _iso(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
