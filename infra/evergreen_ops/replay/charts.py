"""Charts of the report as inline SVG: small functions from numbers to markup, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

BAND_HEIGHT = 16
MARK_HEIGHT = 20
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 6, 18


@dataclass(frozen=True, slots=True)
class Series:
    """A line: times and values in order; ``style`` is its class in the style sheet."""

    name: str
    style: str
    times: Sequence[datetime]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Marker:
    """A vertical mark at an instant; ``style`` is one of training, promotion, rollback."""

    time: datetime
    style: str
    title: str


@dataclass(frozen=True, slots=True)
class Band:
    """The time a version was in production."""

    start: datetime
    end: datetime
    label: str
    style: str
    title: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Maps times and values to the drawing's units."""

    start: datetime
    end: datetime
    low: float
    high: float
    width: int
    height: int

    def x(self, time: datetime) -> float:
        """Return the horizontal place of a time."""
        share = (time - self.start) / (self.end - self.start)
        return round(LEFT + min(max(share, 0.0), 1.0) * (self.width - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Return the vertical place of a value."""
        top, bottom = TOP + MARK_HEIGHT, self.height - BOTTOM - BAND_HEIGHT - 4
        return round(bottom - (value - self.low) / (self.high - self.low) * (bottom - top), 1)


def health_chart(
    series: Sequence[Series],
    markers: Sequence[Marker],
    bands: Sequence[Band],
    *,
    width: int,
    height: int,
    label: str,
    percent: bool,
) -> str:
    """Draw lines over time with marks above and versions below.

    Parameters
    ----------
    series : sequence of Series
        At least one, with at least two points.
    label : str
        What the drawing shows, for those who can't see it.
    percent : bool
        Write values as percentages.

    Returns
    -------
    str
        An ``<svg>`` element. Marks carry a ``<title>`` that browsers show on hover.
    """
    values = [value for line in series for value in line.values]
    times = [time for line in series for time in line.times] + [band.end for band in bands]
    ticks = round_ticks(min(values), max(values), wanted=4)
    frame = Frame(min(times), max(times), ticks[0], ticks[-1], width, height)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label, quote=True)}">']
    parts += [_grid(frame, tick, percent) for tick in ticks]
    parts += [_time_tick(frame, time, text) for time, text in time_ticks(frame.start, frame.end, wanted=width // 90)]
    parts += [_band(frame, band) for band in bands]
    parts += [_marker(frame, marker) for marker in markers]
    parts += [_line(frame, line) for line in series]
    return "".join([*parts, "</svg>"])


def round_ticks(low: float, high: float, *, wanted: int) -> list[float]:
    """Return round values that cover a range.

    Examples
    --------
    >>> round_ticks(0.71, 0.83, wanted=4)
    [0.7, 0.75, 0.8, 0.85]
    """
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    size = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def time_ticks(start: datetime, end: datetime, *, wanted: int) -> list[tuple[datetime, str]]:
    """Return round instants in a range with the text for each.

    Examples
    --------
    >>> [text for _, text in time_ticks(datetime(2013, 1, 20, tzinfo=UTC), datetime(2013, 6, 2, tzinfo=UTC), wanted=5)]
    ['Feb', 'Mar', 'Apr', 'May', 'Jun']
    """
    days = (end - start) / timedelta(days=1)
    for months in (1, 2, 3, 6, 12, 24, 60, 120):
        if days > 50 and days / 30.4 / months <= wanted + 1:
            return _month_ticks(start, end, months)
    step = next(d for d in (0.04167, 0.25, 1, 2, 7, 14, 28, 1e9) if days / d <= wanted + 1)
    first = datetime(start.year, start.month, start.day, tzinfo=UTC)
    count = math.floor((end - first) / timedelta(days=step))
    instants = [first + timedelta(days=step) * number for number in range(count + 1)]
    text = "%H:%M" if step < 1 else "%d %b"
    return [(time, f"{time:{text}}".lstrip("0")) for time in instants if time >= start]


def _month_ticks(start: datetime, end: datetime, months: int) -> list[tuple[datetime, str]]:
    number = (start.year * 12 + start.month) // months * months
    ticks = []
    while (time := datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)) <= end:
        if time >= start:
            year = months >= 12 or time.month == 1
            ticks.append((time, f"{time:%Y}" if year else f"{time:%b}"))
        number += months
    return ticks


def _grid(frame: Frame, tick: float, percent: bool) -> str:
    y = frame.y(tick)
    text = f"{tick:.1%}".replace(".0%", "%") if percent else f"{tick:g}"
    return (
        f'<line class="grid" x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="tick" x="{LEFT - 5}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _time_tick(frame: Frame, time: datetime, text: str) -> str:
    x = frame.x(time)
    anchor = "end" if x > frame.width - RIGHT - 14 else "middle"
    return f'<text class="tick" x="{x}" y="{frame.height - 4}" text-anchor="{anchor}">{escape(text)}</text>'


def _band(frame: Frame, band: Band) -> str:
    x, end = frame.x(band.start), frame.x(band.end)
    y = frame.height - BOTTOM - BAND_HEIGHT
    wide = max(end - x, 1.0)
    text = f'<text x="{x + wide / 2:.1f}" y="{y + 12}" text-anchor="middle">{escape(band.label)}</text>'
    return (
        f'<g class="band {band.style}"><title>{escape(band.title)}</title>'
        f'<rect x="{x}" y="{y}" width="{wide:.1f}" height="{BAND_HEIGHT}" rx="2"/>{text if wide > 16 else ""}</g>'
    )


_SHAPES = {
    "training": '<circle cx="{x}" cy="{y}" r="4"/>',
    "promotion": '<path d="M{x} {above}l5 9h-10z"/>',
    "rollback": '<path d="M{x} {below}l5 -9h-10z"/>',
}


def _marker(frame: Frame, marker: Marker) -> str:
    x, y = frame.x(marker.time), TOP + 7
    shape = _SHAPES[marker.style].format(x=x, y=y, above=y - 5, below=y + 5)
    bottom = frame.height - BOTTOM - BAND_HEIGHT
    return (
        f'<g class="mark {marker.style}"><title>{escape(marker.title)}</title>'
        f'<line x1="{x}" x2="{x}" y1="{TOP + 13}" y2="{bottom}"/>{shape}</g>'
    )


def _line(frame: Frame, line: Series) -> str:
    points = " ".join(f"{frame.x(t)},{frame.y(v)}" for t, v in zip(line.times, line.values, strict=True))
    return f'<polyline class="line {line.style}" points="{points}"><title>{escape(line.name)}</title></polyline>'
