"""The stored rows that a live state learns: outcomes, as far as the model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from evergreen.formats.outcome_lines import from_json_lines
from evergreen.model.schema import FeatureSchema, Task
from evergreen.ports import Ports
from evergreen.training.live_stored import LiveRow


@lru_cache(maxsize=64)
def kept_rows(key: str, etag: str, schema: FeatureSchema, ports: Ports) -> tuple[Sequence[LiveRow], int] | None:
    """What :func:`rows_that_fit` says: a file never changes under its ETag, and is read again while rows of it wait."""
    return rows_that_fit(key, schema, ports)


def rows_that_fit(key: str, schema: FeatureSchema, ports: Ports) -> tuple[Sequence[LiveRow], int] | None:
    """The rows of a file that can be learned, and how many others it holds; None where it is no longer kept."""
    try:
        stored = from_json_lines(ports.data.get(key))
    except FileNotFoundError:
        return None
    rows = [LiveRow(row.event_id, row.time, row.label_time, row.features, row.actual, row.states) for row in stored]
    fitting = tuple(row for row in rows if _fits(row, schema))
    return fitting, len(rows) - len(fitting)


def _fits(row: LiveRow, schema: FeatureSchema) -> bool:
    """Whether a row's features and label are what the model takes: no other row is the worse for one that isn't."""
    if schema.task is Task.REGRESSION:
        if isinstance(row.actual, str) or not abs(row.actual) < float("inf"):
            return False
    elif str(row.actual) not in (schema.classes or ()):
        return False
    return not schema.validate(row.features)
