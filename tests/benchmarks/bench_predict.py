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
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.client import BaseClient
from http_load import SHADOWS, served
from small_cloud import CHURN, NOW, open_cloud
from tipping_model import a_model

from evergreen.domain.aliases import AliasRecord
from evergreen.model.archive import pack, unpack
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact
from evergreen.serving.source import LivePlace, container_environment, loaded_names
from evergreen.training.export import to_onnx
from evergreen.training.fit import train
from evergreen.training.job import TrainingJob
from evergreen.training.live_stored import LiveFile, LiveRow, StoredState, learned, started
from evergreen.training.live_version import LiveVersion
from evergreen.training.read_rows import Rows
from evergreen.training.recipe import fit
from evergreen.usecases.steps.live_states import put_live_state

FEATURES, ROWS = 20, 20_000
REQUESTS = 2_000  # of each kind of shadow
TURNS = 5
ROUNDS = 2_000
FIVE_PARAMS = {"n_estimators": 40, "max_depth": 20, "min_samples_leaf": 5}
MEMORY = """
import hashlib, json, pathlib, re, sys
import numpy, onnxruntime
from evergreen.model.scorer import Artifact

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1_024

content = pathlib.Path(sys.argv[1]).read_bytes()
sha256, told, kept = hashlib.sha256(content).hexdigest(), [resident()], []
for _ in range(3):
    kept.append(Artifact.from_tar(content, sha256).scorer())
    told.append(resident())
print(json.dumps(told))
"""


WORKER = """
import hashlib, json, pathlib, re, sys, time
import numpy
from evergreen.serving import inference
from evergreen.serving.follower import Follower
from evergreen.serving.live_pointers import Pointed

def resident():
    return round(int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1_024)

class Kept:
    def newest(self):
        state = pathlib.Path(sys.argv[2])
        return Pointed(31, "", hashlib.sha256(state.read_bytes()).hexdigest()) if state.is_file() else None

    def get(self, key):
        return pathlib.Path(sys.argv[2]).read_bytes()

Follower.follow = lambda *_, **__: None
memory = [resident()]
began = time.process_time()
model = inference.model_fn(sys.argv[1])
loaded = time.process_time() - began
memory.append(resident())
looked = 0.0
if model.follower is not None:
    model.follower._states = Kept()
    began = time.process_time()
    model.follower.look()
    looked = time.process_time() - began
    assert model.follower.state is not None
memory.append(resident())
draws = numpy.random.default_rng(0)
bodies = [json.dumps({"instances": [{f"n{i:02}": float(x) for i, x in enumerate(draws.normal(size=20))}]})
          for _ in range(int(sys.argv[3]))]
took = []
for body in bodies:
    began = time.process_time()
    inference.output_fn(inference.predict_fn(inference.input_fn(body, "application/json"), model), "application/json")
    took.append((time.process_time() - began) * 1e3)
memory.append(resident())
p50, p99 = numpy.percentile(took[50:], [50, 99])
print(json.dumps({"p50": p50, "p99": p99, "memory": memory, "loaded": loaded, "looked": looked}))
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


def some_rows(seed: int, count: int) -> Rows:
    rng = np.random.default_rng(seed)
    names = [f"n{i:02}" for i in range(FEATURES)]
    schema = FeatureSchema.of("binary", dict.fromkeys(names, "number"), ["0", "1"])
    columns = {name: rng.normal(size=count) for name in names}
    label = sum(columns[name] for name in names[:5]) + rng.normal(size=count) * 1.5 > 0
    hours = np.arange(count, dtype=np.int64) * 3_600_000_000
    return Rows(schema, hours, columns, {}, np.array(["0", "1"], dtype=object)[label.astype(int)])


@pytest.fixture(scope="module")
def five_members() -> bytes:
    """The newest of five versions of 40 trees each, which all live on in it."""
    archive = b""
    for number in range(1, 6):
        rows = some_rows(number, 5_000)
        job = TrainingJob(
            "churn", rows.schema, "RandomForestClassifier", FIVE_PARAMS, freshness=True, production_version=number - 1
        )
        archive = pack(train(job, rows, archive=archive, report=lambda _: None).files)
    return archive


def learned_state(archive: bytes, rows: int, *, now: datetime) -> StoredState:
    """The live state of version 5 once it has learned rows, a hundred at a time."""
    version = LiveVersion.from_tar(archive, hashlib.sha256(archive).hexdigest(), 5)
    assert version is not None
    state = started(version, 5, None, now=now, horizon=timedelta(days=30))
    for begin in range(0, rows, 100):
        some = [
            LiveRow(f"r{i}", state.since, state.since, a_row(i), str(int(sum(list(a_row(i).values())[:5]) > 0)))
            for i in range(begin, begin + 100)
        ]
        body = hashlib.sha256(state.to_bytes()).hexdigest()
        state = learned(
            state,
            body,
            [LiveFile(f"{begin}", some)],
            version=version,
            load=lambda _: None,
            late=100.0,
            matured=state.since,
            now=state.since + timedelta(minutes=1),
        )
    return state


def a_row(number: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(number)
    return {f"n{i:02}": float(rng.normal()) for i in range(FEATURES)}


def percentiles(milliseconds: list[float]) -> tuple[float, float]:
    return float(np.percentile(milliseconds, 50)), float(np.percentile(milliseconds, 99))


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", ["forest", "five_members"])
def test_the_handler_all_but_the_network(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real handler; the clients' calls, which are the network, are timed and taken off."""
    archive: bytes = request.getfixturevalue(kind)
    version = {"forest": 1, "five_members": 5}[kind]
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
        key, sha256 = "models/churn/v1/output/model.tar.gz", hashlib.sha256(archive).hexdigest()
        cloud.ports.artifacts.put(key, archive)
        cloud.ports.aliases.repoint(AliasRecord("churn", "production", version, key, sha256, 1))
        if kind == "five_members":
            members = LiveVersion.from_tar(archive, sha256, version)
            assert members is not None
            put_live_state(cloud.ports, None, learned_state(archive, 3_000, now=NOW), "churn", members)
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
        what = {"forest": "200 trees of depth 20", "five_members": "five members of 40 trees and their live state"}[
            kind
        ]
        print(f"\npredict's handler, warm, one row, {what}, {ROUNDS:,} requests, without the network")
        print(f"{'':24}{'p50 ms':>9}{'p99 ms':>9}   (targets 2 and 5)")
        for name, milliseconds in figures.items():
            middle, slowest = percentiles(milliseconds[50:])
            print(f"{name:24}{middle:9.2f}{slowest:9.2f}")


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", ["forest", "five_members"])
def test_the_containers_handler(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    archive: bytes = request.getfixturevalue(kind)
    number = {"forest": 1, "five_members": 5}[kind]
    names = loaded_names(unpack(archive, ("model.json",))["model.json"])
    for name, content in unpack(archive, names).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    if kind == "five_members":
        state = learned_state(archive, 3_000, now=NOW)
        assert state.number == 31
        (tmp_path / "state").write_bytes(state.to_bytes())
    variables = container_environment(
        "churn",
        number,
        artifact=archive,
        sha256=hashlib.sha256(archive).hexdigest(),
        source_uri="s3://b/k",
        live=LivePlace("online", "artifacts"),
    )
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(tmp_path / "state"), str(ROUNDS)]
    ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    what = {"forest": "one forest of 200 trees", "five_members": "five members of 40 trees and their state"}[kind]
    print(f"\nan endpoint's container, warm, one row, {what}, {ROUNDS:,} requests, processor time")
    print(f"p50 {told['p50']:.2f} ms, p99 {told['p99']:.2f} ms")
    print(f"loaded in {told['loaded'] * 1e3:.0f} ms, a state taken in {told['looked'] * 1e3:.0f} ms")
    print(f"resident MB before, loaded, with a state, after the requests: {told['memory']}")


@pytest.mark.benchmark
def test_what_learning_and_answering_with_a_live_state_cost(five_members: bytes) -> None:
    state = learned_state(five_members, 3_000, now=NOW)
    version = LiveVersion.from_tar(five_members, hashlib.sha256(five_members).hexdigest(), 5)
    assert version is not None
    sha256, body = "", state.to_bytes()
    some = [LiveRow(f"n{i}", state.since, state.since, a_row(i), "1") for i in range(100)]
    told = {}
    for name, work in {
        "learn 100 rows": lambda: learned(
            state,
            sha256,
            [LiveFile("new", some)],
            version=version,
            load=lambda _: None,
            late=100.0,
            matured=state.since,
            now=state.since,
        ),
        "write the state": state.to_bytes,
        "read the state": lambda: StoredState.from_bytes(body, hashlib.sha256(body).hexdigest(), version),
    }.items():
        started_at = time.process_time()
        for _ in range(5):
            work()
        told[name] = (time.process_time() - started_at) / 5 * 1e3
    print(f"\nan archive of five members {len(five_members) / 1e6:.1f} MB, a state {len(body) / 1e6:.2f} MB")
    print(", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in told.items()))
    many = some_rows(9, 10_000)
    rows = [dict(zip(many.numbers, values, strict=True)) for values in zip(*many.numbers.values(), strict=True)]
    fitted = fit(some_rows(5, 5_000), TrainingJob("churn", many.schema, "RandomForestClassifier", FIVE_PARAMS))
    began = time.process_time()
    state.state.answer(version.asked(rows, state.preparation))
    fresh = time.process_time() - began
    began = time.process_time()
    matrix = fitted.preparation.matrix(Rows.of_json(many.schema, rows, [""] * len(rows)))
    for _ in range(5):
        fitted.probabilities(matrix, ("0", "1"))
    print(f"10,000 rows: fresh {fresh:.2f} s, five such forests of scikit-learn {time.process_time() - began:.2f} s")


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
