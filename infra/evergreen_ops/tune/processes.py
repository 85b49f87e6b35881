"""Work in processes of its own, several at a time, with one thread each and one bar for all."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

LOOK_EVERY_SECONDS = 0.25
_ONE_THREAD = dict.fromkeys(("LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def in_processes[Given, Task, Done](
    work: Callable[[Task, Given, Callable[[int], None]], Done],
    tasks: Sequence[Task],
    given: Given,
    jobs: int,
    on_progress: Callable[[int, int], None],
) -> list[Done]:
    """Do tasks in fresh processes and return what came of them, in their order.

    Parameters
    ----------
    work : callable
        A module's function of a task, of what all are given, and of one that it tells how many rows it has asked.
    tasks : sequence
    given : object
        Sent to each process once.
    jobs : int
        Processes at a time.
    on_progress : callable
        Told a few times a second how many rows all have asked, and how many tasks are done.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    asked = fresh.Value("q", 0)
    with (
        one_thread_each(),
        ProcessPoolExecutor(
            min(jobs, len(tasks)), mp_context=fresh, initializer=_begin, initargs=(given, asked)
        ) as pool,
    ):
        futures: list[Future[Done]] = [pool.submit(_do, work, task) for task in tasks]
        left = set(futures)
        try:
            while left:
                _, left = wait(left, timeout=LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
                on_progress(asked.value, len(futures) - len(left))
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread_each() -> Iterator[None]:
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


_here: dict[str, Any] = {}
"""What this process was given."""


def _begin(given: Any, asked: Any) -> None:
    _here.update(given=given, asked=asked)


def _do(work: Callable[[Any, Any, Callable[[int], None]], Any], task: Any) -> Any:
    asked, before = _here["asked"], 0

    def on_rows(rows: int) -> None:
        nonlocal before
        with asked.get_lock():
            asked.value += rows - before
        before = rows

    return work(task, _here["given"], on_rows)
