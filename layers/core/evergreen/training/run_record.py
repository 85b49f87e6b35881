"""What MLflow is told of a run, from the files of its artifact and what is known of where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["JOB_TAG", "Provenance", "RunRecord", "run_record"]

JOB_TAG = "evergreen.job"
_DIGEST = 36
"""MLflow's limit; the whole hash is in a tag."""
_LONGEST_TAG = 5_000


@dataclass(frozen=True)
class Provenance:
    """Why a version was trained, from what, and by what.

    Parameters
    ----------
    trigger, because, decision_id
        The retraining decision.
    snapshot, manifest
        The data: the hash of the list of files, and the uri of the manifest that names them.
    source_sha256, git_commit
        The code: the packed source, and the commit that the stack was deployed from.
    job_arn
        The SageMaker job.
    """

    trigger: str = ""
    because: str = ""
    decision_id: str = ""
    snapshot: str = ""
    manifest: str = ""
    source_sha256: str = ""
    git_commit: str = ""
    job_arn: str = ""

    def tags(self) -> dict[str, str]:
        """Return MLflow tags of what is known.

        Examples
        --------
        >>> Provenance(trigger="data_drift", git_commit="1f0c").tags()
        {'evergreen.trigger': 'data_drift', 'mlflow.source.git.commit': '1f0c'}
        """
        named = {
            "evergreen.trigger": self.trigger,
            "evergreen.because": self.because,
            "evergreen.decision_id": self.decision_id,
            "evergreen.snapshot": self.snapshot,
            "evergreen.manifest": self.manifest,
            "evergreen.source_sha256": self.source_sha256,
            "evergreen.job_arn": self.job_arn,
            "mlflow.source.git.commit": self.git_commit,
        }
        return {name: value[:_LONGEST_TAG] for name, value in named.items() if value}


@dataclass(frozen=True)
class RunRecord:
    """All that MLflow is told of a run.

    Parameters
    ----------
    model, job
        The model's name and the job's: one run a job, however often it is told.
    files
        The artifact: model.onnx, model.json, reference.json.
    provenance
        Where it comes from.
    facts
        What model.json says.
    told_by
        Who tells, for the reader: the job, or update_registry.
    """

    model: str
    job: str
    files: Mapping[str, bytes]
    provenance: Provenance
    facts: Mapping[str, Any] = field(default_factory=dict)
    told_by: str = "the training job"

    def tags(self) -> dict[str, str]:
        """Return the run's tags."""
        described = {"evergreen.model": self.model, JOB_TAG: self.job, "evergreen.told_by": self.told_by}
        where = {"mlflow.source.name": f"evergreen/{self.job}", "mlflow.source.type": "JOB"}
        return {**described, **where, "mlflow.note.content": self.note(), **self.provenance.tags()}

    def note(self) -> str:
        """Return the run's description: what was trained, from when to when, and why."""
        facts, why = self.facts, self.provenance
        told = f"{facts.get('estimator', 'A model')} on {facts.get('rows_trained', 0):,} rows"
        if facts.get("trained_from") and facts.get("trained_until"):
            told += f" from {facts['trained_from'][:10]} to {facts['trained_until'][:10]}"
        return f"{told}. Trigger: {why.trigger}: {why.because}" if why.trigger else f"{told}."

    def params(self) -> dict[str, str]:
        """Return the run's parameters: estimator, seed, task and what the estimator was given."""
        given = {name: self.facts.get(name) for name in ("estimator", "seed", "task", "trained_from", "trained_until")}
        return {
            name: str(value) for name, value in {**given, **self.facts.get("params", {})}.items() if value is not None
        }

    def metrics(self) -> dict[str, float]:
        """Return what was measured: on the newest rows, and beside production on the rows that it had not seen."""
        sides = self.facts.get("metrics") or {}
        measured = {
            f"{side}_{name}": value
            for side in ("validation", "production", "candidate", "baseline")
            for name, value in (sides.get(side) or {}).items()
        }
        for name in ("rows_trained", "rows_validated", "onnx_max_difference", "onnx_disagreeing_share"):
            measured[name] = self.facts.get(name)
        return {name: float(value) for name, value in measured.items() if value is not None}

    def dataset(self) -> dict[str, str] | None:
        """Return the dataset, as MLflow names its parts; None where no snapshot is known."""
        if not self.provenance.snapshot:
            return None
        source = {"uri": self.provenance.manifest, "sha256": self.provenance.snapshot}
        columns = [
            {"name": feature["name"], "type": "double" if feature["type"] == "number" else "string"}
            for feature in self.facts.get("features", ())
        ]
        return {
            "name": self.model,
            "digest": self.provenance.snapshot[:_DIGEST],
            "source_type": "s3",
            "source": json.dumps(source),
            "schema": json.dumps({"mlflow_colspec": columns}),
            "profile": json.dumps({"num_rows": self.facts.get("rows_trained", 0)}),
        }


def run_record(
    model: str,
    job: str,
    files: Mapping[str, bytes],
    provenance: Provenance,
    *,
    told_by: str = "the training job",
) -> RunRecord:
    """Return the record of a run, from the files of its artifact.

    Examples
    --------
    >>> facts = b'{"estimator": "SGDClassifier", "rows_trained": 1200, "metrics": {"validation": {"accuracy": 0.9}}}'
    >>> record = run_record("churn", "churn-1-0", {"model.json": facts}, Provenance())
    >>> record.metrics(), record.note()
    ({'validation_accuracy': 0.9, 'rows_trained': 1200.0}, 'SGDClassifier on 1,200 rows.')
    """
    return RunRecord(model, job, files, provenance, json.loads(files["model.json"]), told_by)
