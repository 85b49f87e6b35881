"""The source a training job runs: train.py, the part of this package it needs, and its pins, in one archive.

Standard library only: launch_training calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.model.archive import pack
from evergreen.model.rooms import packed

__all__ = ["METRIC_DEFINITIONS", "PROGRAM", "REQUIREMENTS", "pack_source"]

PROGRAM = "train.py"
"""The hyperparameter sagemaker_program."""

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
"""What AWS's scikit-learn image lacks, each file of it by its hash; its Python alone installs any of it."""

WHEELS = "wheels"
"""The folder of a source that brings what it needs."""

_METRICS = ("accuracy", "kappa", "auc", "brier", "log_loss", "mae", "rmse")
_LINES = (
    *(f"{side}_{name}" for side in ("validation", "production") for name in _METRICS),
    "rows_trained",
    "onnx_max_difference",
)
METRIC_DEFINITIONS: tuple[dict[str, Any], ...] = tuple(
    {"Name": name, "Regex": rf"{name}=([-+0-9.eE]+);"} for name in _LINES
)
"""How SageMaker reads the metrics out of the job's log."""

_ROOMS = ("errors.py", "model", "statistics", "training")


def pack_source(wheels: Mapping[str, bytes] | None = None, requirements: bytes | None = None) -> bytes:
    """Return sourcedir.tar.gz, the same bytes for the same source.

    Parameters
    ----------
    wheels
        All files that the requirements name, by their names: then the container installs them and asks no index, which
        one without a network could not. pip holds them to the same hashes
        (https://pip.pypa.io/en/stable/topics/secure-installs/).
    requirements
        By default those of :data:`REQUIREMENTS`.

    Examples
    --------
    >>> pack_source() == pack_source()
    True
    """
    files = packed(*_ROOMS)
    files[PROGRAM] = files[f"evergreen/training/{PROGRAM}"]
    pinned = needed = REQUIREMENTS.read_bytes() if requirements is None else requirements
    if wheels is not None:
        needed = f"--no-index\n--find-links {WHEELS}\n".encode() + needed
        files |= {f"{WHEELS}/{name}": content for name, content in wheels.items()}
    files |= {"requirements.txt": needed, f"evergreen/training/{REQUIREMENTS.name}": pinned}  # a job packs it again
    return pack(files)
