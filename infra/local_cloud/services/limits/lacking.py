"""Calls that the local cloud refuses because nothing stands behind them: a stub would answer that all went well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Params = Mapping[str, Any]
Refusal = Callable[[Params], str | None]

CODE, STATUS = "NotImplemented", 501

_JOBS: Mapping[str, str] = {
    "CreateAutoMLJobV2": "AutoML jobs",
    "CreateCluster": "clusters",
    "CreateCompilationJob": "compilation jobs",
    "CreateDataQualityJobDefinition": "Model Monitor's jobs",
    "CreateDomain": "Studio domains",
    "CreateFeatureGroup": "feature groups",
    "CreateHyperParameterTuningJob": "tuning jobs",
    "CreateModelBiasJobDefinition": "Model Monitor's jobs",
    "CreateModelExplainabilityJobDefinition": "Model Monitor's jobs",
    "CreateModelQualityJobDefinition": "Model Monitor's jobs",
    "CreateMonitoringSchedule": "Model Monitor's schedules",
    "CreateNotebookInstance": "notebook instances",
    "CreatePipeline": "pipelines",
    "CreateProcessingJob": "processing jobs",
    "CreateTransformJob": "batch transform jobs",
}


def lacking(service: str, operation: str, params: Params) -> str | None:
    """Return why the local cloud does not take a call; None where something stands behind it.

    Examples
    --------
    >>> lacking("sagemaker", "CreateTransformJob", {})
    'The local cloud runs no batch transform jobs: it has training jobs and real-time endpoints. Do this on AWS.'
    >>> lacking("sagemaker", "CreateTrainingJob", {}) is None
    True
    """
    if service == "sagemaker" and operation in _JOBS:
        return (
            f"The local cloud runs no {_JOBS[operation]}: it has training jobs and real-time endpoints. Do this on AWS."
        )
    check = _BY_CALL.get((service, operation))
    return None if check is None else check(params)


def _of_function(params: Params) -> str | None:
    if params.get("PackageType", "Zip") != "Zip":
        return "The local cloud runs functions that are packaged as a zip: package this one so, or deploy it to AWS."
    runtime = str(params.get("Runtime", ""))
    if runtime and not runtime.startswith("python"):
        return f"The local cloud runs functions in Python: {runtime} does not run here. Deploy it to AWS."
    return None


def _of_alarm(params: Params) -> str | None:
    if "ThresholdMetricId" in params:
        return "The local cloud has no anomaly detection: give the alarm a Threshold in place of ThresholdMetricId."
    return None


_BY_CALL: Mapping[tuple[str, str], Refusal] = {
    ("lambda", "CreateFunction"): _of_function,
    ("lambda", "UpdateFunctionConfiguration"): _of_function,
    ("cloudwatch", "PutMetricAlarm"): _of_alarm,
}
