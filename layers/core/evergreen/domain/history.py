"""A model's history: its events in order, as types, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import takewhile
from typing import Any, cast, overload

from evergreen.domain import event_json
from evergreen.domain.model_events import (
    AnyEvent,
    CandidateRegistered,
    CandidateRejected,
    Event,
    PromotionApproved,
    RepointFailed,
    RetrainingRequested,
    RollbackDecided,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import ModelState
from evergreen.domain.transitions import transition
from evergreen.errors import UnknownVersionError, UnreadableEventError

_TrainingEnd = TrainingFailed | CandidateRejected | CandidateRegistered
_OF_TRAINING: tuple[type[TrainingStarted | _TrainingEnd], ...] = (
    TrainingStarted,
    TrainingFailed,
    CandidateRejected,
    CandidateRegistered,
)
_FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which one version answered every request."""

    start: datetime
    end: datetime

    def within(self, start: datetime, end: datetime) -> Span | None:
        """The part between two times; None where there is none."""
        first, last = max(self.start, start), min(self.end, end)
        return Span(first, last) if first < last else None


@dataclass(frozen=True)
class Entry[E: Event | None]:
    """An event and its place in the history, read from what is stored when it is first asked for.

    Attributes
    ----------
    model : str
    epoch : int
        Which event of the model it is.
    kind : str
        The name of its type; a newer release may have written one that this version has no type for.
    body : str
        Its fields as JSON, as they are stored.
    hash : str
        What ties it to the event before it.
    """

    model: str
    epoch: int
    kind: str
    body: str
    hash: str = ""

    @cached_property
    def event(self) -> E:
        """The event; None where this version does not know its type.

        Raises
        ------
        UnreadableEventError
            The type is known, and what is stored is none of it.
        """
        try:
            return cast("E", event_json.event_or_none(self.kind, self.body))
        except ValueError as error:
            raise UnreadableEventError(self.model, self.epoch, self.kind) from error

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Everything that is stored of the event, also what this version does not know of."""
        return event_json.fields_of(self.body)

    @property
    def time(self) -> datetime:
        """When it happened."""
        return datetime.fromisoformat(self.fields["time"])

    @property
    def because(self) -> str:
        """Why it happened."""
        return str(self.fields["because"])

    @property
    def document(self) -> dict[str, Any]:
        """The entry as people and programs are shown it."""
        return event_json.document(self.model, self.epoch, self.kind, self.body, self.hash)


AnyEntry = Entry[AnyEvent | None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A training job, and how it ended; None while it runs."""

    started: Entry[TrainingStarted]
    ended: _TrainingEnd | None


@dataclass(frozen=True, slots=True)
class History(Sequence[AnyEntry]):
    """The events of a model, oldest first.

    Examples
    --------
    >>> about = {"actor": "ada", "because": "it is better", "replaced": None, "endpoint": {}}
    >>> history = History.of_documents("churn", [
    ...     {"epoch": 1, "type": "VersionPromoted", "time": "2026-03-01T00:00:00Z", "version": 1, **about},
    ...     {"epoch": 2, "type": "WeatherNoticed", "time": "2026-03-02T00:00:00Z", "hail": True},
    ... ])
    >>> history.production, history.of(VersionPromoted)[0].time.day
    (1, 1)
    >>> history[1].event, history[1].fields["hail"]
    (None, True)
    """

    model: str
    entries: tuple[AnyEntry, ...] = ()

    @classmethod
    def of_documents(cls, model: str, documents: Iterable[Mapping[str, Any]]) -> History:
        """The history that was shown as documents."""
        return cls(model, tuple(Entry(model, *event_json.parts(document)) for document in documents))

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[AnyEntry]:
        return iter(self.entries)

    @overload
    def __getitem__(self, index: int) -> AnyEntry: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> AnyEntry | History:
        found = self.entries[index]
        return History(self.model, found) if isinstance(found, tuple) else found

    def entries_of[E: Event](self, *kinds: type[E]) -> tuple[Entry[E], ...]:
        """The entries of events of these types; no other is read."""
        names = {kind.__name__ for kind in kinds}
        return tuple(cast("Entry[E]", entry) for entry in self.entries if entry.kind in names)

    def of[E: Event](self, *kinds: type[E]) -> tuple[E, ...]:
        """The events of these types."""
        return tuple(entry.event for entry in self.entries_of(*kinds))

    @property
    def events(self) -> Iterator[AnyEvent]:
        """Every event whose type this version knows."""
        return (entry.event for entry in self.entries if entry.event is not None)

    def at(self, time: datetime) -> tuple[AnyEvent, ...]:
        """What happened at exactly this time."""
        return tuple(History(self.model, tuple(entry for entry in self.entries if entry.time == time)).events)

    def until(self, time: datetime) -> History:
        """What had happened by this time: the events before the first that is later.

        A late delivery's event can bear an earlier time than the event before it, and means nothing without that one.
        """
        return History(self.model, tuple(takewhile(lambda entry: entry.time <= time, self.entries)))

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The history as people and programs are shown it."""
        return [entry.document for entry in self.entries]

    def states(self) -> Iterator[tuple[AnyEntry, ModelState]]:
        """Each entry, with the state that the events up to it lead to.

        Raises
        ------
        UnreadableEventError
            What this version does not know may have changed the state in any way.
        """
        state = ModelState(self.model)
        for entry in self.entries:
            if entry.event is None:
                raise UnreadableEventError(entry.model, entry.epoch, entry.kind)
            state = transition(state, entry.event)
            yield entry, state

    @property
    def production(self) -> int | None:
        """The version that answers after the last event."""
        for event in reversed(self.of(VersionPromoted, VersionRolledBack)):
            match event:
                case VersionPromoted():
                    return event.version
                case VersionRolledBack():
                    return event.to_version
        return None

    def requested(self, decision_id: str) -> Entry[RetrainingRequested] | None:
        """The retraining that was decided under this id."""
        asked = self.entries_of(RetrainingRequested)
        return next((entry for entry in reversed(asked) if entry.event.decision_id == decision_id), None)

    def registration(self, version: int) -> Entry[CandidateRegistered]:
        """How the version became one.

        Raises
        ------
        UnknownVersionError
        """
        registered = {entry.event.version: entry for entry in self.entries_of(CandidateRegistered)}
        if version not in registered:
            raise UnknownVersionError(self.model, version, tuple(sorted(registered)))
        return registered[version]

    def attempts(self, decision_id: str) -> tuple[Attempt, ...]:
        """The jobs of one retraining: the next end that is told after a job's start is its own."""
        of_decision = [entry for entry in self.entries_of(*_OF_TRAINING) if entry.event.decision_id == decision_id]
        found: list[Attempt] = []
        for index, entry in enumerate(of_decision):
            if isinstance(entry.event, TrainingStarted):
                ends = (later.event for later in of_decision[index + 1 :])
                ended = next((end for end in ends if not isinstance(end, TrainingStarted)), None)
                found.append(Attempt(cast("Entry[TrainingStarted]", entry), ended))
        return tuple(found)

    def spans(self, version: int) -> Sequence[Span]:
        """When the version, and no other, answered: from when it had taken over until another was decided on.

        A SageMaker endpoint changes over hours, in which both versions answer: such a time is nobody's.

        Examples
        --------
        >>> one = {"actor": "ada", "because": "", "instead_of": 1, "evidence": {}, "replaced": None, "endpoint": {}}
        >>> history = History.of_documents("churn", [
        ...     one | {"epoch": 1, "type": "VersionPromoted", "time": "2026-03-01T00:00:00Z", "version": 1},
        ...     one | {"epoch": 2, "type": "PromotionApproved", "time": "2026-03-05T00:00:00Z", "version": 2},
        ...     one | {"epoch": 3, "type": "VersionPromoted", "time": "2026-03-05T01:00:00Z", "version": 2},
        ... ])
        >>> [(span.start.day, span.end.day) for span in history.spans(1)]
        [(1, 5)]
        >>> history.spans(2)[0].start.hour
        1
        """
        spans: list[Span] = []
        production: int | None = None
        since: datetime | None = None
        for event in self.of(PromotionApproved, RollbackDecided, VersionPromoted, VersionRolledBack, RepointFailed):
            match event:
                case PromotionApproved() | RollbackDecided():
                    if production == version and since is not None:
                        spans.append(Span(since, event.time))
                    since = None
                case VersionPromoted():
                    production, since = event.version, event.time
                case VersionRolledBack():
                    production, since = event.to_version, event.time
                case RepointFailed(cause=None):  # a rollback is tried again, nobody knows when
                    since = event.time
                case _:
                    pass
        if production == version and since is not None:
            spans.append(Span(since, _FOREVER))
        return spans
