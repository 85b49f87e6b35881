"""What runs on the Python 3.10 of AWS's containers: one list of rooms, which ruff and both packed sources go by."""

import ast
import io
import tarfile
import tomllib
from pathlib import Path

import pytest

from evergreen.model.rooms import ROOMS, RoomError, packed
from evergreen.serving import source as serving
from evergreen.training import source as training

ROOT = Path(__file__).parents[2]
CORE = "layers/core/evergreen"
SOURCES = {"training": training.pack_source, "serving": serving.pack_source}


def modules(pack):
    """The package's modules in a source, by their names there."""
    with tarfile.open(fileobj=io.BytesIO(pack()), mode="r:gz") as archive:
        return {
            member.name: archive.extractfile(member).read()
            for member in archive
            if member.name.startswith("evergreen/")
        }


def imported(module):
    """Everything of the package that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "evergreen")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "evergreen":
            yield node.module


def test_ruff_holds_exactly_these_rooms_to_their_python():
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["per-file-target-version"]
    assert targets == {f"{CORE}/{room if room.endswith('.py') else f'{room}/**'}": "py310" for room in ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_there(room):
    assert (ROOT / CORE / room).exists()


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_holds_nothing_but_modules_of_these_rooms(source):
    for name in modules(SOURCES[source]):
        place = name.removeprefix("evergreen/")
        assert place.endswith("__init__.py") or any(place == room or place.startswith(f"{room}/") for room in ROOMS)


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_holds_all_that_its_modules_import(source):
    held = modules(SOURCES[source])
    for name, module in held.items():
        for other in imported(module):
            place = other.replace(".", "/")
            assert {f"{place}.py", f"{place}/__init__.py"} & held.keys(), f"{name} imports {other}"


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_holds_the_errors(source):
    assert "evergreen/errors.py" in modules(SOURCES[source])


def test_a_room_that_runs_on_lambda_alone_is_packed_into_no_source():
    with pytest.raises(RoomError, match=r"^usecases is none of the rooms that run on Python 3\.10: errors\.py, "):
        packed("model", "usecases")
