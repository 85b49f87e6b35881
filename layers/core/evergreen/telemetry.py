"""Every metric that the functions write: its name, its unit and its dimensions.

Handlers write them with :func:`add`, adapters read them back by name, and the template's alarms are held to them.
Each name with each value of its dimensions is a metric that CloudWatch charges for in every hour in which it is written
(https://aws.amazon.com/cloudwatch/pricing/). What is looked at now and then is a line of the log, not a metric.
Standard library only.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

NAMESPACE = "Evergreen"
"""The first part of every stack's namespace: see :func:`namespace_of`."""
MODEL, VERSION, FUNCTION = "Model", "Version", "Function"
"""The dimensions."""


def namespace_of(stack: str) -> str:
    """The CloudWatch namespace of a stack's metrics: two stacks may have a model of the same name.

    The template tells Powertools, too, as ``POWERTOOLS_METRICS_NAMESPACE``.

    Examples
    --------
    >>> namespace_of("evergreen")
    'Evergreen/evergreen'
    """
    return f"{NAMESPACE}/{stack}"


def stack_of(namespace: str) -> str | None:
    """The stack whose metrics a namespace holds; None where it holds none of ours.

    Examples
    --------
    >>> stack_of("Evergreen/evergreen"), stack_of("AWS/Lambda")
    ('evergreen', None)
    """
    first, _, stack = namespace.partition("/")
    return stack if stack and first == NAMESPACE else None


class Metric(NamedTuple):
    """A CloudWatch metric of a stack's namespace.

    Parameters
    ----------
    name
        CloudWatch's MetricName.
    unit
        CloudWatch's unit: Count, Milliseconds or None.
    dimensions
        The names under which its values are found; empty where they are about every model.
    """

    name: str
    unit: str
    dimensions: tuple[str, ...] = ()


class Sink(Protocol):
    """What takes metrics: Powertools' Metrics and EphemeralMetrics."""

    def add_metric(self, name: str, unit: str, value: float) -> None: ...


def add(sink: Sink, metric: Metric, value: float) -> None:
    """Add a value to the metric; a count of nothing is not written, as it would be charged for.

    Examples
    --------
    >>> class Printed:
    ...     def add_metric(self, name, unit, value):
    ...         print(name, unit, value)
    >>> for labels in (3, 0):
    ...     add(Printed(), LABELS, labels)
    Labels Count 3
    """
    if value or metric.unit != "Count":
        sink.add_metric(metric.name, metric.unit, value)


def _count(name: str, *dimensions: str) -> Metric:
    return Metric(name, "Count", dimensions)


# predict: a bake judges the first three
REQUESTS = _count("Requests", MODEL, VERSION)
ERRORS = _count("Errors", MODEL, VERSION)
SLOW_REQUESTS = _count("SlowRequests", MODEL, VERSION)
LATENCY = Metric("Latency", "Milliseconds", (MODEL, VERSION))
REFUSED_ARTIFACTS = _count("RefusedArtifacts", MODEL, VERSION)  # score_shadow counts them too
STALE_ANSWERS = _count("StaleAnswers", MODEL, VERSION)  # a live state could not answer: the version did, as trained
UNCAPTURED_ROWS = _count("UncapturedRows", MODEL, VERSION)
LOST_CAPTURES = _count("UncapturedRows")  # of every model: an alarm waits for it
FAILED_REQUESTS = _count("FailedRequests", FUNCTION)  # one alarm watches every model
DESCRIPTIONS = _count("Descriptions")
REFUSED_REQUESTS = _count("RefusedRequests")

# collect_feedback
LABELS = _count("Labels", MODEL)
REFUSED_LABELS = _count("RefusedLabels")

# profile_capture
CAPTURED_ROWS = _count("CapturedRows", MODEL)
QUARANTINED_LINES = _count("QuarantinedLines", MODEL)

# join_labels
JOINED_LABELS = _count("JoinedLabels", MODEL)
PENDING_LABELS = _count("PendingLabels", MODEL)
QUARANTINED_LABELS = _count("QuarantinedLabels", MODEL)
UNSAMPLED_LABELS = _count("UnsampledLabels", MODEL)

# evaluate_triggers
EVALUATIONS = _count("Evaluations")
RETRAININGS_WANTED = _count("RetrainingsWanted")
RETRAININGS_REQUESTED = _count("RetrainingsRequested")
RETRAININGS_HELD_BACK = _count("RetrainingsHeldBack")
CHECK_ERRORS = _count("CheckErrors")  # of every model: an alarm waits for it
CHECKS_FIRED = _count("CheckFired", MODEL)
CHECKS_WITHOUT_DATA = _count("InsufficientData", MODEL)
CHECKS_FAILED = _count("CheckErrors", MODEL)

# launch_training, finish_training
TRAININGS_STARTED = _count("TrainingsStarted", MODEL)
TRAININGS_NOT_STARTED = _count("TrainingsNotStarted", MODEL)
TRAININGS_FAILED = _count("TrainingsFailed", MODEL)
CANDIDATES_REGISTERED = _count("CandidatesRegistered", MODEL)
CANDIDATES_REJECTED = _count("CandidatesRejected", MODEL)
TRAINING_JOBS_OF_OTHERS = _count("TrainingJobsOfOthers")

# score_shadow
SHADOW_SCORED = _count("ShadowScored", MODEL, VERSION)
SHADOW_ERRORS = _count("ShadowErrors", MODEL, VERSION)
SHADOW_LATENCY = Metric("ShadowLatency", "Milliseconds", (MODEL, VERSION))
FILES_WITHOUT_SHADOW = _count("FilesWithoutShadow")

# compare_shadow: evidence is the power of ten of an e-value
VERDICT_PROMOTE = _count("VerdictPromote", MODEL)
VERDICT_KEEP = _count("VerdictKeep", MODEL)
VERDICT_NEED_MORE_DATA = _count("VerdictNeedMoreData", MODEL)
SHADOW_ROWS = _count("ShadowRows", MODEL)
SHADOW_GAIN = Metric("ShadowGain", "None", (MODEL,))
SHADOW_EVIDENCE = Metric("ShadowEvidence", "None", (MODEL,))
SHADOW_EVIDENCE_AGAINST = Metric("ShadowEvidenceAgainst", "None", (MODEL,))
SHADOW_LABELLED_SHARE = Metric("ShadowLabelledShare", "None", (MODEL,))
SHADOW_PLACE_CHECKS = _count("ShadowPlaceChecks")
LATE_COMPARISONS = _count("LateComparisons")
ROLLBACKS_IMPOSSIBLE = _count("RollbacksImpossible")  # of every model: an alarm waits for it

# repoint_alias
PROMOTIONS = _count("Promotions", MODEL)
ROLLBACKS = _count("Rollbacks", MODEL)
REPOINTS_FAILED = _count("RepointsFailed", MODEL)

# watch_deployment
BAKES_STARTED = _count("BakesStarted")
BAKE_TICKS = _count("BakeTicks")
ALARMS_HEARD = _count("AlarmsHeard")
BAKE_REQUESTS = _count("BakeRequests", MODEL)
BAKE_ERROR_EVIDENCE = Metric("BakeErrorEvidence", "None", (MODEL,))
BAKE_SLOW_EVIDENCE = Metric("BakeSlowEvidence", "None", (MODEL,))

# learn_live
LIVE_ROWS = _count("LiveRows", MODEL)
LIVE_ROWS_IGNORED = _count("LiveRowsIgnored", MODEL)
LIVE_HELD_BACK = _count("LiveHeldBack", MODEL)  # versions whose state was proven worse: they answer as trained
LIVE_MODELS = _count("LiveModels")

# update_registry, reconcile
REGISTRY_UPDATES = _count("RegistryUpdates")
REPAIRS = _count("Repairs")  # of every model: an alarm waits for it
FETCHED_FILES = _count("FetchedFiles")

METRICS = tuple(value for value in globals().copy().values() if isinstance(value, Metric))
"""All of them."""
