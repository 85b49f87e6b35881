"""The served OpenAPI document, tried by schemathesis against the API that the local cloud serves."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from small_artifact import small_artifact
from small_cloud import CHURN

from evergreen import bootstrap
from evergreen.inbound import openapi
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.repoint_alias import repoint_alias
from local_cloud.server.server import LocalServer
from local_cloud.services.lambda_.invokers import InProcessInvoker

ROOT = Path(__file__).parents[2]
# What a model takes is not in the API's document: a request that fits the document may still be refused.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def url():
    """The address of an API whose model `churn` is in production."""
    with LocalServer(ROOT / "template.yaml", port=0, invoker=lambda url: InProcessInvoker()) as server:
        try:
            ports, now = bootstrap.ports_for(server.cloud.outputs), datetime.now(UTC)
            apply.apply_model(ModelSpec.parse(CHURN), now=now, ports=ports)
            bring.register_version("churn", small_artifact("first"), "a story", "ada", now=now, ports=ports)
            decide.force_promotion("churn", 1, "a story", "ada", now=now, ports=ports)
            repoint_alias("churn", now=now, ports=ports)
            yield server.api_url()
        finally:
            bootstrap.reset()


REQUESTS = [
    pytest.param(method, path, mode, id=f"{method} {path} {mode.value}")
    for path, item in openapi.document()["paths"].items()
    for method in item
    for mode in GenerationMode
    if method != "parameters" and (mode is GenerationMode.POSITIVE or "{" in path)  # without input nothing is wrong
]


@pytest.fixture(scope="module")
def served_document(url):
    schema = schemathesis.openapi.from_dict(asked(url, "/openapi.json")[2])
    schema.config.update(base_url=url)
    return schema


# By hand: schemathesis' own plugin of pytest does not know the newest pytest.
@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "mode"), REQUESTS)
@pytest.mark.parametrize("model", [None, "churn"], ids=["any model", "the model that there is"])
def test_whatever_is_sent_the_answer_is_as_the_document_says(served_document, model, method, path, mode):
    operation = served_document[path][method.upper()]

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def answered(case):
        if model is not None and "{model}" in path:
            case.path_parameters = {"model": model}
        case.call_and_validate(checks=CHECKS, timeout=60)

    answered()


def asked(url, path, body=None, headers=JSON, method=None):
    request = urllib.request.Request(f"{url}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["content-type"], json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], json.loads(error.read())


ROW = {"age": 41, "plan": "a"}
PREDICT = "/models/churn/predict"


def instances(*rows):
    return json.dumps({"instances": rows}).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "problem"),
    [
        (PREDICT, instances(*[ROW] * 1_001), JSON, 413, "1001 rows"),
        (PREDICT, b" " * 5_000_001, JSON, 413, "5,000,000 bytes"),
        (PREDICT, instances(ROW | {"age": "old"}), JSON, 422, "instances[0]: feature 'age' is 'old', not a number"),
        (PREDICT, b'{"instances": [{"age": NaN, "plan": "a"}]}', JSON, 400, "NaN is not JSON"),
        (PREDICT, b'{"instances": [{"age": 1e999, "plan": "a"}]}', JSON, 422, "'age' is inf"),
        (PREDICT, instances({"age": 41}), JSON, 422, "feature 'plan' is missing"),
        (PREDICT, instances(ROW | {"income": 1}), JSON, 422, "feature 'income' is unknown"),
        (PREDICT, instances(ROW), {"content-type": "application/xml"}, 415, "application/xml"),
        (PREDICT, b"nan,a\n", {"content-type": "text/csv"}, 422, "'age' is nan"),
        (PREDICT, b"", JSON, 400, "no body"),
        ("/models/chrun/predict", instances(ROW), JSON, 404, "no version of model 'chrun'"),
        ("/models/%2e%2e/predict", instances(ROW), JSON, 404, "no version of model"),
    ],
    ids=lambda value: value.decode()[:40] if isinstance(value, bytes) else None,
)
def test_each_mistake_is_answered_with_a_problem_that_names_it(url, path, body, headers, status, problem):
    found = asked(url, path, body, headers, method="POST")
    assert found[:2] == (status, "application/problem+json"), found
    assert (found[2]["status"], found[2]["type"]) == (status, "about:blank")
    assert problem in found[2]["problems"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), [("PUT", PREDICT), ("GET", PREDICT), ("GET", "/models"), ("POST", "/")])
def test_what_is_no_route_is_answered_as_the_gateway_does(url, method, path):
    assert asked(url, path, method=method) == (404, "application/json", {"message": "Not Found"})


@pytest.mark.slow
def test_a_body_beyond_the_gateways_limit_does_not_reach_the_function(url):
    message = {"message": "Request Entity Too Large"}
    assert asked(url, PREDICT, b" " * (10 * 1_024 * 1_024 + 1)) == (413, "application/json", message)
