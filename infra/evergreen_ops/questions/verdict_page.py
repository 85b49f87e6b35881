"""How `evergreen verdict` shows what it found: a table for the terminal, a page to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from html import escape
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from evergreen.spec import Metric
from evergreen_ops.pages.charts import Interval, Series, evidence_chart
from evergreen_ops.pages.page import page
from evergreen_ops.questions.verdict import Judged

WIDTH, HEIGHT = 960, 260
ANSWERS = {
    "promote": "promote: the shadow is proven better",
    "keep": "keep production: the shadow does not earn its place",
    "need_more_data": "need more data: neither is proven",
}
_LOG_10 = math.log(10.0)


def summary(judged: Judged) -> Group:
    """Return the verdict for a terminal."""
    parts: list[Any] = [Text(ANSWERS[judged.decision.verdict]), Text(judged.decision.because), Text()]
    sides = Table(box=None, pad_edge=False)
    sides.add_column("")
    sides.add_column("production", justify="right")
    sides.add_column("shadow", justify="right")
    for name, production, shadow in _sides(judged):
        sides.add_row(name, production, shadow)
    facts = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _facts(judged):
        facts.add_row(name, value)
    parts += [sides, Text(), facts]
    parts += [Text(f"note: {note}") for note in judged.log.notes]
    return Group(*parts)


def plot_page(judged: Judged, name: str) -> str:
    """Return the verdict as a page: the gain with its confidence sequence and the evidence, look by look."""
    decision = judged.decision
    facts = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in _facts(judged))
    sides = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(production)}</td><td>{escape(shadow)}</td></tr>"
        for key, production, shadow in _sides(judged)
    )
    charts = _charts(judged) if len(judged.looks) > 1 else ""
    body = f"""
<h1>{escape(ANSWERS[decision.verdict].capitalize())}</h1>
<p class="soft">{escape(name)}</p>
<p class="lead">{escape(decision.because)}</p>
{charts}
<h2>Both versions on the same requests</h2>
<div class="scroll"><table><tr><th></th><th>production</th><th>shadow</th></tr>{sides}</table></div>
<h2>What the verdict rests on</h2>
<div class="scroll"><table>{facts}</table></div>
{"".join(f'<p class="soft">{escape(note)}</p>' for note in judged.log.notes)}
"""
    return page(f"verdict on {name}", body)


def _sides(judged: Judged) -> Iterator[tuple[str, str, str]]:
    evidence = judged.decision.evidence
    if evidence["production_accuracy"] is not None:
        yield "accuracy", f"{evidence['production_accuracy']:.4f}", f"{evidence['shadow_accuracy']:.4f}"
    if judged.log.metric not in (Metric.ACCURACY, Metric.MACRO_F1) and evidence["production_loss"] is not None:
        name = f"mean {judged.log.metric.replace('_', ' ')}"
        yield name, f"{evidence['production_loss']:.6g}", f"{evidence['shadow_loss']:.6g}"


def _facts(judged: Judged) -> Iterator[tuple[str, str]]:
    evidence, rules = judged.decision.evidence, judged.rules
    low, high = evidence["interval"]
    if evidence["rows"]:
        yield (
            "gain",
            f"{evidence['gain']:+.6g}, between {low:+.6g} and {high:+.6g} at every look ({1 - 2 * rules.alpha:.0%})",
        )
    needed = -math.log10(rules.alpha)
    yield "better?", f"e-value 10^{evidence['log_e_promote'] / _LOG_10:.1f}, 10^{needed:.1f} promotes"
    kept = -math.log10(rules.alpha_keep)
    yield (
        f"gain below {rules.min_gain:g}?",
        f"e-value 10^{evidence['log_e_keep'] / _LOG_10:.1f}, 10^{kept:.1f} keeps production",
    )
    if evidence["agreement"] is not None:
        yield "same answer", f"{evidence['agreement']:.1%} of the rows"
    units = "" if evidence["units"] == evidence["rows"] else f" in {evidence['units']:,} groups"
    yield "rows judged", f"{evidence['rows']:,}{units}; {evidence['not_yet_counted']:,} labelled ones don't count yet"
    if evidence["labelled_share"] is not None:
        yield "labelled", f"{evidence['labelled_share']:.1%} of the requests both answered in that time"
    if evidence["overdispersion"] > 1.0:
        yield (
            "days",
            f"differ {evidence['overdispersion']:.1f} times as much as chance would have it: rows count for less",
        )
    elif evidence["row_worth"] < 1.0:
        yield "days", f"do not show to differ by more than chance: a row counts as {evidence['row_worth']:.2f}"
    if judged.since is not None and judged.now is not None:
        until = datetime.fromisoformat(evidence["until"])
        cycles = (until - judged.since) // rules.cycle
        yield (
            "judged time",
            f"{judged.since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}, {cycles} whole cycles of {_days(rules.cycle)}",
        )
        told = "" if not judged.log.label_times_given else " (the longest delay, unless --maturity is given)"
        yield "labels mature in", f"{_days(rules.maturity)}{told}; looked at {judged.now:%Y-%m-%d %H:%M}"
    else:
        yield "judged time", "no times in the file: every row counts, and late labels or a weekly cycle can't be seen"
    if evidence["rows_to_decide"]:
        days = (
            ""
            if evidence["days_to_decide"] is None or judged.since is None
            else f", about {evidence['days_to_decide']} days"
        )
        yield "still needed", f"{evidence['rows_to_decide']:,} {'groups' if units else 'rows'} at this gain{days}"
    elif evidence["rows_to_decide"] is None and judged.decision.verdict == "need_more_data" and evidence["rows"]:
        yield "still needed", "at this gain no number of rows would decide"


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.3g} day{'' if days == 1 else 's'}"


def _charts(judged: Judged) -> str:
    rules, looks = judged.rules, judged.looks
    times = [look.until for look in looks]
    gains = [look.decision.evidence["gain"] for look in looks]
    lows, highs = ([look.decision.evidence["interval"][end] for look in looks] for end in (0, 1))
    to_promote, to_keep = -math.log10(rules.alpha), -math.log10(rules.alpha_keep)
    promote = [look.decision.evidence["log_e_promote"] / _LOG_10 for look in looks]
    keep = [look.decision.evidence["log_e_keep"] / _LOG_10 for look in looks]
    better, small = "that the shadow is better", f"that its gain is below {rules.min_gain:g}"
    gain = evidence_chart(
        [Series("gain", "ours", times, gains)],
        [(rules.margin, "to beat")],
        width=WIDTH,
        height=HEIGHT,
        label="gain with its confidence sequence",
        interval=Interval(times, lows, highs),
    )
    evidence = evidence_chart(
        [Series(better, "ours", times, promote), Series(small, "never", times, keep)],
        [(to_promote, "promote"), (to_keep, "keep production")],
        width=WIDTH,
        height=HEIGHT,
        label="e-values",
    )
    return f"""
<h2>The gain, look by look</h2>
{gain}
<p class="soft">The shaded band holds the true gain at every look with {1 - 2 * rules.alpha:.0%} confidence.</p>
<h2>The evidence, in powers of ten</h2>
{evidence}
<ul class="legend"><li><i style="color:var(--ours)">&mdash;</i> {better}</li>
<li><i style="color:var(--never)">- -</i> {small}</li></ul>
"""
