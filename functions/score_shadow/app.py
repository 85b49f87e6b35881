"""A production capture file has arrived: score it with the version in shadow."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import ObjectCreated, correlation_id
from evergreen.inbound.measures import Measures
from evergreen.usecases.score_shadow import score_shadow

logger = Logger(service="score_shadow")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Score one file; a shadow that fails is counted and touches nothing else."""
    logger.set_correlation_id(correlation_id(event))
    created = ObjectCreated.parse(event)
    scores = score_shadow(
        created.key,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1_000,
        now=created.time,
        ports=bootstrap.ports(),
    )
    if scores.version is None:
        telemetry.add(metrics, telemetry.FILES_WITHOUT_SHADOW, 1)
        return {"rows": 0}
    metrics.add_dimension(telemetry.MODEL, scores.model)
    metrics.add_dimension(telemetry.VERSION, str(scores.version))
    telemetry.add(metrics, telemetry.SHADOW_SCORED, scores.rows)
    telemetry.add(metrics, telemetry.SHADOW_ERRORS, scores.unanswered)
    if scores.row_ms is not None:
        telemetry.add(metrics, telemetry.SHADOW_LATENCY, scores.row_ms)
    if scores.refused:
        telemetry.add(metrics, telemetry.REFUSED_ARTIFACTS, 1)
    if scores.failure:
        logger.error("the shadow failed", version=scores.version, unanswered=scores.unanswered, failure=scores.failure)
    return {"rows": scores.rows}
