"""The simulations' size, and the table of what they measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple

import pytest
from goals import Board


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    board = Board()
    yield board
    request.node.user_properties.append(("simulations", [astuple(line) for line in board.lines]))


@pytest.fixture
def repetitions(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """``repetitions(reduced, full)``: how many of each the session asked for."""
    full = request.config.getoption("--simulations") == "full"
    return lambda reduced, of_full: of_full if full else reduced
