"""A notice of each call that comes over HTTP: who asks, for what operation on which resource, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import UnknownServiceError
from botocore.parsers import ResponseParserError, create_parser
from moto.core.parse import RequestParserError

from local_cloud.kernel.answers import Answer
from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller, name_of
from local_cloud.services.iam.needs import needs_of
from local_cloud.services.iam.wire import Call, read_once, signed_by

UNSIGNED = "anonymous"


def asked(environ: dict[str, Any], holder: Callable[[str], Caller | None]) -> tuple[str, str, Call | None]:
    """Return who asks, and what for: an operation and its resource; and the call itself where it can be read.

    Parameters
    ----------
    environ
        The request, which stays readable.
    holder
        Says whose access key it is.
    """
    signed = signed_by(environ)
    if signed is None:
        return UNSIGNED, f"{environ['REQUEST_METHOD']} (unsigned)", None
    key, scope = signed
    try:
        call = read_once(environ, scope)
    except (UnknownServiceError, RequestParserError, ValueError):
        call = None
    who = name_of(holder(key))
    return (who, f"{scope}:? (unknown)", None) if call is None else (who, told(call), call)


def told(call: Call) -> str:
    """Return the operation of a call with the resource that it is about.

    Examples
    --------
    >>> told(Call("s3", "PutObject", {"Bucket": "data", "Key": "captures/1", "Body": b"0.7"}, "rest-xml"))
    's3:PutObject data/captures/1'
    >>> told(Call("s3", "ListBuckets", {}, "rest-xml"))
    's3:ListBuckets'
    """
    try:
        needs = needs_of(call.service, call.operation, call.params)
    except (KeyError, TypeError, ValueError, AttributeError):  # a request that lacks what its service requires
        needs = []
    about = next((Arn.parse(need.resource).short for need in needs if need.resource.startswith("arn:")), "*")
    return f"{call.service}:{call.operation}" + ("" if about == "*" else f" {about}")


def ending(call: Call | None, answer: Answer) -> str:
    """Return how a call ended: the code of its error, else its HTTP status.

    Examples
    --------
    >>> lacking = Answer(400, {}, b'{"__type": "ResourceNotFoundException", "message": "It is gone."}')
    >>> ending(Call("dynamodb", "GetItem", {}, "json"), lacking)
    'ResourceNotFoundException'
    >>> ending(None, Answer(404, {}, b""))
    '404'
    """
    if call is None or answer.status < 400:
        return str(answer.status)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    parser: Any = create_parser(call.protocol)  # an error is read without the shape of an answer
    try:
        parsed = parser.parse({"status_code": answer.status, "headers": headers, "body": answer.body}, None)
    except (ResponseParserError, ValueError):
        return str(answer.status)
    return str(parsed.get("Error", {}).get("Code") or answer.status)
