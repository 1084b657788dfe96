"""Whether PostgreSQL's own upkeep keeps up: dead rows, what the planner knows, indexes, the archive of the WAL."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, unreported
from flowrex_ops.durations import format_seconds
from flowrex_ops.model import Evidence, Reading, Verdict

Frame = Reading[pd.DataFrame]

_LONG_SECONDS = 300.0
"""A transaction that is open for longer than an ordinary report, and five of autovacuum's rounds (``autovacuum_naptime``)."""

_SLOW_VACUUM_SECONDS = 900.0

_RECENT_SECONDS = 600.0
"""The archiver tries again each minute (PostgreSQL: Continuous Archiving), so one that fails has failed just now."""

_FEW_FILES = 3

_REPORTED = ("table", "rows", "dead", "vacuum_at", "changed", "analyze_at", "autovacuum")
"""What PostgreSQL says of every table, whoever asks."""

_MEGABYTE = 1024 * 1024


@check("db.autovacuum-behind")
def check_autovacuum_behind(
    upkeep: Frame, *, dead_rows_factor: float = 3.0, dead_rows_floor: float = 50_000.0
) -> Verdict:
    """No table has *dead_rows_floor* dead rows and *dead_rows_factor* times as many as autovacuum begins at, which it will not come to remove."""
    cause = "db.autovacuum-behind"
    if unknown := _unknown(upkeep):
        return inconclusive(cause, unknown)
    rows = upkeep.require()
    over = rows[rows["dead"].ge(dead_rows_floor) & rows["dead"].ge(dead_rows_factor * rows["vacuum_at"])]
    for _, row in over.iterrows():
        if why := _why_not_vacuumed(row):
            title = f"{row['table']} has {row['dead']:,.0f} dead rows: {why}"
            return confirmed(cause, title, _dead_rows(over), title=title)
    if len(over):
        first = over.iloc[0]
        return inconclusive(
            cause,
            f"{first['table']} has {first['dead']:,.0f} dead rows, and nothing that is seen keeps autovacuum from it: look again in some minutes",
        )
    lost = rows[~rows["counters_lost"].isin([False]) & rows["rows"].ge(dead_rows_floor)]  # lost, or not known
    if len(lost):
        return inconclusive(cause, _lost(lost))
    most = rows["dead"].max() if len(rows) else 0
    reason = f"no table has both {dead_rows_floor:,.0f} dead rows and {dead_rows_factor:g} times as many as autovacuum begins at"
    return ruled_out(cause, f"{reason} ({len(rows)} tables, at most {most:,.0f})")


@check("db.stale-statistics")
def check_stale_statistics(upkeep: Frame, *, stale_factor: float = 3.0, stale_rows: float = 10_000.0) -> Verdict:
    """Each table of *stale_rows* has statistics, and none has changed as much, *stale_factor* times what autovacuum analyzes it at."""
    cause = "db.stale-statistics"
    if unknown := _unknown(upkeep):
        return inconclusive(cause, unknown)
    rows = upkeep.require()
    none = rows["rows"].ge(stale_rows) & rows["has_statistics"].isin([False])  # None is not known
    changed = rows["changed"].ge(stale_rows) & rows["changed"].ge(stale_factor * rows["analyze_at"])
    over = rows[none | changed]
    for _, row in over.iterrows():
        if why := _why_not_analyzed(row):
            what = (
                f"{row['changed']:,.0f} of its rows have changed since"
                if row["has_statistics"]
                else f"it was never analyzed, and has about {row['rows']:,.0f} rows"
            )
            title = f"The planner knows little of {row['table']}: {what}"
            return confirmed(cause, f"{title}; {why}", _statistics(over), title=title)
    if len(over):
        first = over.iloc[0]
        return inconclusive(
            cause,
            f"{first['table']} is due to be analyzed, and nothing that is seen keeps autovacuum from it: look again",
        )
    large = rows[rows["rows"].ge(stale_rows)]
    if large["has_statistics"].isna().any():
        hidden = ", ".join(large[large["has_statistics"].isna()]["table"].head(5))
        return inconclusive(
            cause, f"whether {hidden} has statistics may not be seen; GRANT SELECT on it to the role that asks"
        )
    lost = large[~large["counters_lost"].isin([False])]  # lost, or not known
    if len(lost):
        return inconclusive(cause, _lost(lost))
    return ruled_out(
        cause,
        f"no table without statistics, or changed much since, among {len(large)} that have {stale_rows:,.0f} rows or more",
    )


@check("db.invalid-index")
def check_invalid_index(indexes: Frame) -> Verdict:
    """No index of this database is invalid, but for those that somebody builds now."""
    cause = "db.invalid-index"
    if missing(indexes):
        return inconclusive(cause, indexes)
    rows = indexes.require()
    if len(rows) and (column := unreported(rows, "index", "table", "is_ready")):
        return inconclusive(cause, f"PostgreSQL does not tell '{column}' of each invalid index")
    held = rows["locked_by"].fillna("").astype(str)
    hidden = held.str.contains("<not seen|<insufficient privilege>")
    failed = rows[~hidden & ~held.str.contains("concurrently", case=False)]
    if len(failed):
        first = failed.iloc[0]
        title = f"Index {first['index']} of {first['table']} is invalid, and nobody builds it"
        evidence = [
            Evidence(
                str(row["index"]),
                f"of {row['table']}, " + ("written to, not read" if row["is_ready"] else "neither written to nor read"),
                "pg_index",
            )
            for _, row in failed.head(5).iterrows()
        ]
        return confirmed(cause, title, evidence, title=title)
    if hidden.any():
        who = held[hidden].iloc[0]
        return inconclusive(cause, f"{rows[hidden]['index'].iloc[0]} is invalid, and may be under construction ({who})")
    if len(rows):
        return ruled_out(cause, f"{rows['index'].iloc[0]} is under construction ({held.iloc[0]})")
    return ruled_out(cause, "no index of this database is invalid")


@check("db.wal-archive-failing")
def check_wal_archive_failing(archiver: Frame) -> Verdict:
    """WAL is archived, or is not meant to be: the last try did not fail."""
    cause = "db.wal-archive-failing"
    if missing(archiver):
        return inconclusive(cause, archiver)
    rows = archiver.require()
    if rows.empty or unreported(rows, "mode", "configured", "in_recovery", "failed"):
        return inconclusive(cause, "PostgreSQL does not tell whether it archives its WAL")
    (row,) = rows.head(1).to_dict("records")
    if row["mode"] == "off":
        return ruled_out(cause, "archive_mode is off: no WAL waits to be archived")
    if row["in_recovery"] and row["mode"] != "always":
        return ruled_out(cause, "a standby archives nothing (archive_mode is not 'always')")
    return _judge_archive(cause, row)


def _judge_archive(cause: str, row: dict[Hashable, Any]) -> Verdict:
    """Whether the archiver of a server that is to archive gets its files away."""
    failed, archived, waiting = (
        row[name] if pd.notna(row[name]) else None for name in ("failed_seconds", "archived_seconds", "waiting")
    )
    many = waiting is not None and waiting >= _FEW_FILES
    if not row["configured"]:
        title = "WAL is kept for an archive that nothing writes to (archive_mode is on, without archive_command or archive_library)"
        return (
            confirmed(cause, title, _archive(row), title=title)
            if many
            else inconclusive(cause, f"{title}: is that meant?")
        )
    if failed is None and row["failed"]:
        return inconclusive(cause, f"archiving failed {row['failed']} times, and when is not known")
    if failed is not None and failed <= _RECENT_SECONDS and (archived is None or archived > failed):
        title = f"No WAL is archived: {row['failed']:,.0f} tries failed, the last {format_seconds(failed)} ago"
        reason = f"{title}, and the last that succeeded {_ago(archived)}"
        return confirmed(cause, reason, _archive(row), title=title)
    if archived is not None and (archived <= _RECENT_SECONDS or ((failed is None or archived <= failed) and not many)):
        return ruled_out(cause, f"a WAL file was archived {format_seconds(archived)} ago, and no try failed since")
    if waiting == 0:
        return ruled_out(cause, "no WAL file waits to be archived")
    reason = f"last archived: {_ago(archived)}, last failed: {_ago(failed)}; does archive_command hang, or was nothing written yet?"
    return inconclusive(cause, reason)


def _unknown(upkeep: Frame) -> Reading[pd.DataFrame] | str:
    """Why the tables cannot be judged; empty where they can."""
    if missing(upkeep):
        return upkeep
    rows = upkeep.require()
    if len(rows) and (column := unreported(rows, *_REPORTED)):
        return f"PostgreSQL does not tell '{column}' of each table"
    if rows["autovacuum"].eq("off: track_counts").any():
        return "PostgreSQL counts neither dead nor changed rows, so that autovacuum does nothing either: track_counts is off"
    return ""


def _lost(rows: pd.DataFrame) -> str:
    names = ", ".join(rows["table"].head(5))
    return f"PostgreSQL's counters of {names} were lost (it crashed, or they were reset): VACUUM and ANALYZE start them anew"


def _why_not_vacuumed(row: pd.Series) -> str:
    """What keeps autovacuum from the table; empty where it may just not have had its turn, which comes each minute."""
    if row["autovacuum"] != "on":
        return f"autovacuum: {row['autovacuum']}"
    held, vacuumed = row["held_seconds"], row["vacuumed_seconds"]
    if pd.notna(held) and held >= min(_LONG_SECONDS, vacuumed if pd.notna(vacuumed) else _LONG_SECONDS):
        return f"vacuum may not remove them, held back by {row['held_by']}" + (
            f" for {format_seconds(held)}" if held < float("inf") else ""
        )
    if pd.notna(row["vacuuming_seconds"]) and row["vacuuming_seconds"] >= _SLOW_VACUUM_SECONDS:
        return f"a vacuum of it runs for {format_seconds(row['vacuuming_seconds'])} already"
    return ""


def _why_not_analyzed(row: pd.Series) -> str:
    """The same of its statistics: too few changes are counted for a table that was there before they were."""
    if row["autovacuum"] != "on":
        return f"autovacuum: {row['autovacuum']}"
    return "autovacuum counts too few changes to analyze it" if row["changed"] < row["analyze_at"] else ""


def _ago(seconds: float | None) -> str:
    return f"{format_seconds(seconds)} ago" if seconds is not None and pd.notna(seconds) else "never"


def _dead_rows(rows: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(
            f"dead rows of {row['table']}",
            f"{row['dead']:,.0f} beside {row['rows']:,.0f}; autovacuum ({row['autovacuum']}) begins at {row['vacuum_at']:,.0f};"
            f" last vacuumed: {_ago(row['vacuumed_seconds'])}"
            + (", one runs now" if pd.notna(row["vacuuming_seconds"]) else "")
            + f"; oldest snapshot: {row['held_by'] or 'none'}",
            "pg_stat_user_tables",
        )
        for _, row in rows.head(5).iterrows()
    ]


def _statistics(rows: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(
            f"statistics of {row['table']}",
            f"{'there' if row['has_statistics'] else 'none'}, last analyzed: {_ago(row['analyzed_seconds'])}; {row['changed']:,.0f} of about"
            f" {row['rows']:,.0f} rows changed since; autovacuum ({row['autovacuum']}) begins at {row['analyze_at']:,.0f}",
            "pg_stat_user_tables, pg_stats",
        )
        for _, row in rows.head(5).iterrows()
    ]


def _archive(row: dict[Hashable, Any]) -> list[Evidence]:
    evidence = [
        Evidence(
            "tries that failed", f"{row['failed']}, the last of {row['failed_wal'] or 'no file'}", "pg_stat_archiver"
        )
    ]
    if pd.notna(row["waiting"]) and pd.notna(row["wal_bytes"]):
        size = row["wal_bytes"] / _MEGABYTE
        evidence.append(
            Evidence(
                "WAL files that wait",
                f"{row['waiting']:.0f}; all WAL takes {size:,.0f} MB",
                "pg_ls_archive_statusdir()",
            )
        )
    return evidence
