"""The simulations' size, and the table of what they measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple

import pytest
from goals import Board


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    board = Board()
    yield board
    request.node.user_properties.append(("simulations", [astuple(line) for line in board.lines]))
