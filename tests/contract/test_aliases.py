"""Aliases on DynamoDB: an older decision never overwrites a newer one, and what is there is read back."""

from dataclasses import replace

import pytest

from evergreen.aws.aliases import DynamoAliases
from evergreen.ports import AliasRecord

SECOND = AliasRecord(
    "churn", "production", 2, "models/churn/j2/output/model.tar.gz", "2" * 64, epoch=20, latency_ms=250.5
)
THIRD = replace(SECOND, version=3, artifact="models/churn/j3/output/model.tar.gz", sha256="3" * 64, epoch=30)


@pytest.fixture
def aliases(table):
    return DynamoAliases(*table("model", "alias"))


def test_an_alias_nobody_pointed_points_nowhere(aliases):
    assert aliases.read("churn", "production") is None


def test_an_alias_is_read_as_it_was_pointed(aliases):
    assert aliases.repoint(SECOND) == SECOND
    assert aliases.read("churn", "production") == SECOND


def test_a_newer_decision_takes_over(aliases):
    aliases.repoint(SECOND)
    assert aliases.repoint(THIRD) == THIRD


def test_a_late_decision_loses_and_is_told_what_is_there(aliases):
    aliases.repoint(THIRD)
    assert aliases.repoint(SECOND) == THIRD
    assert aliases.read("churn", "production") == THIRD


def test_the_same_decision_twice_changes_nothing(aliases):
    aliases.repoint(SECOND)
    assert aliases.repoint(SECOND) == SECOND


def test_a_cleared_alias_points_nowhere_and_stays_guarded(aliases):
    aliases.repoint(SECOND)
    aliases.clear("churn", "production", epoch=25)
    assert aliases.read("churn", "production") is None
    aliases.repoint(SECOND)
    assert aliases.read("churn", "production") is None
    assert aliases.repoint(THIRD) == THIRD


def test_a_late_clearing_leaves_a_newer_decision_alone(aliases):
    aliases.repoint(THIRD)
    aliases.clear("churn", "production", epoch=29)
    assert aliases.read("churn", "production") == THIRD


def test_a_cleared_alias_answers_a_late_decision_that_it_points_nowhere(aliases):
    aliases.clear("churn", "production", epoch=25)
    assert aliases.repoint(SECOND) == AliasRecord.nowhere("churn", "production", 25)


def test_what_was_found_is_replaced_whatever_its_epoch(aliases):
    aliases.repoint(THIRD)
    assert aliases.replace(THIRD, SECOND) == SECOND
    assert aliases.read("churn", "production") == SECOND


@pytest.mark.parametrize("found", [replace(THIRD, epoch=29), replace(THIRD, version=7), SECOND])
def test_what_is_not_there_any_more_is_not_replaced(aliases, found):
    aliases.repoint(THIRD)
    assert aliases.replace(found, replace(SECOND, epoch=99)) == THIRD


def test_aliases_and_models_are_apart(aliases):
    aliases.repoint(SECOND)
    aliases.repoint(replace(THIRD, alias="shadow"))
    aliases.repoint(replace(THIRD, model="other"))
    assert aliases.read("churn", "production") == SECOND
    assert aliases.read("churn", "shadow").version == 3
    assert aliases.read("other", "production").version == 3
