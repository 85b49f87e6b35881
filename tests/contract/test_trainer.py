"""Training jobs on SageMaker: a request the service takes, and one job a name."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import boto3
import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from botocore.validate import validate_parameters
from small_cloud import NOW, open_cloud

from evergreen.aws.trainer import SageMakerTrainer
from evergreen.domain.model_events import RetrainingRequested
from evergreen.domain.training_jobs import Snapshot, TrainingRequest
from evergreen.errors import TrainingRefusedError
from evergreen.spec import ModelSpec
from evergreen.training.job import TrainingJob
from evergreen.training.source import METRIC_DEFINITIONS
from evergreen.usecases.launch_training import training_request
from evergreen.usecases.people import apply

REQUEST = TrainingRequest(
    job_name="evergreen-churn-20260301020000-7-0",
    model="churn",
    hyperparameters={"model": '"churn"', "task": '"binary"'},
    source="s3://artifacts/source/abc/sourcedir.tar.gz",
    manifest="s3://artifacts/snapshots/churn/20260301020000-7/manifest.json",
    production="s3://artifacts/models/churn/churn-1-0/output/model.tar.gz",
    output="s3://artifacts/models/churn",
    instance_type="ml.m5.large",
    instance_count=1,
    volume_gb=30,
    max_runtime=timedelta(hours=2),
)
CREATE = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape


@pytest.fixture
def cloud(_nobodys_credentials):
    with open_cloud() as opened:
        yield opened


@pytest.fixture
def trainer(cloud):
    return SageMakerTrainer(
        boto3.client("sagemaker"),
        stack="evergreen",
        role_arn="arn:aws:iam::123456789012:role/training",
        image="683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3",
        mlflow_tracking_uri="https://mlflow.example",
        git_commit="1f0c" * 10,
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
    assert len(job["HyperParameters"]) <= 100
    assert len(job["Environment"]) <= 100


EVERYTHING_SET = {
    "estimator": "LogisticRegression",
    "params": {"C": 0.5, "class_weight": {"0": 1.0, "1": 20.0}},
    "rows": "since_change",
    "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/our/training@sha256:" + "a" * 64,
    "instance_type": "ml.c5.9xlarge",
    "volume_gb": 16_384,
    "max_runtime": "28d",
    "spot": True,
    "max_wait": "28d",
    "subnets": ["subnet-0123456789abcdef0", "subnet-1"],
    "security_groups": ["sg-0123456789abcdef0"],
    "kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "network_isolation": True,
}


@pytest.fixture
def launched(cloud):
    """Makes the job of a model as launch_training asks for it."""

    def launch(model="churn", *, features=2, classes=("0", "1"), because="the error rate rose", attempt=0, **training):
        columns = {f"a_feature_of_some_length_{i}": {"type": "number"} for i in range(features)}
        task = "binary" if len(classes) == 2 else "multiclass"
        document = {"model": model, "task": task, "features": columns, "labels": {"classes": sorted(classes)}}
        spec = ModelSpec.parse(document | {"training": training})
        apply.apply_model(spec, now=NOW, ports=cloud.ports)
        decision = {"decision_id": "20260301020000-12345", "trigger": "performance"}
        requested = RetrainingRequested(time=NOW, actor="evaluate_triggers", because=because, **decision)
        state = cloud.ports.ledger.record(cloud.ports.ledger.read(model), requested)
        run = replace(state.run, attempt=attempt)
        return training_request(state, run, spec, Snapshot.of([], source="5" * 64), cloud.ports)

    return launch


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


def test_without_a_registry_the_job_is_told_of_none(cloud):
    trainer = SageMakerTrainer(
        boto3.client("sagemaker"), stack="evergreen", role_arn="r" * 20, image="image", mlflow_tracking_uri=""
    )
    assert trainer.job(REQUEST)["Environment"] == {}


def test_the_job_is_told_of_the_registry_and_the_commit(trainer):
    assert trainer.job(REQUEST)["Environment"] == {
        "MLFLOW_TRACKING_URI": "https://mlflow.example",
        "GIT_COMMIT": "1f0c" * 10,
    }


def test_the_longest_model_name_still_makes_a_job(trainer, launched):
    request = launched("m" * 40, attempt=2)
    assert len(request.job_name) <= 63
    assert_taken(trainer.job(request))


def test_the_smallest_spec_makes_a_job_without_anything_it_does_not_ask_for(trainer, launched):
    job = trainer.job(launched())
    assert_taken(job)
    assert not {"VpcConfig"} & set(job)
    assert (job["EnableManagedSpotTraining"], job["EnableNetworkIsolation"]) == (False, False)
    assert job["OutputDataConfig"].keys() == {"S3OutputPath"}
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 7_200}


def test_a_spec_with_everything_set_makes_a_job_with_all_of_it(trainer, launched):
    job = trainer.job(launched(**EVERYTHING_SET))
    assert_taken(job)
    key = EVERYTHING_SET["kms_key"]
    assert (job["OutputDataConfig"]["KmsKeyId"], job["ResourceConfig"]["VolumeKmsKeyId"]) == (key, key)
    assert job["VpcConfig"] == {
        "Subnets": EVERYTHING_SET["subnets"],
        "SecurityGroupIds": EVERYTHING_SET["security_groups"],
    }
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 28 * 86_400, "MaxWaitTimeInSeconds": 28 * 86_400}
    assert (job["EnableManagedSpotTraining"], job["EnableNetworkIsolation"]) == (True, True)
    assert job["AlgorithmSpecification"]["TrainingImage"] == EVERYTHING_SET["image"]


def test_a_container_without_a_network_gets_its_source_as_an_input_and_calls_nobody(trainer, launched):
    job = trainer.job(launched(**EVERYTHING_SET))
    source = job["HyperParameters"]["sagemaker_submit_directory"]
    assert source == "/opt/ml/input/data/code/sourcedir.tar.gz"
    (code,) = [channel for channel in job["InputDataConfig"] if channel["ChannelName"] == "code"]
    assert code["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://artifacts/source/{'5' * 64}/sourcedir.tar.gz"
    assert "MLFLOW_TRACKING_URI" not in job["Environment"]


def test_attempts_of_a_retraining_share_their_checkpoints_and_no_others_do(trainer, launched):
    first, third = launched(), replace(launched("other"), model="other")
    again = replace(first, job_name="churn-20260301020000-12345-1")
    places = [trainer.job(request)["CheckpointConfig"]["S3Uri"] for request in (first, again, third)]
    assert places[0] == places[1] == "s3://artifacts/checkpoints/churn/20260301020000-12345"
    assert places[2] != places[0]


@pytest.mark.parametrize("features", [300, 500])
def test_a_model_of_many_features_still_makes_a_job_that_reads_them_all(trainer, launched, features):
    request = launched(features=features)
    assert_taken(trainer.job(request))
    names = [feature.name for feature in TrainingJob.from_hyperparameters(request.hyperparameters).schema.features]
    assert names == [f"a_feature_of_some_length_{i}" for i in range(features)]


def test_a_model_of_many_classes_still_makes_a_job_that_knows_them_all(trainer, launched):
    classes = [f"class_{i:04d}" for i in range(1_000)]
    request = launched(classes=classes)
    assert_taken(trainer.job(request))
    assert TrainingJob.from_hyperparameters(request.hyperparameters).schema.classes == tuple(classes)


@pytest.mark.parametrize("because", ["x" * 5_000, "\N{GRINNING FACE}" * 5_000, 'two\nlines and a "quote"', ""])
def test_the_reason_of_the_trigger_travels_with_the_job_as_far_as_it_fits(trainer, launched, because):
    request = launched(because=because)
    assert_taken(trainer.job(request))
    job = TrainingJob.from_hyperparameters(request.hyperparameters)
    assert (job.trigger, job.because) == ("performance", because[:200])
    assert (job.decision_id, job.source_sha256) == ("20260301020000-12345", "5" * 64)


def test_the_metrics_of_the_job_are_those_that_its_log_tells(trainer):
    definitions = trainer.job(REQUEST)["AlgorithmSpecification"]["MetricDefinitions"]
    assert definitions == list(METRIC_DEFINITIONS)
    assert {"validation_accuracy", "production_accuracy", "rows_trained"} <= {d["Name"] for d in definitions}


def test_what_the_service_will_never_take_is_refused_with_its_reason(cloud, trainer):
    client = boto3.client("sagemaker")
    with Stubber(client) as stubbed:
        stubbed.add_client_error("create_training_job", "ValidationException", "Subnet subnet-1 does not exist")
        refused = SageMakerTrainer(client, stack="evergreen", role_arn="r" * 20, image="image", mlflow_tracking_uri="")
        with pytest.raises(TrainingRefusedError, match="Subnet subnet-1 does not exist"):
            refused.start(REQUEST)


def test_a_service_in_trouble_is_no_refusal(cloud):
    client = boto3.client("sagemaker")
    with Stubber(client) as stubbed:
        stubbed.add_client_error("create_training_job", "ResourceLimitExceeded", "no instance is left")
        with pytest.raises(ClientError):
            SageMakerTrainer(client, stack="evergreen", role_arn="r" * 20, image="image", mlflow_tracking_uri="").start(
                REQUEST
            )


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
