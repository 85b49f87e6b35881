"""Policies that people run today: what each may know, and when each retrains."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from evergreen_ops.replay.policies import Policy, PolicyError, Window, parse_policies, simulate
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.specs import Base, base_of, infer_spec
from evergreen_ops.replay.streams import Stream, read_table

Array = npt.NDArray[Any]
ROWS = 6_000


@dataclass
class MajorityRecipe:
    """Predicts the commonest label it was trained on, and remembers what it was given."""

    stream: Stream
    trained_on: list[Array] = field(default_factory=list)

    def fit(self, rows: Array) -> MajorityModel:
        self.trained_on.append(rows)
        ones = np.mean(self.stream.label[rows] == "1")
        return MajorityModel("1" if ones > 0.5 else "0", float(ones))


@dataclass(frozen=True)
class MajorityModel:
    answer: str
    chance: float

    def predict(self, rows: Array) -> tuple[Array, Array]:
        return np.full(len(rows), self.answer, dtype=object), np.tile([1 - self.chance, self.chance], (len(rows), 1))


@pytest.fixture(scope="module")
def turning() -> Stream:
    """The label is 0 in the first half and 1 in the second."""
    label = np.where(np.arange(ROWS) < ROWS // 2, 0, 1)
    label[::10] = 1 - label[::10]
    return read_table(pa.table({"x": np.arange(ROWS) % 11, "label": label}), name="turning")


def run(policy: str, stream: Stream) -> tuple[Any, MajorityRecipe, Base]:
    recipe, base = MajorityRecipe(stream), base_of(stream)
    return simulate(parse_policies(policy)[0], stream, infer_spec(stream), base, recipe), recipe, base


def test_never_is_the_first_model_for_ever(turning: Stream) -> None:
    result, recipe, base = run("never", turning)
    assert (result.trainings, result.rows_trained, len(recipe.trained_on)) == (0, 0, 1)
    assert set(result.predicted) == {"0"}
    assert result.to_json()["rows"] == ROWS - base.rows


def test_every_n_retrains_on_labels_that_were_known_by_then(turning: Stream) -> None:
    result, recipe, base = run("every:500", turning)
    assert result.trainings == (ROWS - base.rows - 1) // 500  # not after the last row, which nothing follows
    for number, rows in enumerate(recipe.trained_on[1:], start=1):
        now = turning.event_time[base.rows + 500 * number - 1]
        assert turning.label_time[rows].max() <= now


def test_fresh_trains_as_seldom_as_it_is_told_and_follows_the_labels_in_between(turning: Stream) -> None:
    spec, base = infer_spec(turning), base_of(turning)
    fresh, seldom = (
        simulate(parse_policies(policy)[0], turning, spec, base, StreamRecipe(turning, spec))
        for policy in ("fresh:3000", "every:3000")
    )
    assert (fresh.trainings, fresh.rows_trained) == (seldom.trainings, seldom.rows_trained)
    assert fresh.quality.accuracy is not None
    assert seldom.quality.accuracy is not None
    assert fresh.quality.accuracy > seldom.quality.accuracy + 0.05


def test_fresh_knows_no_label_before_its_time(turning: Stream) -> None:
    """Labels that nobody has seen yet could be anything: the answers before are the same."""
    spec, base, policy = infer_spec(turning), base_of(turning), parse_policies("fresh:3000")[0]
    late = ROWS // 2
    after = turning.label_time > turning.event_time[late]
    others = turning.label.copy()
    others[after] = np.where(others[after] == "1", "0", "1")
    told = [
        simulate(policy, stream, spec, base, StreamRecipe(stream, spec)).predicted[: late - base.rows]
        for stream in (turning, dataclasses.replace(turning, label=others))
    ]
    assert (told[0] == told[1]).all()


@pytest.mark.parametrize("policy", ["never", "fresh:500"])
def test_a_class_of_the_spec_that_the_stream_lacks_moves_no_other(policy: str) -> None:
    label = np.array(["a", "c", "d"])[np.arange(1_500) % 3]
    three = read_table(pa.table({"x": np.arange(1_500) % 3, "label": label}), name="three", rows_per_day=100)
    inferred = infer_spec(three)
    labels = inferred.labels.model_copy(update={"classes": ("a", "b", "c", "d")})
    spec = inferred.model_copy(update={"labels": labels})
    found = simulate(parse_policies(policy)[0], three, spec, base_of(three, spec=spec), StreamRecipe(three, spec))
    assert (found.quality.accuracy, found.quality.auc) == (1.0, 1.0)


def test_the_tutorial_retrains_whenever_it_looks_below_its_bar(turning: Stream) -> None:
    result, _, _ = run("tutorial", turning)
    assert sum(result.triggers.values()) == result.trainings > 0
    assert set(result.triggers) <= {"performance", "data_drift", "new_data", "prediction_shift"}


def test_a_trigger_sees_each_matured_answer_of_the_model_in_use_once(turning: Stream) -> None:
    seen: list[Array] = []

    def fires(window: Window) -> str | None:
        seen.append(window.matured)
        return "often" if len(seen) == 20 else None

    base = base_of(turning)
    policy = Policy("watchful", fires=fires, checked_every=50)
    found = simulate(policy, turning, infer_spec(turning), base, MajorityRecipe(turning))
    assert found.triggers == {"often": 1}
    before, after = np.concatenate(seen[:20]), np.concatenate(seen[20:])
    retrained = base.rows + 20 * 50
    labels_known = turning.label_time <= turning.event_time[retrained - 1]
    assert before.tolist() == [row for row in range(base.rows, retrained) if labels_known[row]]
    assert after[0] == retrained, "what the replaced model answered is not the new one's"
    assert (np.diff(turning.label_time[after]) >= np.timedelta64(0, "us")).all()


def test_the_same_seed_gives_the_same_figures(turning: Stream) -> None:
    spec, base, policy = infer_spec(turning), base_of(turning), parse_policies("never")[0]
    first, second = (simulate(policy, turning, spec, base, StreamRecipe(turning, spec)).quality for _ in range(2))
    assert first == second


@pytest.mark.parametrize("text", ["sometimes", "every:0", "every:", "never,often", ""])
def test_an_unknown_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"never, every:N \(rows\), fresh:N, tutorial"):
        parse_policies(text)
