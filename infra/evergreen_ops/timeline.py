"""The history told as a timeline: one line for each event that a person would want to hear of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    DifferenceRepaired,
    ModelApplied,
    ModelPaused,
    ModelResumed,
    OnlineStateReverted,
    PromotionApproved,
    PromotionProposed,
    RepointFailed,
    RetrainingHeldBack,
    RetrainingRequested,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)


class Mark(StrEnum):
    """What a line is about; also the name of its colour in the report."""

    SPEC = "spec"
    TRIGGER = "trigger"
    HELD_BACK = "held"
    TRAINING = "training"
    SHADOW = "shadow"
    PROMOTION = "promotion"
    BAKE = "bake"
    ROLLBACK = "rollback"
    REPAIR = "repair"


SYMBOLS: Mapping[Mark, str] = {
    Mark.SPEC: "·",
    Mark.TRIGGER: "!",
    Mark.HELD_BACK: "-",
    Mark.TRAINING: "+",
    Mark.SHADOW: "~",
    Mark.PROMOTION: "^",
    Mark.BAKE: "=",
    Mark.ROLLBACK: "v",
    Mark.REPAIR: "*",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline."""

    time: datetime
    mark: Mark
    title: str
    because: str

    def __str__(self) -> str:
        """Return the line as the terminal shows it."""
        reason = f": {self.because}" if self.because else ""
        return f"{self.time:%Y-%m-%d %H:%M} {SYMBOLS[self.mark]} {self.title}{reason}"


def line_of(event: AnyEvent | None) -> Line | None:
    """Tell one event; None for those of no interest.

    Examples
    --------
    >>> from datetime import UTC
    >>> march = datetime(2013, 3, 1, tzinfo=UTC)
    >>> print(line_of(VersionPromoted(time=march, actor="ada", because="", version=2, replaced=1, endpoint={})))
    2013-03-01 00:00 ^ version 2 promoted, replaces version 1
    """
    told = _tell(event)
    if event is None or told is None:
        return None
    mark, title = told
    return Line(event.time, mark, title, event.because)


def lines(events: Iterable[AnyEvent]) -> Iterator[Line]:
    """Tell a history; of triggers that are held back in a row by the same rule only the first is told."""
    held: tuple[str, str] | None = None
    for event in events:
        line = line_of(event)
        if line is None:
            continue
        if isinstance(event, RetrainingHeldBack):
            rule = (event.would_have, event.rule)
            if rule == held:
                continue
            held = rule
        elif line.mark is not Mark.BAKE:
            held = None
        yield line


def _tell(event: AnyEvent | None) -> tuple[Mark, str] | None:
    match event:
        case ModelApplied():
            return Mark.SPEC, "spec applied"
        case ModelPaused():
            return Mark.SPEC, "paused: nothing is retrained or promoted by itself"
        case ModelResumed():
            return Mark.SPEC, "resumed"
        case RetrainingRequested():
            return Mark.TRIGGER, f"retraining requested by {words(event.trigger)}"
        case RetrainingHeldBack():
            return Mark.HELD_BACK, f"{words(event.would_have)} held back"
        case TrainingStarted():
            attempt = f", attempt {event.attempt + 1}" if event.attempt else ""
            return Mark.TRAINING, f"training started on {event.rows:,} rows{attempt}"
        case TrainingFailed():
            return Mark.TRAINING, "training failed" + (" for good" if event.final else ", to be tried again")
        case CandidateRegistered():
            rows = f", trained on {event.rows_trained:,} rows" if event.rows_trained else ""
            return Mark.TRAINING, f"version {event.version} registered{rows}"
        case CandidateRejected():
            return Mark.TRAINING, "the trained model failed its gate"
        case ShadowStarted():
            return Mark.SHADOW, f"version {event.version} in shadow against version {event.judged_against}"
        case PromotionProposed():
            return Mark.SHADOW, f"verdict promote for version {event.version}, waits for approval"
        case PromotionApproved():
            return Mark.SHADOW, f"{_approval(event.evidence)} version {event.version}"
        case CandidateRetired(superseded_by=None):
            return Mark.SHADOW, f"verdict keep: version {event.version} retired"
        case CandidateRetired():
            return Mark.SHADOW, f"version {event.version} gives way to version {event.superseded_by}"
        case VersionPromoted():
            instead = "" if event.replaced is None else f", replaces version {event.replaced}"
            return Mark.PROMOTION, f"version {event.version} promoted{instead}"
        case BakePassed():
            return Mark.BAKE, f"version {event.version} passed its {event.phase} bake"
        case RollbackDecided():
            return Mark.ROLLBACK, f"version {event.version} is bad ({event.cause})"
        case RollbackImpossible():
            return Mark.ROLLBACK, f"version {event.version} is bad ({event.cause}) and there is no known good one"
        case VersionRolledBack():
            return Mark.ROLLBACK, f"version {event.version} rolled back to version {event.to_version}"
        case RepointFailed():
            return Mark.ROLLBACK, f"the endpoint did not become version {event.version} and answers as before"
        case DifferenceRepaired():
            return Mark.REPAIR, f"repaired {event.what}"
        case OnlineStateReverted() | None:
            return None


def _approval(evidence: Mapping[str, Any]) -> str:
    if evidence.get("forced"):
        return "promotion by hand of"
    return "a person approved" if "proposed_at" in evidence else "verdict promote for"


def words(name: object) -> str:
    """Return an identifier as words.

    Examples
    --------
    >>> words("data_drift")
    'data drift'
    """
    return str(name).replace("_", " ")


def fresh_beside_plain(sums: Mapping[str, Any]) -> str:
    """Tell what was said to labelled requests, fresh, beside what the version would have said as it was trained.

    Examples
    --------
    >>> fresh_beside_plain({"rows": 900, "fresh_loss": 31.5, "plain_loss": 40.25})
    'loss 31.5 instead of 40.25 on 900 rows'
    """
    if not sums["rows"]:
        return "no labelled requests yet"
    loss = f"loss {sums['fresh_loss']:.4g} instead of {sums['plain_loss']:.4g}"
    if "fresh_accuracy" not in sums:
        return f"{loss} on {sums['rows']:,} rows"
    right = f"{sums['fresh_accuracy']:.1%} right instead of {sums['plain_accuracy']:.1%}"
    return f"{right} of {sums['rows']:,} rows; {loss}"
