"""What was read lately, kept in memory: a stored file never changes under its ETag."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

KEPT_BYTES = 64_000_000


class Kept[K: Hashable, V]:
    """Values by what they were made of, up to so many bytes; of more, those go that were not used longest.

    Parameters
    ----------
    size
        Bytes of a value.
    limit
        Bytes of all; a larger value is made anew each time.

    Examples
    --------
    >>> kept = Kept(len, limit=6)
    >>> [kept.get(word, lambda: word) for word in ("one", "two", "three")]
    ['one', 'two', 'three']
    >>> "two" in kept, "three" in kept
    (False, True)
    """

    def __init__(self, size: Callable[[V], int], limit: int = KEPT_BYTES) -> None:
        self._size, self._limit = size, limit
        self._values: OrderedDict[K, V] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made now where it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        size = self._size(value)
        with self._lock:
            if key not in self._values and size <= self._limit:
                self._values[key], self._total = value, self._total + size
            while self._total > self._limit:
                _, gone = self._values.popitem(last=False)
                self._total -= self._size(gone)
        return value
