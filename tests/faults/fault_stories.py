"""The stories that are told under faults: for each function, worlds in which its event finds real work to do."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache

import boto3
import numpy as np
from fault_injection import in_a_child
from fault_runner import Story
from small_artifact import scored_beside_production
from small_cloud import NOW

from evergreen.domain.aliases import AliasRecord
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import BakePassed, PromotionApproved, RollbackDecided
from evergreen.domain.state import BakePhase, RollbackCause
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line
from evergreen.model.schema import FeatureSchema
from evergreen.usecases.people import bring, decide

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SHORT_CYCLES = {"triggers": {"cycle": "2d"}, "shadow": {"cycle": "1d"}, "deployment": {"quality_bake": "3d"}}
STORIES: list[Story] = []


def _world(cloud, answer):
    return cloud.left()


def _world_and_answer(cloud, answer):
    return {**cloud.left(), "answer": {"status": answer and answer["statusCode"], "body": answer and answer["body"]}}


def _all_but_the_first_look(cloud, answer):
    """The note of what was found is written by the first look, which a fault may cut short; the history has it all."""
    left = cloud.left()
    ledger = {key: item for key, item in left["ledger"].items() if "/note#differences#" not in key}
    return {**left, "ledger": ledger}


def story(function, look=_world):
    """Add a story: its name is the builder's, which answers the event."""

    def add(build):
        STORIES.append(Story(function, build.__name__, build, look))
        return build

    return add


# --- what worlds are made of ------------------------------------------------------------------------------------------


@cache
def an_artifact(seed=0, *, freshness=False):
    """A model.tar.gz as a training job leaves it: older than forty, or not. Trained in a child: no thread stays."""
    return in_a_child(lambda: _trained(seed, freshness))


def _trained(seed, freshness):
    from evergreen.model.archive import pack
    from evergreen.training.fit import train
    from evergreen.training.job import TrainingJob
    from evergreen.training.read_rows import Category, Rows

    random, count = np.random.default_rng(seed), 1_200
    schema = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
    age, plan = random.normal(40, 10, count), random.integers(0, 2, count)
    end = int((NOW - 20 * DAY).timestamp()) * 1_000_000
    times = end - np.arange(count, dtype=np.int64)[::-1] * 1_800_000_000
    actual = np.array(["0", "1"], dtype=object)[(age + random.normal(0, 2, count) > 40).astype(int)]
    rows = Rows(schema, times, {"age": age}, {"plan": Category(plan, ("a", "b"))}, actual)
    params = {"n_estimators": 5, "max_depth": 3}
    job = TrainingJob("churn", schema, "RandomForestClassifier", params, seed=seed, cycle_days=2.0, freshness=freshness)
    return pack(scored_beside_production(dict(train(job, rows, report=lambda line: None).files)))


def at(time):
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def told(cloud, kind=None, *, model="churn", after=timedelta(seconds=5)):
    """The newest ledger event (of a kind) as the bus delivers it."""
    item = [item for item in cloud.ports.ledger.history(model).documents if kind in (None, item["type"])][-1]
    body = {name: value for name, value in item.items() if name not in ("model", "epoch", "type", "hash")}
    detail = {"model": model, "epoch": item["epoch"], "type": item["type"], "body": json.dumps(body)}
    event = cloud.event("ledger_event")
    return event | {"detail-type": item["type"], "time": at(NOW + after), "detail": detail}


def arrived(cloud, key, lines, *, now=NOW):
    """A file of lines in the data bucket, and the event that tells of it."""
    etag = cloud.ports.data.put(key, b"\n".join(lines) + b"\n")
    event = cloud.event("s3_object_created")
    event["detail"]["object"] |= {"key": key, "etag": etag}
    return event | {"time": at(now)}


def recorded(cloud, kind, *, time=NOW, model="churn", **fields):
    ledger = cloud.ports.ledger
    ledger.record(ledger.read(model), kind(time=time, actor="ada", because="a story", **fields))


def registered(cloud, seed=0, *, time=NOW - 10 * DAY, model="churn", freshness=False):
    """A version that was trained elsewhere."""
    artifact = an_artifact(seed, freshness=freshness)
    return bring.register_version(model, artifact, "trained", "ada", now=time, ports=cloud.ports)


def promoted(cloud, version, *, time=NOW - 10 * DAY, model="churn"):
    """A version takes over, and is in its ops bake."""
    decide.force_promotion(model, version, "a story", "ada", now=time, ports=cloud.ports)
    cloud.call("repoint_alias", told(cloud, model=model) | {"time": at(time)})


def passed(cloud, version, phase=BakePhase.OPS, *, time=NOW - 9 * DAY, model="churn"):
    recorded(cloud, BakePassed, time=time, model=model, version=version, phase=phase, evidence={})


def in_production(cloud, *, time=NOW - 10 * DAY, model="churn", **spec):
    """Version 1 is in production and known to be good."""
    cloud.applied(model=model, **SHORT_CYCLES | spec)
    promoted(cloud, registered(cloud, time=time, model=model), time=time, model=model)
    passed(cloud, 1, time=time + HOUR, model=model)


def replaced(cloud, *, time=NOW - 5 * DAY, **spec):
    """Version 2 has taken the place of version 1, which is good, and is in its ops bake."""
    in_production(cloud, **spec)
    promoted(cloud, registered(cloud, 1, time=time), time=time)


def watched_by_labels(cloud, *, since, **spec):
    """Version 2 is in its quality bake, with version 1 as its sentinel."""
    replaced(cloud, time=since - HOUR, **spec)
    passed(cloud, 2, time=since)
    cloud.call("compare_shadow", told(cloud) | {"time": at(since)})


def in_shadow(cloud, *, since, **spec):
    """Version 2 is a candidate, judged against version 1."""
    in_production(cloud, **spec)
    registered(cloud, 1, time=since)
    cloud.call("compare_shadow", told(cloud) | {"time": at(since)})


def captured(cloud, time, rows, *, version=1, variant="production", model="churn", said=str, stem="part"):
    """A capture file of a time's hour, compacted and profiled: rows of (id, age, truth)."""
    lines = [
        capture_line(
            Capture(name, time, version, {"age": age, "plan": "ab"[i % 2]}, said(truth), _chances(said(truth))),
            model=model,
            variant=variant,
        )
        for i, (name, age, truth) in enumerate(rows)
    ]
    event = arrived(cloud, f"captures/{model}/{variant}/{time:%Y/%m/%d/%H}/{stem}.jsonl", lines, now=time + HOUR)
    cloud.call("profile_capture", event)
    return event


def _chances(said):
    return {"0": float(said == "0"), "1": float(said == "1")}


def labelled(cloud, time, rows, *, model="churn", stem="labels"):
    """The event of a ground-truth file of a time's hour."""
    lines = [ground_truth_line(GroundTruth(name, str(truth)), model=model) for name, _, truth in rows]
    return arrived(cloud, f"ground-truth/{model}/{time:%Y/%m/%d/%H}/{stem}.jsonl", lines, now=time + HOUR)


def answered_by_both(cloud, since, days, *, production, shadow, production_says=str, shadow_says=str, rows=300):
    """Days of requests that two versions answered and whose labels came."""
    for day in range(days):
        time = since + day * DAY + 2 * HOUR
        asked = [(f"r{day}-{i}", float(30 + i % 20), i % 2) for i in range(rows)]
        captured(cloud, time, asked, version=production, said=production_says)
        captured(cloud, time, asked, version=shadow, variant="shadow", said=shadow_says, stem=f"part.v{shadow}")
        cloud.call("join_labels", labelled(cloud, time + 3 * HOUR, asked))


def wrong(truth):
    """The other class."""
    return str(1 - truth)


def ticking(cloud, prefix):
    """The call of the schedule whose name begins so, as the scheduler makes it at NOW."""
    (name,) = [name for name in cloud.schedules() if name.startswith(prefix)]
    return json.loads(cloud.schedule(name)["Target"]["Input"]) | {"time": at(NOW)}


def traffic(version, time, *, model="churn", **metrics):
    counted("Evergreen/evergreen", {"Model": model, "Version": str(version)}, time, **metrics)


def counted(namespace, about, time, **metrics):
    dimensions = [{"Name": name, "Value": value} for name, value in about.items()]
    boto3.client("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[
            {"MetricName": name, "Dimensions": dimensions, "Timestamp": time, "Value": value, "Unit": "Count"}
            for name, value in metrics.items()
        ],
    )


def base_data(cloud, rows=400, *, model="churn"):
    """Labelled rows from before Evergreen."""
    from evergreen.formats import outcomes

    schema = spec_of(cloud.ports.ledger.read(model)).feature_schema()
    asked = [(f"b{i}", float(30 + i % 20), i % 2) for i in range(rows)]
    captures = [Capture(name, NOW - 3 * DAY, 1, {"age": age, "plan": "a"}, "1", None) for name, age, _ in asked]
    labels = [GroundTruth(name, str(truth)) for name, _, truth in asked]
    table, _ = outcomes.join(labels, NOW - 3 * DAY, outcomes.captures_to_table(captures, schema), None, schema)
    bring.add_base_data(model, table, now=NOW, ports=cloud.ports)


def wished(cloud, *, model="churn", time=NOW):
    detail = {"model": model, "reason": "prices changed"}
    return cloud.event("business_event") | {"time": at(time), "detail": detail}


def in_training(cloud, *, beside_production=False, **spec):
    """A training job runs."""
    if beside_production:
        in_production(cloud, **spec)
    else:
        cloud.applied(**SHORT_CYCLES | spec)
    base_data(cloud)
    cloud.call("evaluate_triggers", wished(cloud))
    cloud.call("launch_training", told(cloud, "RetrainingRequested"))


def ended(cloud, status="Completed", *, seed=2):
    """The event of the running job's end; a completed job has left its artifact."""
    name = cloud.ports.ledger.read("churn").run.job_name
    key = f"models/churn/{name}/output/model.tar.gz"
    event = cloud.event("training_job_completed" if status == "Completed" else "training_job_failed")
    event["detail"] |= {"TrainingJobName": name, "TrainingJobStatus": status}
    if status == "Completed":
        cloud.ports.artifacts.put(key, an_artifact(seed))
        event["detail"]["ModelArtifacts"] = {"S3ModelArtifacts": f"s3://artifacts/{key}"}
    return event


# --- evaluate_triggers ------------------------------------------------------------------------------------------------


@story("evaluate_triggers")
def labels_prove_the_model_worse(cloud):
    in_production(cloud)
    for days in (9, 7, 5, 3):
        time = NOW - days * DAY
        asked = [(f"p{days}-{i}", 41.0, i % 2) for i in range(60)]
        captured(cloud, time, asked, said=wrong)
        cloud.call("join_labels", labelled(cloud, time + HOUR, asked))
    return {"time": at(NOW), "model": "churn"}


@story("evaluate_triggers")
def one_model_drifted_one_is_held_back_one_is_quiet(cloud):
    in_production(cloud)
    for hours in (46, 34, 22, 10):
        asked = [(f"d{hours}-{i}", float(70 + i % 9), 1) for i in range(150)]
        captured(cloud, NOW - hours * HOUR, asked)
    in_production(cloud, model="orders", time=NOW - 9 * DAY)
    cloud.applied(model="visits", **SHORT_CYCLES)
    promoted(cloud, registered(cloud, time=NOW - 95 * DAY, model="visits"), time=NOW - 95 * DAY, model="visits")
    return {"time": at(NOW)}


@story("evaluate_triggers")
def somebody_wishes_for_a_retraining(cloud):
    in_production(cloud)
    return wished(cloud)


@story("evaluate_triggers")
def a_wish_comes_while_a_retraining_is_open(cloud):
    in_production(cloud)
    cloud.call("evaluate_triggers", wished(cloud, time=NOW - HOUR))
    return wished(cloud)


# --- launch_training and finish_training ------------------------------------------------------------------------------


@story("launch_training")
def a_retraining_is_started(cloud):
    in_production(cloud)
    base_data(cloud)
    cloud.call("evaluate_triggers", wished(cloud))
    return told(cloud, "RetrainingRequested")


@story("launch_training")
def own_source_is_started_since_the_change(cloud):
    source = {"source_dir": "s3://artifacts/source/ours/sourcedir.tar.gz", "entry_point": "ours.py"}
    cloud.ports.artifacts.put("source/ours/sourcedir.tar.gz", b"own source")
    in_production(cloud, training={"rows": "since_change", "min_rows": 20, **source})
    base_data(cloud)
    cloud.call("evaluate_triggers", wished(cloud))
    return told(cloud, "RetrainingRequested")


@story("launch_training")
def own_source_is_gone(cloud):
    source = {"source_dir": "s3://artifacts/source/ours/sourcedir.tar.gz", "entry_point": "ours.py"}
    cloud.applied(training=source)
    base_data(cloud)
    cloud.call("evaluate_triggers", wished(cloud))
    return told(cloud, "RetrainingRequested")


@story("launch_training")
def too_few_labels_to_train_on(cloud):
    cloud.applied()
    base_data(cloud, rows=30)
    cloud.call("evaluate_triggers", wished(cloud))
    return told(cloud, "RetrainingRequested")


@story("launch_training")
def a_failed_job_is_tried_again(cloud):
    in_training(cloud)
    cloud.call("finish_training", ended(cloud, "Failed"))
    return ticking(cloud, "churn.retry") | {"time": at(NOW + 10 * MINUTE)}


@story("finish_training")
def the_first_version_passes_its_gate(cloud):
    in_training(cloud)
    return ended(cloud)


@story("finish_training")
def a_candidate_passes_its_gate(cloud):
    in_training(cloud, beside_production=True)
    return ended(cloud)


@story("finish_training")
def a_candidate_fails_its_gate(cloud):
    in_training(cloud, beside_production=True, gate={"minimum": 0.9999})
    return ended(cloud)


@story("finish_training")
def a_job_leaves_no_model(cloud):
    in_training(cloud, beside_production=True)
    event = ended(cloud)
    cloud.ports.artifacts.put(event["detail"]["ModelArtifacts"]["S3ModelArtifacts"].split("/", 3)[3], b"no archive")
    return event


@story("finish_training")
def a_job_fails_and_is_to_be_tried_again(cloud):
    in_training(cloud)
    return ended(cloud, "Failed")


@story("finish_training")
def a_job_fails_for_the_last_time(cloud):
    in_training(cloud, training={"retries": 0})
    return ended(cloud, "Failed")


# --- compare_shadow ---------------------------------------------------------------------------------------------------


@story("compare_shadow")
def a_candidate_goes_into_shadow(cloud):
    in_production(cloud)
    registered(cloud, 1, time=NOW)
    return told(cloud)


@story("compare_shadow")
def a_sentinel_takes_the_shadows_place(cloud):
    replaced(cloud)
    passed(cloud, 2, time=NOW)
    return told(cloud)


@story("compare_shadow")
def nothing_is_to_be_in_shadow_any_more(cloud):
    in_shadow(cloud, since=NOW - 4 * DAY)
    state = cloud.ports.ledger.read("churn")
    recorded(cloud, PromotionApproved, version=state.shadow.version, instead_of=1, evidence={})
    return told(cloud)


@story("compare_shadow")
def a_candidate_is_proven_better(cloud):
    in_shadow(cloud, since=NOW - 4 * DAY)
    answered_by_both(cloud, NOW - 4 * DAY, 2, production=1, shadow=2, production_says=wrong)
    return ticking(cloud, "churn.challenger")


@story("compare_shadow")
def a_candidate_waits_for_a_persons_approval(cloud):
    spec = {"deployment": {"approval": "manual"}}
    in_shadow(cloud, since=NOW - 4 * DAY, **spec)
    answered_by_both(cloud, NOW - 4 * DAY, 2, production=1, shadow=2, production_says=wrong)
    return ticking(cloud, "churn.challenger")


@story("compare_shadow")
def a_candidate_is_proven_worse(cloud):
    in_shadow(cloud, since=NOW - 4 * DAY)
    answered_by_both(cloud, NOW - 4 * DAY, 2, production=1, shadow=2, shadow_says=wrong)
    return ticking(cloud, "churn.challenger")


@story("compare_shadow")
def there_is_no_verdict_yet(cloud):
    in_shadow(cloud, since=NOW - 4 * DAY)
    answered_by_both(cloud, NOW - 4 * DAY, 1, production=1, shadow=2, rows=40)
    return ticking(cloud, "churn.challenger")


@story("compare_shadow")
def the_sentinel_is_proven_better(cloud):
    watched_by_labels(cloud, since=NOW - 8 * DAY, deployment={"quality_bake": "20d"})
    answered_by_both(cloud, NOW - 8 * DAY, 6, production=2, shadow=1, production_says=wrong, rows=120)
    return ticking(cloud, "churn.sentinel")


@story("compare_shadow")
def the_quality_bake_is_passed(cloud):
    watched_by_labels(cloud, since=NOW - 4 * DAY)
    answered_by_both(cloud, NOW - 4 * DAY, 1, production=2, shadow=1, rows=60)
    return ticking(cloud, "churn.sentinel")


# --- repoint_alias and watch_deployment -------------------------------------------------------------------------------


@story("repoint_alias")
def a_promotion_is_carried_out(cloud):
    in_shadow(cloud, since=NOW - 4 * DAY)
    recorded(cloud, PromotionApproved, version=2, instead_of=1, evidence={})
    return told(cloud)


@story("repoint_alias")
def a_rollback_is_carried_out(cloud):
    watched_by_labels(cloud, since=NOW - DAY)
    recorded(cloud, RollbackDecided, version=2, to_version=1, cause=RollbackCause.QUALITY, evidence={})
    return told(cloud)


def as_a_canary(cloud):
    """Version 2 answers a tenth of the requests in its ops bake, version 1 the rest."""
    spec = {"canary_share": 0.1} | SHORT_CYCLES["deployment"]
    replaced(cloud, time=NOW - HOUR, deployment=spec)


@story("repoint_alias")
def a_version_is_promoted_as_a_canary(cloud):
    in_production(cloud, deployment={"canary_share": 0.1} | SHORT_CYCLES["deployment"])
    registered(cloud, 1, time=NOW - HOUR)
    recorded(cloud, PromotionApproved, version=2, instead_of=1, evidence={})
    return told(cloud)


@story("repoint_alias")
def a_canary_passes_its_ops_bake(cloud):
    as_a_canary(cloud)
    passed(cloud, 2, time=NOW)
    return told(cloud)


@story("reconcile", look=_all_but_the_first_look)
def a_canary_that_nobody_ended_is_ended(cloud):
    as_a_canary(cloud)
    passed(cloud, 2, time=NOW - 30 * MINUTE)
    return {"time": at(NOW)}


@story("watch_deployment")
def a_watch_begins(cloud):
    replaced(cloud, time=NOW)
    return told(cloud, "VersionPromoted")


def baking(cloud, *, errors):
    """Version 2 has answered for half an hour, version 1 did the day before."""
    since = NOW - 31 * MINUTE
    replaced(cloud, time=since)
    cloud.call("watch_deployment", told(cloud, "VersionPromoted") | {"time": at(since)})
    traffic(1, since - HOUR, Requests=5_000, Errors=10, SlowRequests=0)
    traffic(2, since + 5 * MINUTE, Requests=2_000, Errors=errors, SlowRequests=0)


@story("watch_deployment")
def a_tick_finds_too_many_errors(cloud):
    baking(cloud, errors=900)
    return ticking(cloud, "churn.ops-bake")


@story("watch_deployment")
def a_tick_ends_the_bake(cloud):
    baking(cloud, errors=2)
    return ticking(cloud, "churn.ops-bake")


@story("watch_deployment")
def an_alarm_finds_too_many_errors(cloud):
    baking(cloud, errors=900)
    return cloud.event("alarm_eventbridge") | {"time": at(NOW)}


@story("watch_deployment")
def a_bad_version_has_nothing_to_go_back_to(cloud):
    since = NOW - 31 * MINUTE
    cloud.applied()
    promoted(cloud, registered(cloud, time=since), time=since)
    cloud.call("watch_deployment", told(cloud, "VersionPromoted") | {"time": at(since)})
    traffic(1, since + 5 * MINUTE, Requests=2_000, Errors=900, SlowRequests=0)
    return ticking(cloud, "churn.ops-bake")


# --- reconcile --------------------------------------------------------------------------------------------------------


@story("reconcile", look=_all_but_the_first_look)
def an_alias_was_moved_and_a_training_never_started(cloud):
    in_production(cloud, time=NOW - 12 * DAY)
    base_data(cloud)
    cloud.call("evaluate_triggers", wished(cloud, time=NOW - 2 * HOUR))
    epoch = cloud.ports.ledger.read("churn").epoch
    cloud.ports.aliases.repoint(AliasRecord("churn", "production", 7, "models/churn/v7/m.tar.gz", "7" * 64, epoch))
    return {"time": at(NOW)}


@story("reconcile", look=_all_but_the_first_look)
def schedules_are_gone_and_captures_came_after_their_labels(cloud):
    cloud.applied(**SHORT_CYCLES)
    promoted(cloud, registered(cloud, time=NOW - HOUR), time=NOW - HOUR)
    late, overdue = [(f"l{i}", 41.0, 1) for i in range(5)], [("nobody-asked", 41.0, 1)]
    cloud.call("join_labels", labelled(cloud, NOW - 5 * HOUR, late))
    cloud.call("join_labels", labelled(cloud, NOW - 8 * DAY, overdue))
    captured(cloud, NOW - 6 * HOUR, late)
    return {"time": at(NOW)}


@story("reconcile", look=_all_but_the_first_look)
def the_end_of_a_training_and_a_repoint_were_never_heard_of(cloud):
    in_training(cloud)
    ended(cloud)
    in_production(cloud, model="orders", time=NOW - 12 * DAY)
    registered(cloud, 1, time=NOW - 2 * HOUR, model="orders")
    decide.force_promotion("orders", 2, "a story", "ada", now=NOW - 2 * HOUR, ports=cloud.ports)
    return {"time": at(NOW + 2 * HOUR)}


# --- files ------------------------------------------------------------------------------------------------------------


@story("profile_capture")
def a_capture_file_of_two_versions_with_lines_that_can_not_be_read(cloud):
    replaced(cloud)
    lines = [
        capture_line(
            Capture(f"c{i}", NOW - HOUR, 1 + i % 2, {"age": 30.0 + i, "plan": "a"}, "1", {"0": 0.2, "1": 0.8}),
            model="churn",
            variant="production",
        )
        for i in range(20)
    ]
    key = f"captures/churn/production/{NOW - HOUR:%Y/%m/%d/%H}/part-1.jsonl"
    return arrived(cloud, key, [*lines, b"not a capture"])


@story("profile_capture")
def a_capture_file_of_the_shadow(cloud):
    in_shadow(cloud, since=NOW - DAY)
    capture = Capture("c1", NOW - HOUR, 2, {"age": 30.0, "plan": "a"}, "1", {"0": 0.2, "1": 0.8})
    key = f"captures/churn/shadow/{NOW - HOUR:%Y/%m/%d/%H}/part-1.v2.jsonl"
    return arrived(cloud, key, [capture_line(capture, model="churn", variant="shadow")])


@story("score_shadow")
def the_shadow_answers_a_capture_file(cloud):
    in_shadow(cloud, since=NOW - DAY)
    return captured(cloud, NOW - HOUR, [(f"s{i}", 30.0 + i, 1) for i in range(20)]) | {"time": at(NOW)}


@story("join_labels")
def labels_meet_captures_or_wait_or_can_not_be_read(cloud):
    in_shadow(cloud, since=NOW - DAY)
    asked = [(f"j{i}", 30.0 + i, i % 2) for i in range(10)]
    captured(cloud, NOW - 3 * HOUR, asked)
    captured(cloud, NOW - 3 * HOUR, asked, version=2, variant="shadow", stem="part.v2")
    lines = [ground_truth_line(GroundTruth(name, str(truth)), model="churn") for name, _, truth in asked]
    lines += [ground_truth_line(GroundTruth("not-yet-captured", "1"), model="churn"), b"not a label"]
    return arrived(cloud, f"ground-truth/churn/{NOW - HOUR:%Y/%m/%d/%H}/labels.jsonl", lines)


# --- feedback and requests --------------------------------------------------------------------------------------------


KEEPS_FRESH = {"freshness": {"enabled": True}, "labels": {"classes": ["0", "1"], "maturity": "1d"}}


@story("collect_feedback", look=_world_and_answer)
def labels_come_with_the_features_that_were_asked_about(cloud):
    cloud.applied(**KEEPS_FRESH)
    labels = [
        {"inference_id": f"order-{i}", "label": str(i % 2), "features": {"age": 30 + i, "plan": "a"}} for i in range(12)
    ]
    return cloud.event("http_feedback") | {"body": json.dumps({"labels": labels})}


def kept_fresh(cloud):
    """Version 1 is in production, and its answers follow the labels."""
    cloud.applied(**SHORT_CYCLES, **KEEPS_FRESH)
    promoted(cloud, registered(cloud, time=NOW - 10 * DAY, freshness=True), time=NOW - 10 * DAY)
    passed(cloud, 1, time=NOW - 10 * DAY + HOUR)


def asked_and_labelled(cloud, time):
    """Sixty requests at a time, and their labels an hour later."""
    asked = [(f"o{at(time)}-{i}", float(30 + i % 20), i % 2) for i in range(60)]
    captured(cloud, time, asked)
    cloud.call("join_labels", labelled(cloud, time + HOUR, asked))
    return asked


@story("learn_live")
def labels_have_matured_for_a_version_and_another_has_no_state_yet(cloud):
    kept_fresh(cloud)
    cloud.call("learn_live", {"time": at(NOW - 5 * DAY)})
    for day in (4, 3):
        asked_and_labelled(cloud, NOW - day * DAY)
    registered(cloud, 1, time=NOW - 2 * DAY, freshness=True)
    return {"time": at(NOW)}


@story("learn_live")
def labels_come_again_beside_new_ones_and_the_oldest_states_are_needed_no_more(cloud):
    kept_fresh(cloud)
    for day in range(9, 2, -1):
        asked = asked_and_labelled(cloud, NOW - day * DAY)
        cloud.call("learn_live", {"time": at(NOW - (day - 2) * DAY)})
    key = f"ground-truth/churn/{NOW - DAY:%Y/%m/%d/%H}/again.jsonl"
    lines = [ground_truth_line(GroundTruth(name, str(truth)), model="churn") for name, _, truth in asked]
    cloud.call("join_labels", arrived(cloud, key, lines))
    asked_and_labelled(cloud, NOW - 2 * DAY)
    return {"time": at(NOW)}


def _answer_and_what_was_captured(cloud, answer):
    """A capture may be lost to a fault, the answer may not: what was captured is what was answered."""
    left = cloud.left()
    lines = [json.loads(line)["eventMetadata"]["eventId"] for line in left.pop("stream captures")]
    answered = answer and json.loads(answer["body"])
    ids = {row["inference_id"] for row in answered["predictions"]} if answered else set()
    if answered:
        del answered["request_id"]  # each asking has its own
    return {**left, "answer": {"body": answered}, "captured": {"only what was answered": set(lines) <= ids}}


@story("predict", look=_answer_and_what_was_captured)
def production_answers_a_request(cloud):
    in_production(cloud)
    rows = [{"age": 41, "plan": "a"}, {"age": 18, "plan": "b"}]
    body = json.dumps({"instances": rows, "inference_ids": ["order-17", "order-18"]})
    return cloud.event("http_predict") | {"body": body}


# --- endpoints of kind sagemaker --------------------------------------------------------------------------------------

AT_AN_ENDPOINT = {"endpoint": {"kind": "sagemaker"}}


def _but_for_how_late_it_was_wanted(cloud, answer):
    """What is wanted of an endpoint is guarded by the epoch of whoever looked last, which a second look raises."""
    left = _all_but_the_first_look(cloud, answer)
    aliases = {
        key: {name: value for name, value in item.items() if "wanted-" not in key or name != "epoch"}
        for key, item in left["aliases"].items()
        if "wanted-shadow" not in key or item["version"] != {"N": "0"}
    }
    return {**left, "aliases": aliases}


def changed(cloud, *, after=HOUR):
    """The event of the endpoint that has ended its change."""
    event = cloud.event("endpoint_in_service")
    return event | {"time": at(NOW + after), "detail": event["detail"] | {"EndpointName": "churn"}}


def moved(cloud, event):
    """A decision is carried out, up to the end of the endpoint's change."""
    cloud.call("repoint_alias", event)
    cloud.endpoints.arrives("churn")
    cloud.call("repoint_alias", changed(cloud))


def answering(cloud, *, versions=1):
    """Versions have taken over from one another at an endpoint, each of them good."""
    cloud.applied(**SHORT_CYCLES | AT_AN_ENDPOINT)
    for number in range(1, versions + 1):
        registered(cloud, number - 1)
        decide.force_promotion("churn", number, "a story", "ada", now=NOW - 9 * DAY, ports=cloud.ports)
        moved(cloud, told(cloud))
        passed(cloud, number)
        if number > 1:
            passed(cloud, number, BakePhase.QUALITY)


def asked_for_the_second(cloud):
    """Version 2 is on its way to take over from version 1."""
    answering(cloud)
    registered(cloud, 1)
    decide.force_promotion("churn", 2, "a story", "ada", now=NOW, ports=cloud.ports)
    cloud.call("repoint_alias", told(cloud))


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def an_endpoint_is_made_for_the_first_version(cloud):
    cloud.applied(**AT_AN_ENDPOINT)
    registered(cloud)
    decide.force_promotion("churn", 1, "a story", "ada", now=NOW, ports=cloud.ports)
    return told(cloud)


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def a_promotion_is_asked_of_an_endpoint(cloud):
    answering(cloud)
    registered(cloud, 1)
    decide.force_promotion("churn", 2, "a story", "ada", now=NOW, ports=cloud.ports)
    return told(cloud)


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def an_endpoint_has_become_what_was_asked(cloud):
    asked_for_the_second(cloud)
    cloud.endpoints.arrives("churn")
    return changed(cloud)


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def an_endpoint_went_back_by_itself(cloud):
    asked_for_the_second(cloud)
    cloud.endpoints.goes_back("churn")
    return changed(cloud)


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def a_rollback_of_an_endpoint_fails(cloud):
    answering(cloud, versions=2)
    decided = {"version": 2, "to_version": 1, "cause": RollbackCause.ERRORS, "evidence": {}}
    recorded(cloud, RollbackDecided, **decided)
    cloud.call("repoint_alias", told(cloud))
    cloud.endpoints.goes_back("churn")
    return changed(cloud)


@story("watch_deployment")
def an_alarm_of_an_endpoint_finds_too_many_errors(cloud):
    answering(cloud, versions=2)
    alarm, now = cloud.event("alarm_eventbridge"), NOW + 3 * HOUR
    endpoint = {"EndpointName": "churn", "VariantName": "production"}
    counted("AWS/SageMaker", endpoint, now - 5 * MINUTE, Invocations=2_000, Invocation5XXErrors=900)
    metric = alarm["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]
    metric |= {"namespace": "AWS/SageMaker", "dimensions": endpoint}
    return alarm | {"time": at(now)}


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def a_shadow_is_asked_of_an_endpoint(cloud):
    answering(cloud)
    registered(cloud, 1)
    cloud.call("compare_shadow", told(cloud))
    return told(cloud, "ShadowStarted")


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def a_shadow_that_an_endpoint_can_not_run_is_retired(cloud):
    answering(cloud)
    registered(cloud, 1)
    cloud.call("compare_shadow", told(cloud))
    cloud.call("repoint_alias", told(cloud, "ShadowStarted"))
    cloud.endpoints.goes_back("churn")
    return changed(cloud)


@story("repoint_alias", look=_but_for_how_late_it_was_wanted)
def what_no_version_of_an_endpoint_needs_is_deleted(cloud):
    answering(cloud, versions=4)
    return told(cloud, "BakePassed")


def _but_for_what_only_the_next_event_notes(cloud, answer):
    """That SageMaker took the change is noted by whoever asked or, had that one died, by the next event of it."""
    left = _but_for_how_late_it_was_wanted(cloud, answer)
    attempt = left["aliases"].pop("churn/attempt")
    body = json.loads(attempt["body"]["S"]) | {"accepted": None}
    return {**left, "attempt": body}


@story("reconcile", look=_but_for_what_only_the_next_event_notes)
def a_rollback_leads_to_a_version_that_is_damaged(cloud):
    answering(cloud, versions=2)
    first = cloud.ports.ledger.read("churn").version(1)
    cloud.ports.artifacts.put(first.artifact.removeprefix("s3://artifacts/"), b"other bytes")
    boto3.client("sagemaker").delete_model(ModelName=f"evergreen-churn-v1-{first.sha256[:8]}")
    decided = {"version": 2, "to_version": 1, "cause": RollbackCause.ERRORS, "evidence": {}}
    recorded(cloud, RollbackDecided, **decided, time=NOW - HOUR)
    cloud.call("repoint_alias", told(cloud) | {"time": at(NOW - HOUR)})
    return {"time": at(NOW)}


@story("reconcile", look=_but_for_what_only_the_next_event_notes)
def an_endpoint_was_pointed_elsewhere(cloud):
    answering(cloud, versions=2)
    first = next(name for name in cloud.endpoints.configs if "-p1-" in name)
    cloud.endpoints.is_pointed("churn", first)
    return {"time": at(NOW)}
