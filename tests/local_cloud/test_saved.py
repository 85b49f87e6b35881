"""A cloud that comes back: what it answers, and how it goes on, is what it would have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept_world import STEPS, Step, came_back, elsewhere, lived

BY_THE_MACHINE = {"keep_secret", "make_bucket", "make_key", "make_stack"}
"""moto dates buckets by the machine's clock, and takes keys and secrets' versions from the machine's random numbers."""

A_STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(0, 9))
A_LATER_STEP = st.tuples(st.sampled_from(sorted({*STEPS} - BY_THE_MACHINE)), st.integers(0, 2), st.integers(0, 9))
FIRST = ["make_bucket", "make_role", "make_queue", "make_table"]  # what others need
EACH = [(name, 0, value) for value in (1, 2) for name in (*FIRST, *sorted({*STEPS} - {*FIRST}))]


def differences(steps: Sequence[Step], later: Sequence[Step]) -> dict[str, Any]:
    """What a cloud that comes back answers otherwise than one that stayed: at once, and after some more steps."""
    state, *stayed = elsewhere(lived, steps, later)
    back = elsewhere(came_back, state, later)
    return {
        f"{when}: {name}": (one.get(name), other.get(name))
        for when, one, other in zip(("at once", "later"), stayed, back, strict=True)
        for name in {*one, *other}
        if one.get(name) != other.get(name)
    }


def test_a_cloud_with_everything_in_it_comes_back() -> None:
    later: list[Step] = [("put_item", 0, 3), ("send", 0, 4), ("put_object", 0, 5), ("call", 0, 6), ("pass_time", 0, 2)]
    assert differences(EACH, later) == {}


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(A_STEP, min_size=5, max_size=30), st.lists(A_LATER_STEP, max_size=6))
def test_whatever_happened_a_cloud_comes_back_in_another_process_and_goes_on_as_if_it_had_stayed(
    steps: list[Step], later: list[Step]
) -> None:
    assert differences(steps, later) == {}
