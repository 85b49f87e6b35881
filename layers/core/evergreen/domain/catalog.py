"""What the catalog knows of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One stored file of a model and the sums that decisions need of it."""

    model: str
    kind: str  # compact-production, compact-shadow, profile, profile-day, outcomes, base-data, pending-labels
    time: datetime  # the hour of the file
    key: str
    rows: int
    etag: str = ""
    sums: Mapping[str, Any] = field(default_factory=dict)
