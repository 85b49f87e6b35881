"""Where live states are, on DynamoDB: a pointer moves on from the state that was read, or not at all."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evergreen.aws.live_states import DynamoLiveStates
from evergreen.domain.live_pointer import LivePointer
from evergreen.errors import ConflictingWriteError

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
FIRST = LivePointer("churn", 3, 1, "live/1", "a" * 64, NOW, 0, None)
SECOND = replace(FIRST, number=2, key="live/2", sha256="b" * 64, rows=80, learned_until=NOW)


@pytest.fixture
def client_and_name(table):
    return table("model", "sk")


@pytest.fixture
def states(client_and_name):
    return DynamoLiveStates(*client_and_name)


def test_what_is_stored_is_read_again_by_model_and_version(states):
    assert states.read("churn", 3) is None
    for before, after in ((None, FIRST), (FIRST, SECOND)):
        states.advance(before, after)
        assert states.read("churn", 3) == states.recent("churn", 3) == after
    assert states.read("churn", 4) is None
    assert states.read("orders", 3) is None


def test_a_state_moves_on_only_from_the_one_that_was_read(states):
    states.advance(None, FIRST)
    states.advance(FIRST, SECOND)
    for late in (None, FIRST):
        with pytest.raises(ConflictingWriteError):
            states.advance(late, replace(SECOND, key="late", sha256="c" * 64))
    assert states.read("churn", 3) == SECOND


def test_what_former_releases_left_in_the_table_is_in_nobodys_way(states, client_and_name):
    client, name = client_and_name
    for key in ("state#f1", "row#f1#ecdf", "file#f1#a", "checkpoint#0000000003"):
        client.put_item(TableName=name, Item={"model": {"S": "churn"}, "sk": {"S": key}})
    states.advance(None, FIRST)
    assert states.read("churn", 3) == FIRST
