"""Event patterns, as rules, pipes and event source mappings write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from moto.events.models import EventPattern


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> EventPattern:
    """Return the pattern parsed; the same text is parsed once."""
    return EventPattern.load(pattern)


def matches(pattern: str, event: Mapping[str, Any]) -> bool:
    """Whether ``event`` fits ``pattern``.

    Examples
    --------
    >>> pattern = '{"source": ["shop"], "detail": {"n": [{"numeric": [">", 1]}]}}'
    >>> matches(pattern, {"source": "shop", "detail": {"n": 2}})
    True
    >>> matches('{"source": ["shop"]}', {"source": "aws.s3"})
    False
    """
    parsed = compiled(pattern)
    for key, wanted in parsed.get_pattern().items():  # most events fail on source or detail-type: look there first
        value = event.get(key)
        if isinstance(value, str) and _is_plain(wanted) and value not in wanted:
            return False
    return parsed.matches_event(event)  # type: ignore[arg-type]


def matches_any(patterns: Sequence[str], event: Mapping[str, Any]) -> bool:
    """Whether ``event`` fits one of ``patterns``.

    Examples
    --------
    >>> matches_any(['{"a": ["1"]}', '{"a": ["2"]}'], {"a": "2"})
    True
    """
    return any(matches(pattern, event) for pattern in patterns)


def pattern_text(pattern: str | Mapping[str, Any]) -> str:
    """Return a pattern as JSON, whichever way a template wrote it.

    Examples
    --------
    >>> pattern_text({"source": ["aws.s3"]})
    '{"source": ["aws.s3"]}'
    """
    return pattern if isinstance(pattern, str) else json.dumps(pattern)


def _is_plain(wanted: Any) -> bool:
    return isinstance(wanted, list) and all(isinstance(item, str) for item in wanted)
