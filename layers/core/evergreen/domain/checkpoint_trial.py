"""Checkpoints of an online state: when one is kept, which one is on trial, and whether it is proven better.

A checkpoint is judged on requests that came after all it has learned, against what production answered to them, by the
same rules as a version in shadow.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer
from evergreen.domain.pairs import OutcomeRow, Said, last_of_each, pair
from evergreen.domain.shadow import PairedOutcomes, Rules, ShadowDecision, Whole, judge
from evergreen.model.scorer import Predictions
from evergreen.spec import ModelSpec

FEWEST_CYCLES = 3
"""Some hours of wrong labels are a part of one cycle: the others outvote them."""
KEPT_CHECKPOINTS = 30


def row_name(fingerprint: str, inference_id: str, label: str | float) -> str:
    """The name under which a state's labelled row is remembered as learned: a corrected label is another row.

    Examples
    --------
    >>> row_name("8d53", "order-17", "1")
    'row#8d53#ecdf348611588d3637b7ac46'
    """
    text = label if isinstance(label, str) else repr(float(label))
    return f"row#{fingerprint}#{hashlib.sha256(f'{inference_id}\n{text}'.encode()).hexdigest()[:24]}"


def is_due(checkpoints: Sequence[OnlineCheckpoint], pointer: OnlinePointer, spec: ModelSpec, now: datetime) -> bool:
    """Whether the state is to be kept as a checkpoint now: on its cadence, and only if it has learned since."""
    own = [c for c in checkpoints if c.fingerprint == pointer.fingerprint]
    if pointer.rows < spec.training.min_rows:
        return False
    return not own or (own[-1].state_version < pointer.version and now - own[-1].frozen_at >= spec.online.checkpoint)


def on_trial(
    checkpoints: Sequence[OnlineCheckpoint], fingerprint: str, spec: ModelSpec
) -> tuple[OnlineCheckpoint, ...]:
    """The checkpoints on trial, newest first: the newest one begins when a cycle has passed since the last began.

    One that was frozen before the world changed is no better than production; it must not keep a newer one waiting.
    """
    own = [c for c in checkpoints if c.fingerprint == fingerprint]
    running = [c for c in own if c.status is CheckpointStatus.ON_TRIAL]
    tried = [c for c in own if c.status is not CheckpointStatus.KEPT]
    if own and own[-1].status is CheckpointStatus.KEPT:
        newest = own[-1]
        if not tried or newest.frozen_at - tried[-1].frozen_at >= spec.online.cycle:
            running.append(newest)
    return tuple(running[::-1])


def is_over(checkpoint: OnlineCheckpoint, spec: ModelSpec, now: datetime) -> bool:
    """Whether a trial has taken all its time."""
    return now - spec.labels.maturity - checkpoint.frozen_at >= spec.online.trial


def unseen_since(checkpoint: OnlineCheckpoint, production_since: datetime) -> datetime:
    """From when on requests are new to the checkpoint and were answered by the production there is now."""
    learned = checkpoint.learned_until + datetime.resolution
    return max(checkpoint.frozen_at, learned, production_since)


def trial_rules(spec: ModelSpec, *, loss_scale: float = 1.0) -> Rules:
    """The shadow's rules, in the cycles of online learning; those on trial at once share the chance of an error."""
    rules = Rules.of(spec, loss_scale=loss_scale)
    at_once = math.ceil(spec.online.trial / spec.online.cycle)
    return replace(
        rules, cycle=spec.online.cycle, max_time=spec.online.trial, max_rows=None, alpha=rules.alpha / at_once
    )


def judged_until(since: datetime, spec: ModelSpec, now: datetime) -> datetime:
    """The end of what can be judged now; the beginning when that is nothing yet."""
    rules = trial_rules(spec)
    return Whole(rules.cycle, FEWEST_CYCLES).until(since, rules.maturity, now)


def judge_checkpoint(outcomes: PairedOutcomes, rules: Rules, *, since: datetime, now: datetime) -> ShadowDecision:
    """Judge a checkpoint as a shadow is judged, on three whole cycles at the least."""
    return judge(outcomes, rules, since=since, now=now, whole=Whole(rules.cycle, FEWEST_CYCLES))


def newest_labels(rows: Sequence[OutcomeRow], *, version: int, since: datetime) -> list[OutcomeRow]:
    """The requests that a version answered since a time, each once, with its last label."""
    wanted = [row for row in rows if row.version == version and row.time >= since]
    last = last_of_each([row.event_id for row in wanted], [row.label_time for row in wanted])
    return [wanted[row] for row in last]


def paired(rows: Sequence[OutcomeRow], answered: Predictions, spec: ModelSpec) -> PairedOutcomes:
    """Production's answers beside a checkpoint's, which stands where a shadow would."""
    delays = [(row.label_time - row.time).total_seconds() for row in rows]
    return pair(
        [row.actual for row in rows],
        Said([row.prediction for row in rows], lambda: [row.probabilities for row in rows]),
        Said(answered.predictions, lambda: answered.probability_rows),
        spec,
        inference_time=np.array([round(row.time.timestamp() * 1e6) for row in rows], dtype=np.int64),
        label_delay=np.array([round(delay * 1e6) for delay in delays], dtype=np.int64),
        group=[row.group for row in rows],
    )
