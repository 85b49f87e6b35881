"""The tick of online learning: learn what has matured, judge the checkpoint on trial, keep a new one, tidy up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

import numpy as np

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, whole_hour
from evergreen.domain.checkpoint_trial import (
    KEPT_CHECKPOINTS,
    is_due,
    is_over,
    judge_checkpoint,
    judged_until,
    newest_labels,
    on_trial,
    paired,
    row_name,
    trial_rules,
    unseen_since,
)
from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer
from evergreen.domain.model_events import AnyEvent, RetrainingRequested
from evergreen.domain.pairs import OutcomeRow
from evergreen.domain.shadow import ShadowDecision
from evergreen.domain.state import ModelState
from evergreen.domain.triggers.check import Check, Direction, Outcome, Trigger
from evergreen.domain.triggers.governance import FORCED, Asked, hold_back
from evergreen.durations import format_duration
from evergreen.errors import ConflictingWriteError
from evergreen.formats.keys import online_checkpoint_key
from evergreen.formats.outcome_lines import from_json_lines
from evergreen.model.scorer import Predictions
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.training.online_state import OnlineState, PrequentialCounts
from evergreen.usecases.learn_online import (
    ROWS_ARE_REMEMBERED,
    LabelledRow,
    Learned,
    label_problem,
    learn_rows,
    row_problem,
)
from evergreen.usecases.steps.online_states import (
    StateGoneError,
    load_checkpoint,
    state_bytes,
    state_fingerprint,
    sweep,
)
from evergreen.usecases.steps.recording import decide_and_record, note_once
from evergreen.usecases.steps.references import load_reference

ACTOR = "learn_online"
_HOUR = timedelta(hours=1)
_LATE = timedelta(days=2)  # a label file is joined again this long after its labels' maturity
_TRIES = 5
_MOST_ROWS = 10_000  # learned in one tick; the rest waits for the next one
_SCORED_AT_ONCE = 5_000
_GONE = "requests of its trial are no longer kept: CaptureRetentionDays has to exceed labels.maturity and a trial of {}"


@dataclass(frozen=True, slots=True)
class Tended:
    """What a tick did: rows learned, the checkpoint that was kept, and those that were judged, the best first."""

    learned: Learned
    frozen: int | None = None
    judged: tuple[OnlineCheckpoint, ...] = ()


def tend_online(model: str, *, now: datetime, ports: Ports) -> Tended | None:
    """Tend a model's online state; None where it has none. Calling it again for a time changes nothing.

    Raises
    ------
    OnlineStateError
        The stored state or checkpoint is not the one that was recorded.
    """
    state = ports.ledger.read(model)
    spec = spec_of(state)
    if not spec.online.enabled:
        return None
    learned = Learned(model)
    if spec.online.labels == "matured":
        learned = _learn_matured(state, spec, now, ports)
    pointer = ports.online.read(model, state_fingerprint(spec))
    if pointer is None:
        return Tended(learned)
    frozen = _keep_the_newest(pointer, spec, now, ports)
    judged = _judge(state, spec, pointer.fingerprint, now, ports)
    _forget_the_oldest(model, ports)
    sweep(ports, pointer)
    return Tended(learned, frozen, judged)


# --- matured labels ---------------------------------------------------------------------------------------------------


def _learn_matured(state: ModelState, spec: ModelSpec, now: datetime, ports: Ports) -> Learned:
    """Learn every file whose newest request is older than the maturity, in the order of the files."""
    total = Learned(spec.model)
    fingerprint = state_fingerprint(spec)
    for entry in _matured_files(spec, now, ports):
        if total.counts.rows >= _MOST_ROWS:
            return total
        stored = _rows_of(entry, ports) or []
        rows = [_labelled(row, fingerprint) for row in stored if _can_be_learned(row, spec)]
        total = replace(total, ignored=total.ignored + entry.rows - len(rows))
        for some in batched(rows, spec.online.batch_size, strict=False):
            distinct = list({row.name: row for row in some}.values())
            total = _sum(total, learn_rows(state, spec, distinct, expires=now + ROWS_ARE_REMEMBERED, ports=ports))
        ports.online.remember(spec.model, _file_name(fingerprint, entry), expires=now + ROWS_ARE_REMEMBERED)
    return total


def _matured_files(spec: ModelSpec, now: datetime, ports: Ports) -> list[CatalogEntry]:
    """Files that have not been learned yet and all of whose labels have come."""
    matured = now - spec.labels.maturity
    entries = ports.catalog.between(
        spec.model, CatalogKind.ONLINE_ROWS, matured - spec.labels.maturity - _LATE, now + _HOUR
    )
    ready = [entry for entry in entries if entry.sums.newest is not None and entry.sums.newest <= matured]
    names = {entry.key: _file_name(state_fingerprint(spec), entry) for entry in ready}
    done = ports.online.learned(spec.model, list(names.values()))
    return [entry for entry in ready if names[entry.key] not in done]


def _rows_of(entry: CatalogEntry, ports: Ports) -> list[OutcomeRow] | None:
    """The rows of a file; None where the bucket no longer keeps it."""
    try:
        return from_json_lines(ports.data.get(entry.key))
    except FileNotFoundError:
        return None


def _file_name(fingerprint: str, entry: CatalogEntry) -> str:
    return f"file#{fingerprint}#{entry.key}#{entry.etag}"


def _can_be_learned(row: OutcomeRow, spec: ModelSpec) -> bool:
    label = row.actual if isinstance(row.actual, str) else repr(row.actual)
    return label_problem(label, spec) is None and row_problem(row.features, spec) is None


def _labelled(row: OutcomeRow, fingerprint: str) -> LabelledRow:
    return LabelledRow(row_name(fingerprint, row.event_id, row.actual), row.features, row.actual, row.time)


def _sum(one: Learned, other: Learned) -> Learned:
    counts: PrequentialCounts = one.counts + other.counts
    return replace(other, counts=counts, before=one.before + other.before, ignored=one.ignored + other.ignored)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _keep_the_newest(pointer: OnlinePointer, spec: ModelSpec, now: datetime, ports: Ports) -> int | None:
    """Keep a checkpoint, whoever learns meanwhile."""
    for _ in range(_TRIES):
        try:
            return _keep(pointer, spec, now, ports)
        except StateGoneError:
            pointer = ports.online.read(pointer.model, pointer.fingerprint) or pointer
    raise ConflictingWriteError(pointer.key)


def _keep(pointer: OnlinePointer, spec: ModelSpec, now: datetime, ports: Ports) -> int | None:
    """Keep the state as a checkpoint if it is time for one; its number."""
    known = ports.online.checkpoints(pointer.model)
    if not is_due(known, pointer, spec, now):
        return None
    number = known[-1].number + 1 if known else 1
    body = state_bytes(ports, pointer)
    key = online_checkpoint_key(pointer.model, number, pointer.sha256)
    ports.artifacts.put(key, body)
    checkpoint = OnlineCheckpoint(
        model=pointer.model,
        number=number,
        fingerprint=pointer.fingerprint,
        state_version=pointer.version,
        key=key,
        sha256=pointer.sha256,
        frozen_at=now,
        learned_until=pointer.learned_until,
        updates=pointer.updates,
        rows=pointer.rows,
    )
    return number if ports.online.freeze(checkpoint) else None


def _forget_the_oldest(model: str, ports: Ports) -> None:
    """Forget the oldest checkpoints that nothing refers to; the item goes last, so that nothing is left behind."""
    known = ports.online.checkpoints(model)
    for checkpoint in known[:-KEPT_CHECKPOINTS]:
        if checkpoint.status in (CheckpointStatus.KEPT, CheckpointStatus.DROPPED):
            ports.artifacts.delete(checkpoint.key)
            ports.online.forget(checkpoint)


# --- the guard --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """A checkpoint, what was found of it, and the end of the time that was judged."""

    checkpoint: OnlineCheckpoint
    decision: ShadowDecision
    until: datetime


def _judge(
    state: ModelState, spec: ModelSpec, fingerprint: str, now: datetime, ports: Ports
) -> tuple[OnlineCheckpoint, ...]:
    """Judge the checkpoints on trial, each once for every whole cycle that has matured; note it, and act on it."""
    production, since_when = state.production_version, state.production_since
    if production is None or since_when is None:
        return ()
    trials = [_begun(each, ports) for each in on_trial(ports.online.checkpoints(spec.model), fingerprint, spec)]
    spans = [(each, unseen_since(each, since_when)) for each in trials]
    due = [(each, since) for each, since in spans if _is_to_be_judged(each, since, spec, now)]
    if not due:
        return ()
    rows, gone_until = _outcomes(spec, min(since for _, since in due), now, ports)
    rules = trial_rules(spec, loss_scale=_loss_scale(state, ports))
    found = []
    for checkpoint, since in due:
        if gone_until is not None and since < gone_until:
            decision = ShadowDecision("keep", _GONE.format(format_duration(spec.online.trial)), {})
        else:
            model = load_checkpoint(ports, checkpoint)
            own = newest_labels(rows, version=production.number, since=since)
            pairs = paired(own, _answers(model, own, spec.labels.classes), spec)
            decision = judge_checkpoint(pairs, rules, since=since, now=now)
        if decision.verdict == "need_more_data" and is_over(checkpoint, spec, now):
            because = f"no proof within {format_duration(spec.online.trial)}: {decision.because}"
            decision = ShadowDecision("keep", because, decision.evidence)
        evidence = {"checkpoint": checkpoint.number, "judged_against": production.number, **decision.evidence}
        until = judged_until(since, spec, now)
        found.append(Judged(checkpoint, replace(decision, evidence=evidence), until))
    _note(spec.model, found, now, state, ports)
    return tuple(_act(each, now, ports) for each in _best_first(found))


def _begun(checkpoint: OnlineCheckpoint, ports: Ports) -> OnlineCheckpoint:
    """Put a checkpoint on trial, if it isn't: from now on it is judged until its trial is over."""
    if checkpoint.status is CheckpointStatus.ON_TRIAL:
        return checkpoint
    begun = replace(checkpoint, status=CheckpointStatus.ON_TRIAL)
    ports.online.change(begun)
    return replace(begun, revision=begun.revision + 1)


def _is_to_be_judged(checkpoint: OnlineCheckpoint, since: datetime, spec: ModelSpec, now: datetime) -> bool:
    until = judged_until(since, spec, now)
    judged = checkpoint.judged_until
    return is_over(checkpoint, spec, now) or (until > since and (judged is None or judged < until))


def _best_first(found: Sequence[Judged]) -> list[Judged]:
    """Those that are proven better come first, the newest of them before the others: it knows the most."""
    return sorted(found, key=lambda each: (each.decision.verdict != "promote", -each.checkpoint.number))


def _note(model: str, found: Sequence[Judged], now: datetime, state: ModelState, ports: Ports) -> None:
    """Note what was found before it is acted on: a second delivery may find nothing left to judge."""
    best = _best_first(found)[0]
    told: dict[str, Any] = {
        "model": model,
        "time": now.isoformat(),
        "verdict": best.decision.verdict,
        "because": f"checkpoint {best.checkpoint.number}: {best.decision.because}",
        "checkpoints": [{"verdict": each.decision.verdict, **each.decision.evidence} for each in found],
    }
    note_once(model, "online", now, told, state.epoch, ports)


def _act(found: Judged, now: datetime, ports: Ports) -> OnlineCheckpoint:
    decision = found.decision
    judged = replace(
        found.checkpoint,
        judged_until=found.until,
        verdict=decision.verdict,
        because=decision.because,
        evidence=decision.evidence,
    )
    match decision.verdict:
        case "keep":
            judged = replace(judged, status=CheckpointStatus.DROPPED)
        case "promote":
            judged = _propose(judged, decision, now, ports)
        case _:
            pass
    ports.online.change(judged)
    return judged


def _outcomes(
    spec: ModelSpec, since: datetime, now: datetime, ports: Ports
) -> tuple[list[OutcomeRow], datetime | None]:
    """The rows to judge by, and the end of the time whose rows are not all kept any more; None: they are."""
    hour = whole_hour(since)
    entries = ports.catalog.between(spec.model, CatalogKind.ONLINE_ROWS, hour, now + _HOUR)
    files = [(entry, _rows_of(entry, ports)) for entry in entries]
    gone = [entry.time + _HOUR for entry, rows in files if rows is None]
    kept = [row for _, rows in files for row in rows or () if row_problem(row.features, spec) is None]
    return kept, max(gone, default=None)


def _answers(model: OnlineState, rows: Sequence[OutcomeRow], classes: tuple[str, ...] | None) -> Predictions:
    """What the checkpoint answers, some thousand rows at a time."""
    parts = [
        model.predict([row.features for row in some], classes) for some in batched(rows, _SCORED_AT_ONCE, strict=False)
    ]
    if classes is None:
        return Predictions(None, np.concatenate([np.zeros(0), *(np.asarray(part.values) for part in parts)]), None)
    chances = [np.asarray(part.probabilities) for part in parts]
    labels = [label for part in parts for label in part.labels or ()]
    return Predictions(labels, None, np.concatenate([np.zeros((0, len(classes))), *chances]))


def _loss_scale(state: ModelState, ports: Ports) -> float:
    version = state.production_version
    return load_reference(ports, version.reference).loss_scale if version is not None and version.reference else 1.0


def _propose(checkpoint: OnlineCheckpoint, decision: ShadowDecision, now: datetime, ports: Ports) -> OnlineCheckpoint:
    """Request the publication of a checkpoint that is proven better, once; held back it stays on trial.

    Its cadence is its own: neither cooldown, tokens nor budget of trainings hold it back or know of it.
    """
    held = ""
    decision_id = ""

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        nonlocal held, decision_id
        held, decision_id = "", _requested(checkpoint, ports)
        if decision_id:
            return ()
        if state.production != decision.evidence["judged_against"]:
            held = f"production is version {state.production} now"
            return ()
        rule = hold_back(Asked(state, spec_of(state), Trigger.ONLINE, now), waived=FORCED)
        if rule is not None:
            held = rule.because
            return ()
        decision_id = f"{now:%Y%m%d%H%M%S}-{state.epoch + 1}"
        return (_request(checkpoint, decision, decision_id, now),)

    decide_and_record(ports.ledger, checkpoint.model, decide)
    if held:
        # It stays on trial: judged again when the next cycle has matured, and more is known by then.
        return replace(checkpoint, because=f"{decision.because}; held back: {held}")
    return replace(checkpoint, status=CheckpointStatus.CANDIDATE, decision_id=decision_id)


def _requested(checkpoint: OnlineCheckpoint, ports: Ports) -> str:
    """The decision that an earlier delivery recorded before it died, or nothing."""
    asked = ports.ledger.history(checkpoint.model).of(RetrainingRequested)
    return next((event.decision_id for event in asked if event.checkpoint.get("sha256") == checkpoint.sha256), "")


def _request(
    checkpoint: OnlineCheckpoint, decision: ShadowDecision, decision_id: str, now: datetime
) -> RetrainingRequested:
    evidence: dict[str, Any] = decision.evidence
    check = Check(
        Trigger.ONLINE,
        Outcome.FIRED,
        evidence["gain"],
        evidence["margin"],
        Direction.LOWER_IS_WORSE,
        evidence["rows"],
        f"checkpoint {checkpoint.number} of the online state: {decision.because}",
        (evidence,),
    )
    return RetrainingRequested(
        time=now,
        actor=ACTOR,
        because=check.because,
        decision_id=decision_id,
        trigger=Trigger.ONLINE,
        checks=(check.to_json(),),
        checkpoint={
            "number": checkpoint.number,
            "key": checkpoint.key,
            "sha256": checkpoint.sha256,
            "frozen_at": checkpoint.frozen_at.isoformat(),
            "learned_until": checkpoint.learned_until.isoformat(),
            "updates": checkpoint.updates,
            "rows": checkpoint.rows,
        },
    )
