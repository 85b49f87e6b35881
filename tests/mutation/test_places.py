"""Dotted names of definitions: found where they are, and told where they went."""

import pytest
from places import Place, PlaceError, place

SOURCE = """\
LIMIT: int = 1
if LIMIT:
    def guarded():
        LOCAL = 2

class Ledger:
    table = "t"

    def note(self):
        def decide():
            return 1
        return decide()
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "layers/core/evergreen/domain").mkdir(parents=True)
    (tmp_path / "layers/core/evergreen/__init__.py").write_text("")
    (tmp_path / "layers/core/evergreen/domain/__init__.py").write_text("ROOT = 1\n")
    (tmp_path / "layers/core/evergreen/domain/state.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "line"),
    [("LIMIT", 1), ("guarded", 3), ("Ledger", 6), ("Ledger.table", 7), ("Ledger.note", 9), ("Ledger.note.decide", 10)],
)
def test_functions_classes_and_what_they_assign_are_found(tree, name, line):
    found = place(tree, f"evergreen.domain.state.{name}")
    assert found == Place("layers/core/evergreen/domain/state.py", name)
    assert found.node(SOURCE).lineno == line


def test_a_package_defines_things_too(tree):
    assert place(tree, "evergreen.domain.ROOT").file == "layers/core/evergreen/domain/__init__.py"


@pytest.mark.parametrize("gone", ["evergreen.domain.transitions.Ledger.note", "evergreen.ledger.Ledger.note"])
def test_what_moved_is_told_with_its_new_place(tree, gone):
    with pytest.raises(
        PlaceError, match=rf"^{gone} is not there; now there is evergreen\.domain\.state\.Ledger\.note$"
    ):
        place(tree, gone)


@pytest.mark.parametrize("name", ["evergreen.domain.state.LOCAL", "evergreen.domain.state.Ledger.forget"])
def test_what_nothing_is_called_is_said(tree, name):
    with pytest.raises(PlaceError, match="nothing is called so"):
        place(tree, name)


def test_what_is_defined_twice_is_refused():
    with pytest.raises(PlaceError, match=r"a\.py defines b 2 times, not once"):
        Place("a.py", "b").node("def b(): pass\ndef b(): pass\n")
