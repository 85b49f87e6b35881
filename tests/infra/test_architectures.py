"""What `sam build` leaves for each processor: its own libraries, and each module that a function starts with."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from small_cloud import ROOT

from local_cloud.services.lambda_.runtime_api import linked_packages

pytestmark = pytest.mark.built
BUILDS = {"x86_64": ROOT / ".aws-sam" / "build", "arm64": ROOT / ".aws-sam" / "arm64"}
MACHINES = {62: "x86_64", 183: "arm64"}  # e_machine of https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
LIBRARIES = {"x86_64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}  # in the names of extension modules
FUNCTIONS = sorted(
    "".join(word.title() for word in path.parent.name.split("_")) for path in ROOT.glob("functions/*/app.py")
)
LOADS = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import app
print(json.dumps([file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]))
"""


def machine(path: Path) -> str | None:
    """The processor that a file is made for; None where it is no ELF file."""
    with path.open("rb") as opened:
        head = opened.read(20)
    if head[:4] != b"\x7fELF":
        return None
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    return MACHINES.get(number, str(number))


def distributions(folder: Path) -> set[str]:
    """The packages in a build, with their versions."""
    return {path.name for path in folder.rglob("*.dist-info")}


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A processor, and the build for it."""
    return request.param, BUILDS[request.param]


def test_every_library_is_made_for_the_builds_processor(build: tuple[str, Path]) -> None:
    architecture, folder = build
    machines = {path: found for path in folder.rglob("*") if path.is_file() and (found := machine(path)) is not None}
    assert {path: found for path, found in machines.items() if found != architecture} == {}
    assert {path.relative_to(folder).parts[0] for path in machines} >= {"CoreLayer", "Predict", "Reconcile"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's own runtime brings."""
    return linked_packages(("awslambdaric", "boto3"), tmp_path_factory.mktemp("runtime") / "packages")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_starts_with_its_own_package_and_layer_alone(function: str, runtime: Path) -> None:
    """On this machine's processor; for the other one each module that was loaded is there, of the same version."""
    here, there = BUILDS["x86_64"], BUILDS["arm64"]
    own = [here / function, here / "CoreLayer" / "python"]
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADS, json.dumps([str(path) for path in (*own, runtime)])],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    files = [Path(file) for file in json.loads(loaded.stdout)]
    brought = [file.relative_to(here) for file in files if file.is_relative_to(here)]
    assert Path(function, "app.py") in brought
    assert Path("CoreLayer", "python", "evergreen", "bootstrap.py") in brought
    elsewhere = [there / str(file).replace(LIBRARIES["x86_64"], LIBRARIES["arm64"]) for file in brought]
    assert [file for file in elsewhere if not file.is_file()] == []
    assert distributions(there / function) == distributions(here / function)
    assert distributions(there / "CoreLayer") == distributions(here / "CoreLayer")
