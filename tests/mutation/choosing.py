"""Which mutants a change of files calls for."""

import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from mutants import Mutant


class NoRevisionError(Exception):
    """Git does not know the revision."""


def changed_since(revision: str, root: Path) -> set[str]:
    """The files, by their names below the root, that are another now than in a git revision, or new.

    Raises
    ------
    NoRevisionError
        Git does not know the revision.
    """
    changed = _git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", revision, "--")
    return changed | _git(root, "ls-files", "--others", "--exclude-standard", "-z")


def called_for(mutants: Iterable[Mutant], changed: Iterable[str], root: Path) -> list[Mutant]:
    """The mutants of which a module, a test, or what the tests stand on is among the changed files."""
    changed = {PurePosixPath(file) for file in changed}
    if any(_concerns_all(file) for file in changed):
        return list(mutants)
    foundations = {file.parent for file in changed if file.name == "conftest.py"}
    chosen = []
    for mutant in mutants:
        tests = {PurePosixPath(test.partition("::")[0]) for test in mutant.tests}
        modules = {PurePosixPath(file) for file in mutant.made(root)}
        if changed & (tests | modules) or any(foundations & set(test.parents) for test in tests):
            chosen.append(mutant)
    return chosen


def _concerns_all(file: PurePosixPath) -> bool:
    is_of_the_mutants = file.parts[:2] == ("tests", "mutation") and not file.name.startswith("test_")
    return is_of_the_mutants or file.parts[:2] == ("tests", "worlds")


def _git(root: Path, *arguments: str) -> set[str]:
    ran = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise NoRevisionError(ran.stderr.strip().splitlines()[0])
    return set(ran.stdout.split("\0")) - {""}
