"""The catalog on DynamoDB: partition `model#kind#yyyy-mm`, sort key `dd/hh/key`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evergreen.domain.catalog import CatalogEntry, CatalogKind, FileSums

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoCatalog:
    """See :class:`evergreen.ports.Catalog`."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def add(self, entry: CatalogEntry) -> None:
        item = _key(entry) | {
            "time": {"S": entry.time.astimezone(UTC).isoformat()},
            "key": {"S": entry.key},
            "rows": {"N": str(entry.rows)},
            "etag": {"S": entry.etag},
            "sums": {"S": json.dumps(entry.sums.to_json(), separators=(",", ":"))},
        }
        self._client.put_item(TableName=self._table, Item=item)

    def remove(self, entry: CatalogEntry) -> None:
        self._client.delete_item(TableName=self._table, Key=_key(entry))

    def between(
        self, model: str, kind: CatalogKind, start: datetime, end: datetime, *, version: int | None = None
    ) -> list[CatalogEntry]:
        if end <= start:
            return []
        last = end - timedelta(microseconds=1)
        entries: list[CatalogEntry] = []
        for month in _months(start, last):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
                ExpressionAttributeValues={
                    ":pk": {"S": _partition(model, kind, version, month)},
                    ":low": {"S": _hour(start) if month == _month(start) else "00"},
                    ":high": {"S": (_hour(last) if month == _month(last) else "99") + "/\uffff"},
                },
                ConsistentRead=True,
            )
            for page in pages:
                entries.extend(_entry(model, kind, version, item) for item in page["Items"])
        return [entry for entry in entries if start <= entry.time < end]


def _key(entry: CatalogEntry) -> dict[str, Any]:
    partition = _partition(entry.model, entry.kind, entry.version, _month(entry.time))
    return {"pk": {"S": partition}, "sk": {"S": f"{_hour(entry.time)}/{entry.key}"}}


def _partition(model: str, kind: CatalogKind, version: int | None, month: str) -> str:
    return f"{model}#{kind.of_version(version)}#{month}"


def _entry(model: str, kind: CatalogKind, version: int | None, item: dict[str, Any]) -> CatalogEntry:
    return CatalogEntry(
        model=model,
        kind=kind,
        time=datetime.fromisoformat(item["time"]["S"]),
        key=item["key"]["S"],
        rows=int(item["rows"]["N"]),
        etag=item["etag"]["S"],
        sums=FileSums.read(json.loads(item["sums"]["S"])),
        version=version,
    )


def _month(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m")


def _hour(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%d/%H")


def _months(start: datetime, last: datetime) -> Iterator[str]:
    year, month = start.astimezone(UTC).year, start.astimezone(UTC).month
    end = last.astimezone(UTC)
    while (year, month) <= (end.year, end.month):
        yield f"{year:04d}-{month:02d}"
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
