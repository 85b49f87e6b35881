"""Online states on DynamoDB: a pointer moves on together with the rows it has learned, or not at all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evergreen.aws.online_states import DynamoOnlineStates
from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer
from evergreen.errors import ConflictingWriteError

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(days=60)


@pytest.fixture
def client_and_name(table):
    return table("model", "sk")


@pytest.fixture
def states(client_and_name):
    return DynamoOnlineStates(*client_and_name)


def a_pointer(version=1, **changes):
    made = OnlinePointer("churn", "f1", version, f"online/{version}", "a" * 64, version, 10 * version, NOW)
    return replace(made, **changes)


def advanced(states, before, after, *names):
    states.advance(before, after, names, expires=LATER)
    return after


def test_what_is_stored_is_read_again(states):
    assert states.read("churn", "f1") is None
    sums = {"total": (10, 8, 7, 0.1 + 0.2), "days": {"2026-03-01": (10, 8, 7, 1 / 3)}}
    stored = advanced(states, None, a_pointer(**sums), "row#a")
    assert states.read("churn", "f1") == stored
    assert states.read("churn", "of other features") is None
    assert states.read("orders", "f1") is None


def test_a_state_moves_on_only_from_the_version_that_was_read(states):
    first = advanced(states, None, a_pointer(1))
    second = advanced(states, first, a_pointer(2))
    for late in (None, first):
        with pytest.raises(ConflictingWriteError):
            advanced(states, late, a_pointer(2, key="late"), "row#late")
    assert states.read("churn", "f1") == second
    assert states.learned("churn", ["row#late"]) == set()


def test_a_row_that_was_learned_keeps_its_whole_batch_from_being_stored(states):
    first = advanced(states, None, a_pointer(1), "row#a", "row#b")
    with pytest.raises(ConflictingWriteError):
        advanced(states, first, a_pointer(2), "row#c", "row#b")
    assert states.read("churn", "f1") == first
    assert states.learned("churn", ["row#a", "row#b", "row#c"]) == {"row#a", "row#b"}


def test_many_rows_are_asked_for_at_once_and_a_name_twice_is_one(states):
    names = [f"row#{number}" for number in range(250)]
    before = None
    for number in range(3):
        before = advanced(states, before, a_pointer(number + 1), *names[number * 80 : (number + 1) * 80])
    assert states.learned("churn", names + names) == set(names[:240])
    assert states.learned("churn", []) == set()
    assert states.learned("orders", names) == set()


def test_what_was_learned_expires_and_states_and_checkpoints_do_not(states, client_and_name):
    advanced(states, None, a_pointer(1), "row#a")
    states.remember("churn", "file#a", expires=LATER)
    states.freeze(a_checkpoint(1))
    client, name = client_and_name
    items = {item["sk"]["S"]: item for item in client.scan(TableName=name)["Items"]}
    assert items["row#a"]["expires"] == items["file#a"]["expires"] == {"N": str(int(LATER.timestamp()))}
    assert "expires" not in items["state#f1"]
    assert "expires" not in items["checkpoint#0000000001"]
    assert states.learned("churn", ["file#a"]) == {"file#a"}


def a_checkpoint(number, **changes):
    made = OnlineCheckpoint("churn", number, "f1", 7, f"online/c{number}", "b" * 64, NOW, NOW, 5, 250)
    return replace(made, **changes)


def test_a_checkpoint_is_kept_once_and_told_in_order(states):
    assert states.freeze(a_checkpoint(2))
    assert states.freeze(a_checkpoint(10))
    assert not states.freeze(a_checkpoint(2, key="another"))
    assert [each.number for each in states.checkpoints("churn")] == [2, 10]
    assert states.checkpoints("churn")[0] == a_checkpoint(2)
    assert states.checkpoints("orders") == []


def test_what_became_of_a_checkpoint_is_stored_over_what_was_read(states):
    states.freeze(a_checkpoint(1))
    (read,) = states.checkpoints("churn")
    judged = replace(
        read,
        status=CheckpointStatus.DROPPED,
        judged_until=NOW + timedelta(days=3),
        verdict="keep",
        because="accuracy gain -0.02",
        evidence={"rows": 600, "interval": [-0.1, 0.01]},
    )
    assert states.change(judged)
    assert not states.change(replace(read, status=CheckpointStatus.ON_TRIAL))
    (found,) = states.checkpoints("churn")
    assert found == replace(judged, revision=1)
    states.forget(found)
    states.forget(found)
    assert states.checkpoints("churn") == []
    assert not states.change(found)
