"""Training jobs on SageMaker: a request the service takes, and one job a name."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import botocore.session
import pytest
from botocore.validate import validate_parameters

from evergreen.aws.trainer import SageMakerTrainer
from evergreen.domain.lifecycle import ModelState, Run
from evergreen.ports import TrainingRequest
from evergreen.spec import ModelSpec
from evergreen.training.job import TrainingJob
from evergreen.usecases import launch_training
from evergreen.usecases.launch_training import Snapshot

REQUEST = TrainingRequest(
    job_name="churn-20260301020000-7-0",
    model="churn",
    hyperparameters={"model": '"churn"', "task": '"binary"'},
    source="s3://artifacts/source/abc/sourcedir.tar.gz",
    manifest="s3://artifacts/snapshots/churn/20260301020000-7/manifest.json",
    production="s3://artifacts/models/churn/churn-1-0/output",
    output="s3://artifacts/models/churn",
    instance_type="ml.m5.large",
    instance_count=1,
    volume_gb=30,
    max_runtime=timedelta(hours=2),
)
CREATE = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape


@pytest.fixture
def trainer(aws):
    return SageMakerTrainer(
        aws("sagemaker"),
        role_arn="arn:aws:iam::123456789012:role/training",
        image="683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3",
        mlflow_tracking_uri="https://mlflow.example",
    )


def broken_limits(value, shape, where="request"):
    """What botocore leaves to the service: longest lengths, patterns and closed sets of its own model."""
    match shape.type_name:
        case "structure":
            for name, part in value.items():
                yield from broken_limits(part, shape.members[name], f"{where}.{name}")
        case "list":
            yield from _limit(len(value), shape, where)
            for i, part in enumerate(value):
                yield from broken_limits(part, shape.member, f"{where}[{i}]")
        case "map":
            yield from _limit(len(value), shape, where)
            for key, part in value.items():
                yield from broken_limits(key, shape.key, f"{where}: {key}")
                yield from broken_limits(part, shape.value, f"{where}.{key}")
        case "string":
            yield from _limit(len(value), shape, where)
            if not re.fullmatch(_pattern(shape), value, re.DOTALL):
                yield f"{where} is {value!r}, not {shape.metadata['pattern']}"
            if shape.enum and value not in shape.enum:
                yield f"{where} is {value!r}, none of {shape.enum}"
        case "integer" | "long":
            yield from _limit(value, shape, where)


def _pattern(shape):
    """The shape's pattern with Java's classes of characters as Python has them."""
    pattern = shape.metadata.get("pattern", ".*")
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r"\s")):
        pattern = pattern.replace(java, python)
    return pattern


def _limit(size, shape, where):
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", float("inf"))
    if not least <= size <= most:
        yield f"{where}: {size} is not between {least} and {most}"


def assert_taken(job):
    validate_parameters(job, CREATE)
    assert list(broken_limits(job, CREATE)) == []


def launched(model="churn", features=2, attempt=0):
    """The job of a model with so many features, as launch_training asks for it."""
    spec = ModelSpec.parse(
        {
            "model": model,
            "task": "binary",
            "features": {f"a_feature_of_some_length_{i}": {"type": "number"} for i in range(features)},
            "labels": {"classes": ["0", "1"]},
        }
    )
    run = Run("20260301020000-12345", "schedule", datetime(2026, 3, 1, 2, tzinfo=UTC), attempt=attempt)
    state = ModelState(model, spec=spec.to_json(), run=run)
    return launch_training._request(state, run, spec, Snapshot.of([]), _Buckets())


class _Buckets:
    """Buckets that only name things: what the request needs of them."""

    data = artifacts = property(lambda self: self)

    def uri(self, key):
        return f"s3://bucket/{key}"

    def put(self, key, body):
        return ""


def test_the_request_is_one_the_service_takes(trainer):
    assert_taken(trainer.job(REQUEST))


def test_a_first_training_has_no_production_channel(trainer):
    job = trainer.job(replace(REQUEST, production=None))
    assert_taken(job)
    assert [channel["ChannelName"] for channel in job["InputDataConfig"]] == ["training"]


def test_the_channels_name_exactly_what_is_read(trainer):
    training, production = (c["DataSource"]["S3DataSource"] for c in trainer.job(REQUEST)["InputDataConfig"])
    assert (training["S3DataType"], training["S3Uri"]) == ("ManifestFile", REQUEST.manifest)
    assert (production["S3DataType"], production["S3Uri"]) == ("S3Prefix", REQUEST.production)


def test_without_a_registry_the_job_is_told_of_none(aws):
    trainer = SageMakerTrainer(aws("sagemaker"), role_arn="r" * 20, image="image", mlflow_tracking_uri="")
    assert trainer.job(REQUEST)["Environment"] == {}


def test_metrics_are_found_in_the_jobs_log(trainer):
    definitions = trainer.job(REQUEST)["AlgorithmSpecification"]["MetricDefinitions"]
    found = {d["Name"]: re.search(d["Regex"], "validation_accuracy=8.5e-01; rows_trained=12000;") for d in definitions}
    assert (found["validation_accuracy"][1], found["rows_trained"][1]) == ("8.5e-01", "12000")


def test_the_longest_model_name_still_makes_a_job(trainer):
    request = launched(model="m" * 40, attempt=2)
    assert request.job_name.endswith("-20260301020000-12345-2")
    assert_taken(trainer.job(request))


def test_a_model_of_many_features_still_makes_a_job_that_reads_them_all(trainer):
    request = launched(features=500)
    assert_taken(trainer.job(request))
    names = [feature.name for feature in TrainingJob.from_hyperparameters(request.hyperparameters).schema.features]
    assert names == [f"a_feature_of_some_length_{i}" for i in range(500)]


def test_a_job_is_started_once_whoever_asks_again(trainer):
    trainer.start(REQUEST)
    trainer.start(REQUEST)
    assert trainer.status(REQUEST.job_name).status in ("InProgress", "Completed")


def test_a_job_nobody_started_has_no_status(trainer):
    assert trainer.status("nobody-started-me") is None


def test_a_jobs_artifact_is_told(trainer):
    trainer.start(REQUEST)
    status = trainer.status(REQUEST.job_name)
    assert status.artifact == f"s3://artifacts/models/churn/{REQUEST.job_name}/output/model.tar.gz"
    assert json.dumps(status.reason) == '""'
