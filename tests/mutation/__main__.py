"""Turn off one safeguard at a time, in a copy, and see that a test fails: `python tests/mutation --help`."""

import argparse
import sys
from pathlib import Path

from choosing import NoRevisionError, called_for, changed_since
from mutants import MUTANTS, Mutant, SourceChangedError
from running import NotRunError, bench

ROOT = Path(__file__).parents[2]
EXAMPLES = """
examples:
  python tests/mutation                              every safeguard
  python tests/mutation endpoint                     those with "endpoint" in their names
  python tests/mutation --changed-since origin/main  those that the changes since then may have to do with
  python tests/mutation rollback --list              what would be turned off, where, and by what test it is noticed

exit codes: 0 each mutant was killed, 1 one survived or could not be tried, 2 wrong use
"""


def main() -> int:
    """Try the chosen mutants; answers the exit code."""
    options = _parser().parse_args()
    try:
        chosen = _chosen(options)
        return _list(chosen) if options.list else _try(chosen)
    except (NotRunError, SourceChangedError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/mutation",
        description="Turn off one safeguard at a time, in a copy of the tree, and see that a test fails.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("word", nargs="?", default="", help="only the safeguards that have this in their names")
    parser.add_argument(
        "--changed-since",
        metavar="REV",
        help="only those whose module or tests changed since a git revision; all, when what they stand on did",
    )
    parser.add_argument("--list", action="store_true", help="print safeguards, places and tests, and try nothing")
    return parser


def _chosen(options: argparse.Namespace) -> list[Mutant]:
    chosen = [mutant for mutant in MUTANTS if options.word in mutant.safeguard]
    if not chosen:
        names = "\n  ".join(mutant.safeguard for mutant in MUTANTS)
        _parser().error(f"no safeguard has {options.word!r} in its name; there are\n  {names}")
    if options.changed_since is None:
        return chosen
    try:
        return called_for(chosen, changed_since(options.changed_since, ROOT), ROOT)
    except NoRevisionError as error:
        _parser().error(f"--changed-since {options.changed_since}: {error}")


def _list(mutants: list[Mutant]) -> int:
    for mutant in mutants:
        print(mutant.safeguard)
        for change in mutant.changes:
            print(f"  off in     {change.place}: {change.edit.sought}")
        for test in mutant.tests:
            print(f"  killed by  {test}")
    return 0


def _try(mutants: list[Mutant]) -> int:
    # All of them first: a source that has changed is said at once.
    changes = {mutant.safeguard: (mutant.made(ROOT), mutant.tests) for mutant in mutants}
    survivors, seconds = [], 0.0
    with bench(ROOT) as ours:
        seconds += ours.require_passing({test for mutant in mutants for test in mutant.tests})
        for number, (safeguard, run) in enumerate(ours.tried(changes), start=1):
            seconds += run.seconds
            print(f"[{number:2}/{len(mutants)}] {safeguard}: {_end(run.failed)} ({run.seconds:.1f} s)", flush=True)
            if run.failed is None:
                survivors.append(safeguard)
    print(f"{len(mutants)} mutants, {len(survivors)} survived ({seconds:.0f} s of processor time)")
    for safeguard in survivors:
        print(f"  {safeguard}")
    return 1 if survivors else 0


def _end(failed: str | None) -> str:
    return "NOTHING noticed it" if failed is None else f"killed by {failed}"


if __name__ == "__main__":
    sys.exit(main())
