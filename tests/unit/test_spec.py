"""The model spec: what a user may write, what is made of it, and how a mistake is named."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.durations import format_duration, parse_duration
from evergreen.model.schema import FeatureSchema
from evergreen.spec import ModelSpec, SpecError, Strategy, told_of_online

CHURN = """
model: churn
task: binary
features:
  age: {type: number}
  plan: {type: categorical}
labels: {classes: ["0", "1"]}
"""
DELAY = """
model: delay
task: regression
features: {distance: {type: number}}
"""


def problems(text):
    with pytest.raises(SpecError) as refused:
        ModelSpec.from_yaml(text)
    return refused.value.problems


def spans(most):
    return st.integers(1, most).map(lambda seconds: timedelta(seconds=seconds))


TASKS = st.one_of(
    st.just({"task": "regression"}),
    st.just({"task": "binary", "labels": {"classes": ["no", "yes"]}}),
    st.lists(st.text("abc", min_size=1), min_size=2, max_size=4, unique=True).map(
        lambda classes: {"task": "multiclass", "labels": {"classes": sorted(classes)}}
    ),
)
SPECS = st.builds(
    lambda task, more: task | more | ({"freshness": {"enabled": True}} if more.get("strategy") == "continuous" else {}),
    TASKS,
    st.fixed_dictionaries(
        {
            "model": st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True),
            "features": st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10),
                st.sampled_from([{"type": "number"}, {"type": "categorical"}]),
                min_size=1,
                max_size=4,
            ),
        },
        optional={
            "strategy": st.sampled_from([strategy.value for strategy in Strategy]),
            "shadow": st.fixed_dictionaries({"margin": st.floats(-0.5, 0.5), "cycle": spans(10**7)}),
            "triggers": st.fixed_dictionaries({"cooldown": spans(10**7), "monthly_budget": st.integers(1, 9)}),
            "training": st.fixed_dictionaries(
                {
                    "params": st.dictionaries(st.sampled_from(["n_estimators", "C"]), st.integers(1, 9)),
                    "seed": st.integers(0, 9),
                }
            ),
        },
    ),
)


@given(SPECS)
def test_a_spec_survives_yaml_and_json(document):
    spec = ModelSpec.parse(document)
    assert ModelSpec.from_yaml(spec.to_yaml()) == spec
    assert ModelSpec.parse(spec.to_json()) == spec
    assert ModelSpec.parse(spec.to_json()).to_yaml() == spec.to_yaml()


@given(st.integers(0, 10**9))
def test_a_duration_survives_being_written(seconds):
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", 90), ("30m", 1_800), ("1.5h", 5_400), (" 7 d ", 604_800), ("2w", 1_209_600), ("0s", 0)],
)
def test_durations_are_written_with_a_unit(text, span):
    assert parse_duration(text) == timedelta(seconds=span)


def test_a_few_lines_are_a_whole_spec():
    spec = ModelSpec.from_yaml(CHURN)
    assert (spec.strategy, spec.estimator, spec.shadow_metric) == (
        Strategy.HYBRID,
        "RandomForestClassifier",
        "accuracy",
    )
    assert spec.training.params == {"n_estimators": 200, "max_depth": 20}
    assert spec.training.window == timedelta(days=180)
    assert (spec.triggers.data_drift.drift_threshold, spec.triggers.prediction_shift.threshold) == (0.3, 0.2)
    assert (spec.deployment.error_rate, spec.deployment.ops_bake) == (0.1, timedelta(minutes=30))
    assert (spec.training.retries, spec.training.retry_delay) == (2, timedelta(minutes=5))
    assert not spec.freshness.enabled
    assert "online" not in spec.to_json()


def test_a_regression_has_its_own_defaults():
    spec = ModelSpec.from_yaml(DELAY)
    assert (spec.estimator, spec.shadow_metric) == ("RandomForestRegressor", "absolute_error")


def test_the_feature_schema_is_the_specs():
    schema = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
    assert ModelSpec.from_yaml(CHURN).feature_schema() == schema


def test_a_misspelt_key_is_named_where_it_is():
    assert problems(CHURN + "shadow: {marjin: 0.1}") == ("shadow.marjin: unknown key; remove it or check its spelling",)


def test_a_missing_key_is_named():
    assert problems("task: regression\nfeatures: {a: {type: number}}") == ("model: missing; add it",)


def test_every_mistake_is_told_at_once():
    found = problems(CHURN + "training: {min_rows: 1, max_rows: many}\nstrategy: whenever")
    assert len(found) == 3
    assert found[0].startswith("strategy is 'whenever': ")
    assert found[1].startswith("training.max_rows is 'many': ")
    assert found[2] == "training.min_rows is 1: input should be greater than or equal to 20"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: [", "not YAML"),
        ("", "spec is None"),
        ("- a", "spec is ['a']"),
        (CHURN.replace("churn", "Churn"), "model is 'Churn'"),
        (CHURN.replace("churn", "c" * 41), "model is 'ccc"),
        (CHURN.replace("number", "float"), "features.age.type is 'float'"),
        (CHURN + "triggers: {cooldown: a week}", "triggers.cooldown is 'a week'"),
        (DELAY + "labels: {classes: ['0', '1']}", "labels.classes is set, but task is regression: remove it"),
        (CHURN.replace('["0", "1"]', '["0"]'), "task binary needs at least two classes"),
        (CHURN.replace('["0", "1"]', '["0", "1", "2"]'), "task binary needs exactly two"),
        (CHURN.replace('["0", "1"]', '["1", "0"]'), "sort it and list each class once"),
        (CHURN.replace('["0", "1"]', "null"), "task binary needs at least two classes"),
        (CHURN + "shadow: {metric: absolute_error}", "use accuracy or brier"),
        (DELAY + "shadow: {metric: accuracy}", "use absolute_error"),
        (
            CHURN.replace("features:\n  age: {type: number}\n  plan: {type: categorical}", "features: {}"),
            "features is {}",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_key_value_and_next_step(text, named):
    found = problems(text)
    assert len(found) == 1
    assert named in found[0]


def test_a_spec_can_not_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        ModelSpec.from_yaml(CHURN).model = "other"


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ("{subnets: [subnet-1]}", "training.subnets is set without training.security_groups"),
        ("{security_groups: [sg-1]}", "training.security_groups is set without training.subnets"),
        ("{subnets: [net-1], security_groups: [sg-1]}", "training.subnets.0 is 'net-1'"),
        ("{source_dir: 's3://b/source/x.tar.gz'}", "training.source_dir is set without training.entry_point"),
        ("{entry_point: train.py}", "training.entry_point is set without training.source_dir"),
        ("{source_dir: /home/me, entry_point: train.py}", "training.source_dir is '/home/me'"),
        ("{source_dir: 's3://b/x.tar.gz', entry_point: train.sh}", "training.entry_point is 'train.sh'"),
        ("{max_wait: 3h}", "training.max_wait is set, but training.spot is false"),
        ("{spot: true, max_wait: 1h}", "training.max_wait is 1h, shorter than training.max_runtime 2h"),
        ("{max_runtime: 29d}", "training.max_runtime is 29d: input should be less than or equal to 28 days"),
        ("{network_isolation: true}", "training.network_isolation is set without training.image"),
        ("{image: 'two words'}", "training.image is 'two words'"),
        ("{kms_key: 'a key'}", "training.kms_key is 'a key'"),
        ("{instance_type: m5.large}", "training.instance_type is 'm5.large'"),
        ("{rows: newest}", "training.rows is 'newest'"),
        ("{min_rows: 500, max_rows: 400}", "training.min_rows is 500, above training.max_rows 400"),
        ("{params: {hidden: '" + "x" * 2_500 + "'}}", "training.params has 2,514 characters as JSON"),
    ],
)
def test_training_settings_that_do_not_go_together_are_refused_with_what_to_do(training, says):
    (problem,) = problems(CHURN + f"training: {training}")
    assert problem.startswith(says)


@pytest.mark.parametrize("bringing", ["image: 'a/b:1'", "source_dir: 's3://b/source/x.tar.gz', entry_point: train.py"])
def test_a_job_without_a_network_runs_on_an_image_or_a_source_that_brings_everything(bringing):
    assert ModelSpec.from_yaml(CHURN + f"training: {{network_isolation: true, {bringing}}}").training.network_isolation


# --- `online:`, which former releases had --------------------------------------------------------------------------

FORMER = {
    "enabled": True,
    "estimator": "SGDClassifier",
    "params": {"alpha": 0.001},
    "labels": "at_once",
    "new_classes": "refuse",
    "batch_size": 50,
    "checkpoint": "1d",
    "cycle": "1d",
    "trial": "1w",
}
"""Every key that it had, as the ledger stores a spec: it names them all."""


def a_document(**more):
    return ModelSpec.from_yaml(CHURN).to_json() | more


@pytest.mark.parametrize("freshness", [{"enabled": False}, {"enabled": True}, {}])
def test_who_learned_online_is_kept_fresh_whatever_is_said_of_freshness_beside_it(freshness):
    spec = ModelSpec.parse(a_document(online=FORMER, freshness=freshness))
    assert spec.freshness.enabled
    assert "online" not in spec.to_json()
    assert ModelSpec.from_yaml(spec.to_yaml()).freshness.enabled, "what is written says the same"


def test_who_did_not_learn_online_is_as_freshness_says():
    for fresh in (True, False):
        spec = ModelSpec.parse(a_document(online=FORMER | {"enabled": False}, freshness={"enabled": fresh}))
        assert spec.freshness.enabled is fresh
        assert spec.to_json() == a_document(freshness={"enabled": fresh})


@pytest.mark.parametrize("key", sorted(set(FORMER) - {"enabled", "new_classes"}))
def test_what_has_no_effect_any_more_may_be_anything(key):
    assert ModelSpec.parse(a_document(online={key: "whatever it was"}))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("online: {enabled: true, batchsize: 9}", "online.batchsize: unknown key"),
        ("online: {enabled: perhaps}", "online.enabled is 'perhaps'"),
        ("online: {new_classes: some}", "online.new_classes is 'some'"),
        ("online: [1]", "online is [1]"),
        ("strategy: continuous", "strategy is continuous, but freshness.enabled is false"),
        ("strategy: continuous\nonline: {trial: 7d}", "strategy is continuous, but freshness.enabled is false"),
    ],
)
def test_what_is_not_understood_is_refused_all_the_same(more, says):
    (problem,) = problems(CHURN + more)
    assert problem.startswith(says)


@pytest.mark.parametrize("learns", ["online", "freshness"])
def test_a_strategy_without_trainings_needs_what_learns_between_them(learns):
    spec = ModelSpec.parse(a_document(strategy="continuous", **{learns: {"enabled": True}}))
    assert (spec.strategy, spec.freshness.enabled) == (Strategy.CONTINUOUS, True)


def test_it_is_told_what_it_means_now_and_what_to_write():
    assert told_of_online(ModelSpec.from_yaml(CHURN)) == ()
    spec = ModelSpec.from_yaml(CHURN + "online: {enabled: true, checkpoint: 6h, batch_size: 20}")
    read, unused, write = told_of_online(spec)
    assert read.startswith("online.enabled: true is read as freshness.enabled: true")
    assert unused == "online.batch_size, online.checkpoint have no effect any more"
    assert write == "write freshness: {enabled: true} instead of online:"
    off = told_of_online(ModelSpec.from_yaml(CHURN + "online: {enabled: false}"))
    assert off == ("online.enabled is false, and online: changes nothing", "remove online:")
    wished = told_of_online(ModelSpec.from_yaml(CHURN + "strategy: continuous\nonline: {enabled: true}"))
    assert wished[1].endswith("ask for a first version that learns: evergreen trigger churn")


def test_of_new_classes_it_is_told_where_to_name_them():
    spec = ModelSpec.from_yaml(CHURN + "online: {enabled: true, new_classes: learn}")
    assert spec.leaves_out_other_labels, "rows that were taken then must stop no training"
    assert "add new classes to labels.classes" in told_of_online(spec)[2]
    assert not ModelSpec.parse(spec.to_json()).leaves_out_other_labels


def test_what_answers_behind_a_sagemaker_endpoint_follows_labels_too():
    spec = ModelSpec.parse(a_document(strategy="continuous", online=FORMER, endpoint={"kind": "sagemaker"}))
    assert spec.freshness.enabled
    assert told_of_online(spec)[0].startswith("online.enabled: true is read as freshness.enabled: true")


def test_a_spot_job_may_wait_as_long_again_as_it_runs():
    training = ModelSpec.from_yaml(CHURN + "training: {spot: true, max_runtime: 3h}").training
    assert training.longest_wait == timedelta(hours=6)
    assert ModelSpec.from_yaml(CHURN).training.longest_wait == timedelta(hours=2)
