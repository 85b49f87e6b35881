"""The ledger on DynamoDB: one transaction a decision, whoever is late reads again, nothing is ever rewritten."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from evergreen.aws.ledger import DynamoLedger
from evergreen.domain import audit, event_json
from evergreen.domain.model_events import DifferenceRepaired, ModelApplied, RetrainingRequested
from evergreen.domain.state import ModelState
from evergreen.errors import IllegalTransitionError, StaleStateError, UnknownModelError
from evergreen.usecases.steps.recording import decide_and_record

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(table):
    return DynamoLedger(*table("model", "sk"))


def applied(note="new"):
    return ModelApplied(time=START, actor="ada", because=note, spec={"model": "churn", "note": note})


def requested(decision_id="d1"):
    return RetrainingRequested(time=START, actor="ada", because="asked", decision_id=decision_id, trigger="schedule")


def repaired(note):
    return DifferenceRepaired(time=START, actor="reconcile", because=note, what="alias", found="1", expected="2")


def a_known_model(ledger, model="churn"):
    return ledger.record(ModelState(model), applied())


def test_a_model_nobody_applied_is_not_known(ledger):
    with pytest.raises(UnknownModelError, match=r"model 'churn' is not known: apply its spec first"):
        ledger.read("churn")
    assert ledger.models() == ()
    assert ledger.history("churn").documents == []


def test_what_was_recorded_is_read(ledger):
    state = a_known_model(ledger)
    assert ledger.read("churn") == state
    assert (state.epoch, state.spec["note"]) == (1, "new")


def test_the_models_are_listed_once_each_in_order(ledger):
    for model in ("churn", "arrears"):
        ledger.record(a_known_model(ledger, model), applied("changed"))
    assert ledger.models() == ("arrears", "churn")


def test_events_of_one_decision_are_recorded_together(ledger):
    state = ledger.record(a_known_model(ledger), applied("changed"), requested())
    assert state.epoch == 3
    assert [item["type"] for item in ledger.history("churn").documents] == [
        "ModelApplied",
        "ModelApplied",
        "RetrainingRequested",
    ]


def test_who_decided_on_an_old_state_is_told_to_read_again_and_leaves_nothing(ledger):
    old = a_known_model(ledger)
    ledger.record(old, requested("d1"))
    with pytest.raises(StaleStateError) as refused:
        ledger.record(old, requested("d2"))
    assert (refused.value.model, refused.value.epoch) == ("churn", 1)
    assert ledger.read("churn").run.decision_id == "d1"
    assert [item["epoch"] for item in ledger.history("churn").documents] == [1, 2]


def test_a_model_is_applied_for_the_first_time_once(ledger):
    a_known_model(ledger)
    with pytest.raises(StaleStateError):
        a_known_model(ledger)
    assert len(ledger.history("churn").documents) == 1


def test_of_many_who_read_the_same_state_one_is_heard(ledger):
    state, heard = a_known_model(ledger), []
    for number in range(10):
        try:
            ledger.record(state, requested(f"d{number}"))
            heard.append(f"d{number}")
        except StaleStateError:
            continue
    assert heard == ["d0"]
    assert ledger.read("churn").epoch == 2


def test_who_read_before_the_table_was_restored_to_an_older_time_leaves_no_gap_in_the_history(ledger):
    state = a_known_model(ledger)
    from_before = replace(ledger.record(state, requested()), epoch=7)
    with pytest.raises(StaleStateError):
        ledger.record(from_before, repaired("late"))
    assert [item["epoch"] for item in ledger.history("churn").documents] == [1, 2]
    assert ledger.read("churn").epoch == 2


def test_a_state_that_somebody_put_back_writes_over_nothing_that_happened_since(ledger, aws):
    dynamodb = aws("dynamodb")
    old = a_known_model(ledger)
    key = {"model": {"S": "churn"}, "sk": {"S": "state"}}
    kept = dynamodb.get_item(TableName="table", Key=key)["Item"]
    ledger.record(old, requested())
    before = ledger.history("churn").documents
    dynamodb.put_item(TableName="table", Item=kept)
    with pytest.raises(StaleStateError):
        ledger.record(ledger.read("churn"), repaired("as if nothing had been"))
    assert ledger.history("churn").documents == before


def test_an_event_that_can_not_happen_leaves_nothing(ledger):
    state = ledger.record(a_known_model(ledger), requested())
    with pytest.raises(IllegalTransitionError):
        ledger.record(state, repaired("fine"), requested("d2"))
    assert ledger.read("churn") == state
    assert len(ledger.history("churn").documents) == 2


def test_a_transaction_that_fails_by_itself_is_no_others_doing(ledger):
    state = a_known_model(ledger)
    with pytest.raises(ClientError):
        ledger.record(state, applied("x" * 500_000))
    assert ledger.read("churn") == state


def test_history_is_told_in_order_beyond_one_page(ledger):
    state = a_known_model(ledger)
    for number in range(30):
        state = ledger.record(state, repaired(f"{number} " + "x" * 50_000))
    history = ledger.history("churn").documents
    assert [item["epoch"] for item in history] == list(range(1, 32))
    assert [item["because"].split()[0] for item in history[1:]] == [str(number) for number in range(30)]


def test_history_says_what_was_decided(ledger):
    ledger.record(a_known_model(ledger), requested())
    assert ledger.history("churn").documents[1] == {
        "model": "churn",
        "epoch": 2,
        "type": "RetrainingRequested",
        "time": "2026-01-01T00:00:00Z",
        "actor": "ada",
        "because": "asked",
        "decision_id": "d1",
        "trigger": "schedule",
        "checks": [],
        "checkpoint": {},
        "hash": ledger.read("churn").last_hash,
    }


def test_every_item_is_chained_to_the_one_before_it(ledger):
    state = a_known_model(ledger)
    state = ledger.record(state, requested(), repaired("again"))
    told = [applied(), requested(), repaired("again")]
    digest = ""
    for event, item in zip(told, ledger.history("churn").documents, strict=True):
        digest = event_json.chain_hash(digest, item["epoch"], item["type"], event_json.event_to_json(event))
        assert item["hash"] == digest
    assert state.last_hash == digest


def test_the_same_decisions_write_the_same_history(ledger):
    written = []
    for model in ("churn", "other"):
        state = ledger.record(ModelState(model), applied(), requested())
        ledger.record(state, repaired("again"))
        written.append([{**item, "model": ""} for item in ledger.history(model).documents])
    assert written[0] == written[1]


def test_only_new_events_leave_by_the_outbox(table):
    client, name = table("model", "sk")
    DynamoLedger(client, name).record(ModelState("churn"), applied(), requested())
    keys = sorted(item["sk"]["S"] for item in client.scan(TableName=name)["Items"])
    assert keys == ["churn", "event#0000000001", "event#0000000002", "state"]


def test_a_state_survives_with_its_times(ledger):
    state = ledger.record(a_known_model(ledger), requested())
    again = ledger.read("churn")
    assert again.run.requested_at == START
    assert again.run.requested_at.utcoffset() == timedelta(0)
    assert replace(again, last_hash="") == replace(state, last_hash="")


def test_who_was_overtaken_reads_again_and_decides_anew(ledger):
    a_known_model(ledger)
    seen = []

    def decide(state):
        seen.append(state.epoch)
        if len(seen) == 1:
            ledger.record(state, requested("theirs"))  # somebody else is faster
        return () if state.run is not None else (requested("ours"),)

    state, recorded = decide_and_record(ledger, "churn", decide)
    assert (seen, recorded, state.run.decision_id) == ([1, 2], (), "theirs")


def test_a_state_that_never_rests_is_given_up_for_a_later_delivery(ledger):
    a_known_model(ledger)

    def decide(state):
        ledger.record(state, repaired("somebody else"))
        return (repaired("ours"),)

    with pytest.raises(StaleStateError):
        decide_and_record(ledger, "churn", decide)
    assert "ours" not in [item["because"] for item in ledger.history("churn").documents]


def test_who_decides_nothing_writes_nothing(ledger):
    state = a_known_model(ledger)
    assert decide_and_record(ledger, "churn", lambda _: ()) == (state, ())
    assert ledger.read("churn") == state


# --- notes ------------------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)
FOUND = {"retrain": False, "because": "no check fired", "checks": [{"trigger": "schedule", "score": 1.5}]}


def test_what_was_found_is_noted_and_read(ledger):
    assert ledger.note("churn", "retraining", START, FOUND, 7)
    told = {"model": "churn", "epoch": 7, "type": "RetrainingEvaluated", **FOUND}
    assert ledger.notes("churn", "retraining", START, START + HOUR) == [told]


def test_a_second_delivery_of_the_same_tick_changes_nothing(ledger):
    assert ledger.note("churn", "retraining", START, FOUND, 7)
    assert not ledger.note("churn", "retraining", START, {"retrain": True}, 8)
    (told,) = ledger.notes("churn", "retraining", START, START + HOUR)
    assert (told["epoch"], told["retrain"]) == (7, False)


def test_notes_are_read_by_kind_model_and_time_in_order(ledger):
    half_a_second = timedelta(milliseconds=500)
    for time in (START + HOUR, START + half_a_second, START, START - half_a_second):
        assert ledger.note("churn", "shadow", time, {"time": time.isoformat()}, 1)
    ledger.note("churn", "retraining", START, FOUND, 1)
    ledger.note("arrears", "shadow", START, {"time": "another model's"}, 1)
    told = [note["time"] for note in ledger.notes("churn", "shadow", START, START + HOUR)]
    assert told == [START.isoformat(), (START + half_a_second).isoformat()], "from the start, up to the end and not it"


def test_notes_are_told_beyond_one_page(ledger):
    for hour in range(30):
        ledger.note("churn", "shadow", START + hour * HOUR, {"hour": hour, "much": "x" * 50_000}, 1)
    assert [n["hour"] for n in ledger.notes("churn", "shadow", START, START + 30 * HOUR)] == list(range(30))


def test_notes_are_no_part_of_the_history_and_move_no_epoch(ledger):
    state = a_known_model(ledger)
    ledger.note("churn", "retraining", START, FOUND, state.epoch)
    assert ledger.read("churn") == state
    assert [item["type"] for item in ledger.history("churn").documents] == ["ModelApplied"]
    assert ledger.record(state, requested()).epoch == 2, "who decided before the note is not refused"
    assert ledger.models() == ("churn",)


def test_notes_expire_and_the_state_and_its_history_do_not(table):
    client, name = table("model", "sk")
    ledger = DynamoLedger(client, name)
    ledger.record(ModelState("churn"), applied(), requested())
    ledger.note("churn", "retraining", START, FOUND, 2)
    items = {item["sk"]["S"]: item for item in client.scan(TableName=name)["Items"]}
    (note,) = [key for key in items if "expires" in items[key]]
    assert note == "note#retraining#2026-01-01T00:00:00.000000Z"
    assert int(items[note]["expires"]["N"]) == (START + timedelta(days=400)).timestamp()
    assert items[note]["type"]["S"] == "RetrainingEvaluated"
    assert json.loads(items[note]["body"]["S"]) == FOUND


def test_a_note_that_could_not_be_written_is_no_note_that_was_there(ledger):
    with pytest.raises(ClientError):
        ledger.note("churn", "retraining", START, {"much": "x" * 500_000}, 1)


# --- as it is stored --------------------------------------------------------------------------------------------------


def test_what_is_stored_is_told_as_it_is_and_is_sound(ledger):
    state = ledger.record(a_known_model(ledger), requested(), repaired("again"))
    item, history = ledger.stored("churn")
    assert (item["sk"], item["epoch"]) == ("state", "3")
    assert [each["sk"] for each in history] == ["event#0000000001", "event#0000000002", "event#0000000003"]
    assert history[-1]["hash"] == state.last_hash
    assert audit.verify("churn", item, history) == ()


def test_nothing_is_stored_of_a_model_nobody_applied(ledger):
    assert ledger.stored("churn") == (None, [])


def test_what_somebody_wrote_into_the_table_is_found_whatever_its_type(table):
    client, name = table("model", "sk")
    ledger = DynamoLedger(client, name)
    ledger.record(a_known_model(ledger), requested())
    key = {"model": {"S": "churn"}, "sk": {"S": "event#0000000002"}}
    written = client.get_item(TableName=name, Key=key)["Item"]
    for change in ({"epoch": {"S": "2"}}, {"expires": {"N": "1"}}, {"hash": {"S": "0" * 64}}, {"type": {"NULL": True}}):
        client.put_item(TableName=name, Item=written | change)
        assert audit.verify("churn", *ledger.stored("churn")) != (), change
    client.put_item(TableName=name, Item=written)
    assert audit.verify("churn", *ledger.stored("churn")) == ()
