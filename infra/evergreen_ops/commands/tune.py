"""`evergreen tune`: which policy suits a history."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.errors import UsageError
from evergreen_ops.commands.replay import TaskOption
from evergreen_ops.console import (
    WIDE,
    LabelColumn,
    LabelTimeColumn,
    RowsADay,
    TimeColumn,
    duration,
    existing_template,
    make_folder,
    names,
    print_json,
    read_spec,
    show,
)

if TYPE_CHECKING:
    from evergreen.spec import ModelSpec
    from evergreen_ops.replay.streams import Stream
    from evergreen_ops.tune.candidates import Choices
    from evergreen_ops.tune.measures import Measure

TUNINGS = Path("tune")
FEWEST = 100
"""Rows between trainings, and rows of one."""
HELP = """Find the policy that suits a history: how often to train, on what, and whether to learn in between.

FILE is Parquet, CSV or JSON Lines with a row a request. Policies run offline on its first 80 %, in parallel: each \
cadence with and without freshness, then the leaders with other rows and other estimators. Recommended is the \
cheapest within one standard error of the best. What it gets on the last 20 %, which chose nothing, is shown \
offline and by full replays. Writes the spec, the figures and a page with quality against rows trained on.

Examples:

  evergreen tune traffic.parquet --label churned --time asked_at

  evergreen tune traffic.parquet --measure kappa --every 1000,5000,never --confirm 0

  evergreen tune traffic.csv --spec spec.yaml --price 0.23 --out tuned --json
"""


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    app.command(help=HELP)(tune)


class MeasureOption(StrEnum):
    """What policies are compared by."""

    accuracy = "accuracy"
    kappa = "kappa"
    brier = "brier"
    mae = "mae"


class FreshnessOption(StrEnum):
    """Whether policies learn between trainings."""

    both = "both"
    on = "on"
    off = "off"


def tune(
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or JSON Lines.", show_default=False)],
    spec: Annotated[
        Path | None, typer.Option(help="Model spec (YAML) to start from; without one, it is inferred from the file.")
    ] = None,
    label: LabelColumn = "label",
    time: TimeColumn = "event_time",
    label_time: LabelTimeColumn = "label_time",
    task: Annotated[TaskOption | None, typer.Option(help="What the label is; by default told from its values.")] = None,
    rows_per_day: RowsADay = 500,
    measure: Annotated[
        MeasureOption | None, typer.Option(help="What is compared; by default accuracy, or mae for regression.")
    ] = None,
    every: Annotated[
        str, typer.Option(help="Labelled rows between trainings: 1000,5000,never; by default by the file's length.")
    ] = "",
    max_rows: Annotated[
        str, typer.Option(help="Newest rows to train on: 3000,20000; by default the spec's, 3000, 6000 and 20000.")
    ] = "",
    estimators: Annotated[
        str, typer.Option(help="Tried beside the spec's own: RandomForest, ExtraTrees, linear; or none.")
    ] = "RandomForest,ExtraTrees,linear",
    freshness: Annotated[
        FreshnessOption, typer.Option(help="Whether labels are learned between trainings.")
    ] = FreshnessOption.both,
    price: Annotated[
        float | None, typer.Option(min=0, help="Dollars an hour of the training instance; by default the list price.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Policies that run at a time; by default one a core.", show_default=False)
    ] = None,
    confirm: Annotated[
        int, typer.Option(min=0, max=2, help="Full replays: of the recommended policy, and of the runner-up.")
    ] = 2,
    step: Annotated[
        str | None, typer.Option(help="Time between two batches of a replay's requests, such as 6h.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for spec.yaml, tune.json and tune.html; by default tune/NAME.")
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="The template to replay; by default Evergreen's own.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print tune.json to stdout, and nothing else there.")] = False,
) -> None:
    """Tune; see the help above, which the command shows."""
    from evergreen_ops.replay import specs, streams
    from evergreen_ops.replay.progress import screen
    from evergreen_ops.replay.run import TEMPLATE
    from evergreen_ops.tune import report, tuning
    from evergreen_ops.tune.costs import price_an_hour

    given = None if spec is None else read_spec(spec)
    wanted_task = task or (None if given is None else given.task)
    stream = streams.load(
        file,
        label=label,
        time=time,
        label_time=label_time,
        task=streams.task_name(wanted_task),
        rows_per_day=rows_per_day,
    )
    if given is not None:
        specs.check_spec(given, stream)
    known = given or specs.infer_spec(stream)
    base = specs.base_of(stream, spec=known)
    chosen_by = tuning.first_rows(stream, base) - base.rows
    plan = tuning.Plan(
        stream=stream,
        spec=known,
        base=base,
        choices=_choices(
            known, stream, chosen_by, every=every, max_rows=max_rows, estimators=estimators, freshness=freshness
        ),
        measure=_measure(measure, stream),
        price=price_an_hour(known.training.instance_type, price),
        jobs=jobs or os.process_cpu_count() or 1,
        confirm=confirm,
        step=specs.default_step(stream) if step is None else duration(step, "--step"),
        template=existing_template(template or TEMPLATE),
    )
    folder = out or TUNINGS / stream.name
    make_folder(folder, "--out")
    with screen() as shown:
        for note in stream.notes:
            shown.say(note)
        tuned = tuning.tune(plan, shown)
    report.write(tuned, folder)
    if as_json:
        print_json(tuned.to_json())
    else:
        show(report.summary(tuned, folder), width=WIDE)


def _choices(
    spec: ModelSpec,
    stream: Stream,
    chosen_by: int,
    *,
    every: str,
    max_rows: str,
    estimators: str,
    freshness: FreshnessOption,
) -> Choices:
    from evergreen_ops.tune import candidates

    cadences = tuple(None if word == "never" else _number(word, "--every") for word in names(every))
    rows = tuple(_number(word, "--max-rows") for word in names(max_rows))
    words = () if estimators.strip() == "none" else names(estimators)
    others = [candidates.estimator_name(word, stream.task) for word in words]
    return candidates.Choices(
        every=cadences or candidates.cadences(chosen_by),
        fresh=_fresh(freshness),
        max_rows=rows or candidates.numbers_of_rows(spec.training.max_rows, chosen_by),
        estimators=tuple(dict.fromkeys((spec.estimator, *others))),
    )


def _fresh(freshness: FreshnessOption) -> tuple[bool, ...]:
    match freshness:
        case FreshnessOption.off:
            return (False,)
        case FreshnessOption.on:
            return (True,)
        case _:
            return (False, True)


def _number(word: str, option: str) -> int:
    """Read a number of rows, a hundred at least."""
    if not word.isdecimal() or int(word) < FEWEST:
        other = ", or never" if option == "--every" else ""
        raise UsageError(f"{option} names {word!r}: give numbers of rows from {FEWEST} up{other}")
    return int(word)


def _measure(wanted: MeasureOption | None, stream: Stream) -> Measure:
    from evergreen_ops.tune.measures import Measure, measures_of

    fitting = measures_of(stream.classes)
    if wanted is None:
        return fitting[0]
    if Measure(wanted.value) not in fitting:
        raise UsageError(f"--measure is {wanted}, but the task is {stream.task}: use {', '.join(fitting)}")
    return Measure(wanted.value)
