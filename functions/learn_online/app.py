"""Feedback from the queue, a batch at a time: predict, then learn, then store."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import correlation_id, parse_feedback
from evergreen.usecases.learn_online import learn_online

logger = Logger(service="learn_online")
metrics = Metrics(namespace="Evergreen")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Learn the batch of each model; messages that were not learned go back to the queue."""
    logger.set_correlation_id(correlation_id(event))
    messages, unreadable = parse_feedback(event)
    learned = learn_online(messages, ports=bootstrap.ports())
    metrics.add_metric("OnlineRows", MetricUnit.Count, learned.rows)
    metrics.add_metric("OnlineCorrect", MetricUnit.Count, learned.correct)
    failed = [*unreadable, *learned.failed]
    logger.info("learned", rows=learned.rows, correct=learned.correct, failed=len(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
