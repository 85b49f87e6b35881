"""Buckets as a template writes them."""

from __future__ import annotations

import json
from typing import Any

from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties, create_in_moto, update_in_moto
from local_cloud.services.s3.expiry import Lifecycles


def _create_bucket(context: Context[Lifecycles], name: str, properties: Properties) -> Any:
    return _finish_bucket(context, create_in_moto(context, name.lower(), properties), properties)


def _update_bucket(context: Context[Lifecycles], bucket: Any, name: str, properties: Properties) -> Any:
    return _finish_bucket(context, update_in_moto(context, bucket, name, properties), properties)


def _finish_bucket(context: Context[Lifecycles], bucket: Any, properties: Properties) -> Any:
    backend = context.backend("s3")
    versioning = properties.get("VersioningConfiguration", {}).get("Status")
    if versioning:
        backend.put_bucket_versioning(bucket.name, versioning)
    context.service.set_rules(bucket.name, properties.get("LifecycleConfiguration", {}))
    if "PublicAccessBlockConfiguration" in properties:
        backend.put_public_access_block(bucket.name, properties["PublicAccessBlockConfiguration"])
    notifications = properties.get("NotificationConfiguration", {})
    if extra := sorted(set(notifications) - {"EventBridgeConfiguration"}):
        raise context.refuse(f"uses NotificationConfiguration.{extra[0]}", "send the bucket's events to EventBridge")
    enabled = str(notifications.get("EventBridgeConfiguration", {}).get("EventBridgeEnabled", True)).lower() == "true"
    wanted = "EventBridgeConfiguration" in notifications and enabled
    bucket.set_notification_configuration({"EventBridgeConfiguration": {}} if wanted else None)
    return bucket


def _create_bucket_policy(context: Context[Lifecycles], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("s3")
    bucket = properties["Bucket"]
    backend.put_bucket_policy(bucket, json.dumps(properties["PolicyDocument"]).encode())
    return LocalResource(bucket, {}, lambda: backend.delete_bucket_policy(bucket))


KINDS: tuple[Kind[Lifecycles], ...] = (
    Kind("AWS::S3::Bucket", "BucketName", _create_bucket, _update_bucket),
    Kind("AWS::S3::BucketPolicy", "", _create_bucket_policy),
)
