"""Every call to the registry fails in turn, over HTTP, and the event comes again: it ends in step with the ledger."""

import pytest
from fault_injection import one_fault_a_call, tap_http
from fault_runner import Story, run_story
from fault_stories import at, in_production, promoted, registered, told
from small_cloud import NOW

from evergreen import bootstrap
from local_cloud.services.mlflow.server import MlflowServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.wait_ready()


@pytest.fixture
def registry(server, monkeypatch):
    """The server's address, for the functions."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return server.url


def nothing_registered_yet(cloud, url):
    """The server outlives the copies of this process: each begins by emptying it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    tap_http(url)
    client = MlflowClient(url, url)
    experiment = client.get_experiment_by_name("evergreen/churn")
    for run in client.search_runs([experiment.experiment_id]) if experiment else []:
        client.delete_run(run.info.run_id)
    try:
        client.delete_registered_model("churn")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def both_registered(cloud, url):
    """As it was before version 2 took over: tags and aliases are to be changed."""
    nothing_registered_yet(cloud, url)
    registry = bootstrap.ports().registry
    for version in cloud.ports.ledger.read("churn").versions:
        tags = {"evergreen.status": "candidate", "owner": "ada"}
        registry.register("churn", version.number, artifact=version.artifact, tags=tags)
    registry.point("churn", "production", 1)
    cloud.new_process()


def in_the_registry(cloud, url):
    from mlflow import MlflowClient

    client = MlflowClient(url, url)
    versions = client.search_model_versions("name = 'churn'")
    experiment = client.get_experiment_by_name("evergreen/churn")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    aliases = {name: str(to) for model in client.search_registered_models() for name, to in model.aliases.items()}
    return {
        "ledger": cloud.left()["ledger"],
        "versions": {str(v.version): version_told(client, v) for v in versions},
        "runs": sorted(run_told(client, run) for run in runs),
        "aliases": aliases,
    }


def version_told(client, version):
    """A version without the names that MLflow draws for its run and its model."""
    told = {"description": version.description, **dict(version.tags)}
    if not version.run_id:
        return {**told, "source": version.source}
    run = client.get_run(version.run_id)
    (model,) = run.outputs.model_outputs
    assert version.source == f"models:/{model.model_id}"
    return {**told, "run": run.info.run_name}


def run_told(client, run):
    (model,) = run.outputs.model_outputs
    model = client.get_logged_model(model.model_id)
    files = sorted(file.path for file in client.list_logged_model_artifacts(model.model_id))
    told = {**run.data.tags, **run.data.params, **{k: str(v) for k, v in run.data.metrics.items()}}
    return run.info.run_name, run.info.status, str(model.status), str(files), str(sorted(told.items()))


def the_first_version_is_good(cloud):
    in_production(cloud)
    return told(cloud, "BakePassed")


def version_two_has_taken_over(cloud):
    in_production(cloud)
    promoted(cloud, registered(cloud, 1, time=NOW), time=NOW)
    return told(cloud, "VersionPromoted")


def somebody_changed_the_registry(cloud):
    version_two_has_taken_over(cloud)
    return {"time": at(NOW.replace(hour=9))}


@pytest.mark.parametrize(
    ("build", "prepare"),
    [
        (the_first_version_is_good, nothing_registered_yet),
        (version_two_has_taken_over, both_registered),
        (somebody_changed_the_registry, both_registered),
    ],
    ids=["a new registry", "a version takes over", "a tick repairs"],
)
def test_a_call_to_the_registry_that_fails_leaves_no_trace(build, prepare, registry, fault_report, request):
    story = Story(
        "update_registry",
        request.node.callspec.id,
        build,
        lambda cloud, answer: in_the_registry(cloud, registry),
        lambda cloud: prepare(cloud, registry),
        at_once=1,  # there is one server
    )
    outcome = run_story(story, one_fault_a_call)  # a server answers each of some forty calls
    fault_report.cases += outcome.cases
    assert any(call.startswith("mlflow.") for call in outcome.calls)
    assert outcome.changed
    assert "\n\n".join(map(str, outcome.violations)) == ""
