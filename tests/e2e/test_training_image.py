"""The packed source in AWS's prebuilt scikit-learn image: its Python, its versions, and the same answers here."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evergreen.model.archive import pack
from evergreen.model.scorer import Artifact
from evergreen.training.source import PROGRAM
from evergreen_ops.cli import app

ROWS = 600
ASKS = """
import json, sys
import numpy as np
import skops.io
folder, = sys.argv[1:]
loaded = skops.io.load(folder + "/output/data/model.skops", trusted=skops.io.get_untrusted_types(
    file=folder + "/output/data/model.skops"))
rows = json.load(open(folder + "/asked.json"))
table = np.array([[row["x"], row["y"], row["plan"]] for row in rows], dtype=object)
print(json.dumps(loaded.predict_proba(table).tolist()))
"""


def a_python(version):
    """An interpreter of that version, or None: on the PATH, or as pyenv keeps them."""
    candidates = [
        shutil.which(f"python{version}"),
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"),
    ]
    for candidate in filter(None, candidates):
        asked = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # a shim may fail
        if told == version:
            return str(candidate)
    return None


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What `evergreen source --isolated` writes, unpacked."""
    folder = tmp_path_factory.mktemp("source")
    archive = folder / "sourcedir.tar.gz"
    told = CliRunner().invoke(app, ["source", str(archive), "--isolated"])
    assert told.exit_code == 0, told.output
    with tarfile.open(archive, mode="r:gz") as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory, source):
    """An environment of the image's Python, with what the source brings, installed as the toolkit does and offline."""
    interpreter = a_python("3.10")
    if interpreter is None:
        pytest.skip("no Python 3.10 is found, which AWS's scikit-learn image runs: install one (pyenv install 3.10)")
    folder = tmp_path_factory.mktemp("image") / "environment"
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin/python")
    nowhere = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    install = [python, "-m", "pip", "install", "--quiet", "-r", "requirements.txt"]
    subprocess.run(install, check=True, cwd=source, env=nowhere)
    return python


@pytest.fixture
def container(tmp_path, source):
    """A job's folders with a small table in its channel, and the source unpacked where the toolkit puts it."""
    random = np.random.default_rng(5)
    x, y = random.normal(size=(2, ROWS))
    plan = random.choice(["basic", "gold", "trial"], ROWS)
    times = pa.array((np.arange(ROWS) * 3_600_000_000).astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))
    table = {
        "event_id": [f"e{row:04d}" for row in range(ROWS)],
        "inference_time": times,
        "label_time": times,
        "actual": np.where(x + (plan == "gold") + 0.3 * random.normal(size=ROWS) > 0, "1", "0").tolist(),
        "feature.x": pa.array(np.where(random.random(ROWS) < 0.1, np.nan, x), from_pandas=True),
        "feature.y": y,
        "feature.plan": plan.tolist(),
    }
    for folder in ("input/data/training", "output"):
        (tmp_path / folder).mkdir(parents=True)
    pq.write_table(pa.table(table), tmp_path / "input/data/training/rows.parquet")
    shutil.copytree(source, tmp_path / "code", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.whl", "*.tar.gz"))
    return tmp_path


def trained(python, container, estimator, params):
    features = [
        {"name": "x", "type": "number"},
        {"name": "y", "type": "number"},
        {"name": "plan", "type": "categorical"},
    ]
    hyperparameters = {
        "model": "churn",
        "task": "binary",
        "features": features,
        "classes": ["0", "1"],
        "estimator": estimator,
        "params": params,
        "min_rows": 100,
    }
    given = {"SAGEMAKER_BASE_DIR": str(container), "SM_HPS": json.dumps(hyperparameters)}
    subprocess.run([python, PROGRAM], cwd=container / "code", env={"PATH": os.environ["PATH"], **given}, check=True)
    files = {path.name: path.read_bytes() for path in (container / "model").iterdir()}
    content = pack(files)
    return Artifact.from_tar(content, hashlib.sha256(content).hexdigest())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        ("RandomForestClassifier", {"n_estimators": 20, "max_depth": 8}),
        ("LogisticRegression", {}),
        ("GradientBoostingClassifier", {"n_estimators": 10}),
    ],
)
def test_the_source_trains_in_the_image_and_its_artifact_answers_here_as_the_model_did_there(
    image, container, estimator, params
):
    artifact = trained(image, container, estimator, params)
    asked = [{"x": x, "y": y, "plan": plan} for x in (-1.5, 0.0, 0.7) for y in (-1.0, 2.0) for plan in ("gold", "new")]
    (container / "asked.json").write_text(json.dumps(asked))
    told = subprocess.run([image, "-c", ASKS, str(container)], capture_output=True, text=True, check=True).stdout
    there = np.array(json.loads(told))
    here = artifact.scorer().score_rows(asked)
    assert np.abs(here.probabilities - there).max() <= 1e-5
    assert here.labels == [("0", "1")[row.argmax()] for row in there]


def test_an_image_of_ones_own_has_what_the_source_asks_for_of_the_image_of_aws():
    """Its own Python installs nothing of the source's requirements: what is missing would fail the job."""
    root = Path(__file__).parents[2]
    own = (root / "infra/deploy/training_image/requirements.in").read_text()
    asked = (root / "layers/core/evergreen/training/requirements.in").read_text()
    lacking, of_the_image = asked.split("# What the image has")
    wanted = [line for line in lacking.splitlines() if line and line[0] != "#"]
    assert wanted
    assert set(wanted) <= set(own.splitlines())
    names = {line.split("=")[0] for line in of_the_image.splitlines() if "==" in line}
    assert names == {"numpy", "scikit-learn", "scipy"} <= {line.split(">")[0] for line in own.splitlines()}
