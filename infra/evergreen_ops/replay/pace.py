"""A stream's pace: how fast its rows and labels come, whatever gaps and heaps its times have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen_ops.replay.streams import Stream

BLOCKS = 20
"""The pace is told from the times that so many parts of the rows take, without the fastest and the slowest quarter."""
EVEN = 0.05
_DAY = 86_400_000_000
_UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast rows come while they come.

    Parameters
    ----------
    rows_per_day : float
        Without the gaps in which none comes, and the heaps that come at one instant.
    span : timedelta
        What all rows take at this pace: the stream's span without its gaps.
    idle : timedelta
        What the gaps take.
    resolution : timedelta
        All times are whole days, hours or minutes; 0 where they are not, or where the stream has none of its own.
    """

    rows_per_day: float
    span: timedelta
    idle: timedelta
    resolution: timedelta

    @classmethod
    def of(cls, stream: Stream) -> Pace:
        """Measure a stream.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from evergreen_ops.replay.streams import read_table
        >>> day = np.concatenate([np.arange(50), np.arange(50) + 200])  # half a year without rows
        >>> times = np.datetime64("2024-01-01", "us") + np.repeat(day, 10).astype("timedelta64[D]")
        >>> stream = read_table(pa.table({"x": range(1_000), "label": [0, 1] * 500, "event_time": times}), name="gap")
        >>> pace = Pace.of(stream)
        >>> round(pace.rows_per_day), pace.span.days, pace.idle.days, pace.resolution.days
        (10, 100, 149, 1)
        """
        times = stream.event_time.astype("datetime64[us]").astype("int64")
        block = max(1, stream.rows // BLOCKS)
        took = np.sort(times[block:] - times[:-block])
        usual = float(took[len(took) // 4 : max(3 * len(took) // 4, len(took) // 4 + 1)].mean())
        rows_per_day = block / (usual / _DAY) if usual > 0 else stream.rows_per_day
        if abs(rows_per_day / stream.rows_per_day - 1) < EVEN:
            rows_per_day = stream.rows_per_day  # all rows tell it, not half of them
        span = min(stream.span, timedelta(days=stream.rows / rows_per_day))
        return cls(rows_per_day, span, stream.span - span, _resolution(times) if stream.times_given else timedelta(0))

    def time_for(self, rows: int) -> timedelta:
        """Return how long so many rows take.

        Examples
        --------
        >>> Pace(50.0, timedelta(days=100), timedelta(0), timedelta(0)).time_for(25)
        datetime.timedelta(seconds=43200)
        """
        return timedelta(days=rows / self.rows_per_day)


def label_delays(stream: Stream) -> npt.NDArray[np.int64]:
    """Return how long each label took that ever came, in microseconds.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> set(label_delays(read_table(pa.table({"x": range(60_000), "label": [0, 1] * 30_000}), name="long")).tolist())
    {86400000000}
    """
    known = stream.labelled
    took: npt.NDArray[Any] = (stream.label_time[known] - stream.event_time[known]).astype("timedelta64[us]")
    return took.astype("int64")


def _resolution(times: npt.NDArray[np.int64]) -> timedelta:
    whole = (unit for unit in _UNITS if not (times % (unit // timedelta(microseconds=1))).any())
    return next(whole, timedelta(0))
