"""The operations of SageMaker and its runtime that concern endpoints, put in place of moto's while a cloud is open.

moto's own endpoints are in service the moment they are made, answer with fixed text, and drop their shadow variants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from local_cloud.kernel.patching import Patch
from local_cloud.kernel.times import moment
from local_cloud.services.sagemaker.endpoints.container import ATTRIBUTES, Question
from local_cloud.services.sagemaker.endpoints.endpoints import Endpoints
from local_cloud.services.sagemaker.endpoints.records import naive
from local_cloud.services.sagemaker.endpoints.requests import LARGEST_BODY, refused
from local_cloud.services.sagemaker.endpoints.routes import EndpointValidationError
from local_cloud.services.sagemaker.endpoints.traffic import Invocation

Method = Callable[[Any], Any]
_NOT_SERVED = {
    "TargetModel": "X-Amzn-SageMaker-Target-Model",
    "TargetContainerHostname": "X-Amzn-SageMaker-Target-Container-Hostname",
    "InferenceComponentName": "X-Amzn-SageMaker-Inference-Component",
    "SessionId": "X-Amzn-SageMaker-Session-Id",
    "EnableExplanations": "X-Amzn-SageMaker-Enable-Explanations",
}
_BOUNDS = ("CreationTime", "LastModifiedTime")


def page(
    items: Iterable[Any], given: Mapping[str, Any], *, listed: str, name: str, longest: int = 10
) -> dict[str, Any]:
    """Return a page of a List operation: filtered, sorted, then cut.

    Parameters
    ----------
    items
        moto's records; each says of itself what is listed by ``summary()``.
    given
        The operation's parameters.
    listed, name
        The answer's key, and the key of an item's name.
    longest
        How many are listed at most when the request does not say.
    """
    kept = [item.summary() for item in items]
    kept = [summary for summary in kept if _is_asked_for(summary, given, name)]
    order = {"Name": name, "Status": "EndpointStatus"}.get(given.get("SortBy") or "", "CreationTime")
    kept.sort(key=lambda summary: (summary[order], summary[name]), reverse=given.get("SortOrder") != "Ascending")
    first = int(given.get("NextToken") or 0)
    after = first + int(given.get("MaxResults") or longest)
    return {listed: kept[first:after]} | ({"NextToken": str(after)} if after < len(kept) else {})


def _is_asked_for(summary: Mapping[str, Any], given: Mapping[str, Any], name: str) -> bool:
    for bound in _BOUNDS:
        when: datetime | None = summary.get(bound)
        after, before = moment(given.get(f"{bound}After")), moment(given.get(f"{bound}Before"))
        if when is not None and ((after and when <= naive(after)) or (before and when >= naive(before))):
            return False
    status = given.get("StatusEquals")
    return (given.get("NameContains") or "") in summary[name] and status in (None, summary.get("EndpointStatus"))


def create_model(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.create_model``: names are unique, and what cannot be run is refused."""
    return lambda self: ActionResult(
        {"ModelArn": endpoints.create_model(self.sagemaker_backend, self._get_params()).arn}
    )


def list_models(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.list_models``: pages, which moto lacks."""
    return lambda self: ActionResult(
        page(self.sagemaker_backend._models.values(), self._get_params(), listed="Models", name="ModelName")
    )


def create_endpoint_config(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.create_endpoint_config``: with shadow variants, and checked."""
    return lambda self: ActionResult(
        {"EndpointConfigArn": endpoints.create_config(self.sagemaker_backend, self._get_params()).endpoint_config_arn}
    )


def list_endpoint_configs(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.list_endpoint_configs``."""
    return lambda self: ActionResult(
        page(
            self.sagemaker_backend.endpoint_configs.values(),
            self._get_params(),
            listed="EndpointConfigs",
            name="EndpointConfigName",
        )
    )


def create_endpoint(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.create_endpoint``: a fleet comes up."""
    return lambda self: ActionResult({"EndpointArn": endpoints.create(self.sagemaker_backend, self._get_params()).arn})


def update_endpoint(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.update_endpoint``, which moto lacks."""
    return lambda self: ActionResult({"EndpointArn": endpoints.update(self.sagemaker_backend, self._get_params()).arn})


def update_endpoint_weights_and_capacities(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.update_endpoint_weights_and_capacities``."""
    return lambda self: ActionResult(
        {"EndpointArn": endpoints.update_weights(self.sagemaker_backend, self._get_params()).arn}
    )


def delete_endpoint(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.delete_endpoint``: what was captured is written first."""

    def method(self: SageMakerResponse) -> ActionResult:
        endpoints.delete(self.sagemaker_backend, self._get_param("EndpointName"))
        return EmptyResult()

    return method


def list_endpoints(endpoints: Endpoints) -> Method:
    """``SageMakerResponse.list_endpoints``."""
    return lambda self: ActionResult(
        page(self.sagemaker_backend.endpoints.values(), self._get_params(), listed="Endpoints", name="EndpointName")
    )


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse a request for what the local cloud does not serve, or with an id that SageMaker would not take.

    Raises
    ------
    EndpointValidationError
        Naming the parameter.

    Examples
    --------
    >>> check_headers({"X-Amzn-SageMaker-Inference-Id": "order-1"})
    """
    for parameter, header in _NOT_SERVED.items():
        if headers.get(header):
            raise EndpointValidationError(
                f"InvokeEndpoint's parameter {parameter} is not supported by the local cloud; remove it."
            )
    inference_id = headers.get("X-Amzn-SageMaker-Inference-Id")
    if inference_id is not None and not re.fullmatch(r"\S[\x20-\x7e]{0,63}", inference_id):
        raise EndpointValidationError(
            f"1 validation error detected: Value '{inference_id}' at 'inferenceId' failed to satisfy constraint: "
            "Member must have 1 to 64 printable characters, the first of them no space"
        )


def invoke_endpoint(endpoints: Endpoints) -> Method:
    """``SageMakerRuntimeResponse.invoke_endpoint``: the model answers."""

    def method(self: SageMakerRuntimeResponse) -> Any:
        body: bytes = self.raw_body or b""
        if len(body) > LARGEST_BODY:
            message = {"Message": f"HTTP content length exceeded {LARGEST_BODY} bytes."}
            return 413, {"status": 413, "Content-Type": "application/json"}, json.dumps(message)
        headers = self.headers
        check_headers(headers)
        invocation = Invocation(
            Question(
                body=body,
                content_type=headers.get("Content-Type") or "application/octet-stream",
                accept=headers.get("Accept") or "*/*",
                attributes=headers.get(ATTRIBUTES) or "",
            ),
            inference_id=headers.get("X-Amzn-SageMaker-Inference-Id"),
            target_variant=headers.get("X-Amzn-SageMaker-Target-Variant"),
        )
        backend = sagemaker_backends[self.current_account][self.region]
        invoked = endpoints.invoke(backend, self.path.split("/")[2], invocation)
        told = {"Content-Type": invoked.content_type, "x-Amzn-Invoked-Production-Variant": invoked.variant}
        if invoked.attributes:
            told[ATTRIBUTES] = invoked.attributes
        return 200, told, invoked.body

    return method


def refuse_async(endpoints: Endpoints) -> Method:
    """``SageMakerRuntimeResponse.invoke_endpoint_async``: an error that says so, never a canned answer."""

    def method(self: SageMakerRuntimeResponse) -> Any:
        raise refused(f"{self.path.split('/')[2]} cannot be invoked: the local cloud has no asynchronous inference")

    return method


def _patch(owner: str, name: str, make: Callable[[Endpoints], Method], *, adds: bool = False) -> Patch:
    """Return the replacement of a method of moto's responses, which never needs the original."""
    return Patch(f"{owner}.{name}", lambda endpoints, _: make(endpoints), adds)


_SAGEMAKER = "moto.sagemaker.responses:SageMakerResponse"
_RUNTIME = "moto.sagemakerruntime.responses:SageMakerRuntimeResponse"

PATCHES = (
    _patch(_SAGEMAKER, "create_model", create_model),
    _patch(_SAGEMAKER, "list_models", list_models),
    _patch(_SAGEMAKER, "create_endpoint_config", create_endpoint_config),
    _patch(_SAGEMAKER, "list_endpoint_configs", list_endpoint_configs),
    _patch(_SAGEMAKER, "create_endpoint", create_endpoint),
    _patch(_SAGEMAKER, "update_endpoint", update_endpoint, adds=True),
    _patch(_SAGEMAKER, "update_endpoint_weights_and_capacities", update_endpoint_weights_and_capacities),
    _patch(_SAGEMAKER, "delete_endpoint", delete_endpoint),
    _patch(_SAGEMAKER, "list_endpoints", list_endpoints),
    _patch(_RUNTIME, "invoke_endpoint", invoke_endpoint),
    _patch(_RUNTIME, "invoke_endpoint_async", refuse_async),
    Patch(f"{_RUNTIME}.use_raw_body", lambda *_: True),  # requests need not be text
)
