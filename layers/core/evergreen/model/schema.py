"""What a model takes and answers: its features in order, their kinds, its classes, and one fingerprint of it all.

Runs in every function that reads a spec and inside the training job (Python 3.10); numpy is imported only where rows
are encoded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from evergreen.errors import EvergreenError

Columns = dict[str, Any]
"""One numpy array per feature, float32 ``[N]`` for numbers and object (str) ``[N]`` for categories."""

__all__ = ["Feature", "FeatureSchema", "Kind", "SchemaError", "Task"]

FEATURE_PREFIX = "feature."
"""How the columns of a table of captures, outcomes or labelled rows that hold a feature begin."""

MODEL_NAME = r"^[a-z][a-z0-9_]{0,39}$"
"""What a model may be called."""

MISSING_CATEGORY = ""
"""How a missing category is encoded. A missing number is NaN."""

_Choice = TypeVar("_Choice", bound=Enum)
_FLOAT32_LIMIT = (2.0 - 2.0**-23) * 2.0**127


class Task(str, Enum):
    """What a model learns. Compares equal to the plain string of a model spec."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def is_classification(self) -> bool:
        """Whether the answer is a class label."""
        return self is not Task.REGRESSION


class Kind(str, Enum):
    """The two kinds of feature."""

    NUMBER = "number"
    CATEGORICAL = "categorical"


class SchemaError(EvergreenError, ValueError):
    """A feature schema that can't be: an unknown task or kind, a repeated feature, classes that do not fit the task."""


@dataclass(frozen=True)
class Feature:
    """One input of a model."""

    name: str
    kind: Kind

    def __post_init__(self) -> None:
        if not self.name:
            raise SchemaError("a feature has an empty name; give every feature a name")
        object.__setattr__(self, "kind", _member(Kind, self.kind, f"feature {self.name!r} has type"))


@dataclass(frozen=True)
class FeatureSchema:
    """The features of a model in their order, its task and, once it has been trained, its classes (sorted strings).

    Parameters
    ----------
    task
        Binary, multiclass or regression.
    features
        At least one, names unique. Order is the order of the model's inputs; the fingerprint does not depend on it.
    classes
        The labels a classifier can answer, sorted; ``None`` for regression, or when nothing was trained yet.

    Examples
    --------
    >>> schema = FeatureSchema.of("binary", {"distance": "number", "carrier": "categorical"}, classes=["1", "0"])
    >>> schema.classes, schema.positive_class
    (('0', '1'), '1')
    >>> schema.columns([{"distance": 1400, "carrier": None}])
    {'distance': array([1400.], dtype=float32), 'carrier': array([''], dtype=object)}
    >>> schema.validate({"distance": "far"})
    ["feature 'distance' is 'far', not a number; send a JSON number or null", "feature 'carrier' is missing; send it, \
or null if its value is unknown"]
    """

    task: Task
    features: tuple[Feature, ...]
    classes: tuple[str, ...] | None = None
    _kinds: dict[str, Kind] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", _member(Task, self.task, "the task is"))
        object.__setattr__(self, "features", tuple(self.features))
        if not self.features:
            raise SchemaError("a model needs at least one feature; name them under features")
        kinds = {feature.name: feature.kind for feature in self.features}
        if len(kinds) != len(self.features):
            names = [feature.name for feature in self.features]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise SchemaError(f"features {twice} appear more than once; keep one of each")
        object.__setattr__(self, "_kinds", kinds)
        if self.classes is not None:
            object.__setattr__(self, "classes", _classes(self.task, self.classes))

    @classmethod
    def of(
        cls, task: str | Task, features: Mapping[str, str | Kind], classes: Iterable[str] | None = None
    ) -> FeatureSchema:
        """Build a schema from plain strings, as a model spec has them."""
        return cls(
            _member(Task, task, "the task is"),
            tuple(Feature(name, _member(Kind, kind, f"feature {name!r} has type")) for name, kind in features.items()),
            None if classes is None else tuple(classes),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(self._kinds)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the number features, in order."""
        return tuple(name for name, kind in self._kinds.items() if kind is Kind.NUMBER)

    @property
    def categoricals(self) -> tuple[str, ...]:
        """The names of the categorical features, in order."""
        return tuple(name for name, kind in self._kinds.items() if kind is Kind.CATEGORICAL)

    @property
    def positive_class(self) -> str | None:
        """The class whose probability a binary model is about: the second one in sorted order."""
        return self.classes[1] if self.task is Task.BINARY and self.classes is not None else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of task, features by name and classes: equal for versions that can stand in for each other.

        Examples
        --------
        >>> one = FeatureSchema.of("regression", {"a": "number", "b": "categorical"})
        >>> other = FeatureSchema.of("regression", {"b": "categorical", "a": "number"})
        >>> one.fingerprint == other.fingerprint
        True
        """
        content = {
            "task": self.task.value,
            "features": sorted([feature.name, feature.kind.value] for feature in self.features),
            "classes": None if self.classes is None else list(self.classes),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def with_classes(self, classes: Iterable[str] | None) -> FeatureSchema:
        """Return the same schema with the classes found in training."""
        return FeatureSchema(self.task, self.features, None if classes is None else tuple(classes))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that :meth:`from_json` reads (the same keys as model.json)."""
        return {
            "task": self.task.value,
            "features": [{"name": feature.name, "type": feature.kind.value} for feature in self.features],
            "classes": None if self.classes is None else list(self.classes),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FeatureSchema:
        """Read a schema out of a JSON object with ``task``, ``features`` and ``classes``, such as a model.json.

        Raises
        ------
        SchemaError
            A key is missing or holds what it can't.
        """
        try:
            task, features = content["task"], [(entry["name"], entry["type"]) for entry in content["features"]]
        except (KeyError, TypeError) as error:
            raise SchemaError(
                f"a feature schema needs task and features [{{name, type}}], but reading it failed on {error}"
            ) from error
        classes = content.get("classes")
        return cls(
            _member(Task, task, "the task is"),
            tuple(Feature(name, _member(Kind, kind, f"feature {name!r} has type")) for name, kind in features),
            None if classes is None else tuple(classes),
        )

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Columns:
        """Encode rows as the model's inputs. Rows are taken as valid: see :meth:`validate`.

        Parameters
        ----------
        rows
            JSON objects by feature name; null or absent is missing.

        Returns
        -------
        dict
            Per feature: float32 ``[N]`` with NaN for missing, or object (str) ``[N]`` with ``""`` for missing.
        """
        import numpy as np

        encoded: Columns = {}
        for name, kind in self._kinds.items():
            if kind is Kind.NUMBER:
                encoded[name] = np.array([row.get(name) for row in rows], dtype=np.float32)
            else:
                column = np.empty(len(rows), dtype=object)
                column[:] = [row.get(name) or MISSING_CATEGORY for row in rows]
                encoded[name] = column
        return encoded

    def validate(self, row: Mapping[str, Any]) -> list[str]:
        """Say what keeps one request's row from being scored; an empty list when nothing does.

        Null is a missing value and allowed. Every feature has to be named, so that a misspelt one is not
        taken for missing; NaN, infinity and booleans are no numbers here.
        """
        problems = []
        for name, kind in self._kinds.items():
            if name not in row:
                problems.append(f"feature {name!r} is missing; send it, or null if its value is unknown")
                continue
            value = row[name]
            if value is None:
                continue
            if kind is Kind.CATEGORICAL:
                if not isinstance(value, str):
                    problems.append(f"feature {name!r} is {value!r}, not a string; send a JSON string or null")
            elif isinstance(value, bool) or not isinstance(value, (int, float)):
                problems.append(f"feature {name!r} is {value!r}, not a number; send a JSON number or null")
            elif not -_FLOAT32_LIMIT <= value <= _FLOAT32_LIMIT:
                shown = value if isinstance(value, float) else "an integer too large for float32"
                problems.append(f"feature {name!r} is {shown}, not a finite float32; send null if its value is unknown")
        if len(row) > len(self._kinds) or problems:
            problems += [
                f"feature {name!r} is unknown; the model takes {', '.join(self._kinds)}"
                for name in row
                if name not in self._kinds
            ]
        return problems


def _classes(task: Task, classes: Sequence[str]) -> tuple[str, ...]:
    if not task.is_classification:
        raise SchemaError(f"a regression has no classes, but got {list(classes)}; leave them out")
    wrong = [label for label in classes if not isinstance(label, str)]
    if wrong:
        raise SchemaError(f"class {wrong[0]!r} is a {type(wrong[0]).__name__}; class labels are strings")
    found = tuple(sorted(set(classes)))
    if task is Task.BINARY and len(found) != 2:
        raise SchemaError(f"a binary task has 2 classes, but got {len(found)}: {list(found)[:5]}; use task multiclass")
    if len(found) < 2:
        raise SchemaError(f"a classification has 2 classes or more, but got {list(found)}")
    return found


def _member(choices: type[_Choice], value: object, what: str) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(member.value for member in choices)
        raise SchemaError(f"{what} {value!r}; choose one of {known}") from None
