"""Artifacts kept on the function's own disk, by the hash of their bytes: what was fetched once is not fetched again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from evergreen.ports import Files


class KeptArtifacts:
    """See :class:`evergreen.ports.Artifacts`.

    A disk that is full, read-only or not there keeps nothing; the bucket answers then.

    Parameters
    ----------
    bucket
        Where artifacts come from.
    folder
        Where copies are kept, each named by its SHA-256. Functions on one machine may share it.
    limit
        Bytes that may be kept; the copies that were not read for longest go first. 0: nothing is kept.
    """

    def __init__(self, bucket: Files, folder: Path, limit: int) -> None:
        self._bucket = bucket
        self._folder = folder
        self._limit = limit

    def get(self, key: str, sha256: str) -> bytes:
        kept = self._read(sha256) if self._limit else None
        if kept is not None:
            return kept
        content = self._bucket.get(key)
        # Other bytes than the recorded ones are the caller's to refuse, and nothing to keep.
        if len(content) <= self._limit and hashlib.sha256(content).hexdigest() == sha256:
            with suppress(OSError):
                self._keep(sha256, content)
        return content

    def _read(self, sha256: str) -> bytes | None:
        path = self._folder / sha256
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                os.utime(path)  # it was needed a moment ago
                return content
            path.unlink()  # somebody changed it, or it was cut off
        except OSError:
            return None
        return None

    def _keep(self, sha256: str, content: bytes) -> None:
        """Write the copy under another name first: nobody reads half of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_room(self._limit - len(content))
        handle, unfinished = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(unfinished).replace(self._folder / sha256)
        except OSError:
            Path(unfinished).unlink(missing_ok=True)
            raise

    def _make_room(self, limit: int) -> None:
        """Delete the copies that were not read for longest, unfinished ones of somebody who died among them."""
        found = sorted(((path, path.stat()) for path in self._folder.iterdir()), key=lambda item: item[1].st_mtime_ns)
        total = sum(stat.st_size for _, stat in found)
        for path, stat in found:
            if total <= limit:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size
