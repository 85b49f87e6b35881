"""Stories about metrics and alarms on the local cloud."""

from __future__ import annotations

import json
import string
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from local_stacks import MEMORY, START, deploy, messages, opened, pass_time, remembered, write_function

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.errors import UnsupportedResourceError
from local_cloud.services.cloudwatch.history import (
    Change,
    Item,
    action_ended,
    configuration_changed,
    state_changed,
)
from local_cloud.services.cloudwatch.metrics import MetricMathError, evaluate_math

MEASURE = """
    import json
    def handler(event, context):
        metric = {"Namespace": "Evergreen", "Dimensions": [["model"]], "Metrics": [{"Name": "Loss", "Unit": "None"}]}
        line = {"_aws": {"Timestamp": 0, "CloudWatchMetrics": [metric]}, "model": "fraud", "Loss": event["loss"]}
        print(json.dumps(line))
        print("not json")
"""

MEASURED = """
Measure: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/measure}}
"""


def measure(cloud: Any, *losses: float) -> None:
    for loss in losses:
        cloud.invoke("Measure", {"loss": loss})


def statistics(cloud: Any, *stats: str, period: int = 60, minutes: int = 60) -> list[dict[str, Any]]:
    points = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="Evergreen",
        MetricName="Loss",
        Dimensions=[{"Name": "model", "Value": "fraud"}],
        StartTime=START,
        EndTime=START + timedelta(minutes=minutes),
        Period=period,
        **({"ExtendedStatistics": list(stats)} if stats[0][0] == "p" else {"Statistics": list(stats)}),
    )["Datapoints"]
    return sorted(points, key=lambda point: point["Timestamp"])


def test_what_a_function_prints_in_emf_becomes_a_metric_at_the_virtual_time(tmp_path: Path) -> None:
    write_function(tmp_path, "measure", MEASURE)
    with deploy(tmp_path, MEASURED) as cloud:
        measure(cloud, 1, 2, 3, 10)
        pass_time(cloud, minutes=5)
        cloud.invoke("Measure", {"loss": [7, 9]})
        first, second = statistics(cloud, "Sum", "Average", "Maximum", "SampleCount")
        assert first["Timestamp"] == START
        assert (first["Sum"], first["Average"], first["Maximum"], first["SampleCount"]) == (16, 4, 10, 4)
        assert (second["Timestamp"] - START, second["Average"]) == (timedelta(minutes=5), 8)
        [p50, _] = statistics(cloud, "p50")
        assert p50["ExtendedStatistics"] == {"p50": 2.5}


def test_get_metric_data_evaluates_percentiles_and_metric_math(tmp_path: Path) -> None:
    write_function(tmp_path, "measure", MEASURE)
    with deploy(tmp_path, MEASURED) as cloud:
        measure(cloud, *range(1, 101))
        pass_time(cloud, minutes=2)
        measure(cloud, 5)

        def query(name: str, stat: str) -> dict[str, Any]:
            metric = {
                "Namespace": "Evergreen",
                "MetricName": "Loss",
                "Dimensions": [{"Name": "model", "Value": "fraud"}],
            }
            return {"Id": name, "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}

        answer = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[
                {"Id": "mean", "Expression": "total / n"},
                {**query("total", "Sum"), "ReturnData": False},
                {**query("n", "SampleCount"), "ReturnData": False},
                query("slow", "p95"),
            ],
            StartTime=START,
            EndTime=START + timedelta(minutes=10),
            ScanBy="TimestampAscending",
        )["MetricDataResults"]
        by_id = {result["Id"]: result for result in answer}
        assert by_id["mean"]["Values"] == [50.5, 5]
        assert by_id["slow"]["Values"][0] == pytest.approx(95.05)
        assert [t - START for t in by_id["mean"]["Timestamps"]] == [timedelta(0), timedelta(minutes=2)]
        listed = cloud.client("cloudwatch").list_metrics(Namespace="Evergreen")["Metrics"]
        assert [metric["MetricName"] for metric in listed] == ["Loss"]


def test_metric_math_refuses_what_it_cannot_evaluate() -> None:
    with pytest.raises(MetricMathError, match="uses a function the local cloud lacks"):
        evaluate_math("ANOMALY_DETECTION_BAND(m1)", {}, [0])
    with pytest.raises(MetricMathError, match="names m2"):
        evaluate_math("m1 / m2", {"m1": {0: 1.0}}, [0])
    assert evaluate_math("IF(m > 1 && m < 3, 1, 0)", {"m": {0: 2.0, 60: 5.0}}, [0, 60]) == {0: 1.0, 60: 0.0}


ALARMED = (
    MEMORY
    + """
Fragile:
  Type: AWS::Serverless::Function
  Properties: {CodeUri: functions/fragile}
Topic:
  Type: AWS::SNS::Topic
  Properties: {Subscription: [{Protocol: sqs, Endpoint: !GetAtt Mail.Arn}]}
Mail: {Type: AWS::SQS::Queue}
Changes: {Type: AWS::SQS::Queue}
Rule:
  Type: AWS::Events::Rule
  Properties:
    EventPattern: {source: [aws.cloudwatch], detail-type: [CloudWatch Alarm State Change]}
    Targets: [{Id: changes, Arn: !GetAtt Changes.Arn}]
Permission:
  Type: AWS::Lambda::Permission
  Properties:
    FunctionName: !Ref Remember
    Action: lambda:InvokeFunction
    Principal: lambda.alarms.cloudwatch.amazonaws.com
Errors:
  Type: AWS::CloudWatch::Alarm
  Properties:
    AlarmDescription: too many errors
    ComparisonOperator: GreaterThanThreshold
    Threshold: 0.5
    EvaluationPeriods: 2
    DatapointsToAlarm: 2
    TreatMissingData: notBreaching
    AlarmActions: [!GetAtt Remember.Arn, !Ref Topic]
    OKActions: [!GetAtt Remember.Arn]
    Metrics:
      - {Id: rate, Expression: 'IF(n > 0, bad / n, 0)'}
      - Id: bad
        ReturnData: false
        MetricStat:
          Metric: {Namespace: AWS/Lambda, MetricName: Errors, Dimensions: [{Name: FunctionName, Value: !Ref Fragile}]}
          Period: 60
          Stat: Sum
      - Id: n
        ReturnData: false
        MetricStat:
          Metric:
            Namespace: AWS/Lambda
            MetricName: Invocations
            Dimensions: [{Name: FunctionName, Value: !Ref Fragile}]
          Period: 60
          Stat: Sum
"""
    + opened("Mail", "sns")
    + opened("Changes", "events")
)

FRAGILE = """
    def handler(event, context):
        if event["fail"]:
            raise RuntimeError("broken")
"""


def call(cloud: Any, *, failing: int, fine: int) -> None:
    for fail in [True] * failing + [False] * fine:
        cloud.client("lambda").invoke(FunctionName=cloud.resources["Fragile"], Payload=json.dumps({"fail": fail}))


def state(cloud: Any) -> str:
    [alarm] = cloud.client("cloudwatch").describe_alarms(AlarmNames=[cloud.resources["Errors"]])["MetricAlarms"]
    return str(alarm["StateValue"])


def test_an_alarm_on_a_rate_tells_a_function_a_topic_and_the_bus(tmp_path: Path) -> None:
    write_function(tmp_path, "fragile", FRAGILE)
    with deploy(tmp_path, ALARMED) as cloud:
        assert state(cloud) == "INSUFFICIENT_DATA"
        pass_time(cloud, minutes=5)
        assert state(cloud) == "OK"

        call(cloud, failing=2, fine=1)
        pass_time(cloud, minutes=1)
        assert state(cloud) == "OK"  # one bad minute of the two it takes
        call(cloud, failing=3, fine=0)
        pass_time(cloud, minutes=1)
        assert state(cloud) == "ALARM"
        pass_time(cloud, minutes=10)
        assert state(cloud) == "OK"

        direct = remembered(cloud)
        assert [event["alarmData"]["state"]["value"] for event in direct] == ["OK", "ALARM", "OK"]
        alarm = direct[1]
        assert alarm["source"] == "aws.cloudwatch"
        assert alarm["time"] == alarm["alarmData"]["state"]["timestamp"] == "2026-01-01T00:07:00.000+0000"
        assert alarm["alarmArn"].endswith(f":alarm:{cloud.resources['Errors']}")
        assert alarm["alarmData"]["previousState"]["value"] == "OK"
        assert alarm["alarmData"]["configuration"]["metrics"][0]["expression"] == "IF(n > 0, bad / n, 0)"
        assert "was greater than the threshold (0.5)" in alarm["alarmData"]["state"]["reason"]

        [mail] = messages(cloud, "Mail")
        notification = json.loads(mail["Body"])
        told = json.loads(notification["Message"])
        assert notification["Subject"].startswith("ALARM: ")
        assert (told["NewStateValue"], told["OldStateValue"]) == ("ALARM", "OK")
        changes = [json.loads(message["Body"])["detail"]["state"]["value"] for message in messages(cloud, "Changes")]
        assert changes == ["OK", "ALARM", "OK"]


def test_a_state_set_by_hand_runs_the_actions_once(tmp_path: Path) -> None:
    write_function(tmp_path, "fragile", FRAGILE)
    with deploy(tmp_path, ALARMED) as cloud:
        for _ in range(2):
            cloud.client("cloudwatch").set_alarm_state(
                AlarmName=cloud.resources["Errors"], StateValue="ALARM", StateReason="a drill"
            )
        cloud.drain()
        [event] = remembered(cloud)
        assert event["alarmData"]["state"]["reason"] == "a drill"


def test_missing_data_is_neither_good_nor_bad_unless_the_alarm_says_so(tmp_path: Path) -> None:
    resources = """
    Quiet:
      Type: AWS::CloudWatch::Alarm
      Properties:
        AlarmName: quiet
        Namespace: Evergreen
        MetricName: Rows
        Statistic: Sum
        Period: 300
        EvaluationPeriods: 1
        Threshold: 1
        ComparisonOperator: LessThanThreshold
    Breaching:
      Type: AWS::CloudWatch::Alarm
      Properties:
        AlarmName: breaching
        Namespace: Evergreen
        MetricName: Rows
        Statistic: Sum
        Period: 300
        EvaluationPeriods: 1
        Threshold: 1
        ComparisonOperator: LessThanThreshold
        TreatMissingData: breaching
    """
    with deploy(tmp_path, resources) as cloud:

        def states() -> dict[str, str]:
            alarms = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
            return {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms}

        cloud.client("cloudwatch").put_metric_data(
            Namespace="Evergreen", MetricData=[{"MetricName": "Rows", "Value": 5}]
        )
        pass_time(cloud, minutes=5)
        assert states() == {"quiet": "OK", "breaching": "OK"}
        pass_time(cloud, minutes=30)
        assert states() == {"quiet": "INSUFFICIENT_DATA", "breaching": "ALARM"}
        assert cloud.agenda.run(cloud.clock.now + timedelta(days=365)) == 0


def test_an_alarm_that_cannot_be_evaluated_fails_the_deploy(tmp_path: Path) -> None:
    write_function(tmp_path, "fragile", FRAGILE)
    with pytest.raises(UnsupportedResourceError, match=r"Errors \(AWS::CloudWatch::Alarm\)"):
        deploy(tmp_path, ALARMED.replace("IF(n > 0, bad / n, 0)", "SEARCH(n, bad)"))


def test_an_alarm_on_a_metric_that_nothing_here_emits_fails_the_deploy(tmp_path: Path) -> None:
    resources = """
    Throttled:
      Type: AWS::CloudWatch::Alarm
      Properties:
        Namespace: AWS/DynamoDB
        MetricName: ThrottledRequests
        Statistic: Sum
        Period: 60
        EvaluationPeriods: 1
        Threshold: 1
        ComparisonOperator: GreaterThanThreshold
    """
    with pytest.raises(UnsupportedResourceError, match="AWS/DynamoDB ThrottledRequests is a metric that nothing here"):
        deploy(tmp_path, resources)


def test_a_dead_letter_alarm_stays_while_the_letter_lies_there(tmp_path: Path) -> None:
    resources = """
    Dead: {Type: AWS::SQS::Queue}
    Letters:
      Type: AWS::CloudWatch::Alarm
      Properties:
        Namespace: AWS/SQS
        MetricName: ApproximateNumberOfMessagesVisible
        Dimensions: [{Name: QueueName, Value: !GetAtt Dead.QueueName}]
        Statistic: Maximum
        Period: 300
        EvaluationPeriods: 1
        Threshold: 0
        ComparisonOperator: GreaterThanThreshold
        TreatMissingData: notBreaching
    """
    with deploy(tmp_path, resources) as cloud:

        def letters() -> str:
            [alarm] = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
            return str(alarm["StateValue"])

        pass_time(cloud, minutes=10)
        assert letters() == "OK"
        cloud.client("sqs").send_message(QueueUrl=cloud.resources["Dead"], MessageBody="x")
        pass_time(cloud, minutes=5)
        assert letters() == "ALARM"
        pass_time(cloud, hours=2)
        assert letters() == "ALARM"
        cloud.client("sqs").purge_queue(QueueUrl=cloud.resources["Dead"])
        pass_time(cloud, minutes=10)
        assert letters() == "OK"
        pass_time(cloud, hours=12)
        assert len(cloud.agenda) == 0


def test_the_http_api_counts_its_errors(tmp_path: Path) -> None:
    write_function(tmp_path, "fragile", FRAGILE)
    resources = """
    Fragile:
      Type: AWS::Serverless::Function
      Properties:
        CodeUri: functions/fragile
        Events: {Call: {Type: HttpApi, Properties: {Path: /call, Method: GET}}}
    """
    with deploy(tmp_path, resources) as cloud:
        cloud.http("GET", "/call")
        cloud.http("GET", "/nowhere")
        [api_id] = cloud.http_apis.apis
        points = {}
        for name in ("Count", "4xx", "5xx"):
            [point] = cloud.client("cloudwatch").get_metric_statistics(
                Namespace="AWS/ApiGateway",
                MetricName=name,
                Dimensions=[{"Name": "ApiId", "Value": api_id}],
                StartTime=START,
                EndTime=START + timedelta(minutes=1),
                Period=60,
                Statistics=["Sum"],
            )["Datapoints"]
            points[name] = point["Sum"]
        assert points == {"Count": 2, "4xx": 1, "5xx": 1}


def history(cloud: Any, name: str | None = None, **asked: Any) -> list[dict[str, Any]]:
    """All pages of an alarm's history, as CloudWatch answers them."""
    pages = cloud.client("cloudwatch").get_paginator("describe_alarm_history")
    named = {} if name is None else {"AlarmName": name}
    return [item for page in pages.paginate(**named, **asked) for item in page["AlarmHistoryItems"]]


def test_the_history_of_an_alarm_tells_what_became_of_its_actions(tmp_path: Path) -> None:
    """One action may call its function, and the other may not publish: its topic lets CloudWatch in no more."""
    write_function(tmp_path, "fragile", FRAGILE)
    keeps_out = """
    KeepsOut:
      Type: AWS::SNS::TopicPolicy
      Properties:
        Topics: [!Ref Topic]
        PolicyDocument:
          Version: '2012-10-17'
          Statement: [{Effect: Allow, Principal: {Service: events.amazonaws.com}, Action: sns:Publish, Resource: '*'}]
    """
    with deploy(tmp_path, ALARMED, also=textwrap.dedent(keeps_out)) as cloud:
        name, topic = cloud.resources["Errors"], cloud.resources["Topic"]
        cloud.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
        cloud.drain()
        acted = {json.loads(item["HistoryData"])["actionState"]: item for item in history(cloud, name)[:2]}
        [state] = history(cloud, name, HistoryItemType="StateUpdate")
        [created] = history(cloud, name, HistoryItemType="ConfigurationUpdate")

        failed = acted["Failed"]
        why = (
            f"Resource: arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name} is not authorized to perform: "
            f"SNS:Publish on resource: {topic}"
        )
        assert failed["HistorySummary"] == f'Failed to execute action {topic}. Received error: "{why}"'[:255]
        data = json.loads(failed["HistoryData"])
        assert (data["error"], data["notificationResource"]) == (why, topic)
        assert data["stateUpdateTimestamp"] == START.timestamp() * 1000
        published = json.loads(json.loads(data["publishedMessage"])["default"])
        assert (published["AlarmName"], published["NewStateValue"]) == (name, "ALARM")

        [called] = [json.loads(acted["Succeeded"]["HistoryData"])]
        assert acted["Succeeded"]["HistorySummary"] == f"Successfully executed action {called['notificationResource']}"
        assert called["error"] is None
        assert json.loads(called["publishedMessage"])["alarmData"]["alarmName"] == name

        assert state["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
        assert json.loads(state["HistoryData"])["newState"] == {"stateValue": "ALARM", "stateReason": "a drill"}
        assert json.loads(created["HistoryData"])["createdAlarm"]["threshold"] == 0.5


def test_a_topic_under_a_key_that_alarms_may_not_use_is_told_as_aws_tells_it(tmp_path: Path) -> None:
    resources = """
    Topic: {Type: AWS::SNS::Topic, Properties: {KmsMasterKeyId: alias/aws/sns}}
    Quiet:
      Type: AWS::CloudWatch::Alarm
      Properties:
        AlarmName: quiet
        Namespace: Evergreen
        MetricName: Rows
        Statistic: Sum
        Period: 60
        EvaluationPeriods: 1
        Threshold: 1
        ComparisonOperator: LessThanThreshold
        AlarmActions: [!Ref Topic]
    """
    with deploy(tmp_path, resources) as cloud:
        cloud.client("cloudwatch").set_alarm_state(AlarmName="quiet", StateValue="ALARM", StateReason="a drill")
        cloud.drain()
        [acted] = history(cloud, "quiet", HistoryItemType="Action")
    assert json.loads(acted["HistoryData"])["error"] == (
        "CloudWatch Alarms does not have authorization to access the SNS topic encryption key."
    )


def test_the_history_outlives_its_alarm_for_thirty_days(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        cloudwatch = cloud.client("cloudwatch")
        for name in ("gone", "there"):
            put_alarm(cloud, name)
        put_alarm(cloud, "gone", Threshold=2)
        cloudwatch.delete_alarms(AlarmNames=["gone", "never"])
        types = [json.loads(item["HistoryData"])["type"] for item in history(cloud, "gone")]
        assert types == ["Delete", "Update", "Create"], "the newest first"
        pass_time(cloud, days=31)
        put_alarm(cloud, "there", Threshold=2)
        assert [item["HistorySummary"] for item in history(cloud)] == ['Alarm "there" updated']


def put_alarm(cloud: Any, name: str, **changes: Any) -> None:
    watched = {"Namespace": "Evergreen", "MetricName": "Rows", "Statistic": "Sum", "Period": 60}
    rule = {"EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name, **watched, **rule | {"TreatMissingData": "ignore"} | changes
    )


def test_a_history_is_asked_by_alarm_kind_time_and_order_a_page_at_a_time(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        for name in ("one", "two"):
            put_alarm(cloud, name)
        for minute in range(1, 8):
            pass_time(cloud, minutes=1)
            state = "ALARM" if minute % 2 else "OK"
            cloud.client("cloudwatch").set_alarm_state(AlarmName="one", StateValue=state, StateReason="a drill")
        everything = history(cloud)
        assert len(everything) == 2 + 7
        assert everything == sorted(everything, key=lambda item: item["Timestamp"], reverse=True)
        for most in (1, 2, 3, 100):
            assert history(cloud, PaginationConfig={"PageSize": most}) == everything
            oldest = history(cloud, ScanBy="TimestampAscending", PaginationConfig={"PageSize": most})
            assert oldest == everything[::-1]
        assert {item["AlarmName"] for item in history(cloud, "two")} == {"two"}
        span = {"StartDate": START + timedelta(minutes=2), "EndDate": START + timedelta(minutes=4)}
        assert [item["Timestamp"].minute for item in history(cloud, "one", **span)] == [4, 3, 2]
        assert history(cloud, AlarmTypes=["CompositeAlarm"]) == []
        with pytest.raises(ClientError, match="Invalid NextToken"):
            cloud.client("cloudwatch").describe_alarm_history(NextToken="first")


@given(
    actions=st.integers(0, 5),
    reason=st.text("r", min_size=1, max_size=1023),
    name=st.text(string.ascii_letters, min_size=1, max_size=200),
    error=st.none() | st.text(max_size=500),
    message=st.text(max_size=10_000),
)
def test_no_item_is_longer_than_an_item_of_cloudwatch(
    actions: int, reason: str, name: str, error: str | None, message: str
) -> None:
    before = {"value": "OK", "reason": reason, "reasonData": json.dumps({"recentDatapoints": [0.1] * 500})}
    target = "arn:aws:sns:us-east-1:123456789012:told"
    configuration = {"alarmName": name, "alarmActions": [target] * actions, "metrics": [{"id": name}] * 50}
    for told in (
        state_changed(before, before | {"value": "ALARM"}),
        configuration_changed(Change.CREATE, name, configuration),
        action_ended(target, message, START, error),
    ):
        answer = Item(1, name, START, told).answer
        assert 1 <= len(answer["HistorySummary"]) <= 255
        assert json.loads(answer["HistoryData"])
        assert len(answer["HistoryData"]) <= 4095


# --- units ------------------------------------------------------------------------------------------------------------

UNITS = ("Count", "Seconds", None)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(UNITS)), min_size=1, max_size=8), st.sampled_from(UNITS))
@settings(max_examples=20, deadline=None)
def test_who_asks_for_a_unit_is_told_of_that_unit_alone(values: list[tuple[int, str | None]], unit: str | None) -> None:
    with LocalCloud(START) as cloud:
        cloudwatch = cloud.client("cloudwatch")
        for value, own in values:
            datum = {"MetricName": "Wait", "Value": value, **({} if own is None else {"Unit": own})}
            cloudwatch.put_metric_data(Namespace="Till", MetricData=[datum])
        asked = unit or "None"
        wanted = [value for value, own in values if own == unit]
        span = {"StartTime": START, "EndTime": START + timedelta(minutes=1)}
        points = cloudwatch.get_metric_statistics(
            Namespace="Till", MetricName="Wait", Period=60, Statistics=["Sum", "SampleCount"], Unit=asked, **span
        )["Datapoints"]
        assert [(p["Sum"], p["SampleCount"], p["Unit"]) for p in points] == (
            [(sum(wanted), len(wanted), asked)] if wanted else []
        )
        stat = {"Metric": {"Namespace": "Till", "MetricName": "Wait"}, "Period": 60, "Stat": "Sum"}
        [of_unit, of_all] = cloudwatch.get_metric_data(
            MetricDataQueries=[{"Id": "u", "MetricStat": {**stat, "Unit": asked}}, {"Id": "a", "MetricStat": stat}],
            **span,
        )["MetricDataResults"]
        assert of_unit["Values"] == ([sum(wanted)] if wanted else [])
        assert of_all["Values"] == [sum(value for value, _ in values)]


def test_an_alarm_on_another_unit_than_its_metric_has_never_goes_off() -> None:
    with LocalCloud(START) as cloud:
        cloudwatch = cloud.client("cloudwatch")
        for name, unit in (("right", {"Unit": "Seconds"}), ("wrong", {"Unit": "Milliseconds"}), ("any", {})):
            cloudwatch.put_metric_alarm(**{**ON_WAIT, "AlarmName": name}, **unit)
        datum = {"MetricName": "Wait", "Value": 9, "Unit": "Seconds"}
        cloudwatch.put_metric_data(Namespace="Till", MetricData=[datum])
        pass_time(cloud, minutes=1)
        states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]}
        assert states == {"right": "ALARM", "wrong": "INSUFFICIENT_DATA", "any": "ALARM"}


ON_WAIT = {
    "AlarmName": "waiting",
    "Namespace": "Till",
    "MetricName": "Wait",
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
}


# --- what is asked of metrics, and of the past of alarms --------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        (0, "The parameter StartTime must not equal parameter EndTime."),
        (-1, "The parameter EndTime must be greater than StartTime."),
    ],
)
def test_metric_data_of_no_time_at_all_is_refused(minutes: int, told: str) -> None:
    stat = {"Metric": {"Namespace": "Till", "MetricName": "Wait"}, "Period": 60, "Stat": "Sum"}
    queries, end = [{"Id": "a", "MetricStat": stat}], START + timedelta(minutes=minutes)
    with LocalCloud(START) as cloud, pytest.raises(ClientError, match=told):
        cloud.client("cloudwatch").get_metric_data(MetricDataQueries=queries, StartTime=START, EndTime=end)


def test_statistics_without_a_statistic_are_refused() -> None:
    with LocalCloud(START) as cloud, pytest.raises(ClientError, match="InvalidParameterCombination"):
        cloud.client("cloudwatch").get_metric_statistics(
            Namespace="Till", MetricName="Wait", StartTime=START, EndTime=START + timedelta(hours=1), Period=60
        )
