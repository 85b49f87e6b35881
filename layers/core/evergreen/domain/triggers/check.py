"""One check of a trigger: what it found, against which threshold, on how many rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evergreen.errors import what_failed


class Trigger(StrEnum):
    """What can start a retraining, the gravest first."""

    CONCEPT_DRIFT = "concept_drift"
    PERFORMANCE = "performance"
    DATA_DRIFT = "data_drift"
    PREDICTION_SHIFT = "prediction_shift"
    NEW_DATA = "new_data"
    SCHEDULE = "schedule"
    BUSINESS_EVENT = "business_event"
    ONLINE = "online"  # of former releases: a checkpoint of an online state was proven better


class Outcome(StrEnum):
    """What a check found. No data is neither good nor bad."""

    FIRED = "fired"
    QUIET = "quiet"
    INSUFFICIENT_DATA = "insufficient_data"
    ERROR = "error"


class Direction(StrEnum):
    """How a score is to be read against its threshold."""

    HIGHER_IS_WORSE = "higher_is_worse"
    LOWER_IS_WORSE = "lower_is_worse"


@dataclass(frozen=True, slots=True)
class Check:
    """One trigger and what it found.

    Attributes
    ----------
    score, threshold : float or None
        None only where there is none: a business event has neither.
    samples : int
        Rows that the score is drawn from.
    details : tuple of dict
        What the score sums up, such as the columns of a drift check, the worst first.
    served_well : bool
        Whether what is answered is as good as it was all the same, because a live state makes up for it.
    """

    trigger: Trigger
    outcome: Outcome
    score: float | None
    threshold: float | None
    direction: Direction
    samples: int
    because: str
    details: tuple[Mapping[str, Any], ...] = ()
    served_well: bool = False

    def to_json(self) -> dict[str, Any]:
        """The check as plain data, numbers rounded to six digits; details and ``served_well`` where there are any."""
        document: dict[str, Any] = {
            "trigger": self.trigger.value,
            "outcome": self.outcome.value,
            "score": _rounded(self.score),
            "threshold": _rounded(self.threshold),
            "direction": self.direction.value,
            "samples": self.samples,
            "because": self.because,
        }
        document |= {"served_well": True} if self.served_well else {}
        return document | ({"details": [dict(detail) for detail in self.details]} if self.details else {})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Check:
        """The check that :meth:`to_json` wrote."""
        return cls(
            Trigger(document["trigger"]),
            Outcome(document["outcome"]),
            document["score"],
            document["threshold"],
            Direction(document["direction"]),
            document["samples"],
            document["because"],
            tuple(document.get("details", ())),
            document.get("served_well", False),
        )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)


def run_check(trigger: Trigger, check: Callable[[], Check]) -> Check:
    """Run a check; one that raises is an error, which is neither quiet nor a reason to retrain."""
    try:
        return check()
    except Exception as error:  # one check's trouble is not the next one's, and is recorded
        return check_failed(trigger, error)


def check_failed(trigger: Trigger, error: Exception) -> Check:
    """Return what is recorded of a check that raised: the type, the place and the message of an error of the system.

    The message of any other type may quote a row, and is left out.

    Examples
    --------
    >>> check_failed(Trigger.DATA_DRIFT, FileNotFoundError("profiles/churn/7.json is gone")).because
    'FileNotFoundError: profiles/churn/7.json is gone'
    >>> check_failed(Trigger.DATA_DRIFT, KeyError("a customer's name")).because
    'KeyError'
    """
    because = what_failed(error)
    return Check(trigger, Outcome.ERROR, None, None, Direction.HIGHER_IS_WORSE, 0, because)


def insufficient(trigger: Trigger, because: str, *, threshold: float | None = None, samples: int = 0) -> Check:
    """A check that has too little to judge by."""
    return Check(trigger, Outcome.INSUFFICIENT_DATA, None, threshold, Direction.HIGHER_IS_WORSE, samples, because)
