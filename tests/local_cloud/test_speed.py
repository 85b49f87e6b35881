"""The short cuts through moto give what moto gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_stacks import START, deploy
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.s3.models import S3Backend, s3_backends

from local_cloud import speed

ACCOUNT, REGION = "123456789012", "us-east-1"
ANY: Any = None

KEYS = st.lists(st.text("ab/", min_size=1, max_size=6), min_size=1, max_size=12, unique=True)


@pytest.fixture(scope="module")
def moto_alone() -> Iterator[None]:
    with mock_aws():
        yield


@given(
    keys=KEYS,
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from([None, "/"]),
    max_keys=st.sampled_from([None, 1, 3]),
)
def test_a_listing_is_motos_listing(
    moto_alone: None, keys: list[str], prefix: str, delimiter: str | None, max_keys: int | None
) -> None:
    backend = s3_backends[ACCOUNT]["aws"]
    if "listed" in backend.buckets:
        for key in list(backend.buckets["listed"].keys):
            backend.delete_object("listed", key)
        backend.delete_bucket("listed")
    bucket = backend.create_bucket("listed", REGION)
    for key in keys:
        backend.put_object("listed", key, b"x")

    def names(method: Any) -> Any:
        found, folders, truncated, token = method(backend, bucket, prefix, delimiter, None, max_keys)
        return [key.name for key in found], list(folders), truncated, token

    assert names(speed.patched_list_objects(ANY, S3Backend.list_objects)) == names(S3Backend.list_objects)


@given(
    items=st.lists(st.tuples(st.sampled_from("xy"), st.text("abc", min_size=1, max_size=3)), max_size=15, unique=True),
    condition=st.sampled_from(
        [(None, []), ("BEGINS_WITH", ["a"]), ("BETWEEN", ["a", "b"]), ("GT", ["b"]), ("EQ", ["a"])]
    ),
    forward=st.booleans(),
    limit=st.sampled_from([1, 2, 1000]),
)
def test_a_query_is_motos_query(
    moto_alone: None, items: list[tuple[str, str]], condition: tuple[str | None, list[str]], forward: bool, limit: int
) -> None:
    backend = dynamodb_backends[ACCOUNT][REGION]
    backend.tables.clear()
    boto3.client("dynamodb", region_name=REGION).create_table(
        TableName="queried",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    table = backend.get_table("queried")
    for pk, sk in items:
        table.put_item({"pk": {"S": pk}, "sk": {"S": sk}})
    comparison, values = condition

    def query(method: Any) -> list[str]:
        objects = [DynamoType({"S": value}) for value in values]
        found, _, _ = method(table, DynamoType({"S": "x"}), comparison, objects, limit, None, forward, None)
        return [item.range_key.value for item in found]

    assert query(speed.patched_table_query(ANY, Table.query)) == query(Table.query)


def test_items_of_every_type_come_back_as_they_were_put(tmp_path: Path) -> None:
    resources = """
    Table:
      Type: AWS::DynamoDB::Table
      Properties:
        BillingMode: PAY_PER_REQUEST
        AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
        KeySchema: [{AttributeName: id, KeyType: HASH}]
    """
    item = {
        "id": {"S": "1"},
        "number": {"N": "1.50"},
        "bytes": {"B": b"\x00\xff"},
        "none": {"NULL": True},
        "truth": {"BOOL": False},
        "texts": {"SS": ["a", "b"]},
        "numbers": {"NS": ["1", "2"]},
        "blobs": {"BS": [b"a"]},
        "list": {"L": [{"S": ""}, {"L": []}, {"M": {}}]},
        "map": {"M": {"deep": {"M": {"er": {"B": b"x"}}}}},
    }
    with deploy(tmp_path, resources) as cloud:
        dynamodb, table = cloud.client("dynamodb"), cloud.resources["Table"]
        dynamodb.put_item(TableName=table, Item=item)
        assert dynamodb.get_item(TableName=table, Key={"id": {"S": "1"}})["Item"] == item
        assert dynamodb.scan(TableName=table)["Items"] == [item]


def test_objects_come_back_as_they_were_put_whatever_the_client(tmp_path: Path) -> None:
    with deploy(tmp_path, "Data: {Type: AWS::S3::Bucket}\n") as cloud:
        bucket = cloud.resources["Data"]
        clients = [cloud.client("s3"), boto3.client("s3"), boto3.session.Session(region_name=REGION).client("s3")]
        for number, client in enumerate(clients):
            key = f"a b/{number}.json"
            client.put_object(Bucket=bucket, Key=key, Body=json.dumps({"n": number}).encode(), Metadata={"n": "1"})
            found = client.get_object(Bucket=bucket, Key=key)
            assert json.loads(found["Body"].read()) == {"n": number}
            assert found["Metadata"] == {"n": "1"}
            assert found["LastModified"] == START
            listed = client.list_objects_v2(Bucket=bucket, Prefix="a b/")["Contents"][number]
            assert (listed["Key"], listed["LastModified"]) == (key, datetime(2026, 1, 1, tzinfo=UTC))
