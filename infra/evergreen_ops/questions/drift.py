"""Does one file look different from another, column by column? Two files in, an answer with its evidence out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.errors import UsageError
from evergreen.statistics.drift import MIN_ROWS, ColumnDrift, Drift, detect
from evergreen.statistics.profile import (
    MISSING,
    Binning,
    CategoryBins,
    CategoryColumn,
    Kind,
    NumberBins,
    NumberColumn,
    Profile,
)
from evergreen_ops import tables
from evergreen_ops.tables import Instants, TableError, is_text

USUAL_TIMES = ("event_time", "time", "timestamp")
NEVER_JUDGED = ("label_time",)
NO_TIME = "none"
WEEK = timedelta(days=7)
SAMPLE_ROWS = 50_000
MOST_CYCLES = 1_000
NEARLY_WHOLE = 0.05
"""A last cycle that lacks less than this share of its length counts as whole: data ends before its last midnight."""
MOSTLY_NUMBERS = 0.5
TESTED = (
    "a column drifts when its score is over 0.1, and over what chance gives so few rows, and its test says p < 0.01"
)
_NUMBER = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$"
_TIME = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?$"

Batches = Iterator[pa.RecordBatch]


class DriftError(UsageError):
    """A question about two files that can't be answered as it was asked; one sentence says what to change."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to compare, and how.

    Attributes
    ----------
    reference, current : Path
        The two files.
    time : str or None
        Column of the instants; None looks for one of the usual names, "none" uses no times.
    cycle : timedelta
        The reference is cut into whole cycles of this length, which calibrate the thresholds.
    columns, exclude, categorical : tuple of str
        Judge these alone; leave these out; take these as categories though they are numbers.
    threshold : float
        The share of shifted columns that is drift.
    """

    reference: Path
    current: Path
    time: str | None = None
    cycle: timedelta = WEEK
    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    threshold: float = 0.3


@dataclass(frozen=True, slots=True)
class Side:
    """One file as it was counted.

    Attributes
    ----------
    rows : int
        Rows that were counted.
    cycles : mapping of int to Profile
        By number of cycle from the reference's first instant; one alone, numbered 0, where no times are used.
    means : mapping of str to float
        Mean of each number column's finite values; NaN where there is none.
    first, last : numpy.datetime64 or None
        The instants of the first and the last row.
    """

    rows: int
    cycles: Mapping[int, Profile]
    means: Mapping[str, float]
    first: np.datetime64 | None = None
    last: np.datetime64 | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One column: the distance, how much is missing, and what moved."""

    drift: ColumnDrift
    missing_reference: float
    missing_current: float
    how: str

    @property
    def ratio(self) -> float:
        """The score in thresholds."""
        return self.drift.score / self.drift.threshold


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer, and all that a page or a table shows of it.

    Attributes
    ----------
    drift : Drift
        What the statistics say.
    findings : tuple of Finding
        Most drifted first; empty when there is too little data.
    left_out : mapping of str to str
        Columns that were not judged, and why.
    notes : tuple of str
        What the reader should know of how it was done, one sentence each.
    time : str or None
        The column that cut the reference into cycles.
    calibration : tuple of Profile
        The reference, one profile a cycle.
    """

    question: Question
    drift: Drift
    findings: tuple[Finding, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    time: str | None
    reference: Side
    current: Side
    calibration: tuple[Profile, ...] = field(repr=False)

    @property
    def calibrated(self) -> bool:
        """Whether the thresholds come from the reference's own cycles."""
        return len(self.calibration) >= 2

    @property
    def answer(self) -> str:
        """The first line: drift, no drift or insufficient data, in words."""
        return _answer(self)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data; a score is a distance, so higher is worse."""
        return {
            "status": self.drift.status.value,
            "drift": self.drift.drift,
            "answer": self.answer,
            "drifted": [f.drift.name for f in self.findings if f.drift.drifted],
            "share": self.drift.share,
            "drift_threshold": self.drift.drift_threshold,
            "rows": {"reference": self.reference.rows, "current": self.current.rows},
            "time": self.time,
            "cycles": self.drift.cycles if self.calibrated else 0,
            "cycle_days": self.question.cycle / timedelta(days=1),
            "columns": [_column_json(finding, self) for finding in self.findings],
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
        }


def compare(question: Question) -> Comparison:
    r"""Compare two files.

    Raises
    ------
    TableError
        A file can't be read, or lacks a column that was named.
    DriftError
        Nothing is left to judge, or an option doesn't fit the files.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, km in (("may.csv", 3), ("june.csv", 9)):
    ...     _ = (folder / name).write_text("km\n" + "".join(f"{km + i % 5}\n" for i in range(200)))
    >>> found = compare(Question(folder / "may.csv", folder / "june.csv"))
    >>> found.answer, found.findings[0].how
    ('drift: 1 of 1 column drifted (km)', 'mean moved from 5 to 11')
    """
    theirs, ours = tables.schema(question.reference), tables.schema(question.current)
    columns = _Columns.of(question, theirs, ours)
    survey = _Survey.of(question, columns)
    columns.leave_out(survey)
    kinds = {name: columns.kind(name, survey) for name in columns.judged}
    if not kinds:
        why = "; ".join(f"'{name}': {reason}" for name, reason in columns.left_out.items()) or "there is none"
        raise DriftError(f"no column is left to judge ({why}): name some with --columns")
    binning = Binning.fit(_converted(survey.sample, kinds), kinds)
    cut = _Cut.of(question, survey)
    reference = _counted(question.reference, theirs, kinds, binning, cut)
    current = _counted(question.current, ours, kinds, binning, cut)
    calibration = cut.whole(reference.cycles)
    reference_rows = sum(profile.rows for profile in calibration)
    found = detect(calibration, Profile.total(current.cycles.values()), drift_threshold=question.threshold)
    reference = Side(reference_rows, reference.cycles, reference.means, reference.first, reference.last)
    comparison = Comparison(
        question=question,
        drift=found,
        findings=(),
        left_out=MappingProxyType(columns.left_out),
        notes=(*columns.notes, *_notes(question, survey, cut, reference, current, found)),
        time=cut.time,
        reference=reference,
        current=current,
        calibration=calibration,
    )
    return _with_findings(comparison, set(theirs.names) - set(ours.names))


# which columns


@dataclass(slots=True)
class _Columns:
    """Which columns are judged, and why the others are not."""

    question: Question
    theirs: pa.Schema
    ours: pa.Schema
    judged: list[str]
    left_out: dict[str, str]
    notes: list[str]

    @classmethod
    def of(cls, question: Question, theirs: pa.Schema, ours: pa.Schema) -> _Columns:
        named = (*question.columns, *question.exclude, *question.categorical)
        for name in named:
            if name not in theirs.names and name not in ours.names:
                raise DriftError(f"neither file has a column '{name}': name one of {', '.join(theirs.names[:30])}")
        for name in question.columns:
            if name not in theirs.names:
                raise DriftError(f"{question.reference} has no column '{name}': there is nothing to compare it with")
        asked = question.time if question.time not in (None, NO_TIME) else None
        if asked is not None and asked not in theirs.names:
            raise DriftError(f"{question.reference} has no column '{asked}' for --time: name one of its, or none")
        columns = cls(question, theirs, ours, [], {}, [])
        for field_ in theirs:
            why_not = columns._why_not(field_, asked)
            if why_not is None:
                columns.judged.append(field_.name)
            elif why_not:
                columns.left_out[field_.name] = why_not
        extra = [name for name in ours.names if name not in theirs.names and name not in question.exclude]
        for name in extra if not question.columns else ():
            columns.left_out[name] = "it is only in CURRENT"
        return columns

    def _why_not(self, theirs: pa.Field, time: str | None) -> str | None:
        """Say why a column isn't judged; nothing at all about one that the user ruled out."""
        name, question = theirs.name, self.question
        if name in question.exclude or (question.columns and name not in question.columns):
            return ""
        if name == time or name in NEVER_JUDGED:
            return "it holds times"
        types = [theirs.type] + ([self.ours.field(name).type] if name in self.ours.names else [])
        for kind in map(_plain, types):
            if pa.types.is_temporal(kind):
                return "it holds times"
            if not (_is_number(kind) or is_text(kind)):
                return f"its type {kind} is neither number nor text"
        return None

    def leave_out(self, survey: _Survey) -> None:
        """Leave out what no one would call a feature, unless it was named."""
        times = {survey.time} - {None}
        for name in list(self.judged):
            why = "it holds times" if name in times else survey.why_no_feature(name)
            if why is not None and (name in times or name not in self.question.columns):
                self.judged.remove(name)
                self.left_out[name] = why

    def kind(self, name: str, survey: _Survey) -> Kind:
        """Whether a column is judged as a number or as categories; a note where the two files disagree."""
        if name in self.question.categorical:
            return "categorical"
        theirs = _plain(self.theirs.field(name).type)
        ours = _plain(self.ours.field(name).type) if name in self.ours.names else theirs
        if is_text(theirs) == is_text(ours) or pa.types.is_null(theirs) or pa.types.is_null(ours):
            return "categorical" if is_text(theirs) or is_text(ours) else "number"
        texts = survey.sample[name] if is_text(theirs) else _peek(self.question.current, name)
        where, other = ("REFERENCE", "CURRENT") if is_text(theirs) else ("CURRENT", "REFERENCE")
        if _share_of_numbers(texts) >= MOSTLY_NUMBERS:
            self.notes.append(
                f"'{name}' is text in {where} and a number in {other}: judged as a number, text that is none is missing"
            )
            return "number"
        self.notes.append(f"'{name}' is text in {where} and a number in {other}: judged as categories")
        return "categorical"


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def _peek(path: Path, name: str) -> pa.ChunkedArray:
    batch = next(tables.batches(path, [name]), None)
    return pa.chunked_array([] if batch is None else [batch.column(0)], pa.string() if batch is None else None)


def _share_of_numbers(texts: pa.ChunkedArray) -> float:
    plain = texts.cast(pa.string())
    share = pc.mean(pc.match_substring_regex(plain, _NUMBER).cast(pa.int8())).as_py()
    return share or 0.0


def _converted(rows: pa.RecordBatch | pa.Table, kinds: Mapping[str, Kind]) -> pa.RecordBatch | pa.Table:
    """Return the judged columns as their kind; one that isn't there is left to count as missing."""
    names = [name for name in kinds if name in rows.schema.names]
    return type(rows).from_arrays([_as_kind(rows.column(name), kinds[name]) for name in names], names=names)


def _as_kind(values: Any, kind: Kind) -> Any:
    text = is_text(_plain(values.type))
    if kind == "categorical":
        if not text:
            return values if pa.types.is_null(values.type) else _number_names(values)
        return values.cast(pa.string()) if pa.types.is_string_view(values.type) else values
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not text:
        return values.cast(pa.float32()) if pa.types.is_float16(values.type) else values
    plain = values.cast(pa.string())
    numbers = pc.if_else(pc.match_substring_regex(plain, _NUMBER), pc.utf8_trim_whitespace(plain), None)
    return numbers.cast(pa.float64())


def _number_names(values: Any) -> Any:
    """Return numbers as names of categories; 3 and 3.0 are one."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    named = []
    for chunk in chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        names = [None if value is None else _number_name(value) for value in encoded.dictionary.to_pylist()]
        named.append(pa.array(names, pa.string()).take(encoded.indices))
    return pa.chunked_array(named, pa.string()) if isinstance(values, pa.ChunkedArray) else named[0]


def _number_name(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    number = float(value)
    if math.isnan(number):
        return None
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else str(value)


# the first look at the reference


@dataclass(slots=True)
class _Survey:
    """What one pass over the reference finds out: rows to learn bins from, the span of time, row numbers.

    The sample is drawn by chance, not by stride, so that no rhythm in the rows hides a category from it.
    """

    rows: int
    sample: pa.Table
    rising: frozenset[str]
    time: str | None
    first: np.datetime64 | None
    last: np.datetime64 | None

    @classmethod
    def of(cls, question: Question, columns: _Columns) -> _Survey:
        time = _time_column(question, columns.theirs)
        names = list(dict.fromkeys([*columns.judged, *([time] if time else [])]))
        sample = _Sample(pa.schema([columns.theirs.field(name) for name in names]))
        rising = {name: _Rising() for name in columns.judged}
        span = _Span()
        for batch in tables.batches(question.reference, names):
            sample.add(batch)
            for name, so_far in list(rising.items()):
                if not so_far.goes_on(batch.column(name)):
                    del rising[name]
            if time:
                span.add(tables.instants(batch.column(time), time))
        if sample.seen < 2:
            rising.clear()
        return cls(sample.seen, sample.table(), frozenset(rising), time, span.first, span.last)

    def why_no_feature(self, name: str) -> str | None:
        """Say why a column is an id or a row number, if it is one."""
        if name in self.rising:
            return "its values rise with every row, as a row number's do"
        values = self.sample[name]
        if not is_text(_plain(values.type)) or len(values) < MIN_ROWS:
            return None
        known = values.cast(pa.string()).drop_null()
        if len(known) and pc.all(pc.match_substring_regex(known, _TIME)).as_py():
            return "it holds times"
        if len(known) >= MIN_ROWS and pc.count_distinct(known).as_py() == len(known):
            return "it is different in every row, as an id is"
        return None


def _time_column(question: Question, theirs: pa.Schema) -> str | None:
    """Return the column that was named, or the first usual one whose values are instants."""
    if question.time == NO_TIME:
        return None
    if question.time is not None:
        return question.time
    for name in USUAL_TIMES:
        if name in theirs.names:
            batch = next(tables.batches(question.reference, [name]), None)
            try:
                found = batch is not None and tables.instants(batch.column(0), name)
            except TableError:
                continue  # a column called time that counts seconds from somewhere is a number like any other
            if found is not False and not np.isnat(found).all():
                return name
    return None


class _Sample:
    """Rows drawn by chance from a stream of unknown length, never more than twice as many as wanted."""

    def __init__(self, schema: pa.Schema) -> None:
        self.seen = 0
        self._schema = schema
        self._kept: list[pa.RecordBatch] = []
        self._share = 1.0
        self._random = np.random.default_rng(0)

    def add(self, batch: pa.RecordBatch) -> None:
        self.seen += batch.num_rows
        self._kept.append(self._drawn(batch, self._share))
        while sum(kept.num_rows for kept in self._kept) > SAMPLE_ROWS:
            self._share /= 2.0
            self._kept = [self._drawn(kept, 0.5) for kept in self._kept]

    def _drawn(self, batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
        if share == 1.0:
            return batch
        return batch.take(_places(np.flatnonzero(self._random.random(batch.num_rows) < share)))

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self._kept, schema=self._schema)


class _Rising:
    """Whether a column's whole numbers or texts have risen with every row so far."""

    def __init__(self) -> None:
        self._last: Any = None

    def goes_on(self, values: pa.Array) -> bool:
        if not len(values):
            return True
        if values.null_count or not (
            pa.types.is_integer(values.type)
            or pa.types.is_float32(values.type)
            or pa.types.is_float64(values.type)
            or pa.types.is_string(values.type)
            or pa.types.is_large_string(values.type)
        ):
            return False
        first, before = values[0], self._last
        self._last = values[-1]
        if before is not None and not first.as_py() > before.as_py():
            return False
        if not pc.all(pc.greater(values[1:], values[:-1]), min_count=0).as_py():
            return False
        return not pa.types.is_floating(values.type) or bool(pc.all(pc.equal(pc.floor(values), values)).as_py())


class _Span:
    """First and last instant seen."""

    def __init__(self) -> None:
        self.first: np.datetime64 | None = None
        self.last: np.datetime64 | None = None

    def add(self, times: Instants) -> None:
        known = times[~np.isnat(times)]
        if not len(known):
            return
        low, high = known.min(), known.max()
        self.first = low if self.first is None else min(self.first, low)
        self.last = high if self.last is None else max(self.last, high)


# counting


@dataclass(frozen=True, slots=True)
class _Cut:
    """How times become numbers of cycles. Cycles end where the reference ends: its oldest rows are the odd ones out."""

    time: str | None
    start: np.datetime64
    length: np.timedelta64
    cycles: int

    @classmethod
    def of(cls, question: Question, survey: _Survey) -> _Cut:
        length = np.timedelta64(question.cycle)
        if survey.time is None or survey.first is None or survey.last is None:
            return cls(None, np.datetime64(0, "us"), length, 0)
        span = (survey.last - survey.first) / length
        cycles = math.floor(span + NEARLY_WHOLE)
        if cycles > MOST_CYCLES:
            raise DriftError(
                f"--cycle cuts the reference into {cycles:,} cycles, over {MOST_CYCLES:,}: give a longer one"
            )
        end = survey.last + np.timedelta64(1, "us")
        start = min(survey.first, end) if cycles < 2 else end - cycles * length
        return cls(survey.time, start, length, cycles)

    def number(self, times: Instants) -> npt.NDArray[np.int64]:
        """Return each row's cycle: 0 is the first whole one of the reference; the smallest number where unknown."""
        unknown = np.isnat(times)
        numbers: npt.NDArray[np.int64] = np.floor_divide(np.where(unknown, self.start, times) - self.start, self.length)
        numbers[unknown] = np.iinfo(np.int64).min
        return numbers

    @property
    def calibrates(self) -> bool:
        """Whether there are enough whole cycles to calibrate by."""
        return self.cycles >= 2

    def whole(self, profiles: Mapping[int, Profile]) -> tuple[Profile, ...]:
        """Return the reference's whole cycles, or all of it as one."""
        if not self.calibrates:
            return (Profile.total(profiles.values()),)
        return tuple(profiles[number] for number in sorted(profiles) if 0 <= number < self.cycles)


def _counted(path: Path, schema: pa.Schema, kinds: Mapping[str, Kind], binning: Binning, cut: _Cut) -> Side:
    """Profile a file, by cycle where it has times."""
    time = cut.time if cut.time in schema.names else None
    names = [name for name in kinds if name in schema.names]
    profiles: dict[int, Profile] = {0: Profile.empty(binning)}
    means, span, rows = _Means(kinds), _Span(), 0
    for batch in tables.batches(path, [*names, *([time] if time else [])]):
        rows += batch.num_rows
        converted = _converted(batch, kinds) if names else batch.select([])
        means.add(converted)
        times = None if time is None else tables.instants(batch.column(time), time)
        if times is not None:
            span.add(times)
        for number, part in _parts(converted, times, cut):
            counted = Profile.count(part, binning) if names else _all_missing(binning, batch.num_rows)
            profiles[number] = profiles[number] + counted if number in profiles else counted
    return Side(rows, MappingProxyType(profiles), means.found(), span.first, span.last)


def _all_missing(binning: Binning, rows: int) -> Profile:
    nothing = {column.name: [None] * rows for column in binning.columns[:1]}
    return Profile.count(nothing, binning)


def _parts(batch: pa.RecordBatch, times: Instants | None, cut: _Cut) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch by cycle."""
    if times is None:
        yield 0, batch
        return
    numbers = cut.number(times)
    if np.any(numbers[1:] < numbers[:-1]):
        order = np.argsort(numbers, kind="stable")
        numbers, batch = numbers[order], batch.take(_places(order))
    edges = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1, append=numbers[-1:] + 1))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield int(numbers[start]), batch.slice(start, end - start)


def _places(numbers: npt.NDArray[np.int64]) -> pa.Array:
    """Return numpy's integers as Arrow's; ``pa.array`` would import pandas where that is installed."""
    whole = np.ascontiguousarray(numbers, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole)])


class _Means:
    """Sums of each number column's finite values."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._sums = {name: (0.0, 0) for name, kind in kinds.items() if kind == "number"}

    def add(self, batch: pa.RecordBatch) -> None:
        for name, (total, count) in self._sums.items():
            if name not in batch.schema.names:
                continue
            values = batch.column(name)
            if not pa.types.is_float64(values.type):
                values = values.cast(pa.float64(), safe=False)
            summed, number = pc.sum(values).as_py() or 0.0, len(values) - values.null_count
            if not math.isfinite(summed):
                finite = values.filter(pc.is_finite(values))
                summed, number = pc.sum(finite).as_py() or 0.0, len(finite)
            self._sums[name] = (total + summed, count + number)

    def found(self) -> Mapping[str, float]:
        return MappingProxyType(
            {name: total / count if count else math.nan for name, (total, count) in self._sums.items()}
        )


# words


def _answer(found: Comparison) -> str:
    drift = found.drift
    judged = f"{len(found.findings)} column{'' if len(found.findings) == 1 else 's'}"
    if drift.drift is None:
        name, rows = min(
            (("CURRENT", found.current.rows), ("REFERENCE", found.reference.rows)), key=lambda side: side[1]
        )
        return f"insufficient data: {name} has {rows:,} row{'' if rows == 1 else 's'}, and {MIN_ROWS} are needed"
    drifted = [finding.drift.name for finding in found.findings if finding.drift.drifted]
    if drifted:
        names = ", ".join(drifted[:10]) + (", ..." if len(drifted) > 10 else "")
        return f"drift: {len(drifted)} of {judged} drifted ({names})"
    if drift.drift:
        shifted = sum(finding.drift.shifted for finding in found.findings)
        return (
            f"drift: {shifted} of {judged} shifted, a share of {percent(drift.share or 0.0)} where "
            f"{percent(drift.drift_threshold)} is drift; none is beyond its own threshold"
        )
    return f"no drift: none of {judged} drifted"


def _notes(
    question: Question, survey: _Survey, cut: _Cut, reference: Side, current: Side, found: Drift
) -> Iterator[str]:
    cycle = in_words(question.cycle)
    if cut.calibrates:
        dropped = survey.rows - reference.rows
        rest = f"; its other {dropped:,} rows, in no whole cycle, are not used" if dropped else ""
        yield f"thresholds are calibrated on {found.cycles} whole cycles of {cycle} of REFERENCE, by '{cut.time}'{rest}"
    elif cut.time is not None:
        yield (f"REFERENCE spans {in_words(_span(reference))}, less than two cycles of {cycle}: {TESTED}")
    else:
        yield f"without times, {TESTED}"
    if cut.calibrates and current.first is not None and _span(current) < (1 - NEARLY_WHOLE) * question.cycle:
        spans = in_words(_span(current))
        yield f"CURRENT spans {spans}, less than a cycle of {cycle}: the hour or the day alone may make it differ"
    if cut.time is not None and current.first is None:
        yield f"CURRENT has no times in '{cut.time}'"


def _span(side: Side) -> timedelta:
    if side.first is None or side.last is None:
        return timedelta(0)
    return timedelta(microseconds=int((side.last - side.first).astype(np.int64)))


def in_words(time: timedelta) -> str:
    """Return a duration in its largest unit.

    Examples
    --------
    >>> in_words(timedelta(days=7)), in_words(timedelta(hours=36)), in_words(timedelta(minutes=1))
    ('7 days', '1.5 days', '1 minute')
    """
    seconds = time.total_seconds()
    for unit, size in (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0)):
        if seconds >= size:
            number = f"{seconds / size:.3g}"
            return f"{number} {unit}{'' if number == '1' else 's'}"
    return f"{seconds:.3g} seconds"


def _with_findings(found: Comparison, gone: set[str]) -> Comparison:
    if not found.drift.columns:
        return found
    reference, current = Profile.total(found.calibration), Profile.total(found.current.cycles.values())
    findings = []
    for column in found.drift.columns:
        missing = reference.missing(column.name) / reference.rows, current.missing(column.name) / current.rows
        if column.name in gone:
            how = "it is not in CURRENT: missing in every row"
        elif column.kind == "wasserstein":
            how = _how_number(column, found, reference, current, *missing)
            if "missing" not in how and abs(missing[1] - missing[0]) > 0.05:
                how += f"; missing from {percent(missing[0])} to {percent(missing[1])}"
        else:
            how = _how_category(column.name, reference, current)
        findings.append(Finding(column, *missing, how))
    findings.sort(key=lambda finding: (not finding.drift.drifted, -finding.ratio, finding.drift.name))
    return replace(found, findings=tuple(findings))


def _how_number(
    column: ColumnDrift, found: Comparison, reference: Profile, current: Profile, before: float, after: float
) -> str:
    if abs(after - before) >= 0.9 * column.score and column.score > 0.01:
        return f"missing from {percent(before)} to {percent(after)}"
    a, b = found.reference.means[column.name], found.current.means[column.name]
    if math.isnan(a) or math.isnan(b):
        return "no finite values to compare"
    old, new = spread_of(reference, column.name), spread_of(current, column.name)
    if old == 0.0 and column.score > 0.0:
        return f"always {figure(a)}, now something else in {percent(column.score)} of the rows"
    if found.drift.drift and column.score > 0.05 and abs(b - a) < 0.5 * column.score * (old or 1.0):
        if abs(new - old) > 0.1 * max(new, old):
            return f"standard deviation from {figure(old)} to {figure(new)}, mean from {figure(a)} to {figure(b)}"
        return f"the shape changed; mean from {figure(a)} to {figure(b)}"
    moved = "moved from" if column.drifted else "from"
    return f"mean {moved} {figure(a)} to {figure(b)}"


def _how_category(name: str, reference: Profile, current: Profile) -> str:
    column = reference.binning.columns[reference.binning.index(name)]
    assert isinstance(column, CategoryColumn)
    before, after = (profile.column(name) / profile.rows for profile in (reference, current))
    moved = np.abs(after - before)
    most = int(np.argmax(moved if moved.any() else before))
    if most == CategoryBins.UNSEEN and before[most] == 0:
        return f"values that REFERENCE lacks from 0 % to {percent(after[most])}"
    return f"{category_name(column, most)} from {percent(before[most])} to {percent(after[most])}"


def category_name(column: CategoryColumn, place: int) -> str:
    """Return what a bin of a categorical column stands for.

    Examples
    --------
    >>> column = CategoryColumn("city", ("Oslo", "Rome"))
    >>> [category_name(column, place) for place in range(4)]
    ['missing', 'other values', "'Oslo'", "'Rome'"]
    """
    if place == MISSING:
        return "missing"
    if place == CategoryBins.UNSEEN:
        return "other values"
    return f"'{column.categories[place - CategoryBins.FIRST_CATEGORY]}'"


def spread_of(profile: Profile, name: str) -> float:
    """Return a number column's standard deviation, as its bins have it.

    Examples
    --------
    >>> binning = Binning.fit({"km": [2.0, 4.0]})
    >>> spread_of(Profile.count({"km": [2.0, 4.0]}, binning), "km")
    1.0
    """
    column = profile.binning.columns[profile.binning.index(name)]
    assert isinstance(column, NumberColumn)
    bins, counts = profile.sparse_column(name)
    finite = (bins >= NumberBins.FIRST_FINITE) & (bins < NumberBins.PLUS_INFINITY)
    values, weights = NumberBins.VALUES[bins[finite] - NumberBins.FIRST_FINITE] * column.step, counts[finite]
    if not weights.sum():
        return 0.0
    mean = np.average(values, weights=weights)
    return math.sqrt(float(np.average((values - mean) ** 2, weights=weights)))


def figure(value: float) -> str:
    """Return a number with four figures.

    Examples
    --------
    >>> figure(1234567.0), figure(12.3456), figure(0.0000123), figure(3.0), figure(-0.5)
    ('1.235e+06', '12.35', '1.23e-05', '3', '-0.5')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share in percent.

    Examples
    --------
    >>> percent(0.1234), percent(0.0), percent(0.00002)
    ('12.3 %', '0 %', 'under 0.1 %')
    """
    return f"{100 * share:.3g} %" if share >= 0.001 or share == 0 else "under 0.1 %"


def _column_json(finding: Finding, found: Comparison) -> dict[str, Any]:
    drift = finding.drift
    means = {
        f"mean_{side}": None if math.isnan(mean) else mean
        for side, mean in (
            ("reference", found.reference.means.get(drift.name, math.nan)),
            ("current", found.current.means.get(drift.name, math.nan)),
        )
    }
    return {
        "column": drift.name,
        "kind": drift.kind,
        "score": drift.score,
        "threshold": drift.threshold,
        "direction": drift.direction,
        "p_value": drift.p_value,
        "drifted": drift.drifted,
        "shifted": drift.shifted,
        "missing_reference": finding.missing_reference,
        "missing_current": finding.missing_current,
        **(means if drift.kind == "wasserstein" else {}),
        "how": finding.how,
    }
