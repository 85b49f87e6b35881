"""Candidates run offline on a history, several at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from evergreen.spec import ModelSpec
from evergreen.training.job import TrainingError
from evergreen_ops.replay.policies import PolicyResult, simulate
from evergreen_ops.replay.progress import Screen
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream
from evergreen_ops.tune.candidates import Candidate, spec_of
from evergreen_ops.tune.processes import in_processes, one_thread_each


@dataclass(frozen=True, slots=True)
class History:
    """What candidates run on.

    Attributes
    ----------
    stream : Stream
    spec : ModelSpec
        The spec that the candidates change.
    base : Base
    pace : Stream
        The stream whose pace turns rows into times: the whole one, also where `stream` is its first part.
    """

    stream: Stream
    spec: ModelSpec
    base: Base
    pace: Stream

    @property
    def rows(self) -> int:
        """How many rows a policy is asked."""
        return self.stream.rows - self.base.rows

    def picklable(self) -> History:
        """Return the same for another process."""
        return replace(self, stream=plain(self.stream), pace=plain(self.pace))


@dataclass(frozen=True, slots=True)
class Run:
    """A candidate, and what it got; `because` says why it got nothing."""

    candidate: Candidate
    result: PolicyResult | None
    because: str = ""


def run_all(candidates: Sequence[Candidate], history: History, jobs: int, screen: Screen, title: str) -> list[Run]:
    """Run candidates offline, in their order; those that can't be trained say why.

    Parameters
    ----------
    candidates : sequence of Candidate
    history : History
    jobs : int
        How many run at a time.
    screen : Screen
        Shown how many rows have been asked of all.
    title : str
        What the screen calls it.
    """
    if not candidates:
        return []
    screen.begin(title, history.rows * len(candidates))

    def show(asked: int, done: int) -> None:
        screen.count(asked, f"{done} of {len(candidates)} policies done")

    if min(jobs, len(candidates)) > 1:
        return in_processes(run, candidates, history.picklable(), jobs, show)
    with one_thread_each():
        return [
            run(candidate, history, partial(_counted, show, place, history.rows))
            for place, candidate in enumerate(candidates)
        ]


def run(candidate: Candidate, history: History, on_rows: Callable[[int], None]) -> Run:
    """Run one candidate."""
    stream, base = history.stream, history.base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a linear model that has not converged is judged by its answers
        try:
            spec = spec_of(candidate, history.spec, history.pace)
            recipe = StreamRecipe(stream, spec)
            done = simulate(candidate.policy, stream, spec, base, recipe, on_progress=lambda rows, _: on_rows(rows))
        except TrainingError as error:
            return Run(candidate, None, str(error))
    return Run(candidate, done)


def plain(stream: Stream) -> Stream:
    """Return the stream with plain mappings, which another process can be sent."""
    return replace(stream, features=dict(stream.features), columns=dict(stream.columns))


def _counted(show: Callable[[int, int], None], done: int, rows_of_each: int, rows: int) -> None:
    show(done * rows_of_each + rows, done)
