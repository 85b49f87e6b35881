"""What can't be done or delivered ends in the queue of dead letters, whoever had it last; people hear of it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evergreen import bootstrap
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply
from local_cloud.cloud import LocalCloud
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.place import ACCOUNT

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
START = datetime(2026, 3, 1, tzinfo=UTC)
FUNCTIONS = sorted(path.parent.name for path in (TEMPLATE.parent / "functions").glob("*/app.py"))
SPEC = ModelSpec.parse(
    {"model": "churn", "task": "binary", "features": {"x": {"type": "number"}}, "labels": {"classes": ["0", "1"]}}
)


@pytest.fixture
def cloud():
    with LocalCloud.deploy(TEMPLATE, start=START) as cloud:
        yield cloud
        bootstrap.reset()


@pytest.fixture
def with_a_registry():
    """A stack that has every schedule there can be; nobody asks its registry."""
    parameters = {"MlflowTrackingUri": "http://127.0.0.1:9"}
    with LocalCloud.deploy(TEMPLATE, start=START, parameters=parameters) as cloud:
        yield cloud
        bootstrap.reset()


def passes(cloud, **span):
    cloud.advance(cloud.clock.now + timedelta(**span))


def dead_letters(cloud):
    """Every message in the queue: (body, attributes)."""
    sqs, found = cloud.client("sqs"), []
    queue = cloud.resources["DeadLetters"]
    while messages := sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=43_200
    ).get("Messages"):
        found += [(m["Body"], m.get("MessageAttributes", {})) for m in messages]
    return found


def put_on_the_bus(cloud, kind, **detail):
    entry = {"Source": "evergreen", "DetailType": kind, "Detail": json.dumps(detail), "EventBusName": "evergreen"}
    assert cloud.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def name_of(function):
    return f"evergreen-{function.replace('_', '-')}"


def test_an_event_that_a_function_fails_on_is_kept(cloud):
    for function in FUNCTIONS:
        event = json.dumps({"meant for": function}).encode()
        cloud.client("lambda").invoke(FunctionName=name_of(function), InvocationType="Event", Payload=event)
    passes(cloud, minutes=10)
    kept = {json.loads(body)["meant for"] for body, _ in dead_letters(cloud)}
    assert kept == set(FUNCTIONS)


def test_what_a_schedule_can_not_deliver_is_kept(with_a_registry):
    cloud = with_a_registry
    group, queue = cloud.outputs["ScheduleGroup"], cloud.outputs["ScheduleDlqArn"]
    for function in ("launch_training", "compare_shadow", "watch_deployment"):
        cloud.client("scheduler").create_schedule(
            Name=function,
            GroupName=group,
            ScheduleExpression="rate(1 hour)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": cloud.outputs["FunctionArnPrefix"] + function.replace("_", "-"),
                "RoleArn": cloud.outputs["SchedulerRoleArn"],
                "DeadLetterConfig": {"Arn": queue},
                "Input": json.dumps({"model": "churn"}),
                "RetryPolicy": {"MaximumRetryAttempts": 0},
            },
        )
    scheduled = {"launch_training", "compare_shadow", "watch_deployment"}
    scheduled |= {"evaluate_triggers", "learn_live", "reconcile", "update_registry"}
    for function in scheduled:
        cloud.client("lambda").delete_function(FunctionName=name_of(function))
    passes(cloud, hours=3)
    targets = {attributes["TARGET_ARN"]["StringValue"].rpartition(":")[2] for _, attributes in dead_letters(cloud)}
    assert targets == {name_of(function) for function in scheduled}


def test_an_event_whose_function_is_gone_is_kept(cloud):
    cloud.client("lambda").delete_function(FunctionName=name_of("launch_training"))
    put_on_the_bus(cloud, "RetrainingRequested", model="churn")
    passes(cloud, days=2)
    assert [json.loads(body)["detail"] for body, _ in dead_letters(cloud)] == [{"model": "churn"}]


def test_what_the_outbox_can_not_hand_on_is_kept(cloud, refusals):
    role = {"RoleName": cloud.resources["OutboxRole"], "PolicyName": "outbox"}
    allowed = cloud.client("iam").get_role_policy(**role)["PolicyDocument"]
    allowed["Statement"] = [one for one in allowed["Statement"] if one["Action"] != "events:PutEvents"]
    cloud.client("iam").put_role_policy(**role, PolicyDocument=json.dumps(allowed))
    apply.apply_model(SPEC, now=cloud.clock.now, ports=bootstrap.ports_for(cloud.outputs))
    passes(cloud, days=2)
    told = [json.loads(body) for body, _ in dead_letters(cloud)]
    [lost] = [one for one in told if "DDBStreamBatchInfo" in one]
    assert lost["context"]["condition"] == "RetryAttemptsExhausted"
    refusals.clear()
    assert f"table/{cloud.outputs['LedgerTable']}/stream/" in lost["DDBStreamBatchInfo"]["streamArn"]


def test_people_hear_of_alarms_and_of_events(cloud):
    arn = "arn:aws:sqs:us-east-1:123456789012:people"
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": arn}]})
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="people", Attributes={"Policy": policy})["QueueUrl"]
    cloud.client("sns").subscribe(TopicArn=cloud.outputs["Notifications"], Protocol="sqs", Endpoint=arn)

    alarms = [cloud.resources[name] for name in ("FailedRequestsAlarm", "PredictErrorsAlarm")]
    for name in alarms:
        cloud.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a story")
    put_on_the_bus(cloud, "TrainingFailed", model="churn")
    passes(cloud, minutes=1)
    heard = [
        json.loads(json.loads(m["Body"])["Message"])
        for m in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    ]
    assert {one["AlarmName"] for one in heard if "AlarmName" in one} == set(alarms)
    assert [one["detail"] for one in heard if "detail" in one] == [{"model": "churn"}]
    assert cloud.invocation_counts["WatchDeployment"] == len(alarms)


def test_a_record_that_no_partition_takes_is_put_aside(cloud):
    record = {"Data": b'{"eventMetadata": {"modelName": "churn"}}'}  # of no variant
    cloud.client("firehose").put_record(DeliveryStreamName=cloud.outputs["CaptureStream"], Record=record)
    passes(cloud, minutes=10)
    listed = cloud.client("s3").list_objects_v2(Bucket=cloud.outputs["DataBucket"], Prefix="quarantine/capture-stream/")
    assert listed["KeyCount"] == 1


def test_a_wish_on_the_bus_is_answered(cloud):
    apply.apply_model(SPEC, now=cloud.clock.now, ports=bootstrap.ports_for(cloud.outputs))
    put_on_the_bus(cloud, "Retraining Wanted", model="churn", reason="prices changed")
    passes(cloud, minutes=1)
    assert cloud.invocation_counts["EvaluateTriggers"] == 1
    assert not cloud.error_counts


def test_what_comes_without_tls_is_refused_by_the_buckets(cloud, refusals):
    evaluation = Caller.session(f"arn:aws:iam::{ACCOUNT}:role/{cloud.resources['EvaluateTriggersRole']}", "a story")
    buckets = {name: f"arn:aws:s3:::{cloud.outputs[name]}" for name in ("DataBucket", "ArtifactBucket")}
    asked = [("s3:ListBucket", bucket) for bucket in buckets.values()]
    asked += [("s3:GetObject", buckets["DataBucket"] + "/profiles/1")]
    asked += [("s3:GetObject", buckets["ArtifactBucket"] + "/references/1")]
    for each in asked:
        assert cloud.core.gate.refusal(evaluation, *each) is None
        refused = cloud.core.gate.refusal(evaluation, *each, {"aws:SecureTransport": "false"})
        assert refused.endswith("with an explicit deny in a resource-based policy")
    refusals.clear()


def test_requests_and_labels_come_in_over_http(cloud):
    assert cloud.http("GET", "/openapi.json").status == 200
    assert cloud.http("POST", "/models/churn/feedback", body="{}").status == 404, "nobody has applied it"
