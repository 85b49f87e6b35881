"""The tracking server: one process, on loopback, that keeps runs, artifacts and the registry."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_cloud.server.server import LocalServer, introduction
from local_cloud.services.mlflow.server import LocalS3, MlflowServer, MlflowServerError, forget, server_environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.wait_ready()


def call(server: MlflowServer, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{server.url}/api/2.0/{path}", data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def test_a_version_is_registered_and_an_alias_points_at_it(server: MlflowServer) -> None:
    call(server, "mlflow/registered-models/create", {"name": "fraud"})
    version = call(server, "mlflow/model-versions/create", {"name": "fraud", "source": "s3://bucket/model.tar.gz"})
    assert version["model_version"]["version"] == "1"
    call(server, "mlflow/registered-models/alias", {"name": "fraud", "alias": "production", "version": "1"})
    pointed = call(server, "mlflow/registered-models/alias?name=fraud&alias=production")
    assert pointed["model_version"]["version"] == "1"


def test_artifacts_go_through_the_server(server: MlflowServer) -> None:
    run = call(server, "mlflow/runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]
    assert run["artifact_uri"].startswith("mlflow-artifacts:/")
    path = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/0/{run['run_id']}/artifacts/report.txt"
    upload = urllib.request.Request(path, data=b"drift 0.31", method="PUT")
    assert urllib.request.urlopen(upload, timeout=30).status == 200
    assert urllib.request.urlopen(path, timeout=30).read() == b"drift 0.31"
    assert (server.work_dir / "artifacts" / "0" / run["run_id"] / "artifacts" / "report.txt").is_file()


def test_it_is_one_process(server: MlflowServer) -> None:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    assert children.read_text().split() == []


@pytest.mark.slow
def test_what_was_stored_is_there_after_a_restart_and_nothing_is_left_running(tmp_path: Path) -> None:
    with MlflowServer(tmp_path) as first:
        call(first.wait_ready(), "mlflow/registered-models/create", {"name": "fraud"})
        pid = first.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with MlflowServer(tmp_path) as second:
        assert (
            call(second.wait_ready(), "mlflow/registered-models/get?name=fraud")["registered_model"]["name"] == "fraud"
        )


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database")
    with MlflowServer(tmp_path) as server:
        server.start()
        assert server.pid is not None
        os.killpg(server.pid, 9)
        with pytest.raises(MlflowServerError, match="ended with exit code -9 before it was ready"):
            server.wait_ready(timeout=60)


def test_a_server_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, time; from local_cloud.services.mlflow.server import MlflowServer;"
        f"print(MlflowServer(pathlib.Path({str(tmp_path)!r})).start().pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    time.sleep(1.0)  # until the interpreter of the server has started
    starter.kill()
    starter.communicate()
    for _ in range(100):
        if _ended(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"the server, process {pid}, outlived its starter")


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_no_credential_of_this_process_reaches_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the real one")
    environment = server_environment(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert "the real one" not in environment.values()
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "true"


def test_what_a_server_left_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    for name in ("mlflow.db", "server.log", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "artifacts" / "1").mkdir(parents=True)
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_in_the_local_s3_it_is_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the real one")
    place = LocalS3("s3://evergreen-mlflow", "http://127.0.0.1:4566")
    environment = server_environment(tmp_path / "mlflow.db", place)
    assert environment["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] == "s3://evergreen-mlflow"
    assert "the real one" not in environment.values()


TAKES_MLFLOW = """
Parameters: {MlflowTrackingUri: {Type: String, Default: ""}}
Resources: {Queue: {Type: "AWS::SQS::Queue"}}
Outputs: {Uri: {Value: !Ref MlflowTrackingUri}}
"""


@pytest.mark.slow
def test_the_local_cloud_has_a_server_of_its_own_with_artifacts_in_the_local_s3(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "template.yaml").write_text(TAKES_MLFLOW)
    (tmp_path / "report.txt").write_text("drift 0.31")
    with LocalServer(tmp_path / "template.yaml", port=0) as cloud:
        url = cloud.mlflow_url
        assert url is not None
        assert cloud.cloud.outputs["Uri"] == url
        assert any(url in line for line in introduction(cloud))
        until = time.monotonic() + 120
        while not answers(f"{url}/health") and time.monotonic() < until:
            time.sleep(0.1)
        client = MlflowClient(url)
        run = client.create_run("0")
        client.log_artifact(run.info.run_id, str(tmp_path / "report.txt"))
        (found,) = cloud.cloud.client("s3").list_objects_v2(Bucket="evergreen-mlflow")["Contents"]
        assert found["Key"] == f"0/{run.info.run_id}/artifacts/report.txt"
        fetched = client.download_artifacts(run.info.run_id, "report.txt", str(tmp_path / "."))
        assert Path(fetched).read_text() == "drift 0.31"
    assert not answers(f"{url}/health")


def test_a_local_cloud_that_is_told_where_mlflow_is_starts_none(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(TAKES_MLFLOW)
    with LocalServer(tmp_path / "template.yaml", port=0, parameters={"MlflowTrackingUri": ""}) as cloud:
        assert cloud.mlflow_url is None


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    except OSError:
        return False
