"""Requests to the HTTP API, and the answers that callers get."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from evergreen.errors import BadRequestError


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to the HTTP API."""

    id: str  # that API Gateway gave it
    route: str  # POST /models/{model}/predict
    path: Mapping[str, str]
    content_type: str
    body: str
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> HttpRequest:
        """Read payload format 2.0."""
        body = event.get("body") or ""
        if event.get("isBase64Encoded"):
            try:
                body = base64.b64decode(body).decode()
            except UnicodeDecodeError as error:
                raise BadRequestError(("the body is not UTF-8 text",)) from error
        milliseconds = event["requestContext"]["timeEpoch"]
        return cls(
            id=event["requestContext"]["requestId"],
            route=event["routeKey"],
            path=event.get("pathParameters") or {},
            content_type=(event.get("headers") or {}).get("content-type", ""),
            body=body,
            time=datetime.fromtimestamp(milliseconds / 1000, UTC),
        )


def http_answer(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON answer."""
    headers = {"content-type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": orjson.dumps(body).decode()}


def http_problem(status: int, title: str, problems: Sequence[str]) -> dict[str, Any]:
    """A problem document (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": "; ".join(problems),
        "problems": problems,
    }
    return {"statusCode": status, "headers": {"content-type": "application/problem+json"}, "body": json.dumps(body)}
