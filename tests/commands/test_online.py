"""evergreen online: what versions learned between their trainings, whether it holds, and back to an earlier state."""

from dataclasses import replace

import numpy as np
import pytest
from deployed import Deployed
from live_world import HOUR, LiveWorld
from small_cloud import kept_clients, open_cloud

from evergreen.domain.uris import split_uri
from evergreen.errors import EvergreenError
from evergreen.usecases.people import live
from evergreen.usecases.steps.live_states import kept_live_states, put_live_state
from evergreen.usecases.steps.loaded_models import Model, serving
from evergreen_ops import cli

TURNED = -1.0


class DeployedLive(Deployed, LiveWorld):
    """A deployed stack in which a model lives."""


@pytest.fixture
def living(_nobodys_credentials, tmp_path, monkeypatch):
    """Four days in a world that has turned."""
    monkeypatch.chdir(tmp_path)
    with kept_clients(), open_cloud(DeployedLive) as cloud:
        cloud.begin()
        for _ in range(4):
            cloud.day(leaves_at=TURNED)
        yield cloud.deployed()


def test_status_tells_what_a_version_learned_and_what_it_is_worth(living):
    (live,) = living.asked("online", "status", "churn")["live"]
    assert (live["version"], live["state"]) == (1, living.pointer_of().number)
    assert live["members"] == {"1": 1.0}
    assert live["trust"] > 0.9
    assert not live["held_back"]
    assert live["over_all"]["fresh_accuracy"] > live["over_all"]["plain_accuracy"] + 0.1
    said = living.evergreen("online", "status", "churn")
    assert "right instead of" in said
    assert "at most, as a sum of losses" in said


def test_status_of_a_model_that_does_not_learn_says_so(stack):
    stack.applied()
    assert stack.evergreen("online", "status", "churn").strip() == "churn: off (freshness.enabled is false)"
    assert stack.asked("online", "status", "churn") == {"model": "churn", "enabled": False, "live": []}
    stack.applied(freshness={"enabled": True})
    assert stack.evergreen("online", "status", "churn").strip() == "churn: nothing has been learned yet"


def test_status_tells_of_a_state_that_was_proven_worse(living):
    version, pointer = living.ports.ledger.read("churn").version(1), living.pointer_of()
    model = Model(1, split_uri(version.artifact)[1], version.sha256)
    ready = serving(living.ports).live_version(model, living.now)
    stored = kept_live_states(living.ports).pointed_to(pointer, ready)
    worse = replace(stored.state, lost=np.ones(100, dtype=np.float32))
    put_live_state(living.ports, pointer, replace(stored, number=stored.number + 1, state=worse), "churn", ready)
    (told,) = living.asked("online", "status", "churn")["live"]
    assert told["held_back"]
    assert "the version answers as it was trained" in " ".join(living.evergreen("online", "status", "churn").split())


def test_verify_computes_every_state_again(living):
    found = living.asked("online", "verify", "churn")["states"]
    assert [step["state"] for step in found] == [2, 3, 4]
    assert {step["found"] for step in found} == {"same"}
    assert "3 of 3 states follow from the rows they learned" in living.evergreen("online", "verify", "churn")


def test_verify_names_a_state_whose_rows_are_others_now(living):
    key = next(iter(living.ports.data.keys("online-rows/")))
    others = next(iter(list(living.ports.data.keys("online-rows/"))[3:]))
    living.ports.data.put(key, living.ports.data.get(others))
    steps = living.asked("online", "verify", "churn", code=1)["states"]
    assert "the rows give" in steps[0]["because"]
    assert [step["found"] for step in steps[1:]] == ["same", "same"]


def test_revert_goes_back_to_an_earlier_state_and_learns_on_from_there(living):
    before = living.pointer_of()
    reason = ("labels were flipped", "ada")
    done = live.revert_live_state("churn", 2, *reason, now=living.now + HOUR, ports=living.ports)
    assert done.number == before.number + 1
    assert 0 < done.rows < before.rows
    assert '"version": 1' in living.told("OnlineStateReverted")["detail"]["body"]
    living.now += HOUR
    living.day(leaves_at=TURNED)
    assert living.pointer_of().rows - done.rows <= 240, "what was taken back is not learned again"
    found = [step["found"] for step in living.asked("online", "verify", "churn")["states"]]
    assert found == ["unknown", "same", "same", "same"], "the state that answered the first rows is no longer kept"


def test_a_revert_is_in_the_history_and_the_history_is_sound(living):
    told = living.asked("online", "revert", "churn", "--to", 2, "--reason", "labels were flipped", "--yes")
    assert (told["version"], told["state"], told["rows"]) == (1, living.pointer_of().number, living.pointer_of().rows)
    event = living.ports.ledger.history("churn").documents[-1]
    assert (event["type"], event["checkpoint"], event["because"]) == ("OnlineStateReverted", 2, "labels were flipped")
    assert living.asked("verify", "churn")


def test_without_a_number_it_goes_back_to_the_one_before(living):
    earlier = living.pointer_of().number - 1
    said = living.evergreen("online", "revert", "churn", "--reason", "a try", "--yes")
    assert f"learns on from state {earlier}" in said


@pytest.mark.parametrize(("more", "told"), [(["--to", "77"], "keeps no state 77"), (["--version", "9"], "version 9")])
def test_what_there_is_not_can_not_be_gone_back_to(living, more, told):
    before = living.pointer_of()
    with pytest.raises(EvergreenError, match=told):
        living.evergreen("online", "revert", "churn", "--reason", "a try", "--yes", *more)
    assert living.pointer_of() == before


@pytest.mark.parametrize(("more", "says"), [(["--reason", " ", "--yes"], "--reason is empty"), ([], "add --yes")])
def test_a_revert_needs_a_reason_and_a_yes(living, more, says, monkeypatch, capsys):
    before = living.pointer_of()
    reason = [] if "--reason" in more else ["--reason", "a try"]
    monkeypatch.setattr("sys.argv", ["evergreen", "online", "revert", "churn", *reason, *more])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert living.pointer_of() == before


def test_an_earlier_state_that_somebody_changed_is_not_gone_back_to(living):
    before = living.pointer_of()
    key = next(key for key in living.states() if f"/{before.number - 1:010d}-" in key)
    body = bytearray(living.ports.artifacts.get(key))
    body[50] ^= 1
    living.ports.artifacts.put(key, bytes(body))
    with pytest.raises(EvergreenError, match=f"is gone, or not what was recorded: {key}"):
        living.evergreen("online", "revert", "churn", "--reason", "a try", "--yes")
    assert living.pointer_of() == before
