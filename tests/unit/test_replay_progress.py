"""What a replay tells on a terminal: what comes from a file is text, whatever it looks like."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from evergreen_ops.replay.progress import RichScreen


def test_a_sentence_with_the_names_of_classes_is_told_as_it_is() -> None:
    told = io.StringIO()
    console = Console(file=told, width=100)
    screen = RichScreen(console, Progress(console=console))
    screen.say("assumed: 92.0% of the labels that come in time are '[/b]', of the late ones '[red]' :warning:")
    assert told.getvalue().endswith("are '[/b]', of the late ones '[red]' :warning:\n")
