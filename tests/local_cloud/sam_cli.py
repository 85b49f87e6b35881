"""The real SAM CLI, against the local cloud and nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}


def run_sam(url: str, project: Path, home: Path, *arguments: str) -> str:
    """Run the real SAM CLI, with nothing to phone home to."""
    settings = home / "sam"
    settings.mkdir(exist_ok=True)
    known = {"installationId": "0" * 8, "telemetryEnabled": False, "lastVersionCheck": time.time()}
    (settings / "metadata.json").write_text(json.dumps(known))
    environment = {
        **CREDENTIALS,
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AWS_ENDPOINT_URL": url,
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(settings),
        "SAM_CLI_POLL_DELAY": "0.5",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "localhost,127.0.0.1",
    }
    sam = Path(sys.executable).parent / "sam"
    done = subprocess.run(
        [str(sam), *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
