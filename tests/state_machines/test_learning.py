"""Batches of feedback from eight consumers at once that die at random: every row is learned once, and none is lost."""

import json
import random
import threading
from collections import Counter
from functools import partial
from itertools import batched

import boto3
import pytest
import sklearn.linear_model  # noqa: F401  eight threads would wait for one
from crowd import crossing, together
from living_cloud import MODEL, SPEC, LivingCloud
from moto.sqs.models import SQSBackend
from small_cloud import CHURN, kept_clients, open_cloud

from evergreen.formats.requests import FeedbackMessage
from evergreen.spec import ModelSpec
from evergreen.usecases.learn_online import learn_online
from evergreen.usecases.people import apply
from evergreen.usecases.steps.online_states import load_state, state_fingerprint

THREADS, BATCH = 8, 5
BATCH_SIZE, AT_A_TIME = 50, 1_000
ONLINE = {"enabled": True, "labels": "at_once"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


@pytest.fixture(autouse=True)
def _messages_do_not_age(monkeypatch):
    """moto counts the whole queue for each message that is received, to see whether it is 14 days old: none is."""
    monkeypatch.setattr(SQSBackend, "is_message_valid_based_on_retention_period", lambda *_: True)


def known(cloud):
    """The model, and every client that threads are to share."""
    spec = ModelSpec.parse(CHURN | SPEC | {"online": ONLINE})
    apply.apply_model(spec, now=cloud.now, ports=cloud.ports)
    for name in ("ledger", "artifacts", "online", "feedback"):
        getattr(cloud.ports, name)
    return state_fingerprint(spec)


# --- eight threads whose calls come in a drawn order ------------------------------------------------------------------


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
        fingerprint = known(cloud)
        ports = cloud.ports
        waiting = [batch(number % 4, cloud.now) for number in range(THREADS)]
        while waiting:
            calls = [partial(learn_online, messages, ports=ports) for messages in waiting]
            results = together(passing, calls, seed=f"{seed}-{len(waiting)}")
            waiting = [messages for messages, result in zip(waiting, results, strict=True) if result.failed]
        pointer = ports.online.read(MODEL, fingerprint)
        assert (pointer.version, pointer.updates, pointer.rows, pointer.total[0]) == (4, 4, 4 * BATCH, 4 * BATCH)
        assert load_state(ports, pointer).rows == 4 * BATCH
        return passing.conflicts()


def test_every_batch_is_learned_once_whoever_is_first():
    conflicts = sum(learned_at_once(seed) for seed in range(3))
    print(f"\n3 times {THREADS} batches at once: {conflicts} writes came second")
    assert conflicts > 0, "nobody was in anybody's way: this shows nothing"


# --- a queue, consumers that die, and messages that come again --------------------------------------------------------


class DiedError(BaseException):
    """A consumer's process is gone in the middle of a call, before or after its effect."""


_OF_THE_QUEUE = ("ReceiveMessage", "ChangeMessageVisibilityBatch", "GetQueueAttributes")
"""Calls that the queue's own poller makes, which is no part of a consumer."""


class Deaths:
    """Lets consumers die at their calls: each has a chance of it, drawn for each thread by itself."""

    def __init__(self, seed, chance):
        self.died = Counter()
        self._seed, self._chance, self._of = seed, chance, threading.local()

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
        if not me.startswith("one-") or call in _OF_THE_QUEUE:
            return
        if not hasattr(self._of, "random"):
            self._of.random = random.Random(f"{self._seed}-{me}")
        if self._of.random.random() < self._chance:
            self.died[where] += 1
            raise DiedError(where)


class Queue:
    """The feedback queue and Lambda's poller of it, which hands batches to whoever is free.

    No time passes: what a consumer that died had received is visible again at once, and now and then a message is
    visible to others while somebody works on it, as when its time has run out.
    """

    def __init__(self, cloud, seed):
        self._sqs, self._url = boto3.client("sqs"), cloud.queue
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"VisibilityTimeout": "3600"})
        self._random, self._changed = random.Random(seed), threading.Condition()
        self.deliveries = 0

    def batch(self):
        """The next batch, once there is one; nothing when every message was deleted."""
        with self._changed:
            while True:
                records = []
                while len(records) < BATCH_SIZE and (got := self._received()):
                    records += got
                if records:
                    self.deliveries += len(records)
                    self._visible([each for each in records if self._random.random() < 0.02])
                    return records
                if self._is_empty():
                    return []
                self._changed.wait(1)

    def _received(self):
        return self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", [])

    def _is_empty(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return not any(int(found[name]) for name in names)

    def done(self, records):
        """Delete what was learned; whoever dies at that leaves it to be delivered again."""
        for some in batched(records, 10):
            entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(some)]
            self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        with self._changed:
            self._changed.notify_all()

    def again(self, records):
        """Make messages visible that nobody has learned."""
        with self._changed:
            self._visible(records)
            self._changed.notify_all()

    def _visible(self, records):
        for some in batched(records, 10):
            entries = [
                {"Id": str(i), "ReceiptHandle": each["ReceiptHandle"], "VisibilityTimeout": 0}
                for i, each in enumerate(some)
            ]
            self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def consume(cloud, queue):
    """The function, a batch at a time: what it does not report as failed is deleted."""
    while records := queue.batch():
        event = {"Records": [{"messageId": each["MessageId"], "body": each["Body"]} for each in records]}
        try:
            failed = {item["itemIdentifier"] for item in cloud.call("learn_online", event)["batchItemFailures"]}
            queue.done([each for each in records if each["MessageId"] not in failed])
        except DiedError:
            queue.again(records)  # another process takes its place
        else:
            queue.again([each for each in records if each["MessageId"] in failed])


def feedback(number, now):
    return {
        "model": MODEL,
        "inference_id": f"order-{number}",
        "label": str(int(number * 7 % 60 > 30)),
        "features": {"age": 20.0 + number * 7 % 60, "plan": "ab"[number % 2]},
        "time": now.isoformat(),
    }


def consumed(distinct, repeated, *, seed, chance):
    """Send messages, some of them again, soon or late; eight consumers take them until the queue is empty."""
    drawn = random.Random(seed)
    with crossing() as passing, Deaths(seed, chance) as deaths, kept_clients({}), open_cloud(LivingCloud) as cloud:
        fingerprint = known(cloud)
        queue, sent = Queue(cloud, seed), 0
        for first in range(0, distinct, AT_A_TIME):
            new = range(first, min(first + AT_A_TIME, distinct))
            numbers = [*new, *drawn.choices(range(new.stop), k=repeated * len(new) // distinct)]
            drawn.shuffle(numbers)
            sent += len(numbers)
            cloud.ports.feedback.send([feedback(number, cloud.now) for number in numbers])
            for result in together(passing, [partial(consume, cloud, queue)] * THREADS):
                assert result is None, result
        pointer = cloud.ports.online.read(MODEL, fingerprint)
        pages = cloud.dynamodb.get_paginator("scan").paginate(TableName="online")
        names = [item["sk"]["S"] for page in pages for item in page["Items"]]
        state = load_state(cloud.ports, pointer)
        print(
            f"\n{sent:,} messages, {distinct:,} distinct, delivered {queue.deliveries:,} times to {THREADS} consumers "
            f"that died {sum(deaths.died.values()):,} times; {passing.conflicts():,} writes came second\n"
            f"distinct messages {distinct:,}, rows learned {state.rows:,}; "
            f"batches stored {pointer.version:,}, batches learned {state.updates:,}"
        )
        assert state.rows == pointer.rows == pointer.total[0] == distinct
        assert sum(name.startswith("row#") for name in names) == distinct
        assert state.updates == pointer.updates == pointer.version
        cloud.call("learn_online", {"time": f"{cloud.now:%Y-%m-%dT%H:%M:%SZ}"})  # what lost the last race is swept
        assert list(cloud.ports.artifacts.keys("online/churn/states/")) == [pointer.key]
        return deaths.died, passing.conflicts()


def test_feedback_is_learned_once_though_consumers_die_and_messages_come_again():
    consumed(150, 30, seed=1, chance=0.02)


@pytest.mark.slow
def test_thousands_of_messages_are_learned_once_though_consumers_die_and_messages_come_again(repetitions):
    died, conflicts = consumed(repetitions(3_000, 10_000), 1_500, seed=2, chance=0.03)
    print(json.dumps(dict(sorted(died.items()))))
    assert {"before TransactWriteItems", "after TransactWriteItems"} <= set(died)
    assert conflicts
