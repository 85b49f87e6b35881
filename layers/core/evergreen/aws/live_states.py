"""Pointers to live states on DynamoDB: the sort key is `live#<version>`; all others are of former releases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.domain.live_pointer import LivePointer
from evergreen.errors import ConflictingWriteError
from evergreen.serving.live_pointers import live_sort_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoLiveStates:
    """See :class:`evergreen.ports.LiveStates`."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, model: str, version: int) -> LivePointer | None:
        return self._read(model, version, consistent=True)

    def recent(self, model: str, version: int) -> LivePointer | None:
        return self._read(model, version, consistent=False)

    def _read(self, model: str, version: int, *, consistent: bool) -> LivePointer | None:
        key = _key(model, version)
        item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=consistent).get("Item")
        return None if item is None else _pointer(item)

    def advance(self, before: LivePointer | None, after: LivePointer) -> None:
        request: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(sk)"}
        if before is not None:
            request = {
                "ConditionExpression": "sha256 = :read",
                "ExpressionAttributeValues": {":read": {"S": before.sha256}},
            }
        try:
            self._client.put_item(TableName=self._table, Item=_item(after), **request)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise ConflictingWriteError(after.key) from error
            raise


def _key(model: str, version: int) -> dict[str, Any]:
    return {"model": {"S": model}, "sk": {"S": live_sort_key(version)}}


def _item(pointer: LivePointer) -> dict[str, Any]:
    until = {} if pointer.learned_until is None else {"learned_until": {"S": pointer.learned_until.isoformat()}}
    return (
        _key(pointer.model, pointer.version)
        | until
        | {
            "number": {"N": str(pointer.number)},
            "key": {"S": pointer.key},
            "sha256": {"S": pointer.sha256},
            "since": {"S": pointer.since.isoformat()},
            "rows": {"N": str(pointer.rows)},
        }
    )


def _pointer(item: Mapping[str, Any]) -> LivePointer:
    until = item.get("learned_until")
    return LivePointer(
        model=item["model"]["S"],
        version=int(item["sk"]["S"].rpartition("#")[2]),
        number=int(item["number"]["N"]),
        key=item["key"]["S"],
        sha256=item["sha256"]["S"],
        since=datetime.fromisoformat(item["since"]["S"]),
        rows=int(item["rows"]["N"]),
        learned_until=None if until is None else datetime.fromisoformat(until["S"]),
    )
