"""Ledger events: keep MLflow's versions, aliases and tags in step."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import LedgerEvent
from evergreen.usecases.update_registry import update_registry

logger = Logger(service="update_registry")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Project the model's state onto the registry; a registry that is down raises, and the event comes again."""
    change = LedgerEvent.parse(event)
    versions = update_registry(change.model, ports=bootstrap.ports())
    logger.info("registry updated", model=change.model, versions=versions)
    return {"model": change.model, "versions": versions}
