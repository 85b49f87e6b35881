"""Performance degradation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.statistics.degradation import PerformanceStatus, overdispersion, performance

days = st.lists(st.integers(0, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=30)
STEADY = [(500, 450)] * 14


def drawn(rng: np.random.Generator, rows: int, accuracy: float, length: int) -> list[tuple[int, int]]:
    return [(rows, int(right)) for right in rng.binomial(rows, accuracy, size=length)]


def test_the_score_is_the_formula() -> None:
    daily, p0 = [(100, 88), (50, 40), (0, 0), (200, 170)], 0.15
    theta = p0 + (1 - p0) * np.geomspace(0.02, 0.6, 8)
    m = np.zeros(8)
    for n, correct in daily:
        k = n - correct
        if n:
            m = (1 + m) * (theta / p0) ** k * ((1 - theta) / (1 - p0)) ** (n - k)
    found = performance(daily, STEADY, accuracy_threshold=0.85)
    assert found.score == pytest.approx(m.mean(), rel=1e-10)
    assert found.log_m == pytest.approx(math.log(m.mean()), rel=1e-10)
    assert found.p0 == pytest.approx(0.15)
    assert (found.phi, found.threshold, found.labelled) == (1.0, 730.0, 350)
    assert found.accuracy == pytest.approx(298 / 350)


def test_without_a_threshold_the_references_error_and_a_tolerance_are_acceptable() -> None:
    assert performance([(200, 180)], STEADY).p0 == pytest.approx(0.13)
    assert performance([(200, 180)], STEADY, tolerance=0.1).p0 == pytest.approx(0.2)


def test_a_fall_is_found_and_a_recovery_is_forgiven() -> None:
    good, bad = [(100, 90)] * 10, [(100, 75)] * 8
    assert performance(good, STEADY).status is PerformanceStatus.OK
    assert performance(good + bad, STEADY).status == "degraded"
    assert performance(good + bad + good * 3, STEADY).status == "ok"


def test_no_data_is_neither_good_nor_bad() -> None:
    for daily, reference in (([], STEADY), ([(0, 0)] * 7, STEADY), ([(99, 0)], STEADY), ([(500, 100)], [])):
        found = performance(daily, reference)
        assert found.status is PerformanceStatus.INSUFFICIENT_DATA
    assert performance([], STEADY).accuracy is None
    assert performance([], STEADY).log_m is None
    assert performance([(500, 100)], []).p0 is None
    assert performance([(500, 100)], [], accuracy_threshold=0.8).status == "degraded"
    assert performance([(60, 5)], STEADY, min_labelled=50).status == "degraded"


def test_extremes_give_numbers() -> None:
    for daily in ([(10**6, 0)] * 400, [(10**6, 10**6)] * 400):
        for reference in ([(100, 100)] * 5, [(100, 0)] * 5, STEADY):
            found = performance(daily, reference, tolerance=0.0)
            assert math.isfinite(found.score)
            assert found.log_m is not None
            assert math.isfinite(found.log_m)


def test_days_that_swing_are_weighed_less() -> None:
    swinging = [(1_000, 850), (1_000, 950)] * 7
    assert overdispersion(swinging) > 20
    worse = [(1_000, 860)] * 4
    assert performance(worse, [(1_000, 900)] * 14, tolerance=0.01).status == "degraded"
    assert performance(worse, swinging, tolerance=0.01).status == "ok"


@given(days)
@settings(max_examples=60)
def test_overdispersion_is_a_number_of_at_least_one(reference: list[tuple[int, int]]) -> None:
    assert 1.0 <= overdispersion(reference) < math.inf


@given(days, st.integers(0, 29))
@settings(max_examples=60)
def test_one_error_more_never_looks_better(daily: list[tuple[int, int]], at: int) -> None:
    if at >= len(daily) or daily[at][1] == 0:
        return
    n, correct = daily[at]
    worse = [*daily[:at], (n, correct - 1), *daily[at + 1 :]]
    before, after = performance(daily, STEADY), performance(worse, STEADY)
    assert after.log_m is not None
    assert before.log_m is not None
    assert after.log_m >= before.log_m - 1e-9


def test_healthy_years_are_quiet_and_a_fall_is_found_in_time() -> None:
    rng = np.random.default_rng(13)
    alarms, delays = 0, []
    for _ in range(15):
        reference, year = drawn(rng, 100, 0.87, 28), drawn(rng, 100, 0.87, 200)
        alarms += any(
            performance(year[:day], reference, accuracy_threshold=0.85).status == "degraded"
            for day in range(10, 201, 10)
        )
        fall = year[:20] + drawn(rng, 100, 0.80, 40)
        delays.append(
            next(
                day
                for day in range(1, 41)
                if performance(fall[: 20 + day], reference, accuracy_threshold=0.85).status == "degraded"
            )
        )
    assert alarms <= 1
    assert np.median(delays) <= 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"daily": [(10, 11)]}, r"daily\[0\] correct is 11; pass at most the day's rows, 10"),
        ({"daily": [(10, -1)]}, r"daily\[0\] correct is -1"),
        ({"daily": [(10, 1), (1.5, 1)]}, r"daily\[1\] rows is 1.5"),
        ({"daily": [10]}, r"daily\[0\] is 10; pass the day's"),
        ({"reference_daily": [(math.nan, 1)]}, r"reference_daily\[0\] rows is nan"),
        ({"accuracy_threshold": 1.0}, "accuracy_threshold is 1.0; pass a number above 0 and below 1"),
        ({"tolerance": -0.1}, "tolerance is -0.1"),
        ({"min_labelled": -5}, "min_labelled is -5"),
    ],
)
def test_bad_input_is_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        performance(**({"daily": [(10, 9)], "reference_daily": STEADY} | arguments))  # type: ignore[arg-type]
