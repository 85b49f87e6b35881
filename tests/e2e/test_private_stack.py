"""A stack with all that a company asks for: keys of its own, jobs and endpoints in its subnets, captures it has."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from base_rows import base_rows
from samtranslator.yaml_helper import yaml_parse

from evergreen import bootstrap
from evergreen.serving.live_pointers import live_sort_key
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.people.verify import verify_history
from local_cloud.cloud import LocalCloud

pytestmark = pytest.mark.slow  # two trainings, and a fleet of containers
TEMPLATE = Path(__file__).parents[2] / "template.yaml"
START = datetime(2026, 3, 1, tzinfo=UTC)
NETWORK = {"subnets": ["subnet-0a"], "security_groups": ["sg-0a"]}
THEIRS = "captures-of-before"
CAPTURE = {
    "captureData": {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "0.5", "encoding": "CSV"},
        "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.9", "encoding": "CSV"},
    },
    "eventMetadata": {"eventId": "aaaa", "inferenceTime": "2026-03-01T00:20:06Z"},
    "eventVersion": "0",
}


def spec_of(name, training_key, **more):
    training = {"params": {"n_estimators": 3}, "kms_key": training_key, **NETWORK}
    return ModelSpec.parse(
        {
            "model": name,
            "task": "binary",
            "features": {"x": {"type": "number"}},
            "labels": {"classes": ["0", "1"], "maturity": "1h"},
            "training": training,
            "freshness": {"enabled": True},
            **more,
        }
    )


class Company:
    """The deployed stack and its keys."""

    def __init__(self, cloud, training_key, endpoint_key):
        self.cloud, self.ports = cloud, bootstrap.ports_for(cloud.outputs)
        self.training_key, self.endpoint_key = training_key, endpoint_key

    def passes(self, **span):
        self.cloud.advance(self.cloud.clock.now + timedelta(**span))

    def trains(self, spec):
        now = self.cloud.clock.now
        apply.apply_model(spec, now=now, ports=self.ports)
        bring.add_base_data(spec.model, base_rows(spec, now), now=now, ports=self.ports)
        decide.request_training(spec.model, "a story", "ada", now=now, ports=self.ports)
        self.passes(hours=1)

    def answers(self, model, ids):
        """Ask for as many answers as there are ids, and tell what came of it."""
        rows = [{"x": number / len(ids) - 0.5} for number in range(len(ids))]
        asked = json.dumps({"instances": rows, "inference_ids": ids})
        answer = self.cloud.http("POST", f"/models/{model}/predict", body=asked)
        assert answer.status == 200, answer.body
        self.passes(minutes=10)
        labels = [{"inference_id": one, "label": str(int(row["x"] > 0))} for one, row in zip(ids, rows, strict=True)]
        taken = self.cloud.http("POST", f"/models/{model}/feedback", body=json.dumps({"labels": labels}))
        assert taken.status == 202, taken.body

    def production(self, model):
        return self.ports.ledger.read(model).production

    def key_of(self, bucket, key):
        return self.cloud.client("s3").head_object(Bucket=self.cloud.outputs[bucket], Key=key).get("SSEKMSKeyId")

    def keys(self, bucket, prefix):
        listed = self.cloud.client("s3").list_objects_v2(Bucket=self.cloud.outputs[bucket], Prefix=prefix)
        return [one["Key"] for one in listed.get("Contents", [])]


@contextmanager
def opened(template):
    with LocalCloud(START) as cloud:
        kms = cloud.client("kms")
        training, endpoint = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        cloud.client("s3").create_bucket(Bucket=THEIRS)
        parameters = {
            "SourceBucket": THEIRS,
            "TrainingInVpc": "true",
            "TrainingKmsKeyArn": training,
            "EndpointInVpc": "true",
            "EndpointKmsKeyArn": endpoint,
            "MlflowSubnets": "subnet-0a",
            "MlflowSecurityGroups": "sg-0a",
        }
        cloud.deploy_stack(template, stack_name="evergreen", parameters=parameters)
        try:
            told = Company(cloud, training, endpoint)
            yield told
            assert not cloud.error_counts, cloud.error_counts
        finally:
            bootstrap.reset()


@pytest.fixture
def company():
    with opened(TEMPLATE) as company:
        yield company


@pytest.fixture
def where_events_are_lost(tmp_path):
    """The company, where rules deliver nothing: only what is on a schedule happens."""
    document = yaml_parse(TEMPLATE.read_text())
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        for key in ("CodeUri", "ContentUri"):
            if key in properties:
                properties[key] = str(TEMPLATE.parent / properties[key])
        events = properties.get("Events", {})
        for name in [name for name, event in events.items() if event["Type"] == "EventBridgeRule"]:
            if resource["Properties"]["CodeUri"].endswith("launch_training"):
                continue  # a training that nobody launched is given up, not made up for
            del events[name]
    copy = tmp_path / "template.yaml"
    copy.write_text(json.dumps(document))
    with opened(copy) as company:
        yield company


def test_a_model_is_trained_with_a_key_in_subnets_and_answers(company):
    source = {"capture": {"source": f"s3://{THEIRS}/churn/AllTraffic/"}}
    company.trains(spec_of("churn", company.training_key, **source))
    assert company.production("churn") == 1
    artifact = company.ports.ledger.read("churn").version(1).artifact
    assert company.key_of("ArtifactBucket", artifact.split("/", 3)[3]) == company.training_key
    company.answers("churn", [f"order-{number}" for number in range(60)])
    company.passes(hours=3)
    assert company.keys("DataBucket", "online-rows/churn/"), "learn_live learns of these"

    company.cloud.client("s3").put_object(
        Bucket=THEIRS, Key="churn/AllTraffic/2026/03/01/00/20-06-123-part.jsonl", Body=json.dumps(CAPTURE).encode()
    )
    company.passes(minutes=30)
    assert "captures/churn/production/2026/03/01/00/20-06-123-part.jsonl" in company.keys("DataBucket", "captures/")
    assert verify_history("churn", ports=company.ports)[1] == ()


def test_an_endpoint_starts_with_a_key_in_subnets_and_its_captures_are_read(company):
    endpoint = {"kind": "sagemaker", "name": "churn-eu", "kms_key": company.endpoint_key, **NETWORK}
    company.trains(spec_of("churn", company.training_key, endpoint=endpoint))
    company.passes(hours=1)
    assert company.production("churn") == 1
    body = json.dumps({"instances": [{"x": 0.5}]})
    runtime = company.cloud.client("sagemaker-runtime")
    runtime.invoke_endpoint(EndpointName="churn-eu", ContentType="application/json", Body=body, InferenceId="order-1")
    company.passes(minutes=10)
    [captured] = company.keys("DataBucket", "captures/")
    assert company.key_of("DataBucket", captured) == company.endpoint_key
    assert company.keys("DataBucket", "compact/churn/"), "profile_capture has read it"

    # Between a container's two looks the state that it was told of may be removed: it waits for the next one.
    gone = {"number": {"N": "1"}, "key": {"S": "live/churn/gone"}, "sha256": {"S": "0" * 64}}
    place = {"model": {"S": "churn"}, "sk": {"S": live_sort_key(1)}}
    company.cloud.client("dynamodb").put_item(TableName=company.cloud.outputs["OnlineTable"], Item=place | gone)
    company.passes(minutes=10)
    answer = runtime.invoke_endpoint(EndpointName="churn-eu", ContentType="application/json", Body=body)
    assert json.loads(answer["Body"].read())["version"] == 1


def test_reconcile_does_with_its_own_role_what_lost_events_would_have_done(where_events_are_lost):
    company = where_events_are_lost
    endpoint = {"kind": "sagemaker", "name": "churn-eu", "kms_key": company.endpoint_key, **NETWORK}
    company.trains(spec_of("churn", company.training_key, endpoint=endpoint))
    company.passes(hours=6)
    assert company.production("churn") == 1
    body = json.dumps({"instances": [{"x": 0.5}]})
    runtime = company.cloud.client("sagemaker-runtime")
    runtime.invoke_endpoint(EndpointName="churn-eu", ContentType="application/json", Body=body, InferenceId="order-1")
    company.passes(hours=6)
    assert company.keys("DataBucket", "compact/churn/"), "reconcile has read the captures"
