"""The model spec: what a user writes about a model, validated, every key with a default and a line of doc."""

from __future__ import annotations

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
    model_validator,
)

from evergreen.schema import Feature, FeatureSchema, Kind, Task

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> object:
    """Turn ``"30m"`` or ``"7d"`` into a timedelta; leave anything else to pydantic.

    Examples
    --------
    >>> parse_duration("90s")
    datetime.timedelta(seconds=90)
    """
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", value)):
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    return value


def format_duration(value: timedelta) -> str:
    """Write a timedelta as specs do: the largest unit that divides it.

    Examples
    --------
    >>> format_duration(timedelta(days=7)), format_duration(timedelta(minutes=90))
    ('1w', '90m')
    """
    seconds = round(value.total_seconds())
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]


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


class EndpointSpec(_Section):
    """What answers requests."""

    kind: Literal["lambda"] = Field("lambda", description="lambda: Evergreen's predict function")


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
        timedelta(days=90), description="strategy hybrid: retrain a model older than this whatever the checks say"
    )


class TriggerSpec(_Section):
    """The checks that can start a retraining."""

    performance: PerformanceTrigger = PerformanceTrigger()
    data_drift: DataDriftTrigger = DataDriftTrigger()
    prediction_shift: PredictionShiftTrigger = PredictionShiftTrigger()
    new_data: NewDataTrigger = NewDataTrigger()
    schedule: ScheduleTrigger = ScheduleTrigger()
    cycle: Duration = Field(timedelta(days=7), description="the period after which traffic repeats itself")
    cooldown: Duration = Field(timedelta(days=7), description="no two retrainings are started closer than this")
    monthly_budget: int = Field(4, ge=1, description="retrainings in any 30 days")


class TrainingSpec(_Section):
    """How a candidate is trained."""

    estimator: str = Field("", description="a scikit-learn estimator by name; empty: a random forest for the task")
    params: dict[str, Any] = Field(
        default_factory=lambda: {"n_estimators": 200, "max_depth": 20}, description="the estimator's parameters"
    )
    window: Duration = Field(timedelta(days=180), description="labelled rows of this much time are trained on")
    max_rows: int = Field(100_000, ge=100, description="the newest rows of the window that are kept")
    min_rows: int = Field(200, ge=20, description="fewer rows: the training fails and says so")
    validation_fraction: float = Field(0.2, gt=0, lt=0.9, description="the newest share that validates, in time order")
    seed: int = 0
    instance_type: str = "ml.m5.large"
    instance_count: Literal[1] = 1
    volume_gb: int = Field(30, ge=1)
    max_runtime: Duration = timedelta(hours=2)
    retries: int = Field(2, ge=0, le=5, description="how often a failed job is tried again")
    retry_delay: Duration = timedelta(minutes=5)


class GateSpec(_Section):
    """What a candidate must show before it runs in shadow."""

    minimum: float | None = Field(None, description="least validation score (accuracy; regression: highest error)")
    margin: float = Field(0.02, ge=0, description="how much worse than production it may be on the same newest rows")


class Metric(StrEnum):
    """What the shadow's verdict compares."""

    ACCURACY = "accuracy"
    BRIER = "brier"
    COST = "cost"
    MACRO_F1 = "macro_f1"
    ABSOLUTE_ERROR = "absolute_error"


class ShadowSpec(_Section):
    """The proof a candidate owes (STATISTICS, shadow verdict)."""

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
    max_time: Duration = Field(timedelta(days=28), description="no verdict by then: the candidate is not promoted")


class DeploymentSpec(_Section):
    """How a version takes over and how it is watched."""

    approval: Literal["auto", "manual"] = "auto"
    ops_bake: Duration = Field(timedelta(minutes=30), description="errors and latency are watched this long")
    ops_bake_longest: Duration = Field(timedelta(days=2), description="too little traffic extends the bake up to this")
    quality_bake: Duration = Field(timedelta(days=14), description="the replaced version goes on as the shadow")
    error_rate: float = Field(0.1, gt=0, lt=1, description="hard limit on the share of failed requests")
    latency_ms: float = Field(1_000.0, gt=0, description="a slower answer counts as slow")
    slow_share: float = Field(0.05, gt=0, lt=1, description="the share of slow answers that is always tolerated")
    tolerance: float = Field(0.02, ge=0, lt=1, description="more failures than the replaced version that is tolerated")


class OnlineSpec(_Section):
    """Incremental learning on feedback."""

    enabled: bool = False
    batch_size: int = Field(50, ge=1, le=10_000)


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

    model: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="lower case, digits, underscore; at most 40")
    task: Task
    features: dict[str, FeatureSpec] = Field(min_length=1)
    labels: LabelSpec = LabelSpec()
    endpoint: EndpointSpec = EndpointSpec()
    strategy: Strategy = Strategy.HYBRID
    triggers: TriggerSpec = TriggerSpec()
    training: TrainingSpec = TrainingSpec()
    gate: GateSpec = GateSpec()
    shadow: ShadowSpec = ShadowSpec()
    deployment: DeploymentSpec = DeploymentSpec()
    online: OnlineSpec = OnlineSpec()

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
        return self

    def _metric_fits(self) -> None:
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

    @property
    def shadow_metric(self) -> Metric:
        """The loss that the shadow verdict compares."""
        return self.shadow.metric or (Metric.ABSOLUTE_ERROR if self.task is Task.REGRESSION else Metric.ACCURACY)

    def cost_matrix(self) -> tuple[tuple[float, ...], ...]:
        """What an answer costs: a row for each actual class, in the order of the classes.

        Examples
        --------
        >>> ModelSpec.parse({
        ...     "model": "fraud", "task": "binary", "features": {"amount": {"type": "number"}},
        ...     "labels": {"classes": ["no", "yes"]},
        ...     "shadow": {"metric": "cost", "cost": {"yes": {"no": 50}}},
        ... }).cost_matrix()
        ((0.0, 1.0), (50.0, 0.0))
        """
        classes = self.labels.classes or ()
        return tuple(
            tuple(self.shadow.cost.get(actual, {}).get(said, float(actual != said)) for said in classes)
            for actual in classes
        )

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

    def to_yaml(self) -> str:
        """Write the spec so that :meth:`from_yaml` reads the same again."""
        return str(yaml.safe_dump(self.to_json(), sort_keys=False, allow_unicode=True))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data."""
        return self.model_dump(mode="json")


class SpecError(ValueError):
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
    return f"{key} is {item['input']!r}: {message[0].lower()}{message[1:]}"
