"""Online states on DynamoDB: a pointer and the rows it has learned, moved on together or not at all.

Items of a model share the partition key `model`. Sort keys: `state#<fingerprint>`; `row#<fingerprint>#<id>` and
`file#<fingerprint>#<key>` for what that state has learned, which expire; and `checkpoint#0000000007`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.aws.transactions import somebody_was_faster
from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer
from evergreen.errors import ConflictingWriteError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_GET_BATCH = 100  # BatchGetItem's limit
_TRIES = 5  # at keys that BatchGetItem leaves out when the table is busy
_CHECKPOINT = "checkpoint#"


class DynamoOnlineStates:
    """See :class:`evergreen.ports.OnlineStates`."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, model: str, fingerprint: str) -> OnlinePointer | None:
        key = _key(model, f"state#{fingerprint}")
        item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return None if item is None else _pointer(item)

    def learned(self, model: str, names: Sequence[str]) -> frozenset[str]:
        found: set[str] = set()
        for some in batched(dict.fromkeys(names), _GET_BATCH, strict=False):
            wanted: Any = {
                self._table: {
                    "Keys": [_key(model, name) for name in some],
                    "ConsistentRead": True,
                    "ProjectionExpression": "sk",
                }
            }
            for _ in range(_TRIES):
                answer = self._client.batch_get_item(RequestItems=wanted)
                found |= {item["sk"]["S"] for item in answer["Responses"].get(self._table, ())}
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
            else:
                raise ConnectionError(f"DynamoDB left out rows of {model!r} {_TRIES} times: they are learned later")
        return frozenset(found)

    def advance(
        self, before: OnlinePointer | None, after: OnlinePointer, names: Sequence[str], *, expires: datetime
    ) -> None:
        put: dict[str, Any] = {"TableName": self._table, "Item": _pointer_item(after)}
        if before is None:
            put["ConditionExpression"] = "attribute_not_exists(sk)"
        else:
            put["ConditionExpression"] = "version = :read"
            put["ExpressionAttributeValues"] = {":read": {"N": str(before.version)}}
        rows = [
            {
                "Put": {
                    "TableName": self._table,
                    "Item": _key(after.model, name) | _expiring(expires),
                    "ConditionExpression": "attribute_not_exists(sk)",
                }
            }
            for name in names
        ]
        try:
            self._client.transact_write_items(TransactItems=[{"Put": put}, *rows])  # type: ignore[list-item, typeddict-item]
        except ClientError as error:
            if somebody_was_faster(error):
                raise ConflictingWriteError(after.key) from error
            raise

    def remember(self, model: str, name: str, *, expires: datetime) -> None:
        self._client.put_item(TableName=self._table, Item=_key(model, name) | _expiring(expires))

    def checkpoints(self, model: str) -> list[OnlineCheckpoint]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="#model = :model AND begins_with(sk, :checkpoint)",
            ExpressionAttributeNames={"#model": "model"},
            ExpressionAttributeValues={":model": {"S": model}, ":checkpoint": {"S": _CHECKPOINT}},
            ConsistentRead=True,
        )
        return [_checkpoint(item) for page in pages for item in page["Items"]]

    def freeze(self, checkpoint: OnlineCheckpoint) -> bool:
        return self._put(checkpoint, "attribute_not_exists(sk)", {})

    def change(self, checkpoint: OnlineCheckpoint) -> bool:
        moved = replace(checkpoint, revision=checkpoint.revision + 1)
        return self._put(moved, "revision = :read", {":read": {"N": str(checkpoint.revision)}})

    def forget(self, checkpoint: OnlineCheckpoint) -> None:
        key = _key(checkpoint.model, _checkpoint_key(checkpoint.number))
        self._client.delete_item(TableName=self._table, Key=key)

    def _put(self, checkpoint: OnlineCheckpoint, condition: str, values: Mapping[str, Any]) -> bool:
        request: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        item = _checkpoint_item(checkpoint)
        try:
            self._client.put_item(TableName=self._table, Item=item, ConditionExpression=condition, **request)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _key(model: str, name: str) -> dict[str, Any]:
    return {"model": {"S": model}, "sk": {"S": name}}


def _expiring(expires: datetime) -> dict[str, Any]:
    return {"expires": {"N": str(int(expires.timestamp()))}}


def _checkpoint_key(number: int) -> str:
    return f"{_CHECKPOINT}{number:010d}"


def _pointer_item(pointer: OnlinePointer) -> dict[str, Any]:
    sums = {"total": pointer.total, "days": dict(pointer.days)}
    return _key(pointer.model, f"state#{pointer.fingerprint}") | {
        "version": {"N": str(pointer.version)},
        "key": {"S": pointer.key},
        "sha256": {"S": pointer.sha256},
        "updates": {"N": str(pointer.updates)},
        "rows": {"N": str(pointer.rows)},
        "learned_until": {"S": pointer.learned_until.isoformat()},
        "sums": {"S": json.dumps(sums, separators=(",", ":"))},
    }


def _pointer(item: Mapping[str, Any]) -> OnlinePointer:
    sums = json.loads(item["sums"]["S"])
    return OnlinePointer(
        model=item["model"]["S"],
        fingerprint=item["sk"]["S"].removeprefix("state#"),
        version=int(item["version"]["N"]),
        key=item["key"]["S"],
        sha256=item["sha256"]["S"],
        updates=int(item["updates"]["N"]),
        rows=int(item["rows"]["N"]),
        learned_until=datetime.fromisoformat(item["learned_until"]["S"]),
        total=tuple(sums["total"]),
        days={day: tuple(each) for day, each in sums["days"].items()},
    )


def _checkpoint_item(checkpoint: OnlineCheckpoint) -> dict[str, Any]:
    body = {
        "fingerprint": checkpoint.fingerprint,
        "state_version": checkpoint.state_version,
        "key": checkpoint.key,
        "sha256": checkpoint.sha256,
        "frozen_at": checkpoint.frozen_at.isoformat(),
        "learned_until": checkpoint.learned_until.isoformat(),
        "updates": checkpoint.updates,
        "rows": checkpoint.rows,
        "status": checkpoint.status,
        "judged_until": None if checkpoint.judged_until is None else checkpoint.judged_until.isoformat(),
        "verdict": checkpoint.verdict,
        "because": checkpoint.because,
        "evidence": dict(checkpoint.evidence),
        "decision_id": checkpoint.decision_id,
    }
    return _key(checkpoint.model, _checkpoint_key(checkpoint.number)) | {
        "revision": {"N": str(checkpoint.revision)},
        "body": {"S": json.dumps(body, separators=(",", ":"))},
    }


def _checkpoint(item: Mapping[str, Any]) -> OnlineCheckpoint:
    body = json.loads(item["body"]["S"])
    times = {name: datetime.fromisoformat(body[name]) for name in ("frozen_at", "learned_until")}
    judged = body["judged_until"]
    return OnlineCheckpoint(
        model=item["model"]["S"],
        number=int(item["sk"]["S"].removeprefix(_CHECKPOINT)),
        revision=int(item["revision"]["N"]),
        **body
        | times
        | {
            "status": CheckpointStatus(body["status"]),
            "judged_until": None if judged is None else datetime.fromisoformat(judged),
        },
    )
