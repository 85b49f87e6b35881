"""Model specs for streams: the bundled one, and one inferred from a stream's columns, pace and span."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evergreen.durations import format_duration
from evergreen.spec import EndpointSpec, ModelSpec
from evergreen_ops.replay.pace import Pace, label_delays
from evergreen_ops.replay.streams import Stream, StreamError, as_datetime, as_instant

BUNDLED_SPEC = Path(__file__).with_name("late_flights.yaml")
BUNDLED_BASE_UNTIL = datetime(2013, 2, 1, 5, tzinfo=UTC)  # the first of February begins in New York

BASE_SHARE = 0.1
FEWEST_BASE_ROWS, MOST_BASE_ROWS = 500, 5_000
LARGEST_BASE_SHARE = 0.75  # of a file whose first rows can't be trained on: the rest is to be asked
BASE_GROWTH = 1.1
WAITED_FOR_SHARES = (1 / 20, 1 / 10, 1 / 5)  # of the span: labels are waited for no longer, if most come by then
MOST_LABELS, LABELS_WAITED_FOR = 0.8, 0.99
CYCLE_ROWS, CYCLES = 300, 8  # a cycle holds so many rows, and a stream so many cycles
BURST, MOST_TRAINED = 2, 20_000
REFILL_ROWS, REFILLS = 5_000, 4  # a training for so many labelled rows, or for a quarter of a short stream
NEW_ROWS, FEWEST_REFILL_ROWS = 500, 100
_ABOUT = 1.05  # a round number may be that much beyond what it is to fit in
STEPS, MOST_STEPS, ROWS_A_STEP = 500, 1_000, 50
STEPS_A_DELAY, MOST_OF_A_SHORT_STREAM, SHORT_STREAM_ROWS = 4, 4_000, 50_000
"""A label that waits for a step is learned late: a stream gets more of them, the shorter it is the more."""

_MICROSECOND = timedelta(microseconds=1)
_MINUTE, _HOUR, _DAY, _WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
_ROUND = sorted(
    number * unit
    for unit, numbers in (
        (_MINUTE, (1, 2, 5, 10, 15, 30)),
        (_HOUR, (1, 2, 3, 6, 12)),
        (_DAY, (1, 2, 3, 4, 5, 10)),
        (_WEEK, (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 32, 39, 52, 78, 104, 156, 208, 520)),
    )
    for number in numbers
)
_CYCLES = (_MINUTE, 15 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, _WEEK, 2 * _WEEK, 4 * _WEEK, 13 * _WEEK, 52 * _WEEK)
_STEPS = (*(n * _MINUTE for n in (1, 5, 15, 30)), *(n * _HOUR for n in (1, 2, 3, 4, 6, 12)), _DAY, 2 * _DAY, _WEEK)


@dataclass(frozen=True, slots=True)
class Base:
    """The part of a stream that came before Evergreen: it trains the first model and is not scored."""

    rows: int
    until: datetime


def bundled_spec() -> ModelSpec:
    """Return the spec that ``evergreen replay`` runs when none is named.

    Examples
    --------
    >>> bundled_spec().model
    'late_flights'
    """
    return ModelSpec.from_yaml(BUNDLED_SPEC.read_text(encoding="utf-8"))


def for_replay(spec: ModelSpec) -> tuple[ModelSpec, tuple[str, ...]]:
    """Return the spec without what names places in AWS, and the keys that were set aside.

    In a replay the predict function answers, and the stream brings requests and labels.

    Examples
    --------
    >>> there = {"endpoint": {"kind": "sagemaker", "name": "flights"}}
    >>> spec = ModelSpec.parse(bundled_spec().to_json() | there)
    >>> here, aside = for_replay(spec)
    >>> here.endpoint.kind, aside
    ('lambda', ('endpoint',))
    """
    usual = {"endpoint": EndpointSpec()}
    usual |= {name: getattr(spec, name).model_copy(update={"source": None}) for name in ("capture", "labels")}
    aside = [name if name == "endpoint" else f"{name}.source" for name in usual if getattr(spec, name) != usual[name]]
    return spec.model_copy(update=usual), tuple(aside)


def check_spec(spec: ModelSpec, stream: Stream) -> None:
    """Check that a stream has what a spec names.

    Raises
    ------
    StreamError
        The spec's task, classes or features are not the stream's.
    """
    missing = [name for name in spec.features if name not in stream.features]
    if missing:
        raise StreamError(f"the spec's features {', '.join(missing)} are not in the stream: it has {_names(stream)}")
    for name, feature in spec.features.items():
        if feature.type != stream.features[name]:
            found = stream.features[name]
            raise StreamError(f"the spec's feature {name} is {feature.type}, in the stream it is {found}: correct it")
    if spec.task.value != stream.task:
        raise StreamError(
            f"the spec's task is {spec.task.value}, the stream's is {stream.task}: leave --task out, or correct it"
        )
    unknown = sorted(set(stream.classes or ()) - set(spec.labels.classes or ()))
    if unknown:
        raise StreamError(f"the stream's label {unknown[0]} is not in the spec's labels.classes: add it")


def base_of(stream: Stream, base_until: datetime | None = None, *, spec: ModelSpec | None = None) -> Base:
    """Return the stream's first part, which trains the first model.

    It goes up to `base_until`, else over a tenth of the rows, at least 500 and at most 5,000; further where those rows
    can't be trained on, because too few labels are known by then or all are the same.

    Parameters
    ----------
    stream : Stream
    base_until : datetime, optional
    spec : ModelSpec, optional
        Says when labels are mature and how many rows a training needs; without it, as :func:`infer_spec` does.

    Raises
    ------
    StreamError
        No part of the stream can be trained on and leaves rows to ask.
    """
    if base_until is None:
        base_until = _first_end(stream, spec or infer_spec(stream))
    rows = int(np.searchsorted(stream.event_time, as_instant(base_until), side="left"))
    if rows in (0, stream.rows):
        raise StreamError(f"the base ends at {base_until:%Y-%m-%d %H:%M}, outside the stream: choose a time within it")
    return Base(rows=rows, until=base_until)


def trainable(stream: Stream, until: np.datetime64, spec: ModelSpec) -> npt.NDArray[np.int64]:
    """Return the rows that a first model can be trained on at a time: asked before, mature and labelled by then.

    Parameters
    ----------
    stream : Stream
    until : datetime64
    spec : ModelSpec
        Says when labels are mature, and how far back a training looks.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(18_000), "label": [0, 1] * 9_000}), name="a_month")
    >>> len(trainable(stream, stream.event_time[2_000], infer_spec(stream)))
    1501
    """
    times = stream.event_time[: np.searchsorted(stream.event_time, until, side="left")]
    is_mature = times <= until - np.timedelta64(spec.labels.maturity)
    is_labelled = stream.label_time[: len(times)] <= until  # NaT compares as False
    in_window = times >= until - np.timedelta64(spec.training.window)
    return np.flatnonzero(is_mature & is_labelled & in_window)[-spec.training.max_rows :]


def default_step(stream: Stream) -> timedelta:
    """Return the time between two batches of requests: about 50 rows, but 500 to 1,000 batches in the stream's span.

    Live states learn where a step ends, on AWS each hour. So a step is no longer than a quarter of what labels take
    (the median), as far as that is an hour or more, and no more than 4,000 steps in a stream of 50,000 rows; in longer
    ones accordingly fewer, as each step takes its time.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> default_step(read_table(pa.table({"x": range(18_000), "label": [0, 1] * 9_000}), name="a_month"))
    datetime.timedelta(seconds=7200)
    >>> slow = pa.table({"x": range(1_800), "label": [0, 1] * 900})
    >>> str(default_step(read_table(slow, name="years", rows_per_day=2)))
    '6:00:00'
    """
    pace = Pace.of(stream)
    few = max(min(max(pace.time_for(ROWS_A_STEP), pace.span / MOST_STEPS), pace.span / STEPS), _MICROSECOND)
    most = min(MOST_OF_A_SHORT_STREAM, max(MOST_STEPS, MOST_OF_A_SHORT_STREAM * SHORT_STREAM_ROWS // stream.rows))
    delays = label_delays(stream)
    soon = float(np.median(delays)) / STEPS_A_DELAY * _MICROSECOND if len(delays) else few
    wanted = min(few, max(soon, pace.span / most, _HOUR))
    return min(_STEPS, key=lambda step: max(step / wanted, wanted / step))


def infer_spec(stream: Stream) -> ModelSpec:
    """Write a spec for a stream: its columns as features, and every period scaled to its pace and span.

    A week is the natural cycle of traffic, if the stream is long enough to have several and brings enough rows in one;
    a slower stream gets a longer one. How long a check looks back, how long a model rests after a training and how long
    a shadow may take follow from how many rows that takes; but each of them has to come to its end several times within
    the stream, so none takes more than its share of the span. Pace and span are those of the time in which rows come
    (:class:`Pace`): a gap of months makes no period longer.

    Parameters
    ----------
    stream : Stream

    Returns
    -------
    ModelSpec
    """
    pace = Pace.of(stream)
    cycle = _cycle(stream, pace)
    refill = min(REFILL_ROWS, max(stream.rows // REFILLS, FEWEST_REFILL_ROWS))
    new_rows = min(NEW_ROWS, refill)

    def time_for(rows: int, *, share: float = 1.0, at_least: timedelta = _MINUTE) -> str:
        return format_duration(max(_rounded(pace.time_for(rows), share * pace.span), at_least))

    classification = stream.task != "regression"
    return ModelSpec.parse(
        {
            "model": stream.name,
            "task": stream.task,
            "features": {name: {"type": kind} for name, kind in stream.features.items()},
            "labels": {
                "classes": list(stream.classes) if stream.classes else None,
                "maturity": format_duration(_maturity(stream)),
            },
            "triggers": {
                "cycle": format_duration(cycle),
                "tokens": {
                    "burst": BURST,
                    "refill_rows": refill,
                    "refill_every": time_for(refill, share=1 / REFILLS, at_least=cycle),
                },
                "cooldown": time_for(new_rows, share=1 / 20),
                "monthly_budget": _budget(pace, refill),
                "performance": {"look_back": time_for(500, share=1 / 10, at_least=cycle)},
                "schedule": {
                    "every": time_for(refill, share=1 / REFILLS, at_least=cycle),
                    "longest_age": time_for(refill, share=1 / REFILLS, at_least=cycle),
                },
            },
            "training": {
                "params": {"n_estimators": 40, "max_depth": 20, "min_samples_leaf": 5},
                "window": _window(stream, pace, at_least=4 * cycle),
                "max_rows": MOST_TRAINED,
                "min_new_rows": new_rows,
            },
            "shadow": {
                "metric": "brier" if classification else "absolute_error",
                "min_gain": 0.005 if classification else 0.01,
                "cycle": format_duration(cycle),
                "max_time": time_for(2_500, share=1 / 4, at_least=3 * cycle),
            },
            "deployment": {
                "ops_bake_longest": time_for(5, at_least=6 * _HOUR),
                "quality_bake": time_for(500, share=1 / 10, at_least=2 * cycle),
            },
            "freshness": {"enabled": True},
        }
    )


def with_pace(spec: ModelSpec, stream: Stream, refill_rows: int | None) -> ModelSpec:
    """Return the spec with a training for so many labelled rows, or with none but for a model that is proven worse.

    Parameters
    ----------
    spec : ModelSpec
    stream : Stream
        Its pace turns rows into times.
    refill_rows : int or None
        Rows that bring a token back and, being new, start a training. None: neither rows, age nor drift start one.

    Returns
    -------
    ModelSpec

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(18_000), "label": [0, 1] * 9_000}), name="a_month")
    >>> triggers = with_pace(infer_spec(stream), stream, 2_000).triggers
    >>> triggers.tokens.refill_rows, triggers.new_data.min_new_samples, format_duration(triggers.schedule.longest_age)
    (2000, 2000, '4d')
    """
    document = spec.to_json()
    triggers = document["triggers"]
    if refill_rows is None:
        for name in ("data_drift", "prediction_shift", "new_data"):
            triggers[name]["enabled"] = False
        triggers["schedule"] = {"every": None, "longest_age": None}
        return ModelSpec.parse(document)
    pace = Pace.of(stream)
    between = pace.time_for(refill_rows)
    every = format_duration(_plain(between))
    triggers["tokens"] |= {"refill_rows": refill_rows, "refill_every": every}
    triggers["new_data"] = {"enabled": True, "min_new_samples": refill_rows}
    triggers["schedule"] = {"every": every, "longest_age": every}
    triggers["monthly_budget"] = _budget(pace, refill_rows)
    triggers["cooldown"] = format_duration(min(spec.triggers.cooldown, _plain(between / 2)))
    document["training"]["min_new_rows"] = min(spec.training.min_new_rows, refill_rows)
    return ModelSpec.parse(document)


def _budget(pace: Pace, refill_rows: int) -> int:
    """Trainings in 30 days that are never too few: tokens are scarcer."""
    return BURST + math.ceil(30 * pace.rows_per_day / refill_rows)


def _window(stream: Stream, pace: Pace, *, at_least: timedelta) -> str:
    """How far back the rows of a training lie: across the longest gap, or a training after it would have none."""
    rows, span = pace.time_for(MOST_TRAINED), pace.span
    reach = _rounded(min(rows + pace.idle, stream.span)) if pace.idle else _rounded(rows, span)
    return format_duration(max(reach, at_least))


def _first_end(stream: Stream, spec: ModelSpec) -> datetime:
    """The end of a tenth of the rows, or the first time after it by which a model can be trained."""
    training = spec.training
    rows = min(max(round(stream.rows * BASE_SHARE), FEWEST_BASE_ROWS), MOST_BASE_ROWS, stream.rows // 2)
    why_not = ""
    while rows <= max(LARGEST_BASE_SHARE * stream.rows, stream.rows // 2):
        until = stream.event_time[rows]
        trained = trainable(stream, until, spec)
        fitted_on = stream.label[trained[: round(len(trained) * (1 - training.validation_fraction))]]
        if len(trained) < training.min_rows:
            why_not = f"{len(trained):,} rows of training.window have a label, and are older than labels.maturity, "
            why_not += f"{format_duration(spec.labels.maturity)}; {training.min_rows:,} are needed"
        elif len(set(fitted_on.tolist())) < 2:
            why_not = f"every label that is known is {fitted_on[0]}"
        else:
            return as_datetime(until)
        rows = max(rows + 1, round(rows * BASE_GROWTH))
    raise StreamError(
        f"no first model can be trained on the first {LARGEST_BASE_SHARE:.0%} of {stream.name}: {why_not}; give a "
        "longer file, or with --spec other values of these"
    )


def _plain(duration: timedelta) -> timedelta:
    """About the same in whole days, hours or minutes: at least ten of them, or a minute.

    Examples
    --------
    >>> _plain(timedelta(days=15, hours=23)), _plain(timedelta(hours=40, seconds=9)), _plain(timedelta(seconds=2))
    (datetime.timedelta(days=16), datetime.timedelta(days=1, seconds=57600), datetime.timedelta(seconds=60))
    """
    unit = next((unit for unit in (_DAY, _HOUR) if duration >= 10 * unit), _MINUTE)
    return max(round(duration / unit), 1) * unit


def _cycle(stream: Stream, pace: Pace) -> timedelta:
    shortest = _WEEK if stream.times_given and pace.span >= 8 * _WEEK else max(_CYCLES[0], pace.resolution)
    fitting = [c for c in _CYCLES if c <= max(pace.span / CYCLES, shortest)]
    enough = (c for c in fitting if c >= shortest and pace.rows_per_day * (c / _DAY) >= CYCLE_ROWS)
    return next(enough, fitting[-1])


def _maturity(stream: Stream) -> timedelta:
    """How long 99 % of the labels take; of those that come within a share of the span, where nearly all others do.

    A few labels that take months are no reason to wait for months with all: those come late, as any late label does.
    """
    took = label_delays(stream)
    bounds = (share * Pace.of(stream).span / _MICROSECOND for share in WAITED_FOR_SHARES)
    bound = next((bound for bound in bounds if np.mean(took <= bound) >= MOST_LABELS), None)
    prompt = took if bound is None else took[took <= bound]
    # Labels are handed in at the next step, so the latest of them wait for one.
    return _rounded(float(np.quantile(prompt, LABELS_WAITED_FOR)) * _MICROSECOND + default_step(stream))


def _rounded(duration: timedelta, most: timedelta = _ROUND[-1]) -> timedelta:
    """The next duration that a person would write; the last one before ``most`` where it would be longer."""
    fitting = [known for known in _ROUND if known <= _ABOUT * most] or [_ROUND[0]]
    return next((known for known in fitting if known >= duration), fitting[-1])


def _names(stream: Stream) -> str:
    return ", ".join(list(stream.features)[:30])
