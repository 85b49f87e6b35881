"""`evergreen train`: what a training job would make of a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.errors import UsageError
from evergreen_ops.console import WIDE, console, make_folder, names, print_json

if TYPE_CHECKING:
    from evergreen_ops.training_run import TrainedModel

HELP = """Train on a table as a training job would, outside any cloud, and see what the model is worth.

DATA is Parquet, CSV or JSON Lines with a row a request. The newest rows validate, never a random split; beside the \
model stands a baseline that answers every row the same. What is written is what a version is made of. The same \
rows and seed give the same bytes, with --local-cloud too, which runs CreateTrainingJob of a local cloud. Exits \
with 0 when it is done, 1 when the training fails, 2 when it can't be asked so.

Examples:

  evergreen train flights.parquet --label late --time departed

  evergreen train churn.csv --label churned --estimator LogisticRegression --params '{"C": 0.1}' --json

  evergreen train flights.parquet --label late --local-cloud --out model
"""


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    app.command(help=HELP)(train)


def train(
    data: Annotated[Path, typer.Argument(help="Parquet, CSV or JSON Lines.", show_default=False)],
    label: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    time: Annotated[
        str, typer.Option(help="Column with the instant of the request; without it, rows are taken in their order.")
    ] = "event_time",
    task: Annotated[str | None, typer.Option(help="binary, multiclass or regression; told from the label.")] = None,
    exclude: Annotated[str, typer.Option(help="Columns that are no features: a,b.")] = "",
    estimator: Annotated[str, typer.Option(help="A scikit-learn estimator; by default a random forest.")] = "",
    params: Annotated[str, typer.Option(help="Its parameters, as JSON.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Every random choice derives from it.")] = 0,
    validation: Annotated[float, typer.Option(help="The share of newest rows that validates.")] = 0.2,
    max_rows: Annotated[int, typer.Option(min=100, help="The newest rows that are used.")] = 100_000,
    min_rows: Annotated[int, typer.Option(min=20, help="Fewer labelled rows: refused.")] = 100,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the artifact; by default NAME-model.", show_default=False)
    ] = None,
    local_cloud: Annotated[bool, typer.Option("--local-cloud", help="As a job of a local cloud.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, and nothing else there.")] = False,
) -> None:
    """Train; see the help above, which the command shows."""
    from evergreen_ops import training_run as training
    from evergreen_ops.replay import streams
    from evergreen_ops.tables import read

    table = read(data)
    for name in names(exclude):
        if name not in table.column_names:
            raise UsageError(f"--exclude names {name!r}: {data} has the columns {', '.join(table.column_names[:30])}")
        table = table.drop_columns([name])
    if task is not None and streams.task_name(task) is None:
        raise UsageError(f"--task is {task!r}: give binary, multiclass or regression")
    section: dict[str, Any] = {
        "estimator": estimator,
        "params": _params(params, estimator),
        "seed": seed,
        "validation_fraction": validation,
        "max_rows": max_rows,
        "min_rows": min_rows,
    }
    stream = streams.read_table(
        table, name=streams.stream_name(data), label=label, time=time, task=streams.task_name(task), fewest_rows=20
    )
    given = training.trial(stream, section)
    folder = out or Path(f"{data.name.split('.')[0]}-model")
    make_folder(folder, "--out")
    with _telling() as say:
        for note in stream.notes:
            say(note)
        run = training.train_in_local_cloud if local_cloud else training.train_here
        trained = run(given, say)
    path = trained.write(folder)
    if as_json:
        print_json({**trained.to_json(), "artifact": str(path), "local_cloud": local_cloud})
    else:
        _show(trained, path)


def _params(text: str, estimator: str) -> dict[str, Any]:
    """An own estimator starts from its own defaults, not from the forest's parameters."""
    if not text:
        return {} if estimator else {"n_estimators": 200, "max_depth": 20}
    try:
        params = json.loads(text)
    except ValueError as error:
        raise UsageError(f'--params is {text!r}, which is no JSON ({error}): write {{"name": value}}') from error
    if not isinstance(params, dict):
        raise UsageError(f'--params is {text!r}: write a JSON object, {{"name": value}}')
    return params


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Tell the job's lines on stderr, over a spinner where it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda line: typer.echo(line, err=True)
        return
    from rich.console import Console

    screen = Console(stderr=True)
    with screen.status("training"):
        yield lambda line: screen.print(line, style="dim", highlight=False, markup=False)


def _show(trained: TrainedModel, path: Path) -> None:
    from rich.table import Table

    facts = trained.to_json()
    screen = console(WIDE)
    table = Table(box=None, pad_edge=False)
    for name, side in ((f"newest {facts['rows_validated']:,} rows", "left"), (facts["estimator"], "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column(
        "always the most frequent" if facts["task"] != "regression" else "always the median", justify="right"
    )
    validation, baseline = facts["metrics"]["validation"], facts["metrics"]["baseline"]
    for name, value in validation.items():
        table.add_row(name, _figure(value), _figure(baseline[name]))
    screen.print(table)
    for leak in facts["leaks"]:
        screen.print(f"leak: {leak}", highlight=False, markup=False)
    screen.print(
        f"{facts['rows_trained']:,} rows trained on in {facts['seconds']:.1f} s; ONNX and scikit-learn are "
        f"{facts['onnx_max_difference']:.1g} apart",
        highlight=False,
    )
    screen.print(f"{path}: {facts['bytes']:,} bytes, sha256 {facts['sha256']}", highlight=False, soft_wrap=True)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
