"""The MLflow registry: a projection of the ledger. Only update_registry imports this."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

_VERSION_TAG = "evergreen.version"


class MlflowRegistry:
    """See :class:`evergreen.ports.Registry`."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        self._numbers: dict[tuple[str, int], str] = {}  # a version that is registered stays registered

    def register(self, model: str, version: int, *, artifact: str, tags: Mapping[str, str]) -> None:
        if self._number(model, version) is not None:
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
        number = None if version is None else self._number(model, version)
        if number is not None:
            self._client.set_registered_model_alias(model, alias, number)
            return
        try:
            self._client.delete_registered_model_alias(model, alias)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise

    def _number(self, model: str, version: int) -> str | None:
        """The registry's own number of the version: the same, unless somebody registered versions beside Evergreen."""
        if (model, version) not in self._numbers:
            found = self._client.search_model_versions(f"name = '{model}' and tag.`{_VERSION_TAG}` = '{version}'")
            if not found:
                return None
            self._numbers[model, version] = str(found[0].version)
        return self._numbers[model, version]

    def _run_of(self, model: str, job_name: str) -> str | None:
        experiment = self._client.get_experiment_by_name(f"evergreen/{model}")
        if experiment is None or not job_name:
            return None
        wanted = f"tags.`evergreen.job` = '{job_name}'"
        runs = self._client.search_runs([experiment.experiment_id], wanted, max_results=1)
        return runs[0].info.run_id if runs else None
