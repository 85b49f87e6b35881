"""Tests run in copies of a tree: who fails is told, who survives too, and the tree stays as it was."""

import pytest
import running
from running import NotRunError, bench

MODULE = "layers/core/small.py"
TEST = "tests/test_small.py"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "LIBRARIES", ())
    for name in running.COPIED:
        folder = (tmp_path / name) if "." not in name else (tmp_path / name).parent
        folder.mkdir(exist_ok=True)
    for name in ("template.yaml", "README.md", "pyproject.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "layers/core").mkdir()
    (tmp_path / MODULE).write_text("def is_safe(value):\n    return value > 0\n")
    (tmp_path / TEST).write_text(
        "from small import is_safe\n\n"
        "def test_safe():\n    assert is_safe(1)\n\n"
        "def test_not_safe():\n    assert not is_safe(-1)\n\n"
        "def test_broken():\n    assert False\n"
    )
    return tmp_path


def test_the_test_that_notices_is_named_and_a_survivor_has_none(tree):
    tests = (f"{TEST}::test_safe", f"{TEST}::test_not_safe")
    before = (tree / MODULE).read_text()
    changes = {
        "killed": ({MODULE: "def is_safe(value):\n    return True\n"}, tests),
        "survivor": ({MODULE: "def is_safe(value):\n    return value >= 0\n"}, tests),
    }
    with bench(tree) as ours:
        assert ours.require_passing(tests) > 0
        runs = dict(ours.tried(changes))
    assert {name: run.failed for name, run in runs.items()} == {"killed": tests[1], "survivor": None}
    assert (tree / MODULE).read_text() == before


@pytest.mark.parametrize(
    ("test", "reason"),
    [("test_broken", "test_broken fails without any mutant"), ("test_gone", r"(?s)test_gone did not run: .*not found")],
)
def test_what_fails_or_does_not_run_without_a_mutant_kills_none(tree, test, reason):
    with bench(tree) as ours, pytest.raises(NotRunError, match=reason):
        ours.require_passing([f"{TEST}::{test}"])
