"""A version's live state as it is stored: numbered, with what it has learned and what it may still be asked about.

A row is learned once, by the id of its request: the state itself knows the ids of the rows that can still come again.
So what is learned is a function of the state before and of the files, whoever calls it and however often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.errors import EvergreenError
from evergreen.training.delays import Delays
from evergreen.training.live_bytes import (
    UNREADABLE,
    put_preparation,
    put_state,
    take_preparation,
    take_state,
)
from evergreen.training.live_state import Answered, Labels, LiveState, row_loss
from evergreen.training.live_version import LiveVersion
from evergreen.training.plain_arrays import Arrays, read, taken, write
from evergreen.training.recipe import Preparation

__all__ = ["Earlier", "LiveFile", "LiveRow", "LiveStateError", "StoredState", "learned", "reverted", "started"]

_MAGIC, _VERSION = b"EVGLIVE", 1
_DAYS_KEPT = 60
_MOST_KNOWN = 200_000
"""Ids of rows that are remembered: where more come within the horizon, one that comes again late is learned again."""
_MOST_FILES = 20_000
_AT_ONCE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class LiveStateError(EvergreenError, ValueError):
    """A live state that can't be used: changed, damaged, or of another release."""


@dataclass(frozen=True)
class Earlier:
    """A state that answered before: its number, from when on, and the hash of its bytes."""

    number: int
    since: datetime
    sha256: str


@dataclass(frozen=True)
class LiveRow:
    """A request whose label is known."""

    event_id: str
    time: datetime
    label_time: datetime
    features: Mapping[str, Any]
    actual: str | float
    states: Mapping[int, int] = field(default_factory=dict)  # that answered, by version, where it is known


@dataclass(frozen=True)
class LiveFile:
    """Labelled rows that were stored together, by a name that no other content has."""

    name: str
    rows: Sequence[LiveRow]

    def has_matured(self, until: datetime) -> bool:
        """Whether all its rows were asked by then."""
        return all(row.time <= until for row in self.rows)


@dataclass(frozen=True)
class Day:
    """Labelled rows of a day's requests, and what was said to them, fresh and plain: sums."""

    rows: int = 0
    fresh_right: int = 0
    plain_right: int = 0
    fresh_loss: float = 0.0
    plain_loss: float = 0.0

    def __add__(self, other: Day) -> Day:
        return Day(
            self.rows + other.rows,
            self.fresh_right + other.fresh_right,
            self.plain_right + other.plain_right,
            self.fresh_loss + other.fresh_loss,
            self.plain_loss + other.plain_loss,
        )


@dataclass(frozen=True, eq=False)
class StoredState:
    """A live state and what has to be known beside it.

    Parameters
    ----------
    version
        The version that it is of.
    number
        Counts the states of the version from 1.
    since
        From when on it answers.
    preparation
        Makes the linear model's inputs; the same for all that go on from one another.
    state
        What was learned.
    learned_until
        The newest request that was learned.
    files
        What this one learned beside the one before.
    known
        Hashes of the ids of rows that were learned and can come again, and when they were asked, microseconds; and
        hashes of the names of files.
    earlier
        The states before it that answered rows which may still be learned, oldest first.
    days
        What was said to rows that were learned, by the day of the request, the newest 60.
    horizon
        How long ago a row may have been asked that is still learned.
    late
        Rows that had been asked and were not learned.
    parent
        What the version's first state went on from: ``version 3, state 17``; empty: from its training.
    reverted_to
        The earlier state whose knowledge this one has, where a person took it back; 0: it learned.
    matured
        Rows that were asked later were not learned by this one, though their file is among `files`.
    delays
        How long the labels took that were learned.
    """

    version: int
    number: int
    since: datetime
    preparation: Preparation
    state: LiveState
    learned_until: datetime | None = None
    files: tuple[str, ...] = ()
    known: Mapping[str, npt.NDArray[Any]] = field(default_factory=lambda: _NOTHING)
    earlier: tuple[Earlier, ...] = ()
    days: Mapping[str, Day] = field(default_factory=dict)
    horizon: timedelta = timedelta(days=30)
    late: float = 0.0
    parent: str = ""
    reverted_to: int = 0
    matured: datetime | None = None
    delays: Delays = field(default_factory=Delays)

    def gains_by(self, file: LiveFile, matured: datetime) -> bool:
        """Whether a file brings rows to learn, or is done with."""
        if self.knows_file(file.name):
            return False
        ids = [row.event_id for row in file.rows if row.time <= matured]
        return file.has_matured(matured) or bool((~np.isin(_hashes(ids), self.known["rows"])).any())

    def knows_file(self, name: str) -> bool:
        """Whether the rows of a file were learned."""
        return _hashes([name]).item() in self._known_files

    @cached_property
    def _known_files(self) -> frozenset[int]:
        return frozenset(self.known["files"].tolist())

    def of_time(self, time: datetime) -> Earlier | int | None:
        """What answered at a time: an earlier state, this one (its number), or nothing yet; None also if forgotten."""
        if time >= self.since:
            return self.number
        return next((each for each in reversed(self.earlier) if time >= each.since), None)

    def of_row(self, row: LiveRow) -> Earlier | int | None:
        """What answered a row: the state that its capture names, or that of its time where it names none."""
        number = row.states.get(self.version)
        if number == self.number:
            return number
        return next((each for each in self.earlier if each.number == number), None) or self.of_time(row.time)

    # --- bytes --------------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return the bytes that :meth:`from_bytes` reads; the same for the same state."""
        arrays = Arrays()
        header = {
            "format": _VERSION,
            "version": self.version,
            "number": self.number,
            "since": self.since.isoformat(),
            "learned_until": None if self.learned_until is None else self.learned_until.isoformat(),
            "files": list(self.files),
            "known": {name: arrays.put(array) for name, array in sorted(self.known.items())},
            "earlier": [[each.number, each.since.isoformat(), each.sha256] for each in self.earlier],
            "days": {
                day: [one.rows, one.fresh_right, one.plain_right, one.fresh_loss, one.plain_loss]
                for day, one in self.days.items()
            },
            "horizon": self.horizon.total_seconds(),
            "late": self.late,
            "parent": self.parent,
            "reverted_to": self.reverted_to,
            "matured": None if self.matured is None else self.matured.isoformat(),
            "delays": arrays.put(self.delays.counts),
            "compared_with": arrays.put(self.delays.compared_with),
            "missed": arrays.put(self.delays.missed),
            "longest": arrays.put(self.delays.longest),
            "preparation": put_preparation(self.preparation, arrays),
            "state": put_state(self.state, arrays),
        }
        return write(_MAGIC, header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes, expected_sha256: str, version: LiveVersion) -> StoredState:
        """Read what :meth:`to_bytes` wrote; no pickle is ever loaded.

        Parameters
        ----------
        content
            The bytes.
        expected_sha256
            Their hash as it is recorded, hex.
        version
            Whose state it is: it holds the leaves.

        Raises
        ------
        LiveStateError
            The bytes are not those recorded, damaged, or of another version or release.
        """
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected_sha256:
            raise LiveStateError(
                f"the live state's sha256 is {actual}, but {expected_sha256} is recorded; it was changed after it was "
                "stored, so find out who wrote it, and revert to an earlier one"
            )
        try:
            header, joined = read(_MAGIC, content)
            if header["format"] != _VERSION:
                raise ValueError(f"its format is {header['format']}, this release reads {_VERSION}")
            state = take_state(header["state"], joined)
            if tuple(member.number for member in state.members) != version.numbers:
                raise ValueError("it is not of this version's members")
            until, matured = header["learned_until"], header["matured"]
            return cls(
                version=header["version"],
                number=header["number"],
                since=datetime.fromisoformat(header["since"]),
                preparation=take_preparation(header["preparation"], joined),
                state=version.going_on_from(state),
                learned_until=None if until is None else datetime.fromisoformat(until),
                files=tuple(header["files"]),
                known={name: taken(array, joined) for name, array in header["known"].items()},
                earlier=tuple(Earlier(n, datetime.fromisoformat(since), sha) for n, since, sha in header["earlier"]),
                days={day: Day(*sums) for day, sums in header["days"].items()},
                horizon=timedelta(seconds=header["horizon"]),
                late=header["late"],
                parent=header["parent"],
                reverted_to=header["reverted_to"],
                matured=None if matured is None else datetime.fromisoformat(matured),
                delays=_delays(header, joined),
            )
        except UNREADABLE as error:
            raise LiveStateError(f"the live state can't be read ({error}); revert to an earlier one") from error


def _delays(header: Mapping[str, Any], joined: bytes) -> Delays:
    if "compared_with" not in header:  # of an earlier release
        return Delays(taken(header["delays"], joined))
    return Delays(*(taken(header[name], joined) for name in ("delays", "compared_with", "missed", "longest")))


# --- starting and learning --------------------------------------------------------------------------------------------


def started(
    version: LiveVersion, number: int, parent: StoredState | None, *, now: datetime, horizon: timedelta
) -> StoredState:
    """The first state of a version: what another version's state knows, if they have members in common.

    Parameters
    ----------
    version
        Ready to be asked.
    number
        The version's.
    parent
        The state of the version in production.
    now
        From when on it answers.
    horizon
        How long ago a row may have been asked that is still learned.
    """
    if parent is None or parent.version not in version.numbers:
        return StoredState(number, 1, now, version.start.preparation, version.first_state(), horizon=horizon)
    return StoredState(
        version=number,
        number=1,
        since=now,
        preparation=parent.preparation,
        state=version.going_on_from(parent.state),
        learned_until=parent.learned_until,
        known=parent.known,
        delays=parent.delays,
        horizon=horizon,
        parent=f"version {parent.version}, state {parent.number}",
    )


def learned(
    before: StoredState,
    sha256: str,
    files: Sequence[LiveFile],
    *,
    version: LiveVersion,
    load: Callable[[Earlier], StoredState | None],
    late: float,
    matured: datetime,
    now: datetime,
) -> StoredState:
    """The state after it has learned files, in their order; rows that were learned before are left alone.

    So are rows whose like may still get labels: their file comes again.

    Parameters
    ----------
    before
        The state.
    sha256
        Of its bytes, hex.
    files
        None of which it knows.
    version
        Ready to be asked.
    load
        Reads an earlier state; None where it is gone: nobody is judged by what it said then.
    late
        Rows that have been asked and are not learned.
    matured
        Rows that were asked later are left for another time.
    now
        From when on the new state answers.
    """
    oldest = round((now - before.horizon - _EPOCH) / _MICROSECOND)
    known, state, days = _remembered(before.known, oldest), before.state, dict(before.days)
    until, delays = before.learned_until, before.delays
    for file in files:
        rows, known = _new_rows([row for row in file.rows if row.time <= matured], known, oldest)
        delays = delays.seen(_seconds(rows)) if rows else delays
        for place, some in groupby(rows, key=before.of_row):
            batch = list(some)
            then = before if place == before.number else load(place) if isinstance(place, Earlier) else None
            for begin in range(0, len(batch), _AT_ONCE):
                chunk = batch[begin : begin + _AT_ONCE]
                asked = version.asked([row.features for row in chunk], before.preparation)
                labels = _labels(chunk, version)
                said = None if then is None else then.state.answer(asked)
                state = state.learn(asked, said, labels, late)
                if said is not None:
                    _count(days, chunk, said, labels, state)
                    delays = delays.compared(_seconds(chunk), state.missed(said.plain, labels))
        until = max([row.time for row in rows] + ([] if until is None else [until]), default=None)
        if file.has_matured(matured):
            known = {**known, "files": np.concatenate([known["files"], _hashes([file.name])])[-_MOST_FILES:]}
    return replace(
        before,
        number=before.number + 1,
        since=now,
        state=state,
        learned_until=until,
        files=tuple(file.name for file in files),
        known=known,
        earlier=_still_needed((*before.earlier, Earlier(before.number, before.since, sha256)), now - before.horizon),
        days={day: days[day] for day in sorted(days)[-_DAYS_KEPT:]},
        late=late,
        reverted_to=0,
        matured=matured,
        delays=delays,
    )


def reverted(before: StoredState, sha256: str, to: StoredState, *, now: datetime) -> StoredState:
    """The state that knows what an earlier one knew; what was learned since is not learned again.

    Parameters
    ----------
    before, sha256
        The state, and the hash of its bytes.
    to
        The earlier one.
    now
        From when on the new state answers.
    """
    return replace(
        before,
        number=before.number + 1,
        since=now,
        state=to.state,
        files=(),
        matured=None,
        earlier=_still_needed((*before.earlier, Earlier(before.number, before.since, sha256)), now - before.horizon),
        reverted_to=to.number,
    )


def _new_rows(
    rows: Sequence[LiveRow], known: Mapping[str, npt.NDArray[Any]], oldest: int
) -> tuple[list[LiveRow], Mapping[str, npt.NDArray[Any]]]:
    """The rows to learn, oldest first, each id once; and what is known after it."""
    _, from_the_end = np.unique(_hashes([row.event_id for row in rows])[::-1], return_index=True)
    distinct = sorted((rows[-1 - place] for place in from_the_end), key=lambda row: (row.time, row.event_id))
    hashes = _hashes([row.event_id for row in distinct])
    times = np.array([round((row.time - _EPOCH) / _MICROSECOND) for row in distinct], dtype=np.int64)
    new = ~np.isin(hashes, known["rows"]) & (times >= oldest)
    kept = [row for row, is_new in zip(distinct, new, strict=True) if is_new]
    after = {
        **known,
        "rows": np.concatenate([known["rows"], hashes[new]])[-_MOST_KNOWN:],
        "times": np.concatenate([known["times"], times[new]])[-_MOST_KNOWN:],
    }
    return kept, after


def _remembered(known: Mapping[str, npt.NDArray[Any]], oldest: int) -> Mapping[str, npt.NDArray[Any]]:
    """Forget rows that are too old to be learned if they come again."""
    kept = known["times"] >= oldest
    return {**known, "rows": known["rows"][kept], "times": known["times"][kept]}


def _still_needed(earlier: Sequence[Earlier], oldest: datetime) -> tuple[Earlier, ...]:
    """Those that answered rows which may still be learned."""
    ends = [each.since for each in earlier[1:]]
    gone = sum(end < oldest for end in ends)
    return tuple(earlier[gone:])


def _labels(rows: Sequence[LiveRow], version: LiveVersion) -> Labels:
    classes = version.schema.classes
    if classes is None:
        return np.array([row.actual for row in rows], dtype=np.float64)
    code = {label: number for number, label in enumerate(classes)}
    return np.array([code[str(row.actual)] for row in rows], dtype=np.int64)


def _count(days: dict[str, Day], rows: Sequence[LiveRow], said: Answered, labels: Labels, state: LiveState) -> None:
    both = (said.fresh, said.plain)
    losses = [row_loss(answers, labels, state.classes) for answers in both]
    right = [answers.argmax(axis=1) == labels if state.classes else np.zeros(len(rows)) for answers in both]
    for number, row in enumerate(rows):
        day = f"{row.time.astimezone(timezone.utc):%Y-%m-%d}"
        one = Day(1, int(right[0][number]), int(right[1][number]), float(losses[0][number]), float(losses[1][number]))
        days[day] = days.get(day, Day()) + one


def _seconds(rows: Sequence[LiveRow]) -> npt.NDArray[np.float64]:
    return np.array([(row.label_time - row.time).total_seconds() for row in rows], dtype=np.float64)


def _hashes(names: Sequence[str]) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8")


_NOTHING: Mapping[str, npt.NDArray[Any]] = {
    "rows": np.zeros(0, dtype=np.uint64),
    "times": np.zeros(0, dtype=np.int64),
    "files": np.zeros(0, dtype=np.uint64),
}
