"""The local cloud: one template, deployed and running on this machine, on a clock that moves when it is told to."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import boto3
from moto import mock_aws
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.moto_api._internal import mock_random

from . import endpoints_api
from .alarms import Alarms
from .arns import ACCOUNT, REGION
from .delivery import Courier
from .endpoints import Endpoints
from .engine import Agenda, VirtualClock
from .errors import CloudAlreadyOpenError, EndlessLoopError, LocalCloudError, TemplateError
from .events import Events
from .firehose import Firehose
from .gauges import QueueGauges
from .http_api import HttpAnswer, HttpApis
from .identity import Identities
from .invokers import FAKE_CREDENTIALS, InProcessInvoker, Invoker
from .lambdas import Functions, Invocation, Pollers
from .lifecycle import Lifecycles
from .metrics import Metrics
from .patches import Patches
from .pipes import Pipes
from .schedules import Timetable
from .speed import use_light_clients
from .streams import Streams
from .template import package, read_template

SEED = 20_260_101
DEFAULT_TRAINING_SECONDS = 600.0
DEFAULT_ENDPOINT_SECONDS = 300.0
ROUNDS_OF_DRAINING = 1_000


class FunctionFailedError(LocalCloudError):
    """A function that was called directly ended in an error."""

    def __init__(self, function: str, document: Mapping[str, Any]):
        self.document = document
        super().__init__(f"{function} failed: {document.get('errorType')}: {document.get('errorMessage')}")


class LocalCloud:
    """A stack on this machine. Open one with :meth:`deploy`, close it with ``with`` or :meth:`close`.

    Attributes
    ----------
    clock, agenda
        The present, and what is due when.
    outputs, resources
        The stack's outputs, and the physical id of each logical one.
    lock
        Held while the agenda runs. API calls from other threads do not wait for it.
    training_seconds, endpoint_seconds
        How long a training job takes in virtual time, and the start of an endpoint's fleet.
    real_time
        Whether a thread moves the clock with the wall clock (the server) instead of a caller (a replay).
    keep_logs
        Whether what functions print is kept in CloudWatch Logs; slow, so off unless a person will look.
    """

    _open: ClassVar[LocalCloud | None] = None

    def __init__(self, start: datetime, invoker: Invoker | None = None, work_dir: Path | None = None):
        if LocalCloud._open is not None:
            raise CloudAlreadyOpenError()
        self.clock = VirtualClock(start)
        self.agenda = Agenda(self.clock)
        self.lock = threading.RLock()
        self.identities = Identities()
        self.invoker: Invoker = invoker or InProcessInvoker()
        self._own_work_dir = work_dir is None
        self.work_dir = Path(work_dir or tempfile.mkdtemp(prefix="evergreen-local-"))
        self.training_seconds = DEFAULT_TRAINING_SECONDS
        self.endpoint_seconds = DEFAULT_ENDPOINT_SECONDS
        self.real_time = False
        self.keep_logs = False
        self.stack_name = ""
        self.functions = Functions(self)
        self.pollers = Pollers(self)
        self.courier = Courier(self)
        self.events = Events(self)
        self.timetable = Timetable(self)
        self.streams = Streams(self)
        self.pipes = Pipes(self)
        self.firehose = Firehose(self)
        self.lifecycles = Lifecycles(self)
        self.metrics = Metrics(self)
        self.alarms = Alarms(self)
        self.gauges = QueueGauges(self)
        self.http_apis = HttpApis(self)
        self.endpoints = Endpoints(self)
        self.patches = Patches(self)
        self._uninstall_training_jobs: Callable[[], object] = lambda: None
        self._uninstall_endpoints: Callable[[], object] = lambda: None
        self._clients: dict[str, Any] = {}
        self._environment: dict[str, str | None] = {}
        self._moto = mock_aws()
        self._start()

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

        Raises
        ------
        UnsupportedResourceError
            When the template asks for something the local cloud cannot do.
        TemplateError
            When the template cannot be read.
        """
        cloud = cls(start, invoker, work_dir)
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
        packaged = json.dumps(package(document, folder, self))
        backend = cloudformation_backends[ACCOUNT][REGION]
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
        stack = cloudformation_backends[ACCOUNT][REGION].get_stack(self.stack_name)
        return {output.key: output.value for output in stack.output_map.values() if output}

    @property
    def resources(self) -> Mapping[str, str]:
        """The physical id of each resource, by its logical id."""
        stack = cloudformation_backends[ACCOUNT][REGION].get_stack(self.stack_name)
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
            self._clients[service] = boto3.client(service, region_name=REGION)  # type: ignore[call-overload]
        return self._clients[service]

    # -- acting ------------------------------------------------------------------------------------------------------

    def advance(self, until: datetime) -> None:
        """Run everything due, in order of time, up to and including ``until``; the clock stands there afterwards."""
        with self.lock:
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
        with self.lock:
            self.agenda.run(self.clock.now)
            for _ in range(ROUNDS_OF_DRAINING):
                written = self.firehose.flush_all() + self.endpoints.flush()
                if not written + self.pollers.hurry() + self.streams.hurry():
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
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        unwanted = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
        self._environment = {name: os.environ.get(name) for name in (*settings, *unwanted)}
        try:
            self._moto.start()
            os.environ.update(settings)
            for name in unwanted:
                os.environ.pop(name, None)
            mock_random.seed(SEED)
            use_light_clients()
            self.patches.apply_all()
            self._uninstall_training_jobs = _install_training_jobs(self)
            self._uninstall_endpoints = endpoints_api.install(self)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the functions, put moto back as it was, and remove what was written; a second call does nothing."""
        if LocalCloud._open is not self:
            return
        self.invoker.close()
        self._uninstall_endpoints()
        self._uninstall_training_jobs()
        self.patches.undo()
        self._moto.stop()
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


def _install_training_jobs(cloud: LocalCloud) -> Callable[[], object]:
    """Let training jobs run for real; return what undoes it."""
    from . import training_jobs

    jobs = training_jobs.install(cloud)
    return lambda: training_jobs.uninstall(jobs)
