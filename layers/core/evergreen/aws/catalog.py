"""The catalog on DynamoDB: partition `model#kind#yyyy-mm`, sort key `dd/hh/key`.

Ids of requests that do not say their hour: partition `model#request#hash`, sort key `yyyy-mm-ddThh`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import batched
from typing import TYPE_CHECKING, Any

from evergreen.domain.catalog import CatalogEntry, CatalogKind, FileSums
from evergreen.errors import BusyTableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


_MOST_ITEMS = 25  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
_TRIES, _FIRST_WAIT_SECONDS = 8, 0.05
_HOUR_FORMAT = "%Y-%m-%dT%H"


class DynamoCatalog:
    """See :class:`evergreen.ports.Catalog`.

    Parameters
    ----------
    kept
        How long captures are kept: what points to them expires with them; None: never.
    """

    def __init__(self, client: DynamoDBClient, table: str, *, kept: timedelta | None = None) -> None:
        self._client = client
        self._table = table
        self._kept = kept

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
            low = _hour(start) if month == _month(start) else "00"
            high = (_hour(last) if month == _month(last) else "99") + "/\uffff"
            items = self._query(_partition(model, kind, version, month), low, high)
            entries.extend(_entry(model, kind, version, item) for item in items)
        return [entry for entry in entries if start <= entry.time < end]

    def point(self, model: str, request_ids: Iterable[str], hour: datetime) -> None:
        expires = {} if self._kept is None else {"expires": {"N": str(int((hour + self._kept).timestamp()))}}
        place = {"sk": {"S": hour.astimezone(UTC).strftime(_HOUR_FORMAT)}} | expires
        for some in batched(sorted(set(request_ids)), _MOST_ITEMS, strict=False):
            self._write([{"PutRequest": {"Item": place | {"pk": {"S": _request(model, each)}}}} for each in some])

    def _write(self, requests: list[Any]) -> None:
        """Write all of a batch; what the table was too busy for is asked for again, a little later each time."""
        for attempt in range(_TRIES):
            time.sleep(_FIRST_WAIT_SECONDS * 2**attempt if attempt else 0)
            answer = self._client.batch_write_item(RequestItems={self._table: requests})
            requests = answer.get("UnprocessedItems", {}).get(self._table, [])
            if not requests:
                return
        raise BusyTableError(self._table, len(requests))

    def hours_of(self, model: str, request_id: str, start: datetime, end: datetime) -> list[datetime]:
        first, last = (each.astimezone(UTC).strftime(_HOUR_FORMAT) for each in (start, end))
        items = self._query(_request(model, request_id), first, last)
        hours = (datetime.strptime(item["sk"]["S"], _HOUR_FORMAT).replace(tzinfo=UTC) for item in items)
        return [hour for hour in hours if start <= hour < end]

    def pointed_since(self, model: str) -> datetime | None:
        found = [item["sk"]["S"] for item in self._query(f"{model}#all-requests", "0", "9")]
        return datetime.strptime(min(found), _HOUR_FORMAT).replace(tzinfo=UTC) if found else None

    def all_pointed(self, model: str, since: datetime) -> None:
        place = {"pk": {"S": f"{model}#all-requests"}, "sk": {"S": since.astimezone(UTC).strftime(_HOUR_FORMAT)}}
        self._client.put_item(TableName=self._table, Item=place)

    def _query(self, partition: str, low: str, high: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
            ExpressionAttributeValues={":pk": {"S": partition}, ":low": {"S": low}, ":high": {"S": high}},
            ConsistentRead=True,
        )
        return [item for page in pages for item in page["Items"]]


def _request(model: str, request_id: str) -> str:
    """The partition of a request: ids are somebody else's words, of any length."""
    return f"{model}#request#{sha256(request_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


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
