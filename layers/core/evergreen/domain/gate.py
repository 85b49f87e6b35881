"""The gate: what a trained model must show on the newest rows before it may run in shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evergreen.schema import Task
from evergreen.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether the candidate passed, each check with its numbers."""

    passed: bool
    because: str
    checks: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        return {"passed": self.passed, "because": self.because, "checks": list(self.checks)}


def judge_candidate(spec: ModelSpec, model_json: dict[str, Any]) -> GateDecision:
    """Judge a trained model by what its job measured (`model.json` of the artifact).

    Candidate and production were scored on the same newest time slice. The score is accuracy, or for regression the
    mean absolute error relative to production's.
    """
    validation = model_json["metrics"]["validation"]
    production = model_json["metrics"].get("production")
    checks = [
        _fingerprint(spec, model_json),
        _minimum(spec, validation),
        _no_leak(model_json),
    ]
    if production is not None:
        # On the rows that production was not trained on; artifacts from elsewhere may not tell them apart.
        candidate = model_json["metrics"].get("candidate") or validation
        checks.append(_not_worse(spec, candidate, production))
    failed = [check for check in checks if not check["passed"]]
    because = "; ".join(check["because"] for check in (failed or checks))
    return GateDecision(not failed, because, tuple(checks))


def _fingerprint(spec: ModelSpec, model_json: dict[str, Any]) -> dict[str, Any]:
    expected, found = spec.feature_schema().fingerprint, model_json["schema_fingerprint"]
    same = expected == found
    because = (
        "the features are the spec's" if same else f"the features ({found[:12]}) are not the spec's ({expected[:12]})"
    )
    return {"check": "schema", "passed": same, "because": because}


def _minimum(spec: ModelSpec, validation: dict[str, Any]) -> dict[str, Any]:
    minimum = spec.gate.minimum
    metric = _metric(spec)
    score = validation[metric]
    if minimum is None:
        because = f"{metric} {score:.4f} on the newest rows; no minimum is set"
        return {"check": "minimum", "passed": True, "score": score, "because": because}
    passed = score <= minimum if spec.task is Task.REGRESSION else score >= minimum
    because = f"{metric} {score:.4f} on the newest rows, the minimum is {minimum}"
    return {"check": "minimum", "passed": passed, "score": score, "threshold": minimum, "because": because}


def _not_worse(spec: ModelSpec, validation: dict[str, Any], production: dict[str, Any]) -> dict[str, Any]:
    metric, margin = _metric(spec), spec.gate.margin
    new, old = validation[metric], production[metric]
    passed = new <= old * (1 + margin) if spec.task is Task.REGRESSION else new >= old - margin
    because = f"{metric} {new:.4f} against production's {old:.4f} on the same rows, margin {margin}"
    return {"check": "not_worse", "passed": passed, "score": new, "threshold": old, "because": because}


def _no_leak(model_json: dict[str, Any]) -> dict[str, Any]:
    leaks = [leak["feature"] for leak in model_json.get("leaks", [])]
    because = f"feature {', '.join(leaks)} nearly equals the label" if leaks else "no feature equals the label"
    return {"check": "leak", "passed": not leaks, "because": because}


def _metric(spec: ModelSpec) -> str:
    return "mae" if spec.task is Task.REGRESSION else "accuracy"
