"""Read, decide, write once; and again from the start when somebody else decided in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evergreen.domain.errors import StaleStateError
from evergreen.domain.lifecycle import AnyEvent, ModelState
from evergreen.ports import Ledger

_TRIES = 6


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
