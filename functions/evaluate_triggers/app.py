"""Schedule or alarm: decide for every model whether it is to be retrained."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import Tick, is_business_event, parse_business_event
from evergreen.usecases.evaluate_triggers import evaluate_triggers, request_retraining

logger = Logger(service="evaluate_triggers")
metrics = Metrics(namespace="Evergreen")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Evaluate each model; a business event asks for one model's retraining."""
    ports = bootstrap.ports()
    if is_business_event(event):
        metrics.add_metric("RetrainingsWanted", MetricUnit.Count, 1)
        wish = parse_business_event(event)
        decision = request_retraining(wish.model, reason=wish.reason, actor=wish.source, now=wish.time, ports=ports)
        return {wish.model: decision.because}
    tick = Tick.parse(event)
    because: dict[str, str] = {}
    failed: list[Exception] = []
    for model in [tick.model] if tick.model else ports.ledger.models():
        try:
            decision = evaluate_triggers(model, now=tick.time, ports=ports)
        except Exception as error:  # one model's trouble is not the next one's: raised at the end
            logger.exception("could not be evaluated", model=model)
            failed.append(error)
            continue
        because[model] = "not in production" if decision is None else decision.because
        retrain = decision is not None and decision.retrain
        metrics.add_metric("RetrainingsRequested", MetricUnit.Count, retrain)
        logger.info("evaluated", model=model, retrain=retrain, because=because[model])
    metrics.add_metric("Evaluations", MetricUnit.Count, len(because))
    if failed:
        raise ExceptionGroup("models that could not be evaluated", failed)
    return because
