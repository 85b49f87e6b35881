"""Ways out for many small records: Firehose for captures and labels, SQS for feedback."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_firehose.type_defs import RecordTypeDef
    from mypy_boto3_sqs import SQSClient

_FIREHOSE_BATCH = 500  # PutRecordBatch's limit
_SQS_BATCH = 10  # SendMessageBatch's limit


class FirehoseLines:
    """See :class:`evergreen.ports.LineStream`. The stream's AppendDelimiterToRecord adds the newlines."""

    def __init__(self, client: FirehoseClient, stream: str) -> None:
        self._client = client
        self._stream = stream

    def put(self, lines: Sequence[bytes]) -> int:
        refused = 0
        for chunk in batched(lines, _FIREHOSE_BATCH, strict=False):
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
