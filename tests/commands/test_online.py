"""evergreen online: how the online state stands, and back to a checkpoint."""

import json

import pytest

from evergreen.domain.applied_spec import spec_of
from evergreen.usecases.steps.online_states import load_state, state_fingerprint
from evergreen_ops import cli

ONLINE = {"enabled": True, "labels": "at_once", "checkpoint": "1h"}


def message(number, label=None):
    label = str(int(number % 40 > 20)) if label is None else label
    row = {"age": 20.0 + number % 40, "plan": "a"}
    body = {"model": "churn", "inference_id": f"o{number}", "label": label, "features": row}
    return {"messageId": f"m{number}", "body": json.dumps(body | {"time": "2026-03-01T02:00:00Z"})}


def learned(stack, numbers, hour, **changes):
    records = [message(number, **changes) for number in numbers]
    assert stack.call("learn_online", {"Records": records})["batchItemFailures"] == []
    stack.call("learn_online", {"time": f"2026-03-01T{hour:02}:00:00Z", "model": "churn"})


@pytest.fixture
def learning(stack):
    """Three checkpoints, each of forty rows more than the one before, and forty rows since."""
    stack.applied(online=ONLINE, training={"min_rows": 20})
    for number in range(3):
        learned(stack, range(number * 40, number * 40 + 40), hour=3 + number)
    stack.call("learn_online", {"Records": [message(number, label="0") for number in range(200, 240)]})
    return stack


def state_of(stack):
    pointer = stack.ports.online.read("churn", state_fingerprint(spec_of(stack.state)))
    return load_state(stack.ports, pointer), pointer


def test_status_tells_what_was_learned_and_its_checkpoints(learning):
    found = learning.asked("online", "status", "churn")
    assert (found["state"]["rows"], found["state"]["updates"]) == (160, 4)
    assert [each["number"] for each in found["checkpoints"]] == [1, 2, 3]
    assert found["state"]["over_all"]["predicted"] == 120
    said = learning.evergreen("online", "status", "churn")
    assert "160 rows in 4 updates" in said
    assert "not judged" in said
    assert "right of 120 rows before they were learned" in said


def test_status_of_a_model_that_has_learned_nothing_says_so(stack):
    stack.applied()
    said = stack.evergreen("online", "status", "churn")
    assert "off (online.enabled is false)" in said
    assert "nothing has been learned yet" in said


def test_revert_goes_back_to_a_checkpoint_and_is_in_the_history(learning):
    said = learning.evergreen("online", "revert", "churn", "--to", 2, "--reason", "labels were flipped", "--yes")
    assert said.strip() == "churn learns on from checkpoint 2: 80 rows in 2 updates"
    state, pointer = state_of(learning)
    assert (state.rows, state.updates, pointer.rows) == (80, 2, 80)
    event = learning.last()
    assert (event["type"], event["checkpoint"], event["because"]) == ("OnlineStateReverted", 2, "labels were flipped")
    stands = {each["number"]: each["status"] for each in learning.asked("online", "status", "churn")["checkpoints"]}
    assert stands == {1: "kept", 2: "kept", 3: "dropped"}
    assert learning.asked("verify", "churn")


def test_what_was_taken_back_is_not_learned_again_and_what_is_new_is(learning):
    learning.evergreen("online", "revert", "churn", "--to", 1, "--reason", "labels were flipped", "--yes")
    learned(learning, range(200, 240), hour=9, label="0")
    assert state_of(learning)[0].rows == 40
    learned(learning, range(300, 340), hour=10)
    state, pointer = state_of(learning)
    assert (state.rows, pointer.version) == (80, 6)
    assert list(learning.ports.artifacts.keys("online/churn/states/")) == [pointer.key]


def test_revert_without_a_number_takes_the_newest_that_the_state_is_not(learning):
    told = learning.asked("online", "revert", "churn", "--reason", "why not", "--yes")
    assert told["checkpoint"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--to", "9", "--reason", "x", "--yes"), 1, "model 'churn' has no checkpoint 9: it has 1, 2, 3"),
        (("--to", "2", "--reason", " ", "--yes"), 2, "--reason is empty"),
        (("--to", "2", "--reason", "x"), 2, "add --yes"),
    ],
)
def test_what_can_not_be_reverted_is_said_in_a_sentence(learning, arguments, code, says, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evergreen", "online", "revert", "churn", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert says in capsys.readouterr().err
    assert state_of(learning)[0].rows == 160


def test_a_checkpoint_that_somebody_changed_is_refused(learning, monkeypatch, capsys):
    checkpoint = learning.ports.online.checkpoints("churn")[1]
    body = bytearray(learning.ports.artifacts.get(checkpoint.key))
    body[50] ^= 1
    learning.ports.artifacts.put(checkpoint.key, bytes(body))
    monkeypatch.setattr("sys.argv", ["evergreen", "online", "revert", "churn", "--to", "2", "--reason", "x", "--yes"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert f"but {checkpoint.sha256} is recorded" in capsys.readouterr().err
