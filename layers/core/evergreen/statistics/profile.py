"""Mergeable counts of a file's columns: what drift is judged on, whatever number of rows a window holds.

A number is centred and scaled by the reference's frozen median and robust standard deviation, and the top 13 bits of
its float32 form (sign, exponent, 4 bits of mantissa) are its bin: log-linear bins, fine near the centre, a sixteenth
of the distance wide anywhere, at a few nanoseconds a value. Missing values, the two infinities and unseen
categories are bins of their own. Profiles add up exactly, in any order.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_number

Kind = Literal["number", "categorical"]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_CATEGORIES = 1000
"""The most categories a column gets bins for; rarer ones share the bin of the unseen."""

_SIGN = 4096
_INFINITE = 4080
_RAW_BINS = 8192
_CHUNK = 1 << 15
_TO_MID_BIN = 1.0 + 1.0 / 44.0
"""Values that four bits of mantissa can hold would lie on the edge of their bin: this moves them to its middle, so
that a rounding error doesn't move an atom of the distribution to the next bin."""
_MAGIC = b"EVGPRF"
_VERSION = 1
_HEADER = struct.Struct("<6sBxIQQI")


def _finite_bin_values() -> Floats:
    edges = (np.arange(_INFINITE, dtype=np.uint32) << np.uint32(19)).view(np.float32).astype(np.float64)
    edges[0] = 0.0
    return np.concatenate([-edges[::-1], edges])


MISSING = 0
"""The first bin of every column: rows without a value."""


class NumberBins:
    """Where a number's bins lie within its column: missing, -inf, the finite ones ascending, +inf."""

    MINUS_INFINITY = 1
    FIRST_FINITE = 2
    PLUS_INFINITY = 2 + 2 * _INFINITE
    WIDTH = 3 + 2 * _INFINITE
    VALUES: Floats = _finite_bin_values()
    """What each finite bin stands for, in steps from the centre, ascending."""


class CategoryBins:
    """Where a category's bins lie within its column: missing, unseen, then the categories in their order."""

    UNSEEN = 1
    FIRST_CATEGORY = 2


@runtime_checkable
class ArrowTable(Protocol):
    """What is used of a pyarrow Table or RecordBatch, so that neither has to be imported."""

    @property
    def num_rows(self) -> int:
        """Rows."""

    @property
    def column_names(self) -> list[str]:
        """Names, in order."""

    def column(self, i: int) -> Any:
        """One column, an Array or a ChunkedArray."""


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """How a number column is binned: ``(x - centre) / step``.

    Attributes
    ----------
    name : str
        The column.
    centre : float
        The reference's median.
    scale : float
        The reference's interquartile range over 1.349, or its standard deviation where that is 0, or 1.
    """

    name: str
    centre: float
    scale: float

    @property
    def kind(self) -> Kind:
        """``number``."""
        return "number"

    @property
    def step(self) -> float:
        """The scale as the nearest power of two, so that the bins of whole numbers near the centre are exact."""
        return math.ldexp(1.0, max(-1000, min(1000, round(math.log2(self.scale)))))

    @property
    def width(self) -> int:
        """Bins of the column."""
        return NumberBins.WIDTH


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """How a categorical column is binned: one bin a category, and one each for missing and unseen values."""

    name: str
    categories: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """``categorical``."""
        return "categorical"

    @property
    def width(self) -> int:
        """Bins of the column."""
        return CategoryBins.FIRST_CATEGORY + len(self.categories)


@dataclass(frozen=True, slots=True)
class Binning:
    """How each column is binned, frozen when the reference was seen. Only profiles of equal binnings add up.

    Attributes
    ----------
    columns : tuple of NumberColumn or CategoryColumn
        Sorted by name.

    Examples
    --------
    >>> binning = Binning.fit({"age": [31.0, 44.0, 58.0], "city": ["Rome", "Oslo", "Rome"]})
    >>> binning.columns[0].centre, binning.columns[1].categories
    (44.0, ('Oslo', 'Rome'))
    >>> Binning.from_json(binning.to_json()) == binning
    True
    """

    columns: tuple[NumberColumn | CategoryColumn, ...]
    starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if names != sorted(set(names)):
            raise StatisticsInputError("columns", names, "pass each column once, sorted by name")
        for column in self.columns:
            if isinstance(column, NumberColumn):
                as_number(f"centre of column {column.name!r}", column.centre)
                if not (math.isfinite(column.scale) and column.scale > 0.0 and math.isfinite(1.0 / column.scale)):
                    key = f"scale of column {column.name!r}"
                    raise StatisticsInputError(key, column.scale, "pass a finite number above 0")
        starts = [0]
        for column in self.columns:
            starts.append(starts[-1] + column.width)
        object.__setattr__(self, "starts", tuple(starts))

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, Any] | ArrowTable,
        kinds: Mapping[str, Kind] | None = None,
        *,
        max_categories: int = MAX_CATEGORIES,
    ) -> Binning:
        """Learn a binning from the reference's columns.

        Parameters
        ----------
        columns : mapping of str to array_like, shape (n,), or pyarrow Table or RecordBatch
            The reference. Strings make a column categorical, numbers and booleans a number; None and NaN are missing.
        kinds : mapping of str to {"number", "categorical"}, optional
            Overrides what the values look like: a category may be coded in numbers.
        max_categories : int
            Bins for at most this many categories a column, the most frequent ones.

        Raises
        ------
        ValueError
            When a column isn't one-dimensional, holds neither numbers nor strings, or ``kinds`` names another column.
        """
        kinds = kinds or {}
        found = dict(_named_columns(columns))
        for name, kind in kinds.items():
            if name not in found:
                raise StatisticsInputError(f"kinds[{name!r}]", kind, f"name one of the columns {sorted(found)}")
            if kind not in ("number", "categorical"):
                raise StatisticsInputError(f"kinds[{name!r}]", kind, 'pass "number" or "categorical"')
        fitted: list[NumberColumn | CategoryColumn] = []
        for name in sorted(found):
            kind = kinds.get(name) or _kind_of(name, found[name])
            if kind == "number":
                fitted.append(_fit_number(name, found[name]))
            else:
                fitted.append(_fit_categories(name, found[name], max_categories))
        return cls(tuple(fitted))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, sorted."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Bins of all columns together."""
        return self.starts[-1]

    def index(self, name: str) -> int:
        """Return the position of a column.

        Raises
        ------
        ValueError
            When there is no such column.
        """
        for i, column in enumerate(self.columns):
            if column.name == name:
                return i
        raise StatisticsInputError("column", name, f"name one of {list(self.names)}")

    def to_json(self) -> dict[str, Any]:
        """Return the binning as JSON data."""
        return {
            "version": _VERSION,
            "columns": [
                {"name": c.name, "kind": c.kind, "centre": c.centre, "scale": c.scale}
                if isinstance(c, NumberColumn)
                else {"name": c.name, "kind": c.kind, "categories": list(c.categories)}
                for c in self.columns
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Binning:
        """Read what ``to_json`` wrote.

        Raises
        ------
        ValueError
            When the version or a column's kind is unknown.
        """
        if data.get("version") != _VERSION:
            raise StatisticsInputError("version", data.get("version"), f"pass a binning of version {_VERSION}")
        columns: list[NumberColumn | CategoryColumn] = []
        for column in data["columns"]:
            kind = column.get("kind")
            if kind == "number":
                columns.append(NumberColumn(column["name"], float(column["centre"]), float(column["scale"])))
            elif kind == "categorical":
                columns.append(CategoryColumn(column["name"], tuple(column["categories"])))
            else:
                raise StatisticsInputError(f"kind of {column['name']!r}", kind, 'pass "number" or "categorical"')
        return cls(tuple(columns))


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """How many rows fell into each bin of each column.

    Attributes
    ----------
    binning : Binning
        How the columns are binned.
    rows : int
        Rows counted.
    bins : numpy.ndarray of int64, shape (k,)
        The bins that hold anything, ascending, numbered through all columns.
    counts : numpy.ndarray of int64, shape (k,)
        How many rows each of them holds.

    Examples
    --------
    >>> binning = Binning.fit({"age": [31.0, 44.0, 58.0], "city": ["Rome", "Oslo", "Rome"]})
    >>> monday = Profile.count({"age": [30.0, None], "city": ["Oslo", "Bonn"]}, binning)
    >>> tuesday = Profile.count({"age": [44.0], "city": ["Rome"]}, binning)
    >>> both = monday + tuesday
    >>> both.rows, both.missing("age"), both.column("city").tolist()   # missing, unseen, Oslo, Rome
    (3, 1, [0, 1, 1, 1])
    >>> Profile.from_bytes(both.to_bytes()) == both == tuesday + monday
    True
    """

    binning: Binning
    rows: int
    bins: Counts
    counts: Counts

    def __post_init__(self) -> None:
        self.bins.flags.writeable = False
        self.counts.flags.writeable = False

    @classmethod
    def empty(cls, binning: Binning) -> Profile:
        """Return the profile of no rows."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(binning, 0, nothing, nothing)

    @classmethod
    def count(cls, columns: Mapping[str, Any] | ArrowTable, binning: Binning) -> Profile:
        """Count rows.

        Parameters
        ----------
        columns : mapping of str to array_like, shape (n,), or pyarrow Table or RecordBatch
            numpy arrays (masked ones too), lists with None, or Arrow as it is. A column of the binning that isn't
            there counts as missing in every row, so that a feature that stops arriving shows.
        binning : Binning
            Of the reference.

        Raises
        ------
        ValueError
            When a column isn't in the binning, is of another length than the others, or is a number's and
            holds something that isn't one.
        """
        found = dict(_named_columns(columns))
        known = set(binning.names)
        for name in sorted(found):
            if name not in known:
                raise StatisticsInputError("column", name, f"pass only the binning's columns {list(binning.names)}")
        rows = _common_length(columns, found)
        bins: list[Counts] = []
        counts: list[Counts] = []
        for column, start in zip(binning.columns, binning.starts, strict=False):
            dense = _count_column(column, found.get(column.name), rows)
            held = np.flatnonzero(dense)
            bins.append(held + start)
            counts.append(dense[held])
        if not bins:
            return cls(binning, rows, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        return cls(binning, rows, np.concatenate(bins), np.concatenate(counts))

    @classmethod
    def total(cls, profiles: Iterable[Profile]) -> Profile:
        """Add up any number of profiles, of one binning, at once.

        Raises
        ------
        ValueError
            When there is none, or their binnings differ.
        """
        every = list(profiles)
        if not every:
            raise StatisticsInputError("profiles", every, "pass one or more, or start from Profile.empty(binning)")
        binning = every[0].binning
        dense = np.zeros(binning.width, dtype=np.int64)
        for profile in every:
            if profile.binning is not binning and profile.binning != binning:
                difference = _first_difference(binning, profile.binning)
                raise StatisticsInputError("binning", difference, "count both profiles with one binning to merge them")
            dense[profile.bins] += profile.counts
        held = np.flatnonzero(dense)
        return cls(binning, sum(profile.rows for profile in every), held, dense[held])

    def merge(self, other: Profile) -> Profile:
        """Return the counts of both.

        Raises
        ------
        ValueError
            When their binnings differ.
        """
        return Profile.total((self, other))

    def __add__(self, other: Profile) -> Profile:
        return self.merge(other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return (
            self.rows == other.rows
            and self.binning == other.binning
            and np.array_equal(self.bins, other.bins)
            and np.array_equal(self.counts, other.counts)
        )

    def __hash__(self) -> int:
        return hash((self.rows, self.bins.tobytes(), self.counts.tobytes()))

    def sparse_column(self, name: str) -> tuple[Counts, Counts]:
        """Return a column's bins that hold anything, numbered within the column, and their counts."""
        return self._sparse(self.binning.index(name))

    def column(self, name: str) -> Counts:
        """Return the counts of all bins of a column.

        Returns
        -------
        numpy.ndarray of int64
            A number's: missing, -inf, finite bins ascending (``NumberBins.VALUES``), +inf.
            A category's: missing, unseen, then the categories in the binning's order.
        """
        i = self.binning.index(name)
        bins, counts = self._sparse(i)
        dense = np.zeros(self.binning.columns[i].width, dtype=np.int64)
        dense[bins] = counts
        return dense

    def missing(self, name: str) -> int:
        """Return how many rows have no value in a column."""
        bins, counts = self.sparse_column(name)
        return int(counts[bins == MISSING].sum())

    def to_bytes(self) -> bytes:
        """Return the profile, its binning included, as bytes: the same bytes for the same profile everywhere."""
        binning = json.dumps(self.binning.to_json(), sort_keys=True, separators=(",", ":")).encode()
        steps = np.diff(self.bins, prepend=np.int64(0))
        body = binning + _encode_varints(steps) + _encode_varints(self.counts)
        return _HEADER.pack(_MAGIC, _VERSION, zlib.crc32(body), self.rows, len(self.bins), len(binning)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Read what ``to_bytes`` wrote.

        Raises
        ------
        ValueError
            When the bytes aren't a whole, undamaged profile of this version.
        """
        if len(data) < _HEADER.size or data[:6] != _MAGIC:
            raise StatisticsInputError(
                "profile", bytes(data[:6]), f"pass bytes of a profile, which begin with {_MAGIC!r}"
            )
        _, version, checksum, rows, held, binning_length = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise StatisticsInputError("profile version", version, f"profile the file again with version {_VERSION}")
        body = bytes(data[_HEADER.size :])
        if zlib.crc32(body) != checksum:
            raise StatisticsInputError(
                "profile checksum", zlib.crc32(body), f"it should be {checksum}: profile the file again, it is damaged"
            )
        binning = _binning_from(body[:binning_length])
        numbers = _decode_varints(body[binning_length:])
        if len(numbers) != 2 * held:
            raise StatisticsInputError("profile", f"{len(numbers)} numbers", f"pass all {2 * held}: it is damaged")
        return cls(binning, rows, np.cumsum(numbers[:held]), numbers[held:].copy())

    def _sparse(self, i: int) -> tuple[Counts, Counts]:
        start, end = self.binning.starts[i], self.binning.starts[i + 1]
        low, high = np.searchsorted(self.bins, (start, end))
        return self.bins[low:high] - start, self.counts[low:high]


@lru_cache(maxsize=64)
def _binning_from(text: bytes) -> Binning:
    """Read the binning of a profile's header: one object for all profiles of a reference, which merge the faster."""
    return Binning.from_json(json.loads(text))


def _named_columns(columns: Mapping[str, Any] | ArrowTable) -> Iterator[tuple[str, Any]]:
    """Yield each column with its name; numpy arrays of one dimension, or Arrow as it is."""
    if isinstance(columns, ArrowTable):
        names = list(columns.column_names)
        if len(set(names)) != len(names):
            raise StatisticsInputError("columns", names, "pass each column once")
        for i, name in enumerate(names):
            yield name, columns.column(i)
        return
    for name, values in columns.items():
        if not isinstance(name, str):
            raise StatisticsInputError("column", name, "name each column by a string")
        array = _as_array(values)
        if array.ndim != 1:
            raise StatisticsInputError(f"column {name!r}", f"of shape {array.shape}", "pass one value a row")
        yield name, array


def _as_array(values: Any) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, (list, tuple)):
        return np.fromiter(values, dtype=object, count=len(values))
    if isinstance(values, (str, bytes)):
        return np.asarray(0)
    return np.asarray(values)


def _common_length(columns: Mapping[str, Any] | ArrowTable, found: Mapping[str, Any]) -> int:
    if isinstance(columns, ArrowTable):
        return columns.num_rows
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise StatisticsInputError("columns", f"of {lengths} rows", "pass columns of one length")
    return next(iter(lengths.values()), 0)


def _count_column(column: NumberColumn | CategoryColumn, values: Any, rows: int) -> Counts:
    if values is None:
        dense = np.zeros(column.width, dtype=np.int64)
        dense[MISSING] = rows
        return dense
    if isinstance(column, NumberColumn):
        return _count_numbers(column, _numbers(column.name, values))
    return _count_categories(column, _frequencies(column.name, values))


def _count_numbers(column: NumberColumn, pieces: Iterable[npt.NDArray[Any]]) -> Counts:
    """Count the top 13 bits of each scaled number, then put the bins in the order of their values."""
    raw = np.zeros(_RAW_BINS, dtype=np.int64)
    centre, inverse = column.centre, _TO_MID_BIN / column.step
    wide = np.empty(_CHUNK, dtype=np.float64)
    single = np.empty(_CHUNK, dtype=np.float32)
    index = np.empty(_CHUNK, dtype=np.int64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for piece in pieces:
            for start in range(0, len(piece), _CHUNK):
                part = piece[start : start + _CHUNK]
                n = len(part)
                np.subtract(part, centre, out=wide[:n], casting="same_kind")
                np.multiply(wide[:n], inverse, out=single[:n], casting="same_kind")
                np.right_shift(single[:n].view(np.uint32), np.uint32(19), out=index[:n])
                raw += np.bincount(index[:n], minlength=_RAW_BINS)
    infinite, negative_infinite = _INFINITE, _SIGN + _INFINITE
    missing = raw[infinite + 1 : _SIGN].sum() + raw[negative_infinite + 1 :].sum()
    return np.concatenate(
        [
            [missing, raw[negative_infinite]],
            raw[_SIGN:negative_infinite][::-1],
            raw[:infinite],
            [raw[infinite]],
        ]
    )


def _count_categories(column: CategoryColumn, frequencies: Mapping[str | None, int]) -> Counts:
    dense = np.zeros(column.width, dtype=np.int64)
    places = {name: i for i, name in enumerate(column.categories, start=CategoryBins.FIRST_CATEGORY)}
    for value, count in frequencies.items():
        place = MISSING if value is None else places.get(value, CategoryBins.UNSEEN)
        dense[place] += count
    return dense


def _fit_number(name: str, values: Any) -> NumberColumn:
    pieces = [np.asarray(piece, dtype=np.float64) for piece in _numbers(name, values)]
    x = np.concatenate(pieces) if pieces else np.zeros(0)
    x = x[np.isfinite(x)]
    if not len(x):
        return NumberColumn(name, 0.0, 1.0)
    # Quantiles of a quarter, so that interpolating between the largest floats doesn't overflow.
    low, centre, high = (4.0 * float(q) for q in np.quantile(x / 4.0, (0.25, 0.5, 0.75)))
    with np.errstate(over="ignore", invalid="ignore"):
        robust = (high - low) / 1.349
        for scale in (robust, float(x.std())):
            if math.isfinite(scale) and scale > 1e-300:
                return NumberColumn(name, centre, scale)
    return NumberColumn(name, centre, 1.0)


def _fit_categories(name: str, values: Any, most: int) -> CategoryColumn:
    frequencies = [(-count, value) for value, count in _frequencies(name, values).items() if value is not None]
    return CategoryColumn(name, tuple(sorted(value for _, value in sorted(frequencies)[:most])))


def _kind_of(name: str, values: Any) -> Kind:
    """Tell what a column's values look like: any string makes it categorical."""
    if not isinstance(values, np.ndarray):
        kinds = {_arrow_kind(name, piece) for piece in _arrow_pieces(values)}
        return "categorical" if "categorical" in kinds else "number"
    if values.dtype.kind in "biuf":
        return "number"
    if values.dtype.kind in "US":
        return "categorical"
    if values.dtype.kind == "O":
        return "categorical" if any(isinstance(v, (str, bytes)) for v in values) else "number"
    raise StatisticsInputError(f"column {name!r}", f"of type {values.dtype}", "pass numbers or strings")


def _numbers(name: str, values: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield the column as arrays of numbers, NaN where missing."""
    if not isinstance(values, np.ndarray):
        for piece in _arrow_pieces(values):
            yield _arrow_numbers(name, piece)
        return
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    plain = np.asarray(values)
    if plain.dtype.kind not in "biuf":
        plain = _parsed_numbers(name, plain, mask)
    if mask is not None:
        plain = np.where(mask, np.nan, plain.astype(np.float64))
    yield plain


def _parsed_numbers(name: str, values: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None) -> Floats:
    """Read objects or strings as numbers; None and empty strings are missing."""
    if values.dtype.kind == "O" and mask is None and not any(isinstance(v, (str, bytes)) for v in values):
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError):
            pass  # below, which names the value
    if values.dtype.kind not in "OUS":
        raise StatisticsInputError(f"column {name!r}", f"of type {values.dtype}", "pass numbers")
    parsed = np.full(len(values), np.nan)
    for i, value in enumerate(values.tolist()):
        if value is None or value == "" or (mask is not None and mask[i]):
            continue
        try:
            parsed[i] = float(value)
        except (TypeError, ValueError, OverflowError):
            remedy = "pass a number, or None where it is missing"
            raise StatisticsInputError(f"column {name!r}, row {i}", value, remedy) from None
    return parsed


def _frequencies(name: str, values: Any) -> Counter[str | None]:
    """Count how often each category occurs; None is missing, as are NaN and the empty string."""
    found: Counter[str | None] = Counter()
    if not isinstance(values, np.ndarray):
        for piece in _arrow_pieces(values):
            for value, count in _arrow_frequencies(piece):
                found[_category(value)] += count
        return found
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        found[None] += int(mask.sum())
        values = np.asarray(values)[~mask]
    if values.dtype.kind in "biuf":
        distinct, counts = np.unique(values, return_counts=True)
        pairs = zip(distinct.tolist(), counts.tolist(), strict=True)
    elif values.dtype.kind in "OUS":
        try:
            tally = Counter(values.tolist())
        except TypeError:
            raise StatisticsInputError(f"column {name!r}", "of lists or dicts", "pass strings") from None
        pairs = zip(tally.keys(), tally.values(), strict=True)
    else:
        raise StatisticsInputError(f"column {name!r}", f"of type {values.dtype}", "pass strings")
    for value, count in pairs:
        found[_category(value)] += count
    return found


def _category(value: object) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.decode() if isinstance(value, bytes) else str(value)


def _arrow_pieces(values: Any) -> list[Any]:
    return list(values.chunks) if hasattr(values, "chunks") else [values]


def _arrow_kind(name: str, piece: Any) -> Kind:
    kind = _arrow_type(piece)
    if kind in _ARROW_NUMBERS or kind in ("bool", "null", "halffloat") or kind.startswith("decimal"):
        return "number"
    if "string" in kind:
        return "categorical"
    raise StatisticsInputError(f"column {name!r}", f"of type {kind}", "pass numbers or strings")


def _arrow_type(piece: Any) -> str:
    return str(piece.type.value_type if hasattr(piece.type, "value_type") else piece.type)


_ARROW_NUMBERS: Mapping[str, npt.DTypeLike] = {
    "double": np.float64,
    "float": np.float32,
    **{f"{sign}int{size}": np.dtype(f"{sign}int{size}") for sign in ("", "u") for size in (8, 16, 32, 64)},
}


def _arrow_numbers(name: str, piece: Any) -> npt.NDArray[Any]:
    """View an Arrow array's own memory as numpy; its ``to_numpy`` would import pandas wherever that is installed."""
    kind = str(piece.type)
    if kind not in _ARROW_NUMBERS:
        try:
            piece = piece.cast("double")
        except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow's errors are of these types
            raise StatisticsInputError(f"column {name!r}", f"of type {kind}", "pass numbers") from error
        kind = "double"
    validity, data = piece.buffers()
    length, offset = len(piece), piece.offset
    if length == 0 or data is None:
        return np.full(length, np.nan)
    values = np.frombuffer(data, dtype=_ARROW_NUMBERS[kind])[offset : offset + length]
    if validity is None or piece.null_count == 0:
        return values
    valid = np.unpackbits(np.frombuffer(validity, dtype=np.uint8), bitorder="little")[offset : offset + length]
    return np.where(valid, values.astype(np.float64), np.nan)


def _arrow_frequencies(piece: Any) -> Iterator[tuple[object, int]]:
    tally = piece.value_counts().flatten()
    return zip(tally[0].to_pylist(), tally[1].to_pylist(), strict=True)


def _first_difference(ours: Binning, theirs: Binning) -> str:
    if ours.names != theirs.names:
        return f"of the columns {list(theirs.names)}, not {list(ours.names)}"
    changed = next(c.name for c, d in zip(ours.columns, theirs.columns, strict=True) if c != d)
    return f"another one for column {changed!r}"


def _encode_varints(numbers: Counts) -> bytes:
    """Encode in little-endian base 128, seven bits a byte, the top bit set on all but a number's last byte."""
    if not len(numbers):
        return b""
    left = numbers.astype(np.uint64)
    digits = np.zeros((len(left), 10), dtype=np.uint8)
    used = np.zeros((len(left), 10), dtype=np.bool_)
    for place in range(10):
        used[:, place] = (left > 0) if place else True
        digits[:, place] = left & np.uint64(127)
        left = left >> np.uint64(7)
    digits[:, :-1] |= np.where(used[:, 1:], 128, 0).astype(np.uint8)
    return digits[used].tobytes()


def _decode_varints(data: bytes) -> Counts:
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(raw < 128)
    if not len(ends):
        return np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(ends[-1] + 1) - np.repeat(starts, ends - starts + 1)
    digits = (raw[: ends[-1] + 1] & 127).astype(np.int64) << (7 * place)
    return np.add.reduceat(digits, starts)
