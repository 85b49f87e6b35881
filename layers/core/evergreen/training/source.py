"""The source a training job runs: train.py, the part of this package it needs, and its pins, in one archive.

Standard library only: launch_training calls it.
"""

from __future__ import annotations

from typing import Any

from evergreen.model.archive import pack
from evergreen.model.rooms import packed

__all__ = ["METRIC_DEFINITIONS", "PROGRAM", "REQUIREMENTS", "pack_source"]

PROGRAM = "train.py"
"""The hyperparameter sagemaker_program."""

REQUIREMENTS = (
    "skl2onnx==1.20.0",
    "onnx==1.23.2",
    "onnxruntime==1.23.2",
    "skops==0.16.0",
    "pyarrow>=15",
    "mlflow-skinny==3.17.2",
)
"""What AWS's scikit-learn image lacks, at versions that still run on its Python 3.10 and numpy 1.26."""

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


def pack_source() -> bytes:
    """Return sourcedir.tar.gz, the same bytes for the same source.

    Examples
    --------
    >>> pack_source() == pack_source()
    True
    """
    files = packed(*_ROOMS)
    files[PROGRAM] = files[f"evergreen/training/{PROGRAM}"]
    files["requirements.txt"] = ("\n".join(REQUIREMENTS) + "\n").encode()
    return pack(files)
