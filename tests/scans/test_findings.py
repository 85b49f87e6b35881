"""What is found is accepted with a reason, or open; what is accepted is found, or has to go."""

from pathlib import Path

import pytest
from findings import ACCEPTED, Accepted, Finding, needless, open_findings, read_accepted
from hypothesis import given
from hypothesis import strategies as st

LISTED = read_accepted(ACCEPTED.read_text(encoding="utf-8"))
ROOT = Path(__file__).parents[2]
NAMES = st.sampled_from(["Data", "DataBucket", "Predict", "PredictLogs"])
FINDINGS = st.builds(Finding, st.sampled_from(["checkov", "cfn-lint"]), st.sampled_from(["A1", "B2"]), NAMES, NAMES)


def accepting(finding, resource):
    return Accepted(finding.scanner, finding.rule, finding.template, resource, "so it is")


@given(st.lists(FINDINGS))
def test_what_nobody_accepts_is_open_and_what_is_accepted_as_it_is_found_is_not(findings):
    assert open_findings(findings, []) == sorted(set(findings))
    assert open_findings(findings, [accepting(finding, finding.resource) for finding in findings]) == []
    assert open_findings(findings, [accepting(finding, "*") for finding in findings]) == []


@given(FINDINGS, FINDINGS)
def test_one_that_is_accepted_accepts_no_other(finding, other):
    left = open_findings([finding, other], [accepting(finding, finding.resource)])
    assert left == ([] if other == finding else [other])


@given(FINDINGS, FINDINGS)
def test_what_is_accepted_and_not_found_is_told(finding, other):
    accepted = [accepting(finding, finding.resource)]
    assert needless([finding], accepted) == []
    assert needless([], accepted) == accepted
    assert needless([other], accepted) == ([] if other == finding else accepted)


def test_an_entry_is_for_each_of_its_rules_and_resources():
    (first, second, third, fourth) = read_accepted("""
- {scanner: checkov, rules: [CKV_AWS_18, CKV_AWS_21], template: template.yaml, resources: [A, "*Logs"], because: why}
""")
    assert {first.because, second.because, third.because, fourth.because} == {"why"}
    found = Finding("checkov", "CKV_AWS_21", "template.yaml", "PredictLogs")
    assert [one.covers(found) for one in (first, second, third, fourth)] == [False, False, False, True]


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: f"{entry.rule}-{entry.resource}")
def test_what_is_accepted_has_a_reason_and_is_of_a_template_that_there_is(entry):
    assert len(entry.because.split()) > 3
    assert (ROOT / entry.template).exists()


def test_nothing_is_accepted_twice():
    assert len({(e.scanner, e.rule, e.template, e.resource) for e in LISTED}) == len(LISTED)
