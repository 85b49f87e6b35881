"""Captures of an endpoint that no version can be held to: they are traffic and train, and nobody is judged by them."""

import json
from datetime import timedelta

import pytest
from small_artifact import small_artifact

from evergreen.domain.catalog import CatalogKind, DailySums
from evergreen.domain.model_events import (
    BakePassed,
    PromotionApproved,
    RetrainingRequested,
    RollbackDecided,
    ShadowStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import RollbackCause
from evergreen.formats import outcomes
from evergreen.model.archive import unpack
from evergreen.usecases.compare_shadow import compare_shadow
from evergreen.usecases.evaluate_triggers import evaluate_triggers
from evergreen.usecases.launch_training import launch_training
from evergreen.usecases.people import bring

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MIDNIGHT, TAKEOVER = "2026/03/01/00", "2026/03/01/01"  # version 2 answers since 01:30
NOBODY = 0
FIRST, SECOND, UNKNOWN = (f"evergreen-churn-p{version}-s0-e{version}0/churn-eu/production" for version in (1, 2, 99))


def told(cloud, kind, at, **fields):
    cloud.ports.ledger.record(cloud.ports.ledger.read("churn"), kind(time=at, actor="ada", because="a story", **fields))


def answers(cloud, name, at):
    """A version that was really trained takes over, behind the endpoint, and passes its bakes."""
    before = cloud.ports.ledger.read("churn").production
    version = registered(cloud, name, at - 2 * DAY)
    told(cloud, PromotionApproved, at, version=version, instead_of=before, evidence={})
    told(cloud, VersionPromoted, at, version=version, replaced=before, endpoint={})
    while (bake := cloud.ports.ledger.read("churn").bake) is not None:
        told(cloud, BakePassed, at, version=version, phase=bake.phase, evidence={})


def registered(cloud, name, at):
    return bring.register_version("churn", small_artifact(name), "a story", "ada", now=at, ports=cloud.ports)


@pytest.fixture
def moved(cloud, now):
    """Version 2 has taken over from version 1, at an endpoint that was there before."""
    cloud.applied(
        endpoint={"kind": "sagemaker", "name": "churn-eu"},
        labels={"classes": ["0", "1"], "maturity": "1h"},
        triggers={"new_data": {"enabled": True, "min_new_samples": 40}, "performance": {"min_labelled": 20}},
        shadow={"cycle": "1d"},
    )
    answers(cloud, "first", now - 9 * DAY)
    answers(cloud, "second", now - 30 * MINUTE)
    return cloud


def captured(cloud, folder, hour=MIDNIGHT, rows=40):
    """A file of an endpoint's captures, which say neither model nor version; each answer is the class 1."""
    lines = []
    for number in range(rows):
        metadata = {"inferenceId": f"order-{number}", "eventId": f"{folder}-{number}"}
        metadata["inferenceTime"] = f"{hour.rsplit('/', 1)[0].replace('/', '-')}T{hour[-2:]}:20:{number % 60:02}Z"
        data = {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "50,a", "encoding": "CSV"},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.9", "encoding": "CSV"},
        }
        lines.append(json.dumps({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}).encode())
    found = cloud.call("profile_capture", cloud.arrived(f"captures/churn/{folder}/{hour}/20-00-000-a.jsonl", *lines))
    assert found == {"rows": rows, "quarantined": 0}


def labelled(cloud, rows=40, hour="2026/03/01/02"):
    """The labels of the same requests: each answer was wrong."""
    lines = [
        json.dumps(
            {
                "groundTruthData": {"data": "0", "encoding": "CSV"},
                "eventMetadata": {"eventId": f"order-{number}"},
                "eventVersion": "0",
            }
        ).encode()
        for number in range(rows)
    ]
    return cloud.call("join_labels", cloud.arrived(f"ground-truth/churn/{hour}/labels.jsonl", *lines))


def entries(cloud, kind, now, **of):
    return cloud.ports.catalog.between("churn", kind, now - 9 * DAY, now + 9 * DAY, **of)


def versions(cloud, kind, column, now):
    """The versions that the rows of a kind of files name."""
    tables = [outcomes.from_parquet(cloud.ports.data.get(entry.key)) for entry in entries(cloud, kind, now)]
    return {version for table in tables for version in table[column].to_pylist()}


def profiled(cloud, now):
    return {version for version in (0, 1, 2, 3, 99) if entries(cloud, CatalogKind.PROFILE, now, version=version)}


WHOSE = [
    ("production", MIDNIGHT, NOBODY),
    ("churn-eu/AllTraffic", MIDNIGHT, NOBODY),
    ("their-config/churn-eu/AllTraffic", MIDNIGHT, NOBODY),
    ("production", TAKEOVER, NOBODY),
    ("production", "2026/03/01/02", NOBODY),
    (FIRST, TAKEOVER, 1),
    (SECOND, TAKEOVER, 2),
    (UNKNOWN, TAKEOVER, 99),
]


@pytest.mark.parametrize(("folder", "hour", "version"), WHOSE, ids=[f"{f} at {h[-2:]}h" for f, h, _ in WHOSE])
def test_a_row_is_the_versions_that_its_configuration_names_or_nobodys(moved, now, folder, hour, version):
    captured(moved, folder, hour)
    assert versions(moved, CatalogKind.COMPACT_PRODUCTION, "version", now) == {version}
    # In the bins of the version that answered, and of the newest training, which is version 2's.
    assert profiled(moved, now) == ({version, 2} if version in (1, 2) else set()), "nobody's inputs are no version's"
    assert labelled(moved) == {"joined": 40, "pending": 0, "quarantined": 0}
    assert versions(moved, CatalogKind.OUTCOMES, "production_version", now) == {version}
    (entry,) = entries(moved, CatalogKind.OUTCOMES, now)
    assert entry.sums.daily == DailySums({version: {"2026-03-01": (40, 0)}})


@pytest.fixture
def brought(cloud, now):
    """Version 1 is the SageMaker model that was there before Evergreen."""
    cloud.applied(endpoint={"kind": "sagemaker", "name": "churn-eu"}, labels={"classes": ["0", "1"], "maturity": "1h"})
    files = unpack(small_artifact("theirs"), ("model.json", "reference.json"))
    at, facts, reference = now - 9 * DAY, json.loads(files["model.json"]), json.loads(files["reference.json"])
    bring.adopt_version("churn", "sagemaker-model:churn-2024", facts, reference, "ada", now=at, ports=cloud.ports)
    return cloud


@pytest.mark.parametrize(("hour", "version"), [(MIDNIGHT, NOBODY), (TAKEOVER, NOBODY), ("2026/03/01/02", 1)])
def test_captures_without_a_configuration_of_ours_are_those_of_the_model_that_was_there_before(
    brought, now, hour, version
):
    answers(brought, "second", now - 2 * HOUR)
    back = {"version": 2, "to_version": 1, "cause": RollbackCause.MANUAL}
    told(brought, RollbackDecided, now - HOUR, **back, evidence={})
    told(brought, VersionRolledBack, now - 30 * MINUTE, **back, endpoint={})
    captured(brought, "production", hour)
    assert versions(brought, CatalogKind.COMPACT_PRODUCTION, "version", now) == {version}


def test_until_another_version_answered_all_its_captures_are_its_own(brought, now):
    captured(brought, "churn-eu/AllTraffic")
    assert versions(brought, CatalogKind.COMPACT_PRODUCTION, "version", now) == {1}


def checked(cloud, now):
    """What the triggers found, by their names."""
    decision = evaluate_triggers("churn", now=now, ports=cloud.ports)
    return {check["trigger"]: check for check in decision.to_json()["checks"]}


@pytest.mark.parametrize(("folder", "whose"), [("production", "nobody's"), (UNKNOWN, "unknown"), (SECOND, "its own")])
def test_nobodys_errors_are_not_held_against_the_version_in_production_and_count_as_new_rows(moved, now, folder, whose):
    captured(moved, folder)
    labelled(moved)
    checks = checked(moved, now + 2 * DAY)
    assert checks["performance"]["samples"] == (40 if whose == "its own" else 0)
    assert (checks["new_data"]["outcome"], checks["new_data"]["samples"]) == ("fired", 40)
    if whose != "its own":
        assert checks["performance"]["outcome"] == "insufficient_data"


@pytest.fixture
def in_shadow(moved, now):
    """Version 3 answers beside version 2 since 02:00, unseen."""
    version = registered(moved, "third", now)
    told(moved, ShadowStarted, now, version=version, judged_against=2)
    return moved


def judged(cloud, now):
    return compare_shadow("churn", 3, now=now + 5 * DAY, ports=cloud.ports).evidence


@pytest.mark.parametrize(
    ("config", "rows"),
    [("evergreen-churn-p2-s3-e30", 40), ("evergreen-churn-p99-s3-e30", 0), ("evergreen-churn-p2-s98-e30", 0)],
    ids=["both", "production is unknown", "the shadow is unknown"],
)
def test_only_rows_that_both_versions_are_known_to_have_answered_are_pairs(in_shadow, now, config, rows):
    hour = "2026/03/01/05"
    captured(in_shadow, f"{config}/churn-eu/production", hour)
    captured(in_shadow, f"{config}/churn-eu/shadow", hour)
    assert labelled(in_shadow, hour="2026/03/01/07")["joined"] == 40
    assert judged(in_shadow, now)["rows"] == rows


@pytest.mark.parametrize("folder", ["churn-eu/shadow", "their-config/churn-eu/shadow"])
def test_somebody_elses_shadow_is_never_taken_for_ours(in_shadow, now, folder):
    hour = "2026/03/01/05"
    captured(in_shadow, "evergreen-churn-p2-s3-e30/churn-eu/production", hour)
    captured(in_shadow, folder, hour)
    labelled(in_shadow, hour="2026/03/01/07")
    assert versions(in_shadow, CatalogKind.COMPACT_SHADOW, "version", now) == {NOBODY}
    assert versions(in_shadow, CatalogKind.OUTCOMES, "shadow_version", now) == {NOBODY}
    evidence = judged(in_shadow, now)
    assert (evidence["rows"], evidence["answered_share"]) == (0, 0.0)


def test_nobodys_rows_train(moved, now):
    captured(moved, "production")
    labelled(moved)
    told(moved, RetrainingRequested, now + DAY, decision_id="20260301020000-2", trigger="new_data")
    launch_training("churn", "20260301020000-2", now=now + 2 * DAY, ports=moved.ports)
    stored = json.loads(moved.ports.artifacts.get("snapshots/churn/20260301020000-2/0/snapshot.json"))
    (entry,) = entries(moved, CatalogKind.OUTCOMES, now)
    assert [file["key"] for file in stored["files"]] == [entry.key]
