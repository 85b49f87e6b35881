"""The fleet behind an endpoint configuration: a container a variant, the shadow's among them, and who answers what."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from local_cloud.services.sagemaker.endpoints.container import (
    Container,
    ContainerError,
    Duty,
    Limits,
    ServedModel,
    Surroundings,
)
from local_cloud.services.sagemaker.endpoints.mirror import Mirror
from local_cloud.services.sagemaker.endpoints.requests import CaptureSettings, EndpointSettings, Variant
from local_cloud.services.sagemaker.training.container import ObjectStore

NOT_STARTED = "The fleet was stopped before it was in service."


@dataclass(slots=True)
class RunningVariant:
    """A variant and its container; weight and instances can be changed while it runs."""

    settings: Variant
    container: Container
    weight: float
    desired_weight: float
    instances: int
    desired_instances: int
    resolved_at: datetime

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.settings.name

    def describe(self, *, status: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return what DescribeEndpoint says of it."""
        image = {"SpecifiedImage": self.container.model.image, "ResolutionTime": self.resolved_at.replace(tzinfo=None)}
        return {
            "VariantName": self.name,
            "DeployedImages": [image],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.desired_weight,
            "CurrentInstanceCount": self.instances,
            "DesiredInstanceCount": self.desired_instances,
            **({"VariantStatus": [dict(one) for one in status]} if status else {}),
        }


class Fleet:
    """The containers of one endpoint configuration.

    Parameters
    ----------
    settings
        The configuration.
    models
        The model of each variant, by the variant's name.
    capture
        What is recorded.
    now
        When it was made.
    limits
        How long containers may take.
    surroundings
        What they find around them.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        models: Mapping[str, ServedModel],
        *,
        capture: CaptureSettings | None,
        now: datetime,
        limits: Limits,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.settings = settings
        self.capture = capture
        self.problem: str | None = None
        self.is_retiring = False
        self._made_of = (settings, dict(models), capture, now, limits, surroundings)
        self._scratch = tempfile.TemporaryDirectory(prefix="local-cloud-endpoint-", ignore_cleanup_errors=True)
        self._settled = threading.Event()
        self._when_settled: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._limits = limits
        self._stopped = False

        def running(variant: Variant, duty: Duty) -> RunningVariant:
            own = Limits(variant.startup_seconds or limits.startup_seconds, limits.invocation_seconds)
            container = Container(
                Path(tempfile.mkdtemp(dir=self._scratch.name)),
                models[variant.name],
                variant.name,
                duty=duty,
                limits=own,
                surroundings=surroundings,
            )
            count = variant.instances
            return RunningVariant(variant, container, variant.weight, variant.weight, count, count, now)

        self.variants = {variant.name: running(variant, Duty.PRODUCTION) for variant in settings.variants}
        self.shadow = None if settings.shadow is None else running(settings.shadow, Duty.SHADOW)
        self.mirror = None if settings.shadow is None else Mirror()

    def __reduce__(self) -> tuple[Any, ...]:
        weights = [(v.weight, v.desired_weight, v.instances, v.desired_instances) for v in self.all_variants]
        return _as_it_was, (*self._made_of, weights, self.is_retiring)

    @property
    def all_variants(self) -> list[RunningVariant]:
        """The production variants and the shadow."""
        return [*self.variants.values(), *([self.shadow] if self.shadow else [])]

    @property
    def instances(self) -> int:
        """How many instances the production variants have together."""
        return sum(variant.instances for variant in self.variants.values())

    def start(self, store_of: Callable[[ServedModel], ObjectStore]) -> None:
        """Download models and code, and start every container; returns at once, `wait` tells how it went."""

        def bring_up() -> None:
            try:
                for variant in self.all_variants:
                    variant.container.prepare(store_of(variant.container.model))
                for variant in self.all_variants:
                    variant.container.start()
                for variant in self.all_variants:
                    variant.container.await_ping()
            except (ContainerError, OSError) as error:
                self.problem = NOT_STARTED if self._stopped else str(error)
            with self._lock:
                self._settled.set()
            for action in self._when_settled:
                action()

        threading.Thread(target=bring_up, name=f"local-cloud-fleet-{self.settings.name}", daemon=True).start()

    def wait(self) -> str | None:
        """Wait until every container is up or one failed; return why it failed."""
        self._settled.wait()
        return self.problem

    def when_settled(self, action: Callable[[], object]) -> None:
        """Call ``action`` once `wait` would return, from another thread, or at once."""
        with self._lock:
            if not self._settled.is_set():
                self._when_settled.append(action)
                return
        action()

    def choose(self, key: str) -> RunningVariant:
        """Return the variant that answers a request, by weight; the same for the same key."""
        variants = list(self.variants.values())
        return variants[pick(key, [variant.weight for variant in variants])]

    def hold(self) -> None:
        """Keep the fleet while it answers a request, until `release`."""
        with self._changed:
            self._in_flight += 1

    def release(self) -> None:
        """Let go of the fleet: the request was answered."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def retire(self, then: Callable[[], object]) -> None:
        """Stop once the requests that are being answered have their answers; returns at once."""
        self.is_retiring = True

        def finish() -> None:
            with self._changed:
                self._changed.wait_for(lambda: not self._in_flight, timeout=self._limits.invocation_seconds)
            if self.mirror is not None:
                self.mirror.wait(self._limits.invocation_seconds)
            self.stop()
            then()

        threading.Thread(target=finish, name=f"local-cloud-retire-{self.settings.name}", daemon=True).start()

    def stop(self) -> None:
        """End every container; a second call does nothing."""
        self._stopped = True
        if self.mirror is not None:
            self.mirror.close()
        for variant in self.all_variants:
            variant.container.close()
        self._scratch.cleanup()

    def unread_logs(self) -> dict[str, str]:
        """Return what each container has printed since this was asked last, by variant."""
        return {variant.name: variant.container.unread_log() for variant in self.all_variants}


def _as_it_was(
    settings: EndpointSettings,
    models: Mapping[str, ServedModel],
    capture: CaptureSettings | None,
    now: datetime,
    limits: Limits,
    surroundings: Surroundings | None,
    weights: Sequence[tuple[float, float, int, int]],
    is_retiring: bool,
) -> Fleet:
    """Return a fleet whose containers have gone with the process that saved it: start it again."""
    fleet = Fleet(settings, models, capture=capture, now=now, limits=limits, surroundings=surroundings)
    fleet.is_retiring = is_retiring
    for variant, (weight, desired_weight, instances, desired_instances) in zip(
        fleet.all_variants, weights, strict=True
    ):
        variant.weight, variant.desired_weight = weight, desired_weight
        variant.instances, variant.desired_instances = instances, desired_instances
    return fleet


def fraction(key: str, purpose: str) -> float:
    """Return a number in ``[0, 1)`` that depends on the key and what it is for alone.

    Examples
    --------
    >>> fraction("request-1", "canary") == fraction("request-1", "canary")
    True
    >>> canaries = sum(fraction(f"request-{number}", "canary") < 0.1 for number in range(10_000))
    >>> 900 < canaries < 1_100
    True
    """
    digest = hashlib.sha256(f"{purpose} {key}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def pick(key: str, weights: Sequence[float]) -> int:
    """Return the place of the weight that a key falls on.

    Examples
    --------
    >>> pick("request-1", [0.0, 1.0, 0.0])
    1
    """
    left = fraction(key, "variant") * sum(weights)
    for place, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return place
    return len(weights) - 1
