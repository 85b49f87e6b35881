"""The figure of docs/statistics.md can be drawn anew, and shows what the page says."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "figures" / "false_promotions.py"
RULES = ("tutorial", "mcnemar", "evergreen")


def drawn(folder: Path) -> tuple[bytes, list[dict[str, str]]]:
    command = [sys.executable, str(SCRIPT), "--repetitions", "800", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    with (folder / "false_promotions.csv").open() as file:
        return (folder / "false_promotions.svg").read_bytes(), list(csv.DictReader(file))


def test_the_figure_shows_who_promotes_by_luck(tmp_path):
    svg, table = drawn(tmp_path / "first")
    last = {rule: float(table[-1][rule]) for rule in RULES}
    assert [int(line["looks"]) for line in table] == list(range(1, 101))
    assert last["evergreen"] <= 0.02 < 0.10 < last["mcnemar"] < last["tutorial"]
    assert drawn(tmp_path / "second") == (svg, table), "the same bytes each time"
    with SCRIPT.with_suffix(".csv").open() as file:
        in_the_docs = list(csv.DictReader(file))
    for few, many in zip(table, in_the_docs, strict=True):
        for rule in RULES:
            assert float(few[rule]) == pytest.approx(float(many[rule]), abs=0.05), (
                "the docs have the same to within luck"
            )
