"""What each training and promotion of a replay brought on matured labels: from a history, a stream and the answers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from evergreen.domain.history import History
from evergreen.spec import ModelSpec
from evergreen_ops.commands.replay import _print_explanation
from evergreen_ops.console import WIDE, console
from evergreen_ops.replay.explain import Explanation, explain
from evergreen_ops.replay.policies import parse_policies, simulate
from evergreen_ops.replay.rebuilt import rebuild, training_rows
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.report import explained_head, explained_rows, trained_again
from evergreen_ops.replay.specs import base_of, infer_spec
from evergreen_ops.replay.streams import Stream, as_datetime, read_table
from evergreen_ops.replay.trainings import Kind, changes, trainings

Array = npt.NDArray[Any]
ROWS, TURN = 3_000, 1_200
ABOUT: dict[str, Any] = {"actor": "ada", "because": "a story"}


def of_rows(a: Array, turned: Array) -> Array:
    return np.where(turned, -a, a) > 0


def small(spec: ModelSpec, *, fresh: bool) -> ModelSpec:
    """The spec with a forest that is trained in no time."""
    few = spec.training.model_copy(update={"params": {"n_estimators": 8, "max_depth": 6}})
    freshness = spec.freshness.model_copy(update={"enabled": fresh})
    return spec.model_copy(update={"training": few, "freshness": freshness})


@pytest.fixture(scope="module")
def turning() -> Stream:
    """A hundred rows a day; what they mean turns around on the twelfth."""
    a, b = np.random.default_rng(3).normal(size=(2, ROWS))
    label = of_rows(a + 0.1 * b, np.arange(ROWS) >= TURN)
    return read_table(pa.table({"a": a, "b": b, "label": label}), name="turning", rows_per_day=100)


class Story:
    """A history, told by the rows of a stream at which things happened."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.documents = stream, list[dict[str, Any]]()
        self.at(base_of(stream).rows, "RetrainingRequested", decision_id="d1", trigger="business_event")
        self.registered(base_of(stream).rows, 1, rows=440).promoted(base_of(stream).rows, 1, None)

    def time(self, row: int) -> datetime:
        return as_datetime(self.stream.event_time[row - 1])

    def at(self, row: int, kind: str, **fields: Any) -> Story:
        about = ABOUT | {"epoch": len(self.documents) + 1, "time": self.time(row).isoformat(), "type": kind}
        self.documents.append(about | fields)
        return self

    def asked(self, row: int, version: int, trigger: str = "performance") -> Story:
        self.at(row, "RetrainingRequested", decision_id=f"d{version}", trigger=trigger)
        started = {"job_name": "", "attempt": 0, "rows": 700, "snapshot": ""}
        return self.at(row, "TrainingStarted", decision_id=f"d{version}", **started)

    def registered(self, row: int, version: int, rows: int) -> Story:
        empty = {"artifact": "", "sha256": "", "fingerprint": "", "reference": "", "gate": {}}
        until = (self.time(row) - timedelta(days=1)).isoformat()
        told = {"version": version, "decision_id": f"d{version}", "rows_trained": rows, "trained_until": until}
        return self.at(row, "CandidateRegistered", **empty, **told)

    def trained(self, row: int, version: int, rows: int = 700) -> Story:
        return self.asked(row, version).registered(row, version, rows)

    def promoted(self, row: int, version: int, replaced: int | None) -> Story:
        return self.at(row, "VersionPromoted", version=version, replaced=replaced, endpoint={})

    def rolled_back(self, row: int, version: int, to_version: int) -> Story:
        return self.at(row, "VersionRolledBack", version=version, to_version=to_version, cause="quality", endpoint={})

    @property
    def history(self) -> History:
        return History.of_documents("turning", self.documents)

    def explained(self, policies: str = "never", *, fresh: bool = False) -> Explanation:
        """As of a replay that served what the versions say when they are trained again."""
        stream, base = self.stream, base_of(self.stream)
        spec = small(infer_spec(stream), fresh=fresh)
        recipe = StreamRecipe(stream, spec)
        others = [simulate(policy, stream, spec, base, recipe) for policy in parse_policies(policies)]
        served = rebuild(stream, spec, base, changes(self.history), trainings(self.history)).production
        scored = np.flatnonzero(stream.labelled & (np.arange(stream.rows) >= base.rows))
        return explain(stream, spec, base, self.history, served, scored, others)


def test_a_promotion_after_the_turn_brought_what_it_learned(turning: Stream) -> None:
    (change,) = Story(turning).trained(2_000, 2).promoted(2_100, 2, 1).explained().changes
    assert (change.change.kind, change.change.version, change.change.instead_of) == (Kind.PROMOTION, 2, 1)
    assert change.rows == ROWS - 2_100
    assert change.new is not None
    assert change.old is not None
    assert change.brought is not None
    assert change.brought.interval is not None
    assert change.new > 0.9 > 0.2 > change.old
    assert change.brought.gain == pytest.approx(change.new - change.old)
    assert change.brought.interval[0] > 0.6
    assert change.others["never"] == change.old, "never is the first model, and version 2 replaced that one"
    assert change.against["never"].gain == change.brought.gain
    assert change.served == change.new


def test_a_live_state_has_made_good_most_of_it_before_the_promotion(turning: Stream) -> None:
    story = Story(turning).trained(2_000, 2).promoted(2_100, 2, 1)
    (fresh,), (plain,) = story.explained(fresh=True).changes, story.explained().changes
    assert fresh.old is not None
    assert plain.old is not None
    assert fresh.old > plain.old + 0.4, "the version before goes on learning where it is not served"


def test_a_training_whose_version_was_not_promoted_says_what_it_would_have_brought(turning: Stream) -> None:
    story = Story(turning).trained(1_900, 2)
    story.at(2_000, "CandidateRetired", version=2, evidence={}, superseded_by=3).trained(2_400, 3)
    refused, waits = story.explained().changes
    assert refused.change.training is not None
    assert (refused.change.kind, refused.change.training.fate) == (Kind.TRAINING, "superseded by version 3")
    assert refused.rows == 500, "it is looked at until the next training ends"
    assert refused.brought is not None
    assert refused.served == refused.old, "it was never served"
    assert refused.brought.gain > 0.5
    assert waits.change.until is None


def test_a_model_that_failed_its_gate_is_trained_again_too(turning: Stream) -> None:
    story = Story(turning).asked(2_000, 2)
    story.at(2_000, "CandidateRejected", decision_id="d2", gate={}, because="no better than chance")
    (change,) = story.explained().changes
    assert change.change.training is not None
    assert change.change.training.fate == "failed its gate: no better than chance"
    assert change.brought is not None
    assert change.to_json()["version"] is None


def test_what_cant_be_trained_again_is_not_known(turning: Stream) -> None:
    story = Story(turning).asked(1_500, 2)
    story.at(1_500, "TrainingFailed", decision_id="d2", job_name="", attempt=0, final=True, because="no capacity")
    story.promoted(2_000, 9, 1)  # by hand; nobody's decision trained it
    failed, by_hand = story.explained().changes
    assert (failed.brought, failed.unknown) == (None, "failed: no capacity")
    assert by_hand.brought is None
    assert "can't be trained again" in by_hand.unknown
    assert by_hand.others["never"] > 0


def test_a_version_that_is_in_shadow_at_the_end_is_said_to_be_there(turning: Stream) -> None:
    story = Story(turning).trained(1_900, 2)
    (waits,) = changes(story.history)
    (tried,) = changes(story.at(1_950, "ShadowStarted", version=2, judged_against=1).history)
    assert waits.training is not None
    assert tried.training is not None
    assert (waits.training.fate, tried.training.fate) == ("waits for its time in shadow", "in shadow")


def test_a_rollback_is_a_change_of_its_own(turning: Stream) -> None:
    story = Story(turning).trained(1_900, 2).promoted(1_900, 2, 1).rolled_back(2_300, 2, 1)
    promoted, back = story.explained().changes
    assert promoted.rows == 400
    assert (back.change.kind, back.change.version, back.change.instead_of) == (Kind.ROLLBACK, 1, 2)
    assert back.brought is not None
    assert back.brought.gain < -0.5, "it was the better one that was rolled back"


def test_who_answers_changed_for_the_reason_that_was_decided_on(turning: Stream) -> None:
    story = Story(turning).at(1_000, "PromotionApproved", version=2, instead_of=1, evidence={}, because="a bad idea")
    story.promoted(1_000, 2, 1)
    about = {"version": 2, "to_version": 1, "cause": "errors", "evidence": {}}
    story.at(1_100, "RollbackDecided", **about, because="3 of 3 requests failed").rolled_back(1_100, 2, 1)
    assert [change.because for change in changes(story.history)] == ["a bad idea", "3 of 3 requests failed"]


def test_a_history_without_a_retraining_has_nothing_to_explain(turning: Stream) -> None:
    assert Story(turning).explained().changes == ()


def test_training_rows_were_known_when_the_training_was_decided(turning: Stream) -> None:
    (training,) = trainings(Story(turning).trained(1_500, 2, rows=700).history)
    rows = training_rows(turning, training)
    assert len(rows) == 700
    assert as_datetime(turning.label_time[rows].max()) <= training.requested
    assert as_datetime(turning.event_time[rows].max()) == training.trained_until


def test_what_served_is_compared_with_those_that_were_trained_again(turning: Stream) -> None:
    found = Story(turning).trained(2_000, 2).promoted(2_100, 2, 1).explained()
    assert (found.alike, found.rebuilt) == (1.0, found.served)
    assert "to 100.0% of rows" in trained_again(found)


def test_tables_tell_it_in_words(turning: Stream) -> None:
    found = Story(turning).trained(2_000, 2).promoted(2_100, 2, 1).explained("never,every:500")
    (row,) = explained_rows(found)
    told = dict(zip(explained_head(found), row, strict=True))
    assert (told["what"], told["why"], told["rows"]) == ("version 2 promoted", "performance", "900")
    assert told["trained on"].startswith("700 until 2024-01-")
    assert told["points brought"].startswith("+")
    assert {"never", "every:500"} <= set(told)


def test_a_reason_that_looks_like_markup_is_printed_as_it_is(
    turning: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(turning).asked(1_500, 2)
    because = "the recall of '[/b]' and of '[red]' is 0"
    story.at(1_600, "CandidateRejected", decision_id="d2", gate={}, because=because)
    _print_explanation(console(WIDE), story.explained())
    printed = " ".join(capsys.readouterr().out.split())
    assert "'[/b]'" in printed
    assert "'[red]'" in printed


def test_a_class_of_the_spec_that_the_stream_lacks_moves_no_other() -> None:
    label = np.array(["a", "c", "d"])[np.arange(ROWS) % 3]
    three = read_table(pa.table({"x": np.arange(ROWS) % 3, "label": label}), name="three", rows_per_day=100)
    inferred = small(infer_spec(three), fresh=True)
    labels = inferred.labels.model_copy(update={"classes": ("a", "b", "c", "d")})
    spec = inferred.model_copy(update={"labels": labels})
    again = rebuild(three, spec, base_of(three), (), ())
    assert again.known[base_of(three).rows :].all()
    assert (again.production == label)[again.known].all()


def test_a_regression_is_told_by_its_error() -> None:
    a = np.random.default_rng(3).normal(size=ROWS)
    label = np.where(np.arange(ROWS) >= TURN, -a, a)
    stream = read_table(pa.table({"a": a, "label": label}), name="turning", rows_per_day=100)
    found = Story(stream).trained(2_000, 2).promoted(2_100, 2, 1).explained()
    (change,) = found.changes
    assert found.measure == "mae"
    assert change.new is not None
    assert change.old is not None
    assert change.brought is not None
    assert change.brought.gain == pytest.approx(change.old - change.new)
    assert change.brought.gain > 1
