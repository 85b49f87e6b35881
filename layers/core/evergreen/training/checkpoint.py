"""What a job has finished, kept where SageMaker keeps it: an interrupted job does not do it again.

One file: a line of JSON that names what it belongs to, then the numbers as they lie in memory. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evergreen.model.archive import canonical_json
from evergreen.training.job import TrainingJob
from evergreen.training.labelled_rows import Rows
from evergreen.training.source import pack_source

__all__ = ["Checkpoints", "validation_key"]

VALIDATION_FILE = "validation.checkpoint"


class Checkpoints:
    """The folder that survives an interruption, and what of it can be used again.

    Parameters
    ----------
    folder
        ``/opt/ml/checkpoints``: SageMaker copies it to S3 while the job runs, and back before its next attempt.
    report
        Takes a line on what is used and what is not.

    Examples
    --------
    >>> import tempfile
    >>> kept = Checkpoints(Path(tempfile.mkdtemp()), print)
    >>> kept.save("key", np.array([0.25, 0.75]))
    >>> kept.load("key")
    the validation is taken from a checkpoint
    array([0.25, 0.75])
    >>> kept.load("another key") is None
    a checkpoint is ignored: it is of other rows, another job or other code
    True
    """

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._file = folder / VALIDATION_FILE
        self._report = report

    @property
    def has_validation(self) -> bool:
        """Whether the next attempt finds something."""
        return self._file.is_file()

    def save(self, key: str, answers: npt.NDArray[np.float64]) -> None:
        """Keep the answers to the validation rows.

        Parameters
        ----------
        key
            What they belong to, see :func:`validation_key`.
        answers
            Probabilities ``[N, K]`` or values ``[N]``.
        """
        content = np.ascontiguousarray(answers, dtype="<f8").tobytes()
        sha256 = hashlib.sha256(content).hexdigest()
        header = json.dumps({"key": key, "shape": list(answers.shape), "sha256": sha256})
        unfinished = self._file.with_suffix(".unfinished")
        try:
            unfinished.write_bytes(header.encode() + b"\n" + content)
            os.replace(unfinished, self._file)
        except OSError as error:  # a full disk costs the next attempt some time, and this one nothing
            self._report(f"warning: the validation is not kept for another attempt: {error.strerror}")

    def load(self, key: str) -> npt.NDArray[np.float64] | None:
        """Return the answers that were kept; None, with a line that says why, when there are none to be used."""
        if not self._file.is_file():
            return None
        try:
            found = _read(self._file.read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            self._report("a checkpoint is ignored: it is damaged")
            return None
        if found.key != key:
            self._report("a checkpoint is ignored: it is of other rows, another job or other code")
            return None
        self._report("the validation is taken from a checkpoint")
        return found.answers


class _Kept(NamedTuple):
    key: str
    answers: npt.NDArray[np.float64]


def _read(file: bytes) -> _Kept:
    header, _, content = file.partition(b"\n")
    told = json.loads(header)
    if told["sha256"] != hashlib.sha256(content).hexdigest():
        raise ValueError("the hash does not fit")
    answers = np.frombuffer(content, dtype="<f8").reshape(told["shape"]).astype(np.float64)
    return _Kept(str(told["key"]), answers)


def validation_key(job: TrainingJob, earlier: Rows, later: Rows) -> str:
    """Return what the answers to the validation rows depend on, as one hash.

    Parameters
    ----------
    job
        Its estimator, parameters and seed count.
    earlier, later
        The rows that are fitted on and validated on: every value of them counts.
    """
    import sklearn

    digest = hashlib.sha256(
        canonical_json(
            {
                "schema": earlier.schema.to_json(),
                "estimator": job.estimator,
                "params": dict(job.params),
                "seed": job.seed,
                "rows": [len(earlier), len(later)],
                "versions": [np.__version__, sklearn.__version__],
                "source": hashlib.sha256(pack_source()).hexdigest(),
            }
        )
    )
    for rows in (earlier, later):
        digest.update(np.ascontiguousarray(rows.times).tobytes())
        for name in sorted(rows.numbers):
            digest.update(np.ascontiguousarray(rows.numbers[name]).tobytes())
        for name in sorted(rows.categories):
            category = rows.categories[name]
            digest.update(np.ascontiguousarray(category.codes).tobytes() + json.dumps(category.values).encode())
        digest.update(json.dumps(rows.actual.tolist()).encode())
    return digest.hexdigest()
