"""template.yaml through `sam deploy` into the local cloud's server, its functions in processes of their own."""

import json
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_stacks import client
from sam_cli import run_sam

from evergreen import bootstrap
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from local_cloud.server.server import LocalServer
from local_cloud.services.lambda_.runtime_api import AwslambdaricInvoker

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
SPEC = ModelSpec.from_yaml("""
model: sign
task: binary
features: {x: {type: number}}
labels: {classes: ["0", "1"]}
""")
FUNCTIONS = sorted(path.parent.name.replace("_", "-") for path in ROOT.glob("functions/*/app.py"))


def only_what_the_build_brings(url):
    """Functions see their build, their layers and what AWS's runtime brings; nothing of this environment."""
    return AwslambdaricInvoker(url, include_environment_packages=False, runtime_packages=("awslambdaric", "boto3"))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A model of the sign of x, trained by the package's own recipe."""
    folder = tmp_path_factory.mktemp("sign")
    x = np.random.default_rng(0).normal(size=400)
    pq.write_table(pa.table({"x": x, "label": np.where(x > 0, "1", "0")}), folder / "rows.parquet")
    command = [sys.executable, "-m", "evergreen_ops", "train", "rows.parquet", "--label", "label", "--out", "out"]
    options = ["--params", '{"n_estimators": 5}']
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "out" / "model.tar.gz").read_bytes()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((ROOT / "template.yaml", AwslambdaricInvoker), id="source"),
        pytest.param((BUILT, only_what_the_build_brings), id="built", marks=pytest.mark.built),
    ],
)
def stack(request, tmp_path_factory):
    template, invoker = request.param
    home = tmp_path_factory.mktemp("home")
    with LocalServer(None, port=0, invoker=invoker) as server:
        client(server, "s3").create_bucket(Bucket="deployments")
        deploy = ["deploy", "--template-file", str(template), "--stack-name", "evergreen", "--s3-bucket", "deployments"]
        capabilities = ["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--no-confirm-changeset"]
        run_sam(server.url, ROOT, home, *deploy, *capabilities)
        yield server
    bootstrap.reset()


def outputs(server):
    told = client(server, "cloudformation").describe_stacks(StackName="evergreen")["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in told}


def predict_event(model):
    return {
        "version": "2.0",
        "headers": {"content-type": "application/json"},
        "pathParameters": {"model": model},
        "routeKey": "POST /models/{model}/predict",
        "requestContext": {"timeEpoch": int(time.time() * 1_000), "requestId": "JKJaXmPLvHcESHA="},
        "body": json.dumps({"instances": [{"x": 2.0}]}),
        "isBase64Encoded": False,
    }


def invoked(server, function, event):
    answer = client(server, "lambda").invoke(FunctionName=f"evergreen-{function}", Payload=json.dumps(event))
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())


def test_predict_is_invoked_and_says_that_it_does_not_know_the_model(stack):
    error, answer = invoked(stack, "predict", predict_event("nobody"))
    assert error is None, answer
    assert answer["statusCode"] == 404
    assert "nobody" in json.loads(answer["body"])["detail"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_starts_with_what_it_brings(stack, function):
    error, answer = invoked(stack, function, {})
    # An empty event is nobody's event: the handler is reached and says what is missing from it.
    assert error is not None or "statusCode" in answer
    assert answer.get("errorType") not in ("Runtime.ImportModuleError", "Runtime.UserCodeSyntaxError"), answer


def test_a_version_that_is_promoted_by_hand_answers_over_http(stack, artifact):
    ports, now = bootstrap.ports_for(outputs(stack)), datetime.now(UTC)
    apply.apply_model(SPEC, now=now, ports=ports)
    version = bring.register_version("sign", artifact, "trained elsewhere", "ada", now=now, ports=ports)
    decide.force_promotion("sign", version, "the first one", "ada", now=now, ports=ports)
    deadline = time.monotonic() + 60
    while ports.ledger.read("sign").production is None:
        assert time.monotonic() < deadline, ports.ledger.history("sign").documents
        time.sleep(0.2)
    url = f"{outputs(stack)['ApiUrl']}/models/sign/predict"
    body = json.dumps({"instances": [{"x": 2.0}, {"x": -2.0}]}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answered = json.loads(answer.read())
    assert answered["version"] == version
    assert [each["prediction"] for each in answered["predictions"]] == ["1", "0"]
