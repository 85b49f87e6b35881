"""Which local cloud runs in a folder: read without loading any of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

STATE_DIR = Path(".evergreen")
PID_FILE = "local.json"
CONTROL_PREFIX = "/_evergreen/"
HEALTH_PATH = f"{CONTROL_PREFIX}health"
LONGEST_ANSWER_SECONDS = 3_600.0


class ControlError(Exception):
    """The local server could not do what it was asked; the message is its own."""


def ask(
    url: str,
    path: str,
    document: Mapping[str, Any] | None = None,
    *,
    timeout: float = LONGEST_ANSWER_SECONDS,
) -> dict[str, Any]:
    """Ask a local server about itself, or tell it to do something: move its clock, fire a schedule, flush.

    Parameters
    ----------
    url
        The server's.
    path
        Behind :data:`CONTROL_PREFIX`.
    document
        What it is told; without it, it is only asked.
    timeout
        Seconds to wait for an answer: a year that passes takes its time.

    Raises
    ------
    ControlError
        It refuses.
    """
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{urlsplit(url).port}{CONTROL_PREFIX}{path}", body, {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told
    except urllib.error.HTTPError as error:
        raise ControlError(json.loads(error.read())["message"]) from error


def running_server(state_dir: Path = STATE_DIR) -> dict[str, Any] | None:
    """Return the pid, port and url of the server of this directory, when it runs and answers as that process."""
    try:
        told: dict[str, Any] = json.loads((state_dir / PID_FILE).read_text())
        found = ask(f"http://127.0.0.1:{told['port']}", "health", timeout=5)
        return told if found["pid"] == told["pid"] else None
    except (
        FileNotFoundError,
        ValueError,
        KeyError,
        urllib.error.URLError,
        ConnectionError,
        TimeoutError,
        ControlError,
    ):
        return None
