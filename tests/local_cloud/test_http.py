"""Stories about the HTTP API of a stack."""

from __future__ import annotations

import textwrap
from pathlib import Path

from local_stacks import deploy, pass_time, write_function

API = """
Answer:
  Type: AWS::Serverless::Function
  Properties:
    CodeUri: functions/answer
    Events:
      Predict: {Type: HttpApi, Properties: {Method: POST, Path: "/models/{model}/predict"}}
      Health: {Type: HttpApi, Properties: {Method: GET, Path: /health}}
"""

ANSWER = """
    import json
    def handler(event, context):
        if event["rawPath"] == "/health":
            return {"fine": True}
        if event.get("body") == "break":
            raise RuntimeError("broken")
        return {"statusCode": 201, "headers": {"X-Model": event["pathParameters"]["model"]}, "body": json.dumps(event)}
"""


def test_a_request_becomes_an_event_in_payload_format_2(tmp_path: Path) -> None:
    write_function(tmp_path, "answer", ANSWER)
    with deploy(tmp_path, API) as cloud:
        pass_time(cloud, hours=5)
        answer = cloud.http(
            "POST",
            "/models/fraud%20x/predict?a=1&a=2&b=",
            body='{"n": 1}',
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status, answer.headers["x-model"]) == (201, "fraud x")
        event = answer.json()
        assert event["version"] == "2.0"
        assert event["routeKey"] == "POST /models/{model}/predict"
        assert event["pathParameters"] == {"model": "fraud x"}
        assert event["queryStringParameters"] == {"a": "1,2", "b": ""}
        assert event["headers"]["content-type"] == "application/json"
        assert (event["body"], event["isBase64Encoded"]) == ('{"n": 1}', False)
        assert event["requestContext"]["timeEpoch"] == 1_767_243_600_000
        assert event["requestContext"]["http"]["method"] == "POST"


def test_any_json_is_a_body_with_status_200(tmp_path: Path) -> None:
    write_function(tmp_path, "answer", ANSWER)
    with deploy(tmp_path, API) as cloud:
        answer = cloud.http("GET", "/health")
        assert (answer.status, answer.json()) == (200, {"fine": True})
        assert answer.headers["content-type"] == "application/json"


def test_an_unknown_route_and_a_broken_function_answer_as_aws_does(tmp_path: Path) -> None:
    write_function(tmp_path, "answer", ANSWER)
    with deploy(tmp_path, API) as cloud:
        missing = cloud.http("GET", "/models/fraud/predict")
        assert (missing.status, missing.json()) == (404, {"message": "Not Found"})
        broken = cloud.http("POST", "/models/fraud/predict", body="break")
        assert (broken.status, broken.json()) == (500, {"message": "Internal Server Error"})


def test_a_body_that_is_no_text_arrives_in_base64(tmp_path: Path) -> None:
    write_function(tmp_path, "answer", ANSWER)
    with deploy(tmp_path, API) as cloud:
        event = cloud.http("POST", "/models/fraud/predict", body=b"\xff\x00").json()
        assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)


def test_routes_and_integrations_can_be_written_out(tmp_path: Path) -> None:
    write_function(tmp_path, "answer", ANSWER)
    resources = """
    Answer: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/answer}}
    Api: {Type: AWS::ApiGatewayV2::Api, Properties: {Name: written, ProtocolType: HTTP}}
    Integration:
      Type: AWS::ApiGatewayV2::Integration
      Properties:
        ApiId: !Ref Api
        IntegrationType: AWS_PROXY
        IntegrationUri: !GetAtt Answer.Arn
        PayloadFormatVersion: '2.0'
    Route:
      Type: AWS::ApiGatewayV2::Route
      Properties: {ApiId: !Ref Api, RouteKey: GET /health, Target: !Sub 'integrations/${Integration}'}
    Stage:
      Type: AWS::ApiGatewayV2::Stage
      Properties: {ApiId: !Ref Api, StageName: $default, AutoDeploy: true}
    """
    permission = """
    Permission:
      Type: AWS::Lambda::Permission
      Properties: {FunctionName: !Ref Answer, Action: lambda:InvokeFunction, Principal: apigateway.amazonaws.com}
    """
    with deploy(tmp_path, resources) as cloud:
        assert cloud.http("GET", "/health").status == 500  # the function does not let the API call it
    with deploy(tmp_path, textwrap.dedent(resources) + textwrap.dedent(permission)) as cloud:
        assert cloud.http("GET", "/health").json() == {"fine": True}
