"""Ledger events keep MLflow's versions, aliases and tags in step; a schedule's tick repairs what others changed."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import LedgerEvent, Tick, correlation_id, is_ledger_event
from evergreen.inbound.measures import Measures
from evergreen.usecases.steps.each_model import Troubles
from evergreen.usecases.update_registry import reconcile_registry, require_registry, update_registry

logger = Logger(service="update_registry")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Project one model, or compare every model; a registry that is down raises, and the event comes again."""
    logger.set_correlation_id(correlation_id(event))
    ports = bootstrap.ports()
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        versions = update_registry(change.model, ports=ports)
        telemetry.add(metrics, telemetry.REGISTRY_UPDATES, 1)
        logger.info("registry updated", model=change.model, versions=versions)
        return {"model": change.model, "versions": versions}
    tick = Tick.parse(event)
    require_registry(ports)
    repairs: dict[str, int] = {}
    troubles = Troubles("could not be compared with the registry", logger.exception)
    for model in ports.ledger.models():
        with troubles.of(model):
            found = reconcile_registry(model, now=tick.time, ports=ports)
            repairs[model] = len(found)
            for repair in found:
                logger.warning("repaired", model=model, what=repair.what, found=repair.found, expected=repair.expected)
    telemetry.add(metrics, telemetry.REPAIRS, sum(repairs.values()))
    troubles.end()
    return repairs
