"""A SageMaker endpoint that does not become what it is asked to: it is told, and asked again, until it is there."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import boto3
import pytest
from crowd import crossing
from living_cloud import HOUR, MINUTE, MODEL
from living_endpoint import open_endpoint
from what_must_hold import in_the_end

from evergreen.domain.state import VersionStatus
from evergreen.errors import ConflictingWriteError, EndpointRefusedError

QUARTER = timedelta(minutes=15)


@pytest.fixture
def empty(monkeypatch):
    """Nobody has trained the model yet."""
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    with crossing() as passing, open_endpoint() as made:
        made.passing = passing
        made.known()
        yield made


@pytest.fixture
def cloud(empty):
    """Version 1 is good."""
    empty.trained()
    empty.baked()
    return empty


def a_second_in_production(cloud):
    """Version 1 is good, and version 2 has taken over."""
    cloud.trained()
    promoted(cloud)
    cloud.carry_out()
    assert (cloud.state.production, cloud.alias("production")) == (2, 2)


def promoted(cloud, version=2):
    cloud.promote(version)
    cloud.collect()
    cloud.deliver_all()


def a_quarter_of_an_hour_later(cloud):
    cloud.pass_time(QUARTER)
    cloud.reconciliation()
    cloud.deliver_all()


def all_again(cloud):
    """What was delivered of late comes once more."""
    cloud.pending, cloud.delivered = cloud.delivered[-8:], []
    cloud.deliver_all()


def test_a_promotion_is_guarded_and_a_rollback_is_not(cloud):
    cloud.trained()
    promoted(cloud)
    policy = cloud.described().deployment.policy
    assert (policy.alarms, len(policy.steps)) == (("too-many-errors",), 2)
    cloud.carry_out()
    cloud.roll_back()
    cloud.collect()
    cloud.deliver_all()
    assert cloud.described().deployment.policy.alarms == ()


def test_a_version_that_takes_over_does_so_without_the_shadow_beside_the_other(cloud):
    cloud.trained()
    assert (cloud.alias("production"), cloud.alias("shadow")) == (1, 2)
    promoted(cloud)
    cloud.carry_out()
    assert (cloud.alias("production"), cloud.alias("shadow")) == (2, None)
    (moved,) = [name for name in cloud.became if "-p2-" in name]
    assert "-p2-s0-" in moved, "in one change"


def test_nothing_is_asked_of_an_endpoint_that_changes(cloud):
    cloud.trained()
    promoted(cloud)
    asked = cloud.described().deployment
    for _ in range(3):
        cloud.pass_time(5 * MINUTE)
        cloud.reconciliation()
        all_again(cloud)
        assert cloud.described().deployment is asked
        assert cloud.state.repoint is not None, "it is no promotion before all requests are answered by it"
    cloud.carry_out()
    assert (cloud.types().count("VersionPromoted"), cloud.state.production) == (2, 2)


def test_whoever_looked_before_another_asked_does_not_take_it_for_undone(cloud):
    cloud.trained()
    cloud.promote(2)
    cloud.collect()
    (delivery,) = [one for one in cloud.pending if one.function == "repoint_alias"]
    cloud.passing.meanwhile["sagemaker.DescribeEndpoint"] = lambda: cloud.call("repoint_alias", delivery.event)
    with suppress(ConflictingWriteError):
        cloud.call("repoint_alias", delivery.event)
    assert cloud.passing.meanwhile == {}, "the other came in between"
    cloud.carry_out()
    assert "RepointFailed" not in cloud.types()
    assert (cloud.state.production, cloud.alias("production")) == (2, 2)


def test_what_sagemaker_undoes_in_silence_is_told_once_and_is_out_for_good(cloud):
    cloud.trained()
    promoted(cloud)
    cloud.pass_time(10 * MINUTE)
    cloud.guardrail("ALARM")
    cloud.carry_out()
    assert (cloud.described().failure_reason, cloud.alias("production")) == (None, 1), "SageMaker says that all is well"
    cloud.guardrail("OK")
    all_again(cloud)
    a_quarter_of_an_hour_later(cloud)
    all_again(cloud)
    assert cloud.types().count("RepointFailed") == 1
    assert (cloud.state.production, cloud.state.repoint) == (1, None)
    assert cloud.state.version(2).status is VersionStatus.ROLLED_BACK
    cloud.settle()
    in_the_end(cloud)


def test_a_rollback_that_does_not_come_about_is_told_and_asked_for_each_quarter_of_an_hour(cloud):
    a_second_in_production(cloud)
    cloud.scarce = True
    cloud.roll_back()
    cloud.collect()
    cloud.carry_out()
    for attempt in (1, 2):
        all_again(cloud)
        assert (cloud.types().count("RepointFailed"), cloud.alias("production")) == (attempt, 2)
        a_quarter_of_an_hour_later(cloud)
        cloud.carry_out()
    cloud.scarce = False
    cloud.settle()
    in_the_end(cloud)
    assert (cloud.state.production, cloud.types().count("VersionRolledBack")) == (1, 1)


def test_a_model_of_the_right_name_that_loads_something_else_is_never_used(cloud):
    cloud.pass_time(HOUR)
    cloud.business_event()
    cloud.deliver_all()
    cloud.end_job(cloud.running_jobs()[0])
    cloud.deliver(cloud.pending.pop(0))
    second, first = cloud.state.version(2), cloud.state.version(1)
    name = f"evergreen-churn-v2-{second.sha256[:8]}"
    container = {"Image": "image", "ModelDataUrl": first.artifact, "Environment": {"SAGEMAKER_PROGRAM": "inference.py"}}
    boto3.client("sagemaker").create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn="arn:aws:iam::123456789012:role/somebody"
    )
    with pytest.raises(EndpointRefusedError, match=f"model {name} is there and loads {first.artifact}, not "):
        cloud.carry_out()
    assert (cloud.alias("production"), cloud.alias("shadow")) == (1, None)


def test_an_endpoint_of_somebody_elses_that_never_came_up_is_left_to_them(empty):
    container = {"Image": "image", "Environment": {"SAGEMAKER_PROGRAM": "inference.py"}}
    sagemaker = boto3.client("sagemaker")
    sagemaker.create_model(
        ModelName="theirs", PrimaryContainer=container, ExecutionRoleArn="arn:aws:iam::123456789012:role/somebody"
    )
    variant = {"VariantName": "theirs", "ModelName": "theirs", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=MODEL, EndpointConfigName="theirs")
    empty.scarce = True
    empty.pass_time(6 * MINUTE)
    with pytest.raises(EndpointRefusedError, match="was made by somebody else: delete it"):
        empty.trained()
    assert (empty.described().endpoint_config_name, empty.described().endpoint_status) == ("theirs", "Failed")


def damaged(cloud):
    """What version 1 would be loaded from is not what was recorded; answers what it was."""
    a_second_in_production(cloud)
    key = cloud.state.version(1).artifact.removeprefix("s3://artifacts/")
    body = cloud.ports.artifacts.get(key)
    cloud.ports.artifacts.put(key, body[:-1])
    model = next(name for name in cloud.models() if "-v1-" in name)
    boto3.client("sagemaker").delete_model(ModelName=model)
    return key, body


def test_a_rollback_to_a_damaged_version_is_told_until_it_is_whole_again(cloud):
    key, body = damaged(cloud)
    cloud.roll_back()
    cloud.collect()
    cloud.deliver_all()
    for attempt in (1, 2):
        all_again(cloud)
        failed = [event for event in cloud.ports.ledger.history(MODEL).documents if event["type"] == "RepointFailed"]
        assert (len(failed), cloud.alias("production")) == (attempt, 2)
        assert "version 1 could not be rolled back to: the artifact's sha256 is " in failed[-1]["because"]
        assert "DifferenceRepaired" not in cloud.types(), "nothing was repaired"
        a_quarter_of_an_hour_later(cloud)
    cloud.ports.artifacts.put(key, body)
    cloud.settle()
    assert (cloud.state.production, cloud.alias("production"), cloud.types().count("VersionRolledBack")) == (1, 1, 1)


def test_a_watcher_that_does_not_come_up_is_asked_for_again(cloud):
    a_second_in_production(cloud)
    cloud.traffic()
    cloud.pass_time(31 * MINUTE)
    cloud.ticks()
    cloud.scarce = True
    cloud.deliver_all()
    cloud.pass_time(6 * MINUTE)
    cloud.pending.clear()  # what SageMaker tells is lost
    cloud.scarce = False
    assert (cloud.state.shadow.version, cloud.alias("shadow")) == (1, None)
    cloud.settle()
    in_the_end(cloud)
    assert cloud.alias("shadow") == 1


def test_an_endpoint_that_does_not_go_back_to_what_it_has_to_be_is_asked_again(cloud):
    a_second_in_production(cloud)
    cloud.pass_time(HOUR)
    older = next(name for name in sorted(cloud.became) if "-p1-s2-" in name)
    boto3.client("sagemaker").update_endpoint(EndpointName=MODEL, EndpointConfigName=older)
    cloud.pass_time(10 * MINUTE)
    cloud.scarce = True
    for _ in range(3):
        assert cloud.alias("production") == 1
        cloud.pending.clear()
        a_quarter_of_an_hour_later(cloud)
    cloud.settle()
    in_the_end(cloud)
    assert cloud.alias("production") == 2
    assert Counter(cloud.types())["VersionPromoted"] == 2
