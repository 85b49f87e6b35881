"""What the house writes in one place is written in no second one: each fact is looked for in every module's syntax."""

import ast
from pathlib import Path

import pytest

from evergreen.domain.catalog import CatalogKind
from evergreen.domain.uris import UriError, is_uri, split_uri, uri_of
from evergreen.formats.keys import ArtifactPrefix, DataPrefix

ROOT = Path(__file__).parents[2]
CORE = ROOT / "layers/core/evergreen"
OPS = ROOT / "infra/evergreen_ops"
MODULES = [*CORE.rglob("*.py"), *(ROOT / "functions").glob("*/app.py"), *OPS.rglob("*.py")]


def texts(path):
    """The line and the text of every string of a module; of an f-string, what stands between its values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def written(wanted, *, but):
    """Where a text is written that is wanted, outside of the place where it belongs."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in MODULES
        if path != CORE / but
        for line, text in texts(path)
        if wanted(text)
    ]


# --- s3 uri -> bucket, key --------------------------------------------------------------------------------------------


def test_only_one_module_takes_uris_apart_and_puts_them_together():
    assert written(lambda text: text in ("s3:", "s3:/", "s3://"), but="domain/uris.py") == []


def test_a_uri_is_put_together_as_it_was_taken_apart():
    for uri in ("s3://bucket/a/b.csv", "s3://bucket/"):
        assert uri_of(*split_uri(uri)) == uri


@pytest.mark.parametrize("place", ["", "a/b.csv", "s3://", "s3:///key", "sagemaker-model:churn", "https://bucket/key"])
def test_what_is_no_uri_is_said_to_be_none(place):
    assert not is_uri(place) or place in ("s3://", "s3:///key")
    with pytest.raises(UriError, match="is no place in S3: write it as s3://bucket/key"):
        split_uri(place)


# --- where a file lies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [*DataPrefix, *ArtifactPrefix])
def test_only_one_module_says_where_files_lie(prefix):
    assert written(lambda text: text.startswith(f"{prefix}/"), but="formats/keys.py") == []


def test_only_one_module_says_where_the_files_of_an_hour_lie():
    assert written(lambda text: "%Y/%m/%d" in text, but="formats/keys.py") == []


# --- kinds of files ---------------------------------------------------------------------------------------------------

# A prefix of the bucket may be called like a kind; what is called a profile in a reference is no file.
ELSEWHERE = {"profile"}


@pytest.mark.parametrize("kind", CatalogKind)
def test_only_one_module_names_a_kind_of_files(kind):
    def named(text):
        return text.startswith(f"{kind}-") or (text == kind and text not in ELSEWHERE)

    prefixes = set(DataPrefix)
    assert [
        place
        for place in written(named, but="domain/catalog.py")
        if not (kind in prefixes and place.startswith("layers/core/evergreen/formats/keys.py:"))
    ] == []


def test_compacted_captures_are_named_by_their_kind():
    assert written(lambda text: text.startswith("compact-"), but="domain/catalog.py") == []


# --- the columns of features ------------------------------------------------------------------------------------------


def test_only_one_module_says_how_the_column_of_a_feature_is_called():
    assert written(lambda text: text.startswith("feature."), but="model/schema.py") == []
