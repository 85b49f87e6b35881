"""RetrainingRequested, or a retry's schedule: start the training job."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import LedgerEvent, Tick, is_ledger_event
from evergreen.usecases.launch_training import launch_training

logger = Logger(service="launch_training")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the job of the decision that the event is about."""
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        model, decision_id, now = change.model, change.data["decision_id"], change.time
    else:
        tick = Tick.parse(event)
        model, decision_id, now = tick.model or "", tick.decision_id, tick.time
    job_name = launch_training(model, decision_id, now=now, ports=bootstrap.ports())
    logger.info("launched", model=model, decision_id=decision_id, job_name=job_name)
    return {"model": model, "job_name": job_name}
