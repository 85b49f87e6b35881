"""Files as people have them: heaps, gaps, whole days, slow labels, one class. Each gives a spec, or a clear refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.domain.retention import Retention
from evergreen.durations import format_duration
from evergreen.spec import ModelSpec
from evergreen_ops.replay.assumed import assumed
from evergreen_ops.replay.driver import LateBase
from evergreen_ops.replay.pace import Pace
from evergreen_ops.replay.policies import base_rows
from evergreen_ops.replay.run import stack_parameters
from evergreen_ops.replay.specs import base_of, default_step, infer_spec
from evergreen_ops.replay.streams import Stream, StreamError, read_table

BEGIN = np.datetime64("2024-01-01", "us")
DAY = timedelta(days=1)
RANDOM = np.random.default_rng(4)


def even(rows: int, span: timedelta) -> Any:
    """Microseconds from the first request on."""
    return np.linspace(0, span / timedelta(microseconds=1), rows).astype("int64")


def days(count: float) -> int:
    return round(count * DAY / timedelta(microseconds=1))


def stream(times: Any, *, label: Any = None, delay: Any = None, name: str = "odd") -> Stream:
    rows = len(times)
    at = BEGIN + np.asarray(times).astype("timedelta64[us]")
    columns = {"x": np.arange(rows) % 17, "label": np.arange(rows) % 2 if label is None else label, "event_time": at}
    if delay is not None:
        columns["label_time"] = at + np.asarray(delay).astype("timedelta64[us]")
    return read_table(pa.table(columns), name=name)


def told(odd: Stream) -> dict[str, str]:
    spec = infer_spec(odd)
    return assumed(odd, spec, base_of(odd, spec=spec), default_step(odd))


@pytest.mark.parametrize("microseconds", [1, 100, 10_000, 30_000_000])
def test_a_file_of_less_than_a_minute_is_refused_in_a_sentence(microseconds: int) -> None:
    brief = stream(even(1_000, timedelta(microseconds=microseconds)))
    assert default_step(brief) == timedelta(minutes=1)
    with pytest.raises(StreamError, match="no first model can be trained"):
        base_of(brief)


# --- pace -------------------------------------------------------------------------------------------------------------


def test_a_gap_of_months_makes_no_period_longer() -> None:
    times = even(6_000, 120 * DAY)
    gap = np.where(times > days(60), times + days(200), times)
    usual, odd = infer_spec(stream(times)), infer_spec(stream(gap))
    assert odd.triggers == usual.triggers
    assert odd.shadow == usual.shadow
    assert odd.labels == usual.labels
    assert default_step(stream(gap)) == default_step(stream(times))
    assert odd.training.window >= 320 * DAY, "a training after the gap reaches back across it"
    assert "no row comes for 200 days from 2024-02-29 on" in told(stream(gap))["gap"]


def test_a_fifth_of_the_rows_at_the_first_instant_are_no_traffic() -> None:
    times = np.concatenate([np.zeros(1_200), even(4_800, 96 * DAY)])
    odd = stream(times)
    assert 45 < Pace.of(odd).rows_per_day < 60
    base = base_of(odd)
    assert base.rows > 1_200
    assert len(base_rows(odd, infer_spec(odd), base)) >= 1_200
    assert told(odd)["times"].endswith("1,201 of 6,000 rows bear one time, 2024-01-01 00:00, and are asked together")


def test_times_that_are_whole_days_have_no_shorter_cycle() -> None:
    odd = stream(np.repeat(np.arange(20) * days(1), 300))
    assert Pace.of(odd).rows_per_day == pytest.approx(300, rel=0.06)
    assert infer_spec(odd).triggers.cycle >= DAY
    assert "times are whole days, 20 of them" in told(odd)["times"]


def test_what_comes_evenly_has_its_mean_pace() -> None:
    odd = stream(even(5_000, 100 * DAY))
    assert Pace.of(odd).rows_per_day == odd.rows_per_day
    assert Pace.of(odd).idle == timedelta(0)


def test_two_rows_a_day_for_ten_years() -> None:
    odd = stream(np.arange(7_300) * days(0.5))
    assert infer_spec(odd).triggers.cycle == timedelta(weeks=52)
    assert set(told(odd)) == {"times", "maturity", "cycle", "retraining", "base", "step"}


# --- labels -----------------------------------------------------------------------------------------------------------


def slow_tail(share: float, *, classes_differ: bool = False) -> Stream:
    """Labels take hours, but for a share of the rows five months."""
    rows = 6_000
    late = np.arange(rows) % 100 < 100 * share
    label = np.where(late, 0, np.arange(rows) % 2) if classes_differ else (np.arange(rows) // 100) % 2
    return stream(even(rows, 365 * DAY), label=label, delay=np.where(late, days(150), days(0.3)))


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.1, 0.19])
def test_a_few_slow_labels_are_not_waited_for(share: float) -> None:
    odd = slow_tail(share)
    spec = infer_spec(odd)
    assert spec.labels.maturity == 0.5 * DAY
    assert len(base_rows(odd, spec, base_of(odd))) > 450


def test_labels_that_are_slow_as_a_whole_are_waited_for_and_the_base_goes_on_until_they_are_known() -> None:
    odd = stream(even(6_000, 365 * DAY), delay=np.full(6_000, days(90)))
    spec, base = infer_spec(odd), base_of(odd)
    assert spec.labels.maturity >= 90 * DAY
    assert base.rows > 6_000 * 90 / 365
    assert len(base_rows(odd, spec, base)) >= spec.training.min_rows


def test_it_is_said_that_labels_come_late_and_how_the_early_ones_differ() -> None:
    sentences = told(slow_tail(0.1, classes_differ=True))
    assert "10.0% of the labels come later, the slowest hundredth after 150 days or more" in sentences["maturity"]
    early = "50.0% of the labels that come in time are '0', of the late ones 100.0%"
    assert sentences["early_labels"] == early + ": what is learned before those come may be biased"
    assert "get their label later" in sentences["base"]
    assert told(slow_tail(0.1))["early_labels"].endswith("they are alike")
    assert "early_labels" not in told(slow_tail(0.005))


def test_base_rows_are_handed_over_when_their_labels_come_however_late() -> None:
    odd = slow_tail(0.1)
    spec, base = infer_spec(odd), base_of(odd)
    late, first = LateBase.of(odd, spec, base), base_rows(odd, spec, base)
    assert len(late.known_by(base.until + spec.labels.maturity / 2)) == 0
    soon, then, at_last = (late.known_by(base.until + after * DAY) for after in (2, 130, 160))
    assert len(then) > 0
    assert len(at_last) > 0
    assert sorted([*first, *soon, *then, *at_last]) == list(range(base.rows))
    assert len(late.known_by(base.until + 400 * DAY)) == 0


def test_it_is_said_that_rows_never_get_a_label() -> None:
    label = np.where(np.arange(3_000) % 4 == 0, np.nan, np.arange(3_000) % 97 + 0.5)
    assert told(stream(even(3_000, 60 * DAY), label=label))["missing_labels"].startswith("25.0% of the rows never get")


def test_a_captures_life_is_as_long_as_late_labels_take() -> None:
    odd = slow_tail(0.1)
    spec, step = infer_spec(odd), default_step(odd)
    short = stack_parameters(spec, odd.span, step, "")
    kept = stack_parameters(spec, odd.span, step, "", labels_within=150 * DAY)
    assert (short["CaptureRetentionDays"], kept["CaptureRetentionDays"]) == ("8", "157")
    days = {name: int(value) for name, value in kept.items() if name.endswith("RetentionDays")}
    assert Retention.of_days(*days.values()).refusals(spec) == []


# --- the base ---------------------------------------------------------------------------------------------------------


def test_a_base_goes_on_until_two_classes_can_be_learned() -> None:
    odd = stream(even(6_000, 100 * DAY), label=np.where(np.arange(6_000) < 900, 0, np.arange(6_000) % 2))
    base = base_of(odd)
    trained = base_rows(odd, infer_spec(odd), base)
    assert 900 < base.rows < 1_500
    assert len(set(odd.label[trained[: round(0.8 * len(trained))]])) == 2


def test_a_class_that_comes_too_late_for_a_first_model_is_told() -> None:
    odd = stream(even(2_000, 100 * DAY), label=np.where(np.arange(2_000) < 1_900, 0, 1))
    with pytest.raises(StreamError, match=r"first 75% of odd: every label that is known is 0"):
        base_of(odd)


def test_labels_that_all_come_after_the_file_are_told() -> None:
    odd = stream(even(2_000, 100 * DAY), delay=np.full(2_000, days(90)))
    with pytest.raises(
        StreamError, match=r"0 rows of training.window .* older than labels.maturity, 13w; 200 are need"
    ):
        base_of(odd)


def test_a_spec_says_when_its_own_labels_are_mature() -> None:
    odd = slow_tail(0.1)
    document = infer_spec(odd).to_json()
    document["labels"]["maturity"] = "100d"
    spec = ModelSpec.parse(document)
    base = base_of(odd, spec=spec)
    assert base.rows > base_of(odd).rows
    assert len(base_rows(odd, spec, base)) >= spec.training.min_rows


@pytest.mark.parametrize("rows", [500, 600, 1_000])
def test_a_short_file_can_be_retrained(rows: int) -> None:
    odd = stream(even(rows, 60 * DAY))
    spec, base = infer_spec(odd), base_of(odd)
    refill = spec.triggers.tokens.refill_rows
    assert refill is not None
    assert spec.training.min_new_rows <= refill < rows - base.rows
    assert len(base_rows(odd, spec, base)) >= spec.training.min_rows


def test_a_file_that_is_too_short_is_told_what_is_needed() -> None:
    with pytest.raises(StreamError, match="odd has 300 rows: a replay needs at least 500"):
        stream(even(300, 30 * DAY))


# --- any file ---------------------------------------------------------------------------------------------------------


@st.composite
def odd_tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(500, 1_500))
    span = draw(st.sampled_from([timedelta(minutes=1), timedelta(hours=3), 2 * DAY, 30 * DAY, 400 * DAY, 5_000 * DAY]))
    span_us = span // timedelta(microseconds=1)
    times = even(rows, span)
    match draw(st.sampled_from(["even", "heap", "days", "gap", "bursts", "faster"])):
        case "heap":
            first = draw(st.integers(0, rows - 1))
            heap = slice(first, min(rows, first + draw(st.integers(1, rows))))
            times[heap] = times[first]
        case "days":
            times = times // days(1) * days(1)
        case "gap":
            times[draw(st.integers(1, rows - 1)) :] += span_us * draw(st.integers(1, 20)) // 4
        case "bursts":
            times = times // max(span_us // draw(st.integers(2, 30)), 1) * (span_us // 30)
        case "faster":
            times = np.sort((span_us * np.linspace(0, 1, rows) ** 0.2).astype("int64"))
    pattern = np.arange(rows) * 2_654_435_761 % 1_000
    classes = draw(st.sampled_from([2, 3, 0]))
    label: Any = pattern / 7 if classes == 0 else pattern % classes
    label = label.astype(float)
    label[: draw(st.sampled_from([0, 0, rows // 3, rows - 30]))] = 1.0
    label[pattern < draw(st.sampled_from([0, 0, 300, 950]))] = np.nan
    columns = {"x": pattern, "label": label}
    if draw(st.booleans()) or draw(st.booleans()):
        columns["event_time"] = BEGIN + times.astype("timedelta64[us]")
        if draw(st.booleans()):
            share = draw(st.sampled_from([0, 20, 100, 400, 1_000]))
            slow = round(span_us * draw(st.sampled_from([0.01, 0.1, 0.4, 2.0])))
            delay = np.where(pattern[::-1] < share, slow, span_us // 1_000)
            columns["label_time"] = columns["event_time"] + delay.astype("timedelta64[us]")
    return pa.table(columns)


@settings(max_examples=60, deadline=None)
@given(odd_tables())
def test_every_file_gives_a_spec_and_a_base_that_can_be_trained_on_or_is_refused_in_a_sentence(table: pa.Table) -> None:
    try:
        odd = read_table(table, name="odd")
        spec = infer_spec(odd)
        base = base_of(odd, spec=spec)
    except StreamError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert len(refusal.splitlines()) == 1
        assert ":" in refusal
        return
    assert ModelSpec.parse(spec.to_json()) == spec
    step = default_step(odd)
    assert timedelta(0) < step <= timedelta(weeks=1)
    assert 0 < base.rows < odd.rows
    trained = base_rows(odd, spec, base)
    assert len(trained) >= spec.training.min_rows
    assert len(set(odd.label[trained].tolist())) > 1
    assert spec.triggers.cycle <= spec.shadow.max_time
    assert spec.training.window >= spec.triggers.cycle
    assert base == base_of(odd, spec=spec)
    for sentence in assumed(odd, spec, base, step).values():
        assert "nan" not in sentence.split()
        assert not sentence.endswith(".")
    assert format_duration(spec.labels.maturity) in assumed(odd, spec, base, step)["maturity"]
    assert stack_parameters(spec, odd.span, step, "")["EvaluationSchedule"].startswith("rate(")


def test_the_first_model_knows_the_newest_mature_rows_however_few_it_may_take():
    """The newest labelled rows are all younger than the maturity: the older ones are taken, not none."""
    times = np.datetime64("2026-01-01", "us") + np.arange(3_000) * np.timedelta64(10, "m")
    stream = read_table(
        pa.table({"x": range(3_000), "label": ["0", "1"] * 1_500, "event_time": times, "label_time": times}), name="few"
    )
    document = infer_spec(stream).to_json()
    document["labels"]["maturity"] = "2d"
    document["training"] |= {"max_rows": 200, "min_rows": 100, "min_new_rows": 100}
    spec = ModelSpec.parse(document)
    base = base_of(stream, datetime(2026, 1, 11, tzinfo=UTC), spec=spec)
    known = base_rows(stream, spec, base)
    assert len(known) == 200
    assert stream.event_time[known[-1]] <= np.datetime64("2026-01-09")
