"""Eight who learn at once and die at random, and labels that come again: each is learned once, and none is lost."""

import json
import random
import threading
from collections import Counter
from functools import partial

import boto3
import pytest
from crowd import crossing, together
from live_world import DAY, HOUR, MODEL, LiveWorld
from small_cloud import kept_clients, open_cloud

from evergreen.usecases.learn_live import learn_live
from evergreen.usecases.people.live import verify_live_states

THREADS, ROWS_A_DAY = 8, 240


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


def learned_by_then(world):
    """A day and a tick later every label that there was has been learned."""
    world.now += DAY
    world.tick()
    return world.pointer_of().rows


def only_what_is_known_is_kept(world):
    """What lost a race, or died before it was pointed to, has been swept."""
    pointer = world.pointer_of()
    numbers = Counter(key.rpartition("/")[2].partition("-")[0] for key in world.states())
    assert pointer.key in world.states()
    assert set(numbers.values()) == {1}


# --- eight threads whose calls come in a drawn order ------------------------------------------------------------------


def learned_at_once(seed):
    """Two days of labels, each learned by eight threads at once; answers how many writes came second."""
    with crossing() as passing, open_cloud(LiveWorld) as world:
        world.begin(seed=seed)
        world.tick()
        for number in range(2):
            world.day(tick=False)
            before = world.pointer_of()
            calls = [partial(learn_live, MODEL, now=world.now, ports=world.ports)] * THREADS
            told = [each for (each,) in together(passing, calls, seed=f"{seed}-{number}")]
            assert world.pointer_of().number == before.number + 1
            assert sum(each.rows for each in told) == world.pointer_of().rows - before.rows
        assert learned_by_then(world) == 2 * ROWS_A_DAY
        only_what_is_known_is_kept(world)
        assert {step.found for step in verify_live_states(MODEL, now=world.now, ports=world.ports)} == {"same"}
        return passing.conflicts()


def test_labels_are_learned_once_whoever_is_first():
    conflicts = sum(learned_at_once(seed) for seed in range(3))
    print(f"\n3 times 2 ticks for {THREADS} at once: {conflicts} writes came second")
    assert conflicts > 0, "nobody was in anybody's way: this shows nothing"


# --- learners that die, and labels that come again --------------------------------------------------------------------


class DiedError(BaseException):
    """A learner's process is gone in the middle of a call, before or after its effect."""


class Deaths:
    """Lets learners die at their calls: each has a chance of it, drawn for each of them by itself."""

    def __init__(self, seed, chance):
        self.died = Counter()
        self._seed, self._chance, self._random_of = seed, chance, {}

    def __enter__(self):
        events = boto3.DEFAULT_SESSION.events
        events.register("before-call", self._before, unique_id="dies-before")
        events.register("after-call", self._after, unique_id="dies-after")
        return self

    def __exit__(self, *_):
        events = boto3.DEFAULT_SESSION.events
        events.unregister("before-call", unique_id="dies-before")
        events.unregister("after-call", unique_id="dies-after")

    def _before(self, model, **_):
        self._perhaps("before", model.name)

    def _after(self, model, **_):
        self._perhaps("after", model.name)

    def _perhaps(self, when, call):
        me, where = threading.current_thread().name, f"{when} {call}"
        if not me.startswith("one-"):
            return
        drawn = self._random_of.setdefault(me, random.Random(f"{self._seed}-{me}"))
        if drawn.random() < self._chance:
            self.died[where] += 1
            raise DiedError(where)


def until_it_is_through(world):
    """The tick, delivered again to another process for as long as whoever has it dies."""
    while True:
        try:
            return learn_live(MODEL, now=world.now, ports=world.ports)
        except DiedError:
            continue


def lived(days, *, seed, chance, learners=THREADS):
    """Days whose ticks several learners get at once; each day some labels come again, in files of their own."""
    drawn = random.Random(seed)
    with crossing() as passing, Deaths(seed, chance) as deaths, kept_clients({}), open_cloud(LiveWorld) as world:
        world.begin(seed=seed)
        world.tick()
        known, again = {}, 0
        for number in range(days):
            world.day(tick=False)
            for key in world.ports.data.keys(f"ground-truth/{MODEL}/"):
                for line in map(json.loads, world.ports.data.get(key).splitlines()):
                    known[line["eventMetadata"]["eventId"]] = line["groundTruthData"]["data"]
            repeated = drawn.sample(sorted(known), 40)
            world.label(world.now - HOUR, {name: known[name] for name in repeated}, f"again-{number}")
            again += len(repeated)
            for result in together(passing, [partial(until_it_is_through, world)] * learners):
                assert not isinstance(result, Exception), result
        rows = learned_by_then(world)
        died = sum(deaths.died.values())
        print(
            f"\n{len(known):,} labels, {again:,} of them again, for {learners} learners that died {died:,} times; "
            f"{passing.conflicts():,} writes came second\nrows learned {rows:,}, states {world.pointer_of().number:,}"
        )
        assert rows == len(known) == days * ROWS_A_DAY
        only_what_is_known_is_kept(world)
        assert {step.found for step in verify_live_states(MODEL, now=world.now, ports=world.ports)} == {"same"}
        return deaths.died, passing.conflicts()


def test_labels_are_learned_once_though_learners_die_and_labels_come_again():
    died, _ = lived(3, seed=1, chance=0.03)
    assert died


@pytest.mark.slow
def test_weeks_of_labels_are_learned_once_though_learners_die_and_labels_come_again(repetitions):
    died, conflicts = lived(repetitions(14, 60), seed=2, chance=0.05)
    print(json.dumps(dict(sorted(died.items()))))
    assert {"before PutItem", "after PutItem", "before PutObject", "after PutObject"} <= set(died)
    assert conflicts
