"""What SageMaker does around a training script: the container contract, in a directory instead of ``/opt/ml``.

Channels, hyperparameters and code are laid out under a base directory, the script runs as a process of its own with
the ``SM_*`` variables that name it, and what it leaves behind is packed into bytes that depend on nothing but content.
"""

import enum
import gzip
import io
import json
import os
import re
import shutil
import signal
import site
import sys
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Protocol

from local_cloud.kernel.place import DEFAULT_REGION
from local_cloud.kernel.processes import signal_process_group, start

FAILURE_REASON_CHARACTERS = 1024
STOP_GRACE_SECONDS = 120.0
REQUIREMENTS_NOTE = "requirements.txt is not installed here: the job runs with this environment's packages."
OPT_ML = "/opt/ml"
SCRIPTS = (".json", ".py", ".sh")
_HOST, _GROUP = "algo-1", "homogeneousCluster"


class ObjectStore(Protocol):
    """Where a job's inputs come from."""

    def read(self, bucket: str, key: str) -> bytes:
        """Return an object's bytes; raise `DataDownloadError` when it is not there."""

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that start with a prefix, sorted."""


class DataDownloadError(Exception):
    """An input of the job could not be fetched or unpacked; the message is the job's failure reason."""


class S3DataType(enum.Enum):
    """How a channel names its objects."""

    PREFIX = "S3Prefix"
    MANIFEST = "ManifestFile"


@dataclass(frozen=True, slots=True)
class Channel:
    """One input of a job: a name, and the objects to download into its directory."""

    name: str
    data_type: S3DataType
    uri: str
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """A metric that is read from the job's log by a regular expression with one group."""

    name: str
    regex: str


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """A training job, as far as it changes what runs.

    Parameters
    ----------
    name
        The job's name.
    hyperparameters
        All strings, as SageMaker has them; of a job in script mode with ``sagemaker_program`` and
        ``sagemaker_submit_directory`` among them.
    channels
        The inputs.
    environment
        The request's own variables for the script.
    metric_definitions
        What to read from the log when the job ends.
    max_runtime_seconds
        After this much real time the job is stopped.
    region
        Set as ``AWS_REGION``.
    checkpoint_uri
        An S3 prefix that is copied to ``checkpoints/`` before the start and back at the end; there is no such directory
        without one.
    arn
        Set as ``TRAINING_JOB_ARN``.
    entrypoint
        The command that the job names itself, in place of script mode.
    instance_type
        What the job is told that it runs on.
    """

    name: str
    hyperparameters: Mapping[str, str]
    channels: tuple[Channel, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    metric_definitions: tuple[MetricDefinition, ...] = ()
    max_runtime_seconds: float = 86_400.0
    region: str = DEFAULT_REGION
    checkpoint_uri: str | None = None
    arn: str = ""
    entrypoint: tuple[str, ...] = ()
    instance_type: str = "ml.m5.large"

    @property
    def program(self) -> str:
        """The script to run, relative to the code directory."""
        return str(decoded(self.hyperparameters["sagemaker_program"]))

    @property
    def submit_directory(self) -> str:
        """Where the archive with the code is: an S3 URI, or a path below ``/opt/ml`` in one of the channels."""
        return str(decoded(self.hyperparameters["sagemaker_submit_directory"]))

    @property
    def user_hyperparameters(self) -> dict[str, object]:
        """The script's own hyperparameters, decoded from JSON where they are JSON, in order of name."""
        own = {name: value for name, value in self.hyperparameters.items() if not name.startswith("sagemaker_")}
        return {name: decoded(own[name]) for name in sorted(own)}


class Cause(enum.Enum):
    """Why a training process ended."""

    BY_ITSELF = "by itself"
    STOP_REQUESTED = "stop requested"
    MAX_RUNTIME_EXCEEDED = "max runtime exceeded"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a training process ended."""

    exit_code: int
    cause: Cause


class Container:
    """The directories of one job, laid out as ``/opt/ml`` is, and what is read from them afterwards.

    Parameters
    ----------
    root
        An empty directory of the job's own; ``root/ml`` stands for ``/opt/ml``.
    request
        The job.
    """

    def __init__(self, root: Path, request: TrainingRequest) -> None:
        self.request = request
        self.root = root
        self.base = root / "ml"
        self.log = root / "log"
        self.code = self.base / "code"
        self.model = self.base / "model"
        self.output = self.base / "output"
        self.checkpoints = self.base / "checkpoints"

    def prepare(self, store: ObjectStore) -> None:
        """Make the directories, download every input and unpack the code.

        Raises
        ------
        DataDownloadError
            When an input is missing or is not what it should be.
        """
        for directory in (self.code, self.model, self.output / "data", self._config, self._data):
            directory.mkdir(parents=True, exist_ok=True)
        for channel in self.request.channels:
            download_channel(channel, self._data / channel.name, store)
        if self.request.checkpoint_uri:
            self.checkpoints.mkdir()
            prefix = f"{self.request.checkpoint_uri.rstrip('/')}/"
            _download_prefix(prefix, self.checkpoints, store, may_be_empty=True)
        if self.request.entrypoint:
            self._move_scripts()
        else:
            _extract(self._code_archive(store), self.request.submit_directory, self.code)
            if (self.code / "requirements.txt").exists():
                self.log.write_text(f"{REQUIREMENTS_NOTE}\n")
        self._write_config()

    def start(self, *, stop_grace_seconds: float) -> "TrainingProcess":
        """Start the script, or the job's own command; see `TrainingProcess`."""
        return TrainingProcess(
            self._command(),
            directory=self.code,
            environment=self.environment(),
            log=self.log,
            max_runtime_seconds=self.request.max_runtime_seconds,
            stop_grace_seconds=stop_grace_seconds,
        )

    def _command(self) -> list[str]:
        if self.request.entrypoint:
            return [self._moved(word) for word in self.request.entrypoint]
        arguments = [
            part for name, value in self.request.user_hyperparameters.items() for part in _argument(name, value)
        ]
        # -S: of this machine's packages only those that PYTHONPATH names, so that the job's code must be complete.
        return [sys.executable, "-S", str(self.code / self.request.program), *arguments]

    def _moved(self, text: str) -> str:
        return text.replace(OPT_ML, str(self.base))

    def _move_scripts(self) -> None:
        """Let the scripts of those channels that the command names find this job's directories in place of /opt/ml."""
        command = " ".join(self.request.entrypoint)
        for channel in self.request.channels:
            if f"{OPT_ML}/input/data/{channel.name}/" in command:
                for path in _files(self._data / channel.name):
                    if path.suffix in SCRIPTS:
                        path.write_text(self._moved(path.read_text()))

    def environment(self) -> dict[str, str]:
        """Return the script's whole environment: the contract's variables and the request's, and no credentials."""
        hyperparameters = self.request.user_hyperparameters
        channels = [channel.name for channel in self.request.channels]
        return {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")),
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONHASHSEED": "0",
            "AWS_REGION": self.request.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAGEMAKER_BASE_DIR": str(self.base),
            "TRAINING_JOB_NAME": self.request.name,
            "TRAINING_JOB_ARN": self.request.arn,
            "SM_INPUT_DIR": str(self.base / "input"),
            "SM_INPUT_CONFIG_DIR": str(self._config),
            "SM_INPUT_DATA_CONFIG": json.dumps(self._input_data_config()),
            "SM_RESOURCE_CONFIG": json.dumps(self._resource_config()),
            "SM_MODEL_DIR": str(self.model),
            "SM_OUTPUT_DIR": str(self.output),
            "SM_OUTPUT_DATA_DIR": str(self.output / "data"),
            "SM_CHANNELS": json.dumps(channels),
            "SM_HPS": json.dumps(hyperparameters),
            "SM_HOSTS": json.dumps([_HOST]),
            "SM_CURRENT_HOST": _HOST,
            "SM_NUM_CPUS": str(os.cpu_count() or 1),
            "SM_NUM_GPUS": "0",
            **self._of_mode(),
            **{f"SM_CHANNEL_{name.upper()}": str(self._data / name) for name in channels},
            **{f"SM_HP_{name.upper()}": str(value) for name, value in hyperparameters.items()},
            **self.request.environment,
            "PYTHONPATH": os.pathsep.join((str(self.code), *site.getsitepackages())),
        }

    def _of_mode(self) -> dict[str, str]:
        if self.request.entrypoint:
            return {"PIP_TARGET": str(self.code)}  # what its command installs is the job's alone
        return {"SM_MODULE_NAME": Path(self.request.program).stem, "SM_MODULE_DIR": self.request.submit_directory}

    def log_text(self) -> str:
        """Return what the script has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def failure_reason(self, exit_code: int) -> str:
        """Return why the job failed: the script's own words when it left any, else its last line."""
        failure = self.output / "failure"
        if failure.is_file() and (text := failure.read_text(errors="replace")):
            return text[:FAILURE_REASON_CHARACTERS]
        lines = [line for line in self.log_text().splitlines() if line.strip()]
        last = lines[-1] if lines else "it printed nothing"
        return f"AlgorithmError: {last}, exit code: {exit_code}"[:FAILURE_REASON_CHARACTERS]

    def output_files(self) -> list[str]:
        """Return the names of the files under ``output/data``."""
        return [str(path.relative_to(self.output)) for path in _files(self.output / "data")]

    def checkpoint_files(self) -> dict[str, bytes]:
        """Return the checkpoints, by name relative to their directory."""
        return {str(path.relative_to(self.checkpoints)): path.read_bytes() for path in _files(self.checkpoints)}

    def _code_archive(self, store: ObjectStore) -> bytes:
        source = self.request.submit_directory
        if source.startswith("s3://"):
            return store.read(*split_uri(source))
        try:
            return (self.base / PurePosixPath(source).relative_to(OPT_ML)).read_bytes()
        except (OSError, ValueError) as error:
            raise DataDownloadError(f"ClientError: The code archive {source} is in none of the channels.") from error

    def remove(self) -> None:
        """Delete the job's directories."""
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def _config(self) -> Path:
        return self.base / "input" / "config"

    @property
    def _data(self) -> Path:
        return self.base / "input" / "data"

    def _input_data_config(self) -> dict[str, dict[str, str]]:
        common = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
        return {
            channel.name: common | ({"ContentType": channel.content_type} if channel.content_type else {})
            for channel in self.request.channels
        }

    def _resource_config(self) -> dict[str, object]:
        """Return what a job is told of its cluster.

        Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
        """
        group = {"instance_group_name": _GROUP, "instance_type": self.request.instance_type, "hosts": [_HOST]}
        return {
            "current_host": _HOST,
            "current_instance_type": self.request.instance_type,
            "current_group_name": _GROUP,
            "hosts": [_HOST],
            "instance_groups": [group],
            "network_interface_name": "lo",
        }

    def _write_config(self) -> None:
        documents: dict[str, object] = {
            "hyperparameters": dict(self.request.hyperparameters),
            "inputdataconfig": self._input_data_config(),
            "resourceconfig": self._resource_config(),
        }
        for name, document in documents.items():
            (self._config / f"{name}.json").write_text(json.dumps(document))


class TrainingProcess:
    """A running training script: it ends by itself, on request, or when its time is up.

    Parameters
    ----------
    command, directory, environment, log
        What to run, and where its output goes.
    max_runtime_seconds
        Real seconds after which it is stopped.
    stop_grace_seconds
        Real seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        command: list[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        log: Path,
        max_runtime_seconds: float,
        stop_grace_seconds: float,
    ) -> None:
        self._stop_grace_seconds = stop_grace_seconds
        self._cause = Cause.BY_ITSELF
        self._ended = threading.Event()
        self._when_ended: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._process = start(command, directory=directory, environment=environment, log=log)
        limit = min(max_runtime_seconds, threading.TIMEOUT_MAX)
        self._time_limit = threading.Timer(limit, self._end, [Cause.MAX_RUNTIME_EXCEEDED])
        self._time_limit.daemon = True
        self._time_limit.start()
        threading.Thread(target=self._reap, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait(self) -> Ending:
        """Wait until the process has ended, and say how."""
        self._ended.wait()
        return Ending(self._process.returncode, self._cause)

    def when_ended(self, action: Callable[[], object]) -> None:
        """Call ``action`` once the process has ended, from another thread, or at once when it has ended already."""
        with self._lock:
            if not self._ended.is_set():
                self._when_ended.append(action)
                return
        action()

    def stop(self) -> None:
        """Ask the process to end: SIGTERM now, SIGKILL after the grace. Returns at once."""
        threading.Thread(target=self._end, args=(Cause.STOP_REQUESTED,), daemon=True).start()

    def kill(self) -> None:
        """End the process at once and wait until it is gone."""
        self._stop_grace_seconds = 0.0
        self._end(Cause.STOP_REQUESTED)
        self._ended.wait()

    def _end(self, cause: Cause) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            if self._cause is Cause.BY_ITSELF:
                self._cause = cause
            signal_process_group(self._process, signal.SIGTERM)
        if not self._ended.wait(self._stop_grace_seconds):
            with self._lock:
                if not self._ended.is_set():
                    signal_process_group(self._process, signal.SIGKILL)

    def _reap(self) -> None:
        # Until the leader is reaped its id is nobody else's, so what it left running can be ended by it.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            signal_process_group(self._process, signal.SIGKILL)
            self._process.wait()
            self._ended.set()
        self._time_limit.cancel()
        for action in self._when_ended:
            action()


def decoded(value: str) -> object:
    """Return a hyperparameter's value: decoded when it is JSON, else the string itself.

    Examples
    --------
    >>> decoded('"train.py"'), decoded("train.py"), decoded("200"), decoded("true")
    ('train.py', 'train.py', 200, True)
    """
    try:
        return json.loads(value)
    except ValueError:
        return value


def split_uri(uri: str) -> tuple[str, str]:
    """Split an S3 URI into bucket and key.

    Examples
    --------
    >>> split_uri("s3://bucket/a/b.csv"), split_uri("s3://bucket")
    (('bucket', 'a/b.csv'), ('bucket', ''))
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def download_channel(channel: Channel, directory: Path, store: ObjectStore) -> None:
    """Download a channel's objects.

    Parameters
    ----------
    channel
        With `S3DataType.PREFIX` every object under the URI; with `S3DataType.MANIFEST` those that the manifest at the
        URI lists, ``[{"prefix": "s3://bucket/x/"}, "key1", ...]``.
    directory
        Where they go; made when it is missing.
    store
        Where they come from.

    Raises
    ------
    DataDownloadError
        When nothing matches, a listed object is missing, or the manifest is malformed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    match channel.data_type:
        case S3DataType.PREFIX:
            _download_prefix(channel.uri, directory, store, may_be_empty=False)
        case S3DataType.MANIFEST:
            bucket, key = split_uri(channel.uri)
            prefix, names = parse_manifest(store.read(bucket, key), channel.uri)
            from_bucket, from_prefix = split_uri(prefix)
            for name in names:
                _write(directory, name, store.read(from_bucket, from_prefix + name))


def parse_manifest(document: bytes, uri: str) -> tuple[str, list[str]]:
    """Read a SageMaker manifest: its prefix, and the names that follow it.

    Parameters
    ----------
    document
        The manifest's bytes.
    uri
        Where it came from, for the error.

    Raises
    ------
    DataDownloadError
        When it is not a JSON list of one prefix and then strings.

    Examples
    --------
    >>> parse_manifest(b'[{"prefix": "s3://bucket/x/"}, "a.csv", "b.csv"]', "s3://bucket/m.json")
    ('s3://bucket/x/', ['a.csv', 'b.csv'])
    """
    try:
        entries = json.loads(document)
    except ValueError as error:
        raise DataDownloadError(f"ClientError: The manifest {uri} is not JSON: {error}.") from error
    match entries:
        case [{"prefix": str(prefix)}, *names] if all(isinstance(name, str) for name in names):
            return prefix, names
        case _:
            raise DataDownloadError(
                f"ClientError: The manifest {uri} is malformed: it must be a list of "
                '{"prefix": "s3://..."} and then names.'
            )


def relative_name(key: str, prefix: str) -> str:
    """Return where an object that matched a prefix goes below the channel's directory.

    Examples
    --------
    >>> relative_name("data/train/x/a.csv", "data/train"), relative_name("data/a.csv", "data/a.csv")
    ('x/a.csv', 'a.csv')
    >>> relative_name("data/part-1.csv", "data/part")
    'part-1.csv'
    """
    if prefix.endswith("/") or not prefix:
        return key[len(prefix) :]
    if key.startswith(f"{prefix}/"):
        return key[len(prefix) + 1 :]
    return key[prefix.rfind("/") + 1 :]


def tarball(directory: Path, names: Iterable[str] | None = None) -> bytes:
    """Pack a directory into a ``.tar.gz`` whose bytes depend only on the names and contents of its files.

    Parameters
    ----------
    directory
        What to pack.
    names
        Files relative to it; by default all of them.

    Returns
    -------
    bytes
        Members sorted by name, with no time, owner or mode of this machine.

    Examples
    --------
    >>> import tempfile
    >>> directory = Path(tempfile.mkdtemp())
    >>> _ = (directory / "model.json").write_text("{}")
    >>> first = tarball(directory)
    >>> os.utime(directory / "model.json", (1, 1))
    >>> tarball(directory) == first
    True
    """
    chosen = names if names is not None else (str(path.relative_to(directory)) for path in _files(directory))
    return pack({PurePath(name).as_posix(): (directory / name).read_bytes() for name in chosen})


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a ``.tar.gz`` of files: the same bytes wherever and whenever it is made.

    Examples
    --------
    >>> pack({"b": b"2", "a": b"1"}) == pack({"a": b"1", "b": b"2"})
    True
    """
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream:
        stream.write(plain.getbuffer())
    return packed.getvalue()


def metrics_in(definitions: Iterable[MetricDefinition], log: str) -> dict[str, list[float]]:
    r"""Return the values that each metric's expression finds in a log, in order; those never seen are left out.

    Examples
    --------
    >>> accuracy = MetricDefinition("accuracy", r"accuracy=([0-9.]+)")
    >>> metrics_in([accuracy, MetricDefinition("loss", "loss=(.*)")], "accuracy=0.5\naccuracy=0.75\n")
    {'accuracy': [0.5, 0.75]}
    """
    found: dict[str, list[float]] = {}
    for definition in definitions:
        for match in re.finditer(definition.regex, log):
            try:
                found.setdefault(definition.name, []).append(float(match[1]))
            except (IndexError, ValueError):
                continue  # SageMaker ignores what is not a number
    return {name: values for name, values in found.items() if values}


def _argument(name: str, value: object) -> tuple[str, str]:
    flag = f"-{name}" if len(name) == 1 else f"--{name}"
    return flag, json.dumps(value) if isinstance(value, list | dict) else str(value)


def _download_prefix(uri: str, directory: Path, store: ObjectStore, *, may_be_empty: bool) -> None:
    bucket, prefix = split_uri(uri)
    keys = [key for key in store.keys(bucket, prefix) if not key.endswith("/")]
    if not keys and not may_be_empty:
        raise DataDownloadError(
            f'ClientError: Data download failed: No S3 objects found under S3 URL "{uri}" given in input data source.'
        )
    for key in keys:
        _write(directory, relative_name(key, prefix), store.read(bucket, key))


def _extract(archive: bytes, name: str, directory: Path) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            members.extractall(directory, filter="data")
    except tarfile.TarError as error:
        raise DataDownloadError(f"ClientError: The code archive {name} cannot be unpacked: {error}.") from error


def _write(directory: Path, name: str, content: bytes) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataDownloadError(f"ClientError: Data download failed: {name!r} would leave the channel's directory.")
    target = directory / path
    try:
        target.write_bytes(content)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
