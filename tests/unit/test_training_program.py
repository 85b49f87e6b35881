"""The program of a training job, under SageMaker's container contract: folders, arguments, failure file, signals."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.model.archive import pack
from evergreen.training import source
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.train import main

FEATURES = [{"name": "x", "type": "number"}, {"name": "plan", "type": "categorical"}]
HYPERPARAMETERS = {
    "model": "churn",
    "task": "binary",
    "features": json.dumps(FEATURES),
    "estimator": "RandomForestClassifier",
    "params": '{"n_estimators": 5, "max_depth": 4}',
    "seed": "0",
    "decision_id": "20260101",
    "trained_until": "2026-12-31T00:00:00Z",
}


def outcomes(count=300):
    random = np.random.default_rng(0)
    x = random.normal(size=count)
    times = (np.arange(count) * 3_600_000_000).astype("datetime64[us]")
    return pa.table(
        {
            "event_id": [f"e{index:04d}" for index in range(count)],
            "inference_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "label_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "group": pa.nulls(count, pa.string()),
            "production_version": pa.nulls(count, pa.int32()),
            "actual": np.where(x + random.normal(scale=0.3, size=count) > 0, "1", "0").tolist(),
            "feature.x": x,
            "feature.plan": random.choice(["basic", "gold"], count).tolist(),
        }
    )


@pytest.fixture
def container(tmp_path):
    """A container's folders with one channel of rows, and the variables that point at them."""
    channel = tmp_path / "input" / "data" / "training" / "2026" / "01"
    channel.mkdir(parents=True)
    (tmp_path / "output").mkdir()
    pq.write_table(outcomes(), channel / "rows.parquet")
    return tmp_path


def variables(container, **more):
    return {"SAGEMAKER_BASE_DIR": str(container), **more}


def arguments(**changes):
    return [part for name, value in {**HYPERPARAMETERS, **changes}.items() for part in (f"--{name}", value)]


def test_a_job_leaves_an_artifact_metrics_and_no_failure(container, capsys):
    assert main(arguments(), variables(container)) == 0
    assert sorted(path.name for path in (container / "model").iterdir()) == [
        "model.json",
        "model.onnx",
        "reference.json",
    ]
    assert sorted(path.name for path in (container / "output/data").iterdir()) == ["metrics.json", "model.skops"]
    assert not (container / "output/failure").exists()
    facts = json.loads((container / "model/model.json").read_text())
    assert facts["decision_id"] == "20260101"
    log = capsys.readouterr().out
    found = {
        definition["Name"]: float(match.group(1))
        for definition in source.METRIC_DEFINITIONS
        if (match := re.search(definition["Regex"], log))
    }
    told = {f"validation_{name}": value for name, value in facts["metrics"]["validation"].items()}
    told |= {"rows_trained": facts["rows_trained"], "onnx_max_difference": facts["onnx_max_difference"]}
    assert found == told


def test_a_job_whose_version_is_to_be_kept_fresh_leaves_its_leaves_and_those_of_production(container):
    first = arguments(freshness="1")
    assert main(first, variables(container)) == 0
    archive = pack(
        {
            str(path.relative_to(container / "model")): path.read_bytes()
            for path in (container / "model").rglob("*")
            if path.is_file()
        }
    )
    registered = given_production(container, archive)
    second = arguments(freshness="1", seed="1", production_sha256=registered, production_version="3")
    assert main(second, variables(container)) == 0
    left = sorted(path.name for path in (container / "model/members").iterdir())
    assert left == ["3.leaves", "3.onnx", "own.leaves", "own.onnx", "start"]
    assert json.loads((container / "model/model.json").read_text())["ancestors"] == [3]


def test_hyperparameters_the_toolkit_decoded_win_over_mangled_arguments(container):
    decoded = {**HYPERPARAMETERS, "features": FEATURES, "params": {"n_estimators": 3}, "seed": 7}
    environment = variables(container, SM_HPS=json.dumps(decoded))
    assert main(["--features", str(FEATURES), "--params", "n_estimators=3"], environment) == 0
    facts = json.loads((container / "model/model.json").read_text())
    assert (facts["params"], facts["seed"]) == ({"max_depth": 20, "n_estimators": 3}, 7)


def given_production(container, content):
    """The artifact in its channel; answers the hash that the ledger would have registered."""
    channel = container / "input/data/production"
    channel.mkdir(exist_ok=True)
    (channel / "model.tar.gz").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def an_artifact_of_ten_days(container):
    assert main(arguments(trained_until="1970-01-10T23:00:00Z"), variables(container)) == 0
    return pack({path.name: path.read_bytes() for path in (container / "model").iterdir()})


def test_the_production_channel_is_scored_beside_it(container, capsys):
    registered = given_production(container, an_artifact_of_ten_days(container))
    assert main(arguments(seed="1", production_sha256=registered), variables(container)) == 0
    facts = json.loads((container / "model/model.json").read_text())
    assert facts["metrics"]["production"]["accuracy"] > 0.8
    assert (facts["production_sha256"], facts["metrics"]["not_compared"]) == (registered, None)
    assert f"production_accuracy={facts['metrics']['production']['accuracy']};" in capsys.readouterr().out


def test_a_production_artifact_with_one_other_byte_fails_the_job_before_anything_is_trained(container, capsys):
    content = an_artifact_of_ten_days(container)
    registered = given_production(container, content)
    shutil.rmtree(container / "model")
    tampered = bytearray(content)
    tampered[len(tampered) // 2] ^= 1
    found = given_production(container, bytes(tampered))
    capsys.readouterr()
    assert main(arguments(production_sha256=registered), variables(container)) == 1
    assert (container / "output/failure").read_text() == (
        f"production's artifact has sha256 {found}, but {registered} is registered: it was changed; restore the "
        "object, or roll back to another version"
    )
    assert "fitting" not in capsys.readouterr().out
    assert not (container / "model").exists()


@pytest.mark.parametrize(
    ("content", "passed", "because"),
    [
        (b"nonsense", True, "no readable model.tar.gz"),
        (b"nonsense", False, "production_sha256 is missing"),
        (None, True, "channel production holds no model.tar.gz"),
    ],
)
def test_production_that_can_not_be_scored_costs_the_comparison_and_is_told_to_the_gate(
    container, capsys, content, passed, because
):
    registered = "0" * 64 if content is None else given_production(container, content)
    assert main(arguments(production_sha256=registered if passed else ""), variables(container)) == 0
    told = json.loads((container / "model/model.json").read_text())["metrics"]["not_compared"]
    assert told["code"] == "refused"
    assert because in told["because"]
    assert f"warning: production is not scored on the validation rows: {told['because']}" in capsys.readouterr().out


def test_a_model_without_production_has_nothing_to_be_compared_with(container):
    assert main(arguments(), variables(container)) == 0
    metrics = json.loads((container / "model/model.json").read_text())["metrics"]
    assert (metrics["production"], metrics["not_compared"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"min_rows": "1000"},
            "300 labelled rows are fewer than min_rows 1000; wait for labels or lower training.min_rows",
        ),
        ({"task": "ranking"}, "the task is 'ranking'; choose one of binary, multiclass, regression"),
        ({"features": "x"}, "hyperparameter features is 'x'; pass a JSON list of {name, type}"),
        (
            {"features": '[{"name": "x", "type": "date"}]'},
            "feature 'x' has type 'date'; choose one of number, categorical",
        ),
        ({"params": "5"}, "hyperparameter params is '5'; pass a JSON object of keyword arguments"),
        ({"seed": "one"}, "hyperparameter seed is 'one'; pass a number"),
        ({"max_rows": "1.5"}, "hyperparameter max_rows is '1.5'; pass a whole number"),
        ({"trained_until": "soon"}, "hyperparameter trained_until is 'soon'; pass an ISO 8601 time"),
        ({"validation_fraction": "1"}, "validation_fraction is 1.0, which leaves no rows on one side"),
        ({"max_rows": "50"}, "max_rows is 50, below min_rows 100"),
        ({"cycle_days": "0"}, "cycle_days is 0; choose a number above 0"),
        ({"model": ""}, "hyperparameter model is missing"),
        ({"classes": '["0", "2"]'}, "labels are none of the model's classes, the first '1'"),
    ],
)
def test_a_failure_is_one_line_in_the_failure_file(container, capsys, changes, reason):
    assert main(arguments(**changes), variables(container)) == 1
    written = (container / "output/failure").read_text()
    assert reason in written
    assert "\n" not in written
    assert len(written) <= 1024
    assert written in capsys.readouterr().err
    assert not (container / "model").exists()


def test_labels_of_a_class_that_the_spec_does_not_name_fail_a_job_or_are_left_out(container):
    """Feedback of former releases let classes in that the spec did not name yet."""
    file = next((container / "input/data/training").rglob("*.parquet"))
    rows = pq.read_table(file)
    actual = ["7" if number % 50 == 0 else label for number, label in enumerate(rows["actual"].to_pylist())]
    place, kind = rows.schema.get_field_index("actual"), rows["actual"].type
    pq.write_table(rows.set_column(place, "actual", pa.array(actual, kind)), file)
    assert main(arguments(classes='["0", "1"]'), variables(container)) == 1
    assert "are none of the model's classes, the first '7'" in (container / "output/failure").read_text()
    assert main(arguments(classes='["0", "1"]', other_labels="leave_out"), variables(container)) == 0
    assert json.loads((container / "model/model.json").read_text())["classes"] == ["0", "1"]


def test_a_bug_is_named_in_the_failure_file_too(container, monkeypatch):
    def broken(*_arguments, **_keywords):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("evergreen.training.train.train", broken)
    with pytest.raises(ZeroDivisionError):
        main(arguments(), variables(container))
    assert (container / "output/failure").read_text() == "unexpected ZeroDivisionError: division by zero"


def test_digits_and_null_are_names_where_a_name_is_due():
    job = TrainingJob.from_hyperparameters({**HYPERPARAMETERS, "model": "null", "decision_id": "0042"})
    assert (job.model, job.decision_id) == ("null", "0042")
    with pytest.raises(TrainingError):
        TrainingJob.from_hyperparameters({})


def test_null_is_the_default_everywhere_else():
    nulls = dict.fromkeys(("params", "max_rows", "min_rows", "classes", "trained_from", "cycle_days"), "null")
    job = TrainingJob.from_hyperparameters({**HYPERPARAMETERS, **nulls})
    assert (job.max_rows, job.min_rows, job.trained_from, job.cycle_days) == (None, 100, None, 7.0)
    assert job.params == {"n_estimators": 200, "max_depth": 20}


def test_every_hyperparameter_may_come_json_encoded():
    values = {**HYPERPARAMETERS, "seed": 3, "cycle_days": 0.5, "classes": ["0", "1"], "features": FEATURES}
    encoded = TrainingJob.from_hyperparameters({name: json.dumps(value) for name, value in values.items()})
    assert encoded == TrainingJob.from_hyperparameters(values)
    assert (encoded.model, encoded.seed, encoded.cycle_days, encoded.schema.classes) == ("churn", 3, 0.5, ("0", "1"))


def test_the_packed_source_trains_alone_and_gives_the_same_bytes_each_time(container, tmp_path):
    """As the container does it: unpack sourcedir.tar.gz, run train.py there, nothing else of Evergreen to import."""
    content = source.pack_source()
    assert content == source.pack_source()
    code = tmp_path / "code"
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        archive.extractall(code, filter="data")
    assert (code / "train.py").is_file()
    made = []
    for attempt in ("1", "2"):
        environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": attempt, **variables(container)}
        subprocess.run([sys.executable, "train.py", *arguments()], cwd=code, env=environment, check=True)
        made.append({path.name: path.read_bytes() for path in (container / "model").iterdir()})
    assert made[0] == made[1]


def test_the_source_holds_no_module_that_only_a_function_needs():
    with tarfile.open(fileobj=io.BytesIO(source.pack_source()), mode="r:gz") as archive:
        names = archive.getnames()
    assert {"train.py", "requirements.txt", "evergreen/__init__.py", "evergreen/model/schema.py"} <= set(names)
    assert not [name for name in names if "/aws/" in name or "/spec.py" in name or "bootstrap" in name]


def a_wheel(name, text):
    """A wheel of one module, as PEP 427 has it."""
    packed = io.BytesIO()
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr(f"{name}.py", text)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("brought", "fails_with"),
    [
        ("answer = 42", None),
        ("answer = 41", "DO NOT MATCH THE HASHES"),
    ],
)
def test_a_source_with_wheels_is_installed_from_itself_alone_and_only_as_it_was_pinned(tmp_path, brought, fails_with):
    pinned = hashlib.sha256(a_wheel("needed", "answer = 42")).hexdigest()
    requirements = f"needed==1.0 --hash=sha256:{pinned}\n".encode()
    packed = source.pack_source({"needed-1.0-py3-none-any.whl": a_wheel("needed", brought)}, requirements)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(tmp_path, filter="data")
    # As SageMaker's training toolkit asks: no option of its own, so the archive must say where everything is.
    install = [sys.executable, "-m", "pip", "install", "--target", "installed", "--requirement", "requirements.txt"]
    nowhere = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    ended = subprocess.run(install, cwd=tmp_path, env=nowhere, capture_output=True, text=True, check=False)
    if fails_with is None:
        assert ended.returncode == 0, ended.stderr
        assert (tmp_path / "installed/needed.py").read_text() == brought
    else:
        assert ended.returncode
        assert fails_with in ended.stderr


@pytest.mark.parametrize("wheels", [None, {"needed-1.0-py3-none-any.whl": b"a wheel"}])
def test_a_job_that_packs_its_own_source_has_the_one_that_the_stack_packs(tmp_path, wheels):
    """What a job keeps of an interrupted training is known by it, with wheels and without."""
    with tarfile.open(fileobj=io.BytesIO(source.pack_source(wheels)), mode="r:gz") as archive:
        archive.extractall(tmp_path, filter="data")
    program = "import hashlib, evergreen.training.source as s; print(hashlib.sha256(s.pack_source()).hexdigest())"
    isolated = [sys.executable, "-S", "-c", program]
    told = subprocess.run(isolated, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert told == hashlib.sha256(source.pack_source()).hexdigest()


def test_a_source_that_brings_nothing_asks_for_what_is_pinned():
    with tarfile.open(fileobj=io.BytesIO(source.pack_source()), mode="r:gz") as archive:
        assert archive.extractfile("requirements.txt").read() == source.REQUIREMENTS.read_bytes()
        assert not [name for name in archive.getnames() if name.startswith(source.WHEELS)]


def test_packing_the_source_needs_the_standard_library_only():
    program = (
        "import sys, evergreen.training.source as s; s.pack_source(); print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "sklearn", "pyarrow", "onnx", "boto3"} & set(loaded)


def stopped(container, *, after):
    """Run a job as the container does, end it by SIGTERM when it says so, and answer what it said."""
    program = (
        "import sys, time, evergreen.training.fit as f\n"
        "fit, calls = f.fit, []\n"
        "def slow(rows, job):\n"
        f"    if len(calls) == {after}:\n"
        "        print('about to be stopped', flush=True)\n"
        "        time.sleep(60)\n"
        "    calls.append(rows)\n"
        "    return fit(rows, job)\n"
        "f.fit = slow\n"
        "from evergreen.training.train import main\n"
        "sys.exit(main())"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", program, *arguments()],
        env={**os.environ, **variables(container)},
        stdout=subprocess.PIPE,
        text=True,
    )
    said = []
    while "about to be stopped\n" not in said:
        said.append(job.stdout.readline())
    job.send_signal(signal.SIGTERM)
    rest, _ = job.communicate(timeout=20)
    assert job.returncode == 143
    assert not (container / "model").exists()
    return "".join(said) + rest


def test_sigterm_ends_a_job_at_once_without_half_an_artifact(container):
    assert "stopped on request before the version was complete; nothing was kept" in stopped(container, after=0)
    assert not (container / "checkpoints").exists()


def made_by(container, capsys):
    """The files of a job and what it said."""
    shutil.rmtree(container / "model", ignore_errors=True)
    assert main(arguments(), variables(container)) == 0
    return {path.name: path.read_bytes() for path in (container / "model").iterdir()}, capsys.readouterr().out


def test_a_job_that_was_stopped_goes_on_from_its_validation_and_makes_the_same_bytes(container, capsys):
    in_one_go, _ = made_by(container, capsys)
    shutil.rmtree(container / "model")
    (container / "checkpoints").mkdir()
    assert "the validation is kept for the next attempt" in stopped(container, after=1)
    resumed, log = made_by(container, capsys)
    assert "the validation is taken from a checkpoint" in log
    assert "validating on" not in log
    assert resumed == in_one_go


@pytest.mark.parametrize(
    ("damage", "because"),
    [
        (lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]), "it is damaged"),
        (lambda kept: kept[: len(kept) // 2], "it is damaged"),
        (lambda kept: b"", "it is damaged"),
        (lambda kept: b"\x80\x04.", "it is damaged"),
        (lambda kept: kept.replace(b'"key": "', b'"key": "other'), "it is of other rows, another job or other code"),
    ],
)
def test_a_checkpoint_that_is_stale_or_damaged_is_ignored_with_a_line(container, capsys, damage, because):
    folder = container / "checkpoints"
    folder.mkdir()
    first, _ = made_by(container, capsys)
    (kept,) = folder.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    again, log = made_by(container, capsys)
    assert f"a checkpoint is ignored: {because}" in log
    assert "validating on" in log
    assert again == first


def test_a_checkpoint_of_other_rows_is_not_used(container, capsys):
    (container / "checkpoints").mkdir()
    made_by(container, capsys)
    channel = container / "input/data/training/2026/01/rows.parquet"
    pq.write_table(outcomes().slice(0, 290), channel)
    _, log = made_by(container, capsys)
    assert "a checkpoint is ignored: it is of other rows" in log


def test_the_reasons_of_the_trigger_travel_with_the_job():
    told = {"trigger": "data_drift", "because": "null", "snapshot": "5" * 64, "source_sha256": "6" * 64}
    job = TrainingJob.from_hyperparameters({**HYPERPARAMETERS, **{n: json.dumps(v) for n, v in told.items()}})
    assert (job.trigger, job.because, job.snapshot, job.source_sha256) == tuple(told.values())


def test_classes_that_one_hyperparameter_can_not_hold_come_in_parts():
    parts = {"task": "multiclass", "classes": '["a", "b"]', "classes_1": '["c"]', "features": FEATURES}
    assert TrainingJob.from_hyperparameters({**HYPERPARAMETERS, **parts}).schema.classes == ("a", "b", "c")
