"""The report of a replay: report.html, summary.json, events.jsonl, decisions.jsonl and spec.yaml in one folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from evergreen.domain.brought import Brought
from evergreen.domain.history import History
from evergreen.domain.model_events import (
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    RollbackDecided,
    TrainingFailed,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen_ops.pages.charts import Band, Marker, Series, health_chart
from evergreen_ops.pages.page import page
from evergreen_ops.replay.explain import Explained, Explanation
from evergreen_ops.replay.result import Replay, retrainings
from evergreen_ops.replay.streams import as_datetime
from evergreen_ops.replay.trainings import Kind
from evergreen_ops.timeline import Line, Mark, line_of, lines, words

TEMPLATE = "report.html.j2"
FEWEST_POINTS, MOST_POINTS = 12, 120
NARROW, WIDE = (350, 260), (980, 320)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table in the report; ``style`` is its class in the style sheet."""

    cells: tuple[str, ...]
    style: str = ""


def write(replay: Replay, folder: Path) -> None:
    """Write the five files; what was there under the same names is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = replay.summary()
    (folder / "spec.yaml").write_text(replay.spec.to_yaml(), encoding="utf-8")
    (folder / "events.jsonl").write_text(events_text(replay.history.documents), encoding="utf-8")
    (folder / "decisions.jsonl").write_text(events_text(replay.decisions), encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(render(replay, summary), encoding="utf-8")


def events_text(documents: Iterable[Mapping[str, Any]]) -> str:
    r"""Return the history as JSON Lines, keys sorted.

    Examples
    --------
    >>> events_text([{"type": "ModelApplied", "epoch": 1}])
    '{"epoch":1,"type":"ModelApplied"}\n'
    """
    return "".join(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n" for document in documents)


def render(replay: Replay, summary: Mapping[str, Any]) -> str:
    """Return the page: one file, no script, nothing fetched from anywhere."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evergreen_ops.replay", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    told = list(lines(replay.history.events))
    title = words(replay.stream.name)
    body = environment.get_template(TEMPLATE).render(
        title=title,
        period=_period(replay),
        notes=(*replay.stream.notes, *(f"assumed: {sentence}" for sentence in replay.assumed.values())),
        failures=[f"{name} failed {errors}" for name, errors in replay.failures.items()],
        cards=_cards(summary),
        verdict=_verdict(summary),
        comparison=comparison(summary),
        comparison_head=comparison_head(summary),
        gains=[Row(cells) for cells in gain_rows(summary)],
        gains_head=gain_head(summary),
        charts=_charts(replay, _lines(replay, ("never",))),
        never_drawn="never" in summary["compare"],
        chart_text=_chart_text(replay),
        triggers=_trigger_rows(replay.history),
        verdicts=_verdict_rows(replay.history),
        brought=_brought_rows(replay.brought),
        explained=None if replay.explanation is None else _explained(replay, replay.explanation),
        drill=_drill_rows(summary),
        timeline=[(f"{line.time:%Y-%m-%d %H:%M}", line.mark.value, line.title, line.because) for line in told],
        spec=replay.spec.to_yaml(),
        cost=f"{summary['wall_seconds']:,.0f} s, {summary['peak_rss_mb']:,.0f} MB",
    )
    return page(title, body)


def _period(replay: Replay) -> str:
    stream = replay.stream
    first, last = as_datetime(stream.event_time[replay.base.rows]), as_datetime(stream.event_time[-1])
    rows = stream.rows - replay.base.rows
    before = f"the first model was trained on the {replay.base.rows:,} before"
    return f"{rows:,} requests from {_day(first)} to {_day(last)}; {before}"


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Headline figures: name, value, and how it stands against never retraining where that was compared."""
    never = summary["compare"].get("never", {})
    cards = [
        (name, _figure(key, summary[key]), _against(key, summary[key], never.get(key)))
        for name, key in _QUALITY
        if summary[key] is not None
    ]
    return [
        *cards,
        ("retrainings", f"{summary['trainings']}", f"{summary['rows_trained']:,} rows"),
        ("promotions", f"{summary['promotions']}", f"version {summary['production_version']} in production"),
        ("rollbacks", f"{summary['rollbacks']}", f"{summary['failed_requests']:,} failed requests"),
    ]


_QUALITY = (
    ("accuracy", "accuracy"),
    ("AUC", "auc"),
    ("kappa", "kappa"),
    ("Brier score", "brier"),
    ("mean error", "mae"),
    ("worst 1,000 rows", "worst_window"),
)


def _figure(key: str, value: float | None, *, points: bool = True) -> str:
    if value is None:
        return "-"
    share = key in ("accuracy", "worst_window") and 0 <= value <= 1 and points
    return f"{value:.1%}" if share else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _against(key: str, value: float | None, never: float | None) -> str:
    if value is None or never is None:
        return ""
    return f"never retrained: {_figure(key, never)}"


def _verdict(summary: Mapping[str, Any]) -> str:
    """The page's first sentence: what the loop was worth."""
    never = summary["compare"].get("never", {})
    changes = f"{summary['trainings']} retrainings and {summary['promotions']} promotions"
    if summary["drill"]:
        changes += f", {len(summary['drill'])} bad versions promoted on purpose among them"
    ours, theirs = summary["mae"], never.get("mae")
    if ours is not None and theirs:
        gain = (theirs - ours) / theirs
        direction = "lower" if gain >= 0 else "higher"
        told = _told_gain(never, "mae")
        return f"With {changes} the mean error was {abs(gain):.1%} {direction} than never retrained{told}."
    ours, theirs = summary["accuracy"], never.get("accuracy")
    if ours is None or theirs is None:
        unscored = "" if summary["scored"] else "; no answer could be scored, because no label came"
        return f"Evergreen kept the model with {changes}{unscored}."
    auc = "" if summary["auc"] is None or never["auc"] is None else f", AUC {summary['auc'] - never['auc']:+.3f}"
    gain, told = 100 * (ours - theirs), _told_gain(never, "accuracy")
    return f"With {changes}: accuracy {gain:+.1f} points against a model that is never retrained{told}{auc}."


def _told_gain(policy: Mapping[str, Any], measure: str) -> str:
    """The gain over a policy with its interval, where there is one."""
    gain = policy.get("served_gains", {}).get(measure)
    return "" if gain is None or gain["interval"] is None else f" ({_range(gain, measure)}, 95 times of 100)"


def comparison_head(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the columns of :func:`comparison` are."""
    quality = [name for name, key in _QUALITY if summary[key] is not None]
    return ("policy", *quality, "retrainings", "rows trained", "seconds")


def comparison(summary: Mapping[str, Any]) -> list[Row]:
    """Return a row for what was served and one for each policy."""
    keys = [key for _, key in _QUALITY if summary[key] is not None]
    figures = [("evergreen", summary), *summary["compare"].items()]
    return [
        Row(
            (
                name,
                *(_figure(key, values[key]) for key in keys),
                f"{values['trainings']}",
                f"{values['rows_trained']:,}",
                f"{values['wall_seconds']:,.0f}",
            ),
            "ours" if name == "evergreen" else "",
        )
        for name, values in figures
    ]


def gain_head(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the columns of :func:`gain_rows` are."""
    gains = [policy["served_gains"] for policy in summary["compare"].values()]
    return ("better than", *(_GAINED[key] for key in _GAINED if any(key in each for each in gains)))


def gain_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row of text for each policy: how much better Evergreen's answers were to the same requests."""
    gains = {name: policy["served_gains"] for name, policy in summary["compare"].items()}
    keys = [key for key in _GAINED if any(key in each for each in gains.values())]
    return [
        (name, *(_gain_text(each[key], key) if key in each else "-" for key in keys))
        for name, each in gains.items()
        if each
    ]


_GAINED = {
    "accuracy": "points of accuracy",
    "kappa": "points of kappa",
    "brier": "Brier score less",
    "mae": "error less",
}


def _charts(replay: Replay, series: Sequence[Series]) -> tuple[tuple[str, str], ...]:
    """The health chart drawn for a phone and for a wide window; none if too few labels came back."""
    if not series or len(series[0].times) < 2:
        return ()
    markers, bands = _markers(replay.history), _bands(replay)
    return tuple(
        (
            name,
            health_chart(
                series,
                markers,
                bands,
                width=width,
                height=height,
                label=_chart_text(replay),
                percent=replay.stream.classes is not None,
            ),
        )
        for name, (width, height) in (("narrow", NARROW), ("wide", WIDE))
    )


def _chart_text(replay: Replay) -> str:
    measure = "Accuracy" if replay.stream.classes else "Mean absolute error"
    return f"{measure} of each {_chunk(len(replay.scored)):,} labelled requests"


def _chunk(rows: int) -> int:
    """Rows a point: 1,000, fewer when that makes too few points, more when too many."""
    size = min(1_000, max(1, rows // FEWEST_POINTS))
    return size * max(1, -(-rows // (size * MOST_POINTS)))


_LINES = {"never": "never retrained", "every:500": "retrained every 500 rows", "tutorial": "the tutorial's triggers"}


def _lines(replay: Replay, policies: Sequence[str]) -> list[Series]:
    """What was served, and of these policies those that it was compared with, below it."""
    scored = replay.scored
    if len(scored) == 0:
        return []
    stream, chunk = replay.stream, _chunk(len(scored))
    ours = _series("Evergreen", "ours", replay, scored, stream.label[scored], replay.served.predictions[scored], chunk)
    rows = np.flatnonzero(stream.labelled & (np.arange(stream.rows) >= replay.base.rows))
    others = [
        _series(
            _LINES.get(each.policy, each.policy), _style(each.policy), replay, rows, each.actual, each.predicted, chunk
        )
        for each in replay.comparisons
        if each.policy in policies
    ]
    return [*others, ours]


def _style(policy: str) -> str:
    return policy.partition(":")[0]


def _series(name: str, style: str, replay: Replay, rows: Any, actual: Any, predicted: Any, chunk: int) -> Series:
    if replay.stream.classes is None:
        losses = np.abs(actual.astype(float) - predicted.astype(float))
    else:
        losses = (actual == predicted).astype(float)
    starts = np.arange(0, max(len(rows) - chunk // 2, 1), chunk)
    middles = np.minimum(starts + chunk // 2, len(rows) - 1)
    times = [as_datetime(replay.stream.event_time[rows[middle]]) for middle in middles]
    sizes = np.diff(np.append(starts, len(rows)))
    return Series(name, style, times, (np.add.reduceat(losses, starts) / sizes).round(5).tolist())


_MARKERS = {Mark.TRAINING: "training", Mark.PROMOTION: "promotion", Mark.ROLLBACK: "rollback"}


_TAKEN_OVER: tuple[type[VersionPromoted | VersionRolledBack], ...] = (VersionPromoted, VersionRolledBack)
_ENDS: tuple[type[CandidateRegistered | CandidateRejected | TrainingFailed], ...] = (
    CandidateRegistered,
    CandidateRejected,
    TrainingFailed,
)
_MARKED: tuple[type[CandidateRegistered | CandidateRejected | VersionPromoted | VersionRolledBack], ...] = (
    CandidateRegistered,
    CandidateRejected,
    VersionPromoted,
    VersionRolledBack,
)


def _markers(history: History) -> list[Marker]:
    told = [line_of(event) for event in history.of(*_MARKED)]
    return [Marker(line.time, _MARKERS[line.mark], str(line)) for line in told if line is not None]


def _bands(replay: Replay) -> list[Band]:
    """Who was in production when, from the history."""
    changes = [
        (event.time, event.version if isinstance(event, VersionPromoted) else event.to_version)
        for event in replay.history.of(*_TAKEN_OVER)
    ]
    last = as_datetime(replay.stream.event_time[-1])
    ends = [start for start, _ in changes[1:]] + [max([last, *(start for start, _ in changes)])]
    bad = {event.version for event in replay.history.of(VersionRolledBack)}
    return [
        Band(
            start,
            end,
            f"v{version}",
            "bad" if version in bad else f"tone{version % 3}",
            _band_title(version, start, end),
        )
        for (start, version), end in zip(changes, ends, strict=True)
    ]


def _band_title(version: int, start: datetime, end: datetime) -> str:
    return f"version {version} in production from {_day(start)} to {_day(end)}"


def _trigger_rows(history: History) -> list[Row]:
    """Each retraining with its reason and what became of it."""
    outcome = {event.decision_id: line for event in history.of(*_ENDS) if (line := _ending(event)) is not None}
    return [
        Row(
            (
                f"{event.time:%Y-%m-%d}",
                words(event.trigger),
                event.because,
                outcome.get(event.decision_id, "still open"),
            )
        )
        for event in retrainings(history)
    ]


def _ending(event: CandidateRegistered | CandidateRejected | TrainingFailed) -> str | None:
    match event:
        case CandidateRegistered():
            return f"version {event.version}" if event.decision_id else None
        case CandidateRejected():
            return f"failed its gate: {event.because}"
        case TrainingFailed():
            return f"failed: {event.because}" if event.final else None


_VERDICTS: Mapping[type[PromotionApproved | PromotionProposed | CandidateRetired | RollbackDecided], str] = {
    PromotionApproved: "promote",
    PromotionProposed: "promote",
    CandidateRetired: "keep",
    RollbackDecided: "roll back",
}


def _verdict_rows(history: History) -> list[Row]:
    """Each shadow verdict with its evidence."""
    rows = []
    for event in history.of(*_VERDICTS):
        evidence = event.evidence
        if "gain" not in evidence:
            continue
        low, high = evidence["interval"]
        verdict = _verdict_of(event)
        rows.append(
            Row(
                (
                    f"{event.time:%Y-%m-%d}",
                    f"{evidence['version']} against {evidence['judged_against']}",
                    verdict,
                    f"{evidence['rows']:,}",
                    " / ".join(_loss(evidence[name]) for name in ("production_loss", "shadow_loss")),
                    f"{evidence['gain']:+.4f}",
                    f"{low:+.4f} to {high:+.4f}",
                    _e_value(evidence["log_e_keep" if verdict == "keep" else "log_e_promote"]),
                ),
                verdict.replace(" ", "-"),
            )
        )
    return rows


def _verdict_of(event: PromotionApproved | PromotionProposed | CandidateRetired | RollbackDecided) -> str:
    newer = event.superseded_by if isinstance(event, CandidateRetired) else None
    return _VERDICTS[type(event)] if newer is None else "superseded"


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _brought_rows(worth: Iterable[Brought]) -> list[Row]:
    """What each version brought, or that it is not known."""
    rows = []
    for each in worth:
        old, new = each.old, each.new
        if old is None or new is None:
            rows.append(Row((f"{each.version}", each.fate, each.said, *["-"] * 3)))
            continue
        accuracy = "-"
        if old.accuracy is not None and new.accuracy is not None:
            accuracy = f"{old.accuracy:.1%} / {new.accuracy:.1%}"
        losses = f"{_loss(old.loss)} / {_loss(new.loss)} ({words(each.metric)})"
        against = f"version {each.instead_of}"
        rows.append(Row((f"{each.version}", each.fate, against, f"{each.rows:,}", losses, accuracy)))
    return rows


# --- what each training brought ---------------------------------------------------------------------------------------


def explained_head(explanation: Explanation) -> tuple[str, ...]:
    """Return what the columns of :func:`explained_rows` are."""
    others = next((tuple(each.others) for each in explanation.changes if each.others), ())
    brought = "points brought" if explanation.measure == "accuracy" else "error less"
    return ("when", "what", "why", "trained on", "rows", "served", "without / with it", brought, *others)


def explained_rows(explanation: Explanation) -> list[tuple[str, ...]]:
    """Return a row of text for each change: what it brought, and what others had on the same rows."""
    others = explained_head(explanation)[8:]
    return [_explained_row(each, explanation.measure, others) for each in explanation.changes]


def trained_again(explanation: Explanation) -> str:
    """Say how like the replay's own the versions are that were trained again, in a sentence."""
    key = explanation.measure
    if explanation.rebuilt is None or explanation.served is None:
        return "None of the versions could be trained again."
    alike = (
        "" if explanation.alike is None else f"give the answer that was served to {explanation.alike:.1%} of rows, and "
    )
    name = "accuracy" if key == "accuracy" else "a mean error"
    return (
        f"The versions, trained again on the same rows without a cloud, {alike}reach {name} of "
        f"{_figure(key, explanation.rebuilt)} where {_figure(key, explanation.served)} was served."
    )


def _explained_row(each: Explained, measure: str, others: Sequence[str]) -> tuple[str, ...]:
    training = each.change.training
    new_and_old = "-" if each.brought is None else f"{_figure(measure, each.old)} / {_figure(measure, each.new)}"
    return (
        f"{each.change.time:%Y-%m-%d}",
        _what(each),
        words(training.trigger) if training is not None else each.change.because,
        "-" if training is None or not training.rows else _trained_on(training.rows, training.trained_until),
        f"{each.rows:,}",
        _figure(measure, each.served),
        new_and_old,
        f"not known: {each.unknown}" if each.brought is None else _gain_text(each.brought.to_json(), measure),
        *(_figure(measure, each.others.get(name)) for name in others),
    )


def _what(each: Explained) -> str:
    change, training = each.change, each.change.training
    match change.kind:
        case Kind.PROMOTION:
            return f"version {change.version} promoted"
        case Kind.ROLLBACK:
            return f"rolled back to version {change.version}"
        case Kind.TRAINING:
            assert training is not None
            return f"version {change.version}, {training.fate}" if training.version is not None else training.fate


def _trained_on(rows: int, until: datetime | None) -> str:
    return f"{rows:,}" if until is None else f"{rows:,} until {until:%Y-%m-%d}"


def _gain_text(gain: Mapping[str, Any], measure: str) -> str:
    scale, digits = _unit(gain, measure)
    told = f"{scale * gain['gain']:+.{digits}f}"
    return told if gain["interval"] is None else f"{told} ({_range(gain, measure)})"


def _range(gain: Mapping[str, Any], measure: str) -> str:
    scale, digits = _unit(gain, measure)
    low, high = (f"{scale * end:+.{digits}f}" for end in gain["interval"])
    return f"{low} to {high}"


def _unit(gain: Mapping[str, Any], measure: str) -> tuple[int, int]:
    """What a gain is multiplied by, and its digits: shares are told in points."""
    if measure in ("accuracy", "kappa"):
        return 100, 1
    return 1, 4 if measure == "brier" else 3 if abs(gain["gain"]) < 1 else 1


def _explained(replay: Replay, explanation: Explanation) -> dict[str, Any]:
    """What the page shows of it."""
    drawn = _lines(replay, [each.policy for each in replay.comparisons])
    return {
        "charts": _charts(replay, drawn),
        "legend": [(each.style, each.name) for each in drawn[::-1]],
        "head": explained_head(explanation),
        "rows": [
            Row(cells, "ours" if each.brought is not None and each.brought.proven else "")
            for each, cells in zip(explanation.changes, explained_rows(explanation), strict=True)
        ],
        "trained_again": trained_again(explanation),
    }


def _e_value(log_e: float) -> str:
    exponent = log_e / np.log(10)
    return f"10^{exponent:.1f}" if exponent >= 3 else f"{np.exp(log_e):.1f}"


def _drill_rows(summary: Mapping[str, Any]) -> list[Row]:
    return [
        Row(
            (
                outcome["kind"],
                f"{outcome['version']}" if outcome["version"] is not None else "-",
                f"rolled back to {outcome['to_version']}" if outcome["rolled_back"] else "not rolled back",
                "-" if outcome["after_minutes"] is None else _duration(outcome["after_minutes"]),
                outcome["reason"],
            ),
            "" if outcome["rolled_back"] else "bad",
        )
        for outcome in summary["drill"]
    ]


def _duration(minutes: float) -> str:
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 2_880 else f"{minutes / 1_440:.1f} days"


def _day(time: datetime) -> str:
    return f"{time:%d %b %Y}".lstrip("0")


__all__ = ["Line", "events_text", "render", "write"]
