"""Refuses calls that AWS would not look at, or that nothing here stands behind, once the caller may make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError, UnknownServiceError
from botocore.model import OperationModel
from moto.core.parse import RequestParserError
from moto.core.utils import get_service_model

from local_cloud.kernel.answers import aws_error
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.gate import Application
from local_cloud.kernel.patching import Patch
from local_cloud.services.iam.wire import read_once, signed_by
from local_cloud.services.limits.constraints import sentence, violations
from local_cloud.services.limits.lacking import CODE, STATUS, lacking
from local_cloud.services.limits.quotas import Rejection, excess

_QUERY_CODE, _JSON_CODE = "ValidationError", "ValidationException"
_LOOSE = frozenset({"apigatewayv2", "s3", "sagemaker-runtime"})
"""Whose models say more, or less, than the service checks: their own errors come from moto."""
_NOT_HELD: Mapping[tuple[str, str], frozenset[str]] = {("sqs", "ReceiveMessage"): frozenset({"AttributeNames"})}
"""Parameters that take more than the model says.

Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html: AttributeNames
takes the names of a message's attributes, such as SentTimestamp; the model lists those of a queue.
"""


class Limits(Service):
    """Refuses what AWS refuses whoever asks."""

    def __init__(self, core: Core):
        core.gate.stand_behind(limited)


def refused(service: str, operation: str, params: Mapping[str, Any]) -> Rejection | None:
    """Return the answer to a call that its service would not look at, or that nothing here answers; else None.

    Examples
    --------
    >>> refused("scheduler", "GetSchedule", {"Name": "a b"}).code
    'ValidationException'
    """
    if service not in _LOOSE:
        model = get_service_model(service)
        if operation in model.operation_names:
            not_held = _NOT_HELD.get((service, operation), frozenset())
            held = {name: value for name, value in params.items() if name not in not_held} if not_held else params
            wrong = violations(model.operation_model(operation), held)
            if wrong:
                code = _QUERY_CODE if model.metadata.get("protocol") == "query" else _JSON_CODE
                return Rejection(code, sentence(wrong))
    why = lacking(service, operation, params)
    return Rejection(CODE, why, STATUS) if why is not None else excess(service, operation, params)


def limited(application: Application) -> Application:
    """Return an application that hands on the calls alone that their service would look at."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        signed = signed_by(environ)
        if signed is None:
            return application(environ, start_response)
        try:
            call = read_once(environ, signed[1])
        except (UnknownServiceError, RequestParserError, ValueError):
            call = None  # what can't be read is answered by whoever stands behind
        told = None if call is None else refused(call.service, call.operation, call.params)
        if told is None:
            return application(environ, start_response)
        error = aws_error(environ, told.status, told.code, told.message)
        start_response(error.status_line, list(error.headers.items()))
        return [error.body]

    return answer


def patched_emit_api_params(limits: Limits, original: Callable[..., Any]) -> Callable[..., Any]:
    """``BaseClient._emit_api_params``: a call that may be made, and that AWS would not look at, is not sent."""

    def _emit_api_params(self: Any, api_params: Any, operation_model: OperationModel, context: Any) -> Any:
        told = refused(self.meta.service_model.service_name, operation_model.name, api_params)
        if told is None:
            return original(self, api_params, operation_model, context)
        metadata = {"RequestId": "LOCAL", "HTTPStatusCode": told.status, "HTTPHeaders": {}, "RetryAttempts": 0}
        document = {"Error": {"Code": told.code, "Message": told.message}, "ResponseMetadata": metadata}
        error: ClientError = self.exceptions.from_code(told.code)(document, operation_model.name)
        raise error

    return _emit_api_params


PATCHES = (Patch("botocore.client:BaseClient._emit_api_params", patched_emit_api_params),)
