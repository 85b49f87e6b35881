"""One story under every fault: without any first, then with one at each of the calls that were counted."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from typing import Any

from fault_injection import CaseFailedError, Child, Fault, Wire, in_a_child, tapped
from fault_report import Case
from faulty_cloud import FaultyCloud, difference, open_faulty_cloud

TWICE = "delivered twice"


@dataclass(frozen=True, slots=True)
class Story:
    """A world, and an event that finds work to do in it."""

    function: str | Callable[..., Any]  # a folder of functions/, or for a try of this machinery a handler
    name: str
    build: Callable[[FaultyCloud], dict[str, Any]]  # makes the world and answers the event
    look: Callable[[FaultyCloud, Any], dict[str, Any]]  # of the cloud and the last answer: what must end the same
    prepare: Callable[[FaultyCloud], None] = lambda cloud: None  # of each copy: what lies outside of this process
    at_once: int = 2  # copies that run at a time

    def __str__(self) -> str:
        return f"{self.folder}-{self.name}"

    @property
    def folder(self) -> str:
        """The function's name."""
        return self.function if isinstance(self.function, str) else self.function.__name__


@dataclass(frozen=True, slots=True)
class Told:
    """How a delivery ended."""

    world: dict[str, Any]
    before: dict[str, Any]
    calls: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """A story's calls and every case of it."""

    calls: tuple[str, ...]
    changed: str  # what the delivery changed in the world when nothing failed
    cases: list[Case] = field(default_factory=list)

    @property
    def violations(self) -> list[Case]:
        return [case for case in self.cases if case.difference]


def run_story(story: Story, faults: Callable[[int], Sequence[Fault]]) -> Outcome:
    """Fail every call of the story in every way; each case starts from a copy of the same world."""
    with open_faulty_cloud() as cloud:
        event = story.build(cloud)
        cloud.new_process()

        def delivered(ordinal=None, fault=None, times=1):
            wire = Wire()
            story.prepare(cloud)
            before = story.look(cloud, None) if fault is None else {}
            with tapped(wire):
                if fault is not None:
                    wire.plan(ordinal, fault)
                for _ in range(times):
                    answer = cloud.deliver(story.function, event)
            if fault is not None and not wire.struck:
                raise CaseFailedError(
                    f"call {ordinal} was never made: the calls depend on something else than the world"
                )
            return Told(story.look(cloud, answer), before, tuple(wire.calls), tuple(sys.modules))

        expected = in_a_child(delivered)
        _load(expected.modules)
        outcome = Outcome(expected.calls, difference(expected.before, expected.world))

        def ended(child):
            try:
                return difference(expected.world, child.answer().world)
            except CaseFailedError as error:
                return str(error)

        cases = [(-1, "", TWICE, partial(delivered, times=2))]
        for ordinal, call in enumerate(expected.calls):
            cases += [(ordinal, call, fault.name, partial(delivered, ordinal, fault)) for fault in faults(ordinal)]
        for some in batched(cases, story.at_once):
            children = [Child(work) for *_, work in some]
            for (ordinal, call, fault, _), child in zip(some, children, strict=True):
                outcome.cases.append(Case(story.folder, story.name, ordinal, call, fault, ended(child)))
        return outcome


def _load(modules: Iterable[str]) -> None:
    """Load what one child has loaded, so that the others begin with it: that takes longer than most deliveries."""
    for name in modules:
        if name not in sys.modules:
            with suppress(ImportError):  # made by another module, not found on the path
                importlib.import_module(name)
