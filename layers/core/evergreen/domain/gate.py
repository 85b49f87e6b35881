"""The gate: what a trained model must show on the newest rows before it may run in shadow.

An artifact may come from a user's own image, so nothing is taken for granted of what it says: what is missing or no
number fails a check, with a sentence, and raises nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evergreen.domain.state import Version
from evergreen.model.archive import ANCESTORS
from evergreen.model.schema import FeatureSchema, SchemaError
from evergreen.spec import GateMetric, ModelSpec

FEW_ROWS = "few_rows"
"""Why production was not scored: it was trained on all but a few of the newest rows. Nobody's fault."""
_ROUNDING = 1e-9  # a difference of decimals in binary is not quite the decimal
_MOST_TOLD, _LONGEST_TOLD = 5, 200


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether the candidate passed, each check with its numbers."""

    passed: bool
    because: str
    checks: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        return {"passed": self.passed, "because": self.because, "checks": list(self.checks)}


def judge_candidate(
    spec: ModelSpec, facts: Mapping[str, Any], *, production: Version | None = None, decision_id: str = ""
) -> GateDecision:
    """Judge a trained model by what its job measured.

    Candidate and production were scored on the same newest time slice, on the rows that neither was trained on.

    Parameters
    ----------
    spec
        Says the metric, the minimum and the margin.
    facts
        The artifact's model.json.
    production
        The version that answers now; ``None`` before the first.
    decision_id
        The retraining that the job was started for: an artifact that names another one is another job's.

    Examples
    --------
    >>> spec = ModelSpec.parse({"model": "delay", "task": "regression", "features": {"x": {"type": "number"}}})
    >>> facts = spec.feature_schema().to_json() | {"metrics": {"validation": {"mae": 3.5}}, "leaks": []}
    >>> judge_candidate(spec, facts).because
    "the features are the spec's; mae 3.5000 on the newest rows, no minimum is set; no feature equals the label"
    """
    measured = _mapping(facts.get("metrics"))
    checks = [
        _of_this_job(facts, decision_id),
        _schema(spec, facts),
        _minimum(spec, _mapping(measured.get("validation"))),
        _no_leak(facts),
    ]
    if production is not None:
        checks.append(_not_worse(spec, facts, measured, production))
    return _decided([check for check in checks if check is not None])


def unreadable(because: str) -> GateDecision:
    """The decision on an artifact that can't even be read."""
    return _decided([_check("artifact", False, _short(because))])


def _decided(checks: Sequence[dict[str, Any]]) -> GateDecision:
    failed = [check for check in checks if not check["passed"]]
    return GateDecision(not failed, "; ".join(check["because"] for check in (failed or checks)), tuple(checks))


def _check(name: str, passed: bool, because: str, **numbers: Any) -> dict[str, Any]:
    return {"check": name, "passed": passed, **numbers, "because": because}


def _of_this_job(facts: Mapping[str, Any], decision_id: str) -> dict[str, Any] | None:
    named = facts.get("decision_id")
    if not named or not decision_id or named == decision_id:
        return None
    return _check("decision", False, f"the artifact is of retraining {_short(named)}, not of {decision_id}")


def _schema(spec: ModelSpec, facts: Mapping[str, Any]) -> dict[str, Any]:
    expected = spec.feature_schema()
    try:
        found = FeatureSchema.from_json(facts)
    except (SchemaError, TypeError, AttributeError) as error:
        return _check("schema", False, f"model.json does not say which features the model takes: {_short(error)}")
    claimed = facts.get("schema_fingerprint", found.fingerprint)
    if claimed != found.fingerprint:
        because = f"the schema_fingerprint of model.json ({str(claimed)[:12]}) is not that of its own features"
        return _check("schema", False, because)
    if found.fingerprint == expected.fingerprint:
        return _check("schema", True, "the features are the spec's")
    return _check("schema", False, f"the features are not the spec's: {_difference(expected, found)}")


def _difference(expected: FeatureSchema, found: FeatureSchema) -> str:
    if found.task is not expected.task:
        return f"the task is {found.task.value}, not {expected.task.value}"
    wanted, there = ({f.name: f.kind.value for f in schema.features} for schema in (expected, found))
    told = [f"{name!r} is missing" for name in wanted if name not in there]
    told += [f"{name!r} is unknown" for name in there if name not in wanted]
    told += [f"{name!r} is {there[name]}" for name in wanted if there.get(name, wanted[name]) != wanted[name]]
    if not told:
        return _short(f"the classes are {list(found.classes or ())}, not {list(expected.classes or ())}")
    return _short(", ".join(told[:_MOST_TOLD])) + (
        f" and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    )


def _minimum(spec: ModelSpec, validation: Mapping[str, Any]) -> dict[str, Any]:
    metric, minimum = spec.gate_metric, spec.gate.minimum
    score = _number(validation.get(metric))
    if score is None:
        because = f"{metric} on the newest rows is {_shown(validation, metric)}, no number: the model was not measured"
        return _check("minimum", False, because, metric=metric.value, score=None, threshold=minimum)
    if minimum is None:
        because = f"{metric} {score:.4f} on the newest rows, no minimum is set"
        return _check("minimum", True, because, metric=metric.value, score=score)
    passed = score <= minimum + _ROUNDING if metric.is_an_error else score >= minimum - _ROUNDING
    limit = "the most allowed" if metric.is_an_error else "the minimum"
    because = f"{metric} {score:.4f} on the newest rows, {limit} is {minimum:g}"
    return _check("minimum", passed, because, metric=metric.value, score=score, threshold=minimum)


def _not_worse(
    spec: ModelSpec, facts: Mapping[str, Any], measured: Mapping[str, Any], production: Version
) -> dict[str, Any]:
    metric, margin = spec.gate_metric, spec.gate.margin
    theirs = _mapping(measured.get("production"))
    # On the rows that production was not trained on; artifacts from elsewhere may not tell them apart.
    ours = _mapping(measured.get("candidate")) or _mapping(measured.get("validation"))
    new, old = _number(ours.get(metric)), _number(theirs.get(metric))
    if new is None or old is None:
        return _uncompared(spec, measured, theirs, production)
    if metric.is_of_regression:
        passed = new <= old * (1 + margin) + _ROUNDING
    elif metric.is_an_error:
        passed = new <= old + margin + _ROUNDING
    else:
        passed = new >= old - margin - _ROUNDING
    because = f"{metric} {new:.4f} against production's {old:.4f} on the same rows, margin {margin:g}"
    compared = facts.get("production_sha256")
    if compared and compared != production.sha256:
        because += f" (version {production.number} has taken production's place since: the shadow compares with it)"
    if not passed and _nests(spec, facts, production):
        passed, because = True, f"{because}; production lives on in it, so the shadow compares them"
    return _check("not_worse", passed, because, metric=metric.value, score=new, threshold=old)


def _nests(spec: ModelSpec, facts: Mapping[str, Any], production: Version) -> bool:
    """Whether production's own estimator answers in the candidate too, and weighs by what it costs."""
    ancestors = facts.get(ANCESTORS)
    known = isinstance(ancestors, list) and production.number in ancestors
    return known and spec.freshness.enabled and spec.shadow.proof == "nested"


def _uncompared(
    spec: ModelSpec, measured: Mapping[str, Any], theirs: Mapping[str, Any], production: Version
) -> dict[str, Any]:
    """Rule on a candidate that was not scored beside production: never silently.

    Too few rows that production was not trained on say nothing against either, and the shadow compares them on live
    requests. Any other reason is a rejection, unless the spec says otherwise: it did not show what it had to.
    """
    metric, told = spec.gate_metric, _mapping(measured.get("not_compared"))
    if theirs:
        why = f"its {metric} on these rows is {_shown(theirs, metric)}, no number"
    else:
        why = _short(told.get("because") or "the training job does not say why")
    excused = told.get("code") == FEW_ROWS and not theirs
    passed = excused or spec.gate.uncompared == "pass"
    because = f"not compared with version {production.number} in production: {why}"
    because += "; the shadow compares them" if passed else " (gate.uncompared: pass would let it through)"
    return _check("not_worse", passed, because, compared=False, metric=metric.value, score=None, threshold=None)


def _no_leak(facts: Mapping[str, Any]) -> dict[str, Any]:
    leaks = facts.get("leaks")
    if leaks is None:
        return _check("leak", True, "the training job does not say that it looked for features that equal the label")
    found = leaks if isinstance(leaks, list) else [leaks]
    if not found:
        return _check("leak", True, "no feature equals the label")
    told = [_leak(leak) for leak in found[:_MOST_TOLD]]
    more = f" and {len(found) - len(told)} more" if len(found) > len(told) else ""
    because = f"{', '.join(told)}{more} nearly equal{'s' if len(found) == 1 else ''} the label"
    return _check("leak", False, because, features=told)


def _leak(leak: Any) -> str:
    named = _mapping(leak)
    score = _number(named.get("score"))
    return _short(f"feature {named.get('feature', leak)}") + ("" if score is None else f" (score {score:.4f})")


def _short(text: object) -> str:
    """What somebody else's document says, in the length that an event of the history has room for."""
    return str(text)[:_LONGEST_TOLD]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _shown(scores: Mapping[str, Any], metric: GateMetric) -> str:
    return repr(scores[metric])[:40] if metric in scores else "not there"
