"""Learn live: on a schedule, let every version that answers, or may soon, learn the labels that have matured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import Tick, correlation_id
from evergreen.inbound.measures import Measures
from evergreen.usecases.learn_live import LearnedLive, learn_live
from evergreen.usecases.steps.each_model import Troubles

logger = Logger(service="learn_live")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Let each model's versions learn; answers the states that follow, by model and version."""
    logger.set_correlation_id(correlation_id(event))
    tick, ports = Tick.parse(event), bootstrap.ports()
    told: dict[str, Any] = {}
    troubles = Troubles("could not learn", logger.exception)
    for model in [tick.model] if tick.model else ports.ledger.models():
        with troubles.of(model):
            learned = learn_live(model, now=tick.time, ports=ports)
            if learned:
                told[model] = {f"v{each.version}": each.number for each in learned}
                _report(model, learned)
    telemetry.add(metrics, telemetry.LIVE_MODELS, len(told))
    troubles.end()
    return told


def _report(model: str, learned: Sequence[LearnedLive]) -> None:
    found = Measures()
    found.add_dimension(telemetry.MODEL, model)
    telemetry.add(found, telemetry.LIVE_ROWS, sum(each.rows for each in learned))
    telemetry.add(found, telemetry.LIVE_ROWS_IGNORED, sum(each.ignored for each in learned))
    telemetry.add(found, telemetry.LIVE_HELD_BACK, sum(each.held_back for each in learned))
    found.flush_metrics()
    for each in learned:
        tell = logger.warning if each.held_back else logger.info
        tell(
            "learned",
            model=model,
            version=each.version,
            state=each.number,
            rows=each.rows,
            ignored=each.ignored,
            lost_a_race=each.lost_a_race,
            held_back=each.held_back,
        )
