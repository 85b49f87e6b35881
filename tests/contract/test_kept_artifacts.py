"""Artifacts kept on the function's own disk: never other bytes than the recorded ones, never too many, never needed."""

import hashlib
import os
import threading
from types import SimpleNamespace

import pytest

from evergreen.aws.kept_artifacts import KeptArtifacts


class Bucket:
    """Objects, and how often each was fetched."""

    def __init__(self, **objects):
        self.objects, self.fetched = objects, []

    def get(self, key):
        self.fetched.append(key)
        return self.objects[key]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def bucket():
    return Bucket(one=b"1" * 100, two=b"2" * 100, three=b"3" * 100)


def kept(bucket, folder, limit=1_000):
    def get(key):
        return KeptArtifacts(bucket, folder, limit).get(key, sha256(bucket.objects[key]))

    return SimpleNamespace(get=get, names=lambda: sorted(path.name for path in folder.iterdir()))


def test_what_was_fetched_once_is_not_fetched_again(bucket, tmp_path):
    artifacts = kept(bucket, tmp_path / "new")
    assert [artifacts.get("one"), artifacts.get("one")] == [b"1" * 100] * 2
    assert bucket.fetched == ["one"]


@pytest.mark.parametrize("damage", [b"", b"1" * 99, b"1" * 99 + b"2"], ids=["emptied", "cut off", "one byte changed"])
def test_a_copy_that_was_changed_is_fetched_again(bucket, tmp_path, damage):
    artifacts = kept(bucket, tmp_path)
    artifacts.get("one")
    (copy,) = tmp_path.iterdir()
    copy.write_bytes(damage)
    assert artifacts.get("one") == b"1" * 100
    assert bucket.fetched == ["one", "one"]
    assert copy.read_bytes() == b"1" * 100


def test_bytes_that_are_not_the_recorded_ones_are_not_kept(bucket, tmp_path):
    found = KeptArtifacts(bucket, tmp_path, 1_000).get("one", sha256(b"other"))
    assert found == b"1" * 100, "they are the caller's to refuse"
    assert list(tmp_path.iterdir()) == []


def test_the_copies_that_were_not_read_for_longest_go_first(bucket, tmp_path):
    artifacts = kept(bucket, tmp_path, limit=250)
    for age, key in enumerate(("one", "two")):
        artifacts.get(key)
        os.utime(tmp_path / sha256(bucket.objects[key]), (1_000 + age, 1_000 + age))
    artifacts.get("one")
    artifacts.get("three")
    assert artifacts.names() == sorted([sha256(b"1" * 100), sha256(b"3" * 100)])


def test_what_somebody_left_unfinished_goes_too(bucket, tmp_path):
    (tmp_path / "unfinished").write_bytes(b"x" * 900)
    os.utime(tmp_path / "unfinished", (1_000, 1_000))
    artifacts = kept(bucket, tmp_path, limit=950)
    artifacts.get("one")
    assert artifacts.names() == [sha256(b"1" * 100)]


@pytest.mark.parametrize("limit", [0, 99])
def test_what_does_not_fit_is_answered_and_not_kept(bucket, tmp_path, limit):
    artifacts = kept(bucket, tmp_path, limit)
    assert artifacts.get("one") == b"1" * 100
    assert artifacts.names() == []


def test_a_disk_that_can_not_be_written_keeps_nothing_and_harms_nobody(bucket, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be here")
    artifacts = kept(bucket, blocked)
    assert [artifacts.get("one"), artifacts.get("one")] == [b"1" * 100] * 2
    assert bucket.fetched == ["one", "one"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is simulated by a device of Linux")
def test_a_full_disk_keeps_nothing_and_harms_nobody(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(tmp_path / "half")))
    artifacts = kept(bucket, tmp_path)
    assert artifacts.get("one") == b"1" * 100
    assert artifacts.names() == []


def test_functions_on_one_machine_may_share_the_folder(bucket, tmp_path):
    artifacts, found = kept(bucket, tmp_path, limit=250), []

    def read():
        for _ in range(20):
            found.extend(artifacts.get(key) == bucket.objects[key] for key in ("one", "two", "three"))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 240
    assert all(found)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 600  # each of four may add one at a time
