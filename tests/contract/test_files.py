"""Objects in S3: read, written, and written only over what was read."""

import hashlib

import pytest

from evergreen.aws.files import S3Files
from evergreen.errors import ConflictingWriteError


@pytest.fixture
def client(aws):
    return aws("s3")


@pytest.fixture
def files(client):
    client.create_bucket(Bucket="data")
    return S3Files(client, "data")


def test_what_was_put_is_got(files):
    etag = files.put("a/b.json", b"{}", content_type="application/json")
    assert etag == hashlib.md5(b"{}").hexdigest()
    assert files.get("a/b.json") == b"{}"
    assert files.get_with_etag("a/b.json") == (b"{}", etag)


def test_what_is_not_there_is_named(files):
    with pytest.raises(FileNotFoundError, match=r"s3://data/a/b\.json does not exist"):
        files.get("a/b.json")
    assert files.get_with_etag("a/b.json") is None


def test_a_new_object_is_written_once(files):
    files.put_if("state", b"one", etag=None)
    with pytest.raises(ConflictingWriteError) as refused:
        files.put_if("state", b"two", etag=None)
    assert refused.value.key == "state"
    assert files.get("state") == b"one"


def test_a_write_over_what_was_read_is_let_through(files):
    etag = files.put_if("state", b"one", etag=None)
    newer = files.put_if("state", b"two", etag=etag)
    assert files.get_with_etag("state") == (b"two", newer)


def test_a_write_over_what_somebody_else_wrote_is_refused(files):
    etag = files.put("state", b"one")
    files.put("state", b"theirs")
    with pytest.raises(ConflictingWriteError, match="read it and write again"):
        files.put_if("state", b"two", etag=etag)
    assert files.get("state") == b"theirs"


def test_a_write_over_what_is_gone_is_refused(files):
    etag = files.put("state", b"one")
    files.delete("state")
    with pytest.raises(ConflictingWriteError):
        files.put_if("state", b"two", etag=etag)


def test_deleting_twice_is_deleting_once(files):
    files.put("a", b"")
    files.delete("a")
    files.delete("a")
    assert list(files.keys("")) == []


def pages_of_two(params, **_):
    params["MaxKeys"] = 2


def test_keys_below_a_prefix_come_in_order_beyond_one_page(client, files):
    client.meta.events.register("provide-client-params.s3.ListObjectsV2", pages_of_two)
    for name in ("many/b", "many/e", "other", "many/a", "many/d", "many/c"):
        files.put(name, b"")
    assert list(files.keys("many/")) == ["many/a", "many/b", "many/c", "many/d", "many/e"]


def test_an_object_has_a_uri(files):
    assert files.uri("a/b.json") == "s3://data/a/b.json"


def test_what_lies_below_a_prefix_is_listed_with_its_etag(files):
    etags = {key: files.put(key, key.encode()) for key in ("a/2", "a/1", "b/1")}
    assert list(files.etags("a/")) == [("a/1", etags["a/1"]), ("a/2", etags["a/2"])]
    assert list(files.keys("")) == ["a/1", "a/2", "b/1"]
    assert list(files.etags("c/")) == []
