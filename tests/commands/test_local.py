"""`evergreen local`: parameters of the template, and a clock that is moved from another shell."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from local_stacks import MEMORY, REMEMBER, remembered, write_function, write_template

from evergreen_ops import cli
from evergreen_ops.console import current_time, work
from evergreen_ops.stack import Stack
from local_cloud.server import server as local_server
from local_cloud.server.running import PID_FILE, STATE_DIR, ControlError, ask
from local_cloud.server.server import LocalServer
from local_cloud.services.lambda_.invokers import InProcessInvoker

DAILY = """
    Events:
      Daily:
        Type: ScheduleV2
        Properties: {ScheduleExpression: rate(1 day), Input: '{"time": "<aws.scheduler.scheduled-time>"}'}
      Weekly:
        Type: Schedule
        Properties: {Schedule: rate(7 days), Input: '{"time": "weekly"}'}
"""


def evergreen(monkeypatch, capsys, *arguments):
    """Run a command; return its exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["evergreen", "local", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A local cloud that runs in this folder, with a function that remembers what its two schedules say."""
    write_function(tmp_path, "remember", REMEMBER)
    template = write_template(tmp_path, MEMORY + DAILY)
    monkeypatch.chdir(tmp_path)
    with LocalServer(template, port=0, stack_name="clock", invoker=lambda _: InProcessInvoker()) as server:
        STATE_DIR.mkdir()
        port = int(server.url.rpartition(":")[2])
        (STATE_DIR / PID_FILE).write_text(json.dumps({"pid": os.getpid(), "port": port, "url": server.url}))
        yield server


def test_a_week_passes_at_once_and_its_events_happen_in_order(served, monkeypatch, capsys):
    began = served.cloud.clock.now
    code, told, _ = evergreen(monkeypatch, capsys, "clock", "advance", "7d", "--json")
    assert code == 0
    times = [event["time"] for event in remembered(served.cloud)]
    days = [datetime.fromisoformat(time) for time in times if time != "weekly"]
    assert [round((day - began) / timedelta(days=1)) for day in days] == list(range(1, 8))
    assert times.count("weekly") == 1
    assert times.index("weekly") >= 6
    told = json.loads(told)
    assert told["invocations"] == len(times)
    assert told["ahead_seconds"] == pytest.approx(7 * 86_400, abs=60)
    assert datetime.fromisoformat(told["now"]) - datetime.now(UTC) > timedelta(days=6, hours=23)


def test_a_schedule_is_fired_by_a_part_of_its_name(served):
    before = served.clock()["schedules"]
    assert "Daily" in ask(served.url, "schedules/fire", {"name": "daily"})["fired"]
    assert len(remembered(served.cloud)) == 1
    assert served.clock()["schedules"] == before, "its own times stay"


def test_a_name_that_none_or_two_have_is_told_with_those_that_there_are(served, monkeypatch, capsys):
    for name, problem in (("hourly", "No schedule has 'hourly' in its name"), ("ly", "Several schedules have 'ly'")):
        code, _, told = evergreen(monkeypatch, capsys, "clock", "fire", name)
        assert code == 1
        assert problem in told
        assert "Daily" in told
        assert "Weekly" in told
    assert remembered(served.cloud) == []


def test_the_clock_is_shown_with_what_fires_next(served, monkeypatch, capsys):
    ask(served.url, "clock/advance", {"seconds": 3_600})
    _, told, _ = evergreen(monkeypatch, capsys, "clock", "show")
    first, *schedules = told.splitlines()
    assert "ahead of this machine" in first
    assert "Daily" in schedules[0], "what fires next comes first"
    assert "Weekly" in schedules[1]


def test_what_a_buffer_holds_is_written_by_a_flush(served, monkeypatch, capsys):
    assert evergreen(monkeypatch, capsys, "clock", "flush")[:2] == (0, "flushed\n")


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("clock/advance", {"seconds": -1}),
        ("clock/advance", {"seconds": "soon"}),
        ("clock/advance", {"seconds": 1e300}),
        ("clock/advance", {}),
        ("clock/advance", []),
        ("schedules/fire", {}),
        ("nowhere", {}),
    ],
)
def test_what_a_clock_can_not_be_told_is_refused_and_moves_nothing(served, path, document):
    with pytest.raises(ControlError):
        ask(served.url, path, document)
    assert served.clock()["ahead_seconds"] == pytest.approx(0, abs=5)


def test_commands_go_by_the_clock_of_the_cloud_that_they_work_on(monkeypatch):
    from contextlib import contextmanager

    @contextmanager
    def connected(name, *, local):
        yield Stack("the local cloud", None, "ada", ahead=timedelta(days=7))

    monkeypatch.setattr("evergreen_ops.stack.connected", connected)
    with work(None, local=True):
        assert current_time() - datetime.now(UTC) > timedelta(days=6, hours=23)
    assert current_time() - datetime.now(UTC) < timedelta(seconds=1)


def test_without_a_local_cloud_the_clock_says_how_to_start_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, told = evergreen(monkeypatch, capsys, "clock", "show")
    assert code == 1
    assert "start one with `evergreen local up`" in told


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_a_line_tells_of_each_thing_that_happens_unless_it_is_to_be_quiet(quiet, tmp_path):
    write_function(tmp_path, "remember", REMEMBER)
    template = write_template(tmp_path, MEMORY + DAILY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "evergreen_ops", "local", "up", "--template", str(template)]
    running = subprocess.Popen(
        [*command, "--port", str(port), *quiet],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = f"http://localhost:{port}"
        introduction = "".join(iter(running.stdout.readline, "Stop it with Ctrl-C or `evergreen local down`.\n"))
        schedule = ask(url, "schedules/fire", {"name": "daily"})["fired"]
        ask(url, "clock/advance", {"seconds": 60})
        running.send_signal(signal.SIGTERM)
        told, progress = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0
    assert progress.splitlines()[0] == "deploying template.yaml"
    assert f"export AWS_ENDPOINT_URL={url}" in introduction
    lines = [line.split()[2:] for line in told.splitlines()]
    if quiet:
        assert lines == []
    else:
        assert ["schedule", schedule, "fired"] in lines
        assert {"call", "run"} <= {kind for kind, *_ in lines}


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("LogRetentionDays", "--parameter is 'LogRetentionDays': give KEY=VALUE"),
        ("LogRetention=3", "--parameter LogRetention: the template has no such parameter; there are "),
    ],
)
def test_a_parameter_that_can_not_be_given_is_told_before_anything_starts(given, told, monkeypatch, capsys):
    code, _, error = evergreen(monkeypatch, capsys, "up", "--parameter", given)
    assert code == 2
    assert told in error


def test_parameters_reach_the_stack(monkeypatch, capsys):
    started = []
    monkeypatch.setattr(local_server, "up", lambda *args, **named: started.append(named))
    evergreen(
        monkeypatch, capsys, "up", "--no-mlflow", "--parameter", "LogRetentionDays=3", "--parameter", "JwtIssuer=a=b"
    )
    assert started[0]["parameters"] == {"MlflowTrackingUri": "", "LogRetentionDays": "3", "JwtIssuer": "a=b"}
