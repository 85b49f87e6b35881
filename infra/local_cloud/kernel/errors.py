"""What can go wrong in the local cloud itself, as opposed to in the functions it runs."""

from __future__ import annotations

from collections.abc import Sequence


class LocalCloudError(Exception):
    """The base of every error the local cloud raises on its own account."""


class UnsupportedResourceError(LocalCloudError):
    """A template asks for something that the local cloud cannot do faithfully.

    Parameters
    ----------
    logical_id, resource_type
        Which resource of the template.
    wanted
        What it asks for, as the end of a sentence: ``"uses property SnapStart"``.
    remedy
        What to do instead.

    Examples
    --------
    >>> print(UnsupportedResourceError("Predict", "AWS::Lambda::Function", "uses property SnapStart"))
    evergreen local: Predict (AWS::Lambda::Function) uses property SnapStart, which the local cloud does not support; \
remove it or deploy to AWS.
    """

    def __init__(self, logical_id: str, resource_type: str, wanted: str, remedy: str = "remove it or deploy to AWS"):
        self.logical_id = logical_id
        self.resource_type = resource_type
        self.wanted = wanted
        super().__init__(
            f"evergreen local: {logical_id} ({resource_type}) {wanted}, "
            f"which the local cloud does not support; {remedy}."
        )

    @classmethod
    def of_all(cls, found: Sequence[UnsupportedResourceError]) -> UnsupportedResourceError:
        """Return the first of several, with the sentences of all."""
        first = found[0]
        first.args = ("\n".join(str(each) for each in found),)
        return first


class TemplateError(LocalCloudError):
    """A template cannot be read or transformed."""


class MotoChangedError(LocalCloudError):
    """A symbol of moto that the local cloud extends is not where it was."""

    def __init__(self, symbol: str, version: str):
        self.symbol = symbol
        super().__init__(f"moto {version} changed {symbol}: the local cloud extends it; pin moto to 5.2.* or adapt it.")


class CloudAlreadyOpenError(LocalCloudError):
    """Two local clouds would share moto's backends."""

    def __init__(self) -> None:
        super().__init__("A local cloud is already open in this process: close it before you deploy another.")


class EndlessLoopError(LocalCloudError):
    """Events cause each other for ever without time passing."""

    def __init__(self, at: str, actions: int, names: str):
        super().__init__(
            f"{actions} actions ran at {at} without time passing (the last: {names}): "
            "an event causes itself; break the loop in the rules or functions."
        )


class UnknownFunctionError(LocalCloudError):
    """A function that was not deployed."""

    def __init__(self, name: str, known: list[str]):
        super().__init__(f"No function {name!r} is deployed; there are: {', '.join(known) or 'none'}.")


class UnknownScheduleError(LocalCloudError):
    """No schedule has this name, or more than one has it in theirs."""

    def __init__(self, name: str, found: Sequence[str], known: Sequence[str]):
        self.name = name
        if found:
            super().__init__(f"Several schedules have {name!r} in their names: {', '.join(found)}. Give more of one.")
        else:
            there = f"there are {', '.join(known)}" if known else "the stack has none"
            super().__init__(f"No schedule has {name!r} in its name; {there}.")


class DeliveryError(LocalCloudError):
    """A message could not be handed to its target.

    Parameters
    ----------
    code
        AWS's error code, as it appears in a dead-letter queue.
    message
        What happened, in a sentence.
    retryable
        Whether the sender tries again: a missing target or permission is final.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False):
        self.code = code
        self.message = message
        self.retryable = retryable
        super().__init__(f"{code}: {message}")
