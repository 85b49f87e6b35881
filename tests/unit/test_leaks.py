"""Features that give the label away, and features that are only good."""

import numpy as np
import pytest

from evergreen.model.schema import FeatureSchema
from evergreen.training.leaks import find_leaks
from evergreen.training.read_rows import Category, Rows

COUNT, EARLIER = 1_000, 800


def rows_with(feature, *, task="binary", kind="number", actual=None, classes=("no", "yes")):
    """Rows whose one feature is made of the label, split in time order."""
    random = np.random.default_rng(7)
    if actual is None:
        actual = np.array(classes, dtype=object)[random.integers(0, len(classes), COUNT)]
    column = feature(actual, random)
    schema = FeatureSchema.of(task, {"told": kind}, None if task == "regression" else sorted(classes))
    times = np.arange(COUNT, dtype=np.int64) * 3_600_000_000
    if kind == "number":
        rows = Rows(schema, times, {"told": column.astype(np.float64)}, {}, actual)
    else:
        values = tuple(sorted(set(column)))
        codes = np.array([values.index(value) for value in column], dtype=np.int64)
        rows = Rows(schema, times, {}, {"told": Category(codes, values)}, actual)
    return rows.slice(0, EARLIER), rows.slice(EARLIER, COUNT)


def is_yes(actual):
    return (actual == "yes").astype(float)


LEAKS = {
    "a copy": lambda actual, random: is_yes(actual),
    "a copy in another unit and upside down": lambda actual, random: 7 - 100 * is_yes(actual),
    "a copy with a little noise": lambda actual, random: is_yes(actual) + random.normal(scale=0.05, size=COUNT),
    "a copy that is now and then missing": lambda actual, random: np.where(
        random.random(COUNT) < 0.002, np.nan, is_yes(actual)
    ),
    "filled in once the label is known": lambda actual, random: np.where(
        actual == "yes", random.normal(size=COUNT), np.nan
    ),
    "infinite where the label is yes": lambda actual, random: np.where(actual == "yes", np.inf, 1.0),
}
GOOD = {
    "a copy with much noise": lambda actual, random: is_yes(actual) + random.normal(scale=0.5, size=COUNT),
    "the label of the row before": lambda actual, random: np.roll(is_yes(actual), 1),
    "the same everywhere": lambda actual, random: np.ones(COUNT),
    "missing everywhere": lambda actual, random: np.full(COUNT, np.nan),
    "a copy until lately": lambda actual, random: np.where(
        np.arange(COUNT) < EARLIER, is_yes(actual), random.random(COUNT)
    ),
}


@pytest.mark.parametrize("feature", LEAKS.values(), ids=LEAKS)
def test_a_feature_that_nearly_equals_the_label_is_reported_with_its_score(feature):
    (leak,) = find_leaks(*rows_with(feature))
    assert leak.feature == "told"
    assert 0.995 < leak.score <= 1


@pytest.mark.parametrize("feature", GOOD.values(), ids=GOOD)
def test_a_feature_that_is_only_good_or_worthless_is_not_reported(feature):
    assert find_leaks(*rows_with(feature)) == ()


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c", "d")])
def test_a_category_that_equals_the_class_is_a_leak(classes):
    task = "binary" if len(classes) == 2 else "multiclass"
    renamed = rows_with(
        lambda actual, random: np.array([f"x{c}" for c in actual]), task=task, kind="categorical", classes=classes
    )
    assert [leak.feature for leak in find_leaks(*renamed)] == ["told"]
    mixed = rows_with(
        lambda actual, random: np.where(random.random(COUNT) < 0.3, "other", actual),
        task=task,
        kind="categorical",
        classes=classes,
    )
    assert find_leaks(*mixed) == ()


def test_a_category_of_which_each_value_is_new_says_nothing():
    fresh = rows_with(lambda actual, random: np.array([f"id{i:04d}" for i in range(COUNT)]), kind="categorical")
    assert find_leaks(*fresh) == ()


@pytest.mark.parametrize(
    ("noise", "found"), [(0.0, True), (0.01, True), (0.5, False)], ids=["a copy", "nearly a copy", "a good feature"]
)
def test_of_a_regression_a_line_through_the_label_is_a_leak(noise, found):
    amount = np.random.default_rng(3).normal(50, 10, COUNT)
    rows = rows_with(
        lambda actual, random: 3 - 2 * actual + random.normal(scale=noise * 20, size=COUNT),
        task="regression",
        actual=amount,
    )
    assert bool(find_leaks(*rows)) is found


@pytest.mark.parametrize(
    "feature",
    [
        lambda actual, random: np.log(actual),
        lambda actual, random: -(actual**3),
        lambda actual, random: np.where(random.random(COUNT) < 0.05, np.nan, actual),
    ],
    ids=["its logarithm", "its cube, upside down", "a copy that is now and then missing"],
)
def test_of_a_regression_what_is_in_the_order_of_the_label_is_a_leak(feature):
    amount = np.random.default_rng(3).lognormal(3, 1, COUNT)
    (leak,) = find_leaks(*rows_with(feature, task="regression", actual=amount))
    assert leak.score > 0.995


def test_of_a_series_that_hardly_moves_the_value_before_is_no_copy_unless_it_is_one():
    """Yesterday's value of a slow series is a feature as long as it leaves something to be predicted."""
    steps = np.random.default_rng(5).normal(size=COUNT)
    slow = 0.9 * np.ones(COUNT)
    for i in range(1, COUNT):
        slow[i] = 0.9 * slow[i - 1] + steps[i]
    assert find_leaks(*rows_with(lambda actual, random: np.roll(actual, 1), task="regression", actual=slow)) == ()
    assert find_leaks(*rows_with(lambda actual, random: actual, task="regression", actual=slow)) != ()
