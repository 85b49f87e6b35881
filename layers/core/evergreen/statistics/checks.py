"""How the statistics refuse bad input: one sentence with the key, the value and what to do."""

from __future__ import annotations

import math
import operator
from typing import SupportsFloat, SupportsIndex, cast

from evergreen.errors import UsageError


class StatisticsInputError(UsageError):
    """A statistic was asked about a value it cannot use.

    Parameters
    ----------
    key : str
        The argument or column that is wrong.
    value : object
        What it was.
    remedy : str
        What to pass instead, to follow "; ".

    Examples
    --------
    >>> str(StatisticsInputError("wins", -1, "pass a count of 0 or more"))
    'wins is -1; pass a count of 0 or more.'
    """

    def __init__(self, key: str, value: object, remedy: str) -> None:
        self.key = key
        self.value = value
        self.remedy = remedy
        super().__init__(f"{key} is {value!r}; {remedy}.")

    def __reduce__(self) -> tuple[type[StatisticsInputError], tuple[str, object, str]]:
        return (type(self), (self.key, self.value, self.remedy))


def as_count(key: str, value: object) -> int:
    """Return ``value`` as a non-negative int, or refuse it.

    A float is taken when it is whole (a sum read from Parquet often is one).

    Examples
    --------
    >>> as_count("wins", 3.0)
    3
    >>> as_count("wins", 2.5)
    Traceback (most recent call last):
    ...
    evergreen.statistics.checks.StatisticsInputError: wins is 2.5; pass a whole count of 0 or more.
    """
    remedy = "pass a whole count of 0 or more"
    try:
        count = operator.index(cast("SupportsIndex", value))
    except TypeError:
        number = as_number(key, value, remedy)
        if not number.is_integer():
            raise StatisticsInputError(key, value, remedy) from None
        count = int(number)
    if count < 0:
        raise StatisticsInputError(key, value, remedy)
    return count


def as_number(key: str, value: object, remedy: str = "pass a finite number") -> float:
    """Return ``value`` as a finite float, or refuse it.

    Examples
    --------
    >>> as_number("margin", 0)
    0.0
    """
    if isinstance(value, (str, bytes)):
        raise StatisticsInputError(key, value, remedy)
    try:
        number = float(cast("SupportsFloat", value))
    except (TypeError, ValueError, OverflowError):
        raise StatisticsInputError(key, value, remedy) from None
    if not math.isfinite(number):
        raise StatisticsInputError(key, value, remedy)
    return number


def as_between(key: str, value: object, low: float, high: float) -> float:
    """Return ``value`` as a float strictly between ``low`` and ``high``, or refuse it.

    Examples
    --------
    >>> as_between("alpha", 0.01, 0, 1)
    0.01
    >>> as_between("alpha", 1, 0, 1)
    Traceback (most recent call last):
    ...
    evergreen.statistics.checks.StatisticsInputError: alpha is 1; pass a number above 0 and below 1.
    """
    remedy = f"pass a number above {low} and below {high}"
    number = as_number(key, value, remedy)
    if not low < number < high:
        raise StatisticsInputError(key, value, remedy)
    return number


def as_share(key: str, value: object) -> float:
    """Return ``value`` as a float of at least 0 and below 1, or refuse it.

    Examples
    --------
    >>> as_share("tolerance", 0)
    0.0
    """
    remedy = "pass a number of at least 0 and below 1"
    number = as_number(key, value, remedy)
    if not 0.0 <= number < 1.0:
        raise StatisticsInputError(key, value, remedy)
    return number
