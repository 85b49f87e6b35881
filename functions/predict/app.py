"""The HTTP API's models: answer with the production version and capture it, describe a model, describe the API."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.errors import BadRequestError
from evergreen.inbound import openapi
from evergreen.inbound.events import correlation_id
from evergreen.inbound.http import HttpRequest, http_answer, http_problem
from evergreen.inbound.measures import Measures
from evergreen.usecases.predict import describe, predict, request_id_of

logger = Logger(service="predict")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request."""
    logger.set_correlation_id(correlation_id(event))
    try:
        request = HttpRequest.parse(event)
        match request.route:
            case openapi.DOCUMENT_ROUTE:
                telemetry.add(metrics, telemetry.DESCRIPTIONS, 1)
                return http_answer(200, openapi.document())
            case openapi.MODEL_ROUTE:
                return _describe(request)
            case _:
                return _answer(request)
    except BadRequestError as error:
        telemetry.add(metrics, telemetry.REFUSED_REQUESTS, 1)
        return http_problem(error.status, "The request can't be answered as it is", error.problems)


def _answer(request: HttpRequest) -> dict[str, Any]:
    """Answer, and count the answer by model and version: that is what a bake judges."""
    started = perf_counter()
    model, request_id = request.path["model"], request_id_of(request.id, request.time)
    answer = predict(
        model, request.content_type, request.body, request_id=request_id, now=request.time, ports=bootstrap.ports()
    )
    milliseconds = (perf_counter() - started) * 1_000
    metrics.add_dimension(telemetry.MODEL, model)
    metrics.add_dimension(telemetry.VERSION, str(answer.version))
    telemetry.add(metrics, telemetry.REQUESTS, 1)
    telemetry.add(metrics, telemetry.ERRORS, answer.body is None)
    telemetry.add(metrics, telemetry.SLOW_REQUESTS, milliseconds > answer.latency_ms)
    telemetry.add(metrics, telemetry.LATENCY, milliseconds)
    if answer.refused:
        telemetry.add(metrics, telemetry.REFUSED_ARTIFACTS, 1)
    if answer.stale:
        telemetry.add(metrics, telemetry.STALE_ANSWERS, 1)
        logger.warning("the live state could not answer", version=answer.version, because=answer.stale)
    if answer.uncaptured:  # what was asked and answered is in no log: the ids say which rows have no capture
        telemetry.add(metrics, telemetry.UNCAPTURED_ROWS, len(answer.uncaptured))
        lost = Measures()
        telemetry.add(lost, telemetry.LOST_CAPTURES, len(answer.uncaptured))
        lost.flush_metrics()
        logger.error("rows were not captured", request_id=request_id, inference_ids=answer.uncaptured)
    if answer.body is None:
        failed = Measures()
        failed.add_dimension(telemetry.FUNCTION, "predict")  # what the template's alarm watches, whatever the model
        telemetry.add(failed, telemetry.FAILED_REQUESTS, 1)
        failed.flush_metrics()
        logger.error("the version failed", version=answer.version, request_id=request_id, failure=answer.failure)
        if answer.refused:  # a rollback, or the artifact put back, ends it
            return http_problem(503, "The model can't be loaded", [f"version {answer.version} could not be loaded"])
        return http_problem(500, "The model failed", [f"version {answer.version} could not answer"])
    return http_answer(200, answer.body)


def _describe(request: HttpRequest) -> dict[str, Any]:
    telemetry.add(metrics, telemetry.DESCRIPTIONS, 1)
    found = describe(request.path["model"], now=request.time, ports=bootstrap.ports())
    if found.body is None:
        logger.error("the version can't be loaded", version=found.version, failure=found.failure)
        return http_problem(503, "The model can't be loaded", [f"version {found.version} could not be loaded"])
    return http_answer(200, found.body)
