"""How a deployed function's code is run: in this process (fast), or by AWS's own runtime client in another.

:class:`InProcessInvoker` loads ``app.py`` once per function. All functions share one interpreter, hence also the
modules of their layers: a cache in a shared module must be keyed by the settings it was built from.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller, acting_as
from local_cloud.kernel.loopback import FAKE_CREDENTIALS


@dataclass(frozen=True, slots=True)
class DeployedFunction:
    """A function as it was deployed: where its code is and what it is given to run with.

    ``caller`` is the session of its role, and ``credentials`` that session's; without a role it runs as the operator.
    """

    name: str
    arn: str
    logical_id: str
    handler: str
    code_dir: Path
    layer_dirs: tuple[Path, ...]
    environment: Mapping[str, str]
    timeout_seconds: float
    memory_mb: int
    code_sha256: str = ""
    version: str = "$LATEST"
    caller: Caller | None = None
    credentials: Mapping[str, str] = field(default_factory=lambda: FAKE_CREDENTIALS)


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """What a function answered: ``error`` is None or ``"Unhandled"``, ``stdout`` is what it printed."""

    error: str | None
    payload: bytes
    stdout: str


class Invoker(Protocol):
    """Runs functions."""

    def invoke(self, function: DeployedFunction, payload: bytes, *, request_id: str, now: datetime) -> InvocationResult:
        """Run ``function`` on ``payload`` and wait for its answer; a failing function is a result, not an exception."""

    def close(self) -> None:
        """Let go of whatever the invoker holds."""


@dataclass(slots=True)
class LambdaContext:
    """The second argument of a handler."""

    function_name: str
    function_version: str
    memory_limit_in_mb: str
    invoked_function_arn: str
    aws_request_id: str
    log_group_name: str
    log_stream_name: str
    deadline: float
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still run, in milliseconds of real time."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


class _StdoutSwitch(io.TextIOBase):
    """A stream that stays the same object while the buffer behind it changes with each invocation.

    Loggers keep the stream they saw first, so replacing ``sys.stdout`` by a new buffer per call would lose their lines.
    """

    def __init__(self) -> None:
        self._buffers: list[io.StringIO] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._buffers:
            return self._buffers[-1].write(text)
        return (sys.__stdout__ or sys.stderr).write(text)

    def flush(self) -> None:
        return None

    @contextmanager
    def capture(self) -> Iterator[io.StringIO]:
        """Collect what is written until the end of the block; blocks nest."""
        buffer = io.StringIO()
        before = sys.stdout
        self._buffers.append(buffer)
        sys.stdout = self
        try:
            yield buffer
        finally:
            sys.stdout = before
            self._buffers.pop()


@dataclass(slots=True)
class _Loaded:
    handler: Callable[[Any, Any], Any]
    module: ModuleType


@dataclass(slots=True)
class InProcessInvoker:
    """Runs handlers in this interpreter, one at a time, each with its own environment variables.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "app.py").write_text("def handler(event, context): return {'twice': 2 * event['n']}")
    >>> double = DeployedFunction("double", "arn:double", "Double", "app.handler", folder, (), {}, 3, 128)
    >>> InProcessInvoker().invoke(double, b'{"n": 21}', request_id="1", now=datetime(2026, 1, 1)).payload
    b'{"twice": 42}'
    """

    _loaded: dict[tuple[str, Path, str], _Loaded] = field(default_factory=dict)
    _stdout: _StdoutSwitch = field(default_factory=_StdoutSwitch)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _added_to_path: list[str] = field(default_factory=list)
    _modules: list[str] = field(default_factory=list)

    def invoke(self, function: DeployedFunction, payload: bytes, *, request_id: str, now: datetime) -> InvocationResult:  # noqa: ARG002
        """Run the handler; an exception becomes Lambda's error document."""
        with self._lock, _environment(function), acting_as(function.caller), self._stdout.capture() as printed:
            try:
                loaded = self._load(function)
                context = _context(function, request_id)
                answer = loaded.handler(json.loads(payload or b"null"), context)
                return InvocationResult(None, json.dumps(answer).encode(), printed.getvalue())
            except Exception as error:  # whatever a handler raises is its answer, as on Lambda
                return InvocationResult("Unhandled", _error_document(error), printed.getvalue())

    def close(self) -> None:
        """Forget the loaded modules and take the layers off the path."""
        with self._lock:
            for name in self._modules:
                sys.modules.pop(name, None)
            for folder in self._added_to_path:
                if folder in sys.path:
                    sys.path.remove(folder)
            self._loaded.clear()
            self._modules.clear()
            self._added_to_path.clear()
            _let_go_of(self._stdout)

    def _load(self, function: DeployedFunction) -> _Loaded:
        key = (function.arn, function.code_dir, function.code_sha256)
        if key in self._loaded:
            return self._loaded[key]
        for folder in (*function.layer_dirs, *(layer / "python" for layer in function.layer_dirs)):
            if folder.is_dir() and str(folder) not in sys.path:
                sys.path.append(str(folder))
                self._added_to_path.append(str(folder))
        module_name, _, attribute = function.handler.rpartition(".")
        source = function.code_dir / f"{module_name.replace('.', '/')}.py"
        unique = f"deployed_function_{len(self._modules)}_{function.logical_id}"
        spec = importlib.util.spec_from_file_location(unique, source, loader=_FromSource(unique, str(source)))
        if spec is None or spec.loader is None or not source.is_file():
            raise ModuleNotFoundError(f"Unable to import module '{module_name}': there is no {source.name} in CodeUri")
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        self._modules.append(unique)
        with _importable(function.code_dir):
            spec.loader.exec_module(module)
        loaded = _Loaded(getattr(module, attribute), module)
        self._loaded[key] = loaded
        return loaded


class _FromSource(SourceFileLoader):
    """Compiles what is there now: bytecode is told from newer source by its size and whole seconds alone."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError(f"the bytecode of {path} is not asked for")


@contextmanager
def _environment(function: DeployedFunction) -> Iterator[None]:
    """Set the function's variables for the call, and put back what was there."""
    wanted = runtime_environment(function)
    before = {name: os.environ.get(name) for name in wanted}
    for name, value in wanted.items():
        if before[name] != value:
            os.environ[name] = value
    try:
        yield
    finally:
        for name, value_before in before.items():
            if value_before is None:
                os.environ.pop(name, None)
            elif value_before != wanted[name]:
                os.environ[name] = value_before


def runtime_environment(function: DeployedFunction) -> dict[str, str]:
    """The variables a function sees: its own, and those that Lambda adds.

    Examples
    --------
    >>> arn = "arn:aws:lambda:eu-west-1:1:function:f"
    >>> f = DeployedFunction("f", arn, "F", "app.handler", Path("."), (), {"A": "1"}, 3, 128)
    >>> variables = runtime_environment(f)
    >>> variables["A"], variables["AWS_REGION"], variables["AWS_LAMBDA_FUNCTION_NAME"]
    ('1', 'eu-west-1', 'f')
    """
    region = Arn.parse(function.arn).region
    return {
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
        "LAMBDA_TASK_ROOT": str(function.code_dir),
        "_HANDLER": function.handler,
        **function.credentials,
        **function.environment,
    }


def _context(function: DeployedFunction, request_id: str) -> LambdaContext:
    return LambdaContext(
        function_name=function.name,
        function_version=function.version,
        memory_limit_in_mb=str(function.memory_mb),
        invoked_function_arn=function.arn,
        aws_request_id=request_id,
        log_group_name=f"/aws/lambda/{function.name}",
        log_stream_name="local",
        deadline=time.monotonic() + function.timeout_seconds,
    )


def _error_document(error: Exception) -> bytes:
    return json.dumps(
        {
            "errorMessage": str(error),
            "errorType": type(error).__name__,
            "stackTrace": traceback.format_tb(error.__traceback__)[1:],
        }
    ).encode()


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a handler import its neighbours while it is loaded."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _let_go_of(stream: io.TextIOBase) -> None:
    """Point log handlers that kept our stream at the real one."""
    loggers = [logging.getLogger(), *(item for item in logging.Logger.manager.loggerDict.values())]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(sys.stdout)
