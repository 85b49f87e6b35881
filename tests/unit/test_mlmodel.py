"""A version as an MLflow model: MLflow itself loads what we write, and it answers as the endpoint does."""

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from small_artifact import small_artifact

from evergreen.model.archive import unpack
from evergreen.model.scorer import Artifact, Scorer
from evergreen.training.mlmodel import graph_inputs, mlflow_model

mlflow = pytest.importorskip("mlflow")
TIME = "2026-03-01 02:00:00"


@pytest.fixture(scope="module")
def files():
    return unpack(small_artifact("churn-1-0"), ("model.onnx", "model.json", "reference.json"))


@pytest.fixture(scope="module")
def model(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for name, content in mlflow_model(files, model_id="m-1", run_id="r-1", time=TIME).items():
        (folder / name).write_bytes(content)
    return folder


def test_mlflow_s_onnx_flavor_loads_the_very_graph(model, files):
    import mlflow.onnx

    assert mlflow.onnx.load_model(str(model)) == onnx.load_from_string(files["model.onnx"])


def test_mlflow_answers_as_the_endpoint_does(model, files):
    rows = pd.DataFrame({"age": [20.0, 45.0, 79.0], "plan": ["a", "b", "never seen"]})
    answered = mlflow.pyfunc.load_model(str(model)).predict(rows)
    schema = Artifact.from_trusted_tar(small_artifact("churn-1-0")).schema
    expected = Scorer(Artifact(files["model.onnx"], {}, schema)).score_rows(rows.to_dict("records"))
    np.testing.assert_allclose(answered["probabilities"], expected.probabilities, atol=1e-6)
    assert answered["label"].tolist() == expected.labels


def test_the_signature_names_what_is_asked_and_answered(model):
    from mlflow.models import Model

    told = Model.load(str(model))
    assert told.signature.inputs.input_names() == ["age", "plan"]
    assert told.signature.outputs.input_names() == ["label", "probabilities"]
    assert (told.model_id, told.run_id, told.utc_time_created) == ("m-1", "r-1", TIME)
    assert told.flavors.keys() == {"onnx", "python_function"}


def test_the_example_is_made_up_and_the_model_takes_it(model):
    loaded = mlflow.pyfunc.load_model(str(model))
    assert json.loads((model / "input_example.json").read_text()) == {"age": [[0.0]], "plan": [[""]]}
    assert loaded.predict(loaded.input_example)["probabilities"].shape == (1, 2)


def test_what_is_to_be_installed_is_what_it_takes(model):
    assert (Path(model) / "requirements.txt").read_text().split() == ["mlflow==3.17.2", "onnx", "onnxruntime"]


def test_a_regression_answers_values():
    facts = {"task": "regression", "features": [{"name": "age", "type": "number"}], "classes": None}
    files = {"model.onnx": b"", "model.json": json.dumps(facts).encode()}
    signature = yaml.safe_load(mlflow_model(files, time=TIME)["MLmodel"])["signature"]
    assert [output["name"] for output in json.loads(signature["outputs"])] == ["variable"]


def test_an_input_that_the_graph_does_not_read_is_not_in_the_signature(files):
    graph = onnx.load_from_string(files["model.onnx"])
    assert graph_inputs(files["model.onnx"]) == tuple(value.name for value in graph.graph.input)
    facts = json.loads(files["model.json"])
    facts["features"].append({"name": "always_the_same", "type": "number"})
    described = mlflow_model({**files, "model.json": json.dumps(facts).encode()}, time=TIME)
    assert "always_the_same" not in described["MLmodel"].decode()
    assert json.loads(described["input_example.json"]).keys() == {"age", "plan"}


def test_what_is_no_graph_has_no_inputs():
    assert graph_inputs(b"\xff\xff\xff") == graph_inputs(b"not a model") == graph_inputs(b"") == ()
