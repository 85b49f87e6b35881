"""Decide whether a model is to be retrained, and record why or why not."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, Counts, DailySums, FileSums, whole_hour
from evergreen.domain.state import ModelState, Version
from evergreen.domain.training_rows import first_whole_day
from evergreen.domain.triggers.arbiter import RetrainDecision, arbitrate
from evergreen.domain.triggers.check import Check, Outcome, Trigger, check_failed, insufficient, run_check
from evergreen.domain.triggers.checks import (
    check_age,
    check_concept_drift,
    check_data_drift,
    check_new_data,
    check_performance,
    check_prediction_shift,
    matured_days,
)
from evergreen.domain.triggers.governance import NOTHING_LABELLED
from evergreen.formats.keys import profile_of_day
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.statistics.drift import MIN_ROWS
from evergreen.statistics.profile import Profile
from evergreen.usecases.steps.kept import Kept
from evergreen.usecases.steps.recording import noted
from evergreen.usecases.steps.references import Reference, load_reference
from evergreen.usecases.steps.retraining import decide_and_note, labelled_rows

ACTOR = "evaluate_triggers"
_DAY = timedelta(days=1)
_LEAST_COUNTED = 0.9  # of a cycle's requests: part of a cycle is unlike a whole one
# Labels of the newest deployments only: a martingale that ran for months would still remember what was repaired since.
_LONGEST_MEMORY = timedelta(days=60)
# What a file that is gone or damaged raises. Anything else is a service in trouble: it says nothing of the model, so no
# decision is noted, and the tick comes again.
_UNREADABLE = (FileNotFoundError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)


def evaluate_triggers(model: str, *, now: datetime, ports: Ports) -> RetrainDecision | None:
    """Run every check of the model's spec and decide; None while nothing is in production and no wish waits.

    The decision is noted with every check, also when the answer is no. A tick that is delivered again finds its note
    and decides nothing anew. A trigger that is held back is in the history as what would have been done.
    """
    state = ports.ledger.read(model)
    told = noted(model, "retraining", now, ports)
    if told is not None:
        return RetrainDecision.from_json(told)
    if state.production is None and state.wish is None and now not in state.retrainings:
        return None
    spec = spec_of(state)
    checks = [] if state.production is None else _checks(state, spec, now, ports)
    fired = any(check.outcome is Outcome.FIRED for check in checks)

    def decide(current: ModelState) -> RetrainDecision:
        asked = fired or current.wish is not None  # else nobody asks for what has to be counted
        labelled = labelled_rows(current, spec, now, ports) if asked else NOTHING_LABELLED
        return arbitrate(current, spec, checks, now, labelled)

    return decide_and_note(model, "retraining", decide, actor=ACTOR, now=now, ports=ports)


# --- gathering --------------------------------------------------------------------------------------------------------


def _checks(state: ModelState, spec: ModelSpec, now: datetime, ports: Ports) -> list[Check]:
    """Each check of the spec; those of inputs and age compare with the newest training, whatever became of it."""
    rules, version, seen_until = spec.triggers, state.production_version, state.seen_until
    assert version is not None, "checks are about what is in production"
    assert seen_until is not None, "what is in production was trained"
    newest = state.newest_training or version
    checks = [check_age(spec, seen_until, now)]
    if rules.new_data.enabled:
        new = labelled_rows(state, spec, now, ports).new
        checks.append(run_check(Trigger.NEW_DATA, lambda: check_new_data(spec, new or 0)))
    drift = _data_drift(spec, version, newest, now, ports) if rules.data_drift.enabled else None
    own = _reference_of(version, ports)
    if rules.performance.enabled:
        performance = _performance(spec, version, own, now, ports)
        checks.append(performance)
        if drift is not None:
            anew = performance
            if newest.number != version.number and performance.outcome is Outcome.FIRED:
                anew = _performance(spec, version, own, now, ports, after=newest)
            checks.append(check_concept_drift(anew, drift))
    if drift is not None:
        checks.append(drift)
    if rules.prediction_shift.enabled:
        checks.append(_prediction_shift(spec, version, own, newest, now, ports))
    return checks


def _reference_of(version: Version, ports: Ports) -> Reference | Exception | None:
    """What the version was trained on; what is wrong with it, or None where it never had any."""
    if not version.reference:
        return None
    try:
        return load_reference(ports, version.reference)
    except _UNREADABLE as error:  # the checks that do not need it are run all the same
        return error


def _not_known(trigger: Trigger, version: Version, found: Exception | None) -> Check:
    """The check that can't be run for want of the version's reference."""
    if found is None:
        return insufficient(trigger, f"version {version.number} has no reference to compare with")
    return check_failed(trigger, found)


def _answers(model: str, since: datetime, now: datetime, ports: Ports) -> list[FileSums]:
    """The sums of outcome files whose labels arrived since a time; a file carries the hour of its labels."""
    hour = whole_hour(since)
    entries = ports.catalog.between(model, CatalogKind.OUTCOMES, hour, now + _DAY)
    return [entry.sums for entry in entries if entry.sums.daily is not None]


def _performance(
    spec: ModelSpec,
    version: Version,
    own: Reference | Exception | None,
    now: datetime,
    ports: Ports,
    *,
    after: Version | None = None,
) -> Check:
    """What the version's matured labels prove of its answers, and of what it would have answered as it was trained.

    Of rows that a training had, nothing counts ``after`` that training.
    """
    if not isinstance(own, Reference):
        return _not_known(Trigger.PERFORMANCE, version, own)
    since = max(version.promoted_at or version.registered_at, now - _LONGEST_MEMORY)
    since = since if after is None else max(since, after.seen_until)
    answers = _answers(spec.model, since, now, ports)

    def by_day(sums: Iterable[DailySums]) -> dict[str, Counts]:
        days = matured_days(sums, version.number, spec.labels.maturity, now)
        if after is None:
            return days
        return {day: counts for day, counts in days.items() if day >= first_whole_day(after.seen_until)}

    def judge() -> Check:
        days = by_day(each.daily for each in answers if each.daily is not None)
        plain = by_day(each.plain for each in answers)
        return check_performance(spec, days, own.daily, plain=plain, since=since, now=now)

    return run_check(Trigger.PERFORMANCE, judge)


def _data_drift(spec: ModelSpec, version: Version, newest: Version, now: datetime, ports: Ports) -> Check:
    """The inputs of the last whole cycle against those that the newest training saw.

    A drift that a training has answered is none any more, until the inputs have moved away from that training's.
    """
    found = _reference_of(newest, ports)
    if found is None or isinstance(found, FileNotFoundError):  # a lifecycle rule took it: production's is next best
        newest, found = version, _reference_of(version, ports)
    if not isinstance(found, Reference):
        return _not_known(Trigger.DATA_DRIFT, newest, found)
    start, end = _last_cycle(spec, now)
    # In the bins of a version inputs are counted from its registration on, whoever answers.
    if newest.registered_at > start:
        begun = f"version {newest.number} was registered on {newest.registered_at:%Y-%m-%d %H:%M}"
        return insufficient(Trigger.DATA_DRIFT, _no_cycle(begun, spec))
    try:
        features, _ = _window(newest, found, start, end, ports, spec.model)
    except _UNREADABLE as error:  # the other checks do not need it
        return check_failed(Trigger.DATA_DRIFT, error)
    answered = ports.catalog.between(spec.model, CatalogKind.PROFILE, start, end, version=version.number)
    asked = sum(entry.rows for entry in answered)
    if features.rows < _LEAST_COUNTED * asked:
        because = (
            f"{features.rows:,} of the last cycle's {asked:,} requests are counted in version {newest.number}'s bins"
        )
        return insufficient(Trigger.DATA_DRIFT, because, samples=features.rows)
    reference = found
    return run_check(Trigger.DATA_DRIFT, lambda: check_data_drift(spec, reference.cycles, features))


def _prediction_shift(
    spec: ModelSpec,
    version: Version,
    own: Reference | Exception | None,
    newest: Version,
    now: datetime,
    ports: Ports,
) -> Check:
    """Production's answers of the last whole cycle against its answers to the validation rows.

    Where another version was trained since, against production's own answers of the cycle before that training's newest
    row: answers of two versions are never compared with one another.
    """
    trigger = Trigger.PREDICTION_SHIFT
    if not isinstance(own, Reference):
        return _not_known(trigger, version, own)
    start, end = _last_cycle(spec, now)
    since = version.promoted_at or version.registered_at
    if since > start:
        return insufficient(trigger, _no_cycle(f"version {version.number} answers since {since:%Y-%m-%d %H:%M}", spec))
    trained = whole_hour(newest.seen_until)
    other = newest.number != version.number
    if other and newest.registered_at > start:
        begun = f"version {newest.number} was registered on {newest.registered_at:%Y-%m-%d %H:%M}"
        return insufficient(trigger, _no_cycle(begun, spec))
    expected, named = own.prediction, "validation answers"
    try:
        _, answers = _window(version, own, start, end, ports, spec.model)
        if other and since <= trained - spec.triggers.cycle:
            _, before = _window(version, own, trained - spec.triggers.cycle, trained, ports, spec.model)
            if before is not None and before.rows >= MIN_ROWS:
                expected, named = before, f"answers before the training of version {newest.number}"
    except _UNREADABLE as error:  # the other checks do not need it
        return check_failed(trigger, error)
    return run_check(trigger, lambda: check_prediction_shift(spec, expected, answers, named=named))


def _last_cycle(spec: ModelSpec, now: datetime) -> tuple[datetime, datetime]:
    end = whole_hour(now)
    return end - spec.triggers.cycle, end


def _no_cycle(begun: str, spec: ModelSpec) -> str:
    return f"{begun}: no whole cycle of {spec.triggers.cycle / _DAY:g} days yet"


def _window(
    version: Version, reference: Reference, start: datetime, end: datetime, ports: Ports, model: str
) -> tuple[Profile, Profile | None]:
    """The sum of the version's profiles in [start, end): whole days as stored sums, the rest file by file."""
    features, predictions = Profile.empty(reference.binning), None
    if reference.prediction_binning is not None:
        predictions = Profile.empty(reference.prediction_binning)
    between = partial(ports.catalog.between, model, version=version.number)
    entries = between(CatalogKind.PROFILE, start, end)
    by_day: dict[datetime, list[CatalogEntry]] = defaultdict(list)
    for entry in entries:
        by_day[entry.time.replace(hour=0)].append(entry)
    days = {e.time: e for e in between(CatalogKind.PROFILE_DAY, start - _DAY, end)}
    for day, files in sorted(by_day.items()):
        stored = days.get(day)
        whole = start <= day and day + _DAY <= end
        if stored is not None and whole and stored.rows == sum(file.rows for file in files):
            features, predictions = _add(features, predictions, _counted(stored, ports))
            continue
        day_features = Profile.empty(reference.binning)
        day_predictions = None if predictions is None else Profile.empty(predictions.binning)
        for file in files:
            day_features, day_predictions = _add(day_features, day_predictions, _counted(file, ports))
        if whole:
            _store_day(model, version, day, files, day_features, day_predictions, ports)
        features = features.merge(day_features)
        if predictions is not None and day_predictions is not None:
            predictions = predictions.merge(day_predictions)
    return features, predictions


def _add(features: Profile, predictions: Profile | None, counted: _Counted) -> tuple[Profile, Profile | None]:
    features = features.merge(counted.features)
    if predictions is not None and counted.predictions is not None:
        predictions = predictions.merge(counted.predictions)
    return features, predictions


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a stored file has counted."""

    features: Profile
    predictions: Profile | None
    size: int  # of the file, bytes


def _counted(entry: CatalogEntry, ports: Ports) -> _Counted:
    """Read a file of counts: a cycle has many, and the next look needs nearly all of them again."""

    def read() -> _Counted:
        body = ports.data.get(entry.key)
        document = json.loads(body)
        kept = {name: Profile.from_bytes(base64.b64decode(text)) for name, text in document.items()}
        return _Counted(kept["features"], kept.get("prediction"), len(body))

    return _kept_counts(ports).get((entry.key, entry.etag), read) if entry.etag else read()


@lru_cache(maxsize=2)
def _kept_counts(ports: Ports) -> Kept[tuple[str, str], _Counted]:
    return Kept(lambda counted: counted.size)


def _store_day(
    model: str,
    version: Version,
    day: datetime,
    files: list[CatalogEntry],
    features: Profile,
    predictions: Profile | None,
    ports: Ports,
) -> None:
    document = {"features": base64.b64encode(features.to_bytes()).decode()}
    if predictions is not None:
        document["prediction"] = base64.b64encode(predictions.to_bytes()).decode()
    key = profile_of_day(model, version.number, day)
    etag = ports.data.put(key, json.dumps(document).encode(), content_type="application/json")
    rows = sum(file.rows for file in files)
    ports.catalog.add(CatalogEntry(model, CatalogKind.PROFILE_DAY, day, key, rows, etag, version=version.number))
