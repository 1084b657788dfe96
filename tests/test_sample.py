"""The sample record that the repository ships is a real one, and nothing was changed in it."""

from __future__ import annotations

from pathlib import Path

from flowrex_ops.archive.manifest import verify
from flowrex_ops.archive.records import load_record

SAMPLE = Path(__file__).parents[1] / "outputs" / "sample"


def test_sample_record_is_complete_and_unchanged() -> None:
    """It verifies, and says what it found."""
    record = load_record(SAMPLE, "latest")
    assert (record.status, record.metadata.diagnosis) == ("complete", "db.lock-contention")
    assert verify(record.incident) == []
