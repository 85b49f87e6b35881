"""Enums whose members are their own text, in JSON, in comparisons and in messages."""

from __future__ import annotations

from enum import Enum


class Word(str, Enum):
    """A closed set of words (`StrEnum` is newer than the Python that training jobs run on).

    Examples
    --------
    >>> class Answer(Word):
    ...     YES = "yes"
    >>> Answer.YES == "yes", f"{Answer.YES}"
    (True, 'yes')
    """

    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self.value, format_spec)
