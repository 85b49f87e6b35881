"""The safeguards: how each is turned off, and the tests that are to notice it."""

import ast
from dataclasses import dataclass
from pathlib import Path

from edits import Edit, EditError, always, dropped, ignored, instead, never, replaced, swapped, without
from places import PlaceError, place


class SourceChangedError(Exception):
    """A mutant no longer fits the source."""


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of one definition, which has a dotted name."""

    place: str
    edit: Edit

    def made(self, tree: Path, texts: dict[str, str]) -> dict[str, str]:
        """The texts of files, by their names below the tree, with this change among them."""
        at = place(tree, self.place)
        before = texts.get(at.file) or (tree / at.file).read_text()
        after = self.edit.made(before, at.node(before))
        if ast.dump(ast.parse(after)) == ast.dump(ast.parse(before)):
            raise EditError(f"{self.edit.sought} says the same after it was changed")
        return texts | {at.file: after}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A safeguard that is turned off, and the tests that are to notice it."""

    safeguard: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]

    def made(self, tree: Path) -> dict[str, str]:
        """What is in the files, by their names below the tree, once the safeguard is off.

        Raises
        ------
        SourceChangedError
            An edit finds its place not exactly once, or leaves no Python.
        """
        texts: dict[str, str] = {}
        for change in self.changes:
            try:
                texts = change.made(tree, texts)
            except (EditError, PlaceError, SyntaxError) as error:
                raise SourceChangedError(
                    f"{self.safeguard!r} can't be turned off in {change.place}: {error}; "
                    "let the mutant in tests/mutation/mutants.py follow the source"
                ) from error
        return texts


def off(safeguard: str, *changes: Change, killed_by: str | tuple[str, ...]) -> Mutant:
    """Name a safeguard, how it is turned off, and the tests that are to fail then."""
    return Mutant(safeguard, changes, (killed_by,) if isinstance(killed_by, str) else killed_by)


EPOCH = Change(
    "evergreen.aws.ledger.DynamoLedger._state_item",
    replaced('"epoch = :read"', '"epoch = :read OR attribute_exists(sk)"'),
)
NEW_EVENT = Change("evergreen.aws.ledger.DynamoLedger._event_item", without("ConditionExpression"))

LEDGER = "tests/contract/test_ledger.py"
LIFE = "tests/unit/test_lifecycle.py"
AT_ONCE = "tests/state_machines/test_at_once.py"
TWO = f"{AT_ONCE}::test_of_two_candidates_promoted_at_once_one_wins_and_the_other_is_compared_again"
TAMPERING = "tests/contract/test_tampering.py"
SERVING = "tests/unit/test_serving.py"
ARCHIVE = "tests/unit/test_artifact.py"
PROGRAM = "tests/unit/test_training_program.py"
LAUNCH = "tests/handlers/test_launch_training.py"
TRIGGERS = "tests/unit/test_triggers.py"
NEWEST = "tests/handlers/test_newest_training.py"
LEARNED_LIVE = "tests/handlers/test_learn_live.py"
LIVE = "tests/unit/test_live_stored.py"
CONTAINERS = "tests/handlers/test_live_containers.py"
MOVED = "tests/handlers/test_moved_endpoints.py"
GUARDED = f"{MOVED}::test_a_promotion_is_guarded_and_a_rollback_is_not"
DAMAGED = f"{MOVED}::test_a_rollback_to_a_damaged_version_is_told_until_it_is_whole_again"

MUTANTS = (
    off(
        "an endpoint's container loads the recorded model alone",
        Change("evergreen.serving.inference.model_fn", never("if actual != expected")),
        killed_by=f"{SERVING}::test_another_model_is_refused_however_small_the_difference",
    ),
    off(
        "an endpoint's container loads no model where none is recorded",
        Change("evergreen.serving.inference.model_fn", never("if not expected")),
        killed_by=f"{SERVING}::test_a_model_is_not_loaded_where_nobody_says_which",
    ),
    off(
        "an endpoint is made of recorded bytes",
        Change("evergreen.serving.source.container_environment", never("if actual != sha256")),
        killed_by=f"{SERVING}::test_the_environment_is_made_of_recorded_bytes_only",
    ),
    off(
        "a decision is recorded on condition of the epoch",
        EPOCH,
        killed_by=f"{LEDGER}::test_who_read_before_the_table_was_restored_to_an_older_time_leaves_no_gap_in_the_history",
    ),
    off(
        "an event of the history is never written over",
        NEW_EVENT,
        killed_by=f"{LEDGER}::test_a_state_that_somebody_put_back_writes_over_nothing_that_happened_since",
    ),
    off("both of these, when two candidates are promoted at once", EPOCH, NEW_EVENT, killed_by=TWO),
    off(
        "a model is made known once",
        Change(
            "evergreen.aws.ledger.DynamoLedger._state_item",
            replaced('"attribute_not_exists(sk)"', '"attribute_not_exists(sk) OR attribute_exists(sk)"'),
        ),
        NEW_EVENT,
        killed_by=f"{LEDGER}::test_a_model_is_applied_for_the_first_time_once",
    ),
    off(
        "a note is written once",
        Change("evergreen.aws.ledger.DynamoLedger.note", without("ConditionExpression")),
        killed_by=f"{LEDGER}::test_a_second_delivery_of_the_same_tick_changes_nothing",
    ),
    off(
        "a training job is named after its decision and attempt",
        Change(
            "evergreen.domain.training_jobs.job_name",
            replaced("run.attempt", "str(run.attempt) + '-' + __import__('secrets').token_hex(2)"),
        ),
        killed_by=f"{AT_ONCE}::test_the_same_events_from_eight_threads_at_once_happen_once",
    ),
    off(
        "a rollback leads to a version that is known to be good",
        Change(
            "evergreen.domain.state.ModelState.can_return_to",
            ignored("version.status is VersionStatus.GOOD"),
        ),
        killed_by=f"{LIFE}::test_a_rollback_is_never_to_a_version_that_is_not_known_to_be_good",
    ),
    off(
        "a rollback leads to a version that reads the same features",
        Change(
            "evergreen.domain.state.ModelState.can_return_to",
            ignored("self.reads_what_requests_bring(version)"),
        ),
        killed_by=f"{LIFE}::test_the_last_known_good_version_reads_the_same_features",
    ),
    off(
        "a promotion is judged against the production of that moment",
        Change("evergreen.domain.transitions._apply", never("if event.instead_of != state.production")),
        killed_by=f"{LIFE}::test_a_candidate_that_beat_an_older_production_is_judged_again",
    ),
    off(
        "a version that was rolled back is never promoted again",
        Change(
            "evergreen.domain.transitions._apply",
            never("if state.version(event.version).status is VersionStatus.ROLLED_BACK"),
        ),
        killed_by=f"{LIFE}::test_a_bad_version_makes_way_for_the_last_known_good_one_and_never_comes_back",
    ),
    off(
        "what a person was shown is what they decide about",
        Change("evergreen.usecases.people.decide.Expected.check", never("if shown != found")),
        killed_by=TWO,
    ),
    off(
        "an older decision never repoints the alias",
        Change(
            "evergreen.aws.lambda_aliases._NEWER_OR_NEW",
            replaced(
                '"attribute_not_exists(epoch) OR epoch <= :epoch"',
                '"attribute_not_exists(epoch) OR epoch <= :epoch OR epoch > :epoch"',
            ),
        ),
        killed_by="tests/contract/test_aliases.py::test_a_newer_decision_takes_over_and_a_late_one_loses_and_is_told_what_is_there",
    ),
    off(
        "a model is loaded only with the hash that was recorded",
        Change("evergreen.model.scorer.Artifact.from_tar", never("if actual != expected_sha256")),
        killed_by="tests/handlers/test_predict.py::test_an_artifact_that_somebody_changed_answers_nothing_and_counts_as_its_versions_failure",
    ),
    off(
        "a reference is read only with the hash that its key names",
        Change("evergreen.usecases.steps.references.load_reference", never("if reference_sha256(key) != actual")),
        killed_by=f"{TAMPERING}::test_a_changed_bit_is_refused_by_name_and_nothing_is_loaded",
    ),
    off(
        "what a training job reads does not change once it was started",
        Change("evergreen.usecases.launch_training._stored", replaced("_unchanged(...)", "snapshot")),
        killed_by=f"{LAUNCH}::test_a_snapshot_that_somebody_changed_is_not_trained_on",
    ),
    off(
        "a training that the service refuses is not asked for again",
        Change("evergreen.aws.trainer.SageMakerTrainer.start", replaced('"ValidationException"', '"NeverSaid"')),
        killed_by=f"{LAUNCH}::test_a_job_that_the_service_will_never_take_ends_the_retraining_and_is_not_asked_for_again",
    ),
    off(
        "own source is run from where its bytes can not change",
        Change(
            "evergreen.usecases.launch_training._source", dropped("ports.artifacts.put(source_key(sha256), source)")
        ),
        killed_by=f"{LAUNCH}::test_own_source_is_run_from_where_its_bytes_can_not_change",
    ),
    off(
        "a checkpoint is of the same rows, job and code",
        Change("evergreen.training.checkpoint.Checkpoints.load", never("if found.key != key")),
        killed_by=f"{PROGRAM}::test_a_checkpoint_of_other_rows_is_not_used",
    ),
    off(
        "a checkpoint that was damaged is not used",
        Change(
            "evergreen.training.checkpoint._read",
            never('if told["sha256"] != hashlib.sha256(content).hexdigest()'),
        ),
        killed_by=f"{PROGRAM}::test_a_checkpoint_that_is_stale_or_damaged_is_ignored_with_a_line",
    ),
    off(
        "a training job scores nothing beside a production that was changed",
        Change("evergreen.training.train._archive", never("if found != job.production_sha256")),
        killed_by=f"{TAMPERING}::test_a_job_trains_nothing_beside_a_production_that_was_changed",
    ),
    off(
        "an archive is read to its checksum when it is registered",
        Change("evergreen.model.archive.unpack", dropped("_read_to_the_end(...)")),
        killed_by=f"{ARCHIVE}::test_a_flipped_bit_never_changes_what_is_read",
    ),
    off(
        "an artifact holds a file once",
        Change("evergreen.model.archive.unpack", never("if name in files")),
        killed_by=f"{ARCHIVE}::test_a_file_that_is_there_twice_is_refused",
    ),
    off(
        "the gate takes no artifact of another job",
        Change("evergreen.usecases.finish_training._require_own", never("if end.artifact != expected")),
        killed_by="tests/handlers/test_finish_training.py::test_the_output_of_another_job_is_not_taken_for_this_ones",
    ),
    off(
        "a candidate that was not scored beside production is rejected",
        Change(
            "evergreen.domain.gate._uncompared",
            replaced('excused or spec.gate.uncompared == "pass"', "True"),
        ),
        killed_by="tests/unit/test_gate.py::test_a_candidate_that_was_not_scored_beside_production_is_rejected",
    ),
    off(
        "what a canary leaves is answered by a version that is known to be good",
        Change(
            "evergreen.domain.state.ModelState.beside_canary",
            replaced("there if self.can_return_to(there) else self.last_known_good()", "there"),
        ),
        killed_by=f"{LIFE}::test_a_version_that_was_replaced_before_it_had_shown_to_be_good_answers_nothing_beside_the_next",
    ),
    off(
        "a version that failed on requests is not promoted for the others",
        Change(
            "evergreen.domain.shadow.judge",
            never(
                "if verdict == Verdict.PROMOTE and answered_share is not None and answered_share < rules.least_answered"
            ),
        ),
        killed_by="tests/unit/test_shadow.py::test_a_candidate_that_failed_on_a_share_of_the_requests_is_not_promoted_for_the_others",
    ),
    off(
        "rows of days that differ count for less in a shadow's verdict",
        Change("evergreen.domain.shadow.weigh", replaced("rules.day_shares", "(0.0,)")),
        killed_by="tests/unit/test_shadow.py::test_rows_of_one_bad_and_one_good_day_after_the_other_prove_nothing",
    ),
    off(
        "a shadow without a proof on so many rows is kept out",
        Change(
            "evergreen.domain.shadow._limit_reached",
            never("if rules.max_rows is not None and rows >= rules.max_rows"),
        ),
        killed_by="tests/unit/test_shadow.py::test_no_proof_on_so_many_rows_ends_the_trial",
    ),
    off(
        "a gap without requests ends no trial in shadow",
        Change(
            "evergreen.domain.shadow._limit_reached",
            replaced("time_in_traffic(asked, since=since, until=until, cycle=rules.cycle)", "passed"),
        ),
        killed_by="tests/unit/test_shadow.py::test_months_without_a_request_cost_a_trial_no_time",
    ),
    off(
        "a copy on the function's own disk is used only with its hash",
        Change(
            "evergreen.aws.kept_artifacts.KeptArtifacts._read",
            always("if hashlib.sha256(content).hexdigest() == sha256"),
        ),
        killed_by="tests/contract/test_kept_artifacts.py::test_a_copy_that_was_changed_is_fetched_again",
    ),
    off(
        "a repoint whose event was lost is carried out all the same",
        Change("evergreen.usecases.reconcile._repoint", always("if state.repoint is None or is_under_way(...)")),
        killed_by="tests/state_machines/test_any_order.py"
        "::test_a_life_of_which_the_bus_tells_nothing_is_led_by_reconcile",
    ),
    off(
        "a live state learns a row once, whatever file it comes in",
        Change(
            "evergreen.training.live_stored._new_rows",
            replaced('~np.isin(hashes, known["rows"]) & (times >= oldest)', "times >= oldest"),
        ),
        killed_by=(
            f"{LIVE}::test_a_row_is_learned_once_however_often_its_file_comes",
            f"{LEARNED_LIVE}::test_a_label_that_comes_again_in_another_file_is_learned_once",
        ),
    ),
    off(
        "of two live states that were learned at once one counts",
        Change(
            "evergreen.aws.live_states.DynamoLiveStates.advance",
            replaced('"sha256 = :read"', '"sha256 = :read OR attribute_exists(sk)"'),
        ),
        killed_by=f"{LEARNED_LIVE}::test_of_two_who_learn_at_once_one_wins_and_nothing_is_lost",
    ),
    off(
        "of two first live states one counts",
        Change(
            "evergreen.aws.live_states.DynamoLiveStates.advance",
            replaced('"attribute_not_exists(sk)"', '"attribute_not_exists(sk) OR attribute_exists(sk)"'),
        ),
        killed_by="tests/contract/test_live_states.py::test_a_state_moves_on_only_from_the_one_that_was_read",
    ),
    off(
        "who learned online in a former release is kept fresh",
        Change("evergreen.spec.ModelSpec._as_online_said", replaced('{"enabled": True}', "{}")),
        killed_by=(
            "tests/unit/test_spec.py::test_who_learned_online_is_kept_fresh_whatever_is_said_of_freshness_beside_it",
            "tests/handlers/test_former_specs.py::test_every_function_reads_it",
        ),
    ),
    off(
        "a run that was to publish a checkpoint trains nothing",
        Change("evergreen.usecases.launch_training._require_a_training", never("if run.checkpoint")),
        killed_by="tests/handlers/test_former_specs.py"
        "::test_a_run_that_waits_to_publish_a_checkpoint_is_let_go_with_the_reason",
    ),
    off(
        "a live state that was changed answers nobody",
        Change("evergreen.training.live_stored.StoredState.from_bytes", never("if actual != expected_sha256")),
        killed_by=(
            f"{LIVE}::test_one_flipped_bit_and_the_bytes_are_refused",
            f"{TAMPERING}::test_a_changed_bit_is_refused_by_name_and_nothing_is_loaded",
        ),
    ),
    off(
        "a container loads no member that was changed",
        Change(
            "evergreen.serving.source.content_sha256",
            replaced('[name for name in loaded_names(files["model.json"]) if name in files]', "MODEL_FILES"),
        ),
        killed_by=f"{CONTAINERS}::test_a_changed_file_of_a_member_is_never_loaded",
    ),
    off(
        "a container answers by no other version's state",
        Change(
            "evergreen.serving.follower.Follower._read",
            never("if (state.version, state.number) != (self._number, pointed.number)"),
        ),
        killed_by=f"{CONTAINERS}::test_a_state_of_another_version_answers_nobody",
    ),
    off(
        "rows are judged by the state that answered them",
        Change(
            "evergreen.training.live_stored.StoredState.of_time",
            replaced("(each for each in reversed(self.earlier) if time >= each.since)", "reversed(self.earlier)"),
        ),
        killed_by=f"{LIVE}::test_who_answered_rows_that_may_still_come_is_remembered_and_the_others_are_not",
    ),
    off(
        "a live state that is proven worse is held back",
        Change(
            "evergreen.training.live_state.LiveState.answer",
            replaced("plain if self.is_held_back else guarded", "guarded"),
        ),
        killed_by="tests/unit/test_live_state.py::test_a_state_that_is_proven_worse_says_what_the_version_says",
    ),
    off(
        "a row's leaves are added up to the same, in whatever order",
        Change(
            "evergreen.training.leaf_steps.LeafSteps.learned",
            replaced("np.round(moved / grain) * grain", "moved"),
        ),
        killed_by="tests/unit/test_leaf_steps.py::test_large_and_small_steps_add_up_to_the_same_in_whatever_order",
    ),
    off(
        "labels of which the early ones are unlike the others are waited for",
        Change(
            "evergreen.training.delays.Delays.matured_after",
            replaced("np.linalg.norm(mean - mean[-1], ord=np.inf, axis=1) > _ALIKE", "count < 0"),
        ),
        killed_by="tests/unit/test_delays.py::"
        "test_who_churns_is_known_in_an_hour_and_who_stays_after_a_month_so_a_month_is_waited_for",
    ),
    off(
        "a candidate in which production lives on has to answer",
        Change(
            "evergreen.domain.shadow._nested",
            replaced("answered_share is not None and answered_share >= rules.least_answered", "True"),
        ),
        killed_by="tests/unit/test_shadow.py::test_one_that_did_not_answer_is_not_promoted",
    ),
    off(
        "an artifact that was changed is not put into MLflow",
        Change(
            "evergreen.usecases.update_registry._Told._run",
            never("if hashlib.sha256(body).hexdigest() != version.sha256"),
        ),
        killed_by="tests/handlers/test_registry.py::test_an_artifact_that_was_changed_is_not_put_into_mlflow",
    ),
    off(
        "a job has one run",
        Change("evergreen.training.tracking.find_run", replaced("found[0] if found else None", "None")),
        killed_by="tests/unit/test_training_tracking.py::test_a_job_run_twice_is_one_run_with_one_model_and_another_job_another",
    ),
    off(
        "an endpoint is looked at after what was asked of it",
        Change(
            "evergreen.aws.sagemaker_aliases.EndpointAliases._drive",
            swapped("attempt = self._attempts.read(model)", "found = self._describe()"),
        ),
        killed_by=f"{MOVED}::test_whoever_looked_before_another_asked_does_not_take_it_for_undone",
    ),
    off(
        "an endpoint's attempt is noted over the one that was read",
        Change(
            "evergreen.aws.sagemaker_attempts.Attempts.write",
            replaced(
                '"attribute_not_exists(revision) OR revision = :read"',
                '"attribute_not_exists(revision) OR revision = :read OR attribute_exists(revision)"',
            ),
        ),
        killed_by="tests/contract/test_attempts.py::test_an_attempt_is_written_over_the_one_that_was_read_and_over_no_other",
    ),
    off(
        "an endpoint that SageMaker took back in silence is found out",
        Change("evergreen.aws.sagemaker_aliases.EndpointAliases._drive", never("elif attempt.accepted")),
        killed_by=f"{MOVED}::test_what_sagemaker_undoes_in_silence_is_told_once_and_is_out_for_good",
    ),
    off(
        "an endpoint that changes is asked for nothing else",
        Change(
            "evergreen.aws.sagemaker_aliases.EndpointAliases._drive",
            never("if found is not None and found.is_changing"),
        ),
        killed_by=f"{MOVED}::test_nothing_is_asked_of_an_endpoint_that_changes",
    ),
    off(
        "an endpoint leaves the shadow behind with the version that it was beside",
        Change("evergreen.aws.sagemaker_aliases.EndpointAliases._want", dropped("self._wanted.clear(...)")),
        killed_by=f"{MOVED}::test_a_version_that_takes_over_does_so_without_the_shadow_beside_the_other",
    ),
    off(
        "an endpoint's promotion is guarded by alarms",
        Change("evergreen.aws.sagemaker_requests.deployment_request", never("if rules.alarms")),
        killed_by=GUARDED,
    ),
    off(
        "an endpoint's rollback is not undone by the alarms that led to it",
        Change(
            "evergreen.usecases.steps.placing.aliases_of",
            always("if state.repoint is not None and state.repoint.cause is None"),
        ),
        killed_by=GUARDED,
    ),
    off(
        "an endpoint's model is the artifact that its name says",
        Change(
            "evergreen.aws.sagemaker_aliases.EndpointAliases._is_there",
            never("if model is not None and (found := ...) != uri"),
        ),
        killed_by=f"{MOVED}::test_a_model_of_the_right_name_that_loads_something_else_is_never_used",
    ),
    off(
        "an endpoint of somebody else's is never deleted",
        Change(
            "evergreen.aws.sagemaker_aliases.EndpointAliases._make_room",
            never("if not found.config.startswith(self._plan.head)"),
        ),
        killed_by=f"{MOVED}::test_an_endpoint_of_somebody_elses_that_never_came_up_is_left_to_them",
    ),
    off(
        "an endpoint's rollback that was undone is told once an attempt, and tried again",
        Change("evergreen.usecases.repoint_alias._went_back.failed", ignored("error.asked")),
        killed_by=f"{MOVED}::test_a_rollback_that_does_not_come_about_is_told_and_asked_for_each_quarter_of_an_hour",
    ),
    off(
        "an endpoint's rollback to a damaged version is told as long as it is so",
        Change(
            "evergreen.usecases.repoint_alias._went_back.failed",
            ignored("error.asked or now - max(times) < PATIENCE"),
        ),
        killed_by=DAMAGED,
    ),
    off(
        "an endpoint's repoint that failed is not called repaired",
        Change("evergreen.usecases.steps.repairs._record.decide", never("if repair.what == REPOINT and any(...)")),
        killed_by=DAMAGED,
    ),
    off(
        "an endpoint is asked again for what was undone",
        Change("evergreen.usecases.reconcile._once_more", instead("aliases.try_again(...)", "raise")),
        killed_by=f"{MOVED}::test_an_endpoint_that_does_not_go_back_to_what_it_has_to_be_is_asked_again",
    ),
    off(
        "an endpoint's version is judged by what it answered alone",
        Change(
            "evergreen.usecases.watch_deployment._counted",
            replaced("_Alone(...)", "ports.endpoint_traffic(spec)"),
        ),
        killed_by="tests/handlers/test_alarms.py"
        "::test_what_a_canary_answered_that_sagemaker_took_back_is_not_held_against_the_version_that_stayed",
    ),
    off(
        "nothing is trained again on the rows of the newest training",
        Change("evergreen.domain.triggers.governance._has_too_few_new_rows", always("if new is None or new >= needed")),
        killed_by=f"{TRIGGERS}::test_nothing_is_trained_again_on_the_rows_of_the_newest_training",
    ),
    off(
        "the last token is kept for what can not wait",
        Change(
            "evergreen.domain.triggers.governance._has_no_token",
            replaced("1 if asked.trigger in AT_ONCE and not asked.can_wait else min(2, burst)", "1"),
        ),
        killed_by=f"{TRIGGERS}::test_the_last_token_is_kept_for_what_can_not_wait",
    ),
    off(
        "a bucket holds no more tokens than its burst",
        Change(
            "evergreen.domain.triggers.governance.tokens_there", replaced("min(...)", "left + max(by_time, by_rows)")
        ),
        killed_by=f"{TRIGGERS}::test_tokens_come_back_with_rows_or_with_time_up_to_the_burst",
    ),
    off(
        "a drift that a training has answered does not fire again",
        Change(
            "evergreen.usecases.evaluate_triggers._checks",
            replaced("state.newest_training or version", "version"),
        ),
        killed_by=f"{NEWEST}::test_a_drift_that_a_training_has_answered_does_not_fire_whatever_became_of_it",
    ),
    off(
        "a proven candidate that waits for a person is superseded by nobody",
        Change(
            "evergreen.domain.transitions._require_newer",
            never("if state.proposal is not None and state.proposal.version == version"),
        ),
        killed_by=f"{LIFE}::test_a_proven_candidate_that_waits_for_approval_keeps_its_place",
    ),
    off(
        "a candidate gives way to a newer one alone",
        Change("evergreen.domain.transitions._require_newer", never("if newer <= version or ...")),
        killed_by=f"{LIFE}::test_nobody_gives_way_to_who_is_not_newer_or_no_candidate",
    ),
    off(
        "a candidate that the evidence is for is not displaced",
        Change(
            "evergreen.domain.transitions.gives_way",
            replaced('judged and not evidence.get("log_e_promote", 0.0) > 0.0', "judged"),
        ),
        killed_by="tests/handlers/test_finish_training.py::"
        "test_a_candidate_that_the_evidence_is_for_keeps_its_place_and_the_new_one_waits",
    ),
    off(
        "captures that somebody else's configuration made are no version's",
        Change(
            "evergreen.usecases.profile_capture._answers",
            never('if spec.endpoint.kind == "sagemaker" and (file.variant == "shadow" or _may_be_another(...))'),
        ),
        killed_by="tests/handlers/test_captures_of_nobody.py::test_a_row_is_the_versions_that_its_configuration_names_or_nobodys",
    ),
    off(
        "who still answers well does not take the last token",
        Change("evergreen.domain.triggers.governance._has_no_token", replaced("not asked.can_wait", "True")),
        killed_by="tests/unit/test_triggers.py::"
        "test_who_still_answers_well_waits_for_a_second_token_and_who_does_not_takes_the_last",
    ),
    off(
        "a version that only its live state keeps good has decayed all the same",
        Change(
            "evergreen.domain.triggers.checks.check_performance",
            never("if trained.outcome is Outcome.FIRED and served.outcome is not Outcome.FIRED"),
        ),
        killed_by="tests/unit/test_triggers.py::test_a_version_that_only_its_live_state_keeps_good_is_to_be_trained_anew",
    ),
    off(
        "metrics that could not be read are no silence",
        Change("evergreen.aws.traffic._totals", never('if result["StatusCode"] in _UNREAD')),
        killed_by="tests/contract/test_endpoint_traffic.py::test_metrics_that_could_not_be_read_are_no_silence",
    ),
)
