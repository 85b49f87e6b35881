"""Training jobs of the deployed template that fail, are stopped or take too long: what SageMaker says, what is told."""

import io
import tarfile
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from base_rows import base_rows

from evergreen import bootstrap
from evergreen.model.archive import pack
from evergreen.spec import ModelSpec
from evergreen.training.source import pack_source
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.people.verify import verify_history
from local_cloud.cloud import LocalCloud

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
START = datetime(2026, 3, 1, tzinfo=UTC)
SPEC = {
    "model": "churn",
    "task": "binary",
    "features": {"x": {"type": "number"}},
    "labels": {"classes": ["0", "1"]},
}
FAILS = """
import os, pathlib, sys
pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "output", "failure").write_text("the recipe is wrong")
sys.exit(1)
"""
SLEEPS = "import time; print('asleep', flush=True); time.sleep(300)"
IS_STOPPED_ONCE = """
import os, pathlib, sys, time
import evergreen.training.fit as fit
first = not list(pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints").iterdir())
fitted, real = [], fit.fit
def slow(rows, job):
    fitted.append(rows)
    if first and len(fitted) == 2:
        print("about to be stopped", flush=True)
        time.sleep(300)
    return real(rows, job)
fit.fit = slow
from evergreen.training.train import main
sys.exit(main())
"""
WRITES_NONSENSE = """
import os, pathlib
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.pkl").write_text("not what was asked for")
"""


class World:
    """The template in a local cloud, a model, and own source for its training."""

    def __init__(self, cloud):
        self.cloud, self.ports = cloud, bootstrap.ports_for(cloud.outputs)

    def given(self, script, *, source=None, entry_point="ours.py", **training):
        self.ports.artifacts.put("source/ours/sourcedir.tar.gz", source or pack({"ours.py": script.encode()}))
        own = {"source_dir": self.ports.artifacts.uri("source/ours/sourcedir.tar.gz"), "entry_point": entry_point}
        spec = ModelSpec.parse(SPEC | {"training": {"params": {"n_estimators": 5}, **own, **training}})
        apply.apply_model(spec, now=START, ports=self.ports)
        bring.add_base_data("churn", base_rows(spec, START), now=START, ports=self.ports)
        decide.request_training("churn", "prices changed", "ada", now=START, ports=self.ports)

    def advance(self, **span):
        self.cloud.advance(self.cloud.clock.now + timedelta(**span))

    def jobs(self):
        client = self.cloud.client("sagemaker")
        names = [job["TrainingJobName"] for job in client.list_training_jobs(SortBy="Name")["TrainingJobSummaries"]]
        return [client.describe_training_job(TrainingJobName=name) for name in names]

    def told(self):
        return [event for event in self.ports.ledger.history("churn").documents if event["type"] != "ModelApplied"]

    def log(self, job):
        logs, group = self.cloud.client("logs"), "/aws/sagemaker/TrainingJobs"
        found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job['TrainingJobName']}/")
        stream = found["logStreams"][0]["logStreamName"]
        return "\n".join(e["message"] for e in logs.get_log_events(logGroupName=group, logStreamName=stream)["events"])

    def wait_until_said(self, words, job_name):
        (run,) = [r for arn, r in self.cloud.training_jobs._runs.items() if arn.endswith(f"/{job_name}")]
        for _ in range(600):
            if words in run.container.log_text():
                return
            time.sleep(0.1)
        raise AssertionError(f"{job_name} never said {words!r}: {run.container.log_text()}")

    def checkpoints(self):
        return [key.rsplit("/", 1)[1] for key in self.ports.artifacts.keys("checkpoints/churn/")]


@pytest.fixture
def world():
    with LocalCloud.deploy(TEMPLATE, start=START, parameters={"ReconcileSchedule": "rate(1 day)"}) as cloud:
        try:
            opened = World(cloud)
            yield opened
            assert verify_history("churn", ports=opened.ports)[1] == ()
        finally:
            bootstrap.reset()


def test_a_job_that_fails_is_tried_three_times_five_minutes_apart_and_then_given_up(world):
    world.given(FAILS)
    world.advance(hours=2)
    jobs = world.jobs()
    assert [(j["TrainingJobStatus"], j["SecondaryStatus"], j["FailureReason"]) for j in jobs] == [
        ("Failed", "Failed", "the recipe is wrong")
    ] * 3
    pause = [later["CreationTime"] - job["TrainingEndTime"] for job, later in pairwise(jobs)]
    assert all(timedelta(minutes=5) <= p < timedelta(minutes=6) for p in pause)
    told = world.told()
    assert [event["type"] for event in told] == ["RetrainingRequested", *["TrainingStarted", "TrainingFailed"] * 3]
    failures = told[2::2]
    assert [f["final"] for f in failures] == [False, False, True]
    assert {f["because"].partition(": ")[2] for f in failures} == {"the recipe is wrong"}
    assert world.ports.ledger.read("churn").run is None


def test_a_job_that_somebody_stops_is_told_as_that(world):
    world.given(SLEEPS, retries=0)
    world.advance(minutes=1)
    (job,) = world.jobs()
    world.cloud.client("sagemaker").stop_training_job(TrainingJobName=job["TrainingJobName"])
    world.advance(minutes=30)
    (job,) = world.jobs()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    last = world.told()[-1]
    assert (last["type"], last["final"]) == ("TrainingFailed", True)
    assert last["because"] == f"job {job['TrainingJobName']} stopped: somebody stopped it"


def test_a_job_that_takes_too_long_is_stopped_and_told_as_that(world):
    world.given(SLEEPS, retries=0, max_runtime="1s")
    world.advance(minutes=30)
    (job,) = world.jobs()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    last = world.told()[-1]
    assert (last["type"], last["final"]) == ("TrainingFailed", True)
    assert "it ran longer than training.max_runtime" in last["because"]


def test_own_source_that_leaves_something_else_is_rejected_once_and_not_read_for_ever(world):
    world.given(WRITES_NONSENSE)
    world.advance(hours=2)
    assert [job["TrainingJobStatus"] for job in world.jobs()] == ["Completed"]
    last = world.told()[-1]
    assert last["type"] == "CandidateRejected"
    assert "the artifact has no model.onnx" in last["because"]
    assert not any(world.cloud.error_counts.values())


@pytest.mark.slow
def test_an_attempt_goes_on_from_the_validation_of_the_one_that_was_stopped(world):
    world.given(None, source=source_with({"interrupted.py": IS_STOPPED_ONCE}), entry_point="interrupted.py")
    world.advance(minutes=1)
    (first,) = world.jobs()
    world.wait_until_said("about to be stopped", first["TrainingJobName"])
    world.cloud.client("sagemaker").stop_training_job(TrainingJobName=first["TrainingJobName"])
    world.advance(hours=1)
    first, second = world.jobs()
    assert [job["TrainingJobStatus"] for job in (first, second)] == ["Stopped", "Completed"]
    assert first["CheckpointConfig"]["S3Uri"] == second["CheckpointConfig"]["S3Uri"]
    assert world.checkpoints() == ["validation.checkpoint"]
    assert "the validation is kept for the next attempt" in world.log(first)
    assert "the validation is taken from a checkpoint" in world.log(second)
    assert [event["type"] for event in world.told()][:5] == [
        "RetrainingRequested",
        "TrainingStarted",
        "TrainingFailed",
        "TrainingStarted",
        "CandidateRegistered",
    ]


def source_with(more):
    """Evergreen's own source and some files more."""
    with tarfile.open(fileobj=io.BytesIO(pack_source()), mode="r:gz") as archive:
        own = {member.name: archive.extractfile(member).read() for member in archive}
    return pack(own | {name: text.encode() for name, text in more.items()})
