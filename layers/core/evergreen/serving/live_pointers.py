"""Where the live state of a version is pointed to, as an endpoint's container reads it: two calls of AWS, no more.

The image brings boto3 along; it is imported at the first look, beside the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from evergreen.errors import EvergreenError
from evergreen.serving.source import LivePlace

__all__ = ["READ_OF_A_POINTER", "AwsStates", "Pointed", "StateGoneError", "States", "live_sort_key"]

LARGEST_STATE = 256 * 1024**2
READ_OF_A_POINTER = ("number", "key", "sha256")
"""Attributes beside the key; the endpoints' role may read no more (template.yaml)."""
_NAMES = {f"#{name}": name for name in READ_OF_A_POINTER}


class StateGoneError(EvergreenError):
    """The bytes that were pointed to are gone: somebody has moved the state on in between."""


@dataclass(frozen=True)
class Pointed:
    """Which bytes are the version's state now."""

    number: int
    key: str
    sha256: str


class States(Protocol):
    """Where a version's states are."""

    def newest(self) -> Pointed | None:
        """What is pointed to; None: the version has no state yet."""

    def get(self, key: str) -> bytes:
        """The bytes at a key; raises StateGoneError."""


def live_sort_key(version: int) -> str:
    """The pointer's sort key in the table.

    Examples
    --------
    >>> live_sort_key(3)
    'live#0000000003'
    """
    return f"live#{version:010d}"


class AwsStates:
    """See :class:`States`; pointers in DynamoDB, states in S3."""

    def __init__(self, place: LivePlace, model: str, version: int, region: str | None) -> None:
        self._place, self._region = place, region
        self._key = {"model": {"S": model}, "sk": {"S": live_sort_key(version)}}
        self._clients: dict[str, Any] = {}

    def newest(self) -> Pointed | None:
        found: Mapping[str, Any] | None = (
            self._client("dynamodb")
            .get_item(
                TableName=self._place.table,
                Key=self._key,
                ProjectionExpression=", ".join(_NAMES),
                ExpressionAttributeNames=_NAMES,
            )
            .get("Item")
        )
        if found is None:
            return None
        return Pointed(int(found["number"]["N"]), found["key"]["S"], found["sha256"]["S"])

    def get(self, key: str) -> bytes:
        client = self._client("s3")
        try:
            answer = client.get_object(Bucket=self._place.bucket, Key=key)
        except client.exceptions.NoSuchKey as error:
            raise StateGoneError(key) from error
        if answer["ContentLength"] > LARGEST_STATE:
            raise ValueError(f"{answer['ContentLength']:,} bytes are no live state")
        body: bytes = answer["Body"].read()
        return body

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            # Nobody waits for it; but an endpoint without a way to AWS is not to hang for minutes at each look.
            patience = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 2})
            session: Any = boto3.session.Session(region_name=self._region)
            self._clients[service] = session.client(service, config=patience)
        return self._clients[service]
