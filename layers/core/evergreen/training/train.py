"""The program of a training job: SageMaker's container contract in, an artifact or a reason for its failure out.

Runs as ``python train.py --task binary ...`` beside the ``evergreen`` package, where SageMaker's toolkit puts both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from evergreen.model.archive import canonical_json
from evergreen.model.scorer import Artifact, ArtifactError
from evergreen.training.checkpoint import Checkpoints
from evergreen.training.fit import NotCompared, Trained, train
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.read_rows import read_rows

__all__ = ["main"]

HYPERPARAMETERS = (
    "model",
    "task",
    "features",
    "classes",
    "estimator",
    "params",
    "seed",
    "validation_fraction",
    "max_rows",
    "min_rows",
    "trained_from",
    "trained_until",
    "cycle_days",
    "production_sha256",
    "decision_id",
    "trigger",
    "because",
    "snapshot",
    "source_sha256",
    "other_labels",
    "freshness",
    "production_version",
)
_IN_PARTS = ("features_", "classes_")
FAILURE_LENGTH = 1024
"""What SageMaker keeps of the failure file as FailureReason."""
STOPPED = 143
"""Exit code of a process that SIGTERM ended."""


@dataclass(frozen=True)
class Container:
    """The folders of one training job, wherever the container is based.

    Parameters
    ----------
    training, production
        Input channels; ``production`` is ``None`` when the job has no such channel.
    model
        What is put here becomes model.tar.gz.
    output_data
        What is put here becomes output.tar.gz.
    failure
        The file whose text becomes FailureReason.
    checkpoints
        What is put here is there again when the job is tried again; ``None`` when the job has no such folder.
    """

    training: Path
    production: Path | None
    model: Path
    output_data: Path
    failure: Path
    checkpoints: Path | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Container:
        """Find the folders in the SM_* variables, or at their documented places."""
        base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        inputs = base / "input" / "data"
        production = Path(environment.get("SM_CHANNEL_PRODUCTION", str(inputs / "production")))
        checkpoints = base / "checkpoints"
        output = Path(environment.get("SM_OUTPUT_DIR", str(base / "output")))
        return cls(
            training=Path(environment.get("SM_CHANNEL_TRAINING", str(inputs / "training"))),
            production=production if production.is_dir() else None,
            model=Path(environment.get("SM_MODEL_DIR", str(base / "model"))),
            output_data=Path(environment.get("SM_OUTPUT_DATA_DIR", str(output / "data"))),
            failure=output / "failure",
            checkpoints=checkpoints if checkpoints.is_dir() else None,
        )


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one training job.

    Parameters
    ----------
    arguments
        ``--name value`` hyperparameters; the process's own when ``None``. SM_HPS and the container's
        hyperparameters.json are read too, and win: the toolkit mangles nested values on the command line.
    environment
        The process's own when ``None``.

    Returns
    -------
    int
        Exit code: 0, or 1 with one line in the failure file.
    """
    variables = os.environ if environment is None else environment
    container = Container.of(variables)
    before = signal.signal(signal.SIGTERM, _stop(container))
    try:
        _run(container, arguments, variables)
    except TrainingError as error:
        return _fail(container, str(error))
    except MemoryError:
        return _fail(container, "the training ran out of memory; choose a larger instance or lower training.max_rows")
    except Exception as error:  # a bug: FailureReason names it in a line, the job's log has the traceback
        _fail(container, f"unexpected {type(error).__name__}: {error}")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _run(container: Container, arguments: Sequence[str] | None, environment: Mapping[str, str]) -> None:
    job = TrainingJob.from_hyperparameters(_hyperparameters(arguments, environment))
    trained = _trained(job, container)
    container.model.mkdir(parents=True, exist_ok=True)
    for name, content in sorted(trained.files.items()):
        (container.model / name).parent.mkdir(exist_ok=True)
        (container.model / name).write_bytes(content)
    _write_pipeline(container.output_data, trained)
    for line in metric_lines(trained):
        _say(line)
    if environment.get("MLFLOW_TRACKING_URI"):
        from evergreen.training.tracking import record_run

        record_run(job, trained, environment, report=_say)


def _trained(job: TrainingJob, container: Container) -> Trained:
    archive = _archive(container, job)
    production, missing = _production(container, job, archive)
    return train(
        job,
        read_rows(container.training, job),
        production,
        not_compared=missing,
        archive=archive,
        checkpoints=None if container.checkpoints is None else Checkpoints(container.checkpoints, _say),
        report=_say,
    )


def metric_lines(trained: Trained) -> list[str]:
    """Return the lines that the job's metric definitions read, ``validation_accuracy=0.91;`` and the like."""
    metrics = [("validation", trained.validation), ("production", trained.production or {})]
    return [
        f"{side}_{name}={value};" for side, values in metrics for name, value in values.items() if value is not None
    ] + [f"rows_trained={trained.rows};", f"onnx_max_difference={trained.agreement.max_difference};"]


def _hyperparameters(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Train a model under SageMaker's container contract.")
    for name in HYPERPARAMETERS:
        parser.add_argument(f"--{name}")
    given, _ = parser.parse_known_args(arguments)
    values: dict[str, Any] = {name: value for name, value in vars(given).items() if value is not None}
    exact = environment.get("SM_HPS")
    if exact:
        values.update(json.loads(exact))
    return {name: value for name, value in values.items() if name in HYPERPARAMETERS or name.startswith(_IN_PARTS)}


def _archive(container: Container, job: TrainingJob) -> bytes:
    """Read production's artifact as it is stored; nothing where it is not given, or not said which bytes it is to be.

    Raises
    ------
    TrainingError
        Its bytes are not those that were registered: nothing is to be trained beside what somebody has changed.
    """
    archives = [] if container.production is None else sorted(container.production.rglob("model.tar.gz"))
    if not archives or not job.production_sha256:
        return b""
    content = archives[0].read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != job.production_sha256:
        raise TrainingError(
            f"production's artifact has sha256 {found}, but {job.production_sha256} is registered: it was changed; "
            "restore the object, or roll back to another version"
        )
    return content


def _production(container: Container, job: TrainingJob, archive: bytes) -> tuple[Artifact | None, NotCompared | None]:
    """Load production, or say why it can't be compared with."""
    if archive:
        try:
            return Artifact.from_tar(archive, job.production_sha256), None
        except ArtifactError as error:
            return None, NotCompared("refused", str(error))
    if container.production is None and not job.production_sha256:
        return None, None
    if container.production is None or not any(container.production.rglob("model.tar.gz")):
        return None, NotCompared("refused", "channel production holds no model.tar.gz")
    return None, NotCompared("refused", "hyperparameter production_sha256 is missing: pass the registered hash")


def _write_pipeline(folder: Path, trained: Trained) -> None:
    """Keep the scikit-learn pipeline beside the artifact, for people: skops, so no pickle.

    It stays out of the artifact, which holds the same bytes for the same data: skops writes object ids and trees'
    uninitialised padding, and a forest would double what the predict function loads.
    """
    import skops.io

    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(trained.fitted.pipeline(), folder / "model.skops")
    (folder / "metrics.json").write_bytes(
        canonical_json({"validation": dict(trained.validation), "production": trained.production})
    )


def _fail(container: Container, reason: str) -> int:
    line = " ".join(reason.split())[:FAILURE_LENGTH]
    print(f"training failed: {line}", file=sys.stderr, flush=True)
    if container.failure.parent.is_dir():
        container.failure.write_text(line)
    return 1


def _stop(container: Container) -> Any:
    def handler(signum: int, frame: FrameType | None) -> None:
        folder = container.checkpoints
        kept = folder is not None and Checkpoints(folder, _say).has_validation
        _say(
            "stopped on request before the version was complete; "
            + ("the validation is kept for the next attempt" if kept else "nothing was kept")
        )
        os._exit(STOPPED)  # the threads that fit trees don't listen to exceptions

    return handler


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
