"""docs/decisions: each record has its parts, and the index names every record by its title."""

import re
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
PARTS = ["Status", "Context", "Decision", "Alternatives", "Consequence"]
STATUS = re.compile(r"(?:Proposed|Accepted|Replaced by \[\d{4}\]\(\S+\))(?:; amended \d{4}-\d\d-\d\d(?:: .+)?)?\.")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_parts_in_order_and_a_date(path):
    text = path.read_text(encoding="utf-8")
    assert [part for part in re.findall(r"^\*\*(\w+)\.\*\*\s+\S", text, re.MULTILINE) if part in PARTS] == PARTS
    status, day = re.search(r"^\*\*Status\.\*\* (.+) \*\*Date\.\*\* (\S+)\.$", text, re.MULTILINE).groups()
    assert STATUS.fullmatch(status)
    assert date.fromisoformat(day)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_index_names_a_record_by_its_title(path):
    title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert f"| [{path.name[:4]}]({path.name}) | {title} |" in INDEX.splitlines()


def test_numbers_are_given_once_and_without_a_gap():
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))
    assert len(re.findall(r"^\| \[\d{4}\]", INDEX, re.MULTILINE)) == len(RECORDS)
