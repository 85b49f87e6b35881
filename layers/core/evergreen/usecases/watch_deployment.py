"""Watch the errors and the latency of a version that has just taken over, and look when an alarm asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial

from evergreen.domain.bake import BakeDecision, Traffic, judge_alarm, judge_bake, roll_back
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
    traffic = _with_crashes(model, bake.version, bake.since, now + _TICK, ports)
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

    after, _ = decide_and_record(ports.ledger, model, conclude)
    over = after.bake != bake or after.repoint is not None  # by this call, or by one that died before it got here
    if over and schedule:
        ports.schedules.remove(schedule)
    return decision


def look_at_alarm(model: str, *, now: datetime, ports: Ports, version: int | None = None) -> BakeDecision | None:
    """Judge the production version because an alarm went off at ``now``, and record it when it is rolled back.

    An alarm proves nothing by itself: it says when to look. In an ops bake the bake is judged; at any other time what
    the version answered lately is compared with its own earlier traffic. None when there is nothing to look at:
    nothing in production, a repoint under way, an alarm about ``version`` while another one answers, one from before
    the version took over, or a version that was found to be bad already and that nothing good can replace.
    """
    state = ports.ledger.read(model)
    number, bake = state.production, state.bake
    about_another = version is not None and version != number
    if number is None or state.repoint is not None or state.proven_bad or about_another:
        return None
    if state.production_since is not None and now <= state.production_since:
        return None
    if bake is not None and bake.phase is BakePhase.OPS:
        return watch_deployment(model, now=now, ports=ports, version=bake.version)
    spec = ModelSpec.parse(state.spec)
    start = max(now - spec.deployment.ops_bake, state.production_since or now - spec.deployment.ops_bake)
    traffic = ports.traffic.traffic(model, number, start, now + _TICK)
    decision = judge_alarm(spec, traffic, _usual(partial(ports.traffic.traffic, model, number), start))
    cause = decision.cause
    if cause is None:
        return decision

    def conclude(current: ModelState) -> Sequence[AnyEvent]:
        if (current.production, current.bake) != (number, bake) or current.repoint is not None or current.proven_bad:
            return ()
        return (roll_back(current, cause, decision.because, decision.evidence, actor=ACTOR, now=now),)

    decide_and_record(ports.ledger, model, conclude)
    return decision


@lru_cache(maxsize=8)
def _baseline(model: str, bake: Bake, ports: Ports) -> Traffic:
    """What the replaced version answered in its last day, or week; past when the bake begins, so it is read once."""
    if bake.replaced is None:
        return Traffic(0, 0, 0)
    return _usual(partial(_with_crashes, model, bake.replaced, ports=ports), bake.since)


def _usual(measure: Callable[[datetime, datetime], Traffic], until: datetime) -> Traffic:
    """What was answered in the day, or week, before a time."""
    last_day = measure(until - _BASELINE, until)
    return last_day if last_day.requests >= MIN_BAKE_REQUESTS else measure(until - _LONGEST_BASELINE, until)


def _with_crashes(model: str, version: int, start: datetime, end: datetime, ports: Ports) -> Traffic:
    """What a version answered, and as failed what the predict function died of: a version that bakes is the suspect."""
    answered, crashes = ports.traffic.traffic(model, version, start, end), ports.traffic.crashes(start, end)
    return Traffic(answered.requests + crashes, answered.errors + crashes, answered.slow)
