"""What a resource type is: how it is created from a template's properties, and how it is updated.

Each service says in its ``KINDS`` which types it makes; CloudFormation is handed all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moto.core.common_models import CloudFormationModel

from local_cloud.kernel.errors import LocalCloudError, UnsupportedResourceError
from local_cloud.kernel.place import here

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context[S]:
    """Where a resource is being made, and by which service."""

    service: S
    account: str
    region: str
    logical_id: str
    type: str

    def refuse(self, wanted: str, remedy: str = "remove it or deploy to AWS") -> UnsupportedResourceError:
        """Return the error that fails the deploy."""
        return UnsupportedResourceError(self.logical_id, self.type, wanted, remedy)

    def backend(self, service: str) -> Any:
        """Return moto's backend of a service of AWS for this account and region."""
        from moto.backends import get_backend

        backends: Any = get_backend(service)  # type: ignore[call-overload]
        return backends[self.account][here().holder_of(service)]


@dataclass(frozen=True, slots=True)
class Kind[S]:
    """A resource type. One without ``update`` is deleted and created anew."""

    type: str
    name_property: str
    create: Callable[[Context[S], str, Properties], Any]
    update: Callable[[Context[S], Any, str, Properties], Any] | None = None


class LocalResource:
    """A resource that moto has no CloudFormation model for: what moto asks of a model, and no more."""

    cf_resource_type: str
    logical_resource_id: str
    local_name: str

    def __init__(self, physical_id: str, attributes: Mapping[str, str], remove: Callable[[], object]):
        self.physical_id = physical_id
        self.attributes = dict(attributes)
        self.remove = remove

    @property
    def type(self) -> str:
        """Its type, as the API reports it."""
        return self.cf_resource_type

    @property
    def physical_resource_id(self) -> str:
        """What ``Ref`` gives."""
        return self.physical_id

    def is_created(self) -> bool:
        """Whether it is there: always, here."""
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        """What ``Fn::GetAtt`` gives."""
        if attribute_name not in self.attributes:
            known = ", ".join(sorted(self.attributes)) or "none"
            raise LocalCloudError(
                f"Fn::GetAtt {attribute_name} of {self.physical_id} is not known here; known: {known}."
            )
        return self.attributes[attribute_name]

    def delete(self, account_id: str, region_name: str) -> None:  # noqa: ARG002
        """Remove what was made."""
        self.remove()


# -- what kinds are made of ------------------------------------------------------------------------------------------


def create_in_moto(context: Context[Any], name: str, properties: Properties) -> Any:
    """Create a resource as moto's own CloudFormation does."""
    document = {"Type": context.type, "Properties": properties}
    return _model(context).create_from_cloudformation_json(
        name,
        document,
        context.account,
        context.region,
        LogicalId=context.logical_id,
        StackId="",
        ResourceType=context.type,
    )


def update_in_moto(context: Context[Any], resource: Any, name: str, properties: Properties) -> Any:
    """Update a resource as moto's own CloudFormation does."""
    document = {"Type": context.type, "Properties": properties}
    model = _model(context)
    return model.update_from_cloudformation_json(resource, name, document, context.account, context.region)


def keep(context: Context[Any], resource: Any, name: str, properties: Properties) -> Any:
    """Change nothing: an update of what does not matter here."""
    return resource


def give_attributes(resource: Any, attributes: Mapping[str, str]) -> Any:
    """Let ``Fn::GetAtt`` find attributes that moto's model lacks."""
    known = resource.get_cfn_attribute
    resource.get_cfn_attribute = lambda name: attributes[name] if name in attributes else known(name)
    return resource


def delete_resource(type_name: str, resource: Any, document: Any, account: str, region: str) -> None:
    """Delete a resource, whoever made it."""
    if isinstance(resource, LocalResource) or "delete" in dir(type(resource)):
        resource.delete(account, region)
    else:
        delete_by_name(type_name, resource.physical_resource_id, document, account, region)


def delete_by_name(type_name: str, name: str, document: Any, account: str, region: str) -> None:
    """Delete a resource of a type that moto knows; one that moto does not know is left alone."""
    method = getattr(moto_model(type_name), "delete_from_cloudformation_json", None)
    if method is not None and not getattr(method, "__isabstractmethod__", False):
        method(name, document, account, region)


def moto_model(type_name: str) -> type[CloudFormationModel] | None:
    """Return moto's own model of a resource type, if it has one."""
    from moto.cloudformation.parsing import get_model_map

    return get_model_map().get(type_name)


def _model(context: Context[Any]) -> type[CloudFormationModel]:
    model = moto_model(context.type)
    if model is None:
        raise context.refuse(f"is of type {context.type}")
    return model
