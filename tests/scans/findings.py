"""What scanners find, and which of it is accepted, with the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """One rule that one resource of a template breaks."""

    scanner: str
    rule: str
    template: str
    resource: str
    says: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A rule that resources of a template may break, and why; a resource may be a pattern, as of file names."""

    scanner: str
    rule: str
    template: str
    resource: str
    because: str

    def covers(self, finding: Finding) -> bool:
        return (self.scanner, self.rule, self.template) == (
            finding.scanner,
            finding.rule,
            finding.template,
        ) and fnmatchcase(finding.resource, self.resource)


def read_accepted(text: str) -> list[Accepted]:
    """Read accepted.yaml: one Accepted for each rule and resource of an entry."""
    return [
        Accepted(entry["scanner"], rule, entry["template"], resource, entry["because"])
        for entry in yaml.safe_load(text)
        for rule in entry["rules"]
        for resource in entry["resources"]
    ]


def open_findings(findings: Iterable[Finding], accepted: Sequence[Accepted]) -> list[Finding]:
    """What nobody has accepted, in order."""
    return sorted(finding for finding in set(findings) if not any(one.covers(finding) for one in accepted))


def needless(findings: Iterable[Finding], accepted: Sequence[Accepted]) -> list[Accepted]:
    """What is accepted although no scanner finds it any more."""
    found = list(findings)
    return [one for one in accepted if not any(one.covers(finding) for finding in found)]


ACCEPTED = Path(__file__).with_name("accepted.yaml")
