"""What is said of roles once several stacks have been watched."""

from collections import Counter

from uses import Use, from_json, table, to_json, together

READS = Use(Counter({"s3:GetObject": 2}), idle={"s3:PutObject"})
WRITES = Use(Counter({"s3:PutObject": 1}), {"s3:DeleteObject on arn:aws:s3:::data/1"}, {"s3:GetObject"})


def test_nothing_is_idle_that_one_stack_used():
    both = together([{"PredictRole": READS}, {"PredictRole": WRITES}])["PredictRole"]
    assert both.idle == set()
    assert both.used == {"s3:GetObject": 2, "s3:PutObject": 1}
    assert both.refused == WRITES.refused


def test_a_role_that_only_one_stack_has_is_told_of_too():
    assert list(together([{"PredictRole": READS}, {"LearnLiveRole": WRITES}])) == ["LearnLiveRole", "PredictRole"]


def test_what_is_written_is_read_again():
    assert from_json(to_json({"PredictRole": WRITES})) == {"PredictRole": WRITES}


def test_the_table_ends_with_both_sides():
    last = table({"PredictRole": READS, "LearnLiveRole": WRITES}).splitlines()[-1]
    assert last == "used and allowed: 2; used and not allowed: 1; allowed and never used: 2"
