"""What labels move the leaves by, together: what counting each leaf by itself can't learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evergreen.training.leaf_steps import LeafSteps, stepped
from evergreen.training.leaves import LeafTable

RANDOM = np.random.default_rng(11)
ROWS = 2_000
LEFT, RIGHT = RANDOM.integers(0, 2, ROWS), RANDOM.integers(0, 2, ROWS)
TREES = 20
IDS = np.stack([2 * tree + (RIGHT if tree % 2 else LEFT) for tree in range(TREES)], axis=1)
"""Trees of two leaves each: one half sees one input, the other half the other."""


def nothing_moved(width):
    return LeafSteps.none(LeafTable(np.zeros((2 * TREES, width), np.float32)))


def said(steps, ids, start):
    """What the leaves answer after their steps."""
    classes = steps.moved.shape[1] if steps.moved.shape[1] > 1 else 0
    return stepped(start, steps.moved[ids].sum(axis=1, dtype=np.float64), classes)


def test_trees_learn_a_sum_that_the_mean_of_their_leaves_can_not_say():
    value = 10.0 * LEFT + 20.0 * RIGHT
    counted = np.array([10.0, 20.0, 5.0, 25.0] * (TREES // 2))[IDS].mean(axis=1)[:, None]  # each leaf's own mean
    assert np.abs(counted[:, 0] - value).mean() == pytest.approx(5.0, abs=0.3)
    steps = nothing_moved(1).learned(IDS, counted, value, 10.0)
    assert np.abs(said(steps, IDS, counted)[:, 0] - value).mean() < 0.5


def test_trees_learn_odds_that_the_mean_of_their_leaves_can_not_say():
    likely = 1 / (1 + np.exp(-(6.0 * LEFT + 6.0 * RIGHT - 6.0)))
    codes = (RANDOM.random(ROWS) < likely).astype(np.int64)
    even = np.full((ROWS, 2), 0.5)
    steps = nothing_moved(2)
    for begin in range(0, ROWS, 100):
        rows = slice(begin, begin + 100)
        steps = steps.learned(IDS[rows], even[rows], codes[rows], 1.0)
    learned = said(steps, IDS, even)[:, 1]
    assert learned[LEFT + RIGHT == 2].mean() > 0.85
    assert learned[LEFT + RIGHT == 0].mean() < 0.15
    assert learned[LEFT + RIGHT == 1].mean() == pytest.approx(0.5, abs=0.1)


def test_a_leaf_that_no_label_reached_stays_where_it_was():
    steps = nothing_moved(2)
    steps = steps.learned(IDS[:1], np.array([[0.5, 0.5]]), np.array([1]), 1.0)
    assert np.flatnonzero(steps.squares).tolist() == IDS[0].tolist()
    assert np.flatnonzero(steps.moved[:, 1]).tolist() == IDS[0].tolist()
    assert (steps.moved[IDS[0], 1] > 0).all()


def test_one_absurd_value_throws_nothing_off():
    start = np.zeros((1, 1))
    steps = nothing_moved(1).learned(IDS[:1], start, np.array([1e300]), 1.0)
    assert 0 < float(np.abs(steps.moved).max()) < 0.1


def test_steps_fade_so_that_an_old_world_is_forgotten():
    steps = nothing_moved(1)
    steps = steps.learned(IDS[:1], np.zeros((1, 1)), np.array([5.0]), 1.0)
    elsewhere = IDS[:1] ^ 1
    later = steps.learned(np.repeat(elsewhere, 5_000, axis=0), np.zeros((5_000, 1)), np.zeros(5_000), 1.0)
    moved = IDS[0]
    assert later.moved[moved] == pytest.approx(steps.moved[moved] * math.exp(-0.5), rel=1e-2)


@given(
    labels=arrays.arrays(np.int64, 60, elements=st.integers(0, 2)),
    start=arrays.arrays(np.float64, (60, 3), elements=st.floats(0, 1)),
)
def test_whatever_the_labels_are_answers_are_probabilities(labels, start):
    steps = nothing_moved(3).learned(IDS[:60], start, labels, 1.0)
    answers = said(steps, IDS[:60], start)
    assert answers.sum(axis=1) == pytest.approx(np.ones(60))
    assert ((answers >= 0) & (answers <= 1)).all()


def test_large_and_small_steps_add_up_to_the_same_in_whatever_order():
    """So that a row is answered the same alone, where trees are added up at once, and among many, tree by tree."""
    missed = 10.0 ** -RANDOM.uniform(0, 15, TREES)
    steps = nothing_moved(1)
    for tree, value in enumerate(missed):
        steps = steps.learned(IDS[:1, tree : tree + 1], np.zeros((1, 1)), np.array([value]), 1.0)
    added = {float(steps.moved[RANDOM.permutation(IDS[0])].sum(dtype=np.float64)) for _ in range(50)}
    assert len(added) == 1
