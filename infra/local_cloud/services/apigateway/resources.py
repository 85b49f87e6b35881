"""HTTP APIs as a template writes them."""

from __future__ import annotations

from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties, keep
from local_cloud.services.apigateway.http_api import HttpApi, HttpApis, Route, function_arn_of, routes_of_openapi


def _create_http_api(context: Context[HttpApis], name: str, properties: Properties) -> LocalResource:
    if properties.get("ProtocolType", "HTTP") != "HTTP":
        raise context.refuse(f"uses ProtocolType {properties['ProtocolType']}", "make it an HTTP API")
    backend = context.backend("apigatewayv2")
    body = properties.get("Body", {})
    title = properties.get("Name") or body.get("info", {}).get("title") or name
    api = backend.create_api(
        api_key_selection_expression="",
        cors_configuration=None,
        description=properties.get("Description", ""),
        disable_schema_validation=False,
        disable_execute_api_endpoint=False,
        name=title,
        protocol_type="HTTP",
        route_selection_expression="",
        tags={},
        version=body.get("info", {}).get("version", ""),
    )
    apis = context.service.apis
    apis[api.api_id] = HttpApi(api.api_id, title, routes_of_openapi(body))

    def remove() -> None:
        backend.delete_api(api.api_id)
        apis.pop(api.api_id, None)

    return LocalResource(api.api_id, {"ApiId": api.api_id, "ApiEndpoint": api.api_endpoint}, remove)


def _update_http_api(
    context: Context[HttpApis], api: LocalResource, name: str, properties: Properties
) -> LocalResource:
    if "Body" in properties:  # routes that are written out are resources of their own
        context.service.apis[api.physical_id].routes[:] = routes_of_openapi(properties["Body"])
    return api


def _create_integration(context: Context[HttpApis], name: str, properties: Properties) -> LocalResource:
    if properties["IntegrationType"] != "AWS_PROXY":
        raise context.refuse(
            f"uses IntegrationType {properties['IntegrationType']}", "integrate a function (AWS_PROXY)"
        )
    api = context.service.apis[properties["ApiId"]]
    api.integrations[name] = function_arn_of(properties["IntegrationUri"])
    return LocalResource(name, {"IntegrationId": name}, lambda: api.integrations.pop(name, None))


def _create_route(context: Context[HttpApis], name: str, properties: Properties) -> LocalResource:
    if properties.get("AuthorizationType", "NONE") not in ("NONE", "AWS_IAM"):
        raise context.refuse(f"uses AuthorizationType {properties['AuthorizationType']}")
    api = context.service.apis[properties["ApiId"]]
    integration = properties["Target"].removeprefix("integrations/")
    route = Route.parse(properties["RouteKey"], api.integrations[integration])
    api.routes.append(route)
    return LocalResource(name, {"RouteId": name}, lambda: api.routes.remove(route) if route in api.routes else None)


def _create_stage(context: Context[HttpApis], name: str, properties: Properties) -> LocalResource:
    stage = properties["StageName"]
    api = context.service.apis[properties["ApiId"]]
    api.stages.add(stage)
    return LocalResource(stage, {}, lambda: api.stages.discard(stage))


KINDS: tuple[Kind[HttpApis], ...] = (
    Kind("AWS::ApiGatewayV2::Api", "", _create_http_api, _update_http_api),
    Kind("AWS::ApiGatewayV2::Integration", "", _create_integration),
    Kind("AWS::ApiGatewayV2::Route", "", _create_route),
    Kind("AWS::ApiGatewayV2::Stage", "", _create_stage, keep),
)
