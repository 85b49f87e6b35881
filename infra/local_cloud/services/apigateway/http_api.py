"""The HTTP API of a stack: routes, and events in payload format 2.0."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import known_of_source
from local_cloud.kernel.errors import LocalCloudError
from local_cloud.kernel.measures import MetricKey, Record
from local_cloud.kernel.notices import Kind
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.lambda_.concurrency import ThrottledError
from local_cloud.services.lambda_.functions import Functions

PRINCIPAL = "apigateway.amazonaws.com"
LARGEST_REQUEST = 10 * 1_024 * 1_024
_FUNCTION_IN_URI = re.compile(r"functions/(arn:[^/]+)/invocations$|^(arn:[a-z-]+:lambda:.+)$")
_VARIABLE = re.compile(r"\{([A-Za-z0-9_]+)(\+?)\}")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path pattern, and the function that answers them.

    Examples
    --------
    >>> route = Route.parse("POST /models/{model}/predict", "arn:f")
    >>> route.match("POST", "/models/fraud%20detection/predict")
    {'model': 'fraud detection'}
    >>> route.match("GET", "/models/fraud/predict") is None
    True
    """

    key: str
    method: str
    pattern: re.Pattern[str] | None
    function_arn: str
    weight: tuple[int, int]

    @classmethod
    def parse(cls, key: str, function_arn: str) -> Route:
        """Read a route key such as ``GET /models/{model}`` or ``$default``."""
        if key == "$default":
            return cls(key, "ANY", None, function_arn, (2, 0))
        method, _, path = key.partition(" ")
        greedy = "+}" in path
        regex = ""
        position = 0
        for variable in _VARIABLE.finditer(path):
            regex += re.escape(path[position : variable.start()])
            regex += f"(?P<{variable.group(1)}>{'.+' if variable.group(2) else '[^/]+'})"
            position = variable.end()
        regex += re.escape(path[position:])
        return cls(key, method.upper(), re.compile(regex), function_arn, (int(greedy), path.count("{")))

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the path's parameters when the route takes this request."""
        if self.method not in ("ANY", method.upper()):
            return None
        if self.pattern is None:
            return {}
        found = self.pattern.fullmatch(path) or self.pattern.fullmatch(path.rstrip("/") or "/")
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


@dataclass(slots=True)
class HttpApi:
    """One deployed HTTP API."""

    api_id: str
    name: str
    routes: list[Route] = field(default_factory=list)
    integrations: dict[str, str] = field(default_factory=dict)
    stages: set[str] = field(default_factory=set)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the most specific route for a request, with the path's parameters."""
        for route in sorted(self.routes, key=lambda r: (*r.weight, r.method == "ANY", r.key)):
            parameters = route.match(method, path)
            if parameters is not None:
                return route, parameters
        return None


def function_arn_of(uri: str) -> str:
    """Return the function in an integration's URI.

    Examples
    --------
    >>> invocations = "functions/arn:aws:lambda:us-east-1:1:function:f/invocations"
    >>> function_arn_of(f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/{invocations}")
    'arn:aws:lambda:us-east-1:1:function:f'
    """
    found = _FUNCTION_IN_URI.search(uri)
    if found is None:
        raise LocalCloudError(f"The integration {uri!r} is no Lambda function: the local cloud serves nothing else.")
    return found.group(1) or found.group(2)


def routes_of_openapi(body: Mapping[str, Any]) -> list[Route]:
    """Return the routes of an API's OpenAPI body.

    Examples
    --------
    >>> integration = {"uri": "arn:aws:lambda:us-east-1:1:function:f"}
    >>> [r.key for r in routes_of_openapi({"paths": {"/x": {"get": {"x-amazon-apigateway-integration": integration}}}})]
    ['GET /x']
    """
    routes: list[Route] = []
    for path, methods in body.get("paths", {}).items():
        for method, operation in methods.items():
            integration = (operation or {}).get("x-amazon-apigateway-integration")
            if integration is None:
                continue
            verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
            key = "$default" if path in ("/$default", "$default") else f"{verb} {path}"
            routes.append(Route.parse(key, function_arn_of(integration["uri"])))
    return routes


class HttpApis(Service):
    """The HTTP APIs of the cloud.

    Parameters
    ----------
    functions
        What answers.
    record
        Where requests are counted.
    """

    def __init__(self, core: Core, functions: Functions, record: Record):
        self.core = core
        self.functions = functions
        self.record = record
        self.apis: dict[str, HttpApi] = {}

    def answer(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        api_id: str | None = None,
        source_ip: str = "127.0.0.1",
    ) -> HttpAnswer:
        """Send a request to the API (the only one unless ``api_id`` says which) and wait for its answer."""
        api = self._api(api_id)
        raw_path = path.partition("?")[0]
        found = None if api is None else api.find(method, unquote(raw_path) if "%" not in raw_path else raw_path)
        if api is None or found is None:
            answer = _error(404, "Not Found")
        else:
            answer = self._answer(api, *found, method, path, body, headers or {}, source_ip)
        if api is not None:
            self._measure(api, answer)
        route = f"{method.upper()} (no route)" if found is None else found[0].key
        self.core.tell(Kind.HTTP, source_ip, route, str(answer.status))
        return answer

    def _measure(self, api: HttpApi, answer: HttpAnswer) -> None:
        for name, hit in (
            ("Count", True),
            ("4xx", 400 <= answer.status < 500),
            ("5xx", answer.status >= 500),
        ):
            key = MetricKey.of("AWS/ApiGateway", name, {"ApiId": api.api_id})
            self.record(key, [float(hit)], "Count")

    def _answer(
        self,
        api: HttpApi,
        route: Route,
        parameters: Mapping[str, str],
        method: str,
        path: str,
        body: bytes | str,
        headers: Mapping[str, str],
        source_ip: str,
    ) -> HttpAnswer:
        raw_path, _, query = path.partition("?")
        data = body.encode() if isinstance(body, str) else body
        if len(data) > LARGEST_REQUEST:
            return _error(413, "Request Entity Too Large")
        event = _event(
            api=api,
            route=route,
            method=method.upper(),
            path=raw_path,
            query=query,
            headers={name.lower(): value for name, value in headers.items()},
            data=data,
            parameters=parameters,
            now=self.core.clock.now,
            request_id=self.functions.next_request_id(),
            source_ip=source_ip,
        )
        function = self.functions.find(route.function_arn)
        known = known_of_source(here().arn("execute-api", f"{api.api_id}/$default/{method.upper()}{raw_path}"))
        if self.core.gate.refusal(Caller(PRINCIPAL), "lambda:InvokeFunction", route.function_arn, known) is not None:
            return _error(500, "Internal Server Error")  # as AWS: the API says no more about a missing permission
        try:
            result = self.functions.invoke(function, json.dumps(event).encode())
        except ThrottledError:
            return _error(503, "Service Unavailable")
        if result.error:
            return _error(500, "Internal Server Error")
        return read_answer(result.payload)

    def _api(self, api_id: str | None) -> HttpApi | None:
        if api_id is not None:
            return self.apis.get(api_id)
        if len(self.apis) > 1:
            names = ", ".join(f"{api.api_id} ({api.name})" for api in self.apis.values())
            raise LocalCloudError(f"There are several HTTP APIs: say which with api_id; there are {names}.")
        return next(iter(self.apis.values()), None)


def read_answer(payload: bytes) -> HttpAnswer:
    """Read a function's answer the way HTTP APIs do: either the full form, or any JSON as a body with status 200.

    Examples
    --------
    >>> read_answer(b'{"statusCode": 201, "body": "made"}').status
    201
    >>> read_answer(b'{"prediction": 1}').body
    b'{"prediction": 1}'
    """
    answer = json.loads(payload or b"null")
    if isinstance(answer, dict) and "statusCode" in answer:
        text = answer.get("body") or ""
        body = base64.b64decode(text) if answer.get("isBase64Encoded") else str(text).encode()
        headers = {"content-type": "text/plain; charset=utf-8"}
        headers |= {str(k).lower(): str(v) for k, v in (answer.get("headers") or {}).items()}
        return HttpAnswer(int(answer["statusCode"]), headers, body)
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return HttpAnswer(200, {"content-type": "application/json"}, text.encode())


def _error(status: int, message: str) -> HttpAnswer:
    return HttpAnswer(status, {"content-type": "application/json"}, json.dumps({"message": message}).encode())


def _event(
    *,
    api: HttpApi,
    route: Route,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    data: bytes,
    parameters: Mapping[str, str],
    now: datetime,
    request_id: str,
    source_ip: str,
) -> dict[str, Any]:
    domain = f"{api.api_id}.execute-api.{here().region}.{here().suffix}"
    headers = {"host": domain, "content-length": str(len(data)), **headers}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": api.api_id,
            "domainName": domain,
            "domainPrefix": api.api_id,
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": route.key,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if query:
        pairs: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            pairs[name] = f"{pairs[name]},{value}" if name in pairs else value
        event["queryStringParameters"] = pairs
    if parameters:
        event["pathParameters"] = dict(parameters)
    if data:
        try:
            event["body"] = data.decode()
        except UnicodeDecodeError:
            event["body"] = base64.b64encode(data).decode()
            event["isBase64Encoded"] = True
    return event
