"""States and events as plain data and back: what the ledger stores and the bus carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter

from evergreen.domain import model_events
from evergreen.domain.model_events import AnyEvent
from evergreen.domain.state import ModelState

EVENT_TYPES: dict[str, type[Any]] = {event.__name__: event for event in get_args(model_events.AnyEvent)}

NOTE_TYPES = {
    "retraining": "RetrainingEvaluated",
    "wish": "RetrainingEvaluated",
    "shadow": "ShadowCompared",
    "differences": "DifferencesFound",
    "registry": "DifferencesFound",
    "online": "CheckpointCompared",
}
"""What is noted beside the history, by kind: the name under which the bus tells of it."""


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(ModelState if name == "ModelState" else EVENT_TYPES[name])


def state_to_json(state: ModelState) -> bytes:
    """The state as JSON."""
    return _adapter("ModelState").dump_json(state)


def state_from_json(text: bytes | str) -> ModelState:
    """The state that :func:`state_to_json` wrote."""
    state: ModelState = _adapter("ModelState").validate_json(text)
    return state


def event_to_data(event: AnyEvent) -> dict[str, Any]:
    """The event's fields as plain data."""
    data: dict[str, Any] = _adapter(type(event).__name__).dump_python(event, mode="json")
    return data


def event_to_json(event: AnyEvent) -> str:
    """The event's fields as JSON, keys in the order of the class: the same event gives the same bytes."""
    return _adapter(type(event).__name__).dump_json(event).decode()


def event_from_json(name: str, text: str | bytes) -> AnyEvent:
    """The event of that type that :func:`event_to_json` wrote."""
    event: AnyEvent = _adapter(name).validate_json(text)
    return event


def event_of(item: Mapping[str, Any]) -> AnyEvent:
    """The event of a history item as the ledger tells it."""
    return event_from_json(item["type"], json.dumps(item))


def event_key(epoch: int) -> str:
    """The sort key of an event.

    Examples
    --------
    >>> event_key(12)
    'event#0000000012'
    """
    return f"event#{epoch:010d}"


def chain_hash(previous: str, epoch: int, name: str, body: str) -> str:
    """The hash that ties a history item to the one before it.

    Examples
    --------
    >>> chain_hash("", 1, "ModelApplied", "{}")[:12]
    '018bdfbcd0f9'
    """
    return hashlib.sha256(f"{previous}\n{epoch}\n{name}\n{body}".encode()).hexdigest()
