"""What candidates get on the rows that chose nothing: offline, and in full replays through the deployed template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from evergreen_ops.replay import run as replays
from evergreen_ops.replay.policies import PolicyResult
from evergreen_ops.replay.progress import Moment, Screen
from evergreen_ops.replay.streams import Stream
from evergreen_ops.timeline import Line
from evergreen_ops.tune.candidates import Candidate, spec_of
from evergreen_ops.tune.measures import values_of
from evergreen_ops.tune.processes import in_processes
from evergreen_ops.tune.running import History


@dataclass(frozen=True, slots=True)
class Proof:
    """What is replayed: the whole history, of which the rows from `cut` on are looked at."""

    history: History
    cut: int
    step: timedelta
    template: Path


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a candidate got on the last rows. Trainings and rows trained on are of the whole history.

    Attributes
    ----------
    rows : int
        Labelled rows that are looked at.
    offline, replayed : dict of str to float
        Each measure; None where there was no replay.
    """

    candidate: Candidate
    rows: int
    offline: dict[str, float]
    offline_trainings: int
    replayed: dict[str, float] | None = None
    replayed_trainings: int | None = None
    replayed_rows_trained: int | None = None
    replay_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        names = (
            *("rows", "offline", "offline_trainings"),
            *("replayed", "replayed_trainings", "replayed_rows_trained", "replay_seconds"),
        )
        return self.candidate.to_json() | {name: getattr(self, name) for name in names}


def held_out(candidate: Candidate, result: PolicyResult, cut: int, stream: Stream) -> Confirmed:
    """Look at the last rows of a policy that ran offline on all."""
    assert result.scored is not None
    last = result.scored >= cut
    probabilities = None if result.probabilities is None else result.probabilities[last]
    values = values_of(result.actual[last], result.predicted[last], probabilities, stream.classes)
    return Confirmed(candidate, int(last.sum()), values, result.trainings)


def replay_all(held: Sequence[Confirmed], proof: Proof, jobs: int, screen: Screen) -> list[Confirmed]:
    """Replay candidates in full, each in a process of its own.

    Parameters
    ----------
    held : sequence of Confirmed
        With what they got offline.
    proof : Proof
    jobs : int
        How many are replayed at a time.
    screen : Screen
    """
    if not held:
        return []
    screen.begin("full replays", proof.history.rows * len(held))
    alone = replace(proof, history=proof.history.picklable())
    replayed: list[Confirmed] = []
    for begin in range(0, len(held), jobs):  # a process replays but once: its functions keep what they loaded
        show = partial(_counted, screen, proof.history.rows * begin)
        replayed += in_processes(replay_one, held[begin : begin + jobs], alone, jobs, show)
    return replayed


def replay_one(offline: Confirmed, proof: Proof, on_rows: Callable[[int], None]) -> Confirmed:
    """Replay a candidate through the deployed template, and look at the same last rows."""
    history, stream = proof.history, proof.history.stream
    spec = spec_of(offline.candidate, history.spec, history.pace)
    plan = replays.Plan(stream=stream, spec=spec, base=history.base, step=proof.step, template=proof.template)
    replay = replays.replay(plan, _Rows(on_rows))
    rows, served, summary = replay.scored, replay.served, replay.summary()
    rows = rows[rows >= proof.cut]
    probabilities = None if served.probabilities is None else served.probabilities[rows]
    return replace(
        offline,
        replayed=values_of(stream.label[rows], served.predictions[rows], probabilities, stream.classes),
        replayed_trainings=summary["trainings"],
        replayed_rows_trained=summary["rows_trained"],
        replay_seconds=replay.wall_seconds,
    )


def _counted(screen: Screen, before: int, rows: int, done: int) -> None:
    screen.count(before + rows, "through the template")


@dataclass(frozen=True, slots=True)
class _Rows:
    """A replay's screen that tells of rows alone: its timeline is the replay's own business."""

    on_rows: Callable[[int], None]

    def say(self, text: str) -> None:
        """Nothing."""

    def tell(self, line: Line) -> None:
        """Nothing."""

    def begin(self, title: str, total: int) -> None:
        """Nothing."""

    def show(self, moment: Moment) -> None:
        self.on_rows(moment.rows)

    def count(self, rows: int, note: str) -> None:
        """Nothing."""
