"""PromotionApproved or RollbackDecided: repoint the endpoint's alias and record what it really is."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import LedgerEvent
from evergreen.usecases.repoint_alias import repoint_alias

logger = Logger(service="repoint_alias")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Carry out the repoint that is open; a second delivery finds none."""
    change = LedgerEvent.parse(event)
    events = repoint_alias(change.model, now=change.time, ports=bootstrap.ports())
    for done in events:
        logger.info("repointed", model=change.model, because=done.because)
    return {"model": change.model, "recorded": [type(done).__name__ for done in events]}
