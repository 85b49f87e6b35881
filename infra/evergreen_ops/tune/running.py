"""Candidates run offline on a history, several at a time, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from evergreen.spec import ModelSpec
from evergreen.training.job import TrainingError
from evergreen_ops.replay.policies import PolicyResult, simulate
from evergreen_ops.replay.progress import Screen
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream
from evergreen_ops.tune.candidates import Candidate, spec_of

LOOK_EVERY_SECONDS = 0.25
_ONE_THREAD = dict.fromkeys(("LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class History:
    """What candidates run on.

    Attributes
    ----------
    spec : ModelSpec
        The spec that the candidates change.
    pace : Stream
        The stream whose pace turns rows into times: the whole one, also where `stream` is its first part.
    """

    stream: Stream
    spec: ModelSpec
    base: Base
    pace: Stream


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
    rows = history.stream.rows - history.base.rows
    screen.begin(title, rows * len(candidates))
    told = f"of {len(candidates)} policies done"
    with _one_thread_each():
        if min(jobs, len(candidates)) > 1:
            return _side_by_side(candidates, history, jobs, lambda asked, done: screen.count(asked, f"{done} {told}"))
        runs: list[Run] = []
        for candidate in candidates:
            before = rows * len(runs)
            note = f"{len(runs)} {told}"
            runs.append(run(candidate, history, lambda asked, b=before, n=note: screen.count(b + asked, n)))  # type: ignore[misc]
        return runs


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


def _side_by_side(
    candidates: Sequence[Candidate], history: History, jobs: int, on_progress: Callable[[int, int], None]
) -> list[Run]:
    fresh = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    asked = fresh.Value("q", 0)
    with ProcessPoolExecutor(
        min(jobs, len(candidates)), mp_context=fresh, initializer=_begin, initargs=(_picklable(history), asked)
    ) as pool:
        futures: list[Future[Run]] = [pool.submit(_run_here, candidate) for candidate in candidates]
        left = set(futures)
        try:
            while left:
                _, left = wait(left, timeout=LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
                on_progress(asked.value, len(futures) - len(left))
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


_here: dict[str, Any] = {}
"""What a worker process was given."""


def _begin(history: History, asked: Any) -> None:
    _here.update(history=history, asked=asked)


def _run_here(candidate: Candidate) -> Run:
    before = 0

    def on_rows(rows: int) -> None:
        nonlocal before
        with _here["asked"].get_lock():
            _here["asked"].value += rows - before
        before = rows

    return run(candidate, _here["history"], on_rows)


def _picklable(history: History) -> History:
    return replace(history, stream=_plain(history.stream), pace=_plain(history.pace))


def _plain(stream: Stream) -> Stream:
    return replace(stream, features=dict(stream.features), columns=dict(stream.columns))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have the processes that are started, and scikit-learn here, use one thread each."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
