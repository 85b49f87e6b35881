"""Read, decide, write once; and again from the start when somebody else decided in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from evergreen.domain.model_events import AnyEvent
from evergreen.domain.state import ModelState
from evergreen.errors import StaleStateError
from evergreen.formats.keys import decision_key
from evergreen.ports import Ledger, Ports

_TRIES = 6
_INSTANT = timedelta(microseconds=1)


def decide_and_record(
    ledger: Ledger, model: str, decide: Callable[[ModelState], Sequence[AnyEvent]]
) -> tuple[ModelState, Sequence[AnyEvent]]:
    """Record what ``decide`` makes of the newest state; nothing where it decides nothing.

    Raises
    ------
    StaleStateError
        The state kept changing; the caller's event is delivered again later.
    """
    for attempt in range(_TRIES):
        state = ledger.read(model)
        events = decide(state)
        if not events:
            return state, ()
        try:
            return ledger.record(state, *events), events
        except StaleStateError:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def noted(model: str, kind: str, time: datetime, ports: Ports) -> dict[str, Any] | None:
    """The note of that kind and time, or None."""
    notes = ports.ledger.notes(model, kind, time, time + _INSTANT)
    return notes[0] if notes else None


def note_once(model: str, kind: str, time: datetime, found: Mapping[str, Any], epoch: int, ports: Ports) -> None:
    """Keep what was found at a time as a file and then as the ledger's note; a later delivery changes neither.

    The note comes last: where there is one, there is the file.
    """
    if noted(model, kind, time, ports) is not None:
        return
    key = decision_key(model, kind, time)
    ports.data.put(key, json.dumps(found, indent=1).encode(), content_type="application/json")
    ports.ledger.note(model, kind, time, found, epoch)
