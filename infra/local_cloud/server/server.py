"""The local cloud as a server on localhost, for any boto3 client, the AWS CLI and ``sam deploy``.

Requests are moto's own server application over the same backends that the cloud's agenda works on; one thread moves
the agenda with the real clock. It listens on loopback only. Everything is in memory; with a data folder it comes back.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from moto.cloudformation.parsing import OutputMap
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.answers import Answer, aws_error
from local_cloud.kernel.core import Options
from local_cloud.kernel.errors import LocalCloudError, UnknownFunctionError
from local_cloud.kernel.gate import Application
from local_cloud.kernel.notices import Kind, Listener
from local_cloud.kernel.patching import Patch, Patches
from local_cloud.kernel.place import DEFAULT_REGION
from local_cloud.server.calls import asked, ending
from local_cloud.server.data_folder import DataFolder, DataFolderError, Saved
from local_cloud.server.doors import Doors
from local_cloud.server.running import CONTROL_PREFIX, PID_FILE, STATE_DIR, running_server
from local_cloud.server.saved import load, save
from local_cloud.services.cloudformation.change_sets import patched_delete_stack
from local_cloud.services.cloudformation.template import read_template
from local_cloud.services.lambda_.invokers import Invoker
from local_cloud.services.lambda_.runtime_api import AwslambdaricInvoker
from local_cloud.services.mlflow.server import LocalS3, MlflowServer, is_free

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


LOG = logging.getLogger("local_cloud.server")
DEFAULT_PORT = 4566
API_PREFIX = "/_api/"
MOTO_PREFIX = "/moto-api/"
"""What moto's server does about itself (a reset, a recorder) would leave half of this cloud as it was."""
TRACKING_PARAMETER = "MlflowTrackingUri"
TRACKING_BUCKET = "evergreen-mlflow"
LONGEST_PAUSE_SECONDS = 0.5
SAVE_EVERY_SECONDS = 10.0
QUIET_WITHIN_SECONDS = 30.0
"""How long a last state waits for requests and functions that run to end."""
MLFLOW_PORT, REGION = "mlflow_port", "region"
EXAMPLE_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
_EXECUTE_API = re.compile(r"https://(?P<api>[a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


OnProgress = Callable[[str, int, int], object]
"""Takes what a starting server does, and how many of how many are done; no number at all where nothing is counted."""


class ServerError(LocalCloudError):
    """The local server cannot be started or stopped."""


class LocalServer:
    """A local cloud that listens on ``http://localhost:PORT`` and lives in real time.

    Parameters
    ----------
    template
        A stack to deploy before the first request is served; None starts empty, for ``sam deploy``.
    port
        The loopback port; 0 takes a free one.
    stack_name, parameters
        What the stack is called and is given. A template that takes ``MlflowTrackingUri`` and is not given it gets an
        MLflow server of its own, with artifacts in the local S3; it ends with this one.
    invoker
        Makes the invoker of functions from the endpoint's URL; by default each function runs in processes of its own.
    work_dir
        Where unpacked code goes; by default a temporary directory.
    region
        The region of AWS that it is; by default the one that the data folder was kept in, or N. Virginia's.
    on_progress
        Told how far the start is.
    data
        A folder to keep the state in, and to come back from: then the template is not deployed again, and the clock
        goes on from where it stood. By default everything is gone with the server.

    Examples
    --------
    >>> with LocalServer(port=0) as server:
    ...     server.url.startswith("http://localhost:")
    True
    """

    def __init__(
        self,
        template: Path | None = None,
        *,
        port: int = DEFAULT_PORT,
        stack_name: str = "evergreen",
        parameters: Mapping[str, str] | None = None,
        invoker: Callable[[str], Invoker] = AwslambdaricInvoker,
        work_dir: Path | None = None,
        region: str | None = None,
        on_progress: OnProgress = lambda *_: None,
        data: Path | None = None,
    ) -> None:
        self._data_path = data
        self._folder: DataFolder | None = None
        self._saved_as_of: tuple[int, ...] = ()
        self._saving = threading.Lock()
        self.came_back = ""
        self.doors = Doors()
        self._template = template
        self._port = port
        self._stack_name = stack_name
        self._parameters = dict(parameters or {})
        self._make_invoker = invoker
        self._work_dir = work_dir
        self._region = region
        self._on_progress = on_progress
        self._cloud: LocalCloud | None = None
        self._http: BaseWSGIServer | None = None
        self._mlflow: MlflowServer | None = None
        self._threads: list[threading.Thread] = []
        self._patches = Patches()
        self._stopping = threading.Event()

    @property
    def data(self) -> Path | None:
        """The folder that the state is kept in, if any."""
        return self._data_path

    @property
    def url(self) -> str:
        """What to set ``AWS_ENDPOINT_URL`` to."""
        return f"http://localhost:{self._port}"

    @property
    def cloud(self) -> LocalCloud:
        """The cloud behind the server."""
        if self._cloud is None:
            raise ServerError("The local server is not running; start it first.")
        return self._cloud

    def start(self) -> Self:
        """Deploy the stack, then serve.

        Raises
        ------
        ServerError
            When the port is taken.
        DataFolderError
            When the data folder is in use, or its state is not to be read.
        """
        if self._data_path is not None:
            self._folder = DataFolder(self._data_path)
        try:
            return self._start(None if self._folder is None else self._folder.read())
        except BaseException:
            if self._threads:
                self._stopping.set()
                self._close()
            self._leave_folder()
            raise

    def _start(self, saved: Saved | None) -> Self:
        try:
            self._http = make_server(
                "127.0.0.1", self._port, self._application, threaded=True, request_handler=_QuietRequestHandler
            )
        except (OSError, SystemExit) as error:  # werkzeug exits the process when a port is taken
            raise ServerError(f"Port {self._port} is taken; choose another with --port.") from error
        self._port = self._http.server_port
        self._gateway = Gateway(self)
        invoker = self._make_invoker(self.url)
        self._patches.apply(PATCHES, self)
        try:
            options = Options(real_time=True, keep_logs=True, address=f"http://127.0.0.1:{self._port}")
            self._cloud = LocalCloud(datetime.now(UTC), invoker, self._work_dir, options, self._region_of(saved))
            if saved is not None:
                self._come_back(self._cloud, saved)
            elif self._template is not None:
                self._deploy(self._cloud, self._template)
        except BaseException:
            self._end_mlflow()
            if self._cloud is not None:
                self._cloud.close()
            invoker.close()
            self._http.server_close()
            self._patches.undo()
            raise
        self._run("http", self._http.serve_forever)
        if saved is not None:
            self._on_progress("starting what ran", 0, 0)
            for part in self._cloud.parts:
                part.service.resume()
        self._run("clock", self._keep_time)
        if self._folder is not None:
            self.save()
            self._run("saving", self._keep_state)
        return self

    def _run(self, name: str, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work, name=f"local-cloud-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _deploy(self, cloud: LocalCloud, template: Path) -> None:
        parameters = self._with_mlflow(cloud, template)
        deploying = f"deploying {template.name}"
        self._on_progress(deploying, 0, 0)
        listeners = cloud.resource_types.listeners
        listeners.append(lambda _, number, of: self._on_progress(deploying, number, of))
        try:
            cloud.deploy_stack(template, stack_name=self._stack_name, parameters=parameters)
        finally:
            listeners.clear()

    # -- its state ---------------------------------------------------------------------------------------------------

    def save(self, within: float = QUIET_WITHIN_SECONDS) -> bool:
        """Keep the state in the data folder, at a moment in which no request and no function is under way.

        Parameters
        ----------
        within
            Seconds to wait for such a moment.

        Returns
        -------
        bool
            False where there was none.
        """
        if self._folder is None:
            return False
        deadline = time.monotonic() + within
        with self._saving:
            while (state := self._state()) is None:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            facts = {REGION: self.cloud.place.region}
            mlflow = {} if self._mlflow is None else {MLFLOW_PORT: self._mlflow.port}
            self._folder.write(Saved(state, facts | mlflow))
        return True

    def _state(self) -> bytes | None:
        """Return the state; None where something is under way."""
        if not self.cloud.core.lock.acquire(blocking=False):
            return None
        try:
            with self.doors.shut() as shut:
                if not shut:
                    return None
                self._saved_as_of = self._moves()
                return save(self.cloud)
        except RuntimeError:  # a dictionary changed: a thread of an endpoint or a job is under way
            return None
        finally:
            self.cloud.core.lock.release()

    def _moves(self) -> tuple[int, ...]:
        """What is another one as soon as anything has happened."""
        agenda = self.cloud.agenda
        return self.doors.entered, agenda._sequence, len(agenda)

    def _keep_state(self) -> None:
        while not self._stopping.wait(SAVE_EVERY_SECONDS):
            if self._moves() != self._saved_as_of:
                try:
                    self.save(within=SAVE_EVERY_SECONDS)
                except (LocalCloudError, OSError):  # the next one may go better; the last one is told of
                    traceback.print_exc(file=sys.stderr)

    def _region_of(self, saved: Saved | None) -> str:
        kept = None if saved is None else str(saved.facts[REGION])
        if kept is not None and self._region not in (None, kept):
            raise DataFolderError(
                f"{self._data_path} was kept in {kept}, not in {self._region}: leave --region out, or give --data "
                "another folder."
            )
        return kept or self._region or DEFAULT_REGION

    def _come_back(self, cloud: LocalCloud, saved: Saved) -> None:
        self._on_progress("reading the state", 0, 0)
        if MLFLOW_PORT in saved.facts:
            self._start_mlflow(cloud, int(saved.facts[MLFLOW_PORT]))
        load(cloud, saved.state)
        stacks = [stack["StackName"] for stack in cloud.client("cloudformation").describe_stacks()["Stacks"]]
        self.came_back = f"the stack{'s'[: len(stacks) > 1]} {', '.join(stacks)}" if stacks else "no stack"

    def _leave_folder(self) -> None:
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def close(self) -> None:
        """Keep the state where there is a data folder, stop serving and end every process of the cloud.

        A second call does nothing.
        """
        self._stopping.set()
        try:
            if self._cloud is not None and self._folder is not None and not self.save():
                LOG.warning("The last state could not be kept: something was under way. The one before is there.")
        finally:
            self._close()
            self._leave_folder()

    def _close(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        self._end_mlflow()
        if self._cloud is not None:
            self._cloud.agenda.wake.set()
            for thread in self._threads:
                thread.join(timeout=10)
            self._cloud.close()
            self._patches.undo()
            self._cloud = None

    @property
    def mlflow_url(self) -> str | None:
        """The address of the stack's own MLflow server, if it has one."""
        return None if self._mlflow is None else self._mlflow.url

    def _with_mlflow(self, cloud: LocalCloud, template: Path) -> dict[str, str]:
        if TRACKING_PARAMETER in self._parameters or not takes_mlflow(template):
            return self._parameters
        region = cloud.place.region
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != DEFAULT_REGION else {}
        cloud.client("s3").create_bucket(Bucket=TRACKING_BUCKET, **elsewhere)
        return {**self._parameters, TRACKING_PARAMETER: self._start_mlflow(cloud).url}

    def _start_mlflow(self, cloud: LocalCloud, port: int = 0) -> MlflowServer:
        self._on_progress("starting MLflow", 0, 0)
        if port and not is_free(port):
            raise ServerError(f"Port {port} is taken: the MLflow server of this data folder has to come back there.")
        place = LocalS3(f"s3://{TRACKING_BUCKET}", f"http://127.0.0.1:{self._port}", cloud.place.region)
        folder = (self._data_path or cloud.work_dir) / "mlflow"
        self._mlflow = MlflowServer(folder, port, artifacts=place).start()
        return self._mlflow

    def _end_mlflow(self) -> None:
        if self._mlflow is not None:
            self._mlflow.close()
            self._mlflow = None

    def api_url(self) -> str | None:
        """The address of the deployed HTTP API, if the stack has one."""
        api_id = next(iter(self.cloud.http_apis.apis), None)
        return None if api_id is None else f"{self.url}{API_PREFIX}{api_id}"

    # -- its clock ---------------------------------------------------------------------------------------------------

    def clock(self) -> dict[str, Any]:
        """Return the time, how far it is ahead of the machine's, and when each schedule fires next."""
        now = self.cloud.clock.now
        times = self.cloud.timetable.times()
        return {
            "now": now.isoformat(),
            "ahead_seconds": round((now - datetime.now(UTC)).total_seconds(), 3),
            "schedules": {name: None if when is None else when.isoformat() for name, when in times.items()},
        }

    def advance(self, by: timedelta) -> dict[str, Any]:
        """Let time pass at once: all that is due meanwhile happens, in order, each at its time.

        Raises
        ------
        LocalCloudError
            When time would go backwards.
        """
        if by < timedelta(0):
            raise ServerError(f"Time can't go back by {-by}; `evergreen local up` starts anew.")
        before = sum(self.cloud.invocation_counts.values())
        self.cloud.advance(self.cloud.clock.now + by)
        self._settle()
        return {**self.clock(), "invocations": sum(self.cloud.invocation_counts.values()) - before}

    def fire(self, name: str) -> dict[str, Any]:
        """Fire a schedule now, beside its own times.

        Raises
        ------
        UnknownScheduleError
            When there is no such schedule, or more than one.
        """
        with self.cloud.core.lock:
            fired = self.cloud.timetable.fire(name)
        self._settle()
        return {"fired": fired, **self.clock()}

    def _settle(self) -> None:
        """Run what is due: on a clock that goes on, what follows from an action is due a moment later."""
        cloud = self.cloud
        while (due := cloud.agenda.next_time()) is not None and due <= cloud.clock.now:
            cloud.advance(cloud.clock.now)

    def flush(self) -> dict[str, Any]:
        """Write buffers out and close batching windows at once."""
        self.cloud.drain()
        self._settle()
        return self.clock()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _application(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._gateway(environ, start_response)

    def _keep_time(self) -> None:
        """Run what is due, as it becomes due."""
        cloud = self.cloud
        while not self._stopping.is_set():
            cloud.agenda.wake.clear()
            try:
                cloud.advance(cloud.clock.now)
            except Exception:  # a broken entry of the agenda must not stop the clock of a running server
                if not self._stopping.is_set():  # what a closing server cuts off is nobody's error
                    traceback.print_exc(file=sys.stderr)
            due = cloud.agenda.next_time()
            pause = LONGEST_PAUSE_SECONDS if due is None else (due - cloud.clock.now).total_seconds()
            cloud.agenda.wake.wait(min(max(pause, 0.0), LONGEST_PAUSE_SECONDS))


class Gateway:
    """The WSGI application: the HTTP APIs of deployed stacks, a health check, and moto for everything else.

    Parameters
    ----------
    server
        Whose cloud answers.
    """

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._answer: Application = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        with self._server.doors.inside():
            answer = self._answered(environ)
        start_response(answer.status_line, list(answer.headers.items()))
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [answer.body]

    def _answered(self, environ: WSGIEnvironment) -> Answer:
        path = environ.get("PATH_INFO", "")
        if path.startswith(CONTROL_PREFIX):
            return self._control(path.removeprefix(CONTROL_PREFIX), environ)
        if path.startswith(MOTO_PREFIX):
            return _told({"message": "Nothing is reset here: start the local cloud anew, in another data folder."}, 501)
        if path.startswith(API_PREFIX):
            return self._http_api(environ)
        return self._called(environ)

    def _control(self, path: str, environ: WSGIEnvironment) -> Answer:
        """Answer what is asked of the server itself."""
        method = environ["REQUEST_METHOD"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            match method, path:
                case "GET", "health":
                    return _told({"pid": os.getpid(), "region": self._server.cloud.place.region})
                case "GET", "clock":
                    return _told(self._server.clock())
                case "POST", "clock/advance":
                    return _told(self._server.advance(timedelta(seconds=float(json.loads(body)["seconds"]))))
                case "POST", "schedules/fire":
                    return _told(self._server.fire(str(json.loads(body)["name"])))
                case "POST", "flush":
                    return _told(self._server.flush())
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            return _told({"message": f"{path} can't be told this: {type(error).__name__}: {error}"}, 400)
        except LocalCloudError as error:
            return _told({"message": str(error)}, 400)
        return _told({"message": f"there is no {method} {CONTROL_PREFIX}{path}"}, 404)

    def _http_api(self, environ: WSGIEnvironment) -> Answer:
        api_id, _, path = str(environ["PATH_INFO"]).removeprefix(API_PREFIX).partition("/")
        query = environ.get("QUERY_STRING", "")
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_") or name == "CONTENT_TYPE"
        }
        size = int(environ.get("CONTENT_LENGTH") or 0)
        told = self._server.cloud.http_apis.answer(
            environ["REQUEST_METHOD"],
            f"/{quote(path)}" + (f"?{query}" if query else ""),
            body=environ["wsgi.input"].read(size),
            headers=headers,
            api_id=api_id,
            source_ip=environ.get("REMOTE_ADDR", "127.0.0.1"),
        )
        kept = {name: value for name, value in told.headers.items() if name.lower() != "content-length"}
        return Answer(told.status, {**kept, "content-length": str(len(told.body))}, told.body)

    def _called(self, environ: WSGIEnvironment) -> Answer:
        """Answer a call of AWS's API, and tell of it where somebody looks on."""
        cloud = self._server.cloud
        if not cloud.core.listeners:
            return self._aws(environ)
        who, what, call = asked(environ, cloud.core.keyring.holder)
        answer = self._aws(environ)
        cloud.core.tell(Kind.CALL, who, what, ending(call, answer))
        return answer

    def _aws(self, environ: WSGIEnvironment) -> Answer:
        """Ask moto; what it cannot do or has no page for becomes an error in AWS's shape, never HTML."""
        caught: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., object]:
            caught.append((status, headers))
            return lambda _: None

        try:
            chunks = self._server.cloud.core.gate.guard(self._answer)(environ, start_response)
            body = b"".join(chunks)
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        except Exception as error:  # moto raises whatever it did not foresee; the client is to see an AWS error
            return error_answer(environ, error)
        status_line, headers = caught[-1]
        status = int(status_line.split()[0])
        if status >= HTTPStatus.BAD_REQUEST and body[:15].lower().startswith((b"<!doctype html", b"<html")):
            return aws_error(environ, status, "UnknownOperationException", "The local cloud has no such operation.")
        return Answer(status, _joined(headers), body)


def _told(document: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())


def error_answer(environ: Mapping[str, Any], error: Exception) -> Answer:
    """Return what a client is told of an exception that moto let through."""
    match error:
        case UnknownFunctionError():
            return aws_error(environ, 404, "ResourceNotFoundException", str(error))
        case LocalCloudError():
            return aws_error(environ, 400, "ValidationError", str(error))
        case NotImplementedError():
            return aws_error(environ, 501, "NotImplemented", f"The local cloud does not implement this: {error}.")
        case _:
            traceback.print_exception(error, file=sys.stderr)
            message = f"The local cloud failed: {type(error).__name__}: {error}."
            return aws_error(environ, 500, "InternalFailure", message)


def local_address(text: str, url: str) -> str:
    """Return a text with the addresses of HTTP APIs replaced by those at which the local server answers.

    Examples
    --------
    >>> local_address("https://a1b2.execute-api.us-east-1.amazonaws.com/predict", "http://localhost:4566")
    'http://localhost:4566/_api/a1b2/predict'
    """
    return _EXECUTE_API.sub(lambda match: f"{url}{API_PREFIX}{match['api']}", text)


def takes_mlflow(template: Path) -> bool:
    """Whether a template can be told where an MLflow server is.

    Raises
    ------
    TemplateError
        It is no template.
    """
    return TRACKING_PARAMETER in (read_template(template).get("Parameters") or {})


def up(
    template: Path | None,
    *,
    port: int = DEFAULT_PORT,
    stack_name: str = "evergreen",
    parameters: Mapping[str, str] | None = None,
    region: str | None = None,
    state_dir: Path = STATE_DIR,
    say: Callable[[str], object] = print,
    on_progress: OnProgress = lambda *_: None,
    on_notice: Listener | None = None,
    data: Path | None = None,
) -> None:
    """Serve in the foreground until interrupted or until `down`.

    Parameters
    ----------
    template
        The stack to deploy, or None to start empty.
    port, stack_name, parameters, region
        See `LocalServer`.
    state_dir
        Where the pid file is kept.
    say
        Called with each line that tells the user where things are.
    on_progress
        Told how far the start is.
    on_notice
        Told of each call, schedule, alarm and job, once all is there.
    data
        See `LocalServer`.

    Raises
    ------
    ServerError
        When a server of this directory already runs, or the port is taken.
    """
    if (running := running_server(state_dir)) is not None:
        raise ServerError(
            f"A local cloud already runs at http://localhost:{running['port']}; stop it with `evergreen local down`."
        )
    stop = threading.Event()

    def interrupted(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    pid_file = state_dir / PID_FILE
    try:
        with LocalServer(
            template,
            port=port,
            stack_name=stack_name,
            parameters=parameters,
            region=region,
            on_progress=on_progress,
            data=data,
        ) as server:
            state_dir.mkdir(parents=True, exist_ok=True)
            told = {"pid": os.getpid(), "port": server._port, "url": server.url, "mlflow": server.mlflow_url}
            pid_file.write_text(json.dumps(told))
            for line in introduction(server):
                say(line)
            if on_notice is not None:
                server.cloud.core.listeners.append(on_notice)
            while not stop.wait(1.0):  # a plain wait() would not let signal handlers run
                continue
    finally:
        pid_file.unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def down(state_dir: Path = STATE_DIR, *, timeout: float = 2 * QUIET_WITHIN_SECONDS) -> bool:
    """Stop the server that `up` started from this directory, and wait until it is gone.

    Parameters
    ----------
    state_dir
        Where the pid file is kept.
    timeout
        Seconds to wait.

    Returns
    -------
    bool
        False when none was running.

    Raises
    ------
    ServerError
        When it does not end in time.
    """
    running = running_server(state_dir)
    if running is None:
        (state_dir / PID_FILE).unlink(missing_ok=True)
        return False
    os.kill(running["pid"], signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if running_server(state_dir) is None:
            return True
        time.sleep(0.1)
    raise ServerError(f"The local cloud (process {running['pid']}) did not end within {timeout:g} s; end it by hand.")


def introduction(server: LocalServer) -> list[str]:
    """Return the lines that `up` prints: where the cloud is, what to set, and the API."""
    kept = "in memory" if server.data is None else f"kept in {server.data}"
    lines = [f"The local cloud answers at {server.url} ({kept}, on this machine only).", "", "Set in another shell:"]
    region = server.cloud.place.region
    exports = {"AWS_ENDPOINT_URL": server.url, **EXAMPLE_CREDENTIALS, "AWS_DEFAULT_REGION": region}
    lines += [f"  export {name}={value}" for name, value in exports.items()]
    if server.came_back:
        lines += ["", f"It came back with {server.came_back}; no template was deployed again."]
    if (api := server.api_url()) is not None:
        lines += ["", f"The HTTP API is at {api}"]
    if server.mlflow_url is not None:
        lines += ["", f"MLflow is at {server.mlflow_url} (`evergreen mlflow ui` opens it)"]
    lines += ["", "Stop it with Ctrl-C or `evergreen local down`."]
    return lines


def patched_output(server: LocalServer, original: Callable[..., Any]) -> Callable[..., Any]:
    """``OutputMap.__getitem__``: a stack's outputs name addresses that answer."""

    def get_output(self: OutputMap, key: str) -> Any:
        output = original(self, key)
        if output is not None and isinstance(output.value, str):
            output.value = local_address(output.value, server.url)
        return output

    return get_output


PATCHES = (
    Patch("moto.cloudformation.models:CloudFormationBackend.delete_stack", patched_delete_stack),
    Patch("moto.cloudformation.parsing:OutputMap.__getitem__", patched_output),
)
"""What only a server needs."""


class _QuietRequestHandler(MotoRequestHandler):
    """moto's request handler, without a line for each request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        return None


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
