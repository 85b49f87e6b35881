"""Find where reality differs from the ledger, and repair it: lost events, changed aliases, missing schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from evergreen.domain.aliases import IMPORTED, NOWHERE, AliasRecord, alias_record, answers_with
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogKind, whole_hour
from evergreen.domain.state import BakePhase, ModelState, Run, ShadowRole
from evergreen.domain.training_jobs import JobEnd, TrainingStatus, job_name, retry_schedule_name
from evergreen.errors import EndpointWentBackError
from evergreen.formats import keys
from evergreen.formats.captures import read_ground_truth
from evergreen.formats.keys import FileKey, Quarantined
from evergreen.ports import Aliases, Ports
from evergreen.spec import ModelSpec
from evergreen.usecases import compare_shadow, watch_deployment
from evergreen.usecases.compare_shadow import next_in_shadow, start_shadow
from evergreen.usecases.finish_training import finish_training
from evergreen.usecases.join_labels import join_labels, join_pending
from evergreen.usecases.launch_training import launch_training
from evergreen.usecases.profile_capture import profile_capture
from evergreen.usecases.repoint_alias import repoint_alias
from evergreen.usecases.steps.placing import aliases_of, point_alias
from evergreen.usecases.steps.recording import noted
from evergreen.usecases.steps.repairs import PATIENCE, REPOINT, Difference, Repair, is_under_way, repair_all
from evergreen.usecases.watch_deployment import start_watch

ACTOR = "reconcile"
_REPOINT_PATIENCE = timedelta(minutes=2)  # requests are answered by the wrong version meanwhile
_LONGEST_WAIT = timedelta(hours=6)  # for a machine to train on: SageMaker's own limit counts from then
_OVER = ("Completed", "Failed", "Stopped")

# Files whose event was lost: of hours that nothing is added to any more, and not of so many that a call takes long.
_HOUR = timedelta(hours=1)
_LOOK_BACK_HOURS = 3
_FILES_SETTLE = timedelta(minutes=30)
_MOST_FILES = 20
_PENDING_WINDOW = timedelta(days=62)
_NOTE = "differences"
_SHADOW_PLACE = "shadow"
_COMPACTED = (CatalogKind.COMPACT_PRODUCTION, CatalogKind.COMPACT_SHADOW)
_LABELS = (CatalogKind.OUTCOMES, CatalogKind.PENDING_LABELS)
_NEXT_LOOK = timedelta(days=1) + PATIENCE  # a schedule of what is over ends itself the next time that it fires
_SCHEDULE_KINDS = frozenset({"ops-bake", "retry", *ShadowRole})


def reconcile(model: str, *, now: datetime, ports: Ports) -> tuple[Repair, ...]:
    """Compare the ledger with the endpoint, the schedules, the files and the training job; repair what differs.

    Every repair is in the history, once. What the newest event may still bring about by itself is left alone. Where
    something can't be looked at or repaired, the call ends there and comes again: what matters most comes first.
    """
    earlier = noted(model, _NOTE, now, ports)
    if earlier is not None and any(told["what"] == _SHADOW_PLACE for told in earlier["differences"]):
        start_shadow(model, now=now, ports=ports)  # the call before may have died on the way
    state = ports.ledger.read(model)
    found, trouble = _differences(state, now, ports)
    if trouble is not None and earlier is not None:
        raise trouble  # what was noted and not looked at again can't be told from what was repaired
    if ports.ledger.read(model).epoch != state.epoch:
        return ()  # somebody decided while we looked: what was seen may be older than what is compared with
    repairs = repair_all(state, _NOTE, found, actor=ACTOR, now=now, ports=ports)
    if trouble is not None:
        raise trouble
    for entry in ports.catalog.between(model, CatalogKind.PENDING_LABELS, now - _PENDING_WINDOW, now + _HOUR):
        join_pending(entry, now=now, ports=ports)
    return repairs


def _differences(state: ModelState, now: datetime, ports: Ports) -> tuple[list[Difference], Exception | None]:
    """All that is not as the state says, up to what can't be looked at, and what the trouble with that is."""
    found: list[Difference] = []
    for look in (_production_alias, _repoint, _shadow, _schedules, _captures, _ground_truth, _run):
        try:
            found += look(state, now, ports)
        except Exception as error:  # what was found so far is repaired all the same
            return found, error
    return found, None


# --- the training job -------------------------------------------------------------------------------------------------


def _run(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """A retraining whose job was never started, whose end was never heard of, or that does not end."""
    run = state.run
    if run is None:
        return []
    spec = spec_of(state)
    waited = now - (run.since or run.requested_at)
    if run.job_name is None:
        due = spec.training.retry_delay if run.attempt else timedelta(0)
        if waited < due + PATIENCE:
            return []
        launch = partial(launch_training, state.model, run.decision_id, now=now, ports=ports)
        return [Difference("training job", "none", job_name(ports.stack, state.model, run), launch)]
    if waited < PATIENCE:
        return []
    status = ports.trainer.status(run.job_name)
    end, found = _end(run, run.job_name, status, waited, spec)
    if end is None:
        return []
    repair = partial(_finish, state.model, end, status, now, ports)
    return [Difference(f"end of {run.job_name}", found, end.status, repair)]


def _end(
    run: Run, name: str, status: TrainingStatus | None, waited: timedelta, spec: ModelSpec
) -> tuple[JobEnd | None, str]:
    """How the job ended, or is to end, and how that was found; no end while it may still run."""
    if status is None:
        return JobEnd(name, "Failed", None, "SageMaker knows no job of that name"), "no such job"
    if status.status in _OVER:
        return JobEnd(name, status.status, status.artifact, status.reason), "not recorded"
    if waited < spec.training.longest_wait + _LONGEST_WAIT:
        return None, ""
    limit = f"training.max_runtime is {spec.training.max_runtime}"
    return JobEnd(name, "Stopped", None, f"it was still {status.status} after {waited}, {limit}"), status.status


def _finish(model: str, end: JobEnd, status: TrainingStatus | None, now: datetime, ports: Ports) -> None:
    if status is not None and status.status not in _OVER:
        ports.trainer.stop(end.job_name)
    finish_training(model, end, now=now, ports=ports)


# --- the endpoint -----------------------------------------------------------------------------------------------------


def _repoint(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """A repoint that was decided and not carried out."""
    if state.repoint is None or is_under_way(state, now, _REPOINT_PATIENCE):
        return []
    aliases = _aliases(state, ports)
    if aliases.is_changing(state.model):
        return []  # it is being carried out
    carry_out = partial(_carry_out, state.model, aliases, now, ports)
    return [Difference(REPOINT, "not carried out", f"version {state.repoint.version}", carry_out)]


def _carry_out(model: str, aliases: Aliases, now: datetime, ports: Ports) -> None:
    """Carry out the repoint; a rollback that went back, and was told, is asked for once more."""
    if repoint_alias(model, now=now, ports=ports) or aliases.is_changing(model):
        return
    aliases.try_again(model)
    repoint_alias(model, now=now, ports=ports)


def _once_more(move: Callable[[], object], model: str, aliases: Aliases) -> None:
    """Have it moved; where SageMaker went back from that once, ask again: nobody else would."""
    try:
        move()
    except EndpointWentBackError:
        aliases.try_again(model)
        move()


def _production_alias(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """An endpoint that answers with another version than the ledger says; the ledger is told after it answers."""
    if state.production is None or state.repoint is not None:
        return []
    wanted = alias_record(state, spec_of(state), "production", state.production)
    aliases = _aliases(state, ports)
    if is_under_way(state, now, _REPOINT_PATIENCE):
        there = aliases.read(state.model, "production")
        if there is not None and there.target == wanted.target and there.epoch <= wanted.epoch:
            return []  # how it answers follows from the spec or the bake, and repoint_alias is about to write it
    return _alias(wanted, aliases, ports)


def _shadow(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """A candidate that waits although the place is free, or a shadow alias that is left behind, missing or another."""
    if state.production is None or state.repoint is not None or is_under_way(state, now):
        return []
    candidate = next_in_shadow(state)
    if candidate is not None:
        start = partial(start_shadow, state.model, now=now, ports=ports)
        return [Difference(_SHADOW_PLACE, "nobody", f"version {candidate.number}", start)]
    spec, aliases = spec_of(state), _aliases(state, ports)
    if spec.endpoint.kind == "sagemaker" and not _answers(state, spec, aliases):
        return []  # production comes first: a shadow answers beside it
    wanted = AliasRecord.nowhere(state.model, "shadow", state.epoch)
    if state.shadow is not None:
        wanted = alias_record(state, spec, "shadow", state.shadow.version)
    found = _alias(wanted, aliases, ports)
    if spec.endpoint.kind == "lambda":
        return found
    # One configuration holds both aliases, and a shadow that can't be had ends: both are repoint_alias' to know.
    carry_out = partial(repoint_alias, state.model, now=now, ports=ports)
    once_more = partial(_once_more, carry_out, state.model, aliases)
    return [replace(difference, repair=once_more) for difference in found]


def _aliases(state: ModelState, ports: Ports) -> Aliases:
    return aliases_of(state, spec_of(state), ports)


def _answers(state: ModelState, spec: ModelSpec, aliases: Aliases) -> bool:
    """Whether the version in production answers."""
    if state.production is None:
        return False
    wanted = alias_record(state, spec, "production", state.production)
    return answers_with(aliases.read(state.model, "production"), wanted)


def _alias(wanted: AliasRecord, aliases: Aliases, ports: Ports) -> list[Difference]:
    if aliases.is_changing(wanted.model):
        return []  # what it becomes is looked at when it is there
    stored = aliases.read(wanted.model, wanted.alias)
    if wanted.artifact.startswith(IMPORTED) and answers_with(stored, wanted):
        return []  # as it was before Evergreen, whatever its configuration is called
    found = AliasRecord.nowhere(wanted.model, wanted.alias, wanted.epoch) if stored is None else stored
    # An epoch that the ledger has not reached is nobody's decision, whatever it points to.
    if (found.target, found.settings) == (wanted.target, wanted.settings) and found.epoch <= wanted.epoch:
        return []
    told = (_told(found), _told(wanted))
    if told[0] == told[1]:
        told = (f"{told[0]} with other contents", told[1])
    point = partial(point_alias, wanted, aliases, ports)
    return [Difference(f"{wanted.alias} alias", *told, partial(_once_more, point, wanted.model, aliases))]


def _told(record: AliasRecord) -> str:
    if record.version == NOWHERE:
        return "nothing"
    if record.version < NOWHERE:
        return f"the SageMaker model {record.artifact.removeprefix(IMPORTED)}"
    canary = record.canary
    beside = "" if canary is None else f" for {canary.share:.1%} of the requests, version {canary.version} for the rest"
    return f"version {record.version}{beside}"


# --- schedules --------------------------------------------------------------------------------------------------------


def _schedules(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """A bake or a shadow without its schedule, and a schedule of something that has long been over."""
    if state.repoint is not None or is_under_way(state, now):
        return []
    model, there = state.model, ports.schedules.names(f"{state.model}.")
    needed: dict[str, Callable[[], object]] = {}
    if state.bake is not None and state.bake.phase is BakePhase.OPS:
        watch = partial(start_watch, model, now=now, ports=ports)
        needed[watch_deployment.schedule_name(model, state.bake)] = watch
    if state.shadow is not None:
        needed[compare_shadow.schedule_name(model, state.shadow)] = partial(start_shadow, model, now=now, ports=ports)
    found = [
        Difference(f"schedule {name}", "none", "one", make)
        for name, make in needed.items()
        if ports.schedules.name_of(name) not in there
    ]
    if is_under_way(state, now, _NEXT_LOOK):
        return found
    kept = {ports.schedules.name_of(name) for name in (*needed, *_retry(state))}
    left = sorted(name for name in there - kept if name.split(".")[1] in _SCHEDULE_KINDS)
    remove = ports.schedules.remove
    return [*found, *(Difference(f"schedule {name}", "one", "none", partial(remove, name)) for name in left)]


def _retry(state: ModelState) -> list[str]:
    waits = state.run is not None and state.run.job_name is None
    return [retry_schedule_name(state.model, state.run)] if waits and state.run is not None else []


# --- files ------------------------------------------------------------------------------------------------------------


def _captures(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """Capture files that were never compacted: their event was lost."""
    if state.production is None:
        return []
    hours = _settled_hours(now)
    found: list[str] = []
    span = (hours[0], hours[-1] + _HOUR)
    compacted = {entry.key for kind in _COMPACTED for entry in ports.catalog.between(state.model, kind, *span)}
    for folder in _aliases(state, ports).folders(state.model):
        files = _files(keys.captures_of(state.model, folder), hours, ports)
        found += [key for key, file in files.items() if file.compacted not in compacted]
    return [
        _lost(key, "compacted", partial(profile_capture, key, "", now=now, ports=ports)) for key in found[:_MOST_FILES]
    ]


def _ground_truth(state: ModelState, now: datetime, ports: Ports) -> list[Difference]:
    """Label files that were never joined: their event was lost."""
    if state.production is None:
        return []
    model, hours = state.model, _settled_hours(now)
    files = _files(keys.ground_truth_of(model), hours, ports)
    if not files:
        return []
    span = (hours[0], hours[-1] + _HOUR)
    known = {entry.key for kind in _LABELS for entry in ports.catalog.between(model, kind, *span)}
    unjoined = [key for key, file in files.items() if known.isdisjoint(_left_by_joining(file))]
    if unjoined:  # a file whose labels were all refused leaves nothing else
        refused = _files(keys.refused_labels_of(model), hours, ports)
        unjoined = [key for key in unjoined if files[key].quarantined(Quarantined.GROUND_TRUTH) not in refused]
    lost = islice((key for key in unjoined if any(read_ground_truth(ports.data.get(key)))), _MOST_FILES)
    return [_lost(key, "joined", partial(join_labels, key, now=now, ports=ports)) for key in lost]


def _left_by_joining(file: FileKey) -> set[str]:
    return {file.outcomes, file.late.outcomes, file.pending_labels}


def _lost(key: str, done: str, repair: Callable[[], object]) -> Difference:
    return Difference(f"file {key}", f"not {done}", done, repair)


def _settled_hours(now: datetime) -> Sequence[datetime]:
    """The newest hours whose files have all arrived, and had the time to be worked on."""
    newest = whole_hour(now - _FILES_SETTLE) - _HOUR
    return [newest - i * _HOUR for i in reversed(range(_LOOK_BACK_HOURS))]


def _files(folder: str, hours: Iterable[datetime], ports: Ports) -> dict[str, FileKey]:
    """The files of these hours by key; what is laid out otherwise is none of ours."""
    files: dict[str, FileKey] = {}
    for key in (key for hour in hours for key in ports.data.keys(keys.hour_of(folder, hour))):
        with suppress(ValueError):
            files[key] = FileKey.parse(key)
    return files
