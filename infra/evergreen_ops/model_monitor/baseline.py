"""SageMaker Model Monitor's baselines and violations: statistics.json and constraints.json in, violations out.

Formats: AWS documentation, model-monitor-byoc-statistics, model-monitor-byoc-constraints and
model-monitor-interpreting-violations. Distances: Deequ's (Schelter et al., "Automating Large-Scale Data Quality
Verification", VLDB 2018), on which Model Monitor's containers are built.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evergreen.errors import EvergreenError
from evergreen.model.schema import Kind

__all__ = ["Baseline", "BaselineError", "Column", "Violation", "find_violations", "violations_json"]

_ROBUST = 1.8
"""What Deequ takes off a distance, times the sampling error of two samples: small ones differ by chance."""

_PLACES = 50
"""Into how many a bucket of a histogram is spread, where there is no sketch."""


class BaselineError(EvergreenError, ValueError):
    """A statistics.json or constraints.json that can't be read; says which file and key."""


class InferredType(StrEnum):
    """What Model Monitor took a column for."""

    INTEGRAL = "Integral"
    FRACTIONAL = "Fractional"
    STRING = "String"
    UNKNOWN = "Unknown"

    @property
    def kind(self) -> Kind:
        """The kind of feature it is here."""
        return Kind.NUMBER if self in (InferredType.INTEGRAL, InferredType.FRACTIONAL) else Kind.CATEGORICAL


@dataclass(frozen=True, slots=True)
class Column:
    """What the baseline says of a column.

    Parameters
    ----------
    name
        The column's name.
    type
        What it was taken for.
    completeness
        The least share of values that are there.
    non_negative
        Whether no value may be below zero.
    domain
        The values a text column may have; None where that is not said.
    points, weights
        A weighted sample of a number column (its KLL sketch, or the middles of its buckets), sorted; empty for text.
    counts
        How often a text column had each value.
    rows
        Values that the distribution is of.
    """

    name: str
    type: InferredType
    completeness: float = 1.0
    non_negative: bool = False
    domain: tuple[str, ...] | None = None
    points: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Baseline:
    """A data-quality baseline: its columns, and when a difference counts."""

    columns: tuple[Column, ...]
    type_match: float = 1.0  # the share of values that have to be of the column's type
    domain_match: float = 1.0  # the share of texts that have to be of its domain
    compares: bool = True
    threshold: float = 0.1
    categorical_threshold: float = 0.1
    robust: bool = True

    @classmethod
    def read(cls, statistics: bytes, constraints: bytes) -> Baseline:
        """Read both files of a baseline job.

        Raises
        ------
        BaselineError
            A file is no JSON, or has no features.
        """
        measured = {entry.get("name"): entry for entry in _features(statistics, "statistics.json")}
        document = _document(constraints, "constraints.json")
        columns = tuple(_column(entry, measured.get(entry.get("name"), {})) for entry in _features_of(document))
        config = document.get("monitoring_config") or {}
        comparison = config.get("distribution_constraints") or {}
        threshold = float(comparison.get("comparison_threshold", 0.1))
        return cls(
            columns=columns,
            type_match=float(config.get("datatype_check_threshold", 1.0)),
            domain_match=float(config.get("domain_content_threshold", 1.0)),
            compares=comparison.get("perform_comparison", "Enabled") == "Enabled",
            threshold=threshold,
            categorical_threshold=float(comparison.get("categorical_comparison_threshold", threshold)),
            robust=comparison.get("comparison_method", "Robust") == "Robust",
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """One constraint that the data does not meet, in Model Monitor's words."""

    feature_name: str
    constraint_check_type: str
    description: str


def find_violations(columns: Mapping[str, NDArray[Any]], baseline: Baseline) -> tuple[Violation, ...]:
    """Hold a window of data against a baseline.

    Parameters
    ----------
    columns
        Of the window, each ``[N]``: float64 with NaN for a missing value, or object (str) with None.
    baseline
        What it has to meet.

    Returns
    -------
    tuple of Violation
        In the baseline's order of columns; the numbers of columns come first.

    Examples
    --------
    >>> age = Column("age", InferredType.FRACTIONAL, points=(20.0, 30.0, 40.0), weights=(1.0,) * 3, rows=300)
    >>> found = find_violations({"age": np.full(300, 90.0)}, Baseline((age,)))
    >>> [violation.constraint_check_type for violation in found]
    ['baseline_drift_check']
    """
    expected = {column.name for column in baseline.columns}
    found = _numbers_of_columns(set(columns), expected)
    for column in baseline.columns:
        if column.name in columns:
            found += _of_column(column, columns[column.name], baseline)
    return tuple(found)


def violations_json(violations: Sequence[Violation]) -> bytes:
    """Write constraint_violations.json.

    Examples
    --------
    >>> violations_json([])
    b'{"violations": []}'
    """
    rows = [
        {
            "feature_name": violation.feature_name,
            "constraint_check_type": violation.constraint_check_type,
            "description": violation.description,
        }
        for violation in violations
    ]
    return json.dumps({"violations": rows}).encode()


def _numbers_of_columns(found: set[str], expected: set[str]) -> list[Violation]:
    missing, extra = sorted(expected - found), sorted(found - expected)
    counted = f"Number of columns in current dataset: {len(found)}, in baseline constraints: {len(expected)}."
    violations = []
    if missing:
        violations.append(
            Violation(
                "Missing columns", "missing_column_check", f"There are missing columns: {', '.join(missing)}. {counted}"
            )
        )
    if extra:
        violations.append(
            Violation("Extra columns", "extra_column_check", f"There are extra columns: {', '.join(extra)}. {counted}")
        )
    return violations


def _of_column(column: Column, values: NDArray[Any], baseline: Baseline) -> list[Violation]:
    present = values[~np.isnan(values)] if values.dtype == np.float64 else values[[v is not None for v in values]]
    checks = [_completeness(column, len(present), len(values))]
    if len(present):
        checks += [_type(column, present, baseline), _domain(column, present, baseline)]
        checks += [_sign(column, present), _drift(column, present, baseline)]
    return [found for found in checks if found is not None]


def _completeness(column: Column, present: int, rows: int) -> Violation | None:
    share = present / rows if rows else 0.0
    if share >= column.completeness:
        return None
    return Violation(
        column.name,
        "completeness_check",
        f"Completeness requirement is not met. Expected: {column.completeness:.1%} of the values. "
        f"Observed: {share:.1%} of {rows:,}.",
    )


def _type(column: Column, present: NDArray[Any], baseline: Baseline) -> Violation | None:
    share = _share_of_type(column.type, present)
    if share >= baseline.type_match:
        return None
    return Violation(
        column.name,
        "data_type_check",
        f"Data type match requirement is not met. Expected data type: {column.type}, Expected match: "
        f"{baseline.type_match:.1%}. Observed: Only {share:.1%} of data is {column.type}.",
    )


def _share_of_type(wanted: InferredType, present: NDArray[Any]) -> float:
    is_number = present.dtype == np.float64
    match wanted:
        case InferredType.UNKNOWN:
            return 1.0
        case InferredType.STRING:
            return 0.0 if is_number else 1.0
        case InferredType.FRACTIONAL:
            return 1.0 if is_number else 0.0
        case InferredType.INTEGRAL:
            return float(np.mean(present == np.floor(present))) if is_number else 0.0


def _domain(column: Column, present: NDArray[Any], baseline: Baseline) -> Violation | None:
    if column.domain is None or present.dtype == np.float64:
        return None
    known = set(column.domain)
    strangers = Counter(value for value in present.tolist() if value not in known)
    share = 1 - strangers.total() / len(present)
    if share >= baseline.domain_match:
        return None
    return Violation(
        column.name,
        "categorical_values_check",
        f"{len(strangers):,} unknown values, the most frequent {strangers.most_common(1)[0][0]!r}. Expected: "
        f"{baseline.domain_match:.1%} of the values known to the baseline. Observed: {share:.1%}.",
    )


def _sign(column: Column, present: NDArray[Any]) -> Violation | None:
    if not column.non_negative or present.dtype != np.float64 or (least := float(present.min())) >= 0:
        return None
    below = f"{int(np.sum(present < 0)):,} of {len(present):,} are negative, the least {least:g}"
    # The file's schema has no check of its own for signs.
    return Violation(column.name, "data_type_check", f"The values are to be non-negative. Observed: {below}.")


def _drift(column: Column, present: NDArray[Any], baseline: Baseline) -> Violation | None:
    if not baseline.compares or not column.rows:
        return None
    if present.dtype == np.float64 and column.points:
        distance, limit = _largest_gap(column, present), baseline.threshold
    elif present.dtype != np.float64 and column.counts:
        distance, limit = _largest_share_gap(column.counts, present.tolist()), baseline.categorical_threshold
    else:
        return None
    if baseline.robust:
        sampling = math.sqrt((column.rows + len(present)) / (column.rows * len(present)))
        distance = max(0.0, distance - _ROBUST * sampling)
    if distance <= limit:
        return None
    return Violation(
        column.name, "baseline_drift_check", f"Baseline drift distance: {distance:.6f} exceeds threshold: {limit:g}."
    )


def _largest_gap(column: Column, present: NDArray[np.float64]) -> float:
    """The largest difference of the two cumulative distributions."""
    points, weights = np.array(column.points), np.array(column.weights)
    below = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    places = np.union1d(points, present)
    ours = np.searchsorted(np.sort(present), places, side="right") / len(present)
    theirs = below[np.searchsorted(points, places, side="right")]
    return float(np.abs(ours - theirs).max())


def _largest_share_gap(counts: Mapping[str, int], present: Sequence[str]) -> float:
    found, total = Counter(present), sum(counts.values())
    return max(abs(counts.get(v, 0) / total - found[v] / len(present)) for v in {*counts, *found})


def _document(body: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BaselineError(f"{name} is no JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        raise BaselineError(f"{name} has no list of features: give the file that the baseline job wrote")
    return document


def _features(body: bytes, name: str) -> list[dict[str, Any]]:
    return [entry for entry in _document(body, name)["features"] if isinstance(entry, dict)]


def _features_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in document["features"] if isinstance(entry, dict)]


def _column(constraint: Mapping[str, Any], measured: Mapping[str, Any]) -> Column:
    name = constraint.get("name")
    if not isinstance(name, str):
        raise BaselineError(f"constraints.json has a feature without a name: {sorted(constraint)}")
    try:
        kind = InferredType(constraint.get("inferred_type", "Unknown"))
    except ValueError as error:
        known = ", ".join(InferredType)
        raise BaselineError(f"constraints.json: feature {name!r}: {error}; one of {known} is expected") from error
    numbers = measured.get("numerical_statistics") or {}
    texts = measured.get("string_statistics") or {}
    points, weights = _sample(numbers)
    buckets = (texts.get("distribution") or {}).get("categorical", {}).get("buckets", [])
    counts = {str(bucket["value"]): int(bucket["count"]) for bucket in buckets}
    domain = (constraint.get("string_constraints") or {}).get("domains")
    present = (numbers or texts).get("common", {}).get("num_present", 0)
    return Column(
        name=name,
        type=kind,
        completeness=float(constraint.get("completeness", 1.0)),
        non_negative=bool((constraint.get("num_constraints") or {}).get("is_non_negative", False)),
        domain=None if not domain else tuple(map(str, domain)),
        points=points,
        weights=weights,
        counts=counts,
        rows=int(present),
    )


def _sample(numbers: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A weighted sample of a number column: a KLL sketch's level i holds values of weight 2**i."""
    sketch = (numbers.get("distribution") or {}).get("kll") or {}
    levels = (sketch.get("sketch") or {}).get("data") or []
    pairs = [(float(value), float(2**level)) for level, values in enumerate(levels) for value in values]
    if not pairs:
        pairs = [
            (float(place), float(bucket["count"]) / _PLACES)
            for bucket in sketch.get("buckets") or []
            if bucket["count"]
            for place in np.linspace(float(bucket["lower_bound"]), float(bucket["upper_bound"]), _PLACES)
        ]
    pairs.sort()
    return tuple(value for value, _ in pairs), tuple(weight for _, weight in pairs)
