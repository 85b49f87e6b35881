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
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor
from sklearn.tree import DecisionTreeClassifier

from evergreen.training.leaves import TRAINED_LABELS, ForestLeaves, LeafCounts
from evergreen.training.live_linear import Linear
from evergreen.training.live_state import MOST_MEMBERS, Asked, Guard, LiveState, Member, Pace, correction, row_loss

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
def leaves(forest):
    return ForestLeaves.of(forest, LETTERS)


@pytest.fixture(scope="module")
def table(leaves):
    return leaves.table


def refreshed(counts, table, ids):
    """What a forest says with its leaves refreshed."""
    return counts.values(table)[ids].mean(axis=1)


# --- leaves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [RandomForestClassifier(9, random_state=1), DecisionTreeClassifier(max_depth=4)])
def test_a_table_answers_as_the_classifier_does(estimator):
    fitted = estimator.fit(X[:400], NAMES[:400])
    leaves = ForestLeaves.of(fitted, LETTERS)
    assert leaves.table.answers(leaves.ids(fitted, X)) == pytest.approx(fitted.predict_proba(X), abs=1e-6)


@pytest.mark.parametrize("estimator", [RandomForestRegressor(9, random_state=1), ExtraTreesRegressor(5)])
def test_a_table_answers_as_the_regressor_does(estimator):
    fitted = estimator.fit(X[:400], VALUES[:400])
    leaves = ForestLeaves.of(fitted, None)
    assert leaves.table.answers(leaves.ids(fitted, X))[:, 0] == pytest.approx(fitted.predict(X), abs=1e-4)


def test_a_class_that_the_forest_never_saw_has_no_share():
    fitted = RandomForestClassifier(5, random_state=1).fit(X[NAMES != "c"], NAMES[NAMES != "c"])
    leaves = ForestLeaves.of(fitted, LETTERS)
    assert (leaves.table.answers(leaves.ids(fitted, X))[:, 2] == 0).all()


@pytest.mark.parametrize("estimator", [GradientBoostingClassifier(n_estimators=3), LogisticRegression()])
def test_what_answers_in_another_way_has_no_table(estimator):
    assert ForestLeaves.of(estimator.fit(X, NAMES), LETTERS) is None


def test_leaves_that_learned_nothing_answer_as_trained(forest, leaves, table):
    ids = leaves.ids(forest, X)
    assert refreshed(LeafCounts.none(table), table, ids) == pytest.approx(table.answers(ids))


def test_a_leaf_weighs_its_training_against_its_labels(forest, leaves, table):
    ids = leaves.ids(forest, X[:1])
    taught = LeafCounts.none(table).learned(np.repeat(ids, 6, axis=0), np.full(6, 2), math.inf)
    trained = table.answers(ids)[0]
    expected = (TRAINED_LABELS * trained + 6 * np.array([0, 0, 1])) / (TRAINED_LABELS + 6)
    assert refreshed(taught, table, ids)[0] == pytest.approx(expected)


def test_after_a_half_life_a_label_counts_half(forest, leaves, table):
    ids = leaves.ids(forest, X[:20])
    once = LeafCounts.none(table).learned(ids, CODES[:20], 20)
    later = once.learned(ids, CODES[:20], 20)
    assert later.totals == pytest.approx(1.5 * once.totals)
    assert later.sums == pytest.approx(1.5 * once.sums)


def test_a_world_that_turns_is_followed_without_a_training(forest, leaves, table):
    turned = 2 - CODES
    counts = LeafCounts.none(table)
    for begin in range(0, 500, 50):
        rows = slice(begin, begin + 50)
        counts = counts.learned(leaves.ids(forest, X[rows]), turned[rows], 300)
    ids = leaves.ids(forest, X[500:])
    fresh = refreshed(counts, table, ids).argmax(1) == turned[500:]
    plain = table.answers(ids).argmax(1) == turned[500:]
    assert fresh.mean() > 0.85 > 0.6 > plain.mean()


def test_many_labels_at_once_teach_what_they_would_teach_one_by_one(forest, leaves, table):
    ids = leaves.ids(forest, X[:30])
    at_once = LeafCounts.none(table).learned(ids, CODES[:30], 7)
    one_by_one = LeafCounts.none(table)
    for row in range(30):
        one_by_one = one_by_one.learned(ids[row : row + 1], CODES[row : row + 1], 7)
    assert at_once.totals == pytest.approx(one_by_one.totals, abs=2e-3)
    assert at_once.sums == pytest.approx(one_by_one.sums, abs=2e-3)


def test_a_leaf_whose_labels_have_faded_away_is_as_it_was_trained(forest, leaves, table):
    counts = LeafCounts.none(table).learned(leaves.ids(forest, X[:1]), CODES[:1], 5)
    counts = counts.learned(leaves.ids(forest, np.repeat(X[1:2], 60, axis=0)), np.repeat(CODES[1:2], 60), 5)
    assert set(np.flatnonzero(counts.totals)) == set(leaves.ids(forest, X[1:2]).ravel())


# --- the linear model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_model_takes_the_steps_that_scikit_learn_takes(classes):
    labels = np.minimum(CODES, classes - 1)
    theirs = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, shuffle=False)
    theirs.partial_fit(X.astype(float), labels, classes=np.arange(classes))
    ours = Linear.new(classes, X.shape[1]).learned(X, labels)
    assert ours.answers(X) == pytest.approx(theirs.predict_proba(X.astype(float)), abs=1e-6)


def test_so_it_does_for_values():
    theirs = SGDRegressor(learning_rate="constant", eta0=0.005, shuffle=False)
    theirs.partial_fit(X.astype(float), (VALUES - 2.0) / 8.0)
    ours = Linear.new(0, X.shape[1], centre=2.0, scale=8.0).learned(X, VALUES)
    assert ours.answers(X)[:, 0] == pytest.approx(2.0 + 8.0 * theirs.predict(X.astype(float)), abs=1e-5)


def test_labels_that_run_away_leave_the_linear_model_as_it_was():
    known = Linear.new(0, 3, centre=0.0, scale=1e-300).learned(X[:5], np.zeros(5))
    assert known.learned(X, np.full(len(X), 1e300)) is known


# --- the state --------------------------------------------------------------------------------------------------------


def lived(labels, *, batch=50, late=0, classes=3):
    """A state that was asked about the rows and learned their labels; what it said, and the state."""
    estimator = (RandomForestClassifier if classes else RandomForestRegressor)(8, max_depth=5, random_state=0)
    fitted = estimator.fit(X[:100], NAMES[:100] if classes else VALUES[:100])
    leaves = ForestLeaves.of(fitted, LETTERS if classes else None)
    state = LiveState(classes, 1.0 if classes else 8.0).with_member(1, leaves.table)
    asked, told, waiting = Asked({1: leaves.ids(fitted, X)}), [], []
    for begin in range(100, len(X), batch):
        rows = slice(begin, begin + batch)
        said = state.answer(asked.take(rows))
        told.append(said)
        waiting.append((said, rows))
        if len(waiting) * batch > late:
            known, due = waiting.pop(0)
            state = state.learn(asked.take(due), known, labels[due], late)
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


def test_of_more_than_five_members_the_oldest_leaves(table):
    _, state = lived(2 - CODES)
    assert state.losses["plain 1"].size
    for number in range(2, MOST_MEMBERS + 2):
        state = state.with_member(number, table)
    assert [member.number for member in state.members] == [2, 3, 4, 5, 6]
    assert not [name for name in state.losses if name.endswith(" 1")]


def test_who_stays_keeps_what_it_learned_and_who_is_new_knows_nothing(table):
    _, state = lived(CODES)
    of_both = state.of_members([1, 7], {7: table})
    assert of_both.members[0].counts is state.members[0].counts
    assert not any(counts.totals.any() for counts in of_both.members[1].counts)
    assert of_both.losses.keys() == state.losses.keys()


def test_a_row_is_answered_the_same_to_the_last_bit_alone_and_among_many(forest, leaves):
    ids = leaves.ids(forest, X)
    state = LiveState(3, 1.0).with_member(1, leaves.table).learn(Asked({1: ids[:200]}), None, CODES[:200], 0)
    among = state.answer(Asked({1: ids})).fresh
    alone = [state.answer(Asked({1: ids[row : row + 1]})).fresh[0].tolist() for row in range(0, 600, 20)]
    assert among[::20].tolist() == alone


def test_a_member_without_leaves_says_what_its_graph_says():
    state = LiveState(3, 1.0).with_member(4, None)
    own = np.full((2, 3), 1 / 3)
    said = state.answer(Asked({}, {4: own}))
    assert said.plain.tolist() == said.fresh.tolist() == own.tolist()
    assert Member.new(4, None).counts == ()


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
    corrected = correction(told, true.astype(float), 2).applied(told[:1])
    assert corrected[0, 1] == pytest.approx(0.3, abs=0.03)


def test_many_classes_are_corrected_by_their_shares():
    true = RANDOM.choice(3, 4_000, p=[0.7, 0.2, 0.1])
    corrected = correction(np.full((4_000, 3), 1 / 3), true.astype(float), 3).applied(np.full((1, 3), 1 / 3))
    assert corrected[0] == pytest.approx([0.7, 0.2, 0.1], abs=0.04)


def test_a_regression_that_is_off_is_corrected_whatever_single_rows_say():
    told = RANDOM.normal(100, 20, size=(3_000, 1))
    true = 10 + 1.1 * told[:, 0] + RANDOM.normal(0, 1, 3_000)
    true[::100] = 1e6
    corrected = correction(told, true, 0).applied(np.array([[100.0], [120.0]]))
    assert corrected[:, 0] == pytest.approx([120, 142], abs=2)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_too_few_rows_correct_nothing(classes):
    answers = np.full((4, classes or 1), 1 / max(classes, 1))
    assert correction(answers, np.zeros(4), classes) is None


@given(
    st.sampled_from([2, 3]).flatmap(
        lambda k: st.tuples(st.just(k), st.lists(st.sampled_from([0.0, 1.0]), min_size=150, max_size=150))
    )
)
def test_recalibrated_answers_are_probabilities_also_after_answers_that_were_sure(drawn):
    classes, hits = drawn
    seen = np.zeros((150, classes))
    seen[:, 0] = 1.0
    corrected = correction(seen, np.array(hits), classes).applied(seen[:3])
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


# --- held back --------------------------------------------------------------------------------------------------------


def test_a_state_that_is_proven_worse_says_what_the_version_says():
    state = LiveState(2, 1.0).with_member(1, None).with_member(2, None)
    asked = Asked({}, {1: np.array([[0.9, 0.1]]), 2: np.array([[0.2, 0.8]])})
    assert state.answer(asked).fresh.tolist() != state.answer(asked).plain.tolist()
    worse = replace(state, lost=np.ones(40, dtype=np.float32))
    assert worse.is_held_back
    assert worse.answer(asked).fresh.tolist() == worse.answer(asked).plain.tolist() == [[0.2, 0.8]]


def test_it_is_heard_again_once_it_has_been_right():
    state = replace(LiveState(2, 1.0), lost=np.ones(40, dtype=np.float32))
    again = replace(state, lost=np.concatenate([state.lost, -np.ones(40, dtype=np.float32)]))
    assert state.is_held_back
    assert not again.is_held_back


@pytest.mark.parametrize("lost", [[1.0] * 19, [1.0, -1.0] * 200, [-1.0] * 300, []])
def test_it_takes_a_proof(lost):
    assert not replace(LiveState(2, 1.0), lost=np.array(lost, dtype=np.float32)).is_held_back


def test_what_it_would_have_said_is_counted_while_it_is_held_back():
    labels = 2 - CODES
    _, state = lived(labels)
    assert len(state.lost) == 500
    assert state.lost.sum() < 0, "it was right where the version was wrong"
    assert not state.is_held_back
