"""What a version was trained on and how it did: the reference that traffic is compared with."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from evergreen.formats.keys import reference_sha256
from evergreen.model.archive import ArtifactError
from evergreen.ports import Ports
from evergreen.statistics.profile import Binning, Profile


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference of one version."""

    binning: Binning
    cycles: tuple[Profile, ...]
    prediction_binning: Binning | None
    prediction: Profile | None
    daily: tuple[tuple[int, int], ...]  # labelled and right a day, on the validation slice
    error_tolerance: float | None  # regression: an error within it counts as right
    loss_scale: float = 1.0  # the loss difference to production that a shadow verdict counts in full


class ReferenceHashError(ArtifactError):
    """A reference whose bytes are not the ones that were stored when its version was registered."""

    def __init__(self, key: str, actual: str) -> None:
        super().__init__(
            f"the sha256 of {key} is {actual}, not the one in its name; it was changed after its version was "
            "registered: restore the older version of the object, and find out who wrote it"
        )
        self.key = key
        self.actual = actual


@lru_cache(maxsize=8)
def load_reference(ports: Ports, key: str) -> Reference:
    """Read a version's reference; it never changes, so it is read once.

    Its hash is in its key, and the key is in the ledger: what was changed since is refused.

    Raises
    ------
    ReferenceHashError
        The bytes are not those that were stored.
    """
    body = ports.artifacts.get(key)
    actual = hashlib.sha256(body).hexdigest()
    if reference_sha256(key) != actual:
        raise ReferenceHashError(key, actual)
    return parse_reference(json.loads(body))


def parse_reference(document: dict[str, Any]) -> Reference:
    """The reference from its stored form."""
    reference, model = document["reference"], document["model"]
    cycles = tuple(_profile(cycle["profile"]) for cycle in reference["cycles"])
    prediction = None if reference.get("prediction") is None else _profile(reference["prediction"])
    return Reference(
        binning=Binning.from_json(reference["binning"]),
        cycles=cycles,
        prediction_binning=None if prediction is None else prediction.binning,
        prediction=prediction,
        daily=tuple((int(n), int(correct)) for n, correct in reference["daily"]),
        error_tolerance=model.get("error_tolerance"),
        loss_scale=float(model.get("loss_scale") or 1.0),
    )


def _profile(text: str) -> Profile:
    return Profile.from_bytes(base64.b64decode(text))
