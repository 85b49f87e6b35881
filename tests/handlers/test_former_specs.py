"""What a former release left in the ledger: specs with `online:`, and runs that were to publish a checkpoint."""

from contextlib import suppress

import pytest
from calls import CALLS
from live_world import DAY, MODEL, SPEC, LiveWorld
from small_cloud import CHURN, NOW, open_cloud

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import ModelApplied, RetrainingRequested
from evergreen.spec import ModelSpec
from evergreen.usecases.launch_training import launch_training
from evergreen.usecases.people import apply, why

ONLINE = {
    "enabled": True,
    "estimator": "GaussianNB",
    "params": {},
    "labels": "at_once",
    "new_classes": "refuse",
    "batch_size": 50,
    "checkpoint": "1d",
    "cycle": "1d",
    "trial": "1w",
}
CHECKPOINT = {"number": 3, "key": "online/churn/checkpoints/0000000003-cc.state", "sha256": "c" * 64, "rows": 350}


def stored(cloud, *, now=NOW, online=ONLINE, **more):
    """A spec as a former release stored it: every key of its own, and that freshness is off."""
    document = ModelSpec.parse(CHURN | more).to_json() | {"online": online, "freshness": {"enabled": False}}
    fingerprint = ModelSpec.parse(document).fingerprint
    state = apply.apply_model(ModelSpec.parse(CHURN | more), now=now, ports=cloud.ports)
    told = ModelApplied(time=now, actor="ada", because="then", spec=document, fingerprint=fingerprint)
    return cloud.ports.ledger.record(state, told)


@pytest.mark.parametrize("function", CALLS)
def test_every_function_reads_it(cloud, function):
    stored(cloud)
    with suppress(FileNotFoundError):  # the file of the event is not there
        cloud.call(function, CALLS[function])
    state = cloud.ports.ledger.read(MODEL)
    assert (state.spec["online"], spec_of(state).freshness.enabled) == (ONLINE, True)


def test_who_learned_online_learns_live_from_then_on_and_who_did_not_does_not():
    for enabled in (True, False):
        with open_cloud(LiveWorld) as world:
            world.begin(freshness={"enabled": False})
            learned_online = ONLINE | {"enabled": enabled}
            stored(world, now=world.now, online=learned_online, labels=SPEC["labels"], training=SPEC["training"])
            for _ in range(3):
                world.day()
            assert (world.pointer_of() is not None and world.pointer_of().rows > 0) is enabled


def test_to_apply_it_anew_writes_it_in_the_keys_of_today_and_tells_of_no_change(cloud):
    stored(cloud)
    spec = ModelSpec.parse(CHURN | {"freshness": {"enabled": True}})
    state = apply.apply_model(spec, now=NOW, ports=cloud.ports)
    assert "online" not in state.spec
    last = cloud.ports.ledger.history(MODEL)[-1]
    assert last.because == "the spec says what it said, in the keys of this release"
    assert apply.apply_model(spec, now=NOW, ports=cloud.ports) == state, "once"


def test_to_turn_it_off_is_told_as_what_it_is(cloud):
    stored(cloud)
    apply.apply_model(ModelSpec.parse(CHURN), now=NOW, ports=cloud.ports)
    assert cloud.ports.ledger.history(MODEL)[-1].because == "the spec was changed: freshness.enabled true -> false"


# --- runs that were to publish a checkpoint -------------------------------------------------------------------------


def test_a_run_that_waits_to_publish_a_checkpoint_is_let_go_with_the_reason(cloud):
    state = stored(cloud)
    asked = {"decision_id": "d3", "trigger": "online", "checkpoint": CHECKPOINT}
    cloud.ports.ledger.record(state, RetrainingRequested(time=NOW, actor="tend_online", because="better", **asked))
    for _ in range(2):
        assert launch_training(MODEL, "d3", now=NOW, ports=cloud.ports) is None
    state, last = cloud.ports.ledger.read(MODEL), cloud.ports.ledger.history(MODEL).documents[-1]
    assert (state.run, state.retrainings) == (None, ())
    assert (last["type"], last["final"]) == ("TrainingFailed", True)
    assert last["because"].startswith("checkpoints of an online state are no longer published")
    told = why.why(MODEL, NOW + DAY, ports=cloud.ports)
    assert "no longer published" in told.answers[0].said
