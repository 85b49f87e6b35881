"""The figures of a replay against scikit-learn's and against windows counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score

from evergreen_ops.replay.scores import Quality, quality, windows

RANDOM = np.random.default_rng(3)


def test_binary_figures_are_scikit_learns() -> None:
    chance = RANDOM.random(3_000)
    actual = np.where(RANDOM.random(3_000) < chance, "1", "0").astype(object)
    predicted = np.where(chance > 0.5, "1", "0").astype(object)
    found = quality(actual, predicted, np.stack([1 - chance, chance], axis=1), ("0", "1"))
    assert found.accuracy == pytest.approx(accuracy_score(actual.astype(str), predicted.astype(str)), abs=1e-6)
    assert found.kappa == pytest.approx(cohen_kappa_score(actual.astype(str), predicted.astype(str)), abs=1e-6)
    assert found.auc == pytest.approx(roc_auc_score(actual == "1", chance), abs=1e-6)
    assert found.mae is None


def test_auc_of_several_classes_leaves_out_those_that_never_came() -> None:
    actual = np.array(["a", "b"] * 50, dtype=object)
    chance = RANDOM.dirichlet([1, 1, 1], 100)
    found = quality(actual, actual, chance, ("a", "b", "c"))
    expected = np.mean([roc_auc_score(actual == name, chance[:, i]) for i, name in enumerate("ab")])
    assert found.auc == pytest.approx(expected, abs=1e-6)


def test_regression_has_an_error_and_its_worst_window_is_the_highest() -> None:
    actual, predicted = np.zeros(2_000), np.repeat([1.0, 3.0], 1_000)
    assert quality(actual, predicted) == Quality(scored=2_000, mae=2.0, worst_window=3.0)


@pytest.mark.parametrize(("tail", "counts"), [(499, 2), (500, 3)])
def test_a_tail_counts_from_five_hundred_rows_on(tail: int, counts: int) -> None:
    assert len(windows(np.ones(2_000 + tail))) == counts


def test_nothing_scored_is_no_figure() -> None:
    assert quality(np.array([], dtype=object), np.array([], dtype=object), None, ("0", "1")) == Quality(scored=0)
