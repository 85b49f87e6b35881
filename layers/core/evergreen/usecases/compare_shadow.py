"""The shadow's life: start it, judge it while it runs, and act on the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.bake import roll_back
from evergreen.domain.catalog import CatalogEntry, CatalogKind, whole_hour
from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    ShadowStarted,
)
from evergreen.domain.shadow import PairedOutcomes, ShadowDecision, decide, judged_until
from evergreen.domain.state import BakePhase, ModelState, RollbackCause, Shadow, ShadowRole, Version
from evergreen.domain.transitions import gives_way
from evergreen.formats import outcomes
from evergreen.formats.keys import is_of_version
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.steps.kept import Kept
from evergreen.usecases.steps.placing import place_shadow
from evergreen.usecases.steps.recording import decide_and_record, note_once
from evergreen.usecases.steps.references import load_reference

ACTOR = "compare_shadow"
_LOOK_EVERY = timedelta(days=1)
_HOUR = timedelta(hours=1)


def start_shadow(model: str, *, now: datetime, ports: Ports) -> Shadow | None:
    """Put the waiting candidate, or the sentinel of a quality bake, behind the shadow alias; None when there is none.

    Called on every event after which the shadow's place may be free or newly taken; calling it again changes nothing.
    """

    def take_place(state: ModelState) -> Sequence[AnyEvent]:
        candidate = next_in_shadow(state)
        if candidate is None or state.production is None:
            return ()
        started = ShadowStarted(
            time=now,
            actor=ACTOR,
            because=f"version {candidate.number} answers the requests of version {state.production}, unseen",
            version=candidate.number,
            judged_against=state.production,
        )
        return (started,)

    state, _ = decide_and_record(ports.ledger, model, take_place)
    shadow, spec = state.shadow, spec_of(state)
    if spec.endpoint.kind == "lambda":  # a SageMaker endpoint is changed by repoint_alias, which hears of the same
        place_shadow(state, spec, ports)
    if shadow is None:
        return None
    name = schedule_name(model, shadow)
    longest = spec.shadow.max_time if shadow.role is ShadowRole.CHALLENGER else spec.deployment.quality_bake
    every = min(_LOOK_EVERY, spec.shadow.cycle)
    ports.schedules.every(
        name,
        every,
        # A schedule can't begin in the past: reconcile makes it anew long after the shadow began.
        start=max(shadow.since + every, now),
        end=max(shadow.since + longest + spec.labels.maturity, now) + 2 * every,
        function="compare-shadow",
        payload={"model": model, "version": shadow.version, "schedule": name},
    )
    return shadow


def next_in_shadow(state: ModelState) -> Version | None:
    """The candidate that the shadow's place is free for."""
    busy = state.shadow is not None or state.repoint is not None or state.bake is not None
    return None if busy or state.production is None else state.waiting_candidate


def schedule_name(model: str, shadow: Shadow) -> str:
    """The name of the schedule on which a shadow is judged."""
    return f"{model}.{shadow.role}.v{shadow.version}.{shadow.judged_against}"


def compare_shadow(
    model: str, version: int, *, now: datetime, ports: Ports, schedule: str = ""
) -> ShadowDecision | None:
    """Judge the version in shadow and record a verdict that ends it; None when it is not in shadow any more."""
    state = ports.ledger.read(model)
    shadow = state.shadow
    if shadow is None or shadow.version != version:
        if schedule:
            ports.schedules.remove(schedule)
        return None
    spec = spec_of(state)
    ancestors = state.version(shadow.version).ancestors or ()
    nests = spec.freshness.enabled and shadow.judged_against in ancestors
    until = judged_until(shadow, spec, now, nests=nests)
    pairs = _paired(state, shadow, spec, now, ports)
    decision = decide(
        shadow,
        spec,
        pairs,
        now,
        loss_scale=_loss_scale(state, shadow, ports),
        answered=_answered(model, shadow, until, ports),
        answered_share=_answered_share(model, shadow, until, ports),
        nests=nests,
        asked=_asked(model, shadow, spec, pairs.inference_time, now, ports),
    )
    # Noted before it is acted on: once the version is out of the shadow, a second delivery judges nothing.
    found = {"model": model, "time": now.isoformat(), "verdict": decision.verdict, "because": decision.because}
    note_once(model, "shadow", now, found | decision.evidence, state.epoch, ports)

    def conclude(current: ModelState) -> Sequence[AnyEvent]:
        if current.shadow != shadow:
            return ()
        match shadow.role:
            case ShadowRole.CHALLENGER:
                return _challenger(current, spec, shadow, decision, now)
            case ShadowRole.SENTINEL:
                return _sentinel(current, spec, shadow, decision, now)

    after, _ = decide_and_record(ports.ledger, model, conclude)
    over = after.shadow != shadow or after.repoint is not None  # by this call, or by one that died before it got here
    if over and schedule:
        ports.schedules.remove(schedule)
    return decision


def _paired(state: ModelState, shadow: Shadow, spec: ModelSpec, now: datetime, ports: Ports) -> PairedOutcomes:
    first = max(shadow.since - timedelta(hours=1), ports.retention.outcomes_since(now))  # empty cycles prolong a trial
    entries = ports.catalog.between(state.model, CatalogKind.OUTCOMES, first, now)
    between = (shadow.judged_against, shadow.version)
    tables = [_both_answered(entry, between, ports) for entry in entries]
    table = outcomes.concat(tables, outcomes.outcome_schema(spec.feature_schema()))
    pairs = outcomes.paired(table, spec, production=shadow.judged_against, shadow=shadow.version)
    trained = [state.version(number).trained_until for number in (shadow.version, shadow.judged_against)]
    unseen = max((until + timedelta.resolution for until in trained if until is not None), default=shadow.since)
    return pairs.between(max(shadow.since, unseen), now)


def _both_answered(entry: CatalogEntry, between: tuple[int, int], ports: Ports) -> pa.Table:
    """The rows of a file that both versions answered: a shadow is looked at many times, and most files are old."""

    def read() -> pa.Table:
        table = outcomes.from_parquet(ports.data.get(entry.key), outcomes.PAIR_COLUMNS)
        return outcomes.answered_by_both(table, *between)

    return _kept_pairs(ports).get((entry.key, entry.etag, between), read) if entry.etag else read()


@lru_cache(maxsize=2)
def _kept_pairs(ports: Ports) -> Kept[tuple[str, str, tuple[int, int]], pa.Table]:
    return Kept(lambda table: table.nbytes)


def _loss_scale(state: ModelState, shadow: Shadow, ports: Ports) -> float:
    """The scale that was measured when the newer of the two versions was trained and compared with the older one."""
    newer = state.version(max(shadow.version, shadow.judged_against))
    return load_reference(ports, newer.reference).loss_scale if newer.reference else 1.0


def _answered(model: str, shadow: Shadow, until: datetime, ports: Ports, *, skipped: timedelta = timedelta(0)) -> int:
    """Requests of the judged time that the shadow answered too, labelled or not."""
    hour = whole_hour(shadow.since) + skipped
    entries = ports.catalog.between(model, CatalogKind.COMPACT_SHADOW, hour, until)
    return sum(entry.rows for entry in entries if is_of_version(entry.key, shadow.version))


def _answered_share(model: str, shadow: Shadow, until: datetime, ports: Ports) -> float | None:
    """Of production's captured requests, the share that the shadow answered; None while nothing can be said.

    The hour in which it began does not count: its files hold requests from before.
    """
    first = whole_hour(shadow.since) + _HOUR
    asked = sum(entry.rows for entry in ports.catalog.between(model, CatalogKind.COMPACT_PRODUCTION, first, until))
    if not asked:
        return None
    return round(min(_answered(model, shadow, until, ports, skipped=_HOUR) / asked, 1.0), 6)


def _asked(
    model: str, shadow: Shadow, spec: ModelSpec, labelled: NDArray[np.int64], now: datetime, ports: Ports
) -> NDArray[np.int64] | None:
    """When production was asked since the shadow began, labelled or not; None where its time is not up in any case."""
    if now - spec.labels.maturity - shadow.since < spec.shadow.max_time:
        return None
    entries = ports.catalog.between(model, CatalogKind.COMPACT_PRODUCTION, whole_hour(shadow.since), now)
    hours = [round(entry.time.timestamp()) * 1_000_000 for entry in entries if entry.rows]
    return np.concatenate([np.array(hours, dtype=np.int64), labelled])


def _challenger(
    state: ModelState, spec: ModelSpec, shadow: Shadow, decision: ShadowDecision, now: datetime
) -> Sequence[AnyEvent]:
    if decision.verdict == "keep":
        retired = CandidateRetired(
            time=now, actor=ACTOR, because=decision.because, version=shadow.version, evidence=decision.evidence
        )
        return (retired,)
    newer = state.waiting_candidate
    if decision.verdict == "need_more_data" and newer is not None and newer.decision_id and state.proposal is None:
        return _gives_way(shadow, newer, decision, now)
    if decision.verdict != "promote" or state.paused or state.repoint is not None:
        return ()  # of two candidates that are promoted at once the second waits, and is compared again
    if spec.deployment.approval == "manual":
        if state.proposal is not None:
            return ()  # told already: it waits for a person
        proposed = PromotionProposed(
            time=now,
            actor=ACTOR,
            because=decision.because,
            version=shadow.version,
            evidence=decision.evidence,
            judged_against=shadow.judged_against,
        )
        return (proposed,)
    approved = PromotionApproved(
        time=now,
        actor=ACTOR,
        because=decision.because,
        version=shadow.version,
        instead_of=shadow.judged_against,
        evidence=decision.evidence,
    )
    return (approved,)


def _gives_way(shadow: Shadow, newer: Version, decision: ShadowDecision, now: datetime) -> Sequence[AnyEvent]:
    """The evidence is not for it, so a newer one that was trained takes its place."""
    if newer.number < shadow.version or not gives_way(decision.evidence):
        return ()
    superseded = CandidateRetired(
        time=now,
        actor=ACTOR,
        because=f"superseded by version {newer.number}: {decision.because}",
        version=shadow.version,
        evidence=decision.evidence,
        superseded_by=newer.number,
    )
    return (superseded,)


def _sentinel(
    state: ModelState, spec: ModelSpec, shadow: Shadow, decision: ShadowDecision, now: datetime
) -> Sequence[AnyEvent]:
    """Proven better, the replaced version takes over again; not proven by the end of the bake, the bake is passed."""
    bake = state.bake
    if bake is None or bake.phase is not BakePhase.QUALITY or state.repoint is not None:
        return ()
    if decision.verdict == "promote":
        because = f"version {shadow.version} is proven better: {decision.because}"
        return (roll_back(state, RollbackCause.QUALITY, because, decision.evidence, actor=ACTOR, now=now),)
    if now - bake.since >= spec.deployment.quality_bake:
        passed = BakePassed(
            time=now,
            actor=ACTOR,
            because=f"version {shadow.version} was not proven better in {spec.deployment.quality_bake.days} days",
            version=bake.version,
            phase=BakePhase.QUALITY,
            evidence=decision.evidence,
        )
        return (passed,)
    return ()
