"""Threads that share a cloud: each API call is atomic, as the services' are, and whose call comes next can be drawn.

moto's backends are not safe for threads, so a lock is held around its answer to a request: at botocore's before-send,
where moto itself answers. Everything else, our code, runs as it likes between the calls.
"""

import contextlib
import json
import random
import threading
from collections import Counter

import boto3
from botocore.awsrequest import AWSResponse
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber
from moto.sagemaker.models import sagemaker_backends
from small_cloud import kept_clients


class ProcessDiedError(BaseException):
    """Nothing of the invocation runs any more, and no `except` sees it."""


class Crossing:
    """Where all requests of a process pass one at a time, and what the services refused."""

    def __init__(self):
        self.calls, self.refused = Counter(), Counter()
        self.turns = None
        self.meanwhile = {}  # what happens right after the next call of a name was answered
        self._calls_to_live = None
        self._lock = threading.Lock()

    def answer(self, request, event_name, **_):
        """botocore's before-send: wait for the turn, then let moto answer."""
        if self.turns is not None:
            self.turns.wait()
        if self._calls_to_live is not None:
            self._calls_to_live -= 1
            if self._calls_to_live < 0:
                raise ProcessDiedError(event_name)
        with self._lock:
            if event_name.endswith(".CreateTrainingJob"):
                return _create_training_job(request, event_name)
            if event_name.endswith(".StopTrainingJob"):
                return _stop_training_job(request)
            return botocore_stubber(event_name=event_name, request=request)

    def count(self, parsed, model, **_):
        """botocore's after-call: note what was called and what was refused."""
        call = f"{model.service_model.service_name}.{model.name}"
        with self._lock:
            self.calls[call] += 1
            if "Error" in parsed:
                self.refused[f"{call}: {parsed['Error']['Code']}"] += 1
        if (happens := self.meanwhile.pop(call, None)) is not None:
            happens()

    @contextlib.contextmanager
    def dying_after(self, calls):
        """The invocation of the block is gone after so many calls, if it has not ended by then."""
        self._calls_to_live = calls
        try:
            yield
        except ProcessDiedError:
            pass
        finally:
            self._calls_to_live = None

    def conflicts(self):
        """How many writes were refused because somebody else had written first."""
        lost = (
            "TransactionCanceledException",
            "ConditionalCheckFailedException",
            "PreconditionFailed",
            "ResourceInUse",
        )
        return sum(count for refusal, count in self.refused.items() if refusal.endswith(lost))


def _create_training_job(request, event_name):
    """As SageMaker does it: a name is taken once, and a job runs before it ends; moto's are completed at once."""
    jobs, name = _jobs_and_name(request)
    if name in jobs:
        return _answer(request, 400, {"__type": "ResourceInUse", "message": f"{name} exists"})
    response = botocore_stubber(event_name=event_name, request=request)
    jobs[name].training_job_status = jobs[name].secondary_status = "InProgress"
    return response


def _stop_training_job(request):
    """As SageMaker does it: what does not run can't be stopped; moto knows no stopping."""
    jobs, name = _jobs_and_name(request)
    if name not in jobs or jobs[name].training_job_status != "InProgress":
        return _answer(request, 400, {"__type": "ValidationException", "message": f"{name} does not run"})
    jobs[name].training_job_status = jobs[name].secondary_status = "Stopped"
    return _answer(request, 200, {})


def _jobs_and_name(request):
    jobs = sagemaker_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].training_jobs
    return jobs, json.loads(request.body)["TrainingJobName"]


def _answer(request, status, body):
    return AWSResponse(request.url, status, {}, MockRawResponse(json.dumps(body)))


_TAPPED = {}
"""Clients that pass whatever crossing is open."""
_open = []


def _answer_to(request, event_name, **told):
    return (_open[-1].answer if _open else botocore_stubber)(request=request, event_name=event_name, **told)


def _count_of(parsed, model, **told):
    if _open:
        _open[-1].count(parsed, model, **told)


@contextlib.contextmanager
def crossing():
    """Let all clients that are made within the block pass a crossing."""
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    made, events = Crossing(), boto3.DEFAULT_SESSION.events
    events.unregister("before-send", botocore_stubber)  # botocore asks every handler, and uses the first answer
    events.register("before-send", _answer_to, unique_id="crossing-answers")
    events.register("after-call", _count_of, unique_id="crossing-counts")
    _open.append(made)
    try:
        with kept_clients(_TAPPED):
            yield made
    finally:
        _open.remove(made)


class Turns:
    """Draws whose API call comes next, once every thread stands before one: the same seed gives the same order."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._all, self._standing, self._next = set(), set(), None
        self._changed = threading.Condition()

    def enter(self, who):
        """Say that a thread will come; before any starts."""
        self._all.add(who)

    def wait(self):
        """Stand before a call until it is this thread's turn."""
        me = threading.current_thread().name
        if me not in self._all:
            return
        with self._changed:
            self._standing.add(me)
            self._draw()
            while self._next != me:
                self._changed.wait()
            self._next = None
            self._standing.discard(me)

    def leave(self):
        """Say that this thread will call nothing more."""
        with self._changed:
            self._all.discard(threading.current_thread().name)
            self._draw()

    def _draw(self):
        if self._all and self._standing == self._all and self._next is None:
            self._next = self._random.choice(sorted(self._all))
            self._changed.notify_all()


def together(crossing, calls, seed=None):
    """Run each call in a thread of its own; answers what each returned or raised, in the order of the calls.

    With a seed the order of their API calls is drawn from it; without one they run as the machine lets them.
    """
    results = [None] * len(calls)
    names = [f"one-{number:02d}" for number in range(len(calls))]
    crossing.turns = turns = None if seed is None else Turns(seed)
    start = threading.Barrier(len(calls))

    def run(number):
        start.wait()
        try:
            if turns is not None:
                turns.wait()
            results[number] = calls[number]()
        except Exception as error:
            results[number] = error
        finally:
            if turns is not None:
                turns.leave()

    threads = [threading.Thread(target=run, args=(number,), name=name) for number, name in enumerate(names)]
    for name in names:
        if turns is not None:
            turns.enter(name)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    crossing.turns = None
    return results
