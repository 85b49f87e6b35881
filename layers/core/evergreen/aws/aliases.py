"""Aliases of `lambda` endpoints on DynamoDB: what the predict function answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.ports import NOWHERE, AliasRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NEWER_OR_NEW = "attribute_not_exists(epoch) OR epoch <= :epoch"
_AS_FOUND = "epoch = :epoch AND version = :version"


class DynamoAliases:
    """See :class:`evergreen.ports.Aliases`."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, model: str, alias: str) -> AliasRecord | None:
        record = self._stored(model, alias)
        return None if record is None or record.version == NOWHERE else record

    def repoint(self, record: AliasRecord) -> AliasRecord:
        self._write(record, _NEWER_OR_NEW, {":epoch": record.epoch})
        return self._stored(record.model, record.alias) or record

    def replace(self, found: AliasRecord, record: AliasRecord) -> AliasRecord:
        self._write(record, _AS_FOUND, {":epoch": found.epoch, ":version": found.version})
        return self._stored(record.model, record.alias) or record

    def clear(self, model: str, alias: str, epoch: int) -> None:
        self._write(AliasRecord.nowhere(model, alias, epoch), _NEWER_OR_NEW, {":epoch": epoch})

    def _stored(self, model: str, alias: str) -> AliasRecord | None:
        """The record as it is, also one that was cleared."""
        item = self._client.get_item(TableName=self._table, Key=_key(model, alias), ConsistentRead=True).get("Item")
        if item is None:
            return None
        return AliasRecord(
            model=model,
            alias=alias,
            version=int(item["version"]["N"]),
            artifact=item["artifact"]["S"],
            sha256=item["sha256"]["S"],
            epoch=int(item["epoch"]["N"]),
            latency_ms=float(item["latency_ms"]["N"]),
        )

    def _write(self, record: AliasRecord, condition: str, values: Mapping[str, int]) -> None:
        item = _key(record.model, record.alias) | {
            "version": {"N": str(record.version)},
            "artifact": {"S": record.artifact},
            "sha256": {"S": record.sha256},
            "epoch": {"N": str(record.epoch)},
            "latency_ms": {"N": str(record.latency_ms)},
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=condition,
                ExpressionAttributeValues={name: {"N": str(value)} for name, value in values.items()},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise  # a newer decision is in place, or not what was found: this write is late, and right to lose


def _key(model: str, alias: str) -> dict[str, Any]:
    return {"model": {"S": model}, "alias": {"S": alias}}
