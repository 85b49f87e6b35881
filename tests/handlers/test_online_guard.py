"""What keeps a poisoned online state out of production, and lets a good one in."""

import pytest
from online_world import OnlineWorld
from small_cloud import kept_clients, open_cloud


@pytest.fixture
def world(_nobodys_credentials, monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    with kept_clients(), open_cloud(OnlineWorld) as made:
        yield made


def poisoned(world, seed, labels, *, before=3, after=6, **online):
    """Days as ever, one in which every label of eight hours is flipped, and days as ever."""
    world.begin(labels=labels, seed=seed, **online)
    for _ in range(before):
        world.day()
    world.day(flipped_hours=range(8, 16))
    for _ in range(after):
        world.day()


def nothing_reached_production(world):
    assert world.candidates() == []
    assert world.ports.aliases.read("churn", "production").version == 1
    assert any(each.verdict for each in world.checkpoints), "nothing was judged: this shows nothing"


def followed(world, seed, **online):
    """The world changes for good, and the online state with it."""
    world.begin(seed=seed, **online)
    for _ in range(2):
        world.day()
    for _ in range(8):
        world.day(leaves_at=28.0)
        if world.candidates():
            return


def a_better_one_is_handed_on(world):
    (number,) = world.candidates()
    (checkpoint,) = [each for each in world.checkpoints if each.number == number]
    assert checkpoint.status == "candidate"
    assert checkpoint.evidence["shadow_accuracy"] > checkpoint.evidence["production_accuracy"]


def test_labels_that_were_flipped_for_hours_do_not_reach_production(world):
    poisoned(world, 0, "matured", before=1, after=4)
    nothing_reached_production(world)


def test_a_state_that_has_followed_the_world_is_handed_on(world):
    followed(world, 0)
    a_better_one_is_handed_on(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("labels", ["at_once", "matured"])
def test_flipped_labels_do_not_reach_production_whatever_the_seed(world, labels, seed):
    poisoned(world, seed, labels, checkpoint="6h")
    nothing_reached_production(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("labels", ["at_once", "matured"])
def test_real_change_reaches_production_whatever_the_seed(world, labels, seed):
    followed(world, seed, labels=labels)
    a_better_one_is_handed_on(world)
