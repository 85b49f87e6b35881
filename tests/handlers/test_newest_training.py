"""Drift, prediction shift, concept drift and age are measured from the newest training, whatever became of it."""

import base64
import json
from datetime import timedelta

import boto3
import numpy as np
import pytest
from small_cloud import CHURN

from evergreen.domain.catalog import CatalogEntry, CatalogKind, DailySums, FileSums
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    PromotionApproved,
    RetrainingRequested,
    RollbackDecided,
    ShadowStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import BakePhase, RollbackCause
from evergreen.formats.captures import Capture, capture_line
from evergreen.spec import ModelSpec
from evergreen.statistics.profile import Binning, Profile
from evergreen.usecases.evaluate_triggers import evaluate_triggers
from evergreen.usecases.steps.trained_artifacts import TrainedArtifact, store_reference

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEATURES = ModelSpec.parse(CHURN).fingerprint
YOUNG, OLD = 30.0, 70.0


def told(cloud, kind, time, **fields):
    ledger = cloud.ports.ledger
    ledger.record(ledger.read("churn"), kind(time=time, actor="ada", because="a story", **fields))


def reference_of(cloud, name, age, *, chance=0.3):
    """What a version was trained on: four days of customers of about this age, and answers of about this chance."""
    random = np.random.default_rng(len(name))

    def customers():
        return {"age": random.normal(age, 5.0, 300), "plan": random.choice(["a", "b"], 300).astype(object)}

    binning = Binning.fit(customers())
    answers = {"prediction": random.normal(chance, 0.05, 300)}
    predicted = Binning.fit(answers)

    def text(profile):
        return base64.b64encode(profile.to_bytes()).decode()

    document = {
        "cycles": [{"profile": text(Profile.count(customers(), binning))} for _ in range(4)],
        "binning": binning.to_json(),
        "prediction": text(Profile.count(answers, predicted)),
        "prediction_binning": predicted.to_json(),
        "daily": [[100, 95]] * 10,
    }
    return store_reference(cloud.ports, "churn", name, TrainedArtifact("", "", "", {}, document))


def registered(cloud, name, age, at):
    version = len(cloud.ports.ledger.read("churn").versions) + 1
    about = {"artifact": f"s3://artifacts/models/churn/{name}/m.tar.gz", "sha256": "1" * 64, "fingerprint": FEATURES}
    about |= {"decision_id": name, "rows_trained": 900, "trained_until": at - DAY, "gate": {}}
    told(cloud, CandidateRegistered, at, version=version, reference=reference_of(cloud, name, age), **about)
    return version


def answers(cloud, version, at):
    before = cloud.ports.ledger.read("churn").production
    told(cloud, PromotionApproved, at, version=version, instead_of=before, evidence={})
    told(cloud, VersionPromoted, at, version=version, replaced=before, endpoint={})
    told(cloud, BakePassed, at, version=version, phase=BakePhase.OPS, evidence={})


@pytest.fixture
def aged(cloud, now):
    """Version 1 was trained on the young and answers since nine days; by now all customers are old."""
    cloud.applied(
        triggers={"cycle": "1d", "performance": {"look_back": "7d"}},
        training={"min_new_rows": 0},
        labels={"classes": ["0", "1"], "maturity": "1h"},
    )
    answers(cloud, registered(cloud, "first", YOUNG, now - 9 * DAY), now - 9 * DAY)
    return cloud


def traffic(cloud, now, *, age=OLD, chance=0.3, days=1, version=1):
    """A file of captures for every fourth hour of the last days."""
    random = np.random.default_rng(3)
    start = (now - days * DAY).replace(minute=0)
    for hours in range(0, 24 * days, 4):
        hour = start + hours * HOUR
        lines = []
        for number in range(50):
            probability = float(random.normal(chance, 0.05))
            features = {"age": float(random.normal(age, 5.0)), "plan": "ab"[number % 2]}
            answer = {"0": 1 - probability, "1": probability}
            capture = Capture(f"{hour:%d%H}-{number}", hour, version, features, "0", answer)
            lines.append(capture_line(capture, model="churn", variant="production"))
        key = f"captures/churn/production/{hour:%Y/%m/%d/%H}/{hours}.jsonl"
        cloud.call("profile_capture", cloud.arrived(key, *lines))


def checked(cloud, now):
    decision = evaluate_triggers("churn", now=now, ports=cloud.ports)
    return {check.trigger.value: check for check in decision.checks}


def test_a_drift_that_no_training_has_seen_fires(aged, now):
    traffic(aged, now)
    drift = checked(aged, now)["data_drift"]
    assert (drift.outcome, drift.details[0]["name"]) == ("fired", "age")


@pytest.mark.parametrize("fate", ["waits", "in shadow", "lost", "rolled back"])
def test_a_drift_that_a_training_has_answered_does_not_fire_whatever_became_of_it(aged, now, fate):
    registered(aged, "second", OLD, now - 2 * DAY)
    if fate in ("in shadow", "lost"):
        told(aged, ShadowStarted, now - 2 * DAY, version=2, judged_against=1)
    if fate == "lost":
        told(aged, CandidateRetired, now - 2 * DAY, version=2, evidence={})
    if fate == "rolled back":
        answers(aged, 2, now - 2 * DAY)
        back = {"version": 2, "to_version": 1, "cause": RollbackCause.QUALITY}
        told(aged, RollbackDecided, now - 2 * DAY, **back, evidence={})
        told(aged, VersionRolledBack, now - 2 * DAY, **back, endpoint={})
    traffic(aged, now)
    checks = checked(aged, now)
    assert checks["data_drift"].outcome == "quiet", checks["data_drift"].because
    assert checks["schedule"].because.startswith("the last training is 3.0 days ago")


def test_it_fires_again_once_the_inputs_move_away_from_that_training(aged, now):
    registered(aged, "second", OLD, now - 2 * DAY)
    traffic(aged, now, age=YOUNG)
    assert checked(aged, now)["data_drift"].outcome == "fired", "they are as they were before, and unlike its rows"


def test_before_a_whole_cycle_has_passed_since_a_training_nothing_is_said_of_drift(aged, now):
    registered(aged, "second", OLD, now - DAY / 2)
    traffic(aged, now)
    checks = checked(aged, now)
    told_so = "version 2 was registered on 2026-02-28 14:00: no whole cycle of 1 days yet"
    for name in ("data_drift", "prediction_shift"):
        assert (checks[name].outcome, checks[name].because) == ("insufficient_data", told_so)


def test_part_of_a_cycle_is_not_taken_for_a_whole_one(aged, now):
    traffic(aged, now - DAY / 2)
    registered(aged, "second", OLD, now - 2 * DAY)
    traffic(aged, now)
    because = checked(aged, now)["data_drift"].because
    assert because == "300 of the last cycle's 450 requests are counted in version 2's bins"


def test_where_a_lifecycle_rule_took_the_reference_production_s_is_compared_with(aged, now):
    registered(aged, "second", OLD, now - 2 * DAY)
    gone = aged.ports.ledger.read("churn").version(2).reference
    boto3.client("s3").delete_object(Bucket="artifacts", Key=gone)
    traffic(aged, now)
    assert checked(aged, now)["data_drift"].outcome == "fired"


def test_a_reference_that_somebody_changed_is_an_error_and_stops_no_capture(aged, now):
    registered(aged, "second", OLD, now - 2 * DAY)
    changed = aged.ports.ledger.read("churn").version(2).reference
    aged.ports.artifacts.put(changed, b"{}")
    traffic(aged, now)
    drift = checked(aged, now)["data_drift"]
    assert drift.outcome == "error"
    assert f"the sha256 of {changed} is " in drift.because


# --- what production answers ------------------------------------------------------------------------------------------


def test_production_s_answers_are_compared_with_its_own_from_before_the_newest_training(aged, now):
    traffic(aged, now, chance=0.8, days=4)
    assert checked(aged, now)["prediction_shift"].outcome == "fired", "they are unlike its validation answers"
    registered(aged, "second", OLD, now - 2 * DAY)
    shift = checked(aged, now + HOUR / 2)["prediction_shift"]
    assert shift.outcome == "quiet"
    assert "distance to the answers before the training of version 2 is" in shift.because


def test_they_shift_again_when_they_move_on_after_that_training(aged, now):
    traffic(aged, now - 2 * DAY, chance=0.5, days=2)
    registered(aged, "second", OLD, now - 2 * DAY)
    traffic(aged, now, chance=0.9)
    assert checked(aged, now)["prediction_shift"].outcome == "fired"


def test_without_answers_from_before_the_training_the_validation_is_compared_with(aged, now):
    registered(aged, "second", OLD, now - 2 * DAY)
    traffic(aged, now, chance=0.8)
    shift = checked(aged, now)["prediction_shift"]
    assert shift.outcome == "fired"
    assert "distance to the validation answers is" in shift.because


# --- what labels prove ------------------------------------------------------------------------------------------------


def labelled(cloud, day, right, of=200, plain=None):
    by_day = [{1: {f"{day:%Y-%m-%d}": (of, correct)}} for correct in (right, plain) if correct is not None]
    sums = FileSums(*map(DailySums, by_day))
    time = day.replace(hour=23)
    key = f"outcomes/churn/{day:%Y%m%d}.parquet"
    cloud.ports.catalog.add(CatalogEntry("churn", CatalogKind.OUTCOMES, time, key, of, sums=sums))


def test_a_concept_drift_that_a_training_has_seen_fires_again_only_on_rows_from_after_it(aged, now):
    for day in range(8, 2, -1):
        labelled(aged, now - day * DAY, right=60)
    traffic(aged, now, age=YOUNG)
    before = checked(aged, now)
    assert (before["performance"].outcome, before["concept_drift"].outcome) == ("fired", "fired")
    registered(aged, "second", YOUNG, now - 2 * DAY)  # trained on rows up to three days ago
    traffic(aged, now + HOUR, age=YOUNG)
    answered = checked(aged, now + HOUR)
    assert answered["performance"].outcome == "fired", "production is as bad as it was"
    assert answered["concept_drift"].outcome == "insufficient_data", "but nothing is known since that training"
    for day in (2, 1):
        labelled(aged, now - day * DAY, right=60)
    traffic(aged, now + DAY, age=YOUNG)
    assert checked(aged, now + DAY)["concept_drift"].outcome == "fired"


def test_a_version_that_labels_keep_good_is_trained_anew_once_it_has_decayed_itself(aged, now):
    for day in range(8, 1, -1):
        labelled(aged, now - day * DAY, right=180, plain=60)
    traffic(aged, now, age=YOUNG)
    found = checked(aged, now)
    assert (found["performance"].outcome, found["concept_drift"].outcome) == ("fired", "fired")
    assert found["performance"].because.startswith("as it was trained: accuracy 0.300 on 1,400 matured labels")
    assert "with its live state: accuracy 0.900" in found["performance"].because


# --- trainings without a version --------------------------------------------------------------------------------------


def test_a_training_whose_model_the_gate_refused_counts_for_age_and_new_rows(aged, now):
    told(aged, RetrainingRequested, now - 2 * DAY, decision_id="d2", trigger="schedule")
    told(aged, CandidateRejected, now - 2 * DAY, decision_id="d2", gate={}, trained_until=now - 3 * DAY)
    traffic(aged, now)
    checks = checked(aged, now)
    assert checks["schedule"].because.startswith("the last training is 3.0 days ago")
    assert checks["data_drift"].outcome == "fired", "no version knows the inputs of today"


def test_a_profile_in_the_bins_of_the_newest_training_is_written_again_to_the_same_bytes(aged, now):
    registered(aged, "second", OLD, now - 2 * DAY)
    traffic(aged, now)
    keys = list(aged.ports.data.keys("profiles/churn/"))
    first = {key: aged.ports.data.get(key) for key in keys}
    assert len(keys) == 12, "each file for production and for the newest training"
    traffic(aged, now)
    assert {key: aged.ports.data.get(key) for key in aged.ports.data.keys("profiles/churn/")} == first
    documents = [json.loads(body) for body in first.values()]
    assert sum("prediction" in document for document in documents) == 6, "answers are production's alone"
