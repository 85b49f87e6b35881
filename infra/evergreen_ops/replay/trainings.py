"""What a history says of its retrainings: why each began, what became of it, and for how long that held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from evergreen.domain.history import History
from evergreen.domain.model_events import (
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    PromotionApproved,
    RetrainingRequested,
    RollbackDecided,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)


class Kind(StrEnum):
    """What changed, or would have changed, who answers."""

    TRAINING = "training"  # its version was not promoted
    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Training:
    """A retraining that has ended.

    Attributes
    ----------
    decision_id : str
    requested, ended : datetime
    trigger, because : str
        Why it was started.
    version : int or None
        None where no version came out of it; `fate` says why.
    rows : int
        That it trained on; 0 where it never did.
    trained_until : datetime or None
        When its newest row was asked; None where that is not known.
    fate : str
        What became of its version.
    refitted : bool
        Whether the spec's recipe on the rows makes the same version: not of one that failed, or that was published
        from an online state.
    """

    decision_id: str
    requested: datetime
    ended: datetime
    trigger: str
    because: str
    version: int | None
    rows: int
    trained_until: datetime | None
    fate: str
    refitted: bool

    @property
    def name(self) -> int | str:
        """What its version is known by: the number, or the decision where it has none."""
        return self.decision_id if self.version is None else self.version


@dataclass(frozen=True, slots=True)
class Change:
    """A time at which another version began to answer, or could have, and until when that is looked at.

    A promotion and a rollback hold until production changes again; a training whose version was not promoted is looked
    at until the next one ends, or production changes.

    Attributes
    ----------
    kind : Kind
    time : datetime
    until : datetime or None
        None: to the end.
    version : int, str or None
        Who answers from then on, or would have; `Training.name`.
    instead_of : int or None
        Who answered before.
    training : Training or None
        The retraining that it came from; None for a rollback, and for a version that nobody's decision trained.
    because : str
        Why it was decided; empty for a training, which tells it.
    """

    kind: Kind
    time: datetime
    until: datetime | None
    version: int | str
    instead_of: int | None
    training: Training | None
    because: str = ""


def trainings(history: History) -> tuple[Training, ...]:
    """Return the retrainings that have ended, in the order in which they did; the first model is none of them.

    Examples
    --------
    >>> about = {"time": "2026-03-01T00:00:00Z", "actor": "ada", "because": "too many errors"}
    >>> asked = {**about, "type": "RetrainingRequested", "trigger": "performance"}
    >>> started = {**about, "type": "TrainingStarted", "job_name": "", "attempt": 0, "snapshot": "", "rows": 900}
    >>> rejected = {**about, "type": "CandidateRejected", "gate": {}, "because": "no better than chance"}
    >>> told = [asked | {"decision_id": "d1"}, asked | {"decision_id": "d2"}, started | {"decision_id": "d2"},
    ...         rejected | {"decision_id": "d2"}]
    >>> (found,) = trainings(History.of_documents("churn", [each | {"epoch": n} for n, each in enumerate(told, 1)]))
    >>> found.trigger, found.rows, found.fate
    ('performance', 900, 'failed its gate: no better than chance')
    """
    requests = {event.decision_id: event for event in history.of(RetrainingRequested)[1:]}
    rows = {event.decision_id: event.rows for event in history.of(TrainingStarted)}
    fates = dict(_fates(history))
    return tuple(
        _training(event, requests[event.decision_id], rows.get(event.decision_id, 0), fates)
        for event in history.of(*_ENDS)
        if event.decision_id in requests and not (isinstance(event, TrainingFailed) and not event.final)
    )


def changes(history: History) -> tuple[Change, ...]:
    """Return each promotion, each rollback and each training whose version was not promoted, the oldest first.

    Examples
    --------
    >>> about = {"time": "2026-03-01T00:00:00Z", "actor": "ada", "because": "", "endpoint": {}}
    >>> told = [about | {"type": "VersionPromoted", "version": 1, "replaced": None},
    ...         about | {"type": "VersionPromoted", "version": 2, "replaced": 1}]
    >>> (found,) = changes(History.of_documents("churn", [each | {"epoch": n} for n, each in enumerate(told, 1)]))
    >>> found.kind.value, found.version, found.instead_of, found.training
    ('promotion', 2, 1, None)
    """
    done = trainings(history)
    of_version = {each.version: each for each in done if each.version is not None}
    moved = list(_moved(history, of_version))
    promoted = {change.version for change in moved if change.kind is Kind.PROMOTION}
    begins = sorted(change.time for change in moved)
    ends = sorted([*begins, *(each.ended for each in done)])
    held = [_until(change, begins) for change in moved]
    held += [
        _until(Change(Kind.TRAINING, each.ended, None, each.name, history.until(each.ended).production, each), ends)
        for each in done
        if each.name not in promoted
    ]
    return tuple(sorted(held, key=lambda change: change.time))


_ENDS: tuple[type[CandidateRegistered | CandidateRejected | TrainingFailed], ...] = (
    CandidateRegistered,
    CandidateRejected,
    TrainingFailed,
)


def _training(
    event: CandidateRegistered | CandidateRejected | TrainingFailed,
    request: RetrainingRequested,
    rows: int,
    fates: dict[int, str],
) -> Training:
    version, until = None, None
    match event:
        case CandidateRegistered():
            version, rows, until = event.version, event.rows_trained, event.trained_until
            fate = fates.get(version, "waits for its time in shadow")
        case CandidateRejected():
            until, fate = event.trained_until, f"failed its gate: {event.because}"
        case TrainingFailed():
            fate = f"failed: {event.because}"
    return Training(
        decision_id=request.decision_id,
        requested=request.time,
        ended=event.time,
        trigger=request.trigger,
        because=request.because,
        version=version,
        rows=rows,
        trained_until=until,
        fate=fate,
        refitted=rows > 0 and not request.checkpoint and not isinstance(event, TrainingFailed),
    )


def _fates(history: History) -> Iterator[tuple[int, str]]:
    """What became of each version, the last word coming last."""
    for event in history.of(ShadowStarted, CandidateRetired, VersionPromoted, VersionRolledBack):
        match event:
            case ShadowStarted():
                yield event.version, "in shadow"
            case CandidateRetired(superseded_by=newer):
                yield event.version, "not promoted" if newer is None else f"superseded by version {newer}"
            case VersionPromoted():
                yield event.version, "promoted"
            case VersionRolledBack():
                yield event.version, f"rolled back to version {event.to_version}"


def _moved(history: History, of_version: dict[int, Training]) -> Iterator[Change]:
    """Who answered from when on, for the reason for which it was decided."""
    decided: dict[int, str] = {}
    for event in history.of(PromotionApproved, RollbackDecided, VersionPromoted, VersionRolledBack):
        match event:
            case PromotionApproved() | RollbackDecided():
                decided[event.version] = event.because
            case VersionPromoted(replaced=int() as before):
                because = decided.get(event.version, event.because)
                training = of_version.get(event.version)
                yield Change(Kind.PROMOTION, event.time, None, event.version, before, training, because)
            case VersionRolledBack():
                because = decided.get(event.version, event.because)
                yield Change(Kind.ROLLBACK, event.time, None, event.to_version, event.version, None, because)
            case _:
                pass


def _until(change: Change, times: list[datetime]) -> Change:
    return replace(change, until=next((time for time in times if time > change.time), None))
