"""Aliases of `sagemaker` endpoints: a configuration for each pair of versions, and an endpoint that is moved to it.

What is wanted is kept in the alias table, where an older decision never overwrites a newer one; what is there is read
from SageMaker. A change takes minutes, and until it is over nothing else can be asked of the endpoint.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.aws.lambda_aliases import DynamoAliases
from evergreen.aws.sagemaker_attempts import Attempt, Attempts
from evergreen.aws.sagemaker_requests import (
    PRODUCTION,
    SHADOW,
    EndpointPlan,
    Instances,
    config_request,
    deployment_request,
    model_request,
)
from evergreen.domain.aliases import IMPORTED, AliasRecord
from evergreen.domain.made_names import STACK_TAG
from evergreen.domain.uris import is_uri, split_uri
from evergreen.errors import EndpointRefusedError, EndpointWentBackError
from evergreen.formats.endpoint_names import ConfigVersions, version_of
from evergreen.formats.keys import source_key
from evergreen.model.archive import ArtifactError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sagemaker import SageMakerClient

    from evergreen.ports import Files

_WANTED = "wanted-"  # the aliases as they are decided, kept apart from those that the predict function answers with
_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_REFUSED = ("ValidationException", "ResourceNotFound", "ResourceInUse")
_SHA256 = "EVERGREEN_ARTIFACT_SHA256"  # beside the one that the container checks: the whole archive's
_SOMEBODY_ELSES = -1  # the version of a model that is none of ours


@dataclass(frozen=True, slots=True)
class _Found:
    """An endpoint as SageMaker has it."""

    status: str
    config: str
    pending: str  # the configuration that it is about to have
    models: tuple[str, str | None]
    variants: int  # that answer
    on: Instances
    reason: str

    @property
    def is_changing(self) -> bool:
        return self.status in _CHANGING

    @property
    def answers(self) -> bool:
        """Whether requests are answered: also while it is changed, by what was there."""
        return self.status in ("InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed")


class EndpointAliases:
    """See :class:`evergreen.ports.Aliases`; of one model, whose endpoint `plan` describes."""

    def __init__(
        self,
        sagemaker: SageMakerClient,
        dynamodb: DynamoDBClient,
        *,
        table: str,
        plan: EndpointPlan,
        artifacts: Files,
    ) -> None:
        self._sagemaker = sagemaker
        self._wanted = DynamoAliases(dynamodb, table)
        self._attempts = Attempts(dynamodb, table)
        self._plan = plan
        self._artifacts = artifacts

    # --- the aliases --------------------------------------------------------------------------------------------------

    def read(self, model: str, alias: str) -> AliasRecord | None:
        return self._record(model, alias, self._describe())

    def repoint(self, record: AliasRecord) -> AliasRecord:
        stored = self._want(record)
        if (stored.version, stored.epoch) != (record.version, record.epoch):
            return stored  # a newer decision is in place
        return self._moved(record)

    def replace(self, found: AliasRecord, record: AliasRecord) -> AliasRecord:
        wanted = _as_wanted(record)
        stored = self._wanted.replace(_as_wanted(found), wanted)
        if (stored.version, stored.epoch) != (record.version, record.epoch):
            return replace(stored, alias=record.alias)
        return self._moved(record)

    def clear(self, model: str, alias: str, epoch: int) -> None:
        self._wanted.clear(model, _WANTED + alias, epoch)
        self._drive(model)

    def point_both(self, production: AliasRecord, shadow: AliasRecord) -> None:
        self._want(production)
        self._want(shadow)
        self._drive(production.model)

    def is_changing(self, model: str) -> bool:  # noqa: ARG002 - of one model
        found = self._describe()
        return found is not None and found.is_changing

    def try_again(self, model: str) -> None:
        attempt = self._attempts.read(model)
        if attempt is not None and not attempt.closed:
            self._attempts.write(model, replace(attempt, closed=True))

    def tidy(self, model: str, kept: frozenset[int]) -> None:
        attempt, found = self._attempts.read(model), self._describe()
        if attempt is None or found is None or found.is_changing:
            return
        newest: dict[int, str] = {}  # of each kept version, the newest configuration in which it answers
        for config in sorted(attempt.made, key=_epoch_of):
            if (versions := ConfigVersions.read(config)) is not None and versions.production in kept:
                newest[versions.production] = config
        staying = {found.config, attempt.config, *newest.values()}
        models = {name for config in staying for name in attempt.made.get(config, ())}
        going = {config: names for config, names in attempt.made.items() if config not in staying}
        for config in going:
            self._delete(self._sagemaker.delete_endpoint_config, EndpointConfigName=config)
        for name in sorted({name for names in going.values() for name in names} - models):
            if version_of(name, self._plan.head) not in (None, *kept):
                self._delete(self._sagemaker.delete_model, ModelName=name)
        if going:
            left = {config: names for config, names in attempt.made.items() if config in staying}
            self._attempts.write(model, replace(attempt, made=left))

    def folders(self, model: str) -> tuple[str, ...]:
        attempt, found = self._attempts.read(model), self._describe()
        if attempt is None or found is None:
            return ()
        endpoint, variants = self._plan.endpoint, (found.on.variant, SHADOW)
        return tuple(f"{config}/{endpoint}/{variant}" for config in sorted(attempt.made) for variant in variants)

    # --- what is wanted -----------------------------------------------------------------------------------------------

    def _want(self, record: AliasRecord) -> AliasRecord:
        """Note what is wanted, unless something newer is; a version that takes over begins without a shadow."""
        if record.alias == PRODUCTION:
            before = self._wanted.read(record.model, _WANTED + PRODUCTION)
            if before is not None and before.version != record.version and before.epoch <= record.epoch:
                # Whoever was in shadow was judged against the version that leaves: one change in place of two.
                self._wanted.clear(record.model, _WANTED + SHADOW, record.epoch)
        return replace(self._wanted.repoint(_as_wanted(record)), alias=record.alias)

    def _record(self, model: str, alias: str, found: _Found | None) -> AliasRecord | None:
        """What really is behind an alias."""
        name = None if found is None or not found.answers else found.models[alias == SHADOW]
        if name is None:
            return None
        wanted = self._wanted.read(model, _WANTED + alias)
        if wanted is not None and self._plan.model_name(wanted) == name:
            return replace(wanted, alias=alias)
        # Who answers is not who is wanted: as SageMaker describes it, and with the settings of those that are wanted.
        version = version_of(name, self._plan.head)
        container = {} if version is None else self._container(name)
        place = container.get("ModelDataUrl", "")
        written = ConfigVersions.read(found.config) if found is not None else None
        return replace(
            wanted or AliasRecord.nowhere(model, alias, 0),
            alias=alias,
            version=_SOMEBODY_ELSES if version is None else version,
            artifact=split_uri(place)[1] if is_uri(place) else f"{IMPORTED}{name}",
            sha256=container.get("Environment", {}).get(_SHA256, ""),
            epoch=0 if written is None else written.epoch,
        )

    def _container(self, name: str) -> dict[str, Any]:
        """What a SageMaker model loads."""
        model = self._asked(self._sagemaker.describe_model, ModelName=name)
        return {} if model is None else dict(model["PrimaryContainer"])

    def _moved(self, record: AliasRecord) -> AliasRecord:
        """Move the endpoint towards what is wanted; answers what it answers with now."""
        found = self._drive(record.model)
        return self._record(record.model, record.alias, found) or AliasRecord.nowhere(
            record.model, record.alias, record.epoch
        )

    # --- the endpoint -------------------------------------------------------------------------------------------------

    def _drive(self, model: str) -> _Found | None:
        """Ask SageMaker for what is wanted, if it is neither there nor under way; answers what was there before.

        Raises
        ------
        EndpointWentBackError
            SageMaker took the change, and the endpoint is what it was before.
        EndpointRefusedError
            SageMaker does not take it.
        """
        production = self._wanted.read(model, _WANTED + PRODUCTION)
        # Before the endpoint: one that was looked at before another took its attempt would seem to have gone back.
        attempt = self._attempts.read(model)
        found = self._describe()
        if production is None:
            return found
        shadow = self._wanted.read(model, _WANTED + SHADOW)
        models = (self._plan.model_name(production), None if shadow is None else self._plan.model_name(shadow))
        if found is not None and found.is_changing:
            if attempt is not None and not attempt.accepted and found.pending == attempt.config:
                self._attempts.write(model, replace(attempt, accepted=True))  # whoever asked died before noting it
            return found
        if found is not None and found.status == "InService" and found.models == models:
            if attempt is not None and attempt.models == models and not attempt.closed:
                self._attempts.write(model, replace(attempt, accepted=True, closed=True))
            return found
        if found is not None and found.variants > 1:
            reason = f"it has {found.variants} production variants, and Evergreen moves endpoints with one: leave one"
            raise EndpointRefusedError(self._plan.endpoint, found.config, reason)
        if attempt is None or attempt.closed or attempt.models != models or _was_moved(attempt, found):
            epoch = max(production.epoch, 0 if shadow is None else shadow.epoch)
            config = self._plan.config_name(production, shadow, epoch)
            attempt = self._begin(model, attempt, config, models, found)
        elif attempt.accepted:
            raise EndpointWentBackError(self._plan.endpoint, attempt.config, _why(found))
        for record in (production, shadow):
            if record is not None:
                self._ensure_model(record)
        self._ensure_config(attempt, Instances() if found is None else found.on)
        if self._ask(attempt, found):
            self._attempts.write(model, replace(attempt, accepted=True))
        return found

    def _begin(
        self, model: str, before: Attempt | None, config: str, models: tuple[str, str | None], found: _Found | None
    ) -> Attempt:
        made = {} if before is None else dict(before.made)
        made[config] = tuple(name for name in models if name is not None)
        attempt = Attempt(
            config=config,
            production=models[0],
            shadow=models[1],
            found="" if found is None else found.config,
            made=made,
            revision=0 if before is None else before.revision,
        )
        return self._attempts.write(model, attempt)

    def _ask(self, attempt: Attempt, found: _Found | None) -> bool:
        """Whether SageMaker has taken it; not while it is busy with another: the end of that one carries it on."""
        name, config = self._plan.endpoint, attempt.config
        try:
            if found is not None and found.status == "Failed":
                self._make_room(found)
                found = None
            if found is None:
                self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=self._plan.tags)  # type: ignore[arg-type]
            else:
                deployment: Any = deployment_request(self._plan.spec)
                self._sagemaker.update_endpoint(
                    EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment
                )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "AccessDeniedException" and found is not None:
                reason = f"the stack may not change it: give it the tag {STACK_TAG} with value {self._plan.stack}"
                raise EndpointRefusedError(name, config, reason) from error
            if code not in _REFUSED:
                raise
            now = self._describe()
            if now is not None and config in (now.pending, now.config):
                return True  # the call that was answered with an error, or another one, has asked already
            if now is not None and now.is_changing:
                return False
            raise EndpointRefusedError(name, config, error.response["Error"]["Message"]) from error
        return True

    def _make_room(self, found: _Found) -> None:
        """Delete an endpoint of ours that never came up: SageMaker can do nothing else with it."""
        if not found.config.startswith(self._plan.head):
            reason = f"it is Failed ({found.reason}) and was made by somebody else: delete it"
            raise EndpointRefusedError(self._plan.endpoint, found.config, reason)
        self._sagemaker.delete_endpoint(EndpointName=self._plan.endpoint)

    def _describe(self) -> _Found | None:
        endpoint = self._asked(self._sagemaker.describe_endpoint, EndpointName=self._plan.endpoint)
        if endpoint is None:
            return None
        config = endpoint["EndpointConfigName"]
        # Gone, it says nothing of who answers: then nobody known does.
        described = self._asked(self._sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
        variants, shadows = described.get("ProductionVariants", []), described.get("ShadowProductionVariants", [])
        production = variants[0] if len(variants) == 1 else {}
        running: dict[str, Any] = next(iter(endpoint.get("ProductionVariants", [])), {})
        pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName", "")
        return _Found(
            status=endpoint["EndpointStatus"],
            config=config,
            pending=pending or (config if endpoint["EndpointStatus"] == "Creating" else ""),
            models=(production.get("ModelName", ""), shadows[0]["ModelName"] if shadows else None),
            variants=len(variants),
            on=Instances(
                kind=production.get("InstanceType", Instances().kind),
                count=running.get("DesiredInstanceCount") or production.get("InitialInstanceCount", 1),
                variant=production.get("VariantName", PRODUCTION),
            ),
            reason=endpoint.get("FailureReason", ""),
        )

    # --- models and configurations ------------------------------------------------------------------------------------

    def _ensure_model(self, record: AliasRecord) -> None:
        """Make the version's SageMaker model; one that is there has to be of the same artifact."""
        if record.artifact.startswith(IMPORTED):
            return
        name, uri = self._plan.model_name(record), self._artifacts.uri(record.artifact)
        if self._is_there(name, uri):
            return
        request = model_request(self._plan, name, uri, self._environment(record))
        try:
            self._sagemaker.create_model(**request)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _REFUSED or not self._is_there(name, uri):
                raise

    def _is_there(self, name: str, uri: str) -> bool:
        model = self._asked(self._sagemaker.describe_model, ModelName=name)
        if model is not None and (found := model["PrimaryContainer"].get("ModelDataUrl")) != uri:
            reason = f"model {name} is there and loads {found}, not {uri}: delete it"
            raise EndpointRefusedError(self._plan.endpoint, name, reason)
        return model is not None

    def _environment(self, record: AliasRecord) -> dict[str, str]:
        from evergreen.serving.source import LivePlace, container_environment

        body, key = _source()
        self._artifacts.put(key, body)
        table, bucket = self._plan.live_table, split_uri(self._artifacts.uri(key))[0]
        try:
            artifact = self._artifacts.get(record.artifact)
            environment = container_environment(
                record.model,
                record.version,
                artifact=artifact,
                sha256=record.sha256,
                source_uri=self._artifacts.uri(key),
                live=LivePlace(table, bucket) if table else None,
            )
        except (ArtifactError, FileNotFoundError) as error:
            name = self._plan.model_name(record)
            raise EndpointWentBackError(self._plan.endpoint, name, str(error), asked=False) from error
        return environment | {_SHA256: record.sha256}

    def _ensure_config(self, attempt: Attempt, on: Instances) -> None:
        request = config_request(self._plan, attempt.config, attempt.production, attempt.shadow, on)
        try:
            self._sagemaker.create_endpoint_config(**request)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _REFUSED:
                raise
            there = self._asked(self._sagemaker.describe_endpoint_config, EndpointConfigName=attempt.config)
            if there is None:
                message = error.response["Error"]["Message"]
                raise EndpointRefusedError(self._plan.endpoint, attempt.config, message) from error

    def _asked(self, call: Any, **named: str) -> Any:
        """What is described; None for what is not there."""
        try:
            return call(**named)
        except ClientError as error:
            if error.response["Error"]["Code"] in _REFUSED:
                return None
            raise

    def _delete(self, call: Any, **named: str) -> None:
        """Delete it; no error if it is gone."""
        self._asked(call, **named)


def _as_wanted(record: AliasRecord) -> AliasRecord:
    return replace(record, alias=_WANTED + record.alias)


def _was_moved(attempt: Attempt, found: _Found | None) -> bool:
    """Whether somebody else has touched the endpoint since: it is neither what it was nor what it was to be."""
    if found is None:
        return attempt.accepted or bool(attempt.found)
    return found.config not in (attempt.found, attempt.config)


def _why(found: _Found | None) -> str:
    if found is None:
        return "the endpoint is gone"
    return found.reason or f"SageMaker went back to {found.config} and gives no reason: look at the alarms"


def _epoch_of(config: str) -> int:
    versions = ConfigVersions.read(config)
    return -1 if versions is None else versions.epoch


@cache
def _source() -> tuple[bytes, str]:
    """What the container runs, and its key by what it holds."""
    from evergreen.serving.source import pack_source

    body = pack_source()
    return body, source_key(hashlib.sha256(body).hexdigest())
