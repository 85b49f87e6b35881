"""The MLflow registry: a projection of the ledger. Only update_registry imports this."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from evergreen.errors import RegisteredByAnotherStackError
from evergreen.ports import Described, RegistryView, RunLink
from evergreen.training.mlflow_client import client
from evergreen.training.run_record import JOB_TAG, RunRecord
from evergreen.training.tracking import find_run, write_run

_VERSION_TAG = "evergreen.version"
_STACK_TAG = "evergreen.stack"
_OF_THE_MODEL = "Registered by Evergreen: the aliases production, shadow and previous follow its ledger."


class MlflowRegistry:
    """See :class:`evergreen.ports.Registry`."""

    def __init__(self, tracking_uri: str, *, stack: str, prefix: str = "") -> None:
        self._uri = tracking_uri
        self._client = client(tracking_uri)
        self._stack = stack
        self._prefix = prefix
        self._ours: set[str] = set()  # registered models that were seen to be this stack's
        # A version that is registered stays registered: its number and its tags as they were last seen.
        self._known: dict[tuple[str, int], tuple[str, dict[str, str]]] = {}

    def require(self) -> None:
        self._client.search_experiments(max_results=1)

    def register(
        self,
        model: str,
        version: int,
        *,
        artifact: str,
        tags: Mapping[str, str],
        described: Callable[[], Described] = Described,
        run: Callable[[], RunRecord | None] = lambda: None,
    ) -> None:
        name = self._name(model)
        if name not in self._ours:
            self._claim(name, model)
        known = self._registered(model, version)
        if known is not None:
            self._tag(name, *known, tags, described)
            return
        told = self._run(model, tags.get(JOB_TAG, ""), run)
        logged = _logged_model(told)
        about = described()
        self._client.create_model_version(
            name,
            source=f"models:/{logged}" if logged else artifact,
            run_id=told and told.info.run_id,
            model_id=logged,
            tags={**about.tags, **tags, _VERSION_TAG: str(version)},
            description=about.text or None,
            await_creation_for=0,
        )

    def point(self, model: str, alias: str, version: int | None) -> None:
        name = self._name(model)
        if self._found(model) is None:
            return
        known = None if version is None else self._registered(model, version)
        if known is not None:
            self._client.set_registered_model_alias(name, alias, known[0])
            return
        try:
            self._client.delete_registered_model_alias(name, alias)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise

    def view(self, model: str) -> RegistryView:
        self._known = {known: seen for known, seen in self._known.items() if known[0] != model}
        registered = self._found(model)
        if registered is None:
            return RegistryView({}, {})
        ours: dict[str, int] = {}
        tags: dict[int, dict[str, str]] = {}
        for found in self._versions(model):
            if _VERSION_TAG in found.tags:
                number = int(found.tags[_VERSION_TAG])
                ours[str(found.version)] = number
                own = {name: value for name, value in found.tags.items() if name != _VERSION_TAG}
                tags.setdefault(number, own)
        return RegistryView({alias: ours.get(str(to)) for alias, to in registered.aliases.items()}, tags)

    def run(self, model: str, version: int) -> RunLink | None:
        found = self._first(model, version)
        if found is None or not found.run_id:
            return None
        if not self._uri.startswith("http"):
            return RunLink(found.run_id, "")
        experiment = self._client.get_run(found.run_id).info.experiment_id
        return RunLink(found.run_id, f"{self._uri.rstrip('/')}/#/experiments/{experiment}/runs/{found.run_id}")

    def _name(self, model: str) -> str:
        """What the registered model is called."""
        return f"{self._prefix}{model}"

    def _claim(self, name: str, model: str) -> None:
        """Make the registered model, as this stack's; one of a former release's is taken over."""
        try:
            self._client.create_registered_model(name, {_STACK_TAG: self._stack}, _OF_THE_MODEL)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            there = self._found(model)
            if there is not None and _STACK_TAG not in there.tags:
                self._client.set_registered_model_tag(name, _STACK_TAG, self._stack)
        self._ours.add(name)

    def _found(self, model: str) -> RegisteredModel | None:
        """The registered model, or None where there is none; another stack's is not to be touched."""
        name = self._name(model)
        try:
            registered: RegisteredModel = self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            self._ours.discard(name)  # somebody has deleted it: it is made again with its next version
            return None
        owner = registered.tags.get(_STACK_TAG, self._stack)
        if owner != self._stack:
            raise RegisteredByAnotherStackError(name, owner)
        return registered

    def _versions(self, model: str) -> Iterator[ModelVersion]:
        token: str | None = None
        while True:
            page = self._client.search_model_versions(
                f"name = '{self._name(model)}'", order_by=["version_number ASC"], page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _registered(self, model: str, version: int) -> tuple[str, dict[str, str]] | None:
        """The registry's own number of the version (ours, unless somebody registers beside Evergreen), and its tags."""
        if (model, version) not in self._known:
            found = self._first(model, version)
            if found is None:
                return None
            self._known[model, version] = str(found.version), dict(found.tags)
        return self._known[model, version]

    def _first(self, model: str, version: int) -> ModelVersion | None:
        """The first that was registered: of two deliveries at once both may have found none, and this one counts."""
        wanted = f"name = '{self._name(model)}' and tag.`{_VERSION_TAG}` = '{version}'"
        found = self._client.search_model_versions(wanted, order_by=["version_number ASC"], max_results=1)
        return found[0] if found else None

    def _tag(
        self,
        name: str,
        number: str,
        seen: dict[str, str],
        tags: Mapping[str, str],
        described: Callable[[], Described],
    ) -> None:
        changed = {tag: value for tag, value in tags.items() if seen.get(tag) != value}
        if not changed:
            return
        # What explains a change comes before it: once the change is there, nobody asks again.
        for tag, value in {**described().tags, **changed}.items():
            if seen.get(tag) != value:
                self._client.set_model_version_tag(name, number, tag, value)
                seen[tag] = value

    def _run(self, model: str, job: str, record: Callable[[], RunRecord | None]) -> Any | None:
        """The run of the job; one that MLflow missed, or has half of, is written now."""
        if not job:
            return None
        found = find_run(self._client, model, job)
        if found is not None and found.info.status == "FINISHED":
            return found
        missed = record()
        if missed is None:
            return found
        write_run(self._client, missed)
        return find_run(self._client, model, job)


def _logged_model(run: Any | None) -> str | None:
    outputs = run.outputs.model_outputs if run is not None and run.outputs else ()
    return str(outputs[0].model_id) if outputs else None
