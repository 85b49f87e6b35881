"""What can go wrong, as types with fields; each message is one sentence with the value and the next step.

Standard library only: what is packed into a training job or an endpoint's container raises these too.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar

_LONGEST_REASON = 200


class EvergreenError(Exception):
    """Base of every error that Evergreen raises on purpose."""

    exit_code: ClassVar[int] = 1
    """What the `evergreen` command exits with: 1 when it is refused or failed, 2 when it can't be asked so."""


class UsageError(EvergreenError, ValueError):
    """Something that can't be asked as it is: an option, a spec, a file of the user's."""

    exit_code: ClassVar[int] = 2


class UnknownModelError(EvergreenError):
    """No spec was ever applied under this name."""

    def __init__(self, model: str) -> None:
        super().__init__(f"model {model!r} is not known: apply its spec first (evergreen apply SPEC)")
        self.model = model


class RegisteredByAnotherStackError(EvergreenError):
    """A registered model of MLflow's whose versions and aliases follow the ledger of another stack."""

    def __init__(self, name: str, stack: str) -> None:
        super().__init__(
            f"the registered model {name!r} of the MLflow server is stack {stack!r}'s: "
            "set this stack's parameter MlflowModelPrefix"
        )
        self.name = name
        self.stack = stack


class BusyTableError(EvergreenError):
    """A table that went on taking less than it was given: whatever wanted to write is tried again by its event."""

    def __init__(self, table: str, left: int) -> None:
        super().__init__(f"table {table!r} was too busy for {left} items of a batch, again and again: try again later")
        self.table = table
        self.left = left


class UnreadableSpecError(EvergreenError):
    """A model's spec that this version of Evergreen can't read; ``problems`` names each key."""

    def __init__(self, model: str, problems: tuple[str, ...]) -> None:
        super().__init__(
            f"this version of Evergreen can't read the spec of model {model!r} ({'; '.join(problems)}): "
            "deploy the version that it was applied with, or a newer one"
        )
        self.model = model
        self.problems = problems


class UnreadableEventError(EvergreenError):
    """An event of the history that has to be read, and that this version of Evergreen can't."""

    def __init__(self, model: str, epoch: int, kind: str) -> None:
        super().__init__(
            f"this version of Evergreen can't read event {epoch} of model {model!r}, a {kind}: deploy the version that "
            f"recorded it, or a newer one; where that is this one, see `evergreen verify {model}`"
        )
        self.model = model
        self.epoch = epoch
        self.kind = kind


class StaleStateError(EvergreenError):
    """The state read is no longer the newest: somebody else decided in between. Read again and decide again."""

    def __init__(self, model: str, epoch: int) -> None:
        super().__init__(f"the state of {model!r} at epoch {epoch} is no longer the newest: read it and decide again")
        self.model = model
        self.epoch = epoch


class IllegalTransitionError(EvergreenError):
    """An event that can't happen in this state."""

    def __init__(self, model: str, event: str, because: str) -> None:
        super().__init__(f"{event} can't happen to {model!r} now: {because}")
        self.model = model
        self.event = event
        self.because = because


class UnknownVersionError(EvergreenError):
    """A version number that was never registered for the model."""

    def __init__(self, model: str, version: int, known: tuple[int, ...]) -> None:
        super().__init__(f"model {model!r} has no version {version}: it has {', '.join(map(str, known)) or 'none yet'}")
        self.model = model
        self.version = version


class ChangedMeanwhileError(EvergreenError):
    """A person decided on what they were shown, and it is not so any more."""

    def __init__(self, model: str, *, shown: tuple[int | None, int], found: tuple[int | None, int]) -> None:
        super().__init__(
            f"model {model!r} has changed since it was shown: production was {_named(shown[0])} (epoch {shown[1]}) and "
            f"is {_named(found[0])} (epoch {found[1]}): look again and decide again"
        )
        self.model = model
        self.shown = shown
        self.found = found


class NothingToApproveError(EvergreenError):
    """No proposal waits, or it is about another version."""

    def __init__(self, model: str, asked: int | None, proposed: int | None) -> None:
        version = "" if asked is None else f" of version {asked}"
        waits = "none does" if proposed is None else f"version {proposed} does"
        super().__init__(
            f"no promotion{version} of {model!r} waits for approval, {waits}: see `evergreen status {model}`"
        )
        self.model = model
        self.asked = asked
        self.proposed = proposed


class NotAppliedError(EvergreenError):
    """A change that the model's life does not allow."""


class TrainingRefusedError(EvergreenError):
    """A training that can't be started as it is asked for, however often; ``reason`` is for the history."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the training of {name!r} is refused: {reason}")
        self.name = name
        self.reason = reason


class BadRequestError(EvergreenError):
    """A request that can't be answered as it is; ``problems`` names each field."""

    def __init__(self, problems: tuple[str, ...], *, status: int = 400) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.status = status


class ConflictingWriteError(EvergreenError):
    """A conditional write of an object found a newer one in its place."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} was written by somebody else in between: read it and write again")
        self.key = key


class OnlineRevertError(EvergreenError):
    """A live state that can't be taken back."""


def _named(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"


def what_failed(error: Exception) -> str:
    """The type and the place of an error, and the message of an error of the system.

    The message of any other type may quote a row, and is left out: what is said here goes into logs and the history.

    Examples
    --------
    >>> what_failed(FileNotFoundError("models/churn/7/model.tar.gz does not exist"))
    'FileNotFoundError: models/churn/7/model.tar.gz does not exist'
    >>> what_failed(ValueError("could not convert string to float: 'Ada Lovelace'"))
    'ValueError'
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    told = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("evergreen", "botocore")
    message = f": {str(error).splitlines()[0][:_LONGEST_REASON]}" if told and str(error) else ""
    return f"{type(error).__name__}{place}{message}"


class UnreadMetricsError(EvergreenError):
    """CloudWatch answered, but not with the metrics: silence would look like requests that all went well."""

    def __init__(self, metric: str, status: str) -> None:
        super().__init__(f"metric {metric!r} could not be read from CloudWatch ({status}): try again in a minute")


class EndpointWentBackError(EvergreenError):
    """SageMaker took a change of an endpoint and then undid it; ``reason`` is for the history.

    Not ``asked``: it would have, with an artifact that is damaged or gone, and was spared it.
    """

    def __init__(self, endpoint: str, config: str, reason: str, *, asked: bool = True) -> None:
        super().__init__(f"endpoint {endpoint!r} did not become {config!r}: {reason}")
        self.endpoint = endpoint
        self.config = config
        self.reason = reason
        self.asked = asked


class EndpointRefusedError(EvergreenError):
    """SageMaker does not take a change of an endpoint as it is now."""

    def __init__(self, endpoint: str, config: str, reason: str) -> None:
        super().__init__(f"endpoint {endpoint!r} can't become {config!r}: {reason}")
        self.endpoint = endpoint
        self.config = config
        self.reason = reason
