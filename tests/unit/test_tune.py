"""`evergreen tune`: which policies are tried, what they cost, which one is recommended, and how sure that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from evergreen.errors import UsageError
from evergreen.spec import ModelSpec
from evergreen_ops.pages.charts import Point, tradeoff_chart
from evergreen_ops.replay.policies import simulate
from evergreen_ops.replay.progress import PlainScreen
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.run import TEMPLATE
from evergreen_ops.replay.specs import base_of, infer_spec
from evergreen_ops.replay.streams import Stream, read_table
from evergreen_ops.tune import tuning
from evergreen_ops.tune.candidates import (
    MOST_RUNS,
    Candidate,
    Choices,
    cadences,
    first_round,
    numbers_of_rows,
    second_round,
    spec_of,
)
from evergreen_ops.tune.costs import price_an_hour
from evergreen_ops.tune.judging import draw, front, recommend
from evergreen_ops.tune.measures import Measure, block_sums, blocks_of, score
from evergreen_ops.tune.report import of_the_proof
from evergreen_ops.tune.running import History, run

FOREST, EXTRA, LINEAR = "RandomForestClassifier", "ExtraTreesClassifier", "LogisticRegression"
USUAL = Choices((1_000, 2_500, 5_000, 10_000, None), (False, True), (20_000, 3_000, 6_000), (FOREST, EXTRA, LINEAR))


def paced(rows: int, every: timedelta | None = None) -> Stream:
    columns = {"x": np.arange(rows) % 17, "label": np.arange(rows) % 17 > 8}
    if every is not None:
        columns["event_time"] = np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(every)
    return read_table(pa.table(columns), name="traffic")


# --- what is tried ----------------------------------------------------------------------------------------------------


def test_the_first_round_is_each_cadence_with_and_without_freshness():
    tried = first_round(USUAL)
    assert tried[0].name == "never"
    assert len(tried) == len(set(tried)) == 10
    assert {(candidate.max_rows, candidate.estimator) for candidate in tried} == {(20_000, FOREST)}


@pytest.mark.parametrize("leaders", [(1, 1), (2, 3), (0, 4), (9, 9)])
def test_the_second_round_varies_the_leaders_within_sixteen_runs(leaders):
    tried = first_round(USUAL)
    chosen = [tried[place] for place in leaders]
    new = second_round(USUAL, chosen, tried)
    assert not set(new) & set(tried)
    assert len(tried) + len(new) <= MOST_RUNS
    assert {(each.every, each.fresh) for each in new} <= {(each.every, each.fresh) for each in chosen}
    assert {EXTRA, LINEAR} <= {each.estimator for each in new}


def test_a_model_that_is_never_trained_again_is_not_tried_with_fewer_rows():
    tried = first_round(USUAL)
    assert {each.max_rows for each in second_round(USUAL, tried[:1], tried)} == {20_000}


@given(st.integers(100, 10_000_000))
def test_a_history_of_any_length_has_cadences_that_come_several_times(rows):
    *found, last = cadences(rows)
    assert last is None
    assert found == sorted(set(found))
    assert rows / found[0] <= 84
    assert found[0] == 250 or rows / found[0] > 19


def test_rows_that_are_more_than_there_are_all_mean_the_same():
    assert numbers_of_rows(own=20_000, there=5_000) == (20_000, 3_000)
    assert numbers_of_rows(own=4_000, there=50_000) == (4_000, 3_000, 6_000, 20_000)


# --- the spec ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [None, timedelta(seconds=2), timedelta(minutes=7), timedelta(days=1)])
@pytest.mark.parametrize("cadence", [None, 250, 1_000, 10_000])
def test_a_candidates_spec_says_what_the_candidate_does_and_can_be_read_again(cadence, every):
    stream = paced(6_000, every)
    before = infer_spec(stream)
    spec = spec_of(Candidate(cadence, True, 3_000, EXTRA), before, stream)
    assert ModelSpec.from_yaml(spec.to_yaml()) == spec
    assert (spec.training.max_rows, spec.estimator, spec.freshness.enabled) == (3_000, EXTRA, True)
    assert spec.training.params == before.training.params
    assert (spec.shadow, spec.deployment, spec.labels) == (before.shadow, before.deployment, before.labels)
    triggers = spec.triggers
    if cadence is None:
        assert triggers.performance.enabled
        assert not triggers.data_drift.enabled
        assert triggers.schedule.longest_age is None
        return
    assert triggers.tokens.refill_rows == triggers.new_data.min_new_samples == cadence
    between = timedelta(days=cadence / stream.rows_per_day)
    assert triggers.schedule.longest_age == pytest.approx(between, rel=0.06, abs=timedelta(seconds=30))
    assert triggers.cooldown <= max(between, timedelta(minutes=1))
    assert triggers.monthly_budget >= timedelta(days=30) / between
    assert spec.training.min_new_rows <= cadence


def test_a_linear_candidate_does_not_take_over_the_forests_parameters():
    stream = paced(2_000)
    forest = infer_spec(stream)
    linear = spec_of(Candidate(500, False, 3_000, LINEAR), forest, stream)
    assert "n_estimators" not in linear.training.params
    again = spec_of(Candidate(500, False, 3_000, FOREST), linear, stream)
    assert again.training.params == forest.training.params


def test_a_spec_that_trains_on_a_wish_alone_is_not_tuned():
    stream = paced(2_000)
    spec = ModelSpec.parse(infer_spec(stream).to_json() | {"strategy": "continuous"})
    with pytest.raises(UsageError, match="strategy is continuous"):
        spec_of(Candidate(500, False, 3_000, FOREST), spec, stream)


def test_a_type_without_a_price_asks_for_one():
    with pytest.raises(UsageError, match=r"ml\.x9\.large, whose price is not known here: give --price"):
        price_an_hour("ml.x9.large")


# --- measures ---------------------------------------------------------------------------------------------------------


def test_kappa_of_blocks_together_is_scikit_learns():
    random = np.random.default_rng(3)
    classes = ("a", "b", "c")
    actual, said = np.array(classes, object)[random.integers(0, 3, (2, 600))]
    said[:300] = actual[:300]
    sums = block_sums(Measure.KAPPA, np.arange(600) // 50, actual, said, None, classes)
    assert score(Measure.KAPPA, sums.sum(axis=0)) == pytest.approx(cohen_kappa_score(actual, said))


def test_kappa_of_one_class_alone_is_nothing_beyond_chance():
    assert score(Measure.KAPPA, np.array([9.0, 0.0, 0.0, 0.0])) == 0


@pytest.mark.parametrize("every", [None, timedelta(minutes=20), timedelta(hours=5)])
def test_blocks_are_neighbours_and_keep_days_whole(every):
    stream = paced(6_000, every)
    rows = np.arange(500, 4_800)
    blocks = blocks_of(stream, rows)
    assert set(np.diff(blocks)) == {0, 1}
    assert blocks[0] == 0
    assert 20 <= blocks[-1] + 1 <= 51
    if every is not None:
        days = stream.event_time[rows].astype("datetime64[D]")
        assert all(len(np.unique(blocks[days == day])) == 1 for day in np.unique(days))


def test_rows_of_two_days_are_still_cut_into_blocks():
    stream = paced(2_000, timedelta(seconds=60))
    assert blocks_of(stream, np.arange(2_000))[-1] + 1 == 50


# --- the recommendation -----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_nothing_on_the_front_is_beaten_by_anything(points):
    costs, goods = zip(*points, strict=True)
    kept = front(costs, goods)
    for place, (cost, good) in enumerate(points):
        better = any(c <= cost and g >= good and (c, g) != (cost, good) for c, g in points)
        assert (place in kept) <= (not better)
        assert better or any((costs[k], goods[k]) == (cost, good) for k in kept)


def test_the_cheapest_within_one_standard_error_is_recommended():
    """Two that differ by luck alone, of which one costs a tenth; a third is worse for sure."""
    random = np.random.default_rng(5)
    right = {"dear": 0.801, "cheap": 0.800, "never": 0.70}
    blocks = np.arange(10_000) // 200
    sums = [
        block_sums(Measure.ACCURACY, blocks, np.ones(10_000), np.where(random.random(10_000) < share, 1, 0), None, None)
        for share in right.values()
    ]
    goods = [float(score(Measure.ACCURACY, each.sum(axis=0))) for each in sums]
    drawn = draw(Measure.ACCURACY, sums)
    told = recommend([100.0, 10.0, 0.0], goods, drawn, never=2)
    assert told.chosen in (0, 1)
    assert told.standard_error < 0.01
    assert (told.chosen == 1) == (goods[0] - goods[1] <= np.std(drawn[0] - drawn[1]))
    assert told.sure_of_never == 1.0
    assert told.interval[0] < told.gain < told.interval[1]
    assert told.runner_up == 1 - told.chosen


def test_a_saving_of_less_than_a_tenth_is_no_reason_to_take_the_worse_one():
    random = np.random.default_rng(7)
    drawn = random.normal(0.8, 0.01, (3, 500))
    goods = [0.801, 0.800, 0.799]
    assert recommend([100.0, 95.0, 99.0], goods, drawn, never=2).chosen == 0
    assert recommend([100.0, 90.0, 99.0], goods, drawn, never=2).chosen == 1


def test_a_dear_candidate_that_is_better_for_sure_is_recommended():
    better = np.array([[20.0, 100.0]] * 50)
    worse = better + np.array([5.0, 0.0])
    told = recommend([0.0, 90.0], [-0.25, -0.2], draw(Measure.MAE, [worse, better]), never=0)
    assert (told.chosen, told.best, told.runner_up) == (1, 1, 0)
    assert told.gain == pytest.approx(0.05)


def test_never_is_recommended_where_nothing_is_better():
    same = np.array([[20.0, 100.0]] * 50)
    told = recommend([0.0, 90.0], [0.2, 0.2], draw(Measure.ACCURACY, [same, same]), never=0)
    assert (told.chosen, told.sure_of_never, told.sure_of_runner_up) == (0, 1.0, 1.0)


# --- offline runs -----------------------------------------------------------------------------------------------------


def test_what_a_policy_answers_does_not_depend_on_what_comes_later():
    """So that the first rows of a run on all are a run on the first rows."""
    stream = paced(3_000)
    base, spec = base_of(stream), infer_spec(stream)
    candidate, cut = Candidate(500, True, 1_000, FOREST), 2_400
    part, whole = (
        run(candidate, History(some, spec, base, stream), lambda rows: None).result
        for some in (stream.first(cut), stream)
    )
    assert part is not None
    assert whole is not None
    assert part.scored.max() == cut - 1
    assert (part.predicted == whole.predicted[whole.scored < cut]).all()


def test_freshness_without_trainings_is_a_policy_of_its_own():
    stream = paced(2_000)
    base, spec = base_of(stream), infer_spec(stream)
    result = simulate(Candidate(None, True, 1_000, FOREST).policy, stream, spec, base, StreamRecipe(stream, spec))
    assert (result.policy, result.trainings, result.quality.scored) == ("fresh:never", 0, 1_500)


def test_a_candidate_that_cannot_be_trained_says_why():
    stream = paced(2_000)
    spec = infer_spec(stream)
    broken = spec.model_copy(update={"training": spec.training.model_copy(update={"params": {"n_estimators": -1}})})
    done = run(
        Candidate(500, False, 1_000, FOREST), History(stream, broken, base_of(stream), stream), lambda rows: None
    )
    assert done.result is None
    assert "n_estimators" in done.because


@pytest.fixture(scope="module")
def tuned():
    """A tuning of two policies."""
    stream = paced(2_000)
    spec = infer_spec(stream)
    choices = Choices((500,), (False,), (spec.training.max_rows,), (spec.estimator,))
    return tuning.tune(
        tuning.Plan(
            stream=stream,
            spec=spec,
            base=base_of(stream),
            choices=choices,
            measure=Measure.BRIER,
            price=0.115,
            jobs=1,
            confirm=0,
            step=timedelta(hours=6),
            template=TEMPLATE,
        ),
        PlainScreen(),
    )


def test_every_judged_policy_is_told_with_what_it_costs(tuned):
    never, every = tuned.judged
    assert (never.candidate.name, never.dollars_a_month, every.trainings) == ("never", 0.0, 2)
    days = 1_100 / 500
    assert every.dollars_a_month == pytest.approx(
        (2 * 90 + every.rows_trained / 1_000) / 3_600 * 0.115 * 30.4 / days, 0.01
    )
    assert all(each.behind >= 0 for each in tuned.judged)


def test_a_cadence_that_the_deployed_loop_did_not_keep_is_told(tuned):
    held = tuned.confirmed[0]
    told = [
        list(of_the_proof(replace(tuned, confirmed=(replace(held, offline_trainings=25, replayed_trainings=number),))))
        for number in (None, 9, 22)
    ]
    assert [len(sentences) for sentences in told] == [0, 1, 0]
    assert "9 times, not 25" in told[1][0]


# --- the picture ------------------------------------------------------------------------------------------------------


def test_the_front_is_joined_from_the_cheapest_on_and_names_are_escaped():
    points = [
        Point("dear", "dear", 9_000, 0.8, 0.79, 0.81, "chosen", on_front=True),
        Point("<never>", "<never>", 0, 0.7, 0.69, 0.71, "front", on_front=True),
        Point("worse", "", 9_000, 0.75, 0.74, 0.76, "other", on_front=False),
    ]
    drawn = tradeoff_chart(points, width=400, height=300, label="l", costs="rows", worths="accuracy", percent=True)
    line = drawn.split('<polyline class="line ours" points="')[1].split('"')[0].split()
    assert len(line) == 2
    xs = [float(point.split(",")[0]) for point in line]
    assert xs == sorted(xs)
    assert "<never>" not in drawn
    assert "&lt;never&gt;" in drawn
