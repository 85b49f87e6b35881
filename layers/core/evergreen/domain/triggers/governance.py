"""The rules that can hold a retraining back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from evergreen.domain.state import ModelState
from evergreen.domain.triggers.check import Trigger
from evergreen.spec import ModelSpec, Strategy

_DAY = timedelta(days=1)


class HoldBackRule(StrEnum):
    """What can hold a retraining back."""

    PAUSED = "paused"
    OPEN_RUN = "open_run"
    IN_SHADOW = "in_shadow"  # of former releases
    DEPLOYING = "deploying"
    NEW_ROWS = "new_rows"
    COOLDOWN = "cooldown"
    TOKENS = "tokens"
    BUDGET = "budget"


FORCED = frozenset({HoldBackRule.NEW_ROWS, HoldBackRule.COOLDOWN, HoldBackRule.TOKENS, HoldBackRule.BUDGET})
"""Rules that a person may waive; two runs at once, or one beside a deployment, nobody may start."""

AT_ONCE = frozenset({Trigger.CONCEPT_DRIFT, Trigger.PERFORMANCE, Trigger.BUSINESS_EVENT})
"""What may take the last token: a model that answers worse, as is proven, and what people ask for."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled rows, as far as a decision about a retraining goes by them.

    Parameters
    ----------
    new
        Those that a training would have now and the newest training did not; None where nothing was trained yet.
    since_request
        Those that came since the newest retraining was requested.
    """

    new: int | None = None
    since_request: int = 0


NOTHING_LABELLED = Labelled()


@dataclass(frozen=True, slots=True)
class Asked:
    """A retraining that a trigger asks for, and what says whether it may start."""

    state: ModelState
    spec: ModelSpec
    trigger: Trigger
    now: datetime
    labelled: Labelled = NOTHING_LABELLED
    can_wait: bool = False  # a live state makes up for what the trigger found


@dataclass(frozen=True, slots=True)
class HoldBack:
    """The rule that says no, and why in a sentence."""

    rule: HoldBackRule
    because: str


def hold_back(asked: Asked, *, waived: frozenset[HoldBackRule] = frozenset()) -> HoldBack | None:
    """Say which rule allows no retraining now, or None.

    Examples
    --------
    >>> from datetime import UTC
    >>> spec = ModelSpec.parse({"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}})
    >>> paused = ModelState("churn", paused=True)
    >>> hold_back(Asked(paused, spec, Trigger.SCHEDULE, datetime(2026, 3, 1, tzinfo=UTC))).rule.value
    'paused'
    """
    for rule, reason in _RULES.items():
        because = None if rule in waived else reason(asked)
        if because is not None:
            return HoldBack(rule, because)
    return None


def tokens_there(asked: Asked) -> float:
    """How many retrainings may be started now, as parts of one: the level of a token bucket.

    Notes
    -----
    The bucket is full at first. A retraining takes a token, and what is missing comes back with labelled rows or with
    time, whichever is faster, up to ``burst``: so in any span there are no more retrainings than ``burst`` and what
    came back in it. It is the token bucket of traffic metering: RFC 2697, "A Single Rate Three Color Marker" (1999).

    Examples
    --------
    >>> from datetime import UTC
    >>> spec = ModelSpec.parse({"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}})
    >>> march = datetime(2026, 3, 1, tzinfo=UTC)
    >>> spent = ModelState("churn", retrainings=(march,), tokens=0.0)
    >>> later = march + timedelta(days=3)
    >>> tokens_there(Asked(spent, spec, Trigger.SCHEDULE, later, Labelled(since_request=2_500)))
    0.5
    """
    rules, state = asked.spec.triggers.tokens, asked.state
    if not state.retrainings:
        return float(rules.burst)
    # What an older release left in the ledger says nothing of tokens: the newest retraining took one of a full bucket.
    left = rules.burst - 1.0 if state.tokens is None else state.tokens
    by_time = max(asked.now - max(state.retrainings), timedelta(0)) / rules.refill_every
    by_rows = asked.labelled.since_request / rules.refill_rows if rules.refill_rows else 0.0
    return min(float(rules.burst), left + max(by_time, by_rows))


def _is_paused(asked: Asked) -> str | None:
    return "the model is paused" if asked.state.paused else None


def _has_an_open_run(asked: Asked) -> str | None:
    run = asked.state.run
    return None if run is None else f"retraining {run.decision_id} is still open"


def _is_deploying(asked: Asked) -> str | None:
    """Nothing is trained while a new version is watched: its candidate could not be judged before that is over."""
    bake, repoint = asked.state.bake, asked.state.repoint
    deployed = bake.version if bake is not None else None if repoint is None else repoint.version
    return None if deployed is None else f"version {deployed} is being deployed and watched"


def _has_too_few_new_rows(asked: Asked) -> str | None:
    new, needed = asked.labelled.new, asked.spec.training.min_new_rows
    if new is None or new >= needed:
        return None
    return f"{new:,} labelled rows are new since the newest training, {needed:,} are needed"


def _is_cooling_down(asked: Asked) -> str | None:
    cooldown, retrainings = asked.spec.triggers.cooldown, asked.state.retrainings
    if not retrainings or asked.now - retrainings[-1] >= cooldown:
        return None
    return (
        f"the last retraining was requested {_days(asked.now - retrainings[-1])} ago, the cooldown is {_days(cooldown)}"
    )


def _has_no_token(asked: Asked) -> str | None:
    if asked.trigger is Trigger.SCHEDULE and asked.spec.strategy is Strategy.SCHEDULED:
        return None  # its period is what was asked for
    burst, there = asked.spec.triggers.tokens.burst, tokens_there(asked)
    needed = 1 if asked.trigger in AT_ONCE and not asked.can_wait else min(2, burst)
    if there >= needed:
        return None
    kept = "" if needed == 1 else ": the last one is kept for a model that is proven worse"
    return f"{there:.2f} of {burst} tokens are there, {asked.trigger} needs {needed}{kept}"


def _has_spent_its_budget(asked: Asked) -> str | None:
    recent = sum(asked.now - t < timedelta(days=30) for t in asked.state.retrainings)
    budget = asked.spec.triggers.monthly_budget
    return None if recent < budget else f"{recent} retrainings in 30 days, the budget is {budget}"


_RULES: Mapping[HoldBackRule, Callable[[Asked], str | None]] = {
    HoldBackRule.PAUSED: _is_paused,
    HoldBackRule.OPEN_RUN: _has_an_open_run,
    HoldBackRule.DEPLOYING: _is_deploying,
    HoldBackRule.NEW_ROWS: _has_too_few_new_rows,
    HoldBackRule.COOLDOWN: _is_cooling_down,
    HoldBackRule.TOKENS: _has_no_token,
    HoldBackRule.BUDGET: _has_spent_its_budget,
}


def _days(span: timedelta) -> str:
    return f"{span / _DAY:.1f} days"
