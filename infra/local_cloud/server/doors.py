"""Lets requests in, and keeps them waiting for the moment in which a state is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Doors:
    """Open, unless they could be shut because nobody was inside.

    Examples
    --------
    >>> doors = Doors()
    >>> with doors.inside(), doors.shut() as shut:
    ...     shut
    False
    >>> with doors.shut() as shut:
    ...     shut
    True
    """

    def __init__(self) -> None:
        self.entered = 0
        self._inside = 0
        self._shut = False
        self._changed = threading.Condition()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be a request: wait until the doors are open, and count as inside for the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._inside += 1
            self.entered += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1

    @contextmanager
    def shut(self) -> Iterator[bool]:
        """Let nobody in for the block, if nobody is inside; say whether that is so."""
        with self._changed:
            shut = not self._inside and not self._shut
            self._shut = self._shut or shut
        try:
            yield shut
        finally:
            if shut:
                with self._changed:
                    self._shut = False
                    self._changed.notify_all()
