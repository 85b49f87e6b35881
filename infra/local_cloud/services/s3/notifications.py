"""S3's events: to the event bus in AWS's exact shape, and to functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Service
from local_cloud.kernel.courier import Courier, Emit, Parcel
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import here

PRINCIPAL = "s3.amazonaws.com"
_S3_DETAIL_TYPES = {
    "ObjectCreated": "Object Created",
    "ObjectRemoved": "Object Deleted",
    "ObjectTagging": "Object Tags Added",
    "ObjectAcl": "Object ACL Updated",
    "ObjectRestore": "Object Restore Completed",
}
_S3_REASONS = {
    "ObjectCreated:Put": "PutObject",
    "ObjectCreated:Post": "POST Object",
    "ObjectCreated:Copy": "CopyObject",
    "ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
    "ObjectRemoved:Delete": "DeleteObject",
}


class Notifications(Service):
    """What buckets tell of their objects."""

    def __init__(self, courier: Courier, emit: Emit):
        self.courier = courier
        self.emit = emit


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_s3_event(notifications: Notifications, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.s3.notifications._send_event_bridge_message``: S3's events in AWS's exact shape."""
    sequence = 0

    def send(account_id: str, bucket: Any, event_name: Any, key: Any) -> None:
        nonlocal sequence
        name = str(getattr(event_name, "value", event_name)).removeprefix("s3:")
        detail_type = _S3_DETAIL_TYPES.get(name.split(":")[0])
        if detail_type is None:
            return
        sequence += 1
        detail: dict[str, Any] = {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": {
                "key": key.name,
                "size": key.size,
                "etag": key.etag.replace('"', ""),
                **({"version-id": key.version_id} if bucket.is_versioned and key.version_id else {}),
                "sequencer": f"{sequence:016X}",
            },
            "request-id": f"{sequence:016X}",
            "requester": account_id,
            "source-ip-address": "127.0.0.1",
        }
        if name in _S3_REASONS:
            detail["reason"] = _S3_REASONS[name]
        if name == "ObjectRemoved:Delete":
            detail["deletion-type"] = "Permanently Deleted"
        notifications.emit(source="aws.s3", detail_type=detail_type, detail=detail, resources=[bucket.arn])

    return send


def patched_s3_to_lambda(notifications: Notifications, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.s3.notifications._invoke_awslambda``: an asynchronous call."""

    def invoke(account_id: str, event_body: Any, fn_arn: str, region_name: str) -> None:
        notifications.courier.send(Parcel(fn_arn, json.dumps(event_body), Caller(PRINCIPAL), _bucket_of(event_body)))

    return invoke


def patched_s3_to_queue(notifications: Notifications, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.s3.notifications._send_sqs_message``: the queue's policy must let the bucket in."""

    def send(account_id: str, event_body: Any, queue_name: str, region_name: str) -> None:
        arn = here().arn("sqs", queue_name)
        notifications.courier.send(Parcel(arn, json.dumps(event_body), Caller(PRINCIPAL), _bucket_of(event_body)))

    return send


def patched_s3_to_topic(notifications: Notifications, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.s3.notifications._send_sns_message``: the topic's policy must let the bucket in."""

    def send(account_id: str, event_body: Any, topic_arn: str, region_name: str) -> None:
        notifications.courier.send(Parcel(topic_arn, json.dumps(event_body), Caller(PRINCIPAL), _bucket_of(event_body)))

    return send


def _bucket_of(event: Any) -> str:
    return str(event["Records"][0]["s3"]["bucket"]["arn"])


PATCHES = (
    Patch("moto.s3.notifications:_invoke_awslambda", patched_s3_to_lambda),
    Patch("moto.s3.notifications:_send_event_bridge_message", patched_s3_event),
    Patch("moto.s3.notifications:_send_sns_message", patched_s3_to_topic),
    Patch("moto.s3.notifications:_send_sqs_message", patched_s3_to_queue),
)
