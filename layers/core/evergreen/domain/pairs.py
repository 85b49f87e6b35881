"""Outcomes in pairs: what production and the shadow said of the same request, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One answered request whose label is known."""

    event_id: str
    time: datetime  # of the request
    label_time: datetime
    version: int  # that answered
    prediction: str | float
    probabilities: list[float] | None  # in the order of the spec's classes
    actual: str | float
    group: str | None
    features: Mapping[str, Any]
