"""A stream whose labels turn round on one day, and a spec that retrains, proves and promotes within days of it."""

from datetime import UTC, datetime

import numpy as np

from evergreen.spec import ModelSpec
from evergreen_ops.replay.streams import Stream

START = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec.from_yaml("""
model: turning
task: binary
features: {x: {type: number}, y: {type: number}, plan: {type: categorical}}
labels: {classes: ["0", "1"], maturity: 6h}
triggers: {cycle: 1d, cooldown: 1d, monthly_budget: 10, tokens: {burst: 2, refill_every: 3d}}
training: {params: {n_estimators: 10, max_depth: 5}, max_rows: 1500, min_new_rows: 100}
shadow: {cycle: 1d, max_time: 6d}
deployment: {ops_bake_longest: 1h, quality_bake: 2d, latency_ms: 60000}
""")
"""Answers take real time, and the history counts slow ones: a busy machine must not write another history."""


def turning_stream(*, days=18, a_day=100, turns_on=6):
    """Labels follow x until the turn, and the opposite from then on."""
    rng, rows = np.random.default_rng(0), days * a_day
    x, y = rng.normal(size=rows), rng.normal(size=rows)
    turned = np.arange(rows) >= turns_on * a_day
    label = (np.where(turned, -x, x) + 0.2 * y > 0) ^ (rng.random(rows) < 0.05)
    event_time = np.datetime64("2026-01-01", "us") + np.arange(rows) * np.timedelta64(86_400 // a_day, "s")
    return Stream(
        name="turning",
        task="binary",
        features={"x": "number", "y": "number", "plan": "categorical"},
        columns={"x": x, "y": y, "plan": rng.choice(["a", "b"], rows).astype(object)},
        label=np.where(label, "1", "0").astype(object),
        event_time=event_time,
        label_time=event_time + np.timedelta64(2, "h"),
        classes=("0", "1"),
    )
