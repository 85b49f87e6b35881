"""The verdict by macro-F1: what it compares, what it holds, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from evergreen.statistics.checks import StatisticsInputError
from evergreen.statistics.macro_f1 import MIN_OF_CLASS, macro_f1_verdict

ROWS = 400


def some_answers(seed, rows=ROWS, right=0.7, classes=3):
    rng = np.random.default_rng(seed)
    actual = rng.choice(classes, rows, p=[0.6, 0.25, 0.15][:classes])
    said = [np.where(rng.random(rows) < right, actual, rng.integers(0, classes, rows)) for _ in range(2)]
    return actual, *said


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_gain_is_the_difference_of_macro_f1(seed):
    actual, production, shadow = some_answers(seed)
    expected = f1_score(actual, shadow, average="macro") - f1_score(actual, production, average="macro")
    assert macro_f1_verdict(actual, production, shadow).gain == pytest.approx(expected)


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_the_interval_holds_the_gain_and_swaps_with_the_sides(seed):
    actual, production, shadow = some_answers(seed, rows=1_500)
    found, swapped = macro_f1_verdict(actual, production, shadow), macro_f1_verdict(actual, shadow, production)
    low, high = found.interval
    assert -1.0 <= low < found.gain < high <= 1.0
    assert swapped.interval == pytest.approx((-high, -low), abs=1e-6)


def test_the_spread_is_what_resampling_says():
    """The linearised spread against the bootstrap's: the evidence would be wrong by the square of their ratio."""
    actual, production, shadow = some_answers(3, rows=3_000)
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(300):
        rows = rng.integers(0, len(actual), len(actual))
        gains.append(macro_f1_verdict(actual[rows], production[rows], shadow[rows]).gain)
    low, high = macro_f1_verdict(actual, production, shadow).interval
    assert (high - low) / 2 == pytest.approx(4.3 * np.std(gains), rel=0.2)


def test_an_interval_reaches_the_margin_when_the_shadow_is_promoted():
    actual = np.array([0] * 900 + [1] * 200)
    production, shadow = np.array([0] * 1_000 + [1] * 100), np.array([0] * 930 + [1] * 170)
    found = macro_f1_verdict(actual, production, shadow)
    assert (found.verdict, found.interval[0] > 0.0, found.rows_to_decide) == ("promote", True, 0)
    assert macro_f1_verdict(actual, shadow, production).verdict == "keep"


def test_the_projection_is_where_the_verdict_comes():
    actual, production, _ = some_answers(5, rows=2_000)
    shadow = production.copy()
    mended = np.flatnonzero(production != actual)[:30]
    shadow[mended] = actual[mended]
    few = [np.asarray(codes)[::4] for codes in (actual, production, shadow)]
    found = macro_f1_verdict(*few, min_gain=-0.9)
    assert found.verdict == "need_more_data"
    times = -(-(found.rows + found.rows_to_decide) // found.rows)
    assert macro_f1_verdict(*(np.tile(codes, times) for codes in few), min_gain=-0.9).verdict == "promote"


def test_rows_of_one_user_count_together():
    actual, production, shadow = (np.repeat(codes, 20) for codes in some_answers(11, rows=150))
    alone = macro_f1_verdict(actual, production, shadow)
    together = macro_f1_verdict(actual, production, shadow, groups=np.repeat(np.arange(150), 20))
    assert together.gain == alone.gain
    assert np.diff(together.interval)[0] > 3 * np.diff(alone.interval)[0]


def test_a_class_that_was_hardly_seen_says_nothing():
    actual = np.array([0] * 1_000 + [1] * (MIN_OF_CLASS - 1))
    found = macro_f1_verdict(actual, np.zeros_like(actual), actual)
    assert (found.verdict, found.interval, found.log_e_promote) == ("need_more_data", (-1.0, 1.0), 0.0)


def test_no_rows_say_nothing():
    found = macro_f1_verdict([], [], [])
    assert (found.verdict, found.rows, found.gain, found.rows_to_decide) == ("need_more_data", 0, None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0], [0, 1]), "production is 'of 1 rows'"),
        (([0, -1], [0, 1], [0, 1]), "actual is -1"),
        (([0.5], [0], [0]), "actual is 'of type float64'"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(StatisticsInputError, match=message):
        macro_f1_verdict(*arguments)
