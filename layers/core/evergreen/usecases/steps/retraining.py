"""Record a decision about a retraining, and note it with every check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogKind, whole_hour
from evergreen.domain.model_events import AnyEvent, RetrainingRequested
from evergreen.domain.state import ModelState, Wish
from evergreen.domain.training_rows import new_rows
from evergreen.domain.triggers.arbiter import RetrainDecision, events_of, grant
from evergreen.domain.triggers.check import Check, Trigger
from evergreen.domain.triggers.governance import HoldBackRule, Labelled
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.steps.recording import decide_and_record, note_once, noted

_LONGEST_LOOK = timedelta(days=731)  # the index is asked month by month


def request_retraining(
    model: str,
    *,
    reason: str,
    actor: str,
    now: datetime,
    ports: Ports,
    waived: frozenset[HoldBackRule] = frozenset(),
) -> RetrainDecision:
    """Ask for a retraining because of a business event, or because a person wants one: no check is needed.

    A wish that governance holds back waits in the state: every evaluation tries it until a retraining is requested.
    ``waived`` are rules that do not hold this one back. A wish that was answered before is answered the same again,
    also long after its retraining is over.
    """
    told = noted(model, "wish", now, ports)
    if told is not None:
        return RetrainDecision.from_json(told)
    wish = Wish(reason, actor, now)

    def decide(current: ModelState) -> RetrainDecision:
        spec = spec_of(current)
        return grant(current, spec, wish, labelled_rows(current, spec, now, ports), waived=waived)

    return decide_and_note(model, "wish", decide, actor=actor, now=now, ports=ports, wish=wish)


def labelled_rows(state: ModelState, spec: ModelSpec, now: datetime, ports: Ports) -> Labelled:
    """Count the labelled rows that a decision about a retraining goes by, from the files that the catalog knows.

    Of a training that is years ago those of the last two years are enough.
    """
    seen_until, requested = state.seen_until, max(state.retrainings, default=None)
    known = [time for time in (seen_until, requested) if time is not None]
    if not known:
        return Labelled()
    since, until = whole_hour(max(min(known), now - _LONGEST_LOOK)), now + timedelta(hours=1)
    outcomes = ports.catalog.between(state.model, CatalogKind.OUTCOMES, since, until)
    came = 0 if requested is None else sum(entry.rows for entry in outcomes if entry.time > whole_hour(requested))
    if seen_until is None:
        return Labelled(None, came)
    base_data = ports.catalog.between(state.model, CatalogKind.BASE_DATA, since, until)
    new = new_rows(
        outcomes, base_data, seen_until=seen_until, requested=requested, maturity=spec.labels.maturity, now=now
    )
    return Labelled(new, came)


def decide_and_note(
    model: str,
    kind: str,
    decide: Callable[[ModelState], RetrainDecision],
    *,
    actor: str,
    now: datetime,
    ports: Ports,
    wish: Wish | None = None,
) -> RetrainDecision:
    """Record what the decision does to the state, then note the decision.

    Whoever dies in between is called again, and ends the same: a retraining that was requested is found in the
    history, one that was held back is known to the state.
    """
    decision = RetrainDecision(model, now, None, None, ())

    def events(current: ModelState) -> Sequence[AnyEvent]:
        nonlocal decision
        recorded = _recorded(current, actor, now, ports)
        decision = recorded or decide(current)
        return () if recorded else events_of(current, decision, actor=actor, wish=wish)

    state, _ = decide_and_record(ports.ledger, model, events)
    note_once(model, kind, now, decision.to_json(), state.epoch, ports)
    return decision


def _recorded(state: ModelState, actor: str, now: datetime, ports: Ports) -> RetrainDecision | None:
    """The decision of an earlier delivery that requested a retraining and died before it was noted."""
    if now not in state.retrainings:
        return None
    for event in reversed(ports.ledger.history(state.model).of(RetrainingRequested)):
        if event.actor == actor and event.time == now:
            checks = tuple(Check.from_json(check) for check in event.checks)
            found = (Trigger(event.trigger), None, checks, event.new_rows, event.tokens)
            return RetrainDecision(state.model, now, *found)
    return None
