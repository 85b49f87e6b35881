"""Batches of feedback from eight threads at once: every row is learned once, and none is lost."""

from functools import partial

from crowd import crossing, together
from living_cloud import MODEL, LivingCloud
from small_cloud import open_cloud

from evergreen.inbound import FeedbackMessage
from evergreen.training.online import OnlineState
from evergreen.usecases.learn_online import learn_online, state_key

THREADS, BATCH = 8, 5


def batch(number, now):
    return [
        FeedbackMessage(
            message_id=f"m{number}-{row}",
            model=MODEL,
            inference_id=f"order-{number}-{row}",
            label=str(row % 2),
            features={"age": 20.0 + 10 * row, "plan": "ab"[number % 2]},
            time=now,
        )
        for row in range(BATCH)
    ]


def learned_at_once(seed):
    """Four batches, each delivered twice, by eight threads; answers how many writes came second."""
    with crossing() as passing, open_cloud(LivingCloud) as cloud:
        cloud.known()
        ports = cloud.ports
        _ = ports.ledger, ports.artifacts
        waiting = [batch(number % 4, cloud.now) for number in range(THREADS)]
        while waiting:
            calls = [partial(learn_online, messages, ports=ports) for messages in waiting]
            learned = together(passing, calls, seed=f"{seed}-{len(waiting)}")
            waiting = [messages for messages, result in zip(waiting, learned, strict=True) if result.failed]
        state = OnlineState.from_bytes(ports.artifacts.get(state_key(MODEL)))
        assert (state.updates, state.rows) == (4, 4 * BATCH)
        return passing.conflicts()


def test_every_batch_is_learned_once_whoever_is_first():
    conflicts = sum(learned_at_once(seed) for seed in range(3))
    print(f"\n3 times {THREADS} batches at once: {conflicts} writes came second")
    assert conflicts > 0, "nobody was in anybody's way: this shows nothing"
