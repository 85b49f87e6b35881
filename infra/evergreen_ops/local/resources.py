"""The resource types of a template: moto's own, completed, and those that moto lacks.

Each type is a :class:`Kind`: how it is created, and (where that is more than delete and create) how it is updated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.core.common_models import CloudFormationModel

from .arns import Arn
from .delivery import target_is_supported
from .errors import LocalCloudError, TemplateError, UnsupportedResourceError
from .firehose import Settings
from .http_api import HttpApi, Route, function_arn_of, routes_of_openapi
from .support import NO_RESOURCE, SUPPORTED, unsupported
from .times import moment

if TYPE_CHECKING:
    from .cloud import LocalCloud

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a resource is being made."""

    cloud: LocalCloud
    account: str
    region: str
    logical_id: str
    type: str

    def refuse(self, wanted: str, remedy: str = "remove it or deploy to AWS") -> UnsupportedResourceError:
        """Return the error that fails the deploy."""
        return UnsupportedResourceError(self.logical_id, self.type, wanted, remedy)

    def client(self, service: str) -> Any:
        """Return moto's backend of ``service`` for this account and region."""
        from moto.backends import get_backend

        backends: Any = get_backend(service)  # type: ignore[call-overload]
        of_account = backends[self.account]
        return of_account["aws"] if service in ("s3", "iam") else of_account[self.region]


class LocalResource:
    """A resource that moto has no CloudFormation model for: what moto asks of a model, and no more."""

    cf_resource_type: str
    logical_resource_id: str
    evergreen_name: str

    def __init__(self, physical_id: str, attributes: Mapping[str, str], remove: Callable[[], object]):
        self.physical_id = physical_id
        self.attributes = dict(attributes)
        self.remove = remove

    @property
    def type(self) -> str:
        """Its type, as the API reports it."""
        return self.cf_resource_type

    @property
    def physical_resource_id(self) -> str:
        """What ``Ref`` gives."""
        return self.physical_id

    def is_created(self) -> bool:
        """Whether it is there: always, here."""
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        """What ``Fn::GetAtt`` gives."""
        if attribute_name not in self.attributes:
            known = ", ".join(sorted(self.attributes)) or "none"
            raise LocalCloudError(
                f"Fn::GetAtt {attribute_name} of {self.physical_id} is not known here; known: {known}."
            )
        return self.attributes[attribute_name]

    def delete(self, account_id: str, region_name: str) -> None:  # noqa: ARG002
        """Remove what was made."""
        self.remove()


Create = Callable[[Context, str, Properties], Any]
Update = Callable[[Context, Any, str, Properties], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type."""

    type: str
    name_property: str
    create: Create
    update: Update | None = None
    attributes: frozenset[str] = field(default_factory=frozenset)


class _Adapter:
    """What moto's CloudFormation sees of a :class:`Kind`."""

    def __init__(self, cloud: LocalCloud, kind: Kind):
        self.cloud = cloud
        self.kind = kind

    def has_cfn_attr(self, attr: str) -> bool:  # noqa: ARG002
        return True

    def create_from_cloudformation_json(
        self, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> Any:
        logical_id = kwargs.get("LogicalId", resource_name)
        context = Context(self.cloud, account_id, region_name, logical_id, self.kind.type)
        properties = self._properties(logical_id, cloudformation_json)
        resource = self._make(context, resource_name, properties)
        resource.evergreen_name = resource_name
        if not hasattr(resource, "physical_resource_id"):  # some of moto's models leave Ref undefined
            resource.physical_resource_id = getattr(resource, "name", resource_name)
        return resource

    def _make(self, context: Context, name: str, properties: Properties) -> Any:
        try:
            return self.kind.create(context, name, properties)
        except LocalCloudError:
            raise
        except Exception as error:  # what moto raises on bad values has no common base; its cause is the template
            what = f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
            raise TemplateError(f"{context.logical_id} ({context.type}) cannot be made: {what}") from error

    def update_from_cloudformation_json(
        self,
        original_resource: Any,
        new_resource_name: str,  # noqa: ARG002
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Any:
        logical_id = original_resource.logical_resource_id
        context = Context(self.cloud, account_id, region_name, logical_id, self.kind.type)
        properties = self._properties(logical_id, cloudformation_json)
        named = properties.get(self.kind.name_property) if self.kind.name_property else None
        name = named or original_resource.evergreen_name
        if self.kind.update is not None:
            resource = self.kind.update(context, original_resource, name, properties)
        else:
            _delete(self.kind, original_resource, cloudformation_json, account_id, region_name)
            resource = self.kind.create(context, name, properties)
        resource.evergreen_name = name
        return resource

    def delete_from_cloudformation_json(
        self, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        _delete_by_name(self.kind, resource_name, cloudformation_json, account_id, region_name)

    def _properties(self, logical_id: str, cloudformation_json: Any) -> Properties:
        properties: Properties = _without_nothing(cloudformation_json.get("Properties") or {})
        for error in unsupported({logical_id: {"Type": self.kind.type, "Properties": properties}}):
            raise error
        return properties


def _without_nothing(value: Any) -> Any:
    """Drop what ``AWS::NoValue`` left behind in lists and objects."""
    if isinstance(value, dict):
        return {k: _without_nothing(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nothing(v) for v in value if v is not None]
    return value


def _delete(kind: Kind, resource: Any, cloudformation_json: Any, account: str, region: str) -> None:
    if isinstance(resource, LocalResource) or "delete" in dir(type(resource)):
        resource.delete(account, region)
    else:
        _delete_by_name(kind, resource.physical_resource_id, cloudformation_json, account, region)


def _delete_by_name(kind: Kind, name: str, cloudformation_json: Any, account: str, region: str) -> None:
    model = _moto_model(kind.type)
    method = getattr(model, "delete_from_cloudformation_json", None)
    if method is not None and not getattr(method, "__isabstractmethod__", False):
        method(name, cloudformation_json, account, region)


def _moto_model(type_name: str) -> type[CloudFormationModel] | None:
    from moto.cloudformation.parsing import get_model_map

    return get_model_map().get(type_name)


# -- types that moto has, as they are or completed -------------------------------------------------------------------


def _from_moto(context: Context, name: str, properties: Properties) -> Any:
    model = _moto_model(context.type)
    if model is None:
        raise context.refuse(f"is of type {context.type}")
    document = {"Type": context.type, "Properties": properties}
    return model.create_from_cloudformation_json(
        name,
        document,
        context.account,
        context.region,
        LogicalId=context.logical_id,
        StackId="",
        ResourceType=context.type,
    )


def _update_in_moto(context: Context, resource: Any, name: str, properties: Properties) -> Any:
    model = _moto_model(context.type)
    if model is None:
        raise context.refuse(f"is of type {context.type}")
    document = {"Type": context.type, "Properties": properties}
    return model.update_from_cloudformation_json(resource, name, document, context.account, context.region)


def _give_attributes(resource: Any, attributes: Mapping[str, str]) -> Any:
    """Let ``Fn::GetAtt`` find attributes that moto's model lacks."""
    known = resource.get_cfn_attribute
    resource.get_cfn_attribute = lambda name: attributes[name] if name in attributes else known(name)
    return resource


def _create_function(context: Context, name: str, properties: Properties) -> Any:
    if properties.get("PackageType", "Zip") != "Zip":
        raise context.refuse("uses PackageType Image", "package it as a zip")
    runtime = str(properties.get("Runtime", ""))
    if not runtime.startswith("python"):
        raise context.refuse(f"uses Runtime {runtime}", "write it in Python or deploy to AWS")
    function = _from_moto(context, name, properties)
    return _finish_function(context, function, properties)


def _update_function(context: Context, function: Any, name: str, properties: Properties) -> Any:
    if name != function.function_name:
        function.delete(context.account, context.region)
        return _create_function(context, name, properties)
    properties.setdefault("Environment", {"Variables": {}})
    properties.setdefault("Layers", [])
    return _finish_function(context, _update_in_moto(context, function, name, properties), properties)


def _finish_function(context: Context, function: Any, properties: Properties) -> Any:
    functions = context.cloud.functions
    functions.logical_ids[function.function_name] = context.logical_id
    variables = properties.get("Environment", {}).get("Variables", {})
    function.environment_vars = {name: _text(value) for name, value in variables.items()}
    function.timeout = int(properties.get("Timeout", 3))
    function.memory_size = int(properties.get("MemorySize", 128))
    function.update_configuration({"Layers": properties.get("Layers", [])})
    log_group = properties.get("LoggingConfig", {}).get("LogGroup")
    function.logs_group_name = log_group or f"/aws/lambda/{function.function_name}"
    function.tracing_config = properties.get("TracingConfig", function.tracing_config)
    function._architectures = properties.get("Architectures", ["x86_64"])
    dead_letter_arn = properties.get("DeadLetterConfig", {}).get("TargetArn")
    if dead_letter_arn:
        functions.dead_letter_arns[function.function_name] = dead_letter_arn
    else:
        functions.dead_letter_arns.pop(function.function_name, None)
    return function


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _create_layer(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("lambda")
    layer = backend.publish_layer_version({**properties, "LayerName": properties.get("LayerName", name)})
    return LocalResource(layer.arn, {"LayerVersionArn": layer.arn}, lambda: None)


def _create_version(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("lambda")
    version = backend.publish_version(properties["FunctionName"], properties.get("Description", ""))
    return LocalResource(version.function_arn, {"Version": str(version.version)}, lambda: None)


def _create_alias(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("lambda")
    function_name = backend.get_function(properties["FunctionName"]).function_name
    alias_name, version = properties["Name"], str(properties["FunctionVersion"])
    alias = backend.create_alias(alias_name, function_name, version, properties.get("Description", ""), None)
    return LocalResource(alias.arn, {"AliasArn": alias.arn}, lambda: backend.delete_alias(alias_name, function_name))


def _update_alias(context: Context, alias: LocalResource, name: str, properties: Properties) -> LocalResource:
    backend = context.client("lambda")
    function_name = backend.get_function(properties["FunctionName"]).function_name
    version = str(properties["FunctionVersion"])
    backend.update_alias(properties["Name"], function_name, version, properties.get("Description", ""), None)
    return alias


def _create_permission(context: Context, name: str, properties: Properties) -> LocalResource:
    function = context.client("lambda").get_function(properties["FunctionName"])
    statement, _ = function.policy.add_statement(json.dumps({**properties, "StatementId": name}))
    policies = [function.policy]
    return LocalResource(name, {"Id": name}, lambda: [p.statements.remove(statement) for p in policies])


def _create_invoke_config(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("lambda")
    function_name = properties["FunctionName"]
    qualifier = properties.get("Qualifier", "$LATEST")
    function = backend.get_function(function_name, None if qualifier == "$LATEST" else qualifier)
    for when, to in (properties.get("DestinationConfig") or {}).items():
        if to.get("Destination") and not target_is_supported(to["Destination"]):
            raise context.refuse(f"sends {when} to {to['Destination']}")
    from moto.awslambda.models import EventInvokeConfig

    config = {k: v for k, v in properties.items() if k not in ("FunctionName", "Qualifier")}
    for number in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
        if number in config:
            config[number] = int(config[number])
    function.event_invoke_config = [EventInvokeConfig(function.function_arn, function.last_modified, config)]

    def remove() -> None:
        function.event_invoke_config = []

    return LocalResource(f"{function_name}|{qualifier}", {}, remove)


def _create_mapping(context: Context, name: str, properties: Properties) -> Any:
    given = dict(properties)
    for number in ("BatchSize", "MaximumBatchingWindowInSeconds", "MaximumRetryAttempts"):
        if number in given:
            given[number] = int(given[number])
    if "Enabled" in given:
        given["Enabled"] = str(given["Enabled"]).lower() == "true"
    return _from_moto(context, name, given)


def _create_bucket(context: Context, name: str, properties: Properties) -> Any:
    return _finish_bucket(context, _from_moto(context, name.lower(), properties), properties)


def _update_bucket(context: Context, bucket: Any, name: str, properties: Properties) -> Any:
    return _finish_bucket(context, _update_in_moto(context, bucket, name, properties), properties)


def _finish_bucket(context: Context, bucket: Any, properties: Properties) -> Any:
    backend = context.client("s3")
    versioning = properties.get("VersioningConfiguration", {}).get("Status")
    if versioning:
        backend.put_bucket_versioning(bucket.name, versioning)
    if "LifecycleConfiguration" in properties:
        context.cloud.lifecycles.set_rules(bucket.name, properties["LifecycleConfiguration"])
    if "PublicAccessBlockConfiguration" in properties:
        backend.put_public_access_block(bucket.name, properties["PublicAccessBlockConfiguration"])
    notifications = properties.get("NotificationConfiguration", {})
    if extra := sorted(set(notifications) - {"EventBridgeConfiguration"}):
        raise context.refuse(f"uses NotificationConfiguration.{extra[0]}", "send the bucket's events to EventBridge")
    enabled = str(notifications.get("EventBridgeConfiguration", {}).get("EventBridgeEnabled", True)).lower() == "true"
    wanted = "EventBridgeConfiguration" in notifications and enabled
    bucket.set_notification_configuration({"EventBridgeConfiguration": {}} if wanted else None)
    return bucket


def _create_table(context: Context, name: str, properties: Properties) -> Any:
    throughput = properties.get("ProvisionedThroughput")
    if throughput:
        properties["ProvisionedThroughput"] = {key: int(value) for key, value in throughput.items()}
    protected = str(properties.pop("DeletionProtectionEnabled", "false")).lower() == "true"
    table = _from_moto(context, name, {**properties, "DeletionProtectionEnabled": protected})
    return _finish_table(context, table, properties)


def _finish_table(context: Context, table: Any, properties: Properties) -> Any:
    backend = context.client("dynamodb")
    recovery = properties.get("PointInTimeRecoverySpecification")
    if recovery:
        enabled = str(recovery.get("PointInTimeRecoveryEnabled", "false")).lower() == "true"
        backend.update_continuous_backups(table.name, {"PointInTimeRecoveryEnabled": enabled})
    expiry = properties.get("TimeToLiveSpecification")
    if expiry:
        table.ttl["TimeToLiveStatus"] = "ENABLED" if expiry.get("Enabled", True) else "DISABLED"
        table.ttl["AttributeName"] = expiry.get("AttributeName", "")
    return table


def _update_table(context: Context, table: Any, name: str, properties: Properties) -> Any:
    kept = {item["AttributeName"] for item in properties["KeySchema"]} == {
        item["AttributeName"] for item in table.schema
    }
    if not kept or name != table.name:
        _delete(KINDS[context.type], table, {"Properties": properties}, context.account, context.region)
        return _create_table(context, name, properties)
    table.deletion_protection_enabled = str(properties.get("DeletionProtectionEnabled", "false")).lower() == "true"
    return _finish_table(context, table, properties)


def _create_queue(context: Context, name: str, properties: Properties) -> Any:
    queue = _from_moto(context, name, {k: v for k, v in properties.items() if k != "RedriveAllowPolicy"})
    return _give_attributes(queue, {"QueueUrl": queue.physical_resource_id})


def _update_queue(context: Context, queue: Any, name: str, properties: Properties) -> Any:
    if name != queue.name:
        context.client("sqs").delete_queue(queue.name)
        return _create_queue(context, name, properties)
    attributes = {
        k: v for k, v in properties.items() if k not in ("QueueName", "Tags", "RedriveAllowPolicy", "FifoQueue")
    }
    queue._set_attributes(attributes)
    if "RedrivePolicy" in attributes:
        queue._setup_dlq(attributes["RedrivePolicy"])
    return queue


def _create_topic(context: Context, name: str, properties: Properties) -> Any:
    for subscription in properties.get("Subscription", []):
        _check_protocol(context, subscription["Protocol"])
    topic = _from_moto(context, name, properties)
    return _give_attributes(topic, {"TopicArn": topic.arn})


def _update_topic(context: Context, topic: Any, name: str, properties: Properties) -> Any:
    topic.display_name = properties.get("DisplayName", "")
    return topic


def _check_protocol(context: Context, protocol: str) -> None:
    if protocol not in ("sqs", "lambda", "email", "email-json"):
        raise context.refuse(f"uses Protocol {protocol}", "subscribe a queue, a function or a mail address")


def _create_subscription(context: Context, name: str, properties: Properties) -> LocalResource:
    _check_protocol(context, properties["Protocol"])
    backend = context.client("sns")
    subscription = backend.subscribe(properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
    if "FilterPolicyScope" in properties:
        backend.set_subscription_attributes(subscription.arn, "FilterPolicyScope", properties["FilterPolicyScope"])
    if "FilterPolicy" in properties:
        backend.set_subscription_attributes(subscription.arn, "FilterPolicy", json.dumps(properties["FilterPolicy"]))
    if str(properties.get("RawMessageDelivery", "false")).lower() == "true":
        backend.set_subscription_attributes(subscription.arn, "RawMessageDelivery", "true")
    return LocalResource(subscription.arn, {"Arn": subscription.arn}, lambda: backend.unsubscribe(subscription.arn))


def _create_queue_policy(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("sqs")
    for url in properties["Queues"]:
        backend.get_queue(url.rsplit("/", 1)[-1]).policy = json.dumps(properties["PolicyDocument"])
    return LocalResource(name, {"Id": name}, lambda: None)


def _create_topic_policy(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("sns")
    for arn in properties["Topics"]:
        backend.get_topic(arn).policy = json.dumps(properties["PolicyDocument"])
    return LocalResource(name, {"Id": name}, lambda: None)


def _create_bucket_policy(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("s3")
    bucket = properties["Bucket"]
    # moto applies a statement whatever its Condition says; what is denied without TLS never happens on loopback.
    document = properties["PolicyDocument"]
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    statements = [s for s in document["Statement"] if not (s["Effect"] == "Deny" and s.get("Condition") == plain)]
    if statements:
        backend.put_bucket_policy(bucket, json.dumps({**document, "Statement": statements}).encode())
    return LocalResource(bucket, {}, lambda: backend.delete_bucket_policy(bucket) if statements else None)


def _create_rule(context: Context, name: str, properties: Properties) -> Any:
    for target in properties.get("Targets", []):
        if not target_is_supported(target["Arn"]):
            raise context.refuse(
                f"targets {target['Arn']}", "target a function, queue, topic, stream, log group or bus"
            )
    return _from_moto(context, name, {k: v for k, v in properties.items() if k != "Tags"})


def _create_bus(context: Context, name: str, properties: Properties) -> Any:
    return _from_moto(context, name, properties)


def _keep(context: Context, resource: Any, name: str, properties: Properties) -> Any:
    """An update that changes nothing that matters here."""
    return resource


def _create_role(context: Context, name: str, properties: Properties) -> Any:
    return _from_moto(context, name, {k: v for k, v in properties.items() if k != "ManagedPolicyArns"})


def _update_role(context: Context, role: Any, name: str, properties: Properties) -> Any:
    for policy in properties.get("Policies", []):
        role.policies[policy["PolicyName"]] = json.dumps(policy["PolicyDocument"])
    role.assume_role_policy_document = properties["AssumeRolePolicyDocument"]
    return role


# -- types that moto lacks -------------------------------------------------------------------------------------------


def _create_alarm(context: Context, name: str, properties: Properties) -> LocalResource:
    from moto.cloudwatch.models import Dimension, Metric, MetricDataQuery, MetricStat

    backend = context.client("cloudwatch")
    queries = []
    for given in properties.get("Metrics", []):
        stat = given.get("MetricStat")
        metric_stat = None
        if stat:
            metric = stat["Metric"]
            dimensions = [Dimension(d["Name"], str(d["Value"])) for d in metric.get("Dimensions", [])]
            metric_stat = MetricStat(
                metric=Metric(metric["MetricName"], metric["Namespace"], dimensions),
                period=stat["Period"],
                stat=stat["Stat"],
                unit=stat.get("Unit"),
            )
        queries.append(
            MetricDataQuery(
                query_id=given["Id"],
                label=given.get("Label"),
                period=given.get("Period"),
                return_data=given.get("ReturnData"),
                expression=given.get("Expression"),
                metric_stat=metric_stat,
            )
        )
    try:
        alarm = backend.put_metric_alarm(
            name=name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            metric_data_queries=queries,
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            datapoints_to_alarm=int(properties["DatapointsToAlarm"]) if "DatapointsToAlarm" in properties else None,
            period=int(properties.get("Period", 60)),
            threshold=float(properties["Threshold"]),
            statistic=properties.get("Statistic"),
            extended_statistic=properties.get("ExtendedStatistic"),
            description=properties.get("AlarmDescription", ""),
            dimensions=[{"Name": d["Name"], "Value": str(d["Value"])} for d in properties.get("Dimensions", [])],
            alarm_actions=properties.get("AlarmActions", []),
            ok_actions=properties.get("OKActions", []),
            insufficient_data_actions=properties.get("InsufficientDataActions", []),
            unit=properties.get("Unit"),
            actions_enabled=str(properties.get("ActionsEnabled", "true")).lower() == "true",
            treat_missing_data=properties.get("TreatMissingData"),
            evaluate_low_sample_count_percentile=properties.get("EvaluateLowSampleCountPercentile"),
            threshold_metric_id=properties.get("ThresholdMetricId"),
        )
    except (ValueError, _cloudwatch_error()) as error:
        raise context.refuse(f"watches what cannot be evaluated ({error})", "simplify it or deploy to AWS") from error
    return LocalResource(alarm.name, {"Arn": alarm.alarm_arn}, lambda: backend.delete_alarms([alarm.name]))


def _cloudwatch_error() -> type[Exception]:
    from moto.cloudwatch.exceptions import ValidationError

    return ValidationError


def _update_alarm(context: Context, alarm: LocalResource, name: str, properties: Properties) -> LocalResource:
    if name != alarm.physical_id:
        alarm.remove()
    return _create_alarm(context, name, properties)


def _create_schedule(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("scheduler")
    target = properties["Target"]
    if not target_is_supported(target["Arn"]):
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


def _create_schedule_group(context: Context, name: str, properties: Properties) -> LocalResource:
    backend = context.client("scheduler")
    group = backend.create_schedule_group(name, [])
    attributes = {"Arn": group.arn, "State": "ACTIVE"}
    return LocalResource(group.name, attributes, lambda: backend.delete_schedule_group(group.name))


def _create_pipe(context: Context, name: str, properties: Properties) -> LocalResource:
    if Arn.parse(properties["Source"]).service != "dynamodb":
        raise context.refuse(f"reads {properties['Source']}", "read a DynamoDB stream")
    if not target_is_supported(properties["Target"]):
        raise context.refuse(f"targets {properties['Target']}")
    known = {"DynamoDBStreamParameters", "FilterCriteria"}
    if extra := sorted(set(properties.get("SourceParameters", {})) - known):
        raise context.refuse(f"uses SourceParameters.{extra[0]}")
    known = {"InputTemplate", "EventBridgeEventBusParameters", "SqsQueueParameters", "LambdaFunctionParameters"}
    if extra := sorted(set(properties.get("TargetParameters", {})) - known):
        raise context.refuse(f"uses TargetParameters.{extra[0]}")
    backend = context.client("pipes")
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


def _create_delivery_stream(context: Context, name: str, properties: Properties) -> LocalResource:
    extended = properties.get("ExtendedS3DestinationConfiguration")
    config = extended or properties.get("S3DestinationConfiguration")
    if config is None:
        raise context.refuse("delivers elsewhere than to S3", "deliver to S3")
    try:
        Settings.parse(config)
    except ValueError as error:
        raise context.refuse(f"asks for too much: {error}", "write a partition query of plain paths") from error
    backend = context.client("firehose")
    arn = backend.create_delivery_stream(
        region=context.region,
        delivery_stream_name=name[:64],
        delivery_stream_type=properties.get("DeliveryStreamType", "DirectPut"),
        kinesis_stream_source_configuration={},
        delivery_stream_encryption_configuration_input={},
        s3_destination_configuration={},
        extended_s3_destination_configuration=config,
        redshift_destination_configuration={},
        elasticsearch_destination_configuration={},
        splunk_destination_configuration={},
        http_endpoint_destination_configuration={},
        snowflake_destination_configuration={},
        iceberg_destination_configuration={},
        tags=[],
    )
    return LocalResource(name[:64], {"Arn": arn}, lambda: backend.delete_delivery_stream(name[:64]))


def _create_http_api(context: Context, name: str, properties: Properties) -> LocalResource:
    if properties.get("ProtocolType", "HTTP") != "HTTP":
        raise context.refuse(f"uses ProtocolType {properties['ProtocolType']}", "make it an HTTP API")
    backend = context.client("apigatewayv2")
    body = properties.get("Body", {})
    title = properties.get("Name") or body.get("info", {}).get("title") or name
    api = backend.create_api(
        api_key_selection_expression="",
        cors_configuration=None,
        description=properties.get("Description", ""),
        disable_schema_validation=False,
        disable_execute_api_endpoint=False,
        name=title,
        protocol_type="HTTP",
        route_selection_expression="",
        tags={},
        version=body.get("info", {}).get("version", ""),
    )
    apis = context.cloud.http_apis.apis
    apis[api.api_id] = HttpApi(api.api_id, title, routes_of_openapi(body))

    def remove() -> None:
        backend.delete_api(api.api_id)
        apis.pop(api.api_id, None)

    return LocalResource(api.api_id, {"ApiId": api.api_id, "ApiEndpoint": api.api_endpoint}, remove)


def _update_http_api(context: Context, api: LocalResource, name: str, properties: Properties) -> LocalResource:
    if "Body" in properties:  # routes that are written out are resources of their own
        context.cloud.http_apis.apis[api.physical_id].routes[:] = routes_of_openapi(properties["Body"])
    return api


def _create_integration(context: Context, name: str, properties: Properties) -> LocalResource:
    if properties["IntegrationType"] != "AWS_PROXY":
        raise context.refuse(
            f"uses IntegrationType {properties['IntegrationType']}", "integrate a function (AWS_PROXY)"
        )
    api = context.cloud.http_apis.apis[properties["ApiId"]]
    api.integrations[name] = function_arn_of(properties["IntegrationUri"])
    return LocalResource(name, {"IntegrationId": name}, lambda: api.integrations.pop(name, None))


def _create_route(context: Context, name: str, properties: Properties) -> LocalResource:
    if properties.get("AuthorizationType", "NONE") not in ("NONE", "AWS_IAM"):
        raise context.refuse(f"uses AuthorizationType {properties['AuthorizationType']}")
    api = context.cloud.http_apis.apis[properties["ApiId"]]
    integration = properties["Target"].removeprefix("integrations/")
    route = Route.parse(properties["RouteKey"], api.integrations[integration])
    api.routes.append(route)
    return LocalResource(name, {"RouteId": name}, lambda: api.routes.remove(route) if route in api.routes else None)


def _create_stage(context: Context, name: str, properties: Properties) -> LocalResource:
    stage = properties["StageName"]
    api = context.cloud.http_apis.apis[properties["ApiId"]]
    api.stages.add(stage)
    return LocalResource(stage, {}, lambda: api.stages.discard(stage))


KINDS: Mapping[str, Kind] = {
    kind.type: kind
    for kind in (
        Kind("AWS::ApiGatewayV2::Api", "", _create_http_api, _update_http_api),
        Kind("AWS::ApiGatewayV2::Integration", "", _create_integration),
        Kind("AWS::ApiGatewayV2::Route", "", _create_route),
        Kind("AWS::ApiGatewayV2::Stage", "", _create_stage, _keep),
        Kind("AWS::CloudWatch::Alarm", "AlarmName", _create_alarm, _update_alarm),
        Kind("AWS::CloudWatch::Dashboard", "DashboardName", _from_moto, _update_in_moto),
        Kind("AWS::DynamoDB::Table", "TableName", _create_table, _update_table),
        Kind("AWS::Events::EventBus", "Name", _create_bus, _keep),
        Kind("AWS::Events::Rule", "Name", _create_rule),
        Kind("AWS::IAM::ManagedPolicy", "ManagedPolicyName", _from_moto, _keep),
        Kind("AWS::IAM::Policy", "PolicyName", _from_moto, _keep),
        Kind("AWS::IAM::Role", "RoleName", _create_role, _update_role),
        Kind("AWS::KMS::Alias", "AliasName", _from_moto, _keep),
        Kind("AWS::KMS::Key", "", _from_moto, _keep),
        Kind("AWS::KinesisFirehose::DeliveryStream", "DeliveryStreamName", _create_delivery_stream),
        Kind("AWS::Lambda::Alias", "Name", _create_alias, _update_alias),
        Kind("AWS::Lambda::EventInvokeConfig", "", _create_invoke_config),
        Kind("AWS::Lambda::EventSourceMapping", "", _create_mapping),
        Kind("AWS::Lambda::Function", "FunctionName", _create_function, _update_function),
        Kind("AWS::Lambda::LayerVersion", "LayerName", _create_layer),
        Kind("AWS::Lambda::Permission", "", _create_permission),
        Kind("AWS::Lambda::Version", "", _create_version),
        Kind("AWS::Logs::LogGroup", "LogGroupName", _from_moto, _keep),
        Kind("AWS::Pipes::Pipe", "Name", _create_pipe),
        Kind("AWS::S3::Bucket", "BucketName", _create_bucket, _update_bucket),
        Kind("AWS::S3::BucketPolicy", "", _create_bucket_policy),
        Kind("AWS::SNS::Subscription", "", _create_subscription),
        Kind("AWS::SNS::Topic", "TopicName", _create_topic, _update_topic),
        Kind("AWS::SNS::TopicPolicy", "", _create_topic_policy),
        Kind("AWS::SQS::Queue", "QueueName", _create_queue, _update_queue),
        Kind("AWS::SQS::QueuePolicy", "", _create_queue_policy),
        Kind("AWS::SSM::Parameter", "Name", _from_moto, _update_in_moto),
        Kind("AWS::Scheduler::Schedule", "Name", _create_schedule),
        Kind("AWS::Scheduler::ScheduleGroup", "Name", _create_schedule_group),
    )
}


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_resource_class(cloud: LocalCloud, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.cloudformation.parsing.resource_class_from_type``: our kinds, and no silent omissions."""
    adapters = {name: _Adapter(cloud, kind) for name, kind in KINDS.items()}

    def resource_class_from_type(resource_type: str) -> Any:
        if resource_type in adapters:
            return adapters[resource_type]
        if resource_type in NO_RESOURCE:
            return original("AWS::CloudFormation::WaitConditionHandle")
        raise UnsupportedResourceError("A resource", resource_type, f"is of type {resource_type}")

    return resource_class_from_type


def patched_name_property(cloud: LocalCloud, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.cloudformation.parsing.resource_name_property_from_type``: the property that names a resource."""

    def resource_name_property_from_type(resource_type: str) -> str | None:
        kind = KINDS.get(resource_type)
        return (kind.name_property or None) if kind is not None else original(resource_type)

    return resource_name_property_from_type


if set(KINDS) != set(SUPPORTED):
    raise LocalCloudError(f"KINDS and SUPPORTED name different types: {sorted(set(KINDS) ^ set(SUPPORTED))}.")
