"""Standbys: whether one is far behind, is gone while the server keeps WAL for it, or holds commits up."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

_MEGABYTE = 1024 * 1024
_SOURCE = "pg_stat_replication, pg_replication_slots"


# Bytes beside seconds: `replay_lag` is measured when a standby replays something, and stands still for one that does not.
@check("db.replication-lag")
def check_replication_lag(
    replication: Reading[pd.DataFrame], *, lag_seconds: float = 60.0, lag_megabytes: float = 64.0
) -> Verdict:
    """No standby is *lag_seconds* or *lag_megabytes* behind, no slot keeps as much for one that is gone, no commit waits for one."""
    cause = "db.replication-lag"
    if missing(replication):
        return inconclusive(cause, replication)
    rows = replication.require()
    if rows.empty:
        return ruled_out(cause, "no standby follows this server, and no slot keeps WAL for one")
    waiting = rows[rows["kind"].eq("commit")]
    behind = rows[rows["behind_bytes"].ge(lag_megabytes * _MEGABYTE) | rows["lag_seconds"].ge(lag_seconds)]
    if len(waiting):
        oldest = float(waiting["lag_seconds"].fillna(0).max())
        title = f"{len(waiting)} {'commit waits' if len(waiting) == 1 else 'commits wait'} for a standby, for up to {oldest:.0f} s"
        return confirmed(cause, title, _evidence(rows), severity=Severity.P1, title=title)
    if len(behind):
        worst = behind.iloc[0]
        title = f"{_name(worst)} is {_size(worst['behind_bytes'])} behind"
        return confirmed(cause, title, _evidence(behind), title=title)
    if blank(rows, "behind_bytes"):
        reason = (
            f"there are {len(rows)} standbys, and their state may not be seen; GRANT pg_monitor to the role that asks"
        )
        return inconclusive(cause, reason)
    reported = f"none of {len(rows)} standbys and slots is {lag_seconds:g} s or {lag_megabytes:g} MB behind"
    return ruled_out(cause, reported, _evidence(rows))


def _evidence(rows: pd.DataFrame) -> list[Evidence]:
    return [Evidence(_name(row), _says(row), _SOURCE) for _, row in rows.head(5).iterrows()]


def _name(row: pd.Series) -> str:
    return str(row["name"]) if row["kind"] == "this server" else f"{row['kind']} {row['name']}"


def _says(row: pd.Series) -> str:
    seconds = f"{row['lag_seconds']:.0f} s" if pd.notna(row["lag_seconds"]) else ""
    parts = [str(row["state"] or ""), str(row["sync_state"] or ""), _size(row["behind_bytes"]), seconds]
    return ", ".join(part for part in parts if part)


def _size(count: object) -> str:
    """Bytes for people; empty where the role may not see them."""
    if not isinstance(count, int | float) or pd.isna(count):
        return ""
    return f"{count / _MEGABYTE:,.1f} MB"
