"""One step of online learning, loaded, learned and stored, beside what is usually done; prints, never asserts times.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_online.py``. All ways of one size take turns in one process, so
that what else the machine does is shared by all.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import SGDClassifier

from evergreen.model.schema import FeatureSchema
from evergreen.training.learning import learn
from evergreen.training.online_state import OnlineState

ROWS, COLUMNS, ROUNDS = 50, 30, 200
NAMES = [f"x{i}" for i in range(COLUMNS)]
SCHEMA = FeatureSchema.of("binary", dict.fromkeys(NAMES, "number"), ["0", "1"])


def batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(ROWS, COLUMNS))
    return matrix, np.where(matrix[:, 0] + random.normal(size=ROWS) > 0, "1", "0")


def with_pickle(stored: bytes, matrix: np.ndarray, labels: np.ndarray) -> bytes:
    model = pickle.loads(stored)
    model.partial_fit(matrix, labels)
    return pickle.dumps(model)


def with_joblib(stored: bytes, matrix: np.ndarray, labels: np.ndarray) -> bytes:
    model = joblib.load(io.BytesIO(stored))
    model.partial_fit(matrix, labels)
    sink = io.BytesIO()
    joblib.dump(model, sink)
    return sink.getvalue()


def with_skops(stored: bytes, matrix: np.ndarray, labels: np.ndarray) -> bytes:
    model = skops.io.loads(stored, trusted=skops.io.get_untrusted_types(data=stored))
    model.partial_fit(matrix, labels)
    return skops.io.dumps(model)


def with_evergreen(stored: bytes, matrix: np.ndarray, labels: np.ndarray) -> bytes:
    """The same step on the same matrix, its hash checked."""
    state = OnlineState.from_bytes(stored, hashlib.sha256(stored).hexdigest())
    return state.learned(matrix, labels, rows=len(matrix)).to_bytes()


def timed(step: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    answer = step(*arguments)
    return time.perf_counter() - begin, answer


@pytest.mark.benchmark
def test_load_learn_fifty_rows_and_store() -> None:
    first = SGDClassifier(loss="log_loss", random_state=0)
    first.partial_fit(*batch(0), classes=np.array(["0", "1"]))
    sink = io.BytesIO()
    joblib.dump(first, sink)
    rows = [dict(zip(NAMES, map(float, row), strict=True)) for row in batch(0)[0]]
    state, _ = learn(None, rows, batch(0)[1].tolist(), SCHEMA)
    ways: dict[str, tuple[Callable[..., bytes], bytes]] = {
        "pickle": (with_pickle, pickle.dumps(first)),
        "joblib": (with_joblib, sink.getvalue()),
        "skops": (with_skops, skops.io.dumps(first)),
        "evergreen": (with_evergreen, state.to_bytes()),
    }
    stored = {name: content for name, (_, content) in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        matrix, labels = batch(number + 1)
        for name, (step, _) in ways.items():
            took, stored[name] = timed(step, stored[name], matrix, labels)
            seconds[name].append(took)
    whole = []
    for number in range(ROUNDS):
        matrix, labels = batch(number + 1)
        rows = [dict(zip(NAMES, map(float, row), strict=True)) for row in matrix]
        took, (state, _) = timed(learn, OnlineState.from_bytes(state.to_bytes()), rows, labels.tolist(), SCHEMA)
        whole.append(took)
    print(f"\nload, partial_fit on {ROWS} x {COLUMNS}, store; {ROUNDS} rounds, microseconds")
    print(f"{'':12}{'median':>9}{'minimum':>9}{'bytes':>9}{'x pickle':>10}{'of skops':>10}")
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        against = f"{middle[name] / middle['pickle']:10.2f}{middle['skops'] / middle[name]:10.2f}"
        print(f"{name:12}{1e6 * middle[name]:9.0f}{1e6 * min(taken):9.0f}{len(stored[name]):9,}{against}")
    print(f"from JSON rows, predicted before they are learned: {1e6 * statistics.median(whole):,.0f}")
