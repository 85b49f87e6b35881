"""The rules that can hold a retraining back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from evergreen.domain.state import ModelState
from evergreen.spec import ModelSpec

_DAY = timedelta(days=1)


class HoldBackRule(StrEnum):
    """What can hold a retraining back."""

    PAUSED = "paused"
    OPEN_RUN = "open_run"
    IN_SHADOW = "in_shadow"
    DEPLOYING = "deploying"
    COOLDOWN = "cooldown"
    BUDGET = "budget"


FORCED = frozenset({HoldBackRule.COOLDOWN, HoldBackRule.BUDGET})
"""Rules that a person may waive; two runs at once, or one beside a deployment, nobody may start."""


@dataclass(frozen=True, slots=True)
class HoldBack:
    """The rule that says no, and why in a sentence."""

    rule: HoldBackRule
    because: str


def hold_back(
    state: ModelState, spec: ModelSpec, now: datetime, *, waived: frozenset[HoldBackRule] = frozenset()
) -> HoldBack | None:
    """Say which rule allows no retraining now, or None.

    Examples
    --------
    >>> from datetime import UTC
    >>> spec = ModelSpec.parse({"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}})
    >>> hold_back(ModelState("churn", paused=True), spec, datetime(2026, 3, 1, tzinfo=UTC)).rule.value
    'paused'
    """
    for rule, reason in _RULES.items():
        because = None if rule in waived else reason(state, spec, now)
        if because is not None:
            return HoldBack(rule, because)
    return None


def _is_paused(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    return "the model is paused" if state.paused else None


def _has_an_open_run(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    return None if state.run is None else f"retraining {state.run.decision_id} is still open"


def _has_a_candidate(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    if state.shadow is not None:
        return f"version {state.shadow.version} is in shadow or waits for it"
    candidate = state.waiting_candidate
    return None if candidate is None else f"version {candidate.number} is in shadow or waits for it"


def _is_deploying(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    if state.bake is not None:
        return f"version {state.bake.version} is being deployed and watched"
    return None if state.repoint is None else f"version {state.repoint.version} is being deployed and watched"


def _is_cooling_down(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    cooldown = spec.triggers.cooldown
    if not state.retrainings or now - state.retrainings[-1] >= cooldown:
        return None
    return (
        f"the last retraining was requested {_days(now - state.retrainings[-1])} ago, the cooldown is {_days(cooldown)}"
    )


def _has_spent_its_budget(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    recent = sum(now - t < timedelta(days=30) for t in state.retrainings)
    budget = spec.triggers.monthly_budget
    return None if recent < budget else f"{recent} retrainings in 30 days, the budget is {budget}"


_RULES: Mapping[HoldBackRule, Callable[[ModelState, ModelSpec, datetime], str | None]] = {
    HoldBackRule.PAUSED: _is_paused,
    HoldBackRule.OPEN_RUN: _has_an_open_run,
    HoldBackRule.IN_SHADOW: _has_a_candidate,
    HoldBackRule.DEPLOYING: _is_deploying,
    HoldBackRule.COOLDOWN: _is_cooling_down,
    HoldBackRule.BUDGET: _has_spent_its_budget,
}


def _days(span: timedelta) -> str:
    return f"{span / _DAY:.1f} days"
