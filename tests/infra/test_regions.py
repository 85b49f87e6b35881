"""template.yaml in other regions and partitions of AWS: a first model is trained, or the deploy says what to set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from moto.backends import get_backend
from samtranslator.yaml_helper import yaml_parse
from small_cloud import ROOT

from evergreen import bootstrap
from evergreen.formats.outcomes import outcome_schema
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from local_cloud.cloud import LocalCloud
from local_cloud.kernel.errors import TemplateError
from local_cloud.kernel.place import ACCOUNT, Place

TEMPLATE = ROOT / "template.yaml"
START = datetime(2026, 3, 1, tzinfo=UTC)
SPEC = ModelSpec.parse(
    {
        "model": "sign",
        "task": "binary",
        "features": {"x": {"type": "number"}},
        "labels": {"classes": ["0", "1"]},
        "training": {"params": {"n_estimators": 5}},
    }
)
REGIONAL = ("lambda", "dynamodb", "events", "scheduler", "sagemaker", "sqs", "sns", "firehose", "cloudwatch", "logs")
ARN = re.compile(r"arn:(?P<partition>aws[a-z-]*):(?P<service>[a-z0-9-]+):(?P<region>[a-z0-9-]*):")


def accounts_of_images() -> dict[str, str]:
    """The account of AWS's scikit-learn image in each region that the template knows."""
    mapped = yaml_parse(TEMPLATE.read_text())["Mappings"]["ScikitLearnImages"]
    return {region: told["Account"] for region, told in mapped.items()}


# --- a region without an image ----------------------------------------------------------------------------------------


@pytest.fixture(params=["il-central-1", "ca-west-1"])
def nowhere(request: pytest.FixtureRequest) -> str:
    """A region of AWS's of which the template knows no image."""
    assert request.param not in accounts_of_images()
    return Place.of(request.param).region


@pytest.mark.parametrize("given", [{}, {"TrainingImage": "ours"}, {"EndpointImage": "ours"}])
def test_where_no_image_is_known_the_deploy_says_what_to_set(nowhere: str, given: dict[str, str]) -> None:
    with pytest.raises(TemplateError, match=r"in this region - set TrainingImage and EndpointImage\."):
        LocalCloud.deploy(TEMPLATE, start=START, region=nowhere, parameters=given)


def test_where_no_image_is_known_two_of_ones_own_will_do(nowhere: str) -> None:
    images = {"TrainingImage": "ours/training:1", "EndpointImage": "ours/endpoint:1"}
    with LocalCloud.deploy(TEMPLATE, start=START, region=nowhere, parameters=images) as cloud:
        assert {name: cloud.outputs[name] for name in images} == images


# --- a region with one ------------------------------------------------------------------------------------------------


def labelled_rows(count: int = 400) -> pa.Table:
    """Rows whose label is the sign of x, but for some noise: the gate rejects what is too good to be true."""
    random = np.random.default_rng(0)
    x = random.normal(size=count)
    times = [START - timedelta(days=3) - timedelta(minutes=row) for row in range(count)]
    schema = outcome_schema(SPEC.feature_schema())
    columns: dict[str, Any] = {
        "event_id": [f"row-{row:04d}" for row in range(count)],
        "inference_time": times,
        "label_time": times,
        "actual": np.where(x + 0.3 * random.normal(size=count) > 0, "1", "0").tolist(),
        "feature.x": x,
    }
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in schema], schema=schema)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(region, marks=pytest.mark.slow)
        for region in ("eu-central-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1")
    ],
)
def trained(request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """The template as it is, in a region; a model that was asked for has been trained there."""
    with LocalCloud.deploy(TEMPLATE, start=START, region=request.param) as cloud:
        try:
            ports = bootstrap.ports_for(cloud.outputs)
            apply.apply_model(SPEC, now=START, ports=ports)
            bring.add_base_data("sign", labelled_rows(), now=START, ports=ports)
            decide.request_training("sign", "the first one", "ada", now=START, ports=ports)
            cloud.advance(START + timedelta(hours=1))
            yield cloud
        finally:
            bootstrap.reset()


def test_a_first_model_is_trained_and_answers(trained: LocalCloud) -> None:
    assert bootstrap.ports_for(trained.outputs).ledger.read("sign").production == 1
    answer = trained.http("POST", "/models/sign/predict", body=json.dumps({"instances": [{"x": 2.0}, {"x": -2.0}]}))
    assert [each["prediction"] for each in answer.json()["predictions"]] == ["1", "0"]
    assert not trained.error_counts
    assert [refusal.message for refusal in trained.authority.refusals] == []


def test_nothing_of_it_is_in_another_region(trained: LocalCloud) -> None:
    """Each of moto's backends is made when somebody asks something of a service in a region."""
    backends: Any = get_backend  # by names, not one of its overloads
    asked = {service: set(backends(service)[ACCOUNT]) for service in REGIONAL}
    assert asked == {service: {trained.place.region} for service in REGIONAL}
    assert set(get_backend("s3")[ACCOUNT]) == {trained.place.partition}


def test_its_names_are_of_its_partition_and_region(trained: LocalCloud) -> None:
    sagemaker, place = trained.client("sagemaker"), trained.place
    (job,) = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    told = [trained.outputs, trained.resources, sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])]
    functions = trained.client("lambda")
    told += functions.get_paginator("list_functions").paginate().build_full_result()["Functions"]
    iam = trained.client("iam")
    for role in iam.get_paginator("list_roles").paginate().build_full_result()["Roles"]:
        told.append(role)
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            told.append(iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"])
    found = [match.groupdict() for match in ARN.finditer(json.dumps(told, default=str))]
    assert {arn["partition"] for arn in found} == {place.partition}
    assert {arn["region"] for arn in found} <= {"", place.region}
    account = accounts_of_images()[place.region]
    image = f"{account}.dkr.ecr.{place.region}.{place.suffix}/sagemaker-scikit-learn:1.4-2-cpu-py3"
    assert trained.outputs["TrainingImage"] == trained.outputs["EndpointImage"] == image
