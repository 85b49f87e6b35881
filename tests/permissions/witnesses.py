"""Witnesses: for each grant one call that it decided, and the test that made the call; or why none makes it here.

They are kept in ``witnesses.tsv``: `make permissions` derives it anew, and leaves what is still true as it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grants import OF_THE_RESOURCE, WHOLE, Asked, Grant

FILE = Path(__file__).parent / "witnesses.tsv"
_COLUMNS = ("holder", "policy", "sid", "action", "resource", "test", "asked")
_FIREHOSE = "https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-s3"
_SAGEMAKER = "arn:aws:sagemaker:us-east-1:123456789012"
_OF_THE_STACK = "${AWS::StackName}-*"
_MLFLOW = "https://docs.aws.amazon.com/sagemaker/latest/dg/mlflow-create-tracking-server-iam.html"
BY_AWS_ALONE: Mapping[tuple[str, str], str] = {
    ("StreamRole", "s3:AbortMultipartUpload"): _FIREHOSE,
    ("StreamRole", "s3:GetBucketLocation"): _FIREHOSE,
    ("StreamRole", "s3:ListBucket"): _FIREHOSE,
    ("StreamRole", "s3:ListBucketMultipartUploads"): _FIREHOSE,
    ("OutboxRole", "dynamodb:ListStreams"): (
        "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-permissions.html#pipes-perms-ddb"
    ),
    ("NotificationsKey", "kms:CreateGrant"): (  # a Deny: nobody in the stack may do so in any case
        "https://docs.aws.amazon.com/controltower/latest/controlreference/kms-rules.html"
    ),
    ("NotificationsKey", "kms:*"): "https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html",
    ("TrainingRole", "sagemaker:CallMlflowAppApi"): _MLFLOW,
    ("UpdateRegistryRole", "sagemaker:CallMlflowAppApi"): _MLFLOW,
    ("UpdateRegistryRole", "AWSLambdaBasicExecutionRole"): (  # SAM adds it, and the one for a VPC that allows it all
        "https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSLambdaVPCAccessExecutionRole.html"
    ),
}
"""What a service's page asks for, and the local cloud never does: the page, by holder and action."""


_BY_RECONCILE = "what reconcile does in place of the function whose event was lost; a story tells it of that function"
_GONE = "a file that is gone is told as missing, not as refused; the handler's own test needs no role"
_ENCRYPTED = "an artifact of a training with a key is read; the function reads such as are not encrypted in a story"
NO_STORY_YET: Mapping[tuple[str, str, str], str] = {
    ("ReconcileRole", "cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:*"): _BY_RECONCILE,
    ("ReconcileRole", "s3:GetObject", "arn:aws:s3:::${ArtifactBucket}/references/*"): _BY_RECONCILE,
    ("ReconcileRole", "s3:GetObject", "arn:aws:s3:::${ArtifactBucket}/snapshots/*"): _BY_RECONCILE,
    ("ReconcileRole", "s3:GetObject", "arn:aws:s3:::${ArtifactBucket}/source/*"): _BY_RECONCILE,
    ("ReconcileRole", "s3:ListBucket", "arn:aws:s3:::${ArtifactBucket}"): _GONE,
    ("ReconcileRole", "sagemaker:DeleteEndpoint", f"{_SAGEMAKER}:endpoint/*"): _BY_RECONCILE,
    ("ReconcileRole", "sagemaker:DeleteEndpointConfig", f"{_SAGEMAKER}:endpoint-config/{_OF_THE_STACK}"): _BY_RECONCILE,
    ("ReconcileRole", "sagemaker:DeleteModel", f"{_SAGEMAKER}:model/{_OF_THE_STACK}"): _BY_RECONCILE,
    ("ReconcileRole", "sagemaker:StopTrainingJob", f"{_SAGEMAKER}:training-job/*"): (
        "a job that does not end is stopped; its story is a handler's, without roles and tags"
    ),
    ("RepointAliasRole", "s3:ListBucket", "arn:aws:s3:::${ArtifactBucket}"): _GONE,
    ("RepointAliasRole", "sagemaker:DeleteEndpoint", f"{_SAGEMAKER}:endpoint/*"): (
        "an endpoint whose creation failed is deleted before it is made again"
    ),
    ("ScoreShadowRole", "kms:Decrypt", "${TrainingKmsKeyArn}"): _ENCRYPTED,
    ("ScoreShadowRole", "s3:GetObject", "arn:aws:s3:::${ArtifactBucket}/live/*"): (
        "a shadow with a live state answers by it; where its test runs, the process has read it already"
    ),
    ("TrainingRole", "kms:Decrypt", "${TrainingKmsKeyArn}"): _ENCRYPTED,
    ("UpdateRegistryRole", "kms:Decrypt", "${TrainingKmsKeyArn}"): _ENCRYPTED,
}
"""What no test uses so far, and what needs it. `make permissions` counts them as never used."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A call, and who made it.

    Parameters
    ----------
    test
        The test's id, as pytest names it.
    asked
        What was asked.
    """

    test: str
    asked: Asked


def page_of(grant: Grant) -> str | None:
    """Return the page of AWS's that asks for a grant which nothing here uses; None for any other.

    Examples
    --------
    >>> page_of(Grant("OutboxRole", "outbox", "", "dynamodb:ListStreams", "*")).partition("#")[2]
    'pipes-perms-ddb'
    """
    return BY_AWS_ALONE.get(used_as(grant))


def needed_for(grant: Grant) -> str | None:
    """Return what needs a grant that no test uses so far; None for any other."""
    return NO_STORY_YET.get((grant.holder, grant.action, grant.resource))


def used_as(grant: Grant) -> tuple[str, str]:
    """Return the holder, and the action or the policy that is attached whole."""
    return grant.holder, grant.policy if grant.action == WHOLE else grant.action


def label(grant: Grant) -> str:
    """Return a grant as people read it.

    Examples
    --------
    >>> label(Grant("PredictRole", "PredictRolePolicy0", "", "s3:GetObject", "arn:aws:s3:::${ArtifactBucket}/models/*"))
    'PredictRole: s3:GetObject on arn:aws:s3:::${ArtifactBucket}/models/* (PredictRolePolicy0)'
    """
    policy = f"{grant.policy} {grant.sid}".strip() if grant.policy != OF_THE_RESOURCE else grant.sid or grant.policy
    return f"{grant.holder}: {grant.action} on {grant.resource} ({policy})"


def read(file: Path = FILE) -> dict[Grant, Witness]:
    """Read the witnesses that are kept."""
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {
        Grant(*(row[name] for name in Grant._fields)): Witness(row["test"], Asked.read(row["asked"])) for row in rows
    }


def write(witnesses: Mapping[Grant, Witness], file: Path = FILE) -> None:
    """Keep witnesses, in order of their grants."""
    lines = ["\t".join(_COLUMNS)]
    lines += ["\t".join((*grant, w.test, w.asked.told())) for grant, w in sorted(witnesses.items())]
    file.write_text("\n".join(lines) + "\n")


def renewed(
    kept: Mapping[Grant, Witness], seen: Mapping[Grant, Mapping[str, Asked]], grants: Iterable[Grant]
) -> dict[Grant, Witness]:
    """Return a witness for each grant that was seen at work: the one that is kept if its test was seen again.

    Examples
    --------
    >>> read = Grant("PredictRole", "p", "", "s3:GetObject", "b/*")
    >>> asked = Asked("PredictRole", "s3:GetObject", "b/k", {})
    >>> seen = {read: {"a.py::test_1": asked, "b.py::test_2": asked}}
    >>> renewed({read: Witness("b.py::test_2", asked)}, seen, [read])[read].test
    'b.py::test_2'
    >>> renewed({read: Witness("c.py::test_3", asked)}, seen, [read])[read].test
    'a.py::test_1'
    """
    found = {}
    for grant in grants:
        tests = seen.get(grant, {})
        if not tests or page_of(grant):
            continue
        before = kept.get(grant)
        if before is not None and before.test in tests:
            found[grant] = before
        else:
            first = min(tests)
            found[grant] = Witness(first, tests[first])
    return found
