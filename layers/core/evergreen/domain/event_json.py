"""States and events as plain data and back: what the ledger stores and the bus carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter

from evergreen.domain import model_events
from evergreen.domain.model_events import AnyEvent
from evergreen.domain.state import ADDED_LATER, ModelState

EVENT_TYPES: dict[str, type[Any]] = {event.__name__: event for event in get_args(model_events.AnyEvent)}

NOTE_TYPES = {
    "retraining": "RetrainingEvaluated",
    "wish": "RetrainingEvaluated",
    "shadow": "ShadowCompared",
    "differences": "DifferencesFound",
    "registry": "DifferencesFound",
    "online": "CheckpointCompared",  # of former releases: nothing notes it any more
}
"""What is noted beside the history, by kind: the name under which the bus tells of it."""


_PLACE = frozenset({"model", "epoch", "type", "hash"})  # beside an event's own fields


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(ModelState if name == "ModelState" else EVENT_TYPES[name])


def _unsaid(item: Any) -> dict[str, Any]:
    """Fields that were added later and say nothing, also of what stands in a list, as pydantic's ``exclude``."""
    found: dict[str, Any] = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if ADDED_LATER.items() <= field.metadata.items() and value is None:
            found[field.name] = True
        elif isinstance(value, tuple):
            inside = {place: _unsaid(each) for place, each in enumerate(value) if is_dataclass(each)}
            if inside := {place: unsaid for place, unsaid in inside.items() if unsaid}:
                found[field.name] = inside
    return found


def state_to_json(state: ModelState) -> bytes:
    """The state as JSON."""
    return _adapter("ModelState").dump_json(state, exclude=_unsaid(state))


def state_from_json(text: bytes | str) -> ModelState:
    """The state that :func:`state_to_json` wrote."""
    state: ModelState = _adapter("ModelState").validate_json(text)
    return state


def event_to_data(event: AnyEvent) -> dict[str, Any]:
    """The event's fields as plain data."""
    data: dict[str, Any] = _adapter(type(event).__name__).dump_python(event, mode="json", exclude=_unsaid(event))
    return data


def event_to_json(event: AnyEvent) -> str:
    """The event's fields as JSON, keys in the order of the class: the same event gives the same bytes."""
    return _adapter(type(event).__name__).dump_json(event, exclude=_unsaid(event)).decode()


def event_from_json(name: str, text: str | bytes) -> AnyEvent:
    """The event of that type that :func:`event_to_json` wrote."""
    event: AnyEvent = _adapter(name).validate_json(text)
    return event


def event_or_none(name: str, text: str | bytes) -> AnyEvent | None:
    """The event of that type, or None for a type that this version does not know: a newer one wrote it."""
    return event_from_json(name, text) if name in EVENT_TYPES else None


def event_of(name: str, fields: Mapping[str, Any]) -> AnyEvent | None:
    """The same of fields as :func:`fields_of` tells them."""
    return event_or_none(name, json.dumps(fields))


def fields_of(body: str) -> dict[str, Any]:
    """Everything that an event's JSON holds, also what its type does not know."""
    fields: dict[str, Any] = json.loads(body)
    return fields


def document(model: str, epoch: int, name: str, body: str, digest: str) -> dict[str, Any]:
    """An event as people and programs are shown it: its place in the history, its fields as stored, its hash.

    Examples
    --------
    >>> document("churn", 1, "ModelPaused", '{"time":"2026-03-01T00:00:00Z","weather":"hail"}', "ab")
    {'model': 'churn', 'epoch': 1, 'type': 'ModelPaused', 'time': '2026-03-01T00:00:00Z', 'weather': 'hail', \
'hash': 'ab'}
    """
    return {"model": model, "epoch": epoch, "type": name, **fields_of(body), "hash": digest}


def parts(shown: Mapping[str, Any]) -> tuple[int, str, str, str]:
    """Epoch, type, body and hash of what :func:`document` showed."""
    body = {name: value for name, value in shown.items() if name not in _PLACE}
    return shown["epoch"], shown["type"], json.dumps(body), shown.get("hash", "")


def note_name(note: Mapping[str, Any]) -> str:
    """The name under which a note is told, as :data:`NOTE_TYPES` has it."""
    return str(note["type"])


def tells_of(note: Mapping[str, Any], kind: str) -> bool:
    """Whether a note, as it is shown, is of a kind.

    Examples
    --------
    >>> tells_of({"type": "ShadowCompared", "verdict": "keep"}, "shadow")
    True
    """
    return note_name(note) == NOTE_TYPES[kind]


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
