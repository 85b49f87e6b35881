"""Who calls: a session of a role, or a service of AWS; what is neither is the operator.

Over HTTP a caller is known by the access key that a request names: each function's, each container's process is given
one of its own. In this process that does not do: functions share one interpreter, one default session of boto3 and
the clients that shared modules keep, so a client made for one function serves the next, with the first one's key. A
context variable says whose code is running instead. It is set while a handler runs, nests as calls nest, and threads
and pools that the handler starts take it along (Python hands none to threads by itself); threads of the operator that
run at the same time are not touched, as those of a global would be.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

from local_cloud.kernel.patching import Patch


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a session of a role, or a service of AWS.

    Parameters
    ----------
    arn
        A role's session (``arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION``), or a service's name.
    role_arn
        The role of the session; empty for a service.

    Examples
    --------
    >>> Caller.session("arn:aws:iam::123456789012:role/team/predict", "predict-1").arn
    'arn:aws:sts::123456789012:assumed-role/predict/predict-1'
    >>> Caller("events.amazonaws.com").is_service
    True
    >>> Caller.session("arn:aws:iam::123456789012:role/team/predict", "predict-1").name
    'predict-1'
    """

    arn: str
    role_arn: str = ""

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def session(cls, role_arn: str, name: str) -> Caller:
        """Return the session ``name`` of a role."""
        partition, account, role = role_arn.split(":")[1], role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
        return cls(f"arn:{partition}:sts::{account}:assumed-role/{role}/{name}", role_arn)

    @property
    def name(self) -> str:
        """What people call it: the session's own name (a function's is the function's), or the service's."""
        return self.arn.rsplit("/", 1)[-1]

    @property
    def is_service(self) -> bool:
        """Whether a service of AWS asks on its own account."""
        return not self.role_arn

    @property
    def account(self) -> str:
        """The account of the role."""
        return self.arn.split(":")[4] if self.role_arn else ""

    @property
    def partition(self) -> str:
        """The partition of AWS that the role is in."""
        return self.arn.split(":")[1] if self.role_arn else ""


OPERATOR = "operator"
"""Who is neither a role's session nor a service."""


def name_of(caller: Caller | None) -> str:
    """Return what people call a caller."""
    return OPERATOR if caller is None else caller.name


_RUNNING: ContextVar[Caller | None] = ContextVar("caller", default=None)


def running() -> Caller | None:
    """Return whose code is running here; None for the operator's."""
    return _RUNNING.get()


@contextmanager
def acting_as(caller: Caller | None) -> Iterator[None]:
    """Let what is called in the block be called by ``caller``; None is the operator.

    Examples
    --------
    >>> with acting_as(Caller.session("arn:aws:iam::123456789012:role/predict", "run")):
    ...     running().arn
    'arn:aws:sts::123456789012:assumed-role/predict/run'
    >>> running() is None
    True
    """
    before = _RUNNING.set(caller)
    try:
        yield
    finally:
        _RUNNING.reset(before)


class Keyring:
    """The access keys of sessions.

    Examples
    --------
    >>> keyring, predict = Keyring(), Caller.session("arn:aws:iam::123456789012:role/predict", "run")
    >>> key = keyring.credentials(predict)["AWS_ACCESS_KEY_ID"]
    >>> keyring.holder(key) == predict, keyring.holder("local")
    (True, None)
    """

    def __init__(self) -> None:
        self._holders: dict[str, Caller] = {}

    def credentials(self, caller: Caller) -> dict[str, str]:
        """Return a session's credentials, as environment variables; the same ones each time."""
        digest = base64.b32encode(hashlib.sha256(caller.arn.encode()).digest()).decode()
        key = f"ASIA{digest[:16]}"
        self._holders[key] = caller
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "local"}

    def holder(self, key: str) -> Caller | None:
        """Return whose key it is; None for the operator's."""
        return self._holders.get(key)


# -- what threads take along -----------------------------------------------------------------------------------------


def patched_thread_start(core: object, original: Callable[..., None]) -> Callable[..., None]:
    """``threading.Thread.start``: a thread that a function starts is the function's."""

    def start(self: threading.Thread) -> None:
        if running() is not None:
            vars(self)["run"] = functools.partial(copy_context().run, self.run)
        original(self)

    return start


def patched_submit(core: object, original: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    """``ThreadPoolExecutor.submit``: a pool outlives a call, so each task has its caller, not the thread's."""

    def submit(self: Any, task: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        return original(self, copy_context().run, task, *args, **named)

    return submit


PATCHES = (
    Patch("threading:Thread.start", patched_thread_start),
    Patch("concurrent.futures:ThreadPoolExecutor.submit", patched_submit),
)
