"""Run the scanners on every template, as it is written and as CloudFormation gets it, and print what nobody accepts."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from findings import ACCEPTED, needless, open_findings, read_accepted
from scanners import SCANNERS

from local_cloud.services.cloudformation.template import read_template, translate

ROOT = Path(__file__).parents[2]
TEMPLATES = ("template.yaml", "infra/deploy/*.yaml")  # what can be deployed; those of the tests are for no account
EPILOG = """
What is accepted stands in tests/scans/accepted.yaml, with the reason. An entry that nothing needs any more has to go.

exit codes: 0 nothing is open and nothing is accepted in vain, 1 something is, 2 wrong use
"""


def main() -> int:
    """Scan and tell; answers the exit code."""
    described = argparse.ArgumentParser(
        prog="python tests/scans",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    described.parse_args()
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # SAM asks for one
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        templates = list(_forms(folder))
        places = [folder / scanner.__name__ for scanner in SCANNERS]
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(lambda scanner, place: list(scanner(templates, place)), SCANNERS, places))
    accepted = read_accepted(ACCEPTED.read_text(encoding="utf-8"))
    findings = {finding for each in found for finding in each}
    still, idle = open_findings(findings, accepted), needless(findings, accepted)
    for one in still:
        print(f"{one.template}: {one.resource}: {one.scanner} {one.rule}: {one.says}")
    for entry in idle:
        print(f"{entry.template}: {entry.resource}: {entry.scanner} {entry.rule} is accepted and not found: remove it")
    ran = ", ".join(scanner.__name__.replace("_", "-") for scanner in SCANNERS)
    kept = len(findings) - len(still)
    print(f"{len(templates)} templates by {ran}: {len(still)} open, {kept} accepted, {len(idle)} accepted in vain")
    return 1 if still or idle else 0


def _forms(folder: Path) -> Iterator[Path]:
    """Each template as it is written, and as SAM transforms it; in a file's name + stands for /, ~ begins the form."""
    for file in sorted(one for pattern in TEMPLATES for one in ROOT.glob(pattern)):
        name = str(file.relative_to(ROOT).with_suffix("")).replace("/", "+")
        document = read_template(file)
        written = folder / f"{name}.json"
        written.write_text(json.dumps(document, indent=1))
        yield written
        if "Transform" in document:
            for resource in document["Resources"].values():
                for code in {"CodeUri", "ContentUri"} & resource.get("Properties", {}).keys():
                    resource["Properties"][code] = "s3://code/code.zip"
            deployed = folder / f"{name}~deployed.json"
            deployed.write_text(json.dumps(translate(document, {}), indent=1))
            yield deployed


if __name__ == "__main__":
    sys.exit(main())
