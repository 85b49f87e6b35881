"""The MLflow registry, on a real store: versions once, aliases where the ledger has them, tags as they are now."""

import pytest

from evergreen.aws.registry import MlflowRegistry

mlflow = pytest.importorskip("mlflow")
ARTIFACT = "s3://artifacts/models/churn/churn-1-0/output/model.tar.gz"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Making a store's tables takes seconds: the stories of this file share one, each with a model of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def registry(store):
    return MlflowRegistry(store)


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
