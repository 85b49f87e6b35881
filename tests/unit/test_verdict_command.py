"""`evergreen verdict FILE`: a shadow judged from a file, with no stack at all."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from evergreen.domain.shadow import Rules
from evergreen.statistics.sequential import shadow_verdict
from evergreen_ops import cli
from evergreen_ops.questions import verdict

START = np.datetime64("2026-01-05T00:00:00", "us")
DAY = np.timedelta64(1, "D")


def spread(rows, days):
    """Times that are spread evenly over some days."""
    return START + (np.arange(rows) * (days * 86_400_000_000 // rows)).astype("timedelta64[us]")


def a_log(rows=4_000, days=14, production=0.8, shadow=0.9, seed=1, **more):
    rng = np.random.default_rng(seed)
    actual = rng.integers(0, 2, rows)
    said = {
        name: np.where(rng.random(rows) < right, actual, 1 - actual)
        for name, right in (("production", production), ("shadow", shadow))
    }
    return {**said, "actual": actual, "time": spread(rows, days), **more}


def stored(folder, columns, name="log.parquet"):
    path = folder / name
    table = pa.table(columns)
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(table, path)
    elif name.endswith(".csv"):
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
    return path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = 0
        try:
            cli.app([str(argument) for argument in arguments], standalone_mode=False)
        except Exception as error:
            code = cli._exit_code(error)
            if code is None:
                raise
            return code, str(error)
        return code, capsys.readouterr().out

    return call


@pytest.fixture
def judged(run, tmp_path):
    """What `--json` says of a log."""

    def call(columns, *options, name="log.parquet"):
        code, out = run("verdict", stored(tmp_path, columns, name), "--json", *options)
        assert code == 0, out
        return json.loads(out)

    return call


def test_a_better_shadow_is_promoted_and_a_worse_one_kept_out(judged):
    better = judged(a_log())
    assert (better["verdict"], better["metric"]) == ("promote", "accuracy")
    assert better["gain"] == pytest.approx(better["shadow_accuracy"] - better["production_accuracy"], abs=1e-5)
    assert judged(a_log(production=0.9, shadow=0.8))["verdict"] == "keep"
    assert judged(a_log(rows=100))["verdict"] == "need_more_data"


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_every_kind_of_file_says_the_same(judged, name):
    as_parquet, other = judged(a_log(rows=800)), judged(a_log(rows=800), name=name)
    assert other == as_parquet


def test_without_times_it_is_the_verdict_of_the_counts(judged):
    log = a_log()
    del log["time"]
    right = {side: log[side] == log["actual"] for side in ("production", "shadow")}
    wins, losses = (
        int((right["shadow"] & ~right["production"]).sum()),
        int((right["production"] & ~right["shadow"]).sum()),
    )
    expected = shadow_verdict(wins, losses, 4_000 - wins - losses)
    found = judged(log)
    assert (found["rows"], found["verdict"], found["row_worth"]) == (4_000, expected.verdict, 1.0)
    assert found["log_e_promote"] == pytest.approx(expected.log_e_promote, abs=1e-4)


def test_only_whole_weeks_with_matured_labels_count(judged):
    found = judged(a_log(days=20), "--maturity", "2d")
    assert (found["from"][:10], found["until"][:10]) == ("2026-01-05", "2026-01-19")
    assert found["rows"] + found["not_yet_counted"] == 4_000
    assert judged(a_log(days=20), "--maturity", "7d")["until"][:10] == "2026-01-12"
    assert judged(a_log(days=20), "--cycle", "1d")["until"][:10] == "2026-01-24"


def test_labels_that_come_late_when_they_are_bad_news_are_waited_for(judged):
    """Where the shadow is wrong the label takes five days: on the first labels alone it looks better than it is."""
    log = a_log(rows=20_000, days=8, production=0.8, shadow=0.8)
    delay = np.where(log["shadow"] == log["actual"], 3_600, 5 * 86_400).astype("timedelta64[s]")
    log["label_time"] = log["time"] + delay
    early = judged(log, "--now", "2026-01-13", "--maturity", "1h")
    assert early["gain"] > 0.05  # what a person gets who says that an hour is enough
    assert "9.8% of the labels came after the maturity of 1h: set it higher" in early["because"]
    found = judged(log, "--now", "2026-01-13")
    assert (found["verdict"], found["maturity_days"]) == ("need_more_data", pytest.approx(5))
    assert judged(log)["verdict"] != "promote"


def test_a_look_at_an_earlier_time_knows_only_what_was_known_then(judged):
    log = a_log(rows=6_000, days=28)
    log["label_time"] = log["time"] + np.timedelta64(6, "h")
    cut = {name: values[log["label_time"] <= START + 15 * DAY] for name, values in log.items()}
    now, then = judged(log, "--now", "2026-01-20"), judged(cut, "--now", "2026-01-20")
    for key in ("verdict", "rows", "gain", "log_e_promote", "maturity_days"):
        assert now[key] == then[key]


def test_rows_of_one_user_count_once(judged):
    users = np.repeat([f"u{i}" for i in range(100)], 40)
    alone, grouped = judged(a_log(shadow=0.82)), judged(a_log(shadow=0.82, group=users))
    assert (grouped["rows"], grouped["units"]) == (alone["rows"], 50)
    assert alone["units"] == alone["rows"]


def visitors(seed, people=3_000, days=27):
    """Rows that are independent of each other; a few people ask often, and all are met first on early days."""
    rng = np.random.default_rng(seed)
    rows = np.minimum(1 + rng.pareto(1.2, people) * 2, 200).astype(int)
    person = np.repeat(np.arange(people), rows)
    day = np.minimum((rng.exponential(4.0, people)[person] + rng.random(len(person)) * 8).astype(int), days)
    log = a_log(rows=len(person), production=0.8, shadow=0.8, seed=seed)
    return {**log, "time": START + day * DAY + np.timedelta64(9, "h"), "group": person}


def test_days_are_not_found_to_differ_where_rows_are_independent(judged):
    """People who ask often are met early, and their means vary less: that is nothing of the days."""
    for seed in range(8):
        found = judged(visitors(seed), "--now", "2026-02-03")
        assert found["units"] < found["rows"] / 2
        assert found["overdispersion"] == 1.0
        assert "days differ" not in found["because"]


def test_days_that_differ_are_found_among_people_too(judged):
    log = visitors(1)
    day = ((log["time"] - START) // DAY).astype(int)
    bad = np.random.default_rng(2).random(28)[day] < 0.3
    log["shadow"] = np.where(bad, 1 - log["actual"], log["shadow"])
    assert judged(log, "--now", "2026-02-03")["overdispersion"] > 2


def test_so_many_rows_without_a_proof_keep_production(judged):
    log = a_log(rows=800, production=0.8, shadow=0.8)
    assert judged(log, "--min-gain", "0.001")["verdict"] == "need_more_data"
    found = judged(log, "--min-gain", "0.001", "--max-rows", "300")
    assert (found["verdict"], found["because"][:26]) == ("keep", "no proof within 300 rows: ")


def test_unlabelled_rows_are_counted_and_unanswered_ones_left_out(judged):
    log = a_log(rows=1_000, days=8)
    log["actual"] = pa.array([None if i % 10 == 0 else int(v) for i, v in enumerate(log["actual"])])
    log["shadow"] = pa.array([None if i < 5 else int(v) for i, v in enumerate(log["shadow"])])
    found = judged(log)
    assert found["labelled_share"] == pytest.approx(0.9, abs=0.01)
    assert found["notes"] == ["5 rows that one version did not answer are left out"]


def test_repeated_ids_count_once(judged):
    log = a_log(rows=400, days=8)
    log["id"] = np.arange(400) // 2
    found = judged(log, "--id", "id")
    assert (found["rows"] + found["not_yet_counted"], found["notes"]) == (
        200,
        ["200 rows repeat an id of 'id': the last one counts"],
    )


def test_without_times_every_row_counts_and_it_is_said(run, tmp_path):
    log = a_log(rows=500)
    del log["time"]
    code, out = run("verdict", stored(tmp_path, log))
    assert code == 0
    assert "no times in the file: every row counts" in out
    found = json.loads(run("verdict", stored(tmp_path, log), "--json")[1])
    assert (found["rows"], found["from"], found["looks"]) == (500, None, [])


@pytest.mark.parametrize(
    ("actual", "production", "metric"),
    [
        (["a", "b"], ["a", "a"], "accuracy"),
        ([1, 0], [1, 1], "accuracy"),
        ([1.0, 0.0], ["1", "1"], "accuracy"),
        ([True, False], [1, 1], "accuracy"),
        ([1, 0], [0.7, 0.6], "brier"),
        ([True, False], [0.7, 0.6], "brier"),
        ([3.5, 2.0], [3.0, 2.0], "absolute_error"),
        (list(range(40)), list(range(40)), "absolute_error"),
        ([1, 0], [1.7, 0.6], "absolute_error"),
    ],
)
def test_the_metric_is_told_from_the_values(judged, actual, production, metric):
    found = judged({"production": production, "shadow": production, "actual": actual})
    assert found["metric"] == metric
    if metric == "accuracy":
        assert (found["production_accuracy"], found["agreement"]) == (0.5, 1.0)


def test_brier_compares_probabilities_of_the_positive_class(judged):
    log = {"production": [0.9, 0.6], "shadow": [0.5, 0.5], "actual": ["stays", "leaves"]}
    found = judged(log, "--metric", "brier", "--positive", "stays")
    assert found["production_loss"] == pytest.approx((0.01 + 0.36) / 2)
    assert found["shadow_loss"] == pytest.approx(0.25)


def test_a_cost_matrix_decides_where_accuracy_would_not(judged):
    rows = 2_000
    actual = np.array(["fraud", "ok"])[(np.arange(rows) % 10 > 0).astype(int)]
    careless, careful = np.full(rows, "ok"), np.where(np.arange(rows) % 10 < 3, "fraud", "ok")
    log = {"production": careless, "shadow": careful, "actual": actual}
    assert judged(log)["verdict"] == "keep"
    assert judged(log, "--metric", "cost", "--cost", "fraud:ok=20,ok:fraud=1")["verdict"] == "promote"


def test_macro_f1_may_be_asked_for(judged):
    actual = np.array([0] * 1_900 + [1] * 100)
    found = judged({"production": np.zeros(2_000, int), "shadow": actual, "actual": actual}, "--metric", "macro_f1")
    assert (found["metric"], found["verdict"]) == ("macro_f1", "promote")


def test_the_looks_end_with_the_verdict(judged):
    found = judged(a_log(rows=3_000, days=22, shadow=0.83))
    assert [look["until"][:10] for look in found["looks"]] == ["2026-01-12", "2026-01-19", "2026-01-26"]
    assert found["looks"][-1]["log_e_promote"] == found["log_e_promote"]


def test_a_year_of_looks_is_thinned_out():
    log = verdict.judge_log(_read(a_log(rows=400, days=800)), Rules())
    assert len(log.looks) <= verdict.MOST_LOOKS
    assert log.looks[-1].until == datetime(2028, 3, 13, tzinfo=UTC)


def _read(columns):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return verdict.load(stored(Path(folder), columns), verdict.Columns())


def test_the_order_of_the_rows_and_how_they_are_split_change_nothing(judged):
    log = a_log(rows=900, group=np.arange(900) % 300)
    shuffled = np.random.default_rng(0).permutation(900)
    assert judged({name: values[shuffled] for name, values in log.items()}) == judged(log)


def test_a_plot_shows_the_evidence_look_by_look(run, tmp_path):
    target = tmp_path / "verdict.html"
    code, _ = run("verdict", stored(tmp_path, a_log(days=30)), "--plot", target)
    html = target.read_text()
    assert code == 0
    assert html.count("<svg") == 2
    assert "http" not in html


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"production": [1], "shadow": [1]}, (), "has no column 'actual': name it with --actual"),
        ({"production": [1], "shadow": [1], "actual": [1]}, ("--group", "user"), "has no column 'user'"),
        ({"production": ["x"], "shadow": ["y"], "actual": ["1"]}, (), "no class in common"),
        ({"production": [1], "shadow": [1], "actual": [1], "label_time": ["2026-01-01"]}, (), "--time"),
        (
            {"production": [1], "shadow": [1], "actual": [1], "time": ["2026-01-02"], "label_time": ["2026-01-01"]},
            (),
            "earlier than 'time' in 1 rows, first in row 1",
        ),
        ({"production": [1.5], "shadow": [0.5], "actual": [1]}, ("--metric", "brier"), "holds 1.5: Brier needs"),
        ({"production": ["a"], "shadow": ["b"], "actual": [1.5]}, ("--metric", "absolute_error"), "not numbers"),
        (
            {"production": ["a"], "shadow": ["a"], "actual": ["a"]},
            ("--metric", "cost", "--cost", "a=3"),
            "--cost 'a=3'",
        ),
        ({"production": ["a"], "shadow": ["a"], "actual": ["a"]}, ("--metric", "cost", "--cost", "a:z=3"), "'z'"),
        ({"production": [1], "shadow": [1], "actual": [1]}, ("--cycle", "soon"), "--cycle is 'soon'"),
        ({"production": [1], "shadow": [1], "actual": [1]}, ("--now", "today"), "--now is 'today'"),
        ({"production": [1], "shadow": [1], "actual": [1]}, ("--alpha", "2"), "--alpha is 2.0"),
        (
            {"production": pa.array([None], pa.int64()), "shadow": [1], "actual": [1]},
            (),
            "no row that both versions answered",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(run, tmp_path, columns, options, message):
    code, said = run("verdict", stored(tmp_path, columns), *options)
    assert code == 2
    assert message in said
    assert "\n" not in said


def test_the_command_itself_prints_json_and_nothing_else(tmp_path):
    path = stored(tmp_path, a_log(rows=600))
    done = subprocess.run(
        [sys.executable, "-m", "evergreen_ops.cli", "verdict", path, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] in ("promote", "keep", "need_more_data")
    refused = subprocess.run(
        [sys.executable, "-m", "evergreen_ops.cli", "verdict", tmp_path / "none.csv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
