"""The ledger on DynamoDB: one item with the state, one for each event, written together or not at all.

Items of a model share the partition key `model`. Sort keys: `state`, `event#0000000012` (the epoch), and for what was
found without changing the state `note#shadow#2026-03-01T02:00:00.000000Z`. The table's stream is the outbox: every new
event and note leaves for the event bus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.aws.transactions import somebody_was_faster
from evergreen.domain import event_json
from evergreen.domain.history import AnyEntry, Entry, History
from evergreen.domain.model_events import AnyEvent
from evergreen.domain.state import ModelState
from evergreen.domain.transitions import transition
from evergreen.errors import StaleStateError, UnknownModelError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from evergreen.domain.audit import RawItem

_STATE = "state"
_EVENT = "event#"
_NOTES_ARE_KEPT = timedelta(days=400)
_LOOKS = 5  # at a history that grows while it is read
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
        return event_json.state_from_json(item["body"]["S"])

    def record(self, state: ModelState, *new_events: AnyEvent) -> ModelState:
        after, items = state, []
        for event in new_events:
            after = transition(after, event)
            name, body = type(event).__name__, event_json.event_to_json(event)
            digest = event_json.chain_hash(after.last_hash, after.epoch, name, body)
            after = replace(after, last_hash=digest)
            items.append(self._event_item(after, name, body))
        if state.epoch == 0:
            items.append(
                {"Put": {"TableName": self._table, "Item": {"model": {"S": _REGISTER}, "sk": {"S": state.model}}}}
            )
        try:
            self._client.transact_write_items(TransactItems=[self._state_item(state, after), *items])  # type: ignore[list-item]
        except ClientError as error:
            if somebody_was_faster(error):
                raise StaleStateError(state.model, state.epoch) from error
            raise
        return after

    def _state_item(self, before: ModelState, after: ModelState) -> dict[str, Any]:
        item = {
            "model": {"S": after.model},
            "sk": {"S": _STATE},
            "epoch": {"N": str(after.epoch)},
            "body": {"S": event_json.state_to_json(after).decode()},
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
            "sk": {"S": event_json.event_key(after.epoch)},
            "epoch": {"N": str(after.epoch)},
            "type": {"S": name},
            "body": {"S": body},
            "hash": {"S": after.last_hash},
        }
        return {"Put": {"TableName": self._table, "Item": item, "ConditionExpression": "attribute_not_exists(sk)"}}

    def models(self) -> tuple[str, ...]:
        return tuple(sorted(item["sk"]["S"] for item in self._query(_REGISTER)))

    def history(self, model: str) -> History:
        items = self._query(model, " AND begins_with(sk, :event)", {":event": _EVENT})
        return History(model, tuple(_entry(model, item) for item in items))

    def stored(self, model: str) -> tuple[RawItem | None, list[RawItem]]:
        for _ in range(_LOOKS):
            before = self._raw_state(model)
            history = [_raw(item) for item in self._query(model, " AND begins_with(sk, :event)", {":event": _EVENT})]
            if self._raw_state(model) == before:
                break
        return before, history

    def _raw_state(self, model: str) -> RawItem | None:
        key = {"model": {"S": model}, "sk": {"S": _STATE}}
        item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return None if item is None else _raw(item)

    def note(self, model: str, kind: str, time: datetime, body: Mapping[str, Any], epoch: int) -> bool:
        item = {
            "model": {"S": model},
            "sk": {"S": _note_key(kind, time)},
            "epoch": {"N": str(epoch)},
            "type": {"S": event_json.NOTE_TYPES[kind]},
            "body": {"S": json.dumps(body)},
            "expires": {"N": str(int((time + _NOTES_ARE_KEPT).timestamp()))},
        }
        try:
            self._client.put_item(TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(sk)")
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def notes(self, model: str, kind: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        first, behind = _note_key(kind, start), _note_key(kind, end)
        items = self._query(model, " AND sk BETWEEN :first AND :behind", {":first": first, ":behind": behind})
        return [_told(model, item) for item in items if item["sk"]["S"] != behind]

    def _query(
        self, partition: str, condition: str = "", values: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=f"#model = :model{condition}",
            ExpressionAttributeNames={"#model": "model"},
            ExpressionAttributeValues={":model": {"S": partition}, **{k: {"S": v} for k, v in (values or {}).items()}},
            ConsistentRead=True,
        )
        for page in pages:
            items.extend(page["Items"])
        return items


def _raw(item: Mapping[str, Any]) -> RawItem:
    """An item's attributes as text; one of another type than is written here is shown with its type."""
    return {name: value.get("N" if name == "epoch" else "S", str(value)) for name, value in item.items()}


def _entry(model: str, item: Mapping[str, Any]) -> AnyEntry:
    """An event of the history, of which nothing is read before it is asked for."""
    return Entry(model, int(item["epoch"]["N"]), item["type"]["S"], item["body"]["S"], item["hash"]["S"])


def _told(model: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """A note as plain data."""
    about = {"model": model, "epoch": int(item["epoch"]["N"]), "type": item["type"]["S"]}
    return {**about, **json.loads(item["body"]["S"])}


def _note_key(kind: str, time: datetime) -> str:
    """A note's sort key: always with microseconds, so that the order of the keys is that of the times."""
    return f"note#{kind}#{time.astimezone(UTC).isoformat(timespec='microseconds').replace('+00:00', 'Z')}"
