"""Which local cloud runs in a folder: read without loading any of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

STATE_DIR = Path(".evergreen")
PID_FILE = "local.json"
HEALTH_PATH = "/_evergreen/health"


def running_server(state_dir: Path = STATE_DIR) -> dict[str, Any] | None:
    """Return the pid, port and url of the server of this directory, when it runs and answers as that process."""
    try:
        told: dict[str, Any] = json.loads((state_dir / PID_FILE).read_text())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{told['port']}{HEALTH_PATH}", timeout=5) as answer:
            return told if json.loads(answer.read())["pid"] == told["pid"] else None
    except (FileNotFoundError, ValueError, KeyError, urllib.error.URLError, ConnectionError, TimeoutError):
        return None
