"""What a live state costs beside the plain answers when labels are wrong, late or missing: see docs/online.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pytest
from goals import Board
from sklearn.ensemble import RandomForestClassifier

from evergreen.training.delays import Delays
from evergreen.training.leaves import ForestLeaves
from evergreen.training.live_linear import Linear
from evergreen.training.live_state import Answered, Asked, LiveState, row_loss

pytestmark = pytest.mark.slow

ROWS, TRAINED, WEEK = 8_000, 1_500, 1_000
FEATURES = 5
MINUTE = timedelta(minutes=1)
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """What is wrong with the labels; a week is 1,000 rows.

    `flipped`: those of one week; `poisoned`: the share that a client of ours turns round, for good; `missing`: those of
    class 1, for one week; `adversary`: each that would speak for what was learned; `turns`: the world, after so many
    rows, again and again; `early`: those of class 1, which are known at once, while the others are `late`. A state
    learns what is known, or `waits` until known labels are like all of them, as the product does. A row is a minute.
    """

    name: str
    flipped: bool = False
    poisoned: float = 0.0
    missing: bool = False
    adversary: bool = False
    turns: int = 0
    late: int = 0
    batch: int = 50
    early: bool = False
    waits: bool = False


PROMPT = [
    Scene("nothing is wrong"),
    Scene("labels flipped for a week", flipped=True),
    Scene("a fifth of the labels poisoned", poisoned=0.2),
    Scene("class 1 unlabelled for a week", missing=True),
    Scene("an adversary labels each row", adversary=True, batch=1),
    Scene("the world turns each 1,000 rows", turns=1_000),
]
LATE = [
    Scene("an adversary labels fifty at a time", adversary=True),
    *(
        Scene(f"{name}, {late} rows late", late=late, **what)
        for late in (600, 2_000)
        for name, what in {
            "nothing is wrong": {},
            "labels flipped for a week": {"flipped": True},
            "the world turns each 1,000 rows": {"turns": 1_000},
        }.items()
    ),
]
EARLY = [
    Scene("class 1 is known at once, class 0 after 1,000 rows, all is learned as it comes", early=True, late=1_000),
    Scene("the same, and known labels are waited for until they are like all", early=True, late=1_000, waits=True),
]


@dataclass(frozen=True)
class Lived:
    """Sums over all labels that came, and shares of rows that were right."""

    cost: float  # the fresh answers' loss less the plain ones', on the labels that came
    bound: float
    fresh_right: float
    plain_right: float
    worst_fresh: float  # of a thousand rows
    worst_plain: float


def lived(scene: Scene, seed: int) -> Lived:
    """A version answers, and its live state learns what it is told."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    turned = np.zeros(ROWS, dtype=bool)
    if scene.turns:
        turned[TRAINED:] = (np.arange(ROWS - TRAINED) // scene.turns) % 2 == 0
    truth = ((x[:, 0] + 0.5 * x[:, 1] + 0.5 * random.normal(size=ROWS) > 0) ^ turned).astype(np.int64)
    told = truth.copy()
    week = slice(TRAINED + 2 * WEEK, TRAINED + 3 * WEEK)
    if scene.flipped:
        told[week] = 1 - told[week]
    told = np.where(random.random(ROWS) < scene.poisoned, 1 - told, told)
    labelled = np.ones(ROWS, dtype=bool)
    if scene.missing:
        labelled[week] = told[week] == 0
    forest = RandomForestClassifier(20, max_depth=8, min_samples_leaf=5, random_state=seed).fit(
        x[:TRAINED], truth[:TRAINED].astype(str)
    )
    leaves = ForestLeaves.of(forest, ("0", "1"))
    assert leaves is not None
    linear = Linear.new(2, FEATURES).learned(x[:TRAINED], truth[:TRAINED])
    state = LiveState(2, 1.0, linear=linear).with_member(1, leaves.table)
    asked = Asked({1: leaves.ids(forest, x)}, {}, x)
    waiting: list[tuple[Codes, Answered]] = []
    delays = Delays()
    fresh, plain = np.zeros((ROWS, 2)), np.zeros((ROWS, 2))
    for begin in range(TRAINED, ROWS, scene.batch):
        rows = np.arange(begin, min(begin + scene.batch, ROWS))
        said = state.answer(asked.take(rows))
        fresh[rows], plain[rows] = said.fresh, said.plain
        if scene.adversary:  # each label speaks against what was learned, wherever that differs from the plain answer
            told[rows] = np.where(said.adapted[:, 1] > said.plain[:, 1], 0, 1)
        waiting.append((rows[labelled[rows]], _some(said, labelled[rows])))
        took = np.where(scene.early & (told == 1), 0, scene.late)
        longest = timedelta(minutes=scene.late)
        wait = delays.matured_after(longest) / MINUTE if scene.waits else 0.0
        waiting, due = _due(waiting, begin, took, wait)
        for which, was in due:
            seconds = took[which] * 60.0
            delays = delays.seen(seconds).compared(seconds, state.missed(was.plain, told[which]))
            state = state.learn(asked.take(which), was, told[which], scene.late)
    counted = np.flatnonzero(labelled)[np.searchsorted(np.flatnonzero(labelled), TRAINED) :]
    cost = row_loss(fresh[counted], told[counted], 2) - row_loss(plain[counted], told[counted], 2)
    right = [(answers.argmax(axis=1) == truth)[TRAINED:] for answers in (fresh, plain)]
    worst = [_worst(one) for one in right]
    return Lived(
        float(cost.sum()),
        state.guard.bound(len(counted)),
        *(float(one.mean()) for one in right),
        *worst,
    )


def _due(
    waiting: list[tuple[Codes, Answered]], now: int, took: Codes, wait: float
) -> tuple[list[tuple[Codes, Answered]], list[tuple[Codes, Answered]]]:
    """What is left waiting, and what is known and old enough; batches are as old as their first row."""
    left, due = [], []
    for rows, said in waiting:
        age = now - rows[0] if len(rows) else 0
        ready = (took[rows] <= age) & (age >= wait)
        for some, into in ((ready, due), (~ready, left)):
            if some.any():
                into.append((rows[some], _some(said, some)))
    return left, due


def _some(said: Answered, rows: npt.NDArray[np.bool_]) -> Answered:
    answers = (said.plain, said.fresh, said.guarded, said.adapted)
    return Answered(*(one[rows] for one in answers), {name: one[rows] for name, one in said.parts.items()})


def _worst(right: npt.NDArray[np.bool_]) -> float:
    return float(min(np.convolve(right, np.ones(WEEK) / WEEK, mode="valid")))


@pytest.mark.parametrize("scene", PROMPT, ids=lambda scene: scene.name)
def test_whatever_the_labels_are_freshness_costs_no_more_than_its_bound(
    scene: Scene, board: Board, repetitions: Callable[[int, int], int]
) -> None:
    lives = [lived(scene, seed) for seed in range(repetitions(2, 30))]
    beyond = sum(life.cost > life.bound for life in lives)
    board.at_most("live state", f"{scene.name}: cost beyond the bound", beyond, len(lives), 0.0)
    _tell(scene, lives, board)


@pytest.mark.parametrize("scene", LATE, ids=lambda scene: scene.name)
def test_what_late_labels_cost(scene: Scene, board: Board, repetitions: Callable[[int, int], int]) -> None:
    """No bound is proven for them: these are the figures."""
    _tell(scene, [lived(scene, seed) for seed in range(repetitions(2, 30))], board)


@pytest.mark.parametrize("scene", EARLY, ids=lambda scene: scene.name)
def test_what_early_labels_of_one_class_cost(
    scene: Scene, board: Board, repetitions: Callable[[int, int], int]
) -> None:
    lives = [lived(scene, seed) for seed in range(repetitions(2, 30))]
    worse = float(np.mean([life.plain_right - life.fresh_right for life in lives]))
    if scene.waits:
        board.no_more_than("live state", f"{scene.name}: accuracy lost", worse, 0.01)
    _tell(scene, lives, board)


def _tell(scene: Scene, lives: list[Lived], board: Board) -> None:
    cost, bound = max(life.cost for life in lives), lives[0].bound
    board.note("live state", f"{scene.name}: the most it cost, and the bound", "", f"{cost:+.1f}, {bound:.1f}")
    fresh, plain = (float(np.mean([getattr(life, f"{kind}_right") for life in lives])) for kind in ("fresh", "plain"))
    board.note("live state", f"{scene.name}: right, fresh and plain", "", f"{fresh:.1%}, {plain:.1%}")
    worst = [float(np.mean([getattr(life, f"worst_{kind}") for life in lives])) for kind in ("fresh", "plain")]
    board.note("live state", f"{scene.name}: right in the worst week", "", f"{worst[0]:.1%}, {worst[1]:.1%}")
