"""`evergreen verdict`: judge a shadow from a file of both versions' answers, with no stack at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.domain import pairs
from evergreen.domain.shadow import Answers, PairedOutcomes, Rules, ShadowDecision, Whole, judge
from evergreen.spec import Metric
from evergreen.statistics.checks import as_between
from evergreen.statistics.losses import NO_LABEL, loss_scale
from evergreen_ops.tables import Instants, TableError, column_names, instants, is_text, read

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_CLASSES = 20
"""More distinct whole numbers than this are values to be estimated, not classes."""

MOST_LOOKS = 60
DEFAULT_MATURITY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANSWERED = ("production", "shadow", "actual")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the file's columns are called; None where the usual name is used if it is there."""

    production: str = "production"
    shadow: str = "shadow"
    actual: str = "actual"
    time: str | None = None
    label_time: str | None = None
    group: str | None = None
    id: str | None = None


USUAL: dict[str, tuple[str, ...]] = {
    "time": ("time", "event_time"),
    "label_time": ("label_time",),
    "group": ("group",),
    "id": (),
}


@dataclass(frozen=True, slots=True)
class ShadowLog:
    """The file, read: one entry for each request that both versions answered.

    Attributes
    ----------
    outcomes : PairedOutcomes
        All requests, in the order of their times; the losses of unlabelled ones are NaN.
    label_time : ndarray of int64
        When each label became known, microseconds since 1970; the request's time where the file doesn't say.
    metric : Metric
    times_given : bool
        Without times every row counts, and nothing is known of cycles or late labels.
    label_times_given : bool
    notes : tuple of str
        What was left out while reading, a sentence each.
    """

    outcomes: PairedOutcomes
    label_time: Codes
    metric: Metric
    times_given: bool
    label_times_given: bool
    notes: tuple[str, ...]

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Which requests have a label."""
        return ~np.isnan(self.outcomes.production_loss)


@dataclass(frozen=True, slots=True)
class Look:
    """What was to be said after one more whole cycle."""

    until: datetime
    decision: ShadowDecision


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on a file.

    Attributes
    ----------
    decision : ShadowDecision
        As of ``now``.
    looks : tuple of Look
        At the end of each whole cycle, the last of them the decision's; empty without times.
    """

    log: ShadowLog
    rules: Rules
    since: datetime | None
    now: datetime | None
    decision: ShadowDecision
    looks: tuple[Look, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        evidence = dict(self.decision.evidence)
        if self.since is None:
            evidence |= {"from": None, "until": None, "days_to_decide": None}
        return {
            "verdict": self.decision.verdict,
            "because": self.decision.because,
            **evidence,
            "now": None if self.now is None else self.now.isoformat(),
            "cycle_days": self.rules.cycle / timedelta(days=1),
            "maturity_days": self.rules.maturity / timedelta(days=1) if self.since is not None else None,
            "notes": list(self.log.notes),
            "looks": [
                {
                    "until": look.until.isoformat(),
                    "verdict": look.decision.verdict,
                    **{
                        key: look.decision.evidence[key]
                        for key in ("rows", "gain", "interval", "log_e_promote", "log_e_keep")
                    },
                }
                for look in self.looks
            ],
        }


def load(
    path: Path,
    columns: Columns,
    *,
    metric: Metric | None = None,
    positive: str | None = None,
    cost: dict[tuple[str, str], float] | None = None,
) -> ShadowLog:
    """Read a file of both versions' answers.

    Parameters
    ----------
    path : Path
        Parquet, CSV or JSON Lines.
    columns : Columns
        What its columns are called.
    metric : Metric, optional
        Told from the values unless given: accuracy for classes, Brier for probabilities of a 0/1 label, absolute error
        for other numbers.
    positive : str, optional
        For Brier: the class that the probabilities are of; 1, true or yes unless given.
    cost : dict of (actual, predicted) to float, optional
        For metric cost; 0 when right and 1 when wrong where it doesn't say.

    Raises
    ------
    TableError
        The file can't be read, or its values don't fit the metric.
    """
    names = _named(path, columns)
    table = read(path, list(dict.fromkeys(names.values())))
    notes: list[str] = []
    table = _both_answered(table, names, notes)
    if "id" in names:
        table = _once_an_id(table, names["id"], notes)
    if not table.num_rows:
        raise TableError(
            f"{path} has no row that both versions answered: fill '{columns.production}' and '{columns.shadow}'"
        )
    answered = tuple(_unpacked(table[names[key]]) for key in _ANSWERED)
    found = metric or _metric_of(*answered)
    losses, answers = _losses(found, answered, names, positive=positive, cost=cost or {})
    time, known = _times(table, names)
    order = np.argsort(time, kind="stable")
    outcomes = PairedOutcomes(
        inference_time=time[order],
        production_loss=losses[0][order],
        shadow_loss=losses[1][order],
        group=_groups(table, names)[order],
        answers=None if answers is None else Answers(*(codes[order] for codes in answers)),
        label_delay=(known - time)[order] if "label_time" in names else None,
    )
    return ShadowLog(outcomes, known[order], found, "time" in names, "label_time" in names, tuple(notes))


def rules(
    *,
    margin: float,
    min_gain: float,
    alpha: float,
    cycle: timedelta,
    max_time: timedelta,
    max_rows: int | None = None,
) -> Rules:
    """Return the rules of a verdict, or refuse one that can't hold.

    Raises
    ------
    ValueError
        A number is out of range.
    """
    return Rules(
        margin=as_between("--margin", margin, -1, 1),
        min_gain=as_between("--min-gain", min_gain, -1, 1),
        alpha=as_between("--alpha", alpha, 0, 1),
        cycle=cycle,
        max_time=max_time,
        max_rows=max_rows,
    )


def judge_log(
    log: ShadowLog,
    rules: Rules,
    *,
    maturity: timedelta | None = None,
    scale: float | None = None,
    since: datetime | None = None,
    now: datetime | None = None,
) -> Judged:
    """Judge a log as of ``now``.

    Parameters
    ----------
    log : ShadowLog
    rules : Rules
        Its metric, maturity and loss scale are replaced by the log's and by what follows.
    maturity : timedelta, optional
        How old a request must be to have the labels it will get; the longest delay in the log unless given, or a day
        when the log has no label times.
    scale : float, optional
        The loss difference that counts in full; the 99.9th percentile of the log's own unless given.
    since : datetime, optional
        When the shadow began; the hour of the first request unless given.
    now : datetime, optional
        Labels that became known later are not looked at; the end of the log's last day unless given.
    """
    outcomes = log.outcomes
    rules = replace(rules, metric=log.metric, loss_scale=scale or _scale(log))
    if not log.times_given:
        counted = outcomes[log.labelled]
        everything = replace(rules, maturity=timedelta(0), day_shares=(0.0,))  # nothing is known of days
        decision = judge(
            counted,
            everything,
            since=_EPOCH,
            now=_EPOCH + rules.cycle,
            whole=Whole(rules.cycle),
            answered=len(outcomes),
        )
        return Judged(log, everything, None, None, decision, ())
    since = since or _instant(int(outcomes.inference_time[0])).replace(minute=0, second=0, microsecond=0)
    now = now or _end_of_day(max(int(outcomes.inference_time[-1]), int(log.label_time.max())))
    rules = replace(rules, maturity=_maturity(log, now) if maturity is None else maturity)
    known = log.labelled & (log.label_time <= _microseconds(now))
    until = Whole(rules.cycle).until(since, rules.maturity, now)
    ends = _look_ends(since, until, rules.cycle)
    looks = tuple(Look(end, _look(log, known, rules, since, end + rules.maturity)) for end in ends)
    return Judged(log, rules, since, now, _look(log, known, rules, since, now), looks)


def _look(log: ShadowLog, known: npt.NDArray[np.bool_], rules: Rules, since: datetime, now: datetime) -> ShadowDecision:
    until = Whole(rules.cycle).until(since, rules.maturity, now)
    answered = len(log.outcomes.between(since, until))
    asked = log.outcomes.inference_time
    return judge(log.outcomes[known], rules, since=since, now=now, answered=answered, asked=asked)


def _look_ends(since: datetime, until: datetime, cycle: timedelta) -> list[datetime]:
    """Return the end of each whole cycle, thinned out evenly when there are many; the last one is always there."""
    count = (until - since) // cycle
    every = -(-count // MOST_LOOKS) if count else 1
    return [until - cycle * back for back in range(0, count, every)][::-1]


def parse_cost(text: str) -> dict[tuple[str, str], float]:
    """Read ``actual:predicted=cost`` pairs.

    Examples
    --------
    >>> parse_cost("fraud:ok=20, ok:fraud=1")
    {('fraud', 'ok'): 20.0, ('ok', 'fraud'): 1.0}
    """
    found: dict[tuple[str, str], float] = {}
    for pair in text.split(","):
        match = re.fullmatch(r"\s*([^:=]+?)\s*:\s*([^:=]+?)\s*=\s*(-?[\d.]+)\s*", pair)
        if match is None:
            raise TableError(f"--cost {pair.strip()!r} can't be read: write actual:predicted=cost, as in fraud:ok=20")
        found[match[1], match[2]] = float(match[3])
    return found


def _named(path: Path, columns: Columns) -> dict[str, str]:
    """Return the columns to be read: those that must be there, those that were named, and the usual ones."""
    there = column_names(path)
    names = {"production": columns.production, "shadow": columns.shadow, "actual": columns.actual}
    for key, name in names.items():
        if name not in there:
            raise TableError(f"{path} has no column '{name}': name it with --{key}, one of {', '.join(there[:30])}")
    for key, usual in USUAL.items():
        given: str | None = getattr(columns, key)
        chosen = given or next((name for name in usual if name in there), None)
        if chosen is not None:
            names[key] = chosen
    return names


def _both_answered(table: pa.Table, names: dict[str, str], notes: list[str]) -> pa.Table:
    both = pc.and_(pc.is_valid(table[names["production"]]), pc.is_valid(table[names["shadow"]]))
    answered = table.filter(both)
    if missing := table.num_rows - answered.num_rows:
        notes.append(f"{missing:,} rows that one version did not answer are left out")
    return answered


def _once_an_id(table: pa.Table, name: str, notes: list[str]) -> pa.Table:
    """Keep the last row of each id, and rows without one."""
    kept = np.sort(pairs.last_of_each(table[name].to_pylist()))
    if repeated := table.num_rows - len(kept):
        notes.append(f"{repeated:,} rows repeat an id of '{name}': the last one counts")
    return table.take(pa.array(kept))


def _unpacked(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_number(column: pa.ChunkedArray) -> bool:
    kind = column.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _metric_of(production: pa.ChunkedArray, shadow: pa.ChunkedArray, actual: pa.ChunkedArray) -> Metric:
    if not all(_is_number(column) for column in (production, shadow)):
        return Metric.ACCURACY
    whole = all(_whole_numbers(column) for column in (production, shadow))
    if pa.types.is_boolean(actual.type) or is_text(actual.type):
        return Metric.ACCURACY if whole else Metric.BRIER
    if not _whole_numbers(actual) or len(pc.unique(actual)) > MOST_CLASSES:
        return Metric.ABSOLUTE_ERROR
    if whole:
        return Metric.ACCURACY
    return Metric.BRIER if _within_one(production, shadow, actual) else Metric.ABSOLUTE_ERROR


def _whole_numbers(column: pa.ChunkedArray) -> bool:
    if pa.types.is_integer(column.type):
        return True
    values = column.cast(pa.float64()).drop_null()
    return bool(pc.all(pc.equal(pc.floor(values), values), min_count=0).as_py())


def _within_one(*columns: pa.ChunkedArray) -> bool:
    ends = [pc.min_max(column).as_py() for column in columns]
    return all(end["min"] is None or (end["min"] >= 0 and end["max"] <= 1) for end in ends)


def _losses(
    metric: Metric,
    answered: Sequence[pa.ChunkedArray],
    names: dict[str, str],
    *,
    positive: str | None,
    cost: dict[tuple[str, str], float],
) -> tuple[list[Floats], tuple[Codes, Codes, Codes] | None]:
    """Return both versions' losses, NaN where there is no label, and the answers as codes where there are classes."""
    match metric:
        case Metric.ABSOLUTE_ERROR:
            *values, true = (_floats(column, names[key]) for key, column in zip(_ANSWERED, answered, strict=True))
            return [pairs.losses(true, said, metric=metric) for said in values], None
        case Metric.BRIER:
            chances = _chances(answered[:2], names)
            truth = _positive_codes(answered[2], names["actual"], positive)
            production, shadow = ((chance >= 0.5).astype(np.int64) for chance in chances)
            both = [np.column_stack([1.0 - chance, chance]) for chance in chances]
            found = [
                pairs.losses(truth, said, chances=each, metric=metric)
                for said, each in zip((production, shadow), both, strict=True)
            ]
            return found, (truth, production, shadow)
        case Metric.ACCURACY | Metric.MACRO_F1 | Metric.COST:
            classes, (production, shadow, truth) = _class_codes(answered, names)
            costs = _cost_matrix(classes, cost) if metric is Metric.COST else None
            found = [pairs.losses(truth, said, costs=costs, metric=metric) for said in (production, shadow)]
            return found, (truth, production, shadow)


def _chances(answered: Sequence[pa.ChunkedArray], names: dict[str, str]) -> list[Floats]:
    """Return both versions' probabilities of the positive class."""
    chances = []
    for key, column in zip(_ANSWERED, answered, strict=False):
        chance = _floats(column, names[key])
        wrong = chance[(chance < 0.0) | (chance > 1.0)]
        if len(wrong):
            raise TableError(f"column '{names[key]}' holds {wrong[0]:g}: Brier needs probabilities from 0 to 1")
        chances.append(chance)
    return chances


def _positive_codes(actual: pa.ChunkedArray, name: str, positive: str | None) -> Codes:
    texts = _texts([actual])[0]
    values = sorted(value for value in pc.unique(texts).to_pylist() if value is not None)
    wanted = positive or next((value for value in values if value.lower() in ("1", "true", "yes")), None)
    if wanted is None or wanted not in values or len(values) > 2:
        shown = ", ".join(values[:5])
        raise TableError(f"column '{name}' holds {shown}: name the class the probabilities are of with --positive")
    codes = pc.if_else(pc.is_valid(texts), pc.equal(texts, wanted).cast(pa.int64()), NO_LABEL)
    return _numpy(pc.fill_null(codes, NO_LABEL))


def _class_codes(answered: Sequence[pa.ChunkedArray], names: dict[str, str]) -> tuple[list[str], list[Codes]]:
    texts = _texts(answered)
    seen = [{value for value in pc.unique(text).to_pylist() if value is not None} for text in texts]
    if seen[2] and not (seen[0] | seen[1]) & seen[2]:
        said, true = (", ".join(sorted(values)[:3]) for values in (seen[0] | seen[1], seen[2]))
        both = f"'{names['production']}' and '{names['shadow']}'"
        raise TableError(
            f"columns {both} say {said}, column '{names['actual']}' says {true}: they have no class in common, so name "
            "the right columns or the --metric"
        )
    codes, classes = _encoded(pa.chunked_array([chunk for text in texts for chunk in text.chunks], pa.string()))
    return classes, np.split(codes, np.cumsum([len(text) for text in texts])[:-1])


def _encoded(texts: pa.ChunkedArray) -> tuple[Codes, list[str]]:
    """Return each text's place in the sorted list of all of them, -1 where there is none, and the list."""
    encoded = texts.combine_chunks().dictionary_encode()
    found: list[str] = encoded.dictionary.to_pylist()
    classes = sorted(found)
    place = {name: code for code, name in enumerate(classes)}
    order = np.array([place[name] for name in found] + [NO_LABEL], dtype=np.int64)
    return order[_numpy(pc.fill_null(encoded.indices, -1))], classes


def _texts(columns: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Write classes as text, alike whatever type a column has: 1, 1.0 and true (beside numbers) are "1"."""
    numbers = any(_is_number(column) for column in columns)
    texts = []
    for column in columns:
        if pa.types.is_boolean(column.type):
            texts.append(column.cast(pa.int8()).cast(pa.string()) if numbers else column.cast(pa.string()))
        elif pa.types.is_floating(column.type) and _whole_numbers(column):
            texts.append(column.cast(pa.int64()).cast(pa.string()))
        else:
            texts.append(column.cast(pa.string()))
    return texts


def _cost_matrix(classes: Sequence[str], cost: dict[tuple[str, str], float]) -> Floats:
    """Costs by actual and predicted code."""
    costs: dict[str, dict[str, float]] = {}
    for (actual, said), each in cost.items():
        for name in (actual, said):
            if name not in classes:
                raise TableError(f"--cost names {name!r}, which no column says: use one of {', '.join(classes[:20])}")
        costs.setdefault(actual, {})[said] = each
    return pairs.cost_matrix(classes, costs)


def _floats(column: pa.ChunkedArray, name: str) -> Floats:
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise TableError(f"column '{name}' is {column.type}, not numbers: choose another --metric") from error
    return _numpy(pc.fill_null(numbers, float("nan")), np.float64)


def _numpy(column: pa.ChunkedArray | pa.Array, kind: Any = np.int64) -> npt.NDArray[Any]:
    """Copy numbers without nulls to numpy; Arrow's own way imports pandas where that is installed."""
    same = column.cast(pa.from_numpy_dtype(kind))
    pieces = [
        np.frombuffer(chunk.buffers()[1], dtype=kind)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in (same.chunks if isinstance(same, pa.ChunkedArray) else [same])
        if len(chunk)
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=kind)


def _times(table: pa.Table, names: dict[str, str]) -> tuple[Codes, Codes]:
    """Return when each request came and when its label became known, in microseconds; zeros without times."""
    if "time" not in names:
        if "label_time" in names:
            raise TableError(
                f"column '{names['label_time']}' needs the requests' times beside it: name them with --time"
            )
        nothing = np.zeros(table.num_rows, dtype=np.int64)
        return nothing, nothing
    time = _filled(instants(table[names["time"]], names["time"]), names["time"])
    if "label_time" not in names:
        return time, time
    given = instants(table[names["label_time"]], names["label_time"])
    known = np.where(np.isnat(given), time, given.view(np.int64))
    early = known < time
    if early.any():
        row = int(np.argmax(early))
        raise TableError(
            f"column '{names['label_time']}' is earlier than '{names['time']}' in {int(early.sum()):,} rows, first in "
            f"row {row + 1}: a label can't be known before its request, so correct one of the columns"
        )
    return time, known


def _filled(times: Instants, name: str) -> Codes:
    missing = np.isnat(times)
    if missing.any():
        row = int(np.argmax(missing)) + 1
        raise TableError(f"column '{name}' has no time in {int(missing.sum()):,} rows, first in row {row}: fill it in")
    return times.view(np.int64)


def _groups(table: pa.Table, names: dict[str, str]) -> Codes:
    """Return codes of the groups, -1 for rows that stand alone."""
    if "group" not in names:
        return np.full(table.num_rows, -1, dtype=np.int64)
    column = _unpacked(table[names["group"]]).cast(pa.string())
    return _encoded(pc.if_else(pc.equal(column, ""), None, column))[0]


def _scale(log: ShadowLog) -> float:
    return loss_scale(log.outcomes.production_loss - log.outcomes.shadow_loss) or 1.0


def _maturity(log: ShadowLog, now: datetime) -> timedelta:
    """Return the longest delay of a label so far: a label that comes later than all others is late for a reason."""
    delays = _delays(log, now)
    return timedelta(microseconds=int(delays.max())) if len(delays) else DEFAULT_MATURITY


def _delays(log: ShadowLog, now: datetime) -> Codes:
    """Return the delays of the labels known by then, in microseconds; none where the file has no label times."""
    known = log.labelled & (log.label_time <= _microseconds(now)) & log.label_times_given
    return (log.label_time - log.outcomes.inference_time)[known]


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _end_of_day(microseconds: int) -> datetime:
    last = _instant(microseconds)
    return last.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
