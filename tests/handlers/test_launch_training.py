"""launch_training: on which rows, with which source, beside which production, and what becomes of it when it can't."""

import hashlib
import json
from datetime import timedelta

import pytest
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.responses import SageMakerResponse
from small_cloud import NOW

from evergreen.domain.catalog import CatalogEntry, CatalogKind, DailySums, FileSums
from evergreen.domain.model_events import RetrainingRequested
from evergreen.domain.training_jobs import snapshot_sha256
from evergreen.formats.keys import source_key
from evergreen.model.archive import pack
from evergreen.training.source import pack_source

RUN = "20260301020000-2"
JOB = f"evergreen-churn-{RUN}-0"
DAY = timedelta(days=1)


def given(cloud, **spec):
    """A model that is to be retrained."""
    cloud.applied(**spec)
    state = cloud.ports.ledger.read("churn")
    decision = {"decision_id": RUN, "trigger": "performance", "because": "errors rose from 0.1 to 0.3"}
    cloud.ports.ledger.record(state, RetrainingRequested(time=NOW, actor="evaluate_triggers", **decision))


def labelled(cloud, days_ago, rows=400, *, right=None, name="a"):
    """A file of outcomes in the catalog; of its rows so many were answered rightly by version 3."""
    time = NOW - days_ago * DAY
    key = f"outcomes/churn/{time:%Y/%m/%d/%H}/{name}.parquet"
    sums = FileSums(DailySums({3: {f"{time:%Y-%m-%d}": (rows, rows if right is None else right)}}))
    cloud.ports.catalog.add(CatalogEntry("churn", CatalogKind.OUTCOMES, time, key, rows, f"etag-{name}", sums))
    return key


def launched(cloud, now=NOW):
    tick = {"model": "churn", "decision_id": RUN, "time": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    return cloud.call("launch_training", tick)["job_name"]


def job(cloud):
    """The job as SageMaker describes it, with its hyperparameters read."""
    import boto3

    found = boto3.client("sagemaker").describe_training_job(TrainingJobName=JOB)
    told = found["HyperParameters"]
    own = {name: json.loads(value) for name, value in told.items() if not name.startswith("sagemaker_")}
    return found | {"own": own}


def snapshot(cloud, attempt=0):
    return json.loads(cloud.ports.artifacts.get(f"snapshots/churn/{RUN}/{attempt}/snapshot.json"))


def last(cloud):
    return cloud.ports.ledger.history("churn").documents[-1]


def test_the_job_is_told_why_on_what_and_with_what(cloud):
    given(cloud)
    key = labelled(cloud, 3)
    assert launched(cloud) == JOB
    own, stored = job(cloud)["own"], snapshot(cloud)
    assert (own["trigger"], own["because"]) == ("performance", "errors rose from 0.1 to 0.3")
    assert own["snapshot"] == stored["sha256"] == last(cloud)["snapshot"] == snapshot_sha256(stored["files"])
    assert own["source_sha256"] == stored["source"] == last(cloud)["source"]
    assert cloud.ports.artifacts.get(f"source/{own['source_sha256']}/sourcedir.tar.gz") == pack_source()
    manifest = json.loads(cloud.ports.artifacts.get(own["manifest"].removeprefix("s3://artifacts/")))
    assert manifest == [{"prefix": "s3://data/"}, key]
    assert (own["production_sha256"], own["snapshot_rows"]) == ("", 400)


def test_production_is_named_by_its_hash(cloud):
    given(cloud)
    cloud.promoted(NOW)
    labelled(cloud, 3)
    launched(cloud)
    assert job(cloud)["own"]["production_sha256"] == "1" * 64
    (production,) = [c for c in job(cloud)["InputDataConfig"] if c["ChannelName"] == "production"]
    assert production["DataSource"]["S3DataSource"]["S3Uri"] == "s3://artifacts/models/churn/v1/output/model.tar.gz"


def test_a_launch_that_died_after_the_job_was_started_goes_on_with_the_snapshot_of_that_job(cloud):
    given(cloud)
    labelled(cloud, 3)
    before = items(cloud)
    launched(cloud)
    started = job(cloud)["own"]
    forget_what_was_recorded(cloud, before)
    labelled(cloud, 2, name="late")  # came meanwhile, and is in the window
    assert launched(cloud, NOW + DAY) == JOB
    assert last(cloud)["snapshot"] == started["snapshot"] == snapshot(cloud)["sha256"]
    manifest = json.loads(cloud.ports.artifacts.get(f"snapshots/churn/{RUN}/0/manifest.json"))
    assert len(manifest) == 2


def test_a_snapshot_that_somebody_changed_is_not_trained_on(cloud):
    given(cloud)
    labelled(cloud, 3)
    before = items(cloud)
    launched(cloud)
    forget_what_was_recorded(cloud, before)
    changed = snapshot(cloud)
    changed["files"][0]["key"] = "outcomes/churn/another.parquet"
    cloud.ports.artifacts.put(f"snapshots/churn/{RUN}/0/snapshot.json", json.dumps(changed).encode())
    assert launched(cloud) is None
    assert "snapshot.json does not have the hash that it names: somebody changed it" in last(cloud)["because"]


def items(cloud):
    found = cloud.dynamodb.scan(TableName="ledger", ConsistentRead=True)["Items"]
    return {item["sk"]["S"]: item for item in found}


def forget_what_was_recorded(cloud, before):
    """As if the function had ended before it wrote: the ledger's items are those of before."""
    for key, item in items(cloud).items():
        cloud.dynamodb.delete_item(TableName="ledger", Key={"model": item["model"], "sk": {"S": key}})
    for item in before.values():
        cloud.dynamodb.put_item(TableName="ledger", Item=item)


SINCE_CHANGE = {"training": {"rows": "since_change", "rows_since_change": 2_000, "window": "60d"}}


def test_after_a_change_older_files_and_rows_are_left_out_and_the_history_says_why(cloud):
    given(cloud, **SINCE_CHANGE)
    keys = [labelled(cloud, ago, right=360 if ago > 12 else 240, name=f"{ago:02}") for ago in range(40, 0, -1)]
    launched(cloud)
    changed = f"{NOW - 12 * DAY:%Y-%m-%d}"
    stored = snapshot(cloud)
    assert [file["key"] for file in stored["files"]] == keys[-12:]
    assert stored["policy"] == "since_change"
    why = f"since {changed}, when the share of wrong answers rose from 0.100 to 0.400"
    assert stored["because"] == why
    assert last(cloud)["because"] == f"performance: 4,800 labelled rows in 12 files; {why}"
    assert job(cloud)["own"]["trained_from"] == stored["trained_from"] == f"{changed}T00:00:00Z"
    assert stored["sha256"] == snapshot_sha256(stored["files"], stored["trained_from"])


def test_without_a_change_the_window_is_trained_on_and_the_history_says_so(cloud):
    given(cloud, **SINCE_CHANGE)
    for ago in range(40, 0, -1):
        labelled(cloud, ago, right=360 - ago % 3, name=f"{ago:02}")
    launched(cloud)
    assert len(snapshot(cloud)["files"]) == 40
    assert last(cloud)["because"].endswith("; no change for the worse in 39 days of answers")
    assert "trained_from" not in job(cloud)["own"]


OWN = {"training": {"source_dir": "s3://artifacts/source/ours/sourcedir.tar.gz", "entry_point": "ours/train.py"}}


def test_own_source_is_run_from_where_its_bytes_can_not_change(cloud):
    archive = pack({"ours/train.py": b"print()"})
    cloud.ports.artifacts.put("source/ours/sourcedir.tar.gz", archive)
    given(cloud, **OWN)
    labelled(cloud, 3)
    launched(cloud)
    told = job(cloud)["HyperParameters"]
    assert told["sagemaker_submit_directory"] == f"s3://artifacts/{source_key(hashlib.sha256(archive).hexdigest())}"
    assert told["sagemaker_program"] == "ours/train.py"
    assert cloud.ports.artifacts.get(source_key(hashlib.sha256(archive).hexdigest())) == archive


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://artifacts/source/ours/sourcedir.tar.gz", "which does not exist: upload it"),
        ("s3://elsewhere/ours/sourcedir.tar.gz", "put it under s3://artifacts/source/, where jobs may read"),
    ],
)
def test_own_source_that_can_not_be_read_ends_the_retraining_with_the_reason(cloud, uri, why):
    given(cloud, training=OWN["training"] | {"source_dir": uri})
    labelled(cloud, 3)
    assert launched(cloud) is None
    assert (last(cloud)["type"], last(cloud)["final"]) == ("TrainingFailed", True)
    assert last(cloud)["because"] == f"training.source_dir is {uri}: {why}".replace(": which", ", which")


def test_a_job_that_the_service_will_never_take_ends_the_retraining_and_is_not_asked_for_again(cloud, monkeypatch):
    asked = []

    def refuse(self):
        asked.append(self._get_param("TrainingJobName"))
        raise JsonRESTError("ValidationException", "Could not find subnet subnet-1")

    monkeypatch.setattr(SageMakerResponse, "create_training_job", refuse)
    given(cloud, training={"subnets": ["subnet-1"], "security_groups": ["sg-1"]})
    labelled(cloud, 3)
    assert launched(cloud) is None
    assert launched(cloud) is None
    assert (last(cloud)["type"], last(cloud)["final"]) == ("TrainingFailed", True)
    assert "Could not find subnet subnet-1" in last(cloud)["because"]
    assert asked == [JOB]


def test_a_window_that_became_longer_than_files_are_kept_ends_where_they_do(cloud, monkeypatch):
    """Files that a lifecycle rule may take before the last attempt has read them are left alone."""
    given(cloud, training={"window": "180d", "min_rows": 200})
    keys = {days: labelled(cloud, days) for days in (3, 89, 90, 100)}
    monkeypatch.setenv("OUTCOME_RETENTION_DAYS", "90")
    assert launched(cloud) == JOB
    assert [file["key"] for file in snapshot(cloud)["files"]] == [keys[89], keys[3]]
    assert last(cloud)["because"].endswith("outcomes are kept for 90d, and training.window is 180d")


def test_rows_that_a_person_brought_are_trained_on_however_old(cloud, monkeypatch):
    given(cloud, training={"rows": "everything"})
    time, key = NOW - 400 * DAY, "base-data/churn/a.parquet"
    cloud.ports.catalog.add(CatalogEntry("churn", CatalogKind.BASE_DATA, time, key, 400, "etag"))
    kept, gone = labelled(cloud, 80), labelled(cloud, 100)
    monkeypatch.setenv("OUTCOME_RETENTION_DAYS", "90")
    launched(cloud)
    assert [file["key"] for file in snapshot(cloud)["files"]] == [key, kept]
    assert gone not in last(cloud)["because"]
