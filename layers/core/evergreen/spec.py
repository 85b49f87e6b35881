"""The model spec: what a user writes about a model, validated, every key with a default and a line of doc."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from evergreen.durations import format_duration, parse_duration
from evergreen.errors import UsageError
from evergreen.model.schema import MODEL_NAME, Feature, FeatureSchema, Kind, Task

LONGEST_HYPERPARAMETER = 2_500
"""Characters that SageMaker takes as the value of one hyperparameter."""

Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]


def parse_folder_uri(value: object) -> object:
    """Take an ``s3://bucket/prefix`` as it is, without the slash at its end.

    Examples
    --------
    >>> parse_folder_uri("s3://captures/churn/AllTraffic/")
    's3://captures/churn/AllTraffic'
    """
    if not isinstance(value, str) or not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", value):
        raise PydanticCustomError("folder_uri", "it is no folder in S3, write s3://bucket/prefix")
    return value.rstrip("/")


FolderUri = Annotated[str, BeforeValidator(parse_folder_uri)]


class Strategy(StrEnum):
    """Who starts a retraining."""

    SCHEDULED = "scheduled"
    TRIGGERED = "triggered"
    CONTINUOUS = "continuous"
    HYBRID = "hybrid"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class FeatureSpec(_Section):
    """One column of a request."""

    type: Literal["number", "categorical"] = Field(description="number, or categorical (a string)")


class LabelSpec(_Section):
    """The labels and when they may be believed."""

    classes: tuple[str, ...] | None = Field(None, description="class labels as strings, sorted; None for regression")
    maturity: Duration = Field(
        timedelta(days=1),
        description="a request older than this has the labels it will get; younger rows are biased and are not judged",
    )
    source: FolderUri | None = Field(
        None, description="s3://bucket/prefix, where ground truth is already uploaded: new files are fetched from there"
    )


_SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-zA-Z]{1,25}$")]
_SecurityGroupId = Annotated[str, Field(pattern=r"^sg-[0-9a-zA-Z]{1,29}$")]


class GuardrailSpec(_Section):
    """How SageMaker moves the traffic of an endpoint to a promoted version, and when it goes back by itself."""

    traffic: Literal["all_at_once", "canary", "linear"] = Field(
        "canary", description="canary: a share, then the rest; linear: a share at a time; all_at_once"
    )
    share: float = Field(0.1, ge=0.01, le=0.5, description="canary, or each step of linear (0.1 or more), in whole %")
    wait: Duration = Field(
        timedelta(minutes=10),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="how long a share is watched before the next",
    )
    terminate_after: Duration = Field(
        timedelta(minutes=5),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="how long the old instances stay once all has moved",
    )
    max_time: Duration = Field(
        timedelta(hours=1), ge=timedelta(minutes=10), le=timedelta(hours=8), description="a longer deployment goes back"
    )
    alarms: tuple[Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S")], ...] = Field(
        (), max_length=10, description="CloudWatch alarms by name: one that goes off meanwhile takes the version back"
    )

    @property
    def percent(self) -> int:
        """The share as SageMaker takes it."""
        return round(100 * self.share)

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if abs(100 * self.share - self.percent) > 1e-9:
            raise ValueError(f"endpoint.guardrails.share is {self.share}: give a whole percentage, such as 0.1")
        if self.traffic == "linear" and self.percent < 10:
            raise ValueError(f"endpoint.guardrails.share is {self.share}: linear takes steps of 0.1 to 0.5")
        if len(set(self.alarms)) != len(self.alarms):
            raise ValueError(f"endpoint.guardrails.alarms is {list(self.alarms)}: name each alarm once")
        # The last step is watched by terminate_after.
        waits = {"all_at_once": 0, "canary": 1, "linear": math.ceil(100 / self.percent) - 1}[self.traffic]
        needed = waits * self.wait + self.terminate_after
        if needed >= self.max_time:
            raise ValueError(
                f"endpoint.guardrails.max_time is {format_duration(self.max_time)}, but waiting alone takes "
                f"{format_duration(needed)}: raise it, or shorten wait or terminate_after"
            )
        return self


class EndpointSpec(_Section):
    """What answers requests."""

    kind: Literal["lambda", "sagemaker"] = Field(
        "lambda", description="lambda: Evergreen's predict function; sagemaker: a real-time endpoint of SageMaker"
    )
    name: str | None = Field(
        None,
        max_length=63,
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
        description="the endpoint's name, of one that is there or that is made; None: the model's, with dashes",
    )
    instance_type: str | None = Field(
        None,
        pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$",
        description="of each variant; None: as the endpoint has it, ml.m5.large for a new one",
    )
    instance_count: int | None = Field(
        None, ge=1, le=1_000, description="of each variant; None: as the endpoint has it, 1 for a new one"
    )
    image: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        pattern=r"^[^\s]+$",
        description="the image that runs Evergreen's inference script; None: the stack's",
    )
    guardrails: GuardrailSpec = GuardrailSpec()
    kms_key: str | None = Field(
        None,
        min_length=1,
        max_length=2048,
        pattern=r"^[a-zA-Z0-9:/_-]+$",
        description="key of the instances' volumes and of what is captured: an id, an alias or an ARN",
    )
    subnets: tuple[_SubnetId, ...] = Field((), max_length=16, description="where the containers' interfaces are put")
    security_groups: tuple[_SecurityGroupId, ...] = Field((), max_length=5, description="of those interfaces")

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.kind == "lambda" and (unused := sorted(self.model_fields_set - {"kind"} - self._defaulted())):
            raise ValueError(
                f"endpoint.{unused[0]} is set, but endpoint.kind is lambda, which has no such setting: remove it, or "
                "set endpoint.kind to sagemaker"
            )
        if bool(self.subnets) != bool(self.security_groups):
            there, missing = ("subnets", "security_groups") if self.subnets else ("security_groups", "subnets")
            raise ValueError(f"endpoint.{there} is set without endpoint.{missing}: a model in a VPC needs both")
        return self

    def _defaulted(self) -> set[str]:
        """The keys that say what they would say unsaid: a spec as the ledger stores it names every key."""
        return {name for name, field in type(self).model_fields.items() if getattr(self, name) == field.default}

    @property
    def at_once(self) -> EndpointSpec:
        """The same, whose changes are neither spread over time nor undone by alarms."""
        at_once = GuardrailSpec(traffic="all_at_once", terminate_after=timedelta(0))
        return self.model_copy(update={"guardrails": at_once})


class CaptureSpec(_Section):
    """Which answers are captured, and how captures that SageMaker wrote are read: by keys that are Model Monitor's."""

    sampling: float = Field(
        1.0,
        gt=0,
        le=1,
        description="the share of requests that are captured: by their inference ids (kind lambda), or as SageMaker "
        "draws them, in whole percent (kind sagemaker)",
    )

    source: FolderUri | None = Field(
        None,
        description="s3://bucket/prefix/endpoint/variant, where an endpoint's Data Capture already lies: new files are "
        "fetched from there",
    )
    inference_attribute: str | None = Field(
        None, description="where an answer holds its label: a CSV field's number, a dotted JSON name; None: found"
    )
    probability_attribute: str | None = Field(
        None, description="where it holds the probability of the second class, or of all in their order; None: found"
    )
    probability_threshold: float = Field(0.5, ge=0, lt=1, description="a probability above it is the second class")


class PerformanceTrigger(_Section):
    """Retrain when matured labels prove the model worse than it should be (STATISTICS: test martingale)."""

    enabled: bool = True
    accuracy_threshold: float | None = Field(
        None, gt=0, lt=1, description="the accuracy to hold; None: the version's own validation error + tolerance"
    )
    tolerance: float = Field(0.03, ge=0, lt=1, description="how much more error than the reference is tolerated")
    min_labelled: int = Field(100, ge=1, description="fewer matured labels in the window: insufficient_data")
    look_back: Duration = Field(timedelta(days=7), description="the window whose labels are counted")


class DataDriftTrigger(_Section):
    """Retrain when the inputs of the last whole cycle are unlike the reference cycles."""

    enabled: bool = True
    drift_threshold: float = Field(0.3, gt=0, le=1, description="share of drifted columns that is drift by itself")


class PredictionShiftTrigger(_Section):
    """Retrain when the predictions of the last whole cycle are unlike the reference's."""

    enabled: bool = True
    threshold: float = Field(0.2, gt=0, description="distance (W1/sd, or Jensen-Shannon) above which it fires")


class NewDataTrigger(_Section):
    """Retrain when enough labelled rows are new. Off by default: alone it is a schedule in disguise."""

    enabled: bool = False
    min_new_samples: int = Field(1_000, ge=1, description="labelled rows since the last training")


class ScheduleTrigger(_Section):
    """Retrain by the calendar."""

    every: Duration | None = Field(
        timedelta(days=7), description="strategy scheduled: retrain this long after the last training"
    )
    longest_age: Duration | None = Field(
        timedelta(days=90),
        description="strategy hybrid: retrain when the newest training is older than this, whatever the checks say",
    )


class TokenSpec(_Section):
    """How often a model may be retrained: a retraining takes a token, which comes back with labels or with time."""

    burst: int = Field(
        2,
        ge=1,
        le=100,
        description="tokens that can be saved up; of two or more the last one is kept for a model that is proven "
        "worse, and for what people ask for",
    )
    refill_rows: int | None = Field(
        5_000, ge=1, description="one token comes back with so many labelled rows; None: with time alone"
    )
    refill_every: Duration = Field(
        timedelta(days=30), gt=timedelta(0), description="or after this time, whichever comes first"
    )


class TriggerSpec(_Section):
    """The checks that can start a retraining, and how often one may."""

    performance: PerformanceTrigger = PerformanceTrigger()
    data_drift: DataDriftTrigger = DataDriftTrigger()
    prediction_shift: PredictionShiftTrigger = PredictionShiftTrigger()
    new_data: NewDataTrigger = NewDataTrigger()
    schedule: ScheduleTrigger = ScheduleTrigger()
    cycle: Duration = Field(timedelta(days=7), description="the period after which traffic repeats itself")
    tokens: TokenSpec = TokenSpec()
    cooldown: Duration = Field(timedelta(days=1), description="no two retrainings are started closer than this")
    monthly_budget: int = Field(4, ge=1, description="no more retrainings than this in any 30 days")


class RowsPolicy(StrEnum):
    """Which labelled rows a candidate is trained on."""

    SLIDING = "sliding"
    EVERYTHING = "everything"
    SINCE_CHANGE = "since_change"


class TrainingSpec(_Section):
    """How a candidate is trained."""

    estimator: str = Field("", max_length=200, description="a scikit-learn estimator by name; empty: a random forest")
    params: dict[str, Any] = Field(
        default_factory=lambda: {"n_estimators": 200, "max_depth": 20}, description="the estimator's parameters"
    )
    rows: RowsPolicy = Field(
        RowsPolicy.SLIDING,
        description="sliding: those of the window; everything: the newest max_rows, however old; since_change: those "
        "since production's answers became worse, or those of the window where they did not",
    )
    window: Duration = Field(timedelta(days=180), description="labelled rows of this much time are trained on")
    rows_since_change: int = Field(
        2_000, ge=20, description="rows since_change: with fewer rows since the change, it reaches further back"
    )
    max_rows: int = Field(100_000, ge=100, description="the newest rows of the window that are kept")
    min_rows: int = Field(200, ge=20, description="fewer rows: the training fails and says so")
    min_new_rows: int = Field(
        100,
        ge=0,
        description="matured labelled rows that the newest training did not have; with fewer, no retraining is started",
    )
    validation_fraction: float = Field(0.2, gt=0, lt=0.9, description="the newest share that validates, in time order")
    seed: int = 0
    image: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        pattern=r"^[^\s]+$",
        description="an own image, instead of the stack's; what it leaves has to pass the same gate",
    )
    source_dir: str | None = Field(
        None,
        pattern=r"^s3://[^/\s]+/.+\.tar\.gz$",
        max_length=1024,
        description="own source: the s3 uri of a sourcedir.tar.gz in the artifact bucket, instead of Evergreen's",
    )
    entry_point: str | None = Field(
        None, pattern=r"^[\w./-]+\.py$", max_length=255, description="the program in source_dir that is run"
    )
    instance_type: str = Field("ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    instance_count: Literal[1] = 1
    volume_gb: int = Field(30, ge=1, le=16_384)
    max_runtime: Duration = Field(
        timedelta(hours=2), ge=timedelta(seconds=1), le=timedelta(days=28), description="a longer job is stopped"
    )
    spot: bool = Field(False, description="on spare capacity: cheaper, and interrupted now and then")
    max_wait: Duration | None = Field(
        None,
        le=timedelta(days=28),
        description="spot: the longest it may take with all waiting; None: twice max_runtime",
    )
    subnets: tuple[_SubnetId, ...] = Field((), max_length=16, description="where the job's network interfaces are put")
    security_groups: tuple[_SecurityGroupId, ...] = Field((), max_length=5, description="of those interfaces")
    kms_key: str | None = Field(
        None,
        min_length=1,
        max_length=2048,
        pattern=r"^[a-zA-Z0-9:/_-]+$",
        description="key of the job's volume and of what it writes: an id, an alias or an ARN",
    )
    network_isolation: bool = Field(
        False, description="no network at all in the container: needs an image or a source_dir that brings everything"
    )
    retries: int = Field(2, ge=0, le=5, description="how often a failed job is tried again")
    retry_delay: Duration = timedelta(minutes=5)

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if bool(self.subnets) != bool(self.security_groups):
            there, missing = ("subnets", "security_groups") if self.subnets else ("security_groups", "subnets")
            raise ValueError(f"training.{there} is set without training.{missing}: a job in a VPC needs both")
        if (self.source_dir is None) != (self.entry_point is None):
            there, missing = ("source_dir", "entry_point") if self.source_dir else ("entry_point", "source_dir")
            raise ValueError(f"training.{there} is set without training.{missing}: own source needs both")
        if self.max_wait is not None and not self.spot:
            raise ValueError("training.max_wait is set, but training.spot is false: only a spot job waits; remove it")
        if self.max_wait is not None and self.max_wait < self.max_runtime:
            raise ValueError(
                f"training.max_wait is {format_duration(self.max_wait)}, shorter than training.max_runtime "
                f"{format_duration(self.max_runtime)}: it counts the waiting and the run, so make it longer"
            )
        if self.network_isolation and self.image is None and self.source_dir is None:
            raise ValueError(
                "training.network_isolation is set without training.image or training.source_dir: the stack's image "
                "installs packages when a job starts, which needs a network; `evergreen source --isolated` writes a "
                "source that brings them"
            )
        if (length := len(json.dumps(self.params))) > LONGEST_HYPERPARAMETER:
            raise ValueError(
                f"training.params has {length:,} characters as JSON, a job takes {LONGEST_HYPERPARAMETER:,}: shorten it"
            )
        if self.min_rows > self.max_rows:
            raise ValueError(
                f"training.min_rows is {self.min_rows}, above training.max_rows {self.max_rows}, so that no training "
                "could ever start: lower it"
            )
        return self

    @property
    def longest_wait(self) -> timedelta:
        """How long a job may take with all waiting for capacity."""
        return self.max_wait or min(2 * self.max_runtime, timedelta(days=28)) if self.spot else self.max_runtime


class GateMetric(StrEnum):
    """What the gate compares: a metric that the training job measures on the newest rows."""

    ACCURACY = "accuracy"
    KAPPA = "kappa"
    AUC = "auc"
    BRIER = "brier"
    LOG_LOSS = "log_loss"
    MAE = "mae"
    RMSE = "rmse"

    @property
    def is_an_error(self) -> bool:
        """Whether less of it is better."""
        return self in (GateMetric.BRIER, GateMetric.LOG_LOSS) or self.is_of_regression

    @property
    def is_of_regression(self) -> bool:
        """Whether it is in the unit of the label, so that a margin can only be a share of it."""
        return self in (GateMetric.MAE, GateMetric.RMSE)


class GateSpec(_Section):
    """What a candidate must show before it runs in shadow."""

    metric: GateMetric | None = Field(
        None,
        description="the score compared; None: accuracy, or mae for regression. Where one class is rare, kappa or auc: "
        "a model that always answers the frequent class has a high accuracy",
    )
    minimum: float | None = Field(
        None,
        allow_inf_nan=False,
        description="the least score on the newest rows; of an error (brier, log_loss, mae, rmse) the highest",
    )
    margin: float = Field(
        0.02,
        ge=0,
        allow_inf_nan=False,
        description="how much worse than production it may be on the same newest rows; of mae and rmse a share of "
        "production's",
    )
    uncompared: Literal["reject", "pass"] = Field(
        "reject",
        description="a candidate that could not be scored beside production, for another reason than that there were "
        "too few rows which production was not trained on",
    )


class Metric(StrEnum):
    """What the shadow's verdict compares."""

    ACCURACY = "accuracy"
    BRIER = "brier"
    COST = "cost"
    MACRO_F1 = "macro_f1"
    ABSOLUTE_ERROR = "absolute_error"


class ShadowSpec(_Section):
    """The proof a candidate owes (STATISTICS, shadow verdict)."""

    proof: Literal["nested", "not_worse", "better"] = Field(
        "nested",
        description="better: a gain above the margin is proven; not_worse: a loss of min_gain is ruled out; nested: a "
        "candidate in which production lives on (freshness) is promoted once it has answered the same requests for a "
        "day and lost nothing by it, or no more than its days differ by; any other one owes the proof of better",
    )
    metric: Metric | None = Field(
        None,
        description="the loss compared a row; None: accuracy, or absolute_error for regression. macro_f1 is no loss a "
        "row: its test holds for large samples and is slower",
    )
    cost: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="metric cost: actual class -> predicted class -> cost; not named: 0 when right, 1 when wrong",
    )
    margin: float = Field(
        0.0,
        gt=-1,
        lt=1,
        description="gain to prove; -0.01: fresher and not worse. In the metric's unit; for absolute_error and cost a "
        "share of the largest difference that counts",
    )
    alpha: float = Field(0.01, gt=0, lt=0.5, description="chance of promoting a candidate that is no better")
    min_gain: float = Field(0.02, gt=0, lt=1, description="a gain below this is not worth waiting for")
    cycle: Duration = Field(timedelta(days=7), description="only whole cycles of traffic are judged")
    max_time: Duration = Field(
        timedelta(days=28),
        description="no verdict by then: the candidate is not promoted; a cycle without a request costs no time",
    )
    max_rows: int | None = Field(
        None,
        ge=1,
        description="no verdict on so many labelled rows of whole cycles: the candidate is not promoted, before "
        "max_time has passed; None: time alone is the limit",
    )


class DeploymentSpec(_Section):
    """How a version takes over and how it is watched."""

    approval: Literal["auto", "manual"] = "auto"
    ops_bake: Duration = Field(timedelta(minutes=30), description="errors and latency are watched this long")
    ops_bake_longest: Duration = Field(timedelta(days=2), description="too little traffic extends the bake up to this")
    quality_bake: Duration = Field(timedelta(days=14), description="the replaced version goes on as the shadow")
    canary_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="the share of requests that a new version answers in its ops bake, the version it replaced answers "
        "the rest; 1: all of them at once",
    )
    error_rate: float = Field(0.1, gt=0, lt=1, description="hard limit on the share of failed requests")
    latency_ms: float = Field(1_000.0, gt=0, description="a slower answer counts as slow")
    slow_share: float = Field(0.05, gt=0, lt=1, description="the share of slow answers that is always tolerated")
    tolerance: float = Field(0.02, ge=0, lt=1, description="more failures than the replaced version that is tolerated")


class FormerOnlineSpec(_Section):
    """What specs said of online learning before live states did all of it: read and told of, and written no more.

    What has no effect any more may hold anything.
    """

    enabled: bool = Field(False, description="true: freshness.enabled is true")
    new_classes: Literal["refuse", "learn"] = Field(
        "refuse", description="learn: trainings leave out rows whose label is none of labels.classes"
    )
    estimator: Any = None
    params: Any = None
    labels: Any = None
    batch_size: Any = None
    checkpoint: Any = None
    cycle: Any = None
    trial: Any = None


class FreshnessSpec(_Section):
    """What a version learns from matured labels between its trainings, and answers by."""

    enabled: bool = Field(
        False, description="keep a live state beside each version: its answers follow the labels, within a stated bound"
    )


class ModelSpec(_Section):
    """Everything Evergreen knows about a model before it has seen traffic.

    Examples
    --------
    >>> spec = ModelSpec.from_yaml('''
    ... model: churn
    ... task: binary
    ... features: {age: {type: number}, plan: {type: categorical}}
    ... labels: {classes: ["0", "1"]}
    ... ''')
    >>> spec.shadow_metric.value, spec.training.window.days, spec.feature_schema().features[0].name
    ('accuracy', 180, 'age')
    """

    model: str = Field(pattern=MODEL_NAME, description="lower case, digits, underscore; at most 40")
    task: Task
    features: dict[str, FeatureSpec] = Field(min_length=1)
    labels: LabelSpec = LabelSpec()
    endpoint: EndpointSpec = EndpointSpec()
    capture: CaptureSpec = CaptureSpec()
    strategy: Strategy = Strategy.HYBRID
    triggers: TriggerSpec = TriggerSpec()
    training: TrainingSpec = TrainingSpec()
    gate: GateSpec = GateSpec()
    shadow: ShadowSpec = ShadowSpec()
    deployment: DeploymentSpec = DeploymentSpec()
    online: FormerOnlineSpec | None = Field(None, exclude=True, description="of former releases: write freshness")
    freshness: FreshnessSpec = FreshnessSpec()

    @field_validator("freshness")
    @classmethod
    def _as_online_said(cls, freshness: FreshnessSpec, info: ValidationInfo) -> FreshnessSpec:
        """A spec as the ledger stores it names every key: that freshness is off says nothing beside `online:`."""
        online = info.data.get("online")
        if online is None or not online.enabled:
            return freshness
        return freshness.model_copy(update={"enabled": True})

    @model_validator(mode="after")
    def _task_fits(self) -> Self:
        classes = self.labels.classes
        if self.task is Task.REGRESSION and classes is not None:
            raise ValueError("labels.classes is set, but task is regression: remove it")
        if self.task is not Task.REGRESSION:
            if not classes or len(set(classes)) < 2:
                raise ValueError(f"labels.classes is {classes}: task {self.task.value} needs at least two classes")
            if self.task is Task.BINARY and len(classes) != 2:
                raise ValueError(f"labels.classes has {len(classes)} entries: task binary needs exactly two")
            if list(classes) != sorted(set(classes)):
                raise ValueError(f"labels.classes is {list(classes)}: sort it and list each class once")
        self._metric_fits()
        self._strategy_fits()
        self._endpoint_fits()
        return self

    def _metric_fits(self) -> None:
        gate = self.gate.metric
        if gate is not None and gate.is_of_regression != (self.task is Task.REGRESSION):
            fitting = ", ".join(m for m in GateMetric if m.is_of_regression == (self.task is Task.REGRESSION))
            raise ValueError(f"gate.metric is {gate}, but task is {self.task.value}: use one of {fitting}")
        metric, task = self.shadow.metric, self.task
        if metric is Metric.ABSOLUTE_ERROR and task is not Task.REGRESSION:
            raise ValueError(f"shadow.metric is absolute_error, but task is {task.value}: use accuracy or brier")
        if metric not in (None, Metric.ABSOLUTE_ERROR) and task is Task.REGRESSION:
            raise ValueError(f"shadow.metric is {metric}, but task is regression: use absolute_error")
        if bool(self.shadow.cost) != (metric is Metric.COST):
            raise ValueError("shadow.cost and shadow.metric cost go together: set both, or neither")
        classes = self.labels.classes or ()
        for actual, costs in self.shadow.cost.items():
            for named in (actual, *costs):
                if named not in classes:
                    raise ValueError(f"shadow.cost names {named!r}, which is none of labels.classes {list(classes)}")

    def _strategy_fits(self) -> None:
        if self.strategy is Strategy.CONTINUOUS and not self.freshness.enabled:
            raise ValueError(
                "strategy is continuous, but freshness.enabled is false, so nothing would ever learn: set it to true"
            )

    def _endpoint_fits(self) -> None:
        share = self.deployment.canary_share
        if self.endpoint.kind == "sagemaker" and share < 1:
            raise ValueError(
                f"deployment.canary_share is {share}, but endpoint.kind is sagemaker, whose canary is SageMaker's: "
                "remove it, and set endpoint.guardrails.share"
            )
        percent = 100 * self.capture.sampling
        if self.endpoint.kind == "sagemaker" and (percent < 1 or abs(percent - round(percent)) > 1e-9):
            raise ValueError(
                f"capture.sampling is {self.capture.sampling}, but endpoint.kind is sagemaker, which captures whole "
                "percents: give 0.01 or more, such as 0.13"
            )

    @property
    def shadow_metric(self) -> Metric:
        """The loss that the shadow verdict compares."""
        return self.shadow.metric or (Metric.ABSOLUTE_ERROR if self.task is Task.REGRESSION else Metric.ACCURACY)

    @property
    def gate_metric(self) -> GateMetric:
        """The score that the gate compares."""
        return self.gate.metric or (GateMetric.MAE if self.task is Task.REGRESSION else GateMetric.ACCURACY)

    @property
    def leaves_out_other_labels(self) -> bool:
        """Whether trainings leave out rows of a class that the spec does not name: a former release has stored some."""
        return self.online is not None and self.online.enabled and self.online.new_classes == "learn"

    @property
    def estimator(self) -> str:
        """The scikit-learn estimator's class name."""
        forest = "RandomForestRegressor" if self.task is Task.REGRESSION else "RandomForestClassifier"
        return self.training.estimator or forest

    def feature_schema(self) -> FeatureSchema:
        """The feature schema that requests, captures and artifacts are checked against."""
        features = tuple(Feature(name, Kind(feature.type)) for name, feature in self.features.items())
        return FeatureSchema(task=self.task, features=features, classes=self.labels.classes)

    @property
    def endpoint_name(self) -> str | None:
        """The SageMaker endpoint that answers; None for kind lambda."""
        return None if self.endpoint.kind == "lambda" else self.endpoint.name or self.model.replace("_", "-").strip("-")

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the features, as versions carry it: a version need not know every class."""
        return self.feature_schema().with_classes(None).fingerprint

    @classmethod
    def from_yaml(cls, text: str) -> ModelSpec:
        """Parse and validate.

        Raises
        ------
        SpecError
            One line a problem, each naming the key, the value and what is expected.
        """
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError((f"not YAML: {str(error).splitlines()[0]}",)) from error
        return cls.parse(document)

    @classmethod
    def parse(cls, document: object) -> ModelSpec:
        """Validate a spec given as plain data (from YAML, JSON or the ledger)."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise SpecError(tuple(_problem(item) for item in error.errors())) from error

    def renewed(self) -> ModelSpec:
        """The spec in the keys of this release alone, as it is read once it was written; raises SpecError."""
        return self.parse(self.to_json())

    def to_yaml(self) -> str:
        """Write the spec so that :meth:`from_yaml` reads the same again."""
        return str(yaml.safe_dump(self.to_json(), sort_keys=False, allow_unicode=True))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data."""
        return self.model_dump(mode="json")


_READ_AS = (
    "online.enabled: true is read as freshness.enabled: true: versions that are trained from now on keep a live state, "
    "and their answers follow the labels"
)


def told_of_online(spec: ModelSpec) -> tuple[str, ...]:
    """What `online:` means now, in sentences; none where the spec does not have it.

    Examples
    --------
    >>> document = {"model": "rent", "task": "regression", "features": {"area": {"type": "number"}}}
    >>> spec = ModelSpec.parse(document | {"online": {"enabled": True, "trial": "7d"}})
    >>> for sentence in told_of_online(spec):
    ...     print(sentence)
    online.enabled: true is read as freshness.enabled: true: versions that are trained from now on keep a live state, \
and their answers follow the labels
    online.trial has no effect any more
    write freshness: {enabled: true} instead of online:
    """
    online = spec.online
    if online is None:
        return ()
    told = [_READ_AS if online.enabled else "online.enabled is false, and online: changes nothing"]
    if online.enabled and spec.strategy is Strategy.CONTINUOUS:
        told.append(
            "strategy is continuous: nothing is trained until somebody asks, so ask for a first version that learns: "
            f"evergreen trigger {spec.model}"
        )
    unused = sorted(online.model_fields_set - {"enabled"})
    if unused:
        have = "has" if len(unused) == 1 else "have"
        told.append(f"{', '.join(f'online.{key}' for key in unused)} {have} no effect any more")
    if online.new_classes == "learn":
        told.append("feedback whose label is none of labels.classes is refused: add new classes to labels.classes")
    told.append(f"{'write freshness: {enabled: true} instead of' if online.enabled else 'remove'} online:")
    return tuple(told)


class SpecError(UsageError):
    """A model spec that can't be used; ``problems`` has a line for each key."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "spec"
    message: str = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or check its spelling"
    if item["type"] == "missing":
        return f"{key}: missing; add it"
    if item["type"] == "value_error":
        return message
    given = format_duration(item["input"]) if isinstance(item["input"], timedelta) else repr(item["input"])
    return f"{key} is {given}: {message[0].lower()}{message[1:]}"
