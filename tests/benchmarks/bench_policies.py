"""Policies side by side on streams, with labels that come so many rows late: the table of docs/freshness.md.

Run with ``python tests/benchmarks/bench_policies.py --help``. Nothing is asserted, and no cloud runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from evergreen.spec import ModelSpec
from evergreen_ops.replay import specs, streams
from evergreen_ops.replay.policies import Policy, PolicyResult, parse_policies, simulate
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.streams import Stream

EXAMPLES = """
examples:
  python tests/benchmarks/bench_policies.py streams/*.parquet
  python tests/benchmarks/bench_policies.py elec2.parquet --late 600 --seeds 0 1 2 --policies never,fresh:5000
"""


def late_by(stream: Stream, rows: int) -> Stream:
    """The stream with each label known when the request comes that is so many rows later."""
    asked, known = stream.event_time, stream.event_time.copy()
    pace = max(np.timedelta64(1, "us"), np.median(np.diff(asked)))
    known[:-rows], known[-rows:] = asked[rows:], asked[-1] + pace * np.arange(1, rows + 1)
    known[~stream.labelled] = np.datetime64("NaT", "us")
    return dataclasses.replace(stream, label_time=known)


def as_soon_as_known(spec: ModelSpec, seed: int) -> ModelSpec:
    """The spec with no maturity beside the delay of the labels themselves, and a seed."""
    labels = spec.labels.model_copy(update={"maturity": timedelta(0)})
    return spec.model_copy(update={"labels": labels, "training": spec.training.model_copy(update={"seed": seed})})


def line(stream: Stream, policy: Policy, seed: int, result: PolicyResult, seconds: float) -> str:
    """One policy's figures."""
    found = result.quality
    quality = (
        f"MAE {found.mae:.2f}" if stream.classes is None else f"{100 * found.accuracy:.2f} / {100 * found.kappa:.1f}"
    )
    worst = "-" if found.worst_window is None else f"{(1 if stream.classes is None else 100) * found.worst_window:.1f}"
    name = f"{stream.name:14} {policy.name:12} {seed:4}"
    return f"{name}  {quality:>15}  {worst:>7}  {result.trainings:5}  {result.rows_trained:11,}  {seconds:6.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("streams", nargs="+", type=Path, help="Parquet or CSV files with a column `label`")
    parser.add_argument("--late", type=int, default=100, help="rows between a request and its label (100)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the training (0)")
    parser.add_argument("--policies", default="never,every:500,every:5000,tutorial,fresh:5000")
    options = parser.parse_args()
    print("stream         policy       seed  accuracy/kappa    worst  train  rows trained     cpu")
    for path in options.streams:
        stream = late_by(streams.load(path), options.late)
        for policy in parse_policies(options.policies):
            for seed in options.seeds:
                spec = as_soon_as_known(specs.for_replay(specs.infer_spec(stream))[0], seed)
                base = specs.base_of(stream)
                if options.late >= base.rows - spec.training.min_rows:
                    print(f"{stream.name:14} has {base.rows:,} rows before the first model, too few labels by then")
                    continue
                began = time.process_time()
                result = simulate(policy, stream, spec, base, StreamRecipe(stream, spec))
                print(line(stream, policy, seed, result, time.process_time() - began), flush=True)


if __name__ == "__main__":
    main()
