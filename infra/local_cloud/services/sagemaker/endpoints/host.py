"""The program in an endpoint's container: loads the model by the user's script and answers /ping and /invocations.

It does what AWS's scikit-learn image does around a script: ``model_fn`` once, then ``input_fn``, ``predict_fn`` and
``output_fn`` (or ``transform_fn``) a request, with the image's own defaults for those a script lacks. Run as a file, in
an interpreter that knows nothing of this package; the standard input is the socket to listen on.
"""

import http.server
import importlib.util
import io
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any, SupportsIndex

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
TIME, TIME_VARIABLE = "X-Local-Cloud-Time", "LOCAL_CLOUD_TIME"
PATIENCE_SECONDS = 20.0
_sleep = time.sleep


class UnsupportedFormatError(Exception):
    """A content type that the image's own functions cannot read or write."""


class Sleepers:
    """On a virtual clock the script's own threads sleep by it: before a request is answered, those wake that are due.

    These are the threads that the script has started when it is loaded. Such a request waits until they sleep again
    (or end, or have taken too long for that), so what they do is done, and a run is the same run whenever it is made.

    Parameters
    ----------
    now
        Seconds since 1970.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._due: dict[threading.Thread, float] = {}
        self._busy: set[threading.Thread] = set()
        self._before = set(threading.enumerate())
        self._changed = threading.Condition()
        self._here = threading.local()
        time.sleep = self.sleep

    def loaded(self) -> None:
        """The script is loaded: whatever it has started is watched from now on."""
        with self._changed:
            self._busy |= set(threading.enumerate()) - self._before - self._due.keys()

    def answers_here(self) -> None:
        """The thread that calls this answers a request: it sleeps as ever."""
        self._here.answers = True

    def sleep(self, seconds: float | SupportsIndex, /) -> None:
        """``time.sleep``: of a thread of the script's own by the cloud's clock, of any other as ever."""
        thread = threading.current_thread()
        if thread in self._before or getattr(self._here, "answers", False):
            _sleep(seconds)
            return
        with self._changed:
            due = self._due[thread] = self._now + float(seconds)
            self._busy.discard(thread)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._now >= due)
            del self._due[thread]

    def awaken(self, now: float) -> None:
        """Let time pass, and wait until whoever was due sleeps again."""
        with self._changed:
            if now > self._now:
                self._now = now
                self._busy |= {thread for thread, due in self._due.items() if due <= now}
                self._changed.notify_all()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while any(thread.is_alive() for thread in self._busy) and time.monotonic() < deadline:
                self._changed.wait(0.05)
            self._busy.clear()


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: a status, a body and what it is."""

    status: int
    body: bytes
    content_type: str
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """The user's functions around a loaded model."""

    model: Any
    transform: Callable[[Any, Any, str, str], Any]

    @classmethod
    def load(cls, module: ModuleType, model_dir: str) -> "Script":
        """Load the model, and take the image's functions where the script has none.

        Raises
        ------
        NotImplementedError
            When the script has no ``model_fn``.
        ValueError
            When it has a ``transform_fn`` beside functions that it takes the place of.
        """
        given = {name: getattr(module, name, None) for name in ("input_fn", "predict_fn", "output_fn", "transform_fn")}
        if not callable(getattr(module, "model_fn", None)):
            raise NotImplementedError(f"{module.__name__} has no model_fn: write one that loads the model")
        transform = given.pop("transform_fn")
        if transform and any(given.values()):
            raise ValueError("Cannot use transform_fn implementation with input_fn, predict_fn, and/or output_fn")
        return cls(module.model_fn(model_dir), transform or _in_three_steps(given))

    def answer(self, body: bytes, content_type: str, accept: str) -> Reply:
        """Answer one request; whatever the script raises is a 500, and its words are in the log."""
        content = body.decode(errors="replace") if content_type in (JSON, CSV) else body
        try:
            return reply_of(self.transform(self.model, content, content_type, accept))
        except Exception as error:  # whatever a script throws is its own answer
            traceback.print_exc()
            return Reply(500, f"{type(error).__name__}: {error}".encode(errors="replace"), "text/plain; charset=utf-8")


def _in_three_steps(given: Mapping[str, Any]) -> Callable[[Any, Any, str, str], Any]:
    read, predict, write = (
        given["input_fn"] or default_input_fn,
        given["predict_fn"] or default_predict_fn,
        given["output_fn"] or default_output_fn,
    )

    def transform(model: Any, content: Any, content_type: str, accept: str) -> Any:
        try:
            data = read(content, content_type)
        except UnsupportedFormatError as error:
            return _format_error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, error)
        prediction = predict(data, model)
        try:
            return write(prediction, accept)
        except UnsupportedFormatError as error:
            return _format_error(HTTPStatus.NOT_ACCEPTABLE, error)

    return transform


def reply_of(result: Any) -> Reply:
    """Return what a script's last function returned as a reply: a response object, ``(body, type)``, text or JSON.

    Examples
    --------
    >>> reply_of(("0.5", "text/csv"))
    Reply(status=200, body=b'0.5', content_type='text/csv', attributes='')
    >>> reply_of({"score": 0.5}).body
    b'{"score": 0.5}'
    """
    if isinstance(result, Reply):
        return result
    if callable(getattr(result, "get_data", None)):  # Flask's and werkzeug's responses
        headers = result.headers
        return Reply(
            result.status_code, result.get_data(), headers.get("Content-Type", JSON), headers.get(ATTRIBUTES, "")
        )
    if isinstance(result, tuple):
        return Reply(200, _bytes(result[0]), result[1])
    if isinstance(result, dict | list):
        return Reply(200, json.dumps(result).encode(), JSON)
    return Reply(200, _bytes(result), "text/html; charset=utf-8")


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def _format_error(status: HTTPStatus, error: Exception) -> Reply:
    body = {"error": type(error).__name__, "error-message": str(error), "stack-trace": traceback.format_exc()}
    return Reply(status, json.dumps(body).encode(), JSON)


def default_input_fn(content: Any, content_type: str) -> Any:
    """Read JSON, CSV or NPY as a numpy array."""
    import numpy as np

    match content_type:
        case "application/json":
            return np.array(json.loads(content)).astype(np.float32)
        case "text/csv":
            return np.genfromtxt(io.StringIO(content), dtype=np.float32, delimiter=",")
        case "application/x-npy":
            return np.load(io.BytesIO(content), allow_pickle=False)
    raise UnsupportedFormatError(f"Content type {content_type} is not supported by this framework.")


def default_predict_fn(data: Any, model: Any) -> Any:
    """Call the model's ``predict``."""
    return model.predict(data)


def default_output_fn(prediction: Any, accept: str) -> Reply:
    """Write a numpy array as JSON, CSV or NPY."""
    import numpy as np

    match accept:
        case "application/json":
            return Reply(200, json.dumps(np.asarray(prediction).tolist()).encode(), JSON)
        case "text/csv":
            lines = io.StringIO()
            np.savetxt(lines, np.asarray(prediction), delimiter=",", fmt="%s")
            return Reply(200, lines.getvalue().encode(), CSV)
        case "application/x-npy":
            content = io.BytesIO()
            np.save(content, np.asarray(prediction), allow_pickle=False)
            return Reply(200, content.getvalue(), NPY)
    raise UnsupportedFormatError(f"Content type {accept} is not supported by this framework.")


def handler_of(
    script: Script, default_accept: str, sleepers: Sleepers | None = None
) -> type[http.server.BaseHTTPRequestHandler]:
    """Return the request handler around a script."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept
        wbufsize = -1  # one write an answer
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._let_time_pass()
            known = self.path == "/ping"
            self._send(Reply(200 if known else 404, b"", JSON))

        def do_POST(self) -> None:
            self._let_time_pass()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path != "/invocations":
                self._send(Reply(404, b"", JSON))
                return
            accept = self.headers.get("Accept") or "*/*"
            wanted = default_accept if accept == "*/*" else accept
            self._send(script.answer(body, self.headers.get("Content-Type") or JSON, wanted))

        def _let_time_pass(self) -> None:
            if sleepers is not None:
                sleepers.answers_here()
                if self.headers.get(TIME):
                    sleepers.awaken(float(self.headers[TIME]))

        def _send(self, reply: Reply) -> None:
            with suppress(ConnectionError):  # whoever asked has stopped waiting
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                if reply.attributes:
                    self.send_header(ATTRIBUTES, reply.attributes)
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
            return None

    return Handler


def import_script(directory: Path, program: str) -> ModuleType:
    """Import the user's script; its neighbours can be imported too (``PYTHONPATH`` names its directory)."""
    path = directory / program
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no {program} in the source archive: set SAGEMAKER_PROGRAM to its script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _end_with(parent: int) -> None:
    """End when the process that started this one has gone: nothing is left behind by a cloud that was killed."""
    while os.getppid() == parent:
        _sleep(1.0)
    os._exit(0)


def _be_the_one_to_go(niceness: int) -> None:
    """Give way to the cloud's own processes: in CPU time, and when memory runs out."""
    os.nice(niceness)
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(directory: Path, niceness: int) -> None:
    """Serve the script in ``directory`` on the socket that is the standard input."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    listening = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    _be_the_one_to_go(niceness)
    sleepers = Sleepers(float(os.environ[TIME_VARIABLE])) if os.environ.get(TIME_VARIABLE) else None
    script = Script.load(import_script(directory, os.environ["SAGEMAKER_PROGRAM"]), os.environ["SM_MODEL_DIR"])
    if sleepers is not None:
        sleepers.loaded()
    accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
    server = http.server.ThreadingHTTPServer(
        listening.getsockname(), handler_of(script, accept, sleepers), bind_and_activate=False
    )
    server.socket.close()
    server.socket = listening
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
