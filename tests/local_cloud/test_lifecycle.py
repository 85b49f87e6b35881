"""Objects that their bucket's lifecycle has outlived are gone, and the others are not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from local_cloud.cloud import LocalCloud

START = datetime(2026, 1, 1, tzinfo=UTC)


RAW = {"Id": "raw", "Status": "Enabled", "Prefix": "raw/"}


def bucket(*, expires=None, **properties):
    rules = [RAW | (expires or {"ExpirationInDays": 7})]
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


def test_what_expires_in_a_versioned_bucket_gets_a_delete_marker(tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket(VersioningConfiguration={"Status": "Enabled"})))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        s3.put_object(Bucket=name, Key="raw/a", Body=b"1")
        cloud.advance(START + timedelta(days=30))
        assert not exists(s3, name, "raw/a")
        (version,) = s3.list_object_versions(Bucket=name)["Versions"]
        assert s3.get_object(Bucket=name, Key="raw/a", VersionId=version["VersionId"])["Body"].read() == b"1"


def test_what_was_replaced_in_a_versioned_bucket_may_expire(tmp_path):
    replaced = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}, "ExpiredObjectDeleteMarker": True}
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket(expires=replaced, VersioningConfiguration={"Status": "Enabled"})))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        s3.put_object(Bucket=name, Key="raw/a", Body=b"1")
        cloud.advance(START + timedelta(days=9))
        assert exists(s3, name, "raw/a")


def versions_of(s3, name):
    found = s3.list_object_versions(Bucket=name)
    return len(found.get("Versions", [])), len(found.get("DeleteMarkers", []))


def test_what_was_replaced_or_deleted_in_a_versioned_bucket_is_gone_by_its_rule(tmp_path):
    replaced = {"NoncurrentVersionExpiration": {"NoncurrentDays": 3}, "ExpiredObjectDeleteMarker": True}
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket(expires=replaced, VersioningConfiguration={"Status": "Enabled"})))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        for key in ("raw/a", "raw/a", "raw/b", "kept/a", "kept/a"):
            s3.put_object(Bucket=name, Key=key, Body=b"1")
        s3.delete_object(Bucket=name, Key="raw/b")
        cloud.advance(START + timedelta(days=2))
        assert versions_of(s3, name) == (5, 1)
        cloud.advance(START + timedelta(days=5))
        assert versions_of(s3, name) == (3, 0), "the newest of raw/a and both of kept/a"
        assert exists(s3, name, "raw/a")
        assert not exists(s3, name, "raw/b")


def test_what_was_put_back_meanwhile_lives_on(tmp_path):
    replaced = {"NoncurrentVersionExpiration": {"NoncurrentDays": 3}}
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket(expires=replaced, VersioningConfiguration={"Status": "Enabled"})))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        s3.put_object(Bucket=name, Key="raw/a", Body=b"1")
        s3.delete_object(Bucket=name, Key="raw/a")
        cloud.advance(START + timedelta(days=2))
        s3.put_object(Bucket=name, Key="raw/a", Body=b"2")
        cloud.advance(START + timedelta(days=9))
        assert s3.get_object(Bucket=name, Key="raw/a")["Body"].read() == b"2"
        assert versions_of(s3, name) == (1, 0)


@pytest.mark.parametrize(
    ("days", "left"), [(3, {"kept/a"}), (30, {"kept/a", "raw/a", "raw/b"}), (None, {"kept/a", "raw/a", "raw/b"})]
)
def test_a_rule_that_is_changed_rules_what_is_there_already(tmp_path, days, left):
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket()))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        for key in ("kept/a", "raw/a"):
            s3.put_object(Bucket=name, Key=key, Body=b"1")
        cloud.advance(START + timedelta(days=2))
        s3.put_object(Bucket=name, Key="raw/b", Body=b"1")
        changed = bucket() if days is None else bucket(expires={"ExpirationInDays": days})
        if days is None:
            del changed["Resources"]["Data"]["Properties"]["LifecycleConfiguration"]
        cloud.deploy_stack(changed, stack_name=cloud.stack_name)
        cloud.advance(START + timedelta(days=4, hours=1))
        assert exists(s3, name, "raw/b")
        cloud.advance(START + timedelta(days=12))
        assert {key for key in ("kept/a", "raw/a", "raw/b") if exists(s3, name, key)} == left


def test_a_rule_that_is_new_rules_what_is_there_already(tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps(bucket(expires={"ExpirationInDays": 7})))
    with LocalCloud.deploy(template, start=START) as cloud:
        s3, name = cloud.client("s3"), cloud.resources["Data"]
        s3.put_object(Bucket=name, Key="more/a", Body=b"1")
        document = bucket()
        rules = document["Resources"]["Data"]["Properties"]["LifecycleConfiguration"]["Rules"]
        rules.append({"Id": "more", "Status": "Enabled", "Prefix": "more/", "ExpirationInDays": 10})
        cloud.advance(START + timedelta(days=8))
        cloud.deploy_stack(document, stack_name=cloud.stack_name)
        cloud.advance(START + timedelta(days=9, hours=1))
        assert exists(s3, name, "more/a")
        cloud.advance(START + timedelta(days=11, hours=1))
        assert not exists(s3, name, "more/a"), "its age counts from when it was written"
