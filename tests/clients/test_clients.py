"""The runner of foreign clients, without them: what it reads, how it counts, and what the documentation says of it."""

from __future__ import annotations

import re
from pathlib import Path

import aws_cli
import moto_plugin
import reasons
from clients import CLIENTS, Outcome
from hypothesis import given
from hypothesis import strategies as st

DOCS = Path(__file__).parents[2] / "docs" / "clients.md"
TEXTS = st.sampled_from(["n/a", "some cron", "arn:aws:s3:::data", "eu-central-1", "arn1", "rows"])
NAMES = st.sampled_from(["Arn", "RoleArn", "Id", "ScheduleExpression", "Region"])


def test_the_documentation_gives_every_reason_and_names_every_client() -> None:
    text = DOCS.read_text()
    assert reasons.table() in text
    for client in CLIENTS:
        assert f"`{client.name}`" in text


def test_what_aws_is_the_reason_for_has_a_page_of_aws() -> None:
    for reason in reasons.REASONS:
        of_aws = reason.kind in (reasons.Kind.STRICTER, reasons.Kind.AWS)
        assert bool(reason.page) is of_aws, reason.why
        assert not reason.page or reason.page.startswith("https://docs.aws.amazon.com/")


def test_no_test_has_two_reasons() -> None:
    patterns = [pattern for reason in reasons.REASONS for pattern in reason.tests]
    assert len(patterns) == len(set(patterns))


def test_every_command_of_the_cli_has_something_to_tell_and_no_line_is_left_out() -> None:
    text = aws_cli.STEPS.read_text()
    steps = aws_cli.read_steps(text)
    assert len(steps) == len(re.findall(r"^aws ", text, re.MULTILINE))
    for step in steps:
        re.compile(step.told)
    services = {step.command.split()[1] for step in steps}
    assert services >= {
        "cloudformation", "cloudwatch", "dynamodb", "events", "firehose", "iam", "lambda", "logs", "s3", "sagemaker",
        "scheduler", "sns", "sqs", "sts",
    }  # fmt: skip


@given(st.recursive(TEXTS, lambda below: st.lists(below) | st.dictionaries(NAMES, below), max_leaves=8))
def test_what_is_sent_in_place_of_a_value_is_read_back_as_it_was_written(written: object) -> None:
    sent = moto_plugin.replaced(written, moto_plugin.WELL_FORMED, str)
    assert moto_plugin.replaced(sent, moto_plugin._AS_WRITTEN, str) == written


def test_a_test_elsewhere_is_at_home_on_the_way() -> None:
    travelling = moto_plugin.Travelling()
    travelling.set_out("boto3.client('events', 'eu-central-1'); boto3.client('sts', 'us-east-1')")
    assert travelling.there("arn:aws:sqs:eu-central-1:1:q") == "arn:aws:sqs:us-east-1:1:q"
    assert travelling.back("arn:aws:sqs:us-east-1:1:q") == "arn:aws:sqs:eu-central-1:1:q"
    travelling.set_out("for region in ('eu-central-1', 'us-west-2'): ...")
    assert travelling.there("eu-central-1") == "eu-central-1"


def test_a_failure_without_a_reason_is_told_apart() -> None:
    known = reasons.REASONS[0].tests[0].replace("*", "tests/test_x.py")
    assert reasons.reason_of(known) is reasons.REASONS[0]
    assert reasons.reason_of("tests/test_x.py::test_nobody_knows") is None
    assert Outcome("a", "failed").why == ""
