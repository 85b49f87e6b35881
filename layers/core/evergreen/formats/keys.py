"""Where files lie in the buckets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from evergreen.formats.endpoint_names import ConfigVersions


@dataclass(frozen=True, slots=True)
class FileKey:
    """Where a capture or ground-truth file lies: ``captures/{model}/{variant}/yyyy/mm/dd/hh/{name}``.

    A SageMaker endpoint puts its own name before the variant's, and whatever prefix its configuration says before that:
    Evergreen's configurations say their own name.

    Examples
    --------
    >>> key = FileKey.parse("captures/churn/production/2026/01/31/23/part-1.jsonl")
    >>> key.model, key.variant, key.hour.isoformat(), key.stem
    ('churn', 'production', '2026-01-31T23:00:00+00:00', 'part-1')
    >>> key.beside("compact", "parquet")
    'compact/churn/production/2026/01/31/23/part-1.parquet'
    >>> key = FileKey.parse("captures/churn/evergreen-churn-p3-s4-e52/churn-eu/shadow/2026/01/31/23/09-15-123-a.jsonl")
    >>> key.variant, key.versions.shadow, key.compacted
    ('shadow', 4, 'compact/churn/shadow/2026/01/31/23/09-15-123-a.v4.parquet')
    """

    kind: str
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
        most = 3 if kind == "captures" else 1
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

    @property
    def compacted(self) -> str:
        """The key of the file as Parquet; a shadow's names the version."""
        if self.variant == "shadow" and self.versions is not None and self.versions.shadow is not None:
            return self.beside("compact", "parquet", stem=f"{self.stem}.v{self.versions.shadow}")
        return self.beside("compact", "parquet")

    def beside(self, kind: str, ending: str, *, variant: str | None = None, stem: str | None = None) -> str:
        """The key of the same hour and name under another kind."""
        parts = [kind, self.model, self.variant if variant is None else variant, f"{self.hour:%Y/%m/%d/%H}"]
        return "/".join(part for part in parts if part) + f"/{stem or self.stem}.{ending}"
