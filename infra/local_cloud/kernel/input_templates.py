"""Input templates: ``<name>`` and ``<$.path>`` filled in, the way EventBridge and Pipes do it.

A value inside quotes is inserted as text; outside quotes it is inserted as JSON, so a string gets its quotes. What a
path does not find is an empty text inside quotes and ``null`` outside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.$\[\]*/\-]+)>")
_STEP = re.compile(r"\.([A-Za-z0-9_\-/]+)|\[(\d+|\*)\]|\['([^']+)'\]")


def look_up(path: str, document: Any) -> Any:
    """Return what ``path`` finds in ``document``, or None.

    Parameters
    ----------
    path
        ``$.a.b``, ``$.a[0]``, ``$.a[*].b`` (a list of what it finds), ``$``.

    Examples
    --------
    >>> record = {"dynamodb": {"NewImage": {"roles": {"L": [{"S": "a"}, {"S": "b"}]}}}}
    >>> look_up("$.dynamodb.NewImage.roles.L[*].S", record)
    ['a', 'b']
    >>> look_up("$.dynamodb.NewImage.roles.L[1].S", record), look_up("$.nothing.here", record)
    ('b', None)
    """
    steps = [name or index or quoted for name, index, quoted in _STEP.findall(path)]
    return _walk(steps, document)


def _walk(steps: list[str], found: Any) -> Any:
    for position, step in enumerate(steps):
        if step == "*" and isinstance(found, list):
            return [_walk(steps[position + 1 :], item) for item in found]
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def fill(template: str, value: Callable[[str], Any]) -> str:
    r"""Return ``template`` with each ``<name>`` replaced by ``value(name)``.

    Examples
    --------
    >>> values = {"$.a": 'say "hi"', "$.n": 2, "$.o": {"k": 1}}
    >>> fill('{"quoted": "it is <$.a>", "string": <$.a>, "number": <$.n>, "object": <$.o>, "none": <$.x>}', values.get)
    '{"quoted": "it is say \\"hi\\"", "string": "say \\"hi\\"", "number": 2, "object": {"k": 1}, "none": null}'
    >>> fill("<$.o>", values.get)
    '{"k": 1}'
    """
    parts: list[str] = []
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        parts.append(template[position : match.start()])
        found = value(match.group(1))
        parts.append(_as_text(found) if _inside_quotes(template, match.start()) else json.dumps(found))
        position = match.end()
    parts.append(template[position:])
    return "".join(parts)


def _as_text(found: Any) -> str:
    if found is None:
        return ""
    text = found if isinstance(found, str) else json.dumps(found)
    return json.dumps(text)[1:-1]


def _inside_quotes(template: str, position: int) -> bool:
    inside = False
    escaped = False
    for character in template[:position]:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            inside = not inside
    return inside
