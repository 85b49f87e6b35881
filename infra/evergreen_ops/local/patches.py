"""Every symbol of moto that the local cloud replaces, in one table; put in place when a cloud opens, and undone."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import moto

from . import (
    alarms,
    change_sets,
    events,
    firehose,
    lambdas,
    lifecycle,
    metrics,
    pipes,
    resources,
    schedules,
    speed,
    streams,
    template,
)
from .errors import MotoChangedError

if TYPE_CHECKING:
    from .cloud import LocalCloud

Make = Callable[["LocalCloud", Any], Any]
"""Takes the cloud and what was there, and returns what takes its place."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One replacement.

    Parameters
    ----------
    symbol
        ``module:attribute`` or ``module:Class.attribute``.
    make
        Builds the replacement from the cloud and the original.
    """

    symbol: str
    make: Make

    def owner(self) -> tuple[Any, str]:
        """Return the object and the attribute's name.

        Raises
        ------
        MotoChangedError
            When it does not exist.
        """
        module_name, _, path = self.symbol.partition(":")
        *parents, attribute = path.split(".")
        try:
            owner: Any = importlib.import_module(module_name)
            for parent in parents:
                owner = getattr(owner, parent)
            getattr(owner, attribute)
        except (ImportError, AttributeError) as error:
            raise MotoChangedError(self.symbol, moto.__version__) from error
        return owner, attribute


def _virtual_datetime(cloud: LocalCloud, original: ModuleType) -> ModuleType:
    """``moto.core.utils.datetime``: what moto takes for the present is the cloud's clock."""

    class VirtualDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            now = cloud.clock.now
            return now.astimezone(tz) if tz is not None else now.replace(tzinfo=None)

        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.fromtimestamp(timestamp, tz)

    shim = ModuleType("datetime")
    shim.__dict__.update({name: value for name, value in vars(original).items() if not name.startswith("__")})
    shim.datetime = VirtualDatetime  # type: ignore[attr-defined]
    return shim


def _change_sets(cloud: LocalCloud, original: Any) -> Any:
    """``CloudFormationBackend.execute_change_set``: whole stacks, with their outputs."""
    return change_sets.patched_execute_change_set(original)


PATCHES: tuple[Patch, ...] = (
    Patch("moto.core.utils:datetime", _virtual_datetime),
    Patch("moto.core.botocore_stubber:BotocoreStubber.process_request", speed.patched_process_request),
    Patch("botocore.auth:AUTH_TYPE_MAPS", speed.patched_auth_types),
    Patch("botocore.utils:_parse_timestamp_with_tzinfo", speed.patched_parse_timestamp),
    Patch("moto.core.common_models:BaseModel.__new__", speed.patched_new_model),
    Patch("moto.core.responses:gen_amzn_requestid_long", speed.patched_request_id),
    Patch("moto.core.responses:method_names_from_class", speed.patched_method_names),
    Patch("moto.core.serialize:BaseJSONSerializer._serialize_type_structure", speed.patched_serialize_structure),
    Patch("moto.awslambda.models:LambdaBackend.create_event_source_mapping", streams.patched_create_mapping),
    Patch("moto.awslambda.models:LambdaBackend.delete_event_source_mapping", streams.patched_delete_mapping),
    Patch("moto.awslambda.models:LambdaBackend.invoke", lambdas.patched_backend_invoke),
    Patch("moto.awslambda.models:LambdaFunction._invoke_lambda", lambdas.patched_invoke_lambda),
    Patch("moto.awslambda.responses:LambdaResponse.invoke", lambdas.patched_response_invoke),
    Patch("moto.cloudformation.models:CloudFormationBackend.create_change_set", template.patched_take_template),
    Patch("moto.cloudformation.models:CloudFormationBackend.create_stack", template.patched_take_template),
    Patch("moto.cloudformation.models:CloudFormationBackend.execute_change_set", _change_sets),
    Patch("moto.cloudformation.models:CloudFormationBackend.update_stack", template.patched_take_template),
    Patch("moto.cloudformation.parsing:resource_class_from_type", resources.patched_resource_class),
    Patch("moto.cloudformation.parsing:resource_name_property_from_type", resources.patched_name_property),
    Patch("moto.cloudwatch.models:CloudWatchBackend.delete_alarms", alarms.patched_delete_alarms),
    Patch("moto.cloudwatch.models:CloudWatchBackend.get_filtered_metrics", metrics.patched_get_filtered_metrics),
    Patch("moto.cloudwatch.models:CloudWatchBackend.get_metric_data", metrics.patched_get_metric_data),
    Patch("moto.cloudwatch.models:CloudWatchBackend.put_metric_alarm", alarms.patched_put_metric_alarm),
    Patch("moto.cloudwatch.models:CloudWatchBackend.put_metric_data", metrics.patched_put_metric_data),
    Patch("moto.cloudwatch.models:CloudWatchBackend.set_alarm_state", alarms.patched_set_alarm_state),
    Patch("moto.cloudwatch.responses:CloudWatchResponse.get_metric_statistics", metrics.patched_get_metric_statistics),
    Patch("moto.dynamodb.models.dynamo_type:DynamoType.__lt__", speed.patched_less_than),
    Patch("moto.dynamodb.models.table:StreamShard.add", streams.patched_shard_add),
    Patch("moto.dynamodb.models.table:Table.query", speed.patched_table_query),
    Patch("moto.dynamodb.models:DynamoDBBackend.transact_write_items", streams.patched_transact_write_items),
    Patch("moto.dynamodb.models:DynamoDBBackend.update_item", streams.patched_update_item),
    Patch("moto.dynamodb.responses:DynamoHandler.call_action", streams.patched_call_action),
    Patch("moto.events.models:EventsBackend.delete_rule", schedules.patched_rule_change),
    Patch("moto.events.models:EventsBackend.disable_rule", schedules.patched_rule_change),
    Patch("moto.events.models:EventsBackend.enable_rule", schedules.patched_rule_change),
    Patch("moto.events.models:EventsBackend.put_events", events.patched_put_events),
    Patch("moto.events.models:EventsBackend.put_rule", schedules.patched_put_rule),
    Patch("moto.events.models:Rule.send_to_targets", events.patched_rule_send),
    Patch("moto.firehose.models:FirehoseBackend.put_record_batch", firehose.patched_put_record_batch),
    Patch("moto.firehose.responses:FirehoseResponse.put_record_batch", firehose.patched_put_record_batch_response),
    Patch("moto.pipes.models:EventBridgePipesBackend.create_pipe", pipes.patched_create_pipe),
    Patch("moto.pipes.models:EventBridgePipesBackend.delete_pipe", pipes.patched_delete_pipe),
    Patch("moto.pipes.models:EventBridgePipesBackend.update_pipe", pipes.patched_create_pipe),
    Patch("moto.s3.models:S3Backend.put_object", lifecycle.patched_put_object),
    Patch("moto.s3.models:S3Backend.list_objects", speed.patched_list_objects),
    Patch("moto.s3.notifications:_invoke_awslambda", events.patched_s3_to_lambda),
    Patch("moto.s3.notifications:_send_event_bridge_message", events.patched_s3_event),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.create_schedule", schedules.patched_create_schedule),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.delete_schedule", schedules.patched_delete_schedule),
    Patch(
        "moto.scheduler.models:EventBridgeSchedulerBackend.delete_schedule_group",
        schedules.patched_delete_schedule_group,
    ),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.update_schedule", schedules.patched_update_schedule),
    Patch("moto.utilities.aws_headers:gen_amzn_requestid_long", speed.patched_request_id),
    Patch("moto.sns.models:Subscription.publish", lambdas.patched_subscription_publish),
    Patch("moto.sqs.models:Queue.add_message", streams.patched_add_message),
)


class Patches:
    """Replacements that are in place, and how to take them back."""

    def __init__(self, cloud: LocalCloud):
        self.cloud = cloud
        self._undo: list[tuple[Any, str, Any]] = []

    def apply(self, patch: Patch) -> None:
        """Put one replacement in place until :meth:`undo`.

        Raises
        ------
        MotoChangedError
            When moto has no such symbol.
        """
        owner, attribute = patch.owner()
        as_it_was = vars(owner)[attribute] if attribute in vars(owner) else getattr(owner, attribute)
        original = as_it_was.__func__ if isinstance(as_it_was, staticmethod | classmethod) else as_it_was
        replacement = patch.make(self.cloud, original)
        if isinstance(as_it_was, staticmethod | classmethod):
            replacement = type(as_it_was)(replacement)
        setattr(owner, attribute, replacement)
        self._undo.append((owner, attribute, as_it_was))

    def apply_all(self) -> None:
        """Put the whole table in place."""
        for patch in PATCHES:
            self.apply(patch)

    def undo(self) -> None:
        """Put back everything that was replaced, latest first."""
        while self._undo:
            owner, attribute, as_it_was = self._undo.pop()
            setattr(owner, attribute, as_it_was)
