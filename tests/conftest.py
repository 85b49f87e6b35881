"""What every test stands on: no credentials of anybody's, and no way out of this machine."""

import ipaddress
import itertools
import json
import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What several kinds of tests build their worlds of.
sys.path.insert(0, str(Path(__file__).parent / "worlds"))

# A module is compiled once, not in each process that a test starts, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples on every machine, however slow.
settings.register_profile(
    "evergreen", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evergreen")

_FAKE_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def pytest_addoption(parser):
    parser.addoption("--faults-report", help="write what tests/faults failed, and how it ended, to this file as JSON")
    parser.addoption(
        "--faults",
        choices=["reduced", "full"],
        default="reduced",
        help="slow tests/faults: the kinds of damage at each call of one story a function, and one fault a call of the "
        "others (reduced), or every fault at each call of all (full)",
    )
    parser.addoption(
        "--simulations",
        choices=["reduced", "full"],
        default="reduced",
        help="size of tests/simulation and of the slow tests/state_machines: reduced (some minutes), or full",
    )


@pytest.fixture
def repetitions(request):
    """``repetitions(reduced, full)``: how many of each the session asked for."""
    full = request.config.getoption("--simulations") == "full"
    return lambda reduced, of_full: of_full if full else reduced


# --- tests side by side -----------------------------------------------------------------------------------------------

_MEMORY_A_WORKER = 1.5 * 2**30
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container's, if it has one


def pytest_xdist_auto_num_workers(config):
    """As many workers as there are cores, and memory for; none for a single file, which one process runs."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    if len(config.args) == 1 and ".py" in config.args[0]:
        return 0
    return max(1, min(os.cpu_count() or 1, int(_memory() / _MEMORY_A_WORKER)))


def _memory():
    of_the_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _MEMORY_LIMIT.read_text().strip() if _MEMORY_LIMIT.exists() else "max"
    return of_the_machine if limit == "max" else min(of_the_machine, int(limit))


# --- what tests found, told at the end --------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter):
    """Print the tables of tests/faults and tests/simulation: a test's report brings its lines from whatever process."""
    found = {"faults": [], "simulations": []}
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", None) == "teardown":
            for name, value in report.user_properties:
                if name in found:
                    found[name] += value
    for name, told in found.items():
        if told:
            terminalreporter.section(name)
            terminalreporter.write("\n".join(_table(name, told, terminalreporter.config)) + "\n")


def _table(name, told, config):
    if name == "simulations":
        from goals import Board, Line

        return Board([Line(*line) for line in told]).table()
    from fault_report import Case, FaultReport

    report = FaultReport([Case(*case) for case in told])
    if path := config.getoption("--faults-report"):
        Path(path).write_text(json.dumps(report.to_json(), indent=1) + "\n")
    return report.lines()


# --- no way out -------------------------------------------------------------------------------------------------------


class OutsideWorldError(Exception):
    """A test wanted to talk to another machine."""


@pytest.fixture(autouse=True)
def _nobodys_credentials(monkeypatch):
    for name, value in _FAKE_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch):
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(method):
        def call(self, address):
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                raise OutsideWorldError(f"a test wants to connect to {address}: tests talk to loopback only")
            return method(self, address)

        return call

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))


def _is_loopback(host):
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False
