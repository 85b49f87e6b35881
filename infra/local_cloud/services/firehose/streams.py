"""Firehose to S3: buffers by size and time, time and partition prefixes, and records it cannot place set aside."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import compress
from typing import Any

import orjson
from moto.core.exceptions import JsonRESTError
from moto.firehose.exceptions import ResourceNotFoundException
from moto.firehose.models import DeliveryStream, FirehoseBackend, firehose_backends
from moto.firehose.responses import FirehoseResponse

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.clock import Entry
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Parcel
from local_cloud.kernel.errors import DeliveryError, UnsupportedResourceError
from local_cloud.kernel.input_templates import look_up
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here

MEBIBYTE = 1024 * 1024
SHORTEST_RETRY = timedelta(minutes=1)
LONGEST_DELIVERY = timedelta(hours=24)
_EXPRESSION = re.compile(r"!\{([A-Za-z-]+):([^}]*)\}")
_QUERY = re.compile(r"\{\s*(.*)\s*\}", re.DOTALL)
_QUERY_PAIR = re.compile(r"\s*\"?([A-Za-z_][A-Za-z0-9_]*)\"?\s*:\s*((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*")
_JAVA_TO_PYTHON = (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S"))


_REFUSED = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}


class ThrottledError(JsonRESTError):
    """What Firehose answers to a call that is one too many in its second."""

    code = 503

    def __init__(self) -> None:
        super().__init__(_REFUSED["ErrorCode"], _REFUSED["ErrorMessage"])


class PartitionQueryError(ValueError):
    """A MetadataExtractionQuery beyond objects of plain paths."""


def parse_partition_query(query: str) -> dict[str, str]:
    """Read a MetadataExtractionQuery that is an object of plain paths: the only jq the local cloud understands.

    Raises
    ------
    PartitionQueryError
        For any other jq.

    Examples
    --------
    >>> parse_partition_query("{model:.eventMetadata.modelName, variant: .eventMetadata.variant}")
    {'model': '$.eventMetadata.modelName', 'variant': '$.eventMetadata.variant'}
    >>> parse_partition_query("{d: .at | date}")
    Traceback (most recent call last):
    ...
    local_cloud.services.firehose.streams.PartitionQueryError: '{d: .at | date}' is more than an object of plain paths
    """
    body = _QUERY.fullmatch(query.strip())
    paths: dict[str, str] = {}
    for part in body.group(1).split(",") if body else [query]:
        pair = _QUERY_PAIR.fullmatch(part)
        if pair is None:
            raise PartitionQueryError(f"{query!r} is more than an object of plain paths")
        paths[pair.group(1)] = f"${pair.group(2)}"
    return paths


@dataclass(frozen=True, slots=True)
class Settings:
    """What a delivery stream does with a record, read from its S3 configuration."""

    bucket: str
    role: str
    prefix: str
    error_prefix: str
    interval: timedelta
    size_bytes: int
    partitions: Mapping[str, str]
    delimiter: bytes
    compression: str
    extension: str

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Settings:
        """Read ``ExtendedS3DestinationConfiguration``.

        Raises
        ------
        PartitionQueryError
            When the partition query is more than plain paths.
        ValueError
            For a processor or compression that the local cloud lacks.
        """
        hints = config.get("BufferingHints") or {}
        processing = config.get("ProcessingConfiguration") or {}
        partitions: dict[str, str] = {}
        delimiter = b""
        for processor in processing.get("Processors", []) if _enabled(processing) else []:
            parameters = {p["ParameterName"]: p["ParameterValue"] for p in processor.get("Parameters", [])}
            match processor["Type"]:
                case "MetadataExtraction":
                    partitions = parse_partition_query(parameters["MetadataExtractionQuery"])
                case "AppendDelimiterToRecord":
                    delimiter = parameters.get("Delimiter", "\\n").encode().decode("unicode_escape").encode()
                case other:
                    raise ValueError(f"uses a processor of type {other}")
        compression = config.get("CompressionFormat", "UNCOMPRESSED")
        if compression not in ("UNCOMPRESSED", "GZIP"):
            raise ValueError(f"uses CompressionFormat {compression}")
        return cls(
            bucket=Arn.parse(config["BucketARN"]).resource_name,
            role=config["RoleARN"],
            prefix=config.get("Prefix", ""),
            error_prefix=config.get("ErrorOutputPrefix", ""),
            interval=timedelta(seconds=int(hints.get("IntervalInSeconds", 300))),
            size_bytes=int(hints.get("SizeInMBs", 5)) * MEBIBYTE,
            partitions=partitions,
            delimiter=delimiter,
            compression=compression,
            extension=config.get("FileExtension", ""),
        )


def _enabled(given: Mapping[str, Any]) -> bool:
    return str(given.get("Enabled", "false")).lower() == "true"


@dataclass(slots=True)
class _Buffer:
    opened: datetime
    flush: Entry
    records: list[bytes] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Second:
    """What a stream has taken in one second of the clock."""

    second: int
    calls: int = 0
    records: int = 0
    size_bytes: int = 0


class Firehose(Service):
    """The delivery streams' buffers."""

    volatile = frozenset({"_settings"})

    def __init__(self, core: Core):
        self.core = core
        self._taken: dict[str, _Second] = {}
        self._buffers: dict[tuple[str, str, tuple[tuple[str, str], ...]], _Buffer] = {}
        self._settings: dict[int, Settings] = {}

    def deliver(self, arn: Arn, parcel: Parcel) -> None:
        """Take a parcel into the buffers of its stream.

        Raises
        ------
        DeliveryError
            When there is no such stream.
        """
        self.put(arn.resource_name, [parcel.body.encode()])

    def put(self, stream_name: str, records: Sequence[bytes]) -> list[str]:
        """Take records into the buffers; return an id for each.

        Raises
        ------
        DeliveryError
            When there is no such stream.
        """
        stream = firehose_backends[ACCOUNT][here().region].delivery_streams.get(stream_name)
        if stream is None:
            raise DeliveryError("NO_RESOURCE", f"There is no delivery stream {stream_name}.")
        settings = self._settings_of(stream)
        for record in records:
            self._take(stream, settings, record)
        return [self.core.identities.uuid("firehose record") for _ in records]

    def throttle(self, stream_name: str, records: Sequence[bytes]) -> list[bool]:
        """Say of each record of a call whether the stream takes it in this second, as far as quotas are enforced.

        Raises
        ------
        ThrottledError
            When it takes no call any more.
        """
        quota = self.core.options.firehose_quota
        if quota is None:
            return [True] * len(records)
        second = int(self.core.clock.now.timestamp())
        taken = self._taken.get(stream_name)
        if taken is None or taken.second != second:
            taken = self._taken[stream_name] = _Second(second)
        if taken.calls == quota.calls:
            raise ThrottledError
        taken.calls += 1
        answers = []
        for record in records:
            fits = taken.records < quota.records and taken.size_bytes + len(record) <= quota.size_bytes
            answers.append(fits)
            if fits:
                taken.records += 1
                taken.size_bytes += len(record)
        return answers

    def flush(self) -> int:
        """Write every buffer out now, whatever its age; return how many there were."""
        keys = list(self._buffers)
        for key in keys:
            self._flush(key)
        return len(keys)

    def _settings_of(self, stream: DeliveryStream) -> Settings:
        if id(stream) not in self._settings:
            destination = stream.destinations[0]
            config = destination.get("ExtendedS3") or destination.get("S3")
            if config is None:
                name = stream.delivery_stream_name
                raise UnsupportedResourceError(
                    name, "AWS::KinesisFirehose::DeliveryStream", "delivers elsewhere than to S3"
                )
            self._settings[id(stream)] = Settings.parse(config)
        return self._settings[id(stream)]

    def _take(self, stream: DeliveryStream, settings: Settings, record: bytes) -> None:
        partition: tuple[tuple[str, str], ...] = ()
        if settings.partitions:
            try:
                document = orjson.loads(record)
                found = [(name, look_up(path, document)) for name, path in settings.partitions.items()]
            except ValueError:
                self._set_aside(stream, settings, record, "the record is not JSON")
                return
            missing = [name for name, value in found if value in (None, "")]
            if missing:
                self._set_aside(stream, settings, record, f"partition key {missing[0]} was not found in the record")
                return
            partition = tuple((name, str(value)) for name, value in found)
        self._append((stream.delivery_stream_name, "", partition), settings, record + settings.delimiter)

    def _set_aside(self, stream: DeliveryStream, settings: Settings, record: bytes, why: str) -> None:
        line = {
            "attemptsMade": 1,
            "arrivalTimestamp": int(self.core.clock.now.timestamp() * 1000),
            "errorCode": "DynamicPartitioning.MetadataExtractionFailed",
            "errorMessage": why,
            "attemptEndingTimestamp": int(self.core.clock.now.timestamp() * 1000),
            "rawData": base64.b64encode(record).decode(),
        }
        key = (stream.delivery_stream_name, "metadata-extraction-failed", ())
        self._append(key, settings, json.dumps(line).encode() + b"\n")

    def _append(self, key: tuple[str, str, tuple[tuple[str, str], ...]], settings: Settings, record: bytes) -> None:
        buffer = self._buffers.get(key)
        if buffer is None:
            flush = self.core.agenda.after(settings.interval, lambda: self._flush(key), f"firehose {key[0]}")
            buffer = self._buffers[key] = _Buffer(self.core.clock.now, flush)
        buffer.records.append(record)
        buffer.size += len(record)
        if buffer.size >= settings.size_bytes:
            self._flush(key)

    def _flush(self, key: tuple[str, str, tuple[tuple[str, str], ...]]) -> None:
        buffer = self._buffers.pop(key, None)
        if buffer is None:
            return
        buffer.flush.cancel()
        name, error, partition = key
        stream = firehose_backends[ACCOUNT][here().region].delivery_streams.get(name)
        if stream is None:
            return
        settings = self._settings_of(stream)
        prefix = settings.error_prefix if error else settings.prefix
        object_key = object_name(
            prefix,
            name,
            stream.version_id,
            buffer.opened,
            self.core.clock.now,
            self.core.identities.uuid(f"object of {name} {partition} {error}"),
            dict(partition),
            error,
        )
        body = b"".join(buffer.records)
        if settings.compression == "GZIP":
            body = gzip.compress(body, mtime=0)
            object_key += settings.extension or ".gz"
        else:
            object_key += settings.extension
        self._write(settings, object_key, body, self.core.clock.now)

    def _write(self, settings: Settings, key: str, body: bytes, since: datetime) -> None:
        """Write an object by the stream's role; what the role may not write is tried for a day, and then lost."""
        from moto.s3.models import s3_backends

        caller = Caller.session(settings.role, "AWSFirehoseToS3")
        refusal = self.core.gate.refusal(caller, "s3:PutObject", here().bucket_arn(f"{settings.bucket}/{key}"))
        if refusal is None:
            s3_backends[ACCOUNT][here().partition].put_object(settings.bucket, key, body)
        elif self.core.clock.now - since < LONGEST_DELIVERY:
            again = max(settings.interval, SHORTEST_RETRY)
            self.core.agenda.after(again, lambda: self._write(settings, key, body, since), f"firehose {key}")


def object_name(
    prefix: str,
    stream_name: str,
    version: str,
    opened: datetime,
    flushed: datetime,
    unique: str,
    partition: Mapping[str, str],
    error: str = "",
) -> str:
    """Return the key Firehose gives an object, without its extension.

    Parameters
    ----------
    prefix
        With ``!{timestamp:...}`` (when the buffer was opened), ``!{partitionKeyFromQuery:...}`` and
        ``!{firehose:error-output-type}``. Without a timestamp, ``yyyy/MM/dd/HH/`` is added.

    Examples
    --------
    >>> from datetime import UTC
    >>> when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    >>> prefix = "c/!{partitionKeyFromQuery:m}/!{timestamp:yyyy/MM/dd/HH}/"
    >>> object_name(prefix, "s", "1", when, when, "u", {"m": "fraud"})
    'c/fraud/2026/01/02/03/s-1-2026-01-02-03-04-05-u'
    """

    def value(match: re.Match[str]) -> str:
        namespace, name = match.groups()
        match namespace:
            case "timestamp":
                for java, python in _JAVA_TO_PYTHON:
                    name = name.replace(java, python)
                return opened.strftime(name.replace("'", ""))
            case "partitionKeyFromQuery":
                return partition[name]
            case "firehose" if name == "error-output-type":
                return error
            case "firehose" if name == "random-string":
                return unique[:11]
        raise ValueError(f"uses {match.group(0)} in a prefix")

    folder = _EXPRESSION.sub(value, prefix)
    if "!{timestamp:" not in prefix and "!{partitionKeyFromQuery:" not in prefix:
        folder += f"{error}/" if error and "error-output-type" not in prefix else ""
        folder += opened.strftime("%Y/%m/%d/%H/")
    return f"{folder}{stream_name}-{version}-{flushed:%Y-%m-%d-%H-%M-%S}-{unique}"


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_record_batch(firehose: Firehose, original: Callable[..., Any]) -> Callable[..., Any]:
    """``FirehoseBackend.put_record_batch``: buffered, not written at once."""

    def put_record_batch(
        self: FirehoseBackend, delivery_stream_name: str, records: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if delivery_stream_name not in self.delivery_streams:
            raise ResourceNotFoundException(
                f"Firehose {delivery_stream_name} under account {self.account_id} not found."
            )
        data = [record["Data"] for record in records]
        fits = firehose.throttle(delivery_stream_name, data)
        ids = iter(firehose.put(delivery_stream_name, list(compress(data, fits))))
        answers = [{"RecordId": next(ids)} if taken else dict(_REFUSED) for taken in fits]
        return {"FailedPutCount": fits.count(False), "Encrypted": False, "RequestResponses": answers}

    return put_record_batch


def patched_put_record_batch_response(firehose: Firehose, original: Callable[..., Any]) -> Callable[..., Any]:
    """``FirehoseResponse.put_record_batch``: 500 record ids are written as JSON at once, not field by field."""

    def put_record_batch(self: FirehoseResponse) -> str:
        result = self.firehose_backend.put_record_batch(
            self._get_param("DeliveryStreamName"), self._get_param("Records")
        )
        return orjson.dumps(result).decode()

    return put_record_batch


PATCHES = (
    Patch("moto.firehose.models:FirehoseBackend.put_record_batch", patched_put_record_batch),
    Patch("moto.firehose.responses:FirehoseResponse.put_record_batch", patched_put_record_batch_response),
)
