"""How many runs of functions there may be at one time: those reserved for a function, and the account's others.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError

from local_cloud.kernel.errors import LocalCloudError

OF_ACCOUNT = 1_000
LEAST_UNRESERVED = 100
_FIRST_RETRY, _LONGEST_RETRY = timedelta(seconds=1), timedelta(minutes=5)


class ThrottledError(LocalCloudError):
    """A function that may not run once more now; ``reason`` is AWS's."""

    def __init__(self, function: str, reason: str):
        self.reason = reason
        super().__init__(f"{function} is throttled: {reason}")


class TooManyRequestsError(LambdaClientError):
    """What a caller is answered who waits for a function that is throttled."""

    code = 429

    def __init__(self, reason: str):
        super().__init__("TooManyRequestsException", "Rate Exceeded.")
        self.reason = reason


class Slots:
    """The runs under way.

    Examples
    --------
    >>> slots = Slots()
    >>> with slots.taken("score", {"score": 1}), slots.taken("score", {"score": 1}):
    ...     pass
    Traceback (most recent call last):
    ...
    local_cloud.services.lambda_.concurrency.ThrottledError: score is throttled: \
ReservedFunctionConcurrentInvocationLimitExceeded
    >>> with slots.taken("score", {"score": 1}):
    ...     pass
    """

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, function: str, reserved: Mapping[str, int]) -> Iterator[None]:
        """Run a function in the block.

        Parameters
        ----------
        function
            Its name.
        reserved
            How many runs are reserved, by function.

        Raises
        ------
        ThrottledError
            As many runs as may be are under way.
        """
        with self._lock:
            if function in reserved:
                under_way, most = self._running[function], reserved[function]
                reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
            else:
                under_way = sum(count for name, count in self._running.items() if name not in reserved)
                most, reason = OF_ACCOUNT - sum(reserved.values()), "ConcurrentInvocationLimitExceeded"
            if under_way >= most:
                raise ThrottledError(function, reason)
            self._running[function] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[function] -= 1


def retry_delay(times: int) -> timedelta:
    """How long an event waits that was throttled so often: a second at first, five minutes at the most.

    Examples
    --------
    >>> [str(retry_delay(times)) for times in (1, 2, 20)]
    ['0:00:01', '0:00:02', '0:05:00']
    """
    doubled: int = 2 ** min(times - 1, 10)
    return min(_FIRST_RETRY * doubled, _LONGEST_RETRY)


def patched_put_concurrency(_: object, original: Callable[..., Any]) -> Callable[..., Any]:
    """``LambdaBackend.put_function_concurrency``: AWS keeps a hundred runs for functions that reserve none."""

    def put_function_concurrency(self: Any, function_name: str, reserved_concurrency: Any) -> Any:
        name = self.get_function(function_name).function_name
        others = sum(count for other, count in reserved_of(self).items() if other != name)
        if OF_ACCOUNT - others - int(reserved_concurrency) < LEAST_UNRESERVED:
            raise InvalidParameterValueException(
                "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
                f"below its minimum value of [{LEAST_UNRESERVED}]."
            )
        return original(self, function_name, int(reserved_concurrency))

    return put_function_concurrency


def reserved_of(backend: Any) -> dict[str, int]:
    """Return how many runs are reserved for which functions of moto's backend."""
    found = ((each.function_name, each.reserved_concurrency) for each in backend.list_functions())
    return {name: int(count) for name, count in found if count is not None}
