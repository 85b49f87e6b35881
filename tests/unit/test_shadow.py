"""The proof in shadow: which rows count, what each is worth, and when the verdict falls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.shadow import Answers, PairedOutcomes, Rules, decide, judge, judged_until, time_in_traffic
from evergreen.domain.state import Shadow, ShadowRole
from evergreen.spec import ModelSpec

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
CHALLENGER = Shadow(version=2, role=ShadowRole.CHALLENGER, judged_against=1, since=START)
SENTINEL = Shadow(version=1, role=ShadowRole.SENTINEL, judged_against=2, since=START)


def a_spec(task="binary", **shadow):
    labels = {"classes": ["0", "1"]} if task == "binary" else {}
    features = {"age": {"type": "number"}}
    return ModelSpec.parse({"model": "churn", "task": task, "features": features, "labels": labels, "shadow": shadow})


def pairs(production_loss, shadow_loss, at=None, group=None):
    count = len(production_loss)
    microseconds = int((at or START + DAY).timestamp()) * 1_000_000
    return PairedOutcomes(
        inference_time=np.full(count, microseconds, dtype=np.int64),
        production_loss=np.asarray(production_loss, dtype=np.float64),
        shadow_loss=np.asarray(shadow_loss, dtype=np.float64),
        group=np.array(group or [None] * count, dtype=object),
    )


def over_days(outcomes, days):
    """The same rows, the first of them on the first day, spread evenly over some days."""
    day = np.arange(len(outcomes)) * days // max(len(outcomes), 1)
    return replace(outcomes, inference_time=(int(START.timestamp()) + day * 86_400) * 1_000_000)


def better(rows, share=0.2):
    """Production is wrong where the shadow is right in this share of rows."""
    return pairs([1.0] * int(rows * share) + [0.0] * (rows - int(rows * share)), [0.0] * rows)


def judged(outcomes, after=8 * DAY, shadow=CHALLENGER, spec=None):
    return decide(shadow, spec or a_spec(), outcomes, START + after)


def test_a_candidate_that_is_proven_better_is_promoted():
    decision = judged(better(1_000))
    assert decision.verdict == "promote"
    assert decision.because.startswith("accuracy gain +0.2000 on 1,000 rows, e-value 10^")
    assert (decision.evidence["rows"], decision.evidence["gain"]) == (1_000, 0.2)
    assert (decision.evidence["production_loss"], decision.evidence["shadow_loss"]) == (0.2, 0.0)


def test_a_candidate_that_is_no_better_is_kept_out():
    worse = pairs([0.0] * 1_000, [1.0] * 200 + [0.0] * 800)
    assert judged(worse).verdict == "keep"


def test_a_few_rows_prove_nothing():
    decision = judged(better(10))
    assert decision.verdict == "need_more_data"
    assert decision.evidence["rows_to_decide"] is None or decision.evidence["rows_to_decide"] > 0


def test_no_rows_are_neither_good_nor_bad():
    decision = judged(pairs([], []))
    assert (decision.verdict, decision.evidence["rows"]) == ("need_more_data", 0)
    assert decision.evidence["production_loss"] is None


def test_a_timeout_never_promotes():
    decision = judged(better(10), after=29 * DAY)
    assert decision.verdict == "keep"
    assert decision.because.startswith("no proof within 28 days: ")


def test_a_proof_that_comes_with_the_timeout_still_counts():
    assert judged(better(1_000), after=29 * DAY).verdict == "promote"


@pytest.mark.parametrize(
    ("shadow", "after", "until"),
    [
        (CHALLENGER, timedelta(0), 0),
        (CHALLENGER, 8 * DAY - timedelta(seconds=1), 0),
        (CHALLENGER, 8 * DAY, 7),
        (CHALLENGER, 14 * DAY, 7),
        (CHALLENGER, 15 * DAY, 14),
        (SENTINEL, 2 * DAY - timedelta(seconds=1), 0),
        (SENTINEL, 3.5 * DAY, 0),
        (SENTINEL, 4 * DAY, 3),
        (SENTINEL, 5.5 * DAY, 4),
    ],
)
def test_only_whole_cycles_with_matured_labels_count(shadow, after, until):
    assert judged_until(shadow, a_spec(), START + after) == START + until * DAY


@given(st.integers(0, 10**7), st.integers(0, 10**6))
def test_what_counted_once_counts_for_ever(seconds, more):
    earlier, later = START + timedelta(seconds=seconds), START + timedelta(seconds=seconds + more)
    for shadow in (CHALLENGER, SENTINEL):
        until = judged_until(shadow, a_spec(), earlier)
        assert START <= until <= max(START, earlier - DAY)
        assert until <= judged_until(shadow, a_spec(), later)


@pytest.mark.parametrize("at", [START - timedelta(seconds=1), START + 7 * DAY], ids=["before the shadow", "unfinished"])
def test_rows_outside_the_judged_cycles_do_not_count(at):
    outside = pairs([1.0] * 1_000, [0.0] * 1_000, at=at)
    assert judged(outside).evidence["rows"] == 0


def test_rows_of_one_group_count_as_one():
    alone = judged(pairs([1.0] * 100, [0.0] * 100))
    grouped = judged(pairs([1.0] * 100, [0.0] * 100, group=["shop-7"] * 100))
    assert (alone.evidence["units"], grouped.evidence["units"]) == (100, 1)
    assert (alone.verdict, grouped.verdict) == ("promote", "need_more_data")


def test_rows_without_a_group_stand_alone_beside_groups():
    mixed = judged(pairs([1.0] * 4, [0.0] * 4, group=["a", "a", None, ""]))
    assert (mixed.evidence["rows"], mixed.evidence["units"]) == (4, 3)


def test_one_enormous_error_does_not_decide_for_a_regression():
    production, candidate = np.full(500, 5.0), np.full(500, 5.1)
    production[0] = 1e9
    decision = judged(pairs(production, candidate), spec=a_spec("regression"))
    assert decision.evidence["metric"] == "absolute_error"
    assert decision.verdict != "promote"


def test_the_loss_that_counts_in_full_was_fixed_before_the_rows_were_seen():
    """Rows of another file added to the log change nothing about what the earlier ones were worth."""
    few, many = pairs([3.0, 0.0], [0.0, 1.0]), pairs([3.0, 0.0, 90.0, 0.0], [0.0, 1.0, 0.0, 90.0])
    spec = a_spec("regression")
    gains = [decide(CHALLENGER, spec, log, START + 8 * DAY, loss_scale=10.0).evidence["gain"] for log in (few, many)]
    assert gains == [pytest.approx(1.0), pytest.approx(0.5)]  # in the label's unit; 90 counts as 10


def test_a_brier_gain_is_told_in_brier_points_whatever_the_scale():
    spec = a_spec(metric="brier", min_gain=0.01)
    found = [
        decide(CHALLENGER, spec, pairs([0.3] * 900, [0.25] * 900), START + 8 * DAY, loss_scale=c) for c in (1, 0.2)
    ]
    assert [decision.evidence["gain"] for decision in found] == [0.05, 0.05]
    assert found[0].evidence["log_e_promote"] < found[1].evidence["log_e_promote"]  # and a fitting scale proves sooner


def with_answers(actual, production, candidate, group=None):
    wrong = np.array([np.array(said) != np.array(actual) for said in (production, candidate)], dtype=float)
    codes = Answers(*(np.array(values, dtype=np.int64) for values in (actual, production, candidate)))
    made = pairs(wrong[0], wrong[1], group=group)
    return PairedOutcomes(made.inference_time, made.production_loss, made.shadow_loss, made.group, codes)


def test_both_accuracies_and_the_agreement_are_told():
    evidence = judged(with_answers([0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0])).evidence
    assert (evidence["production_accuracy"], evidence["shadow_accuracy"], evidence["agreement"]) == (0.5, 0.75, 0.75)


def test_macro_f1_sees_a_rare_class_that_accuracy_hardly_does():
    actual = [0] * 9_700 + [1] * 300
    production = [0] * 10_000
    candidate = [0] * 9_700 + [1] * 60 + [0] * 240
    outcomes = with_answers(actual, production, candidate)
    by_f1 = judged(outcomes, spec=a_spec(metric="macro_f1"))
    assert (by_f1.verdict, by_f1.evidence["gain"] > 0.15) == ("promote", True)
    assert judged(outcomes).evidence["gain"] < 0.01


def test_macro_f1_says_nothing_before_each_class_has_been_seen_often():
    outcomes = with_answers([0] * 900 + [1] * 49, [0] * 949, [0] * 900 + [1] * 49)
    assert judged(outcomes, spec=a_spec(metric="macro_f1")).verdict == "need_more_data"


def test_the_labelled_share_is_of_what_both_answered_in_the_judged_time():
    decision = decide(CHALLENGER, a_spec(), better(800), START + 8 * DAY, answered=1_000)
    assert decision.evidence["labelled_share"] == 0.8


def test_the_projection_tells_rows_and_whole_cycles():
    evidence = judged(better(700, share=0.01)).evidence
    assert evidence["rows_to_decide"] > 0
    assert evidence["days_to_decide"] % 7 == 0
    assert evidence["days_to_decide"] >= 7 * evidence["rows_to_decide"] / 700


def test_the_last_whole_cycle_is_waited_for_before_the_time_is_up():
    """Four weeks are allowed and labels take a day: the fourth week is judged on the day after it."""
    fourth_week = pairs([1.0] * 500, [0.0] * 500, at=START + 27 * DAY)
    assert judged(fourth_week, after=28 * DAY).verdict == "need_more_data"
    assert judged(fourth_week, after=29 * DAY).verdict == "promote"
    assert judged(pairs([], []), after=29 * DAY).verdict == "keep"


def hours_with_requests(*days):
    return np.array([int((START + day * DAY).timestamp()) * 1_000_000 for day in days], dtype=np.int64)


def with_requests(on_days, after):
    asked = hours_with_requests(*on_days)
    return decide(CHALLENGER, a_spec(cycle="7d", max_time="28d"), better(10), START + after, asked=asked)


def test_months_without_a_request_cost_a_trial_no_time():
    two_weeks = range(14)
    assert with_requests(two_weeks, after=200 * DAY).verdict == "need_more_data"
    again = [*two_weeks, *range(196, 210)]
    assert with_requests(again, after=209 * DAY).verdict == "need_more_data"
    decision = with_requests(again, after=211 * DAY)
    assert decision.verdict == "keep"
    assert decision.because.startswith("no proof within 28 days, without 182 days in which nobody asked: ")


def test_a_quiet_weekend_is_no_gap():
    workdays = [day for day in range(28) if day % 7 < 5]
    assert with_requests(workdays, after=29 * DAY).because.startswith("no proof within 28 days: ")


def test_a_gap_never_ends_a_trial_in_the_midst_of_a_cycle():
    spec = a_spec(cycle="7d", max_time="20d")
    asked = hours_with_requests(*range(14))
    for after in range(14, 60):
        assert decide(CHALLENGER, spec, better(10), START + after * DAY, asked=asked).verdict == "need_more_data"


@given(
    st.lists(st.integers(-50, 2_000), max_size=40),
    st.integers(1, 400),
    st.integers(0, 2_000),
    st.integers(0, 500),
)
def test_time_in_traffic_never_runs_back_and_never_ahead_of_the_clock(hours, cycle, passed, more):
    asked = hours_with_requests(*(hour / 24 for hour in hours))
    one = timedelta(hours=1)
    spans = [
        time_in_traffic(
            asked[asked < (START + end * one).timestamp() * 1e6],
            since=START,
            until=START + end * one,
            cycle=cycle * one,
        )
        for end in (passed, passed + more)
    ]
    assert timedelta(0) <= spans[0] <= spans[1] <= (passed + more) * one
    assert spans[0] <= passed * one
    shuffled = time_in_traffic(asked[::-1].repeat(2), since=START, until=START + passed * one, cycle=cycle * one)
    assert shuffled == time_in_traffic(asked, since=START, until=START + passed * one, cycle=cycle * one)


def test_where_somebody_asks_each_cycle_all_time_counts():
    asked = hours_with_requests(0, 8, 20)
    assert time_in_traffic(asked, since=START, until=START + 21 * DAY, cycle=7 * DAY) == 21 * DAY


def test_groups_may_be_codes_too():
    named = judged(pairs([1.0, 1.0, 0.0], [0.0, 0.0, 1.0], group=["a", "a", None]))
    coded = pairs([1.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    coded = PairedOutcomes(coded.inference_time, coded.production_loss, coded.shadow_loss, np.array([4, 4, -1]))
    assert judged(coded) == named


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([-1.0, 0.0, 1.0])), max_size=60), st.integers(1, 30))
def test_what_is_judged_never_depends_on_rows_that_do_not_count_yet(rows, after):
    """Days and differences; rows younger than the maturity, or of an unfinished week, change no verdict."""
    now = START + after * DAY
    until = judge(pairs([], []), Rules(), since=START, now=now).evidence["until"]

    def log(chosen):
        at = [int((START + day * DAY).timestamp()) * 1_000_000 for day, _ in chosen]
        made = pairs([max(x, 0.0) for _, x in chosen], [max(-x, 0.0) for _, x in chosen])
        return PairedOutcomes(np.array(at, dtype=np.int64), made.production_loss, made.shadow_loss, made.group)

    counted = [(day, x) for day, x in rows if (START + day * DAY).isoformat() < until]
    every, early = (judge(log(chosen), Rules(), since=START, now=now) for chosen in (rows, counted))
    assert every.verdict == early.verdict
    assert every.evidence["log_e_promote"] == early.evidence["log_e_promote"]


def test_a_regression_with_smaller_errors_is_promoted():
    noise = np.random.default_rng(7).exponential(1.0, 1_000)
    assert judged(pairs(noise * 2, noise), spec=a_spec("regression")).verdict == "promote"


def test_a_fresher_candidate_may_be_let_in_when_it_is_not_worse():
    equal = pairs([1.0, 0.0] * 1_000, [1.0, 0.0] * 1_000)
    assert judged(equal).verdict != "promote"
    assert judged(equal, spec=a_spec(margin=-0.05)).verdict == "promote"


def test_the_same_rows_in_another_order_give_the_same_verdict():
    rng = np.random.default_rng(7)
    production, candidate = rng.integers(0, 2, 400).astype(float), rng.integers(0, 2, 400).astype(float)
    order = rng.permutation(400)
    assert judged(pairs(production, candidate)) == judged(pairs(production[order], candidate[order]))


# --- rows that the shadow did not answer ------------------------------------------------------------------------------


def answering(share, *, after=8 * DAY, shadow=CHALLENGER):
    return decide(shadow, a_spec(), better(1_000), START + after, answered_share=share)


def test_a_candidate_that_failed_on_a_share_of_the_requests_is_not_promoted_for_the_others():
    decision = answering(0.9)
    assert decision.verdict == "need_more_data"
    assert decision.because.endswith("answered 90.0% of the requests, 98.0% are needed (deployment.tolerance)")
    assert decision.evidence["answered_share"] == 0.9


def test_a_candidate_that_goes_on_failing_is_kept_out_in_the_end():
    assert answering(0.9, after=30 * DAY).verdict == "keep"


@pytest.mark.parametrize("share", [None, 0.98, 1.0])
def test_a_candidate_that_answered_is_judged_by_its_answers(share):
    assert answering(share).verdict == "promote"


def test_what_the_sentinel_proves_does_not_wait_for_requests_that_it_did_not_answer():
    assert answering(0.5, shadow=SENTINEL).verdict == "promote"


# --- candidates in which production lives on --------------------------------------------------------------------------


def nested(outcomes, *, after=3 * DAY, share=1.0, nests=True, shadow=CHALLENGER, **spec):
    return decide(shadow, a_spec(**spec), outcomes, START + after, answered_share=share, nests=nests)


SAME = pairs([0.0] * 40, [0.0] * 40, at=START + DAY / 2)


def test_a_candidate_in_which_production_lives_on_is_promoted_once_it_has_answered_for_a_day():
    decision = nested(SAME)
    assert decision.verdict == "promote"
    assert decision.because.startswith("production lives on in it, and it answered 100.0% of the requests: ")
    assert decision.evidence["proof"] == "nested"
    assert nested(SAME, after=DAY).verdict == "need_more_data", "the labels of its first day have not matured"


def test_any_other_candidate_owes_the_proof():
    assert nested(SAME, nests=False).verdict == "need_more_data"
    assert nested(SAME, proof="better").verdict == "need_more_data"


def test_one_that_is_proven_worse_is_not_promoted():
    at = np.repeat([int((START + (day + 0.5) * DAY).timestamp()) for day in range(6)], 400) * 1_000_000
    worse = replace(pairs([0.0] * 2_400, [1.0, 0.0] * 1_200), inference_time=at)
    decision = nested(worse, after=8 * DAY)
    assert decision.verdict == "keep"
    assert "but it is proven worse" in decision.because


def test_one_bad_day_is_not_a_bad_version():
    worse = pairs([0.0] * 400, [1.0] * 200 + [0.0] * 200, at=START + DAY / 2)
    assert nested(worse).verdict == "need_more_data"


def test_one_that_has_lost_a_little_is_looked_at_again():
    lost = pairs([0.0] * 48, [1.0] * 2 + [0.0] * 46, at=START + DAY / 2)
    assert nested(lost).verdict == "need_more_data"
    assert nested(lost, after=40 * DAY).verdict == "keep"


def days_of(wrong, *, rows=48):
    """So many wrong answers of the candidate on each day, or, below zero, of production."""
    place = np.arange(rows)
    ours = np.concatenate([place < many for many in wrong]).astype(float)
    theirs = np.concatenate([place < -many for many in wrong]).astype(float)
    at = [int((START + (day + 0.5) * DAY).timestamp()) * 1_000_000 for day in range(len(wrong))]
    return replace(pairs(theirs, ours), inference_time=np.repeat(at, rows))


def test_what_a_new_member_cost_on_its_first_day_is_not_held_against_it_for_good():
    lost = days_of([5, 0, 1, -1, 0])
    assert nested(lost, after=3 * DAY).verdict == "need_more_data", "one day says nothing of how days differ"
    decision = nested(lost, after=7 * DAY)
    assert decision.evidence["gain"] < 0
    assert decision.verdict == "promote"
    assert "it lost no more than its days differ by" in decision.because


def test_one_that_loses_on_each_day_is_not_excused_by_chance():
    decision = nested(days_of([2, 3, 2, 3, 2]), after=7 * DAY)
    assert decision.verdict == "need_more_data"


@pytest.mark.parametrize("share", [None, 0.5])
def test_one_that_did_not_answer_is_not_promoted(share):
    assert nested(SAME, share=share).verdict == "need_more_data"
    assert nested(SAME, share=share, after=40 * DAY).verdict == "keep"


def test_the_sentinel_never_takes_over_without_a_proof():
    assert nested(SAME, after=9 * DAY, shadow=SENTINEL).verdict == "need_more_data"


def test_not_worse_is_a_loss_of_the_least_gain_ruled_out():
    alike = over_days(pairs([1.0, 0.0] * 2_000, [0.0, 1.0] * 2_000), 7)
    assert judged(alike, spec=a_spec(min_gain=0.1)).verdict != "promote"
    assert judged(alike, spec=a_spec(min_gain=0.1, proof="not_worse")).verdict == "promote"


# --- days with a fate of their own ------------------------------------------------------------------------------------


def some_days(days, rows, *, gain=0.0, points=0.0, seed=1):
    """Versions that differ in one answer of ten, with each day's own gain."""
    rng = np.random.default_rng(seed)
    gains = np.clip(gain + points / 100 * rng.normal(size=days), -0.1, 0.1).repeat(rows)
    drawn = rng.random(days * rows)
    won, lost = drawn < (0.1 + gains) / 2, drawn > 1 - (0.1 - gains) / 2
    return over_days(pairs(won.astype(float), lost.astype(float)), days)


def test_days_that_differ_make_rows_count_for_less_and_it_is_said():
    found = judged(some_days(28, 2_000, points=3), after=29 * DAY)
    assert found.evidence["overdispersion"] > 5
    assert found.evidence["row_worth"] == pytest.approx(1 / found.evidence["overdispersion"], abs=1e-3)
    assert "days differ" in found.because


def test_rows_of_one_bad_and_one_good_day_after_the_other_prove_nothing():
    """Gains of 6 points on four days and losses of 5 on three: as independent rows they would be a proof."""
    gains = np.array([0.06, -0.05, 0.06, -0.05, 0.06, -0.05, 0.06]).repeat(20_000)
    drawn = np.random.default_rng(3).random(len(gains))
    won, lost = drawn < (0.1 + gains) / 2, drawn > 1 - (0.1 - gains) / 2
    found = judged(over_days(pairs(won.astype(float), lost.astype(float)), 7))
    assert (found.verdict, found.evidence["gain"] > 0.01) == ("need_more_data", True)


def test_days_that_are_alike_are_not_found_to_differ():
    for seed in range(10):
        evidence = judged(some_days(28, 500, seed=seed), after=29 * DAY).evidence
        assert (evidence["overdispersion"], evidence["days"]) == (1.0, pytest.approx(28))
        assert evidence["row_worth"] > 0.4


def test_a_single_day_has_no_say_of_its_own():
    found = judged(some_days(1, 1_000, gain=0.05))
    assert (found.evidence["days"], found.evidence["overdispersion"]) == (1.0, 1.0)


def test_a_gain_that_comes_in_mid_trial_is_not_taken_for_days_that_differ():
    early, late = some_days(14, 2_000), some_days(14, 2_000, gain=0.04, seed=2)
    both = PairedOutcomes(
        np.concatenate([early.inference_time, late.inference_time + 14 * 86_400_000_000]),
        np.concatenate([early.production_loss, late.production_loss]),
        np.concatenate([early.shadow_loss, late.shadow_loss]),
        np.concatenate([early.group, late.group]),
    )
    found = judged(both, after=29 * DAY)
    assert (found.verdict, found.evidence["overdispersion"]) == ("promote", 1.0)


# --- a limit in rows --------------------------------------------------------------------------------------------------


def test_no_proof_on_so_many_rows_ends_the_trial():
    none_better = over_days(pairs([1.0, 0.0] * 400, [0.0, 1.0] * 400), 7)
    assert judged(none_better, spec=a_spec(min_gain=0.001)).verdict == "need_more_data"
    assert judged(none_better, spec=a_spec(min_gain=0.001, max_rows=801)).verdict == "need_more_data"
    over = judged(none_better, spec=a_spec(min_gain=0.001, max_rows=800))
    assert over.verdict == "keep"
    assert over.because.startswith("no proof within 800 rows: ")


def test_a_proof_that_comes_with_the_last_row_still_counts():
    assert judged(better(1_000), spec=a_spec(max_rows=1_000)).verdict == "promote"
