"""Each minute of an ops bake, and on alarms: judge whether the new version is healthy."""

from __future__ import annotations

import math
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.domain.bake import BakeDecision
from evergreen.inbound import AlarmChange, LedgerEvent, Tick, is_ledger_event
from evergreen.usecases.watch_deployment import start_watch, watch_deployment

logger = Logger(service="watch_deployment")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """VersionPromoted starts the watch; a tick judges one model; an alarm judges every model that bakes."""
    ports = bootstrap.ports()
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        bake = start_watch(change.model, now=change.time, ports=ports)
        return {"model": change.model, "watching": None if bake is None else bake.version}
    alarm = AlarmChange.parse(event)
    if alarm is not None:
        models = ports.ledger.models() if alarm.state == "ALARM" else ()
        decisions = {model: watch_deployment(model, now=alarm.time, ports=ports) for model in models}
        for model, found in decisions.items():
            _measure(model, found)
        logger.info("alarm", alarm=alarm.name, state=alarm.state, models=list(decisions))
        return {model: None if d is None else d.because for model, d in decisions.items()}
    tick = Tick.parse(event)
    assert tick.model is not None, "watch_deployment's schedules name the model"
    decision = watch_deployment(tick.model, now=tick.time, ports=ports, version=tick.version, schedule=tick.schedule)
    _measure(tick.model, decision)
    return {"model": tick.model, "because": None if decision is None else decision.because}


def _measure(model: str, decision: BakeDecision | None) -> None:
    """Show how near a rollback is: e-values as powers of ten."""
    if decision is None:
        return
    found = EphemeralMetrics(namespace="Evergreen")
    found.add_dimension("Model", model)
    found.add_metric("BakeRequests", MetricUnit.Count, decision.evidence["requests"])
    found.add_metric("BakeErrorEvidence", MetricUnit.NoUnit, decision.evidence["log_e_errors"] / math.log(10))
    found.add_metric("BakeSlowEvidence", MetricUnit.NoUnit, decision.evidence["log_e_slow"] / math.log(10))
    found.flush_metrics()
