"""What runs in an endpoint's container: only the recorded model is loaded, and what a caller did wrong is a 4xx."""

import ast
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from small_graph import SCHEMA, files, graph

from evergreen import serving
from evergreen.formats.captures import CaptureLayout, read_captures
from evergreen.formats.payloads import AnswerLayout, read_answers, read_rows
from evergreen.model.archive import pack
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import ArtifactError, ArtifactHashError
from evergreen.serving import inference
from evergreen.serving.source import container_environment, content_sha256, pack_source

VALUE = FeatureSchema.of("regression", {"age": "number"})
URI = "s3://artifacts/source/sourcedir.tar.gz"


def environment(artifact, **changes):
    sha256 = hashlib.sha256(artifact).hexdigest()
    return container_environment("churn", 3, artifact=artifact, sha256=sha256, source_uri=URI) | changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The model's files as SageMaker unpacks them, and the container's variables."""

    def unpack(content):
        for name, value in environment(pack(content)).items():
            monkeypatch.setenv(name, value)
        for name, value in content.items():
            (tmp_path / name).write_bytes(value)
        return tmp_path

    return unpack


@pytest.fixture
def model(folder):
    return inference.model_fn(str(folder(files())))


def answer(model, body, content_type="application/json", accept="application/json"):
    """What the image sends: a status and a body."""
    told = inference.output_fn(inference.predict_fn(inference.input_fn(body, content_type), model), accept)
    if isinstance(told, tuple):
        return 200, told[0]
    return told.status_code, told.get_json()


def answered(model, body, content_type="application/json"):
    status, text = answer(model, body, content_type)
    assert status == 200
    return [one["prediction"] for one in json.loads(text)["predictions"]]


def problems(model, body, content_type="application/json"):
    status, problem = answer(model, body, content_type)
    assert problem["status"] == status
    return status, problem["problems"]


def test_the_model_that_the_environment_names_is_loaded(folder):
    assert inference.model_fn(str(folder(files()))).schema == SCHEMA


def test_another_model_is_refused_however_small_the_difference(folder):
    where = folder(files())
    facts = json.loads((where / "model.json").read_bytes())
    (where / "model.json").write_text(json.dumps(facts | {"classes": ["1", "0"]}))
    with pytest.raises(ArtifactHashError, match="was changed after it was registered"):
        inference.model_fn(str(where))


def test_a_model_is_not_loaded_where_nobody_says_which(folder, monkeypatch):
    where = folder(files())
    monkeypatch.delenv("EVERGREEN_MODEL_SHA256")
    with pytest.raises(ArtifactError, match="EVERGREEN_MODEL_SHA256 is not set"):
        inference.model_fn(str(where))


def test_a_model_with_a_file_missing_is_not_loaded(folder):
    where = folder(files())
    (where / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"has no model\.onnx"):
        inference.model_fn(str(where))


def test_the_environment_is_made_of_recorded_bytes_only():
    artifact = pack(files())
    with pytest.raises(ArtifactError, match="was changed after it was registered"):
        container_environment("churn", 3, artifact=artifact, sha256="0" * 64, source_uri=URI)
    made = environment(artifact)
    assert made["EVERGREEN_MODEL_SHA256"] == content_sha256(files())
    assert (made["SAGEMAKER_PROGRAM"], made["SAGEMAKER_SUBMIT_DIRECTORY"]) == ("inference.py", URI)
    assert content_sha256(files()) == content_sha256(files() | {"reference.json": b"{}"}), "whatever lies beside"


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"age": 50, "plan": "a"}, {"age": 30, "plan": None}]},
        {"instances": [[50, "a"], [30, None]]},
        {"inputs": [[50, "a"], [30, None]]},
        {"dataframe_records": [{"age": 50, "plan": "a"}, {"age": 30, "plan": None}]},
        {"dataframe_split": {"columns": ["plan", "age"], "data": [["a", 50], [None, 30]]}},
        {
            "instances": [{"age": 50, "plan": "a"}, {"age": 30, "plan": "b"}],
            "inference_ids": ["x", "y"],
            "groups": None,
        },
        [{"age": 50, "plan": "a"}, {"age": 30, "plan": "b"}],
        [[50, "a"], [30, "b"]],
    ],
)
def test_rows_come_in_the_shapes_that_sagemakers_users_send(model, body):
    assert answered(model, json.dumps(body)) == ["1", "0"]
    assert answered(model, json.dumps(body).encode()) == ["1", "0"], "as bytes too"


def test_one_row_is_an_object_or_a_list_of_its_values(model):
    assert answered(model, '{"age": 50, "plan": "a"}') == ["1"]
    assert answered(model, '[50, "a"]') == ["1"]


def test_rows_come_as_csv_and_as_json_lines_too(model):
    assert answered(model, "50,a\n30,\n\n", "text/csv; charset=utf-8") == ["1", "0"]
    assert answered(model, ",a\r\n", "text/csv") == ["0"], "an empty field is a missing value"
    lines = '{"age": 50, "plan": "a"}\n[30, "b"]\n'
    assert answered(model, lines, "application/jsonlines") == ["1", "0"]


def test_an_answer_names_its_model_its_version_and_the_probability_of_each_class(model):
    assert json.loads(answer(model, "50,a", "text/csv")[1]) == {
        "model": "churn",
        "version": 3,
        "predictions": [{"prediction": "1", "probabilities": {"0": 0.0, "1": 1.0}}],
    }


def test_an_answer_is_csv_for_those_who_accept_it(model):
    for accept in ("text/csv", "text/csv;q=0.9, application/json;q=0.1", "TEXT/CSV"):
        status, text = answer(model, "50,a\n30,b\n", "text/csv", accept)
        assert (status, list(csv.reader(io.StringIO(text)))) == (200, [["1", "[0.0, 1.0]"], ["0", "[1.0, 0.0]"]])
    for accept in ("", "*/*", "application/json", "text/html, application/json"):
        assert answer(model, "50,a", "text/csv", accept)[1].startswith("{")


def test_a_regression_answers_values(folder):
    onnx = graph([helper.make_node("Identity", ["age"], ["variable"])], ("variable", 1))
    model = inference.model_fn(str(folder(files(VALUE, onnx))))
    assert json.loads(answer(model, "41.5", "text/csv")[1])["predictions"] == [
        {"prediction": 41.5, "probabilities": None}
    ]
    assert answer(model, "41.5\n2\n", "text/csv", "text/csv")[1] == "41.5\n2.0\n"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        ("<row/>", "text/xml", 415, "content type 'text/xml' is not served"),
        ("{", "application/json", 400, "the body is not JSON"),
        ("[" * 100_000, "application/json", 400, "the body is not JSON"),
        ('{"age": NaN, "plan": "a"}', "application/json", 400, "the body holds NaN"),
        (b"\xff\xfe", "application/json", 400, "the body is not UTF-8"),
        ("1", "application/json", 400, "the body is a int"),
        ("[]", "application/json", 400, "the request has no rows"),
        ("\n\n", "text/csv", 400, "the request has no rows"),
        ("", "application/json", 400, "the body is not JSON"),
        ('{"instances": [[1, "a"]], "extra": 1}', "application/json", 400, "key 'extra' is unknown"),
        ('{"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}', "application/json", 400, "1 columns and a row"),
        ('{"dataframe_split": {"columns": "age", "data": 1}}', "application/json", 400, "needs columns"),
        ('{"age": 50}', "application/json", 422, "instances[0]: feature 'plan' is missing"),
        ('{"age": true, "plan": "a"}', "application/json", 422, "feature 'age' is True, not a number"),
        ('{"age": 1e39, "plan": "a"}', "application/json", 422, "not a finite float32"),
        ('{"age": 50, "plan": "a", "x": 1}', "application/json", 422, "feature 'x' is unknown"),
        ('{"age": 50, "plan": "\\ud800"}', "application/json", 422, "holds half a surrogate pair"),
        ("[[50]]", "application/json", 422, "instances[0] has 1 fields: the model takes 2"),
        ('[[50, "a"], 7]', "application/json", 422, "instances[1] is a int"),
        ("50,a\nold,a\n", "text/csv", 422, "instances[1]: feature 'age' is 'old', not a number"),
        ("nan,a", "text/csv", 422, "feature 'age' is nan, not a finite float32"),
        ("50,a,7", "text/csv", 422, "has 3 fields: the model takes 2"),
    ],
)
def test_what_the_caller_did_wrong_is_a_4xx_with_a_sentence(model, body, content_type, status, words):
    found, sentences = problems(model, body, content_type)
    assert found == status
    assert words in sentences[0]


def test_an_answer_that_cannot_be_given_as_asked_is_406(model):
    status, problem = answer(model, "50,a", "text/csv", "image/png")
    assert (status, "accept application/json or text/csv" in problem["problems"][0]) == (406, True)


def test_of_many_problems_the_first_are_named_and_none_is_long(model):
    rows = [{"age": "x" * 10_000, "plan": "a"}] * 1_000
    status, sentences = problems(model, json.dumps(rows))
    assert (status, len(sentences), max(map(len, sentences))) == (422, 20, 300)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["age", "plan", "instances"]), inner),
    max_leaves=8,
)


@given(body=st.one_of(st.binary(max_size=40), JSON_VALUES.map(lambda value: json.dumps(value).encode())))
def test_no_body_whatever_is_a_server_error(served, body):
    for kind in ("application/json", "text/csv", "application/jsonlines", ""):
        assert answer(served, body, kind)[0] in (200, 400, 415, 422)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    where = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment(pack(files())).items():
            patched.setenv(name, value)
        for name, content in files().items():
            (where / name).write_bytes(content)
        return inference.model_fn(str(where))


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_what_was_captured_of_it_can_be_read_again(model, accept):
    body = "50,a\n30,b\n"
    encoding = {"application/json": "JSON", "text/csv": "CSV"}[accept]
    told = answer(model, body, "text/csv", accept)[1]
    rows = read_rows({"data": body, "encoding": "CSV", "observedContentType": "text/csv"}, SCHEMA)
    answers = read_answers({"data": told, "encoding": encoding}, SCHEMA, AnswerLayout(), len(rows))
    assert [one.prediction for one in answers] == ["1", "0"]
    assert answers[0].probabilities == {"0": 0.0, "1": 1.0}
    record = {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": body, "encoding": "CSV"},
            "endpointOutput": {"observedContentType": accept, "mode": "OUTPUT", "data": told, "encoding": encoding},
        },
        "eventMetadata": {"eventId": "e-1", "inferenceTime": "2026-01-01T00:00:00Z"},
        "eventVersion": "0",
    }
    captures, malformed = read_captures(json.dumps(record).encode(), CaptureLayout(SCHEMA, version=3))
    assert (malformed, [(one.event_id, one.prediction) for one in captures]) == ([], [("e-1/0", "1"), ("e-1/1", "0")])


def test_the_source_is_complete_and_the_same_bytes_for_the_same_source(tmp_path, folder):
    """It runs where only the archive and the image's packages are: no pydantic, no boto3, no orjson."""
    assert pack_source() == pack_source()
    with tarfile.open(fileobj=io.BytesIO(pack_source())) as archive:
        archive.extractall(tmp_path / "code", filter="data")
    where = folder(files())
    program = (
        "import sys, importlib.util\n"
        "for name in ('pydantic', 'boto3', 'orjson', 'sklearn', 'pandas', 'pyarrow'): sys.modules[name] = None\n"
        "spec = importlib.util.spec_from_file_location('inference', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['inference'] = module\n"
        "spec.loader.exec_module(module)\n"
        "model = module.model_fn(sys.argv[2])\n"
        "print(module.output_fn(module.predict_fn(module.input_fn('50,a', 'text/csv'), model), 'text/csv')[0])\n"
    )
    variables = environment(pack(files())) | {
        "PYTHONPATH": f"{tmp_path / 'code'}:{Path(np.__file__).parent.parent}",
        "PATH": "/usr/bin",
    }
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program, str(tmp_path / "code" / "inference.py"), str(where)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ('1,"[0.0, 1.0]"\n\n', "")


def test_it_is_written_for_the_images_python_3_10():
    for file in Path(serving.__file__).parent.glob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 10))
