"""Every call to the registry fails in turn, over HTTP, and the event comes again: it ends in step with the ledger."""

import pytest
from fault_injection import every_fault, tap_http
from fault_runner import Story, run_story
from fault_stories import at, in_production, promoted, registered, told
from small_cloud import NOW

from evergreen import bootstrap
from evergreen_ops.local.mlflow_server import MlflowServer

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
    try:
        client.delete_registered_model("churn")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def version_one_registered(cloud, url):
    """As it was before version 2 took over: its tags and aliases are to be changed."""
    nothing_registered_yet(cloud, url)
    registry = bootstrap.ports().registry
    version = cloud.ports.ledger.read("churn").version(1)
    registry.register("churn", 1, artifact=version.artifact, tags={"evergreen.status": "baking", "owner": "ada"})
    registry.point("churn", "production", 1)
    cloud.new_process()


def in_the_registry(cloud, url):
    from mlflow import MlflowClient

    client = MlflowClient(url, url)
    versions = client.search_model_versions("name = 'churn'")
    aliases = {name: str(to) for model in client.search_registered_models() for name, to in model.aliases.items()}
    return {
        "ledger": cloud.left()["ledger"],
        "versions": {str(v.version): {"source": v.source, **dict(v.tags)} for v in versions},
        "aliases": aliases,
    }


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
        (version_two_has_taken_over, nothing_registered_yet),
        (version_two_has_taken_over, version_one_registered),
        (somebody_changed_the_registry, version_one_registered),
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
    outcome = run_story(story, every_fault)
    fault_report.cases += outcome.cases
    assert any(call.startswith("mlflow.") for call in outcome.calls)
    assert outcome.changed
    assert "\n\n".join(map(str, outcome.violations)) == ""
