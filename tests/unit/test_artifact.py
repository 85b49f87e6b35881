"""Reading an archive of a training job: in memory, within limits, and to its checksum."""

import gzip
import io
import random
import tarfile

import pytest

from evergreen.model import archive
from evergreen.model.archive import ArtifactError, pack, unpack

NAMES = ("model.onnx", "model.json", "reference.json")


def archived(*members, kind=tarfile.REGTYPE):
    """A tar.gz of (name, content) as other programs write it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            member.linkname = "model.onnx"
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_files_are_found_whatever_stands_around_them():
    content = archived(("./model.json", b"{}"), ("notes/model.onnx", b"-"), ("model.onnx", b"+"))
    assert unpack(content, NAMES) == {"model.json": b"{}", "model.onnx": b"+"}


@pytest.mark.parametrize("name", ["/model.json", "../model.json", "a/../model.json"])
def test_a_path_is_no_file_of_ours(name):
    assert unpack(archived((name, b"{}")), NAMES) == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_is_no_file(kind):
    assert unpack(archived(("model.json", b""), kind=kind), NAMES) == {}


def test_a_file_that_is_there_twice_is_refused():
    """The gate would judge the one, and a runtime load the other."""
    with pytest.raises(ArtifactError, match=r"holds model\.json twice"):
        unpack(archived(("model.json", b"{}"), ("./model.json", b"[]")), NAMES)


def test_what_is_larger_than_any_model_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_JSON", 10)
    with pytest.raises(ArtifactError, match=r"'model\.json' has 11 bytes, 10 is the limit"):
        unpack(archived(("model.json", b"{         }")), NAMES)
    monkeypatch.setattr(archive, "LARGEST_CONTENT", 1_000)
    with pytest.raises(ArtifactError, match=r"1,001 bytes in 1 members"):
        unpack(archived(("whatever", bytes(1_001))), NAMES)
    with pytest.raises(ArtifactError, match="members, 1,000 bytes in 1,000 are the limit"):
        unpack(archived(*((f"n{i}", b"") for i in range(1_001))), NAMES)
    with pytest.raises(ArtifactError, match="far behind the end"):
        unpack(gzipped_behind(20_000), NAMES)


def gzipped_behind(zeros):
    """An archive that ends, and a stream that does not."""
    return gzip.compress(gzip.decompress(archived(("model.json", b"{}"))) + bytes(zeros))


@pytest.mark.parametrize("content", [b"", b"nonsense", pack({"model.json": b"{}"})[:-1], b"\x1f\x8b\x08"])
def test_what_is_no_whole_archive_is_refused(content):
    with pytest.raises(ArtifactError, match=r"no readable model\.tar\.gz"):
        unpack(content, NAMES)


def test_a_flipped_bit_never_changes_what_is_read():
    """Each bit of an archive: it is refused, or one of the few bits of gzip's header that nobody reads.

    An archive ends before its stream does, and the stream's checksum stands at its end.
    """
    content = pack({"model.onnx": random.Random(0).randbytes(300), "model.json": b'{"a": 1}', "reference.json": b"{}"})
    whole, refused = unpack(content, NAMES), 0
    for place in range(8 * len(content)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        try:
            assert unpack(bytes(changed), NAMES) == whole
        except ArtifactError:
            refused += 1
    assert refused > 0.95 * 8 * len(content)
