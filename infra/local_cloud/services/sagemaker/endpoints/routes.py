"""Who answers a request to an endpoint, and why nobody does."""

from __future__ import annotations

from dataclasses import dataclass

from moto.sagemaker.exceptions import SagemakerClientError

from local_cloud.services.sagemaker.endpoints.container import ContainerAnswer
from local_cloud.services.sagemaker.endpoints.fleet import Fleet, RunningVariant


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers a request."""

    fleet: Fleet
    variant: RunningVariant
    deploying: bool  # two fleets share the endpoint


class EndpointValidationError(SagemakerClientError):
    """The request names an endpoint or variant that cannot answer it."""

    code = "ValidationError"


class ModelError(SagemakerClientError):
    """The model did not answer with success.

    Parameters
    ----------
    answer
        What its container said; status 0 when it said nothing.
    log_stream_arn
        Where its log is.
    """

    code = "ModelError"

    def __init__(self, answer: ContainerAnswer, log_stream_arn: str) -> None:
        self.OriginalStatusCode = answer.status
        self.OriginalMessage = answer.body.decode(errors="replace")
        self.LogStreamArn = log_stream_arn
        whose = "client" if 400 <= answer.status < 500 else "server"
        super().__init__(
            f'Received {whose} error ({answer.status}) from primary with message "{self.OriginalMessage}". '
            f"See the log stream {log_stream_arn} for more information."
        )
