"""Fail one AWS call of a delivery, deliver again until it succeeds, and look at what is left.

Every call of every client passes botocore's `before-call` and `after-call`: there calls are counted, and one of them
fails. A fault there means that botocore's own retries were used up.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.handlers
import requests
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

LONGEST_CASE_SECONDS = 60


REGISTRY = "mlflow"
"""The service that is called over plain HTTP."""


class ProcessDiedError(BaseException):
    """The function's process is gone in the middle of a call: nothing of it runs any more, no `except` and no cache."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a call, and whether its effect was there already."""

    name: str
    after_the_effect: bool
    error: Callable[[str, str], BaseException]  # of a service and an operation


def _throttled(service: str, operation: str) -> BaseException:
    if service == REGISTRY:
        return requests.exceptions.RetryError("too many 429 error responses")
    if operation == "TransactWriteItems":
        answer = _answer("TransactionCanceledException", 400)
        return ClientError({**answer, "CancellationReasons": [{"Code": "ThrottlingError"}]}, operation)
    code, status = {
        "dynamodb": ("ProvisionedThroughputExceededException", 400),
        "s3": ("SlowDown", 503),
        "firehose": ("ServiceUnavailableException", 503),
    }.get(service, ("ThrottlingException", 400))
    return ClientError(_answer(code, status), operation)


def _server_error(service: str, operation: str) -> BaseException:
    if service == REGISTRY:
        return requests.exceptions.RetryError("too many 503 error responses")
    code = {"dynamodb": "InternalServerError", "s3": "InternalError", "scheduler": "InternalServerException"}
    return ClientError(_answer(code.get(service, "InternalFailure"), 500), operation)


def _answer(code: str, status: int) -> Any:
    return {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": status}}


def _connect_timeout(service: str, operation: str) -> BaseException:
    if service == REGISTRY:
        return requests.exceptions.ConnectTimeout("injected")
    return ConnectTimeoutError(endpoint_url=f"https://{service}.us-east-1.amazonaws.com")


def _read_timeout(service: str, operation: str) -> BaseException:
    if service == REGISTRY:
        return requests.exceptions.ReadTimeout("injected")
    return ReadTimeoutError(endpoint_url=f"https://{service}.us-east-1.amazonaws.com")


def _death(service: str, operation: str) -> BaseException:
    return ProcessDiedError(f"died at {service}.{operation}")


FAULTS = (
    Fault("throttled", False, _throttled),
    Fault("5xx", False, _server_error),
    Fault("connect timeout", False, _connect_timeout),
    Fault("death before", False, _death),
    Fault("5xx though done", True, _server_error),
    Fault("read timeout though done", True, _read_timeout),
    Fault("death after", True, _death),
)
_WORST = tuple(fault for fault in FAULTS if fault.name in ("throttled", "read timeout though done", "death after"))
"""One of each kind of damage: nothing was done, all was done and not heard of, all was done and nothing runs on."""
_OTHERS = tuple(fault for fault in FAULTS if fault not in _WORST)


def every_fault(ordinal: int) -> Sequence[Fault]:
    """Each of the seven at each call."""
    return FAULTS


def every_kind(ordinal: int) -> Sequence[Fault]:
    """Each of the seven at the first call; the three kinds of damage, and another one in turn, at each later one."""
    return (*_WORST, *(_OTHERS if ordinal == 0 else (_OTHERS[ordinal % len(_OTHERS)],)))


def one_fault_a_call(ordinal: int) -> Sequence[Fault]:
    """One of the three kinds of damage at each call, in turn: a look at everything within a minute."""
    return (_WORST[ordinal % len(_WORST)],)


class Wire:
    """Counts the calls of the functions and fails the one that is planned to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._planned: tuple[int, Fault] | None = None

    def plan(self, ordinal: int, fault: Fault) -> None:
        """Have the call of that ordinal (from 0) fail, once."""
        self._planned = (ordinal, fault)

    @property
    def struck(self) -> bool:
        """Whether the planned fault has happened."""
        return self._planned is None

    def begun(self, call: str) -> None:
        """A call is about to be sent."""
        self.calls.append(call)
        self._strike(call, after_the_effect=False)

    def done(self, call: str) -> None:
        """A call has been answered."""
        self._strike(call, after_the_effect=True)

    def _strike(self, call: str, *, after_the_effect: bool) -> None:
        if self._planned is None:
            return
        ordinal, fault = self._planned
        if ordinal == len(self.calls) - 1 and fault.after_the_effect is after_the_effect:
            self._planned = None
            raise fault.error(*call.split("."))


_listening: list[Wire] = []


@contextmanager
def tapped(wire: Wire) -> Iterator[Wire]:
    """Have every call within the block pass the wire."""
    _listening.append(wire)
    try:
        yield wire
    finally:
        _listening.pop()


def _call_begins(model: Any, **_: Any) -> None:
    if _listening:
        _listening[-1].begun(f"{model.service_model.service_name}.{model.name}")


def _call_ended(model: Any, **_: Any) -> None:
    if _listening:
        _listening[-1].done(f"{model.service_model.service_name}.{model.name}")


_TAPS = (("before-call", _call_begins, "faults-begin"), ("after-call", _call_ended, "faults-end"))


def tap_every_session() -> None:
    """Listen to the session that is there and to every one that is made later; doing it twice changes nothing."""
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    for event, handler, name in _TAPS:
        boto3.DEFAULT_SESSION.events.register(event, handler, unique_id=name)
        if (event, handler) not in botocore.handlers.BUILTIN_HANDLERS:
            botocore.handlers.BUILTIN_HANDLERS.append((event, handler))


def tap_http(url: str) -> None:
    """Have this process's requests to a server pass the wire too, for good: a child's way to the registry."""
    send = requests.adapters.HTTPAdapter.send

    def tapped_send(self: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        if not (_listening and request.url.startswith(url)):
            return send(self, request, *arguments, **options)
        call = f"{REGISTRY}.{request.method} {request.path_url.partition('?')[0].partition('/mlflow/')[2]}"
        _listening[-1].begun(call)
        answer = send(self, request, *arguments, **options)
        _listening[-1].done(call)
        return answer

    requests.adapters.HTTPAdapter.send = tapped_send


class CaseFailedError(Exception):
    """What was tried in a child raised, or it never came back."""


class Child[T]:
    """Work that is done in a copy of this process, moto's world included."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._reader, writer = os.pipe()
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115
        gc.freeze()  # a collection in the child would touch, and so copy, everything that is here
        self._pid = os.fork()
        if self._pid == 0:
            gc.disable()
            faulthandler.register(signal.SIGUSR1, file=self._stacks)
            _work_and_exit(work, self._reader, writer)
        os.close(writer)

    def answer(self) -> T:
        """Wait for what the work answers.

        Raises
        ------
        CaseFailedError
            The work raised, and its traceback is the message; or it never came back.
        """
        told = _read_all(self._reader)
        if told is None:
            os.kill(self._pid, signal.SIGUSR1)
            time.sleep(1)
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        with self._stacks:
            if told is None:
                self._stacks.seek(0)
                raise CaseFailedError(f"no answer within {LONGEST_CASE_SECONDS} s: {self._stacks.read().decode()}")
        if not told:
            raise CaseFailedError("the child ended without an answer")
        succeeded, result = pickle.loads(told)
        if not succeeded:
            raise CaseFailedError(result)
        return result


def in_a_child[T](work: Callable[[], T]) -> T:
    """Do the work in a child and answer what it answers."""
    return Child(work).answer()


def _work_and_exit(work: Callable[[], Any], reader: int, writer: int) -> None:
    try:
        os.close(reader)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        try:
            answer = (True, work())
        except BaseException:  # the parent tells of it
            answer = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
    finally:
        os._exit(0)


def _read_all(reader: int) -> bytes | None:
    parts = []
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], LONGEST_CASE_SECONDS)
            if not ready:
                return None
            part = pipe.read(1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
