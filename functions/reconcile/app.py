"""Every 15 minutes: fetch new files, compare the ledger with the endpoint, the jobs and the schedules, and repair."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import Tick, correlation_id
from evergreen.inbound.measures import Measures
from evergreen.usecases.fetch_files import fetch_files
from evergreen.usecases.reconcile import reconcile
from evergreen.usecases.steps.each_model import Troubles

logger = Logger(service="reconcile")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Reconcile every model."""
    logger.set_correlation_id(correlation_id(event))
    tick, ports = Tick.parse(event), bootstrap.ports()
    repairs: dict[str, int] = {}
    troubles = Troubles("could not be reconciled", logger.exception)
    for model in ports.ledger.models():
        with troubles.of(model):
            found = reconcile(model, now=tick.time, ports=ports)
            repairs[model] = len(found)
            for repair in found:
                logger.warning("repaired", model=model, what=repair.what, found=repair.found, expected=repair.expected)
            fetched = fetch_files(model, now=tick.time, ports=ports)
            telemetry.add(metrics, telemetry.FETCHED_FILES, fetched.captures + fetched.labels)
    telemetry.add(metrics, telemetry.REPAIRS, sum(repairs.values()))
    troubles.end()
    return repairs
