"""What a replay costs the machine."""

from __future__ import annotations

import resource
import sys

_UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB on Linux


def peak_rss_mb() -> float:
    """Return the largest resident set so far in MB: this process's, plus the largest among its finished children.

    Examples
    --------
    >>> peak_rss_mb() > 1
    True
    """
    used = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(used / _UNITS_PER_MB, 1)
