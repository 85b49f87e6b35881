"""Aliases of `lambda` endpoints on DynamoDB: what the predict function answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.domain.aliases import NOWHERE, AliasRecord, Canary

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

    def point_both(self, production: AliasRecord, shadow: AliasRecord) -> None:
        self.repoint(production)
        self.repoint(shadow)

    def is_changing(self, model: str) -> bool:  # noqa: ARG002 - one write is all there is
        return False

    def try_again(self, model: str) -> None:
        pass

    def tidy(self, model: str, kept: frozenset[int]) -> None:
        pass

    def folders(self, model: str) -> tuple[str, ...]:  # noqa: ARG002 - the same for each
        return "production", "shadow"

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
            sampling=float(item["sampling"]["N"]) if "sampling" in item else 1.0,  # not in items of before it was kept
            canary=_read_canary(item["canary"]["M"]) if "canary" in item else None,
        )

    def _write(self, record: AliasRecord, condition: str, values: Mapping[str, int]) -> None:
        item: dict[str, Any] = _key(record.model, record.alias) | {
            "version": {"N": str(record.version)},
            "artifact": {"S": record.artifact},
            "sha256": {"S": record.sha256},
            "epoch": {"N": str(record.epoch)},
            "latency_ms": {"N": str(record.latency_ms)},
            "sampling": {"N": str(record.sampling)},
        }
        if record.canary is not None:
            item["canary"] = {"M": _canary_item(record.canary)}
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


def _canary_item(canary: Canary) -> dict[str, Any]:
    return {
        "share": {"N": str(canary.share)},
        "version": {"N": str(canary.version)},
        "artifact": {"S": canary.artifact},
        "sha256": {"S": canary.sha256},
    }


def _read_canary(item: Mapping[str, Any]) -> Canary:
    return Canary(
        share=float(item["share"]["N"]),
        version=int(item["version"]["N"]),
        artifact=item["artifact"]["S"],
        sha256=item["sha256"]["S"],
    )


def _key(model: str, alias: str) -> dict[str, Any]:
    return {"model": {"S": model}, "alias": {"S": alias}}
