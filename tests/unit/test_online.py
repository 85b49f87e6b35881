"""Incremental learning: predict, then learn, and a state that goes through storage without losing a bit."""

import dataclasses
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.utils import all_estimators

from evergreen.model.schema import FeatureSchema
from evergreen.statistics.profile import Binning
from evergreen.training.export import compare, to_onnx
from evergreen.training.labelled_rows import Rows
from evergreen.training.learner import Learner, OnlineStateError
from evergreen.training.learning import check_learner, grow, learn
from evergreen.training.online_state import OnlineState, PrequentialCounts

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


def learned(task, batches=20, **options):
    state = None
    for index in range(batches):
        state, _ = learn(state, *batch_of(task, index), SCHEMAS[task], **options)
    return state


def stored(state):
    return OnlineState.from_bytes(state.to_bytes())


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(SCHEMAS))
def test_a_state_kept_between_batches_learns_what_a_learner_in_memory_learns(task):
    schema, state, memory = SCHEMAS[task], None, None
    for index in range(20):
        rows, labels = batch_of(task, index)
        state, _ = learn(state and stored(state), rows, labels, schema)
        matrix = state.matrix(Rows.of_json(schema, rows, labels))
        if task == "regression":
            memory = memory or SGDRegressor(random_state=0)
            memory.partial_fit(matrix, (np.array(labels) - state.label_centre) / state.label_scale)
        else:
            memory = memory or SGDClassifier(loss="log_loss", random_state=0)
            memory.partial_fit(matrix, np.array(labels), classes=np.array(schema.classes))
        np.testing.assert_array_equal(state.fitted["coef_"], memory.coef_)
        np.testing.assert_array_equal(state.fitted["intercept_"], memory.intercept_)
        assert state.fitted["t_"] == memory.t_
    rows, labels = batch_of(task, 99)
    if task != "regression":
        matrix = state.preparation.matrix(Rows.of_json(schema, rows, labels))
        np.testing.assert_array_equal(state.predict(rows).probabilities, memory.predict_proba(matrix))
        assert state.predict(rows).labels == memory.predict(matrix).tolist()


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
    state = learned("binary", 1)
    before = state.to_bytes()
    learn(state, *batch_of("binary", 1), SCHEMAS["binary"])
    assert state.to_bytes() == before


def test_centre_scale_and_categories_come_from_the_reference_when_it_has_them():
    columns = {"x": [1.0, 2.0, 3.0, 4.0], "z": [0.0, 10.0, 20.0, 30.0], "plan": np.array(list("aabc"), dtype=object)}
    binning = Binning.fit(columns)
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"], binning=binning)
    assert state.preparation.centre.tolist() == [2.5, 15.0]
    scales = {column.name: column.scale for column in binning.columns if column.name != "plan"}
    np.testing.assert_allclose(state.preparation.scale, [scales["x"], scales["z"]], rtol=1e-6)
    assert state.preparation.categories == (("", "a", "b", "c"),)


def test_a_reference_that_lacks_a_feature_gives_nothing():
    state, _ = learn(None, *batch_of("binary", 0), SCHEMAS["binary"], binning=Binning.fit({"x": [1.0, 2.0]}))
    assert state.preparation.categories == (("", "basic", "gold"),)
    assert state.preparation.centre[1] == pytest.approx(1e4, rel=0.05)


def test_an_absurd_value_does_not_throw_the_model_off():
    state = learned("binary", 1)
    rows = [{"x": 3e38, "z": -3e38, "plan": "new"}]
    assert np.abs(state.matrix(Rows.of_json(SCHEMAS["binary"], rows, ["yes"]))).max() == 10.0
    after, _ = learn(state, rows, ["yes"], SCHEMAS["binary"])
    assert np.isfinite(after.fitted["coef_"]).all()


def test_a_learning_rate_that_explodes_is_named_and_nothing_is_kept():
    wild = Learner("SGDRegressor", {"learning_rate": "constant", "eta0": 1e300})
    state, _ = learn(None, *batch_of("regression", 0), SCHEMAS["regression"], learner=Learner("SGDRegressor"))
    state = dataclasses.replace(state, learner=wild)
    with pytest.raises(OnlineStateError, match=r"can't learn these rows|learned no finite numbers"):
        learn(state, *batch_of("regression", 1), SCHEMAS["regression"])


def test_a_state_does_not_start_from_nothing():
    with pytest.raises(ValueError, match="can't start from a batch without rows"):
        learn(None, [], [], SCHEMAS["binary"])
    state = learned("binary", 1)
    assert learn(state, [], [], SCHEMAS["binary"])[0] is state


def test_a_state_of_another_schema_is_refused():
    with pytest.raises(OnlineStateError, match="start a new state"):
        learn(learned("binary", 1), *batch_of("multiclass", 1), SCHEMAS["multiclass"])


def test_the_order_of_features_is_no_other_schema():
    state = learned("binary", 1)
    turned = dataclasses.replace(SCHEMAS["binary"], features=SCHEMAS["binary"].features[::-1])
    after, _ = learn(state, *batch_of("binary", 1), turned)
    expected, _ = learn(state, *batch_of("binary", 1), SCHEMAS["binary"])
    assert after.to_bytes() == expected.to_bytes()


@pytest.mark.parametrize(
    ("labels", "schema", "named"),
    [
        (["yes"], SCHEMAS["binary"], "2 rows have 1 labels"),
        (["yes", "perhaps"], SCHEMAS["binary"], "label 'perhaps' is none of the classes no, yes"),
        ([1.0, float("nan")], SCHEMAS["regression"], "label nan is no finite number"),
        ([1.0, "2"], SCHEMAS["regression"], "label '2' is no finite number"),
        (["yes", "no"], SCHEMAS["binary"].with_classes(None), "the schema has no classes"),
    ],
)
def test_wrong_labels_are_refused(labels, schema, named):
    rows, _ = batch_of("binary", 0, size=2)
    with pytest.raises(ValueError, match=named):
        learn(None, rows, labels, schema)


# --- any estimator ----------------------------------------------------------------------------------------------------


def learns_in_parts():
    return [(name, task) for name, kind in all_estimators() if hasattr(kind, "partial_fit") for task in SCHEMAS]


@pytest.mark.parametrize(("name", "task"), learns_in_parts())
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_estimator_that_learns_in_parts_learns_the_same_when_it_is_stored_or_is_refused_by_name(name, task):
    schema = SCHEMAS[task]
    learner = Learner.of(schema.task, name)
    try:
        check_learner(learner, schema)
    except OnlineStateError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith("online.estimator")
        assert name in refused
        return
    kept = memory = None
    for index in range(10):
        rows, labels = batch_of(task, index)
        kept, _ = learn(kept and stored(kept), rows, labels, schema, learner=learner)
        memory, _ = learn(memory, rows, labels, schema, learner=learner)
    assert kept.to_bytes() == memory.to_bytes()
    rows, labels = batch_of(task, 99)
    onnx = to_onnx(kept.recipe(), schema)
    assert compare(onnx, kept.recipe(), schema, Rows.of_json(schema, rows, labels)).disagreeing_share == 0


ABLE = {
    "BernoulliNB": {"binary", "multiclass"},
    "GaussianNB": {"binary", "multiclass"},
    "PassiveAggressiveRegressor": {"regression"},
    "SGDClassifier": {"binary", "multiclass"},
    "SGDRegressor": {"regression"},
}


def able(name, task):
    try:
        check_learner(Learner.of(SCHEMAS[task].task, name), SCHEMAS[task])
    except OnlineStateError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_these_estimators_can_learn_online():
    found = {}
    for name, task in learns_in_parts():
        if able(name, task):
            found.setdefault(name, set()).add(task)
    assert found == ABLE


@pytest.mark.parametrize(
    ("learner", "named"),
    [
        (Learner("MLPClassifier"), r"more than arrays and numbers between batches \(_label_binarizer, _optimizer"),
        (Learner("RandomForestClassifier"), "can't learn in parts"),
        (Learner("Perceptron"), "answers no probabilities"),
        (Learner("SGDClassifier", {"loss": "hinge"}), "answers no probabilities"),
        (Learner("MultinomialNB"), "Negative values in data passed to MultinomialNB"),
        (Learner("SGDClassifier", {"los": 1}), "has no parameter 'los'"),
        (Learner("NoSuchThing"), "is none of scikit-learn's"),
        (Learner("SGDRegressor"), "is no classifier"),
    ],
    ids=lambda value: getattr(value, "estimator", None),
)
def test_an_estimator_that_is_not_fit_is_refused_with_the_reason(learner, named):
    with pytest.raises(OnlineStateError, match=named):
        check_learner(learner, SCHEMAS["binary"])


# --- classes that come later ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [("maybe", "no", "yes"), ("no", "yes")])
def test_a_state_learns_a_class_that_comes_later(classes):
    schema = FeatureSchema.of("multiclass", FEATURES, classes)
    state = None
    for index in range(10):
        rows, labels = batch_of("binary", index)
        state, _ = learn(state, rows, labels, schema)
    before = state.predict(batch_of("binary", 50)[0])
    grown = grow(state, ["other"])
    assert grown.schema.classes == tuple(sorted({*classes, "other"}))
    after = grown.predict(batch_of("binary", 50)[0])
    assert after.labels == before.labels  # nothing is answered that was never seen
    for index in range(60):
        rows, labels = batch_of("binary", 100 + index)
        far = [{**row, "plan": "rare"} if i < 10 else row for i, row in enumerate(rows)]
        far = [{**row, "x": 9.0, "z": None} if i < 10 else row for i, row in enumerate(far)]
        grown, _ = learn(grown, far, ["other"] * 10 + labels[10:], schema)
    assert grown.predict([{"x": 9.0, "z": None, "plan": "rare"}]).labels == ["other"]
    told = grown.predict([{"x": 9.0, "z": None, "plan": "rare"}], classes)
    assert told.probabilities.shape == (1, len(classes))
    np.testing.assert_allclose(told.probabilities.sum(), 1)


def test_a_class_is_left_out_of_what_is_published_until_the_spec_names_it():
    schema = SCHEMAS["multiclass"]
    grown = grow(learned("multiclass"), ["other"])
    fitted = grown.recipe(schema.classes)
    assert fitted.classes == schema.classes
    rows, labels = batch_of("multiclass", 99)
    assert compare(to_onnx(fitted, schema), fitted, schema, Rows.of_json(schema, rows, labels)).disagreeing_share == 0


def test_other_estimators_and_two_class_models_do_not_grow():
    with pytest.raises(OnlineStateError, match="GaussianNB of a multiclass model can't learn class 'other' later"):
        grow(learned("multiclass", 2, learner=Learner("GaussianNB")), ["other"])
    with pytest.raises(OnlineStateError, match="SGDClassifier of a binary model can't learn class 'other' later"):
        grow(learned("binary", 2), ["other"])
    with pytest.raises(OnlineStateError, match="200 are the limit"):
        grow(learned("multiclass", 2), [f"c{i}" for i in range(198)])


# --- publishing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(SCHEMAS))
def test_a_state_is_exported_as_any_model_and_answers_the_same(task):
    state, schema = learned(task), SCHEMAS[task]
    rows, labels = batch_of(task, 99)
    table = Rows.of_json(schema, rows, labels)
    fitted = state.recipe()
    assert compare(to_onnx(fitted, schema), fitted, schema, table).disagreeing_share == 0
    answered = state.predict(rows)
    if task == "regression":
        np.testing.assert_allclose(fitted.values(fitted.preparation.matrix(table)), answered.values, rtol=1e-5)
    else:
        known = fitted.probabilities(fitted.preparation.matrix(table), schema.classes)
        np.testing.assert_allclose(known, answered.probabilities, atol=1e-6)


# --- storage ----------------------------------------------------------------------------------------------------------


def test_the_same_state_is_the_same_bytes_and_holds_no_pickle():
    state = learned("multiclass", 3)
    assert state.to_bytes() == stored(state).to_bytes()
    content = state.to_bytes()
    (length,) = struct.unpack_from("<I", content, 6)
    header = json.loads(content[10 : 10 + length])
    assert (header["updates"], header["rows"], header["estimator"]) == (3, 150, "SGDClassifier")


@pytest.mark.parametrize("damaged", [b"", b"nonsense", b"EVGONL", b"EVGONL\xff\xff\x00\x00{}", None])
def test_a_damaged_state_is_refused(damaged):
    content = learned("binary", 1).to_bytes()[:-60] if damaged is None else damaged
    with pytest.raises(OnlineStateError, match="start a new state"):
        OnlineState.from_bytes(content)


def test_one_changed_byte_anywhere_is_refused_when_the_hash_is_known():
    import hashlib

    content = learned("binary", 1).to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert OnlineState.from_bytes(content, digest).updates == 1
    for place in range(0, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(OnlineStateError, match=f"but {digest} is recorded"):
            OnlineState.from_bytes(bytes(changed), digest)


def test_reading_a_state_needs_no_scikit_learn_and_no_pyarrow():
    state = learned("binary", 1)
    program = (
        "import sys; from evergreen.training.online_state import OnlineState\n"
        f"state = OnlineState.from_bytes(bytes.fromhex('{state.to_bytes().hex()}'))\n"
        "print(state.updates, {'sklearn', 'pyarrow'} & set(sys.modules))"
    )
    answered = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answered == "1 set()\n"
