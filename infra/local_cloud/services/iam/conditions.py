"""The conditions of a policy's statements: each operator of IAM, over the keys of one request."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

Context = Mapping[str, str | tuple[str, ...]]
"""What is known of a request, by condition key in small letters: one value, or several."""

_TOKEN = re.compile(r"\$\{[^}]*\}|\*|\?")
_DEFAULT = re.compile(r"([^,]+),\s*'(.*)'")
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a Condition block: an operator, a key and the values it is compared with.

    Examples
    --------
    >>> only_ours = Condition("StringEquals", "cloudwatch:namespace", ("Evergreen",))
    >>> only_ours.holds({"cloudwatch:namespace": "Evergreen"}), only_ours.holds({})
    (True, False)
    >>> Condition("StringEqualsIfExists", "cloudwatch:namespace", ("Evergreen",)).holds({})
    True
    >>> listed = Condition("ForAllValues:StringLike", "dynamodb:leadingkeys", ("fraud-*",))
    >>> listed.holds({"dynamodb:leadingkeys": ("fraud-1", "churn")})
    False
    """

    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, context: Context) -> bool:
        """Whether a request with this context fits."""
        quantifier, _, name = self.operator.rpartition(":")
        name = name.lower()
        given = context.get(self.key.lower())
        if name in ("null", "nullifexists"):
            return (given is None) is (self.values[0].lower() == "true")
        if_exists, name = name.endswith("ifexists"), name.removesuffix("ifexists")
        test = _OPERATORS.get(name)
        if test is None:
            return False
        denies = name in _NEGATIVE
        match quantifier.lower():
            case "forallvalues":
                return given is None or all(test(self.values, one, context) for one in _several(given))
            case "foranyvalue":
                return given is not None and any(test(self.values, one, context) for one in _several(given))
        if given is None:
            return if_exists or denies
        return isinstance(given, str) and test(self.values, given, context)  # several values need a quantifier


def _several(given: str | tuple[str, ...]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given


def pattern_of(text: str, context: Context, *, wildcards: bool = True, ignore_case: bool = False) -> re.Pattern[str]:
    """Return what a string of a policy matches: ``*`` and ``?``, and variables filled from the request.

    A variable without a value, or with several, matches nothing.

    Examples
    --------
    >>> bool(pattern_of("home/${aws:username}/*", {"aws:username": "ada"}).fullmatch("home/ada/notes"))
    True
    >>> bool(pattern_of("home/${aws:username}/*", {}).fullmatch("home/ada/notes"))
    False
    >>> bool(pattern_of("team/${aws:PrincipalTag/team, 'all'}${*}", {}).fullmatch("team/all*"))
    True
    """
    if "${" not in text:
        return _plain_pattern(text, wildcards, ignore_case)
    written, end = [], 0
    for token in _TOKEN.finditer(text):
        written.append(re.escape(text[end : token.start()]))
        end = token.end()
        value = _token(token[0], context, wildcards)
        if value is None:
            return _NEVER
        written.append(value)
    written.append(re.escape(text[end:]))
    return re.compile("".join(written), _flags(ignore_case))


def has_unknown(text: str, context: Context) -> bool:
    """Whether a string of a policy names a variable that has no one value, and no default."""
    return "${" in text and pattern_of(text, context) is _NEVER


@lru_cache(maxsize=4096)
def _plain_pattern(text: str, wildcards: bool, ignore_case: bool) -> re.Pattern[str]:
    written = re.escape(text)
    if wildcards:
        written = written.replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(written, _flags(ignore_case))


def _flags(ignore_case: bool) -> int:
    return re.DOTALL | (re.IGNORECASE if ignore_case else 0)


def _token(token: str, context: Context, wildcards: bool) -> str | None:
    if token in ("*", "?"):
        return {"*": ".*", "?": "."}[token] if wildcards else re.escape(token)
    inside = token[2:-1]
    if inside in ("*", "?", "$"):
        return re.escape(inside)
    default = _DEFAULT.fullmatch(inside)
    value = context.get((default[1] if default else inside).strip().lower())
    if value:
        return re.escape(value) if isinstance(value, str) else None
    return re.escape(default[2]) if default else None


# -- operators: (the policy's values, one value of the request, the whole context) -> whether it fits ----------------

Test = Callable[[tuple[str, ...], str, Context], bool]


def _text(*, wildcards: bool, ignore_case: bool = False) -> Test:
    def test(values: tuple[str, ...], one: str, context: Context) -> bool:
        return any(
            pattern_of(value, context, wildcards=wildcards, ignore_case=ignore_case).fullmatch(one) for value in values
        )

    return test


def _arn(values: tuple[str, ...], one: str, context: Context) -> bool:
    return any(arn_fits(value, one, context) for value in values)


def arn_fits(pattern: str, arn: str, context: Context) -> bool:
    """Whether an ARN fits a pattern, part by part: a wildcard does not reach over a colon of the first five.

    Examples
    --------
    >>> arn_fits("arn:aws:sqs:*:*:dead-*", "arn:aws:sqs:us-east-1:123456789012:dead-letters", {})
    True
    >>> arn_fits("arn:aws:sqs:*", "arn:aws:sqs:us-east-1:123456789012:dead-letters", {})
    False
    """
    wanted, parts = split_arn(pattern), arn.split(":", 5)
    if len(wanted) < 6 or len(parts) < 6:
        return False
    return all(pattern_of(part, context).fullmatch(given) for part, given in zip(wanted[1:], parts[1:], strict=True))


def split_arn(pattern: str) -> list[str]:
    """Split the pattern of an ARN at its first five colons; those of a variable's name are none of them.

    Examples
    --------
    >>> split_arn("arn:aws:iam::${aws:PrincipalAccount}:role/a")
    ['arn', 'aws', 'iam', '', '${aws:PrincipalAccount}', 'role/a']
    """
    if "${" not in pattern:
        return pattern.split(":", 5)
    hidden = re.sub(r"\$\{[^}]*\}", lambda found: found[0].replace(":", "\0"), pattern)
    return [part.replace("\0", ":") for part in hidden.split(":", 5)]


def _bool(values: tuple[str, ...], one: str, context: Context) -> bool:
    return one.lower() in ("true", "false") and any(value.lower() == one.lower() for value in values)


def _binary(values: tuple[str, ...], one: str, context: Context) -> bool:
    return one in values


def _ip(values: tuple[str, ...], one: str, context: Context) -> bool:
    try:
        address = ipaddress.ip_address(one)
        return any(address in ipaddress.ip_network(value, strict=False) for value in values)
    except ValueError:
        return False


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    try:
        if text.isdecimal() and len(text) > 4:
            return float(text)
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _ordered(read: Callable[[str], float | None], holds: Callable[[float, float], bool]) -> Test:
    def test(values: tuple[str, ...], one: str, context: Context) -> bool:
        given = read(one)
        wanted = [read(value) for value in values]
        return given is not None and any(value is not None and holds(given, value) for value in wanted)

    return test


def _not(test: Test) -> Test:
    def other(values: tuple[str, ...], one: str, context: Context) -> bool:
        if any(has_unknown(value, context) for value in values):
            return False  # nothing is told from what nobody knows
        return not test(values, one, context)

    return other


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "equals": lambda given, value: given == value,
    "lessthan": lambda given, value: given < value,
    "lessthanequals": lambda given, value: given <= value,
    "greaterthan": lambda given, value: given > value,
    "greaterthanequals": lambda given, value: given >= value,
}

_POSITIVE: Mapping[str, Test] = {
    "stringequals": _text(wildcards=False),
    "stringequalsignorecase": _text(wildcards=False, ignore_case=True),
    "stringlike": _text(wildcards=True),
    "arnequals": _arn,
    "arnlike": _arn,
    "bool": _bool,
    "binaryequals": _binary,
    "ipaddress": _ip,
    **{f"numeric{name}": _ordered(_number, holds) for name, holds in _COMPARISONS.items()},
    **{f"date{name}": _ordered(_moment, holds) for name, holds in _COMPARISONS.items()},
}

_NEGATIVE: Mapping[str, Test] = {
    "stringnotequals": _not(_POSITIVE["stringequals"]),
    "stringnotequalsignorecase": _not(_POSITIVE["stringequalsignorecase"]),
    "stringnotlike": _not(_POSITIVE["stringlike"]),
    "arnnotequals": _not(_arn),
    "arnnotlike": _not(_arn),
    "notipaddress": _not(_ip),
    "numericnotequals": _not(_POSITIVE["numericequals"]),
    "datenotequals": _not(_POSITIVE["dateequals"]),
}

_OPERATORS: Mapping[str, Test] = {**_POSITIVE, **_NEGATIVE}
OPERATORS = frozenset(_OPERATORS)
"""The names of all operators, in small letters; any of them may end in ``IfExists``, and there is ``Null`` besides."""
