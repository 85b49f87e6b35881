"""The loop runs under the template's own policies: a refusal that no story speaks of is a fault of the template."""

import logging

import pytest


class _Refusals(logging.Handler):
    def __init__(self):
        super().__init__()
        self.told = []

    def emit(self, record):
        self.told.append(record.getMessage())


@pytest.fixture(scope="session", autouse=True)
def refusals():
    """What the local cloud has refused, as it says it; worlds that several stories share are watched too."""
    handler, log = _Refusals(), logging.getLogger("local_cloud.iam")
    log.addHandler(handler)
    yield handler.told
    log.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_is_refused(refusals):
    """Each story fails that was refused something."""
    yield
    told = list(refusals)
    refusals.clear()
    assert not told
