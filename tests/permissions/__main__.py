"""Run tests that live under the template's policies, and print what each grant is used for, and what was refused."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grants import Asked, Grant
from stack import stacks
from watching import FOLDER
from witnesses import Witness, label, needed_for, page_of, read, renewed, write

HERE = Path(__file__).parent
SUITES = ("tests/e2e", "tests/handlers", "tests/state_machines", "tests/faults", "tests/unit/test_training_tracking.py")
EXAMPLES = """
examples:
  python tests/permissions                   every story, the slow ones too
  python tests/permissions --quick           only those that are not slow; what only slow ones use counts as never used
  python tests/permissions --write           the same, and keep the witnesses in witnesses.tsv
  python tests/permissions tests/e2e --json  the end-to-end stories alone, as JSON

exit codes: 0 nothing was refused, nothing is allowed in vain, and witnesses.tsv is true; 1 something is not so, or a
test failed; 2 wrong use
"""


@dataclass(slots=True)
class Heard:
    """What all processes of a run heard."""

    times: Counter[Grant] = field(default_factory=Counter)
    seen: dict[Grant, dict[str, Asked]] = field(default_factory=dict)
    refused: set[tuple[str, str]] = field(default_factory=set)

    def add(self, document: Any) -> None:
        """Add what one process left."""
        told, refused = document
        for *names, times, tests in told:
            grant = Grant(*names)
            self.times[grant] += times
            self.seen.setdefault(grant, {}).update({test: Asked.read(asked) for test, asked in tests.items()})
        self.refused |= {(what, test) for what, test in refused}


def main() -> int:
    """Run the tests and tell; answers the exit code."""
    options = _parser().parse_args()
    heard, ended = _run(options.suites, quick=options.quick)
    grants = sorted({grant for stack in stacks() for grant in stack.grants()})
    kept = read()
    found = renewed(kept, heard.seen, grants)
    if options.suites != SUITES:  # the witnesses of tests that did not run are neither true nor false
        found |= {grant: kept[grant] for grant in grants if grant in kept}
    if options.write:
        write(found)
    idle = [grant for grant in grants if grant not in found and not page_of(grant)]
    stale = [] if options.write else sorted(kept.keys() ^ found.keys())
    changed = [grant for grant in found.keys() & kept.keys() if found[grant].test != kept[grant].test]
    if options.json:
        print(json.dumps(_to_json(heard, grants, found), indent=2))
    else:
        print("\n".join(_table(heard, grants, found)))
    for grant in [*stale, *(() if options.write else changed)]:
        print(f"witnesses.tsv is not true of {label(grant)}: run with --write", file=sys.stderr)
    return 1 if ended or heard.refused or idle or stale or changed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/permissions",
        description="What the roles of the template use, and what they are allowed, from both sides.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="SUITE", help="folders, files or ids of tests")
    parser.add_argument("--quick", action="store_true", help="no slow tests")
    parser.add_argument("--write", action="store_true", help="keep the witnesses that were found")
    parser.add_argument("--json", action="store_true", help="print a JSON document, and nothing else, to stdout")
    return parser


def _run(suites: Iterable[str], *, quick: bool) -> tuple[Heard, bool]:
    """Run tests; answers what was heard, and whether one failed."""
    heard = Heard()
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, FOLDER: folder, "PYTEST_PLUGINS": "watching", "PYTHONPATH": path}
        marks = [] if quick else ["-m", "not benchmark and not built"]
        command = [sys.executable, "-m", "pytest", "-q", *suites, *marks]
        ended = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode
        for file in sorted(Path(folder).iterdir()):
            heard.add(json.loads(file.read_text()))
    return heard, ended != 0


def _to_json(heard: Heard, grants: Iterable[Grant], found: Mapping[Grant, Witness]) -> dict[str, Any]:
    return {
        "grants": [
            {**grant._asdict(), "times": heard.times[grant], "test": found[grant].test if grant in found else None}
            | ({"page": page} if (page := page_of(grant)) else {})
            for grant in grants
        ],
        "refused": [{"what": what, "test": test} for what, test in sorted(heard.refused)],
    }


def _table(heard: Heard, grants: Iterable[Grant], found: Mapping[Grant, Witness]) -> list[str]:
    """Return a line for each grant and each refusal, and the three sums."""
    lines, used, idle = [], 0, 0
    for grant in grants:
        if page := page_of(grant):
            told = f"by AWS alone: {page}"
        elif grant in found:
            times = f"{heard.times[grant]:,} times" if grant in heard.seen else "not in this run"
            told, used = f"{times}, by {found[grant].test}", used + 1
        else:
            why = needed_for(grant)
            told, idle = f"NEVER USED{'' if why is None else f': {why}'}", idle + 1
        lines.append(f"{label(grant)}: {told}")
    lines += [f"{what}: REFUSED in {test}" for what, test in sorted(heard.refused)]
    refused = len({what for what, _ in heard.refused})
    return [*lines, f"used and allowed: {used}; used and not allowed: {refused}; allowed and never used: {idle}"]


if __name__ == "__main__":
    sys.exit(main())
