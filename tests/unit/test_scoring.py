"""Loading an artifact and scoring with it: only recorded bytes, no path in an archive, the same bits for same rows."""

import hashlib
import io
import json
import tarfile
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from evergreen.model.archive import pack
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact, ArtifactError, ArtifactHashError

BINARY = FeatureSchema.of("binary", {"x": "number", "y": "number"}, ["no", "yes"])
SUM = FeatureSchema.of("regression", {"x": "number", "y": "number"})


def graph_of(nodes, outputs, inputs=("x", "y")):
    graph = helper.make_graph(
        nodes,
        "evergreen",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name, width in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def adding():
    return graph_of([helper.make_node("Add", ["x", "y"], ["variable"])], [("variable", 1)])


def echoing():
    """A classifier whose probabilities are its two inputs."""
    return graph_of([helper.make_node("Concat", ["x", "y"], ["probabilities"], axis=1)], [("probabilities", 2)])


def packed(onnx, schema, **more):
    return pack({"model.onnx": onnx, "model.json": json.dumps(schema.to_json()).encode(), **more})


def recorded(content):
    return Artifact.from_tar(content, hashlib.sha256(content).hexdigest())


def test_only_the_recorded_bytes_are_loaded():
    content = packed(adding(), SUM)
    artifact = recorded(content)
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.schema == SUM


def test_other_bytes_are_refused_before_anything_is_read():
    with pytest.raises(ArtifactHashError) as refused:
        Artifact.from_tar(b"not even an archive", "0" * 64)
    assert refused.value.expected == "0" * 64
    assert refused.value.actual == hashlib.sha256(b"not even an archive").hexdigest()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"nonsense", "no readable model.tar.gz"),
        (packed(adding(), SUM)[:-40], "no readable model.tar.gz"),
        (pack({"model.json": b"{}"}), "has no model.onnx"),
        (pack({"model.onnx": b""}), "has no model.json"),
        (pack({"model.onnx": b"", "model.json": b"{"}), "model.json that can't be read"),
        (pack({"model.onnx": b"", "model.json": b"[]"}), "model.json that can't be read"),
        (pack({"model.onnx": b"", "model.json": b'{"task": "binary"}'}), "'features'"),
    ],
)
def test_a_broken_archive_is_named(content, named):
    with pytest.raises(ArtifactError) as refused:
        recorded(content)
    assert named in str(refused.value)


def test_links_and_paths_in_an_archive_reach_nothing(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("{}")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        link = tarfile.TarInfo("model.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        for name in ("../model.onnx", "/model.onnx"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(ArtifactError, match=r"has no model\.onnx"):
        recorded(stream.getvalue())
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_archives_that_tar_wrote_with_a_leading_dot_are_read():
    content = pack({"./model.onnx": adding(), "./model.json": json.dumps(SUM.to_json()).encode()})
    assert recorded(content).scorer().score_rows([{"x": 1, "y": 2}]).predictions == [3.0]


def test_a_directory_is_loaded(tmp_path):
    (tmp_path / "model.onnx").write_bytes(adding())
    (tmp_path / "model.json").write_text(json.dumps(SUM.to_json()))
    assert Artifact.load(tmp_path).scorer().score_rows([{"x": 1, "y": 2}]).predictions == [3.0]
    with pytest.raises(ArtifactError, match=r"has no model\.onnx"):
        Artifact.load(tmp_path / "nowhere")


def test_a_regression_answers_values():
    answered = recorded(packed(adding(), SUM)).scorer().score_rows([{"x": 1.5, "y": 2}, {"x": -1, "y": 0}])
    assert answered.values.tolist() == [3.5, -1.0]
    assert (answered.labels, answered.probabilities) == (None, None)
    assert (len(answered), answered.probability_rows) == (2, [None, None])


def test_a_classifier_answers_labels_and_probabilities():
    answered = recorded(packed(echoing(), BINARY)).scorer().score_rows([{"x": 0.75, "y": 0.25}, {"x": 0.25, "y": 0.75}])
    assert answered.predictions == ["no", "yes"]
    assert answered.probability_rows == [[0.75, 0.25], [0.25, 0.75]]
    assert answered.values is None


def test_a_tie_goes_to_the_first_class_whatever_float32_made_of_it():
    answered = recorded(packed(echoing(), BINARY)).scorer().score_rows([{"x": 0.49999997, "y": 0.50000003}])
    assert answered.labels == ["no"]


def test_no_rows_are_answered_with_nothing():
    assert len(recorded(packed(adding(), SUM)).scorer().score_rows([])) == 0
    answered = recorded(packed(echoing(), BINARY)).scorer().score_rows([])
    assert (answered.labels, answered.probabilities.shape) == ([], (0, 2))


@pytest.mark.parametrize(
    ("onnx", "schema", "named"),
    [
        (b"nonsense", SUM, "can't be loaded by ONNX Runtime"),
        (adding(), FeatureSchema.of("regression", {"x": "number"}), "takes ['y'], which model.json does not name"),
        (adding(), BINARY, "a binary model needs 'probabilities'"),
        (echoing(), SUM, "a regression model needs 'variable'"),
    ],
)
def test_a_graph_that_does_not_fit_its_facts_is_refused(onnx, schema, named):
    with pytest.raises(ArtifactError) as refused:
        recorded(packed(onnx, schema)).scorer()
    assert named in str(refused.value)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ArtifactError, match="no column for feature 'y'"):
        recorded(packed(adding(), SUM)).scorer().score({"x": np.zeros(1, dtype=np.float32)})


def test_a_feature_the_graph_never_reads_is_accepted():
    wider = FeatureSchema.of("regression", {"x": "number", "y": "number", "unused": "categorical"})
    assert recorded(packed(adding(), wider)).scorer().score_rows([{"x": 1, "y": 1, "unused": "a"}]).predictions == [2.0]


@pytest.mark.benchmark
def test_one_row_costs_little_beyond_the_runtime():
    scorer = recorded(packed(echoing(), BINARY)).scorer()
    columns = BINARY.columns([{"x": 0.75, "y": 0.25}])
    best = min(_seconds(lambda: scorer.score(columns)) for _ in range(2000))
    assert best < 200e-6


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
