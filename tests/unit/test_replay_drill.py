"""The drill's bad versions are bad in the way they say, and in no other."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evergreen.model.scorer import Artifact, Scorer
from evergreen.training.fit import Trained, train
from evergreen_ops.replay.drill import failing_graph, slow_graph, wrong_labels
from evergreen_ops.replay.recipe import stream_rows, training_job
from evergreen_ops.replay.specs import infer_spec
from evergreen_ops.replay.streams import Stream, read_table


def made(label: Any) -> tuple[Stream, Trained]:
    rows = np.arange(1_500)
    cities = pa.array(["ab"[i % 2] for i in rows])
    stream = read_table(pa.table({"x": np.sin(rows), "city": cities, "label": label(np.sin(rows))}), name="traffic")
    spec = infer_spec(stream)
    return stream, train(training_job(spec), stream_rows(stream, spec), report=lambda line: None)


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def trained(request: pytest.FixtureRequest) -> tuple[Stream, Trained]:
    labels = {
        "binary": lambda x: (x > 0).astype(int),
        "multiclass": lambda x: np.digitize(x, [-0.5, 0.5]),
        "regression": lambda x: 10 * x + 0.123,
    }
    return made(labels[request.param])


def scorer(trained: Trained, graph: bytes) -> Scorer:
    return Artifact._of({**trained.files, "model.onnx": graph}, "drill", None).scorer()


def test_the_failing_version_loads_and_fails_on_every_request(trained: tuple[Stream, Trained]) -> None:
    stream, version = trained
    failing = scorer(version, failing_graph(version.files["model.onnx"]))
    for rows in (slice(0, 1), slice(0, 40)):
        with pytest.raises(Exception, match="Gather"):
            failing.score_rows(stream.instances(rows))


def test_the_slow_version_takes_its_time_and_answers_the_same(trained: tuple[Stream, Trained]) -> None:
    stream, version = trained
    sound = scorer(version, version.files["model.onnx"]).score_rows(stream.instances(slice(0, 40)))
    slow = scorer(version, slow_graph(version.files["model.onnx"], milliseconds=100))
    started = perf_counter()
    answered = slow.score_rows(stream.instances(slice(0, 40)))
    assert perf_counter() - started > 0.02
    assert answered.predictions == sound.predictions
    assert answered.probability_rows == sound.probability_rows


def test_wrong_labels_are_all_wrong(trained: tuple[Stream, Trained]) -> None:
    stream, _ = trained
    rows = stream_rows(stream, infer_spec(stream))
    wrong = wrong_labels(rows)
    assert np.all(wrong.actual != rows.actual)
    if stream.classes is None:
        assert np.mean(wrong.actual - rows.actual) == pytest.approx(3 * np.std(rows.actual))


def test_a_bad_version_is_the_same_bytes_each_time(trained: tuple[Stream, Trained]) -> None:
    graph = trained[1].files["model.onnx"]
    assert failing_graph(graph) == failing_graph(graph)
    assert slow_graph(graph, 10) == slow_graph(graph, 10)
