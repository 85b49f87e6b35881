"""Short cuts through moto: what it works out anew for each request is worked out once. Behaviour stays the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from moto import backend_index
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.request import normalize_request
from moto.core.utils import get_equivalent_url_in_aws_domain
from werkzeug.exceptions import HTTPException

from .arns import ACCOUNT

if TYPE_CHECKING:
    from .cloud import LocalCloud

Handler = Callable[[Any, str, Any], Any]


def patched_process_request(cloud: LocalCloud, original: Callable[..., Any]) -> Callable[..., Any]:
    """``BotocoreStubber.process_request``: the handlers of a host are looked up once, not by 300 patterns a request.

    S3 would reload a module for each request besides.
    """
    handlers: dict[str, list[tuple[re.Pattern[str], Handler]] | None] = {}

    def process_request(self: BotocoreStubber, request: Any) -> Any:
        parsed, _ = get_equivalent_url_in_aws_domain(request.url)
        host = f"{parsed.scheme}://{parsed.netloc}"
        if host not in handlers:
            handlers[host] = _handlers_of(f"{host}{parsed.path}")
        known = handlers[host]
        if known is None:
            return original(self, request)
        clean_url = f"{host}{parsed.path}"
        for pattern, handler in known:
            if pattern.match(clean_url):
                normalized = normalize_request(request)
                try:
                    return handler(normalized, normalized.raw_url, normalized.headers)
                except HTTPException as error:
                    return error.code, error.get_headers(), error.get_body()
        return original(self, request)

    return process_request


def _handlers_of(url: str) -> list[tuple[re.Pattern[str], Handler]] | None:
    """Return the handlers of the first service whose pattern takes ``url``, as moto chooses it."""
    from moto import backends
    from moto.core.base_backend import BackendDict

    for service, pattern in backend_index.backend_url_patterns:
        if pattern.match(url):
            found: Any = backends.get_backend(service)  # type: ignore[call-overload]
            if not isinstance(found, BackendDict):
                return None
            of_account = found[ACCOUNT]
            backend = of_account["us-east-1"] if "us-east-1" in of_account else of_account["aws"]
            return [(re.compile(path), handler) for path, handler in backend.urls.items()]
    return None


def patched_method_names(cloud: LocalCloud, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.core.responses.method_names_from_class``: a class is inspected once."""
    known: dict[object, list[str]] = {}

    def method_names_from_class(clazz: object) -> list[str]:
        if clazz not in known:
            known[clazz] = original(clazz)
        return known[clazz]

    return method_names_from_class


def use_light_clients() -> None:
    """Let clients of the default session skip what no local service reads: retries, and the long user agent."""
    boto3.setup_default_session()
    session = boto3.DEFAULT_SESSION
    if session is not None:
        session._session.set_default_client_config(
            Config(user_agent="evergreen-local", retries={"total_max_attempts": 1})
        )
