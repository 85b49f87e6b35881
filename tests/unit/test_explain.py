"""Why a model was or was not retrained, promoted, rolled back: drawn from what was recorded, as of any time."""

from datetime import UTC, datetime, timedelta

import pytest

from evergreen.domain import event_json
from evergreen.domain.history import Entry, History
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    ModelApplied,
    PromotionApproved,
    PromotionProposed,
    RetrainingHeldBack,
    RetrainingRequested,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import BakePhase, ModelState, RollbackCause
from evergreen.domain.transitions import transition
from evergreen.usecases.people.why import Question, explain

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=999)
CHECK = {
    "trigger": "data_drift",
    "outcome": "quiet",
    "score": 0.11,
    "threshold": 0.3,
    "direction": "higher_is_worse",
    "samples": 500,
    "because": "nothing drifted",
}


class Story:
    """A model's events and notes as the ledger tells them; an hour passes before each."""

    def __init__(self):
        self.state, self.time, self.told, self.notes = ModelState("churn"), START, [], []
        self.then(ModelApplied, "the model is new", spec={})

    def then(self, kind, because="a story", **fields):
        self.time += timedelta(hours=1)
        event = kind(time=self.time, actor="ada", because=because, **fields)
        self.state = transition(self.state, event)
        self.told.append(Entry("churn", self.state.epoch, kind.__name__, event_json.event_to_json(event)))
        return self

    @property
    def history(self):
        return History("churn", tuple(self.told))

    def noted(self, kind, because, **found):
        self.time += timedelta(hours=1)
        about = {"model": "churn", "epoch": self.state.epoch, "type": kind, "time": self.time.isoformat()}
        self.notes.append(about | {"because": because} | found)
        return self

    def evaluated(self, because, *, retrain=False, trigger=None):
        return self.noted("RetrainingEvaluated", because, retrain=retrain, trigger=trigger, checks=[CHECK])

    def compared(self, verdict, because, version):
        return self.noted("ShadowCompared", because, verdict=verdict, version=version, gain=0.02)

    def registered(self, version):
        fields = {"version": version, "decision_id": "", "artifact": "", "sha256": "", "fingerprint": ""}
        fields |= {"rows_trained": 500, "trained_until": None, "reference": "", "gate": {}}
        return self.then(CandidateRegistered, "it passed its gate", **fields)

    def promoted(self, version, because="it is better"):
        before = self.state.production
        self.then(PromotionApproved, because, version=version, instead_of=before, evidence={"gain": 0.04})
        return self.then(VersionPromoted, "the endpoint answers", version=version, replaced=before, endpoint={})

    def passed(self):
        bake = self.state.bake
        return self.then(BakePassed, "0 of 300 requests failed", version=bake.version, phase=bake.phase, evidence={})

    def shadowed(self, version):
        return self.then(ShadowStarted, version=version, judged_against=self.state.production)

    def asked(self, question, at=LATER):
        explanation = explain("churn", self.history, self.notes, at)
        return next(answer for answer in explanation.answers if answer.question is question)

    def said(self, question, at=LATER):
        return self.asked(question, at).said


def good():
    return Story().registered(1).promoted(1).passed()


def test_a_new_model_was_neither_retrained_nor_promoted_nor_rolled_back():
    story = Story()
    said = {question: story.said(question) for question in Question}
    assert said == {
        Question.RETRAINING: "not retrained: nothing has been evaluated and nobody has asked for it",
        Question.PROMOTION: "not promoted: no version has been trained",
        Question.ROLLBACK: "not rolled back: nothing is in production",
    }


def test_the_newest_evaluation_answers_with_its_checks():
    story = good().evaluated("no check fired").evaluated("still no check fired")
    answer = story.asked(Question.RETRAINING)
    assert answer.said == "not retrained: still no check fired"
    assert [found.because for found in answer.findings] == ["still no check fired", "no check fired"]
    assert answer.findings[0].checks == (CHECK,)


def test_a_retraining_is_told_once_though_the_note_and_the_event_tell_of_it():
    story = good().evaluated("the inputs drifted", retrain=True, trigger="data_drift")
    story.time -= timedelta(hours=1)
    story.then(RetrainingRequested, "the inputs drifted", decision_id="d1", trigger="data_drift")
    answer = story.asked(Question.RETRAINING)
    assert answer.said == "retrained because of data_drift: the inputs drifted"
    assert [found.what for found in answer.findings] == ["RetrainingEvaluated"]


def test_without_notes_the_events_still_tell():
    story = good().then(RetrainingRequested, "asked", decision_id="d1", trigger="business_event")
    assert story.said(Question.RETRAINING) == "retrained because of business_event: asked"


def test_what_was_held_back_is_told_with_the_rule():
    because = "the model is paused (the inputs drifted)"
    story = good().evaluated(because, trigger="data_drift")
    assert story.said(Question.RETRAINING) == f"not retrained, data_drift was held back: {because}"
    story = good().then(RetrainingHeldBack, because, would_have="data_drift", rule="paused")
    assert story.said(Question.RETRAINING) == f"not retrained, data_drift was held back: {because}"


@pytest.mark.parametrize(("final", "again"), [(True, "it is not tried again"), (False, "it is tried again")])
def test_a_failed_training_is_told(final, again):
    story = good().then(RetrainingRequested, decision_id="d1", trigger="schedule")
    story.then(TrainingFailed, "out of memory", decision_id="d1", job_name="j", attempt=0, final=final)
    assert story.said(Question.RETRAINING) == f"the training failed, {again}: out of memory"


def test_a_candidate_is_followed_to_its_promotion():
    story = good().registered(2)
    assert story.said(Question.PROMOTION).startswith("version 2 is not promoted yet, it waits for its time in shadow")
    story.shadowed(2)
    assert story.said(Question.PROMOTION) == "version 2 is not promoted yet, it has just begun to run in shadow"
    story.compared("need_more_data", "gain +0.02 on 300 rows", 2)
    answer = story.asked(Question.PROMOTION)
    said = "version 2 is not promoted yet, the verdict is need_more_data: gain +0.02 on 300 rows"
    assert (answer.said, answer.findings[0].evidence["gain"]) == (said, 0.02)
    story.then(PromotionApproved, "proven", version=2, instead_of=1, evidence={"gain": 0.04})
    assert story.said(Question.PROMOTION) == "version 2 is to be promoted: proven"
    story.then(VersionPromoted, version=2, replaced=1, endpoint={})
    assert story.said(Question.PROMOTION) == "version 2 was promoted: proven"


def test_a_candidate_that_waits_for_a_person_or_lost_or_failed_its_gate_is_told():
    story = good().registered(2).shadowed(2)
    story.then(PromotionProposed, "proven", version=2, judged_against=1, evidence={})
    assert story.said(Question.PROMOTION) == "version 2 is proven and waits for approval: proven"
    story.then(CandidateRetired, "no gain", version=2, evidence={})
    assert story.said(Question.PROMOTION) == "version 2 is not promoted: no gain"
    story.then(RetrainingRequested, decision_id="d", trigger="schedule")
    story.then(CandidateRejected, "accuracy 0.5", decision_id="d", gate={})
    assert story.said(Question.PROMOTION) == "not promoted, the trained model failed its gate: accuracy 0.5"


def test_the_sentinels_comparisons_answer_for_the_rollback():
    story = good().registered(2).promoted(2).passed().compared("need_more_data", "version 1 is no better yet", 1)
    answer = story.asked(Question.ROLLBACK)
    assert answer.said.startswith("not rolled back: version 2 is in its quality bake since")
    assert answer.findings[0].because == "version 1 is no better yet"
    assert story.said(Question.PROMOTION) == "version 2 was promoted: it is better"


def test_a_rollback_is_told_from_the_decision_to_its_end():
    story = good().registered(2).promoted(2)
    fields = {"version": 2, "to_version": 1, "cause": RollbackCause.ERRORS}
    story.then(RollbackDecided, "40 of 300 requests failed", **fields, evidence={"errors": 40})
    said = "version 2 is being rolled back to 1: 40 of 300 requests failed"
    assert story.said(Question.ROLLBACK) == said
    story.then(VersionRolledBack, **fields, endpoint={})
    assert story.said(Question.ROLLBACK) == "version 2 was rolled back to 1: 40 of 300 requests failed"


def test_a_rollback_that_had_nowhere_to_go_is_told():
    story = Story().registered(1).promoted(1)
    because = "all requests failed; no other version is known to be good"
    story.then(RollbackImpossible, because, version=1, cause=RollbackCause.ERRORS, evidence={})
    assert story.said(Question.ROLLBACK) == f"version 1 is bad and not rolled back: {because}"


def test_what_came_later_is_not_known_yet():
    story = good()
    then = story.time
    story.registered(2).promoted(2).evaluated("drift", retrain=True, trigger="data_drift")
    explanation = explain("churn", story.history, story.notes, then)
    assert explanation.production == 1
    assert story.said(Question.PROMOTION, then) == "version 1 was promoted: it is better"
    assert story.said(Question.RETRAINING, then).startswith("not retrained: nothing has been evaluated")
    assert story.said(Question.ROLLBACK, START) == "the model was not known then"


def test_an_explanation_is_plain_data():
    document = explain("churn", good().evaluated("no check fired").history, [], LATER).to_json()
    assert set(document) == {"model", "at", "production", "retraining", "promotion", "rollback", "brought"}
    assert [(each["version"], each["said"]) for each in document["brought"]] == [(1, "unknown: it replaced no version")]
    assert document["rollback"]["findings"][0]["what"] == "BakePassed"
    assert document["rollback"]["said"].startswith("not rolled back: version 1 has passed its bakes")


def test_what_each_version_brought_is_told_the_newest_first_as_far_as_it_was_known_then():
    story = good().registered(2).shadowed(2).compared("need_more_data", "too early", 2)
    story.notes[-1] |= {"judged_against": 1, "rows": 80, "metric": "brier", "production_loss": 0.3, "shadow_loss": 0.2}
    then = story.time
    story.then(CandidateRetired, "no better", version=2, evidence={})
    told = explain("churn", story.history, story.notes, then).brought
    assert [(each.version, each.fate, each.rows) for each in told] == [(2, "in shadow", 80), (1, "promoted", 0)]
    assert explain("churn", story.history, story.notes, LATER).brought[0].fate == "not promoted"


def test_a_candidate_that_gave_way_is_told_with_the_newer_one():
    story = good().registered(2).shadowed(2).registered(3)
    story.then(CandidateRetired, "superseded by version 3", version=2, evidence={}, superseded_by=3)
    told = "version 2 gave way to version 3, which waits for its time in shadow"
    assert story.said(Question.PROMOTION) == told


def test_phases_are_told_as_they_were_recorded():
    story = Story().registered(1).promoted(1)
    since = story.time
    assert story.said(Question.ROLLBACK) == (
        f"not rolled back: version 1 is in its {BakePhase.OPS} bake since {since:%Y-%m-%d %H:%M}, "
        "and nothing proves it bad"
    )
