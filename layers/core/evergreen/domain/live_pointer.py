"""What is recorded of a version's live state: which bytes it is now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LivePointer:
    """Which bytes are the live state of a version now."""

    model: str
    version: int
    number: int  # of the state: one more with each that follows
    key: str  # in the artifact bucket
    sha256: str
    since: datetime  # it answers
    rows: int  # labels learned
    learned_until: datetime | None  # the newest request of them
