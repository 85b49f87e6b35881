"""The replay: a stream's requests and labels through the deployed template, on a virtual clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from evergreen.domain.event_json import NOTE_TYPES
from evergreen.domain.history import History
from evergreen.domain.model_events import CandidateRejected, TrainingFailed
from evergreen.errors import EvergreenError
from evergreen.formats import request_ids
from evergreen.formats.outcomes import outcome_schema
from evergreen.model.schema import FEATURE_PREFIX
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.people.live import read_live_status
from evergreen_ops.replay.policies import base_rows
from evergreen_ops.replay.progress import Moment, Screen
from evergreen_ops.replay.result import Served, trained_rows
from evergreen_ops.replay.specs import Base
from evergreen_ops.replay.streams import Stream, as_datetime, as_instant
from evergreen_ops.timeline import lines

if TYPE_CHECKING:
    from evergreen.bootstrap import AwsPorts
    from local_cloud.cloud import LocalCloud

Array = npt.NDArray[Any]

CHUNK = 500
ACTOR = "replay"
BASE_FILES = 16
SOONEST = timedelta(milliseconds=1)
GATHERED_FOR = timedelta(minutes=20)
"""Labels are gathered for 15 minutes and then joined: what a schedule is to see is sent so long before it fires."""
FIRST_MODEL_PATIENCE = timedelta(days=1)
FIRST_MODEL_STEP = timedelta(minutes=5)
TOLD_EVERY_SECONDS = 1.0  # of real time: reading the history costs, and nobody reads faster
ROLLING_ROWS = 1_000


class ReplayError(EvergreenError):
    """A replay that can't go on; the message is one sentence."""


class Interlude(Protocol):
    """Something that happens beside the traffic, such as a drill."""

    def act(self, session: Session) -> None:
        """Called after each whole step."""

    def finished(self, session: Session) -> bool:
        """Whether there is nothing more to see: the replay ends here."""


@dataclass(slots=True)
class Session:
    """A replay under way."""

    stream: Stream
    spec: ModelSpec
    base: Base
    cloud: LocalCloud
    ports: AwsPorts
    screen: Screen
    seed: int
    served: Served
    inference_ids: Array
    asked: int  # the first row that has not been asked yet
    told: int = 0  # events of the history that have been shown
    told_at: float = 0.0
    rolling: Array = field(default_factory=lambda: np.empty(0))
    history: History = field(default_factory=lambda: History(""))  # as it was shown last

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self.cloud.clock.now

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.model


def open_session(
    stream: Stream, spec: ModelSpec, base: Base, cloud: LocalCloud, ports: AwsPorts, screen: Screen
) -> Session:
    """Prepare a replay on a cloud whose clock stands at the end of the base."""
    return Session(
        stream=stream,
        spec=spec,
        base=base,
        cloud=cloud,
        ports=ports,
        screen=screen,
        seed=spec.training.seed,
        served=Served.nothing(stream),
        inference_ids=np.empty(stream.rows, dtype=object),
        asked=base.rows,
    )


def train_first_model(session: Session) -> None:
    """Apply the spec, hand over the base and wait for the first model to be in production.

    Raises
    ------
    ReplayError
        No model came out of it; the message has the reason.
    """
    spec, ports, model = session.spec, session.ports, session.model
    apply.apply_model(spec, now=session.now, ports=ports)
    _hand_over_base(session, base_rows(session.stream, session.spec, session.base))
    decide.request_training(model, "the first model", ACTOR, now=session.now, ports=ports)
    patience = session.now + FIRST_MODEL_PATIENCE
    while session.now < patience:
        session.cloud.advance(session.now + FIRST_MODEL_STEP)
        state = ports.ledger.read(model)
        if state.production is not None:
            tell(session)
            return
        if state.run is None:
            break
    tell(session)
    reasons = [event.because for event in session.history.of(TrainingFailed, CandidateRejected)]
    raise ReplayError(f"the first model could not be trained: {reasons[-1] if reasons else 'the job never ended'}")


def run(session: Session, *, step: timedelta, interludes: Sequence[Interlude] = ()) -> None:
    """Let time pass until the stream has ended and its labels have matured.

    Time moves in steps, counted from the end of the base as rate schedules are, and is cut wherever a schedule fires.
    Shortly before each cut the requests since the last one are asked in a batch, and the labels that became known are
    handed on: so whatever a schedule looks at has seen the traffic up to then.
    """
    labels = _LabelsByTime.of(session.stream, session.base)
    late = LateBase.of(session.stream, session.spec, session.base)
    end = as_datetime(session.stream.event_time[-1]) + session.spec.labels.maturity + 2 * step
    session.screen.begin(session.stream.name, session.stream.rows - session.base.rows)
    while session.now < end:
        steps = (session.now - session.base.until) // step + 1
        for cut in _cuts(session, min(session.base.until + steps * step, end)):
            heard = max(cut - GATHERED_FOR, session.now)
            _ask_until(session, heard)
            _send_labels(session, labels.known_by(heard))
            session.cloud.advance(cut)
        _hand_over_base(session, late.known_by(session.now))
        for interlude in interludes:
            interlude.act(session)
        _show(session)
        if any(interlude.finished(session) for interlude in interludes):
            break
    session.cloud.drain()
    tell(session)


def failed_functions(session: Session) -> dict[str, str]:
    """Return, for each function that ended in errors, how often and the last one."""
    failed: dict[str, list[str]] = {}
    for invocation in session.cloud.invocations:
        if invocation.error is not None:
            failed.setdefault(invocation.function, []).append(invocation.error)
    return {name: f"{len(errors)} times, the last: {errors[-1]}" for name, errors in sorted(failed.items())}


def decisions(session: Session) -> tuple[Mapping[str, Any], ...]:
    """Return every evaluation and comparison of the replay, oldest first, also those that changed nothing."""
    ledger, behind = session.ports.ledger, session.now + timedelta(days=1)
    notes = [note for kind in NOTE_TYPES for note in ledger.notes(session.model, kind, session.base.until, behind)]
    return tuple(sorted(notes, key=lambda note: datetime.fromisoformat(note["time"])))


def live_states(session: Session) -> tuple[Mapping[str, Any], ...]:
    """Return what each version has learned since it was trained, and what that was worth lately."""
    return tuple(read_live_status(session.model, now=session.now, ports=session.ports))


def tell(session: Session) -> None:
    """Show what has happened since it was last asked."""
    session.told_at = time.monotonic()
    if session.ports.ledger.read(session.model).epoch == session.told:
        return
    session.history = decide.history(session.model, ports=session.ports)
    for line in lines(session.history[session.told :].events):
        session.screen.tell(line)
    session.told = len(session.history)


def outcome_table(stream: Stream, spec: ModelSpec, rows: Array, inference_ids: Sequence[str]) -> pa.Table:
    """Return labelled rows of a stream as outcomes that no version of Evergreen has answered."""
    schema = outcome_schema(spec.feature_schema())
    columns: dict[str, Any] = {
        "event_id": pa.array(inference_ids, pa.string()),
        "inference_time": _timestamps(stream.event_time[rows]),
        "label_time": _timestamps(stream.label_time[rows]),
        "actual": pa.array(stream.label[rows].tolist(), schema.field("actual").type),
    }
    for name, feature in spec.features.items():
        values = stream.columns[name][rows]
        columns[FEATURE_PREFIX + name] = (
            pa.array(values, pa.float64(), from_pandas=True)
            if feature.type == "number"
            else pa.array(values.tolist(), pa.string())
        )
    return pa.table([columns.get(column.name, pa.nulls(len(rows), column.type)) for column in schema], schema=schema)


def inference_ids(seed: int, rows: Array, moment: datetime) -> list[str]:
    """Return UUIDv7 of a virtual time whose random bits follow from the seed and the row's number.

    Examples
    --------
    >>> inference_ids(0, np.array([7]), datetime.fromisoformat("2013-02-01T00:00:00+00:00"))
    ['013c930d-7c00-7b3c-b7bb-f40804fed7d1']
    """
    high, low = _mixed(rows, 2 * seed), _mixed(rows, 2 * seed + 1)
    return [
        request_ids.uuid7(moment, (a & 0xFFF) << 62 | b >> 2) for a, b in zip(high.tolist(), low.tolist(), strict=True)
    ]


def _mixed(rows: Array, stream: int) -> Array:
    """SplitMix64: 64 well-mixed bits for each row number."""
    with np.errstate(over="ignore"):
        z = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream) * np.uint64(
            0xD1B54A32D192ED03
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


@dataclass(slots=True)
class _LabelsByTime:
    """Rows in the order in which their labels become known."""

    stream: Stream
    rows: Array
    times: Array
    sent: int = 0

    @classmethod
    def of(cls, stream: Stream, base: Base) -> _LabelsByTime:
        rows = np.arange(base.rows, stream.rows)
        rows = rows[stream.labelled[rows]]
        rows = rows[np.argsort(stream.label_time[rows], kind="stable")]
        return cls(stream, rows, stream.label_time[rows])

    def known_by(self, moment: datetime) -> Array:
        """Rows whose label became known since the last call."""
        until = int(np.searchsorted(self.times, as_instant(moment), side="right"))
        rows, self.sent = self.rows[self.sent : until], until
        return rows


def _cuts(session: Session, step_end: datetime) -> Iterator[datetime]:
    while session.now < step_end:
        session.cloud.advance(session.now)  # what is due by now may create a schedule
        scheduled = session.cloud.next_schedule()
        yield step_end if scheduled is None else max(min(scheduled, step_end), session.now + SOONEST)


def _ask_until(session: Session, moment: datetime) -> None:
    """Let time pass up to a moment, and ask there what was asked by then."""
    session.cloud.advance(moment)  # also where nothing was asked: the labels that follow are known then, and not before
    until = int(np.searchsorted(session.stream.event_time, as_instant(moment), side="right"))
    for start in range(session.asked, until, CHUNK):
        _ask(session, np.arange(start, min(start + CHUNK, until)))
    session.asked = until


def _ask(session: Session, rows: Array) -> None:
    names = inference_ids(session.seed, rows, session.now)
    session.inference_ids[rows] = names
    instances = session.stream.instances(slice(int(rows[0]), int(rows[-1]) + 1))
    wanted = session.spec.features
    if len(wanted) < len(session.stream.features):
        instances = [{name: row[name] for name in wanted} for row in instances]
    answer = _post(session, "predict", {"instances": instances, "inference_ids": names})
    if answer is None:
        session.served.failed[rows] = True
        return
    _keep(session, rows, answer)


def _keep(session: Session, rows: Array, answer: Mapping[str, Any]) -> None:
    answers = answer["predictions"]
    session.served.versions[rows] = int(answer["version"])
    session.served.predictions[rows] = [each["prediction"] for each in answers]
    classes, kept = session.stream.classes, session.served.probabilities
    if kept is not None and classes is not None:
        kept[rows] = [[each["probabilities"].get(name, 0.0) for name in classes] for each in answers]


def _send_labels(session: Session, rows: Array) -> None:
    rows = rows[~session.served.failed[rows]]
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        known = session.stream.label[chunk].tolist()
        names = session.inference_ids[chunk].tolist()
        labels = [{"inference_id": name, "label": label} for name, label in zip(names, known, strict=True)]
        _post(session, "feedback", {"labels": labels})
    predicted = session.served.predictions[rows]
    if session.stream.classes is None:
        worth = np.abs(session.stream.label[rows] - predicted.astype(float))
    else:
        worth = (session.stream.label[rows] == predicted).astype(float)
    session.rolling = np.concatenate([session.rolling, worth])[-ROLLING_ROWS:]


def _post(session: Session, action: str, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Call the API; None when it failed.

    Raises
    ------
    ReplayError
        The API refused the request: that is no failure of the model but of the replay.
    """
    body = orjson.dumps(document).decode()
    path = f"/models/{session.model}/{action}"
    answer = session.cloud.http("POST", path, body=body, headers={"content-type": "application/json"})
    if answer.status >= 500:
        return None
    if answer.status >= 400:
        raise ReplayError(f"POST {path} was refused with {answer.status}: {answer.body[:300].decode(errors='replace')}")
    content: Mapping[str, Any] = orjson.loads(answer.body)
    return content


def _hand_over_base(session: Session, rows: Array) -> None:
    """Store base rows as training data, in a few files, so that a training window can leave the oldest out."""
    for part in np.array_split(rows, min(BASE_FILES, max(1, len(rows) // 100))):
        if len(part):
            names = inference_ids(session.seed, part, session.base.until)
            table = outcome_table(session.stream, session.spec, part, names)
            bring.add_base_data(session.model, table, now=session.now, ports=session.ports)


@dataclass(slots=True)
class LateBase:
    """Base rows whose label was not known, or not mature, when the base ended."""

    stream: Stream
    rows: Array
    every: timedelta  # they are handed over together: each time makes a file
    due: datetime

    @classmethod
    def of(cls, stream: Stream, spec: ModelSpec, base: Base) -> LateBase:
        """Take what the first model was not trained on."""
        labelled = np.flatnonzero(stream.labelled[: base.rows])
        rows = np.setdiff1d(labelled, base_rows(stream, spec, base), assume_unique=True)
        return cls(stream, rows, spec.labels.maturity, base.until + spec.labels.maturity)

    def known_by(self, moment: datetime) -> Array:
        """Rows whose label became known since the last time; none before a maturity has passed."""
        if moment < self.due:
            return self.rows[:0]
        is_known = self.stream.label_time[self.rows] <= as_instant(moment)
        known, self.rows, self.due = self.rows[is_known], self.rows[~is_known], moment + self.every
        return known


def _show(session: Session) -> None:
    if time.monotonic() - session.told_at < TOLD_EVERY_SECONDS:
        return
    tell(session)
    session.screen.show(
        Moment(
            time=session.now,
            rows=session.asked - session.base.rows,
            trainings=len(trained_rows(session.history)),
            production=session.history.production,
            quality=_quality(session),
        )
    )


def _quality(session: Session) -> str:
    if len(session.rolling) == 0:
        return ""
    mean = float(session.rolling.mean())
    return f"MAE {mean:.3g}" if session.stream.classes is None else f"accuracy {mean:.1%}"


def _timestamps(instants: Array) -> pa.Array:
    return pa.array(instants.astype("datetime64[us]"), pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
