"""The same events from eight threads at once, and two candidates promoted at once: each effect happens once."""

import hashlib
import json
import random
from collections import Counter
from functools import partial

import pytest
from a_life import LIFE, a_life
from crowd import crossing, together
from living_cloud import HOUR, MINUTE, MODEL, LivingCloud
from living_endpoint import open_endpoint
from refusals import REFUSALS
from small_artifact import small_artifact
from small_cloud import open_cloud
from what_must_hold import always, in_the_end

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import BakePassed, CandidateRegistered, PromotionApproved, ShadowStarted
from evergreen.domain.state import BakePhase, VersionStatus
from evergreen.errors import ConflictingWriteError
from evergreen.usecases.compare_shadow import compare_shadow, start_shadow
from evergreen.usecases.people import decide
from evergreen.usecases.repoint_alias import EndpointNotRepointedError, repoint_alias

THREADS = 8
COMES_AGAIN = (*REFUSALS, EndpointNotRepointedError)
"""What a function may raise because somebody else was faster: the event is delivered again."""
WORLDS = {"lambda": partial(open_cloud, LivingCloud), "sagemaker": open_endpoint}
"""By the kind of the model's endpoint."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


def ready(cloud):
    """Have every client made before threads share them: in Lambda they never do."""
    ports = cloud.ports
    for name in ("ledger", "data", "artifacts", "catalog", "aliases", "trainer", "schedules", "traffic"):
        getattr(ports, name)


# --- the same events from eight threads -------------------------------------------------------------------------------


def in_threads(cloud, seed, passing, *, drawn):
    """Answer a way to deliver: each thread delivers everything, in an order of its own, until nothing is refused."""
    rounds = iter(range(1_000))

    def deliver_all_of(deliveries):
        failed = []
        for delivery in deliveries:
            try:
                cloud.call(delivery.function, delivery.event)
            except COMES_AGAIN:
                failed.append(delivery)
        return failed

    def deliver():
        while cloud.pending or cloud.is_changing():
            if not cloud.pending:
                cloud.pass_time(2 * MINUTE)  # until an endpoint is what was asked of it
            deliveries, cloud.pending = cloud.pending, []
            number = next(rounds)
            orders = [_in_some_order(deliveries, f"{seed}-{number}-{thread}") for thread in range(THREADS)]
            calls = [partial(deliver_all_of, order) for order in orders]
            refused = together(passing, calls, seed=f"{seed}-{number}" if drawn else None)
            for error in refused:
                if isinstance(error, Exception):
                    raise error
            cloud.delivered += deliveries
            cloud.pending = [delivery for delivery in deliveries if any(delivery in failed for failed in refused)]
            cloud.collect()
            always(cloud)

    return deliver


def _in_some_order(deliveries, seed):
    return random.Random(seed).sample(deliveries, len(deliveries))


@pytest.mark.parametrize("kind", WORLDS)
def test_a_life_without_threads_is_the_one_that_the_others_are_compared_with(kind):
    with crossing(), WORLDS[kind]() as cloud:
        a_life(cloud, cloud.carry_out)
        assert Counter(cloud.types()) == LIFE
        cloud.settle()
        in_the_end(cloud)


def lived_by_eight_threads(seeds, *, drawn, kind="lambda"):
    conflicts = 0
    for seed in seeds:
        with crossing() as passing, WORLDS[kind]() as cloud:
            ready(cloud)
            deliver = in_threads(cloud, seed, passing, drawn=drawn)
            a_life(cloud, deliver)
            assert Counter(cloud.types()) == LIFE
            before = cloud.types()
            cloud.pending, cloud.delivered = cloud.delivered, []
            deliver()
            assert cloud.types() == before, "what was delivered once more did something once more"
            cloud.settle()
            in_the_end(cloud)
            conflicts += passing.conflicts()
    return conflicts


def test_the_same_events_from_eight_threads_at_once_happen_once():
    conflicts = lived_by_eight_threads(range(1), drawn=True)
    print(f"\na life by {THREADS} threads, whose calls come in a drawn order: {conflicts} writes came second")
    assert conflicts > 0, "nobody was in anybody's way: this shows nothing"


@pytest.mark.slow
def test_many_lives_by_eight_threads_in_whatever_order_the_machine_runs_them(repetitions):
    in_drawn_order, free_ones = repetitions(3, 6), repetitions(2, 4)
    drawn = lived_by_eight_threads(range(100, 100 + in_drawn_order), drawn=True)
    free = lived_by_eight_threads(range(free_ones), drawn=False)
    print(f"\n{in_drawn_order} drawn orders: {drawn} writes came second; {free_ones} free ones: {free}")
    assert drawn > 0
    assert free > 0, "nobody was in anybody's way: this shows nothing"


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [True, False], ids=["drawn", "as the machine runs them"])
def test_lives_by_eight_threads_at_an_endpoint(drawn):
    conflicts = lived_by_eight_threads(range(2), drawn=drawn, kind="sagemaker")
    print(f"\n2 lives of kind sagemaker by {THREADS} threads: {conflicts} writes came second")
    assert conflicts > 0, "nobody was in anybody's way: this shows nothing"


def test_of_eight_different_wishes_at_once_one_is_granted_and_the_newest_of_the_others_waits():
    with crossing() as passing, open_cloud(LivingCloud) as cloud:
        ready(cloud)
        cloud.known()
        for number in range(THREADS):
            cloud.pass_time(MINUTE)
            cloud.business_event(f"reason {number}")
        calls = [partial(cloud.call, delivery.function, delivery.event) for delivery in cloud.pending]
        again = [cloud.pending[i] for i, answer in enumerate(together(passing, calls, seed=0)) if _lost(answer)]
        cloud.pending = again
        cloud.collect()
        cloud.deliver_all()
        assert cloud.types().count("RetrainingRequested") == 1
        assert len(cloud.jobs()) == 1
        granted = next(json.loads(item["body"]["S"]) for item in cloud.told() if "decision_id" in item["body"]["S"])
        newest = max({f"reason {number}" for number in range(THREADS)} - {granted["because"]})
        wish = cloud.state.wish
        assert wish is None or (wish.reason == newest and wish.time > cloud.state.run.requested_at)
        assert passing.conflicts() > 0, "nobody was in anybody's way: this shows nothing"
        cloud.settle()
        in_the_end(cloud)


def _lost(answer):
    assert not isinstance(answer, Exception) or isinstance(answer, COMES_AGAIN), answer
    return isinstance(answer, Exception)


# --- two candidates at once -------------------------------------------------------------------------------------------


def two_proven(cloud):
    """Version 1 is good and in production; 2 in shadow and 3 beside it are both better than it."""
    cloud.known()
    who = {"time": cloud.now, "actor": "ada", "because": "a story"}
    fingerprint = spec_of(cloud.state).feature_schema().with_classes(None).fingerprint

    def registered(number):
        key, body = f"models/churn/churn-{number}/output/model.tar.gz", small_artifact(f"churn-{number}")
        cloud.ports.artifacts.put(key, body)
        return CandidateRegistered(
            **who,
            version=number,
            decision_id="",
            artifact=f"s3://artifacts/{key}",
            sha256=hashlib.sha256(body).hexdigest(),
            fingerprint=fingerprint,
            rows_trained=500,
            trained_until=None,
            reference="",
            gate={},
        )

    record = cloud.ports.ledger.record
    record(cloud.state, registered(1), PromotionApproved(**who, version=1, instead_of=None, evidence={}))
    carried_out(cloud)
    passed = BakePassed(**who, version=1, phase=BakePhase.OPS, evidence={})
    record(cloud.state, passed, registered(2), ShadowStarted(**who, version=2, judged_against=1), registered(3))
    start_shadow(MODEL, now=cloud.now, ports=cloud.ports)
    carried_out(cloud)
    cloud.collect()
    cloud.pending.clear()  # all that these events would lead to has been done
    cloud.labels(shadow_is_better=True)
    cloud.pass_time(2 * HOUR)


def carried_out(cloud):
    repoint_alias(MODEL, now=cloud.now, ports=cloud.ports)
    while cloud.is_changing():
        cloud.pass_time(2 * MINUTE)
        repoint_alias(MODEL, now=cloud.now, ports=cloud.ports)


def one_round(seed, kind):
    """Promote both at once; answers who won, and how many writes came second."""
    with crossing() as passing, WORLDS[kind]() as cloud:
        ready(cloud)
        two_proven(cloud)
        shown, ports, now = cloud.state, cloud.ports, cloud.now
        before = cloud.types()

        def by_the_comparison():
            compare_shadow(MODEL, 2, now=now, ports=ports)
            repoint_alias(MODEL, now=now, ports=ports)

        def by_a_person():
            for _ in range(random.Random(seed).randrange(10)):
                ports.ledger.read(MODEL)  # looks again, and finds all as it was
            expected = decide.Expected.of(shown)
            decide.force_promotion(MODEL, 3, "the best", "ada", now=now, ports=ports, expected=expected)
            repoint_alias(MODEL, now=now, ports=ports)

        outcomes = together(passing, [by_the_comparison, by_a_person], seed=seed)
        compared, commanded = outcomes
        noted_second = kind == "sagemaker" and isinstance(compared, ConflictingWriteError)
        assert compared is None or noted_second, "to come second is no error of the comparison"
        assert commanded is None or isinstance(commanded, REFUSALS), commanded
        cloud.collect()
        cloud.carry_out()
        always(cloud)
        new = cloud.types()[len(before) :]
        assert (new.count("PromotionApproved"), new.count("VersionPromoted")) == (1, 1), new
        winner = cloud.state.production
        loser = {2: 3, 3: 2}[winner]
        assert cloud.state.version(loser).status is VersionStatus.CANDIDATE, "the other is out of the running"
        conflicts = passing.conflicts()
        cloud.baked()
        shadow = cloud.state.shadow
        assert (shadow.version, shadow.judged_against) == (loser, winner), "the other is not compared again"
        in_the_end(cloud)
        return winner, conflicts


def many_rounds(number, kind="lambda"):
    won, conflicts = Counter(), 0
    for seed in range(number):
        winner, came_second = one_round(seed, kind)
        won[winner] += 1
        conflicts += came_second
    print(
        f"\n{number} rounds of two candidates at once: the comparison's won {won[2]} times, the person's {won[3]}, "
        f"never both; the other was compared again each time; {conflicts} writes came second"
    )
    assert won.total() == number
    assert min(won[2], won[3]) > 0, "it was no race"
    assert conflicts > 0, "nobody was in anybody's way: this shows nothing"


def test_of_two_candidates_promoted_at_once_one_wins_and_the_other_is_compared_again():
    many_rounds(8)


@pytest.mark.slow
def test_of_two_candidates_promoted_at_once_one_gets_the_endpoint():
    many_rounds(16, "sagemaker")


@pytest.mark.slow
def test_of_two_candidates_promoted_at_once_one_wins_each_of_many_times(repetitions):
    many_rounds(repetitions(60, 200))
