"""A small cloud of moto: the buckets, tables and streams of the template, and functions as Lambda calls them."""

import contextlib
import importlib.util
import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import boto3
from moto import mock_aws

from evergreen import bootstrap, telemetry
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply
from local_cloud import speed
from local_cloud.kernel.patching import Patches
from local_cloud.services.dynamodb import streams

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
ARN = "arn:aws:{}:us-east-1:123456789012:{}"
CONTEXT = SimpleNamespace(
    function_name="function",
    memory_limit_in_mb=512,
    invoked_function_arn=ARN.format("lambda", "function:function"),
    aws_request_id="52fdfc07-2182-154f-163f-5f0f9a621d72",
    get_remaining_time_in_millis=lambda: 300_000,
)
CHURN = {
    "model": "churn",
    "task": "binary",
    "features": {"age": {"type": "number"}, "plan": {"type": "categorical"}},
    "labels": {"classes": ["0", "1"]},
}


@cache
def handler_of(function):
    path = ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"functions_{function}", path)
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app.handler


class SmallCloud:
    """What the functions talk to, and what they left there."""

    def __init__(self):
        s3, self.dynamodb = boto3.client("s3"), boto3.client("dynamodb")
        for bucket in ("data", "artifacts"):
            s3.create_bucket(Bucket=bucket)
        for table, (partition, sort) in {
            "ledger": ("model", "sk"),
            "aliases": ("model", "alias"),
            "catalog": ("pk", "sk"),
            "online": ("model", "sk"),
        }.items():
            self.dynamodb.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in (partition, sort)],
                KeySchema=[
                    {"AttributeName": partition, "KeyType": "HASH"},
                    {"AttributeName": sort, "KeyType": "RANGE"},
                ],
            )
        self.firehose = boto3.client("firehose")
        for stream in ("captures", "labels"):
            self.firehose.create_delivery_stream(
                DeliveryStreamName=stream,
                ExtendedS3DestinationConfiguration={
                    "RoleARN": ARN.format("iam", "role/stream"),
                    "BucketARN": "arn:aws:s3:::data",
                    "Prefix": f"{stream}/",
                },
            )
        self._scheduler = boto3.client("scheduler")
        self._scheduler.create_schedule_group(Name="evergreen")

    def environment(self):
        return {
            "DATA_BUCKET": "data",
            "ARTIFACT_BUCKET": "artifacts",
            "LEDGER_TABLE": "ledger",
            "ALIAS_TABLE": "aliases",
            "CATALOG_TABLE": "catalog",
            "ONLINE_TABLE": "online",
            "CAPTURE_STREAM": "captures",
            "LABEL_STREAM": "labels",
            "TRAINING_ROLE_ARN": ARN.format("iam", "role/training"),
            "TRAINING_IMAGE": "image",
            "ENDPOINT_ROLE_ARN": "arn:aws:iam::123456789012:role/endpoint",
            "ENDPOINT_IMAGE": "image",
            "SCHEDULER_ROLE_ARN": ARN.format("iam", "role/scheduler"),
            "CAPTURE_RETENTION_DAYS": "400",
            "OUTCOME_RETENTION_DAYS": "730",
            "SCHEDULE_GROUP": "evergreen",
            "SCHEDULE_DLQ_ARN": ARN.format("sqs", "dead-letters"),
            "POWERTOOLS_METRICS_NAMESPACE": telemetry.namespace_of("evergreen"),
            "FUNCTION_ARN_PREFIX": ARN.format("lambda", "function:evergreen-"),
        }

    @property
    def ports(self):
        return bootstrap.ports()

    def applied(self, **changes):
        """Make the model `churn` known."""
        return apply.apply_model(ModelSpec.parse(CHURN | changes), now=NOW, ports=self.ports)

    def call(self, function, event):
        """Call the function with one of tests/events, or with an event as it is."""
        event = self.event(event) if isinstance(event, str) else event
        return handler_of(function)(event, CONTEXT)

    def event(self, name):
        return json.loads((ROOT / "tests" / "events" / f"{name}.json").read_text())

    def streamed(self, stream):
        """What left by the stream, one record a line, as the template's streams write them and moto's do not."""
        keys = sorted(self.ports.data.keys(f"{stream}/"))
        return b"".join(self.ports.data.get(key) for key in keys).replace(b"}{", b"}\n{")

    def schedules(self):
        return [s["Name"] for s in self._scheduler.list_schedules(GroupName="evergreen")["Schedules"]]

    def schedule(self, name):
        return self._scheduler.get_schedule(Name=name, GroupName="evergreen")

    def history(self):
        return [item["type"] for item in self.ports.ledger.history("churn").documents]


_CLIENTS = {}
_make_client = boto3.client


@contextlib.contextmanager
def kept_clients(kept=_CLIENTS):
    """Let a client be made once a process: to make one takes longer than most of its calls.

    A world that taps its session keeps its own: what one test hears, the next would hear too.
    """
    before = boto3.client

    def client(service, **wanted):
        settings = {name: vars(value) if name == "config" else value for name, value in wanted.items()}
        key = f"{service} {sorted(settings.items())}"
        if key not in kept:
            kept[key] = _make_client(service, **wanted)  # never one that others keep
        return kept[key]

    boto3.client = client
    try:
        yield
    finally:
        boto3.client = before


@contextlib.contextmanager
def short_cuts():
    """Let moto answer as it does, and faster; what goes over the wire stays botocore's."""
    made = Patches()
    try:
        made.apply(speed.OF_MOTO, None)
        made.apply([streams.TRANSACTIONS], SimpleNamespace(held=contextlib.nullcontext))
        yield
    finally:
        made.undo()


@contextlib.contextmanager
def open_cloud(kind=SmallCloud):
    """A new empty cloud, for as long as the block lasts; the environment is the functions' own."""
    with mock_aws(config={"core": {"reset_boto3_session": False}}), short_cuts():  # reading models again takes long
        bootstrap.reset()
        made = kind()
        before = dict(os.environ)
        os.environ.update(made.environment())
        try:
            yield made
        finally:
            os.environ.clear()
            os.environ.update(before)
            bootstrap.reset()
