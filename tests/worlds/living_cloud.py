"""A small cloud in which a model lives: time passes, jobs end, traffic and labels come, and the bus has deliveries.

Nothing is delivered by itself: each event waits in `pending` until a story delivers it, twice, late, or never.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import boto3
import pyarrow as pa
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends
from samtranslator.yaml_helper import yaml_parse
from small_artifact import small_artifact
from small_cloud import CHURN, NOW, ROOT, SmallCloud

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind
from evergreen.domain.state import ShadowRole
from evergreen.formats import outcomes
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, decide
from local_cloud.kernel.patterns import matches

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MODEL = "churn"
SPEC = {
    "triggers": {
        "performance": {"enabled": False},
        "data_drift": {"enabled": False},
        "prediction_shift": {"enabled": False},
        "cooldown": "1h",
        "monthly_budget": 1_000,
        "tokens": {"burst": 100},
        "cycle": "1d",
    },
    "labels": {"classes": ["0", "1"], "maturity": "1h"},
    "training": {"retries": 1, "min_rows": 20, "min_new_rows": 0},
    "shadow": {"cycle": "1d"},
    "deployment": {"quality_bake": "4d", "ops_bake_longest": "1d", "canary_share": 0.25},
}
_HEALTHY, _FAILING = 0.0, 0.5
_REQUESTS = 400


@dataclass(frozen=True)
class Delivery:
    """An event on its way to one function."""

    function: str
    event: dict


@cache
def _rules():
    """What the template has delivered to whom: (pattern, function)."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    found = []
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        function = resource["Properties"]["CodeUri"].removeprefix("functions/")
        for source in resource["Properties"].get("Events", {}).values():
            if source["Type"] == "EventBridgeRule":
                pattern = _by_default(source["Properties"]["Pattern"], template["Parameters"])
                pattern.get("detail", {}).pop("RoleArn", None)  # the stack's own, in this world's events
                if "aws.s3" not in pattern.get("source", ()):
                    found.append((json.dumps(pattern), function))
    return found


def _by_default(value, parameters):
    """A part of the template as a stack has it that was given no parameters."""
    if isinstance(value, dict) and value.keys() == {"Ref"}:
        known = {"AWS::AccountId": {"Default": DEFAULT_ACCOUNT_ID}, **parameters}
        return known.get(value["Ref"], {"Default": value})["Default"]
    if isinstance(value, dict):
        return {key: _by_default(each, parameters) for key, each in value.items()}
    return [_by_default(each, parameters) for each in value] if isinstance(value, list) else value


def _stamp(time):
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


class LivingCloud(SmallCloud):
    """See the module."""

    def __init__(self):
        super().__init__()
        self.now, self.pending, self.delivered = NOW, [], []
        self._seen, self._left = [], 0  # event items that were read, and how many of them have left by the outbox
        self._cloudwatch, self._scheduler = boto3.client("cloudwatch"), boto3.client("scheduler")
        self._files = 0
        self.endpoint = {"kind": "lambda"}  # of the spec
        self.went_back, self.became = (
            {},
            set(),
        )  # configurations: undone (whether as a repoint), and those that were had

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def state(self):
        return self.ports.ledger.read(MODEL)

    def items(self, behind=0):
        """The ledger's own event items behind an epoch, oldest first."""
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName="ledger",
            KeyConditionExpression="model = :model AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":model": {"S": MODEL},
                ":first": {"S": f"event#{behind + 1:010d}"},
                ":last": {"S": "event#9999999999"},
            },
            ConsistentRead=True,
        )
        return [item for page in pages for item in page["Items"]]

    def told(self):
        """The event items, each read once: the new ones are looked for, the others are taken to be what they were."""
        self._seen += self.items(behind=len(self._seen))
        return self._seen

    def types(self):
        return [item["type"]["S"] for item in self.told()]

    def alias(self, name):
        found = self.ports.aliases.read(MODEL, name)
        return None if found is None else found.version

    def jobs(self):
        return sagemaker_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].training_jobs

    def running_jobs(self):
        return sorted(name for name, job in self.jobs().items() if job.training_job_status == "InProgress")

    # --- what happens in the world ------------------------------------------------------------------------------------

    def known(self, **deployment):
        """A model with data to train on, that nobody has trained yet."""
        spec = CHURN | SPEC | {"deployment": SPEC["deployment"] | deployment, "endpoint": self.endpoint}
        apply.apply_model(ModelSpec.parse(spec), now=self.now, ports=self.ports)
        time = self.now - DAY
        self.ports.catalog.add(
            CatalogEntry(MODEL, CatalogKind.BASE_DATA, time, "base-data/churn/x.parquet", 5_000, "etag")
        )
        self.collect()

    def pass_time(self, delta):
        self.now += delta

    def put_on_the_bus(self, event):
        """Have the rules of the template deliver an event."""
        for pattern, function in _rules():
            if matches(pattern, event):
                self.pending.append(Delivery(function, event))

    def collect(self):
        """Let the outbox tell what the ledger has recorded since the last time."""
        items = self.told()
        for epoch in range(self._left + 1, len(items) + 1):
            item = items[epoch - 1]
            name = item["type"]["S"]
            detail = {"model": MODEL, "epoch": epoch, "type": name, "body": item["body"]["S"]}
            about = {"source": "evergreen", "detail-type": name, "time": _stamp(self.now), "detail": detail}
            self.put_on_the_bus(self.event("ledger_event") | about | {"id": f"{MODEL}-{epoch}"})
        self._left = len(items)

    def business_event(self, reason="prices changed"):
        about = {"id": f"wish-{_stamp(self.now)}", "time": _stamp(self.now)}
        self.put_on_the_bus(self.event("business_event") | about | {"detail": {"model": MODEL, "reason": reason}})

    def evaluation(self):
        self.pending.append(Delivery("evaluate_triggers", {"time": _stamp(self.now)}))

    def reconciliation(self):
        self.pending.append(Delivery("reconcile", {"time": _stamp(self.now)}))

    def ticks(self):
        """Have every schedule call its function now, if its time has come."""
        for name in self.schedules():
            schedule = self.schedule(name)
            target = schedule["Target"]
            function = target["Arn"].rsplit("evergreen-", 1)[1].replace("-", "_")
            event = json.loads(target["Input"].replace("<aws.scheduler.scheduled-time>", _stamp(self.now)))
            expression = schedule["ScheduleExpression"]
            if expression.startswith("at("):
                if expression <= f"at({self.now:%Y-%m-%dT%H:%M:%S})":
                    self._scheduler.delete_schedule(Name=name, GroupName="evergreen")
                    self.pending.append(Delivery(function, event))
            elif schedule["EndDate"] < self.now:
                self._scheduler.delete_schedule(Name=name, GroupName="evergreen")
            elif schedule["StartDate"] <= self.now:
                self.pending.append(Delivery(function, event))

    def end_job(self, name, status="Completed", *, passes=True):
        """The training job ends, and SageMaker says so."""
        job = self.jobs()[name]
        if status == "Completed":
            until = json.loads(job.hyper_parameters["trained_until"])
            key = job.model_artifacts["S3ModelArtifacts"].removeprefix("s3://artifacts/")
            self.ports.artifacts.put(key, small_artifact(name, trained_until=until, passes=passes))
        job.training_job_status = job.secondary_status = status
        event = self.event("training_job_completed") | {"time": _stamp(self.now)}
        event["detail"] |= {
            "TrainingJobName": name,
            "TrainingJobStatus": status,
            "SecondaryStatus": status,
            "HyperParameters": dict(job.hyper_parameters),
            "ModelArtifacts": job.model_artifacts if status == "Completed" else {},
            "FailureReason": None if status == "Completed" else "the story wants it so",
        }
        self.put_on_the_bus(event)

    def alarm(self, shape, state="ALARM"):
        """CloudWatch calls watch_deployment, by one of its three ways."""
        event, at = self.event(f"alarm_{shape}"), _stamp(self.now)
        if shape == "direct":
            event["time"] = at
            event["alarmData"]["state"]["value"] = state
        elif shape == "eventbridge":
            event["time"] = at
            event["detail"]["state"]["value"] = state
        else:
            message = json.loads(event["Records"][0]["Sns"]["Message"])
            message |= {"NewStateValue": state, "StateChangeTime": at}
            event["Records"][0]["Sns"]["Message"] = json.dumps(message)
        self.pending.append(Delivery("watch_deployment", event))

    def traffic(self, *, failing=False):
        """Requests of the last minute, as the version in production answered them."""
        version = self.alias("production")
        if version is None:
            return
        errors = _REQUESTS * (_FAILING if failing else _HEALTHY)
        namespace, names, dimensions = self.counted(version)
        counts = dict(zip(names, (_REQUESTS, errors), strict=True))
        told = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        data = [
            {"MetricName": name, "Dimensions": told, "Timestamp": self.now, "Value": value, "Unit": "Count"}
            for name, value in counts.items()
        ]
        self._cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)

    def counted(self, version):
        """Where requests and errors are counted."""
        return "Evergreen/evergreen", ("Requests", "Errors"), {"Model": MODEL, "Version": str(version)}

    def labels(self, *, shadow_is_better, days=4):
        """Some days pass, and what was true of their requests comes in: who was right, the shadow or production."""
        start = self.now
        self.now += days * DAY
        shadow = self.state.shadow
        if shadow is None:
            return
        spec = spec_of(self.state)
        times = [start + (self.now - start) * i / _REQUESTS for i in range(_REQUESTS)]
        right, wrong = "1", "0"
        of_shadow = right if shadow_is_better else wrong
        of_production = wrong if shadow_is_better else right
        columns = {
            "event_id": [f"{_stamp(start)}-{i}" for i in range(_REQUESTS)],
            "inference_time": times,
            "label_time": times,
            "group": [None] * _REQUESTS,
            "production_version": [shadow.judged_against] * _REQUESTS,
            "prediction": [of_production] * _REQUESTS,
            "probabilities": [None] * _REQUESTS,
            "plain_prediction": [None] * _REQUESTS,
            "shadow_version": [shadow.version] * _REQUESTS,
            "shadow_prediction": [of_shadow] * _REQUESTS,
            "shadow_probabilities": [None] * _REQUESTS,
            "actual": [right] * _REQUESTS,
            "feature.age": [41.0] * _REQUESTS,
            "feature.plan": ["a"] * _REQUESTS,
        }
        table = pa.table(columns, schema=outcomes.outcome_schema(spec.feature_schema()))
        self._files += 1
        key = f"outcomes/{MODEL}/{self._files}.parquet"
        etag = self.ports.data.put(key, outcomes.to_parquet(table))
        self.ports.catalog.add(CatalogEntry(MODEL, CatalogKind.OUTCOMES, self.now - MINUTE, key, _REQUESTS, etag))

    # --- what people do -----------------------------------------------------------------------------------------------

    def promote(self, version, who="ada"):
        return decide.force_promotion(MODEL, version, "a story", who, now=self.now, ports=self.ports)

    def roll_back(self, who="ada"):
        return decide.force_rollback(MODEL, "a story", who, now=self.now, ports=self.ports)

    def approve(self, who="ada"):
        return decide.approve(MODEL, None, "a story", who, now=self.now, ports=self.ports)

    def pause(self, who="ada"):
        return decide.pause(MODEL, "a story", who, now=self.now, ports=self.ports)

    def resume(self, who="ada"):
        return decide.resume(MODEL, "a story", who, now=self.now, ports=self.ports)

    # --- delivering ---------------------------------------------------------------------------------------------------

    def deliver(self, delivery):
        """Hand the event to its function; what the ledger recorded leaves for the bus."""
        self.call(delivery.function, delivery.event)
        self.delivered.append(delivery)
        self.collect()

    def deliver_all(self):
        """Deliver what waits, and what follows from it, in the order in which it was sent."""
        while self.pending:
            self.deliver(self.pending.pop(0))

    def is_changing(self):
        """Whether an endpoint is on its way from one version to another: an alias is there at once."""
        return False

    def carry_out(self):
        """Deliver all that waits, until what was asked of an endpoint is there too."""
        self.deliver_all()
        for _ in range(30):
            if not self.is_changing():
                return
            self.pass_time(2 * MINUTE)
            self.deliver_all()
        raise AssertionError("the endpoint changes for ever")

    def settle(self):
        """Lose nothing any more: deliver and reconcile until there is nothing left to do."""
        self.deliver_all()
        for _ in range(12):
            before = self.state.epoch
            self.pass_time(20 * MINUTE)
            self.reconciliation()
            self.deliver_all()
            if self.state.epoch == before and not self.is_changing():
                return
        raise AssertionError(f"it never settles: {[item['type']['S'] for item in self.told()[-8:]]}")

    # --- short stories ------------------------------------------------------------------------------------------------

    def trained(self):
        """A retraining that was asked for has led to a candidate; the first one answers at once."""
        self.pass_time(2 * HOUR)
        self.business_event()
        self.carry_out()
        (job,) = self.running_jobs()
        self.pass_time(HOUR)
        self.end_job(job)
        self.carry_out()

    def baked(self):
        """The version in production has passed its bakes."""
        while (bake := self.state.bake) is not None:
            if self.state.shadow is not None and self.state.shadow.role is ShadowRole.SENTINEL:
                self.labels(shadow_is_better=False)
                self.pass_time(2 * HOUR)
            else:
                self.traffic()
                self.pass_time(31 * MINUTE)
            self.ticks()
            self.carry_out()
            assert self.state.bake != bake, "the bake goes on"
