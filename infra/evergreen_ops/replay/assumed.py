"""What was taken for granted about a file for which nobody wrote a spec, in plain English."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.durations import format_duration
from evergreen.spec import ModelSpec
from evergreen_ops.replay.pace import Pace, label_delays
from evergreen_ops.replay.specs import Base, trainable
from evergreen_ops.replay.streams import Stream, as_datetime, as_instant

NOTABLE = 0.01
"""A larger share of labels that come too late, or are missing, is worth a word."""
HEAP = 0.05
"""Of all rows at one instant: they were hardly asked at once."""
GAP = 0.1
"""Of the span, without a row."""
UNLIKE = 0.05
"""Difference of a class's share, or of means in standard deviations, that makes early labels another kind."""

Array = npt.NDArray[Any]


def assumed(stream: Stream, spec: ModelSpec, base: Base, step: timedelta) -> dict[str, str]:
    """Say what was inferred of a stream, and how its labels may be biased, one sentence each.

    Parameters
    ----------
    stream : Stream
    spec : ModelSpec
        As :func:`evergreen_ops.replay.specs.infer_spec` wrote it.
    base : Base
    step : timedelta
        Between two batches of requests.

    Returns
    -------
    dict of str to str
        ``times``, ``maturity``, ``cycle``, ``retraining``, ``base`` and ``step``; ``gap``, ``missing_labels`` and
        ``early_labels`` where there is something to say.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.specs import base_of, default_step, infer_spec
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(18_000), "label": [0, 1] * 9_000}), name="a_month")
    >>> told = assumed(stream, infer_spec(stream), base_of(stream), default_step(stream))
    >>> told["times"]
    'the file has no times: rows are spread evenly, 500 a day, and no day or week is real'
    >>> told["maturity"]
    '1d after a request its label is taken to be known (labels.maturity): all labels that ever come are there by then'
    """
    pace = Pace.of(stream)
    tokens = spec.triggers.tokens
    told = {
        "times": _times(stream, pace),
        "gap": _gap(stream, pace),
        "maturity": _maturity(stream, spec.labels.maturity),
        "early_labels": _early_labels(stream, spec.labels.maturity),
        "missing_labels": _missing_labels(stream),
        "cycle": f"traffic repeats itself every {format_duration(spec.triggers.cycle)} (triggers.cycle, shadow.cycle)",
        "retraining": f"a retraining for {tokens.refill_rows:,} labelled rows, or every "
        f"{format_duration(tokens.refill_every)} (triggers.tokens)",
        "base": _base(stream, spec, base),
        "step": f"requests are asked in batches of {format_duration(step)}, and labels come as often (--step)",
    }
    return {name: sentence for name, sentence in told.items() if sentence}


def _times(stream: Stream, pace: Pace) -> str:
    if not stream.times_given:
        return (
            f"the file has no times: rows are spread evenly, {stream.rows_per_day:,.0f} a day, and no day or week is "
            "real"
        )
    a_day = f"{pace.rows_per_day:,.0f}" if pace.rows_per_day >= 10 else f"{pace.rows_per_day:.2g}"
    sentence = f"about {a_day} rows come a day, gaps aside"
    instants, counts = np.unique(stream.event_time, return_counts=True)
    most = int(counts.argmax())
    if pace.resolution >= timedelta(days=1):
        sentence += f"; times are whole days, {len(instants):,} of them: the rows of a day are asked together"
    elif counts[most] > HEAP * stream.rows:
        sentence += (
            f"; {counts[most]:,} of {stream.rows:,} rows bear one time, {as_datetime(instants[most]):%Y-%m-%d %H:%M}, "
            "and are asked together"
        )
    return sentence


def _gap(stream: Stream, pace: Pace) -> str:
    between = np.diff(stream.event_time)
    longest = int(between.argmax())
    gap = as_datetime(stream.event_time[longest + 1]) - as_datetime(stream.event_time[longest])
    if gap <= GAP * stream.span or gap <= pace.resolution:
        return ""
    since = as_datetime(stream.event_time[longest])
    return (
        f"no row comes for {_in_words(gap)} from {since:%Y-%m-%d} on: periods are inferred without it, "
        "and no shadow runs out of time in it"
    )


def _maturity(stream: Stream, maturity: timedelta) -> str:
    took = label_delays(stream)
    by_then = float(np.mean(took <= maturity / timedelta(microseconds=1)))
    sentence = f"{format_duration(maturity)} after a request its label is taken to be known (labels.maturity): "
    if by_then >= 1 - NOTABLE:
        share = "all" if by_then == 1 else f"{math.floor(1_000 * by_then) / 10:.1f}% of the"
        return f"{sentence}{share} labels that ever come are there by then"
    slowest = _in_words(timedelta(microseconds=float(np.quantile(took, 0.99))))
    return (
        f"{sentence}{1 - by_then:.1%} of the labels come later, the slowest hundredth after {slowest} or more. Nothing "
        "waits for these: they are late labels, and trainings after them know them"
    )


def _early_labels(stream: Stream, maturity: timedelta) -> str:
    """Whether labels that come late are of another kind than those that come in time."""
    labels = stream.label[stream.labelled]
    is_late = label_delays(stream) > maturity / timedelta(microseconds=1)
    if is_late.mean() <= NOTABLE:
        return ""
    early, late = labels[~is_late], labels[is_late]
    if stream.classes is None:
        early, late = early.astype(float), late.astype(float)
        unlike = abs(float(early.mean() - late.mean())) > UNLIKE * (float(np.std(labels.astype(float))) or 1.0)
        shares = f"the mean of the labels that come in time is {early.mean():.4g}, of the late ones {late.mean():.4g}"
    else:
        in_time, later = ([float(np.mean(some == name)) for name in stream.classes] for some in (early, late))
        most = int(np.abs(np.subtract(in_time, later)).argmax())
        unlike = abs(in_time[most] - later[most]) > UNLIKE
        shares = f"{in_time[most]:.1%} of the labels that come in time are {stream.classes[most]!r}, "
        shares += f"of the late ones {later[most]:.1%}"
    return shares + (": what is learned before those come may be biased" if unlike else ": they are alike")


def _missing_labels(stream: Stream) -> str:
    missing = 1 - float(stream.labelled.mean())
    if missing <= NOTABLE:
        return ""
    return f"{missing:.1%} of the rows never get a label: they are asked, and neither trained on nor scored"


def _base(stream: Stream, spec: ModelSpec, base: Base) -> str:
    until = as_instant(base.until)
    trained = trainable(stream, until, spec)
    is_mature = stream.event_time[: base.rows] <= until - np.timedelta64(spec.labels.maturity)
    mature = int(np.sum(is_mature & stream.labelled[: base.rows]))
    sentence = (
        f"the first {base.rows:,} rows, until {base.until:%Y-%m-%d %H:%M}, came before Evergreen; the first model is "
        f"trained on {len(trained):,} of them"
    )
    if mature - len(trained) > NOTABLE * mature:
        sentence += (
            f". {1 - len(trained) / mature:.1%} of those that are older than labels.maturity get their label later: "
            "labels that come quickly may be of another kind"
        )
    return sentence


def _in_words(duration: timedelta) -> str:
    days = duration / timedelta(days=1)
    return (
        f"{days:,.0f} days"
        if days >= 2
        else f"{24 * days:,.0f} hours"
        if days >= 1 / 12
        else f"{1440 * days:,.0f} minutes"
    )
