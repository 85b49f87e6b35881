"""The local cloud: one template, deployed and running on this machine, on a clock that moves when it is told to."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import boto3
from moto import mock_aws
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.moto_api._internal import mock_random

from local_cloud import speed
from local_cloud.kernel.clock import Agenda, VirtualClock, WallClock
from local_cloud.kernel.core import PATCHES as CORE_PATCHES
from local_cloud.kernel.core import Core, Options, Service
from local_cloud.kernel.courier import Courier
from local_cloud.kernel.errors import CloudAlreadyOpenError, EndlessLoopError, LocalCloudError, TemplateError
from local_cloud.kernel.loopback import FAKE_CREDENTIALS
from local_cloud.kernel.patching import Patch, Patches
from local_cloud.kernel.place import ACCOUNT, DEFAULT_REGION, Place, here, settled
from local_cloud.kernel.resource_kinds import Kind
from local_cloud.services.apigateway import http_api
from local_cloud.services.apigateway import resources as http_api_resources
from local_cloud.services.apigateway.http_api import HttpAnswer
from local_cloud.services.cloudformation import change_sets, resources, rules, template, validation
from local_cloud.services.cloudformation.template import package, read_template
from local_cloud.services.cloudwatch import alarms, logs, metrics
from local_cloud.services.cloudwatch import resources as cloudwatch_resources
from local_cloud.services.dynamodb import expiry as dynamodb_expiry
from local_cloud.services.dynamodb import resources as dynamodb_resources
from local_cloud.services.dynamodb import streams
from local_cloud.services.eventbridge import archives, buses, pipes, schedules
from local_cloud.services.eventbridge import resources as eventbridge_resources
from local_cloud.services.firehose import resources as firehose_resources
from local_cloud.services.firehose import streams as firehose
from local_cloud.services.iam import authority, simulation
from local_cloud.services.iam import resources as iam_resources
from local_cloud.services.lambda_ import functions
from local_cloud.services.lambda_ import resources as lambda_resources
from local_cloud.services.lambda_.functions import Invocation
from local_cloud.services.lambda_.invokers import InProcessInvoker, Invoker
from local_cloud.services.limits import keeper
from local_cloud.services.s3 import expiry, notifications
from local_cloud.services.s3 import resources as s3_resources
from local_cloud.services.sagemaker.endpoints import api as endpoints_api
from local_cloud.services.sagemaker.endpoints.endpoints import Endpoints
from local_cloud.services.sagemaker.training import jobs as training_jobs
from local_cloud.services.sns import resources as sns_resources
from local_cloud.services.sns import topics
from local_cloud.services.sqs import gauges, queues
from local_cloud.services.sqs import resources as sqs_resources

SEED = 20_260_101
ROUNDS_OF_DRAINING = 1_000


class FunctionFailedError(LocalCloudError):
    """A function that was called directly ended in an error."""

    def __init__(self, function: str, document: Mapping[str, Any]):
        self.document = document
        super().__init__(f"{function} failed: {document.get('errorType')}: {document.get('errorMessage')}")


@dataclass(frozen=True, slots=True)
class Part:
    """A service as it is wired in: what it replaces in moto, and the types of resources it makes."""

    service: Service
    patches: Sequence[Patch] = ()
    kinds: Sequence[Kind[Any]] = ()


class LocalCloud:
    """A stack on this machine. Open one with :meth:`deploy`, close it with ``with`` or :meth:`close`.

    Parameters
    ----------
    start
        The clock's first moment, with a time zone.
    invoker
        What runs the functions; in this process unless given.
    work_dir
        Where files may be written; by default a directory that is removed with the cloud.
    options
        How the cloud behaves.
    region
        The region of AWS that it is; its partition (``aws-us-gov``, ``aws-cn``) follows from it.

    Raises
    ------
    UnknownRegionError
        When AWS has no such region.
    CloudAlreadyOpenError
        When this process has one open already.

    Attributes
    ----------
    clock, agenda
        The present, and what is due when.
    outputs, resources
        The stack's outputs, and the physical id of each logical one.
    parts
        Every service, in the order in which :meth:`drain` asks them for what they hold back.
    """

    _open: ClassVar[LocalCloud | None] = None

    def __init__(
        self,
        start: datetime,
        invoker: Invoker | None = None,
        work_dir: Path | None = None,
        options: Options | None = None,
        region: str = DEFAULT_REGION,
    ):
        if LocalCloud._open is not None:
            raise CloudAlreadyOpenError()
        self.place = Place.of(region)
        self.options = options or Options()
        self.clock: VirtualClock = WallClock(start) if self.options.real_time else VirtualClock(start)
        self.agenda = Agenda(self.clock)
        self.invoker: Invoker = invoker or InProcessInvoker()
        self._own_work_dir = work_dir is None
        self.work_dir = Path(work_dir or tempfile.mkdtemp(prefix="local-cloud-"))
        self.core = Core(self.clock, self.agenda, self.work_dir, self.options)
        self.stack_name = ""
        self._clients: dict[str, Any] = {}
        self._settled = ExitStack()
        self.parts = self._wire()
        self._patches = Patches()
        self._environment: dict[str, str | None] = {}
        self._moto = mock_aws()
        self._start()

    def _wire(self) -> tuple[Part, ...]:
        """Make each service of those below it, and say who hears of what."""
        core = self.core
        self.authority = authority.Authority(core)
        self.limits = keeper.Limits(core)
        self.metrics = metrics.Metrics(core)
        self.courier = Courier(core, self.metrics.put)
        self.buses = buses.Events(core, self.courier)
        self.archives = archives.Archives(self.buses)
        self.alarms = alarms.Alarms(core, self.courier, self.metrics, self.buses.emit)
        self.functions = functions.Functions(core, self.courier, self.invoker, self.buses.emit, self.metrics.record_run)
        self.pollers = functions.Pollers(core, self.functions)
        self.streams = streams.Streams(core, self.courier, self.functions, self.pollers)
        self.time_to_live = dynamodb_expiry.TimeToLive(core, self.streams)
        self.pipes = pipes.Pipes(core, self.courier, self.streams, self.buses)
        self.timetable = schedules.Timetable(core, self.courier, self.buses, self.functions.next_request_id)
        self.firehose = firehose.Firehose(core)
        self.topics = topics.Topics(core, self.courier)
        self.queues = queues.Queues(core)
        self.gauges = gauges.QueueGauges(core, self.metrics.put, self.alarms)
        self.lifecycles = expiry.Lifecycles(core)
        self.notifications = notifications.Notifications(self.courier, self.buses.emit)
        self.http_apis = http_api.HttpApis(core, self.functions, self.metrics.put)
        self.endpoints = Endpoints(core, self.alarms, self.metrics.put, self.buses.emit)
        self.training_jobs = training_jobs.TrainingJobs(core, self.buses.emit, self.metrics.put, self.client)

        self.metrics.on_data(self.alarms.data_arrived)
        self.queues.on_message(self.gauges.message_sent, self.pollers.message_added)
        self.courier.accept("events", self.buses.deliver, "events:PutEvents")
        self.courier.accept("firehose", self.firehose.deliver, "firehose:PutRecord")
        self.courier.accept("lambda", self.functions.deliver, "lambda:InvokeFunction")
        self.courier.accept("logs", logs.deliver, "logs:PutLogEvents")
        self.courier.accept("sns", self.topics.deliver, "sns:Publish")
        self.courier.accept("sqs", self.queues.deliver, "sqs:SendMessage")

        parts = (
            Part(core, (*CORE_PATCHES, *speed.PATCHES)),
            Part(self.firehose, firehose.PATCHES, firehose_resources.KINDS),
            Part(self.endpoints, endpoints_api.PATCHES),
            Part(self.training_jobs, training_jobs.PATCHES),
            Part(self.functions, functions.PATCHES, lambda_resources.KINDS),
            Part(self.pollers),
            Part(self.streams, streams.PATCHES, dynamodb_resources.KINDS),
            Part(self.time_to_live, dynamodb_expiry.PATCHES),
            Part(self.pipes, pipes.PATCHES),
            Part(self.buses, buses.PATCHES, eventbridge_resources.KINDS),
            Part(self.archives, archives.PATCHES),
            Part(self.timetable, schedules.PATCHES),
            Part(self.metrics, metrics.PATCHES),
            Part(self.alarms, alarms.PATCHES, cloudwatch_resources.KINDS),
            Part(self.lifecycles, expiry.PATCHES, s3_resources.KINDS),
            Part(self.notifications, notifications.PATCHES),
            Part(self.topics, topics.PATCHES, sns_resources.KINDS),
            Part(self.queues, queues.PATCHES, sqs_resources.KINDS),
            Part(self.http_apis, (), http_api_resources.KINDS),
            Part(
                self.authority,
                (*authority.PATCHES, *simulation.PATCHES, *iam_resources.PATCHES),
                iam_resources.KINDS,
            ),
            Part(self.limits, keeper.PATCHES),
        )
        self.resource_types = resources.Resources((part.service, part.kinds) for part in parts)
        of_stacks = (template, rules, change_sets, validation)
        patches = (*resources.PATCHES, *(patch for module in of_stacks for patch in module.PATCHES))
        return (*parts, Part(self.resource_types, patches))

    @classmethod
    def deploy(
        cls,
        template: Path | str | Mapping[str, Any],
        *,
        start: datetime,
        stack_name: str = "evergreen",
        parameters: Mapping[str, str] | None = None,
        invoker: Invoker | None = None,
        work_dir: Path | None = None,
        region: str = DEFAULT_REGION,
    ) -> LocalCloud:
        """Open a cloud and deploy a template into it.

        Parameters
        ----------
        template
            A SAM or CloudFormation template, or one already read; local ``CodeUri`` and ``ContentUri`` directories
            are used in place (they are relative to the template, or to the current directory).
        start
            The clock's first moment, with a time zone.
        parameters
            The template's parameters.
        invoker
            What runs the functions; in this process unless given.
        region
            The region of AWS that it is.

        Raises
        ------
        UnknownRegionError
            When AWS has no such region.
        UnsupportedResourceError
            When the template asks for something the local cloud cannot do.
        TemplateError
            When the template cannot be read.
        """
        cloud = cls(start, invoker, work_dir, region=region)
        try:
            given = Path(template) if isinstance(template, str) else template
            cloud.deploy_stack(given, stack_name=stack_name, parameters=parameters)
        except BaseException:
            cloud.close()
            raise
        return cloud

    def deploy_stack(
        self, template: Path | Mapping[str, Any], *, stack_name: str, parameters: Mapping[str, str] | None = None
    ) -> None:
        """Deploy a template (a path, or a template already read) into this cloud, or update the stack of that name."""
        folder = template.parent if isinstance(template, Path) else Path()
        document = read_template(template) if isinstance(template, Path) else template
        packaged = json.dumps(package(document, folder, self.functions.code_dirs))
        backend = cloudformation_backends[ACCOUNT][here().region]
        values = {name: str(value) for name, value in (parameters or {}).items()}
        try:
            if any(stack.name == stack_name for stack in backend.stacks.values()):
                backend.update_stack(
                    name=stack_name,
                    template=packaged,
                    role_arn=None,
                    parameters=[{"parameter_key": k, "parameter_value": v} for k, v in values.items()],
                    tags=None,
                )
            else:
                backend.create_stack(name=stack_name, template=packaged, parameters=values)
        except ValidationError as error:
            if isinstance(error.__cause__, LocalCloudError):
                raise error.__cause__ from None
            raise TemplateError(f"CloudFormation refuses the template: {error.message}") from error
        except RecursionError as error:
            raise TemplateError("The template's resources refer to each other in a circle.") from error
        self.stack_name = stack_name

    # -- looking -----------------------------------------------------------------------------------------------------

    @property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs."""
        stack = cloudformation_backends[ACCOUNT][here().region].get_stack(self.stack_name)
        return {output.key: output.value for output in stack.output_map.values() if output}

    @property
    def resources(self) -> Mapping[str, str]:
        """The physical id of each resource, by its logical id."""
        stack = cloudformation_backends[ACCOUNT][here().region].get_stack(self.stack_name)
        found: dict[str, str] = {}
        for name in stack.resource_map.resources:
            resource = stack.resource_map._parsed_resources.get(name)
            if resource is not None:
                found[name] = str(resource.physical_resource_id)
        return found

    @property
    def invocations(self) -> list[Invocation]:
        """The last invocations, oldest first (50,000 are kept)."""
        return list(self.functions.invocations)

    @property
    def invocation_counts(self) -> Mapping[str, int]:
        """How often each function ran, by logical id."""
        return dict(self.functions.counts)

    @property
    def error_counts(self) -> Mapping[str, int]:
        """How often each function failed, by logical id."""
        return dict(self.functions.errors)

    def client(self, service: str) -> Any:
        """Return a boto3 client of this cloud; the same one each time."""
        if service not in self._clients:
            make: Any = boto3.client  # by a name that is only known here, not one of its overloads
            self._clients[service] = make(service, region_name=self.place.region)
        return self._clients[service]

    # -- acting ------------------------------------------------------------------------------------------------------

    def advance(self, until: datetime) -> None:
        """Run everything due, in order of time, up to and including ``until``; the clock stands there afterwards."""
        with self.core.lock:
            self.agenda.run(until)

    def next_schedule(self) -> datetime | None:
        """When the next schedule (a rule's or the Scheduler's) fires; retries, flushes and alarms do not count."""
        return self.timetable.next_time()

    def drain(self) -> None:
        """Run everything due now, write buffers out and close batching windows, until nothing is left but retries.

        Raises
        ------
        EndlessLoopError
            When what runs keeps filling buffers or queues.
        """
        with self.core.lock:
            self.agenda.run(self.clock.now)
            for _ in range(ROUNDS_OF_DRAINING):
                if not sum(part.service.flush() for part in self.parts):
                    return
                self.agenda.run(self.clock.now)
            raise EndlessLoopError(self.clock.now.isoformat(), ROUNDS_OF_DRAINING, "drain")

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Call a function (its logical id, name or ARN) and return its answer.

        Raises
        ------
        FunctionFailedError
            When it raised.
        """
        found = self.functions.find(function)
        result = self.functions.invoke(found, json.dumps(event).encode())
        answer = json.loads(result.payload or b"null")
        if result.error:
            raise FunctionFailedError(function, answer)
        return answer

    def http(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        api_id: str | None = None,
    ) -> HttpAnswer:
        """Send a request to the stack's HTTP API."""
        return self.http_apis.answer(method, path, body=body, headers=headers, api_id=api_id)

    # -- opening and closing -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        LocalCloud._open = self
        settings = {
            **FAKE_CREDENTIALS,
            "AWS_DEFAULT_REGION": self.place.region,
            "AWS_REGION": self.place.region,
            "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MOTO_ALLOW_NONEXISTENT_REGION": "true",  # of a service: botocore's lists of where each one is have gaps
        }
        unwanted = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
        self._environment = {name: os.environ.get(name) for name in (*settings, *unwanted)}
        try:
            self._settled.enter_context(settled(self.place))
            self._moto.start()
            os.environ.update(settings)
            for name in unwanted:
                os.environ.pop(name, None)
            mock_random.seed(SEED)
            speed.use_light_clients()
            for part in self.parts:
                self._patches.apply(part.patches, part.service)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the functions, put moto back as it was, and remove what was written; a second call does nothing."""
        if LocalCloud._open is not self:
            return
        self.invoker.close()
        for part in self.parts:
            part.service.close()
        self._patches.undo()
        self._moto.stop()
        self._settled.close()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self._own_work_dir:
            shutil.rmtree(self.work_dir, ignore_errors=True)
        LocalCloud._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
