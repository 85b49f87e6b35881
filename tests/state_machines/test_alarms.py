"""Alarms that flap, repeat, come late or at once: one rollback, or one cry for help, and nothing more."""

from functools import partial

import pytest
from crowd import crossing, together
from living_cloud import DAY, MINUTE, LivingCloud
from small_cloud import open_cloud
from what_must_hold import in_the_end

SHAPES = ("direct", "eventbridge", "sns")
STATES = ("ALARM", "OK", "ALARM", "INSUFFICIENT_DATA", "ALARM")
DECISIONS = ("RollbackDecided", "RollbackImpossible", "VersionRolledBack")


@pytest.fixture
def living():
    with crossing() as passing, open_cloud(LivingCloud) as cloud:
        cloud.crossing = passing
        cloud.known()
        cloud.trained()
        yield cloud


def alarms(cloud, states=STATES):
    """The alarms of a minute, in every shape."""
    for state in states:
        for shape in SHAPES:
            cloud.alarm(shape, state)


def decided(cloud):
    return [name for name in cloud.types() if name in DECISIONS]


def with_a_failing_second_version(cloud):
    cloud.baked()
    cloud.trained()
    cloud.promote(2)
    cloud.collect()
    cloud.deliver_all()
    cloud.pass_time(5 * MINUTE)
    cloud.traffic(failing=True)
    cloud.pass_time(MINUTE)


def test_an_alarm_that_flaps_rolls_back_once(living):
    with_a_failing_second_version(living)
    alarms(living)
    living.deliver_all()
    assert decided(living) == ["RollbackDecided", "VersionRolledBack"]
    assert (living.state.production, living.alias("production")) == (1, 1)
    in_the_end(living)


def test_alarms_of_the_version_that_was_rolled_back_are_late_a_day_later(living):
    with_a_failing_second_version(living)
    alarms(living, ["ALARM"])
    late = list(living.pending)
    living.deliver_all()
    living.pass_time(DAY)
    living.traffic()
    living.pending += late
    alarms(living, ["ALARM"])  # and new ones, while the version that is back answers well
    living.deliver_all()
    assert decided(living) == ["RollbackDecided", "VersionRolledBack"]
    living.settle()
    in_the_end(living)


def test_eight_alarms_at_once_roll_back_once(living):
    with_a_failing_second_version(living)
    alarms(living, ["ALARM", "ALARM", "ALARM"])
    calls = [partial(living.call, delivery.function, delivery.event) for delivery in living.pending[:8]]
    living.pending.clear()
    living.ports.traffic, living.ports.ledger  # noqa: B018 - made before threads share them
    assert not [error for error in together(living.crossing, calls, seed=1) if isinstance(error, Exception)]
    living.collect()
    living.deliver_all()
    assert decided(living) == ["RollbackDecided", "VersionRolledBack"]
    assert living.crossing.conflicts() > 0, "nobody was in anybody's way: this shows nothing"
    in_the_end(living)


def test_with_nothing_good_to_return_to_it_is_said_once_and_production_stays(living):
    living.pass_time(5 * MINUTE)
    living.traffic(failing=True)
    living.pass_time(MINUTE)
    for _ in range(3):
        alarms(living)
        living.ticks()
        living.deliver_all()
        living.traffic(failing=True)
        living.pass_time(MINUTE)
    assert decided(living) == ["RollbackImpossible"]
    assert (living.state.production, living.alias("production")) == (1, 1)
    living.settle()
    in_the_end(living)
