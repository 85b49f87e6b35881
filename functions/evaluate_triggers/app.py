"""Schedule or alarm: decide for every model whether it is to be retrained."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.domain.triggers.arbiter import RetrainDecision
from evergreen.domain.triggers.check import Check, Outcome
from evergreen.inbound.events import Tick, correlation_id, is_business_event, parse_business_event
from evergreen.usecases.evaluate_triggers import evaluate_triggers
from evergreen.usecases.steps.each_model import Troubles
from evergreen.usecases.steps.retraining import request_retraining

_LARGEST = 1e100  # CloudWatch takes no number above 2**360

logger = Logger(service="evaluate_triggers")
metrics = Metrics()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Evaluate each model; a business event asks for one model's retraining."""
    logger.set_correlation_id(correlation_id(event))
    ports = bootstrap.ports()
    if is_business_event(event):
        telemetry.add(metrics, telemetry.RETRAININGS_WANTED, 1)
        wish = parse_business_event(event)
        decision = request_retraining(wish.model, reason=wish.reason, actor=wish.source, now=wish.time, ports=ports)
        _report(wish.model, decision)
        return {wish.model: decision.because}
    tick = Tick.parse(event)
    because: dict[str, str] = {}
    troubles = Troubles("could not be evaluated", logger.exception)
    for model in [tick.model] if tick.model else ports.ledger.models():
        with troubles.of(model):
            evaluated = evaluate_triggers(model, now=tick.time, ports=ports)
            because[model] = "not in production" if evaluated is None else evaluated.because
            if evaluated is not None:
                _report(model, evaluated)
    telemetry.add(metrics, telemetry.EVALUATIONS, len(because))
    troubles.end()
    return because


def _report(model: str, decision: RetrainDecision) -> None:
    telemetry.add(metrics, telemetry.RETRAININGS_REQUESTED, decision.retrain)
    telemetry.add(metrics, telemetry.RETRAININGS_HELD_BACK, decision.held_back is not None)
    telemetry.add(metrics, telemetry.CHECK_ERRORS, len(decision.errors))
    for check in decision.checks:
        _measure(model, check)
        if check.outcome is Outcome.ERROR:
            logger.error("a check failed", model=model, trigger=check.trigger, because=check.because)
    logger.info("decided", model=model, retrain=decision.retrain, because=decision.because)


def _measure(model: str, check: Check) -> None:
    """One line of metrics a check, under the model and the trigger."""
    found = EphemeralMetrics()
    found.add_dimension(telemetry.MODEL, model)
    found.add_dimension(telemetry.TRIGGER, check.trigger)
    for metric, number in ((telemetry.CHECK_SCORE, check.score), (telemetry.CHECK_THRESHOLD, check.threshold)):
        if number is not None:
            telemetry.add(found, metric, max(-_LARGEST, min(number, _LARGEST)))
    for metric, outcome in (
        (telemetry.CHECK_FIRED, Outcome.FIRED),
        (telemetry.CHECK_WITHOUT_DATA, Outcome.INSUFFICIENT_DATA),
        (telemetry.CHECK_FAILED, Outcome.ERROR),
    ):
        telemetry.add(found, metric, check.outcome is outcome)
    found.flush_metrics()
