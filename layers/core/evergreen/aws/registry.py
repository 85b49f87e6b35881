"""The MLflow registry: a projection of the ledger. Only update_registry imports this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from evergreen.ports import RegistryView

_VERSION_TAG = "evergreen.version"


class MlflowRegistry:
    """See :class:`evergreen.ports.Registry`."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        # A version that is registered stays registered: its number and its tags as they were last seen.
        self._known: dict[tuple[str, int], tuple[str, dict[str, str]]] = {}

    def register(self, model: str, version: int, *, artifact: str, tags: Mapping[str, str]) -> None:
        known = self._registered(model, version)
        if known is not None:
            self._tag(model, *known, tags)
            return
        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        run_id = self._run_of(model, tags.get("evergreen.job", ""))
        all_tags = {**tags, _VERSION_TAG: str(version)}
        self._client.create_model_version(model, source=artifact, run_id=run_id, tags=all_tags, await_creation_for=0)

    def point(self, model: str, alias: str, version: int | None) -> None:
        known = None if version is None else self._registered(model, version)
        if known is not None:
            self._client.set_registered_model_alias(model, alias, known[0])
            return
        try:
            self._client.delete_registered_model_alias(model, alias)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise

    def view(self, model: str) -> RegistryView:
        self._known = {known: seen for known, seen in self._known.items() if known[0] != model}
        try:
            registered = self._client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return RegistryView({}, {})
        ours: dict[str, int] = {}
        tags: dict[int, dict[str, str]] = {}
        for found in self._versions(model):
            if _VERSION_TAG in found.tags:
                number = int(found.tags[_VERSION_TAG])
                ours[str(found.version)] = number
                tags[number] = {name: value for name, value in found.tags.items() if name != _VERSION_TAG}
        return RegistryView({alias: ours.get(str(to)) for alias, to in registered.aliases.items()}, tags)

    def _versions(self, model: str) -> Iterator[ModelVersion]:
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name = '{model}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _registered(self, model: str, version: int) -> tuple[str, dict[str, str]] | None:
        """The registry's own number of the version (ours, unless somebody registers beside Evergreen), and its tags."""
        if (model, version) not in self._known:
            found = self._client.search_model_versions(f"name = '{model}' and tag.`{_VERSION_TAG}` = '{version}'")
            if not found:
                return None
            self._known[model, version] = str(found[0].version), dict(found[0].tags)
        return self._known[model, version]

    def _tag(self, model: str, number: str, seen: dict[str, str], tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            if seen.get(name) != value:
                self._client.set_model_version_tag(model, number, name, value)
                seen[name] = value

    def _run_of(self, model: str, job_name: str) -> str | None:
        experiment = self._client.get_experiment_by_name(f"evergreen/{model}")
        if experiment is None or not job_name:
            return None
        wanted = f"tags.`evergreen.job` = '{job_name}'"
        runs = self._client.search_runs([experiment.experiment_id], wanted, max_results=1)
        return runs[0].info.run_id if runs else None
