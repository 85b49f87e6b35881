"""What happens in a cloud, a notice each, for whoever looks on.

A notice says who, what and how it ended: operations, resources, states, codes of errors. It holds nothing of what was
asked and answered, and no error's text: these quote what they were given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What a notice is about."""

    CALL = "call"  # of an API of AWS, by whoever
    HTTP = "http"  # a request to an HTTP API of a stack
    RUN = "run"  # of a function
    SCHEDULE = "schedule"
    ALARM = "alarm"
    JOB = "job"  # a training job
    ENDPOINT = "endpoint"  # of SageMaker


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened.

    Parameters
    ----------
    time
        By the cloud's clock.
    who
        Who calls, or what it happened to: a function, a schedule, an alarm, a job.
    what
        The operation and its resource; empty where ``who`` and ``outcome`` say it all.
    outcome
        How it ended: a status, a state, an error's code.

    Examples
    --------
    >>> from datetime import UTC
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> print(Notice(noon, Kind.CALL, "visits-Report", "dynamodb:Scan visits", "200").line)
    2026-01-01 12:00:00  call      visits-Report  dynamodb:Scan visits  200
    """

    time: datetime
    kind: Kind
    who: str
    what: str
    outcome: str

    @property
    def line(self) -> str:
        """The notice as one line of printable ASCII: a key of S3 may hold line breaks and anything else."""
        parts = [part for part in (self.who, self.what, self.outcome) if part]
        return _printable("  ".join([f"{self.time:%Y-%m-%d %H:%M:%S}", f"{self.kind:8}", *parts]))


Listener = Callable[[Notice], object]
"""Takes each notice, in any thread."""


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)
