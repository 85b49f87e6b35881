"""ValidateTemplate: what a template declares, and what whoever deploys it has to grant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

from local_cloud.kernel.patching import Patch
from local_cloud.services.cloudformation.template import parse_yaml

_NAMES = {
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
}
"""The types that give permissions and can be named, with the property that names them."""
_UNNAMED = frozenset({"AWS::IAM::AccessKey", "AWS::IAM::Policy", "AWS::IAM::UserToGroupAddition"})


def declared(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ValidateTemplate tells of a template.

    Examples
    --------
    >>> role = {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "worker"}}
    >>> told = declared({"Parameters": {"Size": {"Type": "Number", "Default": 3}}, "Resources": {"Role": role}})
    >>> told["Parameters"], told["Capabilities"]
    ([{'ParameterKey': 'Size', 'DefaultValue': '3', 'NoEcho': False}], ['CAPABILITY_NAMED_IAM'])

    Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ValidateTemplate.html
    """
    given = template.get("Transform") or []
    transforms = [given] if isinstance(given, str) else list(given)
    parameters = [
        {
            "ParameterKey": name,
            **({"DefaultValue": str(one["Default"])} if "Default" in one else {}),
            "NoEcho": str(one.get("NoEcho", False)).lower() == "true",
            **({"Description": one["Description"]} if one.get("Description") else {}),
        }
        for name, one in (template.get("Parameters") or {}).items()
    ]
    capabilities, because = _capabilities(template.get("Resources") or {})
    if transforms:
        capabilities.append("CAPABILITY_AUTO_EXPAND")
    return {
        "Description": template.get("Description", ""),
        "Parameters": parameters,
        "Capabilities": capabilities,
        **({"CapabilitiesReason": because} if because else {}),
        "DeclaredTransforms": [str(one) for one in transforms],
    }


def _capabilities(resources: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return what a template's permissions ask for, and on account of which resources."""
    kinds = {str(one.get("Type")) for one in resources.values()} & (_NAMES.keys() | _UNNAMED)
    if not kinds:
        return [], ""
    named = any(_NAMES.get(str(one.get("Type"))) in (one.get("Properties") or {}) for one in resources.values())
    because = f"The following resource(s) require capabilities: [{', '.join(sorted(kinds))}]"
    return ["CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM"], because


def patched_validate_template(stacks: object, original: Callable[..., Any]) -> Callable[..., ActionResult]:
    """``CloudFormationResponse.validate_template``, which in moto tells of nothing but a description."""

    def validate_template(self: CloudFormationResponse) -> ActionResult:
        original(self)
        url = self._get_param("TemplateURL")
        text = self._get_stack_from_s3_url(url) if url else self._get_param("TemplateBody")
        return ActionResult(declared(parse_yaml(text)))

    return validate_template


PATCHES = (Patch("moto.cloudformation.responses:CloudFormationResponse.validate_template", patched_validate_template),)
