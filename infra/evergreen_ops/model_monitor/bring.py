"""Bring a model from SageMaker Model Monitor: its captures, ground truth and baseline, as they are."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from evergreen.domain.aliases import IMPORTED
from evergreen.domain.uris import is_uri, split_uri
from evergreen.errors import EvergreenError, UsageError
from evergreen.formats import outcomes
from evergreen.formats.captures import Capture, GroundTruth, MalformedLine, layout_of, read_captures, read_ground_truth
from evergreen.formats.payloads import class_of
from evergreen.model.schema import FeatureSchema, Task
from evergreen.spec import ModelSpec
from evergreen.statistics.losses import absolute_error
from evergreen_ops.model_monitor.baseline import Baseline

if TYPE_CHECKING:
    from evergreen.ports import Ports

__all__ = ["Found", "ImportRefusedError", "LocalFolder", "S3Folder", "infer_spec", "read_history", "set_up"]

VERSION = 1
_MOST_CLASSES = 20
_HOUR = re.compile(r"(\d{4})/(\d{2})/(\d{2})/(\d{2})/[^/]+$")
_FEWEST = 100
_PARTS = 10


class ImportRefusedError(EvergreenError):
    """What was found can't become a model; says what, and what to do."""


class Folder(Protocol):
    """Where files of hours lie."""

    def files(self) -> Sequence[str]:
        """The names of all files below it, sorted."""

    def read(self, name: str) -> bytes:
        """One of them."""


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A directory."""

    path: Path

    def files(self) -> Sequence[str]:
        """The names of all files below it, sorted."""
        return sorted(f.relative_to(self.path).as_posix() for f in self.path.rglob("*") if f.is_file())

    def read(self, name: str) -> bytes:
        """One of them."""
        return (self.path / name).read_bytes()


@dataclass(frozen=True, slots=True)
class S3Folder:
    """A prefix of a bucket."""

    uri: str
    ports: Ports

    def files(self) -> Sequence[str]:
        """The names of all files below it, sorted."""
        bucket, prefix = self._place()
        return sorted(key.removeprefix(prefix) for key in self.ports.bucket(bucket).keys(prefix) if key[-1] != "/")

    def read(self, name: str) -> bytes:
        """One of them."""
        bucket, prefix = self._place()
        return self.ports.bucket(bucket).get(prefix + name)

    def _place(self) -> tuple[str, str]:
        bucket, prefix = split_uri(self.uri)
        return bucket, f"{prefix.rstrip('/')}/" if prefix else ""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the captures and the ground truth.

    Parameters
    ----------
    captures
        Answered requests, each id once.
    labels
        The last label of each id, and when it was collected.
    lines, unreadable
        Lines that were read, and those that could not be, by reason.
    """

    captures: Sequence[Capture]
    labels: Mapping[str, tuple[str, datetime]]
    lines: int
    unreadable: Counter[str] = field(default_factory=Counter)

    @property
    def joined(self) -> int:
        """Requests whose label is known."""
        return sum(capture.event_id in self.labels for capture in self.captures)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The times of the first and the last request."""
        times = [capture.time for capture in self.captures]
        return min(times), max(times)


def read_baseline(folder: Folder) -> Baseline:
    """Read statistics.json and constraints.json, wherever below the folder they lie.

    Raises
    ------
    ImportRefusedError
        One of them is not there.
    """
    documents = {}
    for wanted in ("statistics.json", "constraints.json"):
        names = [name for name in folder.files() if name.rsplit("/", 1)[-1] == wanted]
        if not names:
            raise ImportRefusedError(f"the baseline has no {wanted}: give the folder that the baseline job wrote")
        documents[wanted] = folder.read(names[-1])
    return Baseline.read(documents["statistics.json"], documents["constraints.json"])


def infer_spec(
    model: str,
    baseline: Baseline,
    labels: Sequence[str],
    *,
    label: str | None = None,
    task: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Write the spec that a baseline and its labels call for.

    Parameters
    ----------
    model
        The model's name.
    baseline
        Names the features and their types.
    labels
        Of the ground truth: they tell the classes.
    label
        The baseline's column that is the label and no feature.
    task
        binary, multiclass or regression; found from the labels unless given.
    more
        Further sections of the spec, over what is inferred.

    Raises
    ------
    ImportRefusedError
        There are no labels to tell the task by, or the baseline has no such column.

    Examples
    --------
    >>> from evergreen_ops.model_monitor.baseline import Column, InferredType
    >>> age = Column("age", InferredType.FRACTIONAL)
    >>> spec = infer_spec("churn", Baseline((age,)), ["1", "0", "1"])
    >>> spec.task.value, spec.labels.classes, spec.features["age"].type
    ('binary', ('0', '1'), 'number')
    """
    columns = [column for column in baseline.columns if column.name != label]
    if label is not None and len(columns) == len(baseline.columns):
        known = ", ".join(column.name for column in baseline.columns)
        raise ImportRefusedError(f"--label is {label!r}, and the baseline has {known}")
    distinct = _plain(set(labels))
    if not distinct:
        raise ImportRefusedError("the ground truth has no labels: nothing tells the task and the classes")
    found = Task(task) if task else _task(distinct)
    document: dict[str, Any] = {
        "model": model,
        "task": found.value,
        "features": {column.name: {"type": column.type.kind.value} for column in columns},
        "gate": {"uncompared": "pass"},  # the imported model's answers are known, the model itself can't be asked
    }
    if found is not Task.REGRESSION:
        document["labels"] = {"classes": distinct}
    for section, given in (more or {}).items():
        document[section] = {**document.get(section, {}), **given} if isinstance(given, Mapping) else given
    return ModelSpec.parse(document)


def _task(distinct: Sequence[str]) -> Task:
    numbers = all(_is_number(label) for label in distinct)
    whole = numbers and all(float(label).is_integer() for label in distinct)
    if len(distinct) == 2 and (whole or not numbers):
        return Task.BINARY
    return Task.MULTICLASS if 2 < len(distinct) <= _MOST_CLASSES and (whole or not numbers) else Task.REGRESSION


def _plain(labels: set[str]) -> list[str]:
    """The labels in order; 1.0 beside 1 is 1."""
    if not all(_is_number(label) and float(label).is_integer() for label in labels):
        return sorted(labels)
    return sorted({str(int(float(label))) for label in labels})


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def read_labels(
    folder: Folder, *, on_file: Callable[[], None] = lambda: None
) -> tuple[dict[str, tuple[str, datetime]], int, Counter[str]]:
    """Read ground truth: the last label of each id and its hour, how many lines, and what could not be read."""
    labels: dict[str, tuple[str, datetime]] = {}
    lines, unreadable = 0, Counter[str]()
    for name, body in _bodies(folder):
        found, malformed = read_ground_truth(body)
        hour = _hour(name)
        lines += len(found) + len(malformed)
        unreadable += _reasons(malformed)
        labels |= {label.event_id: (label.label, hour) for label in found}
        on_file()
    return labels, lines, unreadable


def read_history(
    captures: Folder,
    labels: Mapping[str, tuple[str, datetime]],
    spec: ModelSpec,
    *,
    since: datetime | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> Found:
    """Read every capture file with the spec's layout.

    Raises
    ------
    ImportRefusedError
        Fewer than half of the lines could be read: the spec is not what the endpoint takes and answers.
    """
    layout = layout_of(spec, VERSION)
    found: dict[str, Capture] = {}
    lines, unreadable = 0, Counter[str]()
    for name, body in _bodies(captures):
        if since is not None and _hour(name) < since - timedelta(hours=1):
            continue
        read, malformed = read_captures(body, layout)
        lines += len(read) + len(malformed)
        unreadable += _reasons(malformed)
        for capture in read:
            found.setdefault(capture.event_id, capture)
        on_file()
    if unreadable.total() * 2 > lines or not found:
        told = "; ".join(f"{count:,} lines: {reason}" for reason, count in unreadable.most_common(3))
        raise ImportRefusedError(
            f"{unreadable.total():,} of {lines:,} captured lines can't be read ({told or 'there are none'}): check "
            "--label, --inference-attribute and --probability-attribute"
        )
    ordered = sorted(found.values(), key=lambda capture: (capture.time, capture.event_id))
    return Found(ordered, _as_classes(labels, spec.feature_schema()), lines, unreadable)


def _as_classes(labels: Mapping[str, tuple[str, datetime]], schema: FeatureSchema) -> dict[str, tuple[str, datetime]]:
    return {name: (class_of(label, schema) or label, time) for name, (label, time) in labels.items()}


def _bodies(folder: Folder) -> Iterator[tuple[str, bytes]]:
    for name in folder.files():
        if _HOUR.search(name):
            yield name, folder.read(name)


def files_of_hours(folder: Folder) -> int:
    """How many files are laid out as SageMaker does: ``yyyy/mm/dd/hh/name``."""
    return sum(1 for name in folder.files() if _HOUR.search(name))


def _hour(name: str) -> datetime:
    found = _HOUR.search(name)
    assert found is not None, "only files of hours are read"
    year, month, day, hour = map(int, found.groups())
    return datetime(year, month, day, hour, tzinfo=UTC)


def _reasons(malformed: Sequence[MalformedLine]) -> Counter[str]:
    return Counter(line.reason for line in malformed)


def set_up(
    spec: ModelSpec, found: Found, sagemaker_model: str, *, actor: str, now: datetime, ports: Ports
) -> dict[str, Any]:
    """Apply the spec, hand over the labelled history, and put the model that answers now into the ledger as version 1.

    What is done already is left alone, so that an import that was cut short is run again.

    Returns
    -------
    dict
        What was set up, as plain data.
    """
    from evergreen.usecases.people import apply, bring

    table = outcome_table(found, spec)
    facts, reference = describe(found, table, spec)
    apply.apply_model(spec, now=now, ports=ports, actor=actor)
    for part in _parts(table):
        bring.add_base_data(spec.model, part, now=now, ports=ports)
    state = bring.adopt_version(
        spec.model, f"{IMPORTED}{sagemaker_model}", facts, reference, actor, now=now, ports=ports
    )
    return {"model": spec.model, "version": state.production, "base_rows": table.num_rows}


def outcome_table(found: Found, spec: ModelSpec) -> pa.Table:
    """Join the labelled requests as :func:`evergreen.formats.outcomes.join` would have, file by file.

    Raises
    ------
    ImportRefusedError
        Too few requests have a label to describe the model by.
    """
    schema = spec.feature_schema()
    labelled = [capture for capture in found.captures if capture.event_id in found.labels]
    if len(labelled) < _FEWEST:
        raise ImportRefusedError(
            f"{len(labelled)} of {len(found.captures):,} captured requests have a label, {_FEWEST} are needed: check "
            "that the ground truth's eventId is the captures' inferenceId or eventId"
        )
    production = outcomes.captures_to_table(labelled, schema)
    truths = [GroundTruth(c.event_id, found.labels[c.event_id][0]) for c in labelled]
    table, _ = outcomes.join(truths, found.span[1], production, None, schema)
    times = pa.array([found.labels[c.event_id][1] for c in labelled], pa.timestamp("us", tz="UTC"))
    return table.set_column(table.column_names.index("label_time"), "label_time", times)


def describe(found: Found, labelled: pa.Table, spec: ModelSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the model that answers as a trained one describes itself: model.json's facts and reference.json."""
    from evergreen.training.fit import ERROR_QUANTILE
    from evergreen.training.reference import Validated, reference

    schema = spec.feature_schema()
    captured = outcomes.captures_to_table(found.captures, schema)
    tolerance: float | None = None
    actual, said = labelled["actual"].to_pylist(), labelled["prediction"].to_pylist()
    if schema.task is Task.REGRESSION:
        errors = absolute_error(said, actual)
        tolerance = float(np.quantile(errors, ERROR_QUANTILE))
        correct, metrics = errors <= tolerance, {"mae": float(errors.mean())}
    else:
        correct = np.array([one == other for one, other in zip(actual, said, strict=True)])
        metrics = {"accuracy": float(correct.mean())}
    answers = outcomes.prediction_column(labelled, schema)["prediction"]
    times = np.array(labelled["inference_time"].cast(pa.int64()).to_pylist(), dtype=np.int64)
    order = np.argsort(times, kind="stable")
    validated = Validated(times[order], answers[order], correct[order])
    cycle_days = spec.triggers.cycle / timedelta(days=1)
    described = reference(_rows(captured, spec), validated, cycle_days=cycle_days)
    facts = {
        **schema.to_json(),
        "model": spec.model,
        "schema_fingerprint": schema.fingerprint,
        "metrics": {"validation": metrics, "production": None},
        "error_tolerance": tolerance,
        "loss_scale": 1.0,
        "imported": True,
    }
    return facts, described


def _rows(captured: pa.Table, spec: ModelSpec) -> Any:
    """The captured requests as the training reads rows; only their features and times are looked at."""
    import pyarrow.parquet as pq

    from evergreen.training.job import TrainingJob
    from evergreen.training.read_rows import read_rows

    job = TrainingJob(spec.model, spec.feature_schema(), spec.estimator, min_rows=1)
    with tempfile.TemporaryDirectory() as folder:
        table = captured.append_column("actual", captured["prediction"])
        pq.write_table(table, Path(folder) / "captured.parquet")
        return read_rows(Path(folder), job)


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """Slices in time order, so that a later training window can leave the oldest out."""
    ordered = table.sort_by("inference_time")
    size = max(_FEWEST, -(-ordered.num_rows // _PARTS))
    for start in range(0, ordered.num_rows, size):
        yield ordered.slice(start, size)


def open_folder(place: str, ports: Ports | None) -> Folder:
    """A folder named as ``s3://bucket/prefix`` or as a directory here.

    Raises
    ------
    UsageError
        There is no such directory, or S3 can't be asked.
    """
    if is_uri(place):
        if ports is None:
            raise UsageError(f"{place} lies in S3: name the stack to work on with --stack or --local")
        return S3Folder(place, ports)
    if not Path(place).is_dir():
        raise UsageError(f"{place} is no directory, and no s3:// uri")
    return LocalFolder(Path(place))
