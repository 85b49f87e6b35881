"""What `evergreen drift` costs on a million rows, beside what is usually done; prints, never asserts times.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_drift.py``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

ROWS, NUMBERS, CATEGORIES = 1_000_000, 16, 4

EVERGREEN = "from evergreen_ops.cli import app; app(['drift', *paths], standalone_mode=False)"
READ = """
import pyarrow.parquet
reference, current = (pyarrow.parquet.read_table(path) for path in paths)
"""
PROGRAMS = {
    "evergreen drift": EVERGREEN,
    "evergreen drift, by week": EVERGREEN,
    "pandas: describe, value_counts": """
import pandas
for path in paths:
    frame = pandas.read_parquet(path)
    print(frame.describe(), [frame[name].value_counts() for name in frame if name.startswith("k")])
""",
    "scipy: wasserstein_distance": READ
    + """
from scipy.stats import wasserstein_distance
for name in reference.column_names:
    if name.startswith("n"):
        print(name, wasserstein_distance(reference[name].to_numpy(), current[name].to_numpy()))
""",
    "scipy: ks_2samp": READ
    + """
from scipy.stats import ks_2samp
for name in reference.column_names:
    if name.startswith("n"):
        print(name, ks_2samp(reference[name].to_numpy(), current[name].to_numpy(), method="asymp"))
""",
}


def stored(path: Path, seed: int, *, times: bool) -> Path:
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {f"n{i:02}": rng.normal(i, 1 + i, size=ROWS) for i in range(NUMBERS)}
    names = np.array([f"category {i}" for i in range(30)])
    columns |= {f"k{i}": pa.array(names[rng.integers(0, 30, size=ROWS)]) for i in range(CATEGORIES)}
    if times:
        columns["event_time"] = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(5, "s")
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


PEAK = """
import re
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def measured(program: str, paths: list[Path]) -> tuple[float, float]:
    """Run a program in a process of its own; seconds from start to end, imports and all, and its peak memory in MB.

    The process says its own peak: what the system reports of a child includes the parent it was forked from.
    """
    given = f"import sys\npaths = {[str(path) for path in paths]!r}\n"
    begin = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", given + program + PEAK], capture_output=True, text=True, check=True, timeout=600
    )
    return time.perf_counter() - begin, int(process.stderr.split()[-1]) / 1_024


@pytest.mark.benchmark
def test_a_million_rows_of_twenty_columns(tmp_path: Path) -> None:
    plain = [stored(tmp_path / f"{seed}.parquet", seed, times=False) for seed in (0, 1)]
    timed = [stored(tmp_path / f"timed{seed}.parquet", seed, times=True) for seed in (0, 1)]
    results = {
        name: measured(program, timed if name.endswith("by week") else plain) for name, program in PROGRAMS.items()
    }
    ours, our_peak = results["evergreen drift"]
    print(f"\n2 x {ROWS:,} rows, {NUMBERS} numbers and {CATEGORIES} categories, Parquet")
    print(f"{'':32}{'seconds':>9}{'ratio':>8}{'peak MB':>9}{'ratio':>8}")
    for name, (seconds, peak) in results.items():
        print(f"{name:32}{seconds:9.2f}{seconds / ours:8.1f}{peak:9.0f}{peak / our_peak:8.1f}")
