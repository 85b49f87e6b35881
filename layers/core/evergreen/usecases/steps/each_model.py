"""Work on every model, where one model's trouble is not the next one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Troubles:
    """What went wrong with some models while the others were worked on; raised at the end, so that the call fails.

    Parameters
    ----------
    what
        What could not be done, for the log and the error: ``could not be evaluated``.
    log
        Called with `what` and the model while the exception is handled, as a logger's ``exception`` is.

    Examples
    --------
    >>> troubles = Troubles("could not be halved", lambda what, model: print(model, what))
    >>> for model in ("churn", "orders"):
    ...     with troubles.of(model):
    ...         print({"orders": 4}[model] // 2)
    churn could not be halved
    2
    >>> troubles.end()
    Traceback (most recent call last):
    ...
    ExceptionGroup: models that could not be halved (1 sub-exception)
    """

    def __init__(self, what: str, log: Callable[..., None]) -> None:
        self._what = what
        self._log = log
        self._errors: list[Exception] = []

    @contextmanager
    def of(self, model: str) -> Iterator[None]:
        """Keep what the work on a model raises, and go on."""
        try:
            yield
        except Exception as error:  # whatever it is: it is raised at the end
            self._log(self._what, model=model)
            self._errors.append(error)

    def end(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._errors:
            raise ExceptionGroup(f"models that {self._what}", self._errors)
