"""Tables in files: Parquet, CSV and JSON Lines, gzipped or not, read whole or in batches of bounded size."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from evergreen.errors import EvergreenError, UsageError

Instants = npt.NDArray[np.datetime64]

ROWS_A_BATCH = 1 << 15
BYTES_A_BLOCK = 1 << 22
BYTES_A_READ = 1 << 18
"""Parquet is read through buffers of this size for each column, or a whole row group would be held as it is stored."""
BYTES_AT_ONCE = 1 << 25
"""Text of up to this size is converted in one piece; longer text is read twice, once to learn its types."""

PARQUET_MAGIC, GZIP_MAGIC, BYTE_ORDER_MARK = b"PAR1", b"\x1f\x8b", b"\xef\xbb\xbf"
CSV_NAMES, JSON_NAMES = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson", ".json")
MISSING_TEXTS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
SMALLEST_EPOCH = 100_000_000
"""Numbers all below this are no seconds since 1970 that anybody means (they would be before March 1973)."""


class TableError(UsageError):
    """A file that can't be read as a table; the message is one sentence for the person who named it."""


class Format(StrEnum):
    """What a file holds."""

    PARQUET = "Parquet"
    CSV = "CSV"
    JSON_LINES = "JSON Lines"


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    r"""Read a file as a table.

    Parameters
    ----------
    path : Path
        Parquet is told from its first bytes; CSV (.csv, .tsv, .txt) and JSON Lines (.jsonl, .ndjson, .json) from the
        name, gzipped or not.
    columns : sequence of str, optional
        Read these alone, in this order.

    Raises
    ------
    TableError
        The file is missing, empty, damaged or no table, has a column twice, or lacks one that was asked for.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rides.csv"
    >>> _ = path.write_text("km,city\n3.5,Oslo\n,Rome\n")
    >>> read(path).to_pylist()
    [{'km': 3.5, 'city': 'Oslo'}, {'km': None, 'city': 'Rome'}]
    """
    file = _File(path)
    with file.errors():
        return pa.Table.from_batches(file.batches(columns), schema=file.schema(columns))


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    r"""Read a file piece by piece, in its order, in memory that doesn't grow with its length; see :func:`read`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rides.jsonl"
    >>> _ = path.write_text('{"km": 3}\n{"km": 2.5}\n')
    >>> sum(batch.num_rows for batch in batches(path))
    2
    """
    file = _File(path)
    with file.errors():
        yield from file.batches(columns)


def schema(path: Path, columns: Sequence[str] | None = None) -> pa.Schema:
    r"""Return the names and types of a file's columns; see :func:`read`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rides.csv"
    >>> _ = path.write_text("km,city\n3.5,Oslo\n")
    >>> [str(field.type) for field in schema(path)]
    ['double', 'string']
    """
    file = _File(path)
    with file.errors():
        return file.schema(columns)


def column_names(path: Path) -> list[str]:
    r"""Return the names of a file's columns, in its order.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rides.csv"
    >>> _ = path.write_text("km,city\n3.5,Oslo\n")
    >>> column_names(path)
    ['km', 'city']
    """
    names: list[str] = schema(path).names
    return names


def instants(column: pa.ChunkedArray | pa.Array, name: str) -> Instants:
    """Read a column as instants in UTC.

    Parameters
    ----------
    column : pyarrow ChunkedArray or Array, shape (n,)
        Timestamps or dates (without a zone: UTC), ISO 8601 text with or without an offset, or seconds, milli-, micro-
        or nanoseconds since 1970, told by their size.
    name : str
        What errors call the column.

    Returns
    -------
    numpy.ndarray of datetime64[us], shape (n,)
        NaT where the column has no value.

    Raises
    ------
    TableError
        The values are no instants.

    Examples
    --------
    >>> instants(pa.array(["2024-03-01T12:00:00+02:00", None]), "asked_at").tolist()
    [datetime.datetime(2024, 3, 1, 10, 0), None]
    >>> instants(pa.array([1_700_000_000_000]), "asked_at").tolist()
    [datetime.datetime(2023, 11, 14, 22, 13, 20)]
    """
    whole = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    if pa.types.is_dictionary(whole.type):
        whole = whole.cast(whole.type.value_type)
    try:
        micros = _micros(whole, name)
    except (pa.ArrowException, ValueError) as error:
        if isinstance(error, TableError):
            raise
        first = next((str(value) for value in whole if value.is_valid), "")
        raise TableError(f"column '{name}' can't be read as times (first value {first!r}): use ISO 8601") from error
    return _int64(micros.cast(pa.int64())).view("datetime64[us]")


def _micros(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return the column as timestamps in microseconds, without a zone."""
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64()).cast(pa.timestamp("us"))
    if is_text(kind):
        return _from_text(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _from_epoch(column, name)
    raise TableError(f"column '{name}' is {kind}, not a time: store timestamps, ISO 8601 text or seconds since 1970")


def _from_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = column.cast(pa.string())
    text = pc.if_else(pc.equal(pc.utf8_length(text), 0), None, text)
    in_utc = pc.replace_substring_regex(text, r"(?:Z|[+-]00:?00)$", "")
    if not pc.any(pc.match_substring_regex(in_utc, r":\d\d(?:\.\d+)? ?[+-]\d\d(?::?\d\d)?$")).as_py():
        return in_utc.cast(pa.timestamp("ns")).cast(pa.timestamp("us"), safe=False)
    offset = pc.match_substring_regex(text, r"(?:Z|[+-]\d\d:?\d\d)$")
    zoned = pc.if_else(offset, text, pc.binary_join_element_wise(text, "Z", ""))
    return (
        zoned.cast(pa.timestamp("ns", tz="UTC"))
        .cast(pa.timestamp("us", tz="UTC"), safe=False)
        .cast(pa.int64())
        .cast(pa.timestamp("us"))
    )


def _from_epoch(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    largest = pc.max(pc.abs(column.cast(pa.float64(), safe=False))).as_py()
    if largest is None:
        return pa.chunked_array([pa.nulls(len(column), pa.timestamp("us"))])
    if not SMALLEST_EPOCH <= largest < 1e20:
        raise TableError(
            f"column '{name}' goes up to {largest:,.12g}, which is no time: store timestamps, ISO 8601 text or seconds "
            "since 1970"
        )
    per_micro = next(
        factor for limit, factor in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3)) if largest < limit
    )
    if pa.types.is_integer(column.type):
        whole = column.cast(pa.int64())
        micros = pc.divide(whole, 1_000) if per_micro < 1 else pc.multiply(whole, int(per_micro))
        return micros.cast(pa.timestamp("us"))
    finite = pc.if_else(pc.is_finite(column), column, None).cast(pa.float64())
    return pc.round(pc.multiply(finite, per_micro)).cast(pa.int64(), safe=False).cast(pa.timestamp("us"))


def _int64(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Copy integers to numpy, NaT's where there is none; Arrow's own way imports pandas where that is installed."""
    pieces = [_piece(chunk) for chunk in column.chunks if len(chunk)]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def _piece(chunk: pa.Array) -> npt.NDArray[np.int64]:
    data = chunk.buffers()[1]
    if data is None:
        return np.full(len(chunk), np.iinfo(np.int64).min)
    values = np.frombuffer(data, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk)]
    if chunk.null_count == 0:
        return values
    known = chunk.is_valid()
    bits = np.unpackbits(np.frombuffer(known.buffers()[1], dtype=np.uint8), bitorder="little")
    return np.where(bits[known.offset : known.offset + len(chunk)], values, np.iinfo(np.int64).min)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text.

    Examples
    --------
    >>> is_text(pa.large_string()), is_text(pa.int64())
    (True, False)
    """
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


class _File:
    """One file: what it holds, its columns, its rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gzipped = False
        self.format = self._told()
        self._types: pa.Schema | None = None
        self._whole: pa.Table | None = None

    def _told(self) -> Format:
        expected = "give the path of a Parquet, CSV or JSON Lines file"
        if not self.path.exists():
            raise TableError(f"{self.path} does not exist: {expected}")
        if not self.path.is_file():
            raise TableError(f"{self.path} is not a file: {expected}")
        try:
            with self.path.open("rb") as file:
                start = file.read(4_096)
            if start[:2] == GZIP_MAGIC:
                self.gzipped = True
                with gzip.open(self.path) as file:
                    start = file.read(4_096)
        except (OSError, EOFError) as error:
            raise self._unreadable(error) from error
        if not start.removeprefix(BYTE_ORDER_MARK).strip():
            size = "0 bytes" if not start else "nothing but blanks"
            raise TableError(f"{self.path} is empty ({size}): give a Parquet, CSV or JSON Lines file with rows")
        return self._format_of(start)

    def _format_of(self, start: bytes) -> Format:
        if start[:4] == PARQUET_MAGIC:
            if self.gzipped:
                raise TableError(f"{self.path} is a gzipped Parquet file: unpack it first, as in gunzip {self.path}")
            return Format.PARQUET
        suffixes = [suffix.lower() for suffix in self.path.suffixes if suffix.lower() != ".gz"]
        name = suffixes[-1] if suffixes else ""
        first = start.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
        known = name in (*CSV_NAMES, *JSON_NAMES) or first == b"{"
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") and known:
            raise TableError(f"{self.path} is UTF-16 text: save it as UTF-8")
        if b"\x00" in start and known:
            raise TableError(
                f"{self.path} is no text, though its name says so: convert it to Parquet, CSV or JSON Lines"
            )
        if name in CSV_NAMES:
            return Format.CSV
        if name != ".parquet" and (name in JSON_NAMES or first == b"{"):
            if first == b"[":
                raise TableError(f"{self.path} is one JSON array: write one object a line, as `jq -c '.[]'` does")
            return Format.JSON_LINES
        raise TableError(
            f"{self.path} is neither Parquet (it does not start with PAR1) nor named .csv or .jsonl: convert it to one "
            "of these"
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Tell what the readers raise in one sentence."""
        try:
            yield
        except (pa.ArrowException, OSError, EOFError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> TableError:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "magic bytes not found in footer" in reason:
            reason = "it is cut off or damaged, its footer is missing; copy it again"
        if "Compressed file ended" in reason or "Truncated compressed" in reason:
            reason = "it is cut off; copy it again"
        return TableError(f"{self.path} can't be read: {reason}")

    def schema(self, columns: Sequence[str] | None) -> pa.Schema:
        if self._types is None:
            found = self.path.stat()
            long = self.format is not Format.PARQUET and not self._small()
            self._types = _learned(self.path, found.st_size, found.st_mtime_ns) if long else self.read_schema()
            self._check_names(self._types.names)
        if columns is None:
            return self._types
        self._check_asked(columns, self._types.names)
        return pa.schema([self._types.field(name) for name in columns])

    def batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        schema = self.schema(columns)
        match self.format:
            case Format.PARQUET:
                with pyarrow.parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=BYTES_A_READ) as file:
                    for batch in file.iter_batches(ROWS_A_BATCH, columns=schema.names):
                        yield batch.select(schema.names)
            case Format.CSV:
                yield from self._csv_batches(schema)
            case Format.JSON_LINES:
                yield from self._json_batches(schema)

    def read_schema(self) -> pa.Schema:
        """Learn the columns and their types from the file itself."""
        match self.format:
            case Format.PARQUET:
                with pyarrow.parquet.ParquetFile(self.path) as file:
                    return file.schema_arrow
            case Format.CSV:
                return self._csv_schema()
            case Format.JSON_LINES:
                return self._json_schema()

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TableError(f"{self.path} has the column '{twice[0]}' twice: rename one")

    def _check_asked(self, columns: Sequence[str], names: Sequence[str]) -> None:
        for name in columns:
            if name not in names:
                there = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
                raise TableError(f"{self.path} has no column '{name}': name one of {there}")

    def _small(self) -> bool:
        return self.path.stat().st_size * (10 if self.gzipped else 1) <= BYTES_AT_ONCE

    @contextmanager
    def _text(self) -> Iterator[pa.NativeFile]:
        with pa.input_stream(str(self.path), compression="gzip" if self.gzipped else None) as stream:
            yield stream

    def _lines(self) -> Iterator[str]:
        opener: Callable[..., Any] = gzip.open if self.gzipped else open
        with opener(self.path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            yield from file

    # CSV

    def _delimiter(self) -> str:
        header = next(self._lines(), "")
        return next((mark for mark in (",", "\t", ";") if mark in header), ",")

    def _csv_options(self, types: pa.Schema | None) -> dict[str, Any]:
        return {
            "read_options": pyarrow.csv.ReadOptions(block_size=BYTES_A_BLOCK),
            "parse_options": pyarrow.csv.ParseOptions(delimiter=self._delimiter(), newlines_in_values=True),
            "convert_options": pyarrow.csv.ConvertOptions(
                null_values=list(MISSING_TEXTS),
                strings_can_be_null=True,
                column_types=types,
                include_columns=None if types is None else types.names,
            ),
        }

    def _csv_schema(self) -> pa.Schema:
        self._check_names(next(csv.reader(self._lines(), delimiter=self._delimiter())))
        if self._small():
            with self._text() as text, self._csv_errors():
                self._whole = pyarrow.csv.read_csv(text, **self._csv_options(None))
            return self._checked_text(self._whole.schema)
        types: pa.Schema | None = None
        while True:
            try:
                return self._checked_text(self._csv_pass(types))
            except _OtherTypeError as other:
                types = other.schema

    def _csv_pass(self, types: pa.Schema | None) -> pa.Schema:
        """Read the whole text once with the types given; where one doesn't fit, say which would be the next to try."""
        with self._text() as text, self._csv_errors():
            reader = pyarrow.csv.open_csv(text, **self._csv_options(types))
            try:
                for _ in reader:
                    pass
            except pa.ArrowInvalid as error:
                wider = _widened(reader.schema, str(error))
                if wider is None:
                    raise
                raise _OtherTypeError(wider) from error
            return reader.schema

    def _csv_batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if self._whole is not None:
            yield from self._whole.select(schema.names).to_batches(ROWS_A_BATCH)
            return
        with self._text() as text, self._csv_errors():
            yield from pyarrow.csv.open_csv(text, **self._csv_options(schema))

    def _checked_text(self, schema: pa.Schema) -> pa.Schema:
        for field in schema:
            if pa.types.is_binary(field.type):
                raise TableError(f"{self.path}: column '{field.name}' is not UTF-8 text: save the file as UTF-8")
        return schema

    @contextmanager
    def _csv_errors(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowInvalid as error:
            raise self._bad_csv_line() or self._unreadable(error) from error

    def _bad_csv_line(self) -> TableError | None:
        """Find the line that has another number of values than the header; None when there is none."""
        rows = csv.reader(self._lines(), delimiter=self._delimiter())
        try:
            wanted = len(next(rows))
            for row in rows:
                if row and len(row) != wanted:
                    return TableError(
                        f"{self.path}, line {rows.line_num}: {_counted(len(row), 'value')} where the header names "
                        f"{_counted(wanted, 'column')}: correct the line"
                    )
        except csv.Error:
            return None
        return None

    # JSON Lines

    def _json_schema(self) -> pa.Schema:
        if self._small():
            with self._text() as text:
                content = text.read()
            self._whole = self._json_table(content.removeprefix(BYTE_ORDER_MARK), None)
            return self._whole.schema
        found = [self._json_table(piece, None).schema for piece in self._pieces()]
        try:
            return _unified(found)
        except pa.ArrowException as error:
            raise self._bad_json_line() or self._unreadable(error) from error

    def _json_batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if self._whole is not None:
            yield from self._whole.select(schema.names).to_batches(ROWS_A_BATCH)
            return
        for piece in self._pieces():
            yield from self._json_table(piece, schema).select(schema.names).to_batches(ROWS_A_BATCH)

    def _pieces(self) -> Iterator[bytes]:
        """Cut the text at line ends."""
        with self._text() as text:
            rest = b""
            while block := text.read(min(BYTES_A_BLOCK, BYTES_AT_ONCE)):
                whole, newline, begun = (rest + block).rpartition(b"\n")
                rest = begun
                if whole.strip():
                    yield (whole + newline).removeprefix(BYTE_ORDER_MARK)
            if rest.strip():
                yield rest.removeprefix(BYTE_ORDER_MARK)

    def _json_table(self, content: bytes, types: pa.Schema | None) -> pa.Table:
        parse = pyarrow.json.ParseOptions(
            explicit_schema=types, unexpected_field_behavior="infer" if types is None else "ignore"
        )
        try:
            return pyarrow.json.read_json(
                io.BytesIO(content),
                read_options=pyarrow.json.ReadOptions(block_size=max(1 << 20, len(content))),
                parse_options=parse,
            )
        except pa.ArrowInvalid as error:
            raise self._bad_json_line() or self._unreadable(error) from error

    def _bad_json_line(self) -> TableError | None:
        """Find the line that is no JSON object, or has another kind of value in a column than a line before it."""
        kinds: dict[str, str] = {}
        for number, line in enumerate(self._lines(), start=1):
            if not line.strip():
                continue
            where = f"{self.path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError:
                return TableError(f"{where} is not JSON: {_shortened(line)}: write one whole object a line")
            if not isinstance(row, dict):
                return TableError(f"{where} is no JSON object: {_shortened(line)}: write one object a line")
            for name, value in row.items():
                kind = _json_kind(value)
                if value is not None and kinds.setdefault(name, kind) != kind:
                    return TableError(
                        f"{where}: column '{name}' is {kind}, and {kinds[name]} above: write it one way throughout"
                    )
        return None


@lru_cache(maxsize=16)
def _learned(path: Path, size: int, changed: int) -> pa.Schema:
    """Learn a long text's types once, though it is read several times; it is another text once it has changed."""
    return _File(path).read_schema()


class _OtherTypeError(EvergreenError):
    """A column of a CSV file isn't of the type its beginning looked like."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        super().__init__("read it again")


def _widened(types: pa.Schema, message: str) -> pa.Schema | None:
    """Return the types with the next one to try for the column that an error names."""
    if not message.startswith("In CSV column #"):
        return None
    place = int(message.removeprefix("In CSV column #").split(":")[0])
    field = types.field(place)
    return types.set(place, pa.field(field.name, _next_type(field.type)))


def _next_type(kind: pa.DataType) -> pa.DataType:
    order = [pa.null(), pa.int64(), pa.float64(), pa.string()]
    if kind in order[:-1]:
        return order[order.index(kind) + 1]
    return pa.string()


def _unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the types that hold each piece's values; text that looked like times in some pieces only is text."""
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException:
        texts = {field.name for schema in schemas for field in schema if is_text(field.type)}
        return pa.unify_schemas(
            [
                pa.schema([field.with_type(pa.string()) if _time_in(field, texts) else field for field in schema])
                for schema in schemas
            ],
            promote_options="permissive",
        )


def _time_in(field: pa.Field, names: set[str]) -> bool:
    return field.name in names and pa.types.is_timestamp(field.type)


def _json_kind(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _shortened(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
