"""Whether a model is to be retrained: each check with what it found, and the arbiter that decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from evergreen.domain.errors import what_failed
from evergreen.domain.lifecycle import HeldBack, ModelState, RetrainingHeldBack, RetrainingRequested, Wish
from evergreen.spec import ModelSpec, Strategy
from evergreen.statistics import degradation, drift
from evergreen.statistics.profile import Profile

_DAY = timedelta(days=1)
_MOST_COLUMNS = 20  # told of a drift check, the worst first


class Trigger(StrEnum):
    """What can start a retraining, the gravest first."""

    CONCEPT_DRIFT = "concept_drift"
    PERFORMANCE = "performance"
    DATA_DRIFT = "data_drift"
    PREDICTION_SHIFT = "prediction_shift"
    NEW_DATA = "new_data"
    SCHEDULE = "schedule"
    BUSINESS_EVENT = "business_event"
    ONLINE = "online"  # a checkpoint of the online state is proven better: it is published, not trained


class Outcome(StrEnum):
    """What a check found. No data is neither good nor bad."""

    FIRED = "fired"
    QUIET = "quiet"
    INSUFFICIENT_DATA = "insufficient_data"
    ERROR = "error"


class Direction(StrEnum):
    """How a score is to be read against its threshold."""

    HIGHER_IS_WORSE = "higher_is_worse"
    LOWER_IS_WORSE = "lower_is_worse"


@dataclass(frozen=True, slots=True)
class Check:
    """One trigger and what it found.

    Attributes
    ----------
    score, threshold : float or None
        None only where there is none: a business event has neither.
    samples : int
        Rows that the score is drawn from.
    details : tuple of dict
        What the score sums up, such as the columns of a drift check, the worst first.
    """

    trigger: Trigger
    outcome: Outcome
    score: float | None
    threshold: float | None
    direction: Direction
    samples: int
    because: str
    details: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The check as plain data, numbers rounded to six digits; without details where there are none."""
        document: dict[str, Any] = {
            "trigger": self.trigger.value,
            "outcome": self.outcome.value,
            "score": _rounded(self.score),
            "threshold": _rounded(self.threshold),
            "direction": self.direction.value,
            "samples": self.samples,
            "because": self.because,
        }
        return document | ({"details": [dict(detail) for detail in self.details]} if self.details else {})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Check:
        """The check that :meth:`to_json` wrote."""
        return cls(
            Trigger(document["trigger"]),
            Outcome(document["outcome"]),
            document["score"],
            document["threshold"],
            Direction(document["direction"]),
            document["samples"],
            document["because"],
            tuple(document.get("details", ())),
        )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)


# --- governance -------------------------------------------------------------------------------------------------------


class HoldBackRule(StrEnum):
    """What can hold a retraining back."""

    PAUSED = "paused"
    OPEN_RUN = "open_run"
    IN_SHADOW = "in_shadow"
    DEPLOYING = "deploying"
    COOLDOWN = "cooldown"
    BUDGET = "budget"


FORCED = frozenset({HoldBackRule.COOLDOWN, HoldBackRule.BUDGET})
"""Rules that a person may waive; two runs at once, or one beside a deployment, nobody may start."""


@dataclass(frozen=True, slots=True)
class HoldBack:
    """The rule that says no, and why in a sentence."""

    rule: HoldBackRule
    because: str


def hold_back(
    state: ModelState, spec: ModelSpec, now: datetime, *, waived: frozenset[HoldBackRule] = frozenset()
) -> HoldBack | None:
    """Say which rule allows no retraining now, or None.

    Examples
    --------
    >>> spec = ModelSpec.parse({"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}})
    >>> hold_back(ModelState("churn", paused=True), spec, datetime(2026, 3, 1, tzinfo=UTC)).rule.value
    'paused'
    """
    for rule, reason in _RULES.items():
        because = None if rule in waived else reason(state, spec, now)
        if because is not None:
            return HoldBack(rule, because)
    return None


def _is_paused(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    return "the model is paused" if state.paused else None


def _has_an_open_run(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    return None if state.run is None else f"retraining {state.run.decision_id} is still open"


def _has_a_candidate(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    if state.shadow is not None:
        return f"version {state.shadow.version} is in shadow or waits for it"
    candidate = state.waiting_candidate
    return None if candidate is None else f"version {candidate.number} is in shadow or waits for it"


def _is_deploying(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    if state.bake is not None:
        return f"version {state.bake.version} is being deployed and watched"
    return None if state.repoint is None else f"version {state.repoint.version} is being deployed and watched"


def _is_cooling_down(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    cooldown = spec.triggers.cooldown
    if not state.retrainings or now - state.retrainings[-1] >= cooldown:
        return None
    return (
        f"the last retraining was requested {_days(now - state.retrainings[-1])} ago, the cooldown is {_days(cooldown)}"
    )


def _has_spent_its_budget(state: ModelState, spec: ModelSpec, now: datetime) -> str | None:
    recent = sum(now - t < timedelta(days=30) for t in state.retrainings)
    budget = spec.triggers.monthly_budget
    return None if recent < budget else f"{recent} retrainings in 30 days, the budget is {budget}"


_RULES: Mapping[HoldBackRule, Callable[[ModelState, ModelSpec, datetime], str | None]] = {
    HoldBackRule.PAUSED: _is_paused,
    HoldBackRule.OPEN_RUN: _has_an_open_run,
    HoldBackRule.IN_SHADOW: _has_a_candidate,
    HoldBackRule.DEPLOYING: _is_deploying,
    HoldBackRule.COOLDOWN: _is_cooling_down,
    HoldBackRule.BUDGET: _has_spent_its_budget,
}


def _days(span: timedelta) -> str:
    return f"{span / _DAY:.1f} days"


# --- the decision -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    """What was decided, with every check, also when the answer is no."""

    model: str
    time: datetime
    trigger: Trigger | None  # the check that decided; None: no check fired
    held_back: HoldBack | None  # the rule that said no to it
    checks: tuple[Check, ...]

    @property
    def retrain(self) -> bool:
        """Whether a retraining is to be started."""
        return self.trigger is not None and self.held_back is None

    @property
    def errors(self) -> tuple[Check, ...]:
        """The checks that could not be run."""
        return tuple(check for check in self.checks if check.outcome is Outcome.ERROR)

    @property
    def because(self) -> str:
        """The reason in a sentence."""
        fired = "; ".join(check.because for check in self.checks if check.outcome is Outcome.FIRED)
        if self.trigger is None:
            said = [check.because for check in self.checks if check.trigger is Trigger.BUSINESS_EVENT]
            return f"the strategy does not retrain on this: {fired}" if fired else (said or ["no check fired"])[0]
        return fired if self.held_back is None else f"{self.held_back.because} ({fired})"

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        held = self.held_back
        return {
            "model": self.model,
            "time": self.time.isoformat(),
            "retrain": self.retrain,
            "trigger": None if self.trigger is None else self.trigger.value,
            "held_back": None if held is None else held.because,
            "rule": None if held is None else held.rule.value,
            "because": self.because,
            "checks": [check.to_json() for check in self.checks],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RetrainDecision:
        """The decision that :meth:`to_json` wrote."""
        rule, trigger = document["rule"], document["trigger"]
        return cls(
            document["model"],
            datetime.fromisoformat(document["time"]),
            None if trigger is None else Trigger(trigger),
            None if rule is None else HoldBack(HoldBackRule(rule), document["held_back"]),
            tuple(Check.from_json(check) for check in document["checks"]),
        )


_ORDER = tuple(Trigger)


def arbitrate(state: ModelState, spec: ModelSpec, checks: Sequence[Check], now: datetime) -> RetrainDecision:
    """Decide from the checks, the wish that waits and the rules of governance.

    One open run a model, a cooldown, a budget; nothing is started while a candidate is being proven or a deployment
    bakes. A trigger that is held back is named with the rule that held it.
    """
    wished = [check_wish(state.wish)] if state.wish is not None and state.wish.time <= now else []
    every = (*checks, *wished)
    allowed = _triggers_of(spec.strategy)
    fired = sorted((c for c in every if c.outcome is Outcome.FIRED and c.trigger in allowed), key=_priority)
    if not fired:
        return RetrainDecision(state.model, now, None, None, every)
    return RetrainDecision(state.model, now, fired[0].trigger, hold_back(state, spec, now), every)


def grant(
    state: ModelState, spec: ModelSpec, wish: Wish, *, waived: frozenset[HoldBackRule] = frozenset()
) -> RetrainDecision:
    """Decide about a wish on its own: a business event, or a person who wants a retraining."""
    if state.retrainings and wish.time <= max(state.retrainings):
        # Delivered again, or late: that retraining knows all that was known when it was wished for.
        because = f"{wish.reason}: answered by the retraining of {max(state.retrainings):%Y-%m-%d %H:%M}"
        check = Check(Trigger.BUSINESS_EVENT, Outcome.QUIET, None, None, Direction.HIGHER_IS_WORSE, 0, because)
        return RetrainDecision(state.model, wish.time, None, None, (check,))
    check = Check(Trigger.BUSINESS_EVENT, Outcome.FIRED, None, None, Direction.HIGHER_IS_WORSE, 0, wish.reason)
    held = hold_back(state, spec, wish.time, waived=waived)
    return RetrainDecision(state.model, wish.time, Trigger.BUSINESS_EVENT, held, (check,))


def events_of(
    state: ModelState, decision: RetrainDecision, *, actor: str, wish: Wish | None = None
) -> tuple[RetrainingRequested | RetrainingHeldBack, ...]:
    """Return what the history is to tell of a decision.

    A retraining always; one that is held back when what would have been done, or the rule, is not what was told last,
    or when a wish begins to wait.
    """
    if decision.trigger is None:
        return ()
    checks = tuple(check.to_json() for check in decision.checks)
    if decision.held_back is None:
        decision_id = f"{decision.time:%Y%m%d%H%M%S}-{state.epoch + 1}"
        requested = RetrainingRequested(
            time=decision.time,
            actor=actor,
            because=decision.because,
            decision_id=decision_id,
            trigger=decision.trigger,
            checks=checks,
        )
        return (requested,)
    rule = decision.held_back.rule
    known = state.held_back == HeldBack(decision.trigger, rule) if wish is None else _waits(state, wish)
    if known:
        return ()
    held = RetrainingHeldBack(
        time=decision.time,
        actor=actor,
        because=decision.because,
        would_have=decision.trigger,
        rule=rule,
        wish=wish,
        checks=checks,
    )
    return (held,)


def _waits(state: ModelState, wish: Wish) -> bool:
    """Whether the wish, or a newer one, waits already."""
    return state.wish is not None and (wish == state.wish or wish.time < state.wish.time)


def _priority(check: Check) -> int:
    return _ORDER.index(check.trigger)


def _triggers_of(strategy: Strategy) -> frozenset[Trigger]:
    match strategy:
        case Strategy.SCHEDULED:
            return frozenset({Trigger.SCHEDULE, Trigger.BUSINESS_EVENT})
        case Strategy.TRIGGERED | Strategy.HYBRID:
            return frozenset(Trigger)
        case Strategy.CONTINUOUS:  # versions are checkpoints of the online state, published by tend_online
            return frozenset({Trigger.BUSINESS_EVENT})


# --- the checks -------------------------------------------------------------------------------------------------------


def run_check(trigger: Trigger, check: Callable[[], Check]) -> Check:
    """Run a check; one that raises is an error, which is neither quiet nor a reason to retrain."""
    try:
        return check()
    except Exception as error:  # one check's trouble is not the next one's, and is recorded
        return check_failed(trigger, error)


def check_failed(trigger: Trigger, error: Exception) -> Check:
    """Return what is recorded of a check that raised: the type, the place and the message of an error of the system.

    The message of any other type may quote a row, and is left out.

    Examples
    --------
    >>> check_failed(Trigger.DATA_DRIFT, FileNotFoundError("profiles/churn/7.json is gone")).because
    'FileNotFoundError: profiles/churn/7.json is gone'
    >>> check_failed(Trigger.DATA_DRIFT, KeyError("a customer's name")).because
    'KeyError'
    """
    because = what_failed(error)
    return Check(trigger, Outcome.ERROR, None, None, Direction.HIGHER_IS_WORSE, 0, because)


def check_wish(wish: Wish) -> Check:
    """A wish that waits."""
    because = f"{wish.reason} (wished for by {wish.actor} on {wish.time:%Y-%m-%d %H:%M})"
    return Check(Trigger.BUSINESS_EVENT, Outcome.FIRED, None, None, Direction.HIGHER_IS_WORSE, 0, because)


def check_age(spec: ModelSpec, last_training: datetime, now: datetime) -> Check:
    """The calendar: `scheduled` retrains on its period, `hybrid` after the longest age."""
    limit = spec.triggers.schedule.every if spec.strategy is Strategy.SCHEDULED else spec.triggers.schedule.longest_age
    age = now - last_training
    days = age / _DAY
    if limit is None or spec.strategy in (Strategy.TRIGGERED, Strategy.CONTINUOUS):
        because = f"the strategy is {spec.strategy}: age does not count"
        return Check(Trigger.SCHEDULE, Outcome.QUIET, days, None, Direction.HIGHER_IS_WORSE, 0, because)
    limit_days = limit / _DAY
    fired = age >= limit
    because = f"the last training is {days:.1f} days ago, the limit is {limit_days:.1f}"
    outcome = Outcome.FIRED if fired else Outcome.QUIET
    return Check(Trigger.SCHEDULE, outcome, days, limit_days, Direction.HIGHER_IS_WORSE, 0, because)


Daily = Mapping[str, Mapping[str, Sequence[int]]]
"""Labelled and right answers by version and day of the request: ``{"2": {"2026-01-31": [n, correct]}}``."""


def rows_since(sums: Iterable[Daily], trained_until: datetime) -> int:
    """Count labelled rows of whole days after the newest row of a training, whoever answered them.

    The day in which the training's rows end is left out: part of it was trained on.

    Examples
    --------
    >>> labelled = {"1": {"2026-01-30": [50, 40]}, "2": {"2026-01-31": [30, 20], "2026-02-01": [10, 9]}}
    >>> rows_since([labelled], datetime(2026, 1, 30, 12, tzinfo=UTC))
    40
    """
    last = trained_until.astimezone(UTC)
    first = last.date() if last == _midnight(last.date()) else last.date() + _DAY
    days = (cell for daily in sums for by_day in daily.values() for cell in by_day.items())
    return sum(counts[0] for day, counts in days if day >= first.isoformat())


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def check_new_data(spec: ModelSpec, new_rows: int) -> Check:
    """Enough labelled rows that production was not trained on."""
    need = spec.triggers.new_data.min_new_samples
    outcome = Outcome.FIRED if new_rows >= need else Outcome.QUIET
    because = f"{new_rows:,} labelled rows are new, {need:,} are enough"
    return Check(Trigger.NEW_DATA, outcome, float(new_rows), float(need), Direction.HIGHER_IS_WORSE, new_rows, because)


def matured_days(sums: Iterable[Daily], version: int, maturity: timedelta, now: datetime) -> dict[str, tuple[int, int]]:
    """Sum up a version's labelled and right answers by day, oldest first, of days whose labels have all come.

    Examples
    --------
    >>> files = [{"2": {"2026-01-30": [50, 40], "2026-01-31": [9, 9]}}, {"1": {"2026-01-30": [7, 7]}}]
    >>> matured_days(files, 2, timedelta(days=1), datetime(2026, 2, 1, tzinfo=UTC))
    {'2026-01-30': (50, 40)}
    """
    until = (now - maturity).astimezone(UTC).strftime("%Y-%m-%d")
    days: dict[str, tuple[int, int]] = {}
    for daily in sums:
        for day, (n, correct) in daily.get(str(version), {}).items():
            if day < until:
                before = days.get(day, (0, 0))
                days[day] = (before[0] + n, before[1] + correct)
    return dict(sorted(days.items()))


def check_performance(
    spec: ModelSpec,
    days: Mapping[str, tuple[int, int]],
    reference: Sequence[tuple[int, int]],
    *,
    since: datetime,
    now: datetime,
) -> Check:
    """Whether matured labels prove the version degraded (STATISTICS, 3).

    ``days`` are the version's labelled and right answers by day since ``since``, ``reference`` those of its
    validation. Fewer labels in the look-back than ``min_labelled`` prove nothing.
    """
    rules = spec.triggers.performance
    daily = [days[day] for day in sorted(days)]
    labelled = sum(n for n, _ in daily)
    result = degradation.performance(
        daily,
        reference,
        accuracy_threshold=rules.accuracy_threshold,
        tolerance=rules.tolerance,
        min_labelled=rules.min_labelled,
    )
    # Without validation days nobody knows how much a day varies: a score would be of no worth.
    score = float(result.score) if result.log_m is not None and reference else None
    window = (now - spec.labels.maturity - rules.look_back).astimezone(UTC).strftime("%Y-%m-%d")
    recent = sum(n for day, (n, _) in days.items() if day >= window)
    if not reference:
        outcome, because = Outcome.INSUFFICIENT_DATA, "the version has no validation days to compare with"
    elif recent < rules.min_labelled or result.status == "insufficient_data":
        outcome = Outcome.INSUFFICIENT_DATA
        because = f"{recent} matured labels in {_span(rules.look_back)}, {rules.min_labelled} are needed"
    else:
        outcome = Outcome.FIRED if result.status == "degraded" else Outcome.QUIET
        held = "" if result.p0 is None else f", {1 - result.p0:.3f} is to be held"
        because = f"accuracy {result.accuracy:.3f} on {labelled:,} matured labels since {since:%Y-%m-%d}{held}"
    return Check(
        Trigger.PERFORMANCE,
        outcome,
        score,
        float(result.threshold),
        Direction.HIGHER_IS_WORSE,
        labelled,
        because,
    )


def check_concept_drift(performance: Check, inputs: Check) -> Check:
    """Degraded while no column drifted: what the columns mean has changed. Drawn from the two other checks."""
    outcome, because = Outcome.QUIET, "the labels do not prove the version degraded"
    unknown = [c for c in (performance, inputs) if c.outcome not in (Outcome.FIRED, Outcome.QUIET)]
    if unknown and performance.outcome is not Outcome.QUIET:
        outcome = Outcome.INSUFFICIENT_DATA
        because = f"{unknown[0].trigger} is not known: {unknown[0].because}"
    elif performance.outcome is Outcome.FIRED and inputs.outcome is Outcome.FIRED:
        because = "the version degraded and its inputs drifted too"
    elif performance.outcome is Outcome.FIRED:
        outcome, because = Outcome.FIRED, "no input column drifted, so what they mean has changed"
    return Check(
        Trigger.CONCEPT_DRIFT,
        outcome,
        performance.score,
        performance.threshold,
        performance.direction,
        performance.samples,
        because,
    )


def check_data_drift(spec: ModelSpec, reference_cycles: Sequence[Profile], window: Profile) -> Check:
    """Whether the inputs of the last whole cycle are unlike the reference cycles (STATISTICS, 2).

    The score is that of the column farthest above its threshold; where no column is above, but many are beside
    themselves, the share of those.
    """
    found = drift.detect(reference_cycles, window, drift_threshold=spec.triggers.data_drift.drift_threshold)
    if found.status == "insufficient_data":
        because = f"{window.rows} rows in the last cycle are too few to compare"
        return insufficient(Trigger.DATA_DRIFT, because, samples=window.rows)
    columns = sorted(found.columns, key=lambda column: column.score / column.threshold, reverse=True)
    worst, drifted = columns[0], [column.name for column in columns if column.drifted]
    score, threshold = float(worst.score), float(worst.threshold)
    named = f": {', '.join(drifted[:5])}" if drifted else ""
    kind = "W1/sd" if worst.kind == "wasserstein" else "Jensen-Shannon distance"
    because = (
        f"{len(drifted)} of {len(columns)} columns drifted{named}; "
        f"{kind} of '{worst.name}' is {worst.score:.2f}, threshold {worst.threshold:.2f} "
        f"({len(reference_cycles)} reference cycles)"
    )
    if found.drift and not drifted and found.share is not None:
        score, threshold = float(found.share), float(found.drift_threshold)
        because = f"{because}; {found.share:.0%} of the columns shifted, {found.drift_threshold:.0%} is drift"
    return Check(
        Trigger.DATA_DRIFT,
        Outcome.FIRED if found.drift else Outcome.QUIET,
        score,
        threshold,
        Direction.HIGHER_IS_WORSE,
        window.rows,
        because,
        tuple(_detail(column) for column in columns[:_MOST_COLUMNS]),
    )


def _detail(column: drift.ColumnDrift) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "score": round(float(column.score), 4),
        "threshold": round(float(column.threshold), 4),
        "direction": column.direction,
        "drifted": bool(column.drifted),
    }


def check_prediction_shift(spec: ModelSpec, reference: Profile | None, window: Profile | None) -> Check:
    """Whether the answers of the last whole cycle are unlike those to the validation rows.

    There is one reference and no history of cycles, so the distance has to be significant too: the answers to a small
    window are far from the reference by chance alone.
    """
    threshold = spec.triggers.prediction_shift.threshold
    rows = 0 if window is None else window.rows
    if window is None or rows < drift.MIN_ROWS:
        because = f"{rows} answers in the last cycle are too few to compare"
        return insufficient(Trigger.PREDICTION_SHIFT, because, threshold=threshold, samples=rows)
    found = None if reference is None else drift.detect([reference], window)
    if reference is None or found is None or not found.columns:
        because = f"{0 if reference is None else reference.rows} validation answers are too few to compare with"
        return insufficient(Trigger.PREDICTION_SHIFT, because, threshold=threshold, samples=rows)
    column = max(found.columns, key=lambda column: column.score)
    significant = column.p_value is not None and column.p_value <= drift.SIGNIFICANCE
    distance = f"{column.kind.replace('_', '-')} distance to the validation answers is {column.score:.2f}"
    because = f"the answers' {distance}, threshold {threshold:.2f}"
    if column.score > threshold and not significant:
        because += f", which chance may do with {rows} answers"
    return Check(
        Trigger.PREDICTION_SHIFT,
        Outcome.FIRED if column.score > threshold and significant else Outcome.QUIET,
        float(column.score),
        threshold,
        Direction.HIGHER_IS_WORSE,
        rows,
        because,
        tuple(_detail(column) for column in found.columns) if len(found.columns) > 1 else (),
    )


def insufficient(trigger: Trigger, because: str, *, threshold: float | None = None, samples: int = 0) -> Check:
    """A check that has too little to judge by."""
    return Check(trigger, Outcome.INSUFFICIENT_DATA, None, threshold, Direction.HIGHER_IS_WORSE, samples, because)


def _span(span: timedelta) -> str:
    return f"{span / _DAY:g} days"


def by_trigger(checks: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Checks as stored in the history, by their trigger."""
    return {check["trigger"]: check for check in checks}
