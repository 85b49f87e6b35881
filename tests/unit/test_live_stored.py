"""A live state as it is stored: rows are learned once and in order, whatever comes again and however it is split."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_world import people, trained_archive

from evergreen.training import plain_arrays
from evergreen.training.live_stored import (
    Earlier,
    LiveFile,
    LiveRow,
    LiveStateError,
    StoredState,
    learned,
    started,
)
from evergreen.training.live_version import LiveVersion

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RANDOM = np.random.default_rng(8)
PEOPLE, AGES = people(RANDOM, 240)


@cache
def version(number=1):
    if number == 1:
        archive = trained_archive("first")
    else:
        archive = trained_archive("second", archive=trained_archive("first"), production=1)
    return LiveVersion.from_tar(archive, hashlib.sha256(archive).hexdigest(), number)


def rows(first, last, *, minutes=10):
    """Rows of a world that has turned: everybody leaves who stayed before, and the other way round."""
    return [
        LiveRow(
            f"row-{i}",
            BEGIN + i * timedelta(minutes=minutes),
            BEGIN + i * timedelta(minutes=minutes) + HOUR,
            PEOPLE[i],
            str(int(AGES[i] < 40)),
        )
        for i in range(first, last)
    ]


def begun(number=1, parent=None, *, now=BEGIN, horizon=30 * DAY):
    return started(version(number), number, parent, now=now, horizon=horizon)


class Chain:
    """States that follow one another, and the bytes of each."""

    def __init__(self, first):
        self.state, self.bytes = first, {}

    def learn(self, *files, late=0.0, after=HOUR, matured=BEGIN + 99 * DAY):
        body = self.state.to_bytes()
        sha256 = hashlib.sha256(body).hexdigest()
        self.bytes[sha256] = body
        now = self.state.since + after
        self.state = learned(
            self.state,
            sha256,
            files,
            version=version(self.state.version),
            load=self.load,
            late=late,
            matured=matured,
            now=now,
        )
        return self

    def load(self, earlier):
        body = self.bytes.get(earlier.sha256)
        return None if body is None else StoredState.from_bytes(body, earlier.sha256, version(self.state.version))


def read(state):
    body = state.to_bytes()
    return StoredState.from_bytes(body, hashlib.sha256(body).hexdigest(), version(state.version))


def test_a_state_that_was_stored_is_the_state_that_was_written():
    chain = Chain(begun()).learn(LiveFile("a", rows(0, 100))).learn(LiveFile("b", rows(100, 140)), late=7.0)
    state = chain.state
    again = read(state)
    assert again.to_bytes() == state.to_bytes()
    assert (again.number, again.since, again.files, again.late) == (3, BEGIN + 2 * HOUR, ("b",), 7.0)
    asked = version().asked(PEOPLE[:20], state.preparation)
    assert again.state.answer(asked).fresh.tolist() == state.state.answer(asked).fresh.tolist()


@given(st.lists(st.integers(0, 11), min_size=1, max_size=30))
def test_a_row_is_learned_once_however_often_its_file_comes(order):
    files = [LiveFile(f"file {i} as it came at {place}", rows(20 * i, 20 * i + 20)) for place, i in enumerate(order)]
    chain = Chain(begun())
    for file in files:
        chain.learn(file)
    assert chain.state.state.rows == 20 * len(set(order))
    assert chain.state.state.linear.rows - begun().state.linear.rows == 20 * len(set(order))


def test_rows_whose_like_may_still_get_labels_are_left_until_they_do_not():
    file = LiveFile("a", rows(0, 60))
    begun_at = begun()
    assert not begun_at.gains_by(file, BEGIN - HOUR)
    chain = Chain(begun_at).learn(file, matured=BEGIN + 4 * HOUR)
    assert (chain.state.state.rows, chain.state.knows_file("a")) == (25, False)
    assert not chain.state.gains_by(file, BEGIN + 4 * HOUR)
    assert chain.state.gains_by(file, BEGIN + 5 * HOUR)
    chain.learn(file)
    assert (chain.state.state.rows, chain.state.knows_file("a")) == (60, True)
    assert not chain.state.gains_by(file, BEGIN + 99 * DAY)


def test_rows_of_a_file_are_learned_by_time_whatever_their_order_in_it():
    some = rows(0, 60)
    one = Chain(begun()).learn(LiveFile("a", some)).state
    other = Chain(begun()).learn(LiveFile("a", some[::-1])).state
    assert one.to_bytes() == other.to_bytes()


def test_of_an_id_that_a_file_holds_twice_the_last_label_counts():
    (row,) = rows(0, 1)
    wrong = replace(row, actual="10"[int(row.actual)])
    one = Chain(begun()).learn(LiveFile("a", [wrong, row])).state
    other = Chain(begun()).learn(LiveFile("a", [row])).state
    assert one.to_bytes() == other.to_bytes()


def test_files_that_were_learned_are_known():
    state = Chain(begun()).learn(LiveFile("a", rows(0, 3)), LiveFile("empty", [])).state
    assert [read(state).knows_file(name) for name in ("a", "empty", "b")] == [True, True, False]


def test_a_row_that_was_asked_too_long_ago_is_not_learned():
    chain = Chain(begun(horizon=DAY, now=BEGIN + 2 * DAY)).learn(LiveFile("a", rows(0, 240)))
    first = next(row for row in rows(0, 240) if row.time >= BEGIN + DAY + HOUR)
    assert chain.state.state.rows == 240 - int(first.event_id.removeprefix("row-"))
    later = chain.learn(LiveFile("b", rows(0, 240)), after=DAY).state
    assert later.state.rows == chain.state.state.rows, "what is forgotten is too old to come again"
    assert len(later.known["rows"]) < 240


def test_rows_are_judged_by_the_state_that_answered_them():
    """The first hundred were asked before there was a state, the next by the first state, and so on."""
    chain = Chain(begun(now=BEGIN + timedelta(minutes=10 * 100)))
    chain.learn(LiveFile("a", rows(0, 60)), after=timedelta(minutes=10 * 40))
    assert chain.state.days == {}, "nobody was there to answer"
    assert chain.state.state.rows == 60
    chain.learn(LiveFile("b", rows(60, 140)), after=timedelta(minutes=10 * 100))
    assert sum(day.rows for day in chain.state.days.values()) == 40
    by_first = begun().state.answer(version().asked(PEOPLE[100:140], chain.state.preparation))
    codes = np.array([int(age < 40) for age in AGES[100:140]])
    right = int((by_first.fresh.argmax(1) == codes).sum())
    assert sum(day.fresh_right for day in chain.state.days.values()) == right


def test_who_answered_rows_that_may_still_come_is_remembered_and_the_others_are_not():
    chain = Chain(begun(horizon=3 * HOUR))
    for number in range(6):
        chain.learn(LiveFile(f"file {number}", rows(6 * number, 6 * number + 6)))
    assert [each.number for each in chain.state.earlier] == [3, 4, 5, 6]
    assert chain.state.of_time(chain.state.since - HOUR / 2) == chain.state.earlier[-1]
    assert chain.state.of_time(chain.state.since) == chain.state.number
    assert chain.state.of_time(BEGIN) is None


def test_where_an_earlier_state_is_gone_its_rows_are_learned_and_judge_nobody():
    chain = Chain(begun()).learn(LiveFile("a", rows(0, 6)))
    chain.bytes.clear()
    chain.learn(LiveFile("b", rows(0, 5) + rows(7, 12)))
    assert chain.state.state.rows == 11
    assert sum(day.rows for day in chain.state.days.values()) == 6 + 5


def test_a_row_is_judged_by_the_state_that_its_capture_names_and_else_by_that_of_its_time():
    """A container looks for a newer state from time to time: for a while it answers by the one before."""
    chain = Chain(begun()).learn(LiveFile("a", rows(0, 120)), after=20 * HOUR)
    late = [row for row in rows(120, 140) if row.time >= chain.state.since]
    assert late
    judged = []
    for states in ({}, {1: 2}, {1: 1}, {2: 1}, {1: 99}):
        file = LiveFile("b", [replace(row, states=states) for row in late])
        told = Chain(chain.state)
        told.bytes = dict(chain.bytes)
        days = told.learn(file).state.days.values()
        judged.append(sum(day.fresh_right for day in days))
    by_time, named, by_the_one_before, another_versions, unknown = judged
    assert by_time == named == another_versions == unknown > by_the_one_before


def test_a_version_goes_on_from_its_ancestors_state_and_then_by_itself():
    first = Chain(begun()).learn(LiveFile("a", rows(0, 120))).state
    second = begun(2, first, now=first.since)
    assert (second.number, second.parent) == (1, "version 1, state 2")
    assert [member.number for member in second.state.members] == [1, 2]
    assert second.state.members[0].counts == first.state.members[0].counts
    assert second.knows_file("a")
    chain = Chain(second).learn(LiveFile("b", rows(100, 140)))
    assert chain.state.state.rows == 140, "twenty of them were known"
    assert first.state.rows == 120


def test_a_version_that_has_no_member_in_common_starts_anew():
    stranger = Chain(begun()).learn(LiveFile("a", rows(0, 120))).state
    first = started(
        version(2), 2, StoredState(9, 4, BEGIN, stranger.preparation, stranger.state), now=BEGIN, horizon=DAY
    )
    assert (first.parent, first.state.rows) == ("", 0)


def test_one_flipped_bit_and_the_bytes_are_refused():
    body = Chain(begun()).learn(LiveFile("a", rows(0, 20))).state.to_bytes()
    digest = hashlib.sha256(body).hexdigest()
    with pytest.raises(LiveStateError, match="changed after it was stored"):
        StoredState.from_bytes(body[:-1] + bytes([body[-1] ^ 1]), digest, version())


@given(st.data())
def test_bytes_that_are_damaged_with_their_hash_raise_nothing_else(data):
    body = bytearray(Chain(begun()).state.to_bytes())
    cut = data.draw(st.integers(0, len(body) - 1))
    damaged = bytes(body[:cut])
    with pytest.raises(LiveStateError):
        StoredState.from_bytes(damaged, hashlib.sha256(damaged).hexdigest(), version())


def test_a_state_of_another_version_is_refused():
    body = begun().to_bytes()
    with pytest.raises(LiveStateError, match="members"):
        StoredState.from_bytes(body, hashlib.sha256(body).hexdigest(), version(2))


def test_the_state_of_now_names_itself_among_the_earlier_ones_of_the_next():
    chain = Chain(begun())
    sha256 = hashlib.sha256(chain.state.to_bytes()).hexdigest()
    assert chain.learn(LiveFile("a", rows(0, 2))).state.earlier == (Earlier(1, BEGIN, sha256),)


def test_what_was_learned_in_one_go_is_what_was_learned_from_stored_states():
    files = [LiveFile(f"f{n}", rows(30 * n, 30 * n + 60)) for n in range(6)]
    remembered, stored = Chain(begun()), Chain(begun())
    for file in files:
        remembered.learn(file, late=9.0)
        stored.learn(file, late=9.0)
        stored.state = read(stored.state)
    assert remembered.state.to_bytes() == stored.state.to_bytes()


def test_a_state_of_an_earlier_release_knows_how_long_labels_took_and_waits_for_nearly_all():
    state = Chain(begun()).learn(LiveFile("a", rows(0, 100))).state
    header, joined = plain_arrays.read(b"EVGLIVE", state.to_bytes())
    arrays = plain_arrays.Arrays()
    assert header.pop("compared_with")
    assert header.pop("missed")
    assert header.pop("longest")
    arrays.put(np.frombuffer(joined, dtype=np.uint8))
    body = plain_arrays.write(b"EVGLIVE", header, arrays)
    old = StoredState.from_bytes(body, hashlib.sha256(body).hexdigest(), version())
    assert old.delays.counts.sum() == state.delays.counts.sum() > 0
    assert not old.delays.compared_with.any()
