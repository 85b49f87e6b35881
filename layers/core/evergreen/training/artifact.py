"""Pack what a training job made into archives whose bytes depend on their content alone."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical_json", "pack"]


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
