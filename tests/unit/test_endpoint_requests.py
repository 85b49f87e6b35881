"""What SageMaker is asked for: complete, within its limits, and named so that it can be read back."""

import re
from datetime import UTC, datetime

import botocore.session
import pytest
from botocore.validate import validate_parameters
from hypothesis import example, given
from hypothesis import strategies as st

from evergreen.aws.sagemaker_requests import (
    EndpointPlan,
    Instances,
    config_request,
    deployment_request,
    model_request,
)
from evergreen.domain.made_names import head_of
from evergreen.domain.state import Run
from evergreen.domain.training_jobs import job_name
from evergreen.formats.endpoint_names import ConfigVersions, config_name, model_name, version_of
from evergreen.model.schema import MODEL_NAME
from evergreen.spec import EndpointSpec, ModelSpec, SpecError

SAGEMAKER = botocore.session.get_session().get_service_model("sagemaker")
VPC = {"subnets": ["subnet-1a"], "security_groups": ["sg-1a"]}


def accepted(operation, request):
    """Whether botocore's own shapes take the request."""
    validate_parameters(request, SAGEMAKER.operation_model(operation).input_shape)
    return True


def plan(sampling=1.0, **spec):
    return EndpointPlan(
        model="churn_eu",
        endpoint="churn",
        spec=EndpointSpec(kind="sagemaker", **spec),
        stack="evergreen",
        role_arn="arn:aws:iam::123456789012:role/endpoint",
        image="image",
        captures="s3://data/captures/churn_eu",
        sampling=sampling,
    )


def test_a_model_runs_where_the_spec_says():
    request = model_request(plan(image="own", **VPC), "m", "s3://artifacts/m.tar.gz", {"A": "1"})
    assert accepted("CreateModel", request)
    assert request["PrimaryContainer"]["Image"] == "own"
    assert request["VpcConfig"] == {"Subnets": ["subnet-1a"], "SecurityGroupIds": ["sg-1a"]}
    assert {"Key": "evergreen:stack", "Value": "evergreen"} in request["Tags"]
    assert "VpcConfig" not in model_request(plan(), "m", "s3://artifacts/m.tar.gz", {})


def test_a_configuration_captures_below_its_own_name_and_keeps_what_the_endpoint_has():
    found = Instances("ml.c5.large", 3, "AllTraffic")
    request = config_request(plan(kms_key="alias/churn", sampling=0.5), "c", "m1", "m2", found)
    assert accepted("CreateEndpointConfig", request)
    (production,), (shadow,) = request["ProductionVariants"], request["ShadowProductionVariants"]
    assert (production["VariantName"], shadow["VariantName"]) == ("AllTraffic", "shadow")
    assert {variant["InstanceType"] for variant in (production, shadow)} == {"ml.c5.large"}
    capture = request["DataCaptureConfig"]
    assert (capture["DestinationS3Uri"], capture["InitialSamplingPercentage"]) == ("s3://data/captures/churn_eu/c", 50)
    assert (capture["KmsKeyId"], request["KmsKeyId"]) == ("alias/churn", "alias/churn")
    given_by_spec = config_request(plan(instance_type="ml.m5.large", instance_count=1), "c", "m1", None, found)
    assert given_by_spec["ProductionVariants"][0]["InitialInstanceCount"] == 1
    assert "ShadowProductionVariants" not in given_by_spec


@pytest.mark.parametrize("traffic", ["all_at_once", "canary", "linear"])
def test_guardrails_become_a_deployment(traffic):
    guardrails = {"traffic": traffic, "share": 0.5, "wait": "5m", "alarms": ["a", "b"]}
    request = deployment_request(EndpointSpec(kind="sagemaker", guardrails=guardrails))
    assert accepted("UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": request})
    assert request["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == traffic.upper()
    assert request["AutoRollbackConfiguration"]["Alarms"] == [{"AlarmName": "a"}, {"AlarmName": "b"}]


def test_what_is_done_at_once_has_no_alarm_that_could_undo_it():
    spec = EndpointSpec(kind="sagemaker", guardrails={"alarms": ["a"]}).at_once
    request = deployment_request(spec)
    assert "AutoRollbackConfiguration" not in request
    assert request["BlueGreenUpdatePolicy"]["TerminationWaitInSeconds"] == 0


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True),
    st.integers(1, 99_999),
    st.one_of(st.none(), st.integers(1, 99_999)),
    st.integers(1, 10**7),
)
def test_names_fit_and_say_who_answers(stack, model, production, shadow, epoch):
    head = head_of(stack, model)
    config = config_name(head, production, shadow, epoch)
    assert ConfigVersions.read(config) == ConfigVersions(production, shadow, epoch)
    name = model_name(head, production, "models/m.tar.gz", "0f" * 32)
    assert version_of(name, head) == production
    for each in (config, name):
        assert len(each) <= 63
        assert accepted("DescribeModel", {"ModelName": each})


STACKS = st.from_regex(r"[a-c]((-|--)?[a-c2]){0,3}", fullmatch=True)
MODELS = st.from_regex(r"[a-c][a-c2_]{0,6}", fullmatch=True)


@given(st.lists(st.tuples(STACKS, MODELS), min_size=2, max_size=40, unique=True))
@example([("evergreen", "two_sign"), ("evergreen-two", "sign")])
def test_no_two_models_of_an_accounts_stacks_have_names_that_begin_alike(both):
    """With hyphens for underscores: few letters, so that many of them read alike."""
    heads = [head_of(stack, model) for stack, model in both]
    assert len(set(heads)) == len(both)
    run = Run("20260301020000-7", "schedule", datetime(2026, 3, 1, tzinfo=UTC))
    assert len({job_name(stack, model, run) for stack, model in both}) == len(both)


@given(
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,45}", fullmatch=True), st.from_regex(MODEL_NAME, fullmatch=True), st.data()
)
def test_a_job_has_a_name_that_sagemaker_takes(stack, model, data):
    decided = f"20260301020000-{data.draw(st.integers(1, 10**7))}"
    run = Run(decided, "schedule", datetime(2026, 3, 1, tzinfo=UTC), attempt=data.draw(st.integers(0, 9)))
    name = job_name(stack, model, run)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
    assert name.endswith(f"{decided}-{run.attempt}")


ENDPOINT = {"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}}


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ({"kind": "lambda", "name": "churn"}, "endpoint.name is set, but endpoint.kind is lambda"),
        ({"kind": "sagemaker", "guardrails": {"share": 0.6}}, "endpoint.guardrails.share is 0.6: "),
        ({"kind": "sagemaker", "guardrails": {"share": 0.125}}, "give a whole percentage"),
        ({"kind": "sagemaker", "guardrails": {"traffic": "linear", "share": 0.05}}, "linear takes steps of 0.1 to 0.5"),
        ({"kind": "sagemaker", "guardrails": {"alarms": ["a"] * 2}}, "name each alarm once"),
        ({"kind": "sagemaker", "guardrails": {"alarms": list("abcdefghijk")}}, "at most 10 items"),
        ({"kind": "sagemaker", "guardrails": {"wait": "1h"}}, "endpoint.guardrails.max_time is 1h, but waiting alone"),
        ({"kind": "sagemaker", "subnets": ["subnet-1"]}, "endpoint.subnets is set without endpoint.security_groups"),
        ({"kind": "sagemaker", "name": "churn_eu"}, "endpoint.name is 'churn_eu'"),
        ({"kind": "sagemaker", "name": f"a{62 * '-'}b"}, "at most 63 characters"),
        ({"kind": "sagemaker", "name": ""}, "endpoint.name is ''"),
        ({"kind": "sagemake"}, "endpoint.kind is 'sagemake': input should be 'lambda' or 'sagemaker'"),
        ({"guardrails": {"share": 0.2}}, "endpoint.guardrails is set, but endpoint.kind is lambda"),
        ({"kind": "sagemaker", "capture_share": 0.5}, "endpoint.capture_share: unknown key"),
        ({"kind": "sagemaker", "instance_type": "m5.large"}, "endpoint.instance_type is 'm5.large'"),
        ({"kind": "sagemaker", "instance_count": 0}, "endpoint.instance_count is 0"),
        ({"kind": "sagemaker", "image": "my image"}, "endpoint.image is 'my image'"),
        ({"kind": "sagemaker", "kms_key": "my key"}, "endpoint.kms_key is 'my key'"),
        ({"kind": "sagemaker", "security_groups": ["sg-1"]}, "endpoint.security_groups is set without endpoint.subn"),
        ({"kind": "sagemaker", "subnets": ["a"], "security_groups": ["sg-1"]}, "endpoint.subnets.0 is 'a'"),
        ({"kind": "sagemaker", "guardrails": {"traffic": "rolling"}}, "endpoint.guardrails.traffic is 'rolling'"),
        ({"kind": "sagemaker", "guardrails": {"wait": -60}}, "endpoint.guardrails.wait is -1m"),
        ({"kind": "sagemaker", "guardrails": {"wait": "2h"}}, "endpoint.guardrails.wait is 2h"),
        ({"kind": "sagemaker", "guardrails": {"terminate_after": -1}}, "endpoint.guardrails.terminate_after is -1s"),
        ({"kind": "sagemaker", "guardrails": {"max_time": "5m"}}, "endpoint.guardrails.max_time is 5m"),
        ({"kind": "sagemaker", "guardrails": {"alarms": [" "]}}, "endpoint.guardrails.alarms.0 is ' '"),
        ({"kind": "sagemaker", "guardrails": {"alarm": []}}, "endpoint.guardrails.alarm: unknown key"),
    ],
)
def test_an_endpoint_that_sagemaker_would_refuse_is_refused_by_the_spec_in_one_sentence(endpoint, says):
    (problem,) = refused(endpoint=endpoint)
    assert says in problem


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"deployment": {"canary_share": 0.2}}, "remove it, and set endpoint.guardrails.share"),
        ({"capture": {"sampling": 0.125}}, "capture.sampling is 0.125, but endpoint.kind is sagemaker"),
        ({"capture": {"sampling": 0.001}}, "give 0.01 or more"),
        ({"capture": {"sampling": 0}}, "capture.sampling is 0: "),
        ({"capture": {"source": "https://bucket/captures"}}, "write s3://bucket/prefix"),
        ({"capture": {"probability_threshold": 1}}, "capture.probability_threshold is 1: "),
        ({"capture": {"inference_attribute": 3}}, "capture.inference_attribute is 3: "),
        ({"capture": {"attribute": "0"}}, "capture.attribute: unknown key"),
    ],
)
def test_what_an_endpoint_can_not_do_is_refused_with_what_to_write_instead(more, says):
    (problem,) = refused(endpoint={"kind": "sagemaker"}, **more)
    assert says in problem


@pytest.mark.parametrize("share", [0.01, 0.07, 0.29, 0.57, 1.0])
def test_every_whole_percentage_is_one(share):
    told = {"endpoint": {"kind": "sagemaker"}, "capture": {"sampling": share}}
    assert ModelSpec.parse(ENDPOINT | told).capture.sampling == share


def test_the_predict_function_keeps_its_own_canary_and_any_share_of_its_captures():
    spec = ModelSpec.parse(ENDPOINT | {"deployment": {"canary_share": 0.2}, "capture": {"sampling": 0.001}})
    assert (spec.deployment.canary_share, spec.capture.sampling) == (0.2, 0.001)


def refused(**more):
    """The problems of a spec, a line each."""
    with pytest.raises(SpecError) as found:
        ModelSpec.parse(ENDPOINT | more)
    return found.value.problems


def test_an_endpoint_is_called_as_the_spec_says_or_as_the_model():
    named = ModelSpec.parse(ENDPOINT | {"endpoint": {"kind": "sagemaker", "name": "eu"}})
    assert named.endpoint_name == "eu"
    unnamed = ModelSpec.parse(ENDPOINT | {"model": "churn_eu", "endpoint": {"kind": "sagemaker"}})
    assert unnamed.endpoint_name == "churn-eu"
    assert ModelSpec.parse(ModelSpec.parse(ENDPOINT).to_json()).endpoint_name is None
