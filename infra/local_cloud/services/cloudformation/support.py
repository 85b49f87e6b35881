"""Which properties of which resource types the local cloud honours. Anything that is not here fails the deploy.

Two kinds stand side by side: properties that take effect, and properties that change nothing about how a stack behaves
(tags, descriptions, tracing, retention). The second kind follows the ``|``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local_cloud.kernel.errors import UnsupportedResourceError


def _properties(text: str) -> frozenset[str]:
    return frozenset(text.replace("|", " ").split())


SUPPORTED: Mapping[str, frozenset[str]] = {
    "AWS::ApiGatewayV2::Api": _properties(
        "Name ProtocolType Body | Description Tags CorsConfiguration DisableExecuteApiEndpoint FailOnWarnings Version"
    ),
    "AWS::ApiGatewayV2::Integration": _properties(
        "ApiId IntegrationType IntegrationUri PayloadFormatVersion | Description IntegrationMethod TimeoutInMillis"
    ),
    "AWS::ApiGatewayV2::Route": _properties(
        "ApiId RouteKey Target | OperationName AuthorizationType AuthorizationScopes AuthorizerId"
    ),
    "AWS::ApiGatewayV2::Stage": _properties(
        "ApiId StageName | AutoDeploy Description Tags AccessLogSettings DefaultRouteSettings RouteSettings"
    ),
    "AWS::CloudWatch::Alarm": _properties(
        "AlarmName Namespace MetricName Dimensions Statistic ExtendedStatistic Period Metrics EvaluationPeriods "
        "DatapointsToAlarm Threshold ComparisonOperator TreatMissingData AlarmActions OKActions "
        "InsufficientDataActions ActionsEnabled Unit | AlarmDescription EvaluateLowSampleCountPercentile Tags"
    ),
    "AWS::CloudWatch::Dashboard": _properties("| DashboardName DashboardBody"),
    "AWS::DynamoDB::Table": _properties(
        "TableName KeySchema AttributeDefinitions GlobalSecondaryIndexes LocalSecondaryIndexes StreamSpecification "
        "DeletionProtectionEnabled | BillingMode ProvisionedThroughput SSESpecification TimeToLiveSpecification "
        "PointInTimeRecoverySpecification TableClass Tags OnDemandThroughput WarmThroughput"
    ),
    "AWS::Events::EventBus": _properties("Name | Description Tags KmsKeyIdentifier"),
    "AWS::Events::Rule": _properties(
        "Name EventBusName EventPattern ScheduleExpression State Targets | Description RoleArn Tags"
    ),
    "AWS::IAM::ManagedPolicy": _properties("ManagedPolicyName PolicyDocument Roles | Path Users Groups Description"),
    "AWS::IAM::Policy": _properties("PolicyName PolicyDocument Roles | Users Groups"),
    "AWS::IAM::Role": _properties(
        "RoleName AssumeRolePolicyDocument Policies ManagedPolicyArns PermissionsBoundary Tags "
        "| Path Description MaxSessionDuration"
    ),
    "AWS::KMS::Alias": _properties("AliasName TargetKeyId"),
    "AWS::KMS::Key": _properties(
        "KeyPolicy | Description Enabled EnableKeyRotation KeySpec KeyUsage MultiRegion PendingWindowInDays "
        "RotationPeriodInDays Tags"
    ),
    "AWS::KinesisFirehose::DeliveryStream": _properties(
        "DeliveryStreamName DeliveryStreamType ExtendedS3DestinationConfiguration S3DestinationConfiguration "
        "| DeliveryStreamEncryptionConfigurationInput Tags"
    ),
    "AWS::Lambda::Alias": _properties("FunctionName FunctionVersion Name | Description ProvisionedConcurrencyConfig"),
    "AWS::Lambda::EventInvokeConfig": _properties(
        "FunctionName Qualifier MaximumRetryAttempts MaximumEventAgeInSeconds DestinationConfig"
    ),
    "AWS::Lambda::EventSourceMapping": _properties(
        "EventSourceArn FunctionName BatchSize MaximumBatchingWindowInSeconds FunctionResponseTypes FilterCriteria "
        "Enabled MaximumRetryAttempts DestinationConfig StartingPosition "
        "| ScalingConfig ParallelizationFactor BisectBatchOnFunctionError MaximumRecordAgeInSeconds MetricsConfig Tags"
    ),
    "AWS::Lambda::Function": _properties(
        "FunctionName Code Handler Runtime Timeout MemorySize Environment Layers DeadLetterConfig PackageType "
        "Role | Description Tags TracingConfig LoggingConfig Architectures EphemeralStorage KmsKeyArn VpcConfig "
        "ReservedConcurrentExecutions RecursiveLoop RuntimeManagementConfig"
    ),
    "AWS::Lambda::LayerVersion": _properties(
        "LayerName Content | Description CompatibleRuntimes CompatibleArchitectures LicenseInfo"
    ),
    "AWS::Lambda::Permission": _properties(
        "FunctionName Action Principal SourceArn SourceAccount | EventSourceToken FunctionUrlAuthType PrincipalOrgID"
    ),
    "AWS::Lambda::Version": _properties("FunctionName | Description CodeSha256 ProvisionedConcurrencyConfig"),
    "AWS::Logs::LogGroup": _properties(
        "LogGroupName | RetentionInDays KmsKeyId LogGroupClass Tags DataProtectionPolicy"
    ),
    "AWS::Pipes::Pipe": _properties(
        "Name Source SourceParameters Target TargetParameters DesiredState RoleArn | Description Tags LogConfiguration "
        "KmsKeyIdentifier"
    ),
    "AWS::S3::Bucket": _properties(
        "BucketName NotificationConfiguration VersioningConfiguration LifecycleConfiguration BucketEncryption | "
        "PublicAccessBlockConfiguration OwnershipControls Tags MetricsConfigurations IntelligentTieringConfigurations "
        "LoggingConfiguration"
    ),
    "AWS::S3::BucketPolicy": _properties("Bucket PolicyDocument"),
    "AWS::SNS::Subscription": _properties(
        "TopicArn Protocol Endpoint FilterPolicy FilterPolicyScope RawMessageDelivery | RedrivePolicy Region"
    ),
    "AWS::SNS::Topic": _properties(
        "TopicName Subscription KmsMasterKeyId | DisplayName TracingConfig SignatureVersion Tags"
    ),
    "AWS::SNS::TopicPolicy": _properties("PolicyDocument Topics"),
    "AWS::SQS::Queue": _properties(
        "QueueName DelaySeconds MessageRetentionPeriod VisibilityTimeout RedrivePolicy FifoQueue "
        "ContentBasedDeduplication MaximumMessageSize ReceiveMessageWaitTimeSeconds "
        "KmsMasterKeyId | KmsDataKeyReusePeriodSeconds SqsManagedSseEnabled RedriveAllowPolicy Tags"
    ),
    "AWS::SQS::QueuePolicy": _properties("PolicyDocument Queues"),
    "AWS::SSM::Parameter": _properties("Name Type Value | Description AllowedPattern Tier DataType Tags"),
    "AWS::Scheduler::Schedule": _properties(
        "Name GroupName ScheduleExpression ScheduleExpressionTimezone State StartDate EndDate Target "
        "| FlexibleTimeWindow Description KmsKeyArn"
    ),
    "AWS::Scheduler::ScheduleGroup": _properties("Name | Tags"),
}

NAMES: Mapping[str, str] = {
    "AWS::CloudWatch::Alarm": r"[\x20-\x7e]{1,255}",
    "AWS::CloudWatch::Dashboard": r"[A-Za-z0-9_-]{1,255}",
    "AWS::DynamoDB::Table": r"[a-zA-Z0-9_.-]{3,255}",
    "AWS::Events::EventBus": r"[/.\-_A-Za-z0-9]{1,256}",
    "AWS::Events::Rule": r"[.\-_A-Za-z0-9]{1,64}",
    "AWS::IAM::ManagedPolicy": r"[\w+=,.@-]{1,128}",
    "AWS::IAM::Policy": r"[\w+=,.@-]{1,128}",
    "AWS::IAM::Role": r"[\w+=,.@-]{1,64}",
    "AWS::KMS::Alias": r"alias/(?!aws/)[a-zA-Z0-9/_-]{1,250}",
    "AWS::KinesisFirehose::DeliveryStream": r"[a-zA-Z0-9_.-]{1,64}",
    "AWS::Lambda::Alias": r"(?!^[0-9]+$)[a-zA-Z0-9_-]{1,128}",
    "AWS::Lambda::Function": r"[a-zA-Z0-9_-]{1,64}",
    "AWS::Lambda::LayerVersion": r"[a-zA-Z0-9_-]{1,64}",
    "AWS::Logs::LogGroup": r"[.\-_/#A-Za-z0-9]{1,512}",
    "AWS::Pipes::Pipe": r"[.\-_A-Za-z0-9]{1,64}",
    "AWS::S3::Bucket": r"(?!xn--|sthree-)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?<!-s3alias)",
    "AWS::SNS::Topic": r"[A-Za-z0-9_-]{1,256}|[A-Za-z0-9_-]{1,251}\.fifo",
    "AWS::SQS::Queue": r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo",
    "AWS::SSM::Parameter": r"[a-zA-Z0-9_.\-/]{1,1011}",
    "AWS::Scheduler::Schedule": r"[0-9a-zA-Z_.-]{1,64}",
    "AWS::Scheduler::ScheduleGroup": r"[0-9a-zA-Z_.-]{1,64}",
}
"""What a name may be that a template gives: the pattern and the length that each service's reference names."""

NO_RESOURCE = frozenset({"AWS::CloudFormation::WaitConditionHandle", "AWS::CDK::Metadata"})
"""Types that stand for nothing."""


def wrong_name(type_name: str, name: str) -> str | None:
    """Return why a service would refuse a name that a template gives; None where it would take it.

    Examples
    --------
    >>> wrong_name("AWS::Lambda::Function", "learn live")
    "'learn live' (10 characters) must satisfy [a-zA-Z0-9_-]{1,64}"
    >>> wrong_name("AWS::Lambda::Function", "learn-live") is None
    True
    """
    pattern = NAMES.get(type_name)
    if pattern is None or re.fullmatch(pattern, name):
        return None
    return f"{name!r} ({len(name)} characters) must satisfy {pattern}"


def unsupported(resources: Mapping[str, Mapping[str, Any]]) -> Iterator[UnsupportedResourceError]:
    """Yield an error for each type or property of a transformed template that the local cloud lacks.

    Examples
    --------
    >>> predict = {"Type": "AWS::Lambda::Function", "Properties": {"SnapStart": {}, "Handler": "a"}}
    >>> [error] = unsupported({"Predict": predict})
    >>> error.wanted
    'uses property SnapStart'
    >>> [error.wanted for error in unsupported({"Cluster": {"Type": "AWS::EKS::Cluster"}})]
    ['is of type AWS::EKS::Cluster']
    """
    for logical_id, resource in resources.items():
        type_name = resource["Type"]
        if type_name in NO_RESOURCE:
            continue
        if type_name not in SUPPORTED:
            yield UnsupportedResourceError(logical_id, type_name, f"is of type {type_name}")
            continue
        for name in resource.get("Properties") or {}:
            if name not in SUPPORTED[type_name]:
                yield UnsupportedResourceError(logical_id, type_name, f"uses property {name}")
