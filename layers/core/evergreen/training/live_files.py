"""What a training job puts into an archive for its live state: leaves, ancestors, and where learning starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evergreen.model.archive import OWN, START_FILE, graph_file, leaves_file
from evergreen.model.schema import FeatureSchema
from evergreen.statistics.losses import absolute_error
from evergreen.training.export import leaves_to_onnx
from evergreen.training.labelled_rows import Rows
from evergreen.training.leaves import MOST_LEAVES, ForestLeaves
from evergreen.training.live_bytes import LiveStart, read_table, table_bytes
from evergreen.training.live_linear import Linear
from evergreen.training.live_state import MOST_MEMBERS, LiveState
from evergreen.training.live_version import facts_of, live_content, model_of
from evergreen.training.recipe import Fitted, Preparation

__all__ = ["ancestors_of", "live_files", "numbers_of"]

_MOST_TAUGHT = 20_000

Files = Mapping[str, bytes]


def live_files(fitted: Fitted, rows: Rows, ancestors: Files) -> dict[str, bytes]:
    """Return what an archive holds for its live state.

    Parameters
    ----------
    fitted
        The version; one without leaves answers by its own graph.
    rows
        Its training rows.
    ancestors
        What :func:`ancestors_of` made of production's archive.
    """
    files = {START_FILE: start_of(rows).to_bytes()}
    found = ForestLeaves.of(fitted.estimator, rows.schema.classes)
    room = MOST_LEAVES
    if found is not None and len(found.table.values) <= room:
        room -= len(found.table.values)
        files |= {graph_file(OWN): leaves_to_onnx(fitted, found), leaves_file(OWN): table_bytes(found.table)}
    for number in reversed(numbers_of(ancestors)):
        leaves = len(read_table(ancestors[leaves_file(number)]).values) if leaves_file(number) in ancestors else 0
        if leaves > room:
            break
        room -= leaves
        files |= {name: ancestors[name] for name in (graph_file(number), leaves_file(number)) if name in ancestors}
    return files


def numbers_of(files: Files) -> list[int]:
    """The ancestors whose files these are, oldest first."""
    names = {name.removeprefix("members/").rpartition(".")[0] for name in files if name != START_FILE}
    return sorted(int(name) for name in names if name.isdecimal())


def ancestors_of(content: bytes, number: int, schema: FeatureSchema) -> dict[str, bytes]:
    """Return what a new version takes over of production's archive: production itself and its newest ancestors.

    Parameters
    ----------
    content
        The archive, whose hash the caller has checked.
    number
        Production's version number.
    schema
        The new version's; another one takes nothing over.

    Raises
    ------
    ArtifactError
        The archive can't be read.
    """
    theirs, older = facts_of(content)
    if older is None or theirs.fingerprint != schema.fingerprint or theirs.classes != schema.classes:
        return {}
    files = live_content(content, older)
    own = {
        graph_file(number): files.pop(graph_file(OWN), b"") or model_of(content),
        leaves_file(number): files.pop(leaves_file(OWN), b""),
    }
    files.pop(START_FILE, None)
    kept = older[-(MOST_MEMBERS - 2) :]
    files = {name: body for name, body in files.items() if any(name in (graph_file(n), leaves_file(n)) for n in kept)}
    return files | {name: body for name, body in own.items() if body}


def start_of(rows: Rows) -> LiveStart:
    """Start from a training's rows, oldest first; the newest 20,000 teach the linear model."""
    classes = rows.schema.classes
    taught = rows.slice(max(0, len(rows) - _MOST_TAUGHT), len(rows))
    preparation = Preparation.learn(rows, standardise=True)
    centre, scale, spread = 0.0, 1.0, 1.0
    labels: Any = taught.actual
    if classes is None:
        centre, scale = float(np.median(rows.actual)), float(np.std(rows.actual)) or 1.0
        spread = float(absolute_error(np.full(len(rows), centre), rows.actual).mean()) or 1.0
    else:
        code = {label: number for number, label in enumerate(classes)}
        labels = np.array([code[label] for label in taught.actual.tolist()], dtype=np.int64)
    inputs = preparation.matrix(taught)
    linear = Linear.new(len(classes or ()), inputs.shape[1], centre, scale).learned(inputs, labels)
    return LiveStart(preparation, LiveState(len(classes or ()), spread, linear=linear))
