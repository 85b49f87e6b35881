"""The SageMaker Python SDK v2: ``SKLearn.fit``, ``deploy`` and ``predict``, as its documentation has them.

Run by ``python tests/clients`` in an environment of its own; tells of each step in a line of JSON.
"""

import tempfile
from pathlib import Path
from typing import Any

from telling import role, step

TRAIN = """
import argparse, os
import joblib, numpy
from sklearn.linear_model import LogisticRegression


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--strength", type=float)
    strength = parser.parse_args().strength
    rows = numpy.loadtxt(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "rows.csv"), delimiter=",")
    model = LogisticRegression(C=strength).fit(rows[:, 1:], rows[:, 0])
    print(f"accuracy={model.score(rows[:, 1:], rows[:, 0])};")
    joblib.dump(model, os.path.join(os.environ["SM_MODEL_DIR"], "model.joblib"))
"""


def accuracies(estimator: Any) -> list[float]:
    """What CloudWatch was told of a job's accuracy."""
    told: list[float] = estimator.training_job_analytics.dataframe().value.tolist()
    return told


def main() -> None:
    """Train, deploy, ask, and clean up."""
    import numpy as np
    import sagemaker
    from sagemaker.sklearn import SKLearn

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN)
        rows = np.arange(40.0).reshape(20, 2)
        labels = (rows[:, 0] > 20).astype(float)
        np.savetxt(folder / "rows.csv", np.column_stack([labels, rows]), delimiter=",")

        arn = step("a role", lambda: role("sdk"))
        session = step("Session()", sagemaker.Session)
        data = step("Session.upload_data", lambda: session.upload_data(str(folder / "rows.csv"), key_prefix="rows"))
        estimator = SKLearn(
            entry_point="train.py",
            source_dir=name,
            role=arn,
            instance_type="ml.m5.large",
            instance_count=1,
            framework_version="1.2-1",
            py_version="py3",
            hyperparameters={"strength": 0.5},
            metric_definitions=[{"Name": "accuracy", "Regex": "accuracy=(.*?);"}],
            sagemaker_session=session,
        )
        step("SKLearn.fit", lambda: estimator.fit({"train": data}, logs="All"))
        step("SKLearn.model_data", lambda: estimator.model_data, "model.tar.gz")
        step("SKLearn.training_job_analytics", lambda: accuracies(estimator), "[1.0]")
        predictor = step(
            "SKLearn.deploy", lambda: estimator.deploy(initial_instance_count=1, instance_type="ml.m5.large")
        )
        step("Predictor.predict", lambda: predictor.predict(rows[:2]).tolist(), "[0.0, 0.0]")
        step("Predictor.predict, another row", lambda: predictor.predict(rows[-1:]).tolist(), "[1.0]")
        step("Predictor.delete_model", predictor.delete_model)
        step("Predictor.delete_endpoint", predictor.delete_endpoint)


if __name__ == "__main__":
    main()
