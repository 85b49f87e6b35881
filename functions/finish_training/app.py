"""A training job's state change: judge the model at the gate, or try again."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.domain.model_events import CandidateRegistered, CandidateRejected, TrainingFailed
from evergreen.domain.training_jobs import JobEnd
from evergreen.errors import UnknownModelError
from evergreen.inbound.events import TrainingJobChange, correlation_id
from evergreen.inbound.measures import Measures
from evergreen.usecases.finish_training import finish_training

_COUNTED = {
    TrainingFailed: telemetry.TRAININGS_FAILED,
    CandidateRegistered: telemetry.CANDIDATES_REGISTERED,
    CandidateRejected: telemetry.CANDIDATES_REJECTED,
}

logger = Logger(service="finish_training")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Record how one of our jobs ended."""
    logger.set_correlation_id(correlation_id(event))
    change = TrainingJobChange.parse(event)
    if change.model is None:
        return _of_others()
    end = JobEnd(change.job_name, change.status, change.artifact, change.reason)
    try:
        events = finish_training(change.model, end, now=change.time, ports=bootstrap.ports())
    except UnknownModelError:  # another stack's, or somebody's whose jobs are named like ours
        return _of_others()
    recorded = [type(recorded).__name__ for recorded in events]
    metrics.add_dimension(telemetry.MODEL, change.model)
    for kind, metric in _COUNTED.items():
        telemetry.add(metrics, metric, recorded.count(kind.__name__))
    logger.info("job changed", model=change.model, job_name=change.job_name, status=change.status, recorded=recorded)
    return {"recorded": recorded}


def _of_others() -> dict[str, Any]:
    telemetry.add(metrics, telemetry.TRAINING_JOBS_OF_OTHERS, 1)
    return {"recorded": []}
