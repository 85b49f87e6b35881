"""What the commands share: their options and how these are read, confirmation, and how answers are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.durations import parse_duration
from evergreen.errors import EvergreenError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from evergreen.spec import ModelSpec
    from evergreen_ops.stack import Stack

REFUSED, WRONG_USE = EvergreenError.exit_code, UsageError.exit_code
REPLAYS = Path("replay")
"""Where replays leave their reports, unless --out says otherwise."""
NARROW, WIDE = 80, 120
"""Columns of what is printed where no terminal says how many it has: sentences, and tables of figures."""

Model = Annotated[str, typer.Argument(help="The model's name, as in its spec.", show_default=False)]
StackName = Annotated[
    str | None, typer.Option("--stack", help="CloudFormation stack. [default: evergreen]", show_default=False)
]
Local = Annotated[bool, typer.Option("--local", help="Work on the local cloud that runs in this folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and nothing else there.")]
LabelColumn = Annotated[str, typer.Option(help="Column with the label.")]
TimeColumn = Annotated[str, typer.Option(help="Column with the instant of the request.")]
LabelTimeColumn = Annotated[str, typer.Option(help="Column with the instant the label became known.")]
RowsADay = Annotated[int, typer.Option(min=1, help="Pace of a file without times.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

WHERE = """

Works on the stack `evergreen`, or --stack NAME; or on the local cloud: with --local, or when one runs in this folder \
and no stack is named. Exits with 0 when it is done, 1 when it is refused, 2 when it can't be asked so.

Examples:

  """


# --- options, read ----------------------------------------------------------------------------------------------------


def duration(text: str, option: str, *, shortest: timedelta = timedelta(microseconds=1)) -> timedelta:
    """Read a span of time, such as 30m, 6h or 1d.

    Examples
    --------
    >>> duration("6h", "--step")
    datetime.timedelta(seconds=21600)
    """
    parsed = parse_duration(text)
    if not isinstance(parsed, timedelta) or parsed < shortest:
        raise UsageError(f"{option} is {text!r}: give a number and a unit, such as 30m, 6h or 1d")
    return parsed


def instant(text: str, option: str) -> datetime:
    """Read a time; one without an offset is UTC.

    Examples
    --------
    >>> instant("2026-01-31", "--since").isoformat()
    '2026-01-31T00:00:00+00:00'
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}: give a time such as 2026-01-31 or 2026-01-31T12:00Z") from error
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def names(text: str) -> tuple[str, ...]:
    """Read a list of names.

    Examples
    --------
    >>> names("store, plan,")
    ('store', 'plan')
    """
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def read_spec(path: Path) -> ModelSpec:
    """Read a user's spec, and say what keys of former releases mean now.

    Raises
    ------
    SpecError
        The file can't be read or the spec is invalid.
    """
    from evergreen.spec import ModelSpec, SpecError, told_of_online

    try:
        spec = ModelSpec.from_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError((f"{path} can't be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise SpecError((f"{path} is not UTF-8 text: write the spec as YAML",)) from error
    for sentence in told_of_online(spec):
        complain(f"{path}: {sentence}")
    return spec


def reason_of(text: str) -> str:
    """Return the reason in one line; none is a wrong use."""
    reason = " ".join(text.split())
    if not reason:
        raise UsageError("--reason is empty: say why, it is kept in the history")
    return reason


def existing_template(path: Path) -> Path:
    """Return the path of a template that is there."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist: name the template with --template")
    return path


def make_folder(folder: Path, option: str) -> None:
    """Make the folder that an option names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {folder} can't be written: {error.strerror}") from error


def write_text(path: Path, text: str, option: str) -> None:
    """Write the file that an option names."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {path} can't be written: {error.strerror}") from error


# --- at work on a stack -----------------------------------------------------------------------------------------------


@contextmanager
def work(stack: str | None, local: bool) -> Iterator[Stack]:
    """Connect to the stack, and say where that is if nobody asked for it."""
    from evergreen_ops.stack import connected

    with connected(stack, local=local) as at:
        if at.note:
            complain(at.note)
        before = _AHEAD.set(at.ahead)
        try:
            yield at
        finally:
            _AHEAD.reset(before)


_AHEAD: ContextVar[timedelta] = ContextVar("ahead", default=timedelta(0))


def current_time() -> datetime:
    """Now: the time of a command, by the clock of the stack that it works on."""
    return datetime.now(UTC) + _AHEAD.get()


def confirm(what: str, *, yes: bool) -> None:
    """Say what will happen and ask; without a terminal nobody could answer."""
    typer.echo(what, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("stdin is not a terminal, so nobody can be asked: add --yes")
    if not typer.confirm("Go on?", err=True):
        complain("nothing was changed")
        raise typer.Exit(REFUSED)


# --- answers, printed -------------------------------------------------------------------------------------------------


def complain(what: str) -> None:
    """Say on stderr what the user has to know, whatever stdout holds."""
    typer.echo(f"evergreen: {what}", err=True)


def print_json(document: Any) -> None:
    """Print a document to stdout."""
    typer.echo(json.dumps(document, indent=2))


def say(text: str, *, indent: int = 0) -> None:
    """Print a sentence, folded to the terminal."""
    from rich.padding import Padding
    from rich.text import Text

    show(Padding(Text(text), (0, 0, 0, indent), expand=False))


def show(what: Any, *, width: int = NARROW) -> None:
    """Print something of rich's: a table, a tree, a text."""
    console(width).print(what, highlight=False)


def show_rows(rows: Iterable[tuple[str, str]], *, width: int = NARROW) -> None:
    """Print names with what is to say of each, one a row."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    show(table, width=width)


def console(width: int) -> Console:
    """Return rich's console on stdout: as wide as the terminal, or of ``width`` columns where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


def minute(time: datetime | str | None) -> str:
    """Return a time to the minute, for people.

    Examples
    --------
    >>> minute("2026-03-01T12:00:59+00:00"), minute(None)
    ('2026-03-01 12:00', '-')
    """
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def who(actor: str) -> str:
    """Return who did something, without the address of the account: an ARN's last part; JSON has all of it.

    Examples
    --------
    >>> who("arn:aws:sts::123456789012:assumed-role/ops/ada"), who("ada")
    ('ada', 'ada')
    """
    return actor.rpartition("/")[2] if actor.startswith("arn:") else actor
