"""Watch the errors and the latency of a version that has just taken over, and look when an alarm asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial

from evergreen.domain.aliases import canary_of
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.bake import BakeDecision, Traffic, judge_alarm, judge_bake, roll_back
from evergreen.domain.history import History
from evergreen.domain.model_events import AnyEvent, BakePassed
from evergreen.domain.state import Bake, BakePhase, ModelState
from evergreen.ports import Ports, TrafficMetrics
from evergreen.spec import ModelSpec
from evergreen.statistics.sequential import MIN_BAKE_REQUESTS
from evergreen.usecases.steps.recording import decide_and_record

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
    longest = spec_of(state).deployment.ops_bake_longest
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
    spec = spec_of(state)
    counted = _counted(spec, ports)
    traffic = counted.traffic(model, bake.version, bake.since, now + _TICK, with_crashes=True)
    beside = _beside(state, spec, bake, now + _TICK, ports)
    decision = judge_bake(spec, bake, traffic, _baseline(model, bake, ports), now, beside=beside)
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
    spec = spec_of(state)
    start = max(now - spec.deployment.ops_bake, state.production_since or now - spec.deployment.ops_bake)
    counted = _counted(spec, ports)
    traffic = counted.traffic(model, number, start, now + _TICK)
    decision = judge_alarm(spec, traffic, _usual(partial(counted.traffic, model, number), start))
    cause = decision.cause
    if cause is None:
        return decision

    def conclude(current: ModelState) -> Sequence[AnyEvent]:
        if (current.production, current.bake) != (number, bake) or current.repoint is not None or current.proven_bad:
            return ()
        return (roll_back(current, cause, decision.because, decision.evidence, actor=ACTOR, now=now),)

    decide_and_record(ports.ledger, model, conclude)
    return decision


def _counted(spec: ModelSpec, ports: Ports) -> TrafficMetrics:
    """What the model's versions answered: at a SageMaker endpoint, whose metrics don't tell them apart, alone."""
    if spec.endpoint.kind == "lambda":
        return ports.traffic
    return _Alone(ports.endpoint_traffic(spec), ports.ledger.history(spec.model))


@dataclass(frozen=True)
class _Alone:
    """See :class:`evergreen.ports.TrafficMetrics`; only of the times when the version answered alone."""

    counted: TrafficMetrics
    history: History

    def traffic(
        self, model: str, version: int, start: datetime, end: datetime, *, with_crashes: bool = False
    ) -> Traffic:
        measure = partial(self.counted.traffic, model, version, with_crashes=with_crashes)
        clipped = [span.within(start, end) for span in self.history.spans(version)]
        parts = [measure(span.start, span.end) for span in clipped if span is not None]
        return Traffic(sum(p.requests for p in parts), sum(p.errors for p in parts), sum(p.slow for p in parts))


def _beside(state: ModelState, spec: ModelSpec, bake: Bake, until: datetime, ports: Ports) -> Traffic | None:
    """What the other version of a canary answered since the bake began: the same hour, the same callers.

    What the function died of is held against the version that bakes alone: whose it is, nobody can say.
    """
    canary = canary_of(state, spec, bake.version)
    return None if canary is None else ports.traffic.traffic(state.model, canary.version, bake.since, until)


@lru_cache(maxsize=8)
def _baseline(model: str, bake: Bake, ports: Ports) -> Traffic:
    """What the replaced version answered in its last day, or week; past when the bake begins, so it is read once."""
    if bake.replaced is None:
        return Traffic(0, 0, 0)
    spec = spec_of(ports.ledger.read(model))
    return _usual(partial(_counted(spec, ports).traffic, model, bake.replaced, with_crashes=True), bake.since)


def _usual(measure: Callable[[datetime, datetime], Traffic], until: datetime) -> Traffic:
    """What was answered in the day, or week, before a time."""
    last_day = measure(until - _BASELINE, until)
    return last_day if last_day.requests >= MIN_BAKE_REQUESTS else measure(until - _LONGEST_BASELINE, until)
