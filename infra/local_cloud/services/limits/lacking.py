"""Calls that the local cloud refuses because nothing stands behind them, where moto would answer that all went well."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from local_cloud.services.lambda_.functions import lacking_for

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
    found = lacking_for(params) if "Runtime" in params or "PackageType" in params else None
    return None if found is None else f"The function {found[0]}, which the local cloud does not run: {found[1]}."


def _of_alarm(params: Params) -> str | None:
    if "ThresholdMetricId" in params:
        return "The local cloud has no anomaly detection: give the alarm a Threshold in place of ThresholdMetricId."
    return None


def _of_delivery_stream(params: Params) -> str | None:
    elsewhere = sorted(name for name, given in params.items() if given and _ELSEWHERE.fullmatch(name))
    if elsewhere:
        return f"The local cloud's delivery streams deliver to S3 alone, not by {elsewhere[0]}. Do this on AWS."
    source = params.get("DeliveryStreamType") or "DirectPut"
    if source != "DirectPut":
        return f"The local cloud's delivery streams take what is put to them alone, not {source}. Do this on AWS."
    return None


_ELSEWHERE = re.compile(r"(?!S3|ExtendedS3)\w+Destination(Configuration|Update)")
"""What names another destination than S3."""


_BY_CALL: Mapping[tuple[str, str], Refusal] = {
    ("firehose", "CreateDeliveryStream"): _of_delivery_stream,
    ("firehose", "UpdateDestination"): _of_delivery_stream,
    ("lambda", "CreateFunction"): _of_function,
    ("lambda", "UpdateFunctionConfiguration"): _of_function,
    ("cloudwatch", "PutMetricAlarm"): _of_alarm,
}
