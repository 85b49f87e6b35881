"""The ledger on DynamoDB: one item with the state, one for each event, written together or not at all.

Items of a model share the partition key `model`. Sort keys: `state`, and `event#0000000012` (the epoch). The table's
stream is the outbox: every new event item leaves for the event bus.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.domain import events
from evergreen.domain.errors import StaleStateError, UnknownModelError
from evergreen.domain.lifecycle import AnyEvent, ModelState, transition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_STATE = "state"
_REGISTER = "#models"  # the partition that lists the models, so that nothing scans the table


class DynamoLedger:
    """See :class:`evergreen.ports.Ledger`."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, model: str) -> ModelState:
        item = self._client.get_item(
            TableName=self._table, Key={"model": {"S": model}, "sk": {"S": _STATE}}, ConsistentRead=True
        ).get("Item")
        if item is None:
            raise UnknownModelError(model)
        return events.state_from_json(item["body"]["S"])

    def record(self, state: ModelState, *new_events: AnyEvent) -> ModelState:
        after, items = state, []
        for event in new_events:
            after = transition(after, event)
            name, body = type(event).__name__, events.event_to_json(event)
            digest = events.chain_hash(after.last_hash, after.epoch, name, body)
            after = replace(after, last_hash=digest)
            items.append(self._event_item(after, name, body))
        if state.epoch == 0:
            items.append(
                {"Put": {"TableName": self._table, "Item": {"model": {"S": _REGISTER}, "sk": {"S": state.model}}}}
            )
        try:
            self._client.transact_write_items(TransactItems=[self._state_item(state, after), *items])  # type: ignore[list-item]
        except ClientError as error:
            if _somebody_was_faster(error):
                raise StaleStateError(state.model, state.epoch) from error
            raise
        return after

    def _state_item(self, before: ModelState, after: ModelState) -> dict[str, Any]:
        item = {
            "model": {"S": after.model},
            "sk": {"S": _STATE},
            "epoch": {"N": str(after.epoch)},
            "body": {"S": events.state_to_json(after).decode()},
        }
        put: dict[str, Any] = {"TableName": self._table, "Item": item}
        if before.epoch == 0:
            put["ConditionExpression"] = "attribute_not_exists(sk)"
        else:
            put["ConditionExpression"] = "epoch = :read"
            put["ExpressionAttributeValues"] = {":read": {"N": str(before.epoch)}}
        return {"Put": put}

    def _event_item(self, after: ModelState, name: str, body: str) -> dict[str, Any]:
        item = {
            "model": {"S": after.model},
            "sk": {"S": f"event#{after.epoch:010d}"},
            "epoch": {"N": str(after.epoch)},
            "type": {"S": name},
            "body": {"S": body},
            "hash": {"S": after.last_hash},
        }
        return {"Put": {"TableName": self._table, "Item": item, "ConditionExpression": "attribute_not_exists(sk)"}}

    def models(self) -> tuple[str, ...]:
        return tuple(sorted(item["sk"]["S"] for item in self._query(_REGISTER)))

    def history(self, model: str) -> list[dict[str, Any]]:
        import json

        return [
            {
                "model": model,
                "epoch": int(item["epoch"]["N"]),
                "type": item["type"]["S"],
                **json.loads(item["body"]["S"]),
                "hash": item["hash"]["S"],
            }
            for item in self._query(model)
            if item["sk"]["S"] != _STATE
        ]

    def _query(self, partition: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="#model = :model",
            ExpressionAttributeNames={"#model": "model"},
            ExpressionAttributeValues={":model": {"S": partition}},
            ConsistentRead=True,
        )
        for page in pages:
            items.extend(page["Items"])
        return items


def _somebody_was_faster(error: ClientError) -> bool:
    """Whether a transaction failed because of another one, rather than by itself (an item too large, throttling)."""
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return True
    reasons: Any = error.response.get("CancellationReasons", [])
    return any(reason.get("Code") in ("ConditionalCheckFailed", "TransactionConflict") for reason in reasons)
