"""A real MLflow tracking server on loopback: one process, a sqlite store, artifacts in a directory or the local S3.

``mlflow server`` starts a supervisor, four workers and a job runner. A single uvicorn process that serves the same
application, with the variables that ``mlflow server`` would have set, costs half the memory and starts sooner.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from local_cloud.kernel.place import DEFAULT_REGION
from local_cloud.kernel.processes import end_process_group, start, tail

READY_POLL_SECONDS = 0.1
STOP_GRACE_SECONDS = 5.0
STORE = "mlflow.db"
_ARTIFACTS, _LOG = "artifacts", "server.log"


class MlflowServerError(RuntimeError):
    """The tracking server did not start, or it stopped before it was ready.

    Parameters
    ----------
    reason
        What happened, in one sentence.
    log
        The server's log file, for the reader to open.
    """

    def __init__(self, reason: str, log: Path) -> None:
        self.reason = reason
        self.log = log
        super().__init__(f"The local MLflow server {reason}; the end of its log is: {tail(log)}")


@dataclass(frozen=True, slots=True)
class LocalS3:
    """Artifacts in a bucket of the local cloud.

    Parameters
    ----------
    uri
        ``s3://bucket/prefix``; the bucket exists.
    endpoint_url
        Where the local cloud answers, by address and not by name: buckets are then no part of the host's name.
    region
        The local cloud's.
    """

    uri: str
    endpoint_url: str
    region: str = DEFAULT_REGION

    def environment(self) -> dict[str, str]:
        """Return the variables that lead the server's S3 client there, with nobody's credentials.

        Examples
        --------
        >>> LocalS3("s3://models", "http://127.0.0.1:4566").environment()["MLFLOW_S3_ENDPOINT_URL"]
        'http://127.0.0.1:4566'
        """
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
        }


def server_environment(store: Path, artifacts: Path | LocalS3, *, path: str | None = None) -> dict[str, str]:
    """Return the whole environment of a tracking server that talks to nothing but its clients.

    Parameters
    ----------
    store
        The sqlite file that holds experiments, runs and the model registry.
    artifacts
        Where the server keeps artifacts; clients send and fetch them through the server.
    path
        What to put in ``PATH``; by default only the interpreter's own directory, so that no optional tool is found.

    Returns
    -------
    dict[str, str]
        Telemetry, job execution and every credential of the parent are left out.

    Examples
    --------
    >>> environment = server_environment(Path("m/mlflow.db"), Path("m/artifacts"))
    >>> environment["MLFLOW_DISABLE_TELEMETRY"], environment["_MLFLOW_SERVER_ARTIFACT_ROOT"]
    ('true', 'mlflow-artifacts:/')
    >>> "AWS_SECRET_ACCESS_KEY" in environment
    False
    """
    store_uri = f"sqlite:///{store.absolute()}"
    return {
        "PATH": path if path is not None else str(Path(sys.executable).parent),
        "HOME": str(store.absolute().parent),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PYTHONUNBUFFERED": "1",
        "_MLFLOW_SERVER_FILE_STORE": store_uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": store_uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (
            artifacts.uri if isinstance(artifacts, LocalS3) else artifacts.absolute().as_uri()
        ),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_BOOT_ID": "local-cloud",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        **(artifacts.environment() if isinstance(artifacts, LocalS3) else {}),
    }


def forget(work_dir: Path) -> None:
    """Delete the store, artifacts and log that a server left in a directory, and nothing else there.

    Examples
    --------
    >>> forget(Path("no such directory"))
    """
    for name in (STORE, f"{STORE}-wal", f"{STORE}-shm", _LOG):
        (work_dir / name).unlink(missing_ok=True)
    shutil.rmtree(work_dir / _ARTIFACTS, ignore_errors=True)


class MlflowServer:
    """A tracking server and model registry that lives as long as a ``with`` block.

    Importing MLflow takes some seconds, so `start` returns at once; ask `wait_ready` when the first client needs it.

    Parameters
    ----------
    work_dir
        A directory for the store, the artifacts and the log; made when it is missing, kept when the server closes.
    port
        The loopback port to serve on; 0 takes a free one.
    artifacts
        Where artifacts go; by default into ``work_dir``.

    Examples
    --------
    >>> server = MlflowServer(Path("mlflow"), port=5001)
    >>> server.url
    'http://127.0.0.1:5001'
    """

    def __init__(self, work_dir: Path, port: int = 0, *, artifacts: LocalS3 | None = None) -> None:
        self.work_dir = work_dir
        self.port = port or _free_port()
        self.log = work_dir / _LOG
        self._artifacts = artifacts or work_dir / _ARTIFACTS
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    @property
    def url(self) -> str:
        """The tracking URI for clients, known before the server is ready."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def start(self) -> Self:
        """Start the server in the background and return without waiting for it; a second call does nothing."""
        if self._process is not None:
            return self
        self.work_dir.mkdir(parents=True, exist_ok=True)
        if isinstance(self._artifacts, Path):
            self._artifacts.mkdir(exist_ok=True)
        self.log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "local_cloud.kernel.tethered", "uvicorn", "mlflow.server.fastapi_app:app"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        environment = server_environment(self.work_dir / STORE, self._artifacts)
        self._process = start(
            command, directory=self.work_dir, environment=environment, log=self.log, stdin=subprocess.PIPE
        )
        return self

    def wait_ready(self, timeout: float = 120.0) -> Self:
        """Return once the server answers its health check and its store is set up.

        Parameters
        ----------
        timeout
            How many seconds to wait at most.

        Raises
        ------
        MlflowServerError
            When the process ended, or did not answer in time.
        """
        self.start()
        process = self._process
        assert process is not None  # start() has set it
        deadline = time.monotonic() + timeout
        while not self._ready:
            if (code := process.poll()) is not None:
                raise MlflowServerError(f"ended with exit code {code} before it was ready", self.log)
            if time.monotonic() > deadline:
                raise MlflowServerError(f"did not answer within {timeout:g} s", self.log)
            # The second call makes the server open (and on its first start create) the sqlite store.
            probe = "/api/2.0/mlflow/experiments/get?experiment_id=0"
            remaining = max(1.0, deadline - time.monotonic())
            self._ready = _answers(f"{self.url}/health", 1.0) and _answers(f"{self.url}{probe}", remaining)
            if not self._ready:
                time.sleep(READY_POLL_SECONDS)
        return self

    def close(self) -> None:
        """Stop the server and wait until its process is gone; what it stored stays in ``work_dir``."""
        if self._process is not None:
            end_process_group(self._process, grace_seconds=STOP_GRACE_SECONDS)
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process = None
        self._ready = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    """Return a loopback port that nothing listens on at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(url: str, timeout: float) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
