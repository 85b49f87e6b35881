"""Stories of the local cloud's IAM: what a role may not do is not done, and who is told what."""

import io
import json
import logging
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from local_stacks import MEMORY, START, deploy, messages, opened, pass_time, role, write_function, write_template

from local_cloud.cloud import FunctionFailedError
from local_cloud.kernel.callers import Caller, acting_as
from local_cloud.kernel.errors import TemplateError
from local_cloud.server.server import LocalServer
from local_cloud.services.iam.evaluation import decide
from local_cloud.services.iam.wire import guarded

ACCOUNT = "123456789012"

CALLS = """
    import boto3, json
    from botocore.exceptions import ClientError

    def handler(event, context):
        client = boto3.client(event["service"])
        try:
            return json.loads(json.dumps(getattr(client, event["call"])(**event["with"]), default=str))
        except ClientError as error:
            told = error.response
            return {**told["Error"], "status": told["ResponseMetadata"]["HTTPStatusCode"]}
"""
"""A function that makes one call, and answers what came of it."""

CALLER = """
Data: {Type: AWS::S3::Bucket, Properties: {BucketName: data}}
Table: {Type: AWS::Serverless::SimpleTable, Properties: {TableName: table}}
Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: topic}}
Inbox: {Type: AWS::SQS::Queue, Properties: {QueueName: inbox}}
Caller:
  Type: AWS::Serverless::Function
  Properties:
    FunctionName: caller
    CodeUri: functions/caller
"""


def caller(folder: Path, *statements: str, also: str = ""):
    """A cloud with a function that makes calls; statements of its role are YAML of one line each."""
    write_function(folder, "caller", CALLS)
    policies = ""
    if statements:
        policies = "    Policies:\n      - Version: '2012-10-17'\n        Statement:\n"
        policies += "".join(f"          - {{Effect: Allow, {one}}}\n" for one in statements)
    return deploy(folder, CALLER + policies + also)


def call(cloud, service, operation, **given):
    return cloud.invoke("Caller", {"service": service, "call": operation, "with": given})


@pytest.mark.parametrize(
    ("service", "operation", "given", "code", "status", "action"),
    [
        ("s3", "put_object", {"Bucket": "data", "Key": "k", "Body": "x"}, "AccessDenied", 403, "s3:PutObject"),
        ("s3", "head_object", {"Bucket": "data", "Key": "k"}, "403", 403, None),
        ("dynamodb", "scan", {"TableName": "table"}, "AccessDeniedException", 400, "dynamodb:Scan"),
        ("lambda", "invoke", {"FunctionName": "caller"}, "AccessDeniedException", 403, "lambda:InvokeFunction"),
        (
            "sns",
            "publish",
            {"TopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:topic", "Message": "x"},
            "AuthorizationError",
            403,
            "sns:Publish",
        ),
        (
            "cloudwatch",
            "put_metric_data",
            {"Namespace": "N", "MetricData": [{"MetricName": "m", "Value": 1}]},
            "AccessDenied",
            403,
            "cloudwatch:PutMetricData",
        ),
    ],
)
def test_a_refused_call_is_answered_as_its_service_answers(tmp_path, service, operation, given, code, status, action):
    with caller(tmp_path) as cloud:
        answer = call(cloud, service, operation, **given)
        assert answer["Code"] == code
        if action is None:
            assert (answer["Message"], answer["status"]) == ("Forbidden", 403)
            return
        [session] = {refusal.caller.arn for refusal in cloud.authority.refusals}
        assert answer["Message"].startswith(f"User: {session} is not authorized to perform: {action} on resource: ")
        assert answer["Message"].endswith(f"because no identity-based policy allows the {action} action")


def test_the_log_says_what_is_missing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), caller(tmp_path) as cloud:
        call(cloud, "s3", "get_object", Bucket="data", Key="captures/1")
        call(cloud, "s3", "get_object", Bucket="data", Key="captures/1")
    [line] = caplog.messages
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/captures/1"}
    assert line.endswith(f"lacks {json.dumps(statement)}"), "it is told once, with the statement to add"


def test_what_is_allowed_and_never_used_is_known(tmp_path):
    with caller(tmp_path, "Action: ['s3:PutObject', 's3:Delete*'], Resource: 'arn:aws:s3:::data/*'") as cloud:
        call(cloud, "s3", "put_object", Bucket="data", Key="k", Body="x")
        [of_role] = {who for who, action in cloud.authority.used if action == "s3:PutObject"}
        assert {action for who, action in cloud.authority.used if who == of_role} == {
            "s3:PutObject",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        }, "Lambda writes the function's log as the function"
        assert cloud.authority.never_used()[of_role] == ["s3:Delete*"]


def test_each_decision_is_told_with_the_policies_that_had_a_say(tmp_path):
    heard = []
    with caller(tmp_path, "Action: 's3:PutObject', Resource: 'arn:aws:s3:::data/*'") as cloud:
        cloud.authority.listeners.append(lambda *each: heard.append(each))
        call(cloud, "s3", "put_object", Bucket="data", Key="k", Body="x")
    [(question, policies, decision)] = [each for each in heard if each[0].action == "s3:PutObject"]
    assert decide(question, policies) == decision
    assert decision.allowed


METERED = """
    def handler(event, context):
        print('{"_aws": {"Timestamp": 1767225600000, "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [[]],'
              ' "Metrics": [{"Name": "Runs"}]}]}, "Runs": 1}')
"""


@pytest.mark.parametrize(("may", "counted"), [("logs:PutLogEvents", [1.0]), ("logs:GetLogEvents", [])])
def test_metrics_in_a_log_that_may_not_be_written_are_lost(tmp_path, may, counted):
    write_function(tmp_path, "metered", METERED)
    function = """
        Metered:
          Type: AWS::Serverless::Function
          Properties: {CodeUri: functions/metered, Role: !GetAtt MeteredRole.Arn}
    """
    of_logs = role("metered", "lambda", "logs:CreateLogGroup", "logs:CreateLogStream", may)
    with deploy(tmp_path, function, also=of_logs) as cloud:
        cloud.invoke("Metered", {})
        asked = {"Namespace": "N", "MetricName": "Runs", "Period": 60, "Statistics": ["Sum"]}
        asked |= {"StartTime": START, "EndTime": START + timedelta(minutes=1)}
        found = cloud.client("cloudwatch").get_metric_statistics(**asked)["Datapoints"]
        assert [point["Sum"] for point in found] == counted


def test_a_role_that_lets_another_service_in_makes_no_function(tmp_path):
    write_function(tmp_path, "metered", METERED)
    function = """
        Metered:
          Type: AWS::Serverless::Function
          Properties: {CodeUri: functions/metered, Role: !GetAtt MeteredRole.Arn}
    """
    with pytest.raises(TemplateError, match="cannot be assumed by Lambda"):
        deploy(tmp_path, function, also=role("metered", "events", "logs:*"))


def test_a_function_in_a_vpc_needs_a_role_that_may_make_interfaces(tmp_path):
    write_function(tmp_path, "metered", METERED)
    function = """
        Metered:
          Type: AWS::Serverless::Function
          Properties:
            CodeUri: functions/metered
            Role: !GetAtt MeteredRole.Arn
            VpcConfig: {SubnetIds: [subnet-1], SecurityGroupIds: [sg-1]}
    """
    with pytest.raises(TemplateError, match="does not have permissions to call CreateNetworkInterface on EC2"):
        deploy(tmp_path, function, also=role("metered", "lambda", "logs:*"))


def test_that_an_object_is_missing_is_told_to_those_who_may_list(tmp_path):
    read = "Action: s3:GetObject, Resource: 'arn:aws:s3:::data/*'"
    with caller(tmp_path, read) as cloud:
        answer = call(cloud, "s3", "get_object", Bucket="data", Key="gone")
        assert answer["Code"] == "AccessDenied"
        assert "s3:ListBucket" in answer["Message"]
        assert call(cloud, "s3", "head_object", Bucket="data", Key="gone")["Code"] == "403"
    with caller(tmp_path, read, "Action: s3:ListBucket, Resource: 'arn:aws:s3:::data'") as cloud:
        assert call(cloud, "s3", "get_object", Bucket="data", Key="gone")["Code"] == "NoSuchKey"
        assert call(cloud, "s3", "head_object", Bucket="data", Key="gone")["Code"] == "404"


def test_a_policy_that_changes_counts_at_once(tmp_path):
    with caller(tmp_path) as cloud:
        given = {"Bucket": "data", "Key": "k", "Body": "x"}
        assert call(cloud, "s3", "put_object", **given)["Code"] == "AccessDenied"
        name = cloud.resources["CallerRole"]
        statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        cloud.client("iam").put_role_policy(RoleName=name, PolicyName="more", PolicyDocument=document)
        assert call(cloud, "s3", "put_object", **given)["ETag"]
        cloud.client("iam").delete_role_policy(RoleName=name, PolicyName="more")
        assert call(cloud, "s3", "put_object", **given)["Code"] == "AccessDenied"


def test_a_buckets_policy_lets_in_and_keeps_out(tmp_path):
    also = """
Policy:
  Type: AWS::S3::BucketPolicy
  Properties:
    Bucket: !Ref Data
    PolicyDocument:
      Version: '2012-10-17'
      Statement:
        - Effect: Allow
          Principal: {AWS: !GetAtt CallerRole.Arn}
          Action: s3:PutObject
          Resource: 'arn:aws:s3:::data/in/*'
        - Effect: Deny
          Principal: '*'
          Action: s3:*
          Resource: ['arn:aws:s3:::data', 'arn:aws:s3:::data/*']
          Condition: {Bool: {aws:SecureTransport: 'false'}}
        - {Effect: Deny, Principal: '*', Action: s3:PutObject, Resource: 'arn:aws:s3:::data/in/not/*'}
"""
    with caller(tmp_path, also=also) as cloud:
        assert call(cloud, "s3", "put_object", Bucket="data", Key="in/k", Body="x")["ETag"]
        refused = call(cloud, "s3", "put_object", Bucket="data", Key="in/not/k", Body="x")
        assert refused["Message"].endswith("with an explicit deny in a resource-based policy")


def test_conditions_on_keys_and_columns_are_held(tmp_path):
    own = (
        "Action: 'dynamodb:*', Resource: '*', "
        "Condition: {'ForAllValues:StringEquals': {'dynamodb:LeadingKeys': [mine], 'dynamodb:Attributes': [id, n]}}"
    )
    with caller(tmp_path, own) as cloud:
        put = {"TableName": "table", "Item": {"id": {"S": "mine"}, "n": {"N": "1"}}}
        assert "Code" not in call(cloud, "dynamodb", "put_item", **put)
        theirs = {"TableName": "table", "Item": {"id": {"S": "theirs"}, "n": {"N": "1"}}}
        assert call(cloud, "dynamodb", "put_item", **theirs)["Code"] == "AccessDeniedException"
        more = {"TableName": "table", "Item": {"id": {"S": "mine"}, "secret": {"N": "1"}}}
        assert call(cloud, "dynamodb", "put_item", **more)["Code"] == "AccessDeniedException"


def test_threads_of_a_function_are_the_functions_and_the_operator_may_everything(tmp_path):
    source = """
        import boto3
        from botocore.exceptions import ClientError
        from concurrent.futures import ThreadPoolExecutor
        from threading import Thread
        s3 = boto3.client("s3")

        def handler(event, context):
            found = []
            def listed():
                try:
                    found.append(s3.list_buckets()["Buckets"])
                except ClientError as error:
                    found.append(error.response["Error"]["Code"])
            thread = Thread(target=listed)
            thread.start()
            thread.join()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(listed).result()
            return found
    """
    write_function(tmp_path, "threads", source)
    resources = """
    Threads: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/threads}}
    """
    with deploy(tmp_path, resources) as cloud:
        assert cloud.invoke("Threads", {}) == ["AccessDenied", "AccessDenied"]
        assert "Buckets" in boto3.client("s3").list_buckets()


def test_a_client_with_the_keys_of_a_role_is_that_role(tmp_path):
    with caller(tmp_path) as cloud:
        keys = cloud.functions.describe(cloud.functions.find("Caller")).credentials
        client = boto3.client(
            "s3",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys["AWS_SESSION_TOKEN"],
        )
        with pytest.raises(ClientError, match=r"assumed-role/.*CallerRole.*/caller is not authorized"):
            client.list_buckets()


def test_a_role_that_is_not_there_may_nothing(tmp_path):
    with deploy(tmp_path, "Data: {Type: AWS::S3::Bucket}") as cloud:
        nobody = Caller.session(f"arn:aws:iam::{ACCOUNT}:role/gone", "run")
        with acting_as(nobody), pytest.raises(ClientError, match="AccessDenied"):
            cloud.client("s3").list_buckets()


def test_a_function_in_a_process_of_its_own_is_told_the_same(tmp_path):
    write_function(tmp_path, "caller", CALLS)
    allowed = "    Policies: [{S3ReadPolicy: {BucketName: data}}]\n"
    with LocalServer(write_template(tmp_path, CALLER + allowed), port=0) as server:
        config = Config(retries={"total_max_attempts": 1}, read_timeout=60)
        credentials = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        functions = boto3.client("lambda", endpoint_url=server.url, config=config, **credentials)

        def call(service, operation, **given):
            event = json.dumps({"service": service, "call": operation, "with": given})
            return json.loads(functions.invoke(FunctionName="caller", Payload=event)["Payload"].read())

        refused = call("s3", "put_object", Bucket="data", Key="k", Body="x")
        assert (refused["Code"], refused["status"]) == ("AccessDenied", 403)
        assert "is not authorized to perform: s3:PutObject" in refused["Message"]
        assert call("s3", "get_object", Bucket="data", Key="gone")["Code"] == "NoSuchKey"
        refused = call("dynamodb", "scan", TableName="table")
        assert (refused["Code"], refused["status"]) == ("AccessDeniedException", 400)
        assert call("sns", "publish", TopicArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:topic", Message="x")["Code"] == (
            "AuthorizationError"
        )
        queue = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/inbox"
        assert call("sqs", "send_message", QueueUrl=queue, MessageBody="x")["Code"] == "AccessDenied"
        metric = {"Namespace": "N", "MetricData": [{"MetricName": "m", "Value": 1}]}
        assert call("cloudwatch", "put_metric_data", **metric)["Code"] == "AccessDenied"
        stack = server.cloud.authority.refusals[-1]
        assert (stack.action, stack.resource) == ("cloudwatch:PutMetricData", "*")


# -- services that call ----------------------------------------------------------------------------------------------

RULE = """
Inbox: {Type: AWS::SQS::Queue}
Rule:
  Type: AWS::Events::Rule
  Properties:
    EventPattern: {source: [shop]}
    Targets: [{Id: inbox, Arn: !GetAtt Inbox.Arn}]
"""


def put_event(cloud):
    cloud.client("events").put_events(Entries=[{"Source": "shop", "DetailType": "Sold", "Detail": "{}"}])
    cloud.drain()


def test_a_rule_reaches_a_queue_that_lets_it_in_and_no_other(tmp_path):
    with deploy(tmp_path, RULE) as cloud:
        put_event(cloud)
        assert messages(cloud, "Inbox") == []
        [(_, error)] = cloud.courier.undelivered
        assert error.code == "NO_PERMISSIONS"
    with deploy(tmp_path, RULE + opened("Inbox", "events")) as cloud:
        put_event(cloud)
        assert len(messages(cloud, "Inbox")) == 1


TOLD = """
Key:
  Type: AWS::KMS::Key
  Properties:
    KeyPolicy:
      Version: '2012-10-17'
      Statement:
        - {Effect: Allow, Principal: {AWS: !Sub 'arn:aws:iam::${AWS::AccountId}:root'}, Action: 'kms:*', Resource: '*'}
        - Effect: Allow
          Principal: {Service: [events.amazonaws.com]}
          Action: [kms:Decrypt, kms:GenerateDataKey]
          Resource: '*'
Topic:
  Type: AWS::SNS::Topic
  Properties: {KmsMasterKeyId: KEY, Subscription: [{Protocol: sqs, Endpoint: !GetAtt Inbox.Arn}]}
TopicPolicy:
  Type: AWS::SNS::TopicPolicy
  Properties:
    Topics: [!Ref Topic]
    PolicyDocument:
      Version: '2012-10-17'
      Statement:
        - {Effect: Allow, Principal: {Service: events.amazonaws.com}, Action: sns:Publish, Resource: !Ref Topic}
Inbox: {Type: AWS::SQS::Queue}
Rule:
  Type: AWS::Events::Rule
  Properties: {EventPattern: {source: [shop]}, Targets: [{Id: told, Arn: !Ref Topic}]}
"""


@pytest.mark.parametrize(("key", "told"), [("alias/aws/sns", 0), ("!GetAtt Key.Arn", 1)])
def test_a_rule_can_not_publish_where_aws_s_own_key_encrypts(tmp_path, key, told):
    with deploy(tmp_path, TOLD.replace("KEY", key) + opened("Inbox", "sns")) as cloud:
        put_event(cloud)
        assert len(messages(cloud, "Inbox")) == told
        if not told:
            [refusal] = cloud.authority.refusals
            assert refusal.remedy.startswith("nobody can change the policy of alias/aws/sns")


@pytest.mark.parametrize("asked_of", ["Action: [kms:Decrypt, kms:GenerateDataKey]", "Action: sns:Publish"])
def test_a_rule_tells_a_topic_and_its_key_nothing_that_a_policy_could_ask_for(tmp_path, asked_of):
    told = TOLD.replace("KEY", "!GetAtt Key.Arn").replace("Action: sns:Publish, ", "Action: sns:Publish, CONDITION")
    condition = "Condition: {StringEquals: {'aws:SourceAccount': !Ref AWS::AccountId}}"
    if asked_of == "Action: sns:Publish":
        told = told.replace("CONDITION", f"{condition}, ")
    else:
        told = told.replace("CONDITION", "").replace(asked_of, f"{asked_of}\n          {condition}")
    with deploy(tmp_path, told + opened("Inbox", "sns")) as cloud:
        put_event(cloud)
        assert not messages(cloud, "Inbox")
        assert len(cloud.authority.refusals) == 1


def test_a_schedule_calls_by_its_role(tmp_path):
    schedule = """
    Tick:
      Type: AWS::Scheduler::Schedule
      Properties:
        ScheduleExpression: rate(1 hour)
        FlexibleTimeWindow: {Mode: 'OFF'}
        Target: {Arn: !GetAtt Inbox.Arn, RoleArn: !GetAtt TickRole.Arn}
    Inbox: {Type: AWS::SQS::Queue}
    """
    for actions, heard in (("sqs:ReceiveMessage", 0), ("sqs:SendMessage", 1)):
        with deploy(tmp_path, schedule, also=role("tick", "scheduler", actions)) as cloud:
            pass_time(cloud, hours=1)
            assert len(messages(cloud, "Inbox")) == heard


def test_a_stream_that_may_not_write_tries_for_a_day(tmp_path):
    stream = """
    Data: {Type: AWS::S3::Bucket, Properties: {BucketName: data}}
    Stream:
      Type: AWS::KinesisFirehose::DeliveryStream
      Properties:
        DeliveryStreamName: stream
        ExtendedS3DestinationConfiguration: {BucketARN: !GetAtt Data.Arn, RoleARN: !GetAtt StreamRole.Arn}
    """
    with deploy(tmp_path, stream, also=role("stream", "firehose", "s3:GetObject")) as cloud:
        cloud.client("firehose").put_record(DeliveryStreamName="stream", Record={"Data": b"x"})
        pass_time(cloud, hours=2)
        assert cloud.client("s3").list_objects_v2(Bucket="data")["KeyCount"] == 0
        statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        cloud.client("iam").put_role_policy(RoleName="stream", PolicyName="more", PolicyDocument=document)
        pass_time(cloud, hours=1)
        assert cloud.client("s3").list_objects_v2(Bucket="data")["KeyCount"] == 1


def test_a_queue_is_polled_by_the_functions_role(tmp_path):
    resources = (
        MEMORY
        + """
    Role: !GetAtt WorkerRole.Arn
Inbox: {Type: AWS::SQS::Queue}
Mapping:
  Type: AWS::Lambda::EventSourceMapping
  Properties: {EventSourceArn: !GetAtt Inbox.Arn, FunctionName: !Ref Remember}
"""
    ).replace("    Policies: [{S3CrudPolicy: {BucketName: !Ref Memory}}]\n", "")
    polling = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
    for actions, left in ((("s3:*",), 1), (("s3:*", *polling), 0)):
        with deploy(tmp_path, resources, also=role("worker", "lambda", *actions)) as cloud:
            cloud.client("sqs").send_message(QueueUrl=cloud.resources["Inbox"], MessageBody="{}")
            cloud.advance(START + timedelta(minutes=1))
            assert len(messages(cloud, "Inbox")) == left


def test_a_function_without_leave_to_tell_of_its_failure_loses_it(tmp_path):
    write_function(tmp_path, "fails", "def handler(event, context): raise ValueError('always')")
    resources = """
    Dead: {Type: AWS::SQS::Queue}
    Fails:
      Type: AWS::Serverless::Function
      Properties:
        CodeUri: functions/fails
        Role: !GetAtt WorkerRole.Arn
        EventInvokeConfig:
          MaximumRetryAttempts: 0
          DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Dead.Arn}}
    """
    for action, kept in (("s3:GetObject", 0), ("sqs:SendMessage", 1)):
        with deploy(tmp_path, resources, also=role("worker", "lambda", action)) as cloud:
            cloud.functions.invoke_async(cloud.functions.find("Fails").function_arn, b"{}")
            cloud.drain()
            assert len(messages(cloud, "Dead")) == kept
            with pytest.raises(FunctionFailedError):
                cloud.invoke("Fails", {})


def test_what_a_service_has_no_operation_for_is_refused_and_not_passed_on():
    def refuse(*asked):
        pytest.fail("there is nothing to ask about")

    passed_on, answered = [], []
    answer = guarded(lambda environ, start: passed_on.append(environ) or [], lambda key: Caller("role"), refuse)
    signature = "AWS4-HMAC-SHA256 Credential=ASIAX/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host"
    environ = {
        "REQUEST_METHOD": "PATCH",
        "PATH_INFO": "/no/such/thing",
        "HTTP_AUTHORIZATION": signature,
        "wsgi.input": io.BytesIO(),
    }
    body = b"".join(answer(environ, lambda status, headers: answered.append(status)))
    assert passed_on == []
    assert answered == ["403 Forbidden"]
    assert b"no operation of it" in body
