"""SageMaker endpoints that really answer: how they are made, updated, rolled back and ended.

An endpoint has a fleet (`fleet`); an update brings a second one up beside it, shifts the traffic as its
policy says, watches its alarms, and ends with one of the two. On a virtual clock a fleet takes
`Options.endpoint_seconds` to come up; in real time as long as its containers take.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from moto.cloudwatch.models import Alarm, cloudwatch_backends
from moto.logs.models import logs_backends
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Emit
from local_cloud.kernel.loopback import FAKE_CREDENTIALS, Loopback
from local_cloud.kernel.measures import Record
from local_cloud.kernel.notices import Kind
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.cloudwatch.alarms import ALARM, Alarms
from local_cloud.services.sagemaker.by_role import (
    first_refusal,
    not_assumed,
    of_a_log,
    of_a_network,
    of_an_image,
    of_measures,
    session_of,
)
from local_cloud.services.sagemaker.endpoints.captures import Captures
from local_cloud.services.sagemaker.endpoints.container import ContainerError, Limits, ServedModel, Surroundings
from local_cloud.services.sagemaker.endpoints.fleet import Fleet
from local_cloud.services.sagemaker.endpoints.records import (
    LOG_GROUP,
    Deployment,
    LocalEndpoint,
    LocalEndpointConfig,
    LocalModel,
    Status,
    log_stream,
    naive,
    not_found,
    state_change_detail,
)
from local_cloud.services.sagemaker.endpoints.requests import (
    DeploymentPolicy,
    check_request,
    read_capture,
    read_deployment,
    read_model,
    refused,
)
from local_cloud.services.sagemaker.endpoints.routes import EndpointValidationError, ModelError
from local_cloud.services.sagemaker.endpoints.traffic import Invocation, Invoked, Traffic
from local_cloud.services.sagemaker.training.container import DataDownloadError, split_uri
from local_cloud.services.sagemaker.training.jobs import MotoObjects

ROLLBACK_TAKES = timedelta(minutes=1)


class Endpoints(Service):
    """The models, configurations and endpoints of one cloud.

    Parameters
    ----------
    alarms
        Those that guard deployments.
    record
        Where it is recorded what requests took.
    emit
        How the event bus is told of changes.

    Attributes
    ----------
    limits
        How long containers may take, in real seconds.
    make_fleet
        What makes a configuration's containers: those of this machine unless another is given.
    """

    volatile = frozenset({"_loopback"})

    def __init__(self, core: Core, alarms: Alarms, record: Record, emit: Emit) -> None:
        self.core = core
        self.emit = emit
        self.limits = Limits()
        self.make_fleet: Callable[..., Fleet] = Fleet
        self.captures = Captures(core, self._let_shadows_finish)
        self.traffic = Traffic(core, self.captures, record, self._let_shadows_finish)
        self._loopback = Loopback(core.gate)
        self._fleets: set[Fleet] = set()
        self._coming_up: dict[Fleet, tuple[Callable[[], object], str]] = {}  # what is to be done then, for whom
        self._lock = threading.RLock()
        alarms.listeners.append(self._alarm_changed)

    # -- models and configurations -----------------------------------------------------------------------------------

    def create_model(self, backend: SageMakerModelBackend, given: Mapping[str, Any]) -> LocalModel:
        """Make a model.

        Raises
        ------
        AWSValidationException
            When AWS would refuse it, or the local cloud cannot run its container.
        """
        served = read_model(given, backend.region_name)
        model = LocalModel(backend, given, served, self.core.clock.now)  # type: ignore[abstract]  # as moto's own
        if served.name in backend._models:
            raise refused(f'Cannot create already existing model "{model.arn}".')
        if served.data_uri and not self._exists(backend, served.data_uri):
            raise refused(f"Could not find model data at {served.data_uri}.")
        if served.role and (why := not_assumed(self.core.gate, served.role)) is not None:
            raise refused(why)
        backend._models[served.name] = model
        return model

    def create_config(self, backend: SageMakerModelBackend, given: Mapping[str, Any]) -> LocalEndpointConfig:
        """Make an endpoint configuration.

        Raises
        ------
        AWSValidationException
            When AWS would refuse it, or the local cloud cannot serve it.
        """
        config = LocalEndpointConfig(backend, given, self.core.clock.now)  # type: ignore[abstract]
        name = config.endpoint_config_name
        if name in backend.endpoint_configs:
            raise refused(f'Cannot create already existing endpoint configuration "{config.endpoint_config_arn}".')
        self._models_of(backend, config)
        backend.endpoint_configs[name] = config
        return config

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def create(self, backend: SageMakerModelBackend, given: Mapping[str, Any]) -> LocalEndpoint:
        """Make an endpoint and bring its fleet up.

        Raises
        ------
        AWSValidationException
            When its name is taken, or AWS would refuse the request otherwise.
        """
        check_request("CreateEndpoint", given)
        config = self._config(backend, given["EndpointConfigName"])
        with self._lock:
            taken = backend.endpoints.get(given["EndpointName"])
            if taken is not None:
                raise refused(f'Cannot create already existing endpoint "{taken.arn}".')
            asked = given.get("DeploymentConfig")
            read_deployment(asked, config.settings.instances)
            endpoint = LocalEndpoint(backend, given, config, self.core.clock.now)  # type: ignore[abstract]
            fleet = self._fleet(backend, config)
            endpoint.last_deployment_config = dict(asked) if asked else None
            endpoint.take(fleet, self.core.identities.uuid("endpoint"))
            backend.endpoints[endpoint.endpoint_name] = endpoint
        self._tell(endpoint)
        self._bring_up(backend, fleet, lambda: self._created(endpoint, fleet), endpoint.endpoint_name)
        return endpoint

    def update(self, backend: SageMakerModelBackend, given: Mapping[str, Any]) -> LocalEndpoint:
        """Deploy another configuration beside the present one.

        Raises
        ------
        AWSValidationException
            When the endpoint is not there or not in service, or AWS would refuse the request otherwise.
        """
        check_request("UpdateEndpoint", given)
        endpoint = self._endpoint(backend, given["EndpointName"])
        config = self._config(backend, given["EndpointConfigName"])
        with endpoint.lock:
            blue = self._require_in_service(endpoint)
            asked = endpoint.last_deployment_config if given.get("RetainDeploymentConfig") else None
            asked = given.get("DeploymentConfig") or asked
            policy = read_deployment(asked, config.settings.instances)
            self._require_deployable(backend, blue, config, policy, guarded=asked is not None)
            green = self._fleet(backend, config)
            capture: Mapping[str, Any] = config.data_capture_config
            if given.get("RetainAllVariantProperties"):
                excluded = given.get("ExcludeRetainedVariantProperties") or ()
                capture = _retain(endpoint, blue, green, capture, {one["VariantPropertyType"] for one in excluded})
            now = self.core.clock.now
            deployment = Deployment(green, policy, capture, now, asked)
            endpoint.deployment = deployment
            endpoint.enter(Status.UPDATING, now)
            self._say(endpoint, deployment, "Creating", f"Launching {green.instances} instance(s).")
        self._tell(endpoint)
        if policy.timeout is not None:
            self._later(deployment, policy.timeout, lambda: self._roll_back(endpoint, deployment))
        then = self._in(endpoint, deployment, lambda: self._provisioned(endpoint, deployment))
        self._bring_up(backend, green, then, endpoint.endpoint_name)
        return endpoint

    def update_weights(self, backend: SageMakerModelBackend, given: Mapping[str, Any]) -> LocalEndpoint:
        """Change the weights and instance counts of variants; they take effect when the endpoint is in service again.

        Raises
        ------
        AWSValidationException
            When the endpoint is not in service, or a variant is named twice or is not there.
        """
        check_request("UpdateEndpointWeightsAndCapacities", given)
        endpoint = self._endpoint(backend, given["EndpointName"])
        with endpoint.lock:
            fleet = self._require_in_service(endpoint)
            asked = given["DesiredWeightsAndCapacities"]
            names = [one["VariantName"] for one in asked]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise refused(f'The variant name "{twice[0]}" was non-unique within the request.')
            variants = {variant.name: variant for variant in fleet.all_variants}
            if unknown := sorted(set(names) - set(variants)):
                raise refused(
                    f'The variant name(s) "{", ".join(unknown)}" is/are not present within endpoint configuration '
                    f'"{endpoint.endpoint_config_name}".'
                )
            for one in asked:
                variant = variants[one["VariantName"]]
                variant.desired_weight = float(one.get("DesiredWeight", variant.weight))
                variant.desired_instances = int(one.get("DesiredInstanceCount") or variant.instances)
            endpoint.enter(Status.UPDATING, self.core.clock.now)
        self._tell(endpoint)
        delay = timedelta(seconds=0 if self.core.options.real_time else self.core.options.endpoint_seconds)
        self.core.agenda.after(delay, lambda: self._weighted(endpoint, fleet), f"weights {endpoint.endpoint_name}")
        return endpoint

    def delete(self, backend: SageMakerModelBackend, name: str) -> None:
        """End an endpoint; what it captured is written first.

        Raises
        ------
        AWSValidationException
            When it is not there, or is being created, updated or deleted.
        """
        endpoint = self._endpoint(backend, name)
        with endpoint.lock:
            if endpoint.status not in (Status.IN_SERVICE, Status.FAILED):
                raise refused(f'Cannot update in-progress endpoint "{endpoint.arn}".')
            endpoint.enter(Status.DELETING, self.core.clock.now)
        self._tell(endpoint)
        self.core.agenda.soon(lambda: self._deleted(backend, endpoint), f"delete {name}")

    def invoke(self, backend: SageMakerModelBackend, name: str, invocation: Invocation) -> Invoked:
        """Have an endpoint answer.

        Raises
        ------
        EndpointValidationError
            When there is no such endpoint, or it is not in service.
        ModelError
            When its model fails.
        """
        endpoint = backend.endpoints.get(name)
        if not isinstance(endpoint, LocalEndpoint):
            raise EndpointValidationError(not_found(name))
        try:
            return self.traffic.answer(endpoint, invocation)
        except ModelError:
            for fleet in endpoint.fleets():
                self._keep_logs(endpoint, fleet)
            raise

    def flush(self) -> int:
        """Write what was captured now, whatever its age; return how many files there were."""
        return self.captures.flush()

    def resume(self) -> None:
        """Bring up every fleet anew, and wait for those that were up."""
        for fleet in [fleet for fleet in self._fleets if fleet.is_retiring]:
            fleet.stop()
            self._fleets.discard(fleet)
        for fleet in self._fleets:
            fleet.start(functools.partial(self._store_of, ACCOUNT))
        for fleet in self._fleets:
            if fleet in self._coming_up:
                self._await(fleet)
            else:
                fleet.wait()

    def close(self) -> None:
        """Kill every container."""
        for fleet in list(self._fleets):
            fleet.stop()
        self._fleets.clear()
        self._loopback.close()

    # -- how endpoints change ----------------------------------------------------------------------------------------

    def _bring_up(self, backend: SageMakerModelBackend, fleet: Fleet, then: Callable[[], object], name: str) -> None:
        self._fleets.add(fleet)
        self._coming_up[fleet] = then, name
        fleet.start(functools.partial(self._store_of, backend.account_id))
        if self.core.options.real_time:
            self._await(fleet)
        else:
            up, delay = functools.partial(self._up, fleet), timedelta(seconds=self.core.options.endpoint_seconds)
            self.core.agenda.after(delay, up, f"fleet of {name}")

    def _await(self, fleet: Fleet) -> None:
        name = self._coming_up[fleet][1]
        up = functools.partial(self._up, fleet)
        fleet.when_settled(lambda: self.core.agenda.soon(up, f"fleet of {name}"))

    def _up(self, fleet: Fleet) -> None:
        """A fleet is up, or has failed to be: go on, once."""
        if (waiting := self._coming_up.pop(fleet, None)) is not None:
            waiting[0]()

    def _store_of(self, account: str, model: ServedModel) -> MotoObjects:
        """Return what a model's role can read, once it has pulled the image and made the interfaces."""
        wanted = (*of_an_image(model.image), *of_a_network(model.network))
        if model.role:
            first_refusal(self.core.gate, model.role, of_measures(LOG_GROUP))  # without it nobody measures, as on AWS
            if (why := first_refusal(self.core.gate, model.role, wanted)) is not None:
                raise ContainerError(why)
        return MotoObjects(account, self.core.gate).by_role(model.role)

    def _created(self, endpoint: LocalEndpoint, fleet: Fleet) -> None:
        problem = fleet.wait()
        self._keep_logs(endpoint, fleet)
        with endpoint.lock:
            if endpoint.status is not Status.CREATING:
                return
            endpoint.failure_reason = problem  # type: ignore[assignment]  # moto knows of no failure
            endpoint.enter(Status.IN_SERVICE if problem is None else Status.FAILED, self.core.clock.now)
        if problem is not None:
            self._retire(endpoint, fleet)
        self._tell(endpoint)

    def _provisioned(self, endpoint: LocalEndpoint, deployment: Deployment) -> None:
        problem = deployment.fleet.wait()
        self._keep_logs(endpoint, deployment.fleet)
        if problem is not None:
            self._roll_back(endpoint, deployment)
        else:
            self._shift(endpoint, deployment, 0)

    def _shift(self, endpoint: LocalEndpoint, deployment: Deployment, number: int) -> None:
        """Take one step: give the new fleet its share, and watch it for as long as the step says."""
        if self._alarmed(deployment.policy.alarms):
            self._roll_back(endpoint, deployment)
            return
        step = deployment.policy.steps[number]
        count = max(1, round(step.share * deployment.fleet.instances))
        capacity = f"{step.kind} capacity of {count} instance(s)."
        with endpoint.lock:
            if endpoint.deployment is not deployment:
                return
            deployment.share = step.share
        self._say(endpoint, deployment, "ActivatingTraffic", f"Activating traffic on {capacity}")
        if step.wait:
            seconds = int(step.wait.total_seconds())
            message = f"Baking for {seconds} seconds ({step.waiting_for}) with traffic enabled on {capacity}"
            self._say(endpoint, deployment, "Baking", message)

        def go_on() -> None:
            if number + 1 < len(deployment.policy.steps):
                self._shift(endpoint, deployment, number + 1)
            else:
                self._complete(endpoint, deployment)

        self._later(deployment, step.wait, self._in(endpoint, deployment, go_on))

    def _complete(self, endpoint: LocalEndpoint, deployment: Deployment) -> None:
        if self._alarmed(deployment.policy.alarms):
            self._roll_back(endpoint, deployment)
            return
        with endpoint.lock:
            if endpoint.deployment is not deployment:
                return
            deployment.cancel()
            blue, endpoint.fleet = endpoint.fleet, deployment.fleet
            endpoint.deployment = None
            endpoint.endpoint_config_name = deployment.fleet.settings.name
            endpoint.data_capture_config = dict(deployment.capture)
            endpoint.last_deployment_config = deployment.asked or endpoint.last_deployment_config
            endpoint.enter(Status.IN_SERVICE, self.core.clock.now)
        if blue is not None:
            self._retire(endpoint, blue)
        self._tell(endpoint)

    def _roll_back(self, endpoint: LocalEndpoint, deployment: Deployment) -> None:
        """Give all traffic back to the old fleet at once; nobody is told but by events, as on SageMaker."""
        with endpoint.lock:
            if endpoint.deployment is not deployment or endpoint.status is not Status.UPDATING:
                return
            deployment.cancel()
            deployment.share = 0.0
            endpoint.last_deployment_config = deployment.asked or endpoint.last_deployment_config
            endpoint.enter(Status.ROLLING_BACK, self.core.clock.now)
            self._say(endpoint, deployment, "Deleting", f"Terminating {deployment.fleet.instances} instance(s).")
        self._retire(endpoint, deployment.fleet)
        self._tell(endpoint)
        delay = timedelta() if self.core.options.real_time else ROLLBACK_TAKES
        self.core.agenda.after(
            delay, lambda: self._rolled_back(endpoint, deployment), f"rollback {endpoint.endpoint_name}"
        )

    def _rolled_back(self, endpoint: LocalEndpoint, deployment: Deployment) -> None:
        with endpoint.lock:
            if endpoint.deployment is not deployment:
                return
            endpoint.deployment = None
            endpoint.enter(Status.IN_SERVICE, self.core.clock.now)
        self._tell(endpoint)

    def _weighted(self, endpoint: LocalEndpoint, fleet: Fleet) -> None:
        with endpoint.lock:
            for variant in fleet.all_variants:
                variant.weight, variant.instances = variant.desired_weight, variant.desired_instances
            endpoint.enter(Status.IN_SERVICE, self.core.clock.now)
        self._tell(endpoint)

    def _deleted(self, backend: SageMakerModelBackend, endpoint: LocalEndpoint) -> None:
        self.captures.flush(endpoint.endpoint_name)
        if endpoint.fleet is not None:
            self._retire(endpoint, endpoint.fleet)
        if backend.endpoints.get(endpoint.endpoint_name) is endpoint:
            del backend.endpoints[endpoint.endpoint_name]
        self._tell(endpoint, status="DELETED")

    def _retire(self, endpoint: LocalEndpoint, fleet: Fleet) -> None:
        self._keep_logs(endpoint, fleet)
        fleet.retire(lambda: self._fleets.discard(fleet))

    def _in(self, endpoint: LocalEndpoint, deployment: Deployment, action: Callable[[], object]) -> Callable[[], None]:
        """Return an action that does nothing once the deployment is over."""

        def act() -> None:
            if endpoint.deployment is deployment and endpoint.status is Status.UPDATING:
                action()

        return act

    def _later(self, deployment: Deployment, delay: timedelta, action: Callable[[], object]) -> None:
        entry = self.core.agenda.after(delay, action, f"deployment of {deployment.fleet.settings.name}")
        deployment.entries.append(entry)

    # -- alarms ------------------------------------------------------------------------------------------------------

    def _alarm_changed(self, alarm: Alarm) -> None:
        if alarm.state_value != ALARM:
            return
        for endpoint in list(sagemaker_backends[ACCOUNT][here().region].endpoints.values()):
            deployment = endpoint.deployment if isinstance(endpoint, LocalEndpoint) else None
            if deployment is not None and alarm.name in deployment.policy.alarms:
                self._roll_back(endpoint, deployment)  # type: ignore[arg-type]

    def _alarmed(self, names: Sequence[str]) -> bool:
        alarms = cloudwatch_backends[ACCOUNT][here().region].alarms
        return any(name in alarms and alarms[name].state_value == ALARM for name in names)

    # -- what must hold ----------------------------------------------------------------------------------------------

    def _require_in_service(self, endpoint: LocalEndpoint) -> Fleet:
        if endpoint.status is Status.FAILED:
            raise refused(f'Endpoint "{endpoint.arn}" has failed: DeleteEndpoint is all that can be done with it.')
        if endpoint.status is not Status.IN_SERVICE or endpoint.fleet is None:
            raise refused(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        return endpoint.fleet

    def _require_deployable(
        self,
        backend: SageMakerModelBackend,
        blue: Fleet,
        config: LocalEndpointConfig,
        policy: DeploymentPolicy,
        *,
        guarded: bool,
    ) -> None:
        new = [variant.name for variant in config.settings.variants]
        if guarded and sorted(new) != sorted(blue.variants):
            raise refused(
                f"The new endpoint configuration has the variants {', '.join(new)}, the old one "
                f"{', '.join(blue.variants)}: with a DeploymentConfig both must have the same variant names"
            )
        alarms = cloudwatch_backends[backend.account_id][backend.region_name].alarms
        if missing := [name for name in policy.alarms if name not in alarms]:
            raise refused(f"Could not find the alarm {missing[0]} of AutoRollbackConfiguration; create it first")

    def _endpoint(self, backend: SageMakerModelBackend, name: str) -> LocalEndpoint:
        endpoint = backend.endpoints.get(name)
        if not isinstance(endpoint, LocalEndpoint):
            arn = LocalEndpoint.arn_formatter(name, backend.account_id, backend.region_name)
            raise refused(f'Could not find endpoint "{arn}".')
        return endpoint

    def _config(self, backend: SageMakerModelBackend, name: str) -> LocalEndpointConfig:
        config = backend.endpoint_configs.get(name)
        if not isinstance(config, LocalEndpointConfig):
            arn = LocalEndpointConfig.arn_formatter(name, backend.account_id, backend.region_name)
            raise refused(f'Could not find endpoint configuration "{arn}".')
        return config

    def _models_of(self, backend: SageMakerModelBackend, config: LocalEndpointConfig) -> dict[str, ServedModel]:
        settings = config.settings
        found: dict[str, ServedModel] = {}
        for variant in (*settings.variants, *([settings.shadow] if settings.shadow else [])):
            model = backend._models.get(variant.model_name)
            if not isinstance(model, LocalModel):
                raise refused(f'Could not find model "{here().arn("sagemaker", f"model/{variant.model_name}")}".')
            found[variant.name] = model.served
        return found

    def _fleet(self, backend: SageMakerModelBackend, config: LocalEndpointConfig) -> Fleet:
        return self.make_fleet(
            config.settings,
            self._models_of(backend, config),
            capture=config.settings.capture,
            now=self.core.clock.now,
            limits=self.limits,
            surroundings=self._surroundings(),
        )

    def _surroundings(self) -> Surroundings:
        time = None if self.core.options.real_time else self.core.clock.now.timestamp()
        return Surroundings(lambda: self.core.options.address or self._loopback.url, time, self._credentials)

    def _credentials(self, role: str) -> Mapping[str, str]:
        return self.core.keyring.credentials(session_of(role)) if role else FAKE_CREDENTIALS

    def _exists(self, backend: SageMakerModelBackend, uri: str) -> bool:
        try:
            MotoObjects(backend.account_id).read(*split_uri(uri))
        except DataDownloadError:
            return False
        return True

    # -- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, endpoint: LocalEndpoint, *, status: str | None = None) -> None:
        """Put the endpoint's state on the event bus."""
        self.core.tell(Kind.ENDPOINT, endpoint.endpoint_name, "", status or endpoint.status)
        self.emit(
            source="aws.sagemaker",
            detail_type="SageMaker Endpoint State Change",
            detail=state_change_detail(endpoint, status),
            resources=[endpoint.arn],
        )

    def _say(self, endpoint: LocalEndpoint, deployment: Deployment, status: str, message: str) -> None:
        """Note what a deployment is doing, and put it on the event bus."""
        now = self.core.clock.now
        with endpoint.lock:
            deployment.status = {"Status": status, "StatusMessage": message, "StartTime": naive(now)}
            endpoint.last_modified_time = naive(now)
            detail = state_change_detail(endpoint)
        self.emit(
            source="aws.sagemaker",
            detail_type="SageMaker Endpoint Deployment State Change",
            detail=detail,
            resources=[endpoint.arn],
        )

    def _keep_logs(self, endpoint: LocalEndpoint, fleet: Fleet) -> None:
        """Keep what the containers printed in CloudWatch Logs, where failures send people."""
        arn = Arn.parse(endpoint.arn)
        backend, group = logs_backends[arn.account][arn.region], f"{LOG_GROUP}/{endpoint.endpoint_name}"
        at = int(self.core.clock.now.timestamp() * 1000)
        for variant, printed in fleet.unread_logs().items():
            events = [{"timestamp": at, "message": line} for line in printed.splitlines() if line.strip()]
            stream = log_stream(variant, fleet.settings.name)
            if self._may_not_log(fleet, variant, group, stream, backend.groups) or not events:
                continue  # as on AWS: what the role may not write is lost
            with self._lock:
                if group not in backend.groups:
                    backend.create_log_group(group, {})
                if stream not in backend.groups[group].streams:
                    backend.create_log_stream(group, stream)
                backend.groups[group].put_log_events(stream, events)

    def _may_not_log(self, fleet: Fleet, variant: str, group: str, stream: str, groups: Mapping[str, Any]) -> bool:
        (role,) = {one.container.model.role for one in fleet.all_variants if one.name == variant}
        return bool(role) and first_refusal(self.core.gate, role, of_a_log(group, stream, groups)) is not None

    def _let_shadows_finish(self) -> None:
        """On a virtual clock, wait for the copies that are on their way: a run is the same run whenever it is made."""
        if self.core.options.real_time:
            return
        for fleet in list(self._fleets):
            if fleet.mirror is not None:
                fleet.mirror.wait(self.limits.invocation_seconds)


def _retain(
    endpoint: LocalEndpoint, blue: Fleet, green: Fleet, capture: Mapping[str, Any], excluded: set[str]
) -> Mapping[str, Any]:
    """Let the new fleet take over what its variants have now; return the DataCaptureConfig."""
    for name, variant in green.variants.items():
        before = blue.variants.get(name)
        if before is not None and "DesiredWeight" not in excluded:
            variant.weight = variant.desired_weight = before.desired_weight
        if before is not None and "DesiredInstanceCount" not in excluded:
            variant.instances = variant.desired_instances = before.desired_instances
    if "DataCaptureConfig" in excluded:
        return capture
    green.capture = read_capture(endpoint.data_capture_config)
    return endpoint.data_capture_config
