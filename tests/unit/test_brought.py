"""What each version brought, on matured labels of requests that it and the version before it both answered."""

from datetime import UTC, datetime, timedelta

import pytest

from evergreen.domain.brought import brought
from evergreen.domain.history import History
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRetired,
    PromotionApproved,
    RollbackDecided,
    ShadowStarted,
    VersionPromoted,
    VersionRolledBack,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def evidence(shadow, production, rows, losses, accuracies=(None, None), metric="brier"):
    """As a comparison leaves it: losses and accuracies of production and of who is in shadow."""
    found = {"version": shadow, "judged_against": production, "rows": rows, "metric": metric}
    found |= dict(zip(("production_loss", "shadow_loss"), losses, strict=True))
    return found | dict(zip(("production_accuracy", "shadow_accuracy"), accuracies, strict=True))


class Story:
    def __init__(self):
        self.documents = []

    def then(self, kind, **fields):
        epoch = len(self.documents) + 1
        time = START + epoch * timedelta(hours=1)
        about = {"epoch": epoch, "type": kind.__name__, "time": time.isoformat(), "actor": "ada", "because": "a story"}
        self.documents.append(about | fields)
        return self

    def registered(self, version):
        fields = {"artifact": "", "sha256": "", "fingerprint": "", "rows_trained": 9, "trained_until": None}
        return self.then(
            CandidateRegistered, version=version, decision_id=f"d{version}", reference="", gate={}, **fields
        )

    def shadowed(self, version, against):
        return self.then(ShadowStarted, version=version, judged_against=against)

    def promoted(self, version, replaced, evidence):
        self.then(PromotionApproved, version=version, instead_of=replaced, evidence=evidence)
        return self.then(VersionPromoted, version=version, replaced=replaced, endpoint={})

    def of(self, version, notes=()):
        told = brought(History.of_documents("churn", self.documents), notes)
        return next(each for each in told if each.version == version)


def first():
    return Story().registered(1).promoted(1, None, {})


def test_a_first_version_replaced_nothing():
    assert (first().of(1).said, first().of(1).rows) == ("unknown: it replaced no version", 0)


def test_shadow_and_quality_bake_add_up_by_their_rows():
    story = first().registered(2).shadowed(2, 1).promoted(2, 1, evidence(2, 1, 300, (0.2, 0.1), (0.70, 0.80)))
    watched = evidence(1, 2, 100, (0.3, 0.4), (0.60, 0.50))  # version 1 is in shadow now
    found = story.then(BakePassed, version=2, phase="quality", evidence=watched).of(2)
    assert (found.instead_of, found.fate, found.rows) == (1, "promoted", 400)
    assert (found.new.loss, found.old.loss) == pytest.approx(((30 + 30) / 400, (60 + 40) / 400))
    assert (found.new.accuracy, found.old.accuracy) == pytest.approx((0.75, 0.65))
    assert found.said == (
        "brier 0.1500 instead of 0.2500, accuracy 0.750 instead of 0.650, on 400 rows that version 1 answered too"
    )


def test_of_a_regression_the_error_alone_is_told():
    found = first().registered(2).shadowed(2, 1)
    found = found.promoted(2, 1, evidence(2, 1, 300, (9.5, 7.25), metric="absolute_error")).of(2)
    assert found.said == "absolute_error 7.2500 instead of 9.5000, on 300 rows that version 1 answered too"


def test_a_version_that_was_rolled_back_says_what_it_cost():
    story = first().registered(2).shadowed(2, 1).promoted(2, 1, {"forced": True})
    worse = evidence(1, 2, 80, (0.5, 0.2))
    story.then(RollbackDecided, version=2, to_version=1, cause="quality", evidence=worse)
    found = story.then(VersionRolledBack, version=2, to_version=1, cause="quality", endpoint={}).of(2)
    assert (found.fate, found.rows, found.new.loss, found.old.loss) == ("rolled back", 80, 0.5, 0.2)


@pytest.mark.parametrize(
    "nothing",
    [{"forced": True}, {}, evidence(2, 1, 0, (None, None)), evidence(2, 7, 300, (0.2, 0.1))],
    ids=["by hand", "no evidence", "no rows", "against another"],
)
def test_what_is_not_known_is_said_plainly(nothing):
    found = first().registered(2).shadowed(2, 1).promoted(2, 1, nothing).of(2)
    assert (found.rows, found.new, found.old) == (0, None, None)
    assert found.said == "unknown: no matured labels of requests that version 1 answered too"
    assert found.to_json()["new"] is None


def test_a_candidate_that_gave_way_ends_with_what_was_found_last():
    story = first().registered(2).shadowed(2, 1).registered(3)
    found = story.then(CandidateRetired, version=2, evidence=evidence(2, 1, 50, (0.2, 0.1)), superseded_by=3)
    assert (found.of(2).fate, found.of(2).rows) == ("superseded by version 3", 50)
    assert (found.of(3).fate, found.of(3).said) == ("waits", "unknown: it replaced no version")


def test_of_a_version_in_shadow_the_newest_comparison_is_told():
    notes = [
        {"type": "ShadowCompared", "time": START.isoformat()} | evidence(2, 1, rows, (0.2, 0.1)) for rows in (40, 90)
    ]
    story = first().registered(2).shadowed(2, 1)
    assert (story.of(2, notes).fate, story.of(2, notes).rows) == ("in shadow", 90)
    over = story.promoted(2, 1, evidence(2, 1, 120, (0.2, 0.1)))
    assert over.of(2, notes).rows == 120, "rows are not counted twice"


def test_while_the_quality_bake_goes_on_the_newest_comparison_with_the_sentinel_is_told():
    notes = [
        {"type": "ShadowCompared", "time": START.isoformat()} | evidence(2, 1, 120, (0.2, 0.1)),
        {"type": "ShadowCompared", "time": START.isoformat()} | evidence(1, 2, 30, (0.1, 0.2)),
        {"type": "ShadowCompared", "time": START.isoformat()} | evidence(1, 2, 80, (0.1, 0.25)),
    ]
    story = first().registered(2).shadowed(2, 1).promoted(2, 1, evidence(2, 1, 120, (0.2, 0.1)))
    found = story.of(2, notes)
    assert (found.fate, found.rows) == ("promoted", 200)
    assert (found.new.loss, found.old.loss) == pytest.approx((20 / 200, (24 + 20) / 200))
    over = story.then(BakePassed, version=2, phase="quality", evidence=evidence(1, 2, 90, (0.1, 0.25))).of(2, notes)
    assert over.rows == 210, "rows are not counted twice"


def test_losses_of_two_metrics_are_not_added():
    story = first().registered(2).shadowed(2, 1).promoted(2, 1, evidence(2, 1, 300, (0.2, 0.1)))
    watched = evidence(1, 2, 100, (0.3, 0.4), metric="accuracy")
    found = story.then(BakePassed, version=2, phase="quality", evidence=watched).of(2)
    assert (found.metric, found.rows) == ("accuracy", 100)
