"""Where files lie: every prefix of the two buckets, and every key.

The template names the same prefixes, for what may read and write them: tests/infra/test_template.py compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from evergreen.formats.endpoint_names import ConfigVersions


class DataPrefix(StrEnum):
    """How the keys of the data bucket begin."""

    CAPTURES = "captures"
    COMPACT = "compact"  # captures, as Parquet
    GROUND_TRUTH = "ground-truth"
    PENDING_LABELS = "pending-labels"
    OUTCOMES = "outcomes"
    ONLINE_ROWS = "online-rows"  # outcomes, for who learns between trainings
    PROFILES = "profiles"
    BASE_DATA = "base-data"
    DECISIONS = "decisions"
    QUARANTINE = "quarantine"


class ArtifactPrefix(StrEnum):
    """How the keys of the artifact bucket begin."""

    MODELS = "models"
    REFERENCES = "references"
    SNAPSHOTS = "snapshots"
    SOURCE = "source"
    CHECKPOINTS = "checkpoints"  # of training jobs
    ONLINE = "online"  # what former releases learned: nobody reads it
    LIVE = "live"  # states of versions


class Quarantined(StrEnum):
    """Why something is in quarantine: the folder below :attr:`DataPrefix.QUARANTINE`."""

    CAPTURES = "captures"  # lines that can't be read
    GROUND_TRUTH = "ground-truth"  # lines that can't be read, labels that can't be used
    LABELS_WITHOUT_CAPTURE = "labels-without-capture"
    CAPTURE_STREAM = "capture-stream"  # what the streams could not deliver
    LABEL_STREAM = "label-stream"


# --- files of an hour -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileKey:
    """Where a capture or ground-truth file lies: ``captures/{model}/{variant}/yyyy/mm/dd/hh/{name}``.

    A SageMaker endpoint puts its own name before the variant's, and whatever prefix its configuration says before that:
    Evergreen's configurations say their own name. What is made of a file lies under another prefix, by the same hour
    and name.

    Examples
    --------
    >>> key = FileKey.parse("captures/churn/production/2026/01/31/23/part-1.jsonl")
    >>> key.model, key.variant, key.hour.isoformat(), key.stem
    ('churn', 'production', '2026-01-31T23:00:00+00:00', 'part-1')
    >>> key.compacted
    'compact/churn/production/2026/01/31/23/part-1.parquet'
    >>> key = FileKey.parse("captures/churn/evergreen-churn-p3-s4-e52/churn-eu/shadow/2026/01/31/23/09-15-123-a.jsonl")
    >>> key.variant, key.versions.shadow, key.compacted
    ('shadow', 4, 'compact/churn/shadow/2026/01/31/23/09-15-123-a.v4.parquet')
    >>> labels = FileKey.parse("ground-truth/churn/2026/02/01/00/part-1.jsonl")
    >>> labels.outcomes, labels.late.outcomes
    ('outcomes/churn/2026/02/01/00/part-1.parquet', 'outcomes/churn/2026/02/01/00/part-1.late.parquet')
    """

    kind: str  # the first part of the key
    model: str
    variant: str  # empty for ground truth
    hour: datetime
    stem: str
    config: str = ""  # the endpoint configuration that captured it, of a SageMaker endpoint

    @classmethod
    def parse(cls, key: str) -> FileKey:
        """Read a key; raises ValueError for one that is not laid out so."""
        kind, model, *folders, year, month, day, hour, name = key.split("/")
        time = datetime(int(year), int(month), int(day), int(hour), tzinfo=UTC)
        most = 3 if kind == DataPrefix.CAPTURES else 1
        if len(folders) > most:
            raise ValueError(f"key {key!r} has {len(folders)} folders between model and year: at most {most} expected")
        variant = folders[-1] if folders else ""
        if len(folders) > 1:  # an endpoint's variant that answers may be called anything
            variant = variant if variant == "shadow" else "production"
        return cls(kind, model, variant, time, name.rsplit(".", 1)[0], folders[0] if len(folders) == 3 else "")

    @property
    def versions(self) -> ConfigVersions | None:
        """Who answered, where a configuration of ours captured it."""
        return ConfigVersions.read(self.config) if self.config else None

    # --- of captures

    @property
    def compacted(self) -> str:
        """The key of the file as Parquet; a shadow's names the version."""
        by_config = self.versions.shadow if self.variant == "shadow" and self.versions is not None else None
        file = self if by_config is None else self._of_version(by_config)
        return file.beside(DataPrefix.COMPACT, "parquet")

    def profile(self, version: int) -> str:
        """The key of the counts of what a version was asked and answered."""
        return self.beside(DataPrefix.PROFILES, f"v{version}.json")

    def answered_by_shadow(self, version: int) -> str:
        """The key of a shadow's answers to the requests of this file."""
        return replace(self, variant="shadow", config="")._of_version(version).beside(DataPrefix.CAPTURES, "jsonl")

    def _of_version(self, version: int) -> FileKey:
        return replace(self, stem=f"{self.stem}.v{version}")

    # --- of labels

    @property
    def late(self) -> FileKey:
        """What is joined of the file later: the labels that waited for their capture."""
        return replace(self, stem=f"{self.stem}.late")

    @property
    def outcomes(self) -> str:
        """The key of the labels, joined with their captures."""
        return self.beside(DataPrefix.OUTCOMES, "parquet")

    @property
    def online_rows(self) -> str:
        """The key of the outcomes for who learns between trainings."""
        return self.beside(DataPrefix.ONLINE_ROWS, "jsonl.gz")

    @property
    def pending_labels(self) -> str:
        """The key of the labels whose capture has not come yet."""
        return self.beside(DataPrefix.PENDING_LABELS, "jsonl")

    # --- of both

    def quarantined(self, why: Quarantined) -> str:
        """The key of what of the file can't be used."""
        return self.beside(f"{DataPrefix.QUARANTINE}/{why}", "jsonl")

    def beside(self, folder: str, ending: str) -> str:
        """The key of the same hour and name below another folder."""
        parts = (folder, self.model, self.variant) if self.variant else (folder, self.model)
        return f"{hour_of('/'.join(parts), self.hour)}{self.stem}.{ending}"


def hour_of(folder: str, hour: datetime) -> str:
    """The prefix of an hour's files below a folder.

    Examples
    --------
    >>> hour_of("ground-truth/churn", datetime(2026, 1, 31, 23, tzinfo=UTC))
    'ground-truth/churn/2026/01/31/23/'
    """
    return f"{folder}/{hour:%Y/%m/%d/%H}/"


def captures_of(model: str, *below: str) -> str:
    """The folder of a model's captures, or one below it.

    Examples
    --------
    >>> captures_of("churn"), captures_of("churn", "production")
    ('captures/churn', 'captures/churn/production')
    """
    return "/".join((DataPrefix.CAPTURES, model, *below))


def ground_truth_of(model: str) -> str:
    """The folder of a model's labels."""
    return f"{DataPrefix.GROUND_TRUTH}/{model}"


def refused_labels_of(model: str) -> str:
    """The folder of those of a model's labels that can't be used."""
    return f"{DataPrefix.QUARANTINE}/{Quarantined.GROUND_TRUTH}/{model}"


def is_of_version(key: str, version: int) -> bool:
    """Whether a file is of this version alone, as a shadow's are.

    Examples
    --------
    >>> is_of_version("compact/churn/shadow/2026/01/31/23/a.v4.parquet", 4)
    True
    """
    return f".v{version}." in key


# --- other data -------------------------------------------------------------------------------------------------------


def profile_of_day(model: str, version: int, day: datetime) -> str:
    """The key of the sum of a day's profiles.

    Examples
    --------
    >>> profile_of_day("churn", 3, datetime(2026, 1, 31, tzinfo=UTC))
    'profiles/churn/days/2026-01-31.v3.json'
    """
    return f"{DataPrefix.PROFILES}/{model}/days/{day:%Y-%m-%d}.v{version}.json"


def decision_key(model: str, kind: str, time: datetime) -> str:
    """The key of what was found at a time.

    Examples
    --------
    >>> decision_key("churn", "retraining", datetime(2026, 1, 31, 23, 5, tzinfo=UTC))
    'decisions/churn/2026/01/31/230500-retraining.json'
    """
    moment = f"{time:%H%M%S}.{time:%f}" if time.microsecond else f"{time:%H%M%S}"
    return f"{DataPrefix.DECISIONS}/{model}/{time:%Y/%m/%d}/{moment}-{kind}.json"


def base_data_key(model: str, sha256: str) -> str:
    """The key of labelled rows from before Evergreen, by what they are."""
    return f"{DataPrefix.BASE_DATA}/{model}/{sha256[:16]}.parquet"


# --- artifacts --------------------------------------------------------------------------------------------------------


def artifacts_of(model: str) -> str:
    """The folder below which a model's jobs leave their artifacts."""
    return f"{ArtifactPrefix.MODELS}/{model}"


def artifact_key(model: str, job_name: str) -> str:
    """Where a training job leaves its artifact: SageMaker names all of it after the model.

    Examples
    --------
    >>> artifact_key("churn", "churn-1-0")
    'models/churn/churn-1-0/output/model.tar.gz'
    """
    return f"{artifacts_of(model)}/{job_name}/output/model.tar.gz"


def job_name_of(artifact: str) -> str:
    """The job that wrote an artifact, by its key or uri.

    Examples
    --------
    >>> job_name_of("s3://bucket/models/churn/churn-1-0/output/model.tar.gz")
    'churn-1-0'
    """
    return artifact.split("/")[-3]


def reference_key(model: str, job_name: str, sha256: str) -> str:
    """Where a version's reference lies: the key names the hash that its reader checks."""
    return f"{ArtifactPrefix.REFERENCES}/{model}/{job_name}.{sha256}.json"


def reference_sha256(key: str) -> str:
    """The hash that a reference's key names; empty where it names none.

    Examples
    --------
    >>> reference_sha256(reference_key("churn", "churn-1-0", "5f5f"))
    '5f5f'
    """
    named, _, ending = key.rpartition(".")
    return named.rpartition(".")[2] if ending == "json" else ""


def snapshot_key(model: str, decision_id: str, attempt: int) -> str:
    """Where it is written which rows an attempt trains on.

    Examples
    --------
    >>> snapshot_key("churn", "d-1", 0), manifest_key("churn", "d-1", 0)
    ('snapshots/churn/d-1/0/snapshot.json', 'snapshots/churn/d-1/0/manifest.json')
    """
    return f"{ArtifactPrefix.SNAPSHOTS}/{model}/{decision_id}/{attempt}/snapshot.json"


def manifest_key(model: str, decision_id: str, attempt: int) -> str:
    """The same rows as a training job's channel is told of them."""
    return f"{ArtifactPrefix.SNAPSHOTS}/{model}/{decision_id}/{attempt}/manifest.json"


def snapshot_of_decision(snapshot: str) -> str:
    """Where the snapshot of an attempt lay when a decision's attempts shared one.

    Examples
    --------
    >>> snapshot_of_decision("snapshots/churn/d-1/0/snapshot.json")
    'snapshots/churn/d-1/snapshot.json'
    """
    decision, _, name = snapshot.rsplit("/", 2)
    return f"{decision}/{name}"


def source_key(sha256: str) -> str:
    """Where the source of a job or of a container lies, by what it holds."""
    return f"{ArtifactPrefix.SOURCE}/{sha256}/sourcedir.tar.gz"


def checkpoints_of(model: str, decision_id: str) -> str:
    """The folder that the attempts of a training share for their checkpoints."""
    return f"{ArtifactPrefix.CHECKPOINTS}/{model}/{decision_id}"


# --- what is learned between trainings --------------------------------------------------------------------------------


def live_states_of(model: str, version: int | None = None) -> str:
    """The prefix of a version's live states, or of all versions'."""
    folder = f"{ArtifactPrefix.LIVE}/{model}/"
    return folder if version is None else f"{folder}v{version:06d}/"


def live_state_version(key: str) -> int:
    """The version whose live state lies at a key.

    Examples
    --------
    >>> live_state_version(live_state_key("churn", 3, 17, "5f5f"))
    3
    """
    return int(key.split("/")[-2].removeprefix("v"))


def live_state_number(key: str) -> int:
    """The number of the live state that lies at a key.

    Examples
    --------
    >>> live_state_number(live_state_key("churn", 3, 17, "5f5f"))
    17
    """
    return int(key.rpartition("/")[2].partition("-")[0])


def live_state_key(model: str, version: int, number: int, sha256: str) -> str:
    """Where a version's live state lies: no other bytes are ever written there.

    Examples
    --------
    >>> live_state_key("churn", 3, 17, "5f5f")
    'live/churn/v000003/0000000017-5f5f.state'
    """
    return f"{live_states_of(model, version)}{number:010d}-{sha256}.state"
