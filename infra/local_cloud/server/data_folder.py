"""A folder that a served cloud's state is kept in: one process at a time, one version, and signed by who wrote it.

A state is a pickle: whoever reads one runs what it says. So nothing is read of it before its signature was checked, by
a key that lies in the user's own home and never in the folder: a folder that somebody else made is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

import local_cloud
from local_cloud.kernel.errors import LocalCloudError

STATE, LOCK = "state", "lock"
SIGNATURE_BYTES = 32
_PACKAGES = ("boto3", "botocore", "cloudpickle", "cryptography", "moto", "werkzeug")


class DataFolderError(LocalCloudError):
    """A data folder cannot be used; nothing of it was read."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a folder holds.

    Parameters
    ----------
    state
        The cloud's, as it was written.
    facts
        What has to be known before it is read.
    """

    state: bytes
    facts: Mapping[str, Any]


class DataFolder:
    """A folder that is held until it is closed.

    Parameters
    ----------
    path
        Made where it is missing, for this user alone.

    Raises
    ------
    DataFolderError
        When another process holds it, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (path / LOCK).open("a")
        except OSError as error:
            raise DataFolderError(f"{path} cannot be a data folder: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise DataFolderError(
                f"{path} is in use by another local cloud: stop that one, or give --data another folder."
            ) from error

    def read(self) -> Saved | None:
        """Return what the folder holds; None where nothing was kept yet.

        Raises
        ------
        DataFolderError
            When another version wrote it, or somebody else did, or it was changed since.
        """
        try:
            written = (self.path / STATE).read_bytes()
        except FileNotFoundError:
            return None
        head, _, rest = written.partition(b"\n")
        try:
            told = json.loads(head)
            versions, facts = dict(told["versions"]), dict(told["facts"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataFolderError(f"{self.path / STATE} is no state of a local cloud.") from error
        here = versions_here()
        if versions != here:
            told = {name: f"{name} {versions.get(name)} (here: {it})" for name, it in here.items()}
            other = ", ".join(told[name] for name in here if versions.get(name) != here[name])
            raise DataFolderError(
                f"{self.path} was written by another version: {other}. "
                "Start that version again, or give --data another folder."
            )
        signature, state = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(head, state)):
            raise DataFolderError(
                f"{self.path / STATE} was not written by this user on this machine, or was changed since: "
                "it is not read, for to read a state is to run what it says. Give --data another folder."
            )
        return Saved(state, facts)

    def write(self, saved: Saved) -> None:
        """Keep a state in place of the one before; whatever happens meanwhile, one of the two is there whole."""
        head = json.dumps({"versions": versions_here(), "facts": dict(saved.facts)}).encode()
        new = self.path / f"{STATE}.new"
        with new.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(head + b"\n" + _signature(head, saved.state) + saved.state)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / STATE)

    def close(self) -> None:
        """Let others have the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def versions_here() -> dict[str, str]:
    """Return what must be the same to read a state: it holds objects of these packages, and code of this Python.

    Examples
    --------
    >>> sorted(versions_here())[:3]
    ['boto3', 'botocore', 'cloudpickle']
    """
    source = hashlib.sha256()
    folder = Path(local_cloud.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        source.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    packages = {name: version(name) for name in _PACKAGES}
    return {**packages, "local_cloud": source.hexdigest()[:12], "python": platform.python_version()}


def key_path() -> Path:
    """Return where the user's key lies: beside no state, readable by nobody else."""
    kept = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(kept) / "local_cloud" / "state.key"


def _key() -> bytes:
    path = key_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile(dir=path.parent) as new:  # for this user alone, as all of its kind
            new.write(secrets.token_bytes(32))
            new.flush()
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(new.name, path)
    return path.read_bytes()


def _signature(head: bytes, state: bytes) -> bytes:
    return hmac.digest(_key(), hashlib.sha256(head).digest() + state, "sha256")
