"""What a service's own model rules out: lengths, patterns, ranges and values that are not there.

botocore ships these constraints and checks few of them; AWS checks them all, before it looks at anything else.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

Found = Iterator[tuple[str, Any, str]]
Check = Callable[[Any], str | None]

_LONGEST_SHOWN = 100
_SIZED = ("string", "blob", "list", "map")
_NUMBERS = ("integer", "long", "float", "double")
_JAVA_CLASSES = {"\\p{Print}": "[\\x20-\\x7e]", "\\p{ASCII}": "[\\x00-\\x7f]", "\\p{Alnum}": "[A-Za-z0-9]"}


def violations(operation: OperationModel, params: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a call's parameters, each in AWS's words.

    Examples
    --------
    >>> import botocore.session
    >>> model = botocore.session.get_session().get_service_model("scheduler")
    >>> (wrong,) = violations(model.operation_model("GetSchedule"), {"Name": "a b"})
    >>> wrong.partition(": ")[2]
    'Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$'
    """
    shape = operation.input_shape
    if shape is None or not is_constrained(shape):
        return []
    return [
        f"Value {_shown(value)} at '{place}' failed to satisfy constraint: {rule}"
        for place, value, rule in _found(shape, params, "")
    ]


def sentence(wrong: list[str]) -> str:
    """Return AWS's sentence for all of them.

    Examples
    --------
    >>> sentence(["Value 'a b' at 'name' failed to satisfy constraint: no"])
    "1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: no"
    """
    return f"{len(wrong)} validation error{'s' if len(wrong) > 1 else ''} detected: {'; '.join(wrong)}"


@functools.cache
def is_constrained(shape: Shape) -> bool:
    """Whether anything in a shape has a constraint: most calls of a replay need no look at all."""
    return _is_constrained(shape, frozenset())


def _is_constrained(shape: Shape, above: frozenset[str]) -> bool:
    if shape.name in above:
        return False
    return _rules(shape) != () or any(_is_constrained(part, above | {shape.name}) for part in _parts(shape))


def _parts(shape: Shape) -> list[Shape]:
    match shape:
        case StructureShape():
            return list(shape.members.values())
        case ListShape():
            return [shape.member]
        case MapShape():
            return [shape.key, shape.value]
    return []


def _found(shape: Shape, value: Any, place: str) -> Found:
    if value is None:
        return
    for rule in _rules(shape):
        told = rule(value)
        if told is not None:
            yield place, value, told
    match shape:
        case StructureShape() if isinstance(value, Mapping):
            for name, part in shape.members.items():
                if name in value and is_constrained(part):
                    yield from _found(part, value[name], _below(place, name))
        case ListShape() if isinstance(value, list | tuple) and is_constrained(shape.member):
            for number, each in enumerate(value, start=1):
                yield from _found(shape.member, each, f"{place}.{number}.member")
        case MapShape() if isinstance(value, Mapping):
            for key, each in value.items():
                yield from _found(shape.key, key, f"{place}.key")
                yield from _found(shape.value, each, f"{place}.{key}.member")


def _below(place: str, name: str) -> str:
    own = name[:1].lower() + name[1:]
    return f"{place}.{own}" if place else own


def _shown(value: Any) -> str:
    if isinstance(value, bytes | bytearray) or hasattr(value, "read"):
        return "of a blob"
    text = str(value)
    return f"'{text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '...'}'"


# -- the rules of one shape -------------------------------------------------------------------------------------------


@functools.cache
def _rules(shape: Shape) -> tuple[Check, ...]:
    told, kind = shape.metadata, shape.type_name
    rules: list[Check] = []
    if kind in _SIZED:
        rules += [_shorter(told["max"])] if "max" in told else []
        rules += [_longer(told["min"])] if "min" in told else []
    elif kind in _NUMBERS:
        rules += [_at_most(told["max"])] if "max" in told else []
        rules += [_at_least(told["min"])] if "min" in told else []
    if isinstance(shape, StringShape):
        pattern = None if "pattern" not in told else compiled(told["pattern"])
        rules += [_like(pattern, told["pattern"])] if pattern is not None else []
        rules += [_one_of(tuple(shape.enum))] if shape.enum else []
    return tuple(rules)


def _size(value: Any) -> int | None:
    try:
        return len(value)
    except TypeError:
        return None  # a stream: nobody knows before it is read


def _shorter(most: int) -> Check:
    told = f"Member must have length less than or equal to {most}"
    return lambda value: told if (size := _size(value)) is not None and size > most else None


def _longer(least: int) -> Check:
    told = f"Member must have length greater than or equal to {least}"
    return lambda value: told if (size := _size(value)) is not None and size < least else None


def _at_most(most: float) -> Check:
    told = f"Member must have value less than or equal to {most}"
    return lambda value: told if isinstance(value, int | float) and value > most else None


def _at_least(least: float) -> Check:
    told = f"Member must have value greater than or equal to {least}"
    return lambda value: told if isinstance(value, int | float) and value < least else None


def _like(pattern: re.Pattern[str], written: str) -> Check:
    told = f"Member must satisfy regular expression pattern: {written}"
    return lambda value: told if isinstance(value, str) and not _fits(pattern, value) else None


_PARTITION = re.compile(r"(?<=\barn:)aws-[a-z-]+(?=:)")


def _fits(pattern: re.Pattern[str], value: str) -> bool:
    """Whether a value is like a pattern; an ARN of another partition may be like it as one of ``aws``, too.

    The models of services that are in GovCloud have patterns such as ``arn:aws(-[a-z]+)?:``, which it does not fit.

    Examples
    --------
    >>> _fits(re.compile("arn:aws(-[a-z]+)?:iam::.*"), "arn:aws-us-gov:iam::123456789012:role/a")
    True
    """
    return pattern.fullmatch(value) is not None or (
        ":" in value and pattern.fullmatch(_PARTITION.sub("aws", value)) is not None
    )


def _one_of(values: tuple[str, ...]) -> Check:
    known, told = frozenset(values), f"Member must satisfy enum value set: [{', '.join(values)}]"
    return lambda value: told if isinstance(value, str) and value not in known else None


@functools.cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    r"""Return a Java pattern as Python's; None where Python has nothing like it.

    Examples
    --------
    >>> bool(compiled(r"\p{ASCII}*").fullmatch("plain")), bool(compiled(r"[\w-_]*").fullmatch("a-b_c"))
    (True, True)
    >>> compiled("[\\u0020-\\uD7FF\\uD800\\uDC00-\\uDBFF\\uDFFF]*") is None
    True
    """
    for java, python in _JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    pattern = pattern.replace("\\w-_", "\\w\\-_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a bracket within brackets means itself, here as in Java
        try:
            return re.compile(pattern)
        except re.error:
            return None
