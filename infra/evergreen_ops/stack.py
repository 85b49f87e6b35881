"""Where a command works: a deployed stack, or the local cloud that runs in this folder; and who gives the command."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import EvergreenError
from evergreen.settings import SettingsError

if TYPE_CHECKING:
    from evergreen.bootstrap import AwsPorts

DEFAULT_STACK = "evergreen"
_NO_ACCESS = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_BAD_CREDENTIALS = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AuthFailure",
)


class StackError(EvergreenError):
    """The stack can't be reached, or is none of Evergreen's."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack to work on, and the identity that the history will name."""

    where: str
    ports: AwsPorts
    actor: str
    note: str = ""  # what the user is to know of the choice
    connection: Mapping[str, str] = field(default_factory=dict)  # where, and as whom, if not as the environment says
    ahead: timedelta = timedelta(0)  # of the machine's clock: a local cloud's can be moved

    def client(self, service: str) -> Any:
        """A client of the account and region that the stack is in."""
        return _client(service, self.ports.settings.region, self.connection)


@contextmanager
def connected(name: str | None, *, local: bool, state_dir: Path | None = None) -> Iterator[Stack]:
    """Connect to a stack; what AWS refuses while it is used is told in one sentence.

    Parameters
    ----------
    name
        The CloudFormation stack; ``evergreen`` when none is named.
    local
        Take the local cloud that runs in this folder. Without a name it is also taken when one runs.
    state_dir
        Where ``evergreen local up`` left its address; by default in this folder.

    Raises
    ------
    StackError
        No local cloud runs; credentials, region or stack are missing; AWS refuses or can't be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"stack {name or DEFAULT_STACK!r}"
    try:
        url = local_url(state_dir) if local else _running_url(state_dir) if name is None else None
        yield _aws(name or DEFAULT_STACK, where) if url is None else _local(name or DEFAULT_STACK, url, asked=local)
    except ClientError as error:
        raise StackError(_refusal(error, where)) from error
    except BotoCoreError as error:
        raise StackError(_trouble(error, where)) from error


def local_url(state_dir: Path | None = None) -> str:
    """Return where the local cloud of this folder answers.

    Raises
    ------
    StackError
        None runs.
    """
    url = _running_url(state_dir)
    if url is None:
        raise StackError("no local cloud runs in this folder: start one with `evergreen local up` in another shell")
    return url


def _running_url(state_dir: Path | None) -> str | None:
    from local_cloud.server.running import STATE_DIR, running_server

    running = running_server(state_dir or STATE_DIR)
    return None if running is None else f"http://localhost:{running['port']}"


def _local(name: str, url: str, *, asked: bool) -> Stack:
    from evergreen.bootstrap import ports_for
    from local_cloud.server.running import ask

    connection = {"endpoint_url": url, "aws_access_key_id": "local", "aws_secret_access_key": "local"}
    region = ask(url, "health")["region"]
    outputs = _outputs(name, f"stack {name!r} of the local cloud", _client("cloudformation", region, connection))
    note = "" if asked else f"the local cloud at {url}; --stack NAME takes a deployed stack"
    actor = f"{getpass.getuser()}@{socket.gethostname()}"
    ahead = timedelta(seconds=ask(url, "clock")["ahead_seconds"])
    return Stack(f"the local cloud at {url}", ports_for(outputs, connection), actor, note, connection, ahead)


def _aws(name: str, where: str) -> Stack:
    from evergreen.bootstrap import ports_for

    outputs = _outputs(name, where, _client("cloudformation"))
    try:
        ports = ports_for(outputs)
    except SettingsError as error:
        raise StackError(
            f"{where} has no output for {error.name}: it is none of Evergreen's, or its deployment has not ended"
        ) from error
    return Stack(where, ports, _client("sts", ports.settings.region).get_caller_identity()["Arn"])


def _client(service: str, region: str | None = None, connection: Mapping[str, str] | None = None) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=30)
    # The stubs type each service by a literal; here the name is data.
    named = region or os.environ.get("AWS_REGION")  # which Lambda and the AWS CLI know, and boto3 does not
    return boto3.client(service, region_name=named, config=config, **(connection or {}))  # type: ignore[call-overload]


def _outputs(name: str, where: str, cloudformation: Any) -> dict[str, str]:
    from botocore.exceptions import ClientError

    try:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        region = cloudformation.meta.region_name
        raise StackError(
            f"{where} does not exist in {region}: name it with --stack, its region with AWS_REGION, or deploy it"
        ) from error
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _refusal(error: Any, where: str) -> str:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    if code in _NO_ACCESS:
        return f"{where}: these credentials may not call {error.operation_name}: {message}"
    if code in _BAD_CREDENTIALS:
        return f"{where}: AWS does not accept these credentials ({code}): renew them, or choose others with AWS_PROFILE"
    return f"{where}: {error.operation_name} failed with {code}: {message}"


def _trouble(error: Exception, where: str) -> str:
    match type(error).__name__:
        case "NoCredentialsError" | "PartialCredentialsError" | "CredentialRetrievalError" | "ProfileNotFound":
            hint = "set AWS_PROFILE, or log in; for a local cloud, `evergreen local up` and --local"
            return f"{where}: no AWS credentials are found ({str(error).rstrip('.')}): {hint}"
        case "NoRegionError":
            return f"{where}: no AWS region is set: set AWS_REGION"
        case _:
            return f"{where}: {str(error).rstrip('.')}"
