"""Each statement of the template is needed: by a named test that would be refused without it, or by a page of AWS's."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from stack import stacks
from witnesses import BY_AWS_ALONE, NO_STORY_YET, label, needed_for, page_of, read, used_as

ROOT = Path(__file__).parents[2]
WITNESSES = read()


@cache
def grants_of_each():
    return [(stack, frozenset(stack.grants())) for stack in stacks()]


def grants():
    return frozenset().union(*(found for _, found in grants_of_each()))


def test_each_grant_has_a_witness_or_a_page():
    found = [grant for grant in sorted(grants()) if grant not in WITNESSES and not page_of(grant)]
    missing = [label(grant) for grant in found if not needed_for(grant)]
    assert not missing, "`make permissions WRITE=1` looks for tests that use them; else the template allows too much"


def test_what_no_story_uses_yet_is_as_short_a_list_as_it_can_be():
    without = {(grant.holder, grant.action, grant.resource) for grant in grants() if grant not in WITNESSES}
    assert NO_STORY_YET.keys() <= without, "these have a witness now, or are gone"


def test_no_witness_is_left_of_a_grant_that_is_gone():
    assert not [label(grant) for grant in sorted(WITNESSES.keys() - grants())], "run `make permissions WRITE=1`"


def test_what_aws_alone_does_is_still_allowed_and_used_by_nobody():
    assert BY_AWS_ALONE.keys() == {used_as(grant) for grant in grants() if page_of(grant)}
    assert not [label(grant) for grant in WITNESSES if page_of(grant)]


@pytest.mark.parametrize("holder", sorted({grant.holder for grant in WITNESSES}))
def test_without_a_grant_the_call_that_its_test_makes_is_refused(holder):
    """A deployment that has a grant decides as it was decided then, and otherwise without it."""
    for grant, witness in WITNESSES.items():
        if grant.holder == holder:
            having = [stack for stack, found in grants_of_each() if grant in found]
            assert any(grant in stack.decisive(witness.asked) for stack in having), f"{label(grant)}: {witness}"


@pytest.mark.parametrize("file", sorted({witness.test.partition("::")[0] for witness in WITNESSES.values()}))
def test_the_tests_of_the_witnesses_are_there(file):
    named = {w.test.partition("::")[2].partition("[")[0] for w in WITNESSES.values() if w.test.startswith(f"{file}::")}
    assert named <= functions_of(file)


@cache
def functions_of(file):
    found = ast.walk(ast.parse((ROOT / file).read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and re.match("test_", node.name)}
