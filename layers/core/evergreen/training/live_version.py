"""A version and its ancestors as their archive holds them, ready to be asked; a live state makes the answer.

Files of the archive, below ``members/``: ``start`` (inputs of the linear model, and the model as the training rows
taught it), ``own.onnx`` and ``own.leaves`` (the graph that answers leaves, and their values), and the same by the
number of each ancestor. ``model.json`` names the ancestors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from evergreen.model.archive import (
    ANCESTORS,
    OWN,
    START_FILE,
    ArtifactError,
    graph_file,
    leaves_file,
    live_names,
    unpack,
)
from evergreen.model.schema import FeatureSchema, SchemaError
from evergreen.model.scorer import FACTS_FILE, MODEL_FILE, ArtifactHashError, Graph
from evergreen.training.labelled_rows import Rows
from evergreen.training.leaves import LeafTable
from evergreen.training.live_bytes import UNREADABLE, LiveStart, read_table
from evergreen.training.live_state import Asked, LiveState
from evergreen.training.recipe import Preparation

__all__ = ["LiveVersion"]

Files = Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class _Estimator:
    graph: Graph
    table: LeafTable | None


@dataclass(frozen=True, eq=False)
class _Loaded:
    number: int
    estimator: _Estimator

    @property
    def table(self) -> LeafTable | None:
        return self.estimator.table


class LiveVersion:
    """A version and its ancestors, ready to be asked: what their graphs say, of which a state makes an answer.

    Parameters
    ----------
    schema
        Features and classes, which all have in common.
    start
        Where a state starts.
    members
        Oldest first.
    size
        Bytes of the graphs.
    """

    def __init__(self, schema: FeatureSchema, start: LiveStart, members: Sequence[_Loaded], size: int) -> None:
        self.schema, self.start, self.size = schema, start, size
        self._members = tuple(members)

    @classmethod
    def from_tar(cls, content: bytes, expected_sha256: str, number: int) -> LiveVersion | None:
        """Load what an archive holds for a live state; None where it holds nothing for one.

        Parameters
        ----------
        content
            The bytes of a model.tar.gz.
        expected_sha256
            Their hash as it is recorded, hex.
        number
            The version's.

        Raises
        ------
        ArtifactHashError
            The bytes are not those recorded.
        ArtifactError
            The archive can't be read, or its parts don't fit.
        """
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected_sha256:
            raise ArtifactHashError(expected_sha256, actual)
        schema, ancestors = facts_of(content)
        if ancestors is None:
            return None
        files = live_content(content, ancestors)
        if graph_file(OWN) not in files:
            files[graph_file(OWN)] = model_of(content)
        return cls._of(files, schema, ancestors, number)

    @classmethod
    def from_files(cls, content: Files, number: int) -> LiveVersion | None:
        """Load the files of an archive that somebody has unpacked and checked; None where there are none for a state.

        Parameters
        ----------
        content
            By name.
        number
            The version's.

        Raises
        ------
        ArtifactError
            A file is missing or can't be read, or they don't fit.
        """
        schema, ancestors = _facts(content)
        if ancestors is None:
            return None
        files = dict(content)
        files.setdefault(graph_file(OWN), content.get(MODEL_FILE, b""))
        return cls._of(files, schema, ancestors, number)

    @classmethod
    def _of(cls, files: Files, schema: FeatureSchema, ancestors: Sequence[int], number: int) -> LiveVersion:
        try:
            start = LiveStart.from_bytes(files[START_FILE])
            names: list[str | int] = [*ancestors, OWN]
            members = [
                _member(name, number if name == OWN else name, files, schema)
                for name in names
                if graph_file(name) in files
            ]
        except UNREADABLE as error:
            raise ArtifactError(f"the artifact holds a live state that can't be read: {error}") from error
        graphs = [files[graph_file(name)] for name in names if graph_file(name) in files]
        return cls(schema, start, members, sum(map(len, graphs)))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The versions that answer, oldest first; the last is the version itself."""
        return tuple(member.number for member in self._members)

    def first_state(self) -> LiveState:
        """The state of a version that goes on from no other."""
        return self.going_on_from(self.start.state)

    def going_on_from(self, state: LiveState) -> LiveState:
        """The state of this version that knows what another one's does of the members that both have."""
        return state.of_members(self.numbers, {member.number: member.table for member in self._members})

    def asked(self, rows: Sequence[Mapping[str, Any]], preparation: Preparation, within: float | None = None) -> Asked:
        """Ask every member about rows given as JSON objects, which are taken as valid.

        Parameters
        ----------
        rows
            At least one.
        preparation
            Of the state that will answer.
        within
            Seconds after which a graph is stopped; ``None``: never.
        """
        columns = self.schema.columns(rows)
        ids, own = {}, {}
        for member in self._members:
            said = member.estimator.graph.run(columns, within)
            if member.table is None:
                own[member.number] = said.reshape(len(rows), -1).astype(np.float64)
            else:
                ids[member.number] = np.rint(said).astype(np.int64)
        return Asked(ids, own, preparation.matrix(Rows.of_columns(self.schema, columns)))


_shared: WeakValueDictionary[tuple[str, ...], _Estimator] = WeakValueDictionary()
"""Versions that follow one another have all members but one in common: each is loaded once, while anybody needs it."""


def _member(name: str | int, number: str | int, files: Files, schema: FeatureSchema) -> _Loaded:
    parts = [files[graph_file(name)], files.get(leaves_file(name), b"")]
    key = (schema.fingerprint, *(hashlib.sha256(part).hexdigest() for part in parts))
    known = _shared.get(key)
    if known is None:
        table = read_table(parts[1]) if parts[1] else None
        answers = "probabilities" if schema.task.is_classification and table is None else "variable"
        known = _Estimator(Graph(parts[0], schema, answers, graph_file(name)), table)
        _shared[key] = known
    return _Loaded(int(number), known)


# --- files ------------------------------------------------------------------------------------------------------------


def facts_of(content: bytes) -> tuple[FeatureSchema, list[int] | None]:
    """What an archive takes, and its ancestors; None: it holds nothing for a live state."""
    return _facts(unpack(content, (FACTS_FILE,), stop_early=True))


def _facts(files: Files) -> tuple[FeatureSchema, list[int] | None]:
    try:
        facts = json.loads(files[FACTS_FILE])
        ancestors = facts.get(ANCESTORS)
        return FeatureSchema.from_json(facts), None if ancestors is None else [int(number) for number in ancestors]
    except (KeyError, ValueError, TypeError, AttributeError, SchemaError) as error:
        raise ArtifactError(f"the artifact has no {FACTS_FILE} that can be read: {error}") from error


def live_content(content: bytes, ancestors: Sequence[int]) -> dict[str, bytes]:
    """The files of an archive below ``members/``."""
    return unpack(content, live_names(ancestors))


def model_of(content: bytes) -> bytes:
    """The graph that answers without a live state."""
    return unpack(content, (MODEL_FILE,), stop_early=True).get(MODEL_FILE, b"")
