"""The stored rows that a live state learns: matured outcomes, as far as the model takes them."""

from __future__ import annotations

from evergreen.formats.outcome_lines import from_json_lines
from evergreen.model.schema import FeatureSchema, Task
from evergreen.ports import Ports
from evergreen.training.live_stored import LiveRow


def rows_that_fit(key: str, schema: FeatureSchema, ports: Ports) -> tuple[list[LiveRow], int] | None:
    """The rows of a file that can be learned, and how many others it holds; None where it is no longer kept."""
    try:
        stored = from_json_lines(ports.data.get(key))
    except FileNotFoundError:
        return None
    rows = [LiveRow(row.event_id, row.time, row.label_time, row.features, row.actual) for row in stored]
    fitting = [row for row in rows if _fits(row, schema)]
    return fitting, len(rows) - len(fitting)


def _fits(row: LiveRow, schema: FeatureSchema) -> bool:
    """Whether a row's features and label are what the model takes: no other row is the worse for one that isn't."""
    if schema.task is Task.REGRESSION:
        if isinstance(row.actual, str) or not abs(row.actual) < float("inf"):
            return False
    elif str(row.actual) not in (schema.classes or ()):
        return False
    return not schema.validate(row.features)
