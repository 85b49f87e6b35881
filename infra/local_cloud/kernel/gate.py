"""Where services ask whether somebody may do something, without knowing who decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.place import ACCOUNT

Known = Mapping[str, str | tuple[str, ...]]
"""What a service knows of a call, by condition key: ``aws:SourceArn`` and the like."""

Decide = Callable[[Caller, str, str, Known], str | None]
"""Takes who asks, an action, a resource and what is known; says why not, or None."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


class Gate:
    """Open to everybody until somebody keeps it.

    Examples
    --------
    >>> gate, rules = Gate(), Caller("events.amazonaws.com")
    >>> gate.refusal(rules, "sns:Publish", "arn:aws:sns:us-east-1:123456789012:told") is None
    True
    >>> gate.keep(lambda caller, action, resource, known: f"{caller.arn} may not {action}.", lambda app: app)
    >>> gate.refusal(rules, "sns:Publish", "arn:aws:sns:us-east-1:123456789012:told")
    'events.amazonaws.com may not sns:Publish.'
    """

    def __init__(self) -> None:
        self._decide: Decide = lambda *_: None
        self.guard: Callable[[Application], Application] = lambda application: application

    def keep(self, decide: Decide, guard: Callable[[Application], Application]) -> None:
        """Let ``decide`` answer from now on, and ``guard`` stand before what answers by HTTP."""
        self._decide = decide
        self.guard = guard

    def stand_behind(self, guard: Callable[[Application], Application]) -> None:
        """Let ``guard`` stand behind who stands before what answers by HTTP."""
        before = self.guard
        self.guard = lambda application: before(guard(application))

    def refusal(self, caller: Caller, action: str, resource: str, known: Known | None = None) -> str | None:
        """Return why ``caller`` may not do this, in AWS's words; None when it may."""
        return self._decide(caller, action, resource, known or {})

    def not_assumed(self, service: str, role_arn: str, known: Known | None = None) -> str | None:
        """Return why a service may not take a role, by which it is to act; None when it may."""
        told = {"aws:SourceAccount": ACCOUNT, **(known or {})}
        return self._decide(Caller(service), "sts:AssumeRole", role_arn, told)
