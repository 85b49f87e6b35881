"""Alarms: they say when to look; what the version in production really answered says whether it is rolled back."""

import json
from datetime import timedelta

import boto3
import pytest
from still_endpoints import still_endpoints

from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    PromotionApproved,
    RepointFailed,
    VersionPromoted,
)
from evergreen.domain.state import VersionStatus
from evergreen.usecases.people import decide
from evergreen.usecases.repoint_alias import repoint_alias

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
SHAPES = ["alarm_direct", "alarm_eventbridge", "alarm_sns"]


def alarm(cloud, at, *, shape="alarm_direct", state="ALARM", dimensions=None, namespace="Evergreen/evergreen"):
    """The alarm in one of its three shapes; its metric has these dimensions."""
    event, time = cloud.event(shape), f"{at:%Y-%m-%dT%H:%M:%S.000+0000}"
    if shape == "alarm_sns":
        message = json.loads(event["Records"][0]["Sns"]["Message"])
        message |= {"NewStateValue": state, "StateChangeTime": time}
        if dimensions:
            message["Trigger"] |= {"Namespace": namespace, "Dimensions": named(dimensions)}
        event["Records"][0]["Sns"]["Message"] = json.dumps(message)
        return event
    about = event["alarmData"] if shape == "alarm_direct" else event["detail"]
    about["state"]["value"] = state
    if dimensions:
        metric = about["configuration"]["metrics"][0]["metricStat"]["metric"]
        metric |= {"namespace": namespace, "dimensions": dimensions}
    return event | {"time": time}


def named(dimensions):
    """Dimensions as a mail writes them."""
    return [{"name": name, "value": value} for name, value in dimensions.items()]


def of_several(event, shape, metrics):
    """The same alarm, of metric math over these metrics: (namespace, dimensions) of each."""
    if shape == "alarm_sns":
        message = json.loads(event["Records"][0]["Sns"]["Message"])
        parts = [{"Namespace": space, "MetricName": "Errors", "Dimensions": named(about)} for space, about in metrics]
        told = [
            {"Id": f"m{i}", "MetricStat": {"Metric": part, "Period": 60, "Stat": "Sum"}, "ReturnData": False}
            for i, part in enumerate(parts)
        ]
        message["Trigger"] = {"Metrics": [{"Expression": "m0 / m1", "Id": "e1", "ReturnData": True}, *told]}
        event["Records"][0]["Sns"]["Message"] = json.dumps(message)
        return event
    parts = [{"namespace": space, "name": "Errors", "dimensions": about} for space, about in metrics]
    told = [
        {"id": f"m{i}", "metricStat": {"metric": part, "period": 60, "stat": "Sum"}, "returnData": False}
        for i, part in enumerate(parts)
    ]
    about = event["alarmData"] if shape == "alarm_direct" else event["detail"]
    about["configuration"]["metrics"] = [{"expression": "m0 / m1", "id": "e1", "returnData": True}, *told]
    return event


def composite(event, shape):
    """The same alarm, made of others: it says a rule, and no metric."""
    rule = "ALARM(failed-requests) OR ALARM(slow-requests)"
    if shape == "alarm_sns":
        message = json.loads(event["Records"][0]["Sns"]["Message"])
        del message["Trigger"]
        message |= {"AlarmRule": rule, "TriggeringChildren": [{"Arn": message["AlarmArn"], "State": {}}]}
        event["Records"][0]["Sns"]["Message"] = json.dumps(message)
        return event
    about = event["alarmData"] if shape == "alarm_direct" else event["detail"]
    about["configuration"] = {"alarmRule": rule}
    return event


def promoted(cloud, version, instead_of, at, *, good=True):
    who = {"time": at, "actor": "ada", "because": "a story"}
    state = cloud.ports.ledger.read("churn")
    registered = CandidateRegistered(
        **who,
        version=version,
        decision_id="",
        artifact=f"s3://artifacts/models/churn/v{version}/output/model.tar.gz",
        sha256=str(version) * 64,
        fingerprint=state.fingerprint,
        rows_trained=500,
        trained_until=None,
        reference="",
        gate={},
    )
    approved = PromotionApproved(**who, version=version, instead_of=instead_of, evidence={})
    cloud.ports.ledger.record(state, registered, approved)
    repoint_alias("churn", now=at, ports=cloud.ports)
    while good and cloud.ports.ledger.read("churn").bake is not None:
        state = cloud.ports.ledger.read("churn")
        passed = BakePassed(**who, version=version, phase=state.bake.phase, evidence={})
        cloud.ports.ledger.record(state, passed)


def answered(cloud, version, at, *, requests, errors=0, slow=0):
    """What the version answered in a minute, as the predict function counts it."""
    dimensions = [{"Name": "Model", "Value": "churn"}, {"Name": "Version", "Value": str(version)}]
    counts = {"Requests": requests, "Errors": errors, "SlowRequests": slow}
    boto3.client("cloudwatch").put_metric_data(
        Namespace="Evergreen/evergreen",
        MetricData=[
            {"MetricName": name, "Dimensions": dimensions, "Value": value, "Timestamp": at}
            for name, value in counts.items()
        ],
    )


def last(cloud):
    return cloud.ports.ledger.history("churn").documents[-1]


@pytest.fixture
def two_versions(cloud, now):
    """Versions 1 and 2 are known to be good; 2 answers, since three days."""
    cloud.applied()
    promoted(cloud, 1, None, now - 9 * DAY)
    promoted(cloud, 2, 1, now - 3 * DAY)
    answered(cloud, 2, now - 5 * HOUR, requests=5_000, errors=5, slow=5)
    return cloud


@pytest.mark.parametrize("shape", SHAPES)
def test_a_version_long_good_that_begins_to_fail_is_rolled_back_at_the_first_alarm(two_versions, now, shape):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=120)
    found = two_versions.call("watch_deployment", alarm(two_versions, now, shape=shape))
    assert found["churn"].startswith("120 of 300 requests failed")
    assert (last(two_versions)["type"], last(two_versions)["to_version"]) == ("RollbackDecided", 1)
    assert (last(two_versions)["cause"], last(two_versions)["evidence"]["baseline_requests"]) == ("errors", 5_000)


def test_a_version_that_has_become_slow_is_rolled_back_too(two_versions, now):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, slow=200)
    two_versions.call("watch_deployment", alarm(two_versions, now))
    assert (last(two_versions)["type"], last(two_versions)["cause"]) == ("RollbackDecided", "latency")


@pytest.mark.parametrize("errors", [0, 3, 6], ids="{} of 300 failed".format)
def test_an_alarm_without_evidence_rolls_nothing_back(two_versions, now, errors):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=errors)
    left = two_versions.history()
    two_versions.call("watch_deployment", alarm(two_versions, now))
    assert two_versions.history() == left


def test_what_other_versions_answered_is_no_evidence(two_versions, now):
    answered(two_versions, 1, now - 2 * MINUTE, requests=300, errors=300)
    left = two_versions.history()
    two_versions.call("watch_deployment", alarm(two_versions, now))
    assert two_versions.history() == left


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("state", ["OK", "INSUFFICIENT_DATA"])
def test_only_an_alarm_that_goes_off_is_one(two_versions, now, shape, state):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=120)
    left = two_versions.history()
    assert two_versions.call("watch_deployment", alarm(two_versions, now, shape=shape, state=state)) == {}
    assert two_versions.history() == left


def test_a_flapping_alarm_rolls_back_once(two_versions, now):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=120)
    for second, state in enumerate(["ALARM", "ALARM", "OK", "ALARM", "INSUFFICIENT_DATA", "ALARM"]):
        two_versions.call("watch_deployment", alarm(two_versions, now + second * SECOND, state=state))
    two_versions.call("repoint_alias", "ledger_event")
    for minute, state in enumerate(["OK", "ALARM", "OK", "ALARM"], start=1):
        two_versions.call("watch_deployment", alarm(two_versions, now + minute * MINUTE, state=state))
    assert two_versions.history().count("RollbackDecided") == 1
    assert two_versions.history().count("RollbackImpossible") == 0
    state = two_versions.ports.ledger.read("churn")
    assert (state.production, state.version(2).status) == (1, VersionStatus.ROLLED_BACK)


def test_an_alarm_that_comes_after_the_rollback_it_asked_for_is_not_about_the_version_that_returned(two_versions, now):
    answered(two_versions, 1, now - 4 * DAY, requests=300, errors=200)
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=120)
    late = alarm(two_versions, now - 4 * DAY + MINUTE)
    two_versions.call("watch_deployment", alarm(two_versions, now))
    two_versions.call("repoint_alias", "ledger_event")
    left = two_versions.history()
    assert two_versions.call("watch_deployment", late) == {"churn": None}
    assert two_versions.history() == left


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("dimensions", "looked_at"),
    [
        ({"Model": "churn", "Version": "2"}, ["churn"]),
        ({"Model": "churn"}, ["churn"]),
        ({"Model": "late_flights", "Version": "2"}, []),
    ],
    ids=["this version", "this model", "another model"],
)
def test_an_alarm_that_names_a_model_has_that_one_looked_at(two_versions, now, shape, dimensions, looked_at):
    event = alarm(two_versions, now, shape=shape, dimensions=dimensions)
    assert list(two_versions.call("watch_deployment", event)) == looked_at


@pytest.mark.parametrize("shape", SHAPES)
def test_an_alarm_of_an_older_version_is_not_about_the_one_that_answers(two_versions, now, shape):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=120)
    left = two_versions.history()
    event = alarm(two_versions, now, shape=shape, dimensions={"Model": "churn", "Version": "1"})
    assert two_versions.call("watch_deployment", event) == {"churn": None}
    assert two_versions.history() == left


# --- in an ops bake ---------------------------------------------------------------------------------------------------


@pytest.fixture
def baking(two_versions, now):
    """Version 3 has just taken over."""
    promoted(two_versions, 3, 2, now - 5 * MINUTE, good=False)
    return two_versions


def test_an_alarm_in_a_bake_judges_the_bake_at_once(baking, now):
    answered(baking, 3, now - 2 * MINUTE, requests=200, errors=40)
    baking.call("watch_deployment", alarm(baking, now))
    assert (last(baking)["type"], last(baking)["version"], last(baking)["to_version"]) == ("RollbackDecided", 3, 2)


def died(cloud, at, times):
    """The predict function died: Lambda counts that, and nothing else does."""
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {
                "MetricName": "Errors",
                "Dimensions": [{"Name": "FunctionName", "Value": "evergreen-predict"}],
                "Value": times,
                "Timestamp": at,
            }
        ],
    )


def test_a_version_of_which_the_function_dies_is_rolled_back_although_it_never_answered(baking, now):
    died(baking, now - 2 * MINUTE, 90)
    baking.call("watch_deployment", alarm(baking, now))
    assert (last(baking)["type"], last(baking)["to_version"]) == ("RollbackDecided", 2)
    assert last(baking)["because"].startswith("90 of 90 requests failed")


def test_what_the_function_always_died_of_is_not_the_new_versions_fault(baking, now):
    died(baking, now - 2 * HOUR, 400)
    answered(baking, 3, now - 2 * MINUTE, requests=200, errors=0)
    died(baking, now - 2 * MINUTE, 10)
    baking.call("watch_deployment", alarm(baking, now))
    assert last(baking)["type"] == "VersionPromoted"


def test_outside_a_bake_nobody_knows_whose_crashes_they_are(two_versions, now):
    died(two_versions, now - 2 * MINUTE, 90)
    left = two_versions.history()
    two_versions.call("watch_deployment", alarm(two_versions, now))
    assert two_versions.history() == left


def test_an_alarm_from_before_the_takeover_is_about_the_version_before(baking, now):
    answered(baking, 3, now - 2 * MINUTE, requests=200, errors=40)
    assert baking.call("watch_deployment", alarm(baking, now - 6 * MINUTE)) == {"churn": None}
    assert last(baking)["type"] == "VersionPromoted"


# --- nothing good to return to ----------------------------------------------------------------------------------------


def test_where_nothing_good_is_known_it_is_said_once_loudly_and_production_stays(cloud, now):
    cloud.applied()
    promoted(cloud, 1, None, now - 3 * DAY)
    answered(cloud, 1, now - 5 * HOUR, requests=5_000, errors=5)
    answered(cloud, 1, now - 2 * MINUTE, requests=300, errors=120)
    for minute in range(5):
        cloud.call("watch_deployment", alarm(cloud, now + minute * MINUTE))
    assert cloud.history().count("RollbackImpossible") == 1
    assert "production is left as it is" in last(cloud)["because"]
    assert cloud.ports.aliases.read("churn", "production").version == 1
    cloud.counted()
    told = cloud.event("ledger_event")
    told["detail-type"] = told["detail"]["type"] = "RollbackImpossible"
    cloud.call("compare_shadow", told)
    (counted,) = [values for dimensions, values in cloud.counted() if not dimensions]
    assert counted["RollbacksImpossible"] == 1


def test_a_version_that_was_proven_bad_is_never_returned_to(cloud, now):
    cloud.applied()
    promoted(cloud, 1, None, now - 3 * DAY)
    answered(cloud, 1, now - 5 * HOUR, requests=5_000, errors=5)
    answered(cloud, 1, now - 2 * MINUTE, requests=300, errors=120)
    cloud.call("watch_deployment", alarm(cloud, now))
    promoted(cloud, 2, 1, now + HOUR, good=False)
    answered(cloud, 2, now + HOUR + MINUTE, requests=300, errors=200)
    cloud.call("watch_deployment", alarm(cloud, now + HOUR + 2 * MINUTE))
    assert last(cloud)["type"] == "RollbackImpossible"
    assert cloud.ports.ledger.read("churn").last_known_good() is None


def test_one_models_trouble_is_not_the_next_ones(two_versions, now):
    answered(two_versions, 2, now - 2 * MINUTE, requests=300, errors=120)
    state = json.loads(ledger_state(two_versions))
    broken = json.dumps(state | {"model": "aaa", "spec": {"model": "aaa"}})
    item = {"model": {"S": "aaa"}, "sk": {"S": "state"}, "epoch": {"N": "1"}, "body": {"S": broken}}
    two_versions.dynamodb.put_item(TableName="ledger", Item=item)
    two_versions.dynamodb.put_item(TableName="ledger", Item={"model": {"S": "#models"}, "sk": {"S": "aaa"}})
    with pytest.raises(ExceptionGroup, match="models that could not be judged"):
        two_versions.call("watch_deployment", alarm(two_versions, now))
    assert last(two_versions)["type"] == "RollbackDecided"


def ledger_state(cloud):
    key = {"model": {"S": "churn"}, "sk": {"S": "state"}}
    return cloud.dynamodb.get_item(TableName="ledger", Key=key)["Item"]["body"]["S"]


def test_a_person_may_still_roll_back(two_versions, now):
    decide.force_rollback("churn", "customers complain", "ada", now=now, ports=two_versions.ports)
    assert (last(two_versions)["type"], last(two_versions)["actor"]) == ("RollbackDecided", "ada")
    assert two_versions.call("watch_deployment", alarm(two_versions, now)) == {"churn": None}


# --- of SageMaker endpoints -------------------------------------------------------------------------------------------

AT_CHURN_EU = {"EndpointName": "churn-eu", "VariantName": "production"}


def told(cloud, kind, at, **fields):
    """Record that something happened; what the endpoint really did is other stories'."""
    event = kind(time=at, actor="ada", because="a story", **fields)
    cloud.ports.ledger.record(cloud.ports.ledger.read("churn"), event)


def behind_an_endpoint(cloud, version, at, *, good=True):
    """The version answers since, and has passed its bakes; otherwise its promotion has only been decided."""
    before = cloud.ports.ledger.read("churn").production
    registered = {"decision_id": "", "sha256": "1" * 64, "rows_trained": 500, "trained_until": None, "reference": ""}
    registered |= {"fingerprint": cloud.ports.ledger.read("churn").fingerprint, "gate": {}}
    artifact = f"s3://artifacts/models/churn/v{version}/output/model.tar.gz"
    told(cloud, CandidateRegistered, at, version=version, artifact=artifact, **registered)
    told(cloud, PromotionApproved, at, version=version, instead_of=before, evidence={})
    if good:
        told(cloud, VersionPromoted, at + HOUR, version=version, replaced=before, endpoint={})
    while good and (bake := cloud.ports.ledger.read("churn").bake) is not None:
        told(cloud, BakePassed, at + 2 * HOUR, version=version, phase=bake.phase, evidence={})


def invoked(cloud, at, *, requests, errors=0, endpoint="churn-eu", variant="production"):
    """What an endpoint's variant answered in a minute, as SageMaker counts it: of whichever version."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    counts = {"Invocations": requests, "Invocation5XXErrors": errors, "InvocationModelErrors": errors}
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/SageMaker",
        MetricData=[
            {"MetricName": name, "Dimensions": dimensions, "Value": value, "Timestamp": at}
            for name, value in counts.items()
        ],
    )


@pytest.fixture
def endpoints(cloud, now):
    """Version 2 answers at the endpoint churn-eu since three days; two other models answer elsewhere."""
    with still_endpoints() as found:
        found.configs["theirs"] = {"ProductionVariants": [{"VariantName": "production"}]}
        for name in ("churn-eu", "flights"):
            found.endpoints[name] = {
                "EndpointName": name,
                "EndpointConfigName": "theirs",
                "EndpointStatus": "InService",
            }
        cloud.applied(endpoint={"kind": "sagemaker", "name": "churn-eu"})
        cloud.applied(model="late_flights", endpoint={"kind": "sagemaker", "name": "flights"})
        cloud.applied(model="rain")
        behind_an_endpoint(cloud, 1, now - 9 * DAY)
        behind_an_endpoint(cloud, 2, now - 3 * DAY)
        invoked(cloud, now - 5 * HOUR, requests=5_000, errors=5)
        yield cloud


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("namespace", ["AWS/SageMaker", "/aws/sagemaker/Endpoints"])
def test_an_alarm_of_an_endpoint_has_its_model_looked_at_and_no_other(endpoints, now, shape, namespace):
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=120)
    event = alarm(endpoints, now, shape=shape, dimensions=AT_CHURN_EU, namespace=namespace)
    found = endpoints.call("watch_deployment", event)
    assert list(found) == ["churn"]
    assert found["churn"].startswith("120 of 300 requests failed")
    assert (last(endpoints)["type"], last(endpoints)["to_version"]) == ("RollbackDecided", 1)
    assert last(endpoints)["evidence"]["baseline_requests"] == 5_000


@pytest.mark.parametrize("shape", SHAPES)
def test_an_alarm_of_an_endpoint_that_nobody_knows_is_nobodys(endpoints, now, shape):
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=120)
    left = endpoints.history()
    dimensions = {"EndpointName": "of-another-team", "VariantName": "AllTraffic"}
    event = alarm(endpoints, now, shape=shape, dimensions=dimensions, namespace="AWS/SageMaker")
    assert endpoints.call("watch_deployment", event) == {}
    assert endpoints.history() == left


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("metrics", "looked_at"),
    [
        ([("AWS/SageMaker", AT_CHURN_EU), ("AWS/SageMaker", AT_CHURN_EU)], ["churn"]),
        ([("AWS/SageMaker", AT_CHURN_EU), ("AWS/Lambda", {"FunctionName": "f"})], ["churn"]),
        (
            [("AWS/SageMaker", AT_CHURN_EU), ("AWS/SageMaker", {"EndpointName": "flights"})],
            ["churn", "late_flights", "rain"],
        ),
        ([("Shop", {"EndpointName": "churn-eu"}), ("Shop", {})], ["churn", "late_flights", "rain"]),
    ],
    ids=["errors by requests", "and something else", "two endpoints", "somebody's own metric"],
)
def test_metric_math_is_about_the_one_endpoint_it_names_or_about_any_model(endpoints, now, shape, metrics, looked_at):
    event = of_several(alarm(endpoints, now, shape=shape), shape, metrics)
    assert sorted(endpoints.call("watch_deployment", event)) == looked_at


@pytest.mark.parametrize("shape", SHAPES)
def test_a_composite_alarm_names_no_metric_and_has_every_model_looked_at(endpoints, now, shape):
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=120)
    event = composite(alarm(endpoints, now, shape=shape), shape)
    found = endpoints.call("watch_deployment", event)
    assert {model for model, because in found.items() if because} == {"churn"}
    assert set(found) == {"churn", "late_flights", "rain"}
    assert last(endpoints)["type"] == "RollbackDecided"


def test_what_other_endpoints_and_the_shadow_answered_is_no_evidence(endpoints, now):
    invoked(endpoints, now - 2 * MINUTE, requests=300)
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=300, endpoint="flights")
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=300, variant="shadow")
    left = endpoints.history()
    of_shadow = AT_CHURN_EU | {"VariantName": "shadow"}
    event = alarm(endpoints, now, dimensions=of_shadow, namespace="AWS/SageMaker")
    assert endpoints.call("watch_deployment", event)["churn"].startswith("0 of 300 requests failed")
    assert endpoints.history() == left


def test_an_alarm_that_goes_off_as_a_guardrail_is_left_to_sagemaker(endpoints, now):
    behind_an_endpoint(endpoints, 3, now - 5 * MINUTE, good=False)
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=60)
    left = endpoints.history()
    event = alarm(endpoints, now, dimensions=AT_CHURN_EU, namespace="AWS/SageMaker")
    assert endpoints.call("watch_deployment", event) == {"churn": None}
    assert endpoints.history() == left


def test_what_a_canary_answered_that_sagemaker_took_back_is_not_held_against_the_version_that_stayed(endpoints, now):
    behind_an_endpoint(endpoints, 3, now - 20 * MINUTE, good=False)
    invoked(endpoints, now - 6 * MINUTE, requests=300, errors=60)
    back = {"version": 3, "instead_of": 2, "cause": None, "endpoint": {"endpoint": "churn-eu", "config": "c"}}
    told(endpoints, RepointFailed, now - 4 * MINUTE, **back)
    invoked(endpoints, now - 2 * MINUTE, requests=70)
    left = endpoints.history()
    flapping = alarm(endpoints, now, dimensions=AT_CHURN_EU, namespace="AWS/SageMaker")
    found = endpoints.call("watch_deployment", flapping)
    assert endpoints.history() == left
    assert found == {"churn": "0 of 70 requests failed, 0 were slow"}


def test_an_alarm_about_what_the_version_itself_answered_after_that_is_heard(endpoints, now):
    behind_an_endpoint(endpoints, 3, now - 20 * MINUTE, good=False)
    back = {"version": 3, "instead_of": 2, "cause": None, "endpoint": {"endpoint": "churn-eu", "config": "c"}}
    told(endpoints, RepointFailed, now - 10 * MINUTE, **back)
    invoked(endpoints, now - 2 * MINUTE, requests=300, errors=120)
    endpoints.call("watch_deployment", alarm(endpoints, now, dimensions=AT_CHURN_EU, namespace="AWS/SageMaker"))
    assert (last(endpoints)["type"], last(endpoints)["version"]) == ("RollbackDecided", 2)


def test_a_canary_that_went_back_in_the_middle_of_a_bake_is_not_held_against_the_version_that_bakes(endpoints, now):
    behind_an_endpoint(endpoints, 3, now - 90 * MINUTE, good=False)
    told(endpoints, VersionPromoted, now - 25 * MINUTE, version=3, replaced=2, endpoint={})
    behind_an_endpoint(endpoints, 4, now - 20 * MINUTE, good=False)
    invoked(endpoints, now - 12 * MINUTE, requests=300, errors=90)
    back = {"version": 4, "instead_of": 3, "cause": None, "endpoint": {"endpoint": "churn-eu", "config": "c"}}
    told(endpoints, RepointFailed, now - 10 * MINUTE, **back)
    invoked(endpoints, now - 2 * MINUTE, requests=80)
    assert endpoints.ports.ledger.read("churn").bake.version == 3
    event = alarm(endpoints, now, dimensions=AT_CHURN_EU, namespace="AWS/SageMaker")
    assert endpoints.call("watch_deployment", event) == {"churn": "watched 0:25:00, the bake lasts 0:30:00"}
    assert last(endpoints)["type"] == "RepointFailed"


def test_an_endpoint_that_somebody_deleted_gives_no_evidence_and_no_error(endpoints, now):
    boto3.client("sagemaker").delete_endpoint(EndpointName="churn-eu")
    left = endpoints.history()
    event = alarm(endpoints, now, dimensions=AT_CHURN_EU, namespace="AWS/SageMaker")
    assert endpoints.call("watch_deployment", event) == {"churn": "0 of 0 requests failed, 0 were slow"}
    assert endpoints.history() == left
