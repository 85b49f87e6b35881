"""InvokeEndpoint: a variant's model answers, the shadow gets a copy, what is asked for is captured, all is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from local_cloud.kernel.core import Core
from local_cloud.kernel.measures import MetricKey, Record
from local_cloud.services.sagemaker.endpoints.captures import Captures, Exchange
from local_cloud.services.sagemaker.endpoints.container import ContainerAnswer, Question
from local_cloud.services.sagemaker.endpoints.fleet import RunningVariant, fraction
from local_cloud.services.sagemaker.endpoints.mirror import Copy
from local_cloud.services.sagemaker.endpoints.records import LocalEndpoint
from local_cloud.services.sagemaker.endpoints.routes import ModelError, Route

NAMESPACE = "AWS/SageMaker"
LOCAL_NAMESPACE = "Evergreen/Local"


@dataclass(frozen=True, slots=True)
class Invocation:
    """A request of InvokeEndpoint."""

    question: Question
    inference_id: str | None = None
    target_variant: str | None = None


@dataclass(frozen=True, slots=True)
class Invoked:
    """What InvokeEndpoint answers."""

    body: bytes
    content_type: str
    variant: str
    attributes: str


@dataclass(frozen=True, slots=True)
class _Received:
    """A request on its way: when it came, and its number."""

    invocation: Invocation
    time: datetime
    order: int
    key: str


class Traffic:
    """The requests of the endpoints of one cloud.

    Parameters
    ----------
    captures
        Where exchanges go that are to be recorded.
    record
        Where what they took is recorded.
    let_shadows_finish
        On a virtual clock, waits for copies that are on their way.
    """

    def __init__(
        self, core: Core, captures: Captures, record: Record, let_shadows_finish: Callable[[], object]
    ) -> None:
        self.core = core
        self.captures = captures
        self.record = record
        self._let_shadows_finish = let_shadows_finish
        self._to_finish = False

    def answer(self, endpoint: LocalEndpoint, invocation: Invocation) -> Invoked:
        """Have a variant answer.

        Raises
        ------
        EndpointValidationError
            When the endpoint is not in service, or lacks the target variant.
        ModelError
            When the model's container answers with anything but success, or not in time.
        """
        began = time.perf_counter()
        received = self._receive(endpoint, invocation)
        route = endpoint.route(received.key, invocation.target_variant)
        try:
            answer = route.variant.container.ask(received.invocation.question)
            self._capture(endpoint, route, route.variant, received, answer)
            self._mirror(endpoint, route, received)
        finally:
            route.fleet.release()
        overhead = (time.perf_counter() - began) * 1e6 - answer.microseconds
        self._measure(endpoint, route, route.variant, answer, overhead, received.time)
        if not answer.is_success:
            raise ModelError(answer, endpoint.log_stream_arn(route.variant.name, route.fleet.settings.name))
        return Invoked(answer.body, answer.content_type, route.variant.name, answer.attributes)

    def _receive(self, endpoint: LocalEndpoint, invocation: Invocation) -> _Received:
        order = endpoint.next_number()
        key = invocation.inference_id or f"{endpoint.arn} {order}"
        now = self.core.clock.now
        if not self.core.options.real_time:
            invocation = replace(invocation, question=replace(invocation.question, time=now.timestamp()))
        return _Received(invocation, now, order, key)

    def _mirror(self, endpoint: LocalEndpoint, route: Route, received: _Received) -> None:
        shadow, mirror = route.fleet.shadow, route.fleet.mirror
        if shadow is None or mirror is None or fraction(received.key, "shadow") >= route.fleet.settings.shadow_share:
            return

        def answer() -> None:
            answered = shadow.container.ask(received.invocation.question)
            self._capture(endpoint, route, shadow, received, answered)
            self._measure(endpoint, route, shadow, answered, 0.0, received.time)

        if not mirror.offer(Copy(answer, len(received.invocation.question.body))):
            dimensions = {"EndpointName": endpoint.endpoint_name, "VariantName": shadow.name}
            self.record(MetricKey.of(LOCAL_NAMESPACE, "DroppedShadowRequests", dimensions), [1.0], "Count")
        self._finish_before_time_moves()

    def _finish_before_time_moves(self) -> None:
        """A shadow is to find the world as it was when the request came, not as a later entry of the agenda left it."""
        if self.core.options.real_time or self._to_finish:
            return
        self._to_finish = True

        def finish() -> None:
            self._to_finish = False
            self._let_shadows_finish()

        self.core.agenda.soon(finish, "shadows")

    def _capture(
        self,
        endpoint: LocalEndpoint,
        route: Route,
        variant: RunningVariant,
        received: _Received,
        answer: ContainerAnswer,
    ) -> None:
        settings = route.fleet.capture
        # Production and shadow are captured for the same requests, or there would be little to compare.
        if settings is None or not answer.is_success or fraction(received.key, "capture") >= settings.share:
            return
        question = received.invocation.question
        exchange = Exchange(
            event_id=endpoint.event_id(received.order, variant.name),
            inference_id=received.invocation.inference_id,
            time=received.time,
            order=received.order,
            question=question.body,
            question_type=question.content_type,
            answer=answer.body,
            answer_type=answer.content_type,
        )
        self.captures.add(
            exchange, settings, endpoint=endpoint.endpoint_name, variant=variant.name, role=variant.container.model.role
        )

    def _measure(
        self,
        endpoint: LocalEndpoint,
        route: Route,
        variant: RunningVariant,
        answer: ContainerAnswer,
        overhead: float,
        at: datetime,
    ) -> None:
        dimension_sets = [{"EndpointName": endpoint.endpoint_name, "VariantName": variant.name}]
        if route.deploying:  # the only way to see the new fleet alone
            dimension_sets.append(dimension_sets[0] | {"EndpointConfigName": route.fleet.settings.name})
        values: tuple[tuple[str, float, str], ...] = (
            ("Invocations", 1.0, "Count"),
            ("Invocation4XXErrors", float(400 <= answer.status < 500), "Count"),
            ("Invocation5XXErrors", float(answer.status >= 500), "Count"),
            ("InvocationModelErrors", float(not answer.is_success), "Count"),
            ("ModelLatency", answer.microseconds, "Microseconds"),
            ("OverheadLatency", max(overhead, 0.0), "Microseconds"),
        )
        for name, value, unit in values:
            for dimensions in dimension_sets:
                self.record(MetricKey.of(NAMESPACE, name, dimensions), [value], unit, at)
