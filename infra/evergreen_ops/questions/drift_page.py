"""How `evergreen drift` shows what it found: a table for the terminal, a page to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.markup import escape as plain
from rich.table import Table
from rich.text import Text

from evergreen.statistics.drift import detect
from evergreen.statistics.profile import NumberBins, NumberColumn, Profile
from evergreen_ops.pages.charts import Pair, Score, bar_pairs, drift_style, heat_map, histogram, score_bars
from evergreen_ops.pages.page import page
from evergreen_ops.questions.drift import Comparison, Finding, category_name, figure, percent

Floats = npt.NDArray[np.float64]

KINDS: Mapping[str, str] = MappingProxyType({"wasserstein": "W1/sd", "jensen_shannon": "Jensen-Shannon"})
MOST_VALUES, MOST_CATEGORIES, MOST_BINS, MOST_HEAT = 12, 8, 40, 60


def summary(found: Comparison) -> Group:
    """Return the answer, the table and how it was found, for a terminal."""
    parts: list[Text | Table] = [Text(found.answer, style="bold")]
    if found.findings:
        parts += [Text(), _table(found), Text()]
    return Group(*parts, *(Text(line) for line in lines(found)))


def _table(found: Comparison) -> Table:
    """Return the findings, most drifted first."""
    tested = any(finding.drift.p_value is not None for finding in found.findings)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("column", overflow="fold")
    shown.add_column("score is", no_wrap=True)
    for name in ("score", "threshold", *(["p-value"] if tested else []), "drifted", "missing"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("how", overflow="fold")
    for finding in found.findings:
        drift = finding.drift
        p_value = [] if not tested else ["-" if drift.p_value is None else f"{drift.p_value:.2g}"]
        shown.add_row(
            plain(drift.name or "(no name)"),
            KINDS[drift.kind],
            f"{drift.score:.3f}",
            f"{drift.threshold:.3f}",
            *p_value,
            "[bold]yes[/bold]" if drift.drifted else "no",
            _missing(finding),
            plain(finding.how),
        )
    return shown


def _missing(finding: Finding) -> str:
    before, after = finding.missing_reference, finding.missing_current
    return "none" if before == after == 0 else f"{percent(before)} > {percent(after)}"


def lines(found: Comparison) -> list[str]:
    """Return what follows the table, one line each: rows, cycles, notes, columns left out."""
    rows = f"rows: {found.reference.rows:,} in REFERENCE, {found.current.rows:,} in CURRENT"
    left_out: dict[str, list[str]] = {}
    for name, why in found.left_out.items():
        left_out.setdefault(why, []).append(name or "(no name)")
    return [rows, *found.notes, *(f"not judged: {', '.join(names)} ({why})" for why, names in left_out.items())]


def plot_page(found: Comparison) -> str:
    """Return the answer as a page: scores against thresholds, cycle by cycle, and what each column looks like."""
    question = found.question
    body = f"""
<h1>{escape(found.answer[:1].upper() + found.answer[1:])}</h1>
<p class="soft">CURRENT is {escape(question.current.name)}, REFERENCE is {escape(question.reference.name)}.</p>
{_scores(found)}
{_heat_map(found)}
{_distributions(found)}
<h2>How it was found</h2>
{"".join(f'<p class="soft">{escape(line)}</p>' for line in lines(found))}
"""
    return page(f"{question.current.name} against {question.reference.name}", body)


def _scores(found: Comparison) -> str:
    if not found.findings:
        return ""
    scores = [
        Score(
            finding.drift.name,
            finding.ratio,
            f"{finding.drift.score:.3f}",
            f"{finding.drift.threshold:.3f}",
            finding.drift.drifted,
        )
        for finding in found.findings
    ]
    return (
        "<h2>Scores against thresholds</h2>"
        '<p class="soft">Each bar is a score in thresholds; the line is the threshold, and bars end at three.</p>'
        f"{score_bars(scores)}"
    )


# CURRENT, cycle by cycle


def _heat_map(found: Comparison) -> str:
    windows = _windows(found)
    if len(windows) < 2 or not found.findings:
        return ""
    ratios: dict[str, list[float | None]] = {finding.drift.name: [] for finding in found.findings}
    for _, window in windows:
        judged = {column.name: column for column in detect(found.calibration, window).columns}
        for name, cells in ratios.items():
            cells.append(judged[name].score / judged[name].threshold if name in judged else None)
    return (
        "<h2>CURRENT over time</h2>"
        '<p class="soft">Score over threshold of each cycle: pale is like the reference, '
        "red is beyond the threshold, grey has fewer than 100 rows.</p>"
        f"{heat_map([title for title, _ in windows], ratios)}"
    )


def _windows(found: Comparison) -> list[tuple[str, Profile]]:
    """CURRENT's cycles with their first days; neighbours are one where there are many."""
    if found.time is None or found.current.first is None:
        return []
    cycles = {number: profile for number, profile in found.current.cycles.items() if profile.rows and number > -(2**62)}
    if not cycles:
        return []
    size = -(-(max(cycles) - min(cycles) + 1) // MOST_HEAT)
    groups: dict[int, list[Profile]] = {}
    for number in sorted(cycles):
        groups.setdefault((number - min(cycles)) // size, []).append(cycles[number])
    length = np.timedelta64(found.question.cycle) * size
    short = found.question.cycle.total_seconds() < 86_400
    return [
        (str(found.current.first + length * group)[: 16 if short else 10].replace("T", " "), Profile.total(profiles))
        for group, profiles in groups.items()
    ]


# distributions


def _distributions(found: Comparison) -> str:
    if not found.findings:
        return ""
    reference, current = Profile.total(found.calibration), Profile.total(found.current.cycles.values())
    figures = "".join(
        f'<figure class="{drift_style(finding.drift.drifted)}"><figcaption><b>{escape(finding.drift.name)}</b> '
        f"{escape(finding.how)}</figcaption>{_chart(finding.drift.name, reference, current)}</figure>"
        for finding in found.findings
    )
    return (
        "<h2>What each column looks like</h2>"
        '<ul class="legend"><li><i class="was">&#9632;</i> REFERENCE</li>'
        '<li><i class="is">&#9632;</i> CURRENT</li></ul>'
        f'<div class="small-multiples">{figures}</div>'
    )


def _chart(name: str, reference: Profile, current: Profile) -> str:
    column = reference.binning.columns[reference.binning.index(name)]
    if not isinstance(column, NumberColumn):
        names = [category_name(column, place) for place in range(column.width)]
        return _bars(names, reference.column(name) / reference.rows, current.column(name) / current.rows)
    numbers = _Numbers.of(column, reference, current)
    if len(numbers.values) == 0:
        return '<p class="soft">No finite values.</p>'
    if len(numbers.values) <= MOST_VALUES:
        names = [figure(float(value)) for value in numbers.values]
        return _bars(names, numbers.before, numbers.after, most=MOST_VALUES, in_order=True)
    return _histogram(numbers)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The values that a number column's bins stand for, with both sides' shares of all rows."""

    values: Floats
    edges: Floats
    before: Floats
    after: Floats

    @classmethod
    def of(cls, column: NumberColumn, reference: Profile, current: Profile) -> _Numbers:
        finite = slice(NumberBins.FIRST_FINITE, NumberBins.PLUS_INFINITY)
        before, after = (p.column(column.name)[finite] / p.rows for p in (reference, current))
        held = np.flatnonzero(before + after)
        places = NumberBins.VALUES * column.step + column.centre
        halves = (places[1:] + places[:-1]) / 2.0
        edges = np.column_stack([halves[np.maximum(held - 1, 0)], halves[np.minimum(held, len(halves) - 1)]])
        return cls(places[held], edges, before[held], after[held])

    def below(self, shares: Floats, at: Floats) -> Floats:
        """Return the share of rows below each place, each bin's rows spread evenly over it."""
        widths = np.maximum(self.edges[:, 1] - self.edges[:, 0], 1e-300)
        inside = np.clip((at[:, None] - self.edges[None, :, 0]) / widths, 0.0, 1.0)
        summed: Floats = inside @ shares
        return summed


def _histogram(numbers: _Numbers) -> str:
    edges = _histogram_edges(numbers)
    before, after = (np.diff(numbers.below(shares, edges)).tolist() for shares in (numbers.before, numbers.after))
    labels = [figure(float(value)) for value in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1])]
    return histogram(edges.tolist(), before, after, labels)


def _histogram_edges(numbers: _Numbers) -> Floats:
    """Cut where nearly all of both sides lies; whole numbers at their halves, so that none shares a bar by chance."""
    low, high = math.inf, -math.inf
    for shares in (numbers.before, numbers.after):
        total = shares.sum()
        if total > 0:
            summed = np.cumsum(shares) / total
            first, last = np.minimum(np.searchsorted(summed, [0.005, 0.995]), len(summed) - 1)
            low, high = min(low, float(numbers.values[first])), max(high, float(numbers.values[last]))
    inside = numbers.values[(numbers.values >= low) & (numbers.values <= high)]
    if np.array_equal(inside, np.round(inside)) and len(inside) > 1:
        step = max(1, math.ceil((high - low + 1) / MOST_BINS))
        return np.arange(low - 0.5, high + step, step, dtype=np.float64)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, MOST_BINS + 1)


def _bars(
    names: Sequence[str], before: Floats, after: Floats, *, most: int = MOST_CATEGORIES, in_order: bool = False
) -> str:
    """Draw a pair of bars for each of the most frequent values."""
    held = np.flatnonzero(before + after)
    chosen = held[np.argsort(-np.maximum(before, after)[held], kind="stable")][:most]
    if in_order:
        chosen = np.sort(chosen)
    pairs = [(names[i], float(before[i]), float(after[i])) for i in chosen]
    rest = np.setdiff1d(held, chosen)
    if len(rest):
        pairs.append((f"{len(rest)} more", float(before[rest].sum()), float(after[rest].sum())))
    return bar_pairs([Pair(name, f"{name}: {percent(was)}, {percent(now)}", was, now) for name, was, now in pairs])
