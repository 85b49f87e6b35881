"""What a version was trained on and how it did: the reference that traffic is compared with."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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


@lru_cache(maxsize=8)
def load_reference(ports: Ports, key: str) -> Reference:
    """Read a version's reference; it never changes, so it is read once."""
    return parse_reference(json.loads(ports.artifacts.get(key)))


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
