"""What an answer costs, and what a shadow costs the callers; prints, never asserts times.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_predict.py``.
"""

from __future__ import annotations

import gc
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.client import BaseClient
from http_load import SHADOWS, served
from small_cloud import CHURN, open_cloud
from tipping_model import a_model

from evergreen.domain.aliases import AliasRecord
from evergreen.model.archive import pack
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact
from evergreen.training.export import to_onnx
from evergreen.training.job import TrainingJob
from evergreen.training.read_rows import Rows
from evergreen.training.recipe import fit

FEATURES, ROWS = 20, 20_000
REQUESTS = 2_000  # of each kind of shadow
TURNS = 5
ROUNDS = 2_000
MEMORY = """
import hashlib, json, pathlib, re, sys
import numpy, onnxruntime
from evergreen.scoring import Artifact

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1_024

content = pathlib.Path(sys.argv[1]).read_bytes()
sha256, told, kept = hashlib.sha256(content).hexdigest(), [resident()], []
for _ in range(3):
    kept.append(Artifact.from_tar(content, sha256).scorer())
    told.append(resident())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def forest() -> bytes:
    """200 trees of depth 20 on 20 numbers, as a training job leaves them."""
    rng = np.random.default_rng(0)
    names = [f"n{i:02}" for i in range(FEATURES)]
    schema = FeatureSchema.of("binary", dict.fromkeys(names, "number"), ["0", "1"])
    columns = {name: rng.normal(size=ROWS) for name in names}
    label = sum(columns[name] for name in names[:5]) + rng.normal(size=ROWS) * 1.5 > 0
    hours = np.arange(ROWS, dtype=np.int64) * 3_600_000_000
    rows = Rows(schema, hours, columns, {}, np.array(["0", "1"], dtype=object)[label.astype(int)])
    job = TrainingJob("churn", schema, "RandomForestClassifier", {"n_estimators": 200, "max_depth": 20})
    facts = json.dumps(schema.to_json()).encode()
    return pack({"model.onnx": to_onnx(fit(rows, job), schema), "model.json": facts})


def a_row(number: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(number)
    return {f"n{i:02}": float(rng.normal()) for i in range(FEATURES)}


def percentiles(milliseconds: list[float]) -> tuple[float, float]:
    return float(np.percentile(milliseconds, 50)), float(np.percentile(milliseconds, 99))


@pytest.mark.benchmark
def test_the_handler_all_but_the_network(
    forest: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real handler; the clients' calls, which are the network, are timed and taken off."""
    spent = spent_working = 0.0

    def timed(method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal spent, spent_working
            started, working = time.perf_counter(), time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                spent += time.perf_counter() - started
                spent_working += time.thread_time() - working

        return call

    took, worked, called = [], [], []
    with open_cloud() as cloud:
        key, sha256 = "models/churn/v1/output/model.tar.gz", hashlib.sha256(forest).hexdigest()
        cloud.ports.artifacts.put(key, forest)
        cloud.ports.aliases.repoint(AliasRecord("churn", "production", 1, key, sha256, 1))
        monkeypatch.setattr(BaseClient, "_make_api_call", timed(BaseClient._make_api_call))
        event = cloud.event("http_predict")
        for number in range(ROUNDS + 50):
            event["body"] = json.dumps({"instances": [a_row(number)]})
            event["requestContext"]["requestId"] = f"request-{number}"
            spent = spent_working = 0.0
            started, working = time.perf_counter(), time.thread_time()
            answer = cloud.call("predict", event)
            whole, work = time.perf_counter() - started, time.thread_time() - working
            assert answer["statusCode"] == 200, answer["body"]
            took.append((whole - spent) * 1_000)
            worked.append((work - spent_working) * 1_000)
            called.append(spent * 1_000)
        capsys.readouterr()
    figures = {
        "handler": took,
        "its processor time": worked,  # the same on a busy machine
        "calls, answered by moto": called,
    }
    with capsys.disabled():
        print(f"\npredict's handler, warm, one row, 200 trees of depth 20, {ROUNDS:,} requests, without the network")
        print(f"{'':24}{'p50 ms':>9}{'p99 ms':>9}   (targets 2 and 5)")
        for name, milliseconds in figures.items():
            middle, slowest = percentiles(milliseconds[50:])
            print(f"{name:24}{middle:9.2f}{slowest:9.2f}")


@pytest.mark.benchmark
def test_loading_scoring_and_memory(forest: bytes, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(forest).hexdigest()
    started = time.perf_counter()
    artifact = Artifact.from_tar(forest, sha256)
    unpacked = time.perf_counter()
    scorer = artifact.scorer()
    loaded = time.perf_counter()
    print(f"\nartifact {len(forest) / 1e6:.1f} MB, graph {len(artifact.onnx) / 1e6:.1f} MB")
    print(f"hash and unpack {(unpacked - started) * 1e3:.0f} ms, session {(loaded - unpacked) * 1e3:.0f} ms")
    (tmp_path / "model.tar.gz").write_bytes(forest)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "model.tar.gz")]
    resident = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"resident MB with 0, 1, 2, 3 models: {', '.join(f'{one:.0f}' for one in resident)}")
    gc.collect()
    print(f"{'rows at a time':16}{'us a row':>10}")
    for count in (1, 100, 500, 1_000, 10_000):
        columns = scorer.schema.columns([a_row(number) for number in range(count)])
        took = []
        for _ in range(max(3, 500 // count)):
            begin = time.perf_counter()
            scorer.score(columns)
            took.append((time.perf_counter() - begin) / count * 1e6)
        print(f"{count:16,}{np.median(took):10.1f}")


@pytest.mark.benchmark
@pytest.mark.parametrize("trees", [False, True], ids=["a few nodes", "200 trees"])
def test_a_load_with_the_shadow_off_on_hanging_and_throwing(trees: bool, forest: bytes) -> None:
    """In turns, each with as many requests as the others: the machine is not the same from one minute to the next."""
    spec = CHURN | ({"features": {name: {"type": "number"} for name in a_row()}} if trees else {})
    row, varied = (a_row(), "n00") if trees else ({"plan": "a"}, "age")
    shadows = SHADOWS | ({"on": forest} if trees else {})
    told: dict[str, list[Any]] = {name: [] for name in ("off", *shadows)}
    version = 1
    with served(spec, row, varied) as model:
        model.put("production", version, forest if trees else a_model(40))
        model.asked(200)
        for _ in range(TURNS):
            for name, seen in told.items():
                if name != "off":
                    version += 1
                    model.put("shadow", version, shadows[name])
                model.asked(REQUESTS // TURNS)
                with model.captures_at_work():
                    seen.append(model.asked(REQUESTS // TURNS))
                if name != "off":
                    model.shadowed(version)
                    model.clear("shadow", version)
    answers = {one["answers"] for seen in told.values() for one in seen}
    same = "the same answers" if len(answers) == 1 else f"{len(answers)} KINDS OF ANSWERS"
    print(f"\n{REQUESTS:,} requests of one row over HTTP, the local cloud on the same machine: {same}")
    print(f"{'shadow':12}{'p50 ms':>9}{'p99 ms':>9}{'p50 to off':>12}{'p99 to off':>12}   (middle of {TURNS} turns)")
    for name, seen in told.items():
        middle, slowest = percentiles([ms for one in seen for ms in one["milliseconds"]])
        beside = [
            np.divide(percentiles(one["milliseconds"]), percentiles(off["milliseconds"]))
            for one, off in zip(seen, told["off"], strict=True)
        ]
        ratios = "".join(f"{ratio:12.2f}" for ratio in np.median(beside, axis=0))
        print(f"{name:12}{middle:9.2f}{slowest:9.2f}{ratios}")
