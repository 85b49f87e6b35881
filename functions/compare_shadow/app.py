"""While a version is in shadow: start it, judge it, act on the verdict."""

from __future__ import annotations

import math
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.domain.model_events import RollbackImpossible
from evergreen.domain.shadow import ShadowDecision
from evergreen.inbound.events import LedgerEvent, Tick, correlation_id, is_ledger_event
from evergreen.inbound.measures import Measures
from evergreen.usecases.compare_shadow import compare_shadow, start_shadow

_VERDICTS = {
    "promote": telemetry.VERDICT_PROMOTE,
    "keep": telemetry.VERDICT_KEEP,
    "need_more_data": telemetry.VERDICT_NEED_MORE_DATA,
}

logger = Logger(service="compare_shadow")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """A ledger event may free or take the shadow's place; a schedule's tick judges who is in it."""
    logger.set_correlation_id(correlation_id(event))
    ports = bootstrap.ports()
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        telemetry.add(metrics, telemetry.SHADOW_PLACE_CHECKS, 1)
        # Counted here, whoever found it: the watch, a sentinel, an alarm or a person. An alarm waits for it.
        telemetry.add(metrics, telemetry.ROLLBACKS_IMPOSSIBLE, change.tells_of(RollbackImpossible))
        shadow = start_shadow(change.model, now=change.time, ports=ports)
        return {"model": change.model, "shadow": None if shadow is None else shadow.version}
    tick = Tick.parse(event)
    assert tick.model is not None, "compare_shadow's schedules name the model"
    assert tick.version is not None, "compare_shadow's schedules name the version"
    decision = compare_shadow(tick.model, tick.version, now=tick.time, ports=ports, schedule=tick.schedule)
    if decision is None:
        telemetry.add(metrics, telemetry.LATE_COMPARISONS, 1)
        return {"model": tick.model, "verdict": None}
    metrics.add_dimension(telemetry.MODEL, tick.model)
    _measure(decision)
    logger.info("compared", model=tick.model, version=tick.version, verdict=decision.verdict, because=decision.because)
    return {"model": tick.model, "verdict": decision.verdict, "because": decision.because}


def _measure(decision: ShadowDecision) -> None:
    """Count the verdict, and show how near a proof is: e-values as powers of ten."""
    found = decision.evidence
    for verdict, metric in _VERDICTS.items():
        telemetry.add(metrics, metric, decision.verdict == verdict)
    telemetry.add(metrics, telemetry.SHADOW_ROWS, found["rows"])
    telemetry.add(metrics, telemetry.SHADOW_GAIN, found["gain"])
    telemetry.add(metrics, telemetry.SHADOW_EVIDENCE, found["log_e_promote"] / math.log(10))
    telemetry.add(metrics, telemetry.SHADOW_EVIDENCE_AGAINST, found["log_e_keep"] / math.log(10))
    if found.get("labelled_share") is not None:
        telemetry.add(metrics, telemetry.SHADOW_LABELLED_SHARE, found["labelled_share"])
