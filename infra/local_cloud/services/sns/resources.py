"""Topics and subscriptions as a template writes them."""

from __future__ import annotations

import json
from typing import Any

from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties, create_in_moto, give_attributes


def _create_topic(context: Context[object], name: str, properties: Properties) -> Any:
    for subscription in properties.get("Subscription", []):
        _check_protocol(context, subscription["Protocol"])
    topic = create_in_moto(context, name, properties)
    topic.kms_master_key_id = properties.get("KmsMasterKeyId", "")
    return give_attributes(topic, {"TopicArn": topic.arn})


def _update_topic(context: Context[object], topic: Any, name: str, properties: Properties) -> Any:
    topic.display_name = properties.get("DisplayName", "")
    topic.kms_master_key_id = properties.get("KmsMasterKeyId", "")
    return topic


def _check_protocol(context: Context[object], protocol: str) -> None:
    if protocol not in ("sqs", "lambda", "email", "email-json"):
        raise context.refuse(f"uses Protocol {protocol}", "subscribe a queue, a function or a mail address")


def _create_subscription(context: Context[object], name: str, properties: Properties) -> LocalResource:
    _check_protocol(context, properties["Protocol"])
    backend = context.backend("sns")
    subscription = backend.subscribe(properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
    if "FilterPolicyScope" in properties:
        backend.set_subscription_attributes(subscription.arn, "FilterPolicyScope", properties["FilterPolicyScope"])
    if "FilterPolicy" in properties:
        backend.set_subscription_attributes(subscription.arn, "FilterPolicy", json.dumps(properties["FilterPolicy"]))
    if str(properties.get("RawMessageDelivery", "false")).lower() == "true":
        backend.set_subscription_attributes(subscription.arn, "RawMessageDelivery", "true")
    return LocalResource(subscription.arn, {"Arn": subscription.arn}, lambda: backend.unsubscribe(subscription.arn))


def _create_topic_policy(context: Context[object], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("sns")
    for arn in properties["Topics"]:
        backend.get_topic(arn).policy = json.dumps(properties["PolicyDocument"])
    return LocalResource(name, {"Id": name}, lambda: None)


KINDS: tuple[Kind[object], ...] = (
    Kind("AWS::SNS::Subscription", "", _create_subscription),
    Kind("AWS::SNS::Topic", "TopicName", _create_topic, _update_topic),
    Kind("AWS::SNS::TopicPolicy", "", _create_topic_policy),
)
