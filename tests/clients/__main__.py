"""Run clients that nobody here wrote against the local cloud, and print what passed, what failed, and why."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from clients import CLIENTS, ClientError, Outcome, run
from reasons import REASONS, Reason, reason_of

EXAMPLES = """
examples:
  python tests/clients                          all of them: half an hour
  python tests/clients sagemaker-v2 aws-cli     some
  python tests/clients moto --json              as JSON

exit codes: 0 what fails is to fail (reasons.py), 1 something else fails, a reason holds for nothing, or a client could
not be run, 2 wrong use
"""
WIDTH = 200
COLUMNS = ("passed", "well-formed", "known", "failed", "skipped")


def outcome_of(told: Outcome) -> str:
    """Return a test's column: a failure that has a reason is known."""
    return "known" if told.outcome == "failed" and reason_of(told.test) is not None else told.outcome


def idle_reasons(told: Mapping[str, Sequence[Outcome]], reasons: Sequence[Reason] = REASONS) -> list[str]:
    """Return the patterns of reasons for which nothing failed, though all clients ran.

    Examples
    --------
    >>> from reasons import Kind
    >>> reasons = [Reason(Kind.LACKING, "it is not here", ("*::test_a", "*::test_b"))]
    >>> idle_reasons({"moto": [Outcome("x::test_a", "failed"), Outcome("x::test_b", "passed")]}, reasons)
    ['*::test_b']
    """
    failed = [one.test for outcomes in told.values() for one in outcomes if one.outcome == "failed"]
    patterns = [(reason, pattern) for reason in reasons for pattern in reason.tests]
    return [
        pattern
        for reason, pattern in patterns
        if not any(reason_of(test, [Reason(reason.kind, reason.why, (pattern,))]) for test in failed)
    ]


def table(told: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the figures of each client, then every failure with its reason, those that nobody knows of last."""
    rows = [f"{'client':16}" + "".join(f"{column:>13}" for column in COLUMNS)]
    for name, outcomes in told.items():
        columns = [outcome_of(one) for one in outcomes]
        rows.append(f"{name:16}" + "".join(f"{columns.count(column):13}" for column in COLUMNS))
    every = [(name, one) for name, outcomes in told.items() for one in outcomes]
    of_form = [f"  {one.test}: {shortened(one.why)}" for _, one in every if one.outcome == "well-formed"]
    rows += (
        [
            "\nwell-formed: as written it gives a value that AWS refuses, is in another region, or looks too soon:",
            *of_form,
        ]
        if of_form
        else []
    )
    for reason in REASONS:
        hit = [f"  {one.test}" for _, one in every if one.outcome == "failed" and reason_of(one.test) is reason]
        rows += [f"\n{reason.kind}: {reason.why} {reason.page}", *hit] if hit else []
    rows += [f"\nFAILED {name}: {one.test}\n  {one.why}" for name, one in every if outcome_of(one) == "failed"]
    return "\n".join(rows)


def shortened(why: str) -> str:
    """Return the part of a failure that tells most.

    Examples
    --------
    >>> shortened("client.py:9: ClientError: An error occurred (ValidationException): 1 validation error: Value 'n/a'")
    "An error occurred (ValidationException): 1 validation error: Value 'n/a'"
    """
    said = why[why.find("An error occurred") :] if "An error occurred" in why else why
    return said.replace("\n", " ")[:WIDTH]


def main() -> int:
    """Run clients and tell; answers the exit code."""
    parser = argparse.ArgumentParser(
        prog="python tests/clients",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [client.name for client in CLIENTS]
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"one of {', '.join(names)}; by default all")
    parser.add_argument("--json", action="store_true", help="print a JSON document, and nothing else, to stdout")
    options = parser.parse_args()
    if unknown := sorted(set(options.clients) - set(names)):
        parser.error(f"there is no client {unknown[0]}; there are {', '.join(names)}")
    told: dict[str, list[Outcome]] = {}
    broken = []
    for client in CLIENTS:
        if not options.clients or client.name in options.clients:
            print(f"{client.name} {client.version}", file=sys.stderr, flush=True)
            try:
                told[client.name] = run(client)
            except ClientError as error:
                broken.append(f"{client.name}: {error}")
    broken += [f"{name}: it told nothing" for name, outcomes in told.items() if not outcomes]
    idle = [] if options.clients else idle_reasons(told)
    if options.json:
        outcomes = {name: [asdict(one) | {"column": outcome_of(one)} for one in given] for name, given in told.items()}
        print(json.dumps({"clients": outcomes, "broken": broken, "idle": idle}, indent=2))
    else:
        print(table(told))
        print("".join(f"\n{line}" for line in (*broken, *(f"nothing fails as {pattern}" for pattern in idle))))
    unknown_failures = any(outcome_of(one) == "failed" for outcomes in told.values() for one in outcomes)
    return 1 if unknown_failures or broken or idle else 0


if __name__ == "__main__":
    sys.exit(main())
