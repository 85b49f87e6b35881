"""MLflow goes away in the middle of a promotion: production is repointed, the alias is late, nothing is lost.

The server is a real process: it is killed, or it is stopped, so that it takes connections and answers none.
"""

import os
import signal

import pytest
from crowd import crossing
from living_cloud import HOUR, MINUTE, MODEL, Delivery, LivingCloud
from small_cloud import open_cloud

from local_cloud.services.mlflow.server import MlflowServer

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow


class Outage(LivingCloud):
    """A living cloud whose events to update_registry come again when it fails, as Lambda's do."""

    def __init__(self):
        super().__init__()
        self.undelivered = []

    def deliver(self, delivery):
        try:
            super().deliver(delivery)
        except mlflow.MlflowException:
            assert delivery.function == "update_registry", "nothing but the registry's function minds"
            self.undelivered.append(delivery)
            self.collect()

    def deliver_again(self):
        self.pending, self.undelivered = [*self.undelivered, *self.pending], []
        self.deliver_all()

    def compare_registry(self):
        self.pass_time(20 * MINUTE)
        self.pending.append(Delivery("update_registry", {"time": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}))
        self.deliver_all()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def server(place):
    with MlflowServer(place) as server:
        yield server.wait_ready()


@pytest.fixture
def client(server):
    client = mlflow.MlflowClient(server.url, server.url)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return client


@pytest.fixture
def cloud(server, client, monkeypatch, _nobodys_credentials):
    """Version 1 is good and answers, version 2 is its candidate, and the registry knows both."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with crossing(), open_cloud(Outage) as cloud:  # where a job runs until the story ends it
        cloud.known()
        cloud.trained()
        cloud.baked()
        cloud.trained()
        assert cloud.undelivered == []
        assert aliases(client) == {"production": 1, "shadow": 2}
        yield cloud


def aliases(client):
    """Where each alias points, in the ledger's numbers."""
    found = client.get_registered_model(MODEL).aliases
    return {
        alias: int(client.get_model_version(MODEL, number).tags["evergreen.version"]) for alias, number in found.items()
    }


def promoted_meanwhile(cloud):
    cloud.promote(2)
    cloud.collect()
    cloud.deliver_all()
    assert cloud.alias("production") == 2, "the endpoint does not wait for MLflow"
    assert cloud.types()[-1] == "VersionPromoted"
    assert cloud.undelivered, "the registry was not told"


def in_step(cloud, client):
    runs = {client.get_run(version.run_id).info.run_name for version in client.search_model_versions(f"name='{MODEL}'")}
    assert aliases(client)["production"] == cloud.state.production == 2
    assert client.get_model_version_by_alias(MODEL, "production").tags["evergreen.status"] == "baking"
    assert len(runs) == len(client.search_model_versions(f"name='{MODEL}'")) == len(cloud.state.versions)


def killed(server):
    os.killpg(server.pid, signal.SIGKILL)


def test_the_event_that_comes_again_catches_up_after_the_server_was_killed(cloud, server, client, place):
    killed(server)
    promoted_meanwhile(cloud)
    with MlflowServer(place, server.port) as again:
        again.wait_ready()
        cloud.deliver_again()
        assert cloud.undelivered == []
        in_step(cloud, client)
        cloud.compare_registry()
        assert "DifferenceRepaired" not in cloud.types()


def test_reconcile_catches_up_when_the_events_are_lost_as_well(cloud, server, client, place):
    killed(server)
    promoted_meanwhile(cloud)
    cloud.compare_registry()
    assert "DifferenceRepaired" not in cloud.types(), "what can't be looked at is no difference"
    cloud.undelivered.clear()
    with MlflowServer(place, server.port) as again:
        again.wait_ready()
        cloud.compare_registry()
        in_step(cloud, client)
        told = [e for e in cloud.ports.ledger.history(MODEL).documents if e["type"] == "DifferenceRepaired"]
        assert ("alias production in the registry", "version 1", "version 2") in [
            (e["what"], e["found"], e["expected"]) for e in told
        ]


def test_a_server_that_hangs_is_given_up_and_told_later(cloud, server, client):
    os.killpg(server.pid, signal.SIGSTOP)
    promoted_meanwhile(cloud)
    os.killpg(server.pid, signal.SIGCONT)
    cloud.deliver_again()
    assert cloud.undelivered == []
    in_step(cloud, client)


def test_a_version_that_was_trained_while_mlflow_was_away_is_registered_on_a_run_of_its_own(
    cloud, server, client, place
):
    killed(server)
    cloud.pass_time(HOUR)
    cloud.promote(2)
    cloud.collect()
    cloud.deliver_all()
    cloud.baked()
    cloud.trained()
    with MlflowServer(place, server.port) as again:
        again.wait_ready()
        cloud.deliver_again()
        newest = max(cloud.state.versions, key=lambda version: version.number)
        assert newest.number == 3
        (found,) = client.search_model_versions(f"name='{MODEL}' and tag.`evergreen.version` = '3'")
        run = client.get_run(found.run_id)
        assert run.data.tags["evergreen.told_by"] == "update_registry"
        assert run.data.tags["evergreen.job"] == found.tags["evergreen.job"]
        assert found.source.startswith("models:/m-")
