"""A production capture file has arrived: what the shadow answers, and what becomes of one that fails or hangs."""

import hashlib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from small_cloud import CONTEXT, handler_of
from tipping_model import NEVER, ROW, a_model

from evergreen.domain.aliases import AliasRecord
from evergreen.formats.captures import Capture, capture_line, read_captures
from evergreen.usecases.score_shadow import BATCH

PRODUCTION = "captures/churn/production/2026/03/01/02/part.jsonl"
SHADOW = "captures/churn/shadow/2026/03/01/02/part.v2.jsonl"


@pytest.fixture
def shadow(cloud, now):
    """Puts a model behind the shadow alias, and answers what became of a file of rows of these ages."""

    def scores(ages, content, *, latency_ms=1_000.0, seconds=300.0):
        key = "models/churn/v2/output/model.tar.gz"
        cloud.ports.artifacts.put(key, content)
        sha256 = hashlib.sha256(content).hexdigest()
        cloud.ports.aliases.repoint(AliasRecord("churn", "shadow", 2, key, sha256, 1, latency_ms))
        times = [now + timedelta(seconds=i) for i in range(len(ages))]
        rows = [Capture(f"r{i}", times[i], 1, ROW | {"age": age}, "1", None) for i, age in enumerate(ages)]
        lines = [capture_line(row, model="churn", variant="production") for row in rows]
        event = cloud.arrived(PRODUCTION, *lines)
        cloud.counted()
        context = SimpleNamespace(**vars(CONTEXT) | {"get_remaining_time_in_millis": lambda: seconds * 1_000})
        handler_of("score_shadow")(event, context)
        ((dimensions, counted),) = cloud.counted()
        assert dimensions == {"Model": "churn", "Version": "2"}
        written = list(cloud.ports.data.keys("captures/churn/shadow/"))
        found = read_captures(cloud.ports.data.get(SHADOW))[0] if written else []
        return {row.event_id: row.prediction for row in found}, counted

    return scores


def test_every_row_is_answered_under_its_id(shadow):
    found, counted = shadow([30, 45, 60], a_model(50))
    assert found == {"r0": "0", "r1": "0", "r2": "1"}
    assert (counted["ShadowScored"], counted["ShadowErrors"]) == (3, 0)
    assert counted["ShadowLatency"] > 0


def test_a_row_that_the_shadow_can_not_answer_costs_no_other_row(shadow):
    ages = [30] * 5 + [90] + [60] * (BATCH + 5)
    found, counted = shadow(ages, a_model(50, oldest=80))
    assert set(found) == {f"r{i}" for i in range(len(ages))} - {"r5"}
    assert (counted["ShadowScored"], counted["ShadowErrors"]) == (BATCH + 10, 1)


def test_a_shadow_that_fails_on_every_row_answers_none_and_nothing_is_written(shadow):
    found, counted = shadow([90] * (2 * BATCH), a_model(50, oldest=80))
    assert found == {}
    assert (counted["ShadowScored"], counted["ShadowErrors"]) == (0, 2 * BATCH)


def test_a_shadow_that_hangs_is_stopped_and_its_rows_count_as_not_answered(shadow):
    found, counted = shadow([30, 60], a_model(50, rounds=NEVER), latency_ms=1.0)
    assert found == {}
    assert (counted["ShadowScored"], counted["ShadowErrors"]) == (0, 2)


def test_a_function_whose_time_is_up_leaves_the_rest_unanswered(shadow):
    found, counted = shadow([30, 60], a_model(50), seconds=20.0)
    assert (found, counted["ShadowErrors"]) == ({}, 2)


def test_a_shadow_whose_artifact_is_gone_answers_none_of_the_rows(cloud, now):
    cloud.ports.aliases.repoint(AliasRecord("churn", "shadow", 2, "models/churn/v2/gone.tar.gz", "1" * 64, 1, 1_000.0))
    row = Capture("r1", now, 1, ROW | {"age": 30}, "1", None)
    event = cloud.arrived(PRODUCTION, capture_line(row, model="churn", variant="production"))
    cloud.counted()
    cloud.call("score_shadow", event)
    ((_, counted),) = cloud.counted()
    assert (counted["ShadowErrors"], counted["RefusedArtifacts"]) == (1, 1)
    assert not list(cloud.ports.data.keys("captures/churn/shadow/"))


def test_a_shadow_that_can_not_be_loaded_answers_none_of_the_rows(shadow, cloud):
    found, counted = shadow([30, 60], b"no model")
    assert (found, counted["ShadowErrors"], counted["RefusedArtifacts"]) == ({}, 2, 1)
