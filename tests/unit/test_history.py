"""A history as types: what is asked of it, and that nobody else reads an event's fields by their names."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.event_json import EVENT_TYPES, NOTE_TYPES, event_to_json
from evergreen.domain.history import Entry, History
from evergreen.domain.model_events import (
    CandidateRegistered,
    CandidateRejected,
    DifferenceRepaired,
    PromotionApproved,
    RepointFailed,
    RetrainingRequested,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import RollbackCause
from evergreen.errors import UnknownVersionError

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def told(*events, hours=None):
    """A history of these types and fields; an hour passes before each, or as many as `hours` says since the start."""
    entries = []
    for epoch, (kind, fields) in enumerate(events, start=1):
        hour = epoch if hours is None else hours[epoch - 1]
        event = kind(time=START + hour * HOUR, actor="ada", because=f"because of {epoch}", **fields)
        entries.append(Entry("churn", epoch, kind.__name__, event_to_json(event)))
    return History("churn", tuple(entries))


def requested(decision_id):
    return RetrainingRequested, {"decision_id": decision_id, "trigger": "schedule"}


def started(decision_id, attempt=0):
    job = f"churn-{decision_id}-{attempt}"
    return TrainingStarted, {"decision_id": decision_id, "job_name": job, "attempt": attempt, "rows": 5, "snapshot": ""}


def failed(decision_id, attempt=0):
    job = f"churn-{decision_id}-{attempt}"
    return TrainingFailed, {"decision_id": decision_id, "job_name": job, "attempt": attempt, "final": False}


def registered(version, decision_id=""):
    fields = {"artifact": "", "sha256": "", "fingerprint": "", "rows_trained": 5, "trained_until": None}
    return CandidateRegistered, fields | {"version": version, "decision_id": decision_id, "reference": "", "gate": {}}


def promoted(version, replaced=None):
    return VersionPromoted, {"version": version, "replaced": replaced, "endpoint": {}}


def approved(version, instead_of):
    return PromotionApproved, {"version": version, "instead_of": instead_of, "evidence": {}}


def rolled_back(version, to_version):
    return VersionRolledBack, {
        "version": version,
        "to_version": to_version,
        "cause": RollbackCause.ERRORS,
        "endpoint": {},
    }


def repoint_failed(version, instead_of, cause=None):
    return RepointFailed, {"version": version, "instead_of": instead_of, "cause": cause, "endpoint": {}}


def repaired(what):
    return DifferenceRepaired, {"what": what, "found": "1", "expected": "2"}


def test_events_are_found_by_their_type_in_their_order():
    history = told(requested("d1"), started("d1"), failed("d1"), started("d1", 1), registered(1, "d1"))
    assert [event.attempt for event in history.of(TrainingStarted)] == [0, 1]
    assert [type(event) for event in history.of(TrainingFailed, RetrainingRequested)] == [
        RetrainingRequested,
        TrainingFailed,
    ]
    assert history.of(CandidateRejected) == ()
    assert [entry.epoch for entry in history.entries_of(TrainingStarted)] == [2, 4]


def test_a_retraining_is_found_by_its_id():
    history = told(requested("d1"), requested("d2"))
    assert history.requested("d2").because == "because of 2"
    assert history.requested("d3") is None


def test_each_job_of_a_retraining_has_the_end_that_is_told_after_it():
    history = told(requested("d1"), started("d1"), failed("d1"), started("d2"), started("d1", 1), registered(7, "d1"))
    first, second = history.attempts("d1")
    assert (first.started.event.job_name, type(first.ended)) == ("churn-d1-0", TrainingFailed)
    assert (second.started.epoch, second.ended.version) == (5, 7)
    (running,) = history.attempts("d2")
    assert running.ended is None
    assert history.attempts("d3") == ()


def test_a_version_is_known_by_its_registration():
    history = told(registered(1), registered(2))
    assert history.registration(2).epoch == 2
    with pytest.raises(UnknownVersionError, match="has no version 9: it has 1, 2"):
        history.registration(9)


def test_what_happened_at_a_time_is_exactly_that():
    history = told(repaired("one"), repaired("two"))
    assert [event.what for event in history.at(START + 2 * HOUR)] == ["two"]
    assert history.at(START + 1.5 * HOUR) == ()
    assert len(history.until(START + 1.5 * HOUR)) == 1


@given(hours=st.lists(st.integers(0, 8), max_size=8), asked=st.integers(-1, 9))
def test_what_was_known_at_a_time_is_the_beginning_of_the_history_however_late_its_events_were_told(hours, asked):
    history = told(*[repaired("one")] * len(hours), hours=hours)
    known = history.until(START + asked * HOUR)
    assert known.entries == history.entries[: len(known)]
    assert all(entry.time <= START + asked * HOUR for entry in known.entries)
    assert len(known) == len(history) or history.entries[len(known)].time > START + asked * HOUR


def test_production_is_whoever_took_over_last():
    assert told().production is None
    assert told(registered(1), promoted(1), promoted(2, 1)).production == 2
    assert told(promoted(1), promoted(2, 1), rolled_back(2, 1)).production == 1


def test_a_version_answers_alone_from_when_it_took_over_until_another_was_decided_on():
    history = told(promoted(1), approved(2, 1), promoted(2, 1), approved(3, 2), repoint_failed(3, 2))
    assert [(span.start, span.end) for span in history.spans(1)] == [(START + HOUR, START + 2 * HOUR)]
    first, second = history.spans(2)
    assert (first.start, first.end, second.start) == (START + 3 * HOUR, START + 4 * HOUR, START + 5 * HOUR)
    assert history.spans(3) == []
    failing = told(promoted(1), approved(2, 1), repoint_failed(2, 1, RollbackCause.ERRORS))
    assert len(failing.spans(1)) == 1, "a rollback is tried again, nobody knows when"


def test_an_entry_is_read_when_it_is_asked_for():
    broken = Entry("churn", 2, "VersionPromoted", "this is no JSON")
    history = History("churn", (*told(requested("d1")).entries, broken))
    assert history.requested("d1") is not None
    assert [entry.kind for entry in history[-1:]] == ["VersionPromoted"]


# --- an event's fields are known in one place -------------------------------------------------------------------------

CODE = [
    path
    for part in ("layers/core/evergreen", "functions", "infra/evergreen_ops", "docs")
    for path in sorted((ROOT / part).rglob("*.py"))
    if "evergreen_ops/local/" not in str(path)
]
NAMES = {*EVENT_TYPES, *NOTE_TYPES.values()}
MAY_NAME = {"layers/core/evergreen/domain/event_json.py"}  # the names of notes, which are no types
# Who reads a `type` by its name: events as they are stored, shown and sent, and what is no event.
MAY_SUBSCRIPT = {
    "layers/core/evergreen/domain/event_json.py": "what is shown",
    "layers/core/evergreen/domain/audit.py": "what is stored, whatever it says",
    "layers/core/evergreen/aws/ledger.py": "what is stored",
    "layers/core/evergreen/inbound/events.py": "the bus's envelope",
    "layers/core/evergreen/model/schema.py": "a feature's",
    "layers/core/evergreen/training/mlmodel.py": "a feature's",
    "layers/core/evergreen/training/run_record.py": "a feature's",
    "layers/core/evergreen/spec.py": "pydantic's",
    "infra/evergreen_ops/commands/monitor.py": "a feature's",
}


def read_by_name(source):
    """The names of events that the source writes as strings, and the lines that ask something for its `type`."""
    named, asked = [], []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(name)) if name in NAMES:
                named.append(name)
            case ast.Subscript(value=value, slice=ast.Constant(value="type")):
                asked.append(value)
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value="type"), *_]):
                asked.append(value)
            case ast.MatchMapping(keys=keys) if any(isinstance(k, ast.Constant) and k.value == "type" for k in keys):
                asked.append(node)
            case _:
                pass
    return named, asked


def test_the_walk_finds_what_it_looks_for():
    source = """
if event["type"] == "VersionPromoted" or event.get("type") in ("BakePassed",): ...
match event:
    case {"type": "RollbackDecided"}: ...
print("VersionPromoted is told", "VersionPromoted told")
"""
    named, asked = read_by_name(source)
    assert (sorted(named), len(asked)) == (["BakePassed", "RollbackDecided", "VersionPromoted"], 3)


def test_nobody_else_reads_an_event_by_the_names_of_its_type_and_fields():
    found = {str(path.relative_to(ROOT)): read_by_name(path.read_text(encoding="utf-8")) for path in CODE}
    assert len(found) > 150
    assert {name for name, (named, _) in found.items() if named} == MAY_NAME
    assert {name for name, (_, asked) in found.items() if asked} == set(MAY_SUBSCRIPT)
