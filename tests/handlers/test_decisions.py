"""Evaluations, wishes and comparisons: what they leave in ledger, bucket and metrics, however often they are told."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from small_cloud import CHURN

from evergreen.domain.catalog import CatalogEntry, CatalogKind, DailySums, FileSums
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    PromotionApproved,
    ShadowStarted,
    TrainingFailed,
    VersionPromoted,
)
from evergreen.domain.state import BakePhase
from evergreen.spec import ModelSpec
from evergreen.usecases.people import decide

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEATURES = ModelSpec.parse(CHURN).fingerprint


def recorded(cloud, now, *events):
    who = {"time": now, "actor": "ada", "because": "a story"}
    for kind, fields in events:
        cloud.ports.ledger.record(cloud.ports.ledger.read("churn"), kind(**who, **fields))


def registered(version, reference=""):
    fields = {"version": version, "decision_id": "", "artifact": f"s3://artifacts/models/churn/v{version}/m.tar.gz"}
    fields |= {"sha256": "1" * 64, "fingerprint": FEATURES, "rows_trained": 500, "trained_until": None}
    return (CandidateRegistered, fields | {"reference": reference, "gate": {}})


def in_production(cloud, now, *, reference="", **spec):
    """A first version that has just taken over, and is in its ops bake; a retraining needs no new rows."""
    cloud.applied(**{"training": {"min_new_rows": 0}} | spec)
    recorded(
        cloud,
        now,
        registered(1, reference),
        (PromotionApproved, {"version": 1, "instead_of": None, "evidence": {}}),
        (VersionPromoted, {"version": 1, "replaced": None, "endpoint": {}}),
    )


def settled(cloud, now, **spec):
    """A first version that is known to be good."""
    in_production(cloud, now, **spec)
    recorded(cloud, now, (BakePassed, {"version": 1, "phase": BakePhase.OPS, "evidence": {}}))


def run_failed(cloud, now):
    """The open retraining is given up."""
    run = cloud.ports.ledger.read("churn").run
    failed = {"decision_id": run.decision_id, "job_name": "j", "attempt": 0, "final": True}
    recorded(cloud, now, (TrainingFailed, failed))


def wish(cloud, reason, at):
    event = cloud.event("business_event")
    return event | {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "detail": {"model": "churn", "reason": reason}}


def tick(at):
    return {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}


def notes(cloud, kind):
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return cloud.ports.ledger.notes("churn", kind, start, start + 9_999 * DAY)


def files(cloud):
    return {key: json.loads(cloud.ports.data.get(key)) for key in cloud.ports.data.keys("decisions/churn/")}


def bare(note):
    """A note without what the ledger adds: what the file holds."""
    return {key: value for key, value in note.items() if key not in ("epoch", "type")}


def died_before_it_was_noted(cloud, kind):
    """Undo what comes last."""
    for item in cloud.dynamodb.scan(TableName="ledger")["Items"]:
        if item["sk"]["S"].startswith(f"note#{kind}"):
            cloud.dynamodb.delete_item(TableName="ledger", Key={"model": item["model"], "sk": item["sk"]})
    for key in files(cloud):
        cloud.ports.data.delete(key)


def test_a_quiet_evaluation_is_noted_with_every_check_and_changes_nothing_else(cloud, now):
    settled(cloud, now)
    before = cloud.history()
    assert cloud.call("evaluate_triggers", "schedule_evaluate") == {"churn": "no check fired"}
    (note,) = notes(cloud, "retraining")
    assert (note["type"], note["retrain"]) == ("RetrainingEvaluated", False)
    outcomes = {check["trigger"]: check["outcome"] for check in note["checks"]}
    assert outcomes == {
        "schedule": "quiet",
        "performance": "insufficient_data",
        "concept_drift": "insufficient_data",
        "data_drift": "insufficient_data",
        "prediction_shift": "insufficient_data",
    }
    assert files(cloud) == {"decisions/churn/2026/03/01/020000-retraining.json": bare(note)}
    assert cloud.history() == before


def test_a_tick_that_comes_again_is_answered_the_same_and_leaves_nothing_new(cloud, now):
    settled(cloud, now - 91 * DAY)
    first = cloud.call("evaluate_triggers", "schedule_evaluate")
    assert first == {"churn": "the last training is 91.0 days ago, the limit is 90.0"}
    left = (cloud.history(), notes(cloud, "retraining"), files(cloud))
    assert cloud.call("evaluate_triggers", "schedule_evaluate") == first
    assert (cloud.history(), notes(cloud, "retraining"), files(cloud)) == left


def test_a_tick_that_died_before_its_note_ends_as_if_it_had_not(cloud, now):
    settled(cloud, now - 91 * DAY)
    first = cloud.call("evaluate_triggers", "schedule_evaluate")
    left = (cloud.history(), notes(cloud, "retraining"), files(cloud))
    died_before_it_was_noted(cloud, "retraining")
    assert cloud.call("evaluate_triggers", "schedule_evaluate") == first
    assert (cloud.history(), notes(cloud, "retraining"), files(cloud)) == left


def test_held_back_hour_after_hour_is_told_once_and_noted_each_time(cloud, now):
    in_production(cloud, now - 91 * DAY)  # its bake never ended
    for hour in range(4):
        cloud.call("evaluate_triggers", tick(now + hour * HOUR))
    assert cloud.history().count("RetrainingHeldBack") == 1
    told = notes(cloud, "retraining")
    assert [(note["trigger"], note["rule"]) for note in told] == [("schedule", "deploying")] * 4
    assert told[0]["held_back"] == "version 1 is being deployed and watched"


def test_a_check_that_can_not_be_run_is_an_error_and_stops_no_other(cloud, now):
    settled(cloud, now - 91 * DAY, reference="references/churn/gone.json")
    cloud.counted()
    assert cloud.call("evaluate_triggers", "schedule_evaluate") == {
        "churn": "the last training is 91.0 days ago, the limit is 90.0"
    }
    checks = {check["trigger"]: check for check in notes(cloud, "retraining")[0]["checks"]}
    failed = [checks[name] for name in ("performance", "data_drift", "prediction_shift")]
    assert {check["outcome"] for check in failed} == {"error"}
    assert all("references/churn/gone.json" in check["because"] for check in failed)
    assert checks["schedule"]["outcome"] == "fired"
    counted = cloud.counted()
    assert ({}, 3) in [({k: v for k, v in d.items() if k != "service"}, v.get("CheckErrors")) for d, v in counted]


def test_new_labels_count_from_the_day_after_the_newest_row_of_the_training(cloud, now):
    settled(cloud, now - 5 * DAY, triggers={"new_data": {"enabled": True, "min_new_samples": 60}})
    for version, day in ((1, now - 5 * DAY), (1, now - 4 * DAY), (7, now - 3 * DAY)):
        sums = FileSums(DailySums({version: {f"{day:%Y-%m-%d}": (50, 40)}}))
        hour = (day + DAY).replace(minute=0)
        cloud.ports.catalog.add(
            CatalogEntry("churn", CatalogKind.OUTCOMES, hour, f"outcomes/{day:%d}.parquet", 50, sums=sums)
        )
    assert cloud.call("evaluate_triggers", "schedule_evaluate") == {"churn": "100 labelled rows are new, 60 are enough"}


def test_checks_are_counted_under_their_model_and_told_in_a_line_each(cloud, now, caplog):
    settled(cloud, now - 91 * DAY)
    cloud.counted()
    caplog.set_level("INFO")
    cloud.call("evaluate_triggers", "schedule_evaluate")
    counted = {tuple(dimensions.items()): values for dimensions, values in cloud.counted()}
    told = {record.trigger: record for record in caplog.records if record.message == "checked"}
    without_data = [each.trigger for each in told.values() if each.outcome == "insufficient_data"]
    assert counted == {
        (("Model", "churn"),): {"CheckFired": 1, "InsufficientData": len(without_data)},
        (): {"RetrainingsRequested": 1, "Evaluations": 1},
    }
    schedule, drift = told["schedule"], told["data_drift"]
    assert (schedule.model, schedule.outcome, schedule.score, schedule.threshold) == ("churn", "fired", 91.0, 90.0)
    assert (drift.outcome, drift.score, drift.threshold) == ("insufficient_data", None, None)


# --- wishes -----------------------------------------------------------------------------------------------------------


def test_a_wish_that_comes_again_starts_one_retraining_and_is_answered_the_same(cloud):
    cloud.applied()
    for _ in range(3):
        assert cloud.call("evaluate_triggers", "business_event") == {"churn": "prices changed"}
    assert cloud.history() == ["ModelApplied", "RetrainingRequested"]
    (note,) = notes(cloud, "wish")
    assert (note["type"], note["retrain"]) == ("RetrainingEvaluated", True)
    ((key, kept),) = files(cloud).items()
    assert key.startswith("decisions/churn/2026/03/01/020005.")
    assert key.endswith("-wish.json")
    assert kept == bare(note)


def test_two_wishes_of_one_second_are_two(cloud):
    cloud.applied()
    for number in range(2):
        event = cloud.event("business_event") | {"id": f"0000000{number}-1428-4cd3-a780-95db273d1602"}
        cloud.call("evaluate_triggers", event)
    assert cloud.history().count("RetrainingRequested") == 1
    assert len(notes(cloud, "wish")) == len(files(cloud)) == 2


def test_a_wish_that_comes_again_after_it_was_granted_and_its_retraining_is_over_is_no_second_wish(cloud, now):
    settled(cloud, now, triggers={"cooldown": "7d"})
    cloud.call("evaluate_triggers", wish(cloud, "prices changed", now + HOUR))
    run_failed(cloud, now + 2 * HOUR)
    waited = cloud.event("business_event") | {"time": f"{now + DAY:%Y-%m-%dT%H:%M:%SZ}", "id": "a-wish-that-waits"}
    first = cloud.call("evaluate_triggers", waited)
    cloud.call("evaluate_triggers", tick(now + 8 * DAY))
    run_failed(cloud, now + 9 * DAY)
    left = cloud.history()
    assert left.count("RetrainingRequested") == 2
    assert cloud.call("evaluate_triggers", waited) == first
    assert cloud.ports.ledger.read("churn").wish is None
    assert cloud.history() == left


def test_a_wish_that_comes_again_after_its_retraining_failed_starts_no_other(cloud, now):
    cloud.applied()
    cloud.call("evaluate_triggers", "business_event")
    run_failed(cloud, now + HOUR)
    left = cloud.history()
    assert cloud.call("evaluate_triggers", "business_event") == {"churn": "prices changed"}
    assert cloud.history() == left


def test_a_wish_during_the_cooldown_waits_and_is_granted_by_the_first_evaluation_that_may(cloud, now):
    settled(cloud, now, triggers={"cooldown": "7d"})
    cloud.call("evaluate_triggers", wish(cloud, "prices changed", now + HOUR))
    run_failed(cloud, now + 2 * HOUR)
    event = wish(cloud, "stock changed", now + DAY)
    for _ in range(2):
        (because,) = cloud.call("evaluate_triggers", event).values()
        assert because == "the last retraining was requested 1.0 days ago, the cooldown is 7.0 days (stock changed)"
    for day in range(2, 7):
        cloud.call("evaluate_triggers", tick(now + day * DAY))
    assert cloud.history().count("RetrainingHeldBack") == 1
    assert cloud.ports.ledger.read("churn").wish.reason == "stock changed"
    (because,) = cloud.call("evaluate_triggers", tick(now + 8 * DAY)).values()
    assert because == "stock changed (wished for by shop.pricing on 2026-03-02 02:00)"
    last = cloud.ports.ledger.history("churn").documents[-1]
    assert (last["type"], last["trigger"]) == ("RetrainingRequested", "business_event")
    assert cloud.ports.ledger.read("churn").wish is None


def test_a_wish_before_there_is_a_model_in_production_waits_too(cloud, now):
    cloud.applied()
    cloud.call("evaluate_triggers", "business_event")
    cloud.call("evaluate_triggers", wish(cloud, "more labels", now + HOUR))
    run_failed(cloud, now + 2 * HOUR)
    granted = cloud.call("evaluate_triggers", tick(now + 8 * DAY))
    assert granted["churn"].startswith("more labels")
    assert cloud.ports.ledger.read("churn").run is not None
    left = (cloud.history(), notes(cloud, "retraining"))
    assert cloud.call("evaluate_triggers", tick(now + 8 * DAY)) == granted
    died_before_it_was_noted(cloud, "retraining")
    assert cloud.call("evaluate_triggers", tick(now + 8 * DAY)) == granted
    assert (cloud.history(), notes(cloud, "retraining")) == left


def test_a_person_may_override_the_cooldown_but_no_open_run(cloud, now):
    cloud.applied()
    asked = {"reason": "now, please", "who": "ada", "ports": cloud.ports}
    assert decide.request_training("churn", **asked, now=now).retrain
    assert decide.request_training("churn", **asked, now=now + HOUR, force=True).held_back.rule == "open_run"
    run_failed(cloud, now + 2 * HOUR)
    assert decide.request_training("churn", **asked, now=now + 3 * HOUR).held_back.rule == "cooldown"
    assert decide.request_training("churn", **asked, now=now + 4 * HOUR, force=True).retrain


def labels_came(cloud, rows, day):
    """Labels of a day's requests, which the first version answered; they came the day after."""
    sums = FileSums(DailySums({1: {f"{day:%Y-%m-%d}": (rows, rows)}}))
    key = f"outcomes/churn/{day:%Y%m%d}.parquet"
    cloud.ports.catalog.add(CatalogEntry("churn", CatalogKind.OUTCOMES, day + DAY, key, rows, sums=sums))


def test_nobody_trains_again_on_the_rows_of_the_newest_training_unless_by_force(cloud, now):
    settled(cloud, now - 5 * DAY, training={})
    asked = {"reason": "once more", "who": "ada", "ports": cloud.ports}
    labels_came(cloud, 60, now - 4 * DAY)
    decision = decide.request_training("churn", **asked, now=now)
    assert decision.held_back.rule == "new_rows"
    told = "60 labelled rows are new since the newest training, 100 are needed (once more)"
    assert (decision.because, decision.new_rows) == (told, 60)
    assert notes(cloud, "wish")[0]["new_rows"] == 60
    (because,) = cloud.call("evaluate_triggers", tick(now + HOUR)).values()
    assert because.startswith("60 labelled rows are new"), "the wish waits"
    labels_came(cloud, 40, now - 2 * DAY)
    (because,) = cloud.call("evaluate_triggers", tick(now + 2 * HOUR)).values()
    assert because.startswith("once more (wished for by ada")
    assert cloud.ports.ledger.read("churn").tokens == 1.0


def test_what_is_forced_needs_no_new_rows(cloud, now):
    settled(cloud, now - 5 * DAY, training={})
    asked = {"reason": "once more", "who": "ada", "ports": cloud.ports}
    assert decide.request_training("churn", **asked, now=now, force=True).retrain


def test_labels_bring_tokens_back(cloud, now):
    settled(cloud, now - 100 * DAY, triggers={"cooldown": "1h", "monthly_budget": 9, "tokens": {"refill_rows": 400}})
    asked = {"reason": "now, please", "who": "ada", "ports": cloud.ports}
    for hour in range(2):
        assert decide.request_training("churn", **asked, now=now + hour * DAY / 4).retrain
        run_failed(cloud, now + hour * DAY / 4)
    decision = decide.request_training("churn", **asked, now=now + DAY)
    assert (decision.held_back.rule, decision.because) == (
        "tokens",
        "0.03 of 2 tokens are there, business_event needs 1 (now, please)",
    )
    labels_came(cloud, 500, now + DAY)
    assert "now, please (wished for by ada" in cloud.call("evaluate_triggers", tick(now + 3 * DAY))["churn"]
    assert cloud.ports.ledger.read("churn").run is not None


# --- comparisons and the watch ----------------------------------------------------------------------------------------


@pytest.fixture
def in_shadow(cloud, now):
    settled(cloud, now - 2 * DAY)
    recorded(cloud, now - DAY, registered(2), (ShadowStarted, {"version": 2, "judged_against": 1}))
    cloud.counted()
    return {"model": "churn", "version": 2, "schedule": "churn.challenger.v2.1", **tick(now)}


def test_a_comparison_is_noted_once_and_measured(cloud, in_shadow):
    for _ in range(2):
        assert cloud.call("compare_shadow", in_shadow)["verdict"] == "need_more_data"
    (note,) = notes(cloud, "shadow")
    assert (note["type"], note["verdict"], note["rows"]) == ("ShadowCompared", "need_more_data", 0)
    assert files(cloud) == {"decisions/churn/2026/03/01/020000-shadow.json": bare(note)}
    dimensions, values = cloud.counted()[-1]
    assert dimensions["Model"] == "churn"
    assert {name: number for name, number in values.items() if name.startswith("Verdict")} == {"VerdictNeedMoreData": 1}
    assert {"ShadowGain", "ShadowEvidence", "ShadowEvidenceAgainst"} <= values.keys()


def test_the_watch_shows_how_near_a_rollback_is(cloud, now):
    in_production(cloud, now)
    cloud.counted()
    cloud.call(
        "watch_deployment", {"model": "churn", "version": 1, "schedule": "s", **tick(now + timedelta(minutes=1))}
    )
    ((dimensions, values),) = [counted for counted in cloud.counted() if "Model" in counted[0]]
    assert dimensions["Model"] == "churn"
    assert values == {"BakeErrorEvidence": 0.0, "BakeSlowEvidence": 0.0}
