"""Feedback from the queue: a row is learned once, however the queue puts its batches together."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from evergreen.domain.applied_spec import spec_of
from evergreen.training.learner import OnlineStateError
from evergreen.usecases.steps.online_states import load_state, state_fingerprint

AT_ONCE = {"enabled": True, "labels": "at_once"}
THREE_CLASSES = {"task": "multiclass", "labels": {"classes": ["0", "1", "2"]}}


def message(name, label, **changes):
    body = {"model": "churn", "inference_id": name, "label": label, "features": {"age": 41, "plan": "a"}}
    return body | {"time": "2026-03-01T00:00:00Z"} | changes


def batch(*rows):
    """A batch of (id, label), or of whole messages, as the queue delivers it."""
    bodies = [row if isinstance(row, dict) else message(*row) for row in rows]
    return {"Records": [{"messageId": f"m{i}", "body": json.dumps(body)} for i, body in enumerate(bodies)]}


def pointer(cloud):
    spec = spec_of(cloud.ports.ledger.read("churn"))
    return cloud.ports.online.read("churn", state_fingerprint(spec))


def failed(answer):
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_a_row_that_comes_again_in_another_batch_is_learned_once(cloud):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    cloud.call("learn_online", batch(("b", "1"), ("c", "0")))
    assert (pointer(cloud).rows, pointer(cloud).updates) == (3, 2)
    cloud.call("learn_online", batch(("c", "0"), ("a", "0")))
    assert (pointer(cloud).rows, pointer(cloud).updates) == (3, 2)


def test_a_row_that_comes_again_long_after_is_learned_once(cloud):
    cloud.applied(online=AT_ONCE)
    for number in range(20):
        cloud.call("learn_online", batch((f"r{number}", "01"[number % 2])))
    cloud.call("learn_online", batch(("r0", "0")))
    assert pointer(cloud).rows == 20


def test_what_was_learned_is_remembered_for_longer_than_a_message_can_come_again(cloud):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0")))
    items = cloud.dynamodb.scan(TableName="online")["Items"]
    (expires,) = [int(item["expires"]["N"]) for item in items if item["sk"]["S"].startswith("row#")]
    assert datetime.fromtimestamp(expires, UTC) == datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=60)
    assert all("expires" not in item for item in items if item["sk"]["S"].startswith("state#"))


def test_a_corrected_label_is_learned(cloud):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    cloud.call("learn_online", batch(("a", "1")))
    assert pointer(cloud).rows == 3


@pytest.mark.parametrize(
    "bad",
    [
        message("x", "perhaps"),
        message("x", 7),
        message("x", "1", features={"age": "old", "plan": "a"}),
        message("x", "1", features={"age": 41}),
        message("x", "1", features=[41, "a"]),
        message("x", "1", time="yesterday"),
        message("x", "1", model="nobody_knows"),
    ],
    ids=["unknown class", "label no text", "wrong type", "missing", "no object", "no time", "unknown model"],
)
def test_a_message_that_can_not_be_learned_fails_alone(cloud, bad):
    cloud.applied(online=AT_ONCE)
    answer = cloud.call("learn_online", batch(("a", "0"), bad, ("b", "1")))
    assert failed(answer) == ["m1"]
    assert pointer(cloud).rows == 2


def test_what_is_refused_is_counted_and_never_quoted_in_a_log(cloud, capsys, caplog):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0"), message("x", "a customer's name"), ("b", "1")))
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.because.startswith("churn: a label is none of labels.classes")
    assert "customer" not in caplog.text
    out = capsys.readouterr().out
    assert '"OnlineMessagesRefused":[1' in out.replace(" ", "")


def test_the_metrics_of_a_model_say_what_was_predicted_right_before_it_was_learned(cloud):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    cloud.counted()
    cloud.call("learn_online", batch(("b", "1"), ("c", "0"), ("d", "0")))
    (values,) = [values for dimensions, values in cloud.counted() if dimensions == {"Model": "churn"}]
    assert (values["OnlineRows"], values["OnlineScored"], values["OnlineRowsAgain"]) == (2, 2, 1)
    total = pointer(cloud).total
    assert total[:2] == (4, 2)
    assert values["OnlineCorrect"] == total[2]


def test_messages_wait_for_nothing_where_the_spec_learns_matured_labels(cloud):
    cloud.applied(online={"enabled": True})
    answer = cloud.call("learn_online", batch(("a", "0")))
    assert (failed(answer), pointer(cloud)) == ([], None)


def test_other_features_start_another_state_and_the_old_one_is_there_when_they_come_back(cloud):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    first = pointer(cloud)
    cloud.applied(online=AT_ONCE, features={"age": {"type": "number"}})
    cloud.call("learn_online", batch(message("c", "1", features={"age": 18})))
    assert pointer(cloud).rows == 1
    assert pointer(cloud).fingerprint != first.fingerprint
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("c", "0")))
    assert pointer(cloud).rows == 3


def test_only_the_newest_bytes_of_a_state_are_kept(cloud):
    cloud.applied(online=AT_ONCE)
    for name in "abcd":
        cloud.call("learn_online", batch((name, "0")))
    assert list(cloud.ports.artifacts.keys("online/")) == [pointer(cloud).key]


def test_a_state_that_somebody_changed_is_not_learned_from(cloud):
    cloud.applied(online=AT_ONCE)
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    before = pointer(cloud)
    stored = bytearray(cloud.ports.artifacts.get(before.key))
    stored[len(stored) // 2] ^= 1
    cloud.ports.artifacts.put(before.key, bytes(stored))
    assert failed(cloud.call("learn_online", batch(("c", "0")))) == ["m0"]
    assert pointer(cloud) == before
    with pytest.raises(OnlineStateError, match=f"but {before.sha256} is recorded"):
        load_state(cloud.ports, before)


def test_a_class_that_nobody_knew_is_refused_unless_the_spec_lets_the_state_learn_it(cloud):
    cloud.applied(online=AT_ONCE, **THREE_CLASSES)
    assert failed(cloud.call("learn_online", batch(("a", "0"), ("b", "7")))) == ["m1"]
    cloud.applied(online=AT_ONCE | {"new_classes": "learn"}, **THREE_CLASSES)
    assert failed(cloud.call("learn_online", batch(("a", "0"), ("b", "7"), ("c", "1")))) == []
    cloud.call("learn_online", batch(("d", "8")))
    state = load_state(cloud.ports, pointer(cloud))
    assert state.schema.classes == ("0", "1", "2", "7", "8")
    assert pointer(cloud).rows == 4
