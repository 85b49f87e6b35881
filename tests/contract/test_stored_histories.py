"""Histories that a release has stored are read, typed, told again and checked by this one, through the ledger.

`tests/histories/` has one for each release, made once by its `make.py`.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evergreen import __version__
from evergreen.aws.ledger import DynamoLedger
from evergreen.domain import audit, event_json
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.history import History
from evergreen.domain.model_events import RetrainingRequested, TrainingStarted, VersionPromoted
from evergreen.domain.state import ModelState
from evergreen.errors import UnreadableEventError
from evergreen.usecases.people.lineage import assemble
from evergreen.usecases.people.why import explain

STORED = {path.stem: path for path in sorted((Path(__file__).parents[1] / "histories").glob("*.jsonl"))}
NEWER = {"time": "2026-04-01T00:00:00Z", "actor": "weather", "because": "hail", "millimetres": 31}


def items_of(release):
    return [json.loads(line) for line in STORED[release].read_text(encoding="utf-8").splitlines()]


def put(client, name, item):
    typed = {key: {"N" if key == "epoch" else "S": value} for key, value in item.items()}
    client.put_item(TableName=name, Item=typed)


@pytest.fixture
def given(table):
    """Stores a release's items as they are, some changed; answers the ledger and the client that wrote them."""

    def store(release, *others):
        client, name = table("model", "sk")
        for item in (*items_of(release), *others):
            put(client, name, item)
        return DynamoLedger(client, name)

    return store


def an_event(kind, epoch, body, previous):
    body = json.dumps(body)
    digest = event_json.chain_hash(previous, epoch, kind, body)
    about = {"model": "churn", "sk": event_json.event_key(epoch), "epoch": str(epoch)}
    return about | {"type": kind, "body": body, "hash": digest}


def test_this_release_has_a_history_with_every_type_of_event():
    assert {item["type"] for item in items_of(__version__)[1:]} == set(event_json.EVENT_TYPES)


@pytest.mark.parametrize("release", STORED)
def test_a_stored_history_is_read_as_types_leads_to_its_state_and_is_sound(release, given):
    ledger = given(release)
    history, state = ledger.history("churn"), ledger.read("churn")
    assert [type(event).__name__ for event in history.events] == [item["type"] for item in items_of(release)[1:]]
    entry, told = list(history.states())[-1]
    assert replace(told, last_hash=entry.hash) == state
    assert spec_of(state).model == "churn"
    assert audit.verify("churn", *ledger.stored("churn")) == ()


@pytest.mark.parametrize("release", STORED)
def test_what_is_shown_of_a_stored_history_is_what_was_stored(release, given):
    history = given(release).history("churn")
    for entry, item in zip(history, items_of(release)[1:], strict=True):
        shown = dict(entry.document)
        place = {"model": "churn", "epoch": int(item["epoch"]), "type": item["type"], "hash": item["hash"]}
        assert {name: shown.pop(name) for name in place} == place
        assert list(shown.items()) == list(json.loads(item["body"]).items())
    assert [entry.event for entry in History.of_documents("churn", history.documents)] == list(history.events)


def test_the_history_of_this_release_is_written_again_to_the_same_bytes(given, table):
    ledger = given(__version__)
    events, old_state = list(ledger.history("churn").events), ledger.read("churn")
    items = items_of(__version__)
    assert [event_json.event_to_json(event) for event in events] == [item["body"] for item in items[1:]]
    assert event_json.state_to_json(old_state).decode() == items[0]["body"]
    for item in items:  # the same events, recorded anew in an empty table
        ledger._client.delete_item(TableName="table", Key={"model": {"S": "churn"}, "sk": {"S": item["sk"]}})
    state = ModelState("churn")
    for event in events:
        state = ledger.record(state, event)
    newest, history = ledger.stored("churn")
    assert [newest, *history] == items


def test_what_a_newer_release_stored_is_kept_shown_and_in_nobodys_way(given):
    last = items_of(__version__)[-1]
    paused = {"time": "2026-04-02T00:00:00Z", "actor": "ada", "because": "hail", "until": {"day": "Monday"}}
    unknown = an_event("WeatherNoticed", 33, NEWER, last["hash"])
    extended = an_event("ModelPaused", 34, paused, unknown["hash"])
    history = given(__version__, unknown, extended).history("churn")
    assert len(history) == 34
    assert history[32].event is None
    assert history[32].document == {"model": "churn", "epoch": 33, "type": "WeatherNoticed"} | NEWER | {
        "hash": unknown["hash"]
    }
    assert history[33].document["until"] == {"day": "Monday"}
    assert history[33].event.because == "hail"
    assert (len(history.of(TrainingStarted)), history.production) == (4, 1)
    assert History.of_documents("churn", history.documents).documents == history.documents


def test_what_an_unknown_event_did_to_the_state_is_not_guessed(given):
    last = items_of(__version__)[-1]
    ledger = given(__version__, an_event("WeatherNoticed", 33, NEWER, last["hash"]))
    history = ledger.history("churn")
    for ask in (
        lambda: list(history.states()),
        lambda: explain("churn", history, [], history[-1].time),
        lambda: assemble("churn", 1, history, []),
    ):
        with pytest.raises(
            UnreadableEventError, match=r"can't read event 33 of model 'churn', a WeatherNoticed: deploy"
        ):
            ask()
    assert explain("churn", history, [], history[-2].time).production == 1, "it is in nobody's way before it happened"
    assert [str(flaw) for flaw in audit.verify("churn", *ledger.stored("churn"))] == [
        "epoch 33: the event can't be read: KeyError",
        "the state is of epoch 32, the history ends at 33",
        "the state names another last hash than the history's",
    ]


def test_fields_that_an_old_event_does_not_have_are_those_of_before(given):
    request = {
        "time": "2026-04-01T00:00:00Z",
        "actor": "ada",
        "because": "old",
        "decision_id": "d9",
        "trigger": "manual",
    }
    old = an_event("RetrainingRequested", 33, request, items_of(__version__)[-1]["hash"])
    history = given(__version__, old).history("churn")
    event = history.requested("d9").event
    assert (type(event), event.checks, event.checkpoint) == (RetrainingRequested, (), {})
    assert "checkpoint" not in history[-1].fields
    assert "checkpoint" not in history[-1].document


def test_a_body_that_is_none_of_its_type_is_named_when_it_is_asked_for(given):
    broken = an_event("VersionPromoted", 33, NEWER, items_of(__version__)[-1]["hash"])
    history = given(__version__, broken).history("churn")
    assert len(history.of(RetrainingRequested)) == 3
    with pytest.raises(UnreadableEventError, match=r"event 33 of model 'churn', a VersionPromoted"):
        history.of(VersionPromoted)
