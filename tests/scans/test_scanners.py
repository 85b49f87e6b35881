"""Each scanner finds what it is there for, and says where, in either form of a template."""

import json

import pytest
import scanners

OPEN = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Resources": {"Files": {"Type": "AWS::S3::Bucket"}, "Waiting": {"Type": "AWS::SQS::Queue"}},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scanner", "name", "rule", "resource"),
    [
        (scanners.cfn_lint, "cfn-lint", "ES6000", "Waiting"),
        (scanners.checkov, "checkov", "CKV_AWS_53", "Files"),
        (scanners.cfn_guard, "cfn-guard", "CT.S3.PR.1", "Files"),
    ],
)
def test_an_open_bucket_and_a_queue_that_forgets_are_found(tmp_path, scanner, name, rule, resource):
    forms = [tmp_path / "infra+deploy+open.json", tmp_path / "infra+deploy+open~deployed.json"]
    for form in forms:
        form.write_text(json.dumps(OPEN))
    found = [each for each in scanner(forms, tmp_path / "scanner") if each.rule == rule]
    assert len(found) == len(forms)
    assert {(each.scanner, each.template, each.resource) for each in found} == {
        (name, "infra/deploy/open.yaml", resource)
    }
    assert found[0].says
