"""From a history to a timeline, a summary and a page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evergreen.domain.history import History
from evergreen_ops.commands.replay import _print_summary
from evergreen_ops.replay import report
from evergreen_ops.replay.explain import explain
from evergreen_ops.replay.policies import parse_policies, simulate
from evergreen_ops.replay.recipe import StreamRecipe
from evergreen_ops.replay.result import DrillOutcome, Replay, Served
from evergreen_ops.replay.specs import base_of, infer_spec
from evergreen_ops.replay.streams import Stream, read_table
from evergreen_ops.timeline import Mark, lines

START = datetime(2024, 1, 1, tzinfo=UTC)
EVIDENCE = {
    "version": 2,
    "judged_against": 1,
    "rows": 1_000,
    "production_loss": 0.2,
    "shadow_loss": 0.1,
    "gain": 0.1,
    "interval": [0.05, 0.15],
    "log_e_promote": 12.0,
    "log_e_keep": -3.0,
}


# What every event of these types says, and no page shows.
UNSHOWN: dict[str, dict[str, Any]] = {
    "ModelApplied": {"spec": {}},
    "TrainingStarted": {"job_name": "traffic-1-0", "snapshot": "ab"},
    "CandidateRegistered": {"artifact": "", "sha256": "", "fingerprint": "", "reference": "", "trained_until": None}
    | {"gate": {}},
    "VersionPromoted": {"endpoint": {}},
    "VersionRolledBack": {"endpoint": {}},
}


def event(kind: str, day: float, because: str = "", **details: Any) -> dict[str, Any]:
    time = (START + timedelta(days=day)).isoformat()
    about = {"model": "traffic", "epoch": 1, "type": kind, "time": time, "because": because, "actor": "test"}
    return about | UNSHOWN.get(kind, {}) | details | {"hash": ""}


DOCUMENTS = (
    event("ModelApplied", 1),
    event("RetrainingRequested", 1, "first", decision_id="d1", trigger="business_event"),
    event("TrainingStarted", 1, decision_id="d1", rows=500, attempt=0),
    event("CandidateRegistered", 1, version=1, decision_id="d1", rows_trained=500),
    event("VersionPromoted", 1, version=1, replaced=None),
    event("RetrainingHeldBack", 2, "the cooldown is 7 days", would_have="data_drift"),
    event("RetrainingHeldBack", 3, "the cooldown is 7 days", would_have="data_drift"),
    event("RetrainingRequested", 4, "<b>W1/sd</b> of 'x' is 0.3", decision_id="d2", trigger="data_drift"),
    event("TrainingStarted", 4, decision_id="d2", rows=900, attempt=0),
    event("CandidateRegistered", 4, version=2, decision_id="d2", rows_trained=900),
    event("ShadowStarted", 4, version=2, judged_against=1),
    event("PromotionApproved", 6, "gain", version=2, instead_of=1, evidence=EVIDENCE),
    event("VersionPromoted", 6, version=2, replaced=1),
    event("RollbackDecided", 7, "5 of 5 requests failed", version=2, to_version=1, cause="errors", evidence={}),
    event("VersionRolledBack", 7, version=2, to_version=1, cause="errors"),
)
HISTORY = History.of_documents("traffic", DOCUMENTS)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return read_table(pa.table({"x": np.arange(5_000) % 13, "label": np.arange(5_000) % 13 > 6}), name="traffic")


@pytest.fixture(scope="module")
def finished(stream: Stream) -> Replay:
    base, spec = base_of(stream), infer_spec(stream)
    served = Served.nothing(stream)
    served.predictions[base.rows :] = stream.label[base.rows :]
    served.probabilities[base.rows :] = 0.5  # type: ignore[index]
    served.versions[base.rows :] = 1
    served.failed[base.rows] = True
    never = simulate(parse_policies("never")[0], stream, spec, base, StreamRecipe(stream, spec))
    drill = (DrillOutcome("errors", 2, True, "errors: 5 of 5 requests failed", 1, 5.0),)
    return Replay(stream, spec, base, HISTORY, served, 12.0, 300.0, drill, (never,))


def test_the_summary_counts_what_came_after_the_first_model(finished: Replay) -> None:
    summary = finished.summary()
    wanted = {
        "rows": 4_500,
        "scored": 4_499,
        "accuracy": 1.0,
        "trainings": 1,
        "rows_trained": 900,
        "promotions": 1,
        "rollbacks": 1,
        "triggers": {"data_drift": 1},
        "production_version": 1,
        "failed_requests": 1,
    }
    assert wanted.items() <= summary.items()
    assert {"kappa", "auc", "brier", "mae", "worst_window", "wall_seconds", "peak_rss_mb", "drill"} <= set(summary)
    assert set(summary["compare"]["never"]) - {*summary} == {"served_gains"}
    gains = summary["compare"]["never"]["served_gains"]
    assert gains["accuracy"]["gain"] == pytest.approx(1 - summary["compare"]["never"]["accuracy"], abs=1e-3)
    assert gains["kappa"].keys() == {"gain", "interval", "blocks"}
    json.dumps(summary, allow_nan=False)


def test_triggers_held_back_in_a_row_by_one_rule_are_told_once() -> None:
    told = [line for line in lines(HISTORY.events) if line.mark is Mark.HELD_BACK]
    assert [str(line) for line in told] == ["2024-01-03 00:00 - data drift held back: the cooldown is 7 days"]


def test_the_page_stands_alone_and_escapes_what_it_shows(finished: Replay, tmp_path: Path) -> None:
    report.write(finished, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "decisions.jsonl",
        "events.jsonl",
        "report.html",
        "spec.yaml",
        "summary.json",
    ]
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    assert "&lt;b&gt;W1/sd&lt;/b&gt;" in page
    assert page.count("<svg") == 2  # for a phone and for a wide window
    assert "version 2 rolled back to version 1" in page
    assert "viewport" in page
    assert re.search(r"against a model that is never retrained \(\+\d+\.\d to \+\d+\.\d, 95 times of 100\)", page)
    assert "points of kappa" in page


def test_events_are_the_history_one_a_line_and_nothing_of_this_machine(finished: Replay, tmp_path: Path) -> None:
    report.write(finished, tmp_path)
    text = (tmp_path / "events.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == list(DOCUMENTS)
    assert str(tmp_path) not in text


def told_of(finished: Replay, tmp_path: Path, *more: dict[str, Any]) -> str:
    history = History.of_documents("traffic", (*DOCUMENTS, *more))
    report.write(replace(finished, history=history), tmp_path)
    return (tmp_path / "report.html").read_text()


def test_the_page_and_the_summary_tell_what_each_version_brought(finished: Replay, tmp_path: Path) -> None:
    (worth,) = finished.summary()["brought"]
    assert (worth["version"], worth["instead_of"], worth["rows"]) == (2, 1, 1_000)
    assert (worth["old"]["loss"], worth["new"]["loss"]) == (0.2, 0.1)
    page = told_of(finished, tmp_path)
    assert "What each version brought" in page
    assert "0.2000 / 0.1000" in page


def test_the_page_and_the_summary_explain_each_change_where_that_was_asked_for(
    finished: Replay, tmp_path: Path
) -> None:
    assert "explained" not in finished.summary()
    stream, scored = finished.stream, finished.scored
    told = explain(
        stream, finished.spec, finished.base, HISTORY, finished.served.predictions, scored, finished.comparisons
    )
    explained = replace(finished, explanation=told)
    summary = explained.summary()["explained"]
    assert [change["what"] for change in summary["changes"]] == ["promotion", "rollback"]
    assert summary["changes"][0]["policies"]["never"]["value"] > 0.5
    json.dumps(summary, allow_nan=False)
    report.write(explained, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "What each training and promotion brought" in page
    assert 'class="line never"' in page
    assert "rolled back to version 1" in page


def test_a_candidate_that_gave_way_before_a_row_was_judged_breaks_no_page(finished: Replay, tmp_path: Path) -> None:
    nothing = EVIDENCE | {"version": 3, "rows": 0, "production_loss": None, "shadow_loss": None, "gain": 0.0}
    page = told_of(
        finished,
        tmp_path,
        event("CandidateRegistered", 8, version=3, decision_id="d3", rows_trained=900),
        event("ShadowStarted", 8, version=3, judged_against=1),
        event("CandidateRetired", 9, "superseded by version 4", version=3, evidence=nothing, superseded_by=4),
    )
    assert "version 3 gives way to version 4" in page
    assert "superseded by version 4" in page
    assert "unknown: no matured labels of requests that version 1 answered too" in page


def test_a_replay_with_too_few_labels_still_has_a_page(finished: Replay, tmp_path: Path) -> None:
    nothing = Replay(
        finished.stream, finished.spec, finished.base, HISTORY[:5], Served.nothing(finished.stream), 1.0, 1.0
    )
    report.write(nothing, tmp_path)
    assert "Too few labels" in (tmp_path / "report.html").read_text()


METRICS = ("accuracy", "kappa", "auc", "mae", "worst_window")


@pytest.mark.parametrize("known_to", ["nobody", "us", "never"])
@pytest.mark.parametrize("metric", [*METRICS, "all"])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_figure_that_is_not_known_breaks_neither_page_nor_table(
    finished: Replay, capsys: pytest.CaptureFixture[str], metric: str, known_to: str, task: str
) -> None:
    """AUC and kappa want two classes, the worst window a thousand rows, and all of them a label."""
    summary = finished.summary()
    for figures, who in ((summary, "us"), (summary["compare"]["never"], "never")):
        shown = set(METRICS) - ({"mae"} if task == "binary" else {"accuracy", "kappa", "auc"})
        unknown = {*METRICS} - shown | (set() if known_to == who else shown if metric == "all" else {metric})
        figures |= {name: None if name in unknown else 0.25 for name in METRICS}
    page = report.render(finished, summary)
    assert "None" not in page.split("<pre")[0]
    _print_summary(finished, summary, Path("traffic"))
    assert "None" not in capsys.readouterr().out


def test_where_no_answer_was_scored_the_page_says_so(finished: Replay) -> None:
    nothing = replace(finished, served=Served.nothing(finished.stream))
    assert "no answer could be scored, because no label came" in report.render(nothing, nothing.summary())


def test_what_was_assumed_is_in_the_summary_and_on_the_page(finished: Replay) -> None:
    told = replace(finished, assumed={"maturity": "labels take a day <at most>"})
    assert told.summary()["assumed"] == {"maturity": "labels take a day <at most>"}
    assert "assumed: labels take a day &lt;at most&gt;" in report.render(told, told.summary())
