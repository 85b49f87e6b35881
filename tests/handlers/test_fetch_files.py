"""Captures and labels that lie in the user's own bucket are fetched, once each, and go the way of all others."""

import json
from datetime import timedelta

import boto3
import pytest

SOURCE = {
    "capture": {"source": "s3://their-bucket/datacapture/churn-endpoint/AllTraffic/"},
    "labels": {"classes": ["0", "1"], "source": "s3://their-bucket/groundtruth"},
}
CAPTURE = {
    "captureData": {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "50,gold", "encoding": "CSV"},
        "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.9", "encoding": "CSV"},
    },
    "eventMetadata": {"eventId": "aaaa", "inferenceTime": "2026-03-01T00:20:06Z"},
    "eventVersion": "0",
}
LABEL = {
    "groundTruthData": {"data": "1", "encoding": "CSV"},
    "eventMetadata": {"eventId": "aaaa"},
    "eventVersion": "0",
}


@pytest.fixture
def theirs(cloud):
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="their-bucket")

    def put(key, line):
        s3.put_object(Bucket="their-bucket", Key=key, Body=json.dumps(line).encode())

    return put


def ours(cloud):
    return [key for prefix in ("captures/", "ground-truth/") for key in cloud.ports.data.keys(prefix)]


def test_new_files_of_the_last_hours_are_copied_once_and_joined(cloud, now, theirs):
    cloud.applied(**SOURCE)
    cloud.promoted(at=now - timedelta(days=2))
    theirs("datacapture/churn-endpoint/AllTraffic/2026/03/01/00/20-06-123-part.jsonl", CAPTURE)
    theirs("datacapture/churn-endpoint/AllTraffic/2026/02/20/00/old.jsonl", CAPTURE)
    theirs("datacapture/churn-endpoint/Other/2026/03/01/00/not-ours.jsonl", CAPTURE)
    theirs("groundtruth/2026/03/01/01/labels.jsonl", LABEL)
    for _ in range(2):
        cloud.call("reconcile", "schedule_evaluate")
    assert ours(cloud) == [
        "captures/churn/production/2026/03/01/00/20-06-123-part.jsonl",
        "ground-truth/churn/2026/03/01/01/labels.jsonl",
    ]
    fetched = [values["FetchedFiles"] for _, values in cloud.counted() if "FetchedFiles" in values]
    assert fetched == [2], "once"
    for function, key in zip(("profile_capture", "join_labels"), ours(cloud), strict=True):
        event = cloud.event("s3_object_created")
        event["detail"]["object"]["key"] = key
        told = cloud.call(function, event)
        assert told.get("rows", told.get("joined")) == 1


def test_a_model_without_a_source_fetches_nothing(cloud):
    cloud.applied()
    cloud.call("reconcile", "schedule_evaluate")
    assert ours(cloud) == []


def test_a_source_that_is_no_folder_is_refused_by_name():
    from small_cloud import CHURN

    from evergreen.spec import ModelSpec, SpecError

    with pytest.raises(SpecError, match=r"capture.source is '/data/captures': it is no folder in S3"):
        ModelSpec.parse(CHURN | {"capture": {"source": "/data/captures"}})
