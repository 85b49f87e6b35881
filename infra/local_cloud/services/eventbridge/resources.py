"""Buses, rules, schedules and pipes as a template writes them."""

from __future__ import annotations

from typing import Any

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.errors import TemplateError
from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties, create_in_moto, keep
from local_cloud.kernel.times import moment
from local_cloud.services.eventbridge.buses import Events


def _create_rule(context: Context[Events], name: str, properties: Properties) -> Any:
    for target in properties.get("Targets", []):
        if not context.service.courier.takes(target["Arn"]):
            raise context.refuse(
                f"targets {target['Arn']}", "target a function, queue, topic, stream, log group or bus"
            )
    return create_in_moto(context, name, {k: v for k, v in properties.items() if k != "Tags"})


def _create_schedule(context: Context[Events], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("scheduler")
    target = properties["Target"]
    if not context.service.courier.takes(target["Arn"]):
        raise context.refuse(f"targets {target['Arn']}", "target a function, queue, topic, stream or bus")
    schedule = backend.create_schedule(
        description=properties.get("Description"),
        end_date=_epoch(properties.get("EndDate")),
        flexible_time_window=properties.get("FlexibleTimeWindow"),
        group_name=properties.get("GroupName"),
        kms_key_arn=properties.get("KmsKeyArn"),
        name=name[:64],
        schedule_expression=properties["ScheduleExpression"],
        schedule_expression_timezone=properties.get("ScheduleExpressionTimezone"),
        start_date=_epoch(properties.get("StartDate")),
        state=properties.get("State"),
        target=target,
        action_after_completion=None,
    )
    group = schedule.group_name
    return LocalResource(schedule.name, {"Arn": schedule.arn}, lambda: backend.delete_schedule(group, schedule.name))


def _epoch(given: str | None) -> float | None:
    when = moment(given)
    return when.timestamp() if when is not None else None


def _create_schedule_group(context: Context[Events], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("scheduler")
    group = backend.create_schedule_group(name, [])
    attributes = {"Arn": group.arn, "State": "ACTIVE"}
    return LocalResource(group.name, attributes, lambda: backend.delete_schedule_group(group.name))


def _create_pipe(context: Context[Events], name: str, properties: Properties) -> LocalResource:
    if Arn.parse(properties["Source"]).service != "dynamodb":
        raise context.refuse(f"reads {properties['Source']}", "read a DynamoDB stream")
    if not context.service.courier.takes(properties["Target"]):
        raise context.refuse(f"targets {properties['Target']}")
    known = {"DynamoDBStreamParameters", "FilterCriteria"}
    if extra := sorted(set(properties.get("SourceParameters", {})) - known):
        raise context.refuse(f"uses SourceParameters.{extra[0]}")
    known = {"InputTemplate", "EventBridgeEventBusParameters", "SqsQueueParameters", "LambdaFunctionParameters"}
    if extra := sorted(set(properties.get("TargetParameters", {})) - known):
        raise context.refuse(f"uses TargetParameters.{extra[0]}")
    if context.service.core.gate.not_assumed("pipes.amazonaws.com", properties["RoleArn"]) is not None:
        raise TemplateError(f"{context.logical_id}: EventBridge Pipes can't assume the role {properties['RoleArn']}")
    backend = context.backend("pipes")
    pipe = backend.create_pipe(
        name=name,
        description=properties.get("Description"),
        desired_state=properties.get("DesiredState"),
        source=properties["Source"],
        source_parameters=properties.get("SourceParameters"),
        enrichment=None,
        enrichment_parameters=None,
        target=properties["Target"],
        target_parameters=properties.get("TargetParameters"),
        role_arn=properties["RoleArn"],
        tags=properties.get("Tags"),
        log_configuration=properties.get("LogConfiguration"),
        kms_key_identifier=properties.get("KmsKeyIdentifier"),
    )
    return LocalResource(pipe.name, {"Arn": pipe.arn}, lambda: backend.delete_pipe(pipe.name))


KINDS: tuple[Kind[Events], ...] = (
    Kind("AWS::Events::EventBus", "Name", create_in_moto, keep),
    Kind("AWS::Events::Rule", "Name", _create_rule),
    Kind("AWS::Pipes::Pipe", "Name", _create_pipe),
    Kind("AWS::Scheduler::Schedule", "Name", _create_schedule),
    Kind("AWS::Scheduler::ScheduleGroup", "Name", _create_schedule_group),
)
