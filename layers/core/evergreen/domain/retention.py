"""How long the stack keeps what is told of requests, and which specs need more than that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from evergreen.durations import format_duration
from evergreen.spec import ModelSpec, TrainingSpec

_RECONCILED = timedelta(days=1)
"""A label that waits for its capture is looked at this long past its maturity."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The ages at which the data bucket's lifecycle rules delete files; None keeps them for ever.

    Parameters
    ----------
    captures
        Of captures, labels, and what is put aside of either: the template's CaptureRetentionDays.
    outcomes
        Of labelled rows and of profiles, which decisions and trainings read: OutcomeRetentionDays.

    Examples
    --------
    >>> spec = ModelSpec.parse({"model": "rent", "task": "regression", "features": {"area": {"type": "number"}}})
    >>> Retention.of_days(30, 365).refusals(spec)
    []
    >>> for sentence in Retention.of_days(30, 90).refusals(spec):
    ...     print(sentence)
    training.window is 180d, and outcomes are kept for 90d: a training could not read all of its rows; deploy the \
stack with OutcomeRetentionDays 181 or more, or shorten it
    """

    captures: timedelta | None = None
    outcomes: timedelta | None = None

    @classmethod
    def of_days(cls, captures: int, outcomes: int) -> Retention:
        """The ages as the template has them; 0 is a stack of a former release, which does not say."""
        return cls(*(timedelta(days=days) if days else None for days in (captures, outcomes)))

    def refusals(self, spec: ModelSpec) -> list[str]:
        """Why the spec can't be kept to, a sentence a key; none where all that it asks for is kept."""
        maturity = spec.labels.maturity
        needs = (
            ("labels.maturity", maturity, _RECONCILED, self.captures, "CaptureRetentionDays"),
            ("training.window", spec.training.window, reading_takes(spec.training), self.outcomes, _OUTCOMES),
            ("shadow.max_time", spec.shadow.max_time, maturity, self.outcomes, _OUTCOMES),
            ("deployment.quality_bake", spec.deployment.quality_bake, maturity, self.outcomes, _OUTCOMES),
            ("triggers.cycle", spec.triggers.cycle, spec.triggers.cycle, self.outcomes, _OUTCOMES),
        )
        return [
            f"{key} is {format_duration(asked)}, and {_KEPT[parameter]} for {format_duration(kept)}: {_LOST[key]}; "
            f"deploy the stack with {parameter} {-(-(asked + more) // timedelta(days=1))} or more, or shorten it"
            for key, asked, more, kept, parameter in needs
            if kept is not None and asked + more > kept
        ]

    def shortens(self, training: TrainingSpec) -> str:
        """What keeps a training from all of its window, where it was applied before outcomes were kept so short."""
        if self.outcomes is None or training.window + reading_takes(training) <= self.outcomes:
            return ""
        kept, window = format_duration(self.outcomes), format_duration(training.window)
        return f"outcomes are kept for {kept}, and training.window is {window}"

    def outcomes_since(self, now: datetime, *, read_within: timedelta = timedelta(0)) -> datetime:
        """The time from which on every file of outcomes is there, and still is when it is read.

        A file is written after the hour that it is known by, so it is there for longer than that hour's age says.

        Examples
        --------
        >>> Retention.of_days(30, 90).outcomes_since(datetime(2026, 7, 1, tzinfo=UTC)).isoformat()
        '2026-04-02T00:00:00+00:00'
        """
        if self.outcomes is None:
            return datetime.min.replace(tzinfo=UTC)
        return now - max(timedelta(0), self.outcomes - read_within)


_OUTCOMES = "OutcomeRetentionDays"
_KEPT = {"CaptureRetentionDays": "captures are kept", _OUTCOMES: "outcomes are kept"}
_LOST = {
    "labels.maturity": "a label would not find its capture",
    "training.window": "a training could not read all of its rows",
    "shadow.max_time": "a verdict could not count all of its rows",
    "deployment.quality_bake": "a bake could not count all of its rows",
    "triggers.cycle": "there would be no whole cycle to look at",
}


def reading_takes(training: TrainingSpec) -> timedelta:
    """The longest time from a decision until its last attempt has read its rows.

    Examples
    --------
    >>> str(reading_takes(TrainingSpec()))
    '6:10:00'
    """
    return (1 + training.retries) * training.longest_wait + training.retries * training.retry_delay
