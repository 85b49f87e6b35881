"""Where files lie, letter by letter: what is stored is found again by every later release."""

from datetime import UTC, datetime

import pytest

from evergreen.formats import keys
from evergreen.formats.keys import FileKey, Quarantined

CAPTURES = FileKey.parse("captures/churn/production/2026/01/31/23/part-1.jsonl")
ENDPOINT = FileKey.parse("captures/churn/evergreen-churn-p3-s4-e52/churn-eu/shadow/2026/01/31/23/09-15-123-a.jsonl")
LABELS = FileKey.parse("ground-truth/churn/2026/02/01/00/part-1.jsonl")
NOON = datetime(2026, 1, 31, 12, 5, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (CAPTURES.compacted, "compact/churn/production/2026/01/31/23/part-1.parquet"),
        (CAPTURES.profile(3), "profiles/churn/production/2026/01/31/23/part-1.v3.json"),
        (CAPTURES.answered_by_shadow(4), "captures/churn/shadow/2026/01/31/23/part-1.v4.jsonl"),
        (
            CAPTURES.quarantined(Quarantined.CAPTURES),
            "quarantine/captures/churn/production/2026/01/31/23/part-1.jsonl",
        ),
        (ENDPOINT.compacted, "compact/churn/shadow/2026/01/31/23/09-15-123-a.v4.parquet"),
        (ENDPOINT.profile(4), "profiles/churn/shadow/2026/01/31/23/09-15-123-a.v4.json"),
        (LABELS.outcomes, "outcomes/churn/2026/02/01/00/part-1.parquet"),
        (LABELS.late.outcomes, "outcomes/churn/2026/02/01/00/part-1.late.parquet"),
        (LABELS.online_rows, "online-rows/churn/2026/02/01/00/part-1.jsonl.gz"),
        (LABELS.late.online_rows, "online-rows/churn/2026/02/01/00/part-1.late.jsonl.gz"),
        (LABELS.pending_labels, "pending-labels/churn/2026/02/01/00/part-1.jsonl"),
        (LABELS.quarantined(Quarantined.GROUND_TRUTH), "quarantine/ground-truth/churn/2026/02/01/00/part-1.jsonl"),
        (
            FileKey.parse(LABELS.pending_labels).quarantined(Quarantined.LABELS_WITHOUT_CAPTURE),
            "quarantine/labels-without-capture/churn/2026/02/01/00/part-1.jsonl",
        ),
        (keys.captures_of("churn"), "captures/churn"),
        (keys.captures_of("churn", "production"), "captures/churn/production"),
        (keys.ground_truth_of("churn"), "ground-truth/churn"),
        (keys.refused_labels_of("churn"), "quarantine/ground-truth/churn"),
        (keys.hour_of("captures/churn", NOON), "captures/churn/2026/01/31/12/"),
        (keys.profile_of_day("churn", 3, NOON), "profiles/churn/days/2026-01-31.v3.json"),
        (keys.decision_key("churn", "shadow", NOON), "decisions/churn/2026/01/31/120507-shadow.json"),
        (
            keys.decision_key("churn", "wish", NOON.replace(microsecond=250)),
            "decisions/churn/2026/01/31/120507.000250-wish.json",
        ),
        (keys.base_data_key("churn", "5f" * 32), "base-data/churn/5f5f5f5f5f5f5f5f.parquet"),
        (keys.artifacts_of("churn"), "models/churn"),
        (keys.artifact_key("churn", "churn-1-0"), "models/churn/churn-1-0/output/model.tar.gz"),
        (keys.reference_key("churn", "churn-1-0", "5f"), "references/churn/churn-1-0.5f.json"),
        (keys.snapshot_key("churn", "d-1", 2), "snapshots/churn/d-1/2/snapshot.json"),
        (keys.manifest_key("churn", "d-1", 2), "snapshots/churn/d-1/2/manifest.json"),
        (keys.snapshot_of_decision("snapshots/churn/d-1/2/snapshot.json"), "snapshots/churn/d-1/snapshot.json"),
        (keys.source_key("5f"), "source/5f/sourcedir.tar.gz"),
        (keys.checkpoints_of("churn", "d-1"), "checkpoints/churn/d-1"),
        (keys.live_states_of("churn"), "live/churn/"),
        (keys.live_states_of("churn", 3), "live/churn/v000003/"),
        (keys.live_state_key("churn", 3, 17, "5f"), "live/churn/v000003/0000000017-5f.state"),
    ],
)
def test_a_key_is_what_it_has_always_been(key, written):
    assert key == written


@pytest.mark.parametrize("key", ["references/churn/churn-1-0.5f", "references/churn/churn.5f.txt", ""])
def test_a_reference_that_names_no_hash_has_none(key):
    assert keys.reference_sha256(key) == ""
