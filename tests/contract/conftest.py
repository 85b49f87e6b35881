"""The cloud that adapters are tried on: moto, in this process, empty before each test."""

import boto3
import pytest
from moto import mock_aws
from small_cloud import short_cuts


@pytest.fixture
def aws(_nobodys_credentials):
    """Makes clients of an empty cloud."""
    with mock_aws(config={"core": {"reset_boto3_session": False}}), short_cuts():  # reading models again takes long
        yield lambda service: boto3.client(service, region_name="us-east-1")


@pytest.fixture
def table(aws):
    """Creates a table with two string keys and answers its client and name."""

    def create(partition, sort):
        client = aws("dynamodb")
        client.create_table(
            TableName="table",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (partition, sort)],
            KeySchema=[
                {"AttributeName": partition, "KeyType": "HASH"},
                {"AttributeName": sort, "KeyType": "RANGE"},
            ],
        )
        return client, "table"

    return create
