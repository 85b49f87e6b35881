"""What a person sees while a replay runs: a bar that moves and the timeline above it, both on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from evergreen_ops.timeline import SYMBOLS, Line, Mark

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

STYLES = {
    Mark.TRIGGER: "yellow",
    Mark.TRAINING: "blue",
    Mark.SHADOW: "cyan",
    Mark.PROMOTION: "bold green",
    Mark.BAKE: "green",
    Mark.ROLLBACK: "bold red",
}
WITHHELD = frozenset({Mark.HELD_BACK})  # told in the report; in a terminal they would drown the rest


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a replay is."""

    time: datetime
    rows: int
    trainings: int
    production: int | None
    quality: str


class Screen(Protocol):
    """Where a replay shows itself."""

    def say(self, text: str) -> None:
        """Tell what is being done."""

    def tell(self, line: Line) -> None:
        """Add a line to the timeline."""

    def begin(self, title: str, total: int) -> None:
        """Start a bar of so many rows; the bar before it is done."""

    def show(self, moment: Moment) -> None:
        """Move the bar."""

    def count(self, rows: int, note: str) -> None:
        """Move the bar of something that has no virtual time."""


@dataclass(slots=True)
class RichScreen:
    """A terminal."""

    console: Console
    progress: Progress
    task: TaskID | None = field(default=None)

    def say(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False, markup=False, emoji=False)

    def tell(self, line: Line) -> None:
        if line.mark in WITHHELD:
            return
        from rich.text import Text

        style = STYLES.get(line.mark, "")
        text = Text(f"{line.time:%Y-%m-%d %H:%M} ", style="dim")
        text.append(f"{SYMBOLS[line.mark]} {line.title}", style=style)
        if line.because:
            text.append(f": {line.because}", style="dim")
        self.console.print(text)

    def begin(self, title: str, total: int) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(title, total=total, note="")

    def show(self, moment: Moment) -> None:
        version = "no version yet" if moment.production is None else f"v{moment.production}"
        note = f"{moment.time:%Y-%m-%d}  {version}  {moment.trainings} retrainings  {moment.quality}"
        self.count(moment.rows, note)

    def count(self, rows: int, note: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=rows, note=note)


@dataclass(frozen=True, slots=True)
class PlainScreen:
    """Anything that is not a terminal: the timeline, no bar."""

    def say(self, text: str) -> None:
        _write(text)

    def tell(self, line: Line) -> None:
        if line.mark not in WITHHELD:
            _write(str(line))

    def begin(self, title: str, total: int) -> None:
        _write(f"{title}: {total:,} rows")

    def show(self, moment: Moment) -> None:
        """Nothing: a bar in a file is noise."""

    def count(self, rows: int, note: str) -> None:
        """Nothing: a bar in a file is noise."""


def _write(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def screen() -> Iterator[Screen]:
    """Open the screen that stderr allows."""
    if not sys.stderr.isatty():
        yield PlainScreen()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as progress:
        yield RichScreen(console, progress)
