"""A model whose versions learn between their trainings: days of requests, answers, labels and ticks."""

import json
from datetime import timedelta
from functools import cache

import numpy as np
from small_artifact import scored_beside_production
from small_cloud import CHURN, NOW, SmallCloud

from evergreen.domain.model_events import BakePassed
from evergreen.formats.captures import GroundTruth, ground_truth_line
from evergreen.model.archive import pack
from evergreen.spec import ModelSpec
from evergreen.training.fit import train
from evergreen.training.job import TrainingJob
from evergreen.training.labelled_rows import Rows
from evergreen.usecases.people import apply, bring, decide

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MODEL = "churn"
SPEC = {
    "labels": {"classes": ["0", "1"], "maturity": "12h"},
    "training": {"min_rows": 100},
    "freshness": {"enabled": True},
}
FILES_A_DAY, ROWS_A_FILE = 3, 80
FOREST = {"n_estimators": 8, "max_depth": 4, "min_samples_leaf": 5}


def stamp(time):
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def people(random, count):
    """Requests, and how old each asker is."""
    ages = random.uniform(20, 60, count)
    return [{"age": round(float(age), 2), "plan": "ab"[i % 2]} for i, age in enumerate(ages)], ages


@cache
def trained_archive(job_name, *, leaves_at=40.0, archive=b"", production=0, freshness=True):
    """The artifact of a job that trained on people of whom those above an age leave."""
    random = np.random.default_rng(len(job_name))
    schema = ModelSpec.parse(CHURN | SPEC).feature_schema()
    rows, ages = people(random, 400)
    labels = [str(int(left)) for left in (ages > leaves_at) ^ (random.random(400) < 0.05)]
    times = [NOW - 2 * DAY + i * HOUR / 20 for i in range(400)]
    job = TrainingJob(
        MODEL,
        schema,
        "RandomForestClassifier",
        FOREST,
        min_rows=50,
        cycle_days=1,
        freshness=freshness,
        production_version=production,
    )
    made = train(job, Rows.of_json(schema, rows, labels, times), archive=archive, report=lambda _: None)
    return pack(scored_beside_production(dict(made.files)), level=1)


class LiveWorld(SmallCloud):
    """Whoever is older than forty leaves; so says production, and so it is until the world changes."""

    def __init__(self):
        super().__init__()
        self.now, self.days = NOW, 0

    def begin(self, *, seed=0, prepared=True, **spec):
        """Version 1 is in production and known to be good."""
        self.random, self._seen = np.random.default_rng(seed), set()
        apply.apply_model(ModelSpec.parse(CHURN | SPEC | spec), now=self.now, ports=self.ports)
        self.register(trained_archive("first", freshness=prepared), "first")
        self.promote(1)
        return self

    def register(self, archive, job_name):
        """Bring a version that was trained elsewhere."""
        bring.register_version(MODEL, archive, job_name, "ada", now=self.now, ports=self.ports)

    def promote(self, number):
        """A person takes a version into production, and it passes its bakes."""
        decide.force_promotion(MODEL, number, "a story", "ada", now=self.now, ports=self.ports)
        self.call("repoint_alias", self.told("PromotionApproved"))
        self.passes_its_bakes()

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

    def arrived(self, key, lines):
        """A file in the data bucket; answers the event that tells of it."""
        etag = self.ports.data.put(key, b"\n".join(lines) + b"\n")
        event = self.event("s3_object_created")
        event["detail"]["object"] |= {"key": key, "etag": etag}
        return event | {"time": stamp(self.now)}

    def tick(self):
        return self.call("learn_live", {"time": stamp(self.now)})

    def day(self, *, leaves_at=40.0, flipped=False, tick=True, labels=True):
        """A day of requests, of labels an hour later, and a tick at its end; the share that was right."""
        right = []
        for number in range(FILES_A_DAY):
            time = self.now + number * 24 // FILES_A_DAY * HOUR
            right += self.requests(time, leaves_at, flipped=flipped, labels=labels)
        self.now += DAY
        self.days += 1
        if tick:
            self.tick()
        return sum(right) / len(right)

    def asks(self, time, rows):
        """What the API answers to rows."""
        event = self.event("http_predict")
        event["body"] = json.dumps({"instances": rows})
        event["requestContext"] |= {"timeEpoch": int(time.timestamp() * 1_000), "requestId": stamp(time)}
        answer = self.call("predict", event)
        assert answer["statusCode"] == 200, answer["body"]
        return json.loads(answer["body"])

    def captured(self):
        """What the stream took since the last look."""
        new = [key for key in self.ports.data.keys("captures/20") if key not in self._seen]
        self._seen |= set(new)
        return b"".join(map(self.ports.data.get, new)).replace(b"}{", b"}\n{").splitlines()

    def requests(self, time, leaves_at, *, flipped, labels=True):
        """Ask for a file of people at a time, and label them an hour later; who was right."""
        rows, ages = people(self.random, ROWS_A_FILE)
        answers = self.asks(time, rows)["predictions"]
        truth = [str(int(left)) for left in (ages > leaves_at) ^ (self.random.random(ROWS_A_FILE) < 0.05)]
        lines = self.captured()
        self.call("profile_capture", self.arrived(f"captures/{MODEL}/production/{time:%Y/%m/%d/%H}/part.jsonl", lines))
        self.answered = lines
        if labels:
            ids = [answer["inference_id"] for answer in answers]
            said = ["10"[int(label)] for label in truth] if flipped else truth
            self.label(time + HOUR, dict(zip(ids, said, strict=True)))
        return [answer["prediction"] == label for answer, label in zip(answers, truth, strict=True)]

    def label(self, time, labels, name="labels"):
        """A file of labels by the ids of requests."""
        lines = [ground_truth_line(GroundTruth(*each), model=MODEL) for each in labels.items()]
        return self.call("join_labels", self.arrived(f"ground-truth/{MODEL}/{time:%Y/%m/%d/%H}/{name}.jsonl", lines))

    def pointer_of(self, version=1):
        return self.ports.live.read(MODEL, version)

    def states(self):
        return list(self.ports.artifacts.keys("live/churn/"))


__all__ = ["DAY", "HOUR", "MODEL", "LiveWorld", "SmallCloud", "stamp", "trained_archive"]
