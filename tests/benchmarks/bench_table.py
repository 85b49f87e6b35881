"""Policies side by side on streams whose labels are so many rows late: the tables of docs/online.md, by one command.

Each policy runs on each stream in a process of its own, with one thread; River's run in an environment of their own.
Nothing is asserted. With ``--json FILE`` a line is kept for each that is done, and one that is there is not run again:
what was interrupted goes on, and policies or seeds that are added later stand in the same table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen_ops.replay.policies import PolicyError, parse_policies
from evergreen_ops.tune.processes import one_thread_each

RIVER = "river==0.26.1"
RIVERS = ("adwin", "arf", "srp")
OURS = "never,every:500,every:5000,tutorial,fresh:5000"
POLICIES = f"never,every:500,every:5000,tutorial,{','.join(RIVERS)},fresh:5000"
COMPARED_WITH = "every:500"
WORKER = Path(__file__).with_name("policy_on_stream.py")
PROJECT = Path(__file__).parents[2]
SHOWN_EVERY_SECONDS = 1.0

EPILOG = f"""
policies:
  never, every:N, fresh:N, tutorial  as `evergreen replay --compare` knows them
  adwin                              a retraining whenever ADWIN on the error of matured answers signals
  arf, srp                           River's adaptive random forest, streaming random patches (for a regression, too)
  deployed                           the whole loop in the local cloud, with the inferred spec: `evergreen replay`

adwin, arf and srp take {RIVER}, which `uv run --with` fetches.

examples:
  python tests/benchmarks/bench_table.py streams/*.parquet --json table.jsonl
  python tests/benchmarks/bench_table.py streams/*.parquet --json table.jsonl --policies arf --seeds 0 1 2
  python tests/benchmarks/bench_table.py elec2.parquet --late 600 --policies {OURS} --jobs 2
"""

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One policy on one stream."""

    stream: Path
    late: int
    policy: str
    seed: int

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What it is called in the file of what is done."""
        return self.stream.stem, self.late, self.policy, self.seed

    @property
    def command(self) -> list[str]:
        """What runs it."""
        with_river = ["uv", "run", "--quiet", "--project", str(PROJECT), "--with", RIVER, "python"]
        python = with_river if self.policy in RIVERS else [sys.executable]
        return [*python, str(WORKER), str(self.stream), self.policy, "--late", f"{self.late}", "--seed", f"{self.seed}"]


def run(task: Task, on_progress: Callable[[str], None]) -> Line:
    """Run a task, and return its line."""
    with subprocess.Popen(task.command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last: Line = {}
        for text in process.stdout:
            last = json.loads(text)
            if "asked" in last:
                on_progress(f"{100 * last['asked'] / last['of']:.0f} %")
    if process.returncode or "asked" in last:
        last = {"because": f"ended with exit code {process.returncode}"}
    return dict(zip(("stream", "late", "policy", "seed"), task.key, strict=True)) | last


class Progress:
    """A line on stderr: rewritten in a terminal, a line for each task that is done elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._began = total, 0, time.monotonic()
        self._running: dict[Task, str] = {}
        self._lock, self._shown = threading.Lock(), 0.0

    def at(self, task: Task, how_far: str) -> None:
        """Say how far a task is."""
        with self._lock:
            self._running[task] = how_far
            if sys.stderr.isatty() and time.monotonic() - self._shown > SHOWN_EVERY_SECONDS:
                self._shown = time.monotonic()
                running = ", ".join(f"{each.stream.stem} {each.policy} {far}" for each, far in self._running.items())
                sys.stderr.write(f"\r\033[K{self._so_far()}  {running}")
                sys.stderr.flush()

    def done(self, task: Task, line: Line) -> None:
        """Say that a task is done."""
        with self._lock:
            self._running.pop(task, None)
            self._done += 1
            told = line.get("because") or f"{line['cpu_seconds']:,.0f} s of processor time"
            start = "\r\033[K" if sys.stderr.isatty() else ""
            sys.stderr.write(f"{start}{self._so_far()}  {' '.join(map(str, task.key))}: {told}\n")
            sys.stderr.flush()

    def _so_far(self) -> str:
        return f"{self._done}/{self._total} in {(time.monotonic() - self._began) / 60:.0f} min"


def run_all(tasks: Sequence[Task], jobs: int, keep: Callable[[Line], None]) -> None:
    """Run tasks, several at a time, and keep each line as soon as it is there."""
    progress = Progress(len(tasks))

    def one(task: Task) -> Line:
        progress.at(task, "starts")
        return run(task, lambda far: progress.at(task, far))

    with one_thread_each(), ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(one, task): task for task in tasks}
        for future in as_completed(running):
            line = future.result()
            progress.done(running[future], line)
            keep(line)


def read_lines(path: Path | None) -> list[Line]:
    """Return what a file holds; nothing where there is none yet."""
    if path is None or not path.exists():
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]


def key_of(line: Line) -> tuple[str, int, str, int]:
    return line["stream"], line["late"], line["policy"], line["seed"]


def table(stream: str, lines: Iterable[Line], order: Sequence[str]) -> str:
    """A stream's policies as a table in Markdown: means over seeds, the range of what is measured behind them."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        if line["stream"] == stream and "because" not in line:
            found.setdefault(line["policy"], []).append(line)
    told = [*(policy for policy in order if policy in found), *(policy for policy in found if policy not in order)]
    if not told:
        return f"{stream}: nothing was measured"
    usual = found.get(COMPARED_WITH)
    regression = found[told[0]][0]["accuracy"] is None
    quality = ["MAE", "worst 1,000 rows"] if regression else ["accuracy", "kappa", "worst 1,000 rows"]
    costs = ["trainings", "rows trained", f"share of {COMPARED_WITH}'s", "CPU seconds", "peak MB"]
    rows = [[stream, *quality, *costs, "seeds"]]
    rows += [[policy, *_cells(found[policy], usual, regression=regression)] for policy in told]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in ruled)


def _cells(lines: list[Line], usual: list[Line] | None, *, regression: bool) -> list[str]:
    measures = ("mae", "worst_window") if regression else ("accuracy", "kappa", "worst_window")
    scale, digits = (1.0, 2) if regression else (100.0, 1)
    quality = [_spread([line[name] for line in lines], scale, digits) for name in measures]
    cpu, peak = (statistics.mean(line[name] for line in lines) for name in ("cpu_seconds", "peak_mb"))
    used = [f"{cpu:,.0f}", f"{peak:,.0f}", f"{len(lines)}"]
    rows = statistics.mean(line["rows_trained"] for line in lines)
    if lines[0]["trainings"] is None:
        return [*quality, "each label", f"{rows:,.0f}", "-", *used]
    trainings = statistics.mean(line["trainings"] for line in lines)
    share = "-"
    if usual is not None:
        most, most_rows = (statistics.mean(line[name] for line in usual) for name in ("trainings", "rows_trained"))
        share = f"{trainings / most:.0%}, {rows / most_rows:.0%} of rows" if most else "-"
    return [*quality, f"{trainings:,.4g}", f"{rows:,.0f}", share, *used]


def _spread(values: list[float | None], scale: float, digits: int) -> str:
    known = [scale * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.{digits}f}"
    low, high = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return mean if low == high else f"{mean} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("streams", nargs="+", type=Path, help="Parquet or CSV files with a column `label`")
    parser.add_argument("--late", type=int, default=100, help="rows between a request and its label (100)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the training (0)")
    parser.add_argument("--policies", default=POLICIES, help=f"by default {POLICIES}")
    parser.add_argument("--deployed", action="store_true", help="the deployed loop, too: about five minutes a stream")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="how many run at a time")
    parser.add_argument("--json", type=Path, help="JSON Lines of what is done; what is there is not run again")
    options = parser.parse_args()
    policies = [*options.policies.split(","), *(["deployed"] if options.deployed else [])]
    missing = next((stream for stream in options.streams if not stream.exists()), None)
    if missing is not None:
        parser.error(f"{missing} does not exist")
    try:
        parse_policies(",".join(policy for policy in policies if policy not in (*RIVERS, "deployed")) or "never")
    except PolicyError as error:
        parser.error(f"{str(error).replace('--compare', '--policies')}, {', '.join(RIVERS)}, deployed")
    lines = read_lines(options.json)
    done = {key_of(line) for line in lines if "because" not in line}
    wanted = itertools.product(options.streams, options.seeds, policies)
    tasks = [Task(stream, options.late, policy, seed) for stream, seed, policy in wanted]

    def keep(line: Line) -> None:
        lines.append(line)
        if options.json is not None:
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    run_all([task for task in tasks if task.key not in done], options.jobs, keep)
    latest = {key_of(line): line for line in lines if line["late"] == options.late}
    for stream in options.streams:
        print(f"\n{table(stream.stem, latest.values(), [*POLICIES.split(','), 'deployed'])}")


if __name__ == "__main__":
    main()
