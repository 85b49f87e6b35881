"""A Model Monitor user moves over: captures, ground truth and baseline stay where and as they are."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import numpy as np
import pytest

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogKind
from evergreen.errors import UsageError
from evergreen.formats import outcomes
from evergreen.spec import ModelSpec
from evergreen_ops.model_monitor.bring import ImportRefusedError

HOURS, A_HOUR, TO_COME = 18, 20, 6
LABELLED = (HOURS - TO_COME) * A_HOUR
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS)
CAPTURES, LABELS, BASELINE = "datacapture/churn-endpoint/AllTraffic", "groundtruth", "baseline"


def rows():
    """Requests: id, hour, age, plan, chance, what came of it."""
    rng = np.random.default_rng(3)
    for number in range(HOURS * A_HOUR):
        age, plan, chance = int(rng.integers(18, 80)), ("free", "gold")[rng.integers(2)], round(rng.random(), 3)
        yield f"id-{number}", START + timedelta(hours=number // A_HOUR), age, plan, chance, int(rng.random() < chance)


def capture(event_id, hour, age, plan, chance):
    data = {
        "endpointInput": {
            "observedContentType": "text/csv",
            "mode": "INPUT",
            "data": f"{age},{plan}\n",
            "encoding": "CSV",
        },
        "endpointOutput": {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "OUTPUT",
            "data": str(chance),
            "encoding": "CSV",
        },
    }
    time = f"{hour + timedelta(minutes=12):%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": data, "eventMetadata": {"eventId": event_id, "inferenceTime": time}, "eventVersion": "0"}


def label(event_id, actual):
    truth = {"data": str(actual), "encoding": "CSV"}
    return {"groundTruthData": truth, "eventMetadata": {"eventId": event_id}, "eventVersion": "0"}


def baseline():
    features = [
        {"name": "churned", "inferred_type": "Integral", "completeness": 1.0},
        {"name": "age", "inferred_type": "Integral", "completeness": 1.0, "num_constraints": {"is_non_negative": True}},
        {
            "name": "plan",
            "inferred_type": "String",
            "completeness": 1.0,
            "string_constraints": {"domains": ["free", "gold"]},
        },
    ]
    return {
        "statistics.json": {"version": 0.0, "dataset": {"item_count": 0}, "features": features},
        "constraints.json": {"version": 0.0, "features": features, "monitoring_config": {}},
    }


def files():
    """Everything that Model Monitor works on, by key; the labels of the last hours are still to come."""
    by_hour = {}
    for event_id, hour, age, plan, chance, actual in rows():
        folder = f"{hour:%Y/%m/%d/%H}"
        by_hour.setdefault(f"{CAPTURES}/{folder}/12-00-000-part.jsonl", []).append(
            capture(event_id, hour, age, plan, chance)
        )
        if hour < START + timedelta(hours=HOURS - TO_COME):
            by_hour.setdefault(f"{LABELS}/{folder}/labels.jsonl", []).append(label(event_id, actual))
    made = {key: "\n".join(map(json.dumps, lines)) + "\n\n" for key, lines in by_hour.items()}
    return made | {f"{BASELINE}/{name}": json.dumps(document) for name, document in baseline().items()}


@pytest.fixture
def folder(tmp_path):
    for key, body in files().items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text(body)
    return tmp_path


@pytest.fixture
def theirs(stack):
    """Their account: a bucket with everything, and the endpoint."""
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    s3.create_bucket(Bucket="their-bucket")
    for key, body in files().items():
        s3.put_object(Bucket="their-bucket", Key=key, Body=body.encode())
    role = "arn:aws:iam::123456789012:role/theirs"
    sagemaker.create_model(ModelName="churn-2025", ExecutionRoleArn=role)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "churn-2025",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="churn-config", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="churn-endpoint", EndpointConfigName="churn-config")
    return stack


def places(base):
    return (
        "--captures",
        f"{base}/{CAPTURES}",
        "--ground-truth",
        f"{base}/{LABELS}",
        "--baseline",
        f"{base}/{BASELINE}",
    )


def test_a_dry_run_reads_folders_and_changes_nothing(stack, folder, tmp_path):
    command = ("import", "sagemaker-monitor", "churn", *places(folder), "--label", "churned", "--dry-run")
    told = stack.asked(*command, "--write", tmp_path / "churn.yaml")
    spec = ModelSpec.from_yaml((tmp_path / "churn.yaml").read_text())
    assert (spec.task, spec.labels.classes, list(spec.features)) == ("binary", ("0", "1"), ["age", "plan"])
    assert (spec.endpoint.kind, spec.endpoint.name) == ("sagemaker", "churn-endpoint")
    assert (told["requests"], told["labels"], told["joined"]) == (HOURS * A_HOUR, LABELLED, LABELLED)
    assert told["unreadable"] == {}
    assert stack.ports.ledger.models() == ()
    assert "nothing was changed" in stack.evergreen(*command)


def test_an_import_sets_the_model_up_and_running_it_again_changes_nothing(theirs):
    command = ("import", "sagemaker-monitor", "churn", *places("s3://their-bucket"), "--label", "churned")
    told = theirs.asked(*command)
    assert (told["version"], told["sagemaker_model"], told["base_rows"]) == (1, "churn-2025", LABELLED)
    version = theirs.state.production_version
    assert (version.number, version.status, version.artifact) == (1, "good", "sagemaker-model:churn-2025")
    history = [event["type"] for event in theirs.ports.ledger.history("churn").documents]
    assert history == ["ModelApplied", "CandidateRegistered", "PromotionApproved", "VersionPromoted", "BakePassed"]
    assert (told["fetched_captures"], told["fetched_labels"]) == (HOURS, HOURS - TO_COME)
    again = theirs.asked(*command)
    assert (again["fetched_captures"], again["fetched_labels"]) == (0, 0)
    assert [event["type"] for event in theirs.ports.ledger.history("churn").documents] == history


def test_what_was_imported_is_watched_from_then_on(theirs):
    theirs.evergreen("import", "sagemaker-monitor", "churn", *places("s3://their-bucket"), "--label", "churned")
    event = theirs.event("s3_object_created")
    for function, prefix in (("profile_capture", "captures/"), ("join_labels", "ground-truth/")):
        for key in list(theirs.ports.data.keys(prefix)):
            event["detail"]["object"]["key"] = key
            theirs.call(function, event)
    entries = theirs.ports.catalog.between("churn", CatalogKind.OUTCOMES, START, START + timedelta(hours=HOURS))
    table = outcomes.concat(
        [outcomes.from_parquet(theirs.ports.data.get(entry.key)) for entry in entries],
        outcomes.outcome_schema(spec_of(theirs.state).feature_schema()),
    )
    assert table.num_rows == LABELLED
    assert set(table["production_version"].to_pylist()) == {1}
    assert theirs.ports.catalog.between("churn", CatalogKind.PROFILE, START, START + timedelta(hours=HOURS), version=1)


def test_violations_are_written_in_model_monitors_format(theirs, tmp_path):
    theirs.evergreen("import", "sagemaker-monitor", "churn", *places("s3://their-bucket"), "--label", "churned")
    event = theirs.event("s3_object_created")
    for key in list(theirs.ports.data.keys("captures/")):
        event["detail"]["object"]["key"] = key
        theirs.call("profile_capture", event)
    out = tmp_path / "constraint_violations.json"
    found = theirs.evergreen("violations", "churn", "--baseline", f"s3://their-bucket/{BASELINE}", "--out", out, code=1)
    assert "missing_column_check" in found
    (violation,) = json.loads(out.read_text())["violations"]
    assert violation["constraint_check_type"] == "missing_column_check"
    assert "churned" in violation["description"]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (("--label", "nothing"), ImportRefusedError, "--label is 'nothing', and the baseline has churned, age, plan"),
        ((), ImportRefusedError, "lines can't be read.*a row has 2 fields: the model takes 3"),
        (("--label", "churned", "--captures", "nowhere/else"), UsageError, "nowhere/else is no directory"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_done(stack, folder, change, error, says):
    with pytest.raises(error, match=says):
        stack.evergreen("import", "sagemaker-monitor", "churn", *places(folder), "--dry-run", *change)


def test_a_baseline_folder_without_its_files_is_named(stack, folder):
    (folder / BASELINE / "constraints.json").unlink()
    with pytest.raises(ImportRefusedError, match=r"the baseline has no constraints\.json"):
        stack.evergreen("import", "sagemaker-monitor", "churn", *places(folder), "--dry-run", "--label", "churned")
