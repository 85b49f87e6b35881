"""The charts of every page: small functions from numbers to markup, coloured by the style sheet; no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

BAND_HEIGHT, MARK_HEIGHT = 16, 20
"""Room for the versions below a line chart, and for the marks above it."""
SMALL, MARGIN, FLOOR = (320, 120), 8, 18
"""A distribution's chart: width and height, the room around it, the room for its labels."""
ROW, LONGEST_NAME = 18, 15
"""The height of a pair of bars, and the characters that its name may take."""
LONGEST_BAR = 3.0
"""In thresholds; what is beyond is drawn this long, and its figure tells."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line: times and values in order; ``style`` is its class in the style sheet."""

    name: str
    style: str
    times: Sequence[datetime]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a value lies, time by time: between the lows and the highs."""

    times: Sequence[datetime]
    lows: Sequence[float]
    highs: Sequence[float]


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
class Score:
    """A column's score in thresholds: beyond 1 it has drifted."""

    name: str
    ratio: float
    score: str
    threshold: str
    drifted: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A value's share of all rows, before and now; browsers show ``title`` on hover."""

    name: str
    title: str
    was: float
    now: float


@dataclass(frozen=True, slots=True)
class Point:
    """Something that costs and is worth something: browsers show ``title`` on hover, ``label`` is written beside it.

    ``low`` and ``high`` are the ends of what its worth may be; ``style`` is its class: chosen, front, other. Points on
    the front are joined.
    """

    title: str
    label: str
    cost: float
    worth: float
    low: float
    high: float
    style: str
    on_front: bool


# --- lines over time --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """Maps times and values to the drawing's units, inside its margins."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    start: datetime
    end: datetime
    low: float
    high: float

    def x(self, time: datetime) -> float:
        share = min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)

    def points(self, times: Sequence[datetime], values: Sequence[float]) -> str:
        return " ".join(f"{self.x(time)},{self.y(value)}" for time, value in zip(times, values, strict=True))


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
    frame = _Frame(
        width, height, 44, 10, 6 + MARK_HEIGHT, 22 + BAND_HEIGHT, min(times), max(times), ticks[0], ticks[-1]
    )
    parts = [_axes(frame, ticks, percent=percent)]
    parts += [_band(frame, band) for band in bands]
    parts += [_marker(frame, marker) for marker in markers]
    parts += [_line(frame, line) for line in series]
    return _svg(width, height, "".join(parts), label)


def evidence_chart(
    series: Sequence[Series],
    levels: Sequence[tuple[float, str]],
    *,
    width: int,
    height: int,
    label: str,
    interval: Interval | None = None,
) -> str:
    """Draw lines over time, the levels they have to reach, and the interval that one of them lies in.

    Parameters
    ----------
    series : sequence of Series
        At least one, with at least two points.
    levels : sequence of (float, str)
        Values with what reaching them means.
    label : str
        What the drawing shows, for those who can't see it.
    interval : Interval, optional
        Drawn behind. Its first half may be as wide as the scale: it is cut off rather than flatten the rest.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    values = [value for line in series for value in line.values] + [level for level, _ in levels]
    if interval is not None:
        later = slice(len(interval.times) // 2, None)
        values += [*interval.lows[later], *interval.highs[later]]
    ticks = round_ticks(min(values), max(values), wanted=4)
    times = [time for line in series for time in line.times]
    frame = _Frame(width, height, 64, 14, 12, 24, min(times), max(times), ticks[0], ticks[-1])
    parts = [_axes(frame, ticks, percent=False)]
    if interval is not None:
        there, back = frame.points(interval.times, interval.lows), frame.points(interval.times, interval.highs)
        outline = " ".join([there, *reversed(back.split())])
        parts.append(f'<polygon points="{outline}" style="fill:var(--tone0)"/>')
    parts += [_level(frame, level, text) for level, text in levels]
    parts += [_line(frame, line) for line in series]
    return _svg(width, height, "".join(parts), label)


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


def _svg(width: int, height: int, content: str, label: str = "") -> str:
    named = f' aria-label="{escape(label, quote=True)}"' if label else ""
    return f'<svg viewBox="0 0 {width} {height}" role="img"{named}>{content}</svg>'


def _axes(frame: _Frame, ticks: Sequence[float], *, percent: bool) -> str:
    times = time_ticks(frame.start, frame.end, wanted=frame.width // 90)
    values = [(tick, f"{tick:.1%}".replace(".0%", "%") if percent else f"{tick:g}") for tick in ticks]
    return "".join([*(_value_tick(frame, *tick) for tick in values), *(_time_tick(frame, *tick) for tick in times)])


def _value_tick(frame: _Frame, tick: float, text: str) -> str:
    y = frame.y(tick)
    return (
        f'<line class="grid" x1="{frame.left}" x2="{frame.width - frame.right}" y1="{y}" y2="{y}"/>'
        f'<text x="{frame.left - 5}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _time_tick(frame: _Frame, time: datetime, text: str) -> str:
    x = frame.x(time)
    anchor = "end" if x > frame.width - frame.right - 14 else "middle"
    return f'<text x="{x}" y="{frame.height - 4}" text-anchor="{anchor}">{escape(text)}</text>'


def _level(frame: _Frame, level: float, text: str) -> str:
    y = frame.y(level)
    return (
        f'<line x1="{frame.left}" x2="{frame.width - frame.right}" y1="{y}" y2="{y}" '
        'style="stroke:var(--soft);stroke-dasharray:2 3"/>'
        f'<text x="{frame.left + 6}" y="{y - 4}">{escape(text)}</text>'
    )


def _line(frame: _Frame, line: Series) -> str:
    points = frame.points(line.times, line.values)
    return f'<polyline class="line {line.style}" points="{points}"><title>{escape(line.name)}</title></polyline>'


def _band(frame: _Frame, band: Band) -> str:
    x, end = frame.x(band.start), frame.x(band.end)
    y = frame.height - frame.bottom + 4
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


def _marker(frame: _Frame, marker: Marker) -> str:
    x, y = frame.x(marker.time), frame.top - MARK_HEIGHT + 7
    shape = _SHAPES[marker.style].format(x=x, y=y, above=y - 5, below=y + 5)
    return (
        f'<g class="mark {marker.style}"><title>{escape(marker.title)}</title>'
        f'<line x1="{x}" x2="{x}" y1="{y + 6}" y2="{frame.height - frame.bottom + 4}"/>{shape}</g>'
    )


# --- what is paid against what is had ---------------------------------------------------------------------------------


def tradeoff_chart(
    points: Sequence[Point], *, width: int, height: int, label: str, costs: str, worths: str, percent: bool
) -> str:
    """Draw points by cost and worth, with a line through those of the front, the cheapest first.

    Parameters
    ----------
    points : sequence of Point
        At least one.
    label : str
        What the drawing shows, for those who can't see it.
    costs, worths : str
        What the axes are.
    percent : bool
        Write worths as percentages.

    Returns
    -------
    str
        An ``<svg>`` element.

    Examples
    --------
    >>> points = [Point("b", "", 9, 0.8, 0.8, 0.8, "chosen", on_front=True)]
    >>> tradeoff_chart(points, width=300, height=200, label="l", costs="rows", worths="accuracy", percent=True)[:38]
    '<svg viewBox="0 0 300 200" role="img" '
    """
    left, right, top, bottom = 56, 24, 24, 40
    up = round_ticks(min(each.low for each in points), max(each.high for each in points), wanted=5)
    along = round_ticks(0.0, max([1.0, *(each.cost for each in points)]), wanted=max(width // 160, 2))

    def x(cost: float) -> float:
        return round(left + 8 + (cost - along[0]) / (along[-1] - along[0]) * (width - left - 8 - right), 1)

    def y(worth: float) -> float:
        return round(height - bottom - (worth - up[0]) / (up[-1] - up[0]) * (height - top - bottom), 1)

    parts = [
        f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{left - 5}" y="{y(tick) + 4}" text-anchor="end">{_worth(tick, percent=percent)}</text>'
        for tick in up
    ]
    parts += [
        f'<text x="{x(tick)}" y="{height - bottom + 16}" text-anchor="middle">{tick:,.6g}</text>' for tick in along
    ]
    parts.append(f'<text x="{width - right}" y="{height - 6}" text-anchor="end">{escape(costs)}</text>')
    parts.append(f'<text x="4" y="14">{escape(worths)}</text>')
    joined = sorted((each for each in points if each.on_front), key=lambda each: (each.cost, each.worth))
    line = " ".join(f"{x(each.cost)},{y(each.worth)}" for each in joined)
    parts.append(f'<polyline class="line ours" points="{line}"/>')
    above = sorted(points, key=lambda each: each.style != "other")  # what is drawn last is seen
    for each in above:
        at, side = x(each.cost), "end" if x(each.cost) > 0.8 * width else "start"
        parts.append(_point(each, at, y(each.worth), y(each.low), y(each.high), side))
    return _svg(width, height, "".join(parts), label)


def _worth(tick: float, *, percent: bool) -> str:
    return f"{tick:.1%}" if percent else f"{tick:.4g}"


def _point(point: Point, x: float, y: float, low: float, high: float, side: str) -> str:
    beside = x + 9 if side == "start" else x - 9
    return (
        f'<g class="point {point.style}"><title>{escape(point.title)}</title>'
        f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>'
        f'<circle cx="{x}" cy="{y}" r="{7 if point.style == "chosen" else 4}"/>'
        f'<text x="{beside:.1f}" y="{y - 6:.1f}" text-anchor="{side}">{escape(point.label)}</text></g>'
    )


# --- one side against another -----------------------------------------------------------------------------------------


def score_bars(scores: Sequence[Score]) -> str:
    """Draw each column's score in thresholds, as a list of bars."""
    rows = "".join(
        f'<li class="{drift_style(each.drifted)}"><span>{escape(each.name)}</span>'
        f'<div class="track"><i style="width:{100 * min(each.ratio / LONGEST_BAR, 1):.1f}%"></i></div>'
        f"<b>{each.score}</b><small>of {each.threshold}</small></li>"
        for each in scores
    )
    return f'<ul class="bars">{rows}</ul>'


def drift_style(drifted: bool) -> str:
    """Return the class of a column in the style sheet."""
    return "drifted" if drifted else "quiet"


def heat_map(titles: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """Draw each column's scores in thresholds, window by window; None where a window has too few rows."""
    head = f'<th colspan="{len(titles)}"><span>{escape(titles[0])}</span><span>{escape(titles[-1])}</span></th>'
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(_cell(ratio, t) for ratio, t in zip(cells, titles, strict=True))}</tr>"
        for name, cells in rows.items()
    )
    return (
        f'<div class="scroll"><table class="heat" style="--cycles:{len(titles)}">'
        f"<tr><th></th>{head}</tr>{body}</table></div>"
    )


def _cell(ratio: float | None, title: str) -> str:
    if ratio is None:
        return f'<td class="none" title="{title}: too few rows"></td>'
    strength = round(100 * min(ratio, 1.0) if ratio <= 1 else 55 + 45 * min((ratio - 1) / 2, 1.0))
    kind = "over" if ratio > 1 else "under"
    return f'<td class="{kind}" style="--s:{strength}%" title="{title}: {ratio:.2f} thresholds"></td>'


def histogram(edges: Sequence[float], before: Sequence[float], after: Sequence[float], labels: Sequence[str]) -> str:
    """Draw two distributions over the same bins; the three labels stand below the start, the middle and the end."""
    width, height = SMALL
    tallest, span = max(*before, *after, 1e-12), edges[-1] - edges[0]
    xs = [MARGIN + (edge - edges[0]) / span * (width - 2 * MARGIN) for edge in edges]
    floor = height - FLOOR
    parts = []
    for style, shares in (("was", before), ("is", after)):
        ys = [floor - share / tallest * (floor - MARGIN) for share in shares]
        steps = " ".join(f"{x:.1f},{y:.1f} {next_x:.1f},{y:.1f}" for x, next_x, y in zip(xs, xs[1:], ys, strict=False))
        parts.append(f'<polygon class="{style}" points="{xs[0]:.1f},{floor} {steps} {xs[-1]:.1f},{floor}"/>')
    parts.append(f'<line class="grid" x1="{MARGIN}" x2="{width - MARGIN}" y1="{floor}" y2="{floor}"/>')
    places = ((xs[0], "start"), ((xs[0] + xs[-1]) / 2, "middle"), (xs[-1], "end"))
    parts += [
        f'<text x="{x:.1f}" y="{height - 4}" text-anchor="{anchor}">{escape(label)}</text>'
        for (x, anchor), label in zip(places, labels, strict=True)
    ]
    return _svg(width, height, "".join(parts))


def bar_pairs(pairs: Sequence[Pair]) -> str:
    """Draw a pair of bars for each value."""
    longest = max([1e-12, *(max(pair.was, pair.now) for pair in pairs)])
    rows = "".join(_pair(pair, MARGIN + ROW * index, longest) for index, pair in enumerate(pairs))
    return _svg(SMALL[0], ROW * len(pairs) + 2 * MARGIN, rows)


def _pair(pair: Pair, top: int, longest: float) -> str:
    shown = pair.name if len(pair.name) <= LONGEST_NAME else f"{pair.name[: LONGEST_NAME - 1]}…"
    left, reach = 104, SMALL[0] - 104 - 84
    return (
        f"<g><title>{escape(pair.title)}</title>"
        f'<text x="{left - 6}" y="{top + 12}" text-anchor="end">{escape(shown)}</text>'
        f'<rect class="was" x="{left}" y="{top + 2}" width="{pair.was / longest * reach:.1f}" height="6"/>'
        f'<rect class="is" x="{left}" y="{top + 9}" width="{pair.now / longest * reach:.1f}" height="6"/>'
        f'<text x="{left + max(pair.was, pair.now) / longest * reach + 5:.1f}" y="{top + 12}">'
        f"{100 * pair.was:.2g} &#8594; {100 * pair.now:.2g} %</text></g>"
    )
