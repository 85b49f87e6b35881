"""What was failed and how it ended: handlers x call points x faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one call of one story; `difference` is empty where the world ended as without it."""

    function: str
    story: str
    ordinal: int  # of the call; -1: no call failed, the event was delivered twice
    call: str
    fault: str
    difference: str = ""

    def __str__(self) -> str:
        return f"{self.function}, {self.story}: {self.fault} at call {self.ordinal} ({self.call})\n{self.difference}"


@dataclass(slots=True)
class FaultReport:
    """Every case that was tried."""

    cases: list[Case] = field(default_factory=list)

    @property
    def violations(self) -> list[Case]:
        return [case for case in self.cases if case.difference]

    def lines(self):
        """A line a function, and one of totals."""
        width = max(len(case.function) for case in self.cases)
        for function in sorted({case.function for case in self.cases}):
            yield f"{function:<{width}}  {_counted([c for c in self.cases if c.function == function])}"
        yield f"{'all':<{width}}  {_counted(self.cases)}"

    def to_json(self):
        """Everything as plain data; the calls of a story in the order in which they were made."""
        functions = {}
        for case in self.cases:
            story = functions.setdefault(case.function, {}).setdefault(case.story, {})
            call = "no call failed" if case.ordinal < 0 else f"{case.ordinal} {case.call}"
            story.setdefault(call, {})[case.fault] = "violated" if case.difference else "held"
        counts = {"cases": len(self.cases), "violations": len(self.violations), **_counts(self.cases)}
        return {**counts, "functions": functions, "violated": [asdict(case) for case in self.violations]}


def _counts(cases):
    points = {(case.function, case.story, case.ordinal, case.call) for case in cases if case.ordinal >= 0}
    return {
        "functions": len({case.function for case in cases}),
        "stories": len({(case.function, case.story) for case in cases}),
        "call_points": len(points),
        "operations": dict(sorted(Counter(call for *_, call in points).items())),
        "faults": sorted({case.fault for case in cases if case.ordinal >= 0}),
    }


def _counted(cases):
    counts = _counts(cases)
    violations = sum(bool(case.difference) for case in cases)
    return (
        f"{counts['stories']:>3} stories x {counts['call_points']:>4} call points x {len(counts['faults'])} faults: "
        f"{len(cases):>5} cases, {violations} violations"
    )
