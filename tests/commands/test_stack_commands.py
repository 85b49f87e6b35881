"""apply, status, history, why, verify, trigger, approve, promote, rollback, pause: what an engineer sees and leaves."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from small_cloud import CHURN, NOW

from evergreen import errors
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogKind
from evergreen.domain.model_events import ModelApplied, PromotionApproved, RollbackDecided, VersionRolledBack
from evergreen.domain.state import RollbackCause
from evergreen.errors import ChangedMeanwhileError, IllegalTransitionError, NothingToApproveError, UsageError
from evergreen.errors import UnknownModelError as Unknown
from evergreen.spec import ModelSpec, SpecError
from evergreen.usecases.people import decide
from evergreen_ops.stack import StackError, connected

A_MONTH_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
ME = "arn:aws:sts::123456789012:user/moto"


def spec_file(folder, **changes):
    path = folder / "churn.yaml"
    path.write_text(ModelSpec.parse(CHURN | changes).to_yaml())
    return path


# --- apply ------------------------------------------------------------------------------------------------------------


def test_a_spec_is_applied_and_then_changed_key_by_key(stack, tmp_path):
    told = stack.asked("apply", spec_file(tmp_path))
    assert told == {"model": "churn", "epoch": 1, "new": True, "changes": []}
    assert stack.last()["actor"] == ME
    assert stack.evergreen("apply", spec_file(tmp_path)) == "churn is as the spec says: nothing is changed\n"
    changed = spec_file(tmp_path, deployment={"approval": "manual", "ops_bake": "1h"})
    assert stack.evergreen("apply", changed) == "deployment.approval: auto -> manual\ndeployment.ops_bake: 30m -> 1h\n"
    because = "the spec was changed: deployment.approval auto -> manual; deployment.ops_bake 30m -> 1h"
    assert (stack.last()["type"], stack.last()["because"]) == ("ModelApplied", because)


def test_a_spec_of_a_former_release_is_applied_and_it_is_said_what_it_means_now(stack, tmp_path):
    former = spec_file(tmp_path)
    former.write_text(f"{former.read_text()}online: {{enabled: true, checkpoint: 6h, trial: 1w}}\n")
    assert stack.asked("apply", former)["new"]
    read, unused, write = stack.said.splitlines()
    assert read.startswith(f"evergreen: {former}: online.enabled: true is read as freshness.enabled: true")
    assert unused == f"evergreen: {former}: online.checkpoint, online.trial have no effect any more"
    assert write == f"evergreen: {former}: write freshness: {{enabled: true}} instead of online:"
    as_told = spec_file(tmp_path, freshness={"enabled": True})
    assert stack.evergreen("apply", as_told) == "churn is as the spec says: nothing is changed\n"
    assert stack.said == ""


def test_a_stored_spec_of_a_former_release_is_told_apart_by_what_it_means_now(stack, tmp_path):
    document = ModelSpec.parse(CHURN).to_json() | {"online": {"enabled": True, "labels": "at_once"}}
    stack.applied()
    stored = ModelApplied(time=NOW, actor="ada", because="then", spec=document)
    stack.ports.ledger.record(stack.state, stored)
    assert stack.evergreen("apply", spec_file(tmp_path)) == "freshness.enabled: true -> false\n"


def test_a_spec_that_is_none_says_what_is_wrong_with_it(stack, tmp_path):
    wrong = tmp_path / "churn.yaml"
    wrong.write_text("model: churn\ntask: binary\n")
    with pytest.raises(SpecError, match="features: missing"):
        stack.evergreen("apply", wrong)


def test_a_spec_too_large_for_the_ledger_is_refused(stack, tmp_path):
    features = {f"a_rather_long_name_of_feature_{i}": {"type": "number"} for i in range(3_000)}
    with pytest.raises(errors.NotAppliedError, match=r"100,000 is the limit: name fewer features"):
        stack.evergreen("apply", spec_file(tmp_path, features=features))


def test_a_spec_that_needs_files_for_longer_than_they_are_kept_is_refused(stack, tmp_path):
    spec = spec_file(tmp_path, training={"window": "800d"}, labels=CHURN["labels"] | {"maturity": "450d"})
    with pytest.raises(errors.NotAppliedError) as refused:
        stack.evergreen("apply", spec)
    captures, deploy, outcomes, deploy_too = str(refused.value).split("; ")
    assert captures == "labels.maturity is 450d, and captures are kept for 400d: a label would not find its capture"
    assert deploy == "deploy the stack with CaptureRetentionDays 451 or more, or shorten it"
    assert outcomes.startswith("training.window is 800d, and outcomes are kept for 730d: ")
    assert deploy_too == "deploy the stack with OutcomeRetentionDays 801 or more, or shorten it"
    assert stack.ports.ledger.models() == ()


def at_endpoint(name=None):
    return {"kind": "sagemaker"} | ({} if name is None else {"name": name})


@pytest.mark.parametrize(
    ("other", "endpoint"),
    [("late_flights", at_endpoint("churn")), ("churn_", at_endpoint()), ("flights", at_endpoint("churn"))],
    ids=["by name", "by the name that it would get", "by name, of another"],
)
def test_an_endpoint_that_is_another_models_is_refused(stack, tmp_path, other, endpoint):
    stack.asked("apply", spec_file(tmp_path, endpoint=at_endpoint()))
    with pytest.raises(errors.NotAppliedError) as refused:
        stack.evergreen("apply", spec_file(tmp_path, model=other, endpoint=endpoint))
    assert str(refused.value) == "endpoint 'churn' is model 'churn''s: set endpoint.name to another"
    assert stack.ports.ledger.models() == ("churn",)


def test_until_a_version_answers_an_endpoint_may_be_changed_and_left_to_another_model(stack, tmp_path):
    stack.asked("apply", spec_file(tmp_path, endpoint=at_endpoint()))
    changed = stack.evergreen("apply", spec_file(tmp_path, endpoint=at_endpoint("churn-eu")))
    assert changed == "endpoint.name: none -> churn-eu\n"
    stack.asked("apply", spec_file(tmp_path, model="flights", endpoint=at_endpoint("churn")))
    assert stack.evergreen("apply", spec_file(tmp_path)).startswith("endpoint.kind: sagemaker -> lambda\n")
    stack.asked("apply", spec_file(tmp_path, model="rain", endpoint=at_endpoint("churn-eu")))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({"kind": "lambda"}, at_endpoint(), "the predict function and would answer by the SageMaker endpoint 'churn'"),
        (at_endpoint(), {"kind": "lambda"}, "the SageMaker endpoint 'churn' and would answer by the predict function"),
        (at_endpoint("eu"), at_endpoint("us"), "endpoint 'eu' and would answer by the SageMaker endpoint 'us'"),
    ],
    ids=["to an endpoint", "to the predict function", "to another endpoint"],
)
@pytest.mark.parametrize("answers", [True, False], ids=["it answers", "it is about to"])
def test_a_model_that_answers_stays_where_its_callers_are(stack, tmp_path, before, after, says, answers):
    stack.applied(endpoint=before).registered(1)
    if answers:
        stack.promoted(1)
    else:
        stack.tell(PromotionApproved, version=1, instead_of=None, evidence={})
    left = stack.ports.ledger.history("churn").documents
    with pytest.raises(errors.NotAppliedError) as refused:
        stack.evergreen("apply", spec_file(tmp_path, endpoint=after))
    assert says in str(refused.value)
    assert str(refused.value).endswith("apply the spec under another model name, and move the callers to it")
    assert stack.ports.ledger.history("churn").documents == left


def test_the_guardrails_of_a_model_that_answers_may_be_changed(stack, tmp_path):
    stack.applied(endpoint=at_endpoint()).registered(1).promoted(1)
    more = {"guardrails": {"share": 0.2, "alarms": ["churn-errors"]}, "instance_count": 2, "name": "churn"}
    stack.evergreen("apply", spec_file(tmp_path, endpoint=at_endpoint() | more))
    assert spec_of(stack.state).endpoint.guardrails.alarms == ("churn-errors",)


def rows_until(file, end, *, time="asked_at"):
    """A thousand labelled rows, one a minute."""
    lines = [f"age,plan,label,{time}"]
    for i in range(1_000):
        at = end - timedelta(minutes=1_000 - i)
        lines.append(f"{i % 70},{'ab'[i % 2]},{i % 3 % 2},{at:%Y-%m-%dT%H:%M:%SZ}")
    file.write_text("\n".join(lines))
    return file


def test_labelled_rows_from_before_come_with_a_spec(stack, tmp_path):
    base = rows_until(tmp_path / "base.csv", A_MONTH_AGO)
    told = stack.asked("apply", spec_file(tmp_path), "--base-data", base, "--time", "asked_at")
    assert told["base_rows"] == 1_000
    again = stack.asked("apply", spec_file(tmp_path), "--base-data", base, "--time", "asked_at")
    assert again["base_rows"] == 1_000
    span = (A_MONTH_AGO - timedelta(days=9), A_MONTH_AGO + timedelta(days=9))
    entries = stack.ports.catalog.between("churn", CatalogKind.BASE_DATA, *span)
    assert sum(entry.rows for entry in entries) == 1_000, "handed over twice, they are there once"


def test_rows_that_no_training_would_use_are_refused(stack, tmp_path):
    old = rows_until(tmp_path / "old.csv", A_MONTH_AGO - timedelta(days=900))
    with pytest.raises(UsageError, match=r"none of the 1,000 rows has a label and a time within training.window"):
        stack.evergreen("apply", spec_file(tmp_path), "--base-data", old, "--time", "asked_at")
    with pytest.raises(UsageError, match="has no column 'event_time': name the column"):
        stack.evergreen(
            "apply", spec_file(tmp_path), "--base-data", rows_until(tmp_path / "b.csv", A_MONTH_AGO, time="t")
        )


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_lists_a_line_for_each_model(settled):
    lines = settled.evergreen("status").splitlines()
    assert lines[0].split() == ["model", "production", "since", "under", "way"]
    assert lines[1].split()[:2] == ["churn", "2"]
    assert max(map(len, lines)) <= 80


def test_status_without_models_says_what_to_do(stack):
    assert stack.evergreen("status") == "no model is known yet: apply a spec (evergreen apply SPEC)\n"
    assert stack.asked("status") == []


def test_status_of_a_model_tells_all_that_is_under_way(settled):
    settled.applied(deployment={"approval": "manual"}).registered(3).shadowed(3).proposed(3)
    told = settled.asked("status", "churn")
    assert (told["production"]["version"], told["last_known_good"], told["proposal"]["version"]) == (2, 1, 3)
    assert told["production"]["status"] == "good"
    assert told["next"] == "a person approves: evergreen approve churn 3 --reason ..."
    assert told["violations"] == []
    shown = settled.evergreen("status", "churn")
    assert "version 3 as challenger of version 2 since" in shown
    assert "version 3 waits since" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_status_tells_of_wishes_that_wait(settled):
    settled.evergreen("pause", "churn", "--reason", "audit week")
    settled.evergreen("trigger", "churn", "--reason", "prices changed", code=1)
    told = settled.asked("status", "churn")
    assert (told["paused"], told["wish"]["reason"]) == (True, "prices changed")
    assert told["held_back"] == {"would_have": "business_event", "rule": "paused"}
    assert told["next"] == "nothing by itself, it is paused: evergreen resume churn --reason ..."
    assert "prices changed" in settled.evergreen("status", "churn")


def test_production_since_is_when_it_took_over_again(settled):
    settled.tell(RollbackDecided, version=2, to_version=1, cause=RollbackCause.MANUAL, evidence={})
    settled.tell(VersionRolledBack, version=2, to_version=1, cause=RollbackCause.MANUAL, endpoint={})
    production = settled.asked("status", "churn")["production"]
    assert (production["version"], production["since"]) == (1, settled.time.isoformat())


def test_a_model_nobody_applied_is_named(stack):
    for command in (["status", "churn"], ["history", "churn"], ["why", "churn"], ["verify", "churn"]):
        with pytest.raises(Unknown, match="model 'churn' is not known: apply its spec first"):
            stack.evergreen(*command)


# --- history, why, verify ---------------------------------------------------------------------------------------------


def test_history_is_told_whole_or_in_part(settled):
    types = [event["type"] for event in settled.asked("history", "churn")]
    assert types[:4] == ["ModelApplied", "CandidateRegistered", "PromotionApproved", "VersionPromoted"]
    promotions = settled.asked("history", "churn", "--type", "versionpromoted")
    assert [event["version"] for event in promotions] == [1, 2]
    assert settled.asked("history", "churn", "--limit", 2) == settled.asked("history", "churn")[-2:]
    since = promotions[1]["time"]
    assert settled.asked("history", "churn", "--since", since)[0] == promotions[1]


def test_history_is_a_table_that_fits(settled):
    lines = settled.evergreen("history", "churn").splitlines()
    assert lines[0].split()[:2] == ["epoch", "time"]
    assert any("version 2 promoted, replaces version 1" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert settled.evergreen("history", "churn", "--type", "ModelPaused").startswith("none of the ")


def test_history_of_a_type_there_is_not_lists_those_there_are(settled):
    with pytest.raises(UsageError, match="--type is 'Promoted': give one or more of ModelApplied"):
        settled.evergreen("history", "churn", "--type", "Promoted")
    with pytest.raises(UsageError, match="--since is 'yesterday'"):
        settled.evergreen("history", "churn", "--since", "yesterday")


def test_why_tells_each_answer_with_its_checks(settled, tmp_path):
    settled.call("evaluate_triggers", {"time": f"{settled.time:%Y-%m-%dT%H:%M:%SZ}"})
    shown = settled.evergreen("why", "churn")
    assert "RETRAINING: not retrained: no check fired" in shown
    assert "schedule" in shown
    assert "higher" in shown
    assert "PROMOTION: version 2 was promoted: a story" in shown
    assert "ROLLBACK: not rolled back: version 2 has passed its bakes" in shown
    assert max(map(len, shown.splitlines())) <= 80
    told = settled.asked("why", "churn")
    checks = {check["trigger"]: check for check in told["retraining"]["findings"][0]["checks"]}
    assert {"score", "threshold", "direction", "samples", "because"} <= checks["schedule"].keys()


def test_why_as_of_a_time_knows_nothing_of_later(settled):
    first = settled.asked("history", "churn", "--type", "VersionPromoted")[0]["time"]
    told = settled.asked("why", "churn", "--at", first)
    assert (told["production"], told["promotion"]["said"]) == (1, "version 1 was promoted: a story")
    assert told["rollback"]["said"].startswith("not rolled back: version 1 is in its ops bake since")
    before = settled.asked("why", "churn", "--at", "2020-01-01")
    assert (before["production"], before["promotion"]["said"]) == (None, "the model was not known then")


def test_a_sound_history_is_verified(settled):
    epoch = settled.state.epoch
    told = f"churn: {epoch} events, the chain is unbroken, and they lead to the state there is"
    assert " ".join(settled.evergreen("verify", "churn").split()) == told
    assert settled.asked("verify", "churn") == {"model": "churn", "events": epoch, "sound": True, "flaws": []}


def test_a_history_that_was_tampered_with_is_found_and_the_exit_code_says_so(settled):
    key = {"model": {"S": "churn"}, "sk": {"S": "event#0000000003"}}
    item = settled.dynamodb.get_item(TableName="ledger", Key=key)["Item"]
    item["body"]["S"] = item["body"]["S"].replace("a story", "another")
    settled.dynamodb.put_item(TableName="ledger", Item=item)
    told = settled.asked("verify", "churn", code=1)
    assert [flaw["epoch"] for flaw in told["flaws"]] == [3]
    assert "epoch 3: the hash does not fit" in settled.evergreen("verify", "churn", code=1)
    assert settled.said == "evergreen: the history of 'churn' is not as it was written\n"
    settled.dynamodb.delete_item(TableName="ledger", Key=key)
    assert settled.asked("verify", "churn", code=1)["flaws"][0]["what"].startswith("the item is missing")


def test_a_state_that_was_tampered_with_is_found(settled):
    item = settled.dynamodb.get_item(TableName="ledger", Key={"model": {"S": "churn"}, "sk": {"S": "state"}})["Item"]
    body = json.loads(item["body"]["S"]) | {"production": 1}
    settled.dynamodb.put_item(TableName="ledger", Item=item | {"body": {"S": json.dumps(body)}})
    named = [flaw["what"] for flaw in settled.asked("verify", "churn", code=1)["flaws"]]
    assert "the events lead to another state: production" in named


def test_a_model_that_left_the_list_of_models_is_found(settled):
    settled.dynamodb.delete_item(TableName="ledger", Key={"model": {"S": "#models"}, "sk": {"S": "churn"}})
    flaws = settled.asked("verify", "churn", code=1)["flaws"]
    assert flaws == [{"epoch": None, "what": "the model is not in the list of models: no schedule finds it"}]


# --- trigger ----------------------------------------------------------------------------------------------------------


def test_a_retraining_is_asked_for_with_a_reason_and_a_name(settled):
    decision = settled.asked("trigger", "churn", "--reason", "prices changed")
    assert (decision["retrain"], decision["trigger"]) == (True, "business_event")
    assert (settled.last()["type"], settled.last()["actor"]) == ("RetrainingRequested", ME)
    assert settled.last()["because"] == "prices changed"


def test_a_retraining_that_is_held_back_is_a_refusal(settled):
    settled.evergreen("trigger", "churn", "--reason", "prices changed")
    settled.evergreen("trigger", "churn", "--reason", "again", code=1)
    assert settled.said.startswith("evergreen: held back by the rule open_run: retraining ")


# --- approve, promote, rollback ---------------------------------------------------------------------------------------


def test_an_approval_carries_the_evidence_of_the_proposal(settled):
    settled.registered(3).shadowed(3).proposed(3)
    proposed_at = settled.time.isoformat()
    told = settled.asked("approve", "churn", "--reason", "checked with sales", "--yes")
    assert (told["production"], told["repoint"]) == (2, 3)
    approved = settled.last()
    assert (approved["type"], approved["actor"], approved["because"]) == ("PromotionApproved", ME, "checked with sales")
    assert approved["evidence"] == {"gain": 0.031, "proposed_at": proposed_at}
    assert settled.said.startswith("Version 3 of churn, proven on")


def test_there_is_nothing_to_approve_without_a_proposal_or_of_another_version(settled):
    with pytest.raises(NothingToApproveError, match="no promotion of 'churn' waits for approval, none does"):
        settled.evergreen("approve", "churn", "--reason", "why not", "--yes")
    settled.registered(3).shadowed(3).proposed(3)
    with pytest.raises(NothingToApproveError, match=r"no promotion of version 2 of .churn. waits.*version 3 does"):
        settled.evergreen("approve", "churn", 2, "--reason", "why not", "--yes")


def test_a_promotion_by_hand_says_whom_it_replaces(settled):
    settled.registered(3)
    told = settled.asked("promote", "churn", 3, "--reason", "needed today", "--yes")
    assert told["repoint"] == 3
    assert "(candidate, trained on 5,000 rows) takes the place of version 2 in production" in settled.said
    assert (settled.last()["actor"], settled.last()["evidence"]) == (ME, {"forced": True})


@pytest.mark.parametrize(
    ("version", "because"),
    [
        (1, "version 1 was rolled back before"),
        (2, "version 2 is in production already"),
        (3, "version 3 was rejected before"),
        (4, "version 4 reads other features than the spec"),
    ],
)
def test_what_may_not_be_promoted_is_refused_before_anybody_is_asked(stack, version, because):
    stack.applied().registered(1).registered(2).promoted(2).promoted(1)
    stack.tell(RollbackDecided, version=1, to_version=2, cause=RollbackCause.MANUAL, evidence={})
    stack.tell(VersionRolledBack, version=1, to_version=2, cause=RollbackCause.MANUAL, endpoint={})
    stack.registered(3).shadowed(3).retired(3).registered(4, fingerprint="other")
    epoch = stack.state.epoch
    with pytest.raises(IllegalTransitionError, match=because):
        stack.evergreen("promote", "churn", version, "--reason", "try", "--yes")
    assert stack.state.epoch == epoch


def test_a_rollback_by_hand_goes_to_the_last_known_good(settled):
    told = settled.asked("rollback", "churn", "--reason", "complaints", "--yes")
    assert told["repoint"] == 1
    assert "version 2 is never promoted again" in settled.said
    assert (settled.last()["type"], settled.last()["cause"]) == ("RollbackDecided", "manual")
    assert settled.last()["actor"] == ME


def test_a_rollback_with_nowhere_to_go_changes_nothing(stack):
    stack.applied().registered(1).promoted(1)
    epoch = stack.state.epoch
    with pytest.raises(errors.NotAppliedError, match="no other version of 'churn' is known to be good"):
        stack.evergreen("rollback", "churn", "--reason", "complaints", "--yes")
    assert stack.state.epoch == epoch


@pytest.mark.parametrize("command", [["promote", "churn", 3], ["rollback", "churn"], ["approve", "churn"]])
def test_without_a_terminal_nobody_can_be_asked(settled, command):
    settled.registered(3).shadowed(3).proposed(3)
    epoch = settled.state.epoch
    with pytest.raises(UsageError, match="stdin is not a terminal, so nobody can be asked: add --yes"):
        settled.evergreen(*command, "--reason", "now", answer="y\n")
    assert settled.state.epoch == epoch


@pytest.mark.parametrize(
    "command", [["promote", "churn", 3], ["rollback", "churn"], ["approve", "churn"], ["pause", "churn"]]
)
def test_a_change_needs_a_reason(settled, command):
    settled.registered(3).shadowed(3).proposed(3)
    settled.evergreen(*command, code=2)
    with pytest.raises(UsageError, match="--reason is empty"):
        settled.evergreen(*command, "--reason", " ", *(["--yes"] if command[0] != "pause" else []))


def test_what_a_person_decided_on_is_what_must_still_be_there(settled):
    settled.registered(3).shadowed(3).proposed(3)
    shown = decide.Expected.of(settled.state)
    settled.registered(4)
    about = {"now": NOW, "ports": settled.ports, "expected": shown}
    for decision in (
        lambda: decide.force_promotion("churn", 3, "now", "ada", **about),
        lambda: decide.approve("churn", 3, "now", "ada", **about),
        lambda: decide.force_rollback("churn", "now", "ada", **about),
    ):
        with pytest.raises(ChangedMeanwhileError, match=r"was version 2 \(epoch \d+\) and is version 2 \(epoch \d+\)"):
            decision()
    assert settled.last()["type"] == "CandidateRegistered"


# --- pause, resume ----------------------------------------------------------------------------------------------------


def test_a_paused_model_waits_until_it_is_resumed(settled):
    assert settled.asked("pause", "churn", "--reason", "audit week")["paused"] is True
    epoch = settled.state.epoch
    settled.evergreen("pause", "churn", "--reason", "again")
    assert settled.state.epoch == epoch, "paused twice is paused"
    assert settled.asked("resume", "churn", "--reason", "audit is over")["paused"] is False
    types = [(event["type"], event["actor"]) for event in settled.asked("history", "churn")[-2:]]
    assert types == [("ModelPaused", ME), ("ModelResumed", ME)]


def test_a_first_version_that_was_trained_during_a_pause_takes_over_when_it_ends(stack):
    stack.applied().evergreen("pause", "churn", "--reason", "not yet")
    stack.registered(1)
    assert stack.asked("resume", "churn", "--reason", "now")["repoint"] == 1


# --- which stack, and who ---------------------------------------------------------------------------------------------


def test_another_stack_is_named(stack):
    stack.deployed("churn-test").applied()
    assert stack.asked("status", "--stack", "churn-test")[0]["model"] == "churn"


def test_a_stack_that_is_not_there_is_named_with_its_region(stack):
    with pytest.raises(StackError, match="stack 'nowhere' does not exist in us-east-1: name it with --stack"):
        stack.evergreen("status", "--stack", "nowhere")


def test_a_stack_of_something_else_is_told(stack):
    stack.deployed("other", without=["LEDGER_TABLE"])
    with pytest.raises(StackError, match="stack 'other' has no output for LEDGER_TABLE: it is none of Evergreen's"):
        stack.evergreen("status", "--stack", "other")


def test_no_local_cloud_runs_here(stack):
    with pytest.raises(StackError, match="no local cloud runs in this folder: start one with `evergreen local up`"):
        stack.evergreen("status", "--local")


def test_without_a_region_or_credentials_the_way_out_is_told(stack, monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StackError, match="no AWS region is set: set AWS_REGION"):
        stack.evergreen("status")


def test_without_credentials_a_shell_is_told_what_to_set(tmp_path):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    bare |= {"HOME": str(tmp_path), "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "evergreen_ops.cli", "status"]
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("evergreen: stack 'evergreen': no AWS credentials are found (Unable to locate")
    assert done.stderr.endswith("set AWS_PROFILE, or log in; for a local cloud, `evergreen local up` and --local\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredToken", "AWS does not accept these credentials .ExpiredToken.: renew them"),
        ("AccessDenied", "these credentials may not call Query: no"),
        ("ThrottlingException", "Query failed with ThrottlingException: no"),
    ],
)
def test_what_aws_refuses_is_told_in_a_sentence(stack, code, said):
    refusal = ClientError({"Error": {"Code": code, "Message": "no"}}, "Query")
    with pytest.raises(StackError, match=said), connected(None, local=False):
        raise refusal
