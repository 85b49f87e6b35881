"""Ways out for many small records: Firehose for captures and labels, SQS for feedback."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_firehose.type_defs import RecordTypeDef
    from mypy_boto3_sqs import SQSClient

_FIREHOSE_BATCH = 500  # PutRecordBatch's limits: records, bytes of a call and of a record
_FIREHOSE_BATCH_BYTES = 4_000_000
_FIREHOSE_RECORD_BYTES = 1_000 * 1_024
_SQS_BATCH = 10  # SendMessageBatch's limit


class FirehoseLines:
    """See :class:`evergreen.ports.LineStream`. The stream's AppendDelimiterToRecord adds the newlines."""

    def __init__(self, client: FirehoseClient, stream: str) -> None:
        self._client = client
        self._stream = stream

    def put(self, lines: Sequence[bytes]) -> int:
        fitting = [line for line in lines if len(line) <= _FIREHOSE_RECORD_BYTES]
        refused = len(lines) - len(fitting)
        for chunk in calls(fitting):
            answer = self._client.put_record_batch(
                DeliveryStreamName=self._stream, Records=[{"Data": line} for line in chunk]
            )
            if answer["FailedPutCount"]:
                again: list[RecordTypeDef] = [
                    {"Data": line}
                    for line, result in zip(chunk, answer["RequestResponses"], strict=True)
                    if "ErrorCode" in result
                ]
                refused += self._client.put_record_batch(DeliveryStreamName=self._stream, Records=again)[
                    "FailedPutCount"
                ]
        return refused


def calls(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The lines in as many parts as there have to be calls.

    Examples
    --------
    >>> [len(part) for part in calls([b"x" * 900_000] * 5 + [b"x"] * 600)]
    [4, 500, 101]
    """
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and (len(part) == _FIREHOSE_BATCH or size + len(line) > _FIREHOSE_BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield part


class SqsFeedback:
    """See :class:`evergreen.ports.FeedbackQueue`."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for chunk in batched(messages, _SQS_BATCH, strict=False):
            answer = self._client.send_message_batch(
                QueueUrl=self._queue_url,
                Entries=[{"Id": str(i), "MessageBody": json.dumps(message)} for i, message in enumerate(chunk)],
            )
            if answer.get("Failed"):
                raise ConnectionError(
                    f"SQS refused {len(answer['Failed'])} of {len(chunk)} messages: send the request again"
                )
