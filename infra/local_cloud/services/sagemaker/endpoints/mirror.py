"""Copies of an endpoint's requests for its shadow variant: beside the answers, never in their way."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST_COPIES = 10_000
MOST_BYTES = 64 * 1024 * 1024
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Copy:
    """A copied request: what to do with it, and how much memory it holds."""

    answer: Callable[[], object]
    size: int


class Mirror:
    """A bounded queue of copies and the threads that work it off.

    Offering a copy takes no longer than an append: when the shadow cannot keep up, copies are dropped and counted.

    Parameters
    ----------
    most_copies, most_bytes
        How much may wait.
    workers
        How many copies the shadow answers at a time.

    Examples
    --------
    >>> answered = []
    >>> mirror = Mirror(most_copies=1)
    >>> mirror.offer(Copy(lambda: answered.append("first"), size=10))
    True
    >>> mirror.wait(seconds=5.0), answered
    (True, ['first'])
    >>> mirror.close()
    >>> mirror.offer(Copy(lambda: answered.append("too late"), size=10)), mirror.dropped
    (False, 1)
    """

    def __init__(self, *, most_copies: int = MOST_COPIES, most_bytes: int = MOST_BYTES, workers: int = WORKERS) -> None:
        self.dropped = 0
        self._most_copies = most_copies
        self._most_bytes = most_bytes
        self._waiting: deque[Copy] = deque()
        self._bytes = 0
        self._at_work = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"local-cloud-shadow-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, copy: Copy) -> bool:
        """Take a copy, unless too much waits already; return whether it was taken."""
        with self._changed:
            full = len(self._waiting) >= self._most_copies or self._bytes + copy.size > self._most_bytes
            if self._closed or full:
                self.dropped += 1
                return False
            self._waiting.append(copy)
            self._bytes += copy.size
            self._changed.notify()
            return True

    def wait(self, seconds: float) -> bool:
        """Wait until every copy was answered, so long at most; return whether they were."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._at_work, timeout=seconds)

    def close(self) -> None:
        """Drop what waits and end; an answer that hangs is left to its container's end."""
        with self._changed:
            self._closed = True
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
                if self._closed:
                    return
                copy = self._waiting.popleft()
                self._bytes -= copy.size
                self._at_work += 1
            try:
                copy.answer()
            except Exception:  # a copy that cannot be recorded must not end the thread that answers the next ones
                traceback.print_exc(file=sys.stderr)
            finally:
                with self._changed:
                    self._at_work -= 1
                    self._changed.notify_all()
