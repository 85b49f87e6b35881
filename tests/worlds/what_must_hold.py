"""What must be true of a model in a living cloud whatever was delivered, found in its history and in the services.

The history is read here without the state machine that wrote it: each rule is told again in a few lines.
"""

import json
from collections import Counter
from dataclasses import replace

from living_cloud import MODEL

from evergreen.domain import event_json
from evergreen.domain.invariants import violations
from evergreen.domain.state import BakePhase, ModelState, VersionStatus
from evergreen.domain.transitions import transition
from evergreen.usecases.compare_shadow import schedule_name as shadow_schedule
from evergreen.usecases.update_registry import aliases_of
from evergreen.usecases.watch_deployment import schedule_name as bake_schedule


def always(cloud):
    """Check what holds after every step."""
    state, items = cloud.state, cloud.told()
    assert violations(state) == ()
    _chain_is_unbroken(state, items)
    told = [(item["type"]["S"], json.loads(item["body"]["S"])) for item in items]
    _one_run_at_a_time(told)
    _production_is_replaced_as_it_was_decided(told)
    _only_the_proven_come_back(told)
    _what_went_back_is_told_once(cloud, told)
    _one_job_an_attempt(cloud, told)
    _somebody_answers(cloud, state)


def in_the_end(cloud):
    """Check what holds once everything was delivered and reconciled."""
    always(cloud)
    assert cloud.told() == cloud.items(), "the history was written over"
    state = cloud.state
    assert not cloud.is_changing(), "the endpoint changes for ever"
    assert state.repoint is None, "a repoint was never carried out"
    _what_went_back_was_told_or_asked_again(cloud)
    assert cloud.alias("production") == state.production
    _only_a_version_in_its_ops_bake_is_a_canary(cloud, state)
    assert cloud.alias("shadow") == (None if state.shadow is None else state.shadow.version)
    projected = aliases_of(state)
    assert (projected["production"], projected["shadow"]) == (cloud.alias("production"), cloud.alias("shadow"))
    assert cloud.running_jobs() == ([] if state.run is None else [state.run.job_name])
    if state.bake is not None and state.bake.phase is BakePhase.OPS:
        assert bake_schedule(MODEL, state.bake) in cloud.schedules()
    if state.shadow is not None:
        assert shadow_schedule(MODEL, state.shadow) in cloud.schedules()


def _chain_is_unbroken(state, items):
    """Each item has the hash of what it says and of the one before, and together they give the state."""
    replayed = ModelState(MODEL)
    for epoch, item in enumerate(items, start=1):
        name, body = item["type"]["S"], item["body"]["S"]
        assert int(item["epoch"]["N"]) == epoch, "an event is missing"
        replayed = transition(replayed, event_json.event_from_json(name, body))
        digest = event_json.chain_hash(replayed.last_hash, epoch, name, body)
        assert item["hash"]["S"] == digest, f"the chain is broken at {epoch}"
        replayed = replace(replayed, last_hash=digest)
    assert replayed == state, "the history does not give the state"


def _one_run_at_a_time(told):
    open_run = None
    for name, event in told:
        if name == "RetrainingRequested":
            assert open_run is None, f"{event['decision_id']} was requested while {open_run} was open"
            open_run = event["decision_id"]
        elif _ends_the_run(name, event) and event["decision_id"] == open_run:
            open_run = None


def _ends_the_run(name, event):
    return name in ("CandidateRejected", "CandidateRegistered") or (name == "TrainingFailed" and event["final"])


def _production_is_replaced_as_it_was_decided(told):
    """Each repoint was decided once, against the production of that moment, on evidence that is about it."""
    production, decided = None, None
    for name, event in told:
        if name in ("PromotionApproved", "RollbackDecided"):
            assert decided is None, "a repoint was decided while another was under way"
            decided = (name, event)
        if name == "PromotionApproved":
            assert event["instead_of"] == production, "judged against an older production"
            judged = event["evidence"].get("judged_against", production)
            assert judged == production, "the evidence is against an older production"
        elif name == "RollbackDecided":
            assert event["version"] == production, "rolled back what was not in production"
        elif name == "VersionPromoted":
            assert decided is not None, "promoted twice, or never approved"
            assert decided[0] == "PromotionApproved"
            assert (event["version"], event["replaced"]) == (decided[1]["version"], decided[1]["instead_of"])
            production, decided = event["version"], None
        elif name == "RepointFailed":
            assert decided is not None, "what was never decided has failed"
            assert event["instead_of"] == production, "it answers as before"
            if event["cause"] is None:  # a rollback goes on
                assert (decided[0], decided[1]["version"]) == ("PromotionApproved", event["version"])
                decided = None
        elif name == "VersionRolledBack":
            assert decided is not None, "rolled back twice, or never decided"
            assert decided[0] == "RollbackDecided"
            assert (event["version"], event["to_version"]) == (decided[1]["version"], decided[1]["to_version"])
            production, decided = event["to_version"], None


def _only_the_proven_come_back(told):
    """A rollback leads to a version that passed all its bakes; one that was rolled back never answers again."""
    good, bad = set(), set()
    for name, event in told:
        version = event.get("version")
        if name == "VersionPromoted":
            assert version not in bad, "a version that was rolled back is back"
        elif name == "BakePassed":
            # With a good version to return to, the labels of the new one are watched next.
            if event["phase"] == "quality" or not good - bad - {version}:
                good.add(version)
        elif name == "RollbackImpossible":
            good.discard(version)
        elif name == "RollbackDecided":
            assert event["to_version"] in good - bad, "rolled back to a version that is not known to be good"
        elif name == "VersionRolledBack" or (name == "RepointFailed" and event["cause"] is None):
            bad.add(version)


def _configs_told(told):
    """The configurations of an endpoint that a repoint is told to have failed with."""
    return [event["endpoint"]["config"] for name, event in told if name == "RepointFailed"]


def _what_went_back_is_told_once(cloud, told):
    """A repoint that SageMaker undid, silently as it does, and nothing else."""
    configs = _configs_told(told)
    assert len(configs) == len(set(configs)), "it is told twice that an endpoint went back"
    assert set(configs) <= set(cloud.went_back), "it is told that an endpoint went back, and it did not"


def _what_went_back_was_told_or_asked_again(cloud):
    """A repoint that SageMaker undid is told, or was asked for once more (nobody had noted it) and is there."""
    told = _configs_told([(item["type"]["S"], json.loads(item["body"]["S"])) for item in cloud.told()])
    repoints = {config for config, is_repoint in cloud.went_back.items() if is_repoint}
    assert repoints <= cloud.became | set(told), "an endpoint went back, and nobody knows"


def _one_job_an_attempt(cloud, told):
    """As many jobs as attempts: the first of each retraining, and one more after each failure that was not final."""
    allowed = Counter(event["decision_id"] for name, event in told if name == "RetrainingRequested")
    allowed += Counter(event["decision_id"] for name, event in told if name == "TrainingFailed" and not event["final"])
    there = Counter(json.loads(job.hyper_parameters["decision_id"]) for job in cloud.jobs().values())
    assert there <= allowed, f"jobs: {there}, attempts: {allowed}"
    started = [event["job_name"] for name, event in told if name == "TrainingStarted"]
    assert len(started) == len(set(started)), "a job was recorded twice"


def _somebody_answers(cloud, state):
    """The endpoint answers with the version in production, or with the one that is to take its place."""
    allowed = {state.production} | ({state.repoint.version} if state.repoint is not None else set())
    assert cloud.alias("production") in allowed
    record = cloud.ports.aliases.read(MODEL, "production")
    if record is not None and record.canary is not None:
        beside = state.version(record.canary.version)
        takes_over = state.repoint is not None and state.repoint.version == beside.number
        good = beside.status is VersionStatus.GOOD or takes_over
        assert good, "the rest of the requests goes to a version that is not good"
        assert (record.canary.artifact, record.canary.sha256) == (_key(beside), beside.sha256)


def _only_a_version_in_its_ops_bake_is_a_canary(cloud, state):
    """With a good version beside it; every other version answers all requests."""
    record = cloud.ports.aliases.read(MODEL, "production")
    if state.spec["endpoint"]["kind"] != "lambda":
        assert record is None, "the predict function answers for an endpoint"
        return
    bake = state.bake
    watched = bake is not None and bake.phase is BakePhase.OPS and bake.replaced is not None
    good = [v.number for v in state.versions if v.status is VersionStatus.GOOD and v.number != state.production]
    if not watched or not good:
        assert record is None or record.canary is None
        return
    assert record.canary.share == state.spec["deployment"]["canary_share"]
    assert record.canary.version == (bake.replaced if bake.replaced in good else state.last_known_good().number)


def _key(version):
    return version.artifact.removeprefix("s3://artifacts/")
