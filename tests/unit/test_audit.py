"""A stored history is checked: what was changed, removed, added or moved is found, and named."""

import json
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evergreen.domain import audit, event_json
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    DifferenceRepaired,
    ModelApplied,
    ModelPaused,
    ModelResumed,
    PromotionApproved,
    PromotionProposed,
    RetrainingHeldBack,
    RetrainingRequested,
    ShadowStarted,
    TrainingStarted,
    VersionPromoted,
)
from evergreen.domain.state import BakePhase, ModelState, Wish
from evergreen.domain.transitions import transition

START = datetime(2026, 1, 1, tzinfo=UTC)
FINGERPRINT = "a" * 64


def registered(version, decision_id=""):
    fields = {"version": version, "decision_id": decision_id, "artifact": f"s3://a/m/v{version}/output/model.tar.gz"}
    fields |= {"sha256": "1" * 64, "fingerprint": FINGERPRINT, "rows_trained": 500, "trained_until": START}
    return CandidateRegistered, fields | {"reference": "r.json", "gate": {"passed": True}}


LIFE = [
    (ModelApplied, {"spec": {"model": "churn", "note": "new"}, "fingerprint": FINGERPRINT}),
    (RetrainingRequested, {"decision_id": "d1", "trigger": "business_event"}),
    (TrainingStarted, {"decision_id": "d1", "job_name": "churn-d1-0", "attempt": 0, "rows": 500, "snapshot": "s"}),
    registered(1, "d1"),
    (PromotionApproved, {"version": 1, "instead_of": None, "evidence": {}}),
    (VersionPromoted, {"version": 1, "replaced": None, "endpoint": {"version": 1}}),
    (BakePassed, {"version": 1, "phase": BakePhase.OPS, "evidence": {"requests": 300}}),
    (ModelPaused, {}),
    (ModelResumed, {}),
    (RetrainingHeldBack, {"would_have": "schedule", "rule": "cooldown", "wish": Wish("prices", "shop", START)}),
    registered(2),
    (ShadowStarted, {"version": 2, "judged_against": 1}),
    (PromotionProposed, {"version": 2, "judged_against": 1, "evidence": {"gain": 0.03}}),
    (DifferenceRepaired, {"what": "alias", "found": "7", "expected": "1"}),
]


def stored():
    """The items of a life as the ledger stores them: the state's, and those of the history."""
    state, history = ModelState("churn"), []
    for hours, (kind, fields) in enumerate(LIFE):
        event = kind(time=START + timedelta(hours=hours), actor="ada", because="a story", **fields)
        state = transition(state, event)
        name, body = kind.__name__, event_json.event_to_json(event)
        state = replace(state, last_hash=event_json.chain_hash(state.last_hash, state.epoch, name, body))
        item = {"model": "churn", "sk": event_json.event_key(state.epoch), "epoch": str(state.epoch), "type": name}
        history.append(item | {"body": body, "hash": state.last_hash})
    body = event_json.state_to_json(state).decode()
    return {"model": "churn", "sk": "state", "epoch": str(state.epoch), "body": body}, history


STATE, HISTORY = stored()


def said(state, history):
    return [str(flaw) for flaw in audit.verify("churn", state, history)]


def changed(number, **attributes):
    """The history with one item changed; its epoch is its number."""
    history = deepcopy(HISTORY)
    history[number - 1] |= attributes
    return history


def test_what_was_written_is_sound():
    assert audit.verify("churn", STATE, HISTORY) == ()


def test_a_changed_reason_is_found():
    body = HISTORY[6]["body"].replace("a story", "a better story")
    assert said(STATE, changed(7, body=body)) == [
        "epoch 7: the hash does not fit: the item, or the one before it, was changed"
    ]


def test_a_change_whose_hash_was_made_to_fit_breaks_the_next_link():
    body = HISTORY[6]["body"].replace("a story", "a better story")
    digest = event_json.chain_hash(HISTORY[5]["hash"], 7, "BakePassed", body)
    assert said(STATE, changed(7, body=body, hash=digest)) == [
        "epoch 8: the hash does not fit: the item, or the one before it, was changed"
    ]


def test_a_missing_item_is_found():
    found = said(STATE, HISTORY[:4] + HISTORY[5:])
    assert found[0] == "epoch 5: the item is missing: event#0000000006 stands in its place"


def test_a_missing_last_item_is_found():
    found = said(STATE, HISTORY[:-1])
    assert f"the state is of epoch {len(HISTORY)}, the history ends at {len(HISTORY) - 1}" in found
    assert "the state names another last hash than the history's" in found


def test_an_item_that_the_table_would_delete_by_itself_is_found():
    assert said(STATE, changed(3, expires="1767225600")) == ["epoch 3: 'expires' was added"]
    assert said(STATE | {"expires": "1767225600"}, HISTORY) == ["the state: 'expires' was added"]


def test_a_state_that_the_events_do_not_lead_to_is_found_though_every_hash_fits():
    body = json.loads(STATE["body"]) | {"paused": True}
    assert said(STATE | {"body": json.dumps(body)}, HISTORY) == ["the events lead to another state: paused"]


def test_a_state_that_must_never_be_is_named():
    body = json.loads(STATE["body"]) | {"production": 9}
    found = said(STATE | {"body": json.dumps(body)}, HISTORY)
    assert "the state: the version in production was never registered" in found


def test_no_state_and_one_that_can_not_be_read_are_found():
    assert said(None, HISTORY) == ["there is no state"]
    assert said(STATE | {"body": "{"}, HISTORY) == ["the state can't be read"]


def test_an_event_that_could_not_happen_is_found_though_its_hash_fits():
    history = HISTORY[:1]
    event = BakePassed(time=START, actor="eve", because="trust me", version=1, phase=BakePhase.OPS, evidence={})
    body = event_json.event_to_json(event)
    digest = event_json.chain_hash(history[0]["hash"], 2, "BakePassed", body)
    forged = history[0] | {
        "sk": event_json.event_key(2),
        "epoch": "2",
        "type": "BakePassed",
        "body": body,
        "hash": digest,
    }
    found = said(STATE, [*history, forged])
    assert found[0].startswith("epoch 2: the event can't follow on those before it: BakePassed can't happen to 'churn'")


def test_a_state_from_before_fields_were_added_is_sound():
    state, history = ModelState("churn"), []
    event = ModelApplied(time=START, actor="ada", because="new", spec={"model": "churn"})
    body = json.dumps({"time": "2026-01-01T00:00:00Z", "actor": "ada", "because": "new", "spec": {"model": "churn"}})
    digest = event_json.chain_hash("", 1, "ModelApplied", body)
    item = {"model": "churn", "sk": event_json.event_key(1), "epoch": "1", "type": "ModelApplied"}
    history = [item | {"body": body, "hash": digest}]
    state = replace(transition(state, event), last_hash=digest)
    document = json.loads(event_json.state_to_json(state))
    for added in ("wish", "held_back", "proposal", "fingerprint", "changed_at", "production_since"):
        del document[added]
    item = {"model": "churn", "sk": "state", "epoch": "1", "body": json.dumps(document)}
    assert audit.verify("churn", item, history) == ()
    altered = item | {"body": json.dumps(document | {"paused": True})}
    assert said(altered, history) == ["the events lead to another state: paused"]


# --- whatever is done to one item -------------------------------------------------------------------------------------


@st.composite
def one_change(draw):
    """The items after any one of them was changed, removed, added or moved."""
    state, history = deepcopy(STATE), deepcopy(HISTORY)
    items = [state, *history]
    number = draw(st.integers(0, len(items) - 1))
    item = items[number]
    what = draw(st.sampled_from(["a character", "an attribute", "no attribute", "one more", "gone", "moved", "twice"]))
    if what == "a character":
        name = draw(st.sampled_from(sorted(item)))
        at = draw(st.integers(0, len(item[name]) - 1))
        item[name] = item[name][:at] + draw(st.characters(codec="ascii")) + item[name][at + 1 :]
    elif what == "an attribute":
        item[draw(st.sampled_from(sorted(item)))] = draw(st.text(max_size=8))
    elif what == "no attribute":
        del item[draw(st.sampled_from(sorted(item)))]
    elif what == "one more":
        item[draw(st.sampled_from(["expires", "note", "Body"]))] = "1"
    elif what == "gone" and number:
        del history[number - 1]
    elif what == "gone":
        state = None
    elif number:
        other = draw(st.integers(0, len(history) - 1))
        assume(other != number - 1)
        place = history[other]["sk"], history[other]["epoch"]
        if what == "twice":
            history.append(item | {"sk": event_json.event_key(len(HISTORY) + 1)})
        else:  # the two change places, and say that they were always there
            history[other] |= {"sk": item["sk"], "epoch": item["epoch"]}
            item["sk"], item["epoch"] = place
            history.sort(key=lambda each: each["sk"])
    else:
        state = None
    return state, history


def means_the_same(one, other):
    if one is None or one.keys() != other.keys():
        return False
    try:
        bodies = json.loads(one["body"]), json.loads(other["body"])
    except ValueError:
        return False
    return bodies[0] == bodies[1] and {**one, "body": ""} == {**other, "body": ""}


@given(one_change())
def test_any_one_change_of_any_item_is_found(items):
    state, history = items
    assume(not (history == HISTORY and means_the_same(state, STATE)))
    assert audit.verify("churn", state, history) != ()


@pytest.mark.parametrize("number", range(1, len(HISTORY) + 1))
def test_each_item_that_is_taken_away_is_missed(number):
    assert audit.verify("churn", STATE, HISTORY[: number - 1] + HISTORY[number:]) != ()
