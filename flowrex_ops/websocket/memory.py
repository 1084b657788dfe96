"""Whether the backend keeps memory of WebSockets for good.

A leak that is watched for seconds must be steep (4 MB), and confirms nothing while new connections can hold the
memory.
"""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Verdict
from flowrex_ops.websocket import views as w
from flowrex_ops.websocket.evidence import Frame, names_of

RISING = 0.25
"""The share of the steps between samples that must go up; one big allocation is no leak."""

MB_PER_CONNECTION = 1.0
"""What a new connection may hold before its memory counts as leaked."""


@check("ws.memory-leak")
def check_memory_leak(samples: Frame, *, leak_mb: float = 4.0) -> Verdict:
    """No replica's memory climbs by *leak_mb* or more while it was watched, without new connections to hold it."""
    cause = "ws.memory-leak"
    if missing(samples):
        return inconclusive(cause, samples)
    growth = w.memory_growth(samples.require())
    if growth.empty:
        return inconclusive(
            cause, "no replica told process_resident_memory_bytes twice; without it a leak cannot be seen"
        )
    steep = growth[growth["grown_mb"].ge(leak_mb) & growth["rising"].ge(RISING)]
    held = steep["new_connections"] * MB_PER_CONNECTION >= steep["grown_mb"] / 2
    idle = (steep["messages"] + steep["closed"]).le(0)
    leaking = steep[~held & ~idle]
    evidence = [
        Evidence(
            f"{row.replica}, resident memory",
            f"{row.memory_mb:g} MB, {row.grown_mb:+.1f} MB in {row.seconds:.0f} s with {row.new_connections:+d} connections,"
            f" {row.messages} messages, {row.closed} closings",
            "backend /metrics",
        )
        for row in growth.sort_values(["grown_mb", "replica"], ascending=[False, True]).head(4).itertuples()
    ]
    if leaking.empty and (dark := _dark(samples.require(), steep.loc[idle, "replica"])):
        text = f"{names_of(dark)} grew by {steep['grown_mb'].max():.1f} MB, and /metrics does not tell what was sent and closed meanwhile"
        return inconclusive(cause, f"{text}; go on with memory_usage")
    if leaking.empty:
        most = growth.sort_values(["grown_mb", "replica"]).iloc[-1]
        why = "no WebSocket sent or closed meanwhile" if idle.any() else "new connections hold it" if held.any() else ""
        text = f"memory grew by {most['grown_mb']:.1f} MB at most in {most['seconds']:.0f} s, on {most['replica']}"
        return ruled_out(cause, f"{text}{', and ' + why if why else ''}; a slow leak takes a longer look", evidence)
    worst = leaking.sort_values(["grown_mb", "replica"]).iloc[-1]
    per_minute = worst["grown_mb"] / max(1.0, worst["seconds"]) * 60
    title = f"{names_of(leaking['replica'])} keep{'s' if len(leaking) == 1 else ''} memory of WebSockets for good"
    reason = (
        f"{worst['replica']} grows by {per_minute:.0f} MB a minute to {worst['memory_mb']:.0f} MB while its connections "
        f"went from {worst['connections'] - worst['new_connections']} to {worst['connections']}"
    )
    return confirmed(cause, reason, evidence, title=title)


def _dark(samples: pd.DataFrame, replicas: pd.Series) -> list[str]:
    """Those of *replicas* that do not tell both messages and closings: whether they were idle is not known."""
    reported = samples[["messages", "closed"]].apply(pd.to_numeric, errors="coerce").notna().all(axis=1)
    return sorted(set(replicas) - set(samples.loc[reported, "replica"]))
