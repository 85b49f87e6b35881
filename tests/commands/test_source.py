"""`evergreen source`: the archive that a stack of this release packs, or one that brings everything."""

import hashlib
import json

from typer.testing import CliRunner

from evergreen.training.source import pack_source
from evergreen_ops.cli import app


def test_what_is_written_is_what_a_stack_packs(tmp_path):
    archive = tmp_path / "sourcedir.tar.gz"
    told = CliRunner().invoke(app, ["source", str(archive), "--json"])
    assert told.exit_code == 0, told.output
    content = archive.read_bytes()
    assert content == pack_source()
    assert json.loads(told.stdout) == {
        "archive": str(archive),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "entry_point": "train.py",
    }


def test_a_folder_that_is_not_there_is_named(tmp_path):
    told = CliRunner().invoke(app, ["source", str(tmp_path / "missing" / "sourcedir.tar.gz")])
    assert "there is no folder" in str(told.exception)
