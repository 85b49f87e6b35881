"""Feedback from the queue: a row is learned once, however the queue puts its batches together."""

import json

from evergreen.training.online import OnlineState
from evergreen.usecases.learn_online import state_key


def batch(*rows):
    """A batch of (id, label) as the queue delivers it."""
    bodies = [
        {
            "model": "churn",
            "inference_id": name,
            "label": label,
            "features": {"age": 41, "plan": "a"},
            "time": "2026-03-01",
        }
        for name, label in rows
    ]
    return {"Records": [{"messageId": f"m{i}", "body": json.dumps(body)} for i, body in enumerate(bodies)]}


def rows_learned(cloud):
    return OnlineState.from_bytes(cloud.ports.artifacts.get(state_key("churn"))).rows


def test_a_row_that_comes_again_in_another_batch_is_learned_once(cloud):
    cloud.applied(online={"enabled": True})
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    cloud.call("learn_online", batch(("b", "1"), ("c", "0")))
    assert rows_learned(cloud) == 3
    cloud.call("learn_online", batch(("c", "0"), ("a", "0")))
    assert rows_learned(cloud) == 3


def test_a_corrected_label_is_learned(cloud):
    cloud.applied(online={"enabled": True})
    cloud.call("learn_online", batch(("a", "0"), ("b", "1")))
    cloud.call("learn_online", batch(("a", "1")))
    assert rows_learned(cloud) == 3
