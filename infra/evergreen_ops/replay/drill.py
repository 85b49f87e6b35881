"""The drill: versions that are bad on purpose, promoted by force, so that one can watch each being rolled back."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.domain.history import History
from evergreen.domain.model_events import RollbackDecided, VersionPromoted, VersionRolledBack
from evergreen.domain.state import ModelState, VersionStatus
from evergreen.domain.uris import split_uri
from evergreen.model.archive import pack
from evergreen.training.fit import train
from evergreen.training.read_rows import Rows
from evergreen.usecases.people import bring, decide
from evergreen_ops.replay.policies import labelled_rows
from evergreen_ops.replay.recipe import stream_rows, training_job
from evergreen_ops.replay.result import DrillOutcome
from evergreen_ops.replay.streams import as_datetime, as_instant

if TYPE_CHECKING:
    from evergreen_ops.replay.driver import Session

ACTOR = "drill"
GRAPH = "model.onnx"
BAD_MODEL_ROWS = 5_000
# 64 x 64 matrices multiplied in a loop: some 10 microseconds a turn on an ordinary core, most of it the loop's own.
MATRIX = 64
TURNS_PER_MS = 100
SLOWER_THAN_LIMIT = 3
SHIFT_SD = 3.0


class Kind(StrEnum):
    """How a version is bad; the word that its rollback gives as the cause."""

    ERRORS = "errors"
    LATENCY = "latency"
    QUALITY = "quality"


REASONS: Mapping[Kind, str] = {
    Kind.ERRORS: "drill: a version that fails on every request",
    Kind.LATENCY: "drill: a version that is too slow",
    Kind.QUALITY: "drill: a version trained on wrong labels",
}


@dataclass(slots=True)
class Drill:
    """Promotes a bad version at each quarter of the stream, as soon as production is known to be good."""

    waiting: list[tuple[Kind, datetime]]
    promoted: dict[Kind, int] = field(default_factory=dict)

    @classmethod
    def over(cls, first: datetime, last: datetime) -> Drill:
        """Plan the drill between the first and the last scored request."""
        return cls([(kind, first + (last - first) * quarter / 4) for quarter, kind in enumerate(Kind, start=1)])

    def act(self, session: Session) -> None:
        """Promote the next bad version when its time has come and production is calm."""
        if not self.waiting or session.now < self.waiting[0][1]:
            return
        state = session.ports.ledger.read(session.model)
        if not _calm(state):
            return
        kind, _ = self.waiting.pop(0)
        artifact = _MAKERS[kind](session, state)
        version = bring.register_version(
            session.model, artifact, REASONS[kind], ACTOR, now=session.now, ports=session.ports
        )
        decide.force_promotion(session.model, version, REASONS[kind], ACTOR, now=session.now, ports=session.ports)
        self.promoted[kind] = version

    def finished(self, session: Session) -> bool:
        """Whether the last bad version has been rolled back: production is the last known good version again."""
        if self.waiting:
            return False
        state = session.ports.ledger.read(session.model)
        return all(state.version(number).status is VersionStatus.ROLLED_BACK for number in self.promoted.values())

    def outcomes(self, history: History) -> tuple[DrillOutcome, ...]:
        """Return what became of each bad version."""
        return tuple(_outcome(kind, self.promoted.get(kind), history) for kind in Kind)


def _outcome(kind: Kind, version: int | None, history: History) -> DrillOutcome:
    promoted = next((event for event in history.of(VersionPromoted) if event.version == version), None)
    back = next((event for event in history.of(VersionRolledBack) if event.version == version), None)
    if back is None or promoted is None:
        reason = "production was never calm enough to promote it" if version is None else "it was not rolled back"
        return DrillOutcome(kind.value, version, False, reason, None, None)
    told = (event for event in history.of(RollbackDecided) if event.version == version)
    decided: RollbackDecided | VersionRolledBack = next(told, back)
    minutes = (back.time - promoted.time) / timedelta(minutes=1)
    reason = f"{decided.cause}: {decided.because}"
    return DrillOutcome(kind.value, version, True, reason, back.to_version, round(minutes, 2))


def _calm(state: ModelState) -> bool:
    """Whether a rollback would have somewhere to go: production has survived its bakes and nothing is on its way."""
    version = state.production_version
    quiet = state.bake is None and state.repoint is None
    return quiet and version is not None and version.status is VersionStatus.GOOD


def failing_graph(graph: bytes) -> bytes:
    """Return the graph with a node that fails whenever it runs: it looks up an element far outside its input."""
    from onnx import TensorProto, helper

    shape, far, place, found, largest, factor = _names("shape", "far", "place", "found", "largest", "factor")

    def add(first_input: str) -> list[Any]:
        return [
            helper.make_node("Shape", [first_input], [shape]),
            helper.make_node("Constant", [], [far], value=helper.make_tensor(far, TensorProto.INT64, [1], [10**9])),
            helper.make_node("Add", [shape, far], [place]),
            helper.make_node("Gather", [shape, place], [found], axis=0),
            helper.make_node("ReduceMax", [found], [largest], keepdims=0),
            helper.make_node("Cast", [largest], [factor], to=TensorProto.FLOAT),
        ]

    return _with_work(graph, add, factor)


def slow_graph(graph: bytes, milliseconds: float) -> bytes:
    """Return the graph with a loop of matrix products that takes about so long on an ordinary core; same answers."""
    from onnx import TensorProto, helper

    turns = max(1, round(milliseconds * TURNS_PER_MS))
    square = [MATRIX, MATRIX]
    start, trips, going, matrix, factor = _names("start", "trips", "going", "matrix", "factor")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going_in"], ["going_out"]),
            helper.make_node("MatMul", ["matrix_in", start], ["matrix_out"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix_in", TensorProto.FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("going_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix_out", TensorProto.FLOAT, square),
        ],
    )
    values = np.full(square, 1 / MATRIX, dtype=np.float32)

    def add(first_input: str) -> list[Any]:
        del first_input
        return [
            helper.make_node(
                "Constant", [], [start], value=helper.make_tensor(start, TensorProto.FLOAT, square, values.ravel())
            ),
            helper.make_node("Constant", [], [trips], value=helper.make_tensor(trips, TensorProto.INT64, [], [turns])),
            helper.make_node("Constant", [], [going], value=helper.make_tensor(going, TensorProto.BOOL, [], [True])),
            helper.make_node("Loop", [trips, going, start], [matrix], body=body),
            helper.make_node("ReduceMax", [matrix], [factor], keepdims=0),
        ]

    return _with_work(graph, add, factor)


def _with_work(graph: bytes, add: Callable[[str], list[Any]], factor: str) -> bytes:
    """Add nodes to the graph; their result, times zero, is added to its answer, so that they are not optimised away."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(graph)
    answer = next(o.name for o in model.graph.output if o.name in ("probabilities", "variable"))
    sound, zero, nothing = _names("sound", "zero", "nothing")
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == answer:
                    names[place] = sound
    model.graph.node.extend(
        [
            *add(model.graph.input[0].name),
            helper.make_node("Constant", [], [zero], value=helper.make_tensor(zero, TensorProto.FLOAT, [], [0.0])),
            helper.make_node("Mul", [factor, zero], [nothing]),
            helper.make_node("Add", [sound, nothing], [answer]),
        ]
    )
    changed: bytes = model.SerializeToString(deterministic=True)
    return changed


def _names(*names: str) -> tuple[str, ...]:
    return tuple(f"drill_{name}" for name in names)


def _failing_version(session: Session, state: ModelState) -> bytes:
    files = _production_files(session, state)
    return pack({**files, GRAPH: failing_graph(files[GRAPH])})


def _slow_version(session: Session, state: ModelState) -> bytes:
    files = _production_files(session, state)
    return pack({**files, GRAPH: slow_graph(files[GRAPH], SLOWER_THAN_LIMIT * session.spec.deployment.latency_ms)})


def _wrong_version(session: Session, state: ModelState) -> bytes:
    del state
    stream, spec = session.stream, session.spec
    asked = np.arange(int(np.searchsorted(stream.event_time, as_instant(session.now))))
    known = labelled_rows(stream, spec, asked, as_instant(session.now))[-BAD_MODEL_ROWS:]
    job = dataclasses.replace(training_job(spec), min_rows=min(spec.training.min_rows, max(len(known), 1)))
    trained = train(job, wrong_labels(stream_rows(stream, spec).take(known)), report=_silent)
    return pack(trained.files)


def _silent(line: str) -> None:
    """The bad version's training log interests nobody."""


def wrong_labels(rows: Rows) -> Rows:
    """Return the rows with each class taken for the next one; numbers are shifted by three standard deviations."""
    classes = rows.schema.classes
    if classes is None:
        return dataclasses.replace(rows, actual=rows.actual + SHIFT_SD * float(np.std(rows.actual)))
    following = dict(zip(classes, (*classes[1:], classes[0]), strict=True))
    return dataclasses.replace(rows, actual=np.array([following[label] for label in rows.actual], dtype=object))


def _production_files(session: Session, state: ModelState) -> dict[str, bytes]:
    version = state.production_version
    assert version is not None  # _calm has seen it
    _, key = split_uri(version.artifact)
    with tarfile.open(fileobj=io.BytesIO(session.ports.artifacts.get(key)), mode="r:gz") as archive:
        members = {member.name: archive.extractfile(member) for member in archive if member.isreg()}
        return {name: file.read() for name, file in members.items() if file is not None}


_MAKERS: Mapping[Kind, Callable[[Session, ModelState], bytes]] = {
    Kind.ERRORS: _failing_version,
    Kind.LATENCY: _slow_version,
    Kind.QUALITY: _wrong_version,
}


def plan(session: Session) -> Drill:
    """Plan the drill for a session."""
    times = session.stream.event_time
    return Drill.over(as_datetime(times[session.base.rows]), as_datetime(times[-1]))
