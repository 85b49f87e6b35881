"""template.yaml with all that a security review asks for, deployed, used and deleted in the local cloud."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from local_stacks import START, client
from small_cloud import ROOT

from local_cloud.cloud import LocalCloud
from local_cloud.server.server import LocalServer

TABLES = ("LedgerTable", "AliasTable", "CatalogTable", "OnlineTable")
BUCKETS = ("DataBucket", "ArtifactBucket")
ASKED_FOR = {
    "AccessLogBucket": "access-logs",
    "ApiRateLimit": "50",
    "ApiBurstLimit": "20",
    "PredictConcurrency": "100",
    "BatchConcurrency": "10",
    "BusinessEventSource": "shop.*",
    "LogLevel": "WARN",
}


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    """The stack of the key, and Evergreen's."""
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(ROOT / "infra" / "deploy" / "data_key.yaml", stack_name="key")
        cloud.client("s3").create_bucket(Bucket="access-logs")
        parameters = {**ASKED_FOR, **cloud.outputs}
        cloud.deploy_stack(ROOT / "template.yaml", stack_name="evergreen", parameters=parameters)
        yield cloud


@pytest.fixture
def key(cloud: LocalCloud) -> str:
    """The ARN of the key of the stack `key`."""
    [stack] = cloud.client("cloudformation").describe_stacks(StackName="key")["Stacks"]
    return stack["Outputs"][0]["OutputValue"]


def test_tables_buckets_queue_and_topic_have_the_key_that_was_named(cloud: LocalCloud, key: str) -> None:
    described = [cloud.client("dynamodb").describe_table(TableName=cloud.resources[table])["Table"] for table in TABLES]
    assert {table["SSEDescription"]["KMSMasterKeyArn"] for table in described} == {key}
    for bucket in BUCKETS:
        found = cloud.client("s3").get_bucket_encryption(Bucket=cloud.resources[bucket])
        [rule] = found["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    asked = {"QueueUrl": cloud.resources["DeadLetters"], "AttributeNames": ["KmsMasterKeyId"]}
    assert cloud.client("sqs").get_queue_attributes(**asked)["Attributes"] == {"KmsMasterKeyId": key}
    topic = cloud.client("sns").get_topic_attributes(TopicArn=cloud.resources["Notifications"])
    assert topic["Attributes"]["KmsMasterKeyId"] == key
    assert "NotificationsKey" not in cloud.resources, "the stack makes no key of its own where it is given one"


def test_an_event_gets_through_to_whoever_waits_for_it_and_to_nobody_else(cloud: LocalCloud) -> None:
    """Rules write to the topic under the key; a wish has to be of a source that may ask."""

    def told(source: str, kind: str) -> int:
        before = cloud.invocation_counts.get("EvaluateTriggers", 0)
        entry = {"EventBusName": "evergreen", "Source": source, "DetailType": kind, "Detail": "{}"}
        cloud.client("events").put_events(Entries=[entry])
        cloud.drain()
        return cloud.invocation_counts.get("EvaluateTriggers", 0) - before

    assert told("evergreen", "TrainingFailed") == 0
    assert told("game", "Retraining Wanted") == 0
    assert told("shop.pricing", "Retraining Wanted") == 1
    assert list(cloud.authority.refusals) == []


def test_a_deleted_stack_leaves_its_data_and_nobody_deletes_a_table_by_mistake() -> None:
    with LocalServer(ROOT / "template.yaml", port=0) as server:
        kept = [server.cloud.resources[name] for name in (*TABLES, *BUCKETS)]
        cloudformation, dynamodb = client(server, "cloudformation"), client(server, "dynamodb")
        cloudformation.delete_stack(StackName="evergreen")
        with pytest.raises(ClientError, match="does not exist"):
            cloudformation.describe_stacks(StackName="evergreen")
        buckets = [bucket["Name"] for bucket in client(server, "s3").list_buckets()["Buckets"]]
        assert set(kept) <= {*dynamodb.list_tables()["TableNames"], *buckets}
        with pytest.raises(ClientError, match="DeletionProtectionEnabled"):
            dynamodb.delete_table(TableName=kept[0])
        dynamodb.update_table(TableName=kept[0], DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=kept[0])
