"""What an endpoint was last asked to become: kept beside the aliases, each time over what was read."""

from dataclasses import replace

import pytest

from evergreen.aws.sagemaker_attempts import Attempt, Attempts
from evergreen.errors import ConflictingWriteError

FIRST = Attempt("p1-s0-e5", "v1", None, "", made={"p1-s0-e5": ("v1",)})


@pytest.fixture
def attempts(table):
    return Attempts(*table("model", "alias"))


def test_an_attempt_is_read_as_it_was_written(attempts):
    assert attempts.read("churn") is None
    written = attempts.write("churn", FIRST)
    assert attempts.read("churn") == written == replace(FIRST, revision=1)
    assert attempts.read("other") is None


@pytest.mark.parametrize("revision", [0, 1, 3])
def test_an_attempt_is_written_over_the_one_that_was_read_and_over_no_other(attempts, revision):
    read = attempts.write("churn", FIRST)
    newest = attempts.write("churn", replace(read, accepted=True))
    with pytest.raises(ConflictingWriteError, match="'churn/attempt' was written by somebody else"):
        attempts.write("churn", replace(read, closed=True, revision=revision))
    assert attempts.read("churn") == newest
