"""What can go wrong, as types with fields; each message is one sentence with the value and the next step."""

from __future__ import annotations


class EvergreenError(Exception):
    """Base of every error that Evergreen raises on purpose."""


class UnknownModelError(EvergreenError):
    """No spec was ever applied under this name."""

    def __init__(self, model: str) -> None:
        super().__init__(f"model {model!r} is not known: apply its spec first (evergreen apply SPEC)")
        self.model = model


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


def _named(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"
