"""What the machines below the platform run short of: connections to track, their network, room on their disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, percent, ruled_out, unreported, whole
from flowrex_ops.durations import format_seconds
from flowrex_ops.metrics.machines import MACHINE_COLUMNS, NO_EXPORTER, QUANTITIES
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

Frame = Reading[pd.DataFrame]
SOURCE = "node_exporter"
UNSYNCHRONISED_SECONDS = 16.0
"""The kernel gives a clock up as unsynchronised when its possible error reaches this (NTP_PHASE_LIMIT in linux/timex.h)."""
_LEAST_LOST = 1.0
"""A second: one lost frame of an idle line is one percent of a hundred."""
_OF_ALL = frozenset(QUANTITIES[0]) - {"speed_bytes"}
"""What is told of a machine as a whole, and not of its lines and disks."""
_LEAST_MINUTES = 30
"""Of fewer minutes no slope is told."""
_WAYS = {"receive": "received", "transmit": "sent"}
_SOON_HOURS = 4.0
_FREE = ("free", "in_1h", "in_6h", "minutes")


@check("host.conntrack-full")
def check_conntrack(machines: Frame, *, full_share: float = 0.9) -> Verdict:
    """No machine tracks more than *full_share* of the connections that it may track."""
    table = _table(machines, "conntrack_entries", "conntrack_limit")
    share = table["conntrack_entries"] / table["conntrack_limit"].where(table["conntrack_limit"].gt(0))
    says = _each(table, lambda row: f"{row.conntrack_entries:.0f} of {row.conntrack_limit:.0f} connections are tracked")
    title = "New connections are about to be dropped: {}"
    return _judge("host.conntrack-full", machines, share, share.ge(full_share), says, title, "how many it tracks")


@check("net.packet-loss")
def check_packet_loss(machines: Frame, *, lost_share: float = 0.01) -> Verdict:
    """No line of a machine loses *lost_share* of its packets, by errors or for want of room, in the last five minutes."""
    names = [f"{way}_{what}" for way in _WAYS for what in ("packets", "errs", "drop")]
    table = _busy(_table(machines, *names), "receive_packets", "transmit_packets")
    lost = pd.DataFrame({way: table[f"{way}_errs"] + table[f"{way}_drop"] for way in _WAYS})
    asked = pd.DataFrame({way: table[f"{way}_packets"] + lost[way] for way in _WAYS})
    share = (lost / asked.where(asked.gt(0))).where(asked.isna() | asked.gt(0), 0.0)
    bad = (share.ge(lost_share) & lost.ge(_LEAST_LOST)).any(axis=1)
    says = _each(share, lambda row: ", ".join(f"{percent(getattr(row, w))} of what is {_WAYS[w]} lost" for w in _WAYS))
    worst = share.max(axis=1).where(share.notna().all(axis=1))
    return _judge("net.packet-loss", machines, worst, bad, says, "Packets are lost: {}", "what it loses")


@check("net.saturated")
def check_network_saturated(machines: Frame, *, line_share: float = 0.9) -> Verdict:
    """No line of a machine carries *line_share* of what it can, in the last five minutes."""
    table = _busy(_table(machines, "receive_bytes", "transmit_bytes", "speed_bytes"), "receive_bytes", "transmit_bytes")
    rate = table[["receive_bytes", "transmit_bytes"]].max(axis=1, skipna=False)
    share = rate / table["speed_bytes"].where(table["speed_bytes"].gt(0))
    says = {at: f"{percent(one)} of its speed is used" for at, one in share.dropna().items()}
    return _judge(
        "net.saturated", machines, share, share.ge(line_share), says, "A line is full: {}", "its lines' speed"
    )


@check("service.disk-filling")
def check_disk_filling(machines: Frame, *, filling_hours: float = 24.0) -> Verdict:
    """No filesystem runs out of room or files within *filling_hours*, by the last hour and by the last six; one that is full is another cause."""
    tables = {kind: _table(machines, *(f"{kind}_{what}" for what in _FREE)) for kind in ("room", "files")}
    mounts = tables["room"].index.union(tables["files"].index)
    share = pd.concat([_going(kind, table.reindex(mounts)) for kind, table in tables.items()])
    says = {at: f"gone in {format_seconds(1 / one)}" if one > 0 else "does not shrink" for at, one in share.items()}
    soon, very = (share.ge(1 / (hours * 3600)) for hours in (filling_hours, _SOON_HOURS))
    severity = Severity.P2 if very.any() else None
    title, what = "A disk fills up: {}", "half an hour of its disks"
    return _judge("service.disk-filling", machines, share, soon, says, title, what, severity=severity)


def _going(kind: str, table: pd.DataFrame) -> pd.Series:
    """Which share of what is free goes each second, by the slower of two slopes; what has none left is another cause."""
    free, *slopes, minutes = (table[name] for name in table.columns)
    slower = pd.concat(slopes, axis=1).max(axis=1, skipna=False)
    share = (slower.mul(-1).clip(lower=0) / free).where(minutes.ge(_LEAST_MINUTES))
    share.index = pd.MultiIndex.from_arrays(
        [[at[0] for at in share.index], [f"{kind} on {at[1]}" for at in share.index]]
    )
    return share[~free.le(0).to_numpy()]


def list_unsynchronised(machines: Frame) -> list[Evidence]:
    """Machines whose clock nobody has set right for so long that their kernel gives it up."""
    if missing(machines):
        return []
    table = _table(machines, "synchronised", "maximum_error_seconds")
    lost = table[table["synchronised"].eq(0) & table["maximum_error_seconds"].ge(UNSYNCHRONISED_SECONDS)]
    return [Evidence(_name(at), "its clock is not synchronised with any other", SOURCE) for at in lost.index]


def _table(machines: Frame, *quantities: str) -> pd.DataFrame:
    """A row for each machine and part that tells any of *quantities*; what is not told is missing."""
    rows = whole(machines.require(), MACHINE_COLUMNS) if machines.available else pd.DataFrame(columns=MACHINE_COLUMNS)
    rows = rows[rows["quantity"].isin(quantities)]
    keys = [rows[name].fillna("").astype(str) for name in ("machine", "part", "quantity")]
    values = pd.to_numeric(rows["value"], errors="coerce").groupby(keys).max()
    wide = values.unstack()  # noqa: PD010  # of a series, which has no pivot
    return wide.reindex(columns=list(quantities)).astype(float)


def _busy(table: pd.DataFrame, *traffic: str) -> pd.DataFrame:
    """Without lines on which nothing goes: a plug that is not used has no speed, and loses nothing."""
    return table[~table[list(traffic)].eq(0).all(axis=1)]


def _each(table: pd.DataFrame, says: Callable[..., str]) -> dict[tuple[str, str], str]:
    return {row.Index: says(row) for row in table.dropna().itertuples()}


def _name(at: object) -> str:
    machine, part = at if isinstance(at, tuple) else (at, "")
    return f"{part} of {machine}" if part else str(machine)


def _judge(
    cause: str,
    machines: Frame,
    share: pd.Series,
    bad: pd.Series,
    says: Mapping[tuple[str, str], str],
    title: str,
    what: str,
    *,
    severity: Severity | None = None,
) -> Verdict:
    """Confirmed by what is *bad*, the worst *share* first; ruled out where every machine tells its *share*, of every part."""
    if missing(machines):
        return inconclusive(cause, machines)
    found = share[bad & share.notna()].sort_values(ascending=False, kind="stable").index
    if len(found):
        evidence = [Evidence(_name(at), says[at], SOURCE) for at in found]
        text = title.format(f"{evidence[0].name}: {evidence[0].value}")
        return confirmed(cause, text, evidence[:8], severity=severity, title=text)
    rows = whole(machines.require(), MACHINE_COLUMNS)
    if rows.empty:
        return inconclusive(cause, NO_EXPORTER)
    parts = rows[~rows["quantity"].isin(_OF_ALL)]
    if unknown := unreported(rows, "machine", "quantity", "value") or unreported(parts, "part"):
        return inconclusive(cause, f"node_exporter's answer has no {unknown}")
    known = {at[0] for at in share.dropna().index}
    silent = sorted({*(_name(at) for at in share[share.isna()].index), *(set(rows["machine"]) - known)})
    if silent:
        return inconclusive(cause, f"node_exporter on {silent[0]} does not tell {what}; look there by hand")
    worst = share.idxmax()
    said = says[worst]
    return ruled_out(cause, f"{len(known)} of {len(known)} machines asked; {_name(worst)}: {said}")
