"""While a version is in shadow: start it, judge it, act on the verdict."""

from __future__ import annotations

import math
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.domain.shadow import ShadowDecision
from evergreen.inbound.events import LedgerEvent, Tick, correlation_id, is_ledger_event
from evergreen.usecases.compare_shadow import compare_shadow, start_shadow

_VERDICTS = {"promote": "VerdictPromote", "keep": "VerdictKeep", "need_more_data": "VerdictNeedMoreData"}

logger = Logger(service="compare_shadow")
metrics = Metrics(namespace="Evergreen")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """A ledger event may free or take the shadow's place; a schedule's tick judges who is in it."""
    logger.set_correlation_id(correlation_id(event))
    ports = bootstrap.ports()
    if is_ledger_event(event):
        change = LedgerEvent.parse(event)
        metrics.add_metric("ShadowPlaceChecks", MetricUnit.Count, 1)
        # Counted here, whoever found it: the watch, a sentinel, an alarm or a person. An alarm waits for it.
        metrics.add_metric("RollbacksImpossible", MetricUnit.Count, change.type == "RollbackImpossible")
        shadow = start_shadow(change.model, now=change.time, ports=ports)
        return {"model": change.model, "shadow": None if shadow is None else shadow.version}
    tick = Tick.parse(event)
    assert tick.model is not None, "compare_shadow's schedules name the model"
    assert tick.version is not None, "compare_shadow's schedules name the version"
    decision = compare_shadow(tick.model, tick.version, now=tick.time, ports=ports, schedule=tick.schedule)
    if decision is None:
        metrics.add_metric("LateComparisons", MetricUnit.Count, 1)
        return {"model": tick.model, "verdict": None}
    metrics.add_dimension("Model", tick.model)
    _measure(decision)
    logger.info("compared", model=tick.model, version=tick.version, verdict=decision.verdict, because=decision.because)
    return {"model": tick.model, "verdict": decision.verdict, "because": decision.because}


def _measure(decision: ShadowDecision) -> None:
    """Count the verdict, and show how near a proof is: e-values as powers of ten."""
    found = decision.evidence
    for verdict, name in _VERDICTS.items():
        metrics.add_metric(name, MetricUnit.Count, decision.verdict == verdict)
    metrics.add_metric("ShadowRows", MetricUnit.Count, found["rows"])
    metrics.add_metric("ShadowGain", MetricUnit.NoUnit, found["gain"])
    metrics.add_metric("ShadowEvidence", MetricUnit.NoUnit, found["log_e_promote"] / math.log(10))
    metrics.add_metric("ShadowEvidenceAgainst", MetricUnit.NoUnit, found["log_e_keep"] / math.log(10))
    if found.get("labelled_share") is not None:
        metrics.add_metric("ShadowLabelledShare", MetricUnit.NoUnit, found["labelled_share"])
