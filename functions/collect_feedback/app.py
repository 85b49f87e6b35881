"""POST /models/{model}/feedback: take labels, hand them on."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.errors import BadRequestError
from evergreen.inbound.events import correlation_id
from evergreen.inbound.http import HttpRequest, http_answer, http_problem
from evergreen.inbound.measures import Measures
from evergreen.usecases.collect_feedback import collect_feedback

logger = Logger(service="collect_feedback")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Validate the labels and hand all of them on, or none."""
    logger.set_correlation_id(correlation_id(event))
    try:
        request = HttpRequest.parse(event)
        taken = collect_feedback(request.path["model"], request.body, now=request.time, ports=bootstrap.ports())
    except BadRequestError as error:
        telemetry.add(metrics, telemetry.REFUSED_LABELS, 1)
        return http_problem(error.status, "The labels can't be taken as they are", error.problems)
    metrics.add_dimension(telemetry.MODEL, taken.model)
    telemetry.add(metrics, telemetry.LABELS, taken.labels)
    return http_answer(202, {"model": taken.model, "labels": taken.labels})
