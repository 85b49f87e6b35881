"""MLflow's client as Evergreen uses it: soon out of patience, silent, and able to talk to SageMaker's managed MLflow.

Of a managed server the tracking uri is an ARN, and each request is signed with the caller's role.

AWS's own plugin, sagemaker-mlflow, takes over every MLflow client of a process, brings boto3 into the function's
package, and only knows the one global tracking uri; what a request needs is this. Source: sagemaker-mlflow 0.5.0.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

__all__ = ["HABITS", "ManagedServer", "client"]

HABITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own defaults would retry a dead server for minutes, while an instance is paid for or a function ends."""
_KINDS = {
    # kind: (host, service that is signed for, header that names the server)
    "mlflow-tracking-server": (
        "{region}.experiments.sagemaker.aws",
        "sagemaker-mlflow",
        "x-mlflow-sm-tracking-server-arn",
    ),
    "mlflow-app": ("mlflow.sagemaker.{region}.app.aws", "sagemaker", "x-sm-mlflow-app-arn"),
}
_ENDPOINT = "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT"
"""The plugin's own variable: another address of the service, such as a VPC endpoint."""


@dataclass(frozen=True)
class ManagedServer:
    """A tracking server of SageMaker's, by its ARN.

    Parameters
    ----------
    arn
        ``arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME``, or ``.../mlflow-app/ID``.
    region
        Where it runs.
    url
        Where its API answers.
    service
        What requests are signed for.
    header
        The header that says which server a request is for.
    """

    arn: str
    region: str
    url: str
    service: str
    header: str

    @classmethod
    def of(cls, arn: str) -> ManagedServer:
        """Read an ARN.

        Raises
        ------
        ValueError
            It is none of a tracking server or an MLflow App.

        Examples
        --------
        >>> server = ManagedServer.of("arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/ours")
        >>> server.url, server.service
        ('https://eu-west-1.experiments.sagemaker.aws', 'sagemaker-mlflow')
        """
        parts = arn.split(":", 5)
        kind, _, name = parts[-1].partition("/")
        if len(parts) != 6 or parts[2] != "sagemaker" or kind not in _KINDS or not (parts[3] and name):
            raise ValueError(
                f"MLflow tracking uri is {arn!r}: give https://..., or the ARN of a SageMaker "
                "mlflow-tracking-server or mlflow-app"
            )
        host, service, header = _KINDS[kind]
        url = os.environ.get(_ENDPOINT) or f"https://{host.format(region=parts[3])}"
        return cls(arn, parts[3], url, service, header)


def client(tracking_uri: str) -> Any:
    """Return an ``MlflowClient`` for a tracking uri, be it a server's address, a store's, or an ARN.

    How long it waits can be set by MLflow's own variables, MLFLOW_HTTP_REQUEST_TIMEOUT and _MAX_RETRIES.

    Parameters
    ----------
    tracking_uri
        ``https://...``, ``sqlite:///...``, or the ARN of a managed server.
    """
    for name, value in HABITS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if tracking_uri.startswith("arn:"):
        _know(ManagedServer.of(tracking_uri))
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _know(server: ManagedServer) -> None:
    """Have MLflow's client find the stores of ARNs, and sign what it sends to this one."""
    from mlflow.store.model_registry import rest_store as models_of
    from mlflow.store.tracking import rest_store as runs_of
    from mlflow.tracking._model_registry import utils as registries
    from mlflow.tracking._tracking_service import utils as trackers
    from mlflow.tracking.request_auth import registry as auth
    from mlflow.utils import rest_utils

    # MLflow is typed in parts: what is called here is not.
    signers: Any = auth._request_auth_provider_registry
    host: Any = rest_utils.MlflowHostCreds
    runs_store: Any = runs_of.RestStore
    models_store: Any = models_of.RestStore
    registry: Any = registries
    if server.arn in (signer.get_name() for signer in signers):
        return

    def credentials(arn: str) -> Any:
        return host(ManagedServer.of(arn).url, auth=arn)

    def runs(store_uri: str, artifact_uri: str | None = None) -> Any:
        return runs_store(lambda: credentials(store_uri))

    def models(store_uri: str) -> Any:
        return models_store(lambda: credentials(store_uri))

    stores: Any = trackers._tracking_store_registry
    stores.register("arn", runs)
    registry._get_store_registry().register("arn", models)
    signers.register(lambda: _Signer(server))


class _Signer:
    """MLflow's request_auth_provider of one server, and requests' auth."""

    def __init__(self, server: ManagedServer) -> None:
        from botocore.session import get_session

        self._server = server
        self._session = get_session()

    def get_name(self) -> str:
        return self._server.arn

    def get_auth(self) -> _Signer:
        return self

    def __call__(self, request: Any) -> Any:
        """Name the server, and sign: the host, the body's hash, the time and the server, but nothing a proxy changes.

        Parameters
        ----------
        request
            A ``requests.PreparedRequest``.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request.url = request.url.replace("+", "%20")  # of a query; the service's own canonical form has no plus
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        signed = AWSRequest(
            request.method,
            request.url,
            data=body,
            headers={
                self._server.header: self._server.arn,
                "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest(),
            },
        )
        credentials = self._session.get_credentials()
        if credentials is None:
            raise ValueError(f"MLflow at {self._server.arn} wants signed requests, and no AWS credentials are found")
        SigV4Auth(credentials, self._server.service, self._server.region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request
