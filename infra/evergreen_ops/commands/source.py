"""`evergreen source`: what training jobs run, in one archive."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from evergreen.errors import EvergreenError, UsageError
from evergreen_ops.console import print_json

HELP = """Write the source that training jobs run: sourcedir.tar.gz, as a stack of this release packs it.

With --isolated it brings all packages that AWS's scikit-learn image lacks, for jobs without a network: each is held \
to its hash when it is fetched from your package index, and again when a job starts. Upload the archive below source/ \
of the artifact bucket, and name it in the spec: training.source_dir, with entry_point train.py. The same release \
gives the same bytes.

Examples:

  evergreen source sourcedir.tar.gz --isolated

  aws s3 cp sourcedir.tar.gz s3://ARTIFACT-BUCKET/source/isolated/sourcedir.tar.gz
"""
# Whose files AWS's scikit-learn image takes: https://peps.python.org/pep-0600/
_IMAGE = ("--python-version", "3.10", "--implementation", "cp")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


class WheelsError(EvergreenError):
    """The package index does not give what the source needs."""


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    app.command(help=HELP)(source)


def source(
    archive: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)],
    isolated: Annotated[bool, typer.Option("--isolated", help="With all packages that it needs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else there.")] = False,
) -> None:
    """Pack; see the help above, which the command shows."""
    from evergreen.training.source import PROGRAM, pack_source

    if not archive.parent.is_dir():
        raise UsageError(f"there is no folder {archive.parent}: make it, or write elsewhere")
    content = pack_source(_wheels() if isolated else None)
    archive.write_bytes(content)
    told = {"archive": str(archive), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if as_json:
        print_json({**told, "entry_point": PROGRAM})
        return
    typer.echo(f"{archive}: {len(content):,} bytes, sha256 {told['sha256']}; its entry_point is {PROGRAM}")


def _wheels() -> dict[str, bytes]:
    """What the requirements name, for the image's Python, whichever Python fetches it."""
    from evergreen.training.source import REQUIREMENTS

    if importlib.util.find_spec("pip") is None:
        raise UsageError(
            "--isolated fetches packages with pip, which is not installed here: install it (uv pip install pip)"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = folder / "requirements.txt"
        # pip asks for the markers of the Python that runs it, whichever one it fetches for.
        listed.write_text(re.sub(r" ; python_version == \"[\d.]+\"", "", REQUIREMENTS.read_text(encoding="utf-8")))
        files = ["--only-binary", ":all:", "--no-deps", *_IMAGE, *(f"--platform={each}" for each in _PLATFORMS)]
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        command = [*fetch, *files, "--requirement", str(listed), "--dest", str(folder / "wheels")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - pip of this Python, no shell
        if ended.returncode:
            raise WheelsError(f"the packages could not be fetched: {ended.stderr.strip()[-1000:]}")
        return {_shorter(file.name): file.read_bytes() for file in sorted((folder / "wheels").iterdir())}


def _shorter(wheel: str) -> str:
    """Return a wheel's name with the first of its platforms alone: names in a tar archive are short.

    Examples
    --------
    >>> _shorter("a-1-cp310-cp310-manylinux2014_x86_64.manylinux_2_17_x86_64.whl")
    'a-1-cp310-cp310-manylinux2014_x86_64.whl'
    >>> _shorter("b-2.0-py3-none-any.whl")
    'b-2.0-py3-none-any.whl'
    """
    tags, _, platforms = wheel.removesuffix(".whl").rpartition("-")
    return f"{tags}-{platforms.partition('.')[0]}.whl"
