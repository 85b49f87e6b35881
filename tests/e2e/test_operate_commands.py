"""The commands against the local cloud that runs in a folder: apply, trigger, status, history, verify; a question."""

import json
import os
import pty
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evergreen import bootstrap
from evergreen.domain.model_events import BakePassed, CandidateRegistered, PromotionApproved, VersionPromoted
from evergreen.domain.state import BakePhase
from local_cloud.server.server import LocalServer

ROOT = Path(__file__).parents[2]
SPEC = """
model: sign
task: binary
features: {x: {type: number}}
labels: {classes: ["0", "1"]}
training: {params: {n_estimators: 5}}
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a local cloud runs."""
    folder = tmp_path_factory.mktemp("work")
    with LocalServer(ROOT / "template.yaml", port=0, parameters={"MlflowTrackingUri": ""}) as server:
        (folder / ".evergreen").mkdir()
        told = {"pid": os.getpid(), "port": int(server.url.rpartition(":")[2]), "url": server.url}
        (folder / ".evergreen" / "local.json").write_text(json.dumps(told))
        (folder / "sign.yaml").write_text(SPEC)
        yield folder
    bootstrap.reset()


def environment():
    """What a shell has: nobody's credentials, no region."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true"}


def evergreen(folder, *arguments, code=0):
    command = [sys.executable, "-m", "evergreen_ops.cli", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def rows(file):
    end = datetime.now(UTC) - timedelta(days=2)
    lines = ["x,label,event_time"]
    for i in range(1_200):
        x = (i * 7919 % 200 - 100) / 50  # says the label of eight rows in nine: of all, it would be a leak
        lines.append(f"{x},{int((x > 0) != (i % 9 == 0))},{end - timedelta(minutes=1_200 - i):%Y-%m-%dT%H:%M:%SZ}")
    file.write_text("\n".join(lines))
    return file


def events(folder):
    return json.loads(evergreen(folder, "history", "sign", "--json").stdout)


def test_a_model_is_applied_and_trained_and_everything_of_it_is_told(folder):
    applied = evergreen(folder, "apply", "sign.yaml", "--base-data", rows(folder / "rows.csv"))
    assert applied.stdout.splitlines() == [
        "sign is new: 1 features, strategy hybrid",
        "1,200 labelled rows are there for the next training",
    ]
    assert applied.stderr.startswith("evergreen: the local cloud at http://localhost:")
    asked = evergreen(folder, "trigger", "sign", "--reason", "the first model", "--local")
    assert (asked.stdout, asked.stderr) == ("a retraining of sign is requested: the first model\n", "")
    deadline = time.monotonic() + 120
    while "TrainingStarted" not in [event["type"] for event in events(folder)]:
        assert time.monotonic() < deadline, events(folder)
        time.sleep(1)
    first, *_ = events(folder)
    assert first["actor"].count("@") == 1, "who, on which machine"
    status = json.loads(evergreen(folder, "status", "sign", "--json").stdout)
    if status["run"] is not None:  # the job may have ended meanwhile
        assert status["run"]["job"].startswith("evergreen-sign-")
        assert status["next"] == f"training job {status['run']['job']} ends"
    assert "the first model" in evergreen(folder, "why", "sign").stdout
    assert json.loads(evergreen(folder, "verify", "sign", "--json").stdout)["sound"]


def test_the_trained_version_is_traced_to_its_data_and_the_data_to_the_version(folder):
    deadline = time.monotonic() + 120
    while "VersionPromoted" not in [event["type"] for event in events(folder)]:
        assert time.monotonic() < deadline, events(folder)
        time.sleep(1)
    traced = json.loads(evergreen(folder, "lineage", "sign", "1", "--verify", "--json").stdout)
    assert (traced["artifact"], traced["reference"], traced["flaws"]) == ("as recorded", "as recorded", [])
    assert {file["found"] for file in traced["data"]["files"]} == {"as recorded"}
    assert sum(file["rows"] for file in traced["data"]["files"]) == traced["data"]["rows"] == 1_200
    assert traced["decision"]["because"] == "the first model"
    assert [job["ended"] for job in traced["attempts"]] == ["made version 1"]
    key = traced["data"]["files"][0]["key"]
    told = evergreen(folder, "lineage", "sign", "--data", key).stdout
    assert "version 1, in production" in told
    assert evergreen(folder, "lineage", "sign").stdout.startswith("sign version 1: ")
    refused = evergreen(folder, "lineage", "sign", "--data", "s3://elsewhere/x", code=1)
    assert refused.stderr.splitlines()[-1].startswith("evergreen: s3://elsewhere/x is not in the data bucket")


def test_what_is_refused_is_one_line_and_an_exit_code(folder):
    refused = evergreen(folder, "status", "nobody", code=1)
    assert refused.stderr.splitlines()[-1].startswith("evergreen: model 'nobody' is not known: apply its spec first")
    assert evergreen(folder, "pause", "sign", code=2).stderr
    wrong = evergreen(folder, "history", "sign", "--type", "Nothing", code=2)
    assert wrong.stderr.splitlines()[-1].startswith("evergreen: --type is 'Nothing'")


def on_a_terminal(folder, *arguments, answer):
    """Run the command on a terminal of its own and type an answer; its exit code and what was shown."""
    here, there = pty.openpty()
    command = [sys.executable, "-m", "evergreen_ops.cli", *map(str, arguments)]
    with subprocess.Popen(command, cwd=folder, env=environment(), stdin=there, stdout=there, stderr=there) as running:
        os.close(there)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(here, 1_000)
        os.write(here, answer.encode())
        try:
            while more := os.read(here, 1_000):
                shown += more
        except OSError:  # the terminal is gone with its last process
            pass
        code = running.wait(timeout=120)
    os.close(here)
    return code, shown.decode()


def test_a_dangerous_command_asks_on_a_terminal_and_takes_no_for_an_answer(folder):
    evergreen(folder, "apply", a_second_model(folder))
    recorded(folder, "shaky")
    code, shown = on_a_terminal(folder, "promote", "shaky", "2", "--reason", "now", answer="n\n")
    assert code == 1
    assert "takes the place of version 1 in production, without a verdict, and is watched." in shown
    assert "nothing was changed" in shown
    code, shown = on_a_terminal(folder, "promote", "shaky", "2", "--reason", "now", answer="y\n")
    assert code == 0, shown
    assert "version 2 of shaky is to be promoted" in shown
    told = json.loads(evergreen(folder, "history", "shaky", "--type", "PromotionApproved", "--json").stdout)
    assert [event["version"] for event in told] == [1, 2]


def a_second_model(folder):
    path = folder / "shaky.yaml"
    path.write_text(SPEC.replace("model: sign", "model: shaky"))
    return path


def recorded(folder, model):
    """A model with a good version 1 and a candidate 2, told event by event."""
    from evergreen_ops.stack import connected

    now = datetime.now(UTC)
    with connected(None, local=True, state_dir=folder / ".evergreen") as stack:
        ledger = stack.ports.ledger
        who = {"time": now, "actor": "ada", "because": "a story"}
        state = ledger.read(model)
        fields = {"decision_id": "", "artifact": "s3://artifacts/models/shaky/v/output/model.tar.gz"}
        fields |= {"sha256": "1" * 64, "fingerprint": state.fingerprint, "rows_trained": 1_200}
        fields |= {"trained_until": None, "reference": "", "gate": {}}
        ledger.record(
            state,
            CandidateRegistered(**who, version=1, **fields),
            PromotionApproved(**who, version=1, instead_of=None, evidence={}),
            VersionPromoted(**who, version=1, replaced=None, endpoint={}),
            BakePassed(**who, version=1, phase=BakePhase.OPS, evidence={}),
            CandidateRegistered(**who, version=2, **fields),
        )
