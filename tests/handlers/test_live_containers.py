"""An endpoint's container follows its version's live state; whatever is wrong with one costs nobody an answer."""

import hashlib
import json
import logging
import time
from dataclasses import replace

import pytest
from live_world import MODEL, LiveWorld, trained_archive
from small_cloud import open_cloud

from evergreen.formats.captures import CaptureLayout, read_captures
from evergreen.model.archive import pack, unpack
from evergreen.model.scorer import ArtifactHashError
from evergreen.serving import inference
from evergreen.serving.follower import PAUSE, Follower
from evergreen.serving.live_pointers import AwsStates
from evergreen.serving.source import MODEL_FILES, LivePlace, container_environment, loaded_names
from evergreen.spec import ModelSpec

TURNED = -1.0
"""Nobody is younger: everybody leaves, while production says that those below forty stay."""
PLACE = LivePlace("online", "artifacts")
YOUNG = {"instances": [{"age": 22.0, "plan": "a"}]}


@pytest.fixture(scope="module")
def turned():
    """A version that has learned in five days that the world has turned: a few seconds, once."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
            patched.setenv(name, "us-east-1")
        with open_cloud(LiveWorld) as cloud:
            cloud.begin()
            for _ in range(5):
                cloud.day(leaves_at=TURNED)
            yield cloud


@pytest.fixture
def world(turned):
    """Whatever a story points to, the next one begins as before."""
    before = turned.pointer_of()
    yield turned
    now = turned.pointer_of()
    if now != before:
        turned.ports.live.advance(now, before)


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A container with its files unpacked and its variables set: SageMaker's part."""

    def start(archive=b"", version=1, *, following=True, **changes):
        archive = archive or trained_archive("first")
        variables = container_environment(
            MODEL,
            version,
            artifact=archive,
            sha256=hashlib.sha256(archive).hexdigest(),
            source_uri="s3://artifacts/source/sourcedir.tar.gz",
            live=PLACE,
        )
        monkeypatch.setattr(Follower, "follow", lambda *_, **__: None)  # the stories look by themselves
        for name, value in (variables | changes).items():
            monkeypatch.setenv(name, value)
        facts = unpack(archive, ("model.json",))["model.json"]
        for name, content in unpack(archive, loaded_names(facts)).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        model = inference.model_fn(str(tmp_path))
        if following:
            model.follower.look()
        return model

    return start


def said(model, asked=YOUNG, accept="application/json"):
    body, _ = inference.output_fn(
        inference.predict_fn(inference.input_fn(json.dumps(asked), "application/json"), model), accept
    )
    return json.loads(body) if accept == "application/json" else body


def pointed_to(world, body, number, version=1):
    """Somebody points to bytes as the version's state."""
    before = world.pointer_of(version)
    digest = hashlib.sha256(body).hexdigest()
    key = f"live/{MODEL}/v{version:06d}/{number:010d}-{digest}.state"
    world.ports.artifacts.put(key, body)
    world.ports.live.advance(before, replace(before, number=number, key=key, sha256=digest))
    return before


def test_a_container_says_what_predict_says_by_the_same_state(world, container):
    model = container()
    people = {"instances": [{"age": 20.0 + age, "plan": "ab"[age % 2]} for age in range(40)]}
    theirs, ours = world.asks(world.now, people["instances"]), said(model, people)
    assert ours["state"] == theirs["state"] == world.pointer_of().number > 1
    assert [one["prediction"] for one in ours["predictions"]] == [one["prediction"] for one in theirs["predictions"]]
    assert [one["probabilities"] for one in ours["predictions"]] == [
        one["probabilities"] for one in theirs["predictions"]
    ]
    (young,) = said(model)["predictions"]
    assert (young["prediction"], young["plain"]["prediction"]) == ("1", "0"), "the world has turned"


def test_before_its_first_look_it_answers_as_it_was_trained(world, container):
    answer = said(container(following=False))
    assert answer["predictions"][0]["prediction"] == "0"
    assert "state" not in answer
    assert "plain" not in answer["predictions"][0]


def test_a_csv_answer_has_the_shape_that_it_always_had(world, container):
    assert said(container(), accept="text/csv").startswith('1,"[')
    assert said(container(), accept="text/csv").count(",") == 2


def test_what_was_captured_of_it_names_the_state_and_the_plain_answer(world, container):
    model, schema = container(), ModelSpec.parse(world.ports.ledger.read(MODEL).spec).feature_schema()
    asked = {"instances": [{"age": 22.0, "plan": "a"}, {"age": 55.0, "plan": "b"}]}
    for accept, states in (("application/json", [model.follower.state.number] * 2), ("text/csv", [])):
        answer = said(model, asked, accept)
        text = answer if isinstance(answer, str) else json.dumps(answer)
        line = {
            "captureData": {
                "endpointInput": {"data": json.dumps(asked), "encoding": "JSON"},
                "endpointOutput": {"data": text, "encoding": "JSON" if accept == "application/json" else "CSV"},
            },
            "eventMetadata": {"eventId": "e-1", "inferenceTime": "2026-03-01T00:00:00Z"},
        }
        captures, malformed = read_captures(json.dumps(line).encode(), CaptureLayout(schema, version=1))
        assert (malformed, [capture.prediction for capture in captures]) == ([], ["1", "1"])
        assert [capture.live.state for capture in captures if capture.live] == states
        assert [capture.live.plain for capture in captures if capture.live] == ["0", "1"][: len(states)]


def test_a_damaged_state_is_told_once_left_alone_for_a_while_and_the_one_before_answers(world, container, caplog):
    model = container()
    before = said(model)
    body = world.ports.artifacts.get(world.pointer_of().key)
    pointer = pointed_to(world, body[:-9], 99)
    world.ports.artifacts.put(world.pointer_of().key, body[:-9] + b"123456789")
    caplog.clear()
    for _ in range(PAUSE):
        model.follower.look()
        assert said(model) == before
    assert model.follower.refused == 1
    assert ["refused 1 so far" in record.message for record in caplog.records] == [True]
    model.follower.look()
    assert model.follower.refused == 2, "a few minutes later it is tried again"
    world.ports.live.advance(world.pointer_of(), pointer)
    model.follower.look()
    assert said(model) == before


@pytest.mark.parametrize("damage", [lambda body: body[:40], lambda body: b"", lambda body: b"EVGLIVE" + body[9:]])
def test_bytes_that_are_pointed_to_and_are_no_state_are_refused(world, container, damage):
    model = container()
    before = said(model)
    pointed_to(world, damage(world.ports.artifacts.get(world.pointer_of().key)), 99)
    model.follower.look()
    assert said(model) == before
    assert model.follower.refused == 1


def test_a_state_of_another_version_answers_nobody(world, container):
    """It has a hash, and it can be read: but its members are others, or its number is."""
    second = trained_archive("second", archive=trained_archive("first"), production=1)
    world.register(second, "second")
    world.tick()
    theirs = world.ports.artifacts.get(world.pointer_of(2).key)
    model = container()
    before = said(model)
    pointed_to(world, theirs, 99)
    model.follower.look()
    assert (said(model), model.follower.refused) == (before, 1)
    earlier = next(key for key in world.states() if f"/v000001/{before['state'] - 1:010d}-" in key)
    pointed_to(world, world.ports.artifacts.get(earlier), 100)
    model.follower.look()
    assert (said(model), model.follower.refused) == (before, 2), "its own, and not the one that is pointed to"


def test_without_a_way_to_the_table_it_answers_plain_and_says_so_once(world, container, caplog):
    model = container(following=False)
    model.follower._states = AwsStates(LivePlace("nobody-s-table", "artifacts"), MODEL, 1, "us-east-1")
    for _ in range(5 * PAUSE):
        model.follower.look()
        assert said(model)["predictions"][0]["prediction"] == "0"
    assert len(caplog.records) == 1
    assert "can't be looked for" in caplog.records[0].message
    assert "as trained" in caplog.records[0].message


def test_where_the_table_is_out_of_reach_for_a_while_the_state_that_it_had_goes_on(world, container, caplog):
    model = container()
    before, there = said(model), model.follower._states
    model.follower._states = AwsStates(LivePlace("nobody-s-table", "artifacts"), MODEL, 1, "us-east-1")
    model.follower.look()
    assert said(model) == before
    model.follower._states = there
    model.follower.look()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "can be looked for again" in caplog.records[-1].message


def test_a_state_that_somebody_swept_meanwhile_is_no_trouble(world, container, caplog):
    model = container()
    before, pointer = said(model), world.pointer_of()
    world.ports.live.advance(pointer, replace(pointer, number=99, key=f"live/{MODEL}/v000001/gone", sha256="0" * 64))
    caplog.clear()
    model.follower.look()
    assert (said(model), model.follower.refused, caplog.records) == (before, 0, [])


def test_a_state_that_fails_at_a_request_costs_no_caller_an_answer(world, container, caplog):
    model = container()
    state = model.follower.state
    model.follower.state = replace(state, state=replace(state.state, members=()))
    for _ in range(3):
        answer = said(model)
        assert (answer["predictions"][0]["prediction"], "state" in answer) == ("0", False)
    assert ["could not answer" in record.message for record in caplog.records] == [True]
    assert "22.0" not in caplog.text


def test_nothing_of_a_request_is_in_the_log(world, container, caplog):
    caplog.set_level(logging.DEBUG, "evergreen.live")
    said(container(), {"instances": [{"age": 22.0, "plan": "Ada Lovelace"}]})
    assert "Lovelace" not in caplog.text


# --- which files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["members/start", "members/own.onnx", "members/own.leaves"])
def test_a_changed_file_of_a_member_is_never_loaded(world, container, tmp_path, name):
    container(following=False)
    *content, last = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(bytes([*content, last ^ 1]))
    with pytest.raises(ArtifactHashError, match="was changed after it was registered"):
        inference.model_fn(str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactHashError):
        inference.model_fn(str(tmp_path))


def test_a_version_of_an_earlier_release_is_loaded_by_the_hash_that_it_always_had(container):
    archive = trained_archive("first", freshness=False)
    files = unpack(archive, MODEL_FILES)
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in MODEL_FILES)
    earlier = hashlib.sha256(lines.encode()).hexdigest()
    model = container(archive, following=False, EVERGREEN_MODEL_SHA256=earlier)
    assert (model.live, model.follower) == (None, None)
    assert said(model)["predictions"][0]["prediction"] == "0"


def test_a_container_that_is_not_told_where_states_are_loads_no_member(container):
    assert container(following=False, EVERGREEN_LIVE_TABLE="").live is None


def test_ancestors_are_loaded_too(world, container):
    model = container(trained_archive("second", archive=trained_archive("first"), production=1), 2, following=False)
    assert model.live.numbers == (1, 2)


def test_the_first_look_is_behind_the_first_answers(tmp_path, monkeypatch, world):
    """The thread itself: it looks at once, and then sleeps."""
    archive = pack(unpack(trained_archive("first"), loaded_names(b'{"ancestors": []}')))
    variables = container_environment(
        MODEL, 1, artifact=archive, sha256=hashlib.sha256(archive).hexdigest(), source_uri="s3://b/k", live=PLACE
    )
    for name, value in (variables | {"EVERGREEN_LIVE_SECONDS": "1000000", "AWS_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    for name, content in unpack(archive, loaded_names(b'{"ancestors": []}')).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    model = inference.model_fn(str(tmp_path))
    while model.follower.state is None:
        time.sleep(0.01)
    assert said(model)["state"] == world.pointer_of().number


def test_what_is_read_of_a_pointer_is_what_the_endpoints_role_may_read(world):
    """The names in the call are those of the template's condition (tests/infra/test_template.py)."""
    heard = []
    states = AwsStates(PLACE, MODEL, 1, "us-east-1")
    client = states._client("dynamodb")
    client.meta.events.register("before-parameter-build.dynamodb.GetItem", lambda params, **_: heard.append(params))
    pointed = states.newest()
    (asked,) = heard
    assert sorted(asked["ExpressionAttributeNames"].values()) == ["key", "number", "sha256"]
    assert sorted(asked["Key"]) == ["model", "sk"]
    assert (pointed.number, pointed.sha256) == (world.pointer_of().number, world.pointer_of().sha256)


def test_it_goes_on_to_the_state_that_took_the_place_of_its_own(world, container):
    model = container()
    before = said(model)["state"]
    world.day(leaves_at=TURNED)
    assert said(model)["state"] == before, "until it looks again"
    model.follower.look()
    assert said(model)["state"] == world.pointer_of().number == before + 1
