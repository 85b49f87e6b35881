"""What each training and each promotion of a replay brought on matured labels, beside what other policies had then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.domain.history import History
from evergreen.spec import ModelSpec
from evergreen_ops.replay.gains import DIGITS, Floats, Gain, blocks_of, gain, losses
from evergreen_ops.replay.policies import PolicyResult
from evergreen_ops.replay.rebuilt import Both, rebuild
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream
from evergreen_ops.replay.trainings import Change, changes, trainings

Array = npt.NDArray[Any]

POLICIES = "never,every:500,tutorial"
"""What changes are shown beside, where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A change, and what it was worth until the next one.

    Attributes
    ----------
    change : Change
    rows : int
        Labelled rows that were answered meanwhile.
    served : float or None
        Accuracy (regression: mean absolute error) of the answers that were given; None without rows.
    new, old : float or None
        The same of the version that began to answer and of the one before, both trained again; None where one can't be.
    brought : Gain or None
        The first of these two against the second.
    others : mapping
        Accuracy (mean absolute error) of each policy on these rows.
    against : mapping
        What was served against each policy.
    """

    change: Change
    rows: int
    served: float | None
    new: float | None
    old: float | None
    brought: Gain | None
    others: Mapping[str, float]
    against: Mapping[str, Gain]

    @property
    def unknown(self) -> str:
        """Why it is not known what it brought; empty where it is."""
        training = self.change.training
        if self.brought is not None:
            return ""
        if training is not None and training.version is None and not training.refitted:
            return training.fate
        if self.rows == 0:
            return "no labelled row came before the next change"
        return "one of the two versions can't be trained again from the stream's rows"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        change, training = self.change, self.change.training
        told: dict[str, Any] = {
            "what": change.kind.value,
            "time": change.time.isoformat(),
            "until": None if change.until is None else change.until.isoformat(),
            "version": change.version if isinstance(change.version, int) else None,
            "instead_of": change.instead_of,
            "training": None,
        }
        if training is not None:
            told["training"] = {
                "decision_id": training.decision_id,
                "requested": training.requested.isoformat(),
                "ended": training.ended.isoformat(),
                "trigger": training.trigger,
                "because": training.because,
                "rows": training.rows,
                "trained_until": None if training.trained_until is None else training.trained_until.isoformat(),
                "fate": training.fate,
            }
        return told | {
            "rows": self.rows,
            "served": _rounded(self.served),
            "with": _rounded(self.new),
            "without": _rounded(self.old),
            "brought": None if self.brought is None else self.brought.to_json(),
            "unknown": self.unknown,
            "policies": {
                name: {"value": _rounded(value), "served_gains": self.against[name].to_json()}
                for name, value in self.others.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """A replay's changes, and how like the replay's own the versions are that were trained again.

    Attributes
    ----------
    changes : tuple of Explained
    measure : str
        ``accuracy``, or ``mae`` for a regression.
    alike : float or None
        The share of rows to which they gave the answer that was served; for a regression None.
    rebuilt, served : float or None
        The measure of both on these rows.
    """

    changes: tuple[Explained, ...]
    measure: str
    alike: float | None
    rebuilt: float | None
    served: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for summary.json."""
        trained_again = {"alike": self.alike, "value": self.rebuilt, "served": self.served}
        return {
            "measure": self.measure,
            "trained_again": {name: _rounded(value) for name, value in trained_again.items()},
            "changes": [each.to_json() for each in self.changes],
        }


def explain(
    stream: Stream,
    spec: ModelSpec,
    base: Base,
    history: History,
    served: Array,
    scored: Array,
    policies: Sequence[PolicyResult],
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Explanation:
    """Tell what each change in a history brought on the rows until the next one.

    Parameters
    ----------
    stream, spec, base
        As the replay had them.
    history : History
    served : ndarray [N]
        What was answered to each row of the stream.
    scored : ndarray of int
        The rows that were answered and whose label became known.
    policies : sequence of PolicyResult
        What else there is to compare with, of the same stream.
    on_progress : callable
        Told how many rows the versions that are trained again have been asked.
    """
    told = changes(history)
    again = rebuild(stream, spec, base, told, trainings(history), on_progress=on_progress)
    answered = np.zeros(stream.rows, dtype=bool)
    answered[scored] = True
    of_policies = {result.policy: _of_all(result, stream) for result in policies}
    found = tuple(
        _explained(change, both, stream, served, answered, of_policies)
        for change, both in zip(told, again.of_changes, strict=True)
    )
    rows = np.flatnonzero(again.known & answered)
    alike = None
    if stream.classes is not None and len(rows):
        alike = float(np.mean(again.production[rows] == served[rows]))
    return Explanation(
        found,
        "mae" if stream.classes is None else "accuracy",
        alike,
        _value(stream, rows, again.production[rows]),
        _value(stream, rows, served[rows]),
    )


def value(stream: Stream, lost: Floats) -> float:
    """Return the accuracy, or the mean absolute error, of losses."""
    mean = float(lost.mean())
    return mean if stream.classes is None else 1 - mean


def _explained(
    change: Change, both: Both, stream: Stream, said: Array, answered: Array, of_policies: Mapping[str, Array]
) -> Explained:
    kept = answered[both.rows]
    rows = both.rows[kept]
    if not len(rows):
        return Explained(change, 0, None, None, None, None, {}, {})
    blocks = blocks_of(stream, rows)
    served = losses(stream, rows, said[rows])
    others = {name: losses(stream, rows, answers[rows]) for name, answers in of_policies.items()}
    new, old = (None if each is None else losses(stream, rows, each[kept]) for each in (both.new, both.old))
    return Explained(
        change=change,
        rows=len(rows),
        served=value(stream, served),
        new=None if new is None else value(stream, new),
        old=None if old is None else value(stream, old),
        brought=None if new is None or old is None else gain(new, old, blocks),
        others={name: value(stream, lost) for name, lost in others.items()},
        against={name: gain(served, lost, blocks) for name, lost in others.items()},
    )


def _of_all(result: PolicyResult, stream: Stream) -> Array:
    """A policy's answers by the stream's rows."""
    assert result.scored is not None
    answers = np.full(stream.rows, None if stream.classes else np.nan, dtype=object if stream.classes else float)
    answers[result.scored] = result.predicted
    return answers


def _value(stream: Stream, rows: Array, answers: Array) -> float | None:
    return value(stream, losses(stream, rows, answers)) if len(rows) else None


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, DIGITS)
