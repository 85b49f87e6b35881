"""What every test stands on: no credentials of anybody's, and no way out of this machine."""

import ipaddress
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What several kinds of tests build their worlds of.
sys.path.insert(0, str(Path(__file__).parent / "worlds"))

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
        help="slow tests/faults: every fault at each call of one story a function, and one fault a call of the others "
        "(reduced), or every fault at each call of all (full, about an hour)",
    )
    parser.addoption(
        "--simulations",
        choices=["reduced", "full"],
        default="reduced",
        help="size of tests/simulation: reduced (about a minute) or full (about twenty minutes)",
    )


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
