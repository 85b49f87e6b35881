"""One place for the project's version, and one for the version of every package that it needs."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import evergreen

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
PINS = {pin.name: pin for pin in map(Requirement, LINES)}
DIRECT = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
HASHED = sorted(
    {*ROOT.glob("functions/*/requirements.txt"), *ROOT.glob("layers/**/requirements.txt")}
    | set(ROOT.glob("infra/deploy/*/requirements.txt"))
)
# Installed by Lambda. Containers have a Python of their own, and so other versions.
FUNCTIONS = [*ROOT.glob("functions/*/requirements.txt"), *ROOT.glob("layers/*/requirements.txt")]


def needed(requirements):
    """Every distribution that the requirements lead to in this environment, by name."""
    found, waiting = {}, [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for asked in {"", *requirement.extras} - found.setdefault(name, set()):
            found[name].add(asked)
            waiting += [(Requirement(line), asked) for line in metadata.requires(name) or []]
    return set(found)


def test_the_version_is_the_packages_own():
    assert "version" in PROJECT["project"]["dynamic"]
    assert metadata.version("evergreen") == evergreen.__version__


def test_the_newest_release_of_the_changelog_is_the_version():
    released = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == evergreen.__version__


def test_a_pin_is_one_exact_version_and_names_no_host():
    assert len(PINS) == len(LINES)
    for pin in PINS.values():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert pin.url is None


def test_all_that_is_needed_here_is_pinned_and_installed_in_its_pinned_version():
    installed = {name: metadata.version(name) for name in needed(DIRECT)}
    assert installed == {name: str(PINS[name].specifier).removeprefix("==") for name in installed}


def test_the_package_offers_the_pins_as_an_extra_which_is_how_uv_reads_them():
    extra = [r for r in map(Requirement, metadata.requires("evergreen")) if "extra ==" in str(r.marker)]
    assert {r.name: r.specifier for r in extra} == {name: pin.specifier for name, pin in PINS.items()}


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.parent.name)
def test_lambda_installs_the_same_versions(path):
    named = re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(named) == {name: str(PINS[name].specifier).removeprefix("==") for name, _ in named}


@pytest.mark.parametrize("path", HASHED, ids=lambda path: str(path.relative_to(ROOT).parent))
def test_whatever_is_installed_for_the_stack_is_held_to_its_hash_and_comes_from_whichever_index(path):
    text = path.read_text(encoding="utf-8")
    entries = re.sub(r"\\\n\s+", "", text).splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[^\s;]+ (; [^-]+? )?(--hash=sha256:[0-9a-f]{64} ?)+", entry), entry[:80]


@pytest.mark.parametrize(
    "path", [p for p in HASHED if p.with_suffix(".in").exists()], ids=lambda path: path.parent.name
)
def test_what_is_asked_for_is_among_what_is_pinned(path):
    lines = [
        line.partition("#")[0].strip() for line in path.with_suffix(".in").read_text(encoding="utf-8").splitlines()
    ]
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    for asked in map(Requirement, filter(None, lines)):
        assert pinned[canonicalize_name(asked.name)] in asked.specifier, asked


def test_aws_s_image_alone_installs_what_a_source_asks_for():
    """An image with another Python brings everything itself: these pins could not be installed there."""
    for room in ("training", "serving"):
        text = (ROOT / "layers/core/evergreen" / room / "requirements.txt").read_text(encoding="utf-8")
        entries = [Requirement(line.split(" \\")[0]) for line in text.splitlines() if line[:1].isalnum()]
        assert entries
        assert all(one.marker.evaluate({"python_version": "3.10"}) for one in entries)
        assert not any(one.marker.evaluate({"python_version": "3.13"}) for one in entries)
