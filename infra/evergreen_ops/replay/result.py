"""What a replay found: the history, what was served, and the summary drawn from both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.domain.brought import Brought, brought
from evergreen.domain.history import History
from evergreen.domain.model_events import RetrainingRequested, TrainingStarted, VersionPromoted, VersionRolledBack
from evergreen.spec import ModelSpec
from evergreen_ops.replay.explain import Explanation
from evergreen_ops.replay.gains import gains_over
from evergreen_ops.replay.policies import PolicyResult
from evergreen_ops.replay.scores import Quality, quality
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Served:
    """What production answered to each row of the stream; version 0 where it answered nothing.

    Attributes
    ----------
    predictions : ndarray [N]
        Class labels (object) or numbers.
    probabilities : ndarray [N, K] or None
    versions : ndarray of int [N]
    failed : ndarray of bool [N]
        Requests that were answered with an error.
    """

    predictions: Array
    probabilities: Array | None
    versions: Array
    failed: Array

    @classmethod
    def nothing(cls, stream: Stream) -> Served:
        """Room for the answers to a stream."""
        return cls(
            predictions=np.full(
                stream.rows, None if stream.classes else np.nan, dtype=object if stream.classes else float
            ),
            probabilities=np.full((stream.rows, len(stream.classes)), np.nan) if stream.classes else None,
            versions=np.zeros(stream.rows, dtype=np.int32),
            failed=np.zeros(stream.rows, dtype=bool),
        )

    def first(self, rows: int) -> Served:
        """Return the answers to the first rows alone."""
        probabilities = None if self.probabilities is None else self.probabilities[:rows]
        return Served(self.predictions[:rows], probabilities, self.versions[:rows], self.failed[:rows])


@dataclass(frozen=True, slots=True)
class DrillOutcome:
    """One bad version that was promoted on purpose, and what became of it."""

    kind: str  # errors, latency, quality
    version: int | None
    rolled_back: bool
    reason: str
    to_version: int | None
    after_minutes: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for summary.json."""
        return {
            "kind": self.kind,
            "version": self.version,
            "rolled_back": self.rolled_back,
            "reason": self.reason,
            "to_version": self.to_version,
            "after_minutes": self.after_minutes,
        }


@dataclass(frozen=True, slots=True)
class Replay:
    """A finished replay."""

    stream: Stream
    spec: ModelSpec
    base: Base
    history: History
    served: Served
    wall_seconds: float = 0.0
    peak_rss_mb: float = 0.0
    drill: tuple[DrillOutcome, ...] = ()
    comparisons: tuple[PolicyResult, ...] = ()
    failures: Mapping[str, str] = MappingProxyType({})  # functions that ended in errors
    live: tuple[Mapping[str, Any], ...] = ()  # what versions had learned since they were trained, at the end
    assumed: Mapping[str, str] = MappingProxyType({})  # what was inferred of a stream without a spec, in sentences
    decisions: tuple[Mapping[str, Any], ...] = ()  # every evaluation and comparison, also those that changed nothing
    explanation: Explanation | None = None  # where it was asked for

    @property
    def scored(self) -> Array:
        """The rows that were answered and whose label became known."""
        return np.flatnonzero(self.stream.labelled & (self.served.versions > 0) & ~self.served.failed)

    @property
    def quality(self) -> Quality:
        """How good the answers were."""
        rows, probabilities = self.scored, self.served.probabilities
        return quality(
            self.stream.label[rows],
            self.served.predictions[rows],
            None if probabilities is None else probabilities[rows],
            self.stream.classes,
        )

    @property
    def brought(self) -> tuple[Brought, ...]:
        """What each version after the first brought, on matured labels."""
        return brought(self.history, self.decisions)[1:]

    def summary(self) -> dict[str, Any]:
        """Return what summary.json holds. The first model is neither a retraining nor a promotion."""
        trained = trained_rows(self.history)
        told = {} if self.explanation is None else {"explained": self.explanation.to_json()}
        return {
            "stream": self.stream.name,
            "task": self.stream.task,
            "rows": self.stream.rows - self.base.rows,
            "assumed": dict(self.assumed),
            **self.quality.to_json(),
            "trainings": len(trained),
            "rows_trained": sum(trained.values()),
            "promotions": sum(promoted.replaced is not None for promoted in self.history.of(VersionPromoted)),
            "rollbacks": len(self.history.of(VersionRolledBack)),
            "triggers": triggers(self.history),
            "brought": [each.to_json() for each in self.brought],
            "live": list(self.live),
            "production_version": self.history.production,
            "failed_requests": int(self.served.failed.sum()),
            "failed_functions": dict(self.failures),
            "wall_seconds": self.wall_seconds,
            "peak_rss_mb": self.peak_rss_mb,
            "drill": [outcome.to_json() for outcome in self.drill],
            "compare": {result.policy: result.to_json() | self._gains_over(result) for result in self.comparisons},
            **told,
        }

    def _gains_over(self, result: PolicyResult) -> dict[str, Any]:
        gains = gains_over(result, self.stream, self.scored, self.served.predictions, self.served.probabilities)
        return {"served_gains": {name: each.to_json() for name, each in gains.items()}}


def retrainings(history: History) -> tuple[RetrainingRequested, ...]:
    """Return the requests to retrain; the first of all asked for the first model and is not one of them."""
    return history.of(RetrainingRequested)[1:]


def trained_rows(history: History) -> dict[str, int]:
    """Return the rows of each retraining whose job was started, by decision."""
    wanted = {event.decision_id for event in retrainings(history)}
    return {event.decision_id: event.rows for event in history.of(TrainingStarted) if event.decision_id in wanted}


def triggers(history: History) -> dict[str, int]:
    """Return how often each trigger caused a retraining.

    Examples
    --------
    >>> request = {"type": "RetrainingRequested", "time": "2013-03-01T00:00:00Z", "actor": "ada", "because": "asked"}
    >>> asked = [{**request, "epoch": n, "decision_id": f"d{n}", "trigger": "data_drift"} for n in (1, 2)]
    >>> triggers(History.of_documents("churn", asked))
    {'data_drift': 1}
    """
    return dict(sorted(Counter(event.trigger for event in retrainings(history)).items()))
