"""Stories about EventBridge on the local cloud."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_stacks import MEMORY, START, deploy, messages, opened, pass_time, remembered, role

from local_cloud.cloud import LocalCloud


def put(
    cloud: Any, detail: dict[str, Any], *, source: str = "evergreen", kind: str = "Told", bus: str = "default"
) -> None:
    entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(detail), "EventBusName": bus}
    answer = cloud.client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0


TOLD = (
    MEMORY
    + """
    Events:
      Told:
        Type: EventBridgeRule
        Properties: {Pattern: {source: [evergreen], detail: {model: [fraud]}}}
"""
)


def test_an_event_reaches_the_function_whose_pattern_it_fits(tmp_path: Path) -> None:
    with deploy(tmp_path, TOLD) as cloud:
        put(cloud, {"model": "fraud", "n": 1})
        put(cloud, {"model": "other"})
        put(cloud, {"model": "fraud"}, source="somebody else")
        assert remembered(cloud) == []  # nothing is delivered inside put_events
        cloud.drain()
        [event] = remembered(cloud)
        assert event["detail"] == {"model": "fraud", "n": 1}
        assert event["time"] == "2026-01-01T00:00:00Z"
        assert set(event) == {
            "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"
        }  # fmt: skip


def test_a_disabled_rule_delivers_nothing_until_it_is_enabled(tmp_path: Path) -> None:
    with deploy(tmp_path, TOLD) as cloud:
        rule = cloud.resources["RememberTold"]
        cloud.client("events").disable_rule(Name=rule)
        put(cloud, {"model": "fraud"})
        cloud.drain()
        cloud.client("events").enable_rule(Name=rule)
        put(cloud, {"model": "fraud", "n": 2})
        cloud.drain()
        assert [event["detail"].get("n") for event in remembered(cloud)] == [2]


def test_a_target_gets_the_input_its_rule_makes_for_it(tmp_path: Path) -> None:
    resources = """
    Inbox: {Type: AWS::SQS::Queue}
    Rule:
      Type: AWS::Events::Rule
      Properties:
        EventPattern: {source: [evergreen]}
        Targets:
          - Id: whole
            Arn: !GetAtt Inbox.Arn
          - Id: constant
            Arn: !GetAtt Inbox.Arn
            Input: '{"constant": true}'
          - Id: part
            Arn: !GetAtt Inbox.Arn
            InputPath: $.detail.model
          - Id: template
            Arn: !GetAtt Inbox.Arn
            InputTransformer:
              InputPathsMap: {m: $.detail.model, all: $.detail}
              InputTemplate: '{"text": "model <m>", "model": <m>, "detail": <all>}'
    """
    with deploy(tmp_path, resources, also=opened("Inbox", "events")) as cloud:
        put(cloud, {"model": "fraud", "n": 1})
        cloud.drain()
        whole, constant, part, template = (json.loads(m["Body"]) for m in messages(cloud, "Inbox"))
        assert whole["detail"] == {"model": "fraud", "n": 1}
        assert constant == {"constant": True}
        assert part == "fraud"
        assert template == {"text": "model fraud", "model": "fraud", "detail": {"model": "fraud", "n": 1}}


def test_what_cannot_be_delivered_lands_in_the_dead_letter_queue_with_its_reason(tmp_path: Path) -> None:
    resources = """
    Dead: {Type: AWS::SQS::Queue}
    Rule:
      Type: AWS::Events::Rule
      Properties:
        EventPattern: {source: [evergreen]}
        Targets:
          - Id: gone
            Arn: !Sub arn:aws:lambda:us-east-1:${AWS::AccountId}:function:gone
            DeadLetterConfig: {Arn: !GetAtt Dead.Arn}
    """
    with deploy(tmp_path, resources, also=opened("Dead", "events")) as cloud:
        put(cloud, {"model": "fraud"})
        cloud.drain()
        [letter] = messages(cloud, "Dead")
        assert json.loads(letter["Body"])["detail"] == {"model": "fraud"}
        attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
        assert attributes["ERROR_CODE"] == "NO_RESOURCE"
        assert attributes["RULE_ARN"].endswith(cloud.resources["Rule"])


def test_a_function_that_does_not_permit_the_bus_is_not_called(tmp_path: Path) -> None:
    resources = (
        MEMORY
        + """
Rule:
  Type: AWS::Events::Rule
  Properties:
    EventPattern: {source: [evergreen]}
    Targets: [{Id: remember, Arn: !GetAtt Remember.Arn}]
"""
    )
    with deploy(tmp_path, resources) as cloud:
        put(cloud, {})
        cloud.drain()
        assert remembered(cloud) == []
        [(_, error)] = cloud.courier.undelivered
        assert error.code == "NO_PERMISSIONS"
        assert "because no resource-based policy allows the lambda:InvokeFunction action" in error.message


def test_a_bus_passes_events_on_to_another_bus_unchanged(tmp_path: Path) -> None:
    resources = """
    Inbox: {Type: AWS::SQS::Queue}
    Second: {Type: AWS::Events::EventBus, Properties: {Name: second}}
    ToSecond:
      Type: AWS::Events::Rule
      Properties:
        EventPattern: {source: [evergreen]}
        Targets: [{Id: second, Arn: !GetAtt Second.Arn, RoleArn: 'arn:aws:iam::123456789012:role/pass'}]
    ToInbox:
      Type: AWS::Events::Rule
      Properties:
        EventBusName: !Ref Second
        EventPattern: {source: [evergreen]}
        Targets: [{Id: inbox, Arn: !GetAtt Inbox.Arn}]
    """
    with deploy(
        tmp_path, resources, also=opened("Inbox", "events") + role("pass", "events", "events:PutEvents")
    ) as cloud:
        put(cloud, {"n": 1}, kind="Passed On")
        cloud.drain()
        [message] = messages(cloud, "Inbox")
        event = json.loads(message["Body"])
        assert (event["detail-type"], event["detail"]) == ("Passed On", {"n": 1})


def test_an_object_put_into_a_bucket_is_an_event_in_awss_shape(tmp_path: Path) -> None:
    resources = """
    Inbox: {Type: AWS::SQS::Queue}
    Data:
      Type: AWS::S3::Bucket
      Properties: {NotificationConfiguration: {EventBridgeConfiguration: {EventBridgeEnabled: true}}}
    Silent: {Type: AWS::S3::Bucket}
    Rule:
      Type: AWS::Events::Rule
      Properties:
        EventPattern: {source: [aws.s3], detail-type: [Object Created], detail: {object: {key: [{prefix: captures/}]}}}
        Targets: [{Id: inbox, Arn: !GetAtt Inbox.Arn}]
    """
    with deploy(tmp_path, resources, also=opened("Inbox", "events")) as cloud:
        s3, bucket = cloud.client("s3"), cloud.resources["Data"]
        pass_time(cloud, hours=1)
        s3.put_object(Bucket=bucket, Key="captures/a b.jsonl", Body=b"12345")
        s3.put_object(Bucket=bucket, Key="elsewhere/x", Body=b"")
        s3.put_object(Bucket=cloud.resources["Silent"], Key="captures/x", Body=b"")
        cloud.drain()
        [message] = messages(cloud, "Inbox")
        event = json.loads(message["Body"])
        assert event["time"] == "2026-01-01T01:00:00Z"
        assert event["resources"] == [f"arn:aws:s3:::{bucket}"]
        assert event["detail"]["bucket"] == {"name": bucket}
        assert event["detail"]["object"]["key"] == "captures/a b.jsonl"
        assert event["detail"]["object"]["size"] == 5
        assert event["detail"]["object"]["etag"] == "827ccb0eea8a706c4c34a16891f84e7b"
        assert event["detail"]["reason"] == "PutObject"


def test_a_topic_calls_its_function_and_its_queue(tmp_path: Path) -> None:
    resources = (
        MEMORY
        + """
    Events:
      Topic: {Type: SNS, Properties: {Topic: !Ref Topic}}
Topic: {Type: AWS::SNS::Topic}
Inbox: {Type: AWS::SQS::Queue}
Subscription:
  Type: AWS::SNS::Subscription
  Properties: {TopicArn: !Ref Topic, Protocol: sqs, Endpoint: !GetAtt Inbox.Arn}
"""
    )
    with deploy(tmp_path, resources, also=opened("Inbox", "sns")) as cloud:
        cloud.client("sns").publish(TopicArn=cloud.resources["Topic"], Message="hello", Subject="greeting")
        cloud.drain()
        [event] = remembered(cloud)
        assert event["Records"][0]["Sns"]["Message"] == "hello"
        assert event["Records"][0]["Sns"]["Timestamp"] == "2026-01-01T00:00:00.000Z"
        [message] = messages(cloud, "Inbox")
        assert json.loads(message["Body"])["Message"] == "hello"


def test_a_wrong_entry_is_refused_on_its_own(tmp_path: Path) -> None:
    with deploy(tmp_path, TOLD) as cloud:
        answer = cloud.client("events").put_events(
            Entries=[
                {"Source": "evergreen", "DetailType": "x", "Detail": "{not json"},
                {"Source": "evergreen", "DetailType": "x", "Detail": '{"model": "fraud"}'},
            ]
        )
        assert answer["FailedEntryCount"] == 1
        assert answer["Entries"][0]["ErrorCode"] == "MalformedDetail"
        cloud.drain()
        assert len(remembered(cloud)) == 1


def test_an_event_that_causes_itself_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from local_cloud.kernel import clock
    from local_cloud.kernel.errors import EndlessLoopError

    monkeypatch.setattr(clock, "ACTIONS_AT_ONE_INSTANT", 50)
    resources = """
    Second: {Type: AWS::Events::EventBus, Properties: {Name: second}}
    Loop:
      Type: AWS::Events::Rule
      Properties:
        EventBusName: !Ref Second
        EventPattern: {source: [evergreen]}
        Targets: [{Id: itself, Arn: !GetAtt Second.Arn, RoleArn: !GetAtt LoopRole.Arn}]
    """
    with deploy(tmp_path, resources, also=role("loop", "events", "events:PutEvents")) as cloud:
        put(cloud, {}, bus="second")
        with pytest.raises(EndlessLoopError, match="an event causes itself"):
            cloud.advance(START)


# --- archives ---------------------------------------------------------------------------------------------------------


def archived(cloud: Any) -> int:
    count: int = cloud.client("events").describe_archive(ArchiveName="kept")["EventCount"]
    return count


def test_a_replay_sends_what_was_archived_in_its_time_to_the_rules_again(tmp_path: Path) -> None:
    with deploy(tmp_path, TOLD) as cloud:
        events = cloud.client("events")
        bus = events.describe_event_bus()["Arn"]
        kept = {"ArchiveName": "kept", "EventSourceArn": bus, "EventPattern": json.dumps({"source": ["evergreen"]})}
        archive = events.create_archive(**kept)["ArchiveArn"]
        for n in range(3):
            put(cloud, {"model": "fraud", "n": n})
            put(cloud, {"model": "fraud", "n": n}, source="somebody else")
            cloud.drain()
            pass_time(cloud, minutes=10)
        assert archived(cloud) == 3

        span = {"EventStartTime": START + timedelta(minutes=5), "EventEndTime": START + timedelta(minutes=15)}
        events.start_replay(ReplayName="again", EventSourceArn=archive, Destination={"Arn": bus}, **span)
        cloud.drain()
        first, again = [event for event in remembered(cloud) if event["detail"]["n"] == 1]
        assert again == {**first, "id": again["id"], "replay-name": "again"}
        assert again["id"] != first["id"]
        assert len(remembered(cloud)) == 4
        assert archived(cloud) == 3, "what is replayed is not archived again"

        [rule] = [one for one in events.list_rules()["Rules"] if not one["Name"].startswith("Events-Archive")]
        nobody = {"Arn": bus, "FilterArns": [f"{rule['Arn']}-other"]}
        events.start_replay(ReplayName="to-nobody", EventSourceArn=archive, Destination=nobody, **span)
        cloud.drain()
        assert len(remembered(cloud)) == 4


@pytest.mark.parametrize(("source", "fits"), [("evergreen", True), ("somebody else", False)])
def test_a_pattern_can_be_tried_on_an_event(source: str, fits: bool) -> None:
    event = {"id": "1", "source": source, "detail-type": "Told", "account": "1", "time": "2026-01-01T00:00:00Z"}
    with LocalCloud(START) as cloud:
        events = cloud.client("events")
        whole = json.dumps({**event, "region": "us-east-1", "resources": []})
        assert events.test_event_pattern(EventPattern='{"source": ["evergreen"]}', Event=whole)["Result"] is fits
        with pytest.raises(ClientError, match="it lacks region, resources"):
            events.test_event_pattern(EventPattern='{"source": ["evergreen"]}', Event=json.dumps(event))
