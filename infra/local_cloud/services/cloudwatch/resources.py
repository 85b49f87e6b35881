"""Alarms, dashboards and log groups as a template writes them."""

from __future__ import annotations

from local_cloud.kernel.resource_kinds import (
    Context,
    Kind,
    LocalResource,
    Properties,
    create_in_moto,
    keep,
    update_in_moto,
)


def _create_alarm(context: Context[object], name: str, properties: Properties) -> LocalResource:
    from moto.cloudwatch.exceptions import ValidationError
    from moto.cloudwatch.models import Dimension, Metric, MetricDataQuery, MetricStat

    backend = context.backend("cloudwatch")
    queries = []
    for given in properties.get("Metrics", []):
        stat = given.get("MetricStat")
        metric_stat = None
        if stat:
            metric = stat["Metric"]
            dimensions = [Dimension(d["Name"], str(d["Value"])) for d in metric.get("Dimensions", [])]
            metric_stat = MetricStat(
                metric=Metric(metric["MetricName"], metric["Namespace"], dimensions),
                period=stat["Period"],
                stat=stat["Stat"],
                unit=stat.get("Unit"),
            )
        queries.append(
            MetricDataQuery(
                query_id=given["Id"],
                label=given.get("Label"),
                period=given.get("Period"),
                return_data=given.get("ReturnData"),
                expression=given.get("Expression"),
                metric_stat=metric_stat,
            )
        )
    try:
        alarm = backend.put_metric_alarm(
            name=name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            metric_data_queries=queries,
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            datapoints_to_alarm=int(properties["DatapointsToAlarm"]) if "DatapointsToAlarm" in properties else None,
            period=int(properties.get("Period", 60)),
            threshold=float(properties["Threshold"]),
            statistic=properties.get("Statistic"),
            extended_statistic=properties.get("ExtendedStatistic"),
            description=properties.get("AlarmDescription", ""),
            dimensions=[{"Name": d["Name"], "Value": str(d["Value"])} for d in properties.get("Dimensions", [])],
            alarm_actions=properties.get("AlarmActions", []),
            ok_actions=properties.get("OKActions", []),
            insufficient_data_actions=properties.get("InsufficientDataActions", []),
            unit=properties.get("Unit"),
            actions_enabled=str(properties.get("ActionsEnabled", "true")).lower() == "true",
            treat_missing_data=properties.get("TreatMissingData"),
            evaluate_low_sample_count_percentile=properties.get("EvaluateLowSampleCountPercentile"),
            threshold_metric_id=properties.get("ThresholdMetricId"),
        )
    except (ValueError, ValidationError) as error:
        raise context.refuse(f"watches what cannot be evaluated ({error})", "simplify it or deploy to AWS") from error
    return LocalResource(alarm.name, {"Arn": alarm.alarm_arn}, lambda: backend.delete_alarms([alarm.name]))


def _update_alarm(context: Context[object], alarm: LocalResource, name: str, properties: Properties) -> LocalResource:
    if name != alarm.physical_id:
        alarm.remove()
    return _create_alarm(context, name, properties)


KINDS: tuple[Kind[object], ...] = (
    Kind("AWS::CloudWatch::Alarm", "AlarmName", _create_alarm, _update_alarm),
    Kind("AWS::CloudWatch::Dashboard", "DashboardName", create_in_moto, update_in_moto),
    Kind("AWS::Logs::LogGroup", "LogGroupName", create_in_moto, keep),
)
