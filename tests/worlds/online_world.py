"""A model in production that also learns online: days of requests, answers, labels and ticks, and what came of them."""

import json
from datetime import timedelta

import numpy as np
from small_artifact import small_artifact
from small_cloud import CHURN, NOW, SmallCloud

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import BakePassed
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.steps.online_states import state_fingerprint

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FILES_A_DAY, ROWS_A_FILE = 3, 64
MODEL = "churn"
SPEC = {
    "labels": {"classes": ["0", "1"], "maturity": "12h"},
    "training": {"min_rows": 100},
    "online": {"enabled": True, "labels": "matured", "batch_size": 90},
}


def stamp(time):
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


class OnlineWorld(SmallCloud):
    """Whoever is older than forty leaves; so says production, and so it is until the world changes."""

    def __init__(self):
        super().__init__()
        self.now, self.days = NOW, 0

    def begin(self, *, labels="matured", seed=0, **online):
        """Version 1 is in production and known to be good."""
        self.random = np.random.default_rng(seed)
        spec = ModelSpec.parse(CHURN | SPEC | {"online": SPEC["online"] | {"labels": labels} | online})
        apply.apply_model(spec, now=self.now, ports=self.ports)
        before = stamp(self.now - DAY).replace("Z", "+00:00")
        artifact = small_artifact("first", trained_until=before)
        bring.register_version(MODEL, artifact, "trained", "ada", now=self.now, ports=self.ports)
        decide.force_promotion(MODEL, 1, "a story", "ada", now=self.now, ports=self.ports)
        self.call("repoint_alias", self.told("PromotionApproved"))
        self.passes_its_bakes()
        return self

    def told(self, kind):
        """The newest ledger event of a kind as the bus delivers it."""
        item = [item for item in self.ports.ledger.history(MODEL).documents if item["type"] == kind][-1]
        body = {name: value for name, value in item.items() if name not in ("model", "epoch", "type", "hash")}
        detail = {"model": MODEL, "epoch": item["epoch"], "type": kind, "body": json.dumps(body)}
        return self.event("ledger_event") | {"detail-type": kind, "time": stamp(self.now), "detail": detail}

    def passes_its_bakes(self):
        ledger = self.ports.ledger
        while (state := ledger.read(MODEL)).bake is not None:
            bake = state.bake
            about = {"time": self.now, "actor": "ada", "because": "a story", "evidence": {}}
            ledger.record(state, BakePassed(version=bake.version, phase=bake.phase, **about))

    def day(self, *, leaves_at=40.0, flipped_hours=(), tick=True):
        """A day of requests, of labels an hour later, and a tick at its end.

        In `flipped_hours` every label that arrives is the wrong one.
        """
        for number in range(FILES_A_DAY):
            hour = number * 24 // FILES_A_DAY
            self.requests(self.now + hour * HOUR, leaves_at, flipped=hour in flipped_hours)
        self.now += DAY
        self.days += 1
        if tick:
            self.tick()

    def tick(self):
        self.call("learn_online", {"time": stamp(self.now)})

    def requests(self, time, leaves_at, *, flipped):
        """A file of requests at a time, and one of their labels an hour later."""
        ages = self.random.uniform(20, 60, ROWS_A_FILE)
        surprising = self.random.random(ROWS_A_FILE) < 0.1
        truth = (ages > leaves_at) ^ surprising
        said = [str(int(age > 40)) for age in ages]
        labels = [str(int(left ^ flipped)) for left in truth]
        ids = [f"{stamp(time)}-{i}" for i in range(ROWS_A_FILE)]
        rows = [{"age": round(float(age), 2), "plan": "ab"[i % 2]} for i, age in enumerate(ages)]
        captures = [
            Capture(name, time, 1, row, answer, {"0": float(answer == "0"), "1": float(answer == "1")})
            for name, row, answer in zip(ids, rows, said, strict=True)
        ]
        lines = [capture_line(each, model=MODEL, variant="production") for each in captures]
        self.call("profile_capture", self.arrived(f"captures/{MODEL}/production/{time:%Y/%m/%d/%H}/part.jsonl", lines))
        lines = [ground_truth_line(GroundTruth(*each), model=MODEL) for each in zip(ids, labels, strict=True)]
        known = time + HOUR
        self.call("join_labels", self.arrived(f"ground-truth/{MODEL}/{known:%Y/%m/%d/%H}/labels.jsonl", lines))
        if spec_of(self.ports.ledger.read(MODEL)).online.labels == "at_once":
            self._feedback(ids, labels, rows, known)

    def arrived(self, key, lines):
        """A file in the data bucket; answers the event that tells of it."""
        etag = self.ports.data.put(key, b"\n".join(lines) + b"\n")
        event = self.event("s3_object_created")
        event["detail"]["object"] |= {"key": key, "etag": etag}
        return event | {"time": stamp(self.now)}

    def _feedback(self, ids, labels, rows, time):
        bodies = [
            {"model": MODEL, "inference_id": name, "label": label, "features": row, "time": stamp(time)}
            for name, label, row in zip(ids, labels, rows, strict=True)
        ]
        records = [{"messageId": body["inference_id"], "body": json.dumps(body)} for body in bodies]
        assert self.call("learn_online", {"Records": records})["batchItemFailures"] == []

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def pointer(self):
        spec = spec_of(self.ports.ledger.read(MODEL))
        return self.ports.online.read(MODEL, state_fingerprint(spec))

    @property
    def checkpoints(self):
        return self.ports.online.checkpoints(MODEL)

    def candidates(self):
        """Checkpoints that were handed on to be published."""
        events = self.ports.ledger.history(MODEL).documents
        return [each["checkpoint"]["number"] for each in events if each["type"] == "RetrainingRequested"]
