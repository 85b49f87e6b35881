"""One replay from start to end: deploy the template, stream the data, compare policies, give back the result."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from evergreen.spec import ModelSpec
from evergreen_ops.replay.machine import PeakMemory
from evergreen_ops.replay.pace import label_delays
from evergreen_ops.replay.policies import Policy, PolicyResult, base_rows, simulate
from evergreen_ops.replay.progress import Screen
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream

if TYPE_CHECKING:
    from evergreen_ops.replay.explain import Explanation
    from evergreen_ops.replay.result import Replay
    from local_cloud.services.mlflow.server import MlflowServer

TEMPLATE = Path(__file__).parents[3] / "template.yaml"
EVALUATIONS_A_CYCLE = 7
MOST_EVALUATIONS = 400
SHORTEST_RETENTION_DAYS = 7
LONGEST_RETENTION_DAYS = 36_500
MLFLOW_PATIENCE_SECONDS = 180.0
NEARLY_ALL = 0.999


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be replayed, and how."""

    stream: Stream
    spec: ModelSpec
    base: Base
    step: timedelta
    template: Path = TEMPLATE
    drill: bool = False
    policies: tuple[Policy, ...] = ()
    assumed: Mapping[str, str] = MappingProxyType({})  # what was inferred, in sentences
    explain: bool = False  # say what each training brought; the policies that it is shown beside are among these
    mlflow: Path | None = None  # where MLflow's store and artifacts are kept; None: nowhere


def replay(plan: Plan, screen: Screen) -> Replay:
    """Run the plan.

    Raises
    ------
    ReplayError
        The replay can't go on: the first model can't be trained, or the API refuses a request.
    LocalCloudError
        The template can't be deployed.
    """
    from local_cloud.services.mlflow.server import MlflowServer, forget

    started = time.perf_counter()
    logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)  # says that it waits
    if plan.mlflow is not None:
        forget(plan.mlflow)  # of an earlier replay: its versions have the same numbers
    with (
        PeakMemory() as memory,
        tempfile.TemporaryDirectory(prefix="evergreen-replay-") as folder,
        MlflowServer(plan.mlflow or Path(folder) / "mlflow") as mlflow,  # starts while the cloud is deployed
    ):
        result = _through_the_cloud(plan, screen, Path(folder), mlflow)
    seconds = round(time.perf_counter() - started, 1)
    comparisons = _compare(replace(plan, stream=result.stream), screen)  # on what was asked: a drill may end it early
    result = replace(result, wall_seconds=seconds, peak_rss_mb=memory.mb, comparisons=comparisons)
    return replace(result, explanation=_explain(result, screen)) if plan.explain else result


def _through_the_cloud(plan: Plan, screen: Screen, folder: Path, mlflow: MlflowServer) -> Replay:
    from evergreen import bootstrap
    from evergreen_ops.replay import driver
    from evergreen_ops.replay.drill import plan as plan_drill
    from evergreen_ops.replay.result import Replay
    from local_cloud.cloud import LocalCloud

    screen.say(f"deploying {plan.template.name} into the local cloud")
    parameters = stack_parameters(plan.spec, plan.stream.span, plan.step, mlflow.url, labels_within=labels_within(plan))
    with LocalCloud.deploy(
        plan.template, start=plan.base.until, parameters=parameters, work_dir=folder / "cloud"
    ) as cloud:
        try:
            session = driver.open_session(
                plan.stream, plan.spec, plan.base, cloud, bootstrap.ports_for(cloud.outputs), screen
            )
            mlflow.wait_ready(MLFLOW_PATIENCE_SECONDS)
            screen.say(f"training the first model on {len(base_rows(plan.stream, plan.spec, plan.base)):,} rows")
            driver.train_first_model(session)
            drill = plan_drill(session) if plan.drill else None
            driver.run(session, step=plan.step, interludes=() if drill is None else (drill,))
            history = session.history
            failures = driver.failed_functions(session)
            decisions = driver.decisions(session)
            live = driver.live_states(session)
        finally:
            bootstrap.reset()
    for name, errors in failures.items():
        screen.say(f"function {name} failed {errors}")
    return Replay(
        stream=plan.stream.first(session.asked),
        spec=plan.spec,
        base=plan.base,
        history=history,
        served=session.served.first(session.asked),
        drill=() if drill is None else drill.outcomes(history),
        failures=failures,
        decisions=decisions,
        live=live,
        assumed=plan.assumed,
    )


def labels_within(plan: Plan) -> timedelta:
    """Return how long nearly all labels take: a late one needs the capture of its request."""
    slowest = float(np.quantile(label_delays(plan.stream), NEARLY_ALL))
    return timedelta(microseconds=slowest) + plan.step


def stack_parameters(
    spec: ModelSpec, span: timedelta, step: timedelta, mlflow_uri: str, *, labels_within: timedelta = timedelta(0)
) -> Mapping[str, str]:
    """Return the template's parameters: triggers are checked seven times a cycle, at most hourly and 400 times in all.

    Live states learn at each step, at most hourly: that is when labels come. Triggers are looked at where a step ends.

    Captures are kept no longer than a label may still need them: a year of them would fill the machine's memory.
    Outcomes, which trainings read, are small and are all kept.

    Examples
    --------
    >>> from evergreen_ops.replay.specs import bundled_spec
    >>> stack_parameters(bundled_spec(), timedelta(days=364), timedelta(hours=12), "")["EvaluationSchedule"]
    'rate(1 day)'
    """
    between = max(spec.triggers.cycle / EVALUATIONS_A_CYCLE, span / MOST_EVALUATIONS, timedelta(hours=1))
    a_step = max(1, step // timedelta(hours=1))
    rate = _rate(a_step * max(1, round(between / timedelta(hours=a_step))))
    needed = max(spec.labels.maturity, labels_within)
    return {
        "EvaluationSchedule": rate,
        "OnlineSchedule": _rate(a_step) if spec.freshness.enabled else rate,
        "ReconcileSchedule": rate,
        "CaptureRetentionDays": str(SHORTEST_RETENTION_DAYS + math.ceil(needed / timedelta(days=1))),
        "OutcomeRetentionDays": str(LONGEST_RETENTION_DAYS),
        "MlflowTrackingUri": mlflow_uri,
    }


def _rate(hours: int) -> str:
    number, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"rate({number} {unit}{'' if number == 1 else 's'})"


def _compare(plan: Plan, screen: Screen) -> tuple[PolicyResult, ...]:
    if not plan.policies:
        return ()
    from evergreen_ops.replay.recipe import StreamRecipe

    recipe = StreamRecipe(plan.stream, plan.spec)
    results = []
    for policy in plan.policies:
        screen.begin(f"comparing with {policy.name}", plan.stream.rows - plan.base.rows)
        results.append(
            simulate(
                policy,
                plan.stream,
                plan.spec,
                plan.base,
                recipe,
                on_progress=lambda rows, trainings: screen.count(rows, f"{trainings} retrainings"),
            )
        )
    return tuple(results)


def _explain(result: Replay, screen: Screen) -> Explanation:
    from evergreen_ops.replay.explain import explain

    stream, base = result.stream, result.base
    screen.begin("explaining: training the versions again", stream.rows - base.rows)
    return explain(
        stream,
        result.spec,
        base,
        result.history,
        result.served.predictions,
        result.scored,
        result.comparisons,
        on_progress=lambda rows: screen.count(rows, ""),
    )
