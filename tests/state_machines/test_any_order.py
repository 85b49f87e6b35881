"""Events twice, in any order, a day late, or never until reconcile runs: what must hold holds after every step."""

import contextlib
from collections import Counter

import pytest
from a_life import LIFE, a_life
from crowd import crossing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from living_cloud import DAY, HOUR, MINUTE, LivingCloud
from living_endpoint import open_endpoint
from refusals import REFUSALS
from small_cloud import open_cloud
from what_must_hold import always, in_the_end

BEGINNINGS = ("new", "first candidate", "good", "challenger", "promoted", "watched by its predecessor")
FATES = ("goes on", "undone by an alarm", "undone for want of instances")
ENDS = ("Completed", "Completed", "Completed", "fails its gate", "Failed", "Stopped")


class ModelLife(RuleBasedStateMachine):
    """A model's life: the real functions and adapters, on a cloud whose bus is unreliable."""

    def __init__(self):
        super().__init__()
        self._opened = contextlib.ExitStack()
        self.passing = self._opened.enter_context(crossing())
        self.cloud = self._opened.enter_context(self.world())

    def world(self):
        return open_cloud(LivingCloud)

    @initialize(beginning=st.sampled_from(BEGINNINGS), approval=st.sampled_from(["auto", "auto", "manual"]))
    def begin(self, beginning, approval):
        self.told_so_far(beginning, approval)

    def told_so_far(self, beginning, approval):
        """The first chapters are told quickly, so that there is time for the others."""
        cloud, chapters = self.cloud, BEGINNINGS.index(beginning)
        cloud.known(approval=approval)
        if chapters >= 1:
            cloud.trained()
        if chapters >= 2:
            cloud.baked()
        if chapters >= 3:
            cloud.trained()
        if chapters >= 4:
            cloud.promote(2)
            cloud.collect()
            cloud.carry_out()
        if chapters >= 5:
            cloud.traffic()
            cloud.pass_time(31 * MINUTE)
            cloud.ticks()
            cloud.carry_out()

    # --- the world ----------------------------------------------------------------------------------------------------

    @rule(delta=st.sampled_from([MINUTE, 31 * MINUTE, 2 * HOUR, DAY]))
    def time_passes(self, delta):
        self.cloud.pass_time(delta)

    @rule()
    def somebody_wants_a_retraining(self):
        self.cloud.business_event()

    @rule()
    def the_hour_of_the_evaluation_comes(self):
        self.cloud.evaluation()

    @precondition(lambda self: self.cloud.running_jobs())
    @rule(how=st.sampled_from(ENDS))
    def a_job_ends(self, how):
        job = self.cloud.running_jobs()[0]
        status = "Completed" if how == "fails its gate" else how
        self.cloud.end_job(job, status, passes=how == "Completed")

    @rule()
    def schedules_tick(self):
        self.cloud.ticks()

    @rule(failing=st.booleans())
    def requests_are_answered(self, failing):
        self.cloud.traffic(failing=failing)
        self.cloud.pass_time(MINUTE)

    @precondition(lambda self: self.cloud.state.shadow is not None)
    @rule(shadow_is_better=st.booleans())
    def days_of_labels_come(self, shadow_is_better):
        self.cloud.labels(shadow_is_better=shadow_is_better)
        self.cloud.pass_time(2 * HOUR)
        self.cloud.ticks()

    @rule(
        shape=st.sampled_from(["direct", "eventbridge", "sns"]),
        state=st.sampled_from(["ALARM", "ALARM", "OK", "INSUFFICIENT_DATA"]),
    )
    def an_alarm_changes(self, shape, state):
        self.cloud.alarm(shape, state)

    # --- people -------------------------------------------------------------------------------------------------------

    @rule(version=st.integers(1, 4))
    def somebody_promotes(self, version):
        with contextlib.suppress(*REFUSALS):
            self.cloud.promote(version)
        self.cloud.collect()

    @rule()
    def somebody_rolls_back(self):
        with contextlib.suppress(*REFUSALS):
            self.cloud.roll_back()
        self.cloud.collect()

    @rule()
    def somebody_approves(self):
        with contextlib.suppress(*REFUSALS):
            self.cloud.approve()
        self.cloud.collect()

    @rule(paused=st.booleans())
    def somebody_pauses_or_resumes(self, paused):
        self.cloud.pause() if paused else self.cloud.resume()
        self.cloud.collect()

    # --- the bus ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.cloud.pending)
    @rule(place=st.integers(0, 20))
    def an_event_is_delivered(self, place):
        self.cloud.deliver(self.cloud.pending.pop(place % len(self.cloud.pending)))

    @precondition(lambda self: self.cloud.pending)
    @rule(order=st.randoms(use_true_random=False))
    def everything_is_delivered_in_some_order(self, order):
        order.shuffle(self.cloud.pending)
        self.cloud.deliver_all()

    @precondition(lambda self: self.cloud.pending)
    @rule(place=st.integers(0, 20), calls=st.integers(0, 12))
    def an_invocation_dies_and_its_event_comes_again(self, place, calls):
        delivery = self.cloud.pending[place % len(self.cloud.pending)]
        with self.passing.dying_after(calls):
            self.cloud.call(delivery.function, delivery.event)
        self.cloud.collect()

    @precondition(lambda self: self.cloud.delivered)
    @rule(place=st.integers(0, 60))
    def an_event_is_delivered_again(self, place):
        self.cloud.deliver(self.cloud.delivered[place % len(self.cloud.delivered)])

    @precondition(lambda self: self.cloud.pending)
    @rule(place=st.integers(0, 20))
    def an_event_is_lost(self, place):
        self.cloud.pending.pop(place % len(self.cloud.pending))

    @rule()
    def everything_on_its_way_is_lost(self):
        self.cloud.pending.clear()

    @rule()
    def the_quarter_hour_of_reconcile_comes(self):
        self.cloud.reconciliation()

    @rule()
    def everything_settles(self):
        self.cloud.settle()
        in_the_end(self.cloud)

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def what_must_hold_holds(self):
        if self.cloud.told():
            always(self.cloud)

    def teardown(self):
        try:
            if self.cloud.told():
                self.cloud.settle()
                in_the_end(self.cloud)
        finally:
            self._opened.close()


class EndpointLife(ModelLife):
    """The same of kind sagemaker: a change takes its time, and SageMaker may undo it without a word."""

    def world(self):
        return open_endpoint()

    @initialize(beginning=st.sampled_from(BEGINNINGS[3:]), fate=st.sampled_from(FATES), told=st.booleans())
    def begin(self, beginning, fate, told):
        """The first change is under way, or undone already; whether anybody heard of it or not."""
        self.told_so_far(beginning, "auto")
        self.somebody_promotes(2) if beginning == "challenger" else self.somebody_rolls_back()
        self.cloud.deliver_all()
        if fate != "goes on":
            self.a_change_is_undone_in_silence(by_alarm=fate == "undone by an alarm")
        if not told:
            self.cloud.pending.clear()

    @rule(minutes=st.sampled_from([2, 6, 12, 25]))
    def a_change_goes_on(self, minutes):
        self.cloud.pass_time(minutes * MINUTE)

    @precondition(lambda self: self.cloud.is_changing())
    @rule(by_alarm=st.booleans())
    def a_change_is_undone_in_silence(self, by_alarm):
        """By an alarm while the canary answers, where there is one, or because its instances don't come up."""
        self.cloud.scarce = not by_alarm
        self.cloud.pass_time(6 * MINUTE)
        if by_alarm:
            self.cloud.guardrail("ALARM")
        self.cloud.pass_time(2 * MINUTE)
        self.cloud.scarce = False
        self.cloud.guardrail("OK")

    @rule(scarce=st.booleans())
    def instances_are_scarce_or_to_be_had(self, scarce):
        self.cloud.scarce = scarce

    @rule(state=st.sampled_from(["ALARM", "OK"]))
    def the_alarm_of_the_guardrails_changes(self, state):
        self.cloud.guardrail(state)


def test_a_life_of_which_the_bus_tells_nothing_is_led_by_reconcile():
    lost = {"evergreen", "aws.sagemaker"}
    with crossing(), open_cloud(LivingCloud) as cloud:

        def deliver():
            """Schedules, alarms and wishes arrive; events of the ledger and of jobs never do."""
            while cloud.pending:
                delivery = cloud.pending.pop(0)
                if delivery.event.get("source") not in lost:
                    cloud.deliver(delivery)
            for _ in range(4):
                cloud.pass_time(20 * MINUTE)
                cloud.call("reconcile", {"time": f"{cloud.now:%Y-%m-%dT%H:%M:%SZ}"})
                cloud.collect()
                cloud.pending.clear()
                always(cloud)

        a_life(cloud, deliver)
        told = Counter(cloud.types())
        repairs = told.pop("DifferenceRepaired")
        assert told == LIFE
        assert repairs >= 8
        cloud.pass_time(20 * MINUTE)
        cloud.call("reconcile", {"time": f"{cloud.now:%Y-%m-%dT%H:%M:%SZ}"})
        in_the_end(cloud)


def test_whatever_is_delivered_what_must_hold_holds():
    run_state_machine_as_test(ModelLife, settings=settings(max_examples=4, stateful_step_count=25))


def test_whatever_becomes_of_an_endpoints_changes_what_must_hold_holds():
    run_state_machine_as_test(EndpointLife, settings=settings(max_examples=2, stateful_step_count=20))


@pytest.mark.slow
def test_whatever_is_delivered_what_must_hold_holds_for_long(repetitions):
    examples = repetitions(20, 60)
    run_state_machine_as_test(ModelLife, settings=settings(max_examples=examples, stateful_step_count=40))


@pytest.mark.slow
def test_whatever_becomes_of_an_endpoints_changes_what_must_hold_holds_for_long(repetitions):
    examples = repetitions(12, 40)
    run_state_machine_as_test(EndpointLife, settings=settings(max_examples=examples, stateful_step_count=40))
