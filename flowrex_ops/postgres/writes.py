"""Why PostgreSQL takes no writes, or soon will not: numbers that run out, and settings that forbid them."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, percent, ruled_out, unreported
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

Frame = Reading[pd.DataFrame]

_XIDS = 2.0**31
"""So many transactions apart two of them can be told which came first (PostgreSQL: Routine Vacuuming)."""

_FAILSAFE = 0.75
"""From about here on PostgreSQL vacuums at any price (``vacuum_failsafe_age``, 1.6 billion)."""

_ROLES = ("user", "database user")
"""Sources of a setting that hold for the role that asks alone."""


@check("db.sequence-exhausted")
def check_sequence_exhausted(sequences: Frame, *, sequence_share: float = 0.8) -> Verdict:
    """No sequence has used *sequence_share* of what it, or the column that it fills, can hold."""
    cause = "db.sequence-exhausted"
    if missing(sequences):
        return inconclusive(cause, sequences)
    rows = sequences.require()
    if rows.empty:
        return ruled_out(cause, "there is no sequence in this database")
    full = rows[rows["share"].ge(sequence_share)]
    if len(full):
        worst = full.iloc[0]
        left = int(worst["most"] or 0) - int(worst["used"] or 0)
        filled = worst["fills"] or "it"
        title = f"{worst['sequence']} has used {percent(worst['share'])} of what {filled} ({worst['type']}) can hold"
        severity = Severity.P2 if left > 0 else Severity.P1
        reason = f"{title}: " + (f"{left:,} numbers are left" if left > 0 else "each further insert fails")
        return confirmed(
            cause, reason, [_sequence(row) for _, row in full.head(5).iterrows()], severity=severity, title=title
        )
    if hidden := int(rows["share"].isna().sum()):
        return inconclusive(
            cause,
            f"{hidden} of {len(rows)} sequences may not be read; GRANT SELECT ON ALL SEQUENCES IN SCHEMA … to the role that asks",
        )
    fullest = rows.iloc[0]
    return ruled_out(
        cause, f"the fullest of {len(rows)} sequences, {fullest['sequence']}, has used {percent(fullest['share'])}"
    )


@check("db.xid-wraparound")
def check_xid_wraparound(ids: Frame, *, xid_share: float = 0.5) -> Verdict:
    """No database has used *xid_share* of the transaction ids (or multixacts) after which PostgreSQL takes no more writes."""
    cause = "db.xid-wraparound"
    if missing(ids):
        return inconclusive(cause, ids)
    rows = ids.require()
    shares = rows[["xid_age", "multixact_age"]].apply(pd.to_numeric).max(axis=1) / _XIDS
    near = rows[shares.ge(xid_share)]
    if len(near):
        share = float(shares.max())
        name = rows.loc[shares.idxmax(), "database"]
        title = f"Database {name} has used {percent(share)} of its transaction ids"
        held = str(near["held_by"].iloc[0] or "")
        reason = f"{title}: {(1 - share) * _XIDS / 1e6:,.0f} million are left" + (
            f"; vacuum is held back by {held}" if held else ""
        )
        severity = Severity.P1 if share >= _FAILSAFE else Severity.P2
        return confirmed(
            cause, reason, [_database(row) for _, row in near.head(5).iterrows()], severity=severity, title=title
        )
    if rows.empty or unreported(rows, "xid_age", "multixact_age"):
        return inconclusive(cause, "PostgreSQL does not tell how old the oldest transaction of each database is")
    return ruled_out(
        cause, f"the oldest of {len(rows)} databases has used {percent(float(shares.max()))} of its transaction ids"
    )


@check("db.read-only")
def check_read_only(state: Frame) -> Verdict:
    """PostgreSQL is no standby, and new transactions of the application may write."""
    cause = "db.read-only"
    if missing(state):
        return inconclusive(cause, state)
    rows = state.require()
    if rows.empty or unreported(rows, "in_recovery", "read_only", "source"):
        return inconclusive(cause, "PostgreSQL does not tell whether new transactions may write")
    (row,) = rows.head(1).to_dict("records")
    set_by = str(row["set_by"] or "")
    by_itself = row["read_only"] and (row["as_application"] or row["source"] not in _ROLES)
    if row["in_recovery"] or set_by or by_itself:
        why = "it is a standby in recovery" if row["in_recovery"] else f"set by {set_by or row['source']}"
        title = "PostgreSQL takes no writes: " + why
        evidence = [
            Evidence(
                "default_transaction_read_only",
                f"{'on' if row['read_only'] else 'off'}, by {row['source']}",
                "pg_settings",
            ),
            Evidence("in recovery", str(row["in_recovery"]), "pg_is_in_recovery()"),
        ]
        return confirmed(cause, title, evidence, title=title)
    if row["read_only"]:
        return inconclusive(cause, "the role that asks is read-only itself, which hides whether the application's is")
    return ruled_out(cause, "it is no standby, and new transactions may write")


def _sequence(row: pd.Series) -> Evidence:
    return Evidence(
        str(row["sequence"]), f"{row['used']} of {row['most']}, fills {row['fills'] or 'nothing'}", "pg_sequence"
    )


def _database(row: pd.Series) -> Evidence:
    reported = (
        f"transactions {row['xid_age']}, multixacts {row['multixact_age']}; frozen from {row['freeze_max_age']} on"
    )
    return Evidence(f"age of {row['database']}", reported, "pg_database")
