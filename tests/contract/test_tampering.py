"""One flipped bit in what a model is made of, anywhere: refused by whoever reads it, by name, and nothing is loaded.

Each reader below is given its real bytes with one bit flipped, at places that Hypothesis draws, and has to say so.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from live_world import trained_archive
from small_artifact import small_artifact
from small_cloud import NOW, open_cloud

from evergreen.aws.files import S3Files
from evergreen.domain.aliases import alias_record
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import CandidateRegistered, RetrainingRequested, TrainingStarted
from evergreen.domain.training_jobs import JobEnd
from evergreen.formats.captures import Capture, capture_line
from evergreen.model.archive import unpack
from evergreen.training.live_stored import LiveStateError
from evergreen.training.train import main as train
from evergreen.usecases.evaluate_triggers import evaluate_triggers
from evergreen.usecases.finish_training import finish_training
from evergreen.usecases.learn_live import learn_live
from evergreen.usecases.people import bring, decide
from evergreen.usecases.people.lineage import trace_version
from evergreen.usecases.predict import predict
from evergreen.usecases.profile_capture import profile_capture
from evergreen.usecases.repoint_alias import repoint_alias
from evergreen.usecases.score_shadow import score_shadow
from evergreen.usecases.steps.live_states import kept_live_states
from evergreen.usecases.steps.references import ReferenceHashError, load_reference

DAY = timedelta(days=1)
CAPTURE = "captures/churn/production/2026/03/01/01/part-1.jsonl"
PLACES = st.tuples(st.floats(0, 1), st.integers(0, 7))


def flipped(body, place):
    """The bytes with one bit flipped, a share of the way through."""
    share, bit = place
    offset = min(int(share * len(body)), len(body) - 1)
    return body[:offset] + bytes([body[offset] ^ (1 << bit)]) + body[offset + 1 :]


@dataclass
class Reader:
    """Who reads an object, and how it says that the object is not what was recorded."""

    files: S3Files
    key: str
    read: Callable[[datetime], str]  # at a time that was not asked before; answers its own words
    says: str


def registered(cloud, name):
    """A version that was trained in earnest; answers its number."""
    return bring.register_version("churn", small_artifact(name), "trained", "ada", now=NOW - 9 * DAY, ports=cloud.ports)


def in_production(cloud):
    """Version 1 answers; versions 2 and 3 are there as well."""
    cloud.applied(labels={"classes": ["0", "1"], "maturity": "1h"})
    for name in ("a", "b"):
        registered(cloud, name)
    decide.force_promotion("churn", 1, "a story", "ada", now=NOW - 9 * DAY, ports=cloud.ports)
    repoint_alias("churn", now=NOW - 9 * DAY, ports=cloud.ports)
    asked = Capture("r1", NOW - 2 * timedelta(hours=1), 1, {"age": 41.0, "plan": "a"}, "1", {"0": 0.2, "1": 0.8})
    cloud.ports.data.put(CAPTURE, capture_line(asked, model="churn", variant="production") + b"\n")
    return cloud.ports.ledger.read("churn")


def artifact_of(cloud, number):
    version = cloud.ports.ledger.read("churn").version(number)
    return version.artifact.removeprefix("s3://artifacts/")


def predicts(cloud):
    in_production(cloud)

    def read(now):
        body = json.dumps({"instances": [{"age": 41, "plan": "a"}]})
        answer = predict("churn", "application/json", body, request_id="r", now=now, ports=cloud.ports)
        assert (answer.body, answer.refused, answer.version) == (None, True, 1)
        return answer.failure

    return Reader(cloud.ports.artifacts, artifact_of(cloud, 1), read, "the artifact's sha256 is")


def shadows(cloud):
    state = in_production(cloud)
    cloud.ports.aliases.repoint(alias_record(state, spec_of(state), "shadow", 2))

    def read(now):
        scores = score_shadow(CAPTURE, seconds_left=lambda: 60.0, now=now, ports=cloud.ports)
        assert (scores.rows, scores.refused, scores.version) == (0, True, 2)
        assert list(cloud.ports.data.keys("captures/churn/shadow/")) == []
        return scores.failure

    return Reader(cloud.ports.artifacts, artifact_of(cloud, 2), read, "the artifact's sha256 is")


def traces(cloud):
    in_production(cloud)

    def read(now):
        found = trace_version("churn", 1, now=now, ports=cloud.ports, verify=True)
        return "; ".join(found.flaws)

    return Reader(cloud.ports.artifacts, artifact_of(cloud, 1), read, "the artifact of version 1 is changed since")


def referring(read_with):
    """A reader of the reference of version 1."""

    def prepared(cloud):
        state = in_production(cloud)
        key = state.version(1).reference

        def read(now):
            with pytest.raises(ReferenceHashError) as refused:
                read_with(cloud, key, now)
            return str(refused.value)

        return Reader(cloud.ports.artifacts, key, read, "the sha256 of references/churn/")

    return prepared


def evaluates(cloud):
    state = in_production(cloud)

    def read(now):
        decision = evaluate_triggers("churn", now=now, ports=cloud.ports)
        unread = {check.because for check in decision.checks if check.outcome == "error"}
        assert not decision.retrain
        return "; ".join(sorted(unread))

    key = state.version(1).reference
    return Reader(cloud.ports.artifacts, key, read, "the sha256 of references/churn/")


def kept_fresh(cloud):
    """Version 1 answers, and has a live state; answers where that lies."""
    cloud.applied(freshness={"enabled": True})
    version = bring.register_version("churn", trained_archive("a"), "trained", "ada", now=NOW, ports=cloud.ports)
    decide.force_promotion("churn", version, "a story", "ada", now=NOW, ports=cloud.ports)
    repoint_alias("churn", now=NOW, ports=cloud.ports)
    assert [each.number for each in learn_live("churn", now=NOW, ports=cloud.ports)] == [1]
    return cloud.ports.live.read("churn", version)


def learns(cloud):
    before = kept_fresh(cloud)

    def read(now):
        kept_live_states.cache_clear()  # another process: this one knows what it wrote
        with pytest.raises(LiveStateError) as refused:
            learn_live("churn", now=now, ports=cloud.ports)
        assert cloud.ports.live.read("churn", 1) == before
        return str(refused.value)

    return Reader(cloud.ports.artifacts, before.key, read, f"{before.sha256} is recorded")


READERS = {
    "predict": predicts,
    "score_shadow": shadows,
    "evergreen lineage --verify": traces,
    "load_reference": referring(lambda cloud, key, now: load_reference(cloud.ports, key)),
    "profile_capture": referring(lambda cloud, key, now: profile_capture(CAPTURE, "", now=now, ports=cloud.ports)),
    "evaluate_triggers": evaluates,
    "learn_live": learns,
}


@pytest.fixture
def cloud(_nobodys_credentials):
    with open_cloud() as made:
        yield made


@pytest.fixture
def sessions(monkeypatch):
    """The ONNX sessions that are made."""
    made, session = [], onnxruntime.InferenceSession

    def counted(*arguments, **options):
        made.append(arguments)
        return session(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    return made


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_changed_bit_is_refused_by_name_and_nothing_is_loaded(cloud, sessions, reader):
    found = reader(cloud)
    recorded, times = found.files.get(found.key), iter(range(1_000))
    sessions.clear()  # training makes some

    @settings(max_examples=12)
    @example((0.0, 0)).via("the first bit")
    @example((1.0, 7)).via("the last bit")
    @given(PLACES)
    def refused(place):
        found.files.put(found.key, flipped(recorded, place))
        assert found.says in found.read(NOW + next(times) * timedelta(minutes=1))

    refused()
    assert sessions == []


def test_a_job_of_which_the_artifact_was_changed_is_rejected_or_is_registered_as_what_it_is():
    """Before it is registered nobody knows its hash: gzip's checksum finds what changes its content."""
    told = set()
    whole = small_artifact("churn-d1-0")

    @settings(max_examples=25)
    @example((0.0, 0)).via("gzip's magic")
    @example((0.5, 3)).via("in the middle")
    @given(PLACES)
    def judged(place):
        changed = flipped(whole, place)
        with open_cloud() as cloud:
            cloud.applied()
            run_job(cloud)
            key = "models/churn/churn-d1-0/output/model.tar.gz"
            cloud.ports.artifacts.put(key, changed)
            end = JobEnd("churn-d1-0", "Completed", f"s3://artifacts/{key}", "")
            event = finish_training("churn", end, now=NOW, ports=cloud.ports)[0]
            told.add(type(event).__name__)
            if isinstance(event, CandidateRegistered):  # gzip's header holds bits that nobody reads
                assert event.sha256 == hashlib.sha256(changed).hexdigest()
                assert unpack(changed, ["model.onnx"]) == unpack(whole, ["model.onnx"])
            else:
                assert event.gate["checks"][0]["check"] == "artifact"
            assert finish_training("churn", end, now=NOW, ports=cloud.ports) == ()

    judged()
    assert "CandidateRejected" in told


def run_job(cloud):
    """A training job of the model runs."""
    who = {"time": NOW - DAY, "actor": "ada", "because": "a story"}
    ledger = cloud.ports.ledger
    asked = RetrainingRequested(**who, decision_id="d1", trigger="business_event")
    state = ledger.record(ledger.read("churn"), asked)
    started = {"decision_id": "d1", "job_name": "churn-d1-0", "attempt": 0, "rows": 240, "snapshot": "s"}
    ledger.record(state, TrainingStarted(**who, **started))


def test_a_job_trains_nothing_beside_a_production_that_was_changed(tmp_path, sessions):
    content = small_artifact("a")
    channel = tmp_path / "input" / "data" / "production"
    channel.mkdir(parents=True)
    (tmp_path / "output").mkdir()
    features = '[{"name": "age", "type": "number"}, {"name": "plan", "type": "categorical"}]'
    known = {"model": "churn", "task": "binary", "features": features}
    known["production_sha256"] = hashlib.sha256(content).hexdigest()
    arguments = [part for name, value in known.items() for part in (f"--{name}", value)]

    @settings(max_examples=12)
    @given(PLACES)
    def refused(place):
        (channel / "model.tar.gz").write_bytes(flipped(content, place))
        assert train(arguments, {"SAGEMAKER_BASE_DIR": str(tmp_path)}) == 1
        assert (tmp_path / "output" / "failure").read_text().startswith("production's artifact has sha256 ")

    refused()
    assert sessions == []
