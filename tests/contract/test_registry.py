"""The MLflow registry, on a real store: versions once, aliases where the ledger has them, tags as they are now."""

import numpy as np
import pytest
from small_artifact import small_artifact

from evergreen.aws.registry import MlflowRegistry
from evergreen.errors import RegisteredByAnotherStackError
from evergreen.model.archive import unpack
from evergreen.ports import Described, RunLink
from evergreen.training.run_record import Provenance, run_record
from evergreen.training.tracking import write_run

mlflow = pytest.importorskip("mlflow")
ARTIFACT = "s3://artifacts/models/churn/churn-1-0/output/model.tar.gz"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Making a store's tables takes seconds: the stories of this file share one, each with a model of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def registry(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a store without a server puts artifacts
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # a store without a server looks for a version's model there
    return MlflowRegistry(store, stack="evergreen")


@pytest.fixture
def client(store):
    return mlflow.MlflowClient(tracking_uri=store, registry_uri=store)


@pytest.fixture
def model(request):
    return request.node.name[5:45]


def registered(registry, model, *versions, **tags):
    for version in versions:
        registry.register(model, version, artifact=ARTIFACT, tags={"evergreen.status": "candidate", **tags})


def test_a_version_is_registered_with_its_artifact_and_tags(registry, client, model):
    registered(registry, model, 1)
    found = client.get_model_version(model, "1")
    assert found.source == ARTIFACT
    assert found.tags == {"evergreen.status": "candidate", "evergreen.version": "1"}


def test_registering_again_makes_no_second_version(registry, client, model):
    registered(registry, model, 1, 2, 1, 2)
    assert len(client.search_model_versions(f"name = '{model}'")) == 2


def test_tags_are_kept_as_they_are_now(registry, client, model):
    registered(registry, model, 1)
    registered(registry, model, 1, **{"evergreen.status": "good"})
    assert client.get_model_version(model, "1").tags["evergreen.status"] == "good"


def test_an_alias_follows_the_ledger(registry, client, model):
    registered(registry, model, 1, 2)
    registry.point(model, "production", 1)
    registry.point(model, "production", 2)
    assert int(client.get_model_version_by_alias(model, "production").version) == 2


def test_an_alias_that_points_nowhere_is_removed_once_or_twice(registry, client, model):
    registered(registry, model, 1)
    registry.point(model, "shadow", 1)
    registry.point(model, "shadow", None)
    registry.point(model, "shadow", None)
    assert client.get_registered_model(model).aliases == {}


def test_versions_somebody_registered_beside_evergreen_do_not_shift_ours(registry, client, model):
    registered(registry, model, 1)
    client.create_model_version(model, source="s3://somebody/else")
    registered(registry, model, 2)
    registry.point(model, "production", 2)
    assert int(client.get_model_version_by_alias(model, "production").version) == 3


def test_the_registry_tells_what_it_holds_in_the_ledgers_numbers(registry, client, model):
    registered(registry, model, 1)
    client.create_model_version(model, source="s3://somebody/else")
    registered(registry, model, 2)
    registry.point(model, "production", 2)
    client.set_registered_model_alias(model, "champion", "2")
    view = registry.view(model)
    assert view.aliases == {"production": 2, "champion": None}
    assert view.tags == {1: {"evergreen.status": "candidate"}, 2: {"evergreen.status": "candidate"}}


def test_a_model_that_was_never_registered_is_empty(registry, model):
    view = registry.view(model)
    assert (view.aliases, view.tags) == ({}, {})


def test_what_others_changed_is_seen_although_it_was_remembered(registry, client, model):
    registered(registry, model, 1)
    client.set_model_version_tag(model, "1", "evergreen.status", "good")
    assert registry.view(model).tags[1] == {"evergreen.status": "good"}
    registered(registry, model, 1)
    assert client.get_model_version(model, "1").tags["evergreen.status"] == "candidate"


def test_a_version_is_tied_to_the_run_that_trained_it(registry, client, model):
    experiment = client.create_experiment(f"evergreen/{model}")
    run = client.create_run(experiment, tags={"evergreen.job": "churn-1-0"})
    registered(registry, model, 1, **{"evergreen.job": "churn-1-0"})
    assert client.get_model_version(model, "1").run_id == run.info.run_id


def a_run(model, job="churn-1-0"):
    files = unpack(small_artifact(job), ("model.onnx", "model.json", "reference.json"))
    return run_record(model, job, files, Provenance(trigger="schedule"), told_by="update_registry")


def of_job(registry, model, version, run, job="churn-1-0"):
    registry.register(model, version, artifact=ARTIFACT, tags={"evergreen.job": job}, run=run)


def test_a_version_s_source_is_the_model_of_its_run_which_mlflow_loads(registry, client, model):
    run_id = write_run(client, a_run(model))
    of_job(registry, model, 1, run=lambda: pytest.fail("the run is there: nobody needs the artifact"))
    registry.point(model, "production", 1)
    found = client.get_model_version_by_alias(model, "production")
    assert found.run_id == run_id
    assert found.source == client.get_logged_model(found.source.removeprefix("models:/")).model_uri
    answered = mlflow.pyfunc.load_model(f"models:/{model}@production").predict(
        {"age": np.array([[30.0]], np.float32), "plan": np.array([["a"]])}
    )
    assert answered["probabilities"].shape == (1, 2)


def test_a_run_that_mlflow_missed_is_made_when_its_version_is_registered_and_once(registry, client, model):
    for number in (1, 1):
        of_job(registry, model, number, run=lambda: a_run(model))
    experiment = client.get_experiment_by_name(f"evergreen/{model}").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.data.tags["evergreen.told_by"] == "update_registry"
    assert run.data.tags["evergreen.trigger"] == "schedule"
    assert client.get_model_version(model, "1").run_id == run.info.run_id


def test_a_run_that_a_job_could_not_finish_is_finished(registry, client, model):
    experiment = client.create_experiment(f"evergreen/{model}")
    begun = client.create_run(experiment, tags={"evergreen.job": "churn-1-0"})
    of_job(registry, model, 1, run=lambda: a_run(model))
    (run,) = client.search_runs([experiment])
    assert (run.info.run_id, run.info.status) == (begun.info.run_id, "FINISHED")
    assert client.get_model_version(model, "1").source.startswith("models:/m-")


def test_a_version_without_a_run_or_an_artifact_is_registered_all_the_same(registry, client, model):
    of_job(registry, model, 1, run=lambda: None)
    found = client.get_model_version(model, "1")
    assert (found.source, found.run_id or None) == (ARTIFACT, None)
    assert registry.run(model, 1) is None


def test_a_version_is_described_when_it_is_new_and_what_was_found_since_comes_before_its_status(
    registry, client, model
):
    def put(status, verdict):
        said = Described("Trained on 240 rows.", {"evergreen.verdict": verdict})
        tags = {"evergreen.status": status}
        registry.register(model, 1, artifact=ARTIFACT, tags=tags, described=lambda: said)

    put("shadow", "none yet")
    put("good", "promote: better by 0.03")
    put("good", "nobody asks again")
    found = client.get_model_version(model, "1")
    assert found.description == "Trained on 240 rows."
    assert (found.tags["evergreen.status"], found.tags["evergreen.verdict"]) == ("good", "promote: better by 0.03")


def test_a_version_that_two_deliveries_registered_at_once_is_the_first_for_everybody(registry, client, model, store):
    registered(registry, model, 1)
    client.create_model_version(model, source=ARTIFACT, tags={"evergreen.version": "1", "evergreen.status": "late"})
    another = MlflowRegistry(store, stack="evergreen")
    another.point(model, "production", 1)
    assert int(client.get_model_version_by_alias(model, "production").version) == 1
    assert another.view(model).tags == {1: {"evergreen.status": "candidate"}}
    assert another.view(model).aliases == {"production": 1}


def test_a_version_leads_to_its_run(registry, client, model):
    run_id = write_run(client, a_run(model))
    of_job(registry, model, 1, run=lambda: None)
    assert registry.run(model, 1) == RunLink(run_id, "")
    assert registry.run(model, 2) is None


def test_a_registry_that_answers_is_no_trouble_and_one_that_does_not_raises(registry, monkeypatch):
    registry.require()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(mlflow.MlflowException):
        MlflowRegistry("http://127.0.0.1:9", stack="evergreen").require()


# --- stacks that share a server ---------------------------------------------------------------------------------------


def everything(client, name):
    """What a registered model is: its tags, its aliases, and the tags of its versions."""
    found = client.get_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    return found.tags, found.aliases, {str(version.version): version.tags for version in versions}


def test_a_registered_model_of_another_stack_is_left_alone_whatever_is_asked(registry, client, store, model):
    registered(registry, model, 1)
    registry.point(model, "production", 1)
    before = everything(client, model)
    other = MlflowRegistry(store, stack="evergreen-two")
    for asked in (
        lambda: registered(other, model, 1, **{"evergreen.status": "good"}),
        lambda: registered(other, model, 2),
        lambda: other.point(model, "production", 1),
        lambda: other.point(model, "production", None),
        lambda: other.view(model),
    ):
        with pytest.raises(RegisteredByAnotherStackError, match=r"is stack .*: set .* MlflowModelPrefix"):
            asked()
        assert everything(client, model) == before


def test_with_a_prefix_both_have_their_own(registry, client, store, model):
    other = MlflowRegistry(store, stack="evergreen-two", prefix="two.")
    for each, status in ((registry, "good"), (other, "bad")):
        registered(each, model, 1, **{"evergreen.status": status})
        each.point(model, "production", 1)
    both = (model, registry, "evergreen", "good"), (f"two.{model}", other, "evergreen-two", "bad")
    for name, each, stack, status in both:
        tags, aliases, versions = everything(client, name)
        assert (tags, aliases) == ({"evergreen.stack": stack}, {"production": 1})
        assert versions["1"]["evergreen.status"] == each.view(model).tags[1]["evergreen.status"] == status


def test_a_registered_model_that_bears_no_stacks_name_is_taken_over(registry, client, store, model):
    client.create_registered_model(model)
    registered(registry, model, 1)
    assert client.get_registered_model(model).tags == {"evergreen.stack": "evergreen"}
