"""Decide whether a model is to be retrained, and record why or why not."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from evergreen.domain.lifecycle import ModelState, RetrainingHeldBack, RetrainingRequested, Version
from evergreen.domain.triggers import (
    Check,
    Direction,
    Outcome,
    RetrainDecision,
    Trigger,
    arbitrate,
    check_age,
    check_new_data,
)
from evergreen.ports import CatalogEntry, Ports
from evergreen.spec import ModelSpec
from evergreen.statistics import degradation, drift
from evergreen.statistics.profile import Profile
from evergreen.usecases.recording import decide_and_record
from evergreen.usecases.references import Reference, load_reference

ACTOR = "evaluate_triggers"
_DAY = timedelta(days=1)
# Labels of the newest deployments only: a martingale that ran for months would still remember what was repaired since.
_LONGEST_MEMORY = timedelta(days=60)


def evaluate_triggers(model: str, *, now: datetime, ports: Ports) -> RetrainDecision | None:
    """Run every check of the model's spec and decide; None while the model has no version in production.

    The decision is stored with every check, also when the answer is no. A trigger that fires and is held back is
    in the history as what would have been done.
    """
    state = ports.ledger.read(model)
    version = state.production_version
    if version is None:
        return None
    spec = ModelSpec.parse(state.spec)
    checks = _checks(state, spec, version, now, ports)
    decision = RetrainDecision(model, now, None, None, ())

    def decide(current: ModelState) -> tuple[RetrainingRequested | RetrainingHeldBack, ...]:
        nonlocal decision
        decision = arbitrate(current, spec, checks, now)
        return _events(current, decision)

    decide_and_record(ports.ledger, model, decide)
    key = f"decisions/{model}/{now:%Y/%m/%d}/{now:%H%M%S}-retraining.json"
    ports.data.put(key, json.dumps(decision.to_json(), indent=1).encode(), content_type="application/json")
    return decision


def request_retraining(model: str, *, reason: str, actor: str, now: datetime, ports: Ports) -> RetrainDecision:
    """Ask for a retraining because of a business event, or because a person wants one: no check is needed."""
    check = Check(Trigger.BUSINESS_EVENT, Outcome.FIRED, None, None, Direction.HIGHER_IS_WORSE, 0, reason)
    decision = RetrainDecision(model, now, None, None, ())

    def decide(current: ModelState) -> tuple[RetrainingRequested | RetrainingHeldBack, ...]:
        nonlocal decision
        held_back = f"retraining {current.run.decision_id} is still open" if current.run is not None else None
        decision = RetrainDecision(model, now, Trigger.BUSINESS_EVENT, held_back, (check,))
        return _events(current, decision, actor)

    decide_and_record(ports.ledger, model, decide)
    return decision


def _events(
    state: ModelState, decision: RetrainDecision, actor: str = ACTOR
) -> tuple[RetrainingRequested | RetrainingHeldBack, ...]:
    if decision.trigger is None:
        return ()
    checks = tuple(check.to_json() for check in decision.checks)
    if decision.held_back is not None:
        held = RetrainingHeldBack(
            time=decision.time, actor=actor, because=decision.because, would_have=decision.trigger, checks=checks
        )
        return (held,)
    decision_id = f"{decision.time:%Y%m%d%H%M%S}-{state.epoch + 1}"
    requested = RetrainingRequested(
        time=decision.time,
        actor=actor,
        because=decision.because,
        decision_id=decision_id,
        trigger=decision.trigger,
        checks=checks,
    )
    return (requested,)


def _checks(state: ModelState, spec: ModelSpec, version: Version, now: datetime, ports: Ports) -> list[Check]:
    since = max(version.promoted_at or version.registered_at, now - _LONGEST_MEMORY)
    outcomes = ports.catalog.between(state.model, "outcomes", since, now + _DAY)
    last_training = version.trained_until or version.registered_at
    checks = [check_age(spec, last_training, now)]
    if spec.triggers.new_data.enabled:
        checks.append(check_new_data(spec, sum(entry.rows for entry in outcomes if entry.time > last_training)))
    if not version.reference:
        return checks
    reference = load_reference(ports, version.reference)
    inputs = _drift_checks(spec, version, reference, now, ports)
    if spec.triggers.performance.enabled:
        checks.append(_performance(spec, version, reference, outcomes, inputs, since, now))
    return [*checks, *inputs]


def _performance(
    spec: ModelSpec,
    version: Version,
    reference: Reference,
    outcomes: list[CatalogEntry],
    inputs: list[Check],
    since: datetime,
    now: datetime,
) -> Check:
    """Whether matured labels prove the version degraded (STATISTICS, 3)."""
    rules = spec.triggers.performance
    days: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    matured = (now - spec.labels.maturity).astimezone(UTC).strftime("%Y-%m-%d")
    for entry in outcomes:
        for day, (n, correct) in entry.sums["daily"].get(str(version.number), {}).items():
            if day < matured:
                days[day][0] += n
                days[day][1] += correct
    daily = [(n, correct) for _, (n, correct) in sorted(days.items())]
    window = (now - spec.labels.maturity - rules.look_back).astimezone(UTC).strftime("%Y-%m-%d")
    recent = sum(n for day, (n, _) in days.items() if day >= window)
    threshold = rules.accuracy_threshold
    if recent < rules.min_labelled or not reference.daily:
        because = f"{recent} matured labels in {rules.look_back.days} days, {rules.min_labelled} are needed"
        return _insufficient(Trigger.PERFORMANCE, because, threshold=threshold, samples=recent)
    result = degradation.performance(
        daily,
        list(reference.daily),
        accuracy_threshold=threshold,
        tolerance=rules.tolerance,
        min_labelled=rules.min_labelled,
    )
    labelled = sum(n for n, _ in daily)
    accuracy = sum(correct for _, correct in daily) / labelled
    held = "" if result.p0 is None else f", {1 - result.p0:.3f} is to be held"
    because = f"accuracy {accuracy:.3f} on {labelled:,} matured labels since {since:%Y-%m-%d}{held}"
    degraded = result.status == "degraded"
    drifted = any(c.outcome is Outcome.FIRED and c.trigger is Trigger.DATA_DRIFT for c in inputs)
    known = any(c.outcome is Outcome.QUIET and c.trigger is Trigger.DATA_DRIFT for c in inputs)
    trigger = Trigger.CONCEPT_DRIFT if degraded and known and not drifted else Trigger.PERFORMANCE
    if trigger is Trigger.CONCEPT_DRIFT:
        because += "; no input column drifted, so what they mean has changed"
    return Check(
        trigger,
        Outcome.FIRED if degraded else Outcome.QUIET,
        float(result.score),
        float(result.threshold),
        Direction.HIGHER_IS_WORSE,
        labelled,
        because,
    )


def _drift_checks(spec: ModelSpec, version: Version, reference: Reference, now: datetime, ports: Ports) -> list[Check]:
    rules = spec.triggers
    if not rules.data_drift.enabled and not rules.prediction_shift.enabled:
        return []
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - rules.cycle
    since = version.promoted_at or version.registered_at
    wanted = [
        t
        for t, on in (
            (Trigger.DATA_DRIFT, rules.data_drift.enabled),
            (Trigger.PREDICTION_SHIFT, rules.prediction_shift.enabled),
        )
        if on
    ]
    if since > start:
        because = (
            f"version {version.number} answers since {since:%Y-%m-%d %H:%M}: no whole cycle of {_span(rules.cycle)} yet"
        )
        return [_insufficient(trigger, because) for trigger in wanted]
    features, predictions = _window(version, reference, start, end, ports, spec.model)
    checks = []
    if Trigger.DATA_DRIFT in wanted:
        checks.append(_data_drift(spec, reference, features))
    if Trigger.PREDICTION_SHIFT in wanted:
        checks.append(_prediction_shift(spec, reference, predictions))
    return checks


def _insufficient(trigger: Trigger, because: str, *, threshold: float | None = None, samples: int = 0) -> Check:
    return Check(trigger, Outcome.INSUFFICIENT_DATA, None, threshold, Direction.HIGHER_IS_WORSE, samples, because)


def _span(span: timedelta) -> str:
    return f"{span / _DAY:g} days"


def _data_drift(spec: ModelSpec, reference: Reference, window: Profile) -> Check:
    found = drift.detect(reference.cycles, window, drift_threshold=spec.triggers.data_drift.drift_threshold)
    if found.status == "insufficient_data":
        because = f"{window.rows} rows in the last cycle are too few to compare"
        return _insufficient(Trigger.DATA_DRIFT, because, samples=window.rows)
    worst = max(found.columns, key=lambda column: column.score / column.threshold)
    drifted = [column.name for column in found.columns if column.drifted]
    named = f": {', '.join(drifted[:5])}" if drifted else ""
    kind = "W1/sd" if worst.kind == "wasserstein" else "Jensen-Shannon distance"
    because = (
        f"{len(drifted)} of {len(found.columns)} columns drifted{named}; "
        f"{kind} of '{worst.name}' is {worst.score:.2f}, threshold {worst.threshold:.2f} "
        f"({len(reference.cycles)} reference cycles)"
    )
    outcome = Outcome.FIRED if found.drift else Outcome.QUIET
    return Check(
        Trigger.DATA_DRIFT,
        outcome,
        float(worst.score),
        float(worst.threshold),
        Direction.HIGHER_IS_WORSE,
        window.rows,
        because,
    )


def _prediction_shift(spec: ModelSpec, reference: Reference, window: Profile | None) -> Check:
    threshold = spec.triggers.prediction_shift.threshold
    if window is None or reference.prediction is None or window.rows < 100:
        rows = 0 if window is None else window.rows
        because = f"{rows} answers in the last cycle are too few to compare"
        return _insufficient(Trigger.PREDICTION_SHIFT, because, threshold=threshold, samples=rows)
    found = drift.detect([reference.prediction], window)
    if not found.columns:
        rows = reference.prediction.rows
        because = f"{rows} validation answers are too few to compare with"
        return _insufficient(Trigger.PREDICTION_SHIFT, because, threshold=threshold, samples=rows)
    column = found.columns[0]
    outcome = Outcome.FIRED if column.score > threshold else Outcome.QUIET
    distance = f"{column.kind.replace('_', '-')} distance to the validation answers is {column.score:.2f}"
    because = f"the answers' {distance}, threshold {threshold:.2f}"
    return Check(
        Trigger.PREDICTION_SHIFT,
        outcome,
        float(column.score),
        threshold,
        Direction.HIGHER_IS_WORSE,
        window.rows,
        because,
    )


def _window(
    version: Version, reference: Reference, start: datetime, end: datetime, ports: Ports, model: str
) -> tuple[Profile, Profile | None]:
    """The sum of the version's profiles in [start, end): whole days as stored sums, the rest file by file."""
    features, predictions = Profile.empty(reference.binning), None
    if reference.prediction_binning is not None:
        predictions = Profile.empty(reference.prediction_binning)
    entries = ports.catalog.between(model, f"profile-v{version.number}", start, end)
    by_day: dict[datetime, list[CatalogEntry]] = defaultdict(list)
    for entry in entries:
        by_day[entry.time.replace(hour=0)].append(entry)
    days = {e.time: e for e in ports.catalog.between(model, f"profile-day-v{version.number}", start - _DAY, end)}
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
    key = f"profiles/{model}/days/{day:%Y-%m-%d}.v{version.number}.json"
    ports.data.put(key, json.dumps(document).encode(), content_type="application/json")
    rows = sum(file.rows for file in files)
    ports.catalog.add(CatalogEntry(model, f"profile-day-v{version.number}", day, key, rows))
