"""Why a model was or was not retrained, promoted, rolled back, as of any time: from what was recorded, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from evergreen.domain import event_json
from evergreen.domain.brought import Brought, brought
from evergreen.domain.history import AnyEntry, History
from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    RepointFailed,
    RetrainingHeldBack,
    RetrainingRequested,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import ModelState, ShadowRole
from evergreen.ports import Ports
from evergreen.usecases.steps.notes import newest_notes

_FOUND = 10  # findings told of each question


class Question(StrEnum):
    """What can be asked about a model."""

    RETRAINING = "retraining"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found or done, with what it rests on: checks of a trigger, or the numbers of a verdict."""

    time: datetime
    what: str
    because: str
    checks: tuple[Mapping[str, Any], ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    event: AnyEvent | None = None  # None: it is told by a note

    @classmethod
    def of(cls, entry: AnyEntry) -> Finding:
        """What an event tells; the numbers of a trained model are those of its gate."""
        fields = _beside(entry.fields)
        evidence = entry.fields.get("evidence", entry.fields.get("gate", {}))
        checks = tuple(entry.fields.get("checks", ()))
        return cls(entry.time, entry.kind, entry.because, checks, evidence, fields, entry.event)

    @classmethod
    def of_note(cls, note: Mapping[str, Any]) -> Finding:
        """What a note tells; a comparison holds its numbers beside its verdict."""
        fields = _beside(note)
        evidence = note.get("evidence", note.get("gate", fields if event_json.tells_of(note, "shadow") else {}))
        checks = tuple(note.get("checks", ()))
        return cls(_time(note), event_json.note_name(note), note["because"], checks, evidence, fields)

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        told = {"time": self.time.isoformat(), "what": self.what, "because": self.because}
        return told | {"checks": [dict(check) for check in self.checks], "evidence": dict(self.evidence)}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question in a sentence, and what it rests on, newest first."""

    question: Question
    said: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was so of a model at a time, and why."""

    model: str
    at: datetime
    production: int | None
    answers: tuple[Answer, ...]
    brought: tuple[Brought, ...] = ()  # by each version, newest first

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain data."""
        answers = {
            answer.question.value: {"said": answer.said, "findings": [found.to_json() for found in answer.findings]}
            for answer in self.answers
        }
        about = {"model": self.model, "at": self.at.isoformat(), "production": self.production}
        return about | answers | {"brought": [each.to_json() for each in self.brought]}


def why(model: str, at: datetime, *, ports: Ports) -> Explanation:
    """Explain what a model did and did not do, as of a time.

    Raises
    ------
    UnknownModelError
        No spec was ever applied under the name.
    """
    ports.ledger.read(model)
    notes = [
        note
        for kind in ("retraining", "wish", "shadow", "online")
        for note in newest_notes(model, kind, at, ports=ports, limit=_FOUND)  # a sentinel's are told apart later
    ]
    return explain(model, ports.ledger.history(model), notes, at)


def explain(model: str, history: History, notes: Iterable[Mapping[str, Any]], at: datetime) -> Explanation:
    """Answer each question from the events and notes at or before a time.

    Parameters
    ----------
    model : str
    history : History
    notes : iterable of mapping
        Evaluations and comparisons as the ledger tells them.
    at : datetime
        What came later is not known yet.
    """
    known, notes = history.until(at), [note for note in notes if _time(note) <= at]
    state = ModelState(model)
    watching: dict[int, bool] = {}
    for _, state in known.states():
        watching[state.epoch] = state.shadow is not None and state.shadow.role is ShadowRole.SENTINEL
    findings: dict[Question, list[Finding]] = {question: [] for question in Question}
    evaluated = set()
    for note in notes:
        time = _time(note)
        if event_json.tells_of(note, "shadow"):
            question = Question.ROLLBACK if watching.get(note["epoch"], False) else Question.PROMOTION
        elif event_json.tells_of(note, "online"):
            question = Question.RETRAINING
        else:
            question = Question.RETRAINING
            evaluated.add(time)
        findings[question].append(Finding.of_note(note))
    for entry in known:
        asked = _ASKED.get(type(entry.event))
        # An evaluation's note says the same as the event it led to, and more.
        if asked is not None and not (isinstance(entry.event, _EVALUATED) and entry.time in evaluated):
            findings[asked].append(Finding.of(entry))
    answers = []
    for question, found in findings.items():
        newest = tuple(sorted(found, key=lambda finding: finding.time)[::-1][:_FOUND])
        answers.append(Answer(question, _said(question, state, newest), newest))
    worth = brought(known, sorted(notes, key=_time))[::-1][:_FOUND]
    return Explanation(model, at, state.production, tuple(answers), worth)


_EVALUATED = (RetrainingRequested, RetrainingHeldBack)
_OF_A_CHECKPOINT = event_json.NOTE_TYPES["online"]
_ASKED: Mapping[type[Any], Question] = {
    RetrainingRequested: Question.RETRAINING,
    RetrainingHeldBack: Question.RETRAINING,
    TrainingFailed: Question.RETRAINING,
    CandidateRejected: Question.PROMOTION,
    CandidateRegistered: Question.PROMOTION,
    ShadowStarted: Question.PROMOTION,
    PromotionProposed: Question.PROMOTION,
    PromotionApproved: Question.PROMOTION,
    CandidateRetired: Question.PROMOTION,
    VersionPromoted: Question.PROMOTION,
    BakePassed: Question.ROLLBACK,
    RollbackDecided: Question.ROLLBACK,
    RollbackImpossible: Question.ROLLBACK,
    VersionRolledBack: Question.ROLLBACK,
    RepointFailed: Question.PROMOTION,
}


def _time(item: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(item["time"])


_NO_EVIDENCE = frozenset({"model", "epoch", "type", "time", "because", "actor", "hash", "checks", "evidence"})


def _beside(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is told beside the sentence and its evidence."""
    return {key: value for key, value in told.items() if key not in _NO_EVIDENCE}


def _said(question: Question, state: ModelState, findings: Sequence[Finding]) -> str:
    if not state.epoch:
        return "the model was not known then"
    match question:
        case Question.RETRAINING:
            return _of_retraining(state, findings)
        case Question.PROMOTION:
            return _of_promotion(state, findings)
        case Question.ROLLBACK:
            return _of_rollback(state, findings)


def _of_retraining(state: ModelState, findings: Sequence[Finding]) -> str:
    findings = [found for found in findings if found.what != _OF_A_CHECKPOINT]
    if not findings:
        return "not retrained: nothing has been evaluated and nobody has asked for it"
    newest = findings[0]
    match newest.event:
        case TrainingFailed(final=final):
            last = "it is not tried again" if final else "it is tried again"
            return f"the training failed, {last}: {newest.because}"
        case RetrainingRequested(trigger=trigger):
            return f"retrained because of {trigger}: {newest.because}"
        case RetrainingHeldBack(would_have=would_have):
            return f"not retrained, {would_have} was held back: {newest.because}"
        case _:
            pass
    if newest.fields.get("retrain"):
        return f"retrained because of {newest.fields.get('trigger')}: {newest.because}"
    if newest.fields.get("trigger") is not None:
        return f"not retrained, {newest.fields['trigger']} was held back: {newest.because}"
    return f"not retrained: {newest.because}"


def _of_promotion(state: ModelState, findings: Sequence[Finding]) -> str:
    if not findings:
        return "not promoted: no version has been trained"
    newest = findings[0]
    version = newest.fields.get("version")
    if state.proposal is not None:
        return f"version {state.proposal.version} is proven and waits for approval: {newest.because}"
    match newest.event:
        case CandidateRejected():
            return f"not promoted, the trained model failed its gate: {newest.because}"
        case CandidateRegistered():
            return f"version {version} is not promoted yet, it waits for its time in shadow: {newest.because}"
        case CandidateRetired(superseded_by=None):
            return f"version {version} is not promoted: {newest.because}"
        case CandidateRetired(superseded_by=newer):
            return f"version {version} gave way to version {newer}, which waits for its time in shadow"
        case PromotionApproved():
            return f"version {version} is to be promoted: {newest.because}"
        case VersionPromoted():
            approved = next((found for found in findings if isinstance(found.event, PromotionApproved)), newest)
            return f"version {version} was promoted: {approved.because}"
        case RepointFailed():
            return f"version {version} was not promoted, the endpoint went back by itself: {newest.because}"
        case ShadowStarted():
            return f"version {version} is not promoted yet, it has just begun to run in shadow"
        case _:
            verdict = newest.fields.get("verdict", "")
            return f"version {version} is not promoted yet, the verdict is {verdict}: {newest.because}"


def _of_rollback(state: ModelState, findings: Sequence[Finding]) -> str:
    if state.production is None:
        return "not rolled back: nothing is in production"
    events = [found.event for found in findings]
    back = next((event for event in events if isinstance(event, RollbackDecided | RollbackImpossible)), None)
    out = next((event for event in events if isinstance(event, VersionRolledBack)), None)
    bake = state.bake
    if isinstance(back, RollbackImpossible) and back.version == state.production:
        return f"version {state.production} is bad and not rolled back: {back.because}"
    if out is not None and back is not None and out.to_version == state.production:
        return f"version {out.version} was rolled back to {state.production}: {back.because}"
    if state.repoint is not None and state.repoint.cause is not None and back is not None:
        return f"version {state.production} is being rolled back to {state.repoint.version}: {back.because}"
    if bake is not None:
        since = f"version {bake.version} is in its {bake.phase} bake since {bake.since:%Y-%m-%d %H:%M}"
        return f"not rolled back: {since}, and nothing proves it bad"
    newest = f": {findings[0].because}" if findings else ""
    return f"not rolled back: version {state.production} has passed its bakes{newest}"
