"""What an alias holds: the version it points at, the share of a canary, the settings of its requests."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.domain.state import ModelState, Version
from evergreen.domain.uris import split_uri
from evergreen.spec import ModelSpec

IMPORTED = "sagemaker-model:"
"""How the artifact of a version begins that runs a SageMaker model which was there before Evergreen."""

NOWHERE = 0
"""The version of an alias that was cleared: its epoch still guards against late writes."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A version in its ops bake answers only a share of the requests; this good one answers the rest."""

    share: float  # of the requests, for the version that is watched: 0 < share < 1
    version: int
    artifact: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """What an alias points to: all that the predict function needs to answer."""

    model: str
    alias: str  # production | shadow
    version: int
    artifact: str  # key in the artifact bucket
    sha256: str
    epoch: int  # of the decision behind it: an older decision never overwrites a newer one
    latency_ms: float = 1_000.0
    sampling: float = 1.0  # the share of answers that are captured
    canary: Canary | None = None  # None: the version answers every request

    @property
    def target(self) -> tuple[object, ...]:
        """The version that it points to, whenever that was decided."""
        return (NOWHERE,) if self.version == NOWHERE else (self.version, self.artifact, self.sha256)

    @property
    def settings(self) -> tuple[object, ...]:
        """How that version answers."""
        return () if self.version == NOWHERE else (self.latency_ms, self.sampling, self.canary)

    @classmethod
    def nowhere(cls, model: str, alias: str, epoch: int) -> AliasRecord:
        """An alias that points to no version."""
        return cls(model, alias, NOWHERE, "", "", epoch)


def alias_record(state: ModelState, spec: ModelSpec, alias: str, number: int) -> AliasRecord:
    """What an alias that points to the version holds."""
    version = state.version(number)
    return AliasRecord(
        model=state.model,
        alias=alias,
        version=number,
        artifact=_artifact_key(version),
        sha256=version.sha256,
        epoch=state.epoch,
        latency_ms=spec.deployment.latency_ms,
        sampling=spec.capture.sampling,
        canary=canary_of(state, spec, number) if alias == "production" else None,
    )


def canary_of(state: ModelState, spec: ModelSpec, number: int) -> Canary | None:
    """Who answers the rest while the version is in its ops bake; None where it answers all."""
    share = spec.deployment.canary_share
    beside = state.beside_canary(number) if share < 1 and spec.endpoint.kind == "lambda" else None
    return None if beside is None else Canary(share, beside.number, _artifact_key(beside), beside.sha256)


def _artifact_key(version: Version) -> str:
    if version.artifact.startswith(IMPORTED):
        return version.artifact
    return split_uri(version.artifact)[1]


def answers_with(found: AliasRecord | None, wanted: AliasRecord) -> bool:
    """Whether an alias points to what is wanted; a SageMaker model from before Evergreen has no version to tell."""
    if found is None:
        return False
    return found.target == wanted.target or (found.artifact == wanted.artifact and wanted.artifact.startswith(IMPORTED))
