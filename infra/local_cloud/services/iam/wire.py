"""Calls as they come over HTTP: whose they are, what they ask, and what is answered to a caller who may not."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.parsers import RpcV2CBORParser
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from werkzeug.exceptions import HTTPException

from local_cloud.kernel.answers import aws_error
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.gate import Application

_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/[^/]*/[^/]*/(?P<scope>[^/]+)/")
_CBOR_PATH = re.compile(r"/service/[^/]+/operation/(?P<operation>\w+)")
CALL_KEY = "local_cloud.call"
"""Under it a request holds its call, where somebody has read it already."""
_SERVICES = {"monitoring": "cloudwatch"}
_CODES = {"cloudwatch": "AccessDenied", "sns": "AuthorizationError", "sqs": "AccessDenied"}
OBJECT_READS = frozenset({"CopyObject", "GetObject", "HeadObject"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its service, operation and parameters, as boto3 has them, and the protocol that it speaks."""

    service: str
    operation: str
    params: Mapping[str, Any]
    protocol: str


class Refused(Protocol):
    """Why a call is refused."""

    @property
    def message(self) -> str:
        """In AWS's words."""


Refuse = Callable[[Caller, str, str, Mapping[str, Any]], Refused | None]


def error_code(service: str, protocol: str) -> str:
    """Return the code by which a service refuses.

    Examples
    --------
    >>> error_code("s3", "rest-xml"), error_code("dynamodb", "json"), error_code("sns", "query")
    ('AccessDenied', 'AccessDeniedException', 'AuthorizationError')
    """
    return _CODES.get(service) or ("AccessDeniedException" if "json" in protocol else "AccessDenied")


def error_status(protocol: str) -> int:
    """Return the HTTP status of a refusal.

    Examples
    --------
    >>> error_status("json"), error_status("rest-json"), error_status("rest-xml")
    (400, 403, 403)
    """
    return 400 if protocol == "json" else 403


def signed_by(environ: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the access key that a request names, and the service it is for.

    Examples
    --------
    >>> signed_by({"HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=ASIAX/20260101/us-east-1/s3/aws4_request, S=1"})
    ('ASIAX', 's3')
    """
    found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    return None if found is None else (found["key"], found["scope"])


def read_call(environ: Mapping[str, Any], body: bytes, scope: str) -> Call | None:
    """Return what a request asks for; None when its service has no such operation."""
    path, target = environ.get("PATH_INFO", ""), environ.get("HTTP_X_AMZ_TARGET", "")
    service = _SERVICES.get(scope, scope)
    if scope == "sagemaker" and path.startswith("/endpoints/"):
        service = "sagemaker-runtime"
    elif target.startswith("DynamoDBStreams_"):
        service = "dynamodbstreams"
    if cbor := _CBOR_PATH.fullmatch(path):
        told = RpcV2CBORParser().parse_data_item(io.BufferedReader(io.BytesIO(body))) if body else {}
        return Call(service, cbor["operation"], told, "smithy-rpc-v2-cbor")
    request = Request({**environ, "wsgi.input": io.BytesIO(body)})
    model = get_service_model(service)
    try:
        operation, labels = get_service_router(service).match(request)
    except (HTTPException, NotImplementedError):
        return None
    protocol = determine_request_protocol(model, request.content_type)
    parser = PROTOCOL_PARSERS[protocol](operation, map_type=dict)
    params = parser.parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": body if service != "s3" or operation.name == "DeleteObjects" else b"",
            "url_path": request.path,
            "url_params": labels,
        }
    )
    return Call(service, operation.name, {**labels, **params}, protocol)


def read_once(environ: dict[str, Any], scope: str) -> Call | None:
    """Return what a request asks for, as :func:`read_call`; whoever reads it afterwards finds it read."""
    if CALL_KEY not in environ:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        environ[CALL_KEY] = read_call(environ, body, scope)
    found: Call | None = environ[CALL_KEY]
    return found


def guarded(application: Application, holder: Callable[[str], Caller | None], refuse: Refuse) -> Application:
    """Return an application that answers a caller what it may do, and refuses the rest; the operator may do everything.

    Parameters
    ----------
    holder
        Says whose access key it is.
    refuse
        Says why a call is refused, if it is.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        signed = signed_by(environ)
        caller = holder(signed[0]) if signed else None
        if signed is None or caller is None:
            return application(environ, start_response)
        call = read_once(environ, signed[1])
        if call is None:  # what can't be told can't be allowed
            told = f"User: {caller.arn} asks {signed[1]} for what is no operation of it"
            unknown = aws_error(environ, 403, "AccessDenied", told)
            start_response(unknown.status_line, list(unknown.headers.items()))
            return [unknown.body]
        refused = refuse(caller, call.service, call.operation, call.params)
        if refused is not None:
            return _refusal(environ, start_response, call, refused.message)
        if call.service == "s3" and call.operation in OBJECT_READS:
            return _read(application, environ, start_response, call, lambda: refuse(caller, "s3", *_listing(call)))
        return application(environ, start_response)

    return answer


def _listing(call: Call) -> tuple[str, Mapping[str, Any]]:
    """The call that one must be allowed to be told that an object is missing."""
    bucket, key = call.params["Bucket"], call.params["Key"]
    if call.operation == "CopyObject":
        bucket, _, key = str(call.params["CopySource"]).lstrip("/").partition("?")[0].partition("/")
    return "ListObjectsV2", {"Bucket": bucket, "Prefix": key}


def _read(
    application: Application,
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    call: Call,
    may_list: Callable[[], Refused | None],
) -> Iterable[bytes]:
    """S3 tells of a missing object only those who may list its bucket."""
    told: list[tuple[Any, ...]] = []

    def note(*given: Any) -> Callable[[bytes], None]:
        told.append(given)
        return lambda _: None

    chunks = application(environ, note)
    if told and str(told[0][0]).startswith("404") and (refused := may_list()) is not None:
        return _refusal(environ, start_response, call, refused.message)
    start_response(*told[0])
    return chunks


def _refusal(
    environ: Mapping[str, Any], start_response: Callable[..., Any], call: Call, message: str
) -> Iterable[bytes]:
    protocol = get_service_model(call.service).metadata.get("protocol", "")
    answer = aws_error(environ, error_status(protocol), error_code(call.service, protocol), message)
    start_response(answer.status_line, list(answer.headers.items()))
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [answer.body]
