"""Load a version's artifact and score rows with ONNX Runtime.

Nothing is unpickled: an artifact is a graph (model.onnx) and facts about it (model.json). Runs in the predict function,
in score_shadow and inside the training job (Python 3.10), so it imports numpy only; ONNX Runtime at the first load.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.model.archive import ArtifactError, unpack
from evergreen.model.schema import FeatureSchema, SchemaError

__all__ = ["Artifact", "ArtifactError", "ArtifactHashError", "Graph", "Predictions", "Scorer"]

MODEL_FILE = "model.onnx"
FACTS_FILE = "model.json"
TIE_DIGITS = 6
"""Probabilities equal to this many digits are a tie, won by the first class: float32 sums differ in the seventh."""


class ArtifactHashError(ArtifactError):
    """An artifact whose bytes are not the ones that were recorded when it was registered.

    Parameters
    ----------
    expected, actual
        SHA-256 in hex.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"the artifact's sha256 is {actual}, but {expected} is recorded; it was changed after it was registered, "
            "so roll back to the previous version and find out who wrote it"
        )
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True)
class Predictions:
    """What a model answered to ``N`` rows.

    Parameters
    ----------
    labels
        The winning class of each row; ``None`` for regression.
    values
        The predicted value of each row, float64 ``[N]``; ``None`` for classification.
    probabilities
        Float64 ``[N, K]`` in the order of the schema's classes; ``None`` for regression.
    """

    labels: list[str] | None
    values: npt.NDArray[np.float64] | None
    probabilities: npt.NDArray[np.float64] | None

    def __len__(self) -> int:
        if self.labels is not None:
            return len(self.labels)
        return 0 if self.values is None else len(self.values)

    @property
    def predictions(self) -> list[str] | list[float]:
        """The answers as plain Python values, ready for JSON."""
        if self.labels is not None:
            return self.labels
        values: list[float] = [] if self.values is None else self.values.tolist()
        return values

    @property
    def probability_rows(self) -> list[list[float]] | list[None]:
        """The probabilities as plain lists, one a row (``None`` each for regression), ready for JSON."""
        if self.probabilities is None:
            return [None] * len(self)
        rows: list[list[float]] = self.probabilities.tolist()
        return rows


@dataclass(frozen=True)
class Artifact:
    """One trained version: the graph, the schema it takes and the facts recorded about it.

    Parameters
    ----------
    onnx
        The bytes of model.onnx.
    facts
        The content of model.json.
    schema
        Features, task and classes, read out of the facts.
    sha256
        Of the whole archive, hex; ``None`` when loaded from a directory.
    """

    onnx: bytes
    facts: Mapping[str, Any]
    schema: FeatureSchema
    sha256: str | None = None

    @classmethod
    def load(cls, directory: Path | str) -> Artifact:
        """Load an artifact from a directory with model.onnx and model.json.

        Raises
        ------
        ArtifactError
            A file is missing or does not hold what it should.
        """
        folder = Path(directory)
        files = {name: (folder / name).read_bytes() for name in (MODEL_FILE, FACTS_FILE) if (folder / name).is_file()}
        return cls._of(files, str(folder), None)

    @classmethod
    def from_tar(cls, content: bytes, expected_sha256: str) -> Artifact:
        """Load an artifact out of the bytes of a model.tar.gz, which have to be the recorded ones.

        The hash is checked before anything else is read; members are read in memory, so no path in the
        archive can reach the file system.

        Raises
        ------
        ArtifactHashError
            The bytes are not those recorded.
        ArtifactError
            The archive can't be read, or lacks model.onnx or model.json.
        """
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected_sha256:
            raise ArtifactHashError(expected_sha256, actual)
        return cls._unpack(content, actual)

    @classmethod
    def from_trusted_tar(cls, content: bytes) -> Artifact:
        """Load an artifact whose hash somebody else has checked, as a training job's input channel."""
        return cls._unpack(content, hashlib.sha256(content).hexdigest())

    @classmethod
    def _unpack(cls, content: bytes, sha256: str) -> Artifact:
        files = unpack(content, (MODEL_FILE, FACTS_FILE), stop_early=True)
        return cls._of(files, sha256[:12], sha256)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Artifact:
        """Load an artifact whose files somebody else has unpacked and checked; raises ArtifactError."""
        return cls._of(files, "in this folder", None)

    @classmethod
    def _of(cls, files: Mapping[str, bytes], where: str, sha256: str | None) -> Artifact:
        for name in (MODEL_FILE, FACTS_FILE):
            if name not in files:
                raise ArtifactError(f"the artifact {where} has no {name}; train again")
        try:
            facts = json.loads(files[FACTS_FILE])
            schema = FeatureSchema.from_json(facts)
        except (json.JSONDecodeError, UnicodeDecodeError, SchemaError, AttributeError) as error:
            raise ArtifactError(f"the artifact {where} has a {FACTS_FILE} that can't be read: {error}") from error
        return cls(files[MODEL_FILE], facts, schema, sha256)

    def scorer(self) -> Scorer:
        """Start ONNX Runtime on the graph."""
        return Scorer(self)


class Graph:
    """An ONNX graph on one thread, so that the same rows give the same bits.

    Parameters
    ----------
    onnx
        Its bytes.
    schema
        The features that it may take.
    output
        What it has to answer.
    name
        How it is called in errors.

    Raises
    ------
    ArtifactError
        The graph is broken, takes features that the schema does not have, or does not answer so.
    """

    def __init__(self, onnx: bytes, schema: FeatureSchema, output: str, name: str = MODEL_FILE) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # A session lives for thousands of one-row requests of the same shape: keep its memory, skip its arena's growth.
        options.enable_mem_pattern = True
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, which derive from Exception alone
            raise ArtifactError(f"{name} can't be loaded by ONNX Runtime: {error}") from error
        inputs = {tensor.name for tensor in self._session.get_inputs()}
        unknown, missing = inputs - set(schema.names), set(schema.names) - inputs
        if unknown:
            raise ArtifactError(f"{name} takes {sorted(unknown)}, which {FACTS_FILE} does not name; train again")
        # The converter drops an input that no part of the model reads; such a feature is accepted and not passed on.
        self.inputs = tuple(one for one in schema.names if one not in missing)
        names = [tensor.name for tensor in self._session.get_outputs()]
        if output not in names:
            raise ArtifactError(f"{name} answers {names}, but a {schema.task.value} model needs {output!r}")
        self._output = output

    def run(
        self, columns: Mapping[str, npt.NDArray[Any]], within: float | None = None, output: str = ""
    ) -> npt.NDArray[Any]:
        """Return what the graph answers to rows given as columns, its first axis the rows'.

        Parameters
        ----------
        columns
            What :meth:`evergreen.model.schema.FeatureSchema.columns` makes: one array ``[N]`` per feature, N above 0.
        within
            Seconds after which the graph is stopped; ``None``: never.
        output
            Another answer than the usual one.

        Raises
        ------
        ArtifactError
            A column that the graph needs is not there.
        TimeoutError
            The graph was stopped.
        """
        try:
            feed = {name: columns[name].reshape(-1, 1) for name in self.inputs}
        except KeyError as error:
            raise ArtifactError(f"no column for feature {error}; the model takes {', '.join(self.inputs)}") from error
        wanted = [output or self._output]
        answered: npt.NDArray[Any]
        if within is None:
            (answered,) = self._session.run(wanted, feed)
            return answered
        import onnxruntime

        options, stopped = onnxruntime.RunOptions(), threading.Event()
        options.log_severity_level = 4

        def stop() -> None:
            stopped.set()
            options.terminate = True  # looked at between the nodes of the graph, and between the rounds of a loop

        timer = threading.Timer(within, stop)
        timer.start()
        try:
            (answered,) = self._session.run(wanted, feed, options)
        except Exception as error:
            if stopped.is_set():
                raise TimeoutError(f"the model did not answer within {within:.0f} s") from error
            raise
        finally:
            timer.cancel()
        return answered


class Scorer:
    """A model ready to answer.

    Parameters
    ----------
    artifact
        What to score with.

    Raises
    ------
    ArtifactError
        The graph is broken, or does not take the features that model.json names.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.schema = artifact.schema
        output = "probabilities" if self.schema.task.is_classification else "variable"
        self._graph = Graph(artifact.onnx, self.schema, output)
        self._classes = self.schema.classes
        self._label_of = np.array(self._classes, dtype=object) if self._classes is not None else None

    def score(self, columns: Mapping[str, npt.NDArray[Any]], within: float | None = None) -> Predictions:
        """Score rows given as columns.

        Parameters
        ----------
        columns
            What :meth:`evergreen.model.schema.FeatureSchema.columns` makes: one array ``[N]`` per feature.
        within
            Seconds after which the graph is stopped; ``None``: never.

        Returns
        -------
        Predictions
            Labels and probabilities, or values, of the ``N`` rows in order.

        Raises
        ------
        ArtifactError
            A column that the model needs is not there.
        TimeoutError
            The graph was stopped.
        """
        if columns and not len(next(iter(columns.values()))):
            return self._nothing()
        return self.answered(self._graph.run(columns, within))

    def answered(self, answers: npt.NDArray[Any]) -> Predictions:
        """Name the classes that probabilities ``[N, K]`` speak for, or take values ``[N, 1]``."""
        if self._label_of is None:
            return Predictions(None, answers.reshape(-1).astype(np.float64), None)
        labels: list[str] = self._label_of[np.round(answers, TIE_DIGITS).argmax(axis=1)].tolist()
        return Predictions(labels, None, answers.astype(np.float64))

    def score_rows(self, rows: Sequence[Mapping[str, Any]], within: float | None = None) -> Predictions:
        """Score rows given as JSON objects; they are taken as valid (see ``FeatureSchema.validate``)."""
        return self.score(self.schema.columns(rows), within)

    def graph_labels(self, columns: Mapping[str, npt.NDArray[Any]]) -> list[str]:
        """Return the labels the graph itself answers, for other runtimes' sake; :meth:`score` breaks ties steadily."""
        return [str(label) for label in self._graph.run(columns, output="label").tolist()]

    def _nothing(self) -> Predictions:
        if self._classes is None:
            return Predictions(None, np.zeros(0), None)
        return Predictions([], None, np.zeros((0, len(self._classes))))
