"""Labelled rows from before, of a model with one number: what a first training learns from."""

from datetime import timedelta

import numpy as np
import pyarrow as pa

from evergreen.formats.outcomes import outcome_schema


def base_rows(spec, now, count=400):
    """Rows of the minutes until three days ago: the larger ``x``, the likelier label 1."""
    random = np.random.default_rng(0)
    x = random.normal(size=count)
    schema = outcome_schema(spec.feature_schema())
    times = [now - timedelta(days=3) - timedelta(minutes=count - row) for row in range(count)]
    columns = {
        "event_id": [f"row-{row:04d}" for row in range(count)],
        "inference_time": times,
        "label_time": times,
        "actual": np.where(x + 0.3 * random.normal(size=count) > 0, "1", "0").tolist(),
        "feature.x": x,
    }
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in schema], schema=schema)
