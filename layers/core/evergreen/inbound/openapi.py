"""The HTTP API as an OpenAPI 3.1 document: openapi.json beside this module, as it is served."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

PREDICT_ROUTE = "POST /models/{model}/predict"
FEEDBACK_ROUTE = "POST /models/{model}/feedback"
MODEL_ROUTE = "GET /models/{model}"
DOCUMENT_ROUTE = "GET /openapi.json"


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the HTTP API.

    Examples
    --------
    >>> sorted(document()["paths"])
    ['/models/{model}', '/models/{model}/feedback', '/models/{model}/predict', '/openapi.json']
    """
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
    return found
