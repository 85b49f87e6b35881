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

from evergreen_ops.local.mlflow_server import MlflowServer, MlflowServerError, server_environment


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
        "import pathlib, time; from evergreen_ops.local.mlflow_server import MlflowServer;"
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
