"""docs/lifecycle.md from the code: ``python docs/make/lifecycle_diagram.py`` tries every event in every state.

Nothing of the diagrams is written by hand: all states that a model with up to three versions can reach are walked by
the state machine itself, and an arrow is drawn for each change that it really made.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.domain import event_json, transitions
from evergreen.domain.invariants import NEVER
from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    RepointFailed,
    RetrainingRequested,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import BakePhase, ModelState, RollbackCause, ShadowRole
from evergreen.domain.transitions import transition
from evergreen.errors import IllegalTransitionError, UnknownVersionError

DOCUMENT = Path(__file__).parents[1] / "lifecycle.md"
_VERSIONS = range(1, 4)  # three tell all there is: one that answers, one that was good, one that is new
_WHO: dict[str, Any] = {"time": datetime(2026, 1, 1, tzinfo=UTC), "actor": "", "because": ""}

Arrows = dict[tuple[str, str], set[str]]
"""From one name to another, by which events."""


def document() -> str:
    """Return what docs/lifecycle.md is to say."""
    steps = list(_walk())
    diagrams = {
        "VERSION": _diagram(_arrows(steps, _statuses), start="new"),
        "DEPLOYMENT": _diagram(_arrows(steps, lambda state: {"": _deployment(state)}), start="nothing"),
        "RETRAINING": _diagram(_arrows(steps, lambda state: {"": _retraining(state)}), start="idle"),
        "EVENTS": "\n".join(_event_rows()),
        "NEVER": "\n".join(f"- {name}" for name in NEVER),
    }
    text = _TEXT
    for name, content in diagrams.items():
        text = text.replace(f"<{name}>", content)
    return text


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(document(), encoding="utf-8")


# --- every state there is ---------------------------------------------------------------------------------------------

_Step = tuple[ModelState, str, ModelState]


def _walk() -> Iterator[_Step]:
    """Each change of each state that can be reached, with the name of the event."""
    first = ModelState("model")
    seen, waiting = {_key(first)}, [first]
    while waiting:
        state = waiting.pop()
        for event in _EVENTS:
            try:
                after = _plain(transition(state, event))
            except (IllegalTransitionError, UnknownVersionError):
                continue
            yield state, type(event).__name__, after
            if (key := _key(after)) not in seen:
                seen.add(key)
                waiting.append(after)


def _plain(state: ModelState) -> ModelState:
    """The state without what only counts: two that differ in nothing else are walked once."""
    run = None if state.run is None else replace(state.run, attempt=0)
    return replace(state, epoch=0, retrainings=(), run=run)


def _key(state: ModelState) -> bytes:
    return event_json.state_to_json(state)


def _candidate(version: int, decision_id: str) -> CandidateRegistered:
    return CandidateRegistered(
        **_WHO,
        version=version,
        decision_id=decision_id,
        artifact="",
        sha256="",
        fingerprint="",
        rows_trained=0,
        trained_until=None,
        reference="",
        gate={},
    )


def _every_event() -> Iterator[AnyEvent]:
    yield RetrainingRequested(**_WHO, decision_id="d", trigger="")
    yield TrainingStarted(**_WHO, decision_id="d", job_name="j", attempt=0, rows=0, snapshot="")
    for final in (False, True):
        yield TrainingFailed(**_WHO, decision_id="d", job_name="j", attempt=0, final=final)
    yield CandidateRejected(**_WHO, decision_id="d", gate={})
    for version in _VERSIONS:
        yield _candidate(version, "d")
        yield CandidateRetired(**_WHO, version=version, evidence={})
        for newer in _VERSIONS:
            yield CandidateRetired(**_WHO, version=version, evidence={}, superseded_by=newer)
        yield RollbackImpossible(**_WHO, version=version, cause=RollbackCause.ERRORS, evidence={})
        for phase in BakePhase:
            yield BakePassed(**_WHO, version=version, phase=phase, evidence={})
        yield PromotionApproved(**_WHO, version=version, instead_of=None, evidence={})
        yield VersionPromoted(**_WHO, version=version, replaced=None, endpoint={})
        yield RepointFailed(**_WHO, version=version, instead_of=None, cause=None, endpoint={})
        for other in _VERSIONS:
            if other != version:
                yield from _about_two(version, other)


def _about_two(version: int, other: int) -> Iterator[AnyEvent]:
    cause = RollbackCause.ERRORS
    yield ShadowStarted(**_WHO, version=version, judged_against=other)
    yield PromotionProposed(**_WHO, version=version, judged_against=other, evidence={})
    yield PromotionApproved(**_WHO, version=version, instead_of=other, evidence={})
    yield VersionPromoted(**_WHO, version=version, replaced=other, endpoint={})
    yield RepointFailed(**_WHO, version=version, instead_of=other, cause=None, endpoint={})
    yield RepointFailed(**_WHO, version=version, instead_of=other, cause=cause, endpoint={})
    yield RollbackDecided(**_WHO, version=version, to_version=other, cause=cause, evidence={})
    yield VersionRolledBack(**_WHO, version=version, to_version=other, cause=cause, endpoint={})


_EVENTS = tuple(_every_event())


# --- arrows -----------------------------------------------------------------------------------------------------------


def _arrows(steps: list[_Step], names: Callable[[ModelState], dict[Any, str]]) -> Arrows:
    """What changed its name, and by which events."""
    arrows: Arrows = defaultdict(set)
    for before, event, after in steps:
        was, is_now = names(before), names(after)
        for each, name in is_now.items():
            if was.get(each) != name:
                arrows[was.get(each, "new"), name].add(event)
    return arrows


def _statuses(state: ModelState) -> dict[int, str]:
    return {version.number: version.status.value for version in state.versions}


def _deployment(state: ModelState) -> str:
    """What goes on with the model's production, in a word."""
    if state.repoint is not None:
        return "promoting" if state.repoint.cause is None else "rolling_back"
    if state.bake is not None:
        return f"{state.bake.phase}_bake"
    if state.proposal is not None:
        return "waiting_for_approval"
    if state.shadow is not None and state.shadow.role is ShadowRole.CHALLENGER:
        return "comparing"
    return "nothing" if state.production is None else "settled"


def _retraining(state: ModelState) -> str:
    if state.run is None:
        return "idle"
    return "requested" if state.run.job_name is None else "training"


def _diagram(arrows: Arrows, *, start: str) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    if start != "new":
        lines.append(f"    [*] --> {start}")
    for (before, after), names in sorted(arrows.items()):
        source = "[*]" if before == "new" else before
        lines.append(f"    {source} --> {after}: {', '.join(sorted(names))}")
    return "\n".join([*lines, "```"])


def _event_rows() -> Iterator[str]:
    yield "| event | what it says |"
    yield "|---|---|"
    for name, kind in event_json.EVENT_TYPES.items():
        said = (inspect.getdoc(kind) or "").splitlines()[0]
        yield f"| `{name}` | {said} |"


_TEXT = f"""# A model's life
Made from the code by `python docs/make/lifecycle_diagram.py`: the arrows are what
`{transitions.__name__}.transition` does in every state that a model with three versions can reach. An event that can't
happen in a state is refused with `IllegalTransitionError` and leaves it as it was.

## A version
<VERSION>

- `good` is what a rollback may go to: a version that survived its bakes and reads the features of the spec. The *last
  known good* is the one that was promoted last among them, production apart.
- The quality bake needs a watcher: the last known good version answers the same requests unseen, and is compared with
  the new one. A model's first version, and one that comes when no version is known to be good, has no watcher: it
  counts as good after its ops bake, since there is nothing to compare it with and a rollback of the next version would
  else have nowhere to go. The ops bake is never skipped.
- A candidate in which production lives on ([freshness](online.md)) is approved once it has answered the same
  requests for a day and lost nothing by it, or no more than its days differ by (`shadow.proof: nested`, the default).
  Any other one owes a proof that it is better.
- A newly trained candidate *supersedes* those that wait or are in shadow: they are retired
  (`CandidateRetired.superseded_by`), with the evidence of the last look at them, in the transaction that registers it.
  One in shadow gives way once it was judged on a whole cycle and the evidence is not for it. One that the evidence is
  for keeps its place until it is decided, and the newer one waits: trainings that follow one another closely must not
  keep every candidate from its proof. No candidate ever blocks a retraining. One that is proven and waits for a
  person's approval keeps its place, and the newer one waits behind it; so does a sentinel, until the quality bake ends.
  A version that was registered by hand supersedes nobody.
- `rolled_back` and `rejected` are for ever: such a version is neither promoted nor returned to, not by hand either.
  Train it again, or register it again under a new number.
- A version that is bad while no other is known to be good stays in production and counts as good no more, whatever it
  was before (`RollbackImpossible`).

## Production
<DEPLOYMENT>

- A promotion is a compare-and-swap: `PromotionApproved` names the version it was judged against, and is refused when
  another one is in production by then. The candidate goes back and is compared with the new one.
- With `deployment.approval: manual` a proven candidate is proposed (`PromotionProposed`), once for what it was judged
  against. The shadow runs on and is judged on, while a person makes up their mind. A later verdict of `keep`, on more
  data than the proposal had, withdraws it: the candidate is retired. While the verdict wavers the proposal stands,
  until `shadow.max_time` makes a `keep` of it. A change of production ends it, so what is approved is always what was
  proven, on the evidence of the proposal.
- A SageMaker endpoint may go back by itself (`RepointFailed`). A version that was to be promoted counts as rolled
  back then, for ever, and production is as it was. A rollback that fails so stays decided and is tried again.
- `paused` (`ModelPaused`, `ModelResumed`) stops what a model does by itself: no retraining is requested, no candidate
  is proposed or promoted, not even a model's first version, which takes over when the pause ends. It never stops a
  rollback, nor what is under way: a repoint that is decided is carried out, a training job ends, a bake is watched.
  A candidate that is proven no better is retired. People may still promote, approve and roll back.

## Retraining
<RETRAINING>

## Events
<EVENTS>

## What must never be
Checked by tests after every event, by `evergreen verify` in the state that is stored:

<NEVER>

## The history
Each event is an item of the ledger with the hash of the item before it, written in one transaction with the state after
it. `evergreen verify MODEL` finds an item that was changed, removed, added or moved, a state that is not the end of the
history, and one that is not what the events lead to. Who can write to the table can also write a whole new history with
hashes that fit; the copies of the events that left for the bus then tell.

A history is told again by the code of the day. A change of `transition` must therefore lead old events to the same
state: new fields have defaults, and what an old event does not say is left as it was.
"""

if __name__ == "__main__":
    main()
