"""Pack what a training job made into archives whose bytes depend on their content alone, and read such archives.

Standard library only: functions without numpy read archives too.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evergreen.errors import EvergreenError

__all__ = [
    "ANCESTORS",
    "OWN",
    "START_FILE",
    "ArtifactError",
    "canonical_json",
    "graph_file",
    "leaves_file",
    "live_names",
    "pack",
    "unpack",
]

ANCESTORS = "ancestors"
"""Key of model.json: the numbers of the versions that live on in this one, oldest first; absent: no live state."""

OWN = "own"
"""How the files of a version's own estimator are called; those of its ancestors by their numbers."""

START_FILE = "members/start"

LARGEST_CONTENT = 2 * 1024**3
LARGEST_JSON = 64 * 1024**2
_MOST_MEMBERS = 1_000
_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)


class ArtifactError(EvergreenError, ValueError):
    """An artifact that can't be loaded: a file is missing, unreadable, or its parts do not fit each other."""


def pack(files: Mapping[str, bytes], *, level: int = 6) -> bytes:
    """Return a tar.gz of files, the same bytes wherever and whenever it is made.

    Parameters
    ----------
    files
        Content by name.
    level
        Of gzip's compression, 1 (fast) to 9.

    Examples
    --------
    >>> pack({"b": b"2", "a": b"1"}) == pack({"a": b"1", "b": b"2"})
    True
    """
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=level, mtime=0) as stream:
        stream.write(plain.getbuffer())
    return packed.getvalue()


def canonical_json(content: Any) -> bytes:
    r"""Return JSON with sorted keys and a last newline, readable and the same for the same content.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": None})
    b'{\n "a": null,\n "b": 1\n}\n'
    """
    return (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def graph_file(name: str | int) -> str:
    """Where an archive holds the graph of a member."""
    return f"members/{name}.onnx"


def leaves_file(name: str | int) -> str:
    """Where it holds the values of the member's leaves."""
    return f"members/{name}.leaves"


def live_names(ancestors: Sequence[int]) -> tuple[str, ...]:
    """The files that an archive may hold for a live state.

    Examples
    --------
    >>> live_names([3])
    ('members/start', 'members/3.onnx', 'members/own.onnx', 'members/3.leaves', 'members/own.leaves')
    """
    names: list[str | int] = [*ancestors, OWN]
    return (START_FILE, *map(graph_file, names), *map(leaves_file, names))


def unpack(content: bytes, names: Collection[str], *, stop_early: bool = False) -> dict[str, bytes]:
    """Read files out of the bytes of a tar.gz, in memory: no path or link in it can reach anything.

    Parameters
    ----------
    content
        The archive.
    names
        The files wanted; what else the archive holds is skipped, and what it lacks is not in the answer.
    stop_early
        Read no further than to the last of the files: for bytes that were read to their end when they were registered.

    Returns
    -------
    dict of bytes
        By name, without a leading ``./``.

    Raises
    ------
    ArtifactError
        It can't be read, holds a file twice, or is larger than any model (2 GiB, 64 MiB a JSON file, 1,000 members):
        a few bytes of gzip can stand for gigabytes.

    Examples
    --------
    >>> unpack(pack({"model.json": b"{}", "notes.txt": b"-"}), ("model.json", "model.onnx"))
    {'model.json': b'{}'}
    """
    files: dict[str, bytes] = {}
    total = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
            for number, member in enumerate(archive, start=1):
                total += member.size
                _require_modest(member, number, total)
                name = member.name[2:] if member.name.startswith("./") else member.name
                if name in names and member.isreg():
                    if name in files:
                        raise ArtifactError(f"the artifact holds {name} twice: it can't be told which one counts")
                    source = archive.extractfile(member)
                    files[name] = source.read() if source is not None else b""
                if stop_early and len(files) == len(names):
                    return files
            _read_to_the_end(plain)
    except _DAMAGED as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"the artifact is no readable model.tar.gz ({error}); train again") from error
    return files


def _read_to_the_end(plain: gzip.GzipFile) -> None:
    """The checksum of it all stands at the end, which an archive's own end mark need not be."""
    while plain.read(1 << 20):
        if plain.tell() > 2 * LARGEST_CONTENT:
            raise ArtifactError("the artifact goes on far behind the end of its archive: train again")


def _require_modest(member: tarfile.TarInfo, number: int, total: int) -> None:
    if member.name.endswith(".json") and member.size > LARGEST_JSON:
        raise ArtifactError(
            f"{member.name!r} has {member.size:,} bytes, {LARGEST_JSON:,} is the limit: write less into it"
        )
    if total > LARGEST_CONTENT or number > _MOST_MEMBERS:
        raise ArtifactError(
            f"the artifact has {total:,} bytes in {number:,} members, {LARGEST_CONTENT:,} bytes in {_MOST_MEMBERS:,} "
            "are the limit: put the model's files in and no more"
        )
