"""A training job's state change: judge the model at the gate, or try again."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import TrainingJobChange
from evergreen.usecases.finish_training import JobEnd, finish_training

logger = Logger(service="finish_training")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Record how one of our jobs ended."""
    change = TrainingJobChange.parse(event)
    if change.model is None:
        return {"recorded": []}
    end = JobEnd(change.job_name, change.status, change.artifact, change.reason)
    events = finish_training(change.model, end, now=change.time, ports=bootstrap.ports())
    recorded = [type(recorded).__name__ for recorded in events]
    logger.info("job changed", model=change.model, job_name=change.job_name, status=change.status, recorded=recorded)
    return {"recorded": recorded}
