"""Each minute of an ops bake, and on alarms: judge whether the version in production is healthy."""

from __future__ import annotations

import math
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.domain.bake import BakeDecision
from evergreen.inbound.events import AlarmChange, LedgerEvent, Tick, correlation_id, is_ledger_event
from evergreen.inbound.measures import Measures
from evergreen.ports import Ports
from evergreen.usecases.steps.each_model import Troubles
from evergreen.usecases.steps.endpoints_of_models import endpoint_of
from evergreen.usecases.watch_deployment import look_at_alarm, start_watch, watch_deployment

logger = Logger(service="watch_deployment")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """VersionPromoted starts the watch; a tick judges one bake; an alarm judges the model it names, or every one."""
    logger.set_correlation_id(correlation_id(event))
    ports = bootstrap.ports()
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        bake = start_watch(change.model, now=change.time, ports=ports)
        telemetry.add(metrics, telemetry.BAKES_STARTED, bake is not None)
        return {"model": change.model, "watching": None if bake is None else bake.version}
    alarm = AlarmChange.parse(event)
    if alarm is not None:
        telemetry.add(metrics, telemetry.ALARMS_HEARD, alarm.state == "ALARM")
        return _look(alarm, ports)
    tick = Tick.parse(event)
    telemetry.add(metrics, telemetry.BAKE_TICKS, 1)
    assert tick.model is not None, "watch_deployment's schedules name the model"
    decision = watch_deployment(tick.model, now=tick.time, ports=ports, version=tick.version, schedule=tick.schedule)
    _measure(tick.model, decision)
    return {"model": tick.model, "because": None if decision is None else decision.because}


def _look(alarm: AlarmChange, ports: Ports) -> dict[str, Any]:
    """Judge each model that the alarm may be about; only an alarm that goes off is one."""
    because: dict[str, str | None] = {}
    troubles = Troubles("could not be judged", logger.exception)
    is_ours = alarm.stack in (None, ports.stack)
    for model in ports.ledger.models() if alarm.state == "ALARM" and is_ours else ():
        if alarm.model not in (None, model):
            continue
        with troubles.of(model):
            if alarm.endpoint is not None and alarm.endpoint != endpoint_of(model, ports):
                continue
            found = look_at_alarm(model, now=alarm.time, ports=ports, version=alarm.version)
            _measure(model, found)
            because[model] = None if found is None else found.because
    logger.info("alarm", alarm=alarm.name, state=alarm.state, because=because)
    troubles.end()
    return because


def _measure(model: str, decision: BakeDecision | None) -> None:
    """Show how near a rollback is: e-values as powers of ten."""
    if decision is None:
        return
    found = Measures()
    found.add_dimension(telemetry.MODEL, model)
    telemetry.add(found, telemetry.BAKE_REQUESTS, decision.evidence["requests"])
    telemetry.add(found, telemetry.BAKE_ERROR_EVIDENCE, decision.evidence["log_e_errors"] / math.log(10))
    telemetry.add(found, telemetry.BAKE_SLOW_EVIDENCE, decision.evidence["log_e_slow"] / math.log(10))
    found.flush_metrics()
