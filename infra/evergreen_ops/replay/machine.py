"""What a replay costs the machine."""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10  # getrusage counts bytes on macOS, KiB on Linux
_LOOK_EVERY_SECONDS = 0.25


def own_peak_mb() -> float:
    """Return the most memory this process alone has held so far, in MB.

    Examples
    --------
    >>> own_peak_mb() > 1
    True
    """
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNITS_PER_MB, 1)


class PeakMemory:
    """The largest memory that this process and those it started held at one time, in MB.

    On Linux the processes are looked at four times a second; what they share is counted for each. A child's own
    ``getrusage`` is no help: until it has started its program it counts as large as its parent. Elsewhere the figure is
    this process's peak alone.

    Examples
    --------
    >>> with PeakMemory() as memory:
    ...     block = bytearray(50_000_000)
    >>> memory.mb > 50
    True
    """

    def __init__(self) -> None:
        self._largest = 0.0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    @property
    def mb(self) -> float:
        """The peak so far."""
        return round(max(self._largest, own_peak_mb()), 1)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_SECONDS):
            self._largest = max(self._largest, sum(_resident_mb(pid) for pid in _family("self")))


def _family(pid: str) -> list[str]:
    """A process and its descendants; those that end meanwhile are left out."""
    found = [pid]
    try:
        for thread in (Path("/proc") / pid / "task").iterdir():
            for child in (thread / "children").read_text().split():
                found += _family(child)
    except OSError:
        return found
    return found


def _resident_mb(pid: str) -> float:
    try:
        return int((Path("/proc") / pid / "statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0.0
