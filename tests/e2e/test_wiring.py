"""The loop through template.yaml itself, and what no longer happens when a wire is cut from a copy of it."""

import json
import re
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse
from turning import SPEC, START, turning_stream

from evergreen import bootstrap, telemetry
from evergreen.domain.history import History
from evergreen.domain.state import ModelState
from evergreen.usecases.people import apply, decide
from evergreen.usecases.people.verify import verify_history
from evergreen_ops.replay import driver, specs
from evergreen_ops.replay.progress import PlainScreen
from local_cloud.cloud import LocalCloud

ROOT = Path(__file__).parents[2]


def replayed(template, *, until_day, stream=None, own_key=False):
    """Of a replay of the first days: history, calls of each function, failures, decisions, hours of each metric."""
    stream = stream or turning_stream(days=until_day)
    base = specs.base_of(stream, START + timedelta(days=4))
    parameters = {"EvaluationSchedule": "rate(1 day)", "ReconcileSchedule": "rate(1 day)"}
    with LocalCloud(base.until) as cloud:
        if own_key:
            cloud.deploy_stack(ROOT / "infra/deploy/data_key.yaml", stack_name="key")
            parameters |= cloud.outputs
        cloud.deploy_stack(template, stack_name="evergreen", parameters=parameters)
        try:
            ports = bootstrap.ports_for(cloud.outputs)
            session = driver.open_session(stream, SPEC, base, cloud, ports, PlainScreen())
            driver.train_first_model(session)
            driver.run(session, step=timedelta(hours=12))
            assert verify_history(session.model, ports=ports)[1] == (), "whatever is cut, the history is sound"
            told = session.history.documents, cloud.invocation_counts, cloud.error_counts, driver.decisions(session)
            return *told, hours_written(cloud)
        finally:
            bootstrap.reset()


def hours_written(cloud):
    """The hours in which each of our metrics has a value: what CloudWatch charges for."""
    series = {key: found for key, found in cloud.metrics.series.items() if telemetry.stack_of(key.namespace)}
    return {key: {int(point.time // 3_600) for point in found.points} for key, found in series.items()}


RECONCILIATION = ("Reconcile", "Reconciliation")


def without(folder, *wires):
    """A copy of the template from which event sources of functions are cut."""
    document = yaml_parse((ROOT / "template.yaml").read_text())
    for function, event in wires:
        del document["Resources"][function]["Properties"]["Events"][event]
    return copied(document, folder)


def copied(document, folder):
    """A template that is deployed from another folder."""
    for resource in document["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = str(ROOT / resource["Properties"][key])
    copy = folder / "template.yaml"
    copy.write_text(json.dumps(document))
    return copy


def kinds(events):
    return Counter(event["type"] for event in events)


@pytest.fixture(scope="module")
def whole_story():
    return replayed(ROOT / "template.yaml", until_day=18)


def test_a_model_whose_world_turns_is_retrained_proven_promoted_and_known_good(whole_story):
    events, *_ = whole_story
    story = [event["type"] for event in events if event["type"] != "RetrainingHeldBack"]
    assert story[:7] == [
        "ModelApplied",
        "RetrainingRequested",
        "TrainingStarted",
        "CandidateRegistered",
        "PromotionApproved",
        "VersionPromoted",
        "BakePassed",
    ]
    turn = [e for e in events if e["type"] == "RetrainingRequested"][1]
    assert turn["time"] > "2026-01-07", "nothing fires before the world has turned"
    later = story[7:]
    for step in ("TrainingStarted", "CandidateRegistered", "ShadowStarted", "PromotionApproved", "VersionPromoted"):
        assert step in later
    assert [e["phase"] for e in events if e["type"] == "BakePassed"][-2:] == ["ops", "quality"]


def test_every_decision_says_what_it_saw(whole_story):
    events, *_ = whole_story
    for event in events:
        assert event["because"], event["type"]
        assert event["actor"], event["type"]
    requested = [e for e in events if e["type"] == "RetrainingRequested"][-1]
    assert {"trigger", "outcome", "score", "threshold", "direction", "samples", "because"} <= requested["checks"][
        0
    ].keys()


def test_every_day_is_evaluated_and_every_evaluation_noted_also_when_nothing_follows(whole_story):
    events, _, _, decisions, _ = whole_story
    evaluated = [d for d in decisions if d["type"] == "RetrainingEvaluated"]
    days = {d["time"][:10] for d in evaluated}
    assert len(days) >= 11, "the schedule is daily"
    assert any(d["trigger"] is None for d in evaluated)
    rules = {d["rule"] for d in evaluated if d["held_back"]}
    assert rules >= {"new_rows"}
    assert "in_shadow" not in rules, "a candidate holds nothing back"
    requested = [e for e in events if e["type"] == "RetrainingRequested"]
    assert {e["time"][:19] for e in requested} == {d["time"][:19] for d in evaluated if d["retrain"]}
    assert all(check["outcome"] != "error" for d in evaluated for check in d["checks"])


def test_every_comparison_is_noted_and_the_last_is_the_verdict(whole_story):
    events, _, _, decisions, _ = whole_story
    compared = [d for d in decisions if d["type"] == "ShadowCompared"]
    promotion = [e for e in events if e["type"] == "PromotionApproved"][1]
    (verdict,) = [d for d in compared if d["version"] == promotion["version"] and d["verdict"] == "promote"]
    assert (verdict["because"], verdict["log_e_promote"]) == (
        promotion["because"],
        promotion["evidence"]["log_e_promote"],
    )


def test_what_is_held_back_is_told_when_it_changes_and_not_each_day(whole_story):
    events, *_ = whole_story
    told = [e for e in events if e["type"] in ("RetrainingHeldBack", "RetrainingRequested")]
    held = [(e["type"], e.get("would_have"), e.get("rule")) for e in told]
    again = [one for one, following in pairwise(held) if one == following and one[0] == "RetrainingHeldBack"]
    assert "RetrainingHeldBack" in {kind for kind, *_ in held}
    assert not again


def test_a_models_metrics_are_as_few_and_cost_as_little_as_is_said(whole_story):
    """Each metric counts for every hour from its first value to its last: as of a model that is busy day and night."""
    *_, hours = whole_story
    of_model = {key: found for key, found in hours.items() if telemetry.MODEL in dict(key.dimensions)}
    page = " ".join((ROOT / "docs/metrics.md").read_text().split())
    most, dollars = re.search(
        r"a whole loop writes at most (\d+) metrics .*? at most \$(\d+\.\d\d) a month", page
    ).groups()
    assert 20 < len(of_model) <= int(most)
    lived = max(map(max, hours.values())) - min(map(min, hours.values())) + 1
    spans = sum(max(found) - min(found) + 1 for found in of_model.values())
    assert 1 < 0.30 * spans / lived <= float(dollars)


def test_every_function_of_the_loop_was_called(whole_story):
    _, calls, errors, *_ = whole_story
    assert not any(errors.values()), errors
    # No registry is configured and online learning is off by default: those two have nothing to do.
    assert set(calls) >= {
        "EvaluateTriggers",
        "LaunchTraining",
        "FinishTraining",
        "CompareShadow",
        "RepointAlias",
        "WatchDeployment",
        "Predict",
        "ScoreShadow",
        "ProfileCapture",
        "CollectFeedback",
        "JoinLabels",
        "Reconcile",
        "UpdateRegistry",
    }


@pytest.mark.slow
def test_a_key_of_ones_own_changes_nothing_of_the_story(whole_story):
    """Every role and every service that touches what the key encrypts may use the key: else something is refused."""
    events, _, errors, *_ = replayed(ROOT / "template.yaml", until_day=18, own_key=True)
    assert not any(errors.values()), errors
    told = ("type", "time", "because")  # artifacts lie in another bucket
    assert [[event[key] for key in told] for event in events] == [
        [event[key] for key in told] for event in whole_story[0]
    ]


@pytest.mark.slow
def test_once_the_world_has_turned_no_candidate_that_waits_keeps_the_next_one_from_being_trained():
    """6,000 rows whose relation inverts half way: until then a candidate in shadow held every retraining back."""
    events, _, _, decisions, _ = replayed(
        ROOT / "template.yaml", until_day=12, stream=turning_stream(days=12, a_day=500, turns_on=6)
    )
    state, trained_beside_a_candidate = ModelState("turning"), []
    for _, state_after in History.of_documents("turning", events).states():
        if state_after.run is not None and state.run is None and state.shadow is not None:
            trained_beside_a_candidate.append(state.shadow.version)
        state = state_after
    assert trained_beside_a_candidate, "it was retrained while a candidate was in shadow"
    assert "in_shadow" not in {d.get("rule") for d in decisions}
    turned = [e for e in events if e["type"] == "RetrainingRequested" and e["time"] > "2026-01-07"]
    assert turned[0]["trigger"] in ("performance", "concept_drift")
    promoted = [e for e in events if e["type"] == "VersionPromoted" and e["time"] > "2026-01-07"]
    assert promoted, "a version that knows the new relation answers in the end"
    assert all(e["new_rows"] >= 100 for e in turned)


@pytest.mark.parametrize(
    ("wire", "missing", "until_day"),
    [
        (("WatchDeployment", "Promoted"), "BakePassed", 6),
        pytest.param(("CompareShadow", "ShadowPlace"), "ShadowStarted", 10, marks=pytest.mark.slow),
    ],
)
def test_a_wire_that_is_cut_from_the_template_is_missed(tmp_path, wire, missing, until_day):
    events, *_ = replayed(without(tmp_path, wire, RECONCILIATION), until_day=until_day)
    assert kinds(events)["VersionPromoted"] == 1
    assert not kinds(events)[missing]


@pytest.mark.slow
@pytest.mark.parametrize("wire", [("EvaluateTriggers", "Evaluation"), ("JoinLabels", "LabelsArrived")])
def test_without_evaluations_or_labels_nobody_sees_that_the_world_has_turned(tmp_path, wire):
    events, *_ = replayed(without(tmp_path, wire), until_day=9)
    fired = [e["trigger"] for e in events if e["type"] == "RetrainingRequested"]
    assert not {"performance", "concept_drift"} & set(fired)


def test_reconcile_makes_up_for_a_watch_that_never_started(tmp_path):
    events, *_ = replayed(without(tmp_path, ("WatchDeployment", "Promoted")), until_day=6)
    assert kinds(events)["BakePassed"] == 1


def test_without_the_rule_that_launches_trainings_there_is_no_first_model(tmp_path):
    with pytest.raises(driver.ReplayError, match="could not be trained"):
        replayed(without(tmp_path, ("LaunchTraining", "Requested")), until_day=6)


def test_what_is_noted_is_told_on_the_bus_with_its_content(tmp_path):
    document = yaml_parse((ROOT / "template.yaml").read_text())
    document["Resources"] |= {
        "Heard": {"Type": "AWS::SQS::Queue"},
        "HeardPolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Heard"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": {"Fn::GetAtt": ["Heard", "Arn"]},
                    },
                },
            },
        },
        "Listen": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventBusName": {"Ref": "Bus"},
                "EventPattern": {"source": ["evergreen"], "detail-type": ["RetrainingEvaluated"]},
                "Targets": [{"Id": "heard", "Arn": {"Fn::GetAtt": ["Heard", "Arn"]}}],
            },
        },
    }
    with LocalCloud.deploy(copied(document, tmp_path), start=START) as cloud:
        try:
            ports = bootstrap.ports_for(cloud.outputs)
            apply.apply_model(SPEC, now=START, ports=ports)
            for _ in range(2):  # asked twice at one time, it is one wish
                decide.request_training("turning", "prices changed", "ada", now=START, ports=ports)
            cloud.advance(START + timedelta(minutes=1))
            queue = {"QueueUrl": cloud.resources["Heard"], "MaxNumberOfMessages": 10}
            heard = [json.loads(m["Body"]) for m in cloud.client("sqs").receive_message(**queue)["Messages"]]
            (note,) = ports.ledger.notes("turning", "wish", START, START + timedelta(days=1))
        finally:
            bootstrap.reset()
    (told,) = heard
    assert told["detail-type"] == "RetrainingEvaluated"
    assert (told["detail"]["model"], int(told["detail"]["epoch"])) == ("turning", note["epoch"])
    assert json.loads(told["detail"]["body"])["because"] == "prices changed"


def test_without_the_rule_that_repoints_nothing_answers(tmp_path):
    with pytest.raises(driver.ReplayError):
        replayed(without(tmp_path, ("RepointAlias", "Decided")), until_day=6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history_twice():
    first, *_ = replayed(ROOT / "template.yaml", until_day=8)
    second, *_ = replayed(ROOT / "template.yaml", until_day=8)
    assert json.dumps(first) == json.dumps(second)
