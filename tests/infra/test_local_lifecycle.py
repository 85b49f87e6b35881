"""Objects that their bucket's lifecycle has outlived are gone, and the others are not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from evergreen_ops.local.cloud import LocalCloud
from evergreen_ops.local.errors import UnsupportedResourceError

START = datetime(2026, 1, 1, tzinfo=UTC)


def bucket(**properties):
    rules = [{"Id": "raw", "Status": "Enabled", "Prefix": "raw/", "ExpirationInDays": 7}]
    document = {"Type": "AWS::S3::Bucket", "Properties": {"LifecycleConfiguration": {"Rules": rules}, **properties}}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Data": document}}


def exists(s3, name, key):
    try:
        s3.head_object(Bucket=name, Key=key)
    except ClientError:
        return False
    return True


def test_an_object_is_gone_when_its_rule_says_and_not_before(tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket()))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        s3.put_object(Bucket=name, Key="raw/old", Body=b"1")
        s3.put_object(Bucket=name, Key="kept/old", Body=b"1")
        cloud.advance(START + timedelta(days=6))
        s3.put_object(Bucket=name, Key="raw/young", Body=b"1")
        assert exists(s3, name, "raw/old")
        cloud.advance(START + timedelta(days=8))
        assert not exists(s3, name, "raw/old")
        assert exists(s3, name, "raw/young")
        assert exists(s3, name, "kept/old")


def test_an_object_that_was_written_again_lives_on(tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket()))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        s3.put_object(Bucket=name, Key="raw/a", Body=b"1")
        cloud.advance(START + timedelta(days=5))
        s3.put_object(Bucket=name, Key="raw/a", Body=b"2")
        cloud.advance(START + timedelta(days=9))
        assert exists(s3, name, "raw/a")


def test_a_lifecycle_on_a_versioned_bucket_fails_the_deploy(tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket(VersioningConfiguration={"Status": "Enabled"})))
    with pytest.raises(UnsupportedResourceError, match="LifecycleConfiguration on a versioned bucket"):
        LocalCloud.deploy(template, start=START)
