"""How a live state and what an archive holds for one are stored: JSON and the arrays behind it, never a pickle."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.training.leaf_steps import LeafSteps
from evergreen.training.leaves import LeafCounts, LeafTable
from evergreen.training.live_linear import Linear
from evergreen.training.live_state import Guard, LiveState, Member
from evergreen.training.plain_arrays import Arrays, read, taken, write
from evergreen.training.recipe import Preparation

__all__ = ["UNREADABLE", "LiveStart", "read_table", "table_bytes"]

UNREADABLE = (ValueError, KeyError, TypeError, struct.error)
"""What reading bytes of somebody else's making can raise."""

Floats = npt.NDArray[np.float32]

_LEAVES, _START = b"EVGLEAVES", b"EVGSTART"


@dataclass(frozen=True, eq=False)
class LiveStart:
    """Where a version's live state starts that has no other to go on from.

    Parameters
    ----------
    preparation
        Makes the linear model's inputs of a row.
    state
        Without members; its linear model is as the training rows taught it.
    """

    preparation: Preparation
    state: LiveState

    def to_bytes(self) -> bytes:
        """Return the bytes that :meth:`from_bytes` reads; the same for the same start."""
        arrays = Arrays()
        header = {"preparation": put_preparation(self.preparation, arrays), "state": put_start(self.state, arrays)}
        return write(_START, header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> LiveStart:
        """Read what :meth:`to_bytes` wrote; raises ValueError, KeyError, TypeError or struct.error."""
        header, joined = read(_START, content)
        return cls(take_preparation(header["preparation"], joined), take_start(header["state"], joined))


def table_bytes(table: LeafTable) -> bytes:
    """The values of a forest's leaves as bytes."""
    arrays = Arrays()
    return write(_LEAVES, {"values": arrays.put(table.values)}, arrays)


def read_table(content: bytes) -> LeafTable:
    """Read what :func:`table_bytes` wrote."""
    header, joined = read(_LEAVES, content)
    return LeafTable(taken(header["values"], joined))


def put_preparation(preparation: Preparation, arrays: Arrays) -> dict[str, Any]:
    """A preparation as JSON and arrays."""
    return {
        "numbers": list(preparation.numbers),
        "categoricals": list(preparation.categoricals),
        "medians": arrays.put(preparation.medians),
        "categories": [list(known) for known in preparation.categories],
        "centre": arrays.put(preparation.centre),
        "scale": arrays.put(preparation.scale),
    }


def take_preparation(placed: Mapping[str, Any], joined: bytes) -> Preparation:
    """Read what :func:`put_preparation` put."""
    return Preparation(
        tuple(placed["numbers"]),
        tuple(placed["categoricals"]),
        taken(placed["medians"], joined),
        tuple(tuple(known) for known in placed["categories"]),
        taken(placed["centre"], joined),
        taken(placed["scale"], joined),
    )


def put_start(state: LiveState, arrays: Arrays) -> dict[str, Any]:
    """A state without members as JSON and arrays."""
    return {"classes": state.classes, "spread": state.spread, "linear": put_linear(state.linear, arrays)}


def take_start(placed: Mapping[str, Any], joined: bytes) -> LiveState:
    """Read what :func:`put_start` put."""
    return LiveState(placed["classes"], placed["spread"], linear=take_linear(placed["linear"], joined))


def put_linear(linear: Linear | None, arrays: Arrays) -> dict[str, Any] | None:
    """A linear model as JSON and arrays."""
    if linear is None:
        return None
    return {
        "classes": linear.classes,
        "coefficients": arrays.put(linear.coefficients),
        "intercepts": arrays.put(linear.intercepts),
        "centre": linear.centre,
        "scale": linear.scale,
        "rows": linear.rows,
    }


def take_linear(placed: Mapping[str, Any] | None, joined: bytes) -> Linear | None:
    """Read what :func:`put_linear` put."""
    return None if placed is None else Linear(**{name: taken(value, joined) for name, value in placed.items()})


def put_state(state: LiveState, arrays: Arrays) -> dict[str, Any]:
    """A live state as JSON and arrays; of the leaves those that labels have taught something."""
    return {
        "members": [
            {
                "number": member.number,
                "counts": [_put_counts(counts, arrays) for counts in member.counts],
                "steps": _put_steps(member.steps, arrays),
            }
            for member in state.members
        ],
        "losses": {name: arrays.put(series) for name, series in sorted(state.losses.items())},
        "answers": arrays.put(state.answers),
        "labels": arrays.put(state.labels),
        "guard": state.guard.weight,
        "lost": arrays.put(state.lost),
        "rows": state.rows,
        "delay": state.delay,
        **put_start(state, arrays),
    }


def take_state(placed: Mapping[str, Any], joined: bytes) -> LiveState:
    """Read what :func:`put_state` put; the leaves' tables are in the archive (:meth:`LiveState.of_members`)."""
    return replace(
        take_start(placed, joined),
        members=tuple(
            Member(
                each["number"],
                None,
                tuple(_take_counts(one, joined) for one in each["counts"]),
                _take_steps(each["steps"], joined),
            )
            for each in placed["members"]
        ),
        losses={name: taken(series, joined) for name, series in placed["losses"].items()},
        answers=taken(placed["answers"], joined),
        labels=taken(placed["labels"], joined),
        guard=Guard(placed["guard"]),
        lost=taken(placed["lost"], joined),
        rows=placed["rows"],
        delay=placed["delay"],
    )


def _put_counts(counts: LeafCounts, arrays: Arrays) -> dict[str, Any]:
    return _put_reached(counts.totals, {"sums": counts.sums, "totals": counts.totals}, arrays)


def _take_counts(placed: Mapping[str, Any], joined: bytes) -> LeafCounts:
    return LeafCounts(*_take_reached(placed, ("sums", "totals"), joined))


def _put_steps(steps: LeafSteps | None, arrays: Arrays) -> dict[str, Any] | None:
    if steps is None:
        return None
    return _put_reached(steps.squares, {"moved": steps.moved, "squares": steps.squares}, arrays)


def _take_steps(placed: Mapping[str, Any] | None, joined: bytes) -> LeafSteps | None:
    return None if placed is None else LeafSteps(*_take_reached(placed, ("moved", "squares"), joined))


def _put_reached(reached: Floats, of_leaves: Mapping[str, Floats], arrays: Arrays) -> dict[str, Any]:
    """What each leaf has, of those leaves alone that a label has reached."""
    known = np.flatnonzero(reached).astype(np.int32)
    stored = {name: arrays.put(values[known]) for name, values in of_leaves.items()}
    return {"count": len(reached), "leaves": arrays.put(known), **stored}


def _take_reached(placed: Mapping[str, Any], names: Sequence[str], joined: bytes) -> list[Floats]:
    leaves, found = taken(placed["leaves"], joined), []
    for name in names:
        values = taken(placed[name], joined)
        whole = np.zeros((placed["count"], *values.shape[1:]), dtype=np.float32)
        whole[leaves] = values
        found.append(whole)
    return found
