"""Outcomes as JSON Lines, for a function without pyarrow: with scikit-learn it is more than a Lambda holds.

`online-rows/...jsonl.gz` lies beside `outcomes/...parquet` and holds the same rows without the shadow's answers.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from evergreen.domain.pairs import OutcomeRow
from evergreen.model.schema import FEATURE_PREFIX

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_json_lines(table: pa.Table, states: Mapping[str, Mapping[int, int]] | None = None) -> bytes:
    """Write outcomes as gzipped lines; the same, the same bytes.

    Parameters
    ----------
    table
        See :func:`evergreen.formats.outcomes.outcome_schema`.
    states
        By the id of the request, the live state that each version answered by, where that is known.
    """
    lines = []
    for row in table.to_pylist():
        features = {name.removeprefix(FEATURE_PREFIX): row[name] for name in row if name.startswith(FEATURE_PREFIX)}
        times = {name: (row[name] - _EPOCH) // _MICROSECOND for name in ("inference_time", "label_time")}
        kept = ("event_id", "production_version", "prediction", "probabilities", "actual", "group")
        known = (states or {}).get(row["event_id"])
        said = {"states": sorted(known.items())} if known else {}
        lines.append(orjson.dumps({name: row[name] for name in kept} | times | said | {"features": features}))
    return gzip.compress(b"\n".join(lines), mtime=0)


def from_json_lines(body: bytes) -> list[OutcomeRow]:
    """Read what :func:`to_json_lines` wrote.

    Examples
    --------
    >>> line = (b'{"event_id": "order-1", "inference_time": 0, "label_time": 60000000, "production_version": 2, '
    ...         b'"prediction": "1", "probabilities": [0.2, 0.8], "actual": "0", '
    ...         b'"group": null, "features": {"age": 41}}')
    >>> (row,) = from_json_lines(gzip.compress(line))
    >>> row.version, row.actual, row.label_time - row.time
    (2, '0', datetime.timedelta(seconds=60))
    """
    return [_row(orjson.loads(line)) for line in gzip.decompress(body).splitlines() if line]


def _row(line: Mapping[str, Any]) -> OutcomeRow:
    return OutcomeRow(
        event_id=line["event_id"],
        time=_EPOCH + line["inference_time"] * _MICROSECOND,
        label_time=_EPOCH + line["label_time"] * _MICROSECOND,
        version=line["production_version"],
        prediction=line["prediction"],
        probabilities=line["probabilities"],
        actual=line["actual"],
        group=line["group"],
        features=line["features"],
        states=dict(line.get("states", ())),
    )
