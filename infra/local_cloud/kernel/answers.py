"""Answers over HTTP in the shapes of AWS's protocols."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def status_line(self) -> str:
        """The status with its reason, as WSGI wants it.

        Examples
        --------
        >>> Answer(404, {}, b"").status_line
        '404 Not Found'
        """
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Unknown"


def aws_error(environ: Mapping[str, Any], status: int, code: str, message: str) -> Answer:
    """Return an error in the protocol that the request speaks: JSON, query XML, S3's XML, REST JSON or CBOR.

    Examples
    --------
    >>> aws_error({"HTTP_X_AMZ_TARGET": "DynamoDB_20120810.GetItem"}, 400, "ValidationException", "No.").body
    b'{"__type": "ValidationException", "message": "No."}'
    """
    request_id = {"x-amzn-requestid": "00000000-0000-4000-8000-000000000000"}
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split(",")[0].split("/")
    service = scope[3] if len(scope) > 3 else ""
    if environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor":
        headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
        body = b"\xa2" + b"".join(_cbor_text(text) for text in ("__type", code, "message", message))
    elif "HTTP_X_AMZ_TARGET" in environ:
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        body = json.dumps({"__type": code, "message": message}).encode()
    elif environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        headers = {"Content-Type": "text/xml"}
        fault = "Sender" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{fault}</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
            "<RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>"
        ).encode()
    elif service in ("s3", ""):
        headers = {"Content-Type": "application/xml"}
        body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
    else:
        headers = {"Content-Type": "application/json", "x-amzn-errortype": code}
        body = json.dumps({"message": message}).encode()
    return Answer(status, {**headers, **request_id, "Content-Length": str(len(body))}, body)


def _cbor_text(text: str) -> bytes:
    encoded = text.encode()
    size = len(encoded)
    if size < 24:
        return bytes([0x60 + size]) + encoded
    if size < 256:
        return b"\x78" + bytes([size]) + encoded
    return b"\x79" + size.to_bytes(2, "big") + encoded[:65_535]
