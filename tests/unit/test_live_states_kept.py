"""States that were read lately are kept, up to a limit, and no version stays loaded for them."""

import gc
import hashlib
import weakref
from datetime import UTC, datetime, timedelta

from live_world import trained_archive

from evergreen.training.live_stored import started
from evergreen.training.live_version import LiveVersion
from evergreen.usecases.steps.live_states import LiveStateReader

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def loaded():
    archive = trained_archive("first")
    return LiveVersion.from_tar(archive, hashlib.sha256(archive).hexdigest(), 1)


class Stored:
    """An artifacts bucket that counts what is read."""

    def __init__(self):
        self.content, self.reads = {}, 0

    def get(self, key):
        self.reads += 1
        return self.content[key]

    def put(self, version, number):
        body = started(version, number, None, now=NOW, horizon=timedelta(days=9)).to_bytes()
        sha256 = hashlib.sha256(body).hexdigest()
        self.content[sha256] = body
        return sha256


def test_a_state_is_read_once_and_a_version_that_was_loaded_again_reads_it_again():
    stored, version = Stored(), loaded()
    key, reader = stored.put(version, 1), LiveStateReader(stored)
    first = reader.get(key, key, version)
    assert reader.get(key, key, version) is first
    assert stored.reads == 1
    again = loaded()
    assert reader.get(key, key, again) is not first
    assert reader.get(key, key, again).to_bytes() == first.to_bytes()
    assert stored.reads == 2


def test_a_version_that_nobody_uses_any_more_is_let_go_of():
    stored, version = Stored(), loaded()
    reader, key = LiveStateReader(stored), stored.put(version, 1)
    reader.get(key, key, version)
    gone = weakref.ref(version)
    del version
    gc.collect()
    assert gone() is None, "its graphs take far more memory than its states"


def test_with_a_version_go_its_states_when_the_next_one_is_read():
    stored, first, second = Stored(), loaded(), loaded()
    reader, old, new = LiveStateReader(stored), stored.put(first, 1), stored.put(second, 2)
    state = weakref.ref(reader.get(old, old, first))
    del first
    gc.collect()
    assert state() is not None
    reader.get(new, new, second)
    gc.collect()
    assert state() is None


def test_of_more_bytes_than_are_kept_those_go_that_were_not_used_longest():
    stored, version = Stored(), loaded()
    keys = [stored.put(version, number) for number in (1, 2, 3)]
    reader = LiveStateReader(stored, limit=sum(len(stored.content[key]) for key in keys[:2]) + 9)
    for key in (keys[0], keys[1], keys[0], keys[2], keys[0]):
        reader.get(key, key, version)
    assert stored.reads == 3
    reader.get(keys[1], keys[1], version)
    assert stored.reads == 4
