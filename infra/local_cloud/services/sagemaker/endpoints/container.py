"""An endpoint's container on this machine: a directory in place of ``/opt/ml``, and a process that serves the model.

Each variant of a fleet has one, so a script that hangs, throws, leaks or dies takes nobody with it. What SageMaker
waits for, a start and an answer, is waited for here as long (real seconds), and no longer.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import io
import os
import shutil
import site
import socket
import sys
import tarfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

from local_cloud.kernel.loopback import FAKE_CREDENTIALS
from local_cloud.kernel.processes import end_process_group, start
from local_cloud.services.sagemaker.training.container import DataDownloadError, ObjectStore, split_uri

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
TIME, TIME_VARIABLE = "X-Local-Cloud-Time", "LOCAL_CLOUD_TIME"
STARTUP_SECONDS = 60.0
INVOCATION_SECONDS = 60.0
PING_SECONDS = 2.0
_HOST_PROGRAM = Path(__file__).with_name("host.py")
_PAUSE_SECONDS = 0.02
_DYING_SECONDS = 0.5
_CODE_IN_MODEL = "/opt/ml/model/code"
_STEP_ASIDE = 10


class ContainerError(Exception):
    """A container that could not be started; the message is the endpoint's failure reason."""


class Duty(enum.Enum):
    """What a container's answers are for; a shadow leaves the processor to those that callers wait for."""

    PRODUCTION = 0
    SHADOW = _STEP_ASIDE


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is waited, in real seconds."""

    startup_seconds: float = STARTUP_SECONDS
    invocation_seconds: float = INVOCATION_SECONDS


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as CreateModel described it, as far as it changes what runs.

    Parameters
    ----------
    name, image
        Its name, and the image it asks for.
    data_uri
        Where its model.tar.gz lies; empty for a model without one.
    environment
        The container's variables.
    region
        Set as ``AWS_REGION``.
    isolated
        Whether its container can call nobody, AWS neither.
    role
        The ARN of its execution role: by it SageMaker loads the model, and its container calls AWS.
    network
        The VpcConfig: the subnets and security groups in which its instances have interfaces.
    """

    name: str
    image: str
    data_uri: str
    environment: Mapping[str, str]
    region: str
    isolated: bool = False
    role: str = ""
    network: Mapping[str, Any] | None = None

    @property
    def submit_directory(self) -> str:
        """The S3 URI of the archive with the code, or the image's directory that holds it."""
        return self.environment.get("SAGEMAKER_SUBMIT_DIRECTORY", _CODE_IN_MODEL)


@dataclass(frozen=True, slots=True)
class Question:
    """A request as the container gets it; on a virtual clock with its time, seconds since 1970."""

    body: bytes
    content_type: str
    accept: str
    attributes: str = ""
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container finds around it.

    Parameters
    ----------
    address
        Asked when a container needs it: where the cloud answers AWS's calls. None where nobody does.
    time
        On a virtual clock the time at which it is started, seconds since 1970: its threads sleep by that clock.
    credentials
        Gives a role's credentials, as environment variables.
    """

    address: Callable[[], str] | None = None
    time: float | None = None
    credentials: Callable[[str], Mapping[str, str]] = lambda _: FAKE_CREDENTIALS


@dataclass(frozen=True, slots=True)
class ContainerAnswer:
    """What a container answered; status 0 when it did not."""

    status: int
    body: bytes
    content_type: str
    microseconds: float
    attributes: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the model answered the question."""
        return 200 <= self.status < 300


class Container:
    """One variant's process.

    Parameters
    ----------
    directory
        An empty directory of its own.
    model
        What it serves.
    variant
        Whose container it is, for what is said of it.
    """

    def __init__(
        self,
        directory: Path,
        model: ServedModel,
        variant: str,
        *,
        duty: Duty = Duty.PRODUCTION,
        limits: Limits,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.model = model
        self.variant = variant
        self.limits = limits
        self._surroundings = surroundings or Surroundings()
        self.log = directory / "log"
        self._root = directory
        self._duty = duty
        self._model_dir = directory / "ml" / "model"
        self._code_dir = directory / "ml" / "code"
        self._port = 0
        self._time = 0.0  # that the process was told
        self._process: Popen[bytes] | None = None
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._starting = threading.Lock()
        self._reading = threading.Lock()
        self._passing = threading.Lock()
        self._read = 0
        self._closed = False

    def prepare(self, store: ObjectStore) -> None:
        """Unpack the model and the code.

        Raises
        ------
        ContainerError
            When one of them is missing, or is no archive.
        """
        for directory in (self._model_dir, self._code_dir):
            directory.mkdir(parents=True, exist_ok=True)
        if self.model.data_uri:
            _unpack(self.model.data_uri, self._model_dir, store, "model data")
        if self.model.submit_directory.startswith("s3://"):
            _unpack(self.model.submit_directory, self._code_dir, store, "the source archive")
        else:
            self._code_dir = self._model_dir / "code"

    def start(self) -> None:
        """Start the process; requests may be sent at once, and wait until the model is loaded.

        Raises
        ------
        ContainerError
            When the container was closed.
        """
        with self._starting:
            self._start()

    def await_ping(self) -> None:
        """Wait until the process answers pings.

        Raises
        ------
        ContainerError
            When it ends before, or does not answer in time.
        """
        deadline = time.monotonic() + self.limits.startup_seconds
        while not self._pings(min(PING_SECONDS, max(deadline - time.monotonic(), _PAUSE_SECONDS))):
            if not self._runs or self._closed or time.monotonic() > deadline:
                self._kill()
                raise ContainerError(
                    f"The primary container for production variant {self.variant} did not pass the ping health check. "
                    "Please check CloudWatch logs for this endpoint."
                )
            time.sleep(_PAUSE_SECONDS)

    def ask(self, question: Question) -> ContainerAnswer:
        """Have the model answer; a process that has died is started again first."""
        began = time.perf_counter()
        try:
            self._revive()
            if question.time is not None:
                self._let_time_pass(question.time)
                began = time.perf_counter()
            answer = self._post(question)
        except TimeoutError:
            return _no_answer(
                "Your invocation timed out while waiting for a response from container primary. Review the latency "
                "metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
                began,
            )
        except ContainerError as error:
            return _no_answer(str(error), began)
        except (OSError, http.client.HTTPException) as error:
            self._see_it_end()
            return _no_answer(f"The container closed the connection: {type(error).__name__}.", began)
        return ContainerAnswer(*answer[:3], _microseconds_since(began), answer[3])

    def _see_it_end(self) -> None:
        """Wait for a process that closes its connections to be gone: else the next request meets it while it dies."""
        process = self._process
        if process is not None:
            with contextlib.suppress(TimeoutExpired):
                process.wait(timeout=_DYING_SECONDS)

    def close(self) -> None:
        """End the process at once and delete its directory."""
        with self._starting:
            self._closed = True
            self._kill()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The id of the process, if one was started."""
        return None if self._process is None else self._process.pid

    def unread_log(self) -> str:
        """Return what the process has printed since this was asked last."""
        with self._reading:
            try:
                with self.log.open("rb") as log:
                    log.seek(self._read)
                    printed = log.read()
            except FileNotFoundError:
                return ""
            self._read += len(printed)
            return printed.decode(errors="replace")

    def _let_time_pass(self, now: float) -> None:
        """Before a request is measured, the process's own threads do what they would have done by its time."""
        with self._passing:  # whoever comes at the same time waits for it too
            if now <= self._time:
                return
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self.limits.invocation_seconds)
            try:
                connection.request("GET", "/ping", headers={TIME: repr(now)})
                connection.getresponse().read()
            finally:
                connection.close()
            self._time = now

    def _post(self, question: Question) -> tuple[int, bytes, str, str]:
        headers = {"Content-Type": question.content_type, "Accept": question.accept}
        if question.attributes:
            headers[ATTRIBUTES] = question.attributes
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self.limits.invocation_seconds)
        try:
            connection.request("POST", "/invocations", question.body, {n: v for n, v in headers.items() if v})
            response = connection.getresponse()
            content_type = response.headers.get("Content-Type", "application/octet-stream")
            answer = response.status, response.read(), content_type, response.headers.get(ATTRIBUTES, "")
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def _pings(self, timeout: float) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _start(self) -> None:
        if self._closed:
            raise ContainerError(f"The container of variant {self.variant} was stopped.")
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            self._port = listening.getsockname()[1]
            self._idle.clear()  # connections to the process before
            self._process = start(
                # -S: only PYTHONPATH names packages; -P: nor does the program's own directory.
                [sys.executable, "-S", "-P", str(_HOST_PROGRAM), str(self._code_dir), str(self._duty.value)],
                directory=self._code_dir if self._code_dir.is_dir() else self._root,
                environment=self._environment(),
                log=self.log,
                stdin=listening.fileno(),
            )

    @property
    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _revive(self) -> None:
        if self._runs:
            return
        with self._starting:
            if not self._runs:
                self._start()

    def _kill(self) -> None:
        if self._process is not None:
            end_process_group(self._process, grace_seconds=0.0)

    def _environment(self) -> dict[str, str]:
        """Return all of the process's variables: the contract's, then the model's own; credentials are made up."""
        return {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")),
            "HOME": str(self._root),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_REGION": self.model.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_BASE_DIR": str(self._root / "ml"),
            **self._way_to_aws(),
            **self.model.environment,
            "SM_MODEL_DIR": str(self._model_dir),
            "PYTHONPATH": os.pathsep.join((str(self._code_dir), *site.getsitepackages())),
            **({} if self._surroundings.time is None else {TIME_VARIABLE: repr(self._surroundings.time)}),
        }

    def _way_to_aws(self) -> dict[str, str]:
        """What its role gives a container that may call anybody."""
        if self._surroundings.address is None or self.model.isolated:
            return {}
        return {**self._surroundings.credentials(self.model.role), "AWS_ENDPOINT_URL": self._surroundings.address()}


def _no_answer(message: str, began: float) -> ContainerAnswer:
    return ContainerAnswer(0, message.encode(), "text/plain", _microseconds_since(began))


def _microseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1e6


def _unpack(uri: str, directory: Path, store: ObjectStore, what: str) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(store.read(*split_uri(uri)))) as archive:
            archive.extractall(directory, filter="data")
    except DataDownloadError:
        raise ContainerError(
            f'Failed to download {what} for container "container_1" from URL: "{uri}". Please ensure that there is an '
            "object located at the URL and that the role passed to CreateModel has permissions to download the object."
        ) from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ContainerError(f"Failed to unpack {what} from {uri}: {error}.") from error
