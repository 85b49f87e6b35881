"""A template's Rules: what its parameters and its region must satisfy before anything is made.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html, and its
"Rule-specific intrinsic functions"; those that ask AWS (Fn::RefAll, Fn::ValueOf, Fn::ValueOfAll) fail the deploy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moto.cloudformation.parsing import ResourceMap

from local_cloud.kernel.errors import TemplateError
from local_cloud.kernel.patching import Patch

Values = Mapping[str, Any]
"""Parameters and pseudo parameters, by name."""


def check_rules(rules: Mapping[str, Any], values: Values) -> None:
    """Hold what is given to a template's rules, as CloudFormation does.

    Parameters
    ----------
    rules
        The template's ``Rules``.
    values
        What ``Ref`` stands for; parameters of list types are lists.

    Raises
    ------
    TemplateError
        For an assertion that does not hold: with its own words, where it has any.

    Examples
    --------
    >>> told = {"Assert": {"Fn::Contains": [["eu-west-1"], {"Ref": "AWS::Region"}]}, "AssertDescription": "not here"}
    >>> check_rules({"Near": {"Assertions": [told]}}, {"AWS::Region": "eu-west-1"})
    >>> check_rules({"Near": {"Assertions": [told]}}, {"AWS::Region": "us-west-2"})
    Traceback (most recent call last):
    ...
    local_cloud.kernel.errors.TemplateError: Rule Near: not here
    """
    for name, rule in rules.items():
        if not holds(rule.get("RuleCondition", True), values):
            continue
        for assertion in rule.get("Assertions", ()):
            if not holds(assertion["Assert"], values):
                raise TemplateError(f"Rule {name}: {assertion.get('AssertDescription') or 'its assertion is false'}")


def holds(condition: Any, values: Values) -> bool:
    """Whether a rule's condition is true.

    Raises
    ------
    TemplateError
        For a function that no rule has, or that the local cloud can't evaluate.

    Examples
    --------
    >>> holds({"Fn::Not": [{"Fn::Equals": [{"Ref": "Stage"}, "prod"]}]}, {"Stage": "dev"})
    True
    """
    if isinstance(condition, bool):
        return condition
    match condition:
        case {"Fn::And": list(several)} if len(condition) == 1:
            return all(holds(one, values) for one in several)
        case {"Fn::Or": list(several)} if len(condition) == 1:
            return any(holds(one, values) for one in several)
        case {"Fn::Not": [one]} if len(condition) == 1:
            return not holds(one, values)
        case {"Fn::Equals": [one, other]} if len(condition) == 1:
            return bool(_value(one, values) == _value(other, values))
        case {"Fn::Contains": [several, one]} if len(condition) == 1:
            return _value(one, values) in _value(several, values)
        case {"Fn::EachMemberEquals": [several, one]} if len(condition) == 1:
            return all(each == _value(one, values) for each in _value(several, values))
        case {"Fn::EachMemberIn": [several, among]} if len(condition) == 1:
            return set(_value(several, values)) <= set(_value(among, values))
    raise TemplateError(f"A rule's condition is {condition}, which the local cloud can't evaluate.")


def _value(given: Any, values: Values) -> Any:
    match given:
        case {"Ref": name}:
            return values[name]
        case list():
            return [_value(one, values) for one in given]
        case dict():
            raise TemplateError(f"A rule asks for {given}, which the local cloud can't evaluate.")
    return str(given)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_load_parameters(stacks: object, original: Callable[..., Any]) -> Callable[..., Any]:
    """``ResourceMap.load_parameters``: they are held to the template's rules."""

    def load_parameters(self: ResourceMap) -> None:
        original(self)
        if rules := self._template.get("Rules"):
            declared = self._template.get("Parameters") or {}
            check_rules(rules, {n: _typed(v, declared.get(n, {})) for n, v in self._parsed_resources.items()})

    return load_parameters


def _typed(value: Any, declared: Mapping[str, Any]) -> Any:
    kind = str(declared.get("Type", ""))
    is_list = kind == "CommaDelimitedList" or kind.startswith("List<")
    if is_list:
        return [str(one) for one in (value.split(",") if isinstance(value, str) else value)]
    return str(value)


PATCHES = (Patch("moto.cloudformation.parsing:ResourceMap.load_parameters", patched_load_parameters),)
