"""The way out for many small records: Firehose, for captures and labels."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectionClosedError

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient

_FIREHOSE_BATCH = 500  # PutRecordBatch's limits: records, bytes of a call and of a record
_FIREHOSE_BATCH_BYTES = 4_000_000
_FIREHOSE_RECORD_BYTES = 1_000 * 1_024
_THROTTLED = "ServiceUnavailableException"
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 1.0


class FirehoseLines:
    """See :class:`evergreen.ports.LineStream`. The stream's AppendDelimiterToRecord adds the newlines.

    A stream takes so many bytes, records and calls a second, and refuses what is more, record by record
    (https://docs.aws.amazon.com/firehose/latest/dev/limits.html). What was refused is sent again, alone, after a wait.

    Parameters
    ----------
    patience_seconds
        All waits of a call together.
    """

    def __init__(
        self,
        client: FirehoseClient,
        stream: str,
        *,
        patience_seconds: float,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._stream = stream
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._random = random.Random()  # noqa: S311 - it spreads senders, and guards nothing

    def put(self, lines: Sequence[bytes]) -> list[int]:
        fitting = {place for place, line in enumerate(lines) if len(line) <= _FIREHOSE_RECORD_BYTES}
        too_long, waits = set(range(len(lines))) - fitting, waits_of(self._patience_seconds, self._random)
        left = self._sent(sorted(fitting), lines)
        while left and (wait := next(waits, None)) is not None:
            self._sleep(wait)
            left = self._sent(left, lines)
        return sorted(too_long.union(left))

    def _sent(self, places: Iterable[int], lines: Sequence[bytes]) -> list[int]:
        """Send the lines of these places, once; answers which ones were refused."""
        return [place for part in calls(places, lines) for place in self._refused(part, lines)]

    def _refused(self, places: Sequence[int], lines: Sequence[bytes]) -> list[int]:
        records: Any = [{"Data": lines[place]} for place in places]
        try:
            answer = self._client.put_record_batch(DeliveryStreamName=self._stream, Records=records)
        except ConnectionClosedError:  # a kept connection that the other side has dropped meanwhile
            return list(places)
        except ClientError as error:
            if error.response["Error"]["Code"] != _THROTTLED:
                raise
            return list(places)
        if not answer["FailedPutCount"]:
            return []
        results = zip(places, answer["RequestResponses"], strict=True)
        return [place for place, result in results if "ErrorCode" in result]


def waits_of(seconds: float, drawn: random.Random) -> Iterator[float]:
    """Waits that are no longer than so many seconds in all, each about twice the one before, and no two alike.

    Senders that were refused at one moment would else come again at one moment.

    Examples
    --------
    >>> waits = list(waits_of(3, random.Random(0)))
    >>> round(sum(waits), 6), all(wait <= 1 for wait in waits), len(waits)
    (3.0, True, 7)
    """
    wait, left = _FIRST_WAIT_SECONDS, seconds
    while left > 0:
        this = min(left, drawn.uniform(wait / 2, wait))
        yield this
        wait, left = min(2 * wait, _LONGEST_WAIT_SECONDS), left - this


def calls(places: Iterable[int], lines: Sequence[bytes]) -> Iterator[list[int]]:
    """The places of lines, in as many parts as there have to be calls.

    Examples
    --------
    >>> lines = [b"x" * 900_000] * 5 + [b"x"] * 600
    >>> [len(part) for part in calls(range(605), lines)]
    [4, 500, 101]
    """
    part: list[int] = []
    size = 0
    for place in places:
        if part and (len(part) == _FIREHOSE_BATCH or size + len(lines[place]) > _FIREHOSE_BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(place)
        size += len(lines[place])
    if part:
        yield part
