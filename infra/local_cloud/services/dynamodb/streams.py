"""DynamoDB: atomic writes under threads, and streams that are read in order by pipes and functions.

moto writes a transaction item by item and restores a copy of whole tables when it fails; here conditions are checked
first, so nothing needs restoring, nothing is sent for a write that failed, and a transaction costs what it writes.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.awslambda.models import EventSourceMapping, LambdaBackend
from moto.core.utils import unix_time
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import (
    ConditionalCheckFailed,
    MockValidationException,
    MultipleTransactionsException,
    TooManyTransactionsException,
    TransactionCanceledException,
    TransactWriteSingleOpException,
)
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import StreamRecord, StreamShard

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Parcel
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.patterns import matches_any
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.kernel.times import event_time, moment
from local_cloud.services.lambda_.functions import Functions, Pollers, consume_stream

RECORD_LIFE = timedelta(hours=24)
FIRST_RETRY = timedelta(seconds=1)
LONGEST_RETRY = timedelta(minutes=5)
ITEMS_PER_TRANSACTION = 100
READING = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")

Consume = Callable[[Sequence[dict[str, Any]]], int]
"""Takes a batch and returns how many of its records, from the front, were dealt with."""


@dataclass(slots=True)
class Reader:
    """Somebody who reads a stream: a pipe or an event source mapping.

    Parameters
    ----------
    name
        Unique to the reader.
    arn
        Whose failure a dead-letter queue is told of.
    caller
        The session of the role by which it reads and tells.
    """

    name: str
    arn: str
    stream_arn: str
    consume: Consume
    caller: Caller | None = None
    dead_letter_arn: str | None = None
    batch_size: int = 100
    window: timedelta = timedelta(0)
    max_retries: int = -1
    patterns: tuple[str, ...] = ()
    pending: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    tries: int = 0
    planned: bool = False


class Streams(Service):
    """The streams of every table.

    Parameters
    ----------
    functions, pollers
        Who runs the functions that read streams, and who polls queues for the others: a mapping has either.
    """

    def __init__(self, core: Core, courier: Courier, functions: Functions, pollers: Pollers):
        self.core = core
        self.courier = courier
        self.functions = functions
        self.pollers = pollers
        self.lock = threading.RLock()
        self._readers: dict[str, Reader] = {}
        self._held: list[tuple[StreamShard, Any, Any]] | None = None
        self._identity: Mapping[str, str] | None = None

    def attach(self, reader: Reader) -> None:
        """Let ``reader`` read what is written from now on."""
        self._readers[reader.name] = reader

    def flush(self) -> int:
        """Let readers whose window is still open read at once; return how many there were."""
        waiting = [reader for reader in self._readers.values() if reader.pending and not reader.tries]
        for reader in waiting:
            reader.planned = False
            self._plan(reader, timedelta(0))
        return len(waiting)

    def detach(self, name: str) -> None:
        """Stop a reader."""
        self._readers.pop(name, None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep changes back until the block ends well; forget them when it does not.

        Two inserts of one key in a block are one change: moto reports a new item of UpdateItem twice.
        """
        if self._held is not None:
            yield
            return
        self._held = []
        try:
            yield
            changes, self._held = self._held, None
            for position, (shard, old, new) in enumerate(changes):
                if not _repeated(changes[position + 1 :], shard, old, new):
                    self._publish(shard, old, new)
        finally:
            self._held = None

    @contextmanager
    def on_behalf_of(self, identity: Mapping[str, str]) -> Iterator[None]:
        """Say in the records of what changes in the block that a service did it."""
        self._identity = identity
        try:
            yield
        finally:
            self._identity = None

    def changed(self, shard: StreamShard, old: Any, new: Any) -> None:
        """A table's item has changed."""
        if self._held is not None:
            self._held.append((shard, old, new))
        else:
            self._publish(shard, old, new)

    def _publish(self, shard: StreamShard, old: Any, new: Any) -> None:
        name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
        number = len(shard.items) + shard.starting_sequence_number
        view = shard.table.stream_specification["StreamViewType"]  # type: ignore[index]
        stored = StreamRecord(shard.table, view, name, old, new, number)
        if self._identity is not None:
            stored.record["userIdentity"] = dict(self._identity)
        shard.items.append(stored)
        arn = f"{shard.table.table_arn}/stream/{shard.table.latest_stream_label}"
        readers = [r for r in self._readers.values() if r.stream_arn == arn]
        if not readers:
            return
        record = _event_record(stored.to_json(), arn)
        for reader in readers:
            if not reader.patterns or matches_any(reader.patterns, record):
                reader.pending.append((self.core.clock.now, record))
                self._plan(reader, reader.window if len(reader.pending) < reader.batch_size else timedelta(0))

    def _plan(self, reader: Reader, delay: timedelta) -> None:
        if not reader.planned:
            reader.planned = True
            self.core.agenda.after(delay, lambda: self._read(reader), f"stream {reader.name}")

    def _read(self, reader: Reader) -> None:
        reader.planned = False
        if self._readers.get(reader.name) is not reader or not reader.pending:
            return
        if not self._may_read(reader):
            reader.pending = [item for item in reader.pending if self.core.clock.now - item[0] < RECORD_LIFE]
            reader.tries = max(1, reader.tries)
            if reader.pending:
                self._plan(reader, LONGEST_RETRY)
            return
        batch = [record for _, record in reader.pending[: reader.batch_size]]
        done = reader.consume(batch)
        if done:
            del reader.pending[:done]
            reader.tries = 0
        if done < len(batch):
            self._retry(reader, batch[done:])
        elif reader.pending:
            self._plan(reader, timedelta(0))

    def _may_read(self, reader: Reader) -> bool:
        caller, refusal = reader.caller, self.core.gate.refusal
        return caller is None or all(refusal(caller, action, reader.stream_arn) is None for action in READING)

    def _retry(self, reader: Reader, failed: Sequence[dict[str, Any]]) -> None:
        reader.tries += 1
        too_often = 0 <= reader.max_retries < reader.tries
        too_old = self.core.clock.now - reader.pending[0][0] >= RECORD_LIFE
        if too_often or too_old:
            self._report_failure(reader, failed)
            del reader.pending[: len(failed)]
            reader.tries = 0
            if reader.pending:
                self._plan(reader, timedelta(0))
            return
        self._plan(reader, min(FIRST_RETRY * 2 ** min(reader.tries - 1, 10), LONGEST_RETRY))

    def _report_failure(self, reader: Reader, records: Sequence[Mapping[str, Any]]) -> None:
        """Tell a dead-letter queue which records were not handed on, as AWS does: the batch's place, not its data."""
        if not reader.dead_letter_arn:
            return
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        times = [record["dynamodb"]["ApproximateCreationDateTime"] for record in records]
        body = {
            "context": {
                "partnerResourceArn": reader.arn,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": reader.tries,
            },
            "version": "1.0",
            "timestamp": event_time(self.core.clock.now),
            "DDBStreamBatchInfo": {
                "shardId": "shardId-00000001541626099285-f35f62ef",
                "startSequenceNumber": numbers[0],
                "endSequenceNumber": numbers[-1],
                "approximateArrivalOfFirstRecord": event_time(moment(times[0]) or self.core.clock.now),
                "approximateArrivalOfLastRecord": event_time(moment(times[-1]) or self.core.clock.now),
                "batchSize": len(records),
                "streamArn": reader.stream_arn,
            },
        }
        self.courier.send(Parcel(reader.dead_letter_arn, json.dumps(body), reader.caller))


def _repeated(later: Sequence[tuple[StreamShard, Any, Any]], shard: StreamShard, old: Any, new: Any) -> bool:
    if old is not None or new is None:
        return False
    return any(
        s is shard and o is None and n is not None and n.hash_key == new.hash_key and n.range_key == new.range_key
        for s, o, n in later
    )


def _event_record(stored: Mapping[str, Any], arn: str) -> dict[str, Any]:
    change = dict(stored["dynamodb"])
    change["ApproximateCreationDateTime"] = int(unix_time(change["ApproximateCreationDateTime"]))
    by = {"userIdentity": stored["userIdentity"]} if "userIdentity" in stored else {}
    return {
        "eventID": stored["eventID"],
        "eventName": stored["eventName"],
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": here().region,
        "dynamodb": copy.deepcopy(change),
        "eventSourceARN": arn,
    } | by


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_shard_add(streams: Streams, original: Callable[..., Any]) -> Callable[..., Any]:
    """``StreamShard.add``: readers get the record on the agenda, in order."""

    def add(self: StreamShard, old: Any, new: Any) -> None:
        streams.changed(self, old, new)

    return add


def patched_call_action(streams: Streams, original: Callable[..., Any]) -> Callable[..., Any]:
    """``DynamoHandler.call_action``: one action at a time, so a condition and its write are one step."""

    def call_action(self: Any) -> Any:
        with streams.lock:
            return original(self)

    return call_action


def patched_update_item(streams: Streams, original: Callable[..., Any]) -> Callable[..., Any]:
    """``DynamoDBBackend.update_item``: a new item is one change in the stream."""

    def update_item(self: DynamoDBBackend, *args: Any, **kwargs: Any) -> Any:
        with streams.held():
            return original(self, *args, **kwargs)

    return update_item


def patched_transact_write_items(streams: Streams, original: Callable[..., Any]) -> Callable[..., Any]:
    """``DynamoDBBackend.transact_write_items``: all conditions first, then all writes."""

    def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        if len(transact_items) > ITEMS_PER_TRANSACTION:
            raise TooManyTransactionsException()
        operations = [_operation(self, item) for item in transact_items]
        if len({(op.table, op.identity) for op in operations}) < len(operations):
            raise MultipleTransactionsException()
        reasons = [_check(self, op) for op in operations]
        if any(code is not None for code, _, _ in reasons):
            raise TransactionCanceledException(reasons)
        before = [self.get_item(op.table, dict(op.key)) for op in operations]
        copies = [copy.deepcopy(item) for item in before]
        try:
            with streams.held():
                for op in operations:
                    _write(self, op)
        except Exception as error:  # any refused write (a bad expression, an item too large) cancels all of them
            for op, item in zip(operations, copies, strict=True):
                _restore(self, op, item)
            if isinstance(error, MockValidationException):
                raise
            failed = [(type(error).__name__, str(error), None), *[(None, None, None)] * (len(operations) - 1)]
            raise TransactionCanceledException(failed) from error

    return transact_write_items


@dataclass(frozen=True, slots=True)
class _Operation:
    kind: str
    table: str
    key: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def identity(self) -> str:
        return str(sorted(self.key.items()))


def _operation(backend: DynamoDBBackend, item: Mapping[str, Any]) -> _Operation:
    if len(item) > 1:
        raise TransactWriteSingleOpException
    kind, body = next(iter(item.items()))
    table = backend.get_table(body["TableName"])
    if kind == "Put":
        names = [name for name in (table.hash_key_attr, table.range_key_attr) if name is not None]
        key = {name: body["Item"][name] for name in names if name in body["Item"]}
        return _Operation(kind, table.name, key, body)
    return _Operation(kind, table.name, body["Key"], body)


def _check(backend: DynamoDBBackend, op: _Operation) -> tuple[Any, Any, Any]:
    condition = op.body.get("ConditionExpression")
    if condition is None:
        return (None, None, None)
    current = backend.get_item(op.table, dict(op.key))
    expression = get_filter_expression(
        condition, op.body.get("ExpressionAttributeNames"), op.body.get("ExpressionAttributeValues")
    )
    if expression.expr(current):
        return (None, None, None)
    wanted = op.body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and current is not None
    item = current.to_json()["Attributes"] if wanted and current is not None else None
    return ("ConditionalCheckFailed", str(ConditionalCheckFailed(item=item).message), item)


def _write(backend: DynamoDBBackend, op: _Operation) -> None:
    names, values = op.body.get("ExpressionAttributeNames"), op.body.get("ExpressionAttributeValues")
    match op.kind:
        case "Put":
            backend.put_item(op.table, op.body["Item"])
        case "Delete":
            backend.delete_item(op.table, dict(op.key))
        case "Update":
            backend.update_item(
                op.table,
                dict(op.key),
                update_expression=op.body["UpdateExpression"],
                expression_attribute_names=names or {},
                expression_attribute_values=values or {},
            )
        case "ConditionCheck":
            pass
        case _:
            raise MockValidationException(f"Unsupported transaction operation {op.kind}")


def _restore(backend: DynamoDBBackend, op: _Operation, item: Any) -> None:
    table = backend.get_table(op.table)
    hash_key, range_key = backend.get_keys_value(table, dict(op.key))
    if range_key is not None:
        rows = table.items[hash_key]
        if item is None:
            rows.pop(range_key, None)
        else:
            rows[range_key] = item
    elif item is None:
        table.items.pop(hash_key, None)
    else:
        table.items[hash_key] = item


def patched_create_mapping(streams: Streams, original: Callable[..., Any]) -> Callable[..., Any]:
    """``LambdaBackend.create_event_source_mapping``: read by the agenda, never inside the sender's call."""

    def create_event_source_mapping(self: LambdaBackend, spec: dict[str, Any]) -> EventSourceMapping:
        mapping: EventSourceMapping = original(self, spec)
        _take_from_moto(mapping)
        if ":dynamodb:" in mapping.event_source_arn:
            streams.attach(_reader(streams, mapping))
        else:
            queue = _queue(mapping.event_source_arn)
            if queue is not None and queue.messages:
                streams.pollers.message_added(queue)
        return mapping

    return create_event_source_mapping


def patched_delete_mapping(streams: Streams, original: Callable[..., Any]) -> Callable[..., Any]:
    """``LambdaBackend.delete_event_source_mapping``: its reader stops."""

    def delete_event_source_mapping(self: LambdaBackend, uuid: str) -> EventSourceMapping | None:
        streams.detach(uuid)
        mapping: EventSourceMapping | None = original(self, uuid)
        return mapping

    return delete_event_source_mapping


def _queue(arn: str) -> Any:
    from moto.sqs.models import sqs_backends

    queues = sqs_backends[ACCOUNT][here().region].queues.values()
    return next((queue for queue in queues if queue.queue_arn == arn), None)


def _take_from_moto(mapping: EventSourceMapping) -> None:
    """Moto would invoke the function while the message is being sent: take the mapping out of its sight."""
    from moto.dynamodb.models import dynamodb_backends

    queue = _queue(mapping.event_source_arn)
    if queue is not None:
        queue.lambda_event_source_mappings.clear()
    for table in dynamodb_backends[ACCOUNT][here().region].tables.values():
        table.lambda_event_source_mappings.clear()


def _reader(streams: Streams, mapping: EventSourceMapping) -> Reader:
    return Reader(
        name=mapping.uuid,
        arn=mapping.function_arn,
        stream_arn=mapping.event_source_arn,
        caller=streams.functions.caller_of(streams.functions.find(mapping.function_arn)),
        consume=consume_stream(streams.functions, mapping),
        dead_letter_arn=(mapping.destination_config or {}).get("OnFailure", {}).get("Destination"),
        batch_size=int(mapping.batch_size),
        window=timedelta(seconds=int(mapping.max_batch_window or 0)),
        max_retries=int(-1 if mapping.max_retry_attempts is None else mapping.max_retry_attempts),
        patterns=tuple(item["Pattern"] for item in (mapping.filter_criteria or {}).get("Filters", [])),
    )


TRANSACTIONS = Patch("moto.dynamodb.models:DynamoDBBackend.transact_write_items", patched_transact_write_items)

PATCHES = (
    Patch("moto.awslambda.models:LambdaBackend.create_event_source_mapping", patched_create_mapping),
    Patch("moto.awslambda.models:LambdaBackend.delete_event_source_mapping", patched_delete_mapping),
    Patch("moto.dynamodb.models.table:StreamShard.add", patched_shard_add),
    TRANSACTIONS,
    Patch("moto.dynamodb.models:DynamoDBBackend.update_item", patched_update_item),
    Patch("moto.dynamodb.responses:DynamoHandler.call_action", patched_call_action),
)
