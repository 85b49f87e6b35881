"""Schedule or alarm: decide for every model whether it is to be retrained."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.domain.triggers.arbiter import RetrainDecision
from evergreen.domain.triggers.check import Check, Outcome
from evergreen.inbound.events import Tick, correlation_id, is_business_event, parse_business_event
from evergreen.inbound.measures import Measures
from evergreen.usecases.evaluate_triggers import evaluate_triggers
from evergreen.usecases.steps.each_model import Troubles
from evergreen.usecases.steps.retraining import request_retraining

_OUTCOMES = {
    Outcome.FIRED: telemetry.CHECKS_FIRED,
    Outcome.INSUFFICIENT_DATA: telemetry.CHECKS_WITHOUT_DATA,
    Outcome.ERROR: telemetry.CHECKS_FAILED,
}
_LARGEST = 1e100  # JSON has no infinity

logger = Logger(service="evaluate_triggers")
metrics = Measures()


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
    found = Measures()
    found.add_dimension(telemetry.MODEL, model)
    for outcome, metric in _OUTCOMES.items():
        telemetry.add(found, metric, sum(check.outcome is outcome for check in decision.checks))
    found.flush_metrics()
    for check in decision.checks:
        _tell(model, check)
    logger.info("decided", model=model, retrain=decision.retrain, because=decision.because)


def _tell(model: str, check: Check) -> None:
    """A line a check: its score over time is drawn from the log."""
    logger.info(
        "checked",
        model=model,
        trigger=check.trigger,
        outcome=check.outcome,
        score=_number(check.score),
        threshold=_number(check.threshold),
        direction=check.direction,
        samples=check.samples,
    )
    if check.outcome is Outcome.ERROR:
        logger.error("a check failed", model=model, trigger=check.trigger, because=check.because)


def _number(value: float | None) -> float | None:
    return None if value is None else max(-_LARGEST, min(value, _LARGEST))
