"""What a simulation found beside its goal: a bound that allows for the luck of its size and no more."""

from __future__ import annotations

from dataclasses import dataclass, field

from scipy.stats import binom

LUCK = 1e-3
"""A rate that is exactly at its goal breaks its bound in one simulation of a thousand."""


def exceeds(hits: int, of: int, goal: float) -> bool:
    """Whether so many hits are more than luck when the rate is the goal's."""
    return hits > 0 and float(binom.sf(hits - 1, of, goal)) < LUCK


def falls_short(hits: int, of: int, goal: float) -> bool:
    return hits < of and float(binom.cdf(hits, of, goal)) < LUCK


@dataclass(frozen=True)
class Line:
    decision: str
    scenario: str
    goal: str
    found: str


@dataclass
class Board:
    """Collects a line for each figure, in the order they were measured, and asserts."""

    lines: list[Line] = field(default_factory=list)

    def note(self, decision: str, scenario: str, goal: str, found: str) -> None:
        self.lines.append(Line(decision, scenario, goal, found))

    def at_most(self, decision: str, scenario: str, hits: int, of: int, goal: float) -> None:
        self.note(decision, scenario, f"<= {_percent(goal)}", _share(hits, of))
        assert not exceeds(hits, of, goal), f"{scenario}: {_share(hits, of)}, the goal is at most {_percent(goal)}"

    def at_least(self, decision: str, scenario: str, hits: int, of: int, goal: float) -> None:
        self.note(decision, scenario, f">= {_percent(goal)}", _share(hits, of))
        assert not falls_short(hits, of, goal), f"{scenario}: {_share(hits, of)}, the goal is at least {_percent(goal)}"

    def no_more_than(self, decision: str, scenario: str, found: float, goal: float, *, allowing: float = 0.0) -> None:
        """A mean or a quantile, which is no count: ``allowing`` is its own luck."""
        self.note(decision, scenario, f"<= {goal:g}", f"{found:.3g}")
        assert found <= goal + allowing, f"{scenario}: {found:.3g}, the goal is at most {goal:g}"

    def breaks(self, decision: str, scenario: str, hits: int, of: int, goal: float) -> None:
        """A wrong formula must be seen: its rate is beyond what luck allows the right one."""
        self.note(decision, f"wrong on purpose: {scenario}", f"> {_percent(goal)}", _share(hits, of))
        assert exceeds(hits, of, goal), f"{scenario}: {_share(hits, of)} does not show beside {_percent(goal)}"

    def table(self) -> list[str]:
        head = Line("decision", "scenario", "goal", "measured")
        rows = [(line.decision, line.scenario, line.goal, line.found) for line in (head, *self.lines)]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _share(hits: int, of: int) -> str:
    return f"{_percent(hits / of)} of {of:,}"
