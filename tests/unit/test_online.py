"""Incremental learning: predict, then learn, and a state that goes through storage without losing a bit."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor

from evergreen.schema import FeatureSchema
from evergreen.statistics.profile import Binning
from evergreen.training.online import REMEMBERED_BATCHES, OnlineState, OnlineStateError, PrequentialCounts, learn

FEATURES = {"x": "number", "z": "number", "plan": "categorical"}
SCHEMAS = {
    "binary": FeatureSchema.of("binary", FEATURES, ["no", "yes"]),
    "multiclass": FeatureSchema.of("multiclass", FEATURES, ["maybe", "no", "yes"]),
    "regression": FeatureSchema.of("regression", FEATURES),
}


def batch_of(task, index, size=50):
    random = np.random.default_rng(index)
    x, z, plan = random.normal(size=size), random.normal(1e4, 1e3, size=size), random.integers(0, 3, size)
    value = x + (z - 1e4) / 1e3 + (plan == 1) + random.normal(scale=0.2, size=size)
    rows = [
        {"x": float(x[i]), "z": None if i % 10 == 0 else float(z[i]), "plan": ("basic", "gold", None)[plan[i]]}
        for i in range(size)
    ]
    if task == "regression":
        return rows, [float(item) * 50 + 1000 for item in value]
    names = SCHEMAS[task].classes
    return rows, [names[int(item > 0) + int(item > 1 and len(names) > 2)] for item in value]


@pytest.mark.parametrize("task", list(SCHEMAS))
def test_a_state_kept_between_batches_learns_what_a_learner_in_memory_learns(task):
    schema, state, memory = SCHEMAS[task], None, None
    for index in range(20):
        rows, labels = batch_of(task, index)
        stored = OnlineState.from_bytes(state.to_bytes()) if state is not None else None
        state, _ = learn(stored, rows, labels, schema, batch_id=str(index))
        if task == "regression":
            memory = memory or SGDRegressor(random_state=0)
            memory.partial_fit(state.encode(rows), (np.array(labels) - state.label_centre) / state.label_scale)
        else:
            memory = memory or SGDClassifier(loss="log_loss", random_state=0)
            memory.partial_fit(state.encode(rows), np.array(labels), classes=np.array(schema.classes))
        np.testing.assert_array_equal(state.coef, np.atleast_2d(memory.coef_))
        np.testing.assert_array_equal(state.intercept, memory.intercept_)
        assert state.t == memory.t_
    rows, _ = batch_of(task, 99)
    if task != "regression":
        np.testing.assert_allclose(
            state.predict(rows).probabilities, memory.predict_proba(state.encode(rows)), atol=1e-12
        )
        assert state.predict(rows).labels == memory.predict(state.encode(rows)).tolist()


def test_the_model_gets_better_and_the_counts_say_so():
    state, early, late = None, PrequentialCounts(), PrequentialCounts()
    for index in range(40):
        state, counts = learn(state, *batch_of("binary", index), SCHEMAS["binary"])
        early, late = (early + counts, late) if index < 5 else (early, late + counts)
    assert early.rows == 250
    assert early.scored == 200  # nothing could answer the first batch
    assert late.accuracy > 0.85
    assert late.accuracy > early.accuracy - 0.05
    assert (state.updates, state.rows) == (40, 2000)


def test_a_regression_follows_its_label_in_its_own_unit():
    state = None
    for index in range(40):
        state, counts = learn(state, *batch_of("regression", index), SCHEMAS["regression"])
    assert counts.correct == 0
    assert counts.loss / counts.scored < 40  # the label's spread is about 80


def test_learning_leaves_the_given_state_as_it_was():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    before = state.to_bytes()
    learn(state, *batch_of("binary", 1), SCHEMAS["binary"])
    assert state.to_bytes() == before


def test_a_batch_delivered_twice_is_learned_once():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"], batch_id="m-1")
    again, counts = learn(state, *batch_of("binary", 0), SCHEMAS["binary"], batch_id="m-1")
    assert again is state
    assert counts == PrequentialCounts(already_applied=True)


def test_only_the_last_batch_ids_are_remembered():
    state = None
    rows, labels = batch_of("binary", 0, size=4)
    for index in range(REMEMBERED_BATCHES + 3):
        state, _ = learn(state, rows, labels, SCHEMAS["binary"], batch_id=str(index))
    assert len(state.applied) == REMEMBERED_BATCHES
    assert (state.applied[0], state.applied[-1]) == ("3", str(REMEMBERED_BATCHES + 2))


def test_the_same_state_is_the_same_bytes_and_holds_no_pickle():
    state, _ = learn(None, *batch_of("multiclass", 0), SCHEMAS["multiclass"], batch_id="m-1")
    assert state.to_bytes() == OnlineState.from_bytes(state.to_bytes()).to_bytes()
    import io

    with np.load(io.BytesIO(state.to_bytes()), allow_pickle=False) as stored:
        header = json.loads(stored["header"].tobytes())
    assert header["applied"] == ["m-1"]
    assert header["updates"] == 1


@pytest.mark.parametrize("damaged", [b"", b"nonsense", b"PK\x03\x04", None])
def test_a_damaged_state_is_refused(damaged):
    if damaged is None:
        state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
        damaged = state.to_bytes()[:-60]
    with pytest.raises(OnlineStateError, match="start a new state"):
        OnlineState.from_bytes(damaged)


def test_a_state_of_another_schema_is_refused():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    with pytest.raises(OnlineStateError, match="start a new state"):
        learn(state, *batch_of("multiclass", 1), SCHEMAS["multiclass"])


def test_the_order_of_features_is_no_other_schema():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    turned = dataclasses.replace(SCHEMAS["binary"], features=SCHEMAS["binary"].features[::-1])
    learned, _ = learn(state, *batch_of("binary", 1), turned)
    expected, _ = learn(state, *batch_of("binary", 1), SCHEMAS["binary"])
    assert learned.to_bytes() == expected.to_bytes()


def test_a_label_that_is_no_class_is_counted_and_not_learned():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    rows, labels = batch_of("binary", 1)
    some, counts = learn(state, rows, ["perhaps", *labels[1:]], SCHEMAS["binary"])
    assert (counts.unseen, counts.scored, some.rows) == (1, 50, 99)
    none, counts = learn(state, rows[:2], ["perhaps", "perhaps"], SCHEMAS["binary"])
    assert (counts.unseen, counts.scored, counts.correct) == (2, 2, 0)
    assert none is state


def test_centre_and_scale_come_from_the_reference_when_it_is_given():
    binning = Binning.fit({"x": [1.0, 2.0, 3.0, 4.0], "z": [0.0, 10.0, 20.0, 30.0]})
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"], binning=binning)
    assert state.centre.tolist() == [2.5, 15.0]
    assert state.scale.tolist() == [column.scale for column in binning.columns]


def test_an_absurd_value_does_not_throw_the_model_off():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    assert np.abs(state.encode([{"x": 3e38, "z": -3e38, "plan": "new"}])).max() == 10.0
    learned, _ = learn(state, [{"x": 3e38, "z": -3e38, "plan": "new"}], ["yes"], SCHEMAS["binary"])
    assert np.isfinite(learned.coef).all()


def test_a_state_does_not_start_from_nothing():
    with pytest.raises(ValueError, match="can't start from a batch without rows"):
        learn(None, [], [], SCHEMAS["binary"])
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    assert learn(state, [], [], SCHEMAS["binary"])[0] is state


@pytest.mark.parametrize(
    ("labels", "schema", "named"),
    [
        (["yes"], SCHEMAS["binary"], "2 rows have 1 labels"),
        ([1.0, float("nan")], SCHEMAS["regression"], "label nan is no finite number"),
        ([1.0, "2"], SCHEMAS["regression"], "label '2' is no finite number"),
        (["yes", "no"], SCHEMAS["binary"].with_classes(None), "the schema has no classes"),
    ],
)
def test_wrong_labels_are_refused(labels, schema, named):
    rows, _ = batch_of("binary", 0, size=2)
    with pytest.raises(ValueError, match=named):
        learn(None, rows, labels, schema)


def test_predicting_needs_no_scikit_learn():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"])
    program = (
        "import sys; from evergreen.training.online import OnlineState\n"
        f"state = OnlineState.from_bytes(bytes.fromhex('{state.to_bytes().hex()}'))\n"
        "print(state.predict([{'x': 1.0, 'z': 1e4, 'plan': 'gold'}]).labels, 'sklearn' in sys.modules)"
    )
    answered = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answered == f"{state.predict([{'x': 1.0, 'z': 1e4, 'plan': 'gold'}]).labels} False\n"
