"""`evergreen drift`: one file against another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evergreen_ops.console import REFUSED, WIDE, duration, names, print_json, show, write_text

EXAMPLES = """

REFERENCE and CURRENT are Parquet, CSV or JSON Lines. Numbers are compared by Wasserstein distance over the standard \
deviation, text by Jensen-Shannon distance. Where REFERENCE has times, each column's threshold comes from how \
much its own whole cycles (weeks) differ from each other; else it is 0.1 with a significance test. Times, ids and row \
numbers are not judged. It exits with 0 whatever it finds (see --fail-on-drift), with 2 when it can't be asked so.

Examples:

  evergreen drift train.parquet last_week.parquet

  evergreen drift 2023.csv.gz 2024.csv --time asked_at --cycle 1d --plot drift.html

  evergreen drift train.csv live.jsonl --exclude note --categorical store,plan --json

  evergreen drift train.parquet batch.parquet --fail-on-drift && ./score.sh
"""


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    app.command(help="Tell whether a file looks different from another, column by column." + EXAMPLES)(drift)


def drift(
    reference: Annotated[Path, typer.Argument(help="What is normal: training data, last year.", show_default=False)],
    current: Annotated[Path, typer.Argument(help="What is asked about: the last week.", show_default=False)],
    time: Annotated[
        str | None,
        typer.Option(help="Column of the instants, or none; by default event_time, time or timestamp."),
    ] = None,
    cycle: Annotated[str, typer.Option(help="Whole cycles of REFERENCE calibrate the thresholds.")] = "7d",
    columns: Annotated[str, typer.Option(help="Judge these alone: a,b.")] = "",
    exclude: Annotated[str, typer.Option(help="Leave these out: a,b.")] = "",
    categorical: Annotated[str, typer.Option(help="Numbers that are codes: a,b.")] = "",
    threshold: Annotated[float, typer.Option(help="Share of shifted columns that is drift.")] = 0.3,
    plot: Annotated[Path | None, typer.Option(help="Write a page with a chart for each column.")] = None,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit with 1 on drift.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else.")] = False,
) -> None:
    """Compare two files; see the help above, which the command shows."""
    from evergreen_ops.questions import drift as comparing
    from evergreen_ops.questions.drift_page import plot_page, summary

    question = comparing.Question(
        reference=reference,
        current=current,
        time=time,
        cycle=duration(cycle, "--cycle"),
        columns=names(columns),
        exclude=names(exclude),
        categorical=names(categorical),
        threshold=threshold,
    )
    found = comparing.compare(question)
    if plot is not None:
        write_text(plot, plot_page(found), "--plot")
    if as_json:
        print_json(found.to_json())
    else:
        show(summary(found), width=WIDE)
    if fail_on_drift and found.drift.drift:
        raise typer.Exit(REFUSED)
