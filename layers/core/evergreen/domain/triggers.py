"""Whether a model is to be retrained: each check with what it found, and the arbiter that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from evergreen.domain.lifecycle import ModelState
from evergreen.spec import ModelSpec, Strategy


class Trigger(StrEnum):
    """What can start a retraining."""

    PERFORMANCE = "performance"
    CONCEPT_DRIFT = "concept_drift"
    DATA_DRIFT = "data_drift"
    PREDICTION_SHIFT = "prediction_shift"
    NEW_DATA = "new_data"
    SCHEDULE = "schedule"
    BUSINESS_EVENT = "business_event"


class Outcome(StrEnum):
    """What a check found. No data is neither good nor bad."""

    FIRED = "fired"
    QUIET = "quiet"
    INSUFFICIENT_DATA = "insufficient_data"
    ERROR = "error"


class Direction(StrEnum):
    """How a score is to be read against its threshold."""

    HIGHER_IS_WORSE = "higher_is_worse"
    LOWER_IS_WORSE = "lower_is_worse"


@dataclass(frozen=True, slots=True)
class Check:
    """One trigger and what it found."""

    trigger: Trigger
    outcome: Outcome
    score: float | None
    threshold: float | None
    direction: Direction
    samples: int
    because: str

    def to_json(self) -> dict[str, Any]:
        """The check as plain data, numbers rounded to six digits."""
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    """What was decided, with every check, also when the answer is no."""

    model: str
    time: datetime
    trigger: Trigger | None  # the check that decided; None: no check fired
    held_back: str | None  # why governance said no to it
    checks: tuple[Check, ...]

    @property
    def retrain(self) -> bool:
        """Whether a retraining is to be started."""
        return self.trigger is not None and self.held_back is None

    @property
    def because(self) -> str:
        """The reason in a sentence."""
        fired = "; ".join(check.because for check in self.checks if check.outcome is Outcome.FIRED)
        if self.trigger is None:
            return "no check fired"
        return fired if self.held_back is None else f"{self.held_back} ({fired})"

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        return {
            "model": self.model,
            "time": self.time.isoformat(),
            "retrain": self.retrain,
            "trigger": self.trigger,
            "held_back": self.held_back,
            "because": self.because,
            "checks": [check.to_json() for check in self.checks],
        }


def check_age(spec: ModelSpec, last_training: datetime, now: datetime) -> Check:
    """The calendar: `scheduled` retrains on its period, `hybrid` after the longest age."""
    limit = spec.triggers.schedule.every if spec.strategy is Strategy.SCHEDULED else spec.triggers.schedule.longest_age
    age = now - last_training
    days = age / timedelta(days=1)
    if limit is None or spec.strategy in (Strategy.TRIGGERED, Strategy.CONTINUOUS):
        because = f"the strategy is {spec.strategy}: age does not count"
        return Check(Trigger.SCHEDULE, Outcome.QUIET, days, None, Direction.HIGHER_IS_WORSE, 0, because)
    limit_days = limit / timedelta(days=1)
    fired = age >= limit
    because = f"the last training is {days:.1f} days ago, the limit is {limit_days:.1f}"
    outcome = Outcome.FIRED if fired else Outcome.QUIET
    return Check(Trigger.SCHEDULE, outcome, days, limit_days, Direction.HIGHER_IS_WORSE, 0, because)


def check_new_data(spec: ModelSpec, new_rows: int) -> Check:
    """Enough labelled rows that production was not trained on."""
    need = spec.triggers.new_data.min_new_samples
    outcome = Outcome.FIRED if new_rows >= need else Outcome.QUIET
    because = f"{new_rows:,} labelled rows are new, {need:,} are enough"
    return Check(Trigger.NEW_DATA, outcome, float(new_rows), float(need), Direction.HIGHER_IS_WORSE, new_rows, because)


_ORDER = tuple(Trigger)


def arbitrate(state: ModelState, spec: ModelSpec, checks: Sequence[Check], now: datetime) -> RetrainDecision:
    """Decide from the checks and the rules of governance.

    One open run a model, a cooldown, a budget; nothing is started while a candidate is being proven or a deployment
    bakes. A trigger that is held back is named with the rule that held it.
    """
    allowed = _triggers_of(spec.strategy)
    fired = sorted((c for c in checks if c.outcome is Outcome.FIRED and c.trigger in allowed), key=_priority)
    trigger = fired[0].trigger if fired else None
    held_back = hold_back_reason(state, spec, now) if trigger is not None else None
    return RetrainDecision(state.model, now, trigger, held_back, tuple(checks))


def _priority(check: Check) -> int:
    return _ORDER.index(check.trigger)


def _triggers_of(strategy: Strategy) -> frozenset[Trigger]:
    match strategy:
        case Strategy.SCHEDULED:
            return frozenset({Trigger.SCHEDULE})
        case Strategy.TRIGGERED | Strategy.HYBRID:
            return frozenset(Trigger)
        case Strategy.CONTINUOUS:
            return frozenset({Trigger.BUSINESS_EVENT})


def hold_back_reason(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    """Why no retraining may start now, or None."""
    rules = spec.triggers
    if state.paused:
        return "the model is paused"
    if state.run is not None:
        return f"retraining {state.run.decision_id} is still open"
    if state.shadow is not None or state.waiting_candidate is not None:
        candidate = state.shadow.version if state.shadow is not None else state.waiting_candidate
        number = candidate if isinstance(candidate, int) or candidate is None else candidate.number
        return f"version {number} is in shadow or waits for it"
    if state.repoint is not None or state.bake is not None:
        version = state.bake.version if state.bake is not None else state.repoint.version if state.repoint else None
        return f"version {version} is being deployed and watched"
    if state.retrainings and now - state.retrainings[-1] < rules.cooldown:
        ago = _days(now - state.retrainings[-1])
        return f"the last retraining was requested {ago} ago, the cooldown is {_days(rules.cooldown)}"
    recent = sum(now - t < timedelta(days=30) for t in state.retrainings)
    if recent >= rules.monthly_budget:
        return f"{recent} retrainings in 30 days, the budget is {rules.monthly_budget}"
    return None


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def by_trigger(checks: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Checks as stored in the history, by their trigger."""
    return {check["trigger"]: check for check in checks}
