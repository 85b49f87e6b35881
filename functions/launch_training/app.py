"""RetrainingRequested, or a retry's schedule: start the training job."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import LedgerEvent, Tick, correlation_id, is_ledger_event
from evergreen.inbound.measures import Measures
from evergreen.usecases.launch_training import launch_training

logger = Logger(service="launch_training")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the job of the decision that the event is about."""
    logger.set_correlation_id(correlation_id(event))
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        model, decision_id, now = change.model, change.data["decision_id"], change.time
    else:
        tick = Tick.parse(event)
        model, decision_id, now = tick.model or "", tick.decision_id, tick.time
    job_name = launch_training(model, decision_id, now=now, ports=bootstrap.ports())
    metrics.add_dimension(telemetry.MODEL, model)
    telemetry.add(metrics, telemetry.TRAININGS_STARTED, job_name is not None)
    telemetry.add(metrics, telemetry.TRAININGS_NOT_STARTED, job_name is None)
    logger.info("launched", model=model, decision_id=decision_id, job_name=job_name)
    return {"model": model, "job_name": job_name}
