"""Models in memory: one function serves any number of them, and holds no more than fit."""

import hashlib

import pytest
from small_cloud import NOW
from tipping_model import ROW, a_model

from evergreen.domain.aliases import AliasRecord
from evergreen.model.scorer import Artifact
from evergreen.usecases.steps.loaded_models import MOST_ALIASES, LoadedModels, Model, Serving


class Shelf:
    """Artifacts by key, and which were asked for."""

    def __init__(self, count):
        self.contents = {f"m{i}": a_model(40 + i) for i in range(count)}
        self.asked = []

    def get(self, key, sha256):
        self.asked.append(key)
        return self.contents[key]

    def model(self, key):
        return Model(1, key, hashlib.sha256(self.contents[key]).hexdigest())

    def size(self, key):
        return len(Artifact.from_trusted_tar(self.contents[key]).onnx)


@pytest.fixture
def shelf():
    return Shelf(4)


def test_a_model_is_loaded_once(shelf):
    models = LoadedModels(shelf)
    assert models.get(shelf.model("m0")) is models.get(shelf.model("m0"))
    assert shelf.asked == ["m0"]


def test_of_too_many_models_those_go_that_were_not_asked_for_longest(shelf):
    models = LoadedModels(shelf, limit=2 * shelf.size("m0"))
    for key in ("m0", "m1", "m0", "m2"):
        models.get(shelf.model(key))
    assert [shelf.model(key) in models for key in ("m0", "m1", "m2")] == [True, False, True]


def test_a_model_larger_than_all_that_may_be_kept_answers_alone(shelf):
    models = LoadedModels(shelf, limit=1)
    for key in ("m0", "m1"):
        assert models.get(shelf.model(key)).scorer.score_rows([ROW | {"age": 70}]).labels == ["1"]
    assert shelf.model("m0") not in models


def test_a_model_that_is_loaded_behind_is_there_when_it_is_asked_for(shelf):
    models = LoadedModels(shelf)
    models.load_behind([shelf.model("m0"), shelf.model("m1")])
    models.load_behind([shelf.model("m0")])
    assert models.get(shelf.model("m0")).scorer.score_rows([ROW]).labels == ["1"]
    assert models.get(shelf.model("m1")).scorer.score_rows([ROW]).labels == ["0"]
    assert sorted(shelf.asked) == ["m0", "m1"]


def test_names_that_nobody_knows_fill_no_memory(cloud):
    serving = Serving(cloud.ports)
    for number in range(MOST_ALIASES + 10):
        assert serving.alias(f"m{number}", "production", NOW) is None
    assert len(serving._seen) == MOST_ALIASES


def test_many_models_are_served_side_by_side(cloud, shelf):
    for number, (key, content) in enumerate(shelf.contents.items()):
        cloud.ports.artifacts.put(key, content)
        record = AliasRecord(f"model_{number}", "production", 1, key, shelf.model(key).sha256, 1)
        cloud.ports.aliases.repoint(record)
    event = cloud.event("http_predict")
    for number in range(4):
        event["pathParameters"]["model"] = f"model_{number}"
        assert cloud.call("predict", event)["statusCode"] == 200
