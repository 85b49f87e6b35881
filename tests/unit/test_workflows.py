"""What GitHub runs: every action by its commit, every word from the Makefile, no right that is not needed."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github").rglob("*.y*ml"))
WORKFLOWS = [path for path in FILES if path.parent.name == "workflows"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORDS = set(re.findall(r"^([a-z]+):(?!=)", MAKEFILE, re.MULTILINE))
SPEAK_OF_WORDS = [*WORKFLOWS, ROOT / "CONTRIBUTING.md", ROOT / ".github/PULL_REQUEST_TEMPLATE.md"]


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def runs_of(path):
    """Every command of a workflow's matrices."""
    jobs = read(path)["jobs"].values()
    return [part["run"] for job in jobs for part in job.get("strategy", {}).get("matrix", {}).get("include", [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_yaml(path):
    assert read(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_its_commit_and_says_which_version_that_is(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"^\s*-?\s*uses: (.+)$", text, re.MULTILINE)
    assert len(used) == text.count("uses:") > 0
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_an_action_has_one_version_everywhere():
    used = {action for path in WORKFLOWS for action in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))}
    assert len({action.partition("@")[0] for action in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_a_job_says_what_else_it_needs(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    writes = {name for name, job in workflow["jobs"].items() if "write" in str(job.get("permissions"))}
    assert writes == ({"publish"} if path.name == "release.yml" else set())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_ends_and_a_checkout_keeps_no_token(path):
    for job in read(path)["jobs"].values():
        assert job["timeout-minutes"] <= 180
        for step in job["steps"]:
            assert "checkout" not in step.get("uses", "") or step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", SPEAK_OF_WORDS, ids=lambda path: path.name)
def test_each_word_is_the_makefiles(path):
    called = re.findall(r"(?:`|run: |^\s*)make\b([^`}\n]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    words = {word for line in called for word in re.sub(r'"[^"]*"', "", line).split() if re.fullmatch("[a-z]+", word)}
    assert words
    assert words <= WORDS


def test_the_paths_that_words_name_are_there():
    recipes = "\n".join(line for line in MAKEFILE.splitlines() if line.startswith("\t"))
    named = re.findall(r"tests/[\w./]+", recipes)
    assert named
    assert all((ROOT / path).exists() for path in named)


@pytest.mark.parametrize("word", ["test", "slow"])
def test_what_one_part_of_ci_leaves_out_another_one_runs(word):
    runs = [run for run in runs_of(ROOT / ".github/workflows/ci.yml") if run.startswith(f"make {word} ")]
    left_out = {path for run in runs for path in re.findall(r"--ignore=([\w/]+)", run)}
    named = {path for run in runs for path in re.findall(r'[ "](tests/\w+)', run)}
    in_words_of_their_own = {"tests/unit", "tests/contract", "tests/local_cloud"} if word == "test" else set()
    assert left_out == named | in_words_of_their_own
    assert all(path in MAKEFILE for path in in_words_of_their_own)
    assert any("--ignore" in run for run in runs)
