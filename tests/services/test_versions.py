"""Which versions ran when, which one came before, and what stands about migrations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from flowrex_ops.services.versions import current_version, migrations_between, previous_version, version_history

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def replicas(*found: tuple[str, int]) -> pd.DataFrame:
    """Running replicas of the backend by version and minute of their start."""
    rows = [("backend", f"backend-{n}", "running", version, at(m)) for n, (version, m) in enumerate(found, start=1)]
    return pd.DataFrame(rows, columns=["service", "name", "state", "version", "started_at"])


def seen(*found: tuple[str, int]) -> pd.DataFrame:
    """Answers at the proxy by version and minute."""
    return pd.DataFrame([(at(m), version, 10) for version, m in found], columns=["at", "version", "requests"])


LOG = seen(("1.4.1", 0), ("1.4.2", 5), ("1.4.2", 9), ("1.5.0", 10), ("", 10))
TRIED_AND_TAKEN_BACK = seen(("1.4.2", 0), ("1.4.3", 5), ("1.4.2", 9), ("1.5.0", 20))


@pytest.mark.parametrize(
    ("running", "log", "current", "previous"),
    [
        ((("1.5.0", 10), ("1.5.0", 11)), LOG, "1.5.0", "1.4.2"),
        ((("1.4.2", 12), ("1.5.0", 10)), LOG, "1.5.0", "1.4.2"),  # half-way back: the way goes on
        ((("1.4.2", 12), ("1.4.2", 13)), LOG, "1.4.2", "1.4.1"),  # back: 1.5.0 is not older
        ((("1.5.0", 20),), TRIED_AND_TAKEN_BACK, "1.5.0", "1.4.2"),  # not 1.4.3, which was seen first later than 1.4.2
        ((("1.4.2", 30),), TRIED_AND_TAKEN_BACK, "1.4.2", ""),
        ((("1.5.0", 10),), None, "1.5.0", ""),
        ((), LOG, "", ""),
    ],
)
def test_version_before(
    running: tuple[tuple[str, int], ...], log: pd.DataFrame | None, current: str, previous: str
) -> None:
    """What the current one took the place of, whatever the order of the rows."""
    for frame in (log, None if log is None else log.iloc[::-1]):
        history = version_history(replicas(*running), frame, service="backend")
        assert (current_version(history), previous_version(history)) == (current, previous)


def migrations(*found: tuple[str, datetime | None]) -> pd.DataFrame:
    rows = [("schema_migrations", version, None if when is None else when.isoformat()) for version, when in found]
    return pd.DataFrame(rows, columns=["table", "version", "applied_at"])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "unknown, the database could not be read"),
        (migrations(), "unknown, no table of migrations was found"),
        (migrations(("7", None)), "is at 7 and does not tell when"),
        (migrations(("7", at(-60)), ("6", at(-90))), "none since then"),
        (migrations(("8", at(9)), ("7", at(-60))), "WARNING: 1 database migrations were applied since (8)"),
    ],
)
def test_migrations_between(found: pd.DataFrame | None, said: str) -> None:
    """Unknown is never none."""
    assert said in migrations_between(found, at(5))
