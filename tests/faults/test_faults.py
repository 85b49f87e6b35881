"""Every AWS call of every function fails in turn, and its event comes again: it ends as a day without faults."""

import functools
import json
from pathlib import Path

import pytest
from fault_injection import every_fault, every_kind, one_fault_a_call
from fault_runner import Story, run_story
from fault_stories import STORIES

from evergreen import bootstrap

# A child begins with the one thread that made it, and uses nothing that the others hold.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
ONE_OF_EACH = list({story.folder: story for story in reversed(STORIES)}.values())[::-1]  # the first of each function
WITH_A_SERVER_OF_ITS_OWN = {"update_registry"}  # test_registry_faults.py tells its stories


def held(story, faults, report):
    """Run the story; it must do something, and end the same whatever failed."""
    outcome = run_story(story, faults)
    report.cases += outcome.cases
    assert outcome.changed, f"{story} changes nothing: it would prove nothing"
    assert "\n\n".join(map(str, outcome.violations)) == ""


def test_every_function_has_its_stories():
    assert {story.folder for story in STORIES} | WITH_A_SERVER_OF_ITS_OWN == set(FUNCTIONS)


@pytest.mark.parametrize("story", ONE_OF_EACH, ids=str)
def test_a_call_that_fails_leaves_no_trace_once_the_event_came_again(story, fault_report):
    held(story, one_fault_a_call, fault_report)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_each_fault_at_each_call_leaves_no_trace_once_the_event_came_again(story, fault_report, request):
    thorough = every_kind if story in ONE_OF_EACH else one_fault_a_call
    held(story, every_fault if request.config.getoption("--faults") == "full" else thorough, fault_report)


# --- what the machinery finds -----------------------------------------------------------------------------------------


def files():
    return bootstrap.ports().data


def notes_before_it_acts(event, context):
    """Whoever dies in between is believed to have acted."""
    if "noted" not in files().keys(""):
        files().put("noted", b"done")
        files().put("acted", b"an effect")
    return {}


def acts_before_it_notes(event, context):
    """The right order: the effect is the same however often it is had."""
    if "noted" not in files().keys(""):
        files().put("acted", b"an effect")
        files().put("noted", b"done")
    return {}


def counts_deliveries(event, context):
    """Every delivery leaves its own trace."""
    count = len(list(files().keys("delivery-")))
    files().put(f"delivery-{count}", b"")
    return {}


def swallows_what_went_wrong(event, context):
    """A failure that nobody hears of is not tried again."""
    try:
        files().put("acted", b"an effect")
    except Exception:
        return {}
    return {}


@functools.cache
def outcome_of(handler):
    story = Story(handler, "a toy", lambda cloud: {}, lambda cloud, answer: cloud.left())
    return run_story(story, every_fault)


def found_in(handler):
    return {(case.call, case.fault) for case in outcome_of(handler).violations}


def test_an_effect_before_its_note_survives_every_fault():
    outcome = outcome_of(acts_before_it_notes)
    assert outcome.calls == ("s3.ListObjectsV2", "s3.PutObject", "s3.PutObject")
    assert len(outcome.cases) == 3 * 7 + 1
    assert outcome.violations == []


def test_a_note_before_its_effect_is_found_out():
    put = "s3.PutObject"
    after_the_note = {(put, "death after"), (put, "5xx though done"), (put, "read timeout though done")}
    before_the_effect = {(put, fault) for fault in ("throttled", "5xx", "connect timeout", "death before")}
    assert found_in(notes_before_it_acts) == after_the_note | before_the_effect


def test_an_effect_that_depends_on_how_often_it_is_had_is_found_out():
    assert ("", "delivered twice") in found_in(counts_deliveries)


def test_a_failure_that_is_swallowed_is_found_out():
    found = found_in(swallows_what_went_wrong)
    assert {fault for _, fault in found} == {"throttled", "5xx", "connect timeout"}


def test_a_violation_tells_where_it_is_and_what_differs():
    told = {str(case) for case in outcome_of(notes_before_it_acts).violations}
    where = "notes_before_it_acts, a toy: death after at call 1 (s3.PutObject)"
    assert f"{where}\ndata > acted: an effect is missing" in told


def test_the_report_counts_functions_call_points_and_faults(fault_report):
    report = type(fault_report)(outcome_of(acts_before_it_notes).cases)
    *_, totals = report.lines()
    assert " ".join(totals.split()) == "all 1 stories x 3 call points x 7 faults: 22 cases, 0 violations"
    told = json.loads(json.dumps(report.to_json()))
    assert (told["call_points"], told["violations"]) == (3, 0)
    assert told["functions"]["acts_before_it_notes"]["a toy"]["1 s3.PutObject"]["death after"] == "held"
