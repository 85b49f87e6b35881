"""Differences between the ledger and reality: each is noted, repaired, and then in the history, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from evergreen.domain.model_events import AnyEvent, DifferenceRepaired, RepointFailed
from evergreen.domain.state import ModelState
from evergreen.ports import Ports
from evergreen.usecases.steps.recording import decide_and_record, noted

PATIENCE = timedelta(minutes=15)
"""What is younger is simply under way: its own event, retried if need be, will finish it."""

REPOINT = "repoint"
"""What a repoint that was not carried out is called; the one repair that may fail and be told so."""

_MOST_AT_ONCE = 50  # what is left is found again the next time


@dataclass(frozen=True, slots=True)
class Repair:
    """One difference that was found and repaired."""

    what: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as the ledger says, and what makes it so; repairing it twice does no harm."""

    what: str
    found: str
    expected: str
    repair: Callable[[], object]

    @property
    def told(self) -> Repair:
        """What the history tells of it."""
        return Repair(self.what, self.found, self.expected)


def is_under_way(state: ModelState, now: datetime, patience: timedelta = PATIENCE) -> bool:
    """Whether the model's newest event is so young that what follows from it may not have happened yet."""
    return state.changed_at is not None and now - state.changed_at < patience


def repair_all(
    state: ModelState, kind: str, differences: Sequence[Difference], *, actor: str, now: datetime, ports: Ports
) -> tuple[Repair, ...]:
    """Repair what was found unlike ``state``, one after the other, and record each; answers what was recorded.

    What was found is noted before it is repaired. Whoever dies or fails in between is called again for the same time,
    finds the note, records also what the first call repaired, and goes on where it stopped: the history is the same.
    """
    found = {difference.what: difference for difference in differences[:_MOST_AT_ONCE]}
    told = {what: difference.told for what, difference in found.items()}
    earlier = noted(state.model, kind, now, ports)
    if earlier is not None:
        told = {repair["what"]: Repair(**repair) for repair in earlier["differences"]} | told
    elif told:
        because = f"{len(told)} found: {', '.join(told)}"
        body = {"model": state.model, "time": now.isoformat(), "because": because}
        noted_repairs = {"differences": [asdict(repair) for repair in told.values()]}
        ports.ledger.note(state.model, kind, now, body | noted_repairs, state.epoch)
    recorded: list[Repair] = []
    for what, repair in told.items():
        if what in found:
            found[what].repair()
        if _record(state.model, repair, actor, now, ports):
            recorded.append(repair)
    return tuple(recorded)


def _record(model: str, repair: Repair, actor: str, now: datetime, ports: Ports) -> bool:
    """Tell of the repair, unless an earlier call for the same time did, or it is told that it failed."""

    def decide(_: ModelState) -> Sequence[AnyEvent]:
        told = ports.ledger.history(model).at(now)
        if any(isinstance(event, DifferenceRepaired) and event.what == repair.what for event in told):
            return ()
        if repair.what == REPOINT and any(isinstance(event, RepointFailed) for event in told):
            return ()
        return (_event(repair, actor, now),)

    _, events = decide_and_record(ports.ledger, model, decide)
    return bool(events)


def _event(repair: Repair, actor: str, now: datetime) -> DifferenceRepaired:
    return DifferenceRepaired(
        time=now,
        actor=actor,
        because=f"{repair.what}: found {repair.found}, expected {repair.expected}",
        what=repair.what,
        found=repair.found,
        expected=repair.expected,
    )
