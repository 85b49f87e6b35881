"""`evergreen local up` and `local down`: the local cloud as a server."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from evergreen.errors import UsageError
from evergreen_ops.console import duration, existing_template, minute
from evergreen_ops.stack import StackError, local_url

if TYPE_CHECKING:
    from local_cloud.kernel.notices import Notice

local = typer.Typer(help="The local cloud: the template on this machine, for any boto3 client.", no_args_is_help=True)
clock = typer.Typer(help="The clock of the local cloud that runs in this folder.", no_args_is_help=True)
local.add_typer(clock, name="clock")
STEPS = 100  # of which a progress bar is made
SHORTEST_STEP = timedelta(minutes=1)


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    app.add_typer(local, name="local")


@local.command(
    "up", help="Deploy the template and serve it on localhost until Ctrl-C.\n\nExample: evergreen local up --port 4566"
)
def local_up(
    template: Annotated[
        Path | None, typer.Option(help="Template to deploy; by default Evergreen's own.", show_default=False)
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Deploy nothing: for `sam deploy`.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on localhost.")] = 4566,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of the template; again for each.", show_default=False),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="The region of AWS that it is; by default N. Virginia's.", show_default=False)
    ] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Start an MLflow server too, for a template that takes one.")
    ] = True,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder to keep the state in, and to come back from; by default it is gone at the end.",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no line for each call, schedule, alarm and job.")
    ] = False,
) -> None:
    """Serve the local cloud in the foreground."""
    from evergreen_ops.replay.run import TEMPLATE
    from local_cloud.server import server

    chosen = None if empty else existing_template(template or TEMPLATE)
    unwanted = not mlflow and chosen is not None and server.takes_mlflow(chosen)
    parameters = _parameters(parameter or [], chosen)
    if unwanted:
        parameters = {server.TRACKING_PARAMETER: "", **parameters}
    with _Start() as start:
        server.up(
            chosen,
            port=port,
            parameters=parameters,
            region=region,
            say=start.say,
            on_progress=start.show,
            on_notice=None if quiet else _print_notice,
            data=data,
        )


class _Start:
    """Shows on stderr how far the start is, until there is something to say: a bar, or a line for each step."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("starting", total=None)
        self._step = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, step: str, done: int, of: int) -> None:
        """Show what is being done, and how many of how many are done."""
        if self._progress.disable and step != self._step:
            typer.echo(step, err=True)
        self._step = step
        self._progress.update(self._task, description=step, completed=done, total=of or None)

    def say(self, line: str) -> None:
        """Print what was started."""
        self._progress.stop()
        typer.echo(line)


def _print_notice(notice: Notice) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more: the cloud goes on
        typer.echo(notice.line)


def _parameters(given: Sequence[str], template: Path | None) -> dict[str, str]:
    """Read KEY=VALUE of parameters that the template has."""
    from local_cloud.services.cloudformation.template import read_template

    known = list((read_template(template).get("Parameters") or {}) if template is not None else {})
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--parameter is {text!r}: give KEY=VALUE")
        if key not in known:
            there = f"there are {', '.join(known)}" if known else "it has none"
            raise UsageError(f"--parameter {key}: the template has no such parameter; {there}")
        found[key] = value
    return found


@local.command(
    "down",
    help="Stop the local cloud that `evergreen local up` started in this folder.\n\nExample: evergreen local down",
)
def local_down(as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False) -> None:
    """Stop the local cloud."""
    from local_cloud.server import server

    stopped = server.down()
    typer.echo(json.dumps({"stopped": stopped}) if as_json else "stopped" if stopped else "nothing was running")


# --- its clock --------------------------------------------------------------------------------------------------------

AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


@clock.command(
    "show", help="Show the time there, and when each schedule fires next.\n\nExample: evergreen local clock show"
)
def clock_show(as_json: AsJson = False) -> None:
    """Show the clock."""
    told = _ask("clock")
    if as_json:
        typer.echo(json.dumps(told))
        return
    _say_time(told)
    for name, when in sorted(told["schedules"].items(), key=lambda item: item[1] or "9"):
        typer.echo(f"{minute(when) if when else 'never':18}{name}")


@clock.command(
    "advance",
    help="Let time pass at once: schedules fire, alarms go off and jobs end in order, each at its time.\n\n"
    "Example: evergreen local clock advance 7d",
)
def clock_advance(
    by: Annotated[str, typer.Argument(help="How long, such as 30m, 6h or 7d.")], as_json: AsJson = False
) -> None:
    """Let time pass."""
    from rich.console import Console
    from rich.progress import Progress

    whole = duration(by, "the time to pass")
    step = max(whole / STEPS, SHORTEST_STEP)
    passed, invocations, told = timedelta(0), 0, dict[str, Any]()
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=whole.total_seconds())
        while passed < whole:
            some = min(step, whole - passed)
            told = _ask("clock/advance", {"seconds": some.total_seconds()})
            passed, invocations = passed + some, invocations + told["invocations"]
            progress.update(task, completed=passed.total_seconds(), description=minute(told["now"]))
    told["invocations"] = invocations
    if as_json:
        typer.echo(json.dumps(told))
        return
    _say_time(told)
    typer.echo(f"functions ran {invocations:,} times")


@clock.command(
    "fire",
    help="Fire a schedule now, beside its own times. A part of its name is enough where no other has it.\n\n"
    "Example: evergreen local clock fire EvaluateTriggers",
)
def clock_fire(
    schedule: Annotated[str, typer.Argument(help="Its name; `evergreen local clock show` lists them.")],
    as_json: AsJson = False,
) -> None:
    """Fire a schedule."""
    told = _ask("schedules/fire", {"name": schedule})
    typer.echo(json.dumps(told) if as_json else f"fired {told['fired']}")


@clock.command(
    "flush",
    help="Write at once what buffers hold, and close batching windows.\n\nExample: evergreen local clock flush",
)
def clock_flush(as_json: AsJson = False) -> None:
    """Flush buffers."""
    told = _ask("flush", {})
    typer.echo(json.dumps(told) if as_json else "flushed")


def _ask(path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
    from local_cloud.server.running import ControlError, ask

    try:
        return ask(local_url(), path, document)
    except ControlError as error:
        raise StackError(str(error)) from error


def _say_time(told: Mapping[str, Any]) -> None:
    ahead = timedelta(seconds=round(told["ahead_seconds"]))
    behind = f", {ahead} ahead of this machine" if ahead else ""
    typer.echo(f"it is {minute(told['now'])} UTC there{behind}")
