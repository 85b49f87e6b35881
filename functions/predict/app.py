"""POST /models/{model}/predict: answer with the production version, capture the answer."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.domain.errors import BadRequestError
from evergreen.inbound import HttpRequest, correlation_id, http_answer, http_problem
from evergreen.usecases.predict import predict

logger = Logger(service="predict")
metrics = Metrics(namespace="Evergreen")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer, and count the answer by model and version: that is what a bake judges."""
    logger.set_correlation_id(correlation_id(event))
    started = perf_counter()
    try:
        request = HttpRequest.parse(event)
        answer = predict(
            request.path["model"], request.content_type, request.body, now=request.time, ports=bootstrap.ports()
        )
    except BadRequestError as error:
        metrics.add_metric("RefusedRequests", MetricUnit.Count, 1)
        return http_problem(error.status, "The request can't be answered as it is", error.problems)
    milliseconds = (perf_counter() - started) * 1_000
    metrics.add_dimension("Model", request.path["model"])
    metrics.add_dimension("Version", str(answer.version))
    metrics.add_metric("Requests", MetricUnit.Count, 1)
    metrics.add_metric("Errors", MetricUnit.Count, answer.body is None)
    metrics.add_metric("SlowRequests", MetricUnit.Count, milliseconds > answer.latency_ms)
    metrics.add_metric("Latency", MetricUnit.Milliseconds, milliseconds)
    if answer.uncaptured:
        metrics.add_metric("UncapturedRows", MetricUnit.Count, answer.uncaptured)
    if answer.body is None:
        with single_metric(name="FailedRequests", unit=MetricUnit.Count, value=1, namespace="Evergreen") as failed:
            failed.add_dimension("Function", "predict")  # what the template's alarm watches, whatever the model
        logger.error("the version failed", version=answer.version, failure=answer.failure)
        return http_problem(500, "The model failed", [f"version {answer.version} could not answer"])
    return http_answer(200, answer.body)
