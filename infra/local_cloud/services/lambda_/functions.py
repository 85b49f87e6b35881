"""Lambda: synchronous calls, the asynchronous queue with its retries, destinations, and what polls for functions."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import time
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import EventSourceMapping, LambdaBackend, LambdaFunction, lambda_backends

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Emit, Parcel
from local_cloud.kernel.errors import DeliveryError, UnknownFunctionError
from local_cloud.kernel.loopback import FAKE_CREDENTIALS
from local_cloud.kernel.notices import Kind
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.patterns import matches_any
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.kernel.times import milliseconds
from local_cloud.services.lambda_.concurrency import (
    Slots,
    ThrottledError,
    TooManyRequestsError,
    patched_put_concurrency,
    reserved_of,
    retry_delay,
)
from local_cloud.services.lambda_.invokers import DeployedFunction, InvocationResult, Invoker

RETRY_DELAYS = (timedelta(minutes=1), timedelta(minutes=2))
DEFAULT_MAX_AGE_SECONDS = 6 * 3600
LARGEST_RESPONSE_BYTES = 6_291_556
LARGEST_EVENT_BYTES = 1_048_576
"""Of an asynchronous invocation (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
LARGEST_ENVIRONMENT_BYTES = 4_096
LARGEST_UNZIPPED_BYTES = 262_144_000
LOG_LENGTH = 50_000
PRINCIPAL = "lambda.amazonaws.com"
POLLING = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


IN_A_VPC = ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface")
TRACING = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a function, as the log keeps it."""

    time: datetime
    function: str
    error: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class AsyncEvent:
    """An event in Lambda's own queue."""

    arn: str
    payload: bytes
    request_id: str
    accepted: datetime
    tries: int = 0
    throttled: int = 0


OnRun = Callable[[DeployedFunction, InvocationResult, float], object]
"""Takes a run of a function, and the milliseconds it took."""


class Functions(Service):
    """The functions that are deployed, and everything that runs them.

    Parameters
    ----------
    courier, emit
        How the destinations of asynchronous calls are reached.
    invoker
        What runs the code.
    on_run
        Told of each run.
    """

    volatile = frozenset({"_described"})

    def __init__(self, core: Core, courier: Courier, invoker: Invoker, emit: Emit, on_run: OnRun):
        self.core = core
        self.courier = courier
        self.invoker = invoker
        self.emit = emit
        self.on_run = on_run
        self.code_dirs: dict[tuple[str, str], Path] = {}
        self.logical_ids: dict[str, str] = {}
        self.dead_letter_arns: dict[str, str] = {}
        self.invocations: deque[Invocation] = deque(maxlen=LOG_LENGTH)
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._described: dict[int, tuple[tuple[Any, ...], DeployedFunction]] = {}
        self._requests = itertools.count(1)
        self.slots = Slots()
        self._layer_sizes: dict[Path, int] = {}

    # -- finding -----------------------------------------------------------------------------------------------------

    def find(self, name_or_arn: str, qualifier: str | None = None) -> LambdaFunction:
        """Return moto's function for a name, an ARN or a logical id.

        Raises
        ------
        UnknownFunctionError
            When there is none.
        """
        backend = self._backend(name_or_arn)
        name = self._physical_name(name_or_arn)
        try:
            return backend.get_function(name, qualifier)
        except UnknownFunctionException as error:
            known = sorted(self.logical_ids.values()) or sorted(f.function_name for f in backend.list_functions())
            raise UnknownFunctionError(name_or_arn, known) from error

    def describe(self, function: LambdaFunction) -> DeployedFunction:
        """Return what an invoker needs to run ``function``."""
        fingerprint = (
            function.code_sha_256,
            function.handler,
            function.timeout,
            function.memory_size,
            tuple(sorted(function.environment_vars.items())),
            tuple(layer["Arn"] for layer in function.layers),
            str(function.version),
            function.role,
        )
        cached = self._described.get(id(function))
        if cached is not None and cached[0] == fingerprint:
            return cached[1]
        caller = self.caller_of(function)
        described = DeployedFunction(
            name=function.function_name,
            arn=function.function_arn,
            logical_id=self.logical_ids.get(function.function_name, function.function_name),
            handler=str(function.handler),
            code_dir=self._code_dir(function.code, function.code_bytes, function.function_name),
            layer_dirs=tuple(self._layer_dir(layer["Arn"]) for layer in function.layers),
            environment=dict(function.environment_vars),
            timeout_seconds=float(function.timeout or 3),
            memory_mb=int(function.memory_size or 128),
            code_sha256=function.code_sha_256,
            version=str(function.version),
            caller=caller,
            credentials=FAKE_CREDENTIALS if caller is None else self.core.keyring.credentials(caller),
        )
        self._described[id(function)] = (fingerprint, described)
        return described

    def caller_of(self, function: LambdaFunction) -> Caller | None:
        """Return the session of a function's role, which Lambda names after the function."""
        role = str(function.role or "")
        return Caller.session(role, function.function_name) if role.startswith("arn:") else None

    def wants_of_role(self, properties: Mapping[str, Any]) -> str | None:
        """Return what Lambda says of a role that a function can't be made with; None when it can.

        Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
        """
        role = str(properties.get("Role") or "")
        if self.core.gate.not_assumed(PRINCIPAL, role) is not None:
            return f"The role defined for the function cannot be assumed by Lambda ({role})"
        caller, refusal = Caller.session(role, "lambda"), self.core.gate.refusal
        for action in IN_A_VPC if (properties.get("VpcConfig") or {}).get("SubnetIds") else ():
            if refusal(caller, f"ec2:{action}", "*") is not None:
                return f"The provided execution role does not have permissions to call {action} on EC2 ({role})"
        return None

    def _physical_name(self, name: str) -> str:
        if name.startswith("arn:"):
            return name
        for physical, logical in self.logical_ids.items():
            if logical == name:
                return physical
        return name

    def _backend(self, name_or_arn: str) -> LambdaBackend:
        if name_or_arn.startswith("arn:"):
            arn = Arn.parse(name_or_arn)
            return lambda_backends[arn.account][arn.region]
        return lambda_backends[ACCOUNT][here().region]

    def _code_dir(self, code: Mapping[str, Any], zipped: bytes, name: str) -> Path:
        known = self.code_dirs.get((code.get("S3Bucket", ""), code.get("S3Key", "")))
        return known or self._unzip(zipped, name)

    def _layer_dir(self, arn: str) -> Path:
        layer = self._backend(arn).layers_versions_by_arn(arn)
        if layer is None:
            raise DeliveryError("NO_RESOURCE", f"There is no layer {arn}.")
        return self._code_dir(layer.content, layer.code_bytes, layer.name)

    def unzipped_size(self, function: LambdaFunction) -> int:
        """Return the bytes that a function's code and layers take, unzipped."""
        deployed = self.describe(function)
        for folder in deployed.layer_dirs:
            if folder not in self._layer_sizes:  # functions share them, and they are large
                self._layer_sizes[folder] = _size(folder)
        return _size(deployed.code_dir) + sum(self._layer_sizes[folder] for folder in deployed.layer_dirs)

    def _unzip(self, zipped: bytes, name: str) -> Path:
        folder = self.core.work_dir / "code" / f"{name}-{hashlib.sha256(zipped).hexdigest()[:12]}"
        if not folder.exists():
            folder.mkdir(parents=True)
            with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
                archive.extractall(folder)
        return folder

    # -- calling -----------------------------------------------------------------------------------------------------

    def next_request_id(self) -> str:
        """Return a request id that is the same in every run."""
        number = next(self._requests)
        return f"{number:08x}-0000-4000-8000-{number:012x}"

    def invoke(self, function: LambdaFunction, payload: bytes, request_id: str | None = None) -> InvocationResult:
        """Run ``function`` now and record what it did.

        Raises
        ------
        ThrottledError
            As many runs as may be are under way.
        """
        deployed = self.describe(function)
        reserved = reserved_of(self._backend(deployed.arn))
        with self.slots.taken(deployed.name, reserved):
            return self._run(function, deployed, payload, request_id)

    def _run(
        self, function: LambdaFunction, deployed: DeployedFunction, payload: bytes, request_id: str | None
    ) -> InvocationResult:
        request_id = request_id or self.next_request_id()
        now = self.core.clock.now
        started = time.perf_counter()
        result = self.invoker.invoke(deployed, payload, request_id=request_id, now=now)
        took_ms = (time.perf_counter() - started) * 1000
        if result.error is None and len(result.payload) > LARGEST_RESPONSE_BYTES:
            result = _response_too_large(result)
        self.counts[deployed.logical_id] += 1
        error = None
        if result.error:
            error = _summary(result.payload)
            self.errors[deployed.logical_id] += 1
        self.invocations.append(Invocation(now, deployed.logical_id, error, request_id))
        self.core.tell(Kind.RUN, deployed.name, "", f"failed: {_error_type(result.payload)}" if error else "done")
        logged = self._may_log(function, deployed)
        if not logged:
            result = replace(result, stdout="")  # as on AWS: what is not logged is lost, and metrics in it are not read
        self.on_run(deployed, result, took_ms)
        if logged and self.core.options.keep_logs:
            self._keep_log(function, result)
        return result

    def deliver(self, arn: Arn, parcel: Parcel) -> None:
        """Accept a parcel into the function's queue.

        Raises
        ------
        DeliveryError
            When there is no such function, or the parcel is too large for it.
        """
        payload = parcel.body.encode()
        if len(payload) > LARGEST_EVENT_BYTES:
            raise DeliveryError("REQUEST_TOO_LARGE", request_too_large(LARGEST_EVENT_BYTES))
        self.invoke_async(arn.text, payload)

    def invoke_async(self, arn: str, payload: bytes) -> str:
        """Accept an event into the function's queue; it runs when what is already due has run.

        Raises
        ------
        DeliveryError
            When there is no such function.
        """
        try:
            self.find(arn)
        except UnknownFunctionError as error:
            raise DeliveryError("NO_RESOURCE", f"There is no function {arn}.") from error
        event = AsyncEvent(arn, payload, self.next_request_id(), self.core.clock.now)
        self.core.agenda.soon(lambda: self._run_async(event), f"async {arn}")
        return event.request_id

    def _run_async(self, event: AsyncEvent) -> None:
        try:
            function = self.find(event.arn)
        except UnknownFunctionError:
            return  # deleted since: Lambda drops its queue with the function
        config = _event_invoke_config(function)
        if function.reserved_concurrency == 0:  # nothing waits for it, as nothing would ever run
            nothing = InvocationResult("Unhandled", b"null", "")
            self._give_up(config, "ZeroReservedConcurrency", event, function, nothing)
            return
        try:
            result = self.invoke(function, event.payload, event.request_id)
        except ThrottledError:
            self._wait_for_a_slot(config, replace(event, throttled=event.throttled + 1), function)
            return
        tries = event.tries + 1
        event = replace(event, tries=tries)
        if result.error is None:
            self._to_destination(config, "OnSuccess", "Success", event, function, result)
            return
        max_retries = int(config.get("MaximumRetryAttempts", len(RETRY_DELAYS)))
        if tries <= max_retries:
            if not self._again_after(RETRY_DELAYS[min(tries, len(RETRY_DELAYS)) - 1], config, event):
                self._give_up(config, "EventAgeExceeded", event, function, result)
            return
        self._give_up(config, "RetriesExhausted", event, function, result)

    def _wait_for_a_slot(self, config: Mapping[str, Any], event: AsyncEvent, function: LambdaFunction) -> None:
        """An event that was throttled goes back into the queue, and counts as no try."""
        if not self._again_after(retry_delay(event.throttled), config, event):
            throttled = InvocationResult("Unhandled", b"null", "")
            self._give_up(config, "EventAgeExceeded", event, function, throttled)

    def _again_after(self, delay: timedelta, config: Mapping[str, Any], event: AsyncEvent) -> bool:
        """Run an event again after a time, unless it is too old by then."""
        max_age = timedelta(seconds=int(config.get("MaximumEventAgeInSeconds", DEFAULT_MAX_AGE_SECONDS)))
        if self.core.clock.now + delay - event.accepted > max_age:
            return False
        self.core.agenda.after(delay, lambda: self._run_async(event), f"retry {event.arn}")
        return True

    def _give_up(
        self, config: Mapping[str, Any], why: str, event: AsyncEvent, function: LambdaFunction, result: InvocationResult
    ) -> None:
        self._to_destination(config, "OnFailure", why, event, function, result)
        dead_letter_arn = self.dead_letter_arns.get(function.function_name)
        if dead_letter_arn:
            self._to_dead_letter_queue(dead_letter_arn, event, result, self.caller_of(function))

    def _to_destination(
        self,
        config: Mapping[str, Any],
        when: str,
        condition: str,
        event: AsyncEvent,
        function: LambdaFunction,
        result: InvocationResult,
    ) -> None:
        destination = config.get("DestinationConfig", {}).get(when, {}).get("Destination")
        if not destination:
            return
        record = {
            "version": "1.0",
            "timestamp": milliseconds(self.core.clock.now),
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": f"{_unqualified(function.function_arn)}:{function.version}",
                "condition": condition,
                "approximateInvokeCount": event.tries,
            },
            "requestPayload": json.loads(event.payload or b"null"),
            "responseContext": {"statusCode": 200, "executedVersion": str(function.version)},
            "responsePayload": json.loads(result.payload or b"null"),
        }
        if result.error:
            record["responseContext"]["functionError"] = result.error
        caller = self.caller_of(function)
        if Arn.parse(destination).service != "events":
            self.courier.send(Parcel(destination, json.dumps(record), caller))
            return
        if caller is not None and self.core.gate.refusal(caller, "events:PutEvents", destination) is not None:
            return  # as on AWS: a record that the role may not hand on is lost
        self.emit(
            source="lambda",
            detail_type=f"Lambda Function Invocation Result - {'Failure' if result.error else 'Success'}",
            detail=record,
            resources=[destination, record["requestContext"]["functionArn"]],
            bus=Arn.parse(destination).resource_name,
        )

    def _to_dead_letter_queue(
        self, arn: str, event: AsyncEvent, result: InvocationResult, caller: Caller | None
    ) -> None:
        body = event.payload.decode()
        attributes: dict[str, str] = {}
        if Arn.parse(arn).service == "sqs":
            message = _summary(result.payload)[:1024]
            attributes = {"RequestID": event.request_id, "ErrorCode": "200", "ErrorMessage": message}
        self.courier.send(Parcel(arn, body, caller, attributes=attributes))

    def _may_log(self, function: LambdaFunction, deployed: DeployedFunction) -> bool:
        """Whether Lambda can write the function's log, which it does as the function; so it does with traces."""
        caller, refusal = deployed.caller, self.core.gate.refusal
        if caller is None:
            return True
        if (function.tracing_config or {}).get("Mode") == "Active":
            for action in TRACING:
                refusal(caller, action, "*")
        group = here().arn("logs", f"log-group:{function.logs_group_name}")
        stream = f"{group}:log-stream:{self.core.clock.now:%Y/%m/%d}/[{deployed.version}]{deployed.code_sha256[:32]}"
        wanted = [("logs:CreateLogStream", stream), ("logs:PutLogEvents", stream)]
        if function.logs_group_name not in function.logs_backend.groups:
            wanted.insert(0, ("logs:CreateLogGroup", group))
        return all(refusal(caller, *each) is None for each in wanted)

    def _keep_log(self, function: LambdaFunction, result: InvocationResult) -> None:
        function.logs_backend.ensure_log_group(function.logs_group_name)
        function.save_logs(result.stdout + (result.payload.decode() if result.error else ""))


# -- event source mappings -------------------------------------------------------------------------------------------


class Pollers(Service):
    """Event source mappings of queues: polled in batches on the agenda."""

    def __init__(self, core: Core, functions: Functions):
        self.core = core
        self.functions = functions
        self._due: dict[str, datetime] = {}

    def message_added(self, queue: Any, delay_seconds: float = 0.0) -> None:
        """Arrange for the mappings of ``queue`` to poll."""
        for mapping in self._mappings(queue.queue_arn):
            self._plan(mapping, queue, self._ready_in(mapping, queue) + timedelta(seconds=delay_seconds))

    def flush(self) -> int:
        """Let mappings whose batching window is still open poll at once; return how many there were."""
        from moto.sqs.models import sqs_backends

        waiting = 0
        for queue in list(sqs_backends[ACCOUNT][here().region].queues.values()):
            for mapping in self._mappings(queue.queue_arn) if queue.messages else ():
                self._plan(mapping, queue, timedelta(0))
                waiting += 1
        return waiting

    def _mappings(self, source_arn: str) -> list[EventSourceMapping]:
        arn = Arn.parse(source_arn)
        mappings = lambda_backends[arn.account][arn.region]._event_source_mappings.values()
        return [m for m in mappings if m.event_source_arn == source_arn and m.enabled]

    def _ready_in(self, mapping: EventSourceMapping, queue: Any) -> timedelta:
        if len(queue.messages) >= mapping.batch_size:
            return timedelta(0)
        return timedelta(seconds=int(mapping.max_batch_window or 0))

    def _plan(self, mapping: EventSourceMapping, queue: Any, delay: timedelta) -> None:
        when = self.core.clock.now + delay
        planned = self._due.get(mapping.uuid)
        if planned is not None and planned <= when:
            return
        self._due[mapping.uuid] = when
        self.core.agenda.at(when, lambda: self._poll(mapping, queue, when), f"poll {queue.name}")

    def _poll(self, mapping: EventSourceMapping, queue: Any, planned: datetime) -> None:
        if self._due.get(mapping.uuid) != planned:
            return  # an earlier poll took its place
        del self._due[mapping.uuid]
        if not mapping.enabled:
            return
        from moto.sqs.models import sqs_backends

        backend: Any = sqs_backends[queue.account_id][queue.region]
        if backend.queues.get(queue.name) is not queue or not self._may_poll(mapping, queue):
            return
        messages = backend.receive_message(queue.name, mapping.batch_size, 0, int(queue.visibility_timeout), ["All"])
        if messages:
            self._process(mapping, queue, backend, messages)
        if queue.messages:
            self._plan(mapping, queue, self._ready_in(mapping, queue))
        elif waiting := [m for m in queue._messages if not m.visible or m.delayed]:
            soonest = min(max(m.visible_at, m.delayed_until) for m in waiting) / 1000
            self._plan(mapping, queue, timedelta(seconds=max(0.0, soonest - self.core.clock.now.timestamp()) + 0.001))

    def _may_poll(self, mapping: EventSourceMapping, queue: Any) -> bool:
        """Whether the function's role may take messages; the poller acts for it."""
        caller = self.functions.caller_of(self.functions.find(mapping.function_arn))
        refusal = self.core.gate.refusal
        return caller is None or all(refusal(caller, action, queue.queue_arn) is None for action in POLLING)

    def _process(self, mapping: EventSourceMapping, queue: Any, backend: Any, messages: Sequence[Any]) -> None:
        filters = _filter_patterns(mapping.filter_criteria)
        wanted = [m for m in messages if not filters or matches_any(filters, _sqs_view(m))]
        done = {m.id for m in messages} - {m.id for m in wanted}
        if wanted:
            function = self.functions.find(mapping.function_arn)
            event = {"Records": [_sqs_record(m, queue) for m in wanted]}
            try:
                result = self.functions.invoke(function, json.dumps(event).encode())
            except ThrottledError:
                return  # the messages are seen again after their visibility timeout
            done |= {m.id for m in wanted} - _failed_messages(mapping, result, [m.id for m in wanted])
        for message in messages:
            if message.id in done:
                backend.delete_message(queue.name, message.receipt_handle)


def _failed_messages(mapping: EventSourceMapping, result: InvocationResult, ids: Sequence[str]) -> set[str]:
    if result.error:
        return set(ids)
    if "ReportBatchItemFailures" not in (mapping.function_response_types or []):
        return set()
    answer = json.loads(result.payload or b"null") or {}
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    reported = {failure.get("itemIdentifier") for failure in failures or []}
    if reported and not reported <= set(ids):
        return set(ids)  # AWS: an unknown or empty identifier fails the whole batch
    return reported


def _filter_patterns(criteria: Mapping[str, Any] | None) -> list[str]:
    return [item["Pattern"] for item in (criteria or {}).get("Filters", [])]


def _sqs_view(message: Any) -> dict[str, Any]:
    try:
        body: Any = json.loads(message.body)
    except ValueError:
        body = message.body
    return {"messageId": message.id, "body": body}


def _sqs_record(message: Any, queue: Any) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    if message.group_id:
        attributes["MessageGroupId"] = message.group_id
    if message.deduplication_id:
        attributes["MessageDeduplicationId"] = message.deduplication_id
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {
            name: {
                "dataType": value["DataType"],
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
            }
            for name, value in message.message_attributes.items()
        },
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.queue_arn,
        "awsRegion": queue.region,
    }


def consume_stream(functions: Functions, mapping: EventSourceMapping) -> Callable[[Sequence[dict[str, Any]]], int]:
    """Return what a stream calls with a batch for ``mapping``: how many records were dealt with."""

    def consume(records: Sequence[dict[str, Any]]) -> int:
        function = functions.find(mapping.function_arn)
        try:
            result = functions.invoke(function, json.dumps({"Records": list(records)}).encode())
        except ThrottledError:
            return 0
        failed = _failed_records(mapping, result, records)
        return failed if failed is not None else len(records)

    return consume


def _failed_records(
    mapping: EventSourceMapping, result: InvocationResult, records: Sequence[dict[str, Any]]
) -> int | None:
    """How many records went well before the first that failed; None when all did."""
    if result.error:
        return 0
    if "ReportBatchItemFailures" not in (mapping.function_response_types or []):
        return None
    answer = json.loads(result.payload or b"null") or {}
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not failures:
        return None
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    positions = [numbers.index(f["itemIdentifier"]) for f in failures if f.get("itemIdentifier") in numbers]
    return min(positions, default=0)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_backend_invoke(functions: Functions, original: Callable[..., Any]) -> Callable[..., Any]:
    """``LambdaBackend.invoke``: the three invocation types."""

    def invoke(
        self: LambdaBackend, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: Any
    ) -> str | bytes | None:
        function = self.get_function(function_name, qualifier)
        payload = body if isinstance(body, bytes) else (body or "").encode()
        match _header(headers, "X-Amz-Invocation-Type"):
            case "Event":
                functions.invoke_async(function.function_arn, payload)
                return b""
            case "DryRun":
                return b""
        try:
            result = functions.invoke(function, payload)
        except ThrottledError as error:
            raise TooManyRequestsError(error.reason) from error
        if result.error:
            response_headers["x-amz-function-error"] = result.error
        response_headers["x-amz-log-result"] = base64.b64encode(result.stdout[-4096:].encode()).decode()
        response_headers["x-amz-executed-version"] = str(function.version)
        response_headers["Content-Length"] = str(len(result.payload))
        return _Payload(result.payload)

    return invoke


class _Payload(bytes):
    """An answer that Lambda's limit has been applied to: moto would cut it off at 6,000,000 bytes of memory."""

    def __sizeof__(self) -> int:
        return 0


def patched_response_invoke(functions: Functions, original: Callable[..., Any]) -> Callable[..., Any]:
    """``LambdaResponse.invoke``: the Qualifier of a request is read (moto looks for it under another name)."""

    def invoke(self: Any) -> Any:
        if "Qualifier" in self.querystring:
            self.querystring["qualifier"] = self.querystring["Qualifier"]
        return original(self)

    return invoke


def patched_invoke_lambda(functions: Functions, original: Callable[..., Any]) -> Callable[..., Any]:
    """``LambdaFunction._invoke_lambda``: every other way in which moto runs a function."""

    def _invoke_lambda(self: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
        result = functions.invoke(self, json.dumps(event).encode())
        return result.payload.decode(), result.error is not None, result.stdout

    return _invoke_lambda


def _response_too_large(result: InvocationResult) -> InvocationResult:
    told = f"Response payload size exceeded maximum allowed payload size ({LARGEST_RESPONSE_BYTES} bytes)."
    document = {"errorMessage": told, "errorType": "Function.ResponseSizeTooLarge"}
    return InvocationResult("Unhandled", json.dumps(document).encode(), result.stdout)


def request_too_large(most: int) -> str:
    """Return Lambda's sentence about a request of more than so many bytes."""
    return f"Request must be smaller than {most} bytes for the InvokeFunction operation"


def lacking_for(properties: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what keeps a function from running here, and what to do; None where nothing does.

    Examples
    --------
    >>> lacking_for({"Runtime": "nodejs22.x"})
    ('uses Runtime nodejs22.x', 'write it in Python or deploy to AWS')
    """
    if properties.get("PackageType", "Zip") != "Zip":
        return "uses PackageType Image", "package it as a zip"
    runtime = str(properties.get("Runtime", ""))
    return None if runtime.startswith("python") else (f"uses Runtime {runtime}", "write it in Python or deploy to AWS")


def environment_size(variables: Mapping[str, Any]) -> int:
    """Return the bytes of a function's environment, as Lambda measures them: of its JSON.

    Examples
    --------
    >>> environment_size({"A": "1", "B": "22"})
    18
    """
    return len(json.dumps(variables, separators=(",", ":")).encode())


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")


def _header(headers: Any, name: str) -> str | None:
    for key, value in (headers or {}).items():
        if key.lower() == name.lower():
            return str(value)
    return None


def _event_invoke_config(function: LambdaFunction) -> Mapping[str, Any]:
    config: Mapping[str, Any] = function.event_invoke_config[-1].config if function.event_invoke_config else {}
    return config


def _unqualified(arn: str) -> str:
    return ":".join(arn.split(":")[:7])


def _error_type(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["errorType"])
    except (ValueError, TypeError, KeyError):
        return "no error type"


def _summary(payload: bytes) -> str:
    try:
        document = json.loads(payload)
        return f"{document['errorType']}: {document['errorMessage']}"
    except (ValueError, TypeError, KeyError):
        return payload[:200].decode(errors="replace")


PATCHES = (
    Patch("moto.awslambda.models:LambdaBackend.put_function_concurrency", patched_put_concurrency),
    Patch("moto.awslambda.models:LambdaBackend.invoke", patched_backend_invoke),
    Patch("moto.awslambda.models:LambdaFunction._invoke_lambda", patched_invoke_lambda),
    Patch("moto.awslambda.responses:LambdaResponse.invoke", patched_response_invoke),
)
