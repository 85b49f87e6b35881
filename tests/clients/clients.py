"""The clients: what each is, at which version, how it is run against a cloud, and what it told."""

import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = "3.13"
MOTO = version("moto")
SAGEMAKER_2, SAGEMAKER_3, AWS_CLI = "2.257.7", "3.27.0", "2.0.198"
MOTO_SUITES = tuple(f"tests/test_{name}" for name in ("cloudwatch", "events", "firehose", "pipes", "scheduler"))
STARTS_WITHIN_SECONDS = 120
SDK_DEFAULTS = """SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: sagemaker-local
"""
"""With a bucket named, ``Session()`` does not ask STS by AWS's own address; without telemetry it asks nobody else."""


class ClientError(Exception):
    """A client could not be installed or run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step or test ended: ``passed``, ``well-formed``, ``failed`` or ``skipped``."""

    test: str
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that nobody here wrote.

    Parameters
    ----------
    run
        Runs it with a scratch folder; returns what it told.
    """

    name: str
    version: str
    run: Callable[[Path], list[Outcome]]


def outcomes(lines: str) -> list[Outcome]:
    """Read what a client told, a line of JSON for each step; other lines are its own talk.

    Examples
    --------
    >>> outcomes('INFO: hello\\n{"test": "Session()", "outcome": "passed", "why": ""}\\n')
    [Outcome(test='Session()', outcome='passed', why='')]
    """
    return [Outcome(**json.loads(line)) for line in lines.splitlines() if line.startswith('{"test"')]


def after_well_formed(first: list[Outcome], second: list[Outcome]) -> list[Outcome]:
    """Return how tests ended that were run again with well-formed values if they had failed.

    Examples
    --------
    >>> first = [Outcome("a", "passed"), Outcome("b", "failed", "n/a is no ARN"), Outcome("c", "failed", "no")]
    >>> after_well_formed(first, [Outcome("b", "passed"), Outcome("c", "failed", "still no")])
    [Outcome(test='a', outcome='passed', why=''), Outcome(test='b', outcome='well-formed', why='n/a is no ARN'), \
Outcome(test='c', outcome='failed', why='still no')]
    """
    again = {outcome.test: outcome for outcome in second}
    told = []
    for one in first:
        other = again.get(one.test)
        if one.outcome != "failed" or other is None:
            told.append(one)
        elif other.outcome == "passed":
            told.append(Outcome(one.test, "well-formed", one.why))
        else:
            told.append(other)
    return told


# -- running ---------------------------------------------------------------------------------------------------------


def _sdk(script: str, package: str, variables: Mapping[str, str] | None = None) -> Callable[[Path], list[Outcome]]:
    def run(scratch: Path) -> list[Outcome]:
        defaults = scratch / "sagemaker.yaml"
        defaults.write_text(SDK_DEFAULTS)
        with _cloud(scratch) as environment:
            own = {**environment, "SAGEMAKER_USER_CONFIG_OVERRIDE": str(defaults), **(variables or {})}
            return outcomes(_run(["python", "-W", "ignore", str(HERE / script)], own, scratch, package))

    return run


def _aws_cli(scratch: Path) -> list[Outcome]:
    """The CLI's second version is on no index but inside a package for the CDK: Linux on x86-64 alone."""
    _download(scratch, f"aws-cdk-asset-awscli-v2=={AWS_CLI}", "--only-binary")
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        packed = wheel.extract(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")), scratch)
    with tarfile.open(packed) as archive:
        archive.extract("package/lib/layer.zip", scratch, filter="data")
    with zipfile.ZipFile(scratch / "package/lib/layer.zip") as layer:
        layer.extractall(scratch)
    aws = next(scratch.glob("awscli/v2/*/dist/aws"))
    aws.chmod(0o755)
    with _cloud(scratch) as environment:
        path = os.pathsep.join((str(aws.parent), environment["PATH"]))
        own = {**environment, "PATH": path, "AWS_PAGER": ""}
        done = subprocess.run(
            [sys.executable, str(HERE / "aws_cli.py")],
            env=own,
            cwd=scratch,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    return outcomes(done.stdout)


def _moto(scratch: Path) -> list[Outcome]:
    """moto's own tests, as its source has them; those that fail once more, with well-formed values."""
    _download(scratch, f"moto=={MOTO}", "--no-binary")
    with tarfile.open(next(scratch.glob("moto-*.tar.gz"))) as archive:
        archive.extractall(scratch, filter="data")
    first = _moto_tests(scratch, "first", {})
    failed = [outcome.test for outcome in first if outcome.outcome == "failed"]
    if not failed:
        return first
    chosen = scratch / "failed"
    chosen.write_text("\n".join(failed))
    return after_well_formed(first, _moto_tests(scratch, "second", {"WELL_FORMED": "1", "ONLY_TESTS": str(chosen)}))


def _moto_tests(scratch: Path, name: str, variables: Mapping[str, str]) -> list[Outcome]:
    port, results = _free_port(), scratch / name
    own = {
        **_environment(port),
        "CLIENT_RESULTS": str(results),
        "CLOUD_PORT": str(port),
        "CLOUD_PYTHON": sys.executable,
        "CLOUD_SCRIPT": str(HERE / "fresh_clouds.py"),
        "MOTO_CALL_RESET_API": "false",
        "PYTHONPATH": str(HERE),
        "TESTS_SKIP_REQUIRES_DOCKER": "true",
        "TEST_SERVER_MODE": "true",
        "TEST_SERVER_MODE_ENDPOINT": f"http://localhost:{port}",
        **variables,
    }
    command = ["python", "-m", "pytest", "-p", "moto_plugin", "-q", *MOTO_SUITES]
    _run(
        command,
        own,
        scratch / f"moto-{MOTO}",
        f"moto[all,server]=={MOTO}",
        "pytest",
        "freezegun",
        f"boto3=={version('boto3')}",
    )
    return outcomes(results.read_text() if results.exists() else "")


def _run(command: list[str], environment: Mapping[str, str], folder: Path, *packages: str) -> str:
    """Run a command in an environment of its own; what it prints besides goes to stderr."""
    own = [part for package in packages for part in ("--with", package)]
    uv = ["uv", "run", "--quiet", "--isolated", "--no-project", "--python", PYTHON, *own, *command]
    return subprocess.run(uv, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, check=False).stdout


def _download(folder: Path, package: str, form: str) -> None:
    command = ["-m", "pip", "download", "--quiet", "--no-deps", form, ":all:", "--dest", str(folder), package]
    if subprocess.run([sys.executable, *command], stdout=sys.stderr, check=False).returncode:
        raise ClientError(
            f"{package} can't be fetched from the package index; run `make clients` where it can be reached"
        )


# -- a cloud -----------------------------------------------------------------------------------------------------------


@contextmanager
def _cloud(scratch: Path) -> Iterator[dict[str, str]]:
    """``evergreen local up --empty``, and the environment that its first lines name."""
    port = _free_port()
    command = [sys.executable, "-m", "evergreen_ops", "local", "up", "--empty", "--port", str(port)]
    with subprocess.Popen(command, cwd=scratch, stdout=sys.stderr) as cloud:
        try:
            _wait_until_up(port, cloud)
            yield _environment(port)
        finally:
            cloud.terminate()


def _wait_until_up(port: int, cloud: "subprocess.Popen[bytes]") -> None:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            ask.open(f"http://127.0.0.1:{port}/_evergreen/health", timeout=5).read()
        except OSError as error:
            if cloud.poll() is not None or time.monotonic() > deadline:
                raise ClientError("`evergreen local up` did not come up") from error
            time.sleep(0.2)
        else:
            return


def _environment(port: int) -> dict[str, str]:
    """What `evergreen local up` says to set, and nothing else of AWS."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VIRTUAL_ENV"))}
    return {
        **own,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://localhost:{port}",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


CLIENTS: tuple[Client, ...] = (
    Client(
        "sagemaker-v2",
        SAGEMAKER_2,
        _sdk("sagemaker_v2.py", f"sagemaker=={SAGEMAKER_2}", {"SAGEMAKER_SUPPRESS_V2_WARNING": "1"}),
    ),
    Client("sagemaker-v3", SAGEMAKER_3, _sdk("sagemaker_v3.py", f"sagemaker=={SAGEMAKER_3}")),
    Client("aws-cli", f"of {AWS_CLI}", _aws_cli),
    Client("moto", MOTO, _moto),
)


def run(client: Client) -> list[Outcome]:
    """Run a client in a folder that is removed with it.

    Raises
    ------
    ClientError
        It could not be installed, or its cloud did not come up.
    """
    with tempfile.TemporaryDirectory(prefix="client-") as scratch:
        return client.run(Path(scratch))
