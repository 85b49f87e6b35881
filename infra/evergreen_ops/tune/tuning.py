"""One tuning from start to end: policies on a history's first rows, a recommendation, its proof on the last rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.errors import UsageError
from evergreen.spec import ModelSpec
from evergreen_ops.replay.policies import PolicyResult
from evergreen_ops.replay.progress import Screen
from evergreen_ops.replay.specs import Base, for_replay
from evergreen_ops.replay.streams import Stream
from evergreen_ops.tune.candidates import Candidate, Choices, first_round, second_round, spec_of
from evergreen_ops.tune.confirming import Confirmed, Proof, held_out, replay_all
from evergreen_ops.tune.costs import dollars_a_month, instance_seconds
from evergreen_ops.tune.judging import Recommendation, draw, front, recommend
from evergreen_ops.tune.measures import Measure, block_sums, blocks_of, score, values_of
from evergreen_ops.tune.running import History, Run, run_all

Array = npt.NDArray[Any]
CHOOSING_SHARE = 0.8
FEWEST_JUDGED = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tuned, and how.

    Attributes
    ----------
    spec : ModelSpec
        What is known of the model; the recommended spec is this one with a few keys changed.
    price : float
        Dollars an hour of a training instance.
    jobs : int
        Policies that run at a time.
    confirm : int
        Full replays, of the recommended policy and the runner-up.
    """

    stream: Stream
    spec: ModelSpec
    base: Base
    choices: Choices
    measure: Measure
    price: float
    jobs: int
    confirm: int
    step: timedelta
    template: Path


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate, what its answers were worth, and what it costs.

    Attributes
    ----------
    values : dict of str to float
        Each measure of its answers.
    behind, standard_error : float
        What the best one is better by, and how far that may be chance.
    """

    candidate: Candidate
    values: dict[str, float]
    behind: float
    standard_error: float
    trainings: int
    rows_trained: int
    dollars_a_month: float
    on_front: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **self.candidate.to_json(),
            **self.values,
            "behind": round(self.behind, 6),
            "standard_error": round(self.standard_error, 6),
            "trainings": self.trainings,
            "rows_trained": self.rows_trained,
            "dollars_a_month": round(self.dollars_a_month, 4),
            "on_front": self.on_front,
        }


@dataclass(frozen=True)
class Tuned:
    """A finished tuning. The judged are in the order of `candidates`, the first is ``never``."""

    plan: Plan
    judged: tuple[Judged, ...]
    recommendation: Recommendation
    blocks: int
    rows: int
    failed: tuple[Run, ...]
    confirmed: tuple[Confirmed, ...] = ()

    @property
    def chosen(self) -> Judged:
        """The recommended one."""
        return self.judged[self.recommendation.chosen]

    @cached_property
    def spec(self) -> ModelSpec:
        """The recommended spec."""
        return spec_of(self.chosen.candidate, self.plan.spec, self.plan.stream)

    def to_json(self) -> dict[str, Any]:
        """Return what tune.json holds."""
        told, judged = self.recommendation, self.judged
        return {
            "stream": self.plan.stream.name,
            "task": self.plan.stream.task,
            "measure": self.plan.measure.value,
            "rows": self.rows,
            "blocks": self.blocks,
            "instance_type": self.plan.spec.training.instance_type,
            "dollars_an_hour": self.plan.price,
            "recommended": self.chosen.candidate.to_json(),
            "best": judged[told.best].candidate.to_json(),
            "runner_up": judged[told.runner_up].candidate.to_json(),
            "sure": told.to_json(),
            "policies": [each.to_json() for each in judged],
            "confirmed": [each.to_json() for each in self.confirmed],
            "failed": [run.candidate.to_json() | {"because": run.because} for run in self.failed],
        }


def tune(plan: Plan, screen: Screen) -> Tuned:
    """Try policies on the first 80 % of a history, recommend one, and show what it gets on the rest.

    Raises
    ------
    UsageError
        Too few rows are left to choose by, or nothing could be trained.
    """
    cut = first_rows(plan.stream, plan.base)
    here, _ = for_replay(plan.spec)
    whole = History(plan.stream, here, plan.base, plan.stream)
    choosing = replace(whole, stream=plan.stream.first(cut))
    tuned = _judged(plan, _rounds(plan, choosing, screen))
    told = tuned.recommendation
    shown = dict.fromkeys(tuned.judged[place].candidate for place in (told.chosen, told.runner_up, 0))
    runs = run_all(tuple(shown), whole, plan.jobs, screen, "the same on the last rows, offline")
    confirmed = [held_out(run.candidate, run.result, cut, plan.stream) for run in runs if run.result]
    replayed = replay_all(confirmed[: plan.confirm], Proof(whole, cut, plan.step, plan.template), plan.jobs, screen)
    return replace(tuned, confirmed=(*replayed, *confirmed[plan.confirm :]))


def first_rows(stream: Stream, base: Base) -> int:
    """Return how many rows choose; the others are kept for the proof.

    Raises
    ------
    UsageError
        Too few of them are labelled.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.specs import base_of
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(2_000), "label": [0, 1] * 1_000}), name="tiny")
    >>> first_rows(stream, base_of(stream))
    1600
    """
    cut = int(CHOOSING_SHARE * stream.rows)
    judged = int(stream.labelled[base.rows : cut].sum())
    if judged < FEWEST_JUDGED or not stream.labelled[cut:].any():
        raise UsageError(
            f"{stream.name} has {judged:,} labelled rows to choose by, after the first {base.rows:,} and before the "
            f"last fifth: give a file with at least {FEWEST_JUDGED}, and labels in its last fifth"
        )
    return cut


def _rounds(plan: Plan, history: History, screen: Screen) -> list[Run]:
    """Run the first round, and around its leaders the second."""
    tried = run_all(first_round(plan.choices), history, plan.jobs, screen, "cadence and freshness")
    done = [run for run in tried if run.result is not None]
    if not done or done[0] is not tried[0]:
        raise UsageError(f"the first model can't be trained: {tried[0].because}")
    told = _judged(plan, tried).recommendation
    leaders = [done[place].candidate for place in dict.fromkeys((told.chosen, told.best))]
    candidates = second_round(plan.choices, leaders, [run.candidate for run in tried])
    return tried + run_all(candidates, history, plan.jobs, screen, "rows and estimators")


def _judged(plan: Plan, runs: Sequence[Run]) -> Tuned:
    """Judge all that could be run by the same blocks of rows."""
    done = [(run.candidate, run.result) for run in runs if run.result is not None]
    results = [result for _, result in done]
    rows = results[0].scored
    assert rows is not None
    blocks = blocks_of(plan.stream, rows)
    days = float((plan.stream.event_time[rows[-1]] - plan.stream.event_time[plan.base.rows]) / np.timedelta64(1, "D"))
    sums = [_sums(plan.measure, blocks, result, plan.stream) for result in results]
    goods = [plan.measure.sign * float(score(plan.measure, of_one.sum(axis=0))) for of_one in sums]
    drawn = draw(plan.measure, sums)
    costs = [instance_seconds(result.trainings, result.rows_trained) for result in results]
    told = recommend(costs, goods, drawn, never=0)
    best_of_cost = front([result.rows_trained for result in results], goods)
    judged = [
        Judged(
            candidate=candidate,
            values=values_of(result.actual, result.predicted, result.probabilities, plan.stream.classes),
            behind=goods[told.best] - goods[place],
            standard_error=float(np.std(drawn[told.best] - drawn[place])),
            trainings=result.trainings,
            rows_trained=result.rows_trained,
            dollars_a_month=dollars_a_month(costs[place], plan.price, days),
            on_front=place in best_of_cost,
        )
        for place, (candidate, result) in enumerate(done)
    ]
    failed = tuple(run for run in runs if run.result is None)
    return Tuned(plan, tuple(judged), told, int(blocks[-1]) + 1, len(rows), failed)


def _sums(measure: Measure, blocks: Array, result: PolicyResult, stream: Stream) -> Array:
    return block_sums(measure, blocks, result.actual, result.predicted, result.probabilities, stream.classes)
