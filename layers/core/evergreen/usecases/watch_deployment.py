"""The ops bake: watch the errors and the latency of a version that has just taken over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from evergreen.domain.bake import BakeDecision, Traffic, judge_bake, roll_back
from evergreen.domain.lifecycle import AnyEvent, Bake, BakePassed, BakePhase, ModelState
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.statistics.sequential import MIN_BAKE_REQUESTS
from evergreen.usecases.recording import decide_and_record

ACTOR = "watch_deployment"
_TICK = timedelta(minutes=1)
_BASELINE = timedelta(hours=24)
_LONGEST_BASELINE = timedelta(days=7)  # where a day had too few requests to say what is normal


def start_watch(model: str, *, now: datetime, ports: Ports) -> Bake | None:
    """Create the minute's tick of an ops bake; None when no version is in one."""
    state = ports.ledger.read(model)
    bake = state.bake
    if bake is None or bake.phase is not BakePhase.OPS:
        return None
    longest = ModelSpec.parse(state.spec).deployment.ops_bake_longest
    name = schedule_name(model, bake)
    ports.schedules.every(
        name,
        _TICK,
        # A schedule can't begin in the past: reconcile makes it anew long after the bake began.
        start=max(bake.since + _TICK, now),
        end=max(bake.since + longest, now) + 10 * _TICK,
        function="watch-deployment",
        payload={"model": model, "version": bake.version, "schedule": name},
    )
    return bake


def schedule_name(model: str, bake: Bake) -> str:
    """The name of a bake's schedule: one for each time a version takes over."""
    return f"{model}.ops-bake.v{bake.version}.{int(bake.since.timestamp())}"


def watch_deployment(
    model: str, *, now: datetime, ports: Ports, version: int | None = None, schedule: str = ""
) -> BakeDecision | None:
    """Judge the ops bake now, and record that it passed or that the version is rolled back.

    None when no version is in its ops bake, or another than ``version``: a late tick or alarm of an older deployment.
    """
    state = ports.ledger.read(model)
    bake = state.bake
    if bake is None or bake.phase is not BakePhase.OPS or (version is not None and bake.version != version):
        if schedule:
            ports.schedules.remove(schedule)
        return None
    spec = ModelSpec.parse(state.spec)
    traffic = ports.traffic.traffic(model, bake.version, bake.since, now + _TICK)
    decision = judge_bake(spec, bake, traffic, _baseline(model, bake, ports), now)
    if decision.cause is None and not decision.passed:
        return decision

    def conclude(current: ModelState) -> Sequence[AnyEvent]:
        if current.bake != bake or current.repoint is not None:
            return ()
        if decision.cause is not None:
            event = roll_back(current, decision.cause, decision.because, decision.evidence, actor=ACTOR, now=now)
            return (event,)
        if decision.passed:
            passed = BakePassed(
                time=now,
                actor=ACTOR,
                because=decision.because,
                version=bake.version,
                phase=BakePhase.OPS,
                evidence=decision.evidence,
            )
            return (passed,)
        return ()

    _, events = decide_and_record(ports.ledger, model, conclude)
    if events and schedule:
        ports.schedules.remove(schedule)
    return decision


@lru_cache(maxsize=8)
def _baseline(model: str, bake: Bake, ports: Ports) -> Traffic:
    """What the replaced version answered in its last day, or week; past when the bake begins, so it is read once."""
    if bake.replaced is None:
        return Traffic(0, 0, 0)
    last_day = ports.traffic.traffic(model, bake.replaced, bake.since - _BASELINE, bake.since)
    if last_day.requests >= MIN_BAKE_REQUESTS:
        return last_day
    return ports.traffic.traffic(model, bake.replaced, bake.since - _LONGEST_BASELINE, bake.since)
