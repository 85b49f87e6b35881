"""What each trained version brought: its answers beside those of the version it replaced, on matured labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evergreen.domain import event_json
from evergreen.domain.history import History
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRetired,
    PromotionApproved,
    RollbackDecided,
    ShadowStarted,
    VersionPromoted,
    VersionRolledBack,
)

_JUDGED: tuple[type[PromotionApproved | CandidateRetired | BakePassed | RollbackDecided], ...] = (
    PromotionApproved,
    CandidateRetired,
    BakePassed,
    RollbackDecided,
)


@dataclass(frozen=True, slots=True)
class Side:
    """What one version's answers to the compared rows were worth."""

    loss: float
    accuracy: float | None  # None for a regression


@dataclass(frozen=True, slots=True)
class Brought:
    """A version beside the one that it replaced, or was to replace, on rows that both answered.

    Parameters
    ----------
    rows
        Matured labelled rows, answered by both while one of them was in shadow; 0 where what it brought is not known.
    metric
        The loss that was compared: for a regression usually the absolute error, whose mean is the MAE.
    fate
        What became of the version.
    """

    version: int
    decision_id: str
    instead_of: int | None
    fate: str
    rows: int = 0
    metric: str = ""
    new: Side | None = None
    old: Side | None = None

    @property
    def said(self) -> str:
        """What it brought in a sentence; plainly so where that is not known."""
        if self.instead_of is None:
            return "unknown: it replaced no version"
        if self.new is None or self.old is None:
            return f"unknown: no matured labels of requests that version {self.instead_of} answered too"
        change = f"{self.metric} {self.new.loss:.4f} instead of {self.old.loss:.4f}"
        if self.new.accuracy is not None and self.old.accuracy is not None:
            change += f", accuracy {self.new.accuracy:.3f} instead of {self.old.accuracy:.3f}"
        return f"{change}, on {self.rows:,} rows that version {self.instead_of} answered too"

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        sides = {name: _side(side) for name, side in (("new", self.new), ("old", self.old))}
        about = {"version": self.version, "decision_id": self.decision_id, "instead_of": self.instead_of}
        about |= {"fate": self.fate, "rows": self.rows, "metric": self.metric}
        return about | sides | {"said": self.said}


def _side(side: Side | None) -> dict[str, float | None] | None:
    return None if side is None else {"loss": side.loss, "accuracy": side.accuracy}


def brought(history: History, notes: Iterable[Mapping[str, Any]] = ()) -> tuple[Brought, ...]:
    """Say of each version what it brought, the oldest first.

    It is drawn from what was recorded: the evidence of the verdict on it in shadow, and of its quality bake, in which
    the version that it replaced watched. Of one that is in shadow the newest comparison is told; and while its quality
    bake goes on, the newest one with the version that watches. Rows that one of the two had been trained on are in none
    of these.

    Parameters
    ----------
    history : History
    notes : iterable of mapping
        Comparisons as the ledger tells them, oldest first.

    Examples
    --------
    >>> about = {"time": "2026-03-01T00:00:00Z", "actor": "ada", "because": "", "gate": {}, "artifact": ""}
    >>> about |= {"sha256": "", "fingerprint": "", "rows_trained": 9, "trained_until": None, "reference": ""}
    >>> about |= {"decision_id": "d", "judged_against": 1}
    >>> evidence = {"version": 2, "judged_against": 1, "rows": 400, "metric": "brier", "production_loss": 0.2,
    ...             "shadow_loss": 0.15, "production_accuracy": 0.7, "shadow_accuracy": 0.75}
    >>> history = History.of_documents("churn", [
    ...     about | {"epoch": 1, "type": "CandidateRegistered", "version": 2},
    ...     about | {"epoch": 2, "type": "ShadowStarted", "version": 2},
    ...     about | {"epoch": 3, "type": "CandidateRetired", "version": 2, "evidence": evidence},
    ... ])
    >>> brought(history)[0].said
    'brier 0.1500 instead of 0.2000, accuracy 0.750 instead of 0.700, on 400 rows that version 1 answered too'
    """
    fates = dict(_fates(history))
    against = {event.version: event.judged_against for event in history.of(ShadowStarted)}
    replaced = {event.version: event.replaced for event in history.of(VersionPromoted)}
    found = [event.evidence for event in history.of(*_JUDGED)]
    judged = {_pair(evidence) for evidence in found if evidence.get("rows")}
    newest = {_pair(note): note for note in notes if event_json.tells_of(note, "shadow")}
    told = []
    for event in history.of(CandidateRegistered):
        number = event.version
        old = replaced.get(number, against.get(number))
        running = (
            (number, old) if fates.get(number) == _IN_SHADOW else (old, number)
        )  # who is in shadow, then production
        evidence = [*found, newest[running]] if running in newest and running not in judged else found
        compared = [] if old is None else list(_compared(number, old, evidence))
        told.append(_summed_up(event, old, fates.get(number, "waits"), compared))
    return tuple(told)


_IN_SHADOW = "in shadow"


def _fates(history: History) -> Iterator[tuple[int, str]]:
    """What became of each version, the last word coming last."""
    for event in history.of(ShadowStarted, CandidateRetired, VersionPromoted, VersionRolledBack):
        match event:
            case ShadowStarted():
                yield event.version, _IN_SHADOW
            case CandidateRetired(superseded_by=newer):
                yield event.version, "not promoted" if newer is None else f"superseded by version {newer}"
            case VersionPromoted():
                yield event.version, "promoted"
            case VersionRolledBack():
                yield event.version, "rolled back"


@dataclass(frozen=True, slots=True)
class _Compared:
    rows: int
    metric: str
    new: Side
    old: Side


def _compared(new: int, old: int, evidence: Iterable[Mapping[str, Any]]) -> Iterator[_Compared]:
    """What was found of the two, whichever of them was in shadow."""
    for each in evidence:
        pair = _pair(each)
        if pair not in ((new, old), (old, new)) or not each.get("rows"):
            continue
        losses = each.get("production_loss"), each.get("shadow_loss")
        if losses[0] is None or losses[1] is None:
            continue
        answered = Side(losses[0], each.get("production_accuracy"))
        unseen = Side(losses[1], each.get("shadow_accuracy"))
        sides = (unseen, answered) if pair == (new, old) else (answered, unseen)
        yield _Compared(int(each["rows"]), str(each.get("metric", "loss")), *sides)


def _pair(evidence: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Who was in shadow, and who in production."""
    return evidence.get("version"), evidence.get("judged_against")


def _summed_up(event: CandidateRegistered, old: int | None, fate: str, compared: list[_Compared]) -> Brought:
    about = (event.version, event.decision_id, old, fate)
    if not compared:
        return Brought(*about)
    # A loss that was changed in between can't be added to another: the newest is told.
    alike = [each for each in compared if each.metric == compared[-1].metric]
    new, old_side = _mean([(e.rows, e.new) for e in alike]), _mean([(e.rows, e.old) for e in alike])
    return Brought(*about, sum(each.rows for each in alike), alike[-1].metric, new, old_side)


def _mean(sides: list[tuple[int, Side]]) -> Side:
    rows = sum(n for n, _ in sides)
    accuracies = [(n, side.accuracy) for n, side in sides if side.accuracy is not None]
    known = sum(n for n, _ in accuracies)
    accuracy = round(sum(n * a for n, a in accuracies) / known, 6) if known else None
    return Side(round(sum(n * side.loss for n, side in sides) / rows, 6), accuracy)
