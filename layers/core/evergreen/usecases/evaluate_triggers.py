"""Decide whether a model is to be retrained, and record why or why not."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, DailySums
from evergreen.domain.state import ModelState, Version
from evergreen.domain.triggers.arbiter import RetrainDecision, arbitrate
from evergreen.domain.triggers.check import Check, Trigger, check_failed, insufficient, run_check
from evergreen.domain.triggers.checks import (
    check_age,
    check_concept_drift,
    check_data_drift,
    check_new_data,
    check_performance,
    check_prediction_shift,
    matured_days,
    rows_since,
)
from evergreen.formats.keys import profile_of_day
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.statistics.profile import Profile
from evergreen.usecases.steps.recording import noted
from evergreen.usecases.steps.references import Reference, load_reference
from evergreen.usecases.steps.retraining import decide_and_note

ACTOR = "evaluate_triggers"
_DAY = timedelta(days=1)
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
    version = state.production_version
    if version is None and state.wish is None and now not in state.retrainings:
        return None
    spec = spec_of(state)
    checks = [] if version is None else _checks(state.model, spec, version, now, ports)

    def decide(current: ModelState) -> RetrainDecision:
        return arbitrate(current, spec, checks, now)

    return decide_and_note(model, "retraining", decide, actor=ACTOR, now=now, ports=ports)


# --- gathering --------------------------------------------------------------------------------------------------------


def _checks(model: str, spec: ModelSpec, version: Version, now: datetime, ports: Ports) -> list[Check]:
    rules = spec.triggers
    trained_until = version.trained_until or version.registered_at
    checks = [check_age(spec, trained_until, now)]
    if rules.new_data.enabled:
        labelled = _daily(model, trained_until, now, ports)
        checks.append(run_check(Trigger.NEW_DATA, lambda: check_new_data(spec, rows_since(labelled, trained_until))))
    wanted = _against_reference(spec)
    if not version.reference:
        because = f"version {version.number} has no reference to compare with"
        return [*checks, *(insufficient(trigger, because) for trigger in wanted)]
    try:
        reference = load_reference(ports, version.reference)
    except _UNREADABLE as error:  # the other checks do not need it
        return [*checks, *(check_failed(trigger, error) for trigger in wanted)]
    inputs = _input_checks(spec, version, reference, now, ports)
    if Trigger.PERFORMANCE in wanted:
        performance = _performance(model, spec, version, reference, now, ports)
        checks.append(performance)
        checks += [check_concept_drift(performance, c) for c in inputs if c.trigger is Trigger.DATA_DRIFT]
    return [*checks, *inputs]


def _against_reference(spec: ModelSpec) -> tuple[Trigger, ...]:
    """The triggers of the spec that compare with the version's own reference."""
    rules = spec.triggers
    switched = {
        Trigger.PERFORMANCE: rules.performance.enabled,
        Trigger.DATA_DRIFT: rules.data_drift.enabled,
        Trigger.PREDICTION_SHIFT: rules.prediction_shift.enabled,
    }
    return tuple(trigger for trigger, on in switched.items() if on)


def _daily(model: str, since: datetime, now: datetime, ports: Ports) -> list[DailySums]:
    """The daily sums of outcome files whose labels arrived since a time; a file carries the hour of its labels."""
    hour = since.replace(minute=0, second=0, microsecond=0)
    entries = ports.catalog.between(model, CatalogKind.OUTCOMES, hour, now + _DAY)
    return [entry.sums.daily for entry in entries if entry.sums.daily is not None]


def _performance(
    model: str, spec: ModelSpec, version: Version, reference: Reference, now: datetime, ports: Ports
) -> Check:
    since = max(version.promoted_at or version.registered_at, now - _LONGEST_MEMORY)
    daily = _daily(model, since, now, ports)

    def judge() -> Check:
        days = matured_days(daily, version.number, spec.labels.maturity, now)
        return check_performance(spec, days, reference.daily, since=since, now=now)

    return run_check(Trigger.PERFORMANCE, judge)


def _input_checks(spec: ModelSpec, version: Version, reference: Reference, now: datetime, ports: Ports) -> list[Check]:
    """Data drift and prediction shift: the last whole cycle against the reference."""
    wanted = [trigger for trigger in _against_reference(spec) if trigger is not Trigger.PERFORMANCE]
    if not wanted:
        return []
    cycle = spec.triggers.cycle
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - cycle
    since = version.promoted_at or version.registered_at
    if since > start:
        begun = f"version {version.number} answers since {since:%Y-%m-%d %H:%M}"
        because = f"{begun}: no whole cycle of {cycle / _DAY:g} days yet"
        return [insufficient(trigger, because) for trigger in wanted]
    try:
        features, predictions = _window(version, reference, start, end, ports, spec.model)
    except _UNREADABLE as error:  # the other checks do not need it
        return [check_failed(trigger, error) for trigger in wanted]
    judge: dict[Trigger, Callable[[], Check]] = {
        Trigger.DATA_DRIFT: lambda: check_data_drift(spec, reference.cycles, features),
        Trigger.PREDICTION_SHIFT: lambda: check_prediction_shift(spec, reference.prediction, predictions),
    }
    return [run_check(trigger, judge[trigger]) for trigger in wanted]


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
            document = json.loads(ports.data.get(stored.key))
            features, predictions = _add(features, predictions, document)
            continue
        day_features = Profile.empty(reference.binning)
        day_predictions = None if predictions is None else Profile.empty(predictions.binning)
        for file in files:
            document = json.loads(ports.data.get(file.key))
            day_features, day_predictions = _add(day_features, day_predictions, document)
        if whole:
            _store_day(model, version, day, files, day_features, day_predictions, ports)
        features = features.merge(day_features)
        if predictions is not None and day_predictions is not None:
            predictions = predictions.merge(day_predictions)
    return features, predictions


def _add(features: Profile, predictions: Profile | None, document: dict[str, Any]) -> tuple[Profile, Profile | None]:
    features = features.merge(Profile.from_bytes(base64.b64decode(document["features"])))
    if predictions is not None and "prediction" in document:
        predictions = predictions.merge(Profile.from_bytes(base64.b64decode(document["prediction"])))
    return features, predictions


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
    ports.data.put(key, json.dumps(document).encode(), content_type="application/json")
    rows = sum(file.rows for file in files)
    ports.catalog.add(CatalogEntry(model, CatalogKind.PROFILE_DAY, day, key, rows, version=version.number))
