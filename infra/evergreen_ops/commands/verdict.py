"""`evergreen verdict`: a shadow against production, from a file."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evergreen_ops.console import WIDE, duration, instant, print_json, show, write_text

EXAMPLES = """

FILE is Parquet, CSV or JSON Lines with a row a request: the columns production and shadow (what each answered) and
actual (what was true; empty while unknown), and optionally time, label_time and group (a user, a device).
The verdict is promote, keep or need_more_data, and stays valid however often it is asked for. It exits with 0
whatever it is.

Examples:

  evergreen verdict shadow.parquet

  evergreen verdict shadow.csv --maturity 3d --plot verdict.html

  evergreen verdict scores.jsonl --metric brier --positive churned --json

  evergreen verdict fraud.parquet --metric cost --cost fraud:ok=20,ok:fraud=1
"""


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    text = "Judge a shadow against production from a file of both versions' answers."
    app.command(help=text + EXAMPLES)(verdict)


class MetricOption(StrEnum):
    """What a verdict compares."""

    accuracy = "accuracy"
    brier = "brier"
    absolute_error = "absolute_error"
    cost = "cost"
    macro_f1 = "macro_f1"


def verdict(
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or JSON Lines.", show_default=False)],
    metric: Annotated[
        MetricOption | None,
        typer.Option(help="What is compared, told from the values by default; macro_f1 holds for large samples."),
    ] = None,
    production: Annotated[str, typer.Option(help="Column with production's answer.")] = "production",
    shadow: Annotated[str, typer.Option(help="Column with the shadow's answer.")] = "shadow",
    actual: Annotated[str, typer.Option(help="Column with what was true.")] = "actual",
    time: Annotated[
        str | None, typer.Option(help="Column with the instant of the request. By default time, if there.")
    ] = None,
    label_time: Annotated[
        str | None,
        typer.Option(help="Column with the instant the label became known. By default label_time, if there."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose rows depend on each other. By default group, if there.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column with the request's id: of repeated ones the last row counts.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="For brier: the class the probabilities are of.")] = None,
    cost: Annotated[
        str | None, typer.Option(help="For cost: actual:predicted=cost,...; else 0 when right and 1 when wrong.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Gain to prove; -0.01: fresher and not worse.")] = 0.0,
    min_gain: Annotated[float, typer.Option(help="A gain below this is not worth waiting for.")] = 0.02,
    alpha: Annotated[float, typer.Option(help="Chance of promoting a shadow that is no better.")] = 0.01,
    cycle: Annotated[str, typer.Option(help="Only whole cycles of traffic count.")] = "7d",
    maturity: Annotated[
        str | None,
        typer.Option(
            help="A request older than this has the labels it will get. By default the longest delay in the file, or "
            "1d without label times."
        ),
    ] = None,
    max_time: Annotated[str, typer.Option(help="No proof after this much time: keep production.")] = "28d",
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="No proof on this many rows: keep production. By default no limit.")
    ] = None,
    loss_scale: Annotated[
        float | None,
        typer.Option(help="Loss difference that counts in full; by default the 99.9th percentile of the file's own."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="When the shadow began; by default the first request.")] = None,
    now: Annotated[
        str | None, typer.Option(help="Look as of this time; by default the end of the file's last day.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a page with the evidence look by look.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON, and nothing else.")] = False,
) -> None:
    """Judge a file; see the help above, which the command shows."""
    from evergreen.spec import Metric
    from evergreen_ops.questions import verdict as judging
    from evergreen_ops.questions.verdict_page import plot_page, summary

    rules = judging.rules(
        margin=margin,
        min_gain=min_gain,
        alpha=alpha,
        cycle=duration(cycle, "--cycle"),
        max_time=duration(max_time, "--max-time"),
        max_rows=max_rows,
    )
    columns = judging.Columns(production, shadow, actual, time, label_time, group, id_column)
    costs = None if cost is None else judging.parse_cost(cost)
    log = judging.load(
        file, columns, metric=None if metric is None else Metric(metric.value), positive=positive, cost=costs
    )
    judged = judging.judge_log(
        log,
        rules,
        maturity=None if maturity is None else duration(maturity, "--maturity", shortest=timedelta(0)),
        scale=loss_scale,
        since=None if since is None else instant(since, "--since"),
        now=None if now is None else instant(now, "--now"),
    )
    if plot is not None:
        write_text(plot, plot_page(judged, file.name), "--plot")
    if as_json:
        print_json(judged.to_json())
    else:
        show(summary(judged), width=WIDE)
