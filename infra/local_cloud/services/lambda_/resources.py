"""Functions, and all that hangs on them, as a template writes them."""

from __future__ import annotations

import json
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException

from local_cloud.kernel.errors import TemplateError
from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties, create_in_moto, update_in_moto
from local_cloud.services.lambda_.functions import (
    LARGEST_ENVIRONMENT_BYTES,
    LARGEST_UNZIPPED_BYTES,
    Functions,
    environment_size,
    lacking_for,
)


def _create_function(context: Context[Functions], name: str, properties: Properties) -> Any:
    if (lacking := lacking_for(properties)) is not None:
        raise context.refuse(*lacking)
    if (why := context.service.wants_of_role(properties)) is not None:
        raise TemplateError(f"{context.logical_id}: {why}")
    function = create_in_moto(context, name, properties)
    return _finish_function(context, function, properties)


def _update_function(context: Context[Functions], function: Any, name: str, properties: Properties) -> Any:
    if name != function.function_name:
        function.delete(context.account, context.region)
        return _create_function(context, name, properties)
    properties.setdefault("Environment", {"Variables": {}})
    properties.setdefault("Layers", [])
    return _finish_function(context, update_in_moto(context, function, name, properties), properties)


def _finish_function(context: Context[Functions], function: Any, properties: Properties) -> Any:
    functions = context.service
    functions.logical_ids[function.function_name] = context.logical_id
    variables = properties.get("Environment", {}).get("Variables", {})
    function.environment_vars = {name: _text(value) for name, value in variables.items()}
    taken = environment_size(function.environment_vars)
    if taken > LARGEST_ENVIRONMENT_BYTES:
        raise TemplateError(
            f"{context.logical_id}: its environment variables take {taken:,} bytes, and Lambda takes no more than "
            f"{LARGEST_ENVIRONMENT_BYTES:,}: put what is long into a file or a parameter, and its name into a variable"
        )
    function.role = properties.get("Role", function.role)
    function.timeout = int(properties.get("Timeout", 3))
    function.memory_size = int(properties.get("MemorySize", 128))
    function.update_configuration({"Layers": properties.get("Layers", [])})
    _reserve(context, function, properties.get("ReservedConcurrentExecutions"))
    unzipped = functions.unzipped_size(function)
    if unzipped > LARGEST_UNZIPPED_BYTES:
        raise TemplateError(
            f"{context.logical_id}: its code and layers take {unzipped:,} bytes unzipped, and Lambda takes no more "
            f"than {LARGEST_UNZIPPED_BYTES:,}: leave out what it does not import, or make it an image"
        )
    log_group = properties.get("LoggingConfig", {}).get("LogGroup")
    function.logs_group_name = log_group or f"/aws/lambda/{function.function_name}"
    function.tracing_config = properties.get("TracingConfig", function.tracing_config)
    function._architectures = properties.get("Architectures", ["x86_64"])
    dead_letter_arn = properties.get("DeadLetterConfig", {}).get("TargetArn")
    if dead_letter_arn:
        functions.dead_letter_arns[function.function_name] = dead_letter_arn
    else:
        functions.dead_letter_arns.pop(function.function_name, None)
    return function


def _reserve(context: Context[Functions], function: Any, runs: Any) -> None:
    function.reserved_concurrency = None
    if runs is None:
        return
    try:
        context.backend("lambda").put_function_concurrency(function.function_name, int(runs))
    except InvalidParameterValueException as error:
        raise TemplateError(f"{context.logical_id}: {error.message}") from error


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _create_layer(context: Context[Functions], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("lambda")
    layer = backend.publish_layer_version({**properties, "LayerName": properties.get("LayerName", name)})
    return LocalResource(layer.arn, {"LayerVersionArn": layer.arn}, lambda: None)


def _create_version(context: Context[Functions], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("lambda")
    version = backend.publish_version(properties["FunctionName"], properties.get("Description", ""))
    return LocalResource(version.function_arn, {"Version": str(version.version)}, lambda: None)


def _create_alias(context: Context[Functions], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("lambda")
    function_name = backend.get_function(properties["FunctionName"]).function_name
    alias_name, version = properties["Name"], str(properties["FunctionVersion"])
    alias = backend.create_alias(alias_name, function_name, version, properties.get("Description", ""), None)
    return LocalResource(alias.arn, {"AliasArn": alias.arn}, lambda: backend.delete_alias(alias_name, function_name))


def _update_alias(
    context: Context[Functions], alias: LocalResource, name: str, properties: Properties
) -> LocalResource:
    backend = context.backend("lambda")
    function_name = backend.get_function(properties["FunctionName"]).function_name
    version = str(properties["FunctionVersion"])
    backend.update_alias(properties["Name"], function_name, version, properties.get("Description", ""), None)
    return alias


def _create_permission(context: Context[Functions], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("lambda")
    named = backend.get_function(properties["FunctionName"])
    policy = backend.get_function(named.function_name).policy  # a function has one, whatever its statements are about
    statement, _ = policy.add_statement(json.dumps({**properties, "StatementId": name}))
    statement["Resource"] = _qualified(statement["Resource"], properties["FunctionName"])
    return LocalResource(name, {"Id": name}, lambda: policy.statements.remove(statement))


def _qualified(arn: str, name: str) -> str:
    """Return the ARN of a function with the version or alias that ``name`` names.

    Examples
    --------
    >>> _qualified("arn:aws:lambda:us-east-1:1:function:f", "arn:aws:lambda:us-east-1:1:function:f:live")
    'arn:aws:lambda:us-east-1:1:function:f:live'
    >>> _qualified("arn:aws:lambda:us-east-1:1:function:f", "f")
    'arn:aws:lambda:us-east-1:1:function:f'
    """
    _, _, qualifier = name.rpartition("function:")[2].partition(":")
    return f"{arn}:{qualifier}" if qualifier else arn


def _create_invoke_config(context: Context[Functions], name: str, properties: Properties) -> LocalResource:
    backend = context.backend("lambda")
    function_name = properties["FunctionName"]
    qualifier = properties.get("Qualifier", "$LATEST")
    function = backend.get_function(function_name, None if qualifier == "$LATEST" else qualifier)
    for when, to in (properties.get("DestinationConfig") or {}).items():
        if to.get("Destination") and not context.service.courier.takes(to["Destination"]):
            raise context.refuse(f"sends {when} to {to['Destination']}")
    from moto.awslambda.models import EventInvokeConfig

    config = {k: v for k, v in properties.items() if k not in ("FunctionName", "Qualifier")}
    for number in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
        if number in config:
            config[number] = int(config[number])
    function.event_invoke_config = [EventInvokeConfig(function.function_arn, function.last_modified, config)]

    def remove() -> None:
        function.event_invoke_config = []

    return LocalResource(f"{function_name}|{qualifier}", {}, remove)


def _create_mapping(context: Context[Functions], name: str, properties: Properties) -> Any:
    given = dict(properties)
    for number in ("BatchSize", "MaximumBatchingWindowInSeconds", "MaximumRetryAttempts"):
        if number in given:
            given[number] = int(given[number])
    if "Enabled" in given:
        given["Enabled"] = str(given["Enabled"]).lower() == "true"
    return create_in_moto(context, name, given)


KINDS: tuple[Kind[Functions], ...] = (
    Kind("AWS::Lambda::Alias", "Name", _create_alias, _update_alias),
    Kind("AWS::Lambda::EventInvokeConfig", "", _create_invoke_config),
    Kind("AWS::Lambda::EventSourceMapping", "", _create_mapping),
    Kind("AWS::Lambda::Function", "FunctionName", _create_function, _update_function),
    Kind("AWS::Lambda::LayerVersion", "LayerName", _create_layer),
    Kind("AWS::Lambda::Permission", "", _create_permission),
    Kind("AWS::Lambda::Version", "", _create_version),
)
