"""The simulations' size, and the table of what they measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from goals import Board

BOARD = pytest.StashKey[Board]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BOARD] = Board()


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Board:
    return request.config.stash[BOARD]


@pytest.fixture
def repetitions(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """``repetitions(reduced, full)``: how many of each the session asked for."""
    full = request.config.getoption("--simulations") == "full"
    return lambda reduced, of_full: of_full if full else reduced


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    board = config.stash.get(BOARD, None)
    if board is None or not board.lines:
        return
    terminalreporter.section("simulations")
    for line in board.table():
        terminalreporter.write_line(line)
