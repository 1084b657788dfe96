"""Why trades fail: causes told apart, each by one check. Each failed trade is attributed to one of them.

Only failures younger than the runbook's ``recent_minutes`` confirm; what is older is in the chart. A broker that is
slow but in time makes no trade fail and is no cause; a few risk blocks are daily work.

Two can be confirmed at once, as one passes into the next: first comes what is seen while asked, then what fails the
larger share of the recent trades.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, percent, ruled_out
from flowrex_ops.model import Evidence, Reading, Verdict, VerdictKind
from flowrex_ops.reading import TOO_MANY_CONNECTIONS, UNREACHABLE_CODES
from flowrex_ops.services.impact import of_trades
from flowrex_ops.trades import views as t
from flowrex_ops.trades.market_data import check_stale
from flowrex_ops.trades.orders import check_duplicated, check_runaway_rate, check_stuck
from flowrex_ops.trades.reconciliation import check_unreconciled

__all__ = [
    "check_broker_credentials",
    "check_broker_slow",
    "check_broker_unreachable",
    "check_database",
    "check_duplicated",
    "check_rejected_by_broker",
    "check_risk_limit",
    "check_runaway_rate",
    "check_stale",
    "check_stuck",
    "check_unexplained_failures",
    "check_unreconciled",
]

Frame = Reading[pd.DataFrame]

TABLE = "postgres: trades"


# A trade that cannot be written leaves no row: it needs the log or the counter beside the table, and the table alone
# rules nothing out.
@check("trades.database")
def check_database(trades: Frame, log: Frame, counters: Frame, *, failed_ratio: float = 0.02) -> Verdict:
    """Trades are written to the database: a trade that cannot be leaves no row, only a log line and a count."""
    cause = "trades.database"
    if not trades.available and trades.code in {*UNREACHABLE_CODES, TOO_MANY_CONNECTIONS}:
        error = trades.error or ""
        return confirmed(cause, f"nothing can be written: {error}", [Evidence("error", error, "postgres")], share=1.0)
    reported = _database_failures(trades, log, counters)
    evidence = [item for number, _, item in reported if number]
    failed = max((number for number, *_ in reported), default=0)
    number, of, _ = max(reported, key=lambda one: (one[0] / max(1, one[1]), one[0]), default=(0, 0, None))
    share = number / max(1, of)
    if failed and share >= failed_ratio:
        reason = f"{failed} recent trades could not be written ({percent(share)}): {_example(log, trades, 'database')}"
        return confirmed(cause, reason, evidence, severity=of_trades(number, of), share=share)
    if missing(trades) or (missing(log) and missing(counters)):
        return inconclusive(cause, trades, log, counters)
    nobody = _no_trades(
        cause, max([t.all_recent(trades.require()), *(of for _, of, _ in _database_failures(trades, log, counters))])
    )
    written = t.all_recent(trades.require())
    unwritten = (
        None if written else inconclusive(cause, "no trade was written lately, and none is known to have failed")
    )
    return (
        _unreported(cause, trades)
        or nobody
        or unwritten
        or _unexplained(cause, trades, failed_ratio)
        or ruled_out(cause, f"{failed} recent trades failed at the database, {written} were written")
    )


@check("trades.broker-credentials")
def check_broker_credentials(trades: Frame, inside: Frame, here: Frame, *, failed_ratio: float = 0.02) -> Verdict:
    """The broker takes the backend's credentials: no 401 or 403, on orders or on the adapter's check."""
    return _judge_broker("trades.broker-credentials", "credentials", trades, inside, here, failed_ratio)


@check("trades.broker-unreachable")
def check_broker_unreachable(trades: Frame, inside: Frame, here: Frame, *, failed_ratio: float = 0.02) -> Verdict:
    """The broker can be connected to and gives answers that can be used."""
    return _judge_broker("trades.broker-unreachable", "unreachable", trades, inside, here, failed_ratio)


@check("trades.broker-slow")
def check_broker_slow(trades: Frame, inside: Frame, here: Frame, *, failed_ratio: float = 0.02) -> Verdict:
    """The broker answers within the adapter's time limit; one that is slow and in time makes no trade fail."""
    return _judge_broker("trades.broker-slow", "timeout", trades, inside, here, failed_ratio)


@check("trades.rejected-by-broker")
def check_rejected_by_broker(
    trades: Frame, inside: Frame, *, rejected_ratio: float = 0.2, failed_ratio: float = 0.02
) -> Verdict:
    """The broker fills orders: of no symbol are *rejected_ratio* or more of the recent trades rejected."""
    cause = "trades.rejected-by-broker"
    if missing(trades):
        return inconclusive(cause, trades)
    table = trades.require()
    rejected, counts = t.recent_of(table, "rejected"), t.count_symbols(table)
    by_symbol = counts.groupby("symbol")[["recent", "rejected"]].sum()
    hit = by_symbol[by_symbol["rejected"].gt(0) & by_symbol["rejected"].ge(rejected_ratio * by_symbol["recent"])]
    total, of = int(rejected["recent"].sum()), t.all_recent(table)
    throttled = _rows(inside, "rejected")
    if hit.empty and throttled.empty:
        return (
            _unreported(cause, trades, "symbol", "side")
            or _no_trades(cause, of)
            or _unexplained(cause, trades, failed_ratio)
            or ruled_out(
                cause, f"{total} of {of} recent trades were rejected, no symbol's by {percent(rejected_ratio)} or more"
            )
        )
    evidence = [
        Evidence(f"symbol {symbol}", f"{row.rejected} of {row.recent} recent trades rejected", TABLE)
        for symbol, row in hit.sort_values("rejected", ascending=False).head(5).iterrows()
    ]
    evidence += _reasons(rejected[rejected["symbol"].isin(hit.index)]) + _places(throttled)
    words = _first_reason(rejected[rejected["symbol"].isin(hit.index)]) or _first_error(throttled)
    title = f"The broker rejects {_symbols(hit.index, by_symbol.index)}: {words}"
    reason = f"{title} ({total} of {of} recent trades)"
    share = total / max(1, of) if throttled.empty else 1.0
    severity = of_trades(*t.blocked_by(table, total))
    return confirmed(cause, reason, evidence, severity=severity, title=title, share=share)


@check("trades.risk-limit")
def check_risk_limit(trades: Frame, log: Frame, *, risk_ratio: float = 0.2) -> Verdict:
    """Fewer than *risk_ratio* of the recent trades were blocked by the risk engine; a few blocks are its daily work."""
    cause = "trades.risk-limit"
    if missing(trades):
        return inconclusive(cause, trades)
    table = trades.require()
    blocked, of = t.recent_of(table, "risk"), t.all_recent(table)
    number = int(blocked["recent"].sum())
    if not number or number / max(1, of) < risk_ratio:
        return (
            _unreported(cause, trades)
            or _no_trades(cause, of)
            or ruled_out(cause, f"{number} of {of} recent trades were blocked, below {percent(risk_ratio)}")
        )
    evidence = [*_reasons(blocked), *_in_log(log, "risk")]
    share = number / max(1, of)
    title = f"The risk engine blocks {number} of {of} recent trades ({percent(share)}), working as meant"
    return confirmed(cause, f"{title}: {_first_reason(blocked)}", evidence, title=title, share=share)


@check("trades.unexplained-failures")
def check_unexplained_failures(trades: Frame, *, failed_ratio: float = 0.02) -> Verdict:
    """Fewer than *failed_ratio* of the recent trades failed with a message that no hypothesis knows."""
    cause = "trades.unexplained-failures"
    if missing(trades):
        return inconclusive(cause, trades)
    table = trades.require()
    other, of = t.recent_of(table, "other"), t.all_recent(table)
    number = int(other["recent"].sum())
    share = number / max(1, of)
    if number and share >= failed_ratio:
        symbols = sorted({str(symbol) for symbol in other["symbol"]})
        evidence = [*_reasons(other), Evidence("symbols", ", ".join(symbols[:8]), TABLE)]
        title = f"{number} of {of} recent trades fail ({percent(share)}), and nothing explains it"
        return confirmed(
            cause,
            f"{title}: {_first_reason(other)}",
            evidence,
            severity=of_trades(*t.blocked_by(table, number)),
            title=title,
            share=share,
        )
    return (
        _unreported(cause, trades)
        or _no_trades(cause, of)
        or ruled_out(cause, f"{number} of {of} recent trades failed with an unknown message")
    )


def _unreported(cause: str, trades: Frame, *columns: str) -> Verdict | None:
    """Inconclusive where the table leaves out what every check needs, or one of *columns*."""
    name = blank(trades.require(), "status", "recent", "all_recent", *columns) if len(trades.require()) else ""
    return inconclusive(cause, f"the table of trades tells the {name} of none") if name else None


def _no_trades(cause: str, of: int) -> Verdict | None:
    """Inconclusive where nobody traded: then nothing could have failed, either."""
    return (
        None
        if of
        else inconclusive(cause, "no trade was attempted lately, so none could fail; look further back (since)")
    )


def _judge_broker(cause: str, kind: str, trades: Frame, inside: Frame, here: Frame, failed_ratio: float) -> Verdict:
    """One kind of trouble with the broker, by the trades that failed of it and by asking the broker now.

    What is seen from here alone, while the backend's own adapter is connected, is our trouble and not the platform's.
    """
    failed = t.recent_of(trades.require(), kind) if trades.available else pd.DataFrame(columns=["recent", "reason"])
    of = t.all_recent(trades.require()) if trades.available else 0
    number = int(failed["recent"].sum())
    seen_inside, seen_here = _rows(inside, kind), _rows(here, kind)
    now = not seen_inside.empty or (not seen_here.empty and not _connected(inside))
    if now or (number and number / max(1, of) >= failed_ratio):
        evidence = [*_reasons(failed), *_places(seen_inside), *_places(seen_here), *_latencies(inside, here)]
        words = _first_reason(failed) or _first_error(seen_inside) or _first_error(seen_here)
        after = "" if now else "; the broker answers again now" if _connected(inside) else ""
        felt = f"{number} of {of} recent trades failed of it" if of else "the broker, asked right now"
        reason = f"{felt}: {words}{after}"
        blocked = t.blocked_by(trades.require(), number) if trades.available else (0, 0)
        share = 1.0 if now else number / max(1, of)
        return confirmed(cause, reason, evidence, severity=of_trades(*blocked), share=share)
    if missing(trades) or (missing(inside) and missing(here)):
        return inconclusive(cause, trades, inside, here)
    text = f"{number} of {of} recent trades failed of it, {_answers(inside, here)}"
    text += f"; from here alone it is: {_first_error(seen_here)}" if not seen_here.empty else ""
    # Where nobody trades the broker itself still tells: it was asked just now.
    nobody = None if _connected(inside) or _connected(here) else _no_trades(cause, of)
    return (
        _unreported(cause, trades)
        or nobody
        or _unexplained(cause, trades, failed_ratio, inside)
        or ruled_out(cause, text, _latencies(inside, here) if kind == "timeout" else ())
    )


def _unexplained(cause: str, trades: Frame, failed_ratio: float, inside: Frame | None = None) -> Verdict | None:
    """Inconclusive where trades fail with messages, or the adapter with an error, that nobody here understands."""
    table = trades.require()
    other = t.recent_of(table, "other")
    number, of = int(other["recent"].sum()), t.all_recent(table)
    if number and number / max(1, of) >= failed_ratio:
        reason = f"{number} of {of} recent trades failed with a message that is not understood: {_first_reason(other)}"
        return Verdict(cause, VerdictKind.INCONCLUSIVE, reason)
    strange = _rows(inside, "other") if inside else pd.DataFrame()
    if not strange.empty:
        reason = f"the adapter's check failed with an error that is not understood: {_first_error(strange)}"
        return Verdict(cause, VerdictKind.INCONCLUSIVE, reason)
    return None


def _database_failures(trades: Frame, log: Frame, counters: Frame) -> list[tuple[int, int, Evidence]]:
    """How many of how many trades failed at the database lately, by each source that can tell."""
    found = []
    written = t.all_recent(trades.require()) if trades.available else 0
    if trades.available:
        number = int(t.recent_of(trades.require(), "database")["recent"].sum())
        found.append((number, written, Evidence("failed rows", f"{number} of {written} recent trades", TABLE)))
    if log.available:
        lines = log.require()
        number = int(lines.loc[lines["kind"].eq("database"), "recent"].sum())
        text = f"{number} lately; {written} trades were written meanwhile"
        found.append((number, written + number, Evidence("trades that failed", text, "backend log")))
    if counters.available:
        number, of = t.failing_now(counters.require(), "database"), t.attempted_now(counters.require())
        text = f"{number} of {max(of, number)} while sampled"
        found.append((number, max(of, number), Evidence("counter of failed trades", text, "backend /metrics")))
    return found


def _rows(reading: Frame | None, kind: str) -> pd.DataFrame:
    """The places of a broker check that had this kind of trouble."""
    if reading is None or not reading.available:
        return pd.DataFrame(columns=["place", "seconds", "kind", "error"])
    frame = reading.require()
    return frame[frame["kind"].eq(kind)].sort_values("place")


def _connected(reading: Frame) -> bool:
    return reading.available and bool(reading.require()["kind"].eq("ok").any())


def _answers(inside: Frame, here: Frame) -> str:
    """``the broker answers in 0.02 s``, by the slowest place that is connected."""
    good = [frame[frame["kind"].eq("ok")] for frame in (r.require() for r in (inside, here) if r.available)]
    seconds = [float(value) for frame in good for value in frame["seconds"].dropna()]
    return f"the broker answers in {max(seconds):.2f} s" if seconds else "the broker is connected nowhere right now"


def _latencies(*checks: Frame) -> list[Evidence]:
    return [
        Evidence(f"broker check, {row.place}", _seconds(row.seconds), check.source)
        for check in checks
        if check.available
        for row in check.require().drop_duplicates("place").sort_values("place").head(4).itertuples()
        if row.kind == "ok"
    ]


def _seconds(value: object) -> str:
    return f"{value:.2f} s" if isinstance(value, int | float) and not pd.isna(value) else "an unknown time"


def _places(rows: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(f"broker check, {row.place}", f"{row.error} (after {_seconds(row.seconds)})", "broker")
        for row in rows.drop_duplicates("place").head(4).itertuples()
    ]


def _reasons(rows: pd.DataFrame) -> list[Evidence]:
    """The commonest messages, with how many trades each has cost lately."""
    counts = rows.groupby("reason")["recent"].sum().sort_values(ascending=False, kind="stable").head(3)
    return [Evidence(f"{int(number)} recent trades", str(reason), TABLE) for reason, number in counts.items()]


def _in_log(log: Frame, kind: str) -> list[Evidence]:
    if not log.available:
        return []
    lines = log.require()
    lines = lines[lines["kind"].eq(kind) & lines["recent"].gt(0)]
    return [Evidence(f"{row.recent} log lines", str(row.example), "backend log") for row in lines.itertuples()]


def _first_reason(rows: pd.DataFrame) -> str:
    commonest = _reasons(rows)
    return commonest[0].value.removeprefix("rejected by broker: ") if commonest else ""


def _first_error(rows: pd.DataFrame) -> str:
    return str(rows["error"].iloc[0]) if len(rows) else ""


def _example(log: Frame, trades: Frame, kind: str) -> str:
    in_log = _in_log(log, kind)
    if in_log:
        return in_log[0].value.partition("reason=database: ")[2] or in_log[0].value
    return (_first_reason(t.recent_of(trades.require(), kind)) if trades.available else "") or "see the backend's log"


def _symbols(hit: Sequence[str], known: Sequence[str]) -> str:
    names = sorted(str(symbol) for symbol in hit)
    if not names or (len(names) == len(known) and len(names) > 1):
        return "all symbols"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
