"""The SageMaker Python SDK v3: ``ModelTrainer.train``, which brings drivers and a script in channels of its own.

Run by ``python tests/clients`` in an environment of its own; tells of each step in a line of JSON.
"""

import tempfile
from pathlib import Path

from telling import refused, role, step

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
TRAIN = """
import argparse, os
import numpy

parser = argparse.ArgumentParser()
parser.add_argument("--strength", type=float)
strength = parser.parse_args().strength
rows = numpy.loadtxt(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "rows.csv"), delimiter=",")
print("trained on", rows.shape)
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.json"), "w") as file:
    file.write(str(strength))
"""


def main() -> None:
    """Train, twice: the second script fails."""
    from sagemaker.train import ModelTrainer
    from sagemaker.train.configs import Compute, InputData, SourceCode

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source").mkdir()
        (folder / "source" / "train.py").write_text(TRAIN)
        (folder / "source" / "broken.py").write_text("raise SystemExit('no such rows')\n")
        (folder / "rows.csv").write_text("1,2\n3,4\n")
        arn = step("a role", lambda: role("sdk"))

        def trainer(script: str) -> "ModelTrainer":
            return ModelTrainer(
                training_image=IMAGE,
                role=arn,
                base_job_name=script.partition(".")[0],
                source_code=SourceCode(source_dir=str(folder / "source"), entry_script=script),
                compute=Compute(instance_type="ml.m5.large", instance_count=1),
                hyperparameters={"strength": 0.5},
            )

        rows = InputData(channel_name="train", data_source=str(folder / "rows.csv"))
        made = step("ModelTrainer: the role is simulated", lambda: trainer("train.py"))
        step("ModelTrainer.train", lambda: made.train(input_data_config=[rows], wait=True))
        job = made._latest_training_job
        step("TrainingJob.training_job_status", lambda: job.training_job_status, "Completed")
        step("TrainingJob.model_artifacts", lambda: job.model_artifacts, "model.tar.gz")
        failing = trainer("broken.py")
        refused("ModelTrainer.train, a script that fails", lambda: failing.train(wait=True), "Failed")


if __name__ == "__main__":
    main()
