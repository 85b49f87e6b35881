"""What a call needs: the actions, the resources and the condition keys by which AWS decides about it.

Pure: a service, an operation and its parameters, as boto3 has them, become needs. Names are those of AWS's Service
Authorization Reference (tests/local_cloud/test_iam_needs.py holds them to it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from local_cloud.kernel.place import ACCOUNT, here

Params = Mapping[str, Any]
Value = str | tuple[str, ...] | None
Known = Mapping[str, Value | Callable[[], Value]]
"""Values by condition key. A function's value is only asked for where a policy names the key."""


@dataclass(frozen=True, slots=True)
class Need:
    """One action on one resource that a call needs.

    Examples
    --------
    >>> [need] = needs_of("s3", "PutObject", {"Bucket": "data", "Key": "captures/1"})
    >>> need.action, need.resource
    ('s3:PutObject', 'arn:aws:s3:::data/captures/1')
    """

    action: str
    resource: str = "*"
    known: Known = field(default_factory=dict)


def needs_of(service: str, operation: str, params: Params) -> list[Need]:
    """Return what a call needs; nothing for a call that is allowed to everybody.

    Parameters
    ----------
    service, operation, params
        As boto3 has them: ``"dynamodb"``, ``"PutItem"``, ``{"TableName": ...}``.

    Examples
    --------
    >>> [str(need.action) for need in needs_of("sagemaker", "CreateTrainingJob", {
    ...     "TrainingJobName": "fraud-1", "RoleArn": "arn:aws:iam::123456789012:role/training"})]
    ['sagemaker:CreateTrainingJob', 'iam:PassRole']
    >>> needs_of("sts", "GetCallerIdentity", {})
    []
    """
    make = _SERVICES.get(service)
    if make is not None:
        return list(make(operation, params))
    return [Need(f"{_PREFIXES.get(service, service)}:{operation}")]


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource; one that is an ARN already stays as it is."""
    return resource if resource.startswith("arn:") else here().arn(service, resource)


def _passed(role: str | None, service: str, of: str = "") -> Iterator[Need]:
    """The role that is handed on must be one that the caller may hand to that service."""
    if role:
        known: dict[str, str] = {"iam:PassedToService": service}
        if of:
            known["iam:AssociatedResourceArn"] = of
        yield Need("iam:PassRole", role, known)


def _tags(params: Params) -> dict[str, Value]:
    tags = params.get("Tags") or []
    pairs = dict(tags) if isinstance(tags, Mapping) else {t["Key"]: t.get("Value", "") for t in tags}
    if not pairs:
        return {}
    return {**{f"aws:RequestTag/{name}": str(value) for name, value in pairs.items()}, "aws:TagKeys": tuple(pairs)}


def _given(**values: Any) -> dict[str, str]:
    """Condition keys whose value was given; ``__`` in a name is a colon, ``_`` a dash."""
    return {
        name.replace("__", ":").replace("_", "-"): str(value) for name, value in values.items() if value is not None
    }


# -- S3 --------------------------------------------------------------------------------------------------------------

_BUCKET_ACTIONS = {
    "CreateBucket": "CreateBucket",
    "DeleteBucket": "DeleteBucket",
    "DeleteBucketPolicy": "DeleteBucketPolicy",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketLocation": "GetBucketLocation",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketPolicy": "GetBucketPolicy",
    "GetBucketTagging": "GetBucketTagging",
    "GetBucketVersioning": "GetBucketVersioning",
    "HeadBucket": "ListBucket",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketPolicy": "PutBucketPolicy",
    "PutBucketTagging": "PutBucketTagging",
    "PutBucketVersioning": "PutBucketVersioning",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
}
_OBJECT_ACTIONS = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObject": "DeleteObject",
    "DeleteObjectTagging": "DeleteObjectTagging",
    "GetObject": "GetObject",
    "GetObjectAcl": "GetObjectAcl",
    "GetObjectAttributes": "GetObject",
    "GetObjectTagging": "GetObjectTagging",
    "HeadObject": "GetObject",
    "ListParts": "ListMultipartUploadParts",
    "PutObject": "PutObject",
    "PutObjectAcl": "PutObjectAcl",
    "PutObjectTagging": "PutObjectTagging",
    "UploadPart": "PutObject",
}
_OF_A_VERSION = frozenset({"DeleteObject", "GetObject", "GetObjectAcl", "GetObjectTagging", "PutObjectTagging"})


def object_arn(bucket: str, key: str) -> str:
    """Return the ARN of an object.

    Examples
    --------
    >>> object_arn("data", "captures/1")
    'arn:aws:s3:::data/captures/1'
    """
    return here().bucket_arn(f"{bucket}/{key}")


def _s3(operation: str, params: Params) -> Iterator[Need]:
    bucket = params.get("Bucket", "")
    if operation == "ListBuckets":
        yield Need("s3:ListAllMyBuckets")
    elif operation in ("CopyObject", "UploadPartCopy"):
        yield _copied(params["CopySource"])
        yield Need("s3:PutObject", object_arn(bucket, params["Key"]), _stored_as(params))
    elif operation == "DeleteObjects":
        for one in params["Delete"]["Objects"]:
            action = "s3:DeleteObjectVersion" if one.get("VersionId") else "s3:DeleteObject"
            yield Need(action, object_arn(bucket, one["Key"]))
    elif operation in _OBJECT_ACTIONS:
        action, version = _OBJECT_ACTIONS[operation], params.get("VersionId")
        stored = _stored_as(params) if action == "PutObject" else {}
        of_version = "Version" if version and action in _OF_A_VERSION else ""
        name = f"s3:{action.replace('Object', f'Object{of_version}', 1)}"
        yield Need(name, object_arn(bucket, params["Key"]), {**stored, **_given(s3__versionid=version)})
        if params.get("Tagging") and operation != "PutObjectTagging":
            yield Need("s3:PutObjectTagging", object_arn(bucket, params["Key"]))
    else:
        listed = {}
        if operation.startswith("ListObject"):
            listed = _given(
                s3__prefix=params.get("Prefix", ""),
                s3__delimiter=params.get("Delimiter"),
                s3__max_keys=params.get("MaxKeys"),
            )
        yield Need(f"s3:{_BUCKET_ACTIONS.get(operation, operation)}", here().bucket_arn(bucket), listed)


def _stored_as(params: Params) -> dict[str, str]:
    return _given(
        s3__x_amz_acl=params.get("ACL"),
        s3__x_amz_server_side_encryption=params.get("ServerSideEncryption"),
        s3__x_amz_server_side_encryption_aws_kms_key_id=params.get("SSEKMSKeyId"),
        s3__x_amz_storage_class=params.get("StorageClass"),
    )


def _copied(source: Any) -> Need:
    if isinstance(source, Mapping):
        place, version = f"{source['Bucket']}/{source['Key']}", source.get("VersionId")
    else:
        place, _, query = str(source).lstrip("/").partition("?")
        version = query.removeprefix("versionId=")
    return Need("s3:GetObjectVersion" if version else "s3:GetObject", here().bucket_arn(place))


# -- DynamoDB --------------------------------------------------------------------------------------------------------

_TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
_WITHOUT_TABLE = frozenset({"DescribeLimits", "ListTables"})
_STREAM_ACTIONS = frozenset({"DescribeStream", "GetRecords", "GetShardIterator"})
_WORD = re.compile(r"[#A-Za-z_][\w.#\[\]-]*")
_VERBS = frozenset(
    {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN", "IF_NOT_EXISTS", "LIST_APPEND"}
)
_FUNCTIONS = frozenset(
    {"ATTRIBUTE_EXISTS", "ATTRIBUTE_NOT_EXISTS", "ATTRIBUTE_TYPE", "BEGINS_WITH", "CONTAINS", "SIZE"}
)


def table_arn(name: str, index: str | None = None) -> str:
    """Return the ARN of a table, or of one of its indexes.

    Examples
    --------
    >>> table_arn("ledger", "by-day")
    'arn:aws:dynamodb:us-east-1:123456789012:table/ledger/index/by-day'
    """
    table = arn("dynamodb", name if name.startswith("arn:") else f"table/{name}")
    return f"{table}/index/{index}" if index else table


def _dynamodb(operation: str, params: Params) -> Iterator[Need]:
    if operation in ("TransactWriteItems", "TransactGetItems"):
        enclosing = {"dynamodb:EnclosingOperation": operation}
        for item in params["TransactItems"]:
            for kind, given in item.items():
                yield _on_items(_TRANSACTED.get(kind, "GetItem"), given, enclosing)
    elif operation == "BatchGetItem":
        for table, given in params["RequestItems"].items():
            yield Need(
                "dynamodb:BatchGetItem", table_arn(table), _of_items({**given, "TableName": table}, given["Keys"])
            )
    elif operation == "BatchWriteItem":
        for table, requests in params["RequestItems"].items():
            items = [part.get("Item") or part.get("Key") for one in requests for part in one.values()]
            yield Need("dynamodb:BatchWriteItem", table_arn(table), _of_items({"TableName": table}, items))
    elif operation in _WITHOUT_TABLE:
        yield Need(f"dynamodb:{operation}")
    elif operation in _ITEM_OPERATIONS:
        yield _on_items(operation, params, {})
    elif operation == "UpdateTimeToLive" or params.get("TableName"):
        yield Need(f"dynamodb:{operation}", table_arn(params["TableName"]), _tags(params))
    else:
        yield Need(f"dynamodb:{operation}")


_ITEM_OPERATIONS = frozenset({"DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"})


def _on_items(operation: str, params: Params, known: Known) -> Need:
    items = [params.get("Item") or params.get("Key") or {}]
    resource = table_arn(params["TableName"], params.get("IndexName"))
    return Need(f"dynamodb:{operation}", resource, {**_of_items(params, items), **known})


def _of_items(params: Params, items: Iterable[Mapping[str, Any]]) -> dict[str, Value | Callable[[], Value]]:
    """Condition keys of a call on items; the values of keys are found when the table's schema is asked for."""
    several = list(items)
    select = params.get("Select")
    if select is None and ("ProjectionExpression" in params or "AttributesToGet" in params):
        select = "SPECIFIC_ATTRIBUTES"
    return {
        **_given(
            dynamodb__Select=select,
            dynamodb__ReturnValues=params.get("ReturnValues"),
            dynamodb__ReturnConsumedCapacity=params.get("ReturnConsumedCapacity"),
        ),
        "dynamodb:Attributes": lambda: attributes_of(params, several),
    }


def attributes_of(params: Params, items: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the attributes that a call on items speaks of, in alphabetical order.

    Examples
    --------
    >>> attributes_of({"ProjectionExpression": "#n, sha256", "ExpressionAttributeNames": {"#n": "number"}}, [{"sk": 1}])
    ('number', 'sha256', 'sk')
    >>> attributes_of({"UpdateExpression": "SET a.b = if_not_exists(c, :zero)"}, [])
    ('a', 'c')
    """
    names: set[str] = {name for item in items for name in item}
    names |= set(params.get("AttributesToGet") or ())
    aliases: Mapping[str, str] = params.get("ExpressionAttributeNames") or {}
    for expression in ("ProjectionExpression", "UpdateExpression", "ConditionExpression", "KeyConditionExpression"):
        given = params.get(expression)
        for word in _WORD.findall(re.sub(r":\w+", "", given)) if isinstance(given, str) else ():
            if word.upper() not in _VERBS | _FUNCTIONS:
                name = re.split(r"[.\[]", word)[0]
                names.add(aliases.get(name, name))
    return tuple(sorted(names))


def leading_keys(params: Params, partition_key: str) -> tuple[str, ...]:
    """Return the values of the partition key that a call on items names.

    Examples
    --------
    >>> leading_keys({"Key": {"model": {"S": "fraud"}}}, "model")
    ('fraud',)
    >>> leading_keys({"KeyConditionExpression": "#m = :m AND begins_with(sk, :p)",
    ...               "ExpressionAttributeNames": {"#m": "model"},
    ...               "ExpressionAttributeValues": {":m": {"S": "fraud"}, ":p": {"S": "e"}}}, "model")
    ('fraud',)
    """
    found = [_plain((params.get("Item") or params.get("Key") or {}).get(partition_key))]
    names, values = params.get("ExpressionAttributeNames") or {}, params.get("ExpressionAttributeValues") or {}
    expression = params.get("KeyConditionExpression")
    for name, value in re.findall(r"([#\w]+)\s*=\s*(:\w+)", expression) if isinstance(expression, str) else ():
        if names.get(name, name) == partition_key:
            found.append(_plain(values.get(value)))
    return tuple(value for value in found if value is not None)


def _plain(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = next(iter(value.values()))
    return None if value is None else str(value)


def _dynamodbstreams(operation: str, params: Params) -> Iterator[Need]:
    stream = params.get("StreamArn", "*")
    yield Need(f"dynamodb:{operation}", stream if operation in _STREAM_ACTIONS else "*")


# -- SageMaker -------------------------------------------------------------------------------------------------------

_SAGEMAKER = "sagemaker.amazonaws.com"
_SAGEMAKER_KINDS = {
    "TrainingJob": ("training-job", "TrainingJobName"),
    "Model": ("model", "ModelName"),
    "EndpointConfig": ("endpoint-config", "EndpointConfigName"),
    "Endpoint": ("endpoint", "EndpointName"),
}
_SAGEMAKER_OPERATION = re.compile("(Create|Delete|Describe|Stop|Update)(TrainingJob|Model|EndpointConfig|Endpoint)")


def _sagemaker(operation: str, params: Params) -> Iterator[Need]:
    found = _SAGEMAKER_OPERATION.fullmatch(operation)
    if operation in ("AddTags", "DeleteTags", "ListTags"):
        yield Need(f"sagemaker:{operation}", params["ResourceArn"], _tags(params))
        return
    if operation == "UpdateEndpointWeightsAndCapacities":
        yield Need(f"sagemaker:{operation}", _of_sagemaker("endpoint", params["EndpointName"]))
        return
    if found is None:
        yield Need(f"sagemaker:{operation}")
        return
    kind, name = _SAGEMAKER_KINDS[found[2]]
    resource = _of_sagemaker(kind, params[name])
    tags = _tags(params) if found[1] == "Create" else {}
    yield Need(f"sagemaker:{operation}", resource, tags)
    if found[2] == "Endpoint" and params.get("EndpointConfigName"):
        yield Need(f"sagemaker:{operation}", _of_sagemaker("endpoint-config", params["EndpointConfigName"]), tags)
    if tags:
        yield Need("sagemaker:AddTags", resource, {**tags, "sagemaker:TaggingAction": operation})
    yield from _passed(params.get("RoleArn") or params.get("ExecutionRoleArn"), _SAGEMAKER)
    for alarm in ((params.get("DeploymentConfig") or {}).get("AutoRollbackConfiguration") or {}).get("Alarms", ()):
        yield Need("cloudwatch:DescribeAlarms", arn("cloudwatch", f"alarm:{alarm['AlarmName']}"))


def _of_sagemaker(kind: str, name: str) -> str:
    return arn("sagemaker", f"{kind}/{name.lower()}")


def _sagemaker_runtime(operation: str, params: Params) -> Iterator[Need]:
    yield Need("sagemaker:InvokeEndpoint", _of_sagemaker("endpoint", params["EndpointName"]))


# -- Lambda ----------------------------------------------------------------------------------------------------------

_LAMBDA_ACTIONS = {"Invoke": "InvokeFunction", "InvokeAsync": "InvokeFunction"}


def _lambda(operation: str, params: Params) -> Iterator[Need]:
    action = f"lambda:{_LAMBDA_ACTIONS.get(operation, operation.rstrip('0123456789'))}"
    if "FunctionName" not in params:
        yield Need(action)
        return
    qualifier = params.get("Qualifier") if operation in ("Invoke", "GetFunction", "GetFunctionConfiguration") else None
    known = _given(lambda__Principal=params.get("Principal")) if operation == "AddPermission" else {}
    if operation.endswith("EventSourceMapping"):
        yield Need(action, "*", {"lambda:FunctionArn": function_arn(params["FunctionName"])})
        return
    yield Need(action, function_arn(params["FunctionName"], qualifier), known)
    yield from _passed(params.get("Role"), "lambda.amazonaws.com")


def function_arn(name: str, qualifier: str | None = None) -> str:
    """Return the ARN of a function by any of its names.

    Examples
    --------
    >>> function_arn("predict:live")
    'arn:aws:lambda:us-east-1:123456789012:function:predict:live'
    >>> function_arn("123456789012:function:predict", "3")
    'arn:aws:lambda:us-east-1:123456789012:function:predict:3'
    """
    if not name.startswith("arn:"):
        name = arn("lambda", f"function:{name.rpartition('function:')[2]}")
    return f"{name}:{qualifier}" if qualifier else name


# -- EventBridge, Scheduler, CloudWatch, Logs ------------------------------------------------------------------------


def _events(operation: str, params: Params) -> Iterator[Need]:
    if operation == "PutEvents":
        for entry in params["Entries"]:
            bus = entry.get("EventBusName") or "default"
            known = _given(events__source=entry.get("Source"), events__detail_type=entry.get("DetailType"))
            yield Need("events:PutEvents", arn("events", f"event-bus/{bus}"), known)
        return
    rule = params.get("Rule") or (params.get("Name") if operation.endswith("Rule") else None)
    if rule:
        bus = str(params.get("EventBusName") or "default").rsplit("/", 1)[-1]
        place = rule if bus == "default" else f"{bus}/{rule}"
        yield Need(f"events:{operation}", arn("events", f"rule/{place}"))
        for role in {target.get("RoleArn") for target in params.get("Targets", ()) if isinstance(target, Mapping)}:
            yield from _passed(role, "events.amazonaws.com")
    elif operation.endswith("EventBus") and params.get("Name"):
        yield Need(f"events:{operation}", arn("events", f"event-bus/{params['Name']}"))
    else:
        yield Need(f"events:{operation}")


def _scheduler(operation: str, params: Params) -> Iterator[Need]:
    if operation == "ListSchedules":
        yield Need("scheduler:ListSchedules", arn("scheduler", "schedule/*/*"))
    elif operation.endswith("ScheduleGroup"):
        yield Need(f"scheduler:{operation}", arn("scheduler", f"schedule-group/{params['Name']}"))
    elif operation.endswith("Schedule"):
        place = f"schedule/{params.get('GroupName') or 'default'}/{params['Name']}"
        yield Need(f"scheduler:{operation}", arn("scheduler", place))
        yield from _passed((params.get("Target") or {}).get("RoleArn"), "scheduler.amazonaws.com")
    else:
        yield Need(f"scheduler:{operation}")


_ALARM_OPERATIONS = frozenset({"DeleteAlarms", "DescribeAlarms", "DisableAlarmActions", "EnableAlarmActions"})


def _cloudwatch(operation: str, params: Params) -> Iterator[Need]:
    if operation == "PutMetricData":
        yield Need("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": params["Namespace"]})
    elif operation in _ALARM_OPERATIONS:
        for name in params.get("AlarmNames") or ["*"]:
            yield Need(f"cloudwatch:{operation}", arn("cloudwatch", f"alarm:{name}"))
    elif operation in ("PutMetricAlarm", "SetAlarmState", "DescribeAlarmHistory"):
        yield Need(
            f"cloudwatch:{operation}", arn("cloudwatch", f"alarm:{params.get('AlarmName') or '*'}"), _tags(params)
        )
    else:
        yield Need(f"cloudwatch:{operation}")


_OF_LOG_STREAMS = frozenset({"CreateLogStream", "DeleteLogStream", "GetLogEvents", "PutLogEvents"})


def _logs(operation: str, params: Params) -> Iterator[Need]:
    group = params.get("logGroupName") or (params.get("logGroupIdentifier") or "").partition("log-group:")[2]
    if not group:
        yield Need(f"logs:{operation}", arn("logs", "log-group:*") if operation == "DescribeLogGroups" else "*")
    elif operation in _OF_LOG_STREAMS and params.get("logStreamName"):
        yield Need(f"logs:{operation}", arn("logs", f"log-group:{group}:log-stream:{params['logStreamName']}"))
    else:
        yield Need(f"logs:{operation}", arn("logs", f"log-group:{group}"))


# -- SQS, SNS, Firehose, KMS, STS, SSM, Secrets Manager ---------------------------------------------------------------

_BATCHES = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}


def _sqs(operation: str, params: Params) -> Iterator[Need]:
    action = f"sqs:{_BATCHES.get(operation, operation)}"
    name = str(params.get("QueueUrl") or params.get("QueueName") or "").rsplit("/", 1)[-1]
    yield Need(action, params.get("SourceArn") or (arn("sqs", name) if name else "*"))


def _sns(operation: str, params: Params) -> Iterator[Need]:
    action = f"sns:{'Publish' if operation == 'PublishBatch' else operation}"
    topic = params.get("TopicArn") or params.get("TargetArn")
    if topic is None and operation == "CreateTopic":
        topic = arn("sns", params["Name"])
    if topic is None and params.get("SubscriptionArn"):
        topic = params["SubscriptionArn"].rpartition(":")[0]
    known = _given(sns__Protocol=params.get("Protocol"), sns__Endpoint=params.get("Endpoint"))
    yield Need(action, topic or "*", known)


def _firehose(operation: str, params: Params) -> Iterator[Need]:
    name = params.get("DeliveryStreamName")
    yield Need(f"firehose:{operation}", arn("firehose", f"deliverystream/{name}") if name else "*")


def _kms(operation: str, params: Params) -> Iterator[Need]:
    if operation == "ReEncrypt":
        yield Need("kms:ReEncryptFrom", params.get("SourceKeyId", "*"))
        yield Need("kms:ReEncryptTo", params["DestinationKeyId"])
    else:
        yield Need(f"kms:{operation}", params.get("KeyId") or params.get("TargetKeyId") or "*")


_FREE_OF_STS = frozenset({"GetCallerIdentity", "GetSessionToken"})


def _sts(operation: str, params: Params) -> Iterator[Need]:
    if operation not in _FREE_OF_STS:
        yield Need(f"sts:{operation}", params.get("RoleArn") or "*", _given(sts__ExternalId=params.get("ExternalId")))


def _ssm(operation: str, params: Params) -> Iterator[Need]:
    names = params.get("Names") or [params.get("Name") or params.get("Path")]
    for name in names:
        yield Need(f"ssm:{operation}", arn("ssm", f"parameter/{name.lstrip('/')}") if name else "*")


def _secretsmanager(operation: str, params: Params) -> Iterator[Need]:
    secret = params.get("SecretId")
    yield Need(f"secretsmanager:{operation}", arn("secretsmanager", f"secret:{secret}-AAAAAA") if secret else "*")


_SERVICES: Mapping[str, Callable[[str, Params], Iterator[Need]]] = {
    "cloudwatch": _cloudwatch,
    "dynamodb": _dynamodb,
    "dynamodbstreams": _dynamodbstreams,
    "events": _events,
    "firehose": _firehose,
    "kms": _kms,
    "lambda": _lambda,
    "logs": _logs,
    "s3": _s3,
    "sagemaker": _sagemaker,
    "sagemaker-runtime": _sagemaker_runtime,
    "scheduler": _scheduler,
    "secretsmanager": _secretsmanager,
    "sns": _sns,
    "sqs": _sqs,
    "ssm": _ssm,
    "sts": _sts,
}
_PREFIXES = {"apigatewayv2": "apigateway", "stepfunctions": "states"}


# -- what an encrypted resource asks besides --------------------------------------------------------------------------

_KEY_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "dynamodb": ("kms:Decrypt",),
    "s3:GetObject": ("kms:Decrypt",),
    "s3:GetObjectVersion": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sagemaker:CreateEndpoint": ("kms:CreateGrant",),
    "sagemaker:UpdateEndpoint": ("kms:CreateGrant",),
    "sns:Publish": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
}
_ON_ITEMS = _ITEM_OPERATIONS | {"BatchGetItem", "BatchWriteItem", "ConditionCheckItem"}


def key_needs(need: Need, key: str) -> list[Need]:
    """Return what a need asks of the key by which its resource is encrypted.

    Examples
    --------
    >>> key = "arn:aws:kms:us-east-1:123456789012:key/1"
    >>> [need.action for need in key_needs(Need("sns:Publish", "arn:aws:sns:us-east-1:123456789012:told"), key)]
    ['kms:GenerateDataKey', 'kms:Decrypt']
    """
    service, _, operation = need.action.partition(":")
    kind = service if service == "dynamodb" and operation in _ON_ITEMS else need.action
    via = {"kms:ViaService": f"{service}.{here().region}.{here().suffix}", "kms:CallerAccount": ACCOUNT}
    if "kms:CreateGrant" in _KEY_ACTIONS.get(kind, ()):
        via["kms:GrantIsForAWSResource"] = "true"
    return [
        replace(need, action=action, resource=key, known={**need.known, **via}) for action in _KEY_ACTIONS.get(kind, ())
    ]
