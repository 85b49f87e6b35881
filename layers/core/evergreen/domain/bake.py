"""The ops bake and what follows an alarm: whether the production version answers without errors and in time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.domain.model_events import RollbackDecided, RollbackImpossible
from evergreen.domain.state import Bake, ModelState, RollbackCause
from evergreen.spec import ModelSpec
from evergreen.statistics import sequential

# An alarm looks where errors have just gathered, and there may be many: those of a year share the chance of one bake.
_ALARMS_IN_A_YEAR = 365
_FALSE_ALARM_CHANCE = 0.01


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a version answered in a span of time."""

    requests: int
    errors: int
    slow: int  # slower than the objective


@dataclass(frozen=True, slots=True)
class BakeDecision:
    """`cause` names why to roll back; `passed` ends the watch; neither: go on watching."""

    cause: RollbackCause | None
    passed: bool
    because: str
    evidence: dict[str, Any]


def judge_bake(
    spec: ModelSpec,
    bake: Bake,
    traffic: Traffic,
    baseline: Traffic,
    now: datetime,
    *,
    beside: Traffic | None = None,
) -> BakeDecision:
    """Judge errors and slow answers since the repoint against the replaced version's last 24 hours.

    Parameters
    ----------
    beside
        What the other version of a canary answered meanwhile. Where that was worse than the 24 hours before, the hour
        is bad and not the version: it is judged by whichever of the two speaks less against it.
    """
    rules = spec.deployment
    found = _judge(spec, traffic, baseline, alpha=_FALSE_ALARM_CHANCE, beside=beside)
    if found.cause is not None:
        return BakeDecision(found.cause, False, found.because, found.evidence)
    watched = now - bake.since
    if watched < rules.ops_bake:
        return BakeDecision(None, False, f"watched {watched}, the bake lasts {rules.ops_bake}", found.evidence)
    if not found.enough and watched < rules.ops_bake_longest:
        because = f"{traffic.requests} requests are too few to judge: the bake is extended"
        return BakeDecision(None, False, because, found.evidence)
    because = found.because if found.enough else f"{found.because}; too little traffic within {rules.ops_bake_longest}"
    return BakeDecision(None, True, because, found.evidence)


def judge_alarm(spec: ModelSpec, traffic: Traffic, baseline: Traffic) -> BakeDecision:
    """Judge what the production version answered lately against its own earlier traffic, since an alarm asks.

    The evidence has to be stronger than in a bake: an alarm looks just where errors have gathered.
    """
    found = _judge(spec, traffic, baseline, alpha=_FALSE_ALARM_CHANCE / _ALARMS_IN_A_YEAR)
    return BakeDecision(found.cause, False, found.because, found.evidence)


@dataclass(frozen=True, slots=True)
class _Finding:
    cause: RollbackCause | None
    enough: bool  # requests to judge by
    because: str
    evidence: dict[str, Any]


def _judge(
    spec: ModelSpec, traffic: Traffic, baseline: Traffic, *, alpha: float, beside: Traffic | None = None
) -> _Finding:
    rules = spec.deployment
    # The milder of two tests is as seldom wrong as the first alone, however often it is looked at.
    baselines = [baseline]
    if beside is not None and beside.requests >= sequential.MIN_BAKE_REQUESTS:
        baselines.append(beside)
    errors = _milder(
        sequential.bake_health(
            traffic.errors,
            traffic.requests,
            usual.errors,
            usual.requests,
            tolerance=rules.tolerance,
            limit=rules.error_rate,
            alpha=alpha,
        )
        for usual in baselines
    )
    slow = _milder(
        sequential.bake_health(
            traffic.slow,
            traffic.requests,
            usual.slow,
            usual.requests,
            tolerance=rules.tolerance,
            floor=rules.slow_share,
            alpha=alpha,
        )
        for usual in baselines
    )
    evidence = {
        "requests": traffic.requests,
        "errors": traffic.errors,
        "slow": traffic.slow,
        "baseline_requests": baseline.requests,
        "baseline_errors": baseline.errors,
        "baseline_slow": baseline.slow,
        "log_e_errors": round(float(errors.log_e), 4),
        "log_e_slow": round(float(slow.log_e), 4),
        "log_e_threshold": round(math.log(errors.threshold), 4),
    }
    if beside is not None:
        evidence |= {
            "beside_requests": beside.requests,
            "beside_errors": beside.errors,
            "beside_slow": beside.slow,
        }
    if errors.health == "roll_back":
        because = f"{traffic.errors} of {traffic.requests} requests failed, {errors.p0:.1%} is tolerated"
        return _Finding(RollbackCause.ERRORS, True, because, evidence)
    if slow.health == "roll_back":
        counted = f"{traffic.slow} of {traffic.requests} requests took over {rules.latency_ms:.0f} ms"
        because = f"{counted}, {slow.p0:.1%} is tolerated"
        return _Finding(RollbackCause.LATENCY, True, because, evidence)
    because = f"{traffic.errors} of {traffic.requests} requests failed, {traffic.slow} were slow"
    return _Finding(None, errors.health != "too_little_traffic", because, evidence)


def _milder(found: Iterable[sequential.BakeHealth]) -> sequential.BakeHealth:
    return min(found, key=lambda health: health.log_e)


def roll_back(
    state: ModelState, cause: RollbackCause, because: str, evidence: dict[str, Any], *, actor: str, now: datetime
) -> RollbackDecided | RollbackImpossible:
    """Roll back to the last known good version; where there is none, say so and leave production as it is."""
    assert state.production is not None, "nothing is in production: there is nothing to roll back"
    good = state.last_known_good()
    if good is None:
        return RollbackImpossible(
            time=now,
            actor=actor,
            because=f"{because}; no other version is known to be good: production is left as it is",
            version=state.production,
            cause=cause,
            evidence=evidence,
        )
    return RollbackDecided(
        time=now,
        actor=actor,
        because=because,
        version=state.production,
        to_version=good.number,
        cause=cause,
        evidence=evidence,
    )
