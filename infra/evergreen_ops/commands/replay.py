"""`evergreen replay`: the whole loop over a history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen_ops.console import (
    REFUSED,
    REPLAYS,
    WIDE,
    LabelColumn,
    LabelTimeColumn,
    RowsADay,
    TimeColumn,
    complain,
    console,
    duration,
    existing_template,
    make_folder,
    print_json,
    read_spec,
)

if TYPE_CHECKING:
    from rich.console import Console

    from evergreen.spec import ModelSpec
    from evergreen_ops.replay.explain import Explanation
    from evergreen_ops.replay.result import Replay
    from evergreen_ops.replay.run import Plan
    from evergreen_ops.replay.specs import Base
    from evergreen_ops.replay.streams import Stream


EXAMPLES = """

Examples:

  evergreen replay

  evergreen replay --drill --json

  evergreen replay --explain

  evergreen replay traffic.parquet --label churned --time asked_at --compare never,every:500,tutorial
"""


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    text = "Run the whole loop over a history, on a virtual clock, and report what it was worth."
    app.command(help=text + EXAMPLES)(replay)


class TaskOption(StrEnum):
    """What the label is."""

    binary = "binary"
    multiclass = "multiclass"
    regression = "regression"


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
    label: LabelColumn = "label",
    time: TimeColumn = "event_time",
    label_time: LabelTimeColumn = "label_time",
    task: Annotated[TaskOption | None, typer.Option(help="What the label is; by default told from its values.")] = None,
    rows_per_day: RowsADay = 500,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Policies on the same stream: never, every:N (rows), fresh:N (learns in between), tutorial; or none. "
            "By default never; with --explain never, every:500 and tutorial.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say what each training and each promotion brought, beside the policies of --compare.",
        ),
    ] = False,
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
    from evergreen_ops.replay.assumed import assumed
    from evergreen_ops.replay.progress import screen
    from evergreen_ops.replay.run import replay as run

    policies = _policies(compare, explain=explain)
    given = None if spec is None else read_spec(spec)
    wanted_task = task or (None if given is None else given.task)
    found = _read(stream, label=label, time=time, label_time=label_time, task=wanted_task, rows_per_day=rows_per_day)
    chosen, aside = specs.for_replay(_spec(given, found, bundled=stream is None, seed=seed))
    base = specs.base_of(found, specs.BUNDLED_BASE_UNTIL if stream is None else None, spec=chosen)
    plan = _plan(found, chosen, base, step=step, template=template, drill=drill, policies=policies)
    folder = out or REPLAYS / found.name
    is_inferred = stream is not None and spec is None
    told = assumed(found, chosen, base, plan.step) if is_inferred else {}
    plan = replace(plan, mlflow=folder / "mlflow", assumed=told, explain=explain)
    make_folder(folder, "--out")
    with screen() as shown:
        for note in found.notes:
            shown.say(note)
        if aside:
            shown.say(f"set aside: {', '.join(aside)}. The predict function answers, and the stream brings the labels")
        if is_inferred:
            shown.say(f"no --spec: this one is inferred, and written to {folder / 'spec.yaml'}\n\n{chosen.to_yaml()}")
        for sentence in told.values():
            shown.say(f"assumed: {sentence}")
        result = run(plan, shown)
    report.write(result, folder)
    summary = result.summary()
    if as_json:
        print_json(summary)
    else:
        _print_summary(result, summary, folder)
    if drill and not all(outcome["rolled_back"] for outcome in summary["drill"]):
        complain("a bad version of the drill was not rolled back")
        raise typer.Exit(REFUSED)


def _policies(text: str | None, *, explain: bool) -> tuple[Any, ...]:
    from evergreen_ops.replay.explain import POLICIES
    from evergreen_ops.replay.policies import parse_policies

    if text is None:
        text = POLICIES if explain else "never"
    return () if text.strip() == "none" else parse_policies(text)


def _read(
    source: Path | None, *, label: str, time: str, label_time: str, task: str | None, rows_per_day: int
) -> Stream:
    from evergreen_ops.replay import streams

    if source is None:
        return streams.nyc_flights()
    return streams.load(
        source, label=label, time=time, label_time=label_time, task=streams.task_name(task), rows_per_day=rows_per_day
    )


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
        template=existing_template(template or TEMPLATE),
        drill=drill,
        policies=policies,
    )


def _so_many(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _print_summary(result: Replay, summary: dict[str, Any], folder: Path) -> None:
    from rich.markup import escape as plain

    from evergreen_ops.replay.report import comparison, comparison_head, gain_head, gain_rows
    from evergreen_ops.timeline import fresh_beside_plain

    screen = console(WIDE)
    _print_table(screen, comparison_head(summary), [row.cells for row in comparison(summary)])
    if gains := gain_rows(summary):
        _print_table(screen, gain_head(summary), gains)
    screen.print(
        f"{_so_many(summary['promotions'], 'promotion')}, {_so_many(summary['rollbacks'], 'rollback')}; version "
        f"{summary['production_version']} is in production; peak memory {summary['peak_rss_mb']:,.0f} MB",
        highlight=False,
    )
    for live in summary["live"]:
        if live["version"] == summary["production_version"]:
            worth = fresh_beside_plain(live["over_all"])
            screen.print(f"its live state, in the last 60 days: {worth}", highlight=False)
    if result.explanation is not None:
        _print_explanation(screen, result.explanation)
    for outcome in summary["drill"]:
        fate = f"rolled back to version {outcome['to_version']}" if outcome["rolled_back"] else "not rolled back"
        screen.print(
            plain(f"drill {outcome['kind']}: version {outcome['version']} {fate}: {outcome['reason']}"),
            highlight=False,
        )
    screen.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    screen.print(f"runs and versions: evergreen mlflow ui {folder}", highlight=False, soft_wrap=True)


def _print_explanation(screen: Console, explanation: Explanation) -> None:
    from evergreen_ops.replay.report import explained_head, explained_rows, trained_again

    if not explanation.changes:
        screen.print("nothing was retrained, promoted or rolled back: there is nothing to explain")
        return
    screen.print("\nwhat each change brought on matured labels, until the next one")
    _print_table(screen, explained_head(explanation), explained_rows(explanation), words=(1, 2, 3, 7))
    screen.print(trained_again(explanation), highlight=False)


def _print_table(
    screen: Console, head: Sequence[str], rows: Iterable[Sequence[str]], *, words: Collection[int] = (0,)
) -> None:
    """Print a table without lines; columns of words are folded, and those of figures stay whole."""
    from rich.markup import escape as plain
    from rich.table import Table

    table = Table(pad_edge=False, box=None)
    for place, name in enumerate(head):
        is_text = place in words
        table.add_column(name, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for cells in rows:
        table.add_row(*map(plain, cells))
    screen.print(table)
