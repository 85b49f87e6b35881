"""`evergreen mlflow ui`: which store it opens, and what it says when there is none."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from evergreen_ops import cli
from local_cloud.server.running import HEALTH_PATH
from local_cloud.services.mlflow.server import MlflowServer


def evergreen(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["evergreen", "mlflow", "ui", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two replays, of which the newer knows a model."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("older", "newer"):
        (folder / "replay" / name / "mlflow").mkdir(parents=True)
    (folder / "replay" / "older" / "mlflow" / "mlflow.db").write_bytes(b"")
    os.utime(folder / "replay" / "older" / "mlflow" / "mlflow.db", (1, 1))
    with MlflowServer(folder / "replay" / "newer" / "mlflow") as server:
        server.wait_ready()
        body = json.dumps({"name": "churn"}).encode()
        url = f"{server.url}/api/2.0/mlflow/registered-models/create"
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=60)
    return folder


@pytest.mark.slow
def test_the_newest_replay_is_served_until_ctrl_c(folder):
    command = [sys.executable, "-m", "evergreen_ops", "mlflow", "ui", "--port", "0", "--no-browser", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ui:
        told = json.loads(ui.stdout.readline())
        try:
            assert told["store"] == "replay/newer/mlflow"
            url = f"{told['url']}/api/2.0/mlflow/registered-models/get?name=churn"
            assert json.load(urllib.request.urlopen(url, timeout=60))["registered_model"]["name"] == "churn"
        finally:
            ui.send_signal(signal.SIGINT)
            assert ui.wait(60) == 0
        assert "Traceback" not in ui.stderr.read()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(told["url"], timeout=5)


def test_the_running_local_cloud_s_server_is_opened_first(monkeypatch, capsys, tmp_path):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == HEALTH_PATH
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"pid": os.getpid()}).encode())

        def log_message(self, *_):
            pass

    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".evergreen").mkdir()
    with HTTPServer(("127.0.0.1", 0), Health) as health:
        Thread(target=health.serve_forever, daemon=True).start()
        there = {"pid": os.getpid(), "port": health.server_port, "mlflow": "http://127.0.0.1:5555"}
        (tmp_path / ".evergreen" / "local.json").write_text(json.dumps(there))
        assert evergreen(monkeypatch) == 0
        health.shutdown()
    assert capsys.readouterr().out == "MLflow: http://127.0.0.1:5555\n"
    assert opened == ["http://127.0.0.1:5555"]


def test_without_a_store_it_says_what_to_start(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evergreen(monkeypatch, "--no-browser") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "start `evergreen local up`, run `evergreen replay`" in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_a_folder_without_a_store_is_wrong_use(tmp_path, monkeypatch, capsys):
    assert evergreen(monkeypatch, tmp_path, "--no-browser") == 2
    assert "has no MLflow store" in capsys.readouterr().err


def test_a_port_that_is_taken_is_wrong_use(tmp_path, monkeypatch, capsys):
    (tmp_path / "mlflow.db").write_bytes(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert evergreen(monkeypatch, tmp_path, "--port", port, "--no-browser") == 2
    assert f"--port {port} is taken" in capsys.readouterr().err
