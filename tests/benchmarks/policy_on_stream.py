"""One policy on one stream, in a process of its own: what `bench_table.py` starts, a JSON document a line.

`never`, `every:N`, `fresh:N`, `tutorial` and `deployed` need nothing but Evergreen; `adwin`, `arf`, `srp` need River.
Every line but the last says how far it is; the last one holds the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.spec import ModelSpec
from evergreen_ops.replay import specs, streams
from evergreen_ops.replay.machine import own_peak_mb
from evergreen_ops.replay.policies import Policy, Window, base_rows, parse_policies, simulate
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.scores import quality
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream

ADWIN_CHECKED_EVERY = 50
TOLD_EVERY_SECONDS = 1.0

OnProgress = Callable[[int], None]


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


def offline(policy: Policy, stream: Stream, spec: ModelSpec, base: Base, tell: OnProgress) -> dict[str, Any]:
    """A policy of ours, in our own harness."""
    recipe = StreamRecipe(stream, spec)
    found = simulate(policy, stream, spec, base, recipe, on_progress=lambda rows, _: tell(rows))
    return {**found.quality.to_json(), "trainings": found.trainings, "rows_trained": found.rows_trained}


class AdwinFires:
    """River's ADWIN on the error of each matured answer of the model in use: a change either way is a signal.

    It begins anew with each model, and sees each error once, in the order in which labels became known. A regression's
    absolute errors are cut off at four of their standard deviations in the base's labels, and scaled to 0 to 1.
    """

    def __init__(self, stream: Stream, base: Base) -> None:
        labels = stream.label[: base.rows][stream.labelled[: base.rows]]
        self._scale = None if stream.classes else 4 * float(np.std(labels.astype(float)))
        self._begin()

    def _begin(self) -> None:
        from river.drift import ADWIN

        self._adwin = ADWIN()

    def __call__(self, window: Window) -> str | None:
        for row in window.matured.tolist():
            self._adwin.update(self._error(window.stream.label[row], window.predictions[row]))
            if self._adwin.drift_detected:
                self._begin()
                return "adwin"
        return None

    def _error(self, actual: Any, predicted: Any) -> float:
        if self._scale is None:
            return float(actual != predicted)
        return min(abs(float(actual) - float(predicted)) / self._scale, 1.0)


def incremental(name: str, seed: int, stream: Stream, base: Base, tell: OnProgress) -> dict[str, Any]:
    """River's forest or patches as they come, with their own defaults: each label is learned when it becomes known."""
    learner = _learner(name, seed, regression=stream.classes is None)
    labelled = np.flatnonzero(stream.labelled)
    known = labelled[np.argsort(stream.label_time[labelled], kind="stable")]
    rows, learned = list(_rows(stream)), 0
    said: list[Any] = []
    for row in range(base.rows, stream.rows):
        now = stream.event_time[row - 1]
        while learned < len(known) and stream.label_time[known[learned]] <= now:
            learner.learn_one(rows[known[learned]], stream.label[known[learned]])
            learned += 1
        said.append(learner.predict_one(rows[row]))
        tell(row + 1 - base.rows)
    scored = labelled[labelled >= base.rows]
    predicted = np.array(said, dtype=object if stream.classes else float)[scored - base.rows]
    return {
        **quality(stream.label[scored], predicted, None, stream.classes).to_json(),
        "trainings": None,
        "rows_trained": learned,
    }


def _learner(name: str, seed: int, *, regression: bool) -> Any:
    from river import ensemble, forest

    if name == "arf":
        return (forest.ARFRegressor if regression else forest.ARFClassifier)(seed=seed)
    return (ensemble.SRPRegressor if regression else ensemble.SRPClassifier)(seed=seed)


def _rows(stream: Stream) -> Iterator[dict[str, float | str]]:
    """Each row as River reads it: what is missing is left out."""
    names, columns = list(stream.columns), [column.tolist() for column in stream.columns.values()]
    for values in zip(*columns, strict=True):
        yield {
            name: value
            for name, value in zip(names, values, strict=True)
            if value is not None and not (isinstance(value, float) and math.isnan(value))
        }


def deployed(path: Path, stream: Stream, late: int, seed: int) -> dict[str, Any]:
    """The whole loop in the local cloud, as `evergreen replay` runs it on a file, with the spec that it infers.

    Rows without times come at so many a day as labels are late, and labels come a day later. A file with times gets
    label times that are so many rows later.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        source, pace = path, ["--rows-per-day", f"{late}"]
        if stream.times_given:
            source, pace = Path(folder) / f"{path.stem}.parquet", []
            _write(stream, source)
        options = ["--compare", "none", "--json", "--seed", f"{seed}", "--out", folder]
        command = [sys.executable, "-m", "evergreen_ops", "replay", str(source), *pace, *options]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        replayed = subprocess.run(command, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if replayed.returncode:
        return {"because": replayed.stderr.strip().splitlines()[-1]}
    summary = json.loads(replayed.stdout)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    kept = ("scored", "accuracy", "kappa", "auc", "mae", "worst_window", "trainings", "rows_trained", "promotions")
    return {name: summary[name] for name in kept} | {
        "cpu_seconds": round(used, 1),
        "peak_mb": summary["peak_rss_mb"],
    }


def _write(stream: Stream, file: Path) -> None:
    columns = {name: pa.array(values, from_pandas=True) for name, values in stream.columns.items()}
    times = {"event_time": stream.event_time, "label_time": stream.label_time}
    columns |= {name: pa.array(instants) for name, instants in times.items()}
    pq.write_table(pa.table(columns | {"label": pa.array(stream.label, from_pandas=True)}), file)


def figures(path: Path, late: int, policy: str, seed: int) -> dict[str, Any]:
    """Run a policy on a stream whose labels are so many rows late."""
    loaded = streams.load(path, rows_per_day=late)
    stream = late_by(loaded, late)
    if policy == "deployed":
        return deployed(path, stream, late, seed)
    spec = as_soon_as_known(specs.for_replay(specs.infer_spec(stream))[0], seed)
    base = specs.base_of(stream)
    if len(base_rows(stream, spec, base)) < spec.training.min_rows:
        return {"because": f"too few of the first {base.rows:,} rows have a label when the first model is trained"}
    told = 0.0

    def tell(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told > TOLD_EVERY_SECONDS:
            told = time.monotonic()
            print(json.dumps({"asked": rows, "of": stream.rows - base.rows}), flush=True)

    began = time.process_time()
    if policy in ("arf", "srp"):
        found = incremental(policy, seed, stream, base, tell)
    elif policy == "adwin":
        fires = AdwinFires(stream, base)
        found = offline(Policy("adwin", fires=fires, checked_every=ADWIN_CHECKED_EVERY), stream, spec, base, tell)
    else:
        found = offline(parse_policies(policy)[0], stream, spec, base, tell)
    return found | {"cpu_seconds": round(time.process_time() - began, 1), "peak_mb": own_peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stream", type=Path)
    parser.add_argument("policy")
    parser.add_argument("--late", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(figures(options.stream, options.late, options.policy, options.seed)) + "\n")


if __name__ == "__main__":
    main()
