"""Make a model known or change its spec, and say what changes, key by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import ModelApplied
from evergreen.domain.state import ModelState
from evergreen.errors import NotAppliedError, UnknownModelError, UnreadableSpecError
from evergreen.model.schema import Task
from evergreen.ports import Ports
from evergreen.spec import ModelSpec

LARGEST_SPEC_BYTES = 100_000  # the state holds the spec, and an item of the ledger holds 400 KB
_MOST_CHANGES_TOLD = 8


@dataclass(frozen=True, slots=True)
class SpecChange:
    """One key of a spec, before and after; None where it is not there."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {_value(self.before)} -> {_value(self.after)}"


def _value(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def spec_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[SpecChange, ...]:
    """Tell two specs apart key by key, in the order of the newer one.

    Examples
    --------
    >>> changes = spec_changes({"triggers": {"cooldown": "1w"}}, {"triggers": {"cooldown": "3d"}})
    >>> [str(change) for change in changes]
    ['triggers.cooldown 1w -> 3d']
    """
    old, new = _flat(before), _flat(after)
    keys = [*new, *(key for key in old if key not in new)]
    return tuple(SpecChange(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def as_written_now(state: ModelState) -> Mapping[str, Any]:
    """The spec that a state holds, in the keys of this release; as it is stored where this one can't read it.

    Examples
    --------
    >>> document = {"model": "rent", "task": "regression", "features": {"area": {"type": "number"}}}
    >>> was = ModelState("rent", spec=document | {"online": {"enabled": True}, "freshness": {"enabled": False}})
    >>> as_written_now(was)["freshness"]
    {'enabled': True}
    """
    try:
        return spec_of(state).to_json()
    except UnreadableSpecError:
        return state.spec


def apply_model(spec: ModelSpec, *, now: datetime, ports: Ports, actor: str = "operator") -> ModelState:
    """Make a model known, or change its spec; applying the same spec again changes nothing.

    Raises
    ------
    NotAppliedError
        The features or the task differ from the versions' that exist, or a class is missing: that is another model. Or
        the spec is too large, or needs files for longer than the stack keeps them. Or its endpoint is another than the
        one that answers, or another model's.
    SpecError
        It is one of a former release, and what it says can't be said any more.
    """
    try:
        state = ports.ledger.read(spec.model)
    except UnknownModelError:
        state = ModelState(spec.model)
    document = spec.renewed().to_json()
    if state.spec == document:
        return state
    if state.versions and _is_another_model(spec_of(state), spec):
        raise NotAppliedError(
            f"the features, the task or the classes of {spec.model!r} differ from those of its versions: "
            "apply the spec under another model name"
        )
    _endpoint_fits(spec, state, ports)
    if refusals := ports.retention.refusals(spec):
        raise NotAppliedError("; ".join(refusals))
    size = len(json.dumps(document))
    if size > LARGEST_SPEC_BYTES:
        raise NotAppliedError(
            f"the spec of {spec.model!r} is {size:,} bytes of JSON, {LARGEST_SPEC_BYTES:,} is the limit: "
            "name fewer features"
        )
    because = _told(spec_changes(as_written_now(state), document)) if state.epoch else "the model is new"
    applied = ModelApplied(time=now, actor=actor, because=because, spec=document, fingerprint=spec.fingerprint)
    return ports.ledger.record(state, applied)


def _endpoint_fits(spec: ModelSpec, state: ModelState, ports: Ports) -> None:
    """Refuse to leave the endpoint that answers, and to take another model's."""
    before, wanted = spec_of(state).endpoint_name if state.spec else None, spec.endpoint_name
    if state.spec and before != wanted and (state.production is not None or state.repoint is not None):
        raise NotAppliedError(
            f"{spec.model!r} answers by {_place(before)} and would answer by {_place(wanted)}: apply the spec under "
            "another model name, and move the callers to it"
        )
    if wanted is None or wanted == before:
        return
    for other in ports.ledger.models():
        if other != spec.model and spec_of(ports.ledger.read(other)).endpoint_name == wanted:
            raise NotAppliedError(f"endpoint {wanted!r} is model {other!r}'s: set endpoint.name to another")


def _place(endpoint: str | None) -> str:
    return "the predict function" if endpoint is None else f"the SageMaker endpoint {endpoint!r}"


def _is_another_model(before: ModelSpec, after: ModelSpec) -> bool:
    """Whether versions of one spec can't stand in for the other's; a multiclass model may get further classes."""
    if before.fingerprint != after.fingerprint:
        return True
    old, new = set(before.labels.classes or ()), set(after.labels.classes or ())
    return not old <= new if after.task is Task.MULTICLASS else old != new


def _told(changes: Sequence[SpecChange]) -> str:
    """The change in a sentence, not in a page."""
    if not changes:
        return "the spec says what it said, in the keys of this release"
    told = "; ".join(map(str, changes[:_MOST_CHANGES_TOLD]))
    more = len(changes) - _MOST_CHANGES_TOLD
    return f"the spec was changed: {told}" + (f"; and {more} more" if more > 0 else "")
