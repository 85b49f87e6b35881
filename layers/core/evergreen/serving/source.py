"""The source an endpoint's container runs, and the variables that tell it which model it may serve.

Standard library only: functions without numpy make endpoints too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evergreen.model.archive import ANCESTORS, ArtifactError, live_names, pack, unpack
from evergreen.model.rooms import packed

__all__ = [
    "LIVE_BUCKET_VARIABLE",
    "LIVE_SECONDS_VARIABLE",
    "LIVE_TABLE_VARIABLE",
    "MODEL_FILES",
    "MODEL_VARIABLE",
    "PROGRAM",
    "SHA256_VARIABLE",
    "VERSION_VARIABLE",
    "LivePlace",
    "container_environment",
    "content_sha256",
    "loaded_names",
    "pack_source",
]

PROGRAM = "inference.py"
"""The variable SAGEMAKER_PROGRAM."""

SHA256_VARIABLE = "EVERGREEN_MODEL_SHA256"
"""Names the only model that the container loads: see :func:`content_sha256`."""

MODEL_VARIABLE, VERSION_VARIABLE = "EVERGREEN_MODEL", "EVERGREEN_VERSION"
"""Who answers: JSON answers carry both, so a captured answer names its version, whoever shares the traffic."""

MODEL_FILES = ("model.json", "model.onnx")
"""What of each artifact answers requests; SageMaker unpacks the archive before the container sees it."""

LIVE_TABLE_VARIABLE, LIVE_BUCKET_VARIABLE = "EVERGREEN_LIVE_TABLE", "EVERGREEN_LIVE_BUCKET"
"""Where the version's live state is pointed to, and where it lies; without them it answers as it was trained."""

LIVE_SECONDS_VARIABLE = "EVERGREEN_LIVE_SECONDS"
"""How often the container looks for a newer state."""

LIVE_SECONDS = 30

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
"""What AWS's scikit-learn image lacks, each file of it by its hash; its Python alone installs any of it."""

_ROOMS = ("errors.py", "formats/rows.py", "model", "serving", "statistics", "training")


@dataclass(frozen=True)
class LivePlace:
    """The table that points to live states, and the bucket that they lie in."""

    table: str
    bucket: str


def pack_source() -> bytes:
    """Return sourcedir.tar.gz, the same bytes for the same source: its hash can be its key.

    Examples
    --------
    >>> pack_source() == pack_source()
    True
    """
    files = packed(*_ROOMS)
    files[PROGRAM] = files[f"evergreen/serving/{PROGRAM}"]
    files["requirements.txt"] = REQUIREMENTS.read_bytes()
    return pack(files)


def loaded_names(facts: bytes) -> tuple[str, ...]:
    """The files of an artifact that a container loads, by what its model.json says; not all need be there.

    Examples
    --------
    >>> loaded_names(b"{}")
    ('model.json', 'model.onnx')
    >>> loaded_names(b'{"ancestors": []}')
    ('model.json', 'model.onnx', 'members/start', 'members/own.onnx', 'members/own.leaves')
    """
    try:
        ancestors = json.loads(facts).get(ANCESTORS)
        return MODEL_FILES if ancestors is None else MODEL_FILES + live_names([int(number) for number in ancestors])
    except (ValueError, TypeError, AttributeError):
        return MODEL_FILES  # whoever loads it says what is wrong with it


def content_sha256(files: Mapping[str, bytes]) -> str:
    """Return one SHA-256 (hex) for the content of the files that are loaded, whatever archive they came in.

    An artifact without a live state has the one that it always had.

    Parameters
    ----------
    files
        Content by name; of the names only those of :func:`loaded_names` count.

    Raises
    ------
    ArtifactError
        One of `MODEL_FILES` is missing.

    Examples
    --------
    >>> content_sha256({"model.json": b"{}", "model.onnx": b"-"})[:12]
    '4668fce360dc'
    >>> content_sha256({"model.onnx": b"-", "model.json": b"{}", "notes.txt": b"-"})[:12]
    '4668fce360dc'
    """
    missing = [name for name in MODEL_FILES if name not in files]
    if missing:
        raise ArtifactError(f"the artifact has no {missing[0]}; train again")
    names = [name for name in loaded_names(files["model.json"]) if name in files]
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def container_environment(
    model: str, version: int, *, artifact: bytes, sha256: str, source_uri: str, live: LivePlace | None = None
) -> dict[str, str]:
    """Return the Environment of CreateModel's container for a version.

    Parameters
    ----------
    model, version
        What the container serves.
    artifact
        The bytes of its model.tar.gz.
    sha256
        What the ledger records of these bytes, hex.
    source_uri
        Where :func:`pack_source`'s archive lies, ``s3://...``.
    live
        Where live states are; for a version that has none it changes nothing.

    Raises
    ------
    ArtifactError
        The bytes are not those recorded, can't be read, or lack a model file.

    Examples
    --------
    >>> archive = pack({"model.json": b"{}", "model.onnx": b"-"})
    >>> sha256 = hashlib.sha256(archive).hexdigest()
    >>> uri = "s3://b/sourcedir.tar.gz"
    >>> sorted(container_environment("churn", 3, artifact=archive, sha256=sha256, source_uri=uri))[:3]
    ['EVERGREEN_MODEL', 'EVERGREEN_MODEL_SHA256', 'EVERGREEN_VERSION']
    """
    actual = hashlib.sha256(artifact).hexdigest()
    if actual != sha256:
        raise ArtifactError(
            f"the artifact's sha256 is {actual}, but {sha256} is recorded; it was changed after it was registered, "
            "so deploy the previous version and find out who wrote it"
        )
    names = loaded_names(unpack(artifact, ("model.json",), stop_early=True).get("model.json", b""))
    return {
        "SAGEMAKER_PROGRAM": PROGRAM,
        "SAGEMAKER_SUBMIT_DIRECTORY": source_uri,
        MODEL_VARIABLE: model,
        VERSION_VARIABLE: str(version),
        SHA256_VARIABLE: content_sha256(unpack(artifact, names)),
        **({} if live is None or names == MODEL_FILES else _following(live)),
    }


def _following(live: LivePlace) -> dict[str, str]:
    return {
        LIVE_TABLE_VARIABLE: live.table,
        LIVE_BUCKET_VARIABLE: live.bucket,
        LIVE_SECONDS_VARIABLE: str(LIVE_SECONDS),
    }
