"""Whether a model is to be retrained: each check with what it found, and the arbiter that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.domain.model_events import RetrainingHeldBack, RetrainingRequested
from evergreen.domain.state import HeldBack, ModelState, Wish
from evergreen.domain.triggers.check import Check, Direction, Outcome, Trigger
from evergreen.domain.triggers.checks import check_wish
from evergreen.domain.triggers.governance import (
    AT_ONCE,
    NOTHING_LABELLED,
    Asked,
    HoldBack,
    HoldBackRule,
    Labelled,
    hold_back,
    tokens_there,
)
from evergreen.spec import ModelSpec, Strategy

# --- the decision -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    """What was decided, with every check, also when the answer is no."""

    model: str
    time: datetime
    trigger: Trigger | None  # the check that decided; None: no check fired
    held_back: HoldBack | None  # the rule that said no to it
    checks: tuple[Check, ...]
    new_rows: int | None = None  # labelled, that the newest training did not have; None: nothing was trained yet
    tokens: float | None = None  # that were there; None: nobody asked for a retraining

    @property
    def retrain(self) -> bool:
        """Whether a retraining is to be started."""
        return self.trigger is not None and self.held_back is None

    @property
    def errors(self) -> tuple[Check, ...]:
        """The checks that could not be run."""
        return tuple(check for check in self.checks if check.outcome is Outcome.ERROR)

    @property
    def because(self) -> str:
        """The reason in a sentence."""
        fired = "; ".join(check.because for check in self.checks if check.outcome is Outcome.FIRED)
        if self.trigger is None:
            said = [check.because for check in self.checks if check.trigger is Trigger.BUSINESS_EVENT]
            return f"the strategy does not retrain on this: {fired}" if fired else (said or ["no check fired"])[0]
        return fired if self.held_back is None else f"{self.held_back.because} ({fired})"

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        held = self.held_back
        return {
            "model": self.model,
            "time": self.time.isoformat(),
            "retrain": self.retrain,
            "trigger": None if self.trigger is None else self.trigger.value,
            "held_back": None if held is None else held.because,
            "rule": None if held is None else held.rule.value,
            "because": self.because,
            "new_rows": self.new_rows,
            "tokens": self.tokens,
            "checks": [check.to_json() for check in self.checks],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RetrainDecision:
        """The decision that :meth:`to_json` wrote."""
        rule, trigger = document["rule"], document["trigger"]
        return cls(
            document["model"],
            datetime.fromisoformat(document["time"]),
            None if trigger is None else Trigger(trigger),
            None if rule is None else HoldBack(HoldBackRule(rule), document["held_back"]),
            tuple(Check.from_json(check) for check in document["checks"]),
            document.get("new_rows"),
            document.get("tokens"),
        )


_ORDER = tuple(Trigger)


def arbitrate(
    state: ModelState, spec: ModelSpec, checks: Sequence[Check], now: datetime, labelled: Labelled = NOTHING_LABELLED
) -> RetrainDecision:
    """Decide from the checks, the wish that waits and the rules of governance.

    One open run a model, none without new rows, a cooldown, tokens and a budget; nothing is started while a deployment
    bakes. A trigger that is held back is named with the rule that held it.
    """
    wished = [check_wish(state.wish)] if state.wish is not None and state.wish.time <= now else []
    every = (*checks, *wished)
    allowed = _triggers_of(spec.strategy)
    fired = sorted((c for c in every if c.outcome is Outcome.FIRED and c.trigger in allowed), key=_priority)
    if not fired:
        return RetrainDecision(state.model, now, None, None, every, labelled.new)
    first = fired[0]
    return _decided(Asked(state, spec, first.trigger, now, labelled, can_wait=first.served_well), every)


def grant(
    state: ModelState,
    spec: ModelSpec,
    wish: Wish,
    labelled: Labelled = NOTHING_LABELLED,
    *,
    waived: frozenset[HoldBackRule] = frozenset(),
) -> RetrainDecision:
    """Decide about a wish on its own: a business event, or a person who wants a retraining."""
    if state.retrainings and wish.time <= max(state.retrainings):
        # Delivered again, or late: that retraining knows all that was known when it was wished for.
        because = f"{wish.reason}: answered by the retraining of {max(state.retrainings):%Y-%m-%d %H:%M}"
        check = Check(Trigger.BUSINESS_EVENT, Outcome.QUIET, None, None, Direction.HIGHER_IS_WORSE, 0, because)
        return RetrainDecision(state.model, wish.time, None, None, (check,))
    check = Check(Trigger.BUSINESS_EVENT, Outcome.FIRED, None, None, Direction.HIGHER_IS_WORSE, 0, wish.reason)
    return _decided(Asked(state, spec, Trigger.BUSINESS_EVENT, wish.time, labelled), (check,), waived=waived)


def _decided(
    asked: Asked, checks: tuple[Check, ...], *, waived: frozenset[HoldBackRule] = frozenset()
) -> RetrainDecision:
    held, there = hold_back(asked, waived=waived), round(tokens_there(asked), 4)
    return RetrainDecision(asked.state.model, asked.now, asked.trigger, held, checks, asked.labelled.new, there)


def events_of(
    state: ModelState, decision: RetrainDecision, *, actor: str, wish: Wish | None = None
) -> tuple[RetrainingRequested | RetrainingHeldBack, ...]:
    """Return what the history is to tell of a decision.

    A retraining always; one that is held back when what would have been done, or the rule, is not what was told last,
    or when a wish begins to wait.
    """
    if decision.trigger is None:
        return ()
    checks = tuple(check.to_json() for check in decision.checks)
    if decision.held_back is None:
        decision_id = f"{decision.time:%Y%m%d%H%M%S}-{state.epoch + 1}"
        requested = RetrainingRequested(
            time=decision.time,
            actor=actor,
            because=decision.because,
            decision_id=decision_id,
            trigger=decision.trigger,
            checks=checks,
            tokens=decision.tokens,
            new_rows=decision.new_rows,
        )
        return (requested,)
    rule = decision.held_back.rule
    known = state.held_back == HeldBack(decision.trigger, rule) if wish is None else _waits(state, wish)
    if known:
        return ()
    held = RetrainingHeldBack(
        time=decision.time,
        actor=actor,
        because=decision.because,
        would_have=decision.trigger,
        rule=rule,
        wish=wish,
        checks=checks,
    )
    return (held,)


def _waits(state: ModelState, wish: Wish) -> bool:
    """Whether the wish, or a newer one, waits already."""
    return state.wish is not None and (wish == state.wish or wish.time < state.wish.time)


def _priority(check: Check) -> tuple[bool, int]:
    """What may take the last token comes first: a wish is not held back with a drift that fired beside it."""
    return check.trigger not in AT_ONCE, _ORDER.index(check.trigger)


def _triggers_of(strategy: Strategy) -> frozenset[Trigger]:
    match strategy:
        case Strategy.SCHEDULED:
            return frozenset({Trigger.SCHEDULE, Trigger.BUSINESS_EVENT})
        case Strategy.TRIGGERED | Strategy.HYBRID:
            return frozenset(Trigger)
        case Strategy.CONTINUOUS:  # the live states learn: a training begins on nothing but a wish
            return frozenset({Trigger.BUSINESS_EVENT})


# --- the checks -------------------------------------------------------------------------------------------------------


def by_trigger(checks: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Checks as stored in the history, by their trigger."""
    return {check["trigger"]: check for check in checks}
