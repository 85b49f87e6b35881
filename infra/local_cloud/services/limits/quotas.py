"""Sizes that AWS refuses beyond what a service's model says, and how it says so.

A row of :data:`QUOTAS` is a quota: the call, how much of it counts, the most there may be, and AWS's answer. The table
in ``infra/local_cloud/README.md`` names the AWS page of each, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.services.lambda_.functions import (
    LARGEST_ENVIRONMENT_BYTES,
    LARGEST_EVENT_BYTES,
    environment_size,
    request_too_large,
)

Params = Mapping[str, Any]

KIB, MIB = 1_024, 1_048_576
LAMBDA_REQUEST = 6_291_456


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a call is rejected: AWS's code and sentence, and its HTTP status."""

    code: str
    message: str
    status: int = 400


@dataclass(frozen=True, slots=True)
class Quota:
    """The most of something that a call may bring.

    Parameters
    ----------
    service, operation
        As boto3 has them.
    counted
        How much a call's parameters bring.
    most
        How much may be.
    code, message, status
        AWS's answer to more.
    holds
        Whether the quota holds for a call.
    """

    service: str
    operation: str
    counted: Callable[[Params], int]
    most: int
    code: str
    message: str
    status: int = 400
    holds: Callable[[Params], bool] = lambda _: True

    def excess(self, params: Params) -> Rejection | None:
        """Return AWS's answer if a call brings too much."""
        if not self.holds(params) or self.counted(params) <= self.most:
            return None
        return Rejection(self.code, self.message, self.status)


def excess(service: str, operation: str, params: Params) -> Rejection | None:
    """Return AWS's answer to a call that brings too much; None where it may be.

    Examples
    --------
    >>> batch = {"DeliveryStreamName": "captures", "Records": [{"Data": b"x" * 1_000_000}] * 5}
    >>> excess("firehose", "PutRecordBatch", batch)
    Rejection(code='InvalidArgumentException', message='Records size exceeds 4 MB limit', status=400)
    >>> excess("firehose", "PutRecordBatch", {**batch, "Records": batch["Records"][:4]}) is None
    True
    """
    found = (quota.excess(params) for quota in _BY_CALL.get((service, operation), ()))
    return next((each for each in found if each is not None), None)


def size(value: Any) -> int:
    """Return the bytes of a text, of bytes, or of a stream that can be wound back.

    Examples
    --------
    >>> import io
    >>> size("grün"), size(b"abc"), size(io.BytesIO(b"four")), size(None)
    (5, 3, 4, 0)
    """
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes | bytearray | memoryview):
        return len(value)
    if hasattr(value, "seek"):
        here = value.tell()
        end: int = value.seek(0, 2)
        value.seek(here)
        return end - int(here)
    return 0


def item_size(value: Any) -> int:
    """Return about how many bytes DynamoDB counts of an attribute value, or of a map of them."""
    if isinstance(value, Mapping):
        return sum(len(str(name)) * (name not in _TYPES) + item_size(each) for name, each in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return sum(map(item_size, value))
    return size(value) if isinstance(value, str | bytes) else 1


_TYPES = frozenset({"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"})


def _of_entry(entry: Params) -> int:
    told = 14 if "Time" in entry else 0
    texts: Iterable[Any] = [entry.get(name) for name in ("Source", "DetailType", "Detail")]
    return told + sum(map(size, texts)) + sum(map(size, entry.get("Resources") or ()))


def _of_message(message: Params) -> int:
    attributes: Mapping[str, Any] = message.get("MessageAttributes") or {}
    of_attributes = sum(size(name) + sum(map(size, value.values())) for name, value in attributes.items())
    return size(message.get("MessageBody") or message.get("Message")) + of_attributes


def _of_transaction(params: Params) -> int:
    return sum(item_size(part) for action in params.get("TransactItems") or () for part in action.values())


def _is_asynchronous(params: Params) -> bool:
    return params.get("InvocationType") == "Event"


def _environment(params: Params) -> int:
    return environment_size((params.get("Environment") or {}).get("Variables") or {})


_ENVIRONMENT = (
    "Lambda was unable to configure your environment variables because the environment variables you have provided "
    "exceeded the 4KB limit."
)
_MESSAGES = f"Batch requests cannot be longer than {MIB} bytes."

QUOTAS: tuple[Quota, ...] = (
    Quota(
        "lambda",
        "Invoke",
        lambda params: size(params.get("Payload")),
        LAMBDA_REQUEST,
        "RequestTooLargeException",
        request_too_large(LAMBDA_REQUEST),
        413,
        holds=lambda params: not _is_asynchronous(params),
    ),
    Quota(
        "lambda",
        "Invoke",
        lambda params: size(params.get("Payload")),
        LARGEST_EVENT_BYTES,
        "RequestTooLargeException",
        request_too_large(LARGEST_EVENT_BYTES),
        413,
        holds=_is_asynchronous,
    ),
    *(
        Quota(
            "lambda", operation, _environment, LARGEST_ENVIRONMENT_BYTES, "InvalidParameterValueException", _ENVIRONMENT
        )
        for operation in ("CreateFunction", "UpdateFunctionConfiguration")
    ),
    Quota(
        "events",
        "PutEvents",
        lambda params: sum(map(_of_entry, params.get("Entries") or ())),
        MIB,
        "ValidationException",
        "Total size of the entries in the request is over the limit.",
    ),
    Quota(
        "sqs",
        "SendMessage",
        _of_message,
        MIB,
        "InvalidParameterValue",
        f"One or more parameters are invalid. Reason: Message must be shorter than {MIB} bytes.",
    ),
    Quota(
        "sqs",
        "SendMessageBatch",
        lambda params: sum(map(_of_message, params.get("Entries") or ())),
        MIB,
        "AWS.SimpleQueueService.BatchRequestTooLong",
        _MESSAGES,
    ),
    Quota("sns", "Publish", _of_message, 256 * KIB, "InvalidParameter", "Invalid parameter: Message too long"),
    Quota(
        "firehose",
        "PutRecordBatch",
        lambda params: sum(size(record.get("Data")) for record in params.get("Records") or ()),
        4 * MIB,
        "InvalidArgumentException",
        "Records size exceeds 4 MB limit",
    ),
    Quota(
        "dynamodb",
        "TransactWriteItems",
        _of_transaction,
        4 * MIB,
        "ValidationException",
        "Collection size of items in the transaction exceeds the 4 MB limit",
    ),
    Quota(
        "cloudwatch",
        "PutMetricData",
        lambda params: len(params.get("MetricData") or ()),
        1_000,
        "InvalidParameterValue",
        "The collection MetricData must not have a size greater than 1000.",
    ),
)
"""Every quota."""

_BY_CALL: dict[tuple[str, str], tuple[Quota, ...]] = {}
for _quota in QUOTAS:
    _BY_CALL[_quota.service, _quota.operation] = (*_BY_CALL.get((_quota.service, _quota.operation), ()), _quota)
