"""How a tuning shows what it found: a table and sentences for the terminal, a page with the Pareto picture, files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from evergreen.durations import format_duration
from evergreen_ops.pages.charts import Point, tradeoff_chart
from evergreen_ops.pages.page import page
from evergreen_ops.timeline import words
from evergreen_ops.tune.confirming import Confirmed
from evergreen_ops.tune.costs import assumptions
from evergreen_ops.tune.judging import DRAWS, LEVEL
from evergreen_ops.tune.measures import Measure, measures_of
from evergreen_ops.tune.tuning import Judged, Tuned

NARROW, WIDE = (350, 300), (980, 420)
MUCH_RARER = 0.75
PAGE, SPEC, FIGURES = "tune.html", "spec.yaml", "tune.json"


def write(tuned: Tuned, folder: Path) -> None:
    """Write the three files; what was there under the same names is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC).write_text(tuned.spec.to_yaml(), encoding="utf-8")
    (folder / FIGURES).write_text(json.dumps(tuned.to_json(), indent=2) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(picture(tuned), encoding="utf-8")


def summary(tuned: Tuned, folder: Path) -> Group:
    """Return the comparison and the recommendation for a terminal."""
    table = _table(_head(tuned), [_cells(tuned, each) for each in _ranked(tuned)])
    parts: list[Table | Text] = [table, Text()]
    parts += [Text(sentence) for sentence in sentences(tuned)]
    parts += [Text(), _table(_confirmed_head(tuned), [_confirmed_cells(tuned, each) for each in tuned.confirmed])]
    parts += [Text(sentence) for sentence in of_the_proof(tuned)]
    parts += [Text(), Text(f"spec: {folder / SPEC}"), Text(f"picture: {folder / PAGE}")]
    return Group(*parts)


def sentences(tuned: Tuned) -> Iterator[str]:
    """Say what is recommended, how sure that is, and what it rests on."""
    told, chosen, measure = tuned.recommendation, tuned.chosen, tuned.plan.measure
    best, runner_up = tuned.judged[told.best], tuned.judged[told.runner_up]
    yield (
        f"recommended: {described(chosen)}: {measure.label} {_value(measure, chosen)}, "
        f"{chosen.trainings} retrainings on {chosen.rows_trained:,} rows, {_dollars(chosen)} a month"
    )
    if best is not chosen:
        yield (
            f"the best is {described(best)}: {_value(measure, best)}, which is {told.gap:.4f} better, within one "
            f"standard error of {told.standard_error:.4f}, and costs {_dollars(best)} a month"
        )
    if chosen.candidate.every is None:
        yield "its spec retrains for nothing but a model that is proven worse on labels, or when people ask for it"
    low, high = told.interval
    yield (
        f"how sure: {told.gain:+.4f} against never ({LEVEL:.0%}: {low:+.4f} to {high:+.4f}); at least as good as never "
        f"in {told.sure_of_never:.1%} of draws, as the runner-up {described(runner_up)} in {told.sure_of_runner_up:.1%}"
    )
    yield (
        f"{DRAWS:,} draws of {tuned.blocks} blocks from the {tuned.rows:,} rows that chose; one of {len(tuned.judged)} "
        "policies is best by luck too, so below is what the last fifth says, which chose nothing"
    )
    yield assumptions(tuned.plan.spec.training.instance_type, tuned.plan.price)
    for run in tuned.failed:
        yield f"left out: {run.candidate.name} of {run.candidate.estimator}: {run.because}"


def of_the_proof(tuned: Tuned) -> Iterator[str]:
    """Say where the deployed loop trained more seldom than was simulated."""
    watched = format_duration(tuned.plan.spec.deployment.quality_bake)
    for each in tuned.confirmed:
        if each.replayed_trainings is not None and each.replayed_trainings < MUCH_RARER * each.offline_trainings:
            yield (
                f"the deployed loop trained {each.candidate.name} {each.replayed_trainings} times, not "
                f"{each.offline_trainings}: nothing is trained while a new version is watched "
                f"(deployment.quality_bake {watched}), or judged"
            )


def described(judged: Judged) -> str:
    """Return a policy in words."""
    candidate = judged.candidate
    return f"{candidate.name} on {candidate.max_rows:,} rows, {candidate.estimator}"


def picture(tuned: Tuned) -> str:
    """Return the page: worth against rows, the comparison, the proof, the spec."""
    name = words(tuned.plan.stream.name)
    first, *others = sentences(tuned)
    charts = "".join(
        f'<div class="chart {kind}">{_chart(tuned, *size)}</div>' for kind, size in (("narrow", NARROW), ("wide", WIDE))
    )
    rows = [(_cells(tuned, each), "ours" if each is tuned.chosen else "") for each in _ranked(tuned)]
    confirmed = [(_confirmed_cells(tuned, each), "") for each in tuned.confirmed]
    body = f"""
<h1>{escape(name.capitalize())}: which policy</h1>
<p class="lead">{escape(first.capitalize())}.</p>
{"".join(f'<p class="soft">{escape(sentence[0].upper() + sentence[1:])}.</p>' for sentence in others)}
<h2>{escape(tuned.plan.measure.label.capitalize())} against rows trained on</h2>
<p class="soft">The line joins those that nothing cheaper is as good as. A stroke is one standard error of the
difference to the best. Behind a cadence stand the most rows of a training. Hover a point to read it.</p>
{charts}
<ul class="legend"><li><i style="color:var(--ours)">&#9679;</i> on the front; large: recommended</li>
<li><i style="color:var(--never)">&#9679;</i> something cheaper is as good</li></ul>
<h2>Every policy</h2>
{_html_table(_head(tuned), rows)}
<h2>The last fifth, which chose nothing</h2>
{_html_table(_confirmed_head(tuned), confirmed)}
{"".join(f'<p class="soft">{escape(sentence[0].upper() + sentence[1:])}.</p>' for sentence in of_the_proof(tuned))}
<details><summary>The recommended spec</summary><pre>{escape(tuned.spec.to_yaml())}</pre></details>
"""
    return page(f"tune {name}", body)


def _chart(tuned: Tuned, width: int, height: int) -> str:
    measure = tuned.plan.measure
    return tradeoff_chart(
        [_point(tuned, each, named=_is_named(tuned, place, width)) for place, each in enumerate(tuned.judged)],
        width=width,
        height=height,
        label=f"{measure.label} of each policy against the rows it was trained on",
        costs="rows trained on",
        worths=measure.label if measure.sign > 0 else f"{measure.label} (less is better)",
        percent=measure is Measure.ACCURACY,
    )


def _is_named(tuned: Tuned, place: int, width: int) -> bool:
    """On a phone there is room for two names: the recommended one, and never, which is the first."""
    return place in (0, tuned.recommendation.chosen) or (width > NARROW[0] and tuned.judged[place].on_front)


def _point(tuned: Tuned, each: Judged, *, named: bool) -> Point:
    measure = tuned.plan.measure
    worth = each.values[measure.value]
    style = "chosen" if each is tuned.chosen else "front" if each.on_front else "other"
    return Point(
        title=f"{described(each)}: {_value(measure, each)}, {each.rows_trained:,} rows, {_dollars(each)} a month",
        label=_label(each) if named else "",
        cost=each.rows_trained,
        worth=worth,
        low=worth - each.standard_error,
        high=worth + each.standard_error,
        style=style,
        on_front=each.on_front,
    )


def _label(each: Judged) -> str:
    candidate = each.candidate
    return candidate.name if candidate.every is None else f"{candidate.name}, {candidate.max_rows:,}"


def _ranked(tuned: Tuned) -> list[Judged]:
    """Best first; of equals the cheaper one."""
    return sorted(tuned.judged, key=lambda each: (each.behind, each.dollars_a_month))


def _measures(tuned: Tuned) -> Sequence[Measure]:
    chosen_by = tuned.plan.measure
    return (chosen_by, *(each for each in measures_of(tuned.plan.stream.classes) if each is not chosen_by))


def _head(tuned: Tuned) -> tuple[str, ...]:
    return (
        *("", "policy", "max rows", "estimator"),
        *(measure.label for measure in _measures(tuned)),
        *("behind best", "trainings", "rows trained", "a month"),
    )


def _cells(tuned: Tuned, each: Judged) -> tuple[str, ...]:
    mark = "*" if each is tuned.chosen else "+" if each.on_front else ""
    candidate = each.candidate
    return (
        *(mark, candidate.name, f"{candidate.max_rows:,}", _short(candidate.estimator)),
        *(_value(measure, each) for measure in _measures(tuned)),
        f"{max(each.behind, 0.0):.4f} ±{each.standard_error:.4f}",
        *(f"{each.trainings}", f"{each.rows_trained:,}", _dollars(each)),
    )


def _confirmed_head(tuned: Tuned) -> tuple[str, ...]:
    name = tuned.plan.measure.label
    return (
        "last fifth",
        "max rows",
        "estimator",
        "rows",
        f"offline {name}",
        f"replayed {name}",
        "retrainings",
        "replayed",
    )


def _confirmed_cells(tuned: Tuned, each: Confirmed) -> tuple[str, ...]:
    measure, candidate = tuned.plan.measure.value, each.candidate
    return (
        *(candidate.name, f"{candidate.max_rows:,}", _short(candidate.estimator), f"{each.rows:,}"),
        f"{each.offline[measure]:.4f}",
        "-" if each.replayed is None else f"{each.replayed[measure]:.4f}",
        f"{each.offline_trainings}",
        "-" if each.replayed_trainings is None else f"{each.replayed_trainings}",
    )


def _dollars(each: Judged) -> str:
    """Cents, and below a dollar their hundredths: a training costs less than one."""
    return f"${each.dollars_a_month:,.2f}" if each.dollars_a_month >= 1 else f"${each.dollars_a_month:.4f}"


def _short(estimator: str) -> str:
    return estimator.removesuffix("Classifier").removesuffix("Regressor")


def _value(measure: Measure, each: Judged) -> str:
    return f"{each.values[measure.value]:.4f}"


_ON_THE_LEFT = frozenset({"", "policy", "estimator", "last fifth"})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="left" if name in _ON_THE_LEFT else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _html_table(head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f'<tr class="{style}">'
        + "".join(f'<td data-name="{escape(name)}">{escape(cell)}</td>' for name, cell in zip(head, cells, strict=True))
        + "</tr>"
        for cells, style in rows
    )
    return (
        f'<div class="scroll"><table class="stack"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
    )
