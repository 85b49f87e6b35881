"""Keep the model registry in step with the ledger: versions, aliases and tags; find and repair what others changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, partial

from evergreen.domain.history import History
from evergreen.domain.model_events import (
    CandidateRegistered,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    RollbackDecided,
)
from evergreen.domain.state import ModelState, Version
from evergreen.domain.uris import is_uri, split_uri
from evergreen.formats.keys import job_name_of, manifest_key
from evergreen.model.archive import ArtifactError, unpack
from evergreen.ports import Described, Ports, Registry, RegistryView
from evergreen.training.run_record import JOB_TAG, Provenance, RunRecord, run_record
from evergreen.usecases.steps.repairs import Difference, Repair, is_under_way, repair_all

ACTOR = "update_registry"
_ARTIFACT_FILES = ("model.onnx", "model.json", "reference.json")
_LONGEST_TAG = 500
# What is said of a version's worth, and by which event: the newest counts.
_VERDICTS: Mapping[type[CandidateRetired | PromotionProposed | PromotionApproved | RollbackDecided], str] = {
    CandidateRetired: "keep",
    PromotionProposed: "promote",
    PromotionApproved: "promote",
    RollbackDecided: "roll back",
}


def update_registry(model: str, *, ports: Ports) -> int:
    """Project the model's state onto the registry; answers how many versions it has, 0 where no registry is set up.

    The whole state is projected, whatever the event was, so a lost or late event is made good by the next one.
    """
    registry = ports.registry
    if registry is None:
        return 0
    state = ports.ledger.read(model)
    told = _Told(model, ports)
    for version in state.versions:
        told.register(registry, version)
    for alias, number in aliases_of(state).items():
        registry.point(model, alias, number)
    return len(state.versions)


def require_registry(ports: Ports) -> None:
    """Raise when the registry does not answer: asked once, before every model would wait for it in turn."""
    if ports.registry is not None:
        ports.registry.require()


def reconcile_registry(model: str, *, now: datetime, ports: Ports) -> tuple[Repair, ...]:
    """Compare the registry with the ledger and repair what differs: versions, our tags, our aliases.

    What others add beside them - versions, tags, aliases of other names - is theirs and is left alone. What the newest
    event may still bring about by itself is left alone too. Every repair is in the history, once.
    """
    registry = ports.registry
    if registry is None:
        return ()
    state = ports.ledger.read(model)
    if is_under_way(state, now):
        return ()
    view = registry.view(model)
    found = [*_versions(state, view, registry, _Told(model, ports)), *_aliases(state, view, registry)]
    if ports.ledger.read(model).epoch != state.epoch:
        return ()  # somebody decided while we looked: what was seen may be older than what is compared with
    return repair_all(state, "registry", found, actor=ACTOR, now=now, ports=ports)


class _Told:
    """What the ledger and the artifacts tell of a model's versions, read when it is first asked for."""

    def __init__(self, model: str, ports: Ports) -> None:
        self._model = model
        self._ports = ports

    def register(self, registry: Registry, version: Version) -> None:
        registry.register(
            self._model,
            version.number,
            artifact=version.artifact,
            tags=tags_of(version),
            described=partial(self._described, version),
            run=partial(self._run, version),
        )

    @cached_property
    def _history(self) -> History:
        return self._ports.ledger.history(self._model)

    def _described(self, version: Version) -> Described:
        return description_of(version, self._history)

    def _run(self, version: Version) -> RunRecord | None:
        """The run that MLflow missed, from the artifact; None where the bytes are not what was registered.

        The version is registered all the same: that its artifact is refused is told by whoever would load it.
        """
        if not is_uri(version.artifact):
            return None  # a model that SageMaker has had from before
        try:
            body = self._ports.artifacts.get(split_uri(version.artifact)[1])
            if hashlib.sha256(body).hexdigest() != version.sha256:
                return None
            files = unpack(body, _ARTIFACT_FILES)
        except (FileNotFoundError, ArtifactError):
            return None
        provenance = provenance_of(self._model, version, self._history, self._ports)
        return run_record(self._model, job_name_of(version.artifact), files, provenance, told_by=ACTOR)


def provenance_of(model: str, version: Version, history: History, ports: Ports) -> Provenance:
    """Where a version comes from, as far as the history tells: one that was registered by hand has no job."""
    asked, job = history.requested(version.decision_id), job_name_of(version.artifact)
    jobs = [attempt.started.event for attempt in history.attempts(version.decision_id)] if version.decision_id else []
    started = next((event for event in jobs if event.job_name == job), None)
    if started is None:
        return Provenance(decision_id=version.decision_id)
    return Provenance(
        trigger="" if asked is None else asked.event.trigger,
        because="" if asked is None else asked.because,
        decision_id=version.decision_id,
        snapshot=started.snapshot,
        manifest=ports.artifacts.uri(manifest_key(model, version.decision_id, started.attempt)),
        source_sha256=started.source,
    )


def description_of(version: Version, history: History) -> Described:
    """What a reader of the registry wants to know first: rows, gate, and what was found of the version since.

    Examples
    --------
    >>> from datetime import UTC
    >>> from evergreen.domain.state import VersionStatus
    >>> version = Version(2, VersionStatus.SHADOW, "s3://b/models/churn/churn-1-0/output/model.tar.gz", "ab", "cd",
    ...     datetime(2026, 3, 1, tzinfo=UTC), rows_trained=1200)
    >>> told = {"epoch": 1, "type": "CandidateRetired", "time": "2026-03-09T00:00:00Z", "actor": "compare_shadow",
    ...     "because": "no better", "version": 2, "evidence": {}}
    >>> description_of(version, History.of_documents("churn", [told])).tags
    {'evergreen.verdict': 'keep: no better'}
    >>> description_of(version, History("churn")).text
    'Trained on 1,200 rows.'
    """
    text, tags = f"Trained on {version.rows_trained:,} rows", {}
    if version.trained_until is not None:
        text += f" until {version.trained_until:%Y-%m-%d}"
    for event in history.of(CandidateRegistered):
        if event.version == version.number:
            outcome = "passed" if event.gate.get("passed") else "not passed"
            text += f". Gate {outcome}: {event.because.rstrip('.')}"
            tags["evergreen.gate"] = f"{outcome}: {event.because}"[:_LONGEST_TAG]
    for verdict in history.of(*_VERDICTS):
        if verdict.version == version.number:
            tags["evergreen.verdict"] = f"{_VERDICTS[type(verdict)]}: {verdict.because}"[:_LONGEST_TAG]
    return Described(f"{text}.", tags)


def tags_of(version: Version) -> Mapping[str, str]:
    """What the registry is told of a version."""
    return {
        JOB_TAG: job_name_of(version.artifact),
        "evergreen.artifact": version.artifact,
        "evergreen.decision_id": version.decision_id,
        "evergreen.sha256": version.sha256,
        "evergreen.status": version.status.value,
    }


def aliases_of(state: ModelState) -> dict[str, int | None]:
    """Where each alias points in this state.

    Examples
    --------
    >>> aliases_of(ModelState("churn"))
    {'production': None, 'shadow': None, 'previous': None}
    """
    good = state.last_known_good()
    return {
        "production": state.production,
        "shadow": None if state.shadow is None else state.shadow.version,
        "previous": None if good is None else good.number,
    }


def _versions(state: ModelState, view: RegistryView, registry: Registry, told: _Told) -> list[Difference]:
    found: list[Difference] = []
    for version in state.versions:
        tags = tags_of(version)
        put = partial(told.register, registry, version)
        there = view.tags.get(version.number)
        if there is None:
            found.append(Difference(f"version {version.number} in the registry", "none", "registered", put))
            continue
        found += [
            Difference(f"tag {name} of version {version.number} in the registry", repr(there.get(name)), repr(tag), put)
            for name, tag in tags.items()
            if there.get(name) != tag
        ]
    return found


def _aliases(state: ModelState, view: RegistryView, registry: Registry) -> list[Difference]:
    found: list[Difference] = []
    for alias, number in aliases_of(state).items():
        expected = "nothing" if number is None else f"version {number}"
        there = _told(view, alias)
        if there != expected:
            point = partial(registry.point, state.model, alias, number)
            found.append(Difference(f"alias {alias} in the registry", there, expected, point))
    return found


def _told(view: RegistryView, alias: str) -> str:
    if alias not in view.aliases:
        return "nothing"
    number = view.aliases[alias]
    return "a version of somebody else's" if number is None else f"version {number}"
