"""Whether what the ledger holds of a model is what was written: the chain of hashes, and the events told again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evergreen.domain import event_json
from evergreen.domain.invariants import violations
from evergreen.domain.model_events import AnyEvent
from evergreen.domain.state import ModelState
from evergreen.domain.transitions import transition
from evergreen.errors import IllegalTransitionError, UnknownVersionError

_EVENT_ATTRIBUTES = frozenset({"model", "sk", "epoch", "type", "body", "hash"})
_STATE_ATTRIBUTES = frozenset({"model", "sk", "epoch", "body"})

_ADDED = frozenset({"changed_at", "fingerprint", "production_since", "proposal"})
"""Fields that a state from before they were kept has none of; the next event writes them."""

RawItem = Mapping[str, str]
"""An item as stored: its attributes as text, whatever they hold."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is not as it was written; ``epoch`` is None for what is true of no one item."""

    epoch: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.epoch is None else f"epoch {self.epoch}: {self.what}"


def verify(model: str, state: RawItem | None, history: Sequence[RawItem]) -> tuple[Flaw, ...]:
    """Find whatever differs from what was written.

    Each item is checked on its own (its attributes, its key), then as a link of the chain, then for what it says: the
    events are told again from the beginning, and must lead to the very state that is stored.

    Parameters
    ----------
    model : str
        Whose items these are.
    state : mapping or None
        The state's item; None when there is none.
    history : sequence of mapping
        The items of the events, in the order of their keys.

    Notes
    -----
    Who can write to the table can also write a whole new history with hashes that fit. What shows that is outside of
    it: the events that left for the bus carry the same hashes, and so does every copy of the history.

    Examples
    --------
    >>> [str(flaw) for flaw in verify("churn", None, [])]
    ['there is no state']
    """
    flaws = [*_shape(model, history), *_chain(history)]
    if flaws:
        # What an altered history leads to says nothing about the state.
        return (*flaws, *_state_link(model, state, history))
    told, stopped = _told_again(model, history)
    if stopped is not None:
        return (stopped, *_state_link(model, state, history))
    return (*_state_link(model, state, history), *_same_state(state, told))


def _shape(model: str, history: Sequence[RawItem]) -> list[Flaw]:
    """Gaps, items out of place, and attributes that are missing, added or unreadable."""
    flaws: list[Flaw] = []
    for expected, item in enumerate(history, start=1):
        if item.get("sk") != event_json.event_key(expected):
            flaws.append(Flaw(expected, f"the item is missing: {item.get('sk')} stands in its place"))
            break
        flaws += [Flaw(expected, what) for what in _attributes(item, _EVENT_ATTRIBUTES)]
        if item.get("model") != model:
            flaws.append(Flaw(expected, f"the item is filed under {item.get('model')!r}"))
        if item.get("epoch") != str(expected):
            flaws.append(Flaw(expected, f"the item says it is epoch {item.get('epoch')}"))
    return flaws


def _attributes(item: RawItem, wanted: frozenset[str]) -> list[str]:
    missing, added = sorted(wanted - set(item)), sorted(set(item) - wanted)
    # A time to live would have the table delete what must stay.
    return [f"{name!r} is missing" for name in missing] + [f"{name!r} was added" for name in added]


def _chain(history: Sequence[RawItem]) -> list[Flaw]:
    """Items whose hash is not that of their content and of the item before them."""
    flaws: list[Flaw] = []
    previous = ""
    for epoch, item in enumerate(history, start=1):
        written = item.get("hash", "")
        if written != event_json.chain_hash(previous, epoch, item.get("type", ""), item.get("body", "")):
            flaws.append(Flaw(epoch, "the hash does not fit: the item, or the one before it, was changed"))
        previous = written
    return flaws


def _told_again(model: str, history: Sequence[RawItem]) -> tuple[ModelState, Flaw | None]:
    state = ModelState(model)
    for epoch, item in enumerate(history, start=1):
        try:
            event: AnyEvent = event_json.event_from_json(item["type"], item["body"])
        except (ValueError, KeyError) as error:
            return state, Flaw(epoch, f"the event can't be read: {type(error).__name__}")
        try:
            state = replace(transition(state, event), last_hash=item["hash"])
        except (IllegalTransitionError, UnknownVersionError) as error:
            return state, Flaw(epoch, f"the event can't follow on those before it: {error}")
    return state, None


def _state_link(model: str, state: RawItem | None, history: Sequence[RawItem]) -> list[Flaw]:
    """Whether the state's item ends where the history does."""
    if state is None:
        return [Flaw(None, "there is no state")]
    flaws = [Flaw(None, f"the state: {what}") for what in _attributes(state, _STATE_ATTRIBUTES)]
    if state.get("sk") != "state" or state.get("model") != model:
        flaws.append(Flaw(None, f"the state is filed under {state.get('model')!r}, {state.get('sk')!r}"))
    if state.get("epoch") != str(len(history)):
        flaws.append(Flaw(None, f"the state is of epoch {state.get('epoch')}, the history ends at {len(history)}"))
    last_hash = history[-1].get("hash") if history else ""
    try:
        found = event_json.state_from_json(state.get("body", ""))
    except ValueError:
        return [*flaws, Flaw(None, "the state can't be read")]
    if found.last_hash != last_hash:
        flaws.append(Flaw(None, "the state names another last hash than the history's"))
    return [*flaws, *(Flaw(None, f"the state: {name}") for name in violations(found))]


def _same_state(state: RawItem | None, told: ModelState) -> list[Flaw]:
    """Whether the events lead to the state."""
    try:
        body = "" if state is None else state.get("body", "")
        found, written = event_json.state_from_json(body), json.loads(body)
    except ValueError:
        return []  # said before
    expected = json.loads(event_json.state_to_json(told))
    from_before = not _ADDED & set(written)
    differing = [
        key
        for key in sorted({*expected, *written})
        if not (key in expected and _within(written.get(key, expected[key]), expected[key]))
        or not (from_before or getattr(found, key) == getattr(told, key))
    ]
    return [Flaw(None, f"the events lead to another state: {', '.join(differing)}")] if differing else []


def _within(written: Any, expected: Any) -> bool:
    """Whether everything written is expected; fields that are not written have their defaults."""
    if isinstance(written, dict) and isinstance(expected, dict):
        return all(key in expected and _within(value, expected[key]) for key, value in written.items())
    if isinstance(written, list) and isinstance(expected, list):
        return len(written) == len(expected) and all(map(_within, written, expected))
    return type(written) is type(expected) and bool(written == expected)
