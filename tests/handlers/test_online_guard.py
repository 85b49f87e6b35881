"""What keeps a poisoned online state out of production, and lets a good one in."""

import pytest
from online_world import open_online_world


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


@pytest.fixture
def world(_nobodys_credentials):
    with open_online_world() as made:
        yield made


def poisoned(world, seed, labels, hours):
    """Days as ever, then labels are flipped for some hours, then days as ever."""
    world.begin(labels=labels, seed=seed, checkpoint="6h")
    for _ in range(3):
        world.day()
    world.day(flipped_hours=hours)
    learned = [each.number for each in world.checkpoints]
    for _ in range(6):
        world.day()
    return learned


@pytest.mark.parametrize("labels", ["at_once", "matured"])
def test_labels_that_were_flipped_for_hours_do_not_reach_production(world, labels):
    poisoned(world, 0, labels, hours=range(8, 16))
    assert world.candidates() == []
    assert world.ports.aliases.read("churn", "production").version == 1
    judged = [each for each in world.checkpoints if each.verdict]
    assert judged


def test_a_state_that_has_followed_the_world_is_handed_on(world):
    world.begin(seed=0)
    for _ in range(2):
        world.day()
    for _ in range(8):
        world.day(leaves_at=28.0)
        if world.candidates():
            break
    (number,) = world.candidates()
    (checkpoint,) = [each for each in world.checkpoints if each.number == number]
    assert checkpoint.status == "candidate"
    assert checkpoint.evidence["shadow_accuracy"] > checkpoint.evidence["production_accuracy"] + 0.1
