"""How often a poisoned online state gets past its guard, and how soon a good one does: docs/online.md has the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from goals import Board

from evergreen.domain.checkpoint_trial import (
    is_due,
    is_over,
    judge_checkpoint,
    judged_until,
    newest_labels,
    on_trial,
    paired,
    trial_rules,
    unseen_since,
)
from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer
from evergreen.domain.pairs import OutcomeRow
from evergreen.spec import ModelSpec
from evergreen.training.learning import learn
from evergreen.training.online_state import OnlineState

pytestmark = pytest.mark.slow

START, DAY, HOUR = datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=1), timedelta(hours=1)
ROWS_AN_HOUR, DAYS, CHANGE = 20, 16, 4
SPEC = ModelSpec.parse(
    {
        "model": "churn",
        "task": "binary",
        "features": {"age": {"type": "number"}, "plan": {"type": "categorical"}},
        "labels": {"classes": ["0", "1"], "maturity": "12h"},
        "training": {"min_rows": 100},
        "online": {"enabled": True},
    }
)
SCHEMA = SPEC.feature_schema()


@dataclass(frozen=True)
class Scene:
    """From the fourth day on: labels that are flipped for some hours, or a world that has changed for good."""

    flipped_hours: int = 0
    drifts: bool = False
    at_once: bool = False
    guarded: bool = True


@dataclass(frozen=True)
class Ended:
    """What came of it: the day of the first candidate after the fourth, and the worst day of the state itself."""

    candidate_on: float | None
    handed_on_accuracy: float | None  # on true labels of the days that follow, less production's
    worst_day: float


def hours(scene: Scene, seed: int) -> list[list[OutcomeRow]]:
    """Requests by hour, with the labels that are collected; production answers by the rule of the first days."""
    random, rows = np.random.default_rng(seed), []
    for hour in range(DAYS * 24):
        time, since = START + hour * HOUR, hour - CHANGE * 24
        border = 28.0 if scene.drifts and since >= 0 else 40.0
        ages = random.uniform(20, 60, ROWS_AN_HOUR)
        truth = (ages > border) ^ (random.random(ROWS_AN_HOUR) < 0.1)
        flipped = 0 <= since < scene.flipped_hours
        said = (ages > 40).astype(int)
        rows.append(
            [
                OutcomeRow(
                    f"{hour}-{i}",
                    time + i * timedelta(minutes=2),
                    time + HOUR,
                    1,
                    str(said[i]),
                    None,
                    str(int(truth[i] ^ flipped)),
                    None,
                    {"age": float(ages[i]), "plan": "ab"[i % 2]},
                )
                for i in range(ROWS_AN_HOUR)
            ]
        )
    return rows


def lived(scene: Scene, seed: int) -> Ended:
    """Learn hour by hour and tick once a day, with the guard that the function has."""
    stream, state, learned, rows_seen = hours(scene, seed), None, 0, []
    checkpoints: list[OnlineCheckpoint] = []
    states: dict[int, OnlineState] = {}
    worst = 1.0
    for hour in range(DAYS * 24):
        now = START + (hour + 1) * HOUR
        rows_seen += stream[hour]
        ripe = hour if scene.at_once else hour - 12
        if ripe >= 0:
            part = stream[ripe]
            state, _ = learn(state, [row.features for row in part], [row.actual for row in part], SCHEMA)
            learned = ripe
        if state is None or (hour + 1) % 24:
            continue
        worst = min(worst, true_accuracy(state, scene, now))
        until = stream[learned][-1].time
        pointer = OnlinePointer("churn", "f", state.updates, "", "", state.updates, state.rows, until)
        if is_due(checkpoints, pointer, SPEC, now):
            number = len(checkpoints) + 1
            kept = OnlineCheckpoint("churn", number, "f", state.updates, "", "", now, until, state.updates, state.rows)
            checkpoints.append(kept)
            states[number] = state
        found = judged(checkpoints, states, rows_seen, now, scene)
        if found is not None and now >= START + CHANGE * DAY:
            production = 0.9 - 0.8 * (12 / 40 if scene.drifts else 0.0)
            gain = true_accuracy(states[found], scene, now) - production
            return Ended((now - START) / DAY - CHANGE, gain, worst)
    return Ended(None, None, worst)


def judged(
    checkpoints: list[OnlineCheckpoint],
    states: dict[int, OnlineState],
    rows: list[OutcomeRow],
    now: datetime,
    scene: Scene,
) -> int | None:
    """The checkpoint that is handed on now; without a guard the newest one."""
    if not scene.guarded:
        return checkpoints[-1].number if checkpoints and now > START + CHANGE * DAY else None
    for turn in on_trial(checkpoints, "f", SPEC):
        place, trial = turn.number - 1, replace(turn, status=CheckpointStatus.ON_TRIAL)
        checkpoints[place] = trial
        since = unseen_since(trial, START)
        until = judged_until(since, SPEC, now)
        if until == since:
            continue
        own = newest_labels(rows, version=1, since=since)
        answered = states[trial.number].predict([row.features for row in own])
        decision = judge_checkpoint(paired(own, answered, SPEC), trial_rules(SPEC), since=since, now=now)
        if decision.verdict == "promote":
            return trial.number
        if decision.verdict == "keep" or is_over(trial, SPEC, now):
            checkpoints[place] = replace(trial, status=CheckpointStatus.DROPPED)
    return None


def true_accuracy(state: OnlineState, scene: Scene, now: datetime) -> float:
    """The share of all ages that the state answers as the world is now; a tenth of it surprises anybody."""
    ages = np.linspace(20, 60, 401)
    border = 28.0 if scene.drifts and now > START + CHANGE * DAY else 40.0
    answered = state.predict([{"age": float(age), "plan": "ab"[i % 2]} for i, age in enumerate(ages)])
    right = np.mean([int(label) == int(age > border) for label, age in zip(answered.labels or (), ages, strict=True)])
    return float(0.1 + 0.8 * right)


@pytest.mark.parametrize("at_once", [False, True], ids=["matured", "at once"])
@pytest.mark.parametrize("flipped", [8, 24, 48])
def test_a_burst_of_flipped_labels_is_kept_out(
    flipped: int, at_once: bool, board: Board, repetitions: Callable[[int, int], int]
) -> None:
    count = repetitions(3, 40)
    ended = [lived(Scene(flipped, at_once=at_once), seed) for seed in range(count)]
    out = sum(each.candidate_on is not None for each in ended)
    name = f"labels flipped for {flipped} h, learned {'at once' if at_once else 'matured'}"
    board.at_most("online guard", f"{name}: handed on", out, count, 0.01)
    worst = float(np.median([each.worst_day for each in ended]))
    board.note("online guard", f"{name}: the state's own worst day", "", f"{worst:.2f} (production 0.90)")


def test_what_the_guard_can_not_know(board: Board, repetitions: Callable[[int, int], int]) -> None:
    """Labels that stay wrong are what the world is like, for whoever has nothing but labels."""
    count = repetitions(3, 40)
    ended = [lived(Scene(10 * 24), seed) for seed in range(count)]
    out = sum(each.candidate_on is not None for each in ended)
    board.note("online guard", "labels flipped for ten days: handed on", "", f"{out} of {count}")


def test_a_real_change_gets_past_the_guard_in_days(board: Board, repetitions: Callable[[int, int], int]) -> None:
    count = repetitions(3, 40)
    for at_once in (False, True):
        ended = [lived(Scene(drifts=True, at_once=at_once), seed) for seed in range(count)]
        name = f"a real change, learned {'at once' if at_once else 'matured'}"
        days = [each.candidate_on for each in ended if each.candidate_on is not None]
        gains = [each.handed_on_accuracy for each in ended if each.handed_on_accuracy is not None]
        board.at_least("online guard", f"{name}: handed on", len(days), count, 0.95)
        board.note("online guard", f"{name}: days until then, median", "", f"{np.median(days):.1f}")
        board.note("online guard", f"{name}: its true accuracy over production's", "", f"{np.median(gains):+.2f}")
        assert min(gains) > 0


def test_without_the_guard_a_burst_is_in_production_a_day_later(
    board: Board, repetitions: Callable[[int, int], int]
) -> None:
    count = repetitions(3, 40)
    ended = [lived(Scene(24, at_once=True, guarded=False), seed) for seed in range(count)]
    gains = [each.handed_on_accuracy for each in ended if each.handed_on_accuracy is not None]
    told = f"{len(gains)} of {count}, true accuracy {np.median(gains):+.2f} against production"
    board.note("wrong on purpose", "labels flipped for 24 h, no guard: handed on", "", told)
    assert np.median(gains) < -0.2
