"""Queues as a template writes them."""

from __future__ import annotations

import json
from typing import Any

from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties, create_in_moto, give_attributes


def _create_queue(context: Context[object], name: str, properties: Properties) -> Any:
    queue = create_in_moto(context, name, {k: v for k, v in properties.items() if k != "RedriveAllowPolicy"})
    return give_attributes(queue, {"QueueUrl": queue.physical_resource_id})


def _update_queue(context: Context[object], queue: Any, name: str, properties: Properties) -> Any:
    if name != queue.name:
        context.backend("sqs").delete_queue(queue.name)
        return _create_queue(context, name, properties)
    attributes = {
        k: v for k, v in properties.items() if k not in ("QueueName", "Tags", "RedriveAllowPolicy", "FifoQueue")
    }
    queue._set_attributes(attributes)
    if "RedrivePolicy" in attributes:
        queue._setup_dlq(attributes["RedrivePolicy"])
    return queue


def _create_queue_policy(context: Context[object], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("sqs")
    for url in properties["Queues"]:
        backend.get_queue(url.rsplit("/", 1)[-1]).policy = json.dumps(properties["PolicyDocument"])
    return LocalResource(name, {"Id": name}, lambda: None)


KINDS: tuple[Kind[object], ...] = (
    Kind("AWS::SQS::Queue", "QueueName", _create_queue, _update_queue),
    Kind("AWS::SQS::QueuePolicy", "", _create_queue_policy),
)
