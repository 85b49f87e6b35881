"""Stories about functions on the local cloud: calls, retries, destinations, queues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from local_stacks import MEMORY, deploy, messages, pass_time, remembered, write_function

from local_cloud.cloud import FunctionFailedError
from local_cloud.kernel.errors import TemplateError, UnknownFunctionError

FAIL = {"please": "told to fail"}


def test_a_function_answers_a_direct_call_and_a_boto3_call_alike(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        assert cloud.invoke("Remember", {"n": 1}) == {"remembered": 1}
        name = cloud.resources["Remember"]
        answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"n": 2}))
        assert json.loads(answer["Payload"].read()) == {"remembered": 2}
        assert answer["StatusCode"] == 200
        assert [event["n"] for event in remembered(cloud)] == [1, 2]


def test_a_failing_function_answers_with_lambdas_error_document(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        answer = cloud.client("lambda").invoke(FunctionName=cloud.resources["Remember"], Payload=json.dumps(FAIL))
        assert answer["FunctionError"] == "Unhandled"
        document = json.loads(answer["Payload"].read())
        assert (document["errorType"], document["errorMessage"]) == ("ValueError", "told to fail")
        with pytest.raises(FunctionFailedError, match="ValueError: told to fail"):
            cloud.invoke("Remember", FAIL)
        assert cloud.error_counts == {"Remember": 2}


def test_an_unknown_function_is_named_together_with_those_there_are(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        with pytest.raises(UnknownFunctionError, match="No function 'Forget' is deployed; there are: Remember"):
            cloud.invoke("Forget", {})
        with pytest.raises(ClientError, match="Function not found"):
            cloud.client("lambda").invoke(FunctionName="forget", Payload="{}")


QUEUED = (
    MEMORY
    + """
    EventInvokeConfig:
      DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Failures.Arn}}
    DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Dead.Arn}
Failures: {Type: AWS::SQS::Queue}
Dead: {Type: AWS::SQS::Queue}
"""
)


def test_a_failed_event_is_tried_three_times_and_then_told_of(tmp_path: Path) -> None:
    with deploy(tmp_path, QUEUED) as cloud:
        answer = cloud.client("lambda").invoke(
            FunctionName=cloud.resources["Remember"], InvocationType="Event", Payload=json.dumps(FAIL)
        )
        assert answer["StatusCode"] == 202
        cloud.drain()
        assert len(remembered(cloud)) == 1
        pass_time(cloud, minutes=1)
        assert len(remembered(cloud)) == 2
        pass_time(cloud, minutes=2)
        assert len(remembered(cloud)) == 3
        pass_time(cloud, hours=12)
        assert len(remembered(cloud)) == 3

        [failure] = messages(cloud, "Failures")
        record = json.loads(failure["Body"])
        assert record["requestContext"]["condition"] == "RetriesExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 3
        assert record["requestPayload"] == FAIL
        assert record["responsePayload"]["errorMessage"] == "told to fail"
        assert record["timestamp"] == "2026-01-01T00:03:00.000Z"
        [letter] = messages(cloud, "Dead")
        assert json.loads(letter["Body"]) == FAIL
        assert letter["MessageAttributes"]["ErrorMessage"]["StringValue"] == "ValueError: told to fail"


def test_retries_and_ages_follow_the_functions_own_settings(tmp_path: Path) -> None:
    resources = QUEUED.replace("EventInvokeConfig:", "EventInvokeConfig:\n      MaximumRetryAttempts: 0")
    with deploy(tmp_path, resources) as cloud:
        cloud.client("lambda").invoke(
            FunctionName=cloud.resources["Remember"], InvocationType="Event", Payload=json.dumps(FAIL)
        )
        pass_time(cloud, hours=1)
        assert len(remembered(cloud)) == 1
        [failure] = messages(cloud, "Failures")
        assert json.loads(failure["Body"])["requestContext"]["approximateInvokeCount"] == 1


QUEUE = (
    MEMORY
    + """
    Events:
      Inbox:
        Type: SQS
        Properties: {Queue: !GetAtt Inbox.Arn, BatchSize: 3, MaximumBatchingWindowInSeconds: 60}
Inbox:
  Type: AWS::SQS::Queue
  Properties:
    VisibilityTimeout: 120
    RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 2}
Dead: {Type: AWS::SQS::Queue}
"""
)


def test_a_queue_is_polled_when_the_window_closes_or_the_batch_is_full(tmp_path: Path) -> None:
    with deploy(tmp_path, QUEUE) as cloud:
        send = cloud.client("sqs").send_message
        url = cloud.resources["Inbox"]
        send(QueueUrl=url, MessageBody="a")
        pass_time(cloud, seconds=59)
        assert remembered(cloud) == []
        pass_time(cloud, seconds=1)
        assert [[r["body"] for r in e["Records"]] for e in remembered(cloud)] == [["a"]]
        for body in "bcd":
            send(QueueUrl=url, MessageBody=body)
        pass_time(cloud, seconds=0)
        assert [[r["body"] for r in e["Records"]] for e in remembered(cloud)][1:] == [["b", "c", "d"]]
        assert messages(cloud, "Inbox") == []


def test_drain_does_not_wait_for_the_window(tmp_path: Path) -> None:
    with deploy(tmp_path, QUEUE) as cloud:
        cloud.client("sqs").send_message(QueueUrl=cloud.resources["Inbox"], MessageBody="a")
        cloud.drain()
        assert len(remembered(cloud)) == 1
        pass_time(cloud, hours=1)
        assert len(remembered(cloud)) == 1


def test_a_failed_batch_comes_back_and_then_dies(tmp_path: Path) -> None:
    with deploy(tmp_path, QUEUE) as cloud:
        cloud.client("sqs").send_message(QueueUrl=cloud.resources["Inbox"], MessageBody="told to fail")
        pass_time(cloud, minutes=1)
        assert len(remembered(cloud)) == 1
        pass_time(cloud, hours=1)
        seen = remembered(cloud)
        assert [e["Records"][0]["attributes"]["ApproximateReceiveCount"] for e in seen] == ["1", "2"]
        [letter] = messages(cloud, "Dead")
        assert letter["Body"] == "told to fail"


def test_only_the_failed_messages_of_a_batch_come_back(tmp_path: Path) -> None:
    write_function(
        tmp_path,
        "partial",
        """
        def handler(event, context):
            print([r["body"] for r in event["Records"]])
            bad = [r["messageId"] for r in event["Records"] if r["body"] == "bad"]
            return {"batchItemFailures": [{"itemIdentifier": i} for i in bad]}
        """,
    )
    resources = """
    Partial:
      Type: AWS::Serverless::Function
      Properties:
        CodeUri: functions/partial
        Events:
          Inbox:
            Type: SQS
            Properties: {Queue: !GetAtt Inbox.Arn, BatchSize: 10, FunctionResponseTypes: [ReportBatchItemFailures]}
    Inbox: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 30}}
    """
    with deploy(tmp_path, resources) as cloud:
        url = cloud.resources["Inbox"]
        for body in ("good", "bad"):
            cloud.client("sqs").send_message(QueueUrl=url, MessageBody=body)
        cloud.drain()
        attributes = cloud.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"
        pass_time(cloud, seconds=91)
        assert cloud.invocation_counts == {"Partial": 4}  # at 0, 30, 60 and 90 s; the good one only at first


def test_each_function_sees_its_own_environment_and_the_process_keeps_its_own(tmp_path: Path) -> None:
    import os

    source = """
        import os
        def handler(event, context):
            return {"who": os.environ["WHO"], "name": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
                    "key": os.environ["AWS_ACCESS_KEY_ID"], "left": context.get_remaining_time_in_millis() > 0}
    """
    write_function(tmp_path, "who", source)
    resources = "".join(
        f"""
{name}:
  Type: AWS::Serverless::Function
  Properties: {{CodeUri: functions/who, FunctionName: {name.lower()}, Environment: {{Variables: {{WHO: {name}}}}}}}
"""
        for name in ("First", "Second")
    )
    with deploy(tmp_path, resources) as cloud:
        first, second = cloud.invoke("First", {}), cloud.invoke("Second", {})
        assert (first["who"], second["who"]) == ("First", "Second")
        assert (first["name"], first["left"]) == ("first", True)
        assert first["key"].startswith("ASIA")
        assert first["key"] != second["key"], "each has the credentials of its own role"
        assert os.environ["AWS_ACCESS_KEY_ID"] == "local"
        assert "WHO" not in os.environ


# --- concurrency and sizes --------------------------------------------------------------------------------------------


def _reserving(runs: int, resources: str = QUEUED) -> str:
    return resources.replace(
        "CodeUri: functions/remember", f"CodeUri: functions/remember\n    ReservedConcurrentExecutions: {runs}"
    )


ASKS_ITSELF = """
    import boto3, json, os

    def handler(event, context):
        if event.get("depth", 0) == 0:
            return "done"
        event = {"depth": event["depth"] - 1}
        client = boto3.client("lambda")
        try:
            client.invoke(FunctionName=context.function_name, Payload=json.dumps(event))
        except client.exceptions.TooManyRequestsException as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]
        return "done"
"""
ITSELF = """
Caller:
  Type: AWS::Serverless::Function
  Properties:
    CodeUri: functions/caller
    ReservedConcurrentExecutions: 2
    Policies: [{Statement: [{Effect: Allow, Action: lambda:InvokeFunction, Resource: "*"}]}]
"""


def test_one_run_more_than_are_reserved_is_refused_with_429(tmp_path: Path) -> None:
    write_function(tmp_path, "caller", ASKS_ITSELF)
    with deploy(tmp_path, ITSELF) as cloud:
        assert cloud.invoke("Caller", {"depth": 1}) == "done"  # two at a time
        calls = cloud.client("lambda")
        calls.put_function_concurrency(FunctionName=cloud.resources["Caller"], ReservedConcurrentExecutions=1)
        assert cloud.invoke("Caller", {"depth": 1}) == 429
        calls.delete_function_concurrency(FunctionName=cloud.resources["Caller"])
        assert cloud.invoke("Caller", {"depth": 5}) == "done"


def test_a_function_with_no_runs_reserved_runs_for_nobody_and_its_events_are_told_of(tmp_path: Path) -> None:
    with deploy(tmp_path, _reserving(0)) as cloud:
        calls, name = cloud.client("lambda"), cloud.resources["Remember"]
        with pytest.raises(ClientError, match=r"TooManyRequestsException.*Rate Exceeded"):
            calls.invoke(FunctionName=name, Payload="{}")
        calls.invoke(FunctionName=name, InvocationType="Event", Payload='{"n": 1}')
        pass_time(cloud, seconds=1)
        [told] = messages(cloud, "Failures")
        assert json.loads(told["Body"])["requestContext"]["condition"] == "ZeroReservedConcurrency"
        assert remembered(cloud) == []


def test_an_event_waits_until_a_run_is_free_and_is_no_try_the_less(tmp_path: Path) -> None:
    with deploy(tmp_path, _reserving(1)) as cloud:
        name = cloud.resources["Remember"]
        with cloud.functions.slots.taken(name, {name: 1}):  # as somebody's long call takes it
            cloud.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload='{"n": 1}')
            pass_time(cloud, hours=1)
            assert remembered(cloud) == []
        pass_time(cloud, minutes=6)
        assert [event["n"] for event in remembered(cloud)] == [1]
        with cloud.functions.slots.taken(name, {name: 1}):
            cloud.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload='{"n": 2}')
            pass_time(cloud, hours=7)
        assert json.loads(messages(cloud, "Failures")[0]["Body"])["requestContext"]["condition"] == "EventAgeExceeded"
        assert len(remembered(cloud)) == 1


def test_runs_may_be_reserved_while_a_hundred_are_left_for_the_others(tmp_path: Path) -> None:
    with deploy(tmp_path, _reserving(900)) as cloud:
        calls, name = cloud.client("lambda"), cloud.resources["Remember"]
        assert calls.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 900
        with pytest.raises(ClientError, match=r"below its minimum value of \[100\]"):
            calls.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=901)
    with pytest.raises(TemplateError, match=r"Remember: .* below its minimum value of \[100\]"):
        deploy(tmp_path, _reserving(901))


def test_code_that_is_too_large_unzipped_is_refused_with_its_size(tmp_path: Path) -> None:
    write_function(tmp_path, "large", "def handler(event, context): pass")
    with (tmp_path / "functions" / "large" / "table.bin").open("wb") as file:
        file.truncate(262_144_000)  # of zeros, that the disk does not hold
    large = MEMORY.replace("functions/remember", "functions/large")
    with pytest.raises(TemplateError, match=r"Remember: its code and layers take 262,144,0\d\d bytes unzipped"):
        deploy(tmp_path, large)
