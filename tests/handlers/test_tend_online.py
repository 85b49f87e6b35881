"""The tick of online learning: matured labels once, checkpoints on their cadence, and a candidate past its trial."""

import json
from datetime import timedelta

import boto3
import pytest
from online_world import DAY, HOUR, OnlineWorld, stamp
from small_cloud import kept_clients, open_cloud

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.checkpoints import CheckpointStatus
from evergreen.domain.model_events import ModelPaused
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, decide, why
from evergreen.usecases.people.online import read_online_status
from evergreen.usecases.steps.online_states import load_state


@pytest.fixture
def world(_nobodys_credentials, monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    with kept_clients(), open_cloud(OnlineWorld) as made:
        yield made


def rows_learned(world):
    return 0 if world.pointer is None else load_state(world.ports, world.pointer).rows


# --- matured labels -------------------------------------------------------------------------------------------------


def test_labels_are_learned_once_their_request_has_matured(world):
    world.begin()
    world.day(tick=False)  # requests at 02:00, 10:00 and 18:00; labels mature after 12 hours
    world.now -= 9 * HOUR
    world.tick()
    assert rows_learned(world) == 64
    world.now += 8 * HOUR
    world.tick()
    assert rows_learned(world) == 128
    world.tick()
    assert rows_learned(world) == 128
    world.now += DAY
    world.tick()
    assert rows_learned(world) == 192


def test_a_row_learned_at_once_is_not_learned_again_when_it_has_matured(world):
    world.begin(labels="at_once")
    world.day(tick=False)
    assert rows_learned(world) == 192
    spec = spec_of(world.ports.ledger.read("churn")).to_json()
    spec["online"]["labels"] = "matured"
    apply.apply_model(ModelSpec.parse(spec), now=world.now, ports=world.ports)
    world.now += DAY
    world.tick()
    assert rows_learned(world) == 192


def test_a_corrected_label_that_comes_later_is_learned_too(world):
    world.begin()
    world.day(tick=False)
    world.now += DAY
    world.tick()
    before = rows_learned(world)
    key = next(iter(world.ports.data.keys("ground-truth/")))
    lines = [json.loads(line) for line in world.ports.data.get(key).splitlines()][:5]
    for line in lines:
        line["groundTruthData"]["data"] = str(1 - int(line["groundTruthData"]["data"]))
    late = key.replace("labels.jsonl", "corrected.jsonl")
    event = world.arrived(late, [json.dumps(line).encode() for line in lines])
    world.call("join_labels", event)
    world.now += HOUR
    world.tick()
    assert rows_learned(world) == before + 5


def test_where_online_learning_is_off_nothing_is_written_and_nothing_done(world):
    world.begin(enabled=False)
    world.day()
    assert world.pointer is None
    assert list(world.ports.data.keys("online-rows/")) == []


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_checkpoints_are_kept_on_their_cadence_and_only_the_newest_thirty(world):
    world.begin(labels="at_once", checkpoint="1h")
    world.day()
    for _ in range(33):
        world.requests(world.now, 40.0, flipped=False)
        world.now += HOUR
        world.tick()
    numbers = [each.number for each in world.checkpoints]
    assert numbers[-1] == 34
    assert len(numbers) <= 31  # one that is on trial is never forgotten
    kept = {each.key for each in world.checkpoints}
    assert set(world.ports.artifacts.keys("online/churn/checkpoints/")) == kept


def test_a_checkpoint_is_the_state_as_it_was(world):
    world.begin(labels="at_once")
    world.day()
    (first,) = world.checkpoints
    frozen = world.ports.artifacts.get(first.key)
    world.day(tick=False)
    assert world.ports.artifacts.get(first.key) == frozen
    assert world.pointer.rows > first.rows


def test_rows_that_are_no_longer_kept_end_a_trial_and_stop_nothing(world):
    """A lifecycle rule has taken a trial's files: what is left of them proves nothing, and the next trial begins."""
    world.begin()
    for _ in range(3):
        world.day()
    on_trial = [each.number for each in world.checkpoints if each.status is CheckpointStatus.ON_TRIAL]
    assert on_trial
    for key in list(world.ports.data.keys("online-rows/")):
        world.ports.data.delete(key)
    before = rows_learned(world)
    world.now += 4 * DAY
    world.tick()
    dropped = next(each for each in world.checkpoints if each.number == on_trial[0])
    assert dropped.status is CheckpointStatus.DROPPED
    assert "CaptureRetentionDays has to exceed labels.maturity and a trial of 1w" in dropped.because
    for _ in range(7):
        world.day(leaves_at=28.0)
    assert rows_learned(world) > before
    assert world.candidates()


# --- a candidate ----------------------------------------------------------------------------------------------------


def drifted(world, days=7, **online):
    world.begin(**online)
    world.day()
    for _ in range(days):
        world.day(leaves_at=28.0)
        if world.candidates():
            return


def test_a_proven_checkpoint_is_requested_once_and_starts_the_ordinary_job_without_a_fit(world):
    drifted(world)
    (number,) = world.candidates()
    request = world.ports.ledger.history("churn").documents[-1]
    assert (request["type"], request["trigger"]) == ("RetrainingRequested", "online")
    world.tick()
    assert world.candidates() == [number]
    state = world.ports.ledger.read("churn")
    assert state.retrainings == ()  # neither cooldown nor budget knows of it
    world.call("launch_training", world.told("RetrainingRequested"))
    run = world.ports.ledger.read("churn").run
    checkpoint = next(each for each in world.checkpoints if each.number == number)
    job = boto3.client("sagemaker").describe_training_job(TrainingJobName=run.job_name)
    channels = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in job["InputDataConfig"]}
    assert channels["online"] == world.ports.artifacts.uri(checkpoint.key)
    told = json.loads(job["HyperParameters"]["checkpoint"])
    assert (told["number"], told["sha256"]) == (number, checkpoint.sha256)
    assert (checkpoint.status, checkpoint.decision_id) == ("candidate", run.decision_id)


def test_why_and_status_tell_of_the_trial(world):
    drifted(world)
    (number,) = world.candidates()
    explanation = why.why("churn", world.now, ports=world.ports)
    (retraining,) = [answer for answer in explanation.answers if answer.question == "retraining"]
    assert retraining.said.startswith(f"retrained because of online: checkpoint {number} of the online state: accuracy")
    assert "CheckpointCompared" in {found.what for found in retraining.findings}
    told = read_online_status("churn", now=world.now, ports=world.ports)
    stands = {each["number"]: each for each in told["checkpoints"]}
    assert stands[number]["verdict"] == "promote"
    assert told["state"]["lately"]["accuracy"] > told["production"]["right"]


def test_a_paused_model_publishes_nothing_and_the_proof_waits(world):
    world.begin()
    world.day()
    ledger = world.ports.ledger
    ledger.record(ledger.read("churn"), ModelPaused(time=world.now, actor="ada", because="audit"))
    for _ in range(7):
        world.day(leaves_at=28.0)
    assert world.candidates() == []
    proven = [each for each in world.checkpoints if each.verdict == "promote"]
    assert proven
    assert all(each.status == "on_trial" for each in proven)
    assert "held back: the model is paused" in proven[-1].because
    decide.resume("churn", "audit is over", "ada", now=world.now, ports=world.ports)
    world.day(leaves_at=28.0)
    assert len(world.candidates()) == 1


def test_a_trial_that_proves_nothing_is_over_after_its_time(world):
    world.begin(checkpoint="30d", trial="4d")
    for _ in range(7):
        world.day()
    (checkpoint,) = world.checkpoints
    assert checkpoint.status == "dropped"
    assert checkpoint.verdict == "keep"
    assert checkpoint.evidence["rows"] > 0


def test_a_tick_that_is_delivered_again_changes_nothing(world):
    drifted(world)
    before = (world.pointer, world.checkpoints, world.ports.ledger.history("churn").documents)
    world.tick()
    assert (world.pointer, world.checkpoints, world.ports.ledger.history("churn").documents) == before
    world.call("learn_online", {"time": stamp(world.now - timedelta(hours=1))})
    assert world.ports.ledger.history("churn").documents == before[2]
