"""The living cloud of a model of kind sagemaker: the local cloud's endpoints, whose changes take the world's time.

Nothing answers behind them: a fleet comes up, or does not, as the story says.
"""

from contextlib import contextmanager
from types import SimpleNamespace

from living_cloud import MODEL, LivingCloud
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends
from small_cloud import NOW, open_cloud

from evergreen.formats.endpoint_names import ConfigVersions
from local_cloud.kernel.clock import Agenda, VirtualClock
from local_cloud.kernel.core import Core
from local_cloud.kernel.patching import Patches
from local_cloud.services.eventbridge.buses import Events
from local_cloud.services.sagemaker.endpoints import api as endpoints_api
from local_cloud.services.sagemaker.endpoints.endpoints import Endpoints
from local_cloud.services.sagemaker.endpoints.fleet import Fleet

GUARDRAIL = "too-many-errors"


class StillFleet(Fleet):
    """A fleet without containers: whether it comes up is told by the world."""

    def __init__(self, world, *settings, **more):
        super().__init__(*settings, **more)
        self._world = world

    def start(self, store):
        """Nothing is started: it takes its time on the world's clock."""

    def wait(self):
        return "no instance is to be had" if self._world.scarce else None

    def retire(self, then):
        self.stop()
        then()

    def unread_logs(self):
        return {}


class _Bus(Events):
    """SageMaker's events, on the bus of the world."""

    def __init__(self, core, hear):
        super().__init__(core, courier=None)
        self._hear = hear

    def publish(self, bus, envelope):
        self._hear(envelope)


class LivingEndpoint(LivingCloud):
    """See the module."""

    def __init__(self):
        self.clock = VirtualClock(NOW)
        self.agenda = Agenda(self.clock)
        core = Core(self.clock, self.agenda, work_dir=None)
        self.alarms = SimpleNamespace(listeners=[])
        self.scarce = False
        self.endpoints = Endpoints(core, self.alarms, record=None, emit=_Bus(core, self.hear).emit)
        self.endpoints.make_fleet = lambda *given, **more: StillFleet(self, *given, **more)
        super().__init__()
        guardrails = {"traffic": "canary", "wait": "10m", "alarms": [GUARDRAIL]}
        self.endpoint = {"kind": "sagemaker", "guardrails": guardrails}
        self._cloudwatch.put_metric_alarm(
            AlarmName=GUARDRAIL,
            Namespace="AWS/SageMaker",
            MetricName="Invocation5XXErrors",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanThreshold",
        )
        self.guardrail("OK")

    @property
    def now(self):
        return self.clock.now

    @now.setter
    def now(self, time):
        self.agenda.run(time)

    # --- looking ------------------------------------------------------------------------------------------------------

    def described(self):
        """The endpoint as the local cloud has it, or None."""
        return self._backend().endpoints.get(MODEL)

    def is_changing(self):
        endpoint = self.described()
        return endpoint is not None and endpoint.endpoint_status not in ("InService", "Failed")

    def alias(self, name):
        """The version that really answers, or answers unseen."""
        endpoint = self.described()
        if endpoint is None or endpoint.endpoint_status in ("Creating", "Failed", "Deleting"):
            return None
        settings = endpoint.fleet.settings
        (production,) = settings.variants
        variant = settings.shadow if name == "shadow" else production
        models = self._backend()._models
        return None if variant is None else int(models[variant.model_name].served.environment["EVERGREEN_VERSION"])

    def models(self):
        """The names of SageMaker's models."""
        return sorted(self._backend()._models)

    def _backend(self):
        return sagemaker_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]

    def counted(self, version):
        dimensions = {"EndpointName": MODEL, "VariantName": "production"}
        return "AWS/SageMaker", ("Invocations", "Invocation5XXErrors"), dimensions

    # --- what happens in the world ------------------------------------------------------------------------------------

    def known(self, **deployment):
        """SageMaker has a canary of its own, in the guardrails."""
        super().known(**deployment | {"canary_share": 1.0})

    def hear(self, event):
        """An event of SageMaker's: it is noted how the change ended, whoever is told of it."""
        if event["detail-type"] == "SageMaker Endpoint State Change":
            detail = event["detail"]
            match detail["EndpointStatus"]:
                case "ROLLING_BACK":
                    config = detail["PendingDeploymentSummary"]["EndpointConfigName"]
                    moves = _production(config) != _production(detail["EndpointConfigName"])
                    self.went_back[config] = moves and self.state.repoint is not None
                case "FAILED":
                    self.went_back[detail["EndpointConfigName"]] = True
                case "IN_SERVICE":
                    self.became.add(detail["EndpointConfigName"])
        self.put_on_the_bus(event)

    def guardrail(self, state):
        """The alarm that guards promotions changes its state."""
        self._cloudwatch.set_alarm_state(AlarmName=GUARDRAIL, StateValue=state, StateReason="a story")
        alarm = cloudwatch_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].alarms[GUARDRAIL]
        for listener in self.alarms.listeners:
            listener(alarm)

    def settle(self):
        self.scarce = False
        self.guardrail("OK")
        super().settle()


def _production(config):
    return ConfigVersions.read(config).production


@contextmanager
def open_endpoint():
    """A new empty cloud with such endpoints, for as long as the block lasts."""
    with open_cloud(LivingEndpoint) as cloud:
        patches = Patches()
        patches.apply(endpoints_api.PATCHES, cloud.endpoints)
        try:
            yield cloud
        finally:
            patches.undo()
            cloud.endpoints.close()
