"""The `evergreen` command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen_ops.lineage_command import add_lineage
from evergreen_ops.mlflow_command import add_mlflow
from evergreen_ops.monitor_commands import add_monitor
from evergreen_ops.online_commands import add_online_commands
from evergreen_ops.operate_commands import add_commands
from evergreen_ops.options import PLAIN_WIDTH, REFUSED, REPLAYS, WRONG_USE, UsageError, duration, instant
from evergreen_ops.train_command import add_train

if TYPE_CHECKING:
    from evergreen.spec import ModelSpec
    from evergreen_ops.replay.result import Replay
    from evergreen_ops.replay.run import Plan
    from evergreen_ops.replay.specs import Base
    from evergreen_ops.replay.streams import Stream

app = typer.Typer(
    name="evergreen",
    help="Keeps a model in production good: retrains it when it has to, proves the new version, rolls a bad one back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local = typer.Typer(help="The local cloud: the template on this machine, for any boto3 client.", no_args_is_help=True)
app.add_typer(local, name="local")
add_mlflow(app)


class TaskOption(StrEnum):
    """What the label is."""

    binary = "binary"
    multiclass = "multiclass"
    regression = "regression"


class MetricOption(StrEnum):
    """What a verdict compares."""

    accuracy = "accuracy"
    brier = "brier"
    absolute_error = "absolute_error"
    cost = "cost"
    macro_f1 = "macro_f1"


def _version(wanted: bool) -> None:
    if wanted:
        from evergreen import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


EXAMPLES = """

Examples:

  evergreen replay

  evergreen replay --drill --json

  evergreen replay traffic.parquet --label churned --time asked_at --compare never,every:500,tutorial
"""


@app.command(help="Run the whole loop over a history, on a virtual clock, and report what it was worth." + EXAMPLES)
def replay(
    stream: Annotated[
        Path | None,
        typer.Argument(
            help="A Parquet or CSV file; without one, the flights that left New York in 2013.", show_default=False
        ),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help="Model spec (YAML); without one, it is inferred from the file.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    time: Annotated[str, typer.Option(help="Column with the instant of the request.")] = "event_time",
    label_time: Annotated[str, typer.Option(help="Column with the instant the label became known.")] = "label_time",
    task: Annotated[TaskOption | None, typer.Option(help="What the label is; by default told from its values.")] = None,
    rows_per_day: Annotated[int, typer.Option(min=1, help="Pace of a file without times.")] = 500,
    compare: Annotated[
        str, typer.Option(help="Policies to run on the same stream: never, every:N (rows), tutorial; or none.")
    ] = "never",
    drill: Annotated[
        bool, typer.Option("--drill", help="Promote three bad versions and watch them being rolled back.")
    ] = False,
    step: Annotated[
        str | None,
        typer.Option(help="Time between two batches of requests, such as 6h; by default about a 500th of the span."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the training, over the spec's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; by default replay/NAME.", show_default=False)
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="The template to deploy; by default Evergreen's own.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json to stdout, and nothing else there.")
    ] = False,
) -> None:
    """Replay a stream; see the help above, which the command shows."""
    from evergreen_ops.replay import report, specs
    from evergreen_ops.replay.progress import screen
    from evergreen_ops.replay.run import replay as run

    policies = _policies(compare)
    given = None if spec is None else specs.read_spec(spec)
    wanted_task = task or (None if given is None else given.task)
    found, base = _read(
        stream, label=label, time=time, label_time=label_time, task=wanted_task, rows_per_day=rows_per_day
    )
    chosen, aside = specs.for_replay(_spec(given, found, bundled=stream is None, seed=seed))
    plan = _plan(found, chosen, base, step=step, template=template, drill=drill, policies=policies)
    folder = out or REPLAYS / found.name
    plan = replace(plan, mlflow=folder / "mlflow")
    _writable(folder)
    with screen() as shown:
        for note in found.notes:
            shown.say(note)
        if aside:
            shown.say(f"set aside: {', '.join(aside)}. The predict function answers, and the stream brings the labels")
        if stream is not None and spec is None:
            shown.say(f"no --spec: this one is inferred, and written to {folder / 'spec.yaml'}\n\n{chosen.to_yaml()}")
        result = run(plan, shown)
    report.write(result, folder)
    summary = result.summary()
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print_summary(result, summary, folder)
    if drill and not all(outcome["rolled_back"] for outcome in summary["drill"]):
        typer.echo("evergreen: a bad version of the drill was not rolled back", err=True)
        raise typer.Exit(REFUSED)


VERDICT_EXAMPLES = """

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


@app.command(help="Judge a shadow against production from a file of both versions' answers." + VERDICT_EXAMPLES)
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
    from rich.console import Console

    from evergreen.spec import Metric
    from evergreen_ops import verdict as judging
    from evergreen_ops.verdict_report import plot_page, summary

    rules = judging.rules(
        margin=margin,
        min_gain=min_gain,
        alpha=alpha,
        cycle=duration(cycle, "--cycle"),
        max_time=duration(max_time, "--max-time"),
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
        _write(plot, plot_page(judged, file.name), "--plot")
    if as_json:
        typer.echo(json.dumps(judged.to_json(), indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(summary(judged), highlight=False)


DRIFT_EXAMPLES = """

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


@app.command(help="Tell whether a file looks different from another, column by column." + DRIFT_EXAMPLES)
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
    from evergreen_ops import drift as comparing
    from evergreen_ops.drift_report import plot_page, summary

    question = comparing.Question(
        reference=reference,
        current=current,
        time=time,
        cycle=duration(cycle, "--cycle"),
        columns=_names(columns),
        exclude=_names(exclude),
        categorical=_names(categorical),
        threshold=threshold,
    )
    found = comparing.compare(question)
    if plot is not None:
        _write(plot, plot_page(found), "--plot")
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(summary(found), highlight=False)
    if fail_on_drift and found.drift.drift:
        raise typer.Exit(REFUSED)


add_commands(app)
add_online_commands(app)
add_monitor(app)
add_train(app)
add_lineage(app)


@local.command(
    "up", help="Deploy the template and serve it on localhost until Ctrl-C.\n\nExample: evergreen local up --port 4566"
)
def local_up(
    template: Annotated[
        Path | None, typer.Option(help="Template to deploy; by default Evergreen's own.", show_default=False)
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Deploy nothing: for `sam deploy`.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on localhost.")] = 4566,
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Start an MLflow server too, for a template that takes one.")
    ] = True,
) -> None:
    """Serve the local cloud in the foreground."""
    from evergreen_ops.replay.run import TEMPLATE
    from local_cloud.server import server

    chosen = None if empty else _existing(template or TEMPLATE)
    unwanted = not mlflow and chosen is not None and server.takes_mlflow(chosen)
    server.up(chosen, port=port, parameters={server.TRACKING_PARAMETER: ""} if unwanted else None)


@local.command(
    "down",
    help="Stop the local cloud that `evergreen local up` started in this folder.\n\nExample: evergreen local down",
)
def local_down(as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False) -> None:
    """Stop the local cloud."""
    from local_cloud.server import server

    stopped = server.down()
    typer.echo(json.dumps({"stopped": stopped}) if as_json else "stopped" if stopped else "nothing was running")


def main() -> None:
    """Run the command; a known error is one line on stderr, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        code = _exit_code(error)
        if code is None:  # a defect of ours: its traceback is what helps
            raise
        _fail(" ".join(str(error).split()), code)


def _exit_code(error: Exception) -> int | None:
    """What an error means for the caller; None for one that nobody foresaw. Imports only what has been imported."""
    wrong_use = {
        "evergreen_ops.options.UsageError",
        "evergreen_ops.replay.streams.StreamError",
        "evergreen_ops.tables.TableError",
        "evergreen_ops.drift.DriftError",
        "evergreen_ops.replay.policies.PolicyError",
        "evergreen.spec.SpecError",
        "evergreen.statistics.checks.StatisticsInputError",
        "local_cloud.kernel.errors.TemplateError",
        "local_cloud.kernel.errors.UnsupportedResourceError",
    }
    refused = {
        "evergreen_ops.replay.driver.ReplayError",
        "evergreen_ops.stack.StackError",
        "evergreen_ops.train.TrainingRunError",
        "local_cloud.kernel.errors.LocalCloudError",
        "local_cloud.services.mlflow.server.MlflowServerError",
        "evergreen_ops.mlflow_command.NoStoreError",
        "evergreen_ops.model_monitor.BaselineError",
        "evergreen_ops.monitor_import.ImportRefusedError",
        "evergreen.training.learner.OnlineStateError",
        "evergreen.errors.EvergreenError",
        "evergreen.model.archive.ArtifactError",
    }
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return WRONG_USE if names & wrong_use else REFUSED if names & refused else None


def _fail(message: str, code: int) -> None:
    typer.echo(f"evergreen: {message}", err=True)
    sys.exit(code)


def _policies(text: str) -> tuple[Any, ...]:
    from evergreen_ops.replay.policies import parse_policies

    return () if text.strip() == "none" else parse_policies(text)


def _read(
    source: Path | None, *, label: str, time: str, label_time: str, task: str | None, rows_per_day: int
) -> tuple[Stream, Base]:
    from evergreen_ops.replay import specs, streams

    if source is None:
        stream = streams.nyc_flights()
        return stream, specs.base_of(stream, specs.BUNDLED_BASE_UNTIL)
    stream = streams.load(
        source, label=label, time=time, label_time=label_time, task=streams.task_name(task), rows_per_day=rows_per_day
    )
    return stream, specs.base_of(stream)


def _spec(given: ModelSpec | None, stream: Stream, *, bundled: bool, seed: int | None) -> ModelSpec:
    from evergreen.spec import ModelSpec
    from evergreen_ops.replay import specs

    if given is not None:
        specs.check_spec(given, stream)
    spec = given or (specs.bundled_spec() if bundled else specs.infer_spec(stream))
    if seed is None:
        return spec
    document = spec.to_json()
    document["training"]["seed"] = seed
    return ModelSpec.parse(document)


def _plan(
    stream: Stream,
    spec: ModelSpec,
    base: Base,
    *,
    step: str | None,
    template: Path | None,
    drill: bool,
    policies: tuple[Any, ...],
) -> Plan:
    from evergreen_ops.replay import specs
    from evergreen_ops.replay.run import TEMPLATE, Plan

    return Plan(
        stream=stream,
        spec=spec,
        base=base,
        step=specs.default_step(stream) if step is None else duration(step, "--step"),
        template=_existing(template or TEMPLATE),
        drill=drill,
        policies=policies,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} does not exist: name the template with --template")
    return path


def _write(path: Path, text: str, option: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {path} can't be written: {error.strerror}") from error


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder} can't be written: {error.strerror}") from error


def _print_summary(result: Replay, summary: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    quality = [(key, name) for key, name in _FIGURES if summary[key] is not None]
    table = Table(box=None, pad_edge=False)
    table.add_column("policy")
    for name in (*(name for _, name in quality), "retrainings", "rows trained", "seconds"):
        table.add_column(name, justify="right")
    for policy, figures in {"evergreen": summary, **summary["compare"]}.items():
        values = ["-" if figures[key] is None else f"{figures[key]:.4g}" for key, _ in quality]
        counts = [f"{figures['trainings']}", f"{figures['rows_trained']:,}", f"{figures['wall_seconds']:,.0f}"]
        table.add_row(policy, *values, *counts)
    console.print(table)
    console.print(
        f"{summary['promotions']} promotions, {summary['rollbacks']} rollbacks; version "
        f"{summary['production_version']} is in production; peak memory {summary['peak_rss_mb']:,.0f} MB",
        highlight=False,
    )
    for outcome in summary["drill"]:
        fate = f"rolled back to version {outcome['to_version']}" if outcome["rolled_back"] else "not rolled back"
        console.print(
            f"drill {outcome['kind']}: version {outcome['version']} {fate}: {outcome['reason']}", highlight=False
        )
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"runs and versions: evergreen mlflow ui {folder}", highlight=False, soft_wrap=True)


_FIGURES = (
    ("accuracy", "accuracy"),
    ("auc", "AUC"),
    ("kappa", "kappa"),
    ("mae", "MAE"),
    ("worst_window", "worst 1,000"),
)

if __name__ == "__main__":
    main()
