"""How much better some answers were than others: the figures, and whether their intervals hold what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import brier_score_loss, cohen_kappa_score

from evergreen_ops.replay.gains import blocks_of, gain, gains_over, kappa_gain
from evergreen_ops.replay.policies import PolicyResult
from evergreen_ops.replay.scores import quality
from evergreen_ops.replay.streams import Stream, read_table

Array = npt.NDArray[Any]
CLASSES = 3


def hundred_a_day(rows: int) -> Stream:
    """A stream of two classes without anything to see in it."""
    random = np.random.default_rng(4)
    return read_table(
        pa.table({"x": random.normal(size=rows), "label": random.random(rows) < 0.5}), name="noise", rows_per_day=100
    )


def a_policy(stream: Stream, scored: Array, chances: Array) -> PolicyResult:
    """What some policy said to these rows."""
    assert stream.classes is not None
    predicted = np.array(stream.classes, dtype=object)[chances.argmax(axis=1)]
    actual = stream.label[scored]
    found = quality(actual, predicted, chances, stream.classes)
    return PolicyResult("some", len(scored), found, 0, 0, {}, 0.0, 0.0, actual, predicted, chances, scored)


def test_days_that_differ_widen_an_interval() -> None:
    random = np.random.default_rng(1)
    days = np.repeat(np.arange(20), 100)
    noise = random.normal(size=2_000)
    alike, apart = (gain(noise - 0.1 - shift, noise, days) for shift in (0.0, random.normal(size=20)[days] * 0.2))
    assert alike.interval is not None
    assert apart.interval is not None
    assert alike.interval == pytest.approx((0.1, 0.1))
    assert apart.interval[0] < 0.1 < apart.interval[1]


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(2), 0
    days = np.repeat(np.arange(15), 40)
    for _ in range(400):
        common = random.normal(size=15)[days] * 0.3
        found = gain(-common + random.normal(size=600), np.zeros(600), days)
        assert found.interval is not None
        held += found.interval[0] <= 0.0 <= found.interval[1]
    assert 0.92 < held / 400 < 0.98


def test_of_few_rows_no_interval_is_told() -> None:
    assert gain(np.zeros(8), np.ones(8), blocks_of(hundred_a_day(1_000), np.arange(8))).interval is None


@given(
    arrays(np.int64, (3, 60), elements=st.integers(0, CLASSES - 1)),
    arrays(np.int64, 60, elements=st.integers(0, 9)),
)
def test_a_gain_of_kappa_is_the_difference_of_two_kappas(codes: Array, days: Array) -> None:
    actual, one, other = codes
    found = kappa_gain(actual, one, other, days, CLASSES)
    every = list(range(CLASSES))
    kappas = [cohen_kappa_score(actual, said, labels=every, replace_undefined_by=np.nan) for said in (one, other)]
    if found is None:
        assert not np.isfinite(kappas).all()
        return
    assert found.gain == pytest.approx(kappas[0] - kappas[1], abs=1e-9)
    if found.interval is not None:
        assert found.interval[0] <= found.gain <= found.interval[1]
        assert sum(found.interval) / 2 == pytest.approx(found.gain)


def test_an_interval_of_kappa_holds_the_truth_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(6), 0
    days = np.repeat(np.arange(30), 60)
    for _ in range(300):
        actual = random.integers(0, 2, len(days))
        hard = random.random(30)[days] * 0.4  # days on which both are wrong more often: no gain in truth
        one, other = (np.where(random.random(len(days)) < hard, 1 - actual, actual) for _ in range(2))
        found = kappa_gain(actual, one, other, days, 2)
        assert found is not None
        assert found.interval is not None
        held += found.interval[0] <= 0.0 <= found.interval[1]
    assert 0.91 < held / 300 < 0.985


def test_answers_are_compared_on_the_rows_that_both_answered() -> None:
    stream, random = hundred_a_day(2_000), np.random.default_rng(5)
    assert stream.classes is not None
    truth = (stream.label == stream.classes[1]).astype(float)
    sure = np.clip(truth + random.normal(size=2_000) * 0.4, 0.01, 0.99)
    vague = np.clip(truth + random.normal(size=2_000) * 0.9, 0.01, 0.99)
    ours, theirs = (np.stack([1 - chance, chance], axis=1) for chance in (sure, vague))
    said = np.array(stream.classes, dtype=object)[ours.argmax(axis=1)]
    both = np.arange(500, 1_800)
    other = a_policy(stream, np.arange(500, 2_000), theirs[500:])
    found = gains_over(other, stream, np.arange(300, 1_800), said, ours)
    assert list(found) == ["accuracy", "kappa", "brier"]
    assert {each.rows for each in found.values()} == {len(both)}
    assert {each.blocks for each in found.values()} == {13}
    assert found["brier"].gain == pytest.approx(
        brier_score_loss(truth[both], vague[both]) - brier_score_loss(truth[both], sure[both])
    )
    assert all(each.proven for each in found.values())


def test_numbers_are_compared_by_their_errors_and_nothing_where_nothing_came() -> None:
    stream = read_table(
        pa.table({"x": range(1_000), "label": np.arange(1_000) / 7.0}), name="numbers", rows_per_day=100
    )
    scored = np.arange(200, 1_000)
    actual = stream.label[scored].astype(float)
    found = quality(actual, actual + 2.0)
    far = PolicyResult("far", 800, found, 0, 0, {}, 0.0, 0.0, actual, actual + 2.0, None, scored)
    near = stream.label.astype(float) - 0.5
    assert list(gains_over(far, stream, scored, near, None)) == ["mae"]
    assert gains_over(far, stream, scored, near, None)["mae"].gain == pytest.approx(1.5)
    assert gains_over(far, stream, scored[:0], near, None) == {}
