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
            if member.name.startswith("evergreen/") and member.name.endswith(".py")
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


NEWER = {
    "contextlib": {"chdir"},
    "datetime": {"UTC"},
    "enum": {"EnumCheck", "FlagBoundary", "ReprEnum", "StrEnum", "member", "nonmember", "verify"},
    "hashlib": {"file_digest"},
    "itertools": {"batched"},
    "math": {"cbrt", "exp2", "sumprod"},
    "operator": {"call"},
    "typing": {"LiteralString", "Never", "Self", "TypeVarTuple", "Unpack", "assert_never", "assert_type", "override"},
    "wsgiref.types": {"StartResponse"},
}
"""What the standard library has had since Python 3.11 or 3.12."""
NEW_MODULES, NEW_BUILTINS = {"tomllib"}, {"ExceptionGroup", "BaseExceptionGroup"}


def newer(module):
    """Names of a module that Python 3.10 does not have."""
    typing_only = {
        id(node)
        for block in ast.walk(module)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(module):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.name in NEWER.get(node.module, ()))
            yield from {node.module} & NEW_MODULES
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & NEW_MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from {node.attr} & NEWER.get(node.value.id, set())
        elif isinstance(node, ast.Name):
            yield from {node.id} & NEW_BUILTINS
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "int.from_bytes":
            yield from [] if len(node.args) + len(node.keywords) > 1 else ["int.from_bytes without an order"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_written_in_python_3_10_and_asks_its_library_for_nothing_newer(source):
    for name, module in modules(SOURCES[source]).items():
        parsed = ast.parse(module, feature_version=(3, 10))
        assert list(newer(parsed)) == [], name


@pytest.mark.parametrize(
    "text",
    ["from datetime import UTC", "import enum\nclass A(enum.StrEnum): ...", "import tomllib", "int.from_bytes(b'1')"],
)
def test_what_python_3_10_does_not_have_is_seen(text):
    assert list(newer(ast.parse(text)))


@pytest.mark.parametrize("text", ["class X[T]: ...", "type X = int", "def f[T](x: T): ...", "try: ...\nexcept* E: ..."])
def test_syntax_that_python_3_10_does_not_have_is_seen(text):
    with pytest.raises(SyntaxError):
        ast.parse(text, feature_version=(3, 10))


def test_a_room_that_runs_on_lambda_alone_is_packed_into_no_source():
    with pytest.raises(RoomError, match=r"^usecases is none of the rooms that run on Python 3\.10: errors\.py, "):
        packed("model", "usecases")
