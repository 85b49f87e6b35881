"""How long files are kept, and which specs need them for longer."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.retention import Retention, reading_takes
from evergreen.spec import ModelSpec, TrainingSpec

DAY, NOW = timedelta(days=1), datetime(2026, 3, 1, tzinfo=UTC)
lengths = st.builds(timedelta, days=st.integers(0, 4_000), hours=st.integers(0, 23))


@st.composite
def specs(draw):
    return ModelSpec.parse(
        {
            "model": "rent",
            "task": "regression",
            "features": {"area": {"type": "number"}},
            "labels": {"maturity": draw(lengths)},
            "training": {"window": draw(lengths), "retries": draw(st.integers(0, 5)), "max_runtime": timedelta(days=2)},
            "shadow": {"max_time": draw(lengths)},
            "deployment": {"quality_bake": draw(lengths)},
            "triggers": {"cycle": draw(lengths)},
        }
    )


@given(specs(), st.integers(7, 4_000), st.integers(7, 4_000))
def test_what_the_sentences_ask_for_is_enough_and_no_day_more(spec, captures, outcomes):
    days = {"CaptureRetentionDays": captures, "OutcomeRetentionDays": outcomes}

    def refusals():
        return Retention.of_days(*days.values()).refusals(spec)

    asked = [
        (name, int(least)) for name, least in re.findall(r"(\w+RetentionDays) (\d+) or more", "; ".join(refusals()))
    ]
    assert len(asked) == len(refusals())
    assert all(least > days[name] for name, least in asked)
    days |= {name: max(least for other, least in asked if other == name) for name, _ in asked}
    assert refusals() == []
    for name in {name for name, _ in asked}:
        days[name] -= 1
        assert refusals(), name
        days[name] += 1


@given(specs())
def test_nothing_is_refused_where_everything_is_kept(spec):
    assert Retention.of_days(0, 0).refusals(spec) == []


@given(specs(), st.integers(7, 4_000))
def test_a_training_reads_no_file_that_is_deleted_before_its_last_attempt_has_read_it(spec, days):
    since = Retention.of_days(0, days).outcomes_since(NOW, read_within=reading_takes(spec.training))
    read_at = NOW + reading_takes(spec.training)
    assert since == NOW or read_at - since <= days * DAY
    allowed = Retention.of_days(0, days).refusals(spec)
    if not any(sentence.startswith("training.window") for sentence in allowed):
        assert since <= NOW - spec.training.window, "what was applied loses no row"


def test_a_job_on_spare_capacity_may_wait_before_it_reads():
    assert reading_takes(TrainingSpec(spot=True, max_wait=timedelta(days=3), retries=1)) == 6 * DAY + timedelta(
        minutes=5
    )
