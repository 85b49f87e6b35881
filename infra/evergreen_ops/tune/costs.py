"""What a policy costs: seconds of training instances, and dollars a month."""

from __future__ import annotations

from evergreen.errors import UsageError

JOB_SECONDS = 90
"""Billed of each training job beside its fitting: the instance takes the image, the data and the packages."""
ROWS_A_SECOND = 1_000
"""Rows that a job reads, validates, fits and exports: `evergreen train` took 20 s for 18,159 on two busy cores."""
DAYS_A_MONTH = 30.4
PRICES = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
}
"""Dollars an hour of SageMaker training in us-east-1, on demand; --price says another one."""


def price_an_hour(instance_type: str, given: float | None = None) -> float:
    """Return what an hour of a training instance costs, in dollars.

    Raises
    ------
    UsageError
        No price is known for the type, and none was given.

    Examples
    --------
    >>> price_an_hour("ml.m5.large"), price_an_hour("ml.p9.large", 4.5)
    (0.115, 4.5)
    """
    price = PRICES.get(instance_type) if given is None else given
    if price is None:
        raise UsageError(
            f"training.instance_type is {instance_type}, whose price is not known here: give --price, dollars an hour"
        )
    return price


def instance_seconds(trainings: int, rows: int) -> float:
    """Return the seconds of training instances that are billed.

    Examples
    --------
    >>> instance_seconds(trainings=4, rows=80_000)
    440.0
    """
    return trainings * JOB_SECONDS + rows / ROWS_A_SECOND


def dollars_a_month(seconds: float, price: float, days: float) -> float:
    """Return what instance seconds of so many days come to in a month.

    Parameters
    ----------
    seconds : float
    price : float
        Dollars an hour.
    days : float
        The time that the seconds were spent in.

    Examples
    --------
    >>> round(dollars_a_month(7_200, 0.115, 60.8), 4)
    0.115
    """
    return seconds / 3_600 * price * DAYS_A_MONTH / days


def assumptions(instance_type: str, price: float) -> str:
    """Return in a sentence what the dollars rest on.

    Examples
    --------
    >>> assumptions("ml.m5.large", 0.115)  # doctest: +ELLIPSIS
    'dollars: ml.m5.large at $0.115 an hour, 90 s a job and 1,000 rows a second; ...'
    """
    return (
        f"dollars: {instance_type} at ${price:g} an hour, {JOB_SECONDS} s a job and {ROWS_A_SECOND:,} rows a second; "
        "training instances alone (--price for your price)"
    )
