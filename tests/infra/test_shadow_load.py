"""A load over real HTTP, from a process of its own: whatever the shadow does, the answers are the same."""

import pytest
from http_load import SHADOWS, served
from small_cloud import CHURN
from tipping_model import a_model

REQUESTS = 150


@pytest.mark.slow
def test_whatever_the_shadow_does_callers_see_the_same_answers():
    with served(CHURN, {"plan": "a"}, "age") as model:
        model.put("production", 1, a_model(40))
        seen, did = {"off": model.asked(REQUESTS)}, {}
        for version, (name, content) in enumerate(SHADOWS.items(), start=2):
            model.put("shadow", version, content)
            model.asked(REQUESTS)
            with model.captures_at_work():
                seen[name] = model.asked(REQUESTS)
            # Before the alias moves on: score_shadow works on the version it finds there, a retry's late one too.
            did[name] = tuple(count > 0 for count in model.shadowed(version))
        assert all(one["statuses"] == {"200": REQUESTS} for one in seen.values())
        assert {name: one["answers"] for name, one in seen.items()} == dict.fromkeys(seen, seen["off"]["answers"])
        # What it did shows in its own numbers: the first answered, the others did not.
        assert did == {"on": (True, False), "hanging": (False, True), "throwing": (False, True)}
