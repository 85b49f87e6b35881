"""Each safeguard is there because a test fails without it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from choosing import called_for, changed_since
from edits import never, replaced
from mutants import MUTANTS, Change, Mutant, SourceChangedError
from places import definitions

ROOT = Path(__file__).parents[2]
EVERY_MUTANT = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.safeguard)


def mutation(*arguments):
    command = [sys.executable, ROOT / "tests" / "mutation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_no_safeguard_can_be_turned_off_unnoticed():
    """Of a pull request, which sets EVERGREEN_BASE to the revision it starts from, what it may have to do with."""
    base = os.environ.get("EVERGREEN_BASE")
    ran = mutation(*(["--changed-since", base] if base else []))
    print(f"\n{ran.stdout}")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@EVERY_MUTANT
def test_a_mutant_fits_the_source_and_is_python_that_says_something_else(mutant):
    texts = mutant.made(ROOT)
    assert texts
    for file, text in texts.items():
        compile(text, file, "exec")
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse((ROOT / file).read_text()))


@EVERY_MUTANT
def test_the_tests_that_a_mutant_names_are_there(mutant):
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert name.replace("::", ".") in dict(definitions(ast.parse((ROOT / file).read_text())))


def test_a_safeguard_has_one_mutant():
    assert len({mutant.safeguard for mutant in MUTANTS}) == len(MUTANTS) == 74


NOTE = "evergreen.aws.ledger.DynamoLedger.note"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change(NOTE, never("if tired")), f"{NOTE}: `if tired` is there 0 times, not once"),
        (Change("evergreen.ledger.DynamoLedger.note", never("if tired")), f"now there is {NOTE}"),
        (Change(NOTE, replaced("kind", "name")), r"the expression `kind` is there \d+ times, not once \(lines .*\)"),
        (Change(NOTE, replaced("ClientError", "ClientError")), "says the same after it was changed"),
    ],
    ids=["edit", "place", "twice", "nothing"],
)
def test_a_mutant_that_no_longer_fits_says_which_one_it_is_and_what_it_looked_for(change, reason):
    with pytest.raises(SourceChangedError, match=f"^'a note is kept' can't be turned off in .*{reason}"):
        Mutant("a note is kept", (change,), ()).made(ROOT)


NAMED = {mutant.safeguard: mutant for mutant in MUTANTS}
NOTED = NAMED["a note is written once"]
RACED = NAMED["of two live states that were learned at once one counts"]
AGAIN = NAMED["a live state learns a row once, whatever file it comes in"]
LEARNED = Mutant("two places", (*RACED.changes, *AGAIN.changes), RACED.tests)


@pytest.mark.parametrize(
    ("changed", "called"),
    [
        (sorted(LEARNED.made(ROOT))[0], [LEARNED]),
        (sorted(LEARNED.made(ROOT))[1], [LEARNED]),
        ("tests/contract/test_ledger.py", [NOTED]),
        ("tests/contract/conftest.py", [NOTED]),
        ("tests/conftest.py", [LEARNED, NOTED]),
        ("tests/worlds/small_cloud.py", [LEARNED, NOTED]),
        ("tests/mutation/mutants.py", [LEARNED, NOTED]),
        ("tests/mutation/test_edits.py", []),
        ("README.md", []),
    ],
)
def test_a_changed_file_calls_for_the_mutants_that_it_may_have_to_do_with(changed, called):
    assert called_for([LEARNED, NOTED], [changed], ROOT) == called


def test_what_changed_since_a_revision_is_told_with_what_is_new(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init")
    for name in ("kept.py", "changed.py", "moved.py"):
        (tmp_path / name).write_text(name)
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "changed.py").write_text("other")
    git("mv", "moved.py", "ä moved.py")
    (tmp_path / "new.py").write_text("")
    assert changed_since("HEAD", tmp_path) == {"changed.py", "moved.py", "ä moved.py", "new.py"}


def test_what_would_be_turned_off_is_listed():
    ran = mutation("--list", "a note is written")
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        "a note is written once",
        f"  off in     {NOTE}: a keyword or key `ConditionExpression`",
        "  killed by  tests/contract/test_ledger.py::test_a_second_delivery_of_the_same_tick_changes_nothing",
    ]


@pytest.mark.parametrize("arguments", [["nobody's safeguard"], ["--changed-since", "no-revision"], ["--unknown"]])
def test_wrong_use_is_told_apart_from_a_survivor(arguments):
    ran = mutation(*arguments)
    assert ran.returncode == 2
    assert "error:" in ran.stderr
    assert "Traceback" not in ran.stderr
