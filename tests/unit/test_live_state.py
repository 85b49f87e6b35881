"""What a version learns from labels between its trainings: leaves, weights, recalibration, and the guard over all."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from evergreen.training.leaves import TRAINED_LABELS, LeafCounts, LeafTable
from evergreen.training.live_state import MOST_MEMBERS, Guard, LiveState, Pace, recalibrated, row_loss

LETTERS = ("a", "b", "c")
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(600, 3)).astype(np.float32)
CODES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
NAMES = np.array(LETTERS, dtype=object)[CODES]
VALUES = X[:, 0] * 10 + X[:, 1]


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(12, max_depth=6, random_state=0).fit(X, NAMES)


@pytest.fixture(scope="module")
def table(forest):
    return LeafTable.of(forest, LETTERS)


# --- leaves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [RandomForestClassifier(9, random_state=1), DecisionTreeClassifier(max_depth=4)])
def test_a_table_answers_as_the_classifier_does(estimator):
    fitted = estimator.fit(X[:400], NAMES[:400])
    table = LeafTable.of(fitted, LETTERS)
    assert table.answers(table.ids(fitted, X)) == pytest.approx(fitted.predict_proba(X), abs=1e-6)


@pytest.mark.parametrize("estimator", [RandomForestRegressor(9, random_state=1), ExtraTreesRegressor(5)])
def test_a_table_answers_as_the_regressor_does(estimator):
    fitted = estimator.fit(X[:400], VALUES[:400])
    table = LeafTable.of(fitted, None)
    assert table.answers(table.ids(fitted, X))[:, 0] == pytest.approx(fitted.predict(X), abs=1e-4)


def test_a_class_that_the_forest_never_saw_has_no_share():
    fitted = RandomForestClassifier(5, random_state=1).fit(X[NAMES != "c"], NAMES[NAMES != "c"])
    table = LeafTable.of(fitted, LETTERS)
    assert (table.answers(table.ids(fitted, X))[:, 2] == 0).all()


@pytest.mark.parametrize("estimator", [GradientBoostingClassifier(n_estimators=3), LogisticRegression()])
def test_what_answers_in_another_way_has_no_table(estimator):
    assert LeafTable.of(estimator.fit(X, NAMES), LETTERS) is None


def test_leaves_that_learned_nothing_answer_as_trained(forest, table):
    ids = table.ids(forest, X)
    assert LeafCounts.none(table).answers(table, ids) == pytest.approx(table.answers(ids))


def test_a_leaf_weighs_its_training_against_its_labels(forest, table):
    ids = table.ids(forest, X[:1])
    taught = LeafCounts.none(table).learned(np.repeat(ids, 6, axis=0), np.full(6, 2), math.inf)
    trained = table.answers(ids)[0]
    expected = (TRAINED_LABELS * trained + 6 * np.array([0, 0, 1])) / (TRAINED_LABELS + 6)
    assert taught.answers(table, ids)[0] == pytest.approx(expected)


def test_after_a_half_life_a_label_counts_half(forest, table):
    ids = table.ids(forest, X[:20])
    once = LeafCounts.none(table).learned(ids, CODES[:20], 20)
    later = once.learned(ids, CODES[:20], 20)
    assert later.totals == pytest.approx(1.5 * once.totals)
    assert later.sums == pytest.approx(1.5 * once.sums)


def test_a_world_that_turns_is_followed_without_a_training(forest, table):
    turned = 2 - CODES
    counts = LeafCounts.none(table)
    for begin in range(0, 500, 50):
        rows = slice(begin, begin + 50)
        counts = counts.learned(table.ids(forest, X[rows]), turned[rows], 300)
    ids = table.ids(forest, X[500:])
    refreshed = counts.answers(table, ids).argmax(1) == turned[500:]
    plain = table.answers(ids).argmax(1) == turned[500:]
    assert refreshed.mean() > 0.85 > 0.6 > plain.mean()


# --- the state --------------------------------------------------------------------------------------------------------


def lived(labels, *, batch=50, late=0, classes=3):
    """A state that was asked about the rows and learned their labels; what it said, and the state."""
    estimator = (RandomForestClassifier if classes else RandomForestRegressor)(8, max_depth=5, random_state=0)
    fitted = estimator.fit(X[:100], NAMES[:100] if classes else VALUES[:100])
    table = LeafTable.of(fitted, LETTERS if classes else None)
    state = LiveState(classes, 1.0 if classes else 8.0).with_member(table)
    ids, told, waiting = table.ids(fitted, X), [], []
    for begin in range(100, len(X), batch):
        rows = slice(begin, begin + batch)
        said = state.answer([ids[rows]], [table.answers(ids[rows])])
        told.append(said)
        waiting.append((said, rows))
        if len(waiting) * batch > late:
            known, due = waiting.pop(0)
            state = state.learn(known, [ids[due]], labels[due], late)
    return told, state


@given(st.lists(st.integers(0, 2), min_size=600, max_size=600))
def test_answers_are_probabilities_whatever_the_labels(labels):
    for said in lived(np.array(labels))[0]:
        for answers in (said.fresh, said.adapted, said.mixed):
            assert answers.sum(axis=1) == pytest.approx(1.0)
            assert (answers >= 0).all()


def test_the_fresh_answers_follow_and_the_plain_ones_do_not():
    turned = np.where(np.arange(len(X)) < 200, CODES, 2 - CODES)
    told, state = lived(turned)
    loss = {
        name: row_loss(np.concatenate([getattr(said, name) for said in told]), turned[100:], 3)[-200:].mean()
        for name in ("fresh", "plain")
    }
    assert loss["fresh"] < loss["plain"] / 2
    assert state.guard.weight > 0.9


def test_a_regression_follows_too():
    moved = VALUES + np.where(np.arange(len(X)) < 200, 0, 30)
    told, _ = lived(moved, classes=0)
    loss = {
        name: row_loss(np.concatenate([getattr(said, name) for said in told]), moved[100:], 0)[-200:].mean()
        for name in ("fresh", "plain")
    }
    assert loss["fresh"] < loss["plain"] / 2


def test_the_same_labels_in_the_same_order_give_the_same_state():
    (*_, first), (*_, again) = lived(CODES), lived(CODES)
    assert first.rows == again.rows == 500
    assert first.guard == again.guard
    assert {name: series.tobytes() for name, series in first.losses.items()} == {
        name: series.tobytes() for name, series in again.losses.items()
    }
    for one, other in zip(first.members[0].counts, again.members[0].counts, strict=True):
        assert one.sums.tobytes() == other.sums.tobytes()


def test_what_is_remembered_is_bounded():
    _, state = lived(CODES)
    short = replace(state, delay=0.0)
    assert len(short.labels) <= short.pace.longest
    assert {len(series) for series in state.losses.values()} == {len(state.labels)}


def test_the_weights_go_to_who_was_right():
    _, state = lived(2 - CODES)
    plain, quick = state.weights(["blend plain", "blend quick"], "mix")
    assert quick > 0.99 > plain


def test_who_has_answered_too_little_counts_as_the_best():
    _, state = lived(2 - CODES)
    plain, quick, new = state.weights(["blend plain", "blend quick", "nobody"], "mix")
    assert new == quick > plain


def test_of_more_than_five_members_the_lightest_leaves(table):
    _, state = lived(2 - CODES)
    first = state.members[0].number
    for _ in range(MOST_MEMBERS):
        state = state.with_member(table)
    assert len(state.members) == MOST_MEMBERS
    assert first not in {member.number for member in state.members}, "it was wrong all the time"
    assert not [name for name in state.losses if name.endswith(f" {first}")]


def test_two_trainings_without_a_label_in_between_are_two_members(forest, table):
    state = LiveState(3, 1.0).with_member(table).with_member(table)
    ids = table.ids(forest, X[:4])
    own = [table.answers(ids), np.full((4, 3), 1 / 3)]
    said = state.answer([ids, ids], own)
    assert [said.parts[f"plain {member.number}"].tolist() for member in state.members] == [
        each.tolist() for each in own
    ]


def test_a_blend_loses_at_most_what_its_parts_lose_by_their_weights():
    told, state = lived(2 - CODES)
    names = ["blend plain", "blend quick", "blend slow"]
    weights = state.weights(names, "mix")
    parts = [told[-1].parts[name] for name in names]
    labels = (2 - CODES)[-50:]
    blended = np.tensordot(weights, np.stack(parts), axes=1)
    assert (
        row_loss(blended, labels, 3)
        <= sum(weight * row_loss(part, labels, 3) for weight, part in zip(weights, parts, strict=True)) + 1e-12
    ).all()


# --- the pace ---------------------------------------------------------------------------------------------------------


@given(st.floats(0, 5_000), st.floats(0, 5_000))
def test_the_later_the_labels_the_longer_the_windows_and_the_slower_the_weights(one, other):
    sooner, later = map(Pace.of_delay, sorted((one, other)))
    assert sooner.half_lives <= later.half_lives
    assert sooner.longest <= later.longest
    assert sooner.mix_rate >= later.mix_rate


# --- recalibration ----------------------------------------------------------------------------------------------------


def test_two_classes_of_which_one_is_told_too_often_are_corrected():
    true = RANDOM.random(4_000) < 0.3
    told = np.full((4_000, 2), 0.5)
    corrected = recalibrated(told[:1], told, true.astype(float), 2)
    assert corrected[0, 1] == pytest.approx(0.3, abs=0.03)


def test_many_classes_are_corrected_by_their_shares():
    true = RANDOM.choice(3, 4_000, p=[0.7, 0.2, 0.1])
    corrected = recalibrated(np.full((1, 3), 1 / 3), np.full((4_000, 3), 1 / 3), true.astype(float), 3)
    assert corrected[0] == pytest.approx([0.7, 0.2, 0.1], abs=0.04)


def test_a_regression_that_is_off_is_corrected_whatever_single_rows_say():
    told = RANDOM.normal(100, 20, size=(3_000, 1))
    true = 10 + 1.1 * told[:, 0] + RANDOM.normal(0, 1, 3_000)
    true[::100] = 1e6
    corrected = recalibrated(np.array([[100.0], [120.0]]), told, true, 0)
    assert corrected[:, 0] == pytest.approx([120, 142], abs=2)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_too_few_rows_correct_nothing(classes):
    answers = np.full((4, classes or 1), 1 / max(classes, 1))
    assert recalibrated(answers, answers, np.zeros(4), classes) is answers


@given(
    st.sampled_from([2, 3]).flatmap(
        lambda k: st.tuples(st.just(k), st.lists(st.sampled_from([0.0, 1.0]), min_size=150, max_size=150))
    )
)
def test_recalibrated_answers_are_probabilities_also_after_answers_that_were_sure(drawn):
    classes, hits = drawn
    seen = np.zeros((150, classes))
    seen[:, 0] = 1.0
    corrected = recalibrated(seen[:3], seen, np.array(hits), classes)
    assert corrected.sum(axis=1) == pytest.approx(1.0)
    assert np.isfinite(corrected).all()


# --- the guard --------------------------------------------------------------------------------------------------------

CHANCES = st.floats(0, 1)


@given(st.lists(st.tuples(CHANCES, CHANCES, st.booleans()), min_size=1, max_size=300))
def test_freshness_costs_at_most_its_bound_whatever_is_said_and_whatever_is_true(rows):
    guard, lost = Guard(), 0.0
    for plain, adapted, true in rows:
        fresh = (1 - guard.weight) * plain + guard.weight * adapted
        losses = [(chance - true) ** 2 for chance in (plain, adapted, fresh)]
        lost += losses[2] - losses[0]
        guard = guard.learned(losses[:1], losses[1:2])
    assert lost <= guard.bound(len(rows)) + 1e-9


def test_an_adversary_who_knows_the_weights_wins_no_more_than_the_bound():
    """At each row what was learned is told to be wrong for certain, as soon as it has most of the weight."""
    guard, lost, most = Guard(), 0.0, 0.0
    for _ in range(20_000):
        wrong = guard.weight > 0.5
        plain, adapted = (0.0, 1.0) if wrong else (1.0, 0.0)
        fresh = (1 - guard.weight) * plain + guard.weight * adapted
        lost += fresh**2 - plain**2
        most = max(most, lost)
        guard = guard.learned([plain], [adapted])
    assert most <= guard.bound(20_000)


def test_neither_side_ever_loses_its_say():
    never_right = Guard().learned([0.0] * 5_000, [1.0] * 5_000)
    assert 0 < never_right.weight < 1e-3
    back = never_right.learned([1.0] * 60, [0.0] * 60)
    assert back.weight > 0.9


def test_the_bound_grows_with_what_it_is_compared_with():
    bounds = [Guard().bound(1_000, switches) for switches in range(4)]
    assert all(one < other for one, other in pairwise(bounds))
    assert Guard().bound(1_000) < Guard().bound(100_000) < 15
