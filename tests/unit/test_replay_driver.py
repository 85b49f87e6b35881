"""What a replay hands over when: nothing before its time, and everything once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from evergreen_ops.replay import driver
from evergreen_ops.replay.specs import base_of, infer_spec
from evergreen_ops.replay.streams import Stream, as_datetime, read_table

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BEGIN = np.datetime64("2024-01-01", "us")


def stream(between: timedelta, *, gap: timedelta, delay: timedelta, rows: int = 1_200) -> Stream:
    """Rows that come evenly, but for a gap in the middle."""
    at = (
        BEGIN
        + np.arange(rows) * np.timedelta64(between)
        + np.where(np.arange(rows) < rows // 2, 0, 1) * np.timedelta64(gap)
    )
    columns = {"x": np.arange(rows) % 17, "label": np.arange(rows) % 2, "event_time": at}
    return read_table(pa.table(columns | {"label_time": at + np.timedelta64(delay)}), name="paced")


@dataclass
class Heard:
    """A cloud that writes down when it was told what."""

    clock: Any
    every: timedelta
    asked: dict[str, datetime] = field(default_factory=dict)
    labelled: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.next = self.clock.now + self.every

    def advance(self, moment: datetime) -> None:
        assert moment >= self.clock.now
        self.clock.now = moment
        while self.next <= moment:
            self.next += self.every

    def next_schedule(self) -> datetime:
        return self.next

    def drain(self) -> None:
        """Nothing is left."""

    def http(self, _: str, path: str, *, body: str, **__: Any) -> Any:
        told = orjson.loads(body)
        if path.endswith("feedback"):
            self.labelled |= {label["inference_id"]: self.clock.now for label in told["labels"]}
            return SimpleNamespace(status=200, body=b"{}")
        self.asked |= dict.fromkeys(told["inference_ids"], self.clock.now)
        answers = [{"prediction": "0", "probabilities": {"0": 1.0, "1": 0.0}}] * len(told["instances"])
        return SimpleNamespace(status=200, body=orjson.dumps({"version": 1, "predictions": answers}))


@pytest.mark.parametrize("step", [MINUTE, 15 * MINUTE, 3 * HOUR, 7 * DAY, 400 * DAY])
@pytest.mark.parametrize("schedule", [HOUR, DAY])
def test_everything_is_handed_over_once_and_nothing_before_its_time(
    monkeypatch: pytest.MonkeyPatch, step: timedelta, schedule: timedelta
) -> None:
    slow = step >= HOUR
    paced = stream(HOUR if slow else 5 * MINUTE, gap=30 * DAY if slow else DAY, delay=5 * DAY if slow else 2 * HOUR)
    spec = infer_spec(paced)
    base = base_of(paced, spec=spec)
    cloud: Any = Heard(SimpleNamespace(now=base.until), schedule)
    monkeypatch.setattr(driver, "bring", SimpleNamespace(add_base_data=lambda *_, **__: None))
    quiet: Any = SimpleNamespace(begin=lambda *_: None, show=lambda *_: None)
    ports: Any = SimpleNamespace(ledger=SimpleNamespace(read=lambda _: SimpleNamespace(epoch=0)))
    session = driver.open_session(paced, spec, base, cloud, ports, quiet)
    driver.run(session, step=step)
    names = session.inference_ids[base.rows :].tolist()
    assert set(cloud.asked) == set(cloud.labelled) == set(names)
    for row, name in enumerate(names, base.rows):
        asked_after = cloud.asked[name] - as_datetime(paced.event_time[row])
        labelled_after = cloud.labelled[name] - as_datetime(paced.label_time[row])
        assert timedelta(0) <= asked_after <= max(2 * min(step, schedule), driver.GATHERED_FOR + step)
        assert timedelta(0) <= labelled_after <= max(2 * min(step, schedule), driver.GATHERED_FOR + step)
