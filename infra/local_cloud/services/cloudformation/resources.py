"""CloudFormation's resources: the kinds of every service, made and updated through moto's stacks.

A type that no service makes, or a property that changes nothing here, fails the deploy: nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from local_cloud.kernel.core import Service
from local_cloud.kernel.errors import LocalCloudError, TemplateError, UnsupportedResourceError
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.resource_kinds import (
    Context,
    Kind,
    Properties,
    create_in_moto,
    delete_by_name,
    delete_resource,
    keep,
    update_in_moto,
)
from local_cloud.services.cloudformation.support import NO_RESOURCE, SUPPORTED, unsupported, wrong_name


class Resources(Service):
    """The resource types of the cloud.

    Parameters
    ----------
    kinds
        What each service makes.

    Attributes
    ----------
    listeners
        Told of each resource that is made: its logical id, how many of its stack are, and how many its template has.

    Raises
    ------
    LocalCloudError
        When these are not the types that are supported.
    """

    volatile = frozenset({"kinds", "listeners"})

    def __init__(self, kinds: Iterable[tuple[Service, Sequence[Kind[Any]]]]):
        self.listeners: list[Callable[[str, int, int], object]] = []
        self.kinds = {kind.type: (service, kind) for service, made in kinds for kind in made}
        self.kinds |= {kind.type: (self, kind) for kind in KINDS}
        if set(self.kinds) != set(SUPPORTED):
            wrong = sorted(set(self.kinds) ^ set(SUPPORTED))
            raise LocalCloudError(f"What the services make and SUPPORTED name different types: {wrong}.")


class _Adapter:
    """What moto's CloudFormation sees of a :class:`Kind`."""

    def __init__(self, service: Service, kind: Kind[Any]):
        self.service = service
        self.kind = kind

    def has_cfn_attr(self, attr: str) -> bool:  # noqa: ARG002
        return True

    def create_from_cloudformation_json(
        self, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> Any:
        logical_id = kwargs.get("LogicalId", resource_name)
        context = Context(self.service, account_id, region_name, logical_id, self.kind.type)
        properties = self._properties(logical_id, cloudformation_json)
        resource = self._make(context, resource_name, properties)
        resource.local_name = resource_name
        if not hasattr(resource, "physical_resource_id"):  # some of moto's models leave Ref undefined
            resource.physical_resource_id = getattr(resource, "name", resource_name)
        return resource

    def _make(self, context: Context[Service], name: str, properties: Properties) -> Any:
        try:
            return self.kind.create(context, name, properties)
        except LocalCloudError:
            raise
        except Exception as error:  # what moto raises on bad values has no common base; its cause is the template
            what = f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
            raise TemplateError(f"{context.logical_id} ({context.type}) cannot be made: {what}") from error

    def update_from_cloudformation_json(
        self,
        original_resource: Any,
        new_resource_name: str,  # noqa: ARG002
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Any:
        logical_id = original_resource.logical_resource_id
        context = Context(self.service, account_id, region_name, logical_id, self.kind.type)
        properties = self._properties(logical_id, cloudformation_json)
        named = properties.get(self.kind.name_property) if self.kind.name_property else None
        name = named or original_resource.local_name
        if self.kind.update is not None:
            resource = self.kind.update(context, original_resource, name, properties)
        else:
            delete_resource(self.kind.type, original_resource, cloudformation_json, account_id, region_name)
            resource = self.kind.create(context, name, properties)
        resource.local_name = name
        return resource

    def delete_from_cloudformation_json(
        self, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        delete_by_name(self.kind.type, resource_name, cloudformation_json, account_id, region_name)

    def _properties(self, logical_id: str, cloudformation_json: Any) -> Properties:
        properties: Properties = _without_nothing(cloudformation_json.get("Properties") or {})
        for error in unsupported({logical_id: {"Type": self.kind.type, "Properties": properties}}):
            raise error
        name = properties.get(self.kind.name_property)
        if isinstance(name, str) and (why := wrong_name(self.kind.type, name)) is not None:
            raise TemplateError(f"{logical_id} ({self.kind.type}): its {self.kind.name_property} {why}")
        return properties


def _without_nothing(value: Any) -> Any:
    """Drop what ``AWS::NoValue`` left behind in lists and objects."""
    if isinstance(value, dict):
        return {k: _without_nothing(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nothing(v) for v in value if v is not None]
    return value


def _create_key(context: Context[Resources], name: str, properties: Properties) -> Any:
    return create_in_moto(context, name, {"KeyPolicy": "", **properties})  # without one, AWS's own: the account decides


def _update_key(context: Context[Resources], key: Any, name: str, properties: Properties) -> Any:
    key.policy = properties.get("KeyPolicy") or key.generate_default_policy()
    return key


KINDS: tuple[Kind[Resources], ...] = (
    Kind("AWS::KMS::Alias", "AliasName", create_in_moto, keep),
    Kind("AWS::KMS::Key", "", _create_key, _update_key),
    Kind("AWS::SSM::Parameter", "Name", create_in_moto, update_in_moto),
)
"""Types of services that are moto's own here."""


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_resource_class(resources: Resources, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.cloudformation.parsing.resource_class_from_type``: our kinds, and no silent omissions."""
    adapters: Mapping[str, _Adapter] = {name: _Adapter(*made) for name, made in resources.kinds.items()}

    def resource_class_from_type(resource_type: str) -> Any:
        if resource_type in adapters:
            return adapters[resource_type]
        if resource_type in NO_RESOURCE:
            return original("AWS::CloudFormation::WaitConditionHandle")
        raise UnsupportedResourceError("A resource", resource_type, f"is of type {resource_type}")

    return resource_class_from_type


def patched_name_property(resources: Resources, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.cloudformation.parsing.resource_name_property_from_type``: the property that names a resource."""
    properties = {name: kind.name_property or None for name, (_, kind) in resources.kinds.items()}

    def resource_name_property_from_type(resource_type: str) -> str | None:
        return properties[resource_type] if resource_type in properties else original(resource_type)

    return resource_name_property_from_type


def patched_create_resource(resources: Resources, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.cloudformation.parsing.parse_and_create_resource``: whoever waits for a stack is told how far it is."""

    def parse_and_create_resource(logical_id: str, resource_json: Any, made: Any, *args: Any, **named: Any) -> Any:
        resource = original(logical_id, resource_json, made, *args, **named)
        if resource is not None and resources.listeners:
            number = 1 + sum(name in made._parsed_resources for name in made.resources)
            for listener in resources.listeners:
                listener(logical_id, number, len(made))
        return resource

    return parse_and_create_resource


PATCHES = (
    Patch("moto.cloudformation.parsing:parse_and_create_resource", patched_create_resource),
    Patch("moto.cloudformation.parsing:resource_class_from_type", patched_resource_class),
    Patch("moto.cloudformation.parsing:resource_name_property_from_type", patched_name_property),
)
