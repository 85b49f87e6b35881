"""Run tests that deploy the template, and print what its roles used, were refused and never used."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from uses import from_json, table, to_json, together
from watching import FOLDER

HERE = Path(__file__).parent
SUITES = ("tests/e2e", "tests/faults", "tests/state_machines", "tests/commands")
EXAMPLES = """
examples:
  python tests/permissions                   the stories, faults and state machines that are not slow
  python tests/permissions --all             the slow ones, too
  python tests/permissions tests/e2e --json  the end-to-end stories alone, as JSON

exit codes: 0 nothing was refused and nothing is allowed in vain, 1 something was or is, or a test failed, 2 wrong use
"""


def main() -> int:
    """Run the tests and tell; answers the exit code."""
    parser = argparse.ArgumentParser(
        prog="python tests/permissions",
        description="What the roles of the template use, and what they are allowed, from both sides.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="SUITE", help="folders or files of tests")
    parser.add_argument("--all", action="store_true", help="slow tests, too")
    parser.add_argument("--json", action="store_true", help="print a JSON document, and nothing else, to stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, FOLDER: folder, "PYTEST_PLUGINS": "watching", "PYTHONPATH": path}
        marks = ["-m", "slow or not slow"] if options.all else []
        command = [sys.executable, "-m", "pytest", "-q", *options.suites, *marks]
        ended = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode
        uses = together(from_json(json.loads(file.read_text())) for file in sorted(Path(folder).iterdir()))
    print(json.dumps(to_json(uses), indent=2) if options.json else table(uses))
    return 1 if ended or any(use.refused or use.idle for use in uses.values()) or not uses else 0


if __name__ == "__main__":
    sys.exit(main())
