"""The way out for many small records: Firehose, for captures and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_firehose.type_defs import RecordTypeDef

_FIREHOSE_BATCH = 500  # PutRecordBatch's limits: records, bytes of a call and of a record
_FIREHOSE_BATCH_BYTES = 4_000_000
_FIREHOSE_RECORD_BYTES = 1_000 * 1_024


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
