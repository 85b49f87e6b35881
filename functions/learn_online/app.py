"""Learn online: feedback from the queue, and on a schedule what has matured; keep checkpoints and judge them."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import Tick, correlation_id, parse_feedback
from evergreen.usecases.learn_online import Learned, learn_online
from evergreen.usecases.steps.each_model import Troubles
from evergreen.usecases.tend_online import Tended, tend_online

logger = Logger(service="learn_online")
metrics = Metrics(namespace=telemetry.NAMESPACE)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Learn a batch of feedback; or at a tick tend the online state of each model."""
    logger.set_correlation_id(correlation_id(event))
    return _feedback(event) if "Records" in event else _tick(Tick.parse(event))


def _feedback(event: dict[str, Any]) -> dict[str, Any]:
    """Messages that were not learned go back to the queue, and in the end to the dead letters."""
    messages, unreadable = parse_feedback(event)
    learned = learn_online(messages, ports=bootstrap.ports())
    failed = [*unreadable, *learned.failed]
    telemetry.add(metrics, telemetry.ONLINE_MESSAGES_REFUSED, len(failed))
    for each in learned.models:
        _measure(each)
    for reason in learned.reasons:
        logger.warning("not learned", because=reason)
    logger.info("learned", rows=sum(each.counts.rows for each in learned.models), failed=len(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _tick(tick: Tick) -> dict[str, Any]:
    ports = bootstrap.ports()
    told: dict[str, Any] = {}
    troubles = Troubles("could not be tended", logger.exception)
    for model in [tick.model] if tick.model else ports.ledger.models():
        with troubles.of(model):
            tended = tend_online(model, now=tick.time, ports=ports)
            if tended is not None:
                told[model] = tended.judged[0].verdict if tended.judged else "tended"
                _report(tended)
    telemetry.add(metrics, telemetry.ONLINE_MODELS_TENDED, len(told))
    troubles.end()
    return told


def _report(tended: Tended) -> None:
    learned = tended.learned
    _measure(learned)
    logger.info("tended", model=learned.model, rows=learned.counts.rows, kept=tended.frozen)
    for each in tended.judged:
        logger.info("judged", model=each.model, checkpoint=each.number, verdict=each.verdict, because=each.because)


def _measure(learned: Learned) -> None:
    """One line of metrics a model: what was predicted right before it was learned."""
    found = EphemeralMetrics(namespace=telemetry.NAMESPACE)
    found.add_dimension(telemetry.MODEL, learned.model)
    counts = learned.counts
    telemetry.add(found, telemetry.ONLINE_ROWS, counts.rows)
    telemetry.add(found, telemetry.ONLINE_SCORED, counts.scored)
    telemetry.add(found, telemetry.ONLINE_CORRECT, counts.correct)
    telemetry.add(found, telemetry.ONLINE_LOSS, counts.loss)
    telemetry.add(found, telemetry.ONLINE_ROWS_AGAIN, learned.before)
    telemetry.add(found, telemetry.ONLINE_ROWS_IGNORED, learned.ignored)
    found.flush_metrics()
