"""Request ids: the time is in them, they sort by it, and any other id is simply not one of ours."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.formats import request_ids

MILLISECOND = timedelta(milliseconds=1)
TIMES = st.integers(0, 7_258_118_399_999_999).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
BITS = st.integers(0, 2**74 - 1)


@given(TIMES, BITS)
def test_the_time_of_a_request_comes_back_out_of_its_id(time, bits):
    issued = request_ids.time_of(request_ids.uuid7(time, bits))
    assert timedelta(0) <= time - issued < MILLISECOND


@given(TIMES, BITS)
def test_an_id_is_a_uuid_of_version_7(time, bits):
    issued = uuid.UUID(request_ids.uuid7(time, bits))
    assert (issued.version, issued.variant) == (7, uuid.RFC_4122)


@given(TIMES, BITS, TIMES, BITS)
def test_ids_sort_by_time(first, first_bits, second, second_bits):
    earlier, later = sorted([first, second])
    if later - earlier >= MILLISECOND:
        assert request_ids.uuid7(earlier, first_bits) < request_ids.uuid7(later, second_bits)


@given(TIMES, BITS, BITS)
def test_two_requests_of_one_millisecond_differ_by_their_random_bits(time, one, other):
    assert (request_ids.uuid7(time, one) == request_ids.uuid7(time, other)) == (one == other)


@given(st.text())
def test_whatever_the_caller_used_as_id_is_looked_at_without_harm(text):
    assert request_ids.time_of(text) is None or uuid.UUID(text).version == 7


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "order-17",
        str(uuid.UUID(int=0)),
        str(uuid.uuid5(uuid.NAMESPACE_DNS, "a")),
        "ffffffff-ffff-7fff-bfff-" + "f" * 12,
    ],
    ids=["empty", "an order number", "nil", "version 5", "after the year 9999"],
)
def test_an_id_that_tells_no_time_is_looked_for_elsewhere(foreign):
    assert request_ids.time_of(foreign) is None
