"""Stories about DynamoDB on the local cloud: transactions, streams, and the pipe that empties an outbox."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_stacks import MEMORY, START, deploy, messages, opened, pass_time, remembered, role, write_function

OUTBOX = """
Ledger:
  Type: AWS::DynamoDB::Table
  Properties:
    BillingMode: PAY_PER_REQUEST
    AttributeDefinitions: [{AttributeName: model, AttributeType: S}, {AttributeName: sk, AttributeType: S}]
    KeySchema: [{AttributeName: model, KeyType: HASH}, {AttributeName: sk, KeyType: RANGE}]
    StreamSpecification: {StreamViewType: NEW_IMAGE}
Bus: {Type: AWS::Events::EventBus, Properties: {Name: bus}}
Inbox: {Type: AWS::SQS::Queue}
Rule:
  Type: AWS::Events::Rule
  Properties:
    EventBusName: !Ref Bus
    EventPattern: {source: [evergreen]}
    Targets: [{Id: inbox, Arn: !GetAtt Inbox.Arn}]
Outbox:
  Type: AWS::Pipes::Pipe
  Properties:
    RoleArn: arn:aws:iam::123456789012:role/pipe
    Source: !GetAtt Ledger.StreamArn
    SourceParameters:
      DynamoDBStreamParameters: {StartingPosition: LATEST, BatchSize: 10}
      FilterCriteria:
        Filters: [{Pattern: '{"eventName": ["INSERT"], "dynamodb": {"Keys": {"sk": {"S": [{"prefix": "event#"}]}}}}'}]
    Target: !GetAtt Bus.Arn
    TargetParameters:
      EventBridgeEventBusParameters: {Source: evergreen, DetailType: $.dynamodb.NewImage.type.S}
      InputTemplate: >-
        {"model": <$.dynamodb.NewImage.model.S>, "epoch": <$.dynamodb.NewImage.epoch.N>,
        "text": "<$.dynamodb.NewImage.type.S> of <$.dynamodb.NewImage.model.S>", "body": <$.dynamodb.NewImage.body.S>}
"""
OUTBOX += opened("Inbox", "events")
OUTBOX += role(
    "pipe",
    "pipes",
    "dynamodb:*Stream*",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "events:PutEvents",
    "sqs:SendMessage",
)


def told(cloud: Any) -> list[dict[str, Any]]:
    return [json.loads(message["Body"]) for message in messages(cloud, "Inbox")]


def event_item(number: int, kind: str = "VersionPromoted") -> dict[str, Any]:
    return {
        "model": {"S": "fraud"},
        "sk": {"S": f"event#{number:06d}"},
        "epoch": {"N": str(number)},
        "type": {"S": kind},
        "body": {"S": json.dumps({"because": 'it "won"'})},
    }


def state_update(epoch: int) -> dict[str, Any]:
    return {
        "Key": {"model": {"S": "fraud"}, "sk": {"S": "state"}},
        "UpdateExpression": "SET #e = :new",
        "ConditionExpression": "attribute_not_exists(#e) OR #e = :old",
        "ExpressionAttributeNames": {"#e": "epoch"},
        "ExpressionAttributeValues": {":new": {"N": str(epoch + 1)}, ":old": {"N": str(epoch)}},
    }


def record(cloud: Any, epoch: int) -> None:
    table = cloud.resources["Ledger"]
    cloud.client("dynamodb").transact_write_items(
        TransactItems=[
            {"Update": {"TableName": table, **state_update(epoch)}},
            {"Put": {"TableName": table, "Item": event_item(epoch + 1)}},
        ]
    )


def test_an_event_in_the_ledger_leaves_for_the_bus(tmp_path: Path) -> None:
    with deploy(tmp_path, OUTBOX) as cloud:
        record(cloud, 0)
        cloud.drain()
        [event] = told(cloud)
        assert (event["source"], event["detail-type"]) == ("evergreen", "VersionPromoted")
        assert event["detail"]["model"] == "fraud"
        assert event["detail"]["epoch"] == "1"  # a DynamoDB number is a string in the stream, and stays one
        assert event["detail"]["text"] == "VersionPromoted of fraud"
        assert json.loads(event["detail"]["body"]) == {"because": 'it "won"'}


def test_events_leave_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    with deploy(tmp_path, OUTBOX) as cloud:
        for epoch in range(9):
            record(cloud, epoch)
        cloud.drain()
        assert [event["detail"]["epoch"] for event in told(cloud)] == [str(n) for n in range(1, 10)]


def test_a_transaction_that_fails_writes_nothing_and_tells_nobody(tmp_path: Path) -> None:
    with deploy(tmp_path, OUTBOX) as cloud:
        record(cloud, 0)
        with pytest.raises(ClientError) as refused:
            record(cloud, 7)
        reasons = refused.value.response["CancellationReasons"]
        assert [reason["Code"] for reason in reasons] == ["ConditionalCheckFailed", "None"]
        cloud.drain()
        assert len(told(cloud)) == 1
        items = cloud.client("dynamodb").scan(TableName=cloud.resources["Ledger"])["Items"]
        assert sorted(item["sk"]["S"] for item in items) == ["event#000001", "state"]


def test_a_write_that_cannot_be_done_undoes_the_others(tmp_path: Path) -> None:
    with deploy(tmp_path, OUTBOX) as cloud:
        table = cloud.resources["Ledger"]
        record(cloud, 0)
        with pytest.raises(ClientError):
            cloud.client("dynamodb").transact_write_items(
                TransactItems=[
                    {"Put": {"TableName": table, "Item": event_item(1, "Overwritten")}},
                    {"Put": {"TableName": table, "Item": event_item(2)}},
                    {
                        "Update": {
                            "TableName": table,
                            "Key": {"model": {"S": "fraud"}, "sk": {"S": "state"}},
                            "UpdateExpression": "ADD nothing :text",
                            "ExpressionAttributeValues": {":text": {"S": "no number"}},
                        }
                    },
                ]
            )
        cloud.drain()
        items = cloud.client("dynamodb").scan(TableName=table)["Items"]
        assert sorted(item["sk"]["S"] for item in items) == ["event#000001", "state"]
        assert [item["type"]["S"] for item in items if "type" in item] == ["VersionPromoted"]
        assert len(told(cloud)) == 1


def test_two_writers_cannot_both_win(tmp_path: Path) -> None:
    with deploy(tmp_path, OUTBOX) as cloud:
        for epoch in range(15):
            winners: list[int] = []
            barrier = threading.Barrier(4)

            def write(number: int, epoch: int = epoch, barrier: Any = barrier, winners: list[int] = winners) -> None:
                barrier.wait()
                try:
                    record(cloud, epoch)
                    winners.append(number)
                except ClientError:
                    pass

            threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(winners) == 1


STREAM = (
    MEMORY
    + """
    Events:
      Changes:
        Type: DynamoDB
        Properties: {Stream: !GetAtt Table.StreamArn, StartingPosition: LATEST, BatchSize: 10, MaximumRetryAttempts: 2}
Table:
  Type: AWS::DynamoDB::Table
  Properties:
    BillingMode: PAY_PER_REQUEST
    AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
    KeySchema: [{AttributeName: id, KeyType: HASH}]
    StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
"""
)


def test_a_function_reads_the_changes_of_a_table_in_batches(tmp_path: Path) -> None:
    with deploy(tmp_path, STREAM) as cloud:
        table, dynamodb = cloud.resources["Table"], cloud.client("dynamodb")
        dynamodb.put_item(TableName=table, Item={"id": {"S": "a"}, "n": {"N": "1"}})
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": "b"}},
            UpdateExpression="SET n = :n",
            ExpressionAttributeValues={":n": {"N": "2"}},
        )
        dynamodb.delete_item(TableName=table, Key={"id": {"S": "a"}})
        cloud.drain()
        [event] = remembered(cloud)
        changes = [(r["eventName"], r["dynamodb"]["Keys"]["id"]["S"]) for r in event["Records"]]
        assert changes == [("INSERT", "a"), ("INSERT", "b"), ("REMOVE", "a")]
        assert event["Records"][1]["dynamodb"]["NewImage"] == {"id": {"S": "b"}, "n": {"N": "2"}}
        assert event["Records"][2]["dynamodb"]["OldImage"]["n"] == {"N": "1"}
        assert event["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] == START.timestamp()


def test_a_stream_waits_for_a_batch_that_fails_then_goes_on(tmp_path: Path) -> None:
    with deploy(tmp_path, STREAM) as cloud:
        put = cloud.client("dynamodb").put_item
        put(TableName=cloud.resources["Table"], Item={"id": {"S": "told to fail"}})
        cloud.drain()
        put(TableName=cloud.resources["Table"], Item={"id": {"S": "waiting"}})
        assert len(remembered(cloud)) == 1
        pass_time(cloud, minutes=5)
        sizes = [len(event["Records"]) for event in remembered(cloud)]
        assert sizes == [1, 2, 2]  # two more tries, then the batch is given up


def test_a_pipe_gives_up_on_what_its_target_cannot_take(tmp_path: Path) -> None:
    resources = OUTBOX.replace(
        "BatchSize: 10", "BatchSize: 10, MaximumRetryAttempts: 1, DeadLetterConfig: {Arn: !GetAtt Dead.Arn}"
    )
    resources = resources.replace('{"model": <$.dynamodb.NewImage.model.S>, "epoch"', '{"model": nonsense, "epoch"')
    with deploy(tmp_path, resources + "Dead: {Type: AWS::SQS::Queue}\n") as cloud:
        record(cloud, 0)
        pass_time(cloud, minutes=5)
        assert told(cloud) == []
        [letter] = messages(cloud, "Dead")
        body = json.loads(letter["Body"])
        assert body["context"]["condition"] == "RetryAttemptsExhausted"
        assert body["DDBStreamBatchInfo"]["batchSize"] == 1


def test_a_function_may_write_to_the_table_it_listens_to(tmp_path: Path) -> None:
    write_function(
        tmp_path,
        "counter",
        """
        import boto3, os
        def handler(event, context):
            for record in event["Records"]:
                n = int(record["dynamodb"]["NewImage"]["n"]["N"])
                if n < 3:
                    item = {"id": {"S": str(n + 1)}, "n": {"N": str(n + 1)}}
                    boto3.client("dynamodb").put_item(TableName="counted", Item=item)
        """,
    )
    resources = (
        STREAM.replace("functions/remember", "functions/counter")
        .replace("    BillingMode", "    TableName: counted\n    BillingMode")
        .replace("Policies: [", "Policies: [{DynamoDBWritePolicy: {TableName: counted}}, ")
    )
    with deploy(tmp_path, resources) as cloud:
        cloud.client("dynamodb").put_item(TableName="counted", Item={"id": {"S": "0"}, "n": {"N": "0"}})
        cloud.drain()
        assert cloud.client("dynamodb").scan(TableName="counted")["Count"] == 4


# --- time to live -----------------------------------------------------------------------------------------------------

SESSIONS = """
Sessions:
  Type: AWS::DynamoDB::Table
  Properties:
    BillingMode: PAY_PER_REQUEST
    AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
    KeySchema: [{AttributeName: id, KeyType: HASH}]
    StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
    TimeToLiveSpecification: {AttributeName: ends, Enabled: true}
"""


def _ids(dynamodb: Any, table: str) -> list[str]:
    return sorted(item["id"]["S"] for item in dynamodb.scan(TableName=table)["Items"])


def test_an_item_whose_time_has_passed_is_gone_days_later_and_the_stream_says_that_the_service_did_it(
    tmp_path: Path,
) -> None:
    events = """
    Events:
      Stream:
        Type: DynamoDB
        Properties: {Stream: !GetAtt Sessions.StreamArn, StartingPosition: LATEST, BatchSize: 10}
"""
    with deploy(tmp_path, SESSIONS, also=MEMORY + events) as cloud:
        dynamodb, table = cloud.client("dynamodb"), cloud.resources["Sessions"]
        now = int(START.timestamp())
        for name, ends in {
            "soon": {"N": str(now + 3_600)},
            "later": {"N": str(now + 40 * 86_400)},
            "in milliseconds": {"N": str(now * 1_000)},
            "long ago": {"N": "1"},  # over five years: DynamoDB takes it for a mistake
            "a text": {"S": str(now)},
        }.items():
            dynamodb.put_item(TableName=table, Item={"id": {"S": name}, "ends": ends})
        pass_time(cloud, hours=2)
        assert "soon" in _ids(dynamodb, table)  # it is still read: DynamoDB takes its time
        pass_time(cloud, days=2)
        assert _ids(dynamodb, table) == ["a text", "in milliseconds", "later", "long ago"]
        pass_time(cloud, days=40)
        assert _ids(dynamodb, table) == ["a text", "in milliseconds", "long ago"]
        seen = [record for event in remembered(cloud) for record in event["Records"]]
        gone = [record for record in seen if record["eventName"] == "REMOVE"]
        assert [record["dynamodb"]["Keys"]["id"]["S"] for record in gone] == ["soon", "later"]
        assert all(record["userIdentity"]["principalId"] == "dynamodb.amazonaws.com" for record in gone)
        assert not any("userIdentity" in record for record in seen if record["eventName"] == "INSERT")


def test_a_table_whose_time_to_live_is_taken_away_keeps_its_items(tmp_path: Path) -> None:
    with deploy(tmp_path, SESSIONS) as cloud:
        dynamodb, table = cloud.client("dynamodb"), cloud.resources["Sessions"]
        ends = {"N": str(int(START.timestamp()) + 60)}
        dynamodb.put_item(TableName=table, Item={"id": {"S": "kept"}, "ends": ends})
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": False, "AttributeName": "ends"}
        )
        pass_time(cloud, days=3)
        assert _ids(dynamodb, table) == ["kept"]
