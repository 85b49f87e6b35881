"""The policies that people run today, on the same stream with the same recipe: what Evergreen is compared with."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.errors import UsageError
from evergreen.spec import ModelSpec
from evergreen_ops.replay.live import LiveModel
from evergreen_ops.replay.machine import own_peak_mb
from evergreen_ops.replay.recipe import StreamRecipe, named
from evergreen_ops.replay.scores import Quality, quality
from evergreen_ops.replay.specs import Base, trainable
from evergreen_ops.replay.streams import Stream, as_instant

Array = npt.NDArray[Any]
KNOWN = "never, every:N (rows), fresh:N, tutorial"
CHECK_ROWS = 500
NEVER_ROWS = 20_000
# The tutorial's own limits, whatever the spec says.
TUTORIAL_ACCURACY, TUTORIAL_ERROR_RATIO = 0.85, 1.2
TUTORIAL_DRIFT_SHARE, TUTORIAL_P_VALUE = 0.3, 0.05
TUTORIAL_NEW_SAMPLES, TUTORIAL_SHIFT = 1_000, 0.2
FEWEST_LABELS = 100


class PolicyError(UsageError):
    """A policy that is not known."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When to retrain: after ``every`` so many labelled rows (None: never), or when ``fires`` says so."""

    name: str
    every: int | None = None
    fires: Callable[[Window], str | None] | None = None
    learns: bool = False  # keeps a live state between the trainings
    checked_every: int = CHECK_ROWS  # labelled rows between two questions to ``fires``


@dataclass(frozen=True, slots=True)
class Window:
    """What triggers look at: the last rows, and the rows that the model in use was trained on."""

    stream: Stream
    spec: ModelSpec
    recent: Array  # rows asked since the last check
    labelled: Array  # of the newest rows, those whose label is known by now
    matured: Array  # rows of the model in use whose label became known since the last check, in that order
    trained_on: Array
    predictions: Array  # of every row so far
    trained_predictions: Array
    reference_error: float | None  # regression: MAE on the first labels after the training
    new_samples: int


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A policy's figures, with the same fields as the replay's own summary."""

    policy: str
    rows: int
    quality: Quality
    trainings: int
    rows_trained: int
    triggers: dict[str, int]
    wall_seconds: float
    peak_rss_mb: float
    actual: Array = field(repr=False)
    predicted: Array = field(repr=False)
    probabilities: Array | None = field(repr=False, default=None)  # of the classes, in their order
    scored: Array | None = field(repr=False, default=None)  # the stream's rows that these are of

    def to_json(self) -> dict[str, Any]:
        """Return plain data for summary.json; every training is a promotion and nothing is ever rolled back."""
        return {
            "rows": self.rows,
            **self.quality.to_json(),
            "trainings": self.trainings,
            "rows_trained": self.rows_trained,
            "promotions": self.trainings,
            "rollbacks": 0,
            "triggers": self.triggers,
            "wall_seconds": self.wall_seconds,
            "peak_rss_mb": self.peak_rss_mb,
        }


def parse_policies(text: str) -> tuple[Policy, ...]:
    """Read ``never,every:500,tutorial``.

    Raises
    ------
    PolicyError
        Names the policy that is not known.

    Examples
    --------
    >>> [policy.name for policy in parse_policies("never,every:500")]
    ['never', 'every:500']
    """
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise PolicyError(f"--compare names no policy: choose from {KNOWN}")
    return tuple(_parse(name) for name in names)


def simulate(
    policy: Policy,
    stream: Stream,
    spec: ModelSpec,
    base: Base,
    recipe: StreamRecipe,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> PolicyResult:
    """Run a policy over the stream.

    A label is known from its `label_time` on. A retraining takes effect at once, without a gate, on the newest labelled
    rows of the spec's training window, at most its `max_rows`. The first model is the replay's own and no retraining.

    Parameters
    ----------
    on_progress : callable
        Told how many rows have been asked and how often the model has been retrained.

    Returns
    -------
    PolicyResult
    """
    started = time.perf_counter()
    first = base_rows(stream, spec, base)
    live = LiveModel(stream, recipe, first, spec.labels.maturity) if policy.learns else None
    run = _Simulation(stream, spec, base, recipe, live)
    run.train(first)
    never = policy.every is None and policy.fires is None
    for block in _blocks(stream, base, policy.every or (NEVER_ROWS if never else policy.checked_every)):
        run.ask(block)
        if on_progress is not None:
            on_progress(int(block[-1]) + 1 - base.rows, sum(run.fired.values()))
        if never or block[-1] + 1 == stream.rows:
            continue
        reason = "new_data" if policy.fires is None else policy.fires(run.window(block))
        if reason is not None:
            run.retrain(block, reason)
    return run.result(policy, time.perf_counter() - started)


class _Simulation:
    """A stream being asked, with the model in use."""

    def __init__(
        self, stream: Stream, spec: ModelSpec, base: Base, recipe: StreamRecipe, live: LiveModel | None
    ) -> None:
        self.stream, self.spec, self.base, self.recipe, self.live = stream, spec, base, recipe, live
        self.predictions = np.empty(stream.rows, dtype=object if stream.classes else float)
        self.probabilities = np.empty((stream.rows, len(stream.classes))) if stream.classes else None
        self.classes = spec.feature_schema().classes  # the stream's, and others that it may lack
        self.of_stream = [(self.classes or ()).index(name) for name in stream.classes or ()]
        self.fired: Counter[str] = Counter()
        self.rows_trained = 0
        self.labels_at_training = 0
        self.in_use_since = base.rows
        self.checked_until = as_instant(base.until)

    def train(self, rows: Array) -> None:
        """Fit a model and use it from now on."""
        self.model = self.recipe.fit(rows)
        if self.live is not None:
            self.live.take(self.model)
        self.trained_on = rows
        self.trained_predictions = self.model.predict(rows)[0]
        self.reference_error: float | None = None

    def retrain(self, block: Array, reason: str) -> None:
        """Fit on what is labelled after a block."""
        now = self.stream.event_time[block[-1]]
        self.train(labelled_rows(self.stream, self.spec, np.arange(block[-1] + 1), now))
        self.labels_at_training = len(self._answered(block))
        self.in_use_since = int(block[-1]) + 1
        self.rows_trained += len(self.trained_on)
        self.fired[reason] += 1

    def ask(self, block: Array) -> None:
        """Keep the answers to a block."""
        if self.live is None:
            self.predictions[block], probable = self.model.predict(block)
        else:
            self.predictions[block], probable = named(self.live.ask(block), self.classes)
        if self.probabilities is not None and probable is not None:
            self.probabilities[block] = probable[:, self.of_stream]

    def window(self, block: Array) -> Window:
        """Return what triggers look at after a block."""
        answered = self._answered(block)
        labelled = answered[-CHECK_ROWS:]
        own = answered[answered >= self.in_use_since]
        matured = own[self.stream.label_time[own] > self.checked_until]
        self.checked_until = self.stream.event_time[block[-1]]
        if self.stream.classes is None and self.reference_error is None and len(labelled):
            errors = self.stream.label[labelled] - self.predictions[labelled].astype(float)
            self.reference_error = float(np.abs(errors).mean())
        return Window(
            stream=self.stream,
            spec=self.spec,
            recent=block,
            labelled=labelled,
            matured=matured[np.argsort(self.stream.label_time[matured], kind="stable")],
            trained_on=self.trained_on,
            predictions=self.predictions,
            trained_predictions=self.trained_predictions,
            reference_error=self.reference_error,
            new_samples=len(answered) - self.labels_at_training,
        )

    def result(self, policy: Policy, seconds: float) -> PolicyResult:
        """Return the figures of the whole stream."""
        stream = self.stream
        scored = np.flatnonzero(stream.labelled & (np.arange(stream.rows) >= self.base.rows))
        actual, predicted = stream.label[scored], self.predictions[scored]
        probabilities = None if self.probabilities is None else self.probabilities[scored]
        return PolicyResult(
            policy=policy.name,
            rows=stream.rows - self.base.rows,
            quality=quality(actual, predicted, probabilities, stream.classes),
            trainings=sum(self.fired.values()),
            rows_trained=self.rows_trained,
            triggers=dict(sorted(self.fired.items())),
            wall_seconds=round(seconds, 2),
            peak_rss_mb=own_peak_mb(),
            actual=actual,
            predicted=predicted,
            probabilities=probabilities,
            scored=scored,
        )

    def _answered(self, block: Array) -> Array:
        """Asked rows whose label is known after a block."""
        asked = np.arange(self.base.rows, block[-1] + 1)
        known = self.stream.label_time[asked] <= self.stream.event_time[block[-1]]  # NaT compares as False
        answered: Array = asked[known]
        return answered


def base_rows(stream: Stream, spec: ModelSpec, base: Base) -> Array:
    """Return the rows the first model may know: asked in the base, matured, and labelled by its end."""
    return trainable(stream, as_instant(base.until), spec)


def labelled_rows(stream: Stream, spec: ModelSpec, asked: Array, now: np.datetime64) -> Array:
    """Return, of the rows `asked`, those a training may use at `now`: labelled by then, in the window, the newest."""
    in_window = stream.event_time[asked] >= now - np.timedelta64(spec.training.window)
    usable = asked[in_window & (stream.label_time[asked] <= now)]  # NaT compares as False
    return usable[-spec.training.max_rows :]


def tutorial_fires(window: Window) -> str | None:
    """The tutorial's four triggers, as it gives them: the first that fires, or None.

    Accuracy below 0.85 (regression: the error 1.2 times what it was after the training); more than 0.3 of the columns
    with a KS or chi-squared p-value below .05; 1,000 new samples; predictions shifted by more than 0.2 (classes: half
    the summed difference of their shares; regression: the difference of the means in standard deviations).
    """
    if _too_wrong(window):
        return "performance"
    if _drift_share(window) > TUTORIAL_DRIFT_SHARE:
        return "data_drift"
    if window.new_samples >= TUTORIAL_NEW_SAMPLES:
        return "new_data"
    if _prediction_shift(window) > TUTORIAL_SHIFT:
        return "prediction_shift"
    return None


def _too_wrong(window: Window) -> bool:
    rows = window.labelled
    if len(rows) < FEWEST_LABELS:
        return False
    if window.stream.classes is None:
        error = np.abs(window.stream.label[rows] - window.predictions[rows].astype(float)).mean()
        return window.reference_error is not None and bool(error > TUTORIAL_ERROR_RATIO * window.reference_error)
    return bool(np.mean(window.stream.label[rows] == window.predictions[rows]) < TUTORIAL_ACCURACY)


def _drift_share(window: Window) -> float:
    from scipy.stats import chi2_contingency, ks_2samp

    drifted = 0
    for name in window.spec.features:
        new, old = window.stream.columns[name][window.recent], window.stream.columns[name][window.trained_on]
        if new.dtype == object:
            names, codes = np.unique(np.concatenate([old, new]).astype(str), return_inverse=True)
            table = np.stack(
                [np.bincount(part, minlength=len(names)) for part in (codes[: len(old)], codes[len(old) :])]
            )
            drifted += len(names) > 1 and chi2_contingency(table).pvalue < TUTORIAL_P_VALUE
        else:
            new, old = new[~np.isnan(new)], old[~np.isnan(old)]
            drifted += len(new) > 0 and len(old) > 0 and ks_2samp(old, new, method="asymp").pvalue < TUTORIAL_P_VALUE
    return drifted / len(window.spec.features)


def _prediction_shift(window: Window) -> float:
    new, old = window.predictions[window.recent], window.trained_predictions
    if window.stream.classes is None:
        spread = float(np.std(old.astype(float))) or 1.0
        return float(abs(np.mean(new.astype(float)) - np.mean(old.astype(float))) / spread)
    return 0.5 * sum(abs(float(np.mean(new == name)) - float(np.mean(old == name))) for name in window.stream.classes)


def _blocks(stream: Stream, base: Base, scored_rows: int) -> Sequence[Array]:
    """The rows after the base, cut after each so many rows that ever get a label."""
    rows = np.arange(base.rows, stream.rows)
    scored = np.cumsum(stream.labelled[rows])
    cuts = np.searchsorted(scored, np.arange(scored_rows, scored[-1] + 1, scored_rows), side="left") + 1
    return [block for block in np.split(rows, cuts) if len(block)]


def _parse(name: str) -> Policy:
    if name == "never":
        return Policy(name)
    if name == "tutorial":
        return Policy(name, fires=tutorial_fires)
    if (match := re.fullmatch(r"(every|fresh):(\d+)", name)) and int(match[2]) > 0:
        return Policy(name, every=int(match[2]), learns=match[1] == "fresh")
    raise PolicyError(
        f"--compare names {name!r}, which is no policy: choose from never, every:N (rows), fresh:N, tutorial"
    )
