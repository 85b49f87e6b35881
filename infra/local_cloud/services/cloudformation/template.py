"""Templates: read, checked, packaged and transformed, on the same path whether deployed here or over the API."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import logging
import re
import zipfile
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudformation.parsing import ResourceMap
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.arn_generator import ArnGenerator
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import intrinsics_multi_constructor

from local_cloud.kernel.errors import LocalCloudError, TemplateError, UnsupportedResourceError
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.cloudformation.support import unsupported

CODE_BUCKET = "evergreen-local-code"
_CODE_PROPERTY = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
_SERVERLESS = "AWS::Serverless-2016-10-31"
_LEFT_OUT = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


class _ManagedPolicies:
    """The managed policies a SAM template may call by name."""

    def load(self) -> dict[str, str]:
        policy = f"arn:{here().partition}:iam::aws:policy"
        return {
            "AWSLambdaBasicExecutionRole": f"{policy}/service-role/AWSLambdaBasicExecutionRole",
            "AWSLambdaVPCAccessExecutionRole": f"{policy}/service-role/AWSLambdaVPCAccessExecutionRole",
            "AWSXRayDaemonWriteAccess": f"{policy}/AWSXRayDaemonWriteAccess",
            "AWSXrayWriteOnlyAccess": f"{policy}/AWSXrayWriteOnlyAccess",
        }


class _TemplateLoader(yaml.SafeLoader):
    """YAML as CloudFormation reads it: short forms of functions, and dates are texts (``Version: 2012-10-17``)."""


_TemplateLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_TemplateLoader.add_multi_constructor("!", intrinsics_multi_constructor)


def parse_yaml(text: str) -> Any:
    """Read a template's YAML.

    Examples
    --------
    >>> parse_yaml("{Version: 2012-10-17, Bucket: !Ref Data}")
    {'Version': '2012-10-17', 'Bucket': {'Ref': 'Data'}}
    """
    return _TemplateLoader(text).get_single_data()


def read_template(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON template with CloudFormation's short forms.

    Raises
    ------
    TemplateError
        When it is no template.
    """
    try:
        template = parse_yaml(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise TemplateError(f"Cannot read the template {path}: {error}") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise TemplateError(f"{path} is no CloudFormation template: it has no Resources.")
    return template


CodeDirs = MutableMapping[tuple[str, str], Path]
"""The directory that each object of code was made of, by bucket and key."""


def package(template: Mapping[str, Any], folder: Path, code_dirs: CodeDirs) -> dict[str, Any]:
    """Put local code directories into the cloud's code bucket, and remember the directories themselves.

    Functions run from the directories, so nothing is unzipped; the objects are there so that a changed file is a
    changed template.
    """
    packaged: dict[str, Any] = copy.deepcopy(dict(template))
    defaults = packaged.get("Globals", {}).get("Function", {}).get("CodeUri")
    for logical_id, resource in packaged["Resources"].items():
        name = _CODE_PROPERTY.get(resource.get("Type", ""))
        if name is None:
            continue
        properties = resource.setdefault("Properties", {})
        given = properties.get(name, defaults if name == "CodeUri" else None)
        if not isinstance(given, str) or given.startswith("s3://"):
            continue
        directory = (folder / given).resolve()
        if not directory.is_dir():
            raise TemplateError(f"{name} of {logical_id} is {given!r}: there is no directory {directory}.")
        properties[name] = f"s3://{CODE_BUCKET}/{_store(directory, code_dirs)}"
    packaged.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    return packaged


def _store(directory: Path, code_dirs: CodeDirs) -> str:
    from moto.s3.models import s3_backends

    backend = s3_backends[ACCOUNT][here().partition]
    if CODE_BUCKET not in backend.buckets:
        backend.create_bucket(CODE_BUCKET, here().region)
    zipped = zip_directory(directory)
    key = f"{hashlib.sha256(zipped).hexdigest()}.zip"
    backend.put_object(CODE_BUCKET, key, zipped)
    code_dirs[(CODE_BUCKET, key)] = directory
    return key


def zip_directory(directory: Path) -> bytes:
    """Zip a directory so that the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file() and not _LEFT_OUT & set(path.parts):
                archive.writestr(zipfile.ZipInfo(str(path.relative_to(directory))), path.read_bytes())
    return buffer.getvalue()


def translate(template: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Run the SAM transform when the template asks for it.

    Raises
    ------
    TemplateError
        When SAM refuses the template.
    """
    wanted = template.get("Transform") or ()
    if _SERVERLESS not in ([wanted] if isinstance(wanted, str) else wanted):
        return dict(template)
    logging.getLogger("samtranslator.metrics").setLevel(logging.ERROR)  # it warns of metrics that nobody collects
    ArnGenerator.BOTO_SESSION_REGION_NAME = here().region  # else the first one that this process was ever in
    try:
        given = copy.deepcopy(dict(template))
        transformed: dict[str, Any] = transform(given, dict(parameters), _ManagedPolicies())
    except InvalidDocumentException as error:
        causes = "; ".join(sorted(cause.message for cause in error.causes))
        raise TemplateError(f"SAM refuses the template: {causes}") from error
    transformed.pop("Transform", None)
    return transformed


def check_parameters(declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> None:
    """Hold given parameters to what the template says of them, as CloudFormation does.

    Raises
    ------
    TemplateError
        For a parameter that the template does not have, or a value that it does not allow.

    Examples
    --------
    >>> check_parameters({"Stage": {"Type": "String", "AllowedValues": ["dev", "prod"]}}, {"Stage": "test"})
    Traceback (most recent call last):
    ...
    local_cloud.kernel.errors.TemplateError: Parameter Stage is 'test'; it must be one of dev, prod.
    """
    for name, value in given.items():
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise TemplateError(f"The template has no parameter {name}; it has: {known}.")
        if value is None:
            continue  # an update that keeps the value it has
        rule = declared[name]
        text = str(value)
        allowed = [str(item) for item in rule.get("AllowedValues", [])]
        if allowed and text not in allowed:
            raise TemplateError(f"Parameter {name} is {text!r}; it must be one of {', '.join(allowed)}.")
        if "AllowedPattern" in rule and re.fullmatch(str(rule["AllowedPattern"]), text) is None:
            raise TemplateError(f"Parameter {name} is {text!r}; it must match {rule['AllowedPattern']}.")
        if rule.get("Type") == "Number":
            _check_number(name, text, rule)


def _check_number(name: str, text: str, rule: Mapping[str, Any]) -> None:
    try:
        number = float(text)
    except ValueError as error:
        raise TemplateError(f"Parameter {name} is {text!r}; it must be a number.") from error
    least, most = float(rule.get("MinValue", "-inf")), float(rule.get("MaxValue", "inf"))
    if not least <= number <= most:
        raise TemplateError(f"Parameter {name} is {text}; it must be between {least:g} and {most:g}.")


def prepare(text: str, parameters: Mapping[str, Any]) -> str:
    """Turn what a caller hands to CloudFormation into what moto deploys: transformed and checked.

    Raises
    ------
    TemplateError
        When a parameter is unknown or not allowed, or SAM refuses the template.
    UnsupportedResourceError
        For types and properties that the local cloud lacks: one error with a sentence for each.
    """
    template = _parsed(text, parse_yaml)
    check_parameters(template.get("Parameters") or {}, parameters)
    transformed = translate(template, parameters)
    resources = transformed.get("Resources") or {}
    certain = {name: resource for name, resource in resources.items() if "Condition" not in resource}
    if lacking := list(unsupported(certain)):
        raise UnsupportedResourceError.of_all(lacking)
    return json.dumps(transformed)


def _parsed(text: str, as_yaml: Callable[[str], Any]) -> Any:
    """JSON is YAML too, and takes far longer to read as that."""
    try:
        return json.loads(text)
    except ValueError:
        return as_yaml(text)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def _parameter_values(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    return {
        item.get("parameter_key") or item.get("ParameterKey"): item.get("parameter_value", item.get("ParameterValue"))
        for item in given or []
    }


def patched_take_template(stacks: object, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudFormationBackend.create_stack``, ``create_change_set`` and ``update_stack``: transformed and checked."""

    def take(self: CloudFormationBackend, *args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs.get("template"):
                values = _parameter_values(kwargs.get("parameters"))
                kwargs["template"] = prepare(kwargs["template"], values)
            return original(self, *args, **kwargs)
        except LocalCloudError as error:
            raise ValidationError(message=str(error)) from error

    return take


def patched_parse_template(stacks: object, original: Callable[..., Any]) -> Callable[..., Any]:
    """``Stack.parse_template``: what :func:`prepare` wrote is read as the JSON it is."""
    return lambda template: _parsed(template, original)


def patched_resource_map(stacks: object, original: Callable[..., Any]) -> Callable[..., Any]:
    """``ResourceMap.__init__``: the partition, and how host names end, are the region's."""

    def start(self: ResourceMap, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._parsed_resources |= {"AWS::Partition": here().partition, "AWS::URLSuffix": here().suffix}

    return start


PATCHES = (
    Patch("moto.cloudformation.parsing:ResourceMap.__init__", patched_resource_map),
    Patch("moto.cloudformation.models:CloudFormationBackend.create_change_set", patched_take_template),
    Patch("moto.cloudformation.models:CloudFormationBackend.create_stack", patched_take_template),
    Patch("moto.cloudformation.models:CloudFormationBackend.update_stack", patched_take_template),
    Patch("moto.cloudformation.models:Stack.parse_template", patched_parse_template),
)
