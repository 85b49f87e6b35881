"""What roles used, were refused and left, and the table of all of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OF_THE_STACK = frozenset({"PredictRole", "LearnLiveRole"})
"""Whoever has these was made by Evergreen's template."""

_OF_LAMBDA = ("logs:", "xray:", "ec2:")
"""What Lambda itself does by a function's role on AWS: logs, traces, interfaces in a VPC. Nothing here does it."""


@dataclass(slots=True)
class Use:
    """What a role did.

    Parameters
    ----------
    used
        How often each action was allowed.
    refused
        What it asked for and may not do, as ``ACTION on RESOURCE``.
    idle
        Patterns of actions that it is allowed and did not use, less what Lambda itself does by a function's role.
    """

    used: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)

    def with_other(self, other: "Use") -> "Use":
        """Both together: idle is what neither used."""
        return Use(self.used + other.used, self.refused | other.refused, self.idle & other.idle)


def together(stacks: Iterable[Mapping[str, Use]]) -> dict[str, Use]:
    """What the roles of several stacks of one template did, by their names in it.

    Examples
    --------
    >>> one = {"PredictRole": Use(idle={"s3:GetObject", "s3:PutObject"})}
    >>> other = {"PredictRole": Use(Counter({"s3:PutObject": 2}), idle={"s3:GetObject"})}
    >>> together([one, other])["PredictRole"].idle
    {'s3:GetObject'}
    """
    found: dict[str, Use] = {}
    for stack in stacks:
        for role, use in stack.items():
            found[role] = found[role].with_other(use) if role in found else use
    return dict(sorted(found.items()))


def of_the_code(patterns: Iterable[str]) -> set[str]:
    """Of patterns of actions those that code has to use.

    Examples
    --------
    >>> of_the_code(["xray:PutTraceSegments", "s3:GetObject"])
    {'s3:GetObject'}
    """
    return {pattern for pattern in patterns if not pattern.startswith(_OF_LAMBDA)}


def to_json(uses: Mapping[str, Use]) -> dict[str, Any]:
    """As plain data."""
    return {
        role: {"used": dict(sorted(use.used.items())), "refused": sorted(use.refused), "idle": sorted(use.idle)}
        for role, use in uses.items()
    }


def from_json(document: Mapping[str, Any]) -> dict[str, Use]:
    """Read what :func:`to_json` wrote."""
    return {
        role: Use(Counter(found["used"]), set(found["refused"]), set(found["idle"])) for role, found in document.items()
    }


def table(uses: Mapping[str, Use]) -> str:
    """A line for each role and action, and the three sums."""
    rows = [("role", "action", "times")]
    for role, use in uses.items():
        rows += [(role, action, f"{times:,}") for action, times in sorted(use.used.items())]
        rows += [(role, refused, "REFUSED") for refused in sorted(use.refused)]
        rows += [(role, pattern, "never used") for pattern in sorted(use.idle)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{role:{widths[0]}}  {what:{widths[1]}}  {times}" for role, what, times in rows]
    used = sum(len(use.used) for use in uses.values())
    refused = sum(len(use.refused) for use in uses.values())
    idle = sum(len(use.idle) for use in uses.values())
    return "\n".join(
        [*lines, f"used and allowed: {used}; used and not allowed: {refused}; allowed and never used: {idle}"]
    )
