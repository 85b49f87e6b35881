"""Aliases of `lambda` endpoints on DynamoDB: what the predict function answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.ports import AliasRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NOWHERE = 0  # the version of an alias that was cleared: its epoch still guards against late writes


class DynamoAliases:
    """See :class:`evergreen.ports.Aliases`."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, model: str, alias: str) -> AliasRecord | None:
        item = self._client.get_item(TableName=self._table, Key=_key(model, alias), ConsistentRead=True).get("Item")
        if item is None or int(item["version"]["N"]) == _NOWHERE:
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

    def repoint(self, record: AliasRecord) -> AliasRecord:
        self._write(record)
        now = self.read(record.model, record.alias)
        return record if now is None else now

    def clear(self, model: str, alias: str, epoch: int) -> None:
        self._write(AliasRecord(model, alias, _NOWHERE, "", "", epoch))

    def _write(self, record: AliasRecord) -> None:
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
                ConditionExpression="attribute_not_exists(epoch) OR epoch <= :epoch",
                ExpressionAttributeValues={":epoch": {"N": str(record.epoch)}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise  # a newer decision is in place already: this one is late, and right to lose


def _key(model: str, alias: str) -> dict[str, Any]:
    return {"model": {"S": model}, "alias": {"S": alias}}
