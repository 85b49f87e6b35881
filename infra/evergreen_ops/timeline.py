"""The history told as a timeline: one line for each event that a person would want to hear of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

Event = Mapping[str, Any]


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


def kind_of(event: Event) -> str:
    """Return the event's type, such as ``VersionPromoted``."""
    return str(event["type"])


def time_of(event: Event) -> datetime:
    """Return when the event happened."""
    return datetime.fromisoformat(str(event["time"]))


def line_of(event: Event) -> Line | None:
    """Tell one event; None for those of no interest.

    Examples
    --------
    >>> print(line_of({"type": "VersionPromoted", "time": "2013-03-01T00:00:00+00:00", "because": "", "version": 2,
    ...                "replaced": 1}))
    2013-03-01 00:00 ^ version 2 promoted, replaces version 1
    """
    told = _tell(event)
    if told is None:
        return None
    mark, title = told
    return Line(time_of(event), mark, title, str(event.get("because", "")))


def lines(events: Iterable[Event]) -> Iterator[Line]:
    """Tell a history; of triggers that are held back in a row by the same rule only the first is told."""
    held: tuple[object, object] | None = None
    for event in events:
        line = line_of(event)
        if line is None:
            continue
        if line.mark is Mark.HELD_BACK:
            rule = (event.get("would_have"), event.get("rule"))
            if rule == held:
                continue
            held = rule
        elif line.mark is not Mark.BAKE:
            held = None
        yield line


def _tell(event: Event) -> tuple[Mark, str] | None:
    version = event.get("version")
    match kind_of(event):
        case "ModelApplied":
            return Mark.SPEC, "spec applied"
        case "ModelPaused":
            return Mark.SPEC, "paused: nothing is retrained or promoted by itself"
        case "ModelResumed":
            return Mark.SPEC, "resumed"
        case "RetrainingRequested":
            return Mark.TRIGGER, f"retraining requested by {words(event['trigger'])}"
        case "RetrainingHeldBack":
            return Mark.HELD_BACK, f"{words(event['would_have'])} held back"
        case "TrainingStarted":
            attempt = f", attempt {event['attempt'] + 1}" if event.get("attempt") else ""
            return Mark.TRAINING, f"training started on {event['rows']:,} rows{attempt}"
        case "TrainingFailed":
            return Mark.TRAINING, "training failed" + (" for good" if event.get("final") else ", to be tried again")
        case "CandidateRegistered":
            rows = f", trained on {event['rows_trained']:,} rows" if event.get("rows_trained") else ""
            return Mark.TRAINING, f"version {version} registered{rows}"
        case "CandidateRejected":
            return Mark.TRAINING, "the trained model failed its gate"
        case "ShadowStarted":
            return Mark.SHADOW, f"version {version} in shadow against version {event['judged_against']}"
        case "PromotionProposed":
            return Mark.SHADOW, f"verdict promote for version {version}, waits for approval"
        case "PromotionApproved":
            return Mark.SHADOW, f"{_approval(event.get('evidence') or {})} version {version}"
        case "CandidateRetired":
            return Mark.SHADOW, f"verdict keep: version {version} retired"
        case "VersionPromoted":
            instead = f", replaces version {event['replaced']}" if event.get("replaced") is not None else ""
            return Mark.PROMOTION, f"version {version} promoted{instead}"
        case "BakePassed":
            return Mark.BAKE, f"version {version} passed its {event['phase']} bake"
        case "RollbackDecided":
            return Mark.ROLLBACK, f"version {version} is bad ({event['cause']})"
        case "RollbackImpossible":
            return Mark.ROLLBACK, f"version {version} is bad ({event['cause']}) and there is no known good one"
        case "VersionRolledBack":
            return Mark.ROLLBACK, f"version {version} rolled back to version {event['to_version']}"
        case "RepointFailed":
            return Mark.ROLLBACK, f"the endpoint did not become version {version} and answers as before"
        case "DifferenceRepaired":
            return Mark.REPAIR, f"repaired {event['what']}"
        case _:
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


def production_version(events: Sequence[Event]) -> int | None:
    """Return the version in production after the last event."""
    for event in reversed(events):
        if kind_of(event) == "VersionPromoted":
            return int(event["version"])
        if kind_of(event) == "VersionRolledBack":
            return int(event["to_version"])
    return None
