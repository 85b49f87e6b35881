"""A loopback port at which a cloud answers AWS's calls: for processes of its own that have no other way to it."""

from __future__ import annotations

import threading
from typing import Any

from local_cloud.kernel.gate import Gate

FAKE_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SESSION_TOKEN": "local",
}


class Loopback:
    """moto over HTTP, opened when somebody asks for its address; ``gate`` says what callers may."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._lock = threading.Lock()
        self._server: Any = None

    @property
    def url(self) -> str:
        """What to set ``AWS_ENDPOINT_URL`` to."""
        with self._lock:
            if self._server is None:
                self._server = _serving(self._gate)
            return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Answer no more; a second call does nothing."""
        with self._lock:
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()
                self._server = None


def _serving(gate: Gate) -> Any:
    """A server that answers, in threads of its own. Imported late: most clouds need none."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_args: Any, **_named: Any) -> None:
            """Nobody reads it."""

    answer: Any = gate.guard(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, name="local-cloud-loopback", daemon=True).start()
    return server
