"""The small cloud with processes that die, events that come again, and all of it told as plain data."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from contextlib import contextmanager
from unittest.mock import patch

import boto3
from fault_injection import ProcessDiedError, tap_every_session
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends
from moto.sagemaker.exceptions import ResourceInUseException
from moto.sagemaker.models import SageMakerModelBackend
from small_cloud import CONTEXT, SmallCloud, handler_of, kept_clients, open_cloud
from still_endpoints import still_endpoints

from evergreen import bootstrap

_DELIVERED_BY_A_STREAM = re.compile(r"(captures|labels)/\d{4}/")
DELIVERIES = 6
_MAY_KNOW = ("evergreen.aws.", "evergreen.inbound.", "evergreen.usecases.")  # the rooms below are functions of data
_SERVICES = ("s3", "dynamodb", "scheduler", "firehose", "sqs", "cloudwatch", "sagemaker")


class NeverSucceededError(Exception):
    """The event was delivered often enough, and the function failed each time."""


class FaultyCloud(SmallCloud):
    """A cloud whose functions run in processes that can be replaced."""

    def __init__(self, endpoints):
        self.endpoints = endpoints
        tap_every_session()
        super().__init__()
        self._sagemaker = boto3.client("sagemaker")
        for service in _SERVICES:  # models of services are read once, before any child is made: by botocore and by moto
            boto3.client(service)
        self.left()

    def new_process(self):
        """Forget what a process knows of the cloud: its ports, its handlers and everything that was cached."""
        bootstrap.reset()
        handler_of.cache_clear()
        for name, module in list(sys.modules.items()):
            if name.startswith(_MAY_KNOW):
                for value in list(vars(module).values()):
                    if callable(getattr(value, "cache_clear", None)):
                        value.cache_clear()

    def deliver(self, function, event):
        """Deliver until it succeeds, each time as the event's own source would; the last answer."""
        errors = []
        for _ in range(DELIVERIES):
            try:
                handler = function if callable(function) else handler_of(function)
                answer = handler(event, CONTEXT)
            except ProcessDiedError:
                self.new_process()
            except Exception as error:  # Lambda's own retry, whatever was raised
                errors.append(error)
            else:
                if not isinstance(answer, dict) or answer.get("statusCode", 200) < 500:
                    return answer
            event = _asked_again(event)
        raise NeverSucceededError(f"{function} failed {DELIVERIES} times") from (errors or [None])[-1]

    # --- what is left -------------------------------------------------------------------------------------------------

    def left(self):
        """The whole world as plain data.

        Capture and label streams deliver at least once by their nature: they are told as sets.
        """
        return {
            **{table: self._table(table) for table in ("ledger", "aliases", "catalog", "online")},
            **{bucket: self._objects(bucket) for bucket in ("data", "artifacts")},
            **{f"stream {name}": sorted(set(self.streamed_lines(name))) for name in ("captures", "labels")},
            "schedules": {name: _plain(self.schedule(name)) for name in self.schedules()},
            "training jobs": self._jobs(),
            "endpoints": _plain(self.endpoints.endpoints),
            "endpoint configurations": _plain(self.endpoints.configs),
            "models": self._models(),
        }

    def _table(self, table):
        # Straight from moto, as the objects below: a look over the API takes longer than the delivery itself.
        stored = dynamodb_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].tables[table].all_items()
        items = [{name: value.to_regular_json() for name, value in item.attrs.items()} for item in stored]
        return {"/".join(_key_of(item)): _plain(item) for item in items}

    def _stored(self, bucket):
        stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
        return {key: stored[key].value for key in stored}

    def _objects(self, bucket):
        stored = self._stored(bucket).items()
        return {
            key: _content(body) for key, body in stored if bucket != "data" or not _DELIVERED_BY_A_STREAM.match(key)
        }

    def streamed_lines(self, stream):
        """What left by a stream, line by line, repetitions included."""
        delivered = {key: body for key, body in self._stored("data").items() if _DELIVERED_BY_A_STREAM.match(key)}
        bodies = (delivered[key] for key in sorted(delivered) if key.startswith(stream))
        return [line.decode() for body in bodies for line in body.replace(b"}{", b"}\n{").splitlines()]

    def _models(self):
        names = [model["ModelName"] for model in self._sagemaker.list_models()["Models"]]
        models = {name: self._sagemaker.describe_model(ModelName=name) for name in names}
        return {name: model["PrimaryContainer"] for name, model in models.items()}

    def _jobs(self):
        names = [job["TrainingJobName"] for job in self._sagemaker.list_training_jobs()["TrainingJobSummaries"]]
        jobs = {name: self._sagemaker.describe_training_job(TrainingJobName=name) for name in names}
        return {name: {key: job.get(key) for key in _TOLD_OF_A_JOB} for name, job in jobs.items()}


_TOLD_OF_A_JOB = ("HyperParameters", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "StoppingCondition")
_TIMES_OF_THE_CLOUD = ("CreationDate", "LastModificationDate", "ResponseMetadata")


@contextmanager
def open_faulty_cloud():
    """A cloud for one story, in which a training job's name can be used once, as in AWS."""
    create = SageMakerModelBackend.create_training_job

    def create_once(self, training_job_name, **request):
        if training_job_name in self.training_jobs:
            raise ResourceInUseException(f"a training job named {training_job_name} exists")
        return create(self, training_job_name=training_job_name, **request)

    once = patch.object(SageMakerModelBackend, "create_training_job", create_once)
    # A child begins with the clients that there are: to make them again takes longer than what it tries.
    with still_endpoints() as endpoints, once, kept_clients({}), open_cloud(lambda: FaultyCloud(endpoints)) as cloud:
        cloud.new_process()
        yield cloud


def _asked_again(event):
    """The event as it comes the next time: the same, but an HTTP caller asks a second later."""
    if "requestContext" not in event:
        return event
    context = event["requestContext"]
    return {**event, "requestContext": {**context, "timeEpoch": context["timeEpoch"] + 1_000}}


def _key_of(item):
    return [item[name]["S"] for name in ("pk", "model", "alias", "sk") if name in item]


def _plain(document):
    return json.loads(
        json.dumps({name: value for name, value in document.items() if name not in _TIMES_OF_THE_CLOUD}, default=str)
    )


def _content(body):
    readable = len(body) < 2_000 and body.isascii() and b"\0" not in body
    return body.decode() if readable else hashlib.sha256(body).hexdigest()


def difference(expected, found, where=""):
    """Where two worlds differ, a line each; empty where they do not.

    Examples
    --------
    >>> print(difference({"a": 1, "b": {"x": 1}}, {"b": {"x": 2}, "c": 3}))
    a: 1 is missing
    b > x: 2 instead of 1
    c: 3 is too much
    """
    lines = []
    for name in sorted({*expected, *found}):
        here = f"{where}{name}"
        if name not in found:
            lines.append(f"{here}: {_short(expected[name])} is missing")
        elif name not in expected:
            lines.append(f"{here}: {_short(found[name])} is too much")
        elif isinstance(expected[name], dict) and isinstance(found[name], dict):
            if inner := difference(expected[name], found[name], f"{here} > "):
                lines.append(inner)
        elif expected[name] != found[name]:
            ours, theirs = _only(expected[name], found[name]), _only(found[name], expected[name])
            lines.append(f"{here}: {_short(theirs)} instead of {_short(ours)}")
    return "\n".join(lines)


def _only(one, other):
    """Of two lists, what is in this one alone."""
    if not (isinstance(one, list) and isinstance(other, list)):
        return one
    return list((Counter(map(str, one)) - Counter(map(str, other))).elements()) or one


def _short(value):
    text = str(value)
    return text if len(text) <= 400 else f"{text[:400]}..."
