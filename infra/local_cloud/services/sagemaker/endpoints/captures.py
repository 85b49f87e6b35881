"""Data capture: what an endpoint was asked and answered, as SageMaker writes it to S3, a file a minute and variant."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from local_cloud.kernel.clock import Entry
from local_cloud.kernel.core import Core
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.sagemaker.by_role import session_of
from local_cloud.services.sagemaker.endpoints.requests import CaptureSettings
from local_cloud.services.sagemaker.training.container import split_uri

FLUSH_EVERY = timedelta(minutes=1)
LARGEST_BUFFER = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    Parameters
    ----------
    event_id
        Unique to this exchange.
    inference_id
        The caller's, None when it gave none.
    time
        When the request came.
    order
        The exchanges of an endpoint are numbered as they came.
    """

    event_id: str
    inference_id: str | None
    time: datetime
    order: int
    question: bytes
    question_type: str
    answer: bytes
    answer_type: str


def capture_record(exchange: Exchange, settings: CaptureSettings) -> dict[str, Any]:
    r"""Return an exchange as SageMaker records it.

    Notes
    -----
    The shape is that of SageMaker's developer guide, page "model-monitor-data-capture-endpoint".

    Examples
    --------
    >>> from datetime import UTC
    >>> settings = CaptureSettings(1.0, "s3://b/c", True, True, frozenset({"text/csv"}), frozenset())
    >>> when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    >>> record = capture_record(Exchange("e-1", None, when, 1, b"50\n", "text/csv", b"{}", "text/html"), settings)
    >>> record["captureData"]["endpointInput"]
    {'observedContentType': 'text/csv', 'mode': 'INPUT', 'data': '50\n', 'encoding': 'CSV'}
    >>> record["captureData"]["endpointOutput"]["encoding"], record["eventMetadata"]
    ('BASE64', {'eventId': 'e-1', 'inferenceTime': '2026-01-02T03:04:05Z'})
    """
    captured: dict[str, Any] = {}
    if settings.input:
        captured["endpointInput"] = _side("INPUT", exchange.question, exchange.question_type, settings)
    if settings.output:
        captured["endpointOutput"] = _side("OUTPUT", exchange.answer, exchange.answer_type, settings)
    metadata = {"eventId": exchange.event_id}
    if exchange.inference_id is not None:
        metadata["inferenceId"] = exchange.inference_id
    metadata["inferenceTime"] = f"{exchange.time:%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}


def _side(mode: str, body: bytes, content_type: str, settings: CaptureSettings) -> Mapping[str, str]:
    data, encoding = _encoded(body, content_type, settings)
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}


def _encoded(body: bytes, content_type: str, settings: CaptureSettings) -> tuple[str, str]:
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    try:
        if kind in settings.csv_types:
            return body.decode(), "CSV"
        if kind in settings.json_types:
            return body.decode(), "JSON"
    except UnicodeDecodeError:
        pass  # what is no text can be kept as BASE64 only
    return base64.b64encode(body).decode(), "BASE64"


@dataclass(frozen=True, slots=True)
class _Folder:
    """Where a file goes, and which hour it is for."""

    uri: str
    endpoint: str
    variant: str
    hour: str
    role: str
    key: str


@dataclass(slots=True)
class _Buffer:
    opened: datetime
    flush: Entry
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0


class Captures:
    """What endpoints have captured and not yet written.

    Parameters
    ----------
    before_flush
        Called before files are written: what a shadow still has to answer belongs into them.
    """

    def __init__(self, core: Core, before_flush: Callable[[], object]) -> None:
        self.core = core
        self.lost = 0  # lines whose bucket is not there, or may not be written to
        self._before_flush = before_flush
        self._buffers: dict[_Folder, _Buffer] = {}
        self._lock = threading.Lock()

    def add(
        self, exchange: Exchange, settings: CaptureSettings, *, endpoint: str, variant: str, role: str = ""
    ) -> None:
        """Take an exchange into the file of its minute, which is written by the model's role."""
        line = json.dumps(capture_record(exchange, settings), separators=(",", ":")).encode() + b"\n"
        folder = _Folder(settings.uri, endpoint, variant, f"{exchange.time:%Y/%m/%d/%H}", role, settings.key)
        with self._lock:
            buffer = self._buffers.get(folder)
            if buffer is None:
                flush = self.core.agenda.after(FLUSH_EVERY, lambda: self._flush_due(folder), f"captures of {endpoint}")
                buffer = self._buffers[folder] = _Buffer(exchange.time, flush)
            buffer.lines.append((exchange.order, line))
            buffer.size += len(line)
            full = self._buffers.pop(folder) if buffer.size >= LARGEST_BUFFER else None
        if full is not None:
            self._write(folder, full)

    def flush(self, endpoint: str | None = None) -> int:
        """Write every file of an endpoint (of all, by default) now; return how many there were."""
        self._before_flush()
        with self._lock:
            folders = [folder for folder in self._buffers if endpoint in (None, folder.endpoint)]
            taken = [(folder, self._buffers.pop(folder)) for folder in folders]
        for folder, buffer in taken:
            self._write(folder, buffer)
        return len(taken)

    def _flush_due(self, folder: _Folder) -> None:
        self._before_flush()
        with self._lock:
            buffer = self._buffers.pop(folder, None)
        if buffer is not None:
            self._write(folder, buffer)

    def _write(self, folder: _Folder, buffer: _Buffer) -> None:
        from moto.s3.exceptions import MissingBucket
        from moto.s3.models import s3_backends

        buffer.flush.cancel()
        unique = self.core.identities.uuid(f"capture of {folder.endpoint} {folder.variant}")
        bucket, prefix = split_uri(folder.uri)
        name = f"{buffer.opened:%M-%S}-{buffer.opened.microsecond // 1000:03d}-{unique}.jsonl"
        key = "/".join(part for part in (prefix, folder.endpoint, folder.variant, folder.hour, name) if part)
        body = b"".join(line for _, line in sorted(buffer.lines))
        if folder.role and self._refused(folder, here().bucket_arn(f"{bucket}/{key}")):
            self.lost += len(buffer.lines)
            return
        encrypted: dict[str, Any] = {"encryption": "aws:kms", "kms_key_id": folder.key} if folder.key else {}
        try:
            s3_backends[ACCOUNT][here().partition].put_object(bucket, key, body, **encrypted)
        except MissingBucket:
            self.lost += len(buffer.lines)

    def _refused(self, folder: _Folder, resource: str) -> bool:
        known = {"s3:x-amz-server-side-encryption-aws-kms-key-id": folder.key} if folder.key else {}
        return self.core.gate.refusal(session_of(folder.role), "s3:PutObject", resource, known) is not None
