"""Run a function as AWS runs it: its own process, `awslambdaric`, and the Lambda Runtime API on loopback.

A *sandbox* is one process with one Runtime API server of its own. When the process is killed or dies, its server and
its queue go with it, so a request that was waiting in the old process can never take an event meant for the new one.
"""

import contextlib
import importlib.metadata
import json
import os
import queue
import re
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from packaging.requirements import Requirement

from local_cloud.kernel import tethered
from local_cloud.kernel.processes import end_process_group, start
from local_cloud.services.lambda_.invokers import DeployedFunction, InvocationResult, runtime_environment

INIT_TIMEOUT_SECONDS = 60.0
KEPT_OUTPUT_BYTES = 4 * 1024 * 1024
_API = re.compile(r"^/2018-06-01/runtime/(?:invocation/(?P<id>[^/]+)/(?P<verb>response|error)|(?P<init>init/error))$")


@dataclass(frozen=True, slots=True)
class ColdStart:
    """How long a new sandbox took from the start of its process until it asked for its first event."""

    function: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Ready:
    """The process has imported the handler and asks for an event."""


@dataclass(frozen=True, slots=True)
class _Answered:
    request_id: str
    error: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class _InitFailed:
    body: bytes


@dataclass(frozen=True, slots=True)
class _Exited:
    code: int


type _Report = _Ready | _Answered | _InitFailed | _Exited


@dataclass(frozen=True, slots=True)
class _Event:
    request_id: str
    payload: bytes
    deadline_ms: int
    arn: str


class AwslambdaricInvoker:
    """An `Invoker` that runs each function in processes of its own, through ``python -m awslambdaric``.

    Parameters
    ----------
    endpoint_url
        Where the functions' AWS clients are to go: the local cloud's ``http://localhost:PORT``.
    include_environment_packages
        Whether the packages of the running virtual environment come last on the functions' path. Leave it off to
        prove that a build is complete: then only ``runtime_packages`` and what they need are added.
    runtime_packages
        What the Lambda runtime itself brings. AWS's Python runtimes also bring boto3; name it to have the same.
    init_timeout_seconds
        How long a process may take to import its handler.

    Notes
    -----
    A sandbox handles one event at a time and is kept for the next one, with its module state, as on AWS. Calls from
    several threads get several sandboxes. The processes see no variable of the parent but ``PATH`` and ``HOME``.
    """

    def __init__(
        self,
        endpoint_url: str,
        *,
        include_environment_packages: bool = True,
        runtime_packages: Iterable[str] = ("awslambdaric",),
        init_timeout_seconds: float = INIT_TIMEOUT_SECONDS,
    ) -> None:
        self.endpoint_url = endpoint_url
        self.init_timeout_seconds = init_timeout_seconds
        self._scratch = tempfile.TemporaryDirectory(prefix="local-cloud-lambda-")
        self._runtime_path: tuple[Path, ...] = (
            tuple(Path(entry) for entry in site.getsitepackages())
            if include_environment_packages
            else (linked_packages(runtime_packages, Path(self._scratch.name) / "runtime"),)
        )
        self._idle: dict[str, list[_Sandbox]] = {}
        self._cold_starts: list[ColdStart] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def cold_starts(self) -> tuple[ColdStart, ...]:
        """Every cold start so far, in order."""
        return tuple(self._cold_starts)

    def invoke(
        self,
        function: DeployedFunction,
        payload: bytes,
        *,
        request_id: str,
        now: datetime,  # noqa: ARG002 - a process has the machine's own clock
    ) -> InvocationResult:
        """Hand one event to the function and wait for its answer.

        Parameters
        ----------
        function
            What was deployed. When it differs from the last call's (new code, new variables), its sandboxes are
            replaced.
        payload
            The event, JSON in UTF-8.
        request_id
            The id that the handler sees as ``context.aws_request_id``.
        now
            The cloud's time; a process keeps the machine's own clock, so it is not used.

        Returns
        -------
        InvocationResult
            With ``error="Unhandled"`` and AWS's error document when the handler raised, could not be imported, ran
            out of time or ended its process.
        """
        sandbox = self._borrow(function)
        try:
            result = sandbox.invoke(payload, request_id)
        except BaseException:
            sandbox.close()
            raise
        self._give_back(sandbox)
        return result

    def close(self) -> None:
        """End every process; a later `invoke` is refused."""
        with self._lock:
            self._closed = True
            idle = [sandbox for sandboxes in self._idle.values() for sandbox in sandboxes]
            self._idle.clear()
        for sandbox in idle:
            sandbox.close()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _borrow(self, function: DeployedFunction) -> "_Sandbox":
        with self._lock:
            if self._closed:
                raise RuntimeError(f"The invoker is closed, so {function.name} cannot be invoked; deploy again.")
            idle = self._idle.get(function.arn, [])
            outdated = [sandbox for sandbox in idle if sandbox.function != function]
            current = [sandbox for sandbox in idle if sandbox.function == function]
            borrowed = current.pop() if current else None
            self._idle[function.arn] = current
        for sandbox in outdated:
            sandbox.close()
        return borrowed or self._new_sandbox(function)

    def _give_back(self, sandbox: "_Sandbox") -> None:
        with self._lock:
            keep = sandbox.alive and not self._closed
            if keep:
                self._idle.setdefault(sandbox.function.arn, []).append(sandbox)
        if not keep:
            sandbox.close()

    def _new_sandbox(self, function: DeployedFunction) -> "_Sandbox":
        layers = [layer / "python" if (layer / "python").is_dir() else layer for layer in function.layer_dirs]
        path = (function.code_dir, *layers, *self._runtime_path)
        environment = function_environment(function, self.endpoint_url, path)
        output = Path(tempfile.mkstemp(prefix=f"{function.name}-"[:40], suffix=".log", dir=self._scratch.name)[1])
        return _Sandbox(function, environment, output, self.init_timeout_seconds, self._cold_starts)


def function_environment(function: DeployedFunction, endpoint_url: str, path: Iterable[Path]) -> dict[str, str]:
    """Return the whole environment of a function's process, as Lambda sets it.

    Parameters
    ----------
    function
        The deployed function, with its own variables.
    endpoint_url
        The local cloud, set as ``AWS_ENDPOINT_URL``.
    path
        The import path, first entry first.

    Returns
    -------
    dict[str, str]
        No variable of this process is passed on but ``PATH`` and ``HOME``; the credentials are made up.

    Examples
    --------
    >>> predict = DeployedFunction(
    ...     name="predict", arn="arn:aws:lambda:us-east-1:123456789012:function:predict", logical_id="PredictFunction",
    ...     handler="app.handler", code_dir=Path("functions/predict"), layer_dirs=(), timeout_seconds=3.0,
    ...     environment={"TABLE": "ledger"}, memory_mb=512)
    >>> environment = function_environment(predict, "http://localhost:4566", [predict.code_dir])
    >>> environment["TABLE"], environment["AWS_LAMBDA_FUNCTION_NAME"], environment["AWS_ENDPOINT_URL"]
    ('ledger', 'predict', 'http://localhost:4566')
    """
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **inherited,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "AWS_EC2_METADATA_DISABLED": "true",
        **runtime_environment(function),
        "AWS_ENDPOINT_URL": endpoint_url,
        "LAMBDA_TASK_ROOT": str(function.code_dir.absolute()),
        "PYTHONPATH": os.pathsep.join(str(entry.absolute()) for entry in path),
    }


def linked_packages(names: Iterable[str], target: Path) -> Path:
    """Make a directory that holds links to the named packages and to all they require, and nothing else.

    Parameters
    ----------
    names
        Distributions that are installed here, such as ``awslambdaric``.
    target
        The directory to make.

    Returns
    -------
    Path
        ``target``, ready to be put on a ``PYTHONPATH``.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        When a named package is not installed.
    """
    target.mkdir(parents=True, exist_ok=True)
    pending, seen = list(names), set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for top in sorted({file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}):
            link = target / top
            if not link.is_symlink():
                link.symlink_to(Path(str(distribution.locate_file(top))).absolute())
        requirements = [Requirement(text) for text in distribution.requires or ()]
        pending += [
            wanted.name for wanted in requirements if not wanted.marker or wanted.marker.evaluate({"extra": ""})
        ]
    return target


class _Sandbox:
    """One process of one function, and the Runtime API that only this process talks to."""

    def __init__(
        self,
        function: DeployedFunction,
        environment: Mapping[str, str],
        output: Path,
        init_timeout_seconds: float,
        cold_starts: list[ColdStart],
    ) -> None:
        self.function = function
        self._environment = environment
        self._output = output
        self._output_read = 0
        self._init_timeout_seconds = init_timeout_seconds
        self._cold_starts = cold_starts
        self._events: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[_Report] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._api = _RuntimeApi(self._events, self._reports)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def invoke(self, payload: bytes, request_id: str) -> InvocationResult:
        if self._process is None and (failure := self._start(request_id)):
            return failure
        deadline_ms = int((time.time() + self.function.timeout_seconds) * 1000)
        self._events.put(_Event(request_id, payload, deadline_ms, self.function.arn))
        match self._next_report(self.function.timeout_seconds):
            case _Answered(request_id=answered, error=error, body=body) if answered == request_id:
                return InvocationResult(error=error, payload=body, stdout=self._new_output())
            case _Exited(code=code):
                return self._failed("Runtime.ExitError", _exit_message(code), request_id)
            case None:
                self._kill()
                message = f"Task timed out after {self.function.timeout_seconds:.2f} seconds"
                return self._failed("Sandbox.Timedout", message, request_id)
            case _Answered() | _InitFailed() | _Ready() as unexpected:
                self._kill()
                message = f"The runtime sent {type(unexpected).__name__[1:]} while an event was in work"
                return self._failed("Runtime.InvalidResponse", message, request_id)

    def close(self) -> None:
        self._kill()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._api.close()
        with contextlib.suppress(FileNotFoundError):
            self._output.unlink()

    def _start(self, request_id: str) -> InvocationResult | None:
        """Start the process and wait for its first question; return the failure when it never comes."""
        environment = {**self._environment, "AWS_LAMBDA_RUNTIME_API": self._api.address}
        started = time.monotonic()
        # -S and -P: nothing but PYTHONPATH and the standard library can be imported.
        command = [sys.executable, "-S", "-P", tethered.__file__, "awslambdaric", self.function.handler]
        self._process = start(
            command,
            directory=self.function.code_dir,
            environment=environment,
            log=self._output,
            stdin=subprocess.PIPE,
        )
        process = self._process
        threading.Thread(target=lambda: self._reports.put(_Exited(process.wait())), daemon=True).start()
        match self._next_report(self._init_timeout_seconds):
            case _Ready():
                self._cold_starts.append(ColdStart(self.function.name, time.monotonic() - started))
                return None
            case _InitFailed(body=body):
                self._kill()
                return InvocationResult(error="Unhandled", payload=body, stdout=self._new_output())
            case _Exited(code=code):
                return self._failed("Runtime.ExitError", _exit_message(code), request_id)
            case None:
                self._kill()
                message = f"Initialization did not end within {self._init_timeout_seconds:.2f} seconds"
                return self._failed("Sandbox.Timedout", message, request_id)
            case _Answered():
                self._kill()
                return self._failed("Runtime.InvalidResponse", "The runtime answered before it was asked", request_id)

    def _next_report(self, timeout_seconds: float) -> _Report | None:
        try:
            return self._reports.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def _failed(self, error_type: str, message: str, request_id: str) -> InvocationResult:
        document = {"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {message}"}
        return InvocationResult(error="Unhandled", payload=json.dumps(document).encode(), stdout=self._new_output())

    def _new_output(self) -> str:
        """Return what the process wrote since the last call; it writes before it answers, so nothing is missing."""
        with self._output.open("rb+") as output:
            output.seek(self._output_read)
            text = output.read()
            self._output_read += len(text)
            if self._output_read > KEPT_OUTPUT_BYTES:
                output.truncate(0)  # the process appends, so it goes on at the new end
                self._output_read = 0
        return text.decode(errors="replace")

    def _kill(self) -> None:
        if self._process is not None:
            end_process_group(self._process, grace_seconds=0.0)


class _LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke because its process was killed is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _RuntimeApi:
    """The Lambda Runtime API for one process: GET next blocks until there is an event; POST reports what happened."""

    def __init__(self, events: "queue.SimpleQueue[_Event | None]", reports: "queue.SimpleQueue[_Report]") -> None:
        self._events = events
        self._server = _LoopbackServer(("127.0.0.1", 0), _handler_class(events, reports))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._events.put(None)  # releases a question that still waits
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_class(
    events: "queue.SimpleQueue[_Event | None]", reports: "queue.SimpleQueue[_Report]"
) -> type[BaseHTTPRequestHandler]:
    asked_before = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            if self.path != "/2018-06-01/runtime/invocation/next":
                return self._answer(404, b'{"errorType":"NotFound"}')
            if not asked_before.is_set():
                asked_before.set()
                reports.put(_Ready())
            event = events.get()
            if event is None:
                self.close_connection = True
                return None
            headers = {
                "Lambda-Runtime-Aws-Request-Id": event.request_id,
                "Lambda-Runtime-Deadline-Ms": str(event.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": event.arn,
                "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0",
            }
            return self._answer(200, event.payload, headers)

        def do_POST(self) -> None:
            body = self._body()
            match = _API.match(self.path)
            if match is None:
                return self._answer(404, b'{"errorType":"NotFound"}')
            if match["init"]:
                reports.put(_InitFailed(body))
            else:
                reports.put(_Answered(match["id"], None if match["verb"] == "response" else "Unhandled", body))
            return self._answer(202, b'{"status":"OK"}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Requests are not logged."""

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    return Handler


def _exit_message(code: int) -> str:
    """Return Lambda's words for how a process ended.

    >>> _exit_message(1), _exit_message(-9)
    ('Runtime exited with error: exit status 1', 'Runtime exited with error: signal: 9')
    """
    if code == 0:
        return "Runtime exited without providing a reason"
    return f"Runtime exited with error: {f'signal: {-code}' if code < 0 else f'exit status {code}'}"
