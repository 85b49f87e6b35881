"""What the deployed stack's data bucket still holds, by the age of the files."""

from datetime import timedelta

from local_stacks import START
from small_cloud import ROOT

from evergreen.formats.keys import DataPrefix
from local_cloud.cloud import LocalCloud

DAY = timedelta(days=1)
LIVES = {"CaptureRetentionDays": "10", "OutcomeRetentionDays": "40"}
OUTCOMES = {DataPrefix.OUTCOMES, DataPrefix.PROFILES}
FOR_GOOD = {DataPrefix.BASE_DATA, DataPrefix.DECISIONS}


def test_files_are_deleted_when_the_parameters_say_and_not_before() -> None:
    with LocalCloud.deploy(ROOT / "template.yaml", start=START, parameters=LIVES) as cloud:
        s3, bucket = cloud.client("s3"), cloud.resources["DataBucket"]
        for prefix in DataPrefix:
            s3.put_object(Bucket=bucket, Key=f"{prefix}/old", Body=b"1")  # no name that a function would read

        def kept() -> set[str]:
            found = s3.list_objects_v2(Bucket=bucket)["Contents"]
            return {each["Key"].removesuffix("/old") for each in found if each["Key"].endswith("/old")}

        for days, left in ((9, set(DataPrefix)), (12, OUTCOMES | FOR_GOOD), (39, OUTCOMES | FOR_GOOD), (42, FOR_GOOD)):
            cloud.advance(START + days * DAY)
            assert kept() == left, days
