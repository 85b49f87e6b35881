"""Labelled rows as typed columns: what the recipe learns from. Away from pyarrow, which learn_live does without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.model.schema import MISSING_CATEGORY, FeatureSchema, Kind

if TYPE_CHECKING:
    from evergreen.model.schema import Columns

__all__ = ["Category", "Rows"]


@dataclass(frozen=True)
class Category:
    """A categorical column as codes into its sorted values; a missing one is the empty string."""

    codes: npt.NDArray[np.int64]
    values: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Category:
        """Take a column of texts.

        Examples
        --------
        >>> Category.of(["b", "", "b"]).values
        ('', 'b')
        """
        values = sorted(set(texts))
        code = {value: index for index, value in enumerate(values)}
        return cls(np.array([code[text] for text in texts], dtype=np.int64), tuple(values))

    def texts(self) -> npt.NDArray[Any]:
        """Return the column as object (str) ``[N]``."""
        values = np.empty(len(self.values), dtype=object)
        values[:] = self.values
        column: npt.NDArray[Any] = values[self.codes]
        return column


@dataclass(frozen=True)
class Rows:
    """Labelled rows, oldest first.

    Parameters
    ----------
    schema
        Their features and, once known, classes.
    times
        Inference times, microseconds since 1970 in UTC, ``[N]``.
    numbers
        Float64 ``[N]`` per number feature, NaN for missing.
    categories
        Codes ``[N]`` per categorical feature.
    actual
        The labels: object (str) ``[N]`` for classification, float64 ``[N]`` for regression.
    """

    schema: FeatureSchema
    times: npt.NDArray[np.int64]
    numbers: dict[str, npt.NDArray[np.float64]]
    categories: dict[str, Category]
    actual: npt.NDArray[Any]

    @classmethod
    def of_json(
        cls,
        schema: FeatureSchema,
        rows: Sequence[Mapping[str, Any]],
        actual: Sequence[Any],
        times: Sequence[datetime] = (),
    ) -> Rows:
        """Take rows given as JSON objects (see ``FeatureSchema.validate``) with their labels.

        Examples
        --------
        >>> schema = FeatureSchema.of("regression", {"x": "number", "plan": "categorical"})
        >>> rows = Rows.of_json(schema, [{"x": 1, "plan": "b"}, {"x": None, "plan": "a"}], [0.5, 1.5])
        >>> rows.numbers["x"].tolist(), rows.categories["plan"].values, rows.categories["plan"].codes.tolist()
        ([1.0, nan], ('a', 'b'), [1, 0])
        """
        return cls(
            schema,
            np.array([round(time.timestamp() * 1_000_000) for time in times] or [0] * len(rows), dtype=np.int64),
            {name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in schema.numbers},
            {name: Category.of([row.get(name) or MISSING_CATEGORY for row in rows]) for name in schema.categoricals},
            np.array(actual, dtype=object if schema.task.is_classification else np.float64),
        )

    @classmethod
    def of_columns(cls, schema: FeatureSchema, columns: Columns) -> Rows:
        """Take the model's inputs (:meth:`FeatureSchema.columns`) of rows that have no label yet."""
        count = len(next(iter(columns.values())))
        return cls(
            schema,
            np.zeros(count, dtype=np.int64),
            {name: columns[name] for name in schema.numbers},
            {name: Category.of(columns[name].tolist()) for name in schema.categoricals},
            np.zeros(count),
        )

    def __len__(self) -> int:
        return len(self.times)

    def slice(self, start: int, stop: int) -> Rows:
        """Return the rows from ``start`` up to ``stop``, sharing memory."""
        part = slice(start, stop)
        return Rows(
            self.schema,
            self.times[part],
            {name: column[part] for name, column in self.numbers.items()},
            {name: Category(column.codes[part], column.values) for name, column in self.categories.items()},
            self.actual[part],
        )

    def take(self, chosen: npt.NDArray[Any]) -> Rows:
        """Return the rows of an index or mask array."""
        return Rows(
            self.schema,
            self.times[chosen],
            {name: column[chosen] for name, column in self.numbers.items()},
            {name: Category(column.codes[chosen], column.values) for name, column in self.categories.items()},
            self.actual[chosen],
        )

    def columns(self) -> Columns:
        """Return the model's inputs, as the schema would encode the same rows (:meth:`FeatureSchema.columns`)."""
        return {
            feature.name: self.numbers[feature.name].astype(np.float32)
            if feature.kind is Kind.NUMBER
            else self.categories[feature.name].texts()
            for feature in self.schema.features
        }

    def raw_columns(self) -> Columns:
        """Return the columns as captures hold them, for profiles: float64, and None for a missing category."""
        raw: Columns = dict(self.numbers)
        for name, category in self.categories.items():
            texts = category.texts()
            texts[texts == MISSING_CATEGORY] = None
            raw[name] = texts
        return {name: raw[name] for name in self.schema.names}

    def time(self, index: int) -> datetime:
        """Return the inference time of one row."""
        return datetime.fromtimestamp(int(self.times[index]) // 1_000_000, timezone.utc).replace(
            microsecond=int(self.times[index]) % 1_000_000
        )
