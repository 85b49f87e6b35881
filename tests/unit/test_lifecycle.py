"""A model's life: which events there can be, what each does, and what never happens whatever comes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain import event_json, state, transitions
from evergreen.domain.invariants import NEVER, violations
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    DifferenceRepaired,
    ModelApplied,
    ModelPaused,
    ModelResumed,
    PromotionApproved,
    PromotionProposed,
    RetrainingHeldBack,
    RetrainingRequested,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import BakePhase, HeldBack, ModelState, RollbackCause, ShadowRole, VersionStatus, Wish
from evergreen.domain.transitions import transition
from evergreen.errors import IllegalTransitionError, UnknownVersionError

START = datetime(2026, 1, 1, tzinfo=UTC)
WHO = {"actor": "ada", "because": "a story"}


class Life:
    """A model, told event by event; an hour passes before each."""

    def __init__(self):
        self.state, self.time = ModelState("churn"), START

    def tell(self, kind, **fields):
        self.time += timedelta(hours=1)
        self.state = transition(self.state, kind(time=self.time, **WHO, **fields))
        return self

    def applied(self, fingerprint=""):
        return self.tell(ModelApplied, spec={"model": "churn"}, fingerprint=fingerprint)

    def requested(self, decision_id):
        return self.tell(RetrainingRequested, decision_id=decision_id, trigger="schedule")

    def started(self, decision_id, attempt=0):
        job = f"churn-{decision_id}-{attempt}"
        return self.tell(
            TrainingStarted, decision_id=decision_id, job_name=job, attempt=attempt, rows=500, snapshot="s"
        )

    def failed(self, decision_id, attempt=0, final=False):
        job = f"churn-{decision_id}-{attempt}"
        return self.tell(TrainingFailed, decision_id=decision_id, job_name=job, attempt=attempt, final=final)

    def registered(self, version, decision_id="", fingerprint="f"):
        return self.tell(
            CandidateRegistered,
            version=version,
            decision_id=decision_id,
            artifact=f"s3://artifacts/models/churn/v{version}/output/model.tar.gz",
            sha256="0" * 64,
            fingerprint=fingerprint,
            rows_trained=500,
            trained_until=None,
            reference="",
            gate={},
        )

    def shadowed(self, version):
        return self.tell(ShadowStarted, version=version, judged_against=self.state.production)

    def approved(self, version, instead_of):
        return self.tell(PromotionApproved, version=version, instead_of=instead_of, evidence={})

    def promoted(self, version):
        return self.tell(VersionPromoted, version=version, replaced=self.state.production, endpoint={})

    def takes_over(self, version):
        return self.approved(version, self.state.production).promoted(version)

    def ops_bake_passed(self):
        return self.tell(BakePassed, version=self.state.production, phase=BakePhase.OPS, evidence={})

    def quality_bake_passed(self):
        return self.tell(BakePassed, version=self.state.production, phase=BakePhase.QUALITY, evidence={})

    def rollback_decided(self, to):
        return self.tell(
            RollbackDecided,
            version=self.state.production,
            to_version=to,
            cause=RollbackCause.ERRORS,
            evidence={},
        )

    def rolled_back(self):
        return self.tell(
            VersionRolledBack,
            version=self.state.production,
            to_version=self.state.repoint.version,
            cause=self.state.repoint.cause,
            endpoint={},
        )

    def status(self, version):
        return self.state.version(version).status


def a_model_with_a_good_version():
    return Life().applied().registered(1).takes_over(1).ops_bake_passed()


def a_model_in_its_second_ops_bake():
    return a_model_with_a_good_version().registered(2).shadowed(2).takes_over(2)


def refused(kind, life, **fields):
    with pytest.raises(IllegalTransitionError) as refusal:
        life.tell(kind, **fields)
    assert refusal.value.model == "churn"
    assert refusal.value.event == kind.__name__
    return refusal.value.because


def test_every_event_counts():
    life = Life().applied().requested("d1").started("d1").registered(1, "d1")
    assert life.state.epoch == 4


def test_the_first_version_bakes_alone_and_is_then_good():
    life = Life().applied().registered(1).takes_over(1)
    assert life.state.production == 1
    assert life.state.bake.phase is BakePhase.OPS
    assert life.ops_bake_passed().status(1) is VersionStatus.GOOD
    assert life.state.bake is None
    assert life.state.shadow is None


def test_one_retraining_is_open_at_a_time():
    life = Life().applied().requested("d1")
    assert "d1 is still open" in refused(RetrainingRequested, life, decision_id="d2", trigger="schedule")


def test_a_failed_job_is_tried_again_until_the_last_try():
    life = Life().applied().requested("d1").started("d1").failed("d1")
    assert (life.state.run.attempt, life.state.run.job_name) == (1, None)
    life.started("d1", attempt=1).failed("d1", attempt=1, final=True)
    assert life.state.run is None
    assert life.requested("d2").state.run.decision_id == "d2"


def test_a_model_that_failed_its_gate_closes_the_run_and_gets_no_number():
    life = Life().applied().requested("d1").started("d1").tell(CandidateRejected, decision_id="d1", gate={})
    assert life.state.run is None
    assert life.state.versions == ()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TrainingStarted, {"job_name": "j", "attempt": 0, "rows": 1, "snapshot": "s"}),
        (TrainingFailed, {"job_name": "j", "attempt": 0, "final": True}),
        (CandidateRejected, {"gate": {}}),
    ],
)
def test_a_late_word_about_a_closed_run_is_refused(kind, fields):
    life = Life().applied().requested("d2")
    assert refused(kind, life, decision_id="d1", **fields) == "retraining d1 is not open"


def test_a_registration_by_hand_leaves_the_open_run_alone():
    life = Life().applied().requested("d1").registered(1)
    assert life.state.run.decision_id == "d1"
    assert life.registered(2, "d1").state.run is None


def test_version_numbers_have_no_gaps():
    life = Life().applied().registered(1)
    fields = {"decision_id": "", "artifact": "", "sha256": "", "fingerprint": "", "rows_trained": 0}
    fields |= {"trained_until": None, "reference": "", "gate": {}}
    assert refused(CandidateRegistered, life, version=3, **fields) == "the next version is 2, not 3"


def test_retrainings_of_the_last_month_are_remembered_for_the_budget():
    life = Life().applied().requested("d1").failed("d1", final=True)
    life.time += timedelta(days=32)
    life.requested("d2")
    assert life.state.retrainings == (life.time,)


def test_a_second_version_is_watched_by_the_one_it_replaced():
    life = a_model_in_its_second_ops_bake().ops_bake_passed()
    assert life.state.bake.phase is BakePhase.QUALITY
    assert (life.state.shadow.version, life.state.shadow.role) == (1, ShadowRole.SENTINEL)
    assert (life.status(1), life.status(2)) == (VersionStatus.GOOD, VersionStatus.BAKING)
    life.quality_bake_passed()
    assert (life.status(2), life.state.bake, life.state.shadow) == (VersionStatus.GOOD, None, None)


def test_a_bad_version_makes_way_for_the_last_known_good_one_and_never_comes_back():
    life = a_model_in_its_second_ops_bake().rollback_decided(to=1).rolled_back()
    assert life.state.production == 1
    assert life.status(2) is VersionStatus.ROLLED_BACK
    because = refused(PromotionApproved, life, version=2, instead_of=1, evidence={})
    assert because == "version 2 was rolled back before"
    assert "rolled_back, not a candidate" in refused(ShadowStarted, life, version=2, judged_against=1)


def test_a_rollback_is_never_to_a_version_that_is_not_known_to_be_good():
    life = a_model_in_its_second_ops_bake().rollback_decided(to=1).rolled_back().registered(3).shadowed(3).takes_over(3)
    fields = {"version": 3, "cause": RollbackCause.QUALITY, "evidence": {}}
    assert refused(RollbackDecided, life, to_version=2, **fields) == "version 2 is not known to be good"
    assert life.state.last_known_good().number == 1


def test_a_good_production_version_can_not_be_rolled_back_to_itself():
    life = a_model_with_a_good_version()
    fields = {"version": 1, "to_version": 1, "cause": RollbackCause.MANUAL, "evidence": {}}
    assert refused(RollbackDecided, life, **fields) == "version 1 is in production already"


def test_the_last_known_good_version_reads_the_same_features():
    life = a_model_with_a_good_version().registered(2, fingerprint="other").takes_over(2)
    assert life.state.last_known_good() is None


def test_the_last_known_good_version_is_the_one_promoted_last():
    life = a_model_with_a_good_version().registered(2).registered(3)
    life.takes_over(3).ops_bake_passed().quality_bake_passed()
    life.takes_over(2).ops_bake_passed().quality_bake_passed()
    life.registered(4).takes_over(4)
    assert life.state.last_known_good().number == 2


def test_a_version_replaced_before_its_bake_ended_never_counts_as_good():
    life = a_model_in_its_second_ops_bake().registered(3).takes_over(3)
    assert life.status(2) is VersionStatus.REJECTED
    assert life.state.last_known_good().number == 1


def test_a_version_that_is_bad_with_nowhere_to_go_stays_and_never_counts_as_good():
    life = Life().applied().registered(1).takes_over(1)
    life.tell(RollbackImpossible, version=1, cause=RollbackCause.ERRORS, evidence={})
    assert (life.state.production, life.state.bake) == (1, None)
    assert life.status(1) is VersionStatus.BAKING


def test_a_candidate_that_beat_an_older_production_is_judged_again():
    life = a_model_with_a_good_version().registered(2).shadowed(2).registered(3).takes_over(3)
    assert life.status(2) is VersionStatus.CANDIDATE
    because = refused(PromotionApproved, life, version=2, instead_of=1, evidence={})
    assert because == "judged against version 1, production is 3: compare again"
    life.ops_bake_passed().quality_bake_passed()
    assert life.state.waiting_candidate.number == 2
    assert life.shadowed(2).state.shadow.judged_against == 3


def test_a_challenger_waits_while_a_deployment_is_watched():
    life = a_model_in_its_second_ops_bake().registered(3)
    assert refused(ShadowStarted, life, version=3, judged_against=2) == "a deployment is under way"


def test_one_version_is_in_shadow_at_a_time():
    life = a_model_with_a_good_version().registered(2).registered(3).shadowed(2)
    assert refused(ShadowStarted, life, version=3, judged_against=1) == "version 2 is in shadow already"


def test_a_shadow_is_judged_against_the_version_that_answers():
    life = a_model_with_a_good_version().registered(2)
    assert refused(ShadowStarted, life, version=2, judged_against=9) == "production is 1, not 9"


def test_a_candidate_that_lost_leaves_the_shadow():
    life = a_model_with_a_good_version().registered(2).shadowed(2).tell(CandidateRetired, version=2, evidence={})
    assert (life.status(2), life.state.shadow) == (VersionStatus.REJECTED, None)


def test_retiring_a_waiting_candidate_leaves_the_one_in_shadow_alone():
    life = a_model_with_a_good_version().registered(2).registered(3).shadowed(3)
    assert life.tell(CandidateRetired, version=2, evidence={}).state.shadow.version == 3


# --- a newer candidate takes the place --------------------------------------------------------------------------------


def superseded(life, older, newer):
    return life.tell(CandidateRetired, version=older, evidence={}, superseded_by=newer)


def test_a_newer_candidate_takes_the_place_of_the_one_in_shadow():
    life = superseded(a_model_with_a_good_version().registered(2).shadowed(2).registered(3), 2, 3)
    assert (life.status(2), life.status(3)) == (VersionStatus.REJECTED, VersionStatus.CANDIDATE)
    assert life.state.shadow is None
    assert life.shadowed(3).state.shadow.version == 3


def test_who_waits_gives_way_too():
    life = a_model_with_a_good_version().registered(2).registered(3)
    assert [v.number for v in life.state.superseded_by_a_newer] == [2, 3]
    assert superseded(life.registered(4), 2, 4).status(2) is VersionStatus.REJECTED


def test_a_proven_candidate_that_waits_for_approval_keeps_its_place():
    life = a_model_with_a_proposal().registered(3)
    assert [v.number for v in life.state.superseded_by_a_newer] == [3], "only who is not proven"
    because = refused(CandidateRetired, life, version=2, evidence={}, superseded_by=3)
    assert because == "version 2 is proven and waits for approval"
    assert life.approved(2, 1).state.repoint.version == 2


def test_a_sentinel_gives_way_to_nobody():
    life = a_model_in_its_second_ops_bake().ops_bake_passed().registered(3)
    assert life.state.shadow.role is ShadowRole.SENTINEL
    assert [v.number for v in life.state.superseded_by_a_newer] == [3]
    because = refused(CandidateRetired, life, version=1, evidence={}, superseded_by=3)
    assert because == "version 1 is good, not a candidate"
    assert refused(ShadowStarted, life, version=3, judged_against=2) == "version 1 is in shadow already"


@pytest.mark.parametrize("newer", [1, 2])
def test_nobody_gives_way_to_who_is_not_newer_or_no_candidate(newer):
    life = a_model_with_a_good_version().registered(2).registered(3)
    because = refused(CandidateRetired, life, version=2, evidence={}, superseded_by=newer)
    assert because == f"version {newer} is no newer candidate than version 2"
    lost = life.tell(CandidateRetired, version=3, evidence={})
    assert "no newer candidate" in refused(CandidateRetired, lost, version=2, evidence={}, superseded_by=3)


# --- the newest training ----------------------------------------------------------------------------------------------


def trained(life, version, until, fingerprint="f"):
    registration = {"version": version, "decision_id": "", "artifact": "", "sha256": "", "fingerprint": fingerprint}
    registration |= {"rows_trained": 9, "trained_until": until, "reference": "", "gate": {}}
    return life.tell(CandidateRegistered, **registration)


def test_the_newest_training_is_the_one_with_the_newest_rows_whatever_became_of_it():
    life = trained(Life().applied("f"), 1, START - timedelta(days=9)).takes_over(1).ops_bake_passed()
    assert life.state.newest_training.number == 1
    trained(life, 2, START - timedelta(days=2)).shadowed(2).tell(CandidateRetired, version=2, evidence={})
    assert (life.state.newest_training.number, life.state.seen_until) == (2, START - timedelta(days=2))
    trained(life, 3, START - timedelta(days=5))
    assert life.state.newest_training.number == 2, "an older model that somebody registers again is no newer training"
    trained(life, 4, START - timedelta(days=1), fingerprint="g")
    assert life.state.newest_training.number == 2, "it reads other features: nothing can be compared with it"


def test_a_version_that_was_rolled_back_still_saw_its_rows():
    life = trained(a_model_with_a_good_version(), 2, None).shadowed(2).takes_over(2)
    life.rollback_decided(to=1).rolled_back()
    assert (life.state.production, life.state.newest_training.number) == (1, 2)


def test_a_model_that_the_gate_refused_saw_its_rows_and_one_that_failed_saw_none():
    life = trained(Life().applied(), 1, START - timedelta(days=9)).takes_over(1).ops_bake_passed()
    life.requested("d2").started("d2")
    before = life.state
    assert life.failed("d2", final=True).state.seen_until == START - timedelta(days=9)
    life.state = before
    life.tell(CandidateRejected, decision_id="d2", gate={}, trained_until=START - timedelta(days=1))
    assert life.state.seen_until == START - timedelta(days=1)
    assert life.state.newest_training.number == 1, "it left no version to compare with"
    assert life.requested("d3").tell(CandidateRejected, decision_id="d3", gate={}).state.seen_until == (
        START - timedelta(days=1)
    )


def test_a_training_has_seen_nothing_from_after_its_registration():
    life = trained(Life().applied(), 1, START + timedelta(days=999))
    assert life.state.seen_until == life.time


def test_a_request_takes_a_token_and_one_of_an_older_release_says_nothing_of_them():
    life = Life().applied().tell(RetrainingRequested, decision_id="d1", trigger="schedule", tokens=1.75)
    assert life.state.tokens == 0.75
    life.failed("d1", final=True).tell(RetrainingRequested, decision_id="d2", trigger="schedule", tokens=0.5)
    assert life.state.tokens == 0.0, "what is forced leaves no debt"
    assert life.failed("d2", final=True).requested("d3").state.tokens is None


def test_what_was_added_later_is_written_only_where_it_says_something():
    old = RetrainingRequested(time=START, **WHO, decision_id="d1", trigger="schedule")
    assert not {"tokens", "new_rows"} & set(event_json.event_to_data(old))
    told = event_json.event_to_data(replace(old, tokens=0.0, new_rows=0))
    assert (told["tokens"], told["new_rows"]) == (0.0, 0)
    assert not {b"tokens", b"refused_until"} & set(event_json.state_to_json(ModelState("churn")).split(b'"'))


def test_the_version_that_answers_is_no_candidate_to_retire():
    assert refused(CandidateRetired, a_model_with_a_good_version(), version=1, evidence={}).endswith("not a candidate")


# --- approval by a person ---------------------------------------------------------------------------------------------


def proposed(life, version=2, judged_against=1):
    return life.tell(PromotionProposed, version=version, judged_against=judged_against, evidence={"gain": 0.1})


def a_model_with_a_proposal():
    return proposed(a_model_with_a_good_version().registered(2).shadowed(2))


def test_a_proposal_waits_with_its_evidence_while_the_shadow_runs_on():
    life = a_model_with_a_proposal()
    assert (life.state.production, life.state.shadow.version, life.status(2)) == (1, 2, VersionStatus.SHADOW)
    assert (life.state.proposal.version, life.state.proposal.judged_against) == (2, 1)
    assert life.state.proposal.evidence == {"gain": 0.1}
    assert life.state.proposal.time == life.time


def test_a_candidate_is_proposed_once():
    fields = {"version": 2, "judged_against": 1, "evidence": {}}
    assert refused(PromotionProposed, a_model_with_a_proposal(), **fields) == "version 2 is proposed already"


def test_only_who_is_in_shadow_is_proposed():
    life = a_model_with_a_good_version().registered(2)
    assert refused(PromotionProposed, life, version=2, judged_against=1, evidence={}) == "version 2 is not in shadow"
    because = refused(PromotionProposed, life.shadowed(2), version=2, judged_against=7, evidence={})
    assert because == "judged against version 7, production is 1: compare again"


def test_the_sentinel_is_no_candidate_to_propose():
    life = a_model_in_its_second_ops_bake().ops_bake_passed()
    assert refused(PromotionProposed, life, version=1, judged_against=2, evidence={}) == "version 1 is not in shadow"


def test_an_approved_proposal_waits_no_more():
    assert a_model_with_a_proposal().approved(2, instead_of=1).state.proposal is None


def test_a_proposal_ends_when_production_changes_and_the_candidate_is_compared_again():
    life = a_model_with_a_proposal().registered(3).takes_over(3)
    assert (life.state.proposal, life.status(2)) == (None, VersionStatus.CANDIDATE)
    assert refused(PromotionApproved, life, version=2, instead_of=1, evidence={}).endswith("compare again")
    life.ops_bake_passed().quality_bake_passed().shadowed(2)
    assert proposed(life, judged_against=3).state.proposal.judged_against == 3


def test_a_rollback_ends_a_proposal_too():
    life = a_model_in_its_second_ops_bake().ops_bake_passed().quality_bake_passed()
    proposed(life.registered(3).shadowed(3), version=3, judged_against=2)
    assert life.rollback_decided(to=1).rolled_back().state.proposal is None


def test_a_proposal_whose_candidate_lost_after_all_is_withdrawn():
    life = a_model_with_a_proposal().tell(CandidateRetired, version=2, evidence={})
    assert (life.state.proposal, life.status(2)) == (None, VersionStatus.REJECTED)


def test_retiring_somebody_else_leaves_the_proposal():
    life = a_model_with_a_proposal().registered(3).tell(CandidateRetired, version=3, evidence={})
    assert life.state.proposal.version == 2


def test_a_proposal_from_before_they_waited_changes_nothing():
    life = a_model_with_a_good_version().registered(2).shadowed(2)
    before = life.state
    life.tell(PromotionProposed, version=2, evidence={})
    assert life.state == replace(before, epoch=before.epoch + 1, changed_at=life.time)


# --- pause ------------------------------------------------------------------------------------------------------------


def test_a_paused_model_is_resumed_and_nothing_else_changes():
    life = a_model_with_a_good_version()
    before = life.state
    assert life.tell(ModelPaused).state.paused
    assert life.tell(ModelResumed).state == replace(before, epoch=before.epoch + 2, changed_at=life.time)


def test_a_model_is_paused_once_and_resumed_once():
    life = Life().applied()
    assert refused(ModelResumed, life) == "it is not paused"
    assert refused(ModelPaused, life.tell(ModelPaused)) == "it is paused already"


def test_a_pause_stops_no_rollback_and_nothing_that_people_do():
    life = a_model_in_its_second_ops_bake().tell(ModelPaused).rollback_decided(to=1).rolled_back()
    assert life.state.production == 1
    assert life.registered(3).takes_over(3).state.production == 3


# --- the features of the spec -----------------------------------------------------------------------------------------


def test_a_version_that_reads_other_features_than_the_spec_is_not_promoted():
    life = Life().applied("f").registered(1).takes_over(1).ops_bake_passed().registered(2, fingerprint="other")
    because = refused(PromotionApproved, life, version=2, instead_of=1, evidence={})
    assert because == "version 2 reads other features than the spec"


def test_other_features_can_be_applied_until_something_answers():
    life = Life().applied("g").registered(1, fingerprint="g").applied("f")
    assert refused(PromotionApproved, life, version=1, instead_of=None, evidence={}).startswith("version 1 reads other")
    life.registered(2).takes_over(2)
    fields = {"spec": {}, "fingerprint": "g"}
    assert refused(ModelApplied, life, **fields) == "the version in production reads other features"


def test_a_rejected_version_is_not_promoted_by_hand_either():
    life = a_model_with_a_good_version().registered(2).shadowed(2).tell(CandidateRetired, version=2, evidence={})
    assert refused(PromotionApproved, life, version=2, instead_of=1, evidence={}) == "version 2 was rejected before"


def test_who_watches_is_known_to_be_good_even_where_the_replaced_version_is_not():
    life = a_model_in_its_second_ops_bake().registered(3).takes_over(3).ops_bake_passed()
    assert (life.state.bake.replaced, life.state.shadow.version) == (2, 1)
    assert life.status(3) is VersionStatus.BAKING, "it owes its quality bake"


def test_without_a_good_version_the_ops_bake_is_all_there_can_be():
    life = Life().applied().registered(1).takes_over(1).registered(2).takes_over(2).ops_bake_passed()
    assert (life.status(1), life.status(2)) == (VersionStatus.REJECTED, VersionStatus.GOOD)


# --- what must never be -----------------------------------------------------------------------------------------------


def broken(life, **changes):
    """What is said of a state that no events lead to."""
    return violations(replace(life.state, **changes))


def with_status(life, **statuses):
    marked = {int(name.removeprefix("v")): VersionStatus(status) for name, status in statuses.items()}
    versions = tuple(replace(v, status=marked.get(v.number, v.status)) for v in life.state.versions)
    return replace(life.state, versions=versions)


def test_each_thing_that_must_never_be_is_named():
    good, baking = a_model_with_a_good_version(), a_model_in_its_second_ops_bake()
    shadow = a_model_with_a_good_version().registered(2).shadowed(2)
    watched = a_model_in_its_second_ops_bake().ops_bake_passed()
    promoting, proposal = shadow.state, a_model_with_a_proposal()
    repoint = state.Repoint(2, 1, None)
    found = [
        broken(good, production=7),
        broken(good, production=None),
        broken(baking, versions=(*baking.state.versions, baking.state.versions[0])),
        violations(with_status(good, v1="rolled_back")),
        violations(with_status(good, v1="candidate")),
        broken(shadow, shadow=replace(shadow.state.shadow, version=1)),
        broken(shadow, shadow=replace(shadow.state.shadow, version=9)),
        broken(shadow, shadow=replace(shadow.state.shadow, judged_against=9)),
        violations(with_status(shadow, v1="shadow")),
        broken(shadow, shadow=None),
        broken(watched, bake=None),
        broken(baking, bake=replace(baking.state.bake, version=1)),
        violations(with_status(baking, v1="baking")),
        violations(with_status(baking, v2="good")),
        violations(replace(with_status(shadow, v2="rolled_back"), repoint=repoint)),
        broken(good, repoint=repoint),
        broken(good, repoint=replace(repoint, version=1)),
        broken(shadow, repoint=replace(repoint, instead_of=9)),
        broken(shadow, repoint=replace(repoint, cause=RollbackCause.ERRORS)),
        violations(replace(promoting, repoint=repoint, fingerprint="other")),
        broken(shadow, repoint=repoint),
        broken(proposal, proposal=replace(proposal.state.proposal, version=1)),
    ]
    for name, named in zip(NEVER, found, strict=True):
        assert name in named, (name, named)


# --- a long life ------------------------------------------------------------------------------------------------------


def test_the_state_stays_small_in_a_life_of_thousands_of_events():
    life, largest = Life().applied(), 0
    life.registered(1).takes_over(1).ops_bake_passed()
    version = 1
    while life.state.epoch < 6_000:
        version += 1
        life.requested(f"20260101000000-{life.state.epoch}").started(f"20260101000000-{life.state.epoch - 1}")
        life.registered(version, life.state.run.decision_id).shadowed(version)
        if version % 3:
            life.tell(CandidateRetired, version=version, evidence={})
        else:
            proposed(life, version, life.state.production).takes_over(version).ops_bake_passed()
            if version % 2:
                life.rollback_decided(to=life.state.last_known_good().number).rolled_back()
            else:
                life.quality_bake_passed()
        largest = max(largest, len(event_json.state_to_json(life.state)))
    assert len(life.state.versions) <= transitions._KEPT_VERSIONS + 3
    assert largest < 100_000, "an item of DynamoDB holds 400 KB"


def test_one_repoint_is_under_way_at_a_time():
    life = a_model_with_a_good_version().registered(2).registered(3).approved(2, instead_of=1)
    because = refused(PromotionApproved, life, version=3, instead_of=1, evidence={})
    assert because == "a repoint to version 2 is under way"


def test_what_answers_already_is_not_promoted_again():
    because = refused(PromotionApproved, a_model_with_a_good_version(), version=1, instead_of=1, evidence={})
    assert because == "version 1 is in production already"


def test_nothing_takes_over_that_was_not_approved():
    life = a_model_with_a_good_version().registered(2)
    assert refused(VersionPromoted, life, version=2, replaced=1, endpoint={}) == "no such promotion was approved"
    fields = {"version": 1, "to_version": 2, "cause": RollbackCause.ERRORS, "endpoint": {}}
    assert refused(VersionRolledBack, life, **fields) == "no such rollback was decided"


def test_a_promotion_says_truly_whom_it_replaced():
    life = a_model_with_a_good_version().registered(2).approved(2, instead_of=1)
    assert refused(VersionPromoted, life, version=2, replaced=None, endpoint={}).startswith("version None is not in")


def test_a_rollback_says_truly_which_version_is_out():
    life = a_model_in_its_second_ops_bake().rollback_decided(to=1)
    fields = {"version": 1, "to_version": 1, "cause": RollbackCause.ERRORS, "endpoint": {}}
    assert refused(VersionRolledBack, life, **fields) == "version 1 is not in production, 2 is"


def test_a_second_word_that_a_bake_passed_is_refused():
    life = a_model_in_its_second_ops_bake().ops_bake_passed()
    because = refused(BakePassed, life, version=2, phase=BakePhase.OPS, evidence={})
    assert because == "version 2 is not in its ops bake"


def test_a_version_nobody_registered_is_named():
    with pytest.raises(UnknownVersionError, match="has no version 7: it has 1"):
        a_model_with_a_good_version().approved(7, instead_of=1)


def test_the_versions_that_still_matter_are_kept_however_many_follow():
    life = a_model_in_its_second_ops_bake()
    for number in range(3, 3 + transitions._KEPT_VERSIONS + 5):
        life.registered(number)
    assert life.state.production_version.number == 2
    assert life.state.last_known_good().number == 1
    assert len(life.state.versions) == transitions._KEPT_VERSIONS + 2


# --- wishes and what is held back -------------------------------------------------------------------------------------


def a_wish(hours, reason="prices changed"):
    return Wish(reason, "shop.pricing", START + timedelta(hours=hours))


def held_back(life, rule="paused", wish=None):
    return life.tell(RetrainingHeldBack, would_have="business_event", rule=rule, wish=wish)


def test_a_wish_waits_until_a_retraining_is_requested():
    life = held_back(Life().applied(), wish=a_wish(1))
    assert life.state.wish == a_wish(1)
    assert held_back(life, rule="cooldown").state.wish == a_wish(1), "held back again by another rule, it still waits"
    assert life.requested("d1").state.wish is None


def test_a_wish_that_comes_while_a_retraining_runs_waits_for_the_next():
    life = held_back(Life().applied().requested("d1"), rule="open_run", wish=a_wish(5))
    assert life.state.wish == a_wish(5)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_two_wishes_the_newer_waits_whichever_is_told_first(order):
    life = Life().applied()
    for hours in order:
        held_back(life, wish=a_wish(hours))
    assert life.state.wish == a_wish(2)


@pytest.mark.parametrize("order", [("prices", "stock"), ("stock", "prices")])
def test_of_two_wishes_of_one_second_the_same_waits_whichever_is_told_first(order):
    life = Life().applied()
    for reason in order:
        held_back(life, wish=a_wish(1, reason))
    assert life.state.wish.reason == "stock"


def test_a_request_that_is_older_than_the_wish_leaves_it_waiting():
    life = held_back(Life().applied(), wish=a_wish(100))
    assert life.requested("d1").state.wish == a_wish(100)


def test_what_was_held_back_last_is_known_until_a_retraining_is_requested():
    life = held_back(held_back(Life().applied()), rule="cooldown")
    assert life.state.held_back == HeldBack("business_event", "cooldown")
    assert life.requested("d1").state.held_back is None


def test_a_state_and_an_event_from_before_there_were_wishes_are_still_read():
    stored = json.loads(event_json.state_to_json(Life().applied().requested("d1").state))
    for added in ("wish", "held_back"):
        del stored[added]
    state = event_json.state_from_json(json.dumps(stored))
    assert (state.run.decision_id, state.wish, state.held_back) == ("d1", None, None)
    text = '{"time":"2026-01-01T00:00:00Z","actor":"me","because":"cooldown","would_have":"schedule","checks":[]}'
    event = event_json.event_from_json("RetrainingHeldBack", text)
    assert (event.rule, event.wish) == ("", None)


# --- whatever comes ---------------------------------------------------------------------------------------------------

A_VERSION = st.integers(1, 4)
OR_NONE = st.one_of(st.none(), A_VERSION)
A_DECISION = st.sampled_from(["d1", "d2"])
EVENTS = st.one_of(
    st.tuples(
        st.just(ModelApplied),
        st.fixed_dictionaries({"spec": st.just({"model": "churn"}), "fingerprint": st.sampled_from(["", "f", "g"])}),
    ),
    st.tuples(st.sampled_from([ModelPaused, ModelResumed]), st.just({})),
    st.tuples(
        st.just(RetrainingRequested),
        st.fixed_dictionaries(
            {
                "decision_id": A_DECISION,
                "trigger": st.just("schedule"),
                "tokens": st.sampled_from([None, 0.0, 1.5]),
                "new_rows": st.sampled_from([None, 0, 700]),
            }
        ),
    ),
    st.tuples(
        st.just(RetrainingHeldBack),
        st.fixed_dictionaries(
            {
                "would_have": st.just("schedule"),
                "rule": st.sampled_from(["", "paused"]),
                "wish": st.one_of(st.none(), st.builds(Wish, st.text(max_size=3), st.just("ada"), st.just(START))),
            }
        ),
    ),
    st.tuples(
        st.just(TrainingStarted),
        st.fixed_dictionaries(
            {
                "decision_id": A_DECISION,
                "job_name": st.just("job"),
                "attempt": st.just(0),
                "rows": st.just(500),
                "snapshot": st.just("s"),
            }
        ),
    ),
    st.tuples(
        st.just(TrainingFailed),
        st.fixed_dictionaries(
            {"decision_id": A_DECISION, "job_name": st.just("job"), "attempt": st.just(0), "final": st.booleans()}
        ),
    ),
    st.tuples(
        st.just(CandidateRejected),
        st.fixed_dictionaries(
            {"decision_id": A_DECISION, "gate": st.just({}), "trained_until": st.sampled_from([None, START])}
        ),
    ),
    st.tuples(
        st.just(CandidateRegistered),
        st.fixed_dictionaries(
            {
                "version": A_VERSION,
                "decision_id": st.one_of(st.just(""), A_DECISION),
                "artifact": st.just("s3://a/models/churn/j/output/model.tar.gz"),
                "sha256": st.just("0" * 64),
                "fingerprint": st.sampled_from(["f", "g"]),
                "rows_trained": st.just(500),
                "trained_until": st.just(START),
                "reference": st.just(""),
                "gate": st.just({"passed": True}),
            }
        ),
    ),
    st.tuples(st.just(ShadowStarted), st.fixed_dictionaries({"version": A_VERSION, "judged_against": A_VERSION})),
    st.tuples(
        st.just(PromotionProposed),
        st.fixed_dictionaries({"version": A_VERSION, "judged_against": OR_NONE, "evidence": st.just({})}),
    ),
    st.tuples(
        st.just(PromotionApproved),
        st.fixed_dictionaries({"version": A_VERSION, "instead_of": OR_NONE, "evidence": st.just({})}),
    ),
    st.tuples(
        st.just(CandidateRetired),
        st.fixed_dictionaries({"version": A_VERSION, "evidence": st.just({}), "superseded_by": OR_NONE}),
    ),
    st.tuples(
        st.just(VersionPromoted),
        st.fixed_dictionaries({"version": A_VERSION, "replaced": OR_NONE, "endpoint": st.just({})}),
    ),
    st.tuples(
        st.just(BakePassed),
        st.fixed_dictionaries({"version": A_VERSION, "phase": st.sampled_from(BakePhase), "evidence": st.just({})}),
    ),
    st.tuples(
        st.just(RollbackDecided),
        st.fixed_dictionaries(
            {
                "version": A_VERSION,
                "to_version": A_VERSION,
                "cause": st.sampled_from(RollbackCause),
                "evidence": st.just({}),
            }
        ),
    ),
    st.tuples(
        st.just(RollbackImpossible),
        st.fixed_dictionaries({"version": A_VERSION, "cause": st.sampled_from(RollbackCause), "evidence": st.just({})}),
    ),
    st.tuples(
        st.just(VersionRolledBack),
        st.fixed_dictionaries(
            {
                "version": A_VERSION,
                "to_version": A_VERSION,
                "cause": st.sampled_from(RollbackCause),
                "endpoint": st.just({}),
            }
        ),
    ),
    st.tuples(
        st.just(DifferenceRepaired),
        st.fixed_dictionaries({"what": st.just("alias"), "found": st.just("1"), "expected": st.just("2")}),
    ),
)
"""Any event there is; most can't happen in most states."""


def next_steps(state):
    """What the functions may truly do in this state: a random walk over these goes deep, where EVENTS rarely gets."""
    run, bake, repoint, shadow = state.run, state.bake, state.repoint, state.shadow
    steps = [(ModelApplied, {"spec": {"model": "churn"}, "fingerprint": state.fingerprint})]
    steps.append((ModelResumed if state.paused else ModelPaused, {}))
    if run is None:
        steps.append((RetrainingRequested, {"decision_id": f"d{state.epoch}", "trigger": "schedule"}))
    else:
        about = {"decision_id": run.decision_id}
        steps.append((TrainingStarted, about | {"job_name": "j", "attempt": run.attempt, "rows": 1, "snapshot": ""}))
        steps.append((TrainingFailed, about | {"job_name": "j", "attempt": run.attempt, "final": run.attempt > 1}))
        registered = {"version": transitions.next_version(state), "artifact": "a", "sha256": "s", "fingerprint": "f"}
        registered |= {"rows_trained": 1, "trained_until": START, "reference": "", "gate": {}}
        steps += [(CandidateRegistered, about | registered)] * 2
        steps.append((CandidateRejected, about | {"gate": {}}))
    if repoint is not None:
        kind, key = (VersionPromoted, "replaced") if repoint.cause is None else (VersionRolledBack, "version")
        fields = {key: repoint.instead_of, "endpoint": {}}
        target = "version" if repoint.cause is None else "to_version"
        fields |= {target: repoint.version} | ({} if repoint.cause is None else {"cause": repoint.cause})
        return [*steps, *[(kind, fields)] * 4]
    steps += [
        (PromotionApproved, {"version": version.number, "instead_of": state.production, "evidence": {}})
        for version in state.versions
        if version.status not in (VersionStatus.ROLLED_BACK, VersionStatus.REJECTED)
        and version.number != state.production
        and version.fingerprint == (state.fingerprint or version.fingerprint)
    ]
    if bake is not None:
        steps += [(BakePassed, {"version": bake.version, "phase": bake.phase, "evidence": {}})] * 3
    good = state.last_known_good()
    if good is not None and state.production is not None:
        fields = {"version": state.production, "to_version": good.number, "evidence": {}}
        steps += [(RollbackDecided, fields | {"cause": cause}) for cause in RollbackCause]
    candidate = state.waiting_candidate
    if candidate is not None and shadow is None and bake is None and state.production is not None:
        steps += [(ShadowStarted, {"version": candidate.number, "judged_against": state.production})] * 3
    waiting = state.superseded_by_a_newer
    steps += [
        (CandidateRetired, {"version": older.number, "evidence": {}, "superseded_by": newer.number})
        for older in waiting
        for newer in waiting
        if newer.number > older.number and newer.status is VersionStatus.CANDIDATE
    ]
    if shadow is not None and shadow.role is ShadowRole.CHALLENGER:
        steps.append((CandidateRetired, {"version": shadow.version, "evidence": {}}))
        if state.proposal is None:
            about = {"version": shadow.version, "judged_against": shadow.judged_against, "evidence": {}}
            steps += [(PromotionProposed, about)] * 2
    return steps


def assert_sound(before, after):
    """What holds after any event that was accepted."""
    assert violations(after) == ()
    assert after.epoch == before.epoch + 1
    assert before.production is None or after.production is not None, "never no production once there is one"
    numbers = [version.number for version in after.versions]
    assert numbers == list(range(1, len(numbers) + 1))
    status = {version.number: version.status for version in after.versions}
    was_rolled_back = {v.number for v in before.versions if v.status is VersionStatus.ROLLED_BACK}
    assert all(status[number] is VersionStatus.ROLLED_BACK for number in was_rolled_back)
    assert status.get(after.production) is not VersionStatus.ROLLED_BACK
    challengers = [number for number, found in status.items() if found is VersionStatus.SHADOW]
    in_shadow = after.shadow is not None and after.shadow.role is ShadowRole.CHALLENGER
    assert challengers == ([after.shadow.version] if in_shadow else [])
    assert after.bake is None or after.bake.version == after.production
    assert after.bake is None or status[after.production] is VersionStatus.BAKING
    assert after.shadow is None or after.shadow.judged_against == after.production
    assert after.repoint is None or after.repoint.instead_of == after.production
    good = after.last_known_good()
    assert good is None or (good.status is VersionStatus.GOOD and good.number != after.production)


def try_anything(life, event):
    (kind, fields), before = event, life.state
    try:
        life.tell(kind, **fields)
    except (IllegalTransitionError, UnknownVersionError):
        assert life.state is before
    else:
        assert_sound(before, life.state)


@given(st.lists(EVENTS, max_size=40))
def test_any_event_is_taken_and_leaves_a_sound_state_or_is_refused_and_leaves_it_alone(told):
    life = Life()
    for event in told:
        try_anything(life, event)


@given(st.data())
def test_a_life_of_legal_events_with_any_event_between_is_sound_at_every_step(data):
    life = Life().applied()
    for _ in range(data.draw(st.integers(0, 40))):
        kind, fields = data.draw(st.sampled_from(next_steps(life.state)))
        before = life.state
        life.tell(kind, **fields)
        assert_sound(before, life.state)
        try_anything(life, data.draw(EVENTS))
        assert event_json.state_from_json(event_json.state_to_json(life.state)) == life.state


@given(EVENTS)
def test_an_event_survives_the_ledger(told):
    kind, fields = told
    event = kind(time=START, **WHO, **fields)
    text = event_json.event_to_json(event)
    assert event_json.event_from_json(kind.__name__, text) == event
    assert event_json.event_to_json(event) == text


# --- canaries ---------------------------------------------------------------------------------------------------------


def beside(life, version):
    found = life.state.beside_canary(version)
    return None if found is None else found.number


def test_a_good_version_answers_beside_the_new_one_from_the_approval_to_the_end_of_the_ops_bake():
    life = a_model_with_a_good_version().registered(2).shadowed(2)
    assert beside(life, 2) is None
    assert beside(life.approved(2, 1), 2) == 1
    assert beside(life.promoted(2), 2) == 1
    assert beside(life.ops_bake_passed(), 2) is None


def test_a_rollback_ends_the_canary_and_leads_to_a_version_that_answers_alone():
    life = a_model_in_its_second_ops_bake().rollback_decided(1)
    assert (beside(life, 2), beside(life, 1)) == (None, None)
    life.rolled_back()
    assert (beside(life, 2), beside(life, 1)) == (None, None)


def test_the_first_version_answers_alone():
    life = Life().applied().registered(1).approved(1, None)
    assert beside(life, 1) is None
    assert beside(life.promoted(1), 1) is None


def test_a_version_that_was_replaced_before_it_had_shown_to_be_good_answers_nothing_beside_the_next():
    life = a_model_in_its_second_ops_bake().registered(3).approved(3, 2)
    assert beside(life, 3) == 1, "the rest stays where it is known to be good"
    assert beside(life.promoted(3), 3) == 1


def test_a_version_that_reads_other_features_answers_nothing_beside_the_new_one():
    life = a_model_with_a_good_version().registered(2, fingerprint="g").approved(2, 1)
    assert beside(life, 2) is None
    assert beside(life.promoted(2), 2) is None


def test_a_version_found_bad_with_nothing_good_to_return_to_answers_alone():
    life = Life().applied().registered(1).takes_over(1).registered(2).takes_over(2)
    assert beside(life, 2) is None
    life.tell(RollbackImpossible, version=2, cause=RollbackCause.ERRORS, evidence={})
    assert beside(life, 2) is None
