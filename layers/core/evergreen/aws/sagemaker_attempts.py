"""What a SageMaker endpoint was last asked to become, and whether SageMaker took it: SageMaker itself forgets.

An endpoint that went back by itself looks like one that was never asked. So each attempt is noted before SageMaker is
asked, and once it was accepted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.errors import ConflictingWriteError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ALIAS = "attempt"  # beside the model's aliases


@dataclass(frozen=True, slots=True)
class Attempt:
    """One change of an endpoint."""

    config: str
    production: str  # SageMaker models
    shadow: str | None
    found: str  # the configuration that was there; "" where there was no endpoint
    accepted: bool = False  # by SageMaker
    closed: bool = False  # it was reached, or given up
    made: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # configurations of ours, and their models
    revision: int = 0

    @property
    def models(self) -> tuple[str, str | None]:
        """What answers, and what answers unseen, once it is reached."""
        return self.production, self.shadow


class Attempts:
    """The newest attempt of each model, beside its aliases."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, model: str) -> Attempt | None:
        """The newest attempt."""
        item = self._client.get_item(TableName=self._table, Key=_key(model), ConsistentRead=True).get("Item")
        if item is None:
            return None
        body = json.loads(item["body"]["S"])
        made = {config: tuple(models) for config, models in body.pop("made").items()}
        return Attempt(**body, made=made, revision=int(item["revision"]["N"]))

    def write(self, model: str, attempt: Attempt) -> Attempt:
        """Write over the revision that was read; raises ConflictingWriteError."""
        body = asdict(attempt)
        read = body.pop("revision")
        item: dict[str, Any] = _key(model) | {"body": {"S": json.dumps(body)}, "revision": {"N": str(read + 1)}}
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(revision) OR revision = :read",
                ExpressionAttributeValues={":read": {"N": str(read)}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise ConflictingWriteError(f"{model}/{_ALIAS}") from error
            raise
        return replace(attempt, revision=read + 1)


def _key(model: str) -> dict[str, Any]:
    return {"model": {"S": model}, "alias": {"S": _ALIAS}}
