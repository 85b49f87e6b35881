"""A request's rows are read once: predict, an endpoint's container and the reader of captures agree on every one."""

import ast
import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.formats import payloads, requests, rows
from evergreen.model.schema import FeatureSchema
from evergreen.serving import inference

ROOT = Path(__file__).parents[2]
CORE = ROOT / "layers/core/evergreen"
SCHEMA = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
JSON, CSV = "application/json", "text/csv"
NUMBERS = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
ROWS = st.lists(st.fixed_dictionaries({"age": NUMBERS, "plan": TEXTS}), min_size=1, max_size=5)


class Scorer:
    """A model that answers what it was asked."""

    schema = SCHEMA

    def score_rows(self, rows):
        return rows


def values(row):
    """In the model's order."""
    return [row[name] for name in SCHEMA.names]


def predicted(kind, body):
    return requests.parse_request(kind, body, SCHEMA).rows


def contained(kind, body):
    return inference.predict_fn(inference.input_fn(body, kind), inference.Model(Scorer())).predictions


def captured(kind, body):
    encoding = {JSON: "JSON", CSV: "CSV"}[kind]
    return payloads.read_rows({"data": body, "encoding": encoding, "observedContentType": kind}, SCHEMA)


@given(ROWS)
def test_all_readers_find_the_same_rows(sent):
    text = io.StringIO()
    csv.writer(text).writerows([["" if value is None else value for value in values(row)] for row in sent])
    for kind, body in ((JSON, json.dumps({"instances": sent})), (CSV, text.getvalue())):
        assert predicted(kind, body) == contained(kind, body) == captured(kind, body) == sent


@given(st.sampled_from(rows.ROW_LISTS), ROWS, st.booleans())
def test_the_container_takes_what_the_reader_of_captures_takes(name, sent, in_order):
    as_sent = [values(row) for row in sent] if in_order else sent
    for document in ({name: as_sent}, as_sent, as_sent[0]):
        body = json.dumps(document)
        assert contained(JSON, body) == captured(JSON, body) == sent[: len(contained(JSON, body))]


def test_of_many_unknown_keys_the_first_are_named():
    with pytest.raises(rows.RowsError) as refused:
        rows.listed({"instances": []} | {f"key{i:02}": 1 for i in range(90)}, rows.Accepted())
    assert len(refused.value.problems) == rows.MOST_PROBLEMS


@pytest.mark.parametrize("reads", [predicted, contained, captured])
@pytest.mark.parametrize("kind", [JSON, CSV])
def test_whoever_reads_rows_asks_the_one_reader(reads, kind, monkeypatch):
    """What the one reader finds is what each of them finds."""
    other = {"age": 7.0, "plan": "of the one reader"}
    for place in (requests, inference, payloads):
        if kind == JSON:
            monkeypatch.setattr(place, "listed", lambda document, accepted: [other])
        else:
            monkeypatch.setattr(place, "csv_lines", lambda text, strict=False: [["7", "of the one reader"]])
    assert reads(kind, {JSON: '{"instances": [{"age": 1, "plan": "a"}]}', CSV: "1,a"}[kind]) == [other]


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_no_other_module_reads_rows(path):
    """Neither the keys that hold them nor a reader of CSV is written a second time."""
    if path == Path(rows.__file__):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and node.value in ("dataframe_records", "dataframe_split"))
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in ("csv.reader", "csv.DictReader"))
