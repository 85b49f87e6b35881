"""`evergreen lineage`: a version's whole way, and the way of an object of data, on a stack in which a model lives."""

import json
from datetime import timedelta

import pytest
from a_life import a_life
from crowd import crossing
from deployed import Deployed
from living_cloud import DAY, MODEL, LivingCloud
from small_cloud import open_cloud

from evergreen.domain.history import History
from evergreen.domain.model_events import CandidateRetired
from evergreen.errors import UnknownVersionError, UsageError
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line
from evergreen.usecases.people.lineage import NoLineageError, assemble
from evergreen_ops.replay.report import events_text

HOUR = timedelta(hours=1)


class LivingStack(Deployed, LivingCloud):
    """A model that lives in a deployed stack."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A model whose version 1 answers, after version 2 was promoted and rolled back."""
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("work"))  # no local cloud runs here
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        patch.setenv(name, "us-east-1")
    with crossing(), open_cloud(LivingStack) as cloud:
        cloud.deployed()
        cloud.ports.data.put("base-data/churn/x.parquet", b"rows of before")
        a_life(cloud, cloud.deliver_all)
        yield cloud
    patch.undo()


def test_a_version_is_traced_from_its_data_to_its_deployments(stack):
    found = stack.asked("lineage", "churn", "2", code=1)  # the base data was written by somebody else: see below
    assert (found["status"], found["in_production"]) == ("rolled_back", False)
    assert found["decision"]["fields"]["trigger"] == "business_event"
    assert [(job["attempt"], job["ended"].split(":")[0]) for job in found["attempts"]] == [
        (0, "failed"),
        (1, "made version 2"),
    ]
    started = found["attempts"][1]["started"]["fields"]
    assert found["data"]["snapshot"] == started["snapshot"]
    assert len(started["source"]) == 64
    assert found["data"]["found"] == "as recorded"
    assert found["registered"]["fields"]["gate"]["passed"]
    assert [step["what"] for step in found["shadow"]] == ["ShadowStarted", "ShadowCompared"]
    assert found["shadow"][1]["fields"]["verdict"] == "promote"
    assert [step["what"] for step in found["deployments"]] == [
        "PromotionApproved",
        "VersionPromoted",
        "RollbackDecided",
        "VersionRolledBack",
    ]
    assert found["run"] is None


def test_a_file_that_was_changed_since_is_named_and_the_exit_code_says_so(stack):
    told = stack.evergreen("lineage", "churn", "2", code=1)
    assert "base-data/churn/x.parquet (5,000 rows): changed since" in told
    assert stack.said == "evergreen: changed since they were trained on: base-data/churn/x.parquet\n"


def test_the_tree_tells_the_whole_way(stack):
    lines = stack.evergreen("lineage", "churn", code=1).splitlines()
    assert lines[0] == "churn version 1: good, in production"
    told = "\n".join(lines)
    for part in ("data: 5,000 rows in 1 file;", "why: business event", "gate: ", "made version 1", "deployments"):
        assert part in told
    assert "prices changed" in told


def test_an_artifact_that_is_not_the_recorded_one_is_found(stack):
    artifact = stack.state.version(1).artifact.removeprefix("s3://artifacts/")
    body = stack.ports.artifacts.get(artifact)
    assert stack.asked("lineage", "churn", "1", "--verify", code=1)["artifact"] == "as recorded"
    stack.ports.artifacts.put(artifact, body[:-1] + bytes([body[-1] ^ 1]))
    try:
        found = stack.asked("lineage", "churn", "1", "--verify", code=1)
        assert (found["artifact"], found["reference"]) == ("changed since", "as recorded")
        assert "the artifact of version 1 is changed since" in found["flaws"]
    finally:
        stack.ports.artifacts.put(artifact, body)


def test_a_snapshot_that_is_not_the_histories_is_found(stack):
    place = stack.asked("lineage", "churn", "1", code=1)["data"]["place"]
    body = stack.ports.artifacts.get(place)
    stack.ports.artifacts.put(place, body.replace(b"5000", b"4000"))
    try:
        found = stack.asked("lineage", "churn", "1", code=1)
        assert found["data"]["found"] == "changed since"
        assert found["flaws"][0].startswith(f"{place} is not the snapshot of the history (")
        for what in (b"no JSON", b"[]", b'{"files": [{"key": 1}]}'):
            stack.ports.artifacts.put(place, what)
            assert stack.asked("lineage", "churn", "1", code=1)["data"]["found"] == "changed since"
    finally:
        stack.ports.artifacts.put(place, body)


@pytest.mark.parametrize("asked", ["s3://data/base-data/churn/x.parquet", "base-data/churn/x.parquet", "base-data/"])
def test_data_is_traced_to_the_versions_that_were_trained_on_it(stack, asked):
    found = stack.asked("lineage", "churn", "--data", asked)
    assert [(use["version"], use["became"].split(":")[0]) for use in found["uses"]] == [
        (1, "version 1, in production (good)"),
        (None, "failed"),
        (2, "version 2, rolled back"),
    ]
    assert "version 2, rolled back" in stack.evergreen("lineage", "churn", "--data", asked)


def test_data_that_no_version_was_trained_on_is_said(stack):
    assert "no version was trained on it" in stack.evergreen(
        "lineage", "churn", "--data", "outcomes/churn/none.parquet"
    )


def captured_and_labelled(cloud, name, ids):
    """Requests are captured and, an hour later, labelled; both files are worked on. Answers their keys."""
    time = cloud.now.replace(minute=0, second=0, microsecond=0) - 3 * HOUR
    asked = [Capture(i, time, 1, {"age": 41.0, "plan": "a"}, "1", {"0": 0.2, "1": 0.8}) for i in ids]
    captures = [capture_line(capture, model=MODEL, variant="production") for capture in asked]
    labels = [ground_truth_line(GroundTruth(i, "1"), model=MODEL) for i in ids]
    keys = []
    for function, kind, at, lines in (
        ("profile_capture", "captures/churn/production", time, captures),
        ("join_labels", "ground-truth/churn", time + HOUR, labels),
    ):
        keys.append(f"{kind}/{at:%Y/%m/%d/%H}/{name}.jsonl")
        arrived(cloud, function, keys[-1], b"\n".join(lines) + b"\n")
    return keys


def arrived(cloud, function, key, body):
    """A file comes to lie in the data bucket, and the function works on it."""
    event = cloud.event("s3_object_created")
    event["detail"]["object"] |= {"key": key, "etag": cloud.ports.data.put(key, body)}
    cloud.call(function, event | {"time": f"{cloud.now:%Y-%m-%dT%H:%M:%SZ}"})


def test_a_capture_and_its_labels_are_followed_to_the_version_that_learned_from_them(stack):
    capture, labels = captured_and_labelled(stack, "part-7", [f"r{i}" for i in range(30)])
    stack.pass_time(2 * DAY)
    stack.trained()
    version = stack.state.versions[-1].number
    for asked in (capture, labels, f"s3://data/{labels}", capture.rsplit("/", 1)[0] + "/"):
        found = stack.asked("lineage", "churn", "--data", asked)
        assert [(use["version"], use["rows"]) for use in found["uses"]] == [(version, 30)], asked
        assert found["uses"][0]["key"].startswith("outcomes/churn/")
    other, _ = captured_and_labelled(stack, "part-8", ["x1"])
    found = stack.asked("lineage", "churn", "--data", other)
    assert (found["uses"], len(found["keys"])) == ([], 1)


def test_captures_of_an_endpoints_shadow_are_followed_too(stack):
    capture, _ = captured_and_labelled(stack, "part-9", ["s1", "s2"])
    shadow = capture.replace("/production/", "/evergreen-churn-p1-s2-e9/churn-eu/shadow/")
    arrived(stack, "profile_capture", shadow, stack.ports.data.get(capture))
    of_both = [stack.asked("lineage", "churn", "--data", asked)["keys"] for asked in (shadow, capture)]
    assert of_both[0] == of_both[1] != []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("s3://elsewhere/outcomes/churn/a.parquet", "is not in the data bucket: give an object below s3://data/"),
        ("decisions/churn/a.json", "is no training data and becomes none"),
        ("captures/other/production/2026/03/01/00/a.jsonl", "nothing of model 'churn' lies at"),
    ],
)
def test_what_can_not_be_traced_is_one_sentence(stack, asked, told):
    with pytest.raises(NoLineageError, match=told):
        stack.evergreen("lineage", "churn", "--data", asked)


def test_an_unknown_version_and_options_that_do_not_go_together_are_said(stack):
    with pytest.raises(UnknownVersionError, match="has no version 99: it has 1, 2"):
        stack.evergreen("lineage", "churn", "99")
    for arguments in (("1", "--data", "outcomes/"), ("--replay", "x", "--verify"), ("--replay", "not-there")):
        with pytest.raises(UsageError):
            stack.evergreen("lineage", "churn", *arguments)


def test_a_replays_folder_is_enough_for_all_but_the_files(stack, tmp_path):
    notes = stack.ports.ledger.notes(MODEL, "shadow", stack.now - 90 * DAY, stack.now)
    (tmp_path / "events.jsonl").write_text(events_text(stack.ports.ledger.history(MODEL).documents))
    (tmp_path / "decisions.jsonl").write_text(events_text(notes))
    found = stack.asked("lineage", "churn", "2", "--replay", tmp_path)
    assert found["data"] | {"place": ""} == {
        "snapshot": found["attempts"][1]["started"]["fields"]["snapshot"],
        "place": "",
        "found": "not looked at",
        "rows": 5_000,
        "start": None,
        "end": None,
        "files": [],
    }
    assert [step["what"] for step in found["shadow"]] == ["ShadowStarted", "ShadowCompared"]
    assert "rolled back to version 1" in stack.evergreen("lineage", "churn", "2", "--replay", tmp_path)


def test_a_version_that_the_state_keeps_no_more_is_traced_all_the_same(stack):
    """150 versions are registered by hand and retired; the state keeps the newest hundred."""
    history = stack.ports.ledger.history(MODEL).documents
    number = max(item["version"] for item in history if item["type"] == "CandidateRegistered")
    (pattern,) = [i for i in history if i["type"] == "CandidateRegistered" and i["version"] == number]
    epoch = history[-1]["epoch"]
    for version in range(number + 1, number + 151):
        by_hand = {"version": version, "decision_id": "", "actor": "ada", "because": "from a notebook"}
        history.append({**pattern, **by_hand, "epoch": (epoch := epoch + 1)})
        retired = {"type": CandidateRetired.__name__, "version": version, "evidence": {}, "because": "no better"}
        history.append({**pattern, **retired, "epoch": (epoch := epoch + 1)})
    told = History.of_documents(MODEL, history)
    found = assemble(MODEL, number + 1, told, [])
    assert (found.status, found.decision, found.data) == ("rejected", None, None)
    assert found.registered.by == "ada"
    assert assemble(MODEL, 2, told, []).status == "rolled_back"
    assert json.dumps(found.to_json())
