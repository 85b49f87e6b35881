"""Requests to SageMaker's managed MLflow: where they go, what they are signed for, and that the signature is right."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from samtranslator.yaml_helper import yaml_parse
from small_cloud import ROOT

from evergreen.training.mlflow_client import HABITS, ManagedServer, client

REGION, ACCOUNT = "eu-west-1", "123456789012"
SERVER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-tracking-server/ours"
APP = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-app/app-1"


ASKED = []


class Heard(BaseHTTPRequestHandler):
    """Keeps what it is asked, and answers that there is nothing."""

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        ASKED.append((self.command, self.path, dict(self.headers.items()), body))
        content = json.dumps({"experiments": [], "registered_model": {"name": "churn"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_):
        pass


@pytest.fixture
def service(monkeypatch):
    """The service's address, as a VPC endpoint would be given."""
    ASKED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Heard) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def signature_of(method, path, headers, body, host, service):
    """What the service computes from the request it got, with the caller's key: botocore's own."""
    given = {name.lower(): value for name, value in headers.items()}
    signed = given["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(method, f"http://{host}{path}", data=body, headers={n: given[n] for n in signed})
    request.context["timestamp"] = given["x-amz-date"]
    auth = SigV4Auth(Credentials("testing", "testing", "testing"), service, REGION)
    string = auth.string_to_sign(request, auth.canonical_request(request))
    return auth.signature(string, request)


@pytest.mark.parametrize(
    ("arn", "service_name", "header"),
    [
        (SERVER, "sagemaker-mlflow", "x-mlflow-sm-tracking-server-arn"),
        (APP, "sagemaker", "x-sm-mlflow-app-arn"),
    ],
)
def test_a_request_to_an_arn_names_the_server_and_is_signed_with_the_caller_s_key(arn, service_name, header, service):
    mlflow = client(arn)
    mlflow.search_experiments(max_results=1, filter_string="name = 'a b+c'")
    mlflow.create_registered_model("churn", description="ours")
    mlflow.get_registered_model("churn")
    assert [(method, urlsplit(path).path) for method, path, _, _ in ASKED] == [
        ("POST", "/api/2.0/mlflow/experiments/search"),
        ("POST", "/api/2.0/mlflow/registered-models/create"),
        ("GET", "/api/2.0/mlflow/registered-models/get"),
    ]
    for method, path, headers, body in ASKED:
        given = {name.lower(): value for name, value in headers.items()}
        assert given[header] == arn
        authorization = given["authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=testing/")
        assert f"/{REGION}/{service_name}/aws4_request" in authorization
        assert header in authorization
        expected = signature_of(method, path, headers, body, given["host"], service_name)
        assert authorization.endswith(f"Signature={expected}")
        assert given["x-amz-security-token"] == "testing"


def test_where_the_service_answers():
    assert ManagedServer.of(SERVER).url == "https://eu-west-1.experiments.sagemaker.aws"
    assert ManagedServer.of(APP).url == "https://mlflow.sagemaker.eu-west-1.app.aws"


@pytest.mark.parametrize(
    "arn", ["arn:aws:s3:::bucket", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/x", "arn:", SERVER[:-5]]
)
def test_another_arn_is_refused_with_what_to_give(arn):
    with pytest.raises(ValueError, match=r"give https://\.\.\., or the ARN of a SageMaker mlflow-tracking-server"):
        client(arn)


def test_other_servers_requests_are_not_signed(service, monkeypatch):
    client(SERVER)
    ASKED.clear()
    client(f"http://127.0.0.1:{service.server_port}").get_registered_model("churn")
    ((_, _, headers, _),) = ASKED
    assert not {"authorization", "x-mlflow-sm-tracking-server-arn"} & {name.lower() for name in headers}


def test_telemetry_is_off_and_patience_short(monkeypatch):
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    client("http://127.0.0.1:9")
    assert (os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("true", "true")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3", "what a user has set stays"


def test_the_function_ends_before_its_time_is_up_when_a_server_hangs():
    """A call that hangs costs the time-out, as often as it is tried; the first that fails ends the invocation."""
    habits = HABITS
    tries = 1 + int(habits["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    longest = tries * int(habits["MLFLOW_HTTP_REQUEST_TIMEOUT"]) + 2**tries * int(
        habits["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"]
    )
    template = yaml_parse((ROOT / "template.yaml").read_text())
    assert longest < template["Resources"]["UpdateRegistry"]["Properties"]["Timeout"] / 3
