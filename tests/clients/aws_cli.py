"""The AWS CLI: the commands of aws_cli.txt, in order. `python tests/clients` runs it."""

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from telling import MAY, tell

STEPS = Path(__file__).with_name("aws_cli.txt")
PATIENCE_SECONDS = 60
QUEUE, ROLE = "arn:aws:sqs:us-east-1:123456789012:orders", "arn:aws:iam::123456789012:role"
FUNCTION = """
def handler(event, context):
    print("greeting", event.get("name"))
    return f"hello {event.get('name')}"
"""
TRAIN = """
import os

with open(os.path.join(os.environ["SM_MODEL_DIR"], "model"), "w") as file:
    file.write("1")
print("accuracy=0.9")
"""
STACK = """
Parameters:
  Name: {Type: String, Default: shelf}
Resources:
  Shelf: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Name}}
  Room: {Type: AWS::S3::Bucket}
Outputs:
  Url: {Value: !Ref Shelf}
"""


def _trust(*services: str) -> dict[str, object]:
    allowed = {"Effect": "Allow", "Principal": {"Service": list(services)}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [allowed]}


_SENDERS = {"Service": ["events.amazonaws.com", "sns.amazonaws.com"]}
_MAY_SEND = {"Effect": "Allow", "Principal": _SENDERS, "Action": "sqs:SendMessage", "Resource": QUEUE}
_OF_QUEUE = {"Version": "2012-10-17", "Statement": [_MAY_SEND]}
FILES = {
    "may.json": json.dumps(MAY),
    "queue-policy.json": json.dumps({"Policy": json.dumps(_OF_QUEUE)}),
    "rows.csv": "1,2\n3,4\n",
    "stack.yaml": STACK,
    "train.py": TRAIN,
    "trust-all.json": json.dumps(
        _trust("firehose.amazonaws.com", "sagemaker.amazonaws.com", "scheduler.amazonaws.com")
    ),
    "trust.json": json.dumps(_trust("lambda.amazonaws.com")),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what its output (that of a refused one: its error) has to match, at once or within a minute."""

    command: str
    told: str
    refused: bool = False
    patient: bool = False


def read_steps(text: str) -> list[Step]:
    """Read commands, each with what it has to tell below it.

    Examples
    --------
    >>> read_steps("# S3\\naws s3 ls\\n    wares\\naws s3 ls s3://none\\n    ! NoSuchBucket\\n")
    [Step(command='aws s3 ls', told='wares', refused=False, patient=False), \
Step(command='aws s3 ls s3://none', told='NoSuchBucket', refused=True, patient=False)]
    """
    found = []
    for command, told in re.findall(r"^(aws .*)\n {4}(.*)$", text, re.MULTILINE):
        refused, patient = told.startswith("! "), told.startswith("... ")
        found.append(Step(command, told.removeprefix("! ").removeprefix("... "), refused, patient))
    return found


def run(step: Step, folder: Path, environment: dict[str, str]) -> str:
    """Run a command; return why it failed, or nothing."""
    deadline = time.monotonic() + (PATIENCE_SECONDS if step.patient else 0)
    while True:
        done = subprocess.run(
            step.command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        said = done.stderr if step.refused else done.stdout
        if (done.returncode != 0) is step.refused and re.search(step.told, said.strip()):
            return ""
        if time.monotonic() > deadline:
            return f"exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        time.sleep(1)


def lay_out(folder: Path) -> None:
    """Write the files that the commands name."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", FUNCTION)
    (folder / "function.zip").write_bytes(packed.getvalue())
    with tarfile.open(folder / "source.tar.gz", "w:gz") as source:
        source.add(folder / "train.py", "train.py")


def main() -> None:
    """Run every command and tell of each."""
    now = datetime.now(UTC)
    environment = {
        **os.environ,
        "HOUR_AGO": (now - timedelta(hours=1)).isoformat(),
        "HOUR_ON": (now + timedelta(hours=1)).isoformat(),
        "IMAGE": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
        "QUEUE": QUEUE,
        "QUEUE_URL": f"{os.environ['AWS_ENDPOINT_URL']}/123456789012/orders",
        "ROLE": ROLE,
    }
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        for step in read_steps(STEPS.read_text()):
            tell(step.command, run(step, Path(folder), environment))


if __name__ == "__main__":
    main()
