"""A load over real HTTP from a process of its own, on the served local cloud, while a shadow is at work."""

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

from small_cloud import ROOT
from tipping_model import NEVER, a_model

from evergreen import bootstrap
from evergreen.domain.aliases import AliasRecord
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply
from evergreen.usecases.steps.loaded_models import ALIAS_CACHE
from local_cloud.server.server import LocalServer

_CALLER = """
import hashlib, http.client, json, sys, time
from urllib.parse import urlsplit

given = json.load(sys.stdin)
url = urlsplit(given["url"])
connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
told, milliseconds, statuses = hashlib.sha256(), [], {}
for number in range(given["requests"]):
    row = given["row"] | {given["varied"]: 20 + number % 60}
    body = json.dumps({"instances": [row], "inference_ids": [f"r{number}"]})
    started = time.perf_counter()
    path, headers = f"{url.path}/models/{given['model']}/predict", {"content-type": "application/json"}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    milliseconds.append((time.perf_counter() - started) * 1_000)
    statuses[answer.status] = statuses.get(answer.status, 0) + 1
    document.pop("request_id", None)
    told.update(json.dumps([answer.status, document]).encode())
print(json.dumps({"answers": told.hexdigest(), "statuses": statuses, "milliseconds": milliseconds}))
"""
SHADOWS = {
    "on": a_model(50),
    "hanging": a_model(50, rounds=NEVER),
    "throwing": a_model(50, oldest=0),
}
"""Answers otherwise; never; on no row."""


class ServedModel:
    """One model of a served API, and who answers for it."""

    def __init__(self, server, spec, row, varied):
        self._server, self._spec, self._row, self._varied = server, ModelSpec.parse(spec), row, varied
        self._ports = bootstrap.ports_for(server.cloud.outputs)
        self._cloudwatch = server.cloud.client("cloudwatch")
        self._began = datetime.now(UTC)
        apply.apply_model(self._spec, now=self._began, ports=self._ports)

    def put(self, alias, version, content, *, latency_ms=30.0):
        """Point an alias to a version, and wait until every function has looked."""
        key = f"models/{self._spec.model}/v{version}/output/model.tar.gz"
        self._ports.artifacts.put(key, content)
        sha256 = hashlib.sha256(content).hexdigest()
        record = AliasRecord(self._spec.model, alias, version, key, sha256, version, latency_ms)
        self._ports.aliases.repoint(record)
        time.sleep(1.1 * ALIAS_CACHE.total_seconds())

    def clear(self, alias, epoch):
        """Point an alias nowhere, and wait until every function has looked."""
        self._ports.aliases.clear(self._spec.model, alias, epoch)
        time.sleep(1.1 * ALIAS_CACHE.total_seconds())

    def asked(self, requests):
        """What a caller in another process saw of as many requests."""
        given = {"url": self._server.api_url(), "requests": requests, "model": self._spec.model}
        given |= {"row": self._row, "varied": self._varied}
        ran = subprocess.run(
            [sys.executable, "-c", _CALLER], input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(ran.stdout)

    @contextlib.contextmanager
    def captures_at_work(self):
        """While the block lasts, what was captured before it is worked on: by score_shadow among others."""
        worker = threading.Thread(target=self._server.cloud.drain)
        worker.start()
        yield
        worker.join()

    def shadowed(self, version, *, within=300):
        """How many rows a version in shadow answered and did not: waits until the first are counted."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            counted = (self.counted(version, "ShadowScored"), self.counted(version, "ShadowErrors"))
            if any(counted):
                return counted
            time.sleep(0.2)
        raise TimeoutError(f"version {version} did nothing in shadow for {within} s")

    def counted(self, version, name):
        """The sum of a version's metric."""
        dimensions = [{"Name": "Model", "Value": self._spec.model}, {"Name": "Version", "Value": str(version)}]
        found = self._cloudwatch.get_metric_statistics(
            Namespace="Evergreen/evergreen",
            MetricName=name,
            Dimensions=dimensions,
            StartTime=self._began - timedelta(minutes=5),
            EndTime=datetime.now(UTC) + timedelta(minutes=5),
            Period=3_600,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in found["Datapoints"])


@contextlib.contextmanager
def served(spec, row, varied):
    """A model behind the API of the local cloud; each function runs in processes of its own."""
    with LocalServer(ROOT / "template.yaml", port=0) as server:
        try:
            yield ServedModel(server, spec, row, varied)
        finally:
            bootstrap.reset()
