"""Versions learn matured labels between their trainings, and answer by what they learned."""

import hashlib
import json
from datetime import timedelta

import pytest
from live_world import DAY, HOUR, MODEL, LiveWorld, stamp, trained_archive
from small_cloud import open_cloud

from evergreen.formats.captures import read_captures
from evergreen.usecases.steps import live_states
from evergreen.usecases.steps.loaded_models import serving

TURNED = -1.0
"""Nobody is younger: everybody leaves, while production says that those below forty stay."""


@pytest.fixture
def world():
    with open_cloud(LiveWorld) as cloud:
        yield cloud.begin()


def test_a_world_that_turns_is_followed_without_a_training(world):
    for _ in range(2):
        assert world.day() > 0.8
    right = [world.day(leaves_at=TURNED) for _ in range(5)]
    assert right[0] < 0.6, "production was trained in another world"
    assert right[-1] > 0.85
    versions = {capture.version for capture in read_captures(b"\n".join(world.answered))[0]}
    assert versions == {1}, "there was no training"


def test_a_version_that_was_trained_without_does_not_learn_and_answers_as_ever():
    with open_cloud(LiveWorld) as world:
        world.begin(prepared=False)
        world.day()
        assert world.tick() == {}
        assert world.pointer_of() is None
        assert "state" not in world.asks(world.now, [{"age": 50.0, "plan": "a"}])


def test_a_model_that_does_not_want_it_is_left_alone():
    with open_cloud(LiveWorld) as world:
        world.begin(freshness={"enabled": False})
        world.day()
        assert world.tick() == {}
        assert world.states() == []
        assert list(world.ports.data.keys("online-rows/")) == []


def test_an_answer_and_its_capture_name_the_state_and_the_plain_answer(world):
    for _ in range(5):
        world.day(leaves_at=TURNED)
    answer = world.asks(world.now, [{"age": 22.0, "plan": "a"}])
    assert answer["state"] == world.pointer_of().number > 1
    (capture,), malformed = read_captures(b"\n".join(world.captured()))
    assert malformed == []
    assert (capture.prediction, capture.live.plain) == ("1", "0")
    assert capture.live.state == answer["state"]
    assert capture.probabilities == answer["predictions"][0]["probabilities"]
    assert capture.live.plain_probabilities["0"] > 0.7


def test_labels_are_learned_once_they_have_matured_and_not_before(world):
    world.day(tick=False)
    world.tick()
    assert world.pointer_of().rows == 0, "the first state learns nothing"
    world.now += HOUR
    assert world.call("learn_live", {"time": stamp(world.now)}) == {MODEL: {"v1": 2}}
    rows = world.pointer_of().rows
    assert 0 < rows < 240
    world.now += DAY
    world.tick()
    assert world.pointer_of().rows == 240


def test_a_tick_that_comes_again_changes_nothing(world):
    for _ in range(3):
        world.day()
    before = world.pointer_of(), world.states()
    for _ in range(2):
        world.tick()
    world.now += timedelta(minutes=1)
    world.tick()
    assert (world.pointer_of(), world.states()) == before


def test_a_label_that_comes_again_in_another_file_is_learned_once(world):
    for _ in range(2):
        world.day()
    (capture, *_), _ = read_captures(b"\n".join(world.answered))
    world.now += DAY
    world.tick()
    rows = world.pointer_of().rows
    world.label(world.now, {capture.event_id: "1"}, "again")
    world.now += DAY
    world.tick()
    assert world.pointer_of().number > 2
    assert world.pointer_of().rows == rows


def test_of_two_who_learn_at_once_one_wins_and_nothing_is_lost(world, monkeypatch):
    for _ in range(2):
        world.day()
    world.day(tick=False)
    live = type(world.ports.live)
    advance, raced = live.advance, []

    def other_first(self, before, after):
        if not raced:
            raced.append(True)
            world.now += HOUR
            world.tick()
        return advance(self, before, after)

    monkeypatch.setattr(live, "advance", other_first)
    world.tick()
    won = world.pointer_of()
    assert won.since == world.now
    world.tick()
    assert world.pointer_of() == won
    of_its_number = [key for key in world.states() if f"{won.number:010d}-" in key]
    assert won.key in of_its_number
    assert len(of_its_number) == 2
    monkeypatch.setattr(live_states, "SWEPT_EVERY", 1)
    world.day()
    assert [key for key in world.states() if f"{won.number:010d}-" in key] == [won.key], "the loser's bytes are swept"


def test_a_candidate_goes_on_from_productions_state(world):
    for _ in range(4):
        world.day(leaves_at=TURNED)
    archive = trained_archive("second", archive=trained_archive("first"), production=1)
    world.register(archive, "second")
    world.tick()
    first = world.pointer_of(2)
    assert first.number == 1
    assert first.rows == world.pointer_of(1).rows > 0
    world.promote(2)
    assert world.day(leaves_at=TURNED) > 0.85, "it knows what production had learned"
    assert world.pointer_of(2).rows > first.rows


def test_where_a_rollback_leads_goes_on_learning(world):
    for _ in range(2):
        world.day()
    world.register(trained_archive("second", archive=trained_archive("first"), production=1), "second")
    world.promote(2)
    before = world.pointer_of(1).rows
    for _ in range(2):
        world.day()
    assert world.pointer_of(1).rows > before


def test_states_that_answered_nothing_which_may_still_be_learned_are_deleted(world):
    for _ in range(8):
        world.day()
    numbers = [int(key.rpartition("/")[2].partition("-")[0]) for key in world.states()]
    assert numbers[-1] == world.pointer_of().number
    assert 2 < len(numbers) < world.pointer_of().number


def test_of_a_version_that_learns_no_more_the_last_state_is_kept(world, monkeypatch):
    monkeypatch.setattr(live_states, "SWEPT_EVERY", 1)
    for number in (2, 3):
        for _ in range(3):
            world.day()
        world.register(trained_archive(f"job {number}"), f"job {number}")
        world.promote(number)
    for _ in range(2):
        world.day()
    kept = [key for key in world.states() if "/v000001/" in key]
    assert kept == [world.pointer_of(1).key]
    assert len([key for key in world.states() if "/v000002/" in key]) > 1, "a rollback would lead there"


def test_a_label_that_can_not_be_learned_costs_no_other_row(world):
    world.requests(world.now, 40.0, flipped=False, labels=False)
    captures, _ = read_captures(b"\n".join(world.answered))
    labels = {capture.event_id: "0" for capture in captures}
    world.label(world.now + HOUR, labels | {captures[7].event_id: "a class that nobody knows"})
    world.tick()
    world.now += DAY
    world.tick()
    assert world.pointer_of().rows == len(captures) - 1


def test_what_can_not_be_learned_is_counted_and_never_quoted_in_a_log(world, caplog, capsys):
    world.requests(world.now, 40.0, flipped=False, labels=False)
    captures, _ = read_captures(b"\n".join(world.answered))
    world.tick()
    caplog.set_level("DEBUG")
    world.label(world.now + HOUR, {captures[7].event_id: "a customer's name"})
    world.now += DAY
    world.tick()
    (metrics,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "LiveRowsIgnored" in line][-1:]
    assert (metrics["Model"], metrics["LiveRowsIgnored"]) == (MODEL, [1])
    assert "LiveRows" not in metrics, "nothing was learned"
    assert not any("customer" in str(vars(record)) for record in caplog.records)


def test_files_that_are_no_longer_kept_stop_nothing(world):
    """A lifecycle rule has taken labels before they were learned: those that came since are."""
    world.day()
    rows = world.pointer_of().rows
    for key in list(world.ports.data.keys("online-rows/")):
        world.ports.data.delete(key)
    for _ in range(2):
        world.day()
    assert world.pointer_of().rows > rows


def test_a_label_that_comes_when_nobody_remembers_its_row_is_not_learned_again(world):
    """Rows are remembered for twice the maturity and two days: what is older is left alone."""
    world.day()
    (capture, *_), _ = read_captures(b"\n".join(world.answered))
    for _ in range(4):
        world.day()
    rows = world.pointer_of().rows
    world.label(world.now, {capture.event_id: "1"}, "again")
    world.now += DAY
    world.tick()
    assert world.pointer_of().rows - rows <= 240
    world.now += DAY
    world.tick()
    assert world.pointer_of().rows == 5 * 240


def test_a_state_that_was_changed_answers_nobody_and_the_version_answers_as_trained(world):
    for _ in range(4):
        world.day(leaves_at=TURNED)
    pointer = world.pointer_of()
    world.ports.artifacts.put(pointer.key, b"something else")
    serving.cache_clear()
    answer = world.asks(world.now, [{"age": 22.0, "plan": "a"}])
    assert answer["predictions"][0]["prediction"] == "0"
    assert "state" not in answer
    world.now += DAY
    with pytest.raises(ExceptionGroup, match="could not learn"):
        world.tick()
    assert world.pointer_of() == pointer


def test_while_the_table_does_not_answer_the_state_that_was_seen_goes_on(world, monkeypatch):
    for _ in range(4):
        world.day(leaves_at=TURNED)
    young = [{"age": 22.0, "plan": "a"}]
    seen = world.asks(world.now, young)
    asked = []

    def out_of_order(self, model, version):
        asked.append(version)
        raise ConnectionError("the table does not answer")

    monkeypatch.setattr(type(world.ports.live), "recent", out_of_order)
    for seconds in (6, 7, 8):
        answer = world.asks(world.now + timedelta(seconds=seconds), young)
        assert (answer["state"], answer["predictions"][0]["prediction"]) == (seen["state"], "1")
    assert len(asked) == 1, "one request waited for it, not each"


def test_what_is_learned_depends_on_the_rows_alone():
    hashes = []
    for _ in range(2):
        with open_cloud(LiveWorld) as world:
            world.begin()
            for _ in range(4):
                world.day(leaves_at=TURNED)
            hashes.append(world.pointer_of().sha256)
    assert hashes[0] == hashes[1]


def test_the_bytes_that_are_pointed_to_are_those_that_were_written(world):
    for _ in range(2):
        world.day()
    pointer = world.pointer_of()
    body = world.ports.artifacts.get(pointer.key)
    assert hashlib.sha256(body).hexdigest() == pointer.sha256


# --- a candidate in which production lives on -------------------------------------------------------------------------


def shadowed_day(world, version, *, leaves_at):
    """A day of requests that the version in shadow answers too, of labels, and of ticks."""
    for number in range(3):
        time = world.now + 8 * number * HOUR
        world.requests(time, leaves_at, flipped=False)
        event = world.arrived(f"captures/{MODEL}/production/{time:%Y/%m/%d/%H}/part.jsonl", world.answered)
        world.call("score_shadow", event)
        (key,) = world.ports.data.keys(f"captures/{MODEL}/shadow/{time:%Y/%m/%d/%H}/")
        world.call("profile_capture", world.arrived(key, world.ports.data.get(key).splitlines()))
    world.now += DAY
    world.tick()


def test_a_candidate_in_which_production_lives_on_is_promoted_after_its_first_day(world):
    for _ in range(3):
        world.day(leaves_at=TURNED)
    world.register(trained_archive("second", archive=trained_archive("first"), production=1), "second")
    (registered,) = [e for e in world.ports.ledger.history(MODEL).documents if e.get("ancestors")]
    assert registered["ancestors"] == [1]
    world.call("compare_shadow", world.told("CandidateRegistered"))
    since = world.now
    for _ in range(2):
        shadowed_day(world, 2, leaves_at=TURNED)
    (schedule,) = [name for name in world.schedules() if "challenger" in name]
    payload = json.loads(world.schedule(schedule)["Target"]["Input"])
    world.call("compare_shadow", payload | {"time": stamp(since + 2 * DAY)})
    promoted = world.told("PromotionApproved")["detail"]["body"]
    assert "production lives on in it, and it answered 100.0% of the requests" in promoted


def test_a_shadow_answers_with_its_live_state_as_it_was_then(world):
    for _ in range(3):
        world.day(leaves_at=TURNED)
    world.register(trained_archive("second", archive=trained_archive("first"), production=1), "second")
    world.call("compare_shadow", world.told("CandidateRegistered"))
    world.tick()
    shadowed_day(world, 2, leaves_at=TURNED)
    keys = list(world.ports.data.keys(f"captures/{MODEL}/shadow/"))
    said = [capture for key in keys for capture in read_captures(world.ports.data.get(key))[0]]
    young = [capture for capture in said if capture.features["age"] < 35]
    assert sum(capture.prediction == "1" for capture in young) / len(young) > 0.9, "as trained it says that they stay"
