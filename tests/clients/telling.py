"""What the clients' scripts share: how a step is told of in a line of JSON, and a role."""

import json
import sys
from collections.abc import Callable
from typing import Any

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
MAY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
LONGEST_REASON = 600


def tell(test: str, why: str) -> None:
    """Tell how a step ended: it passed where there is no reason against it."""
    told = {"test": test, "outcome": "failed" if why else "passed", "why": why[-LONGEST_REASON:]}
    print(json.dumps(told), file=sys.__stdout__, flush=True)


def step(name: str, action: Callable[[], Any], told: str = "") -> Any:
    """Do something, look for ``told`` in what it returns, and return that; what fails ends the script."""
    try:
        found = action()
        assert told in str(found), f"{found} lacks {told}"
    except Exception as error:  # whatever a client raises is what there is to tell
        tell(name, f"{type(error).__name__}: {error}")
        sys.exit(1)
    tell(name, "")
    return found


def refused(name: str, action: Callable[[], Any], told: str) -> None:
    """Do something that fails, and look for ``told`` in what it says."""
    try:
        found = action()
    except Exception as error:  # each client has errors of its own: what they say is held to `told`
        tell(name, "" if told and told in str(error) else f"{type(error).__name__}: {error}")
    else:
        tell(name, f"it answered {found}")


def role(name: str) -> str:
    """Make a role that SageMaker may take and that may do everything; return its ARN."""
    import boto3

    iam = boto3.client("iam")
    made: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=json.dumps(MAY))
    return made
