"""Why WebSockets end: causes told apart, each by one check. Each closing is attributed to one of them, or unexplained."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Severity, Verdict
from flowrex_ops.websocket import views as w
from flowrex_ops.websocket.closings import ConnectionLog
from flowrex_ops.websocket.ends import in_bursts
from flowrex_ops.websocket.evidence import (
    CONFIGURATION,
    FEW,
    LOG,
    PROXY_LOG,
    Frame,
    Log,
    asked,
    counted,
    names_of,
    places,
    recent,
    recent_errors,
    restarts,
    unreported_ends,
)
from flowrex_ops.websocket.handshakes import check_connection_limit, check_proxy_misconfigured, taken_by_nobody
from flowrex_ops.websocket.memory import check_memory_leak
from flowrex_ops.websocket.reconnects import check_reconnect_storm
from flowrex_ops.websocket.source import CLOSED, OK, PROXY

__all__ = [
    "check_backend_error",
    "check_backend_restart",
    "check_connection_limit",
    "check_memory_leak",
    "check_proxy_misconfigured",
    "check_proxy_timeout",
    "check_reconnect_storm",
    "check_unexplained_disconnections",
]

_TIMEOUT = "timeout"


@check("ws.backend-error")
def check_backend_error(log: Log, *, few: int = FEW) -> Verdict:
    """Fewer than *few* recent connections were closed with 1011 by an exception in their handler."""
    cause = "ws.backend-error"
    if missing(log):
        return inconclusive(cause, log)
    failed = recent(log, "error")
    of = w.all_recent(log.require().closings)
    errors = log.require().errors
    lately = errors[errors["recent"].gt(0)].sort_values(["recent", "exception"], ascending=[False, True])
    raised = 0 if log.require().coded else int(lately["recent"].sum())
    if max(len(failed), raised) < few:
        return unreported_ends(cause, log) or ruled_out(
            cause, f"{len(failed)} of {of} recent closings came from an exception (1011)"
        )
    evidence = [
        *counted(failed),
        *(Evidence(f"{row.recent} recent tracebacks", str(row.exception), LOG) for row in lately.head(3).itertuples()),
    ]
    name = str(lately["exception"].iloc[0]) if len(lately) else str(failed["reason"].iloc[-1] or "see its log")
    title = f"The WebSocket handler fails: {name}"
    number = f"{len(failed)} of {of} recent closings" if len(failed) else f"{raised} recent tracebacks"
    return confirmed(cause, f"{title} ({number})", evidence, title=title)


@check("ws.backend-restart")
def check_backend_restart(log: Log, locations: Frame, replicas: Frame, *, few: int = FEW) -> Verdict:
    """Fewer than *few* recent connections ended because their replica was restarted."""
    cause = "ws.backend-restart"
    if missing(log):
        return inconclusive(cause, log)
    closings = w.attributed(log.require(), locations, replicas)
    ended, of = w.recent_of(closings, "restart"), w.all_recent(closings)
    if len(ended) < few:
        return (
            _no_restart(cause, log.require(), replicas)
            or unreported_ends(cause, log, replicas)
            or _unexplained(cause, closings, few, replicas)
            or ruled_out(cause, f"{len(ended)} of {of} recent closings came with a restart of their replica")
        )
    # By the proxy's log alone it is not known at which replica they ended: then all that started are named.
    hit = [name for name in ended["replica"] if name] or w.started_lately(log.require(), replicas)
    evidence = [*counted(ended), *restarts(hit, replicas)]
    title = f"{names_of(hit) or 'a replica'} restarted and took {len(ended)} connections along"
    return confirmed(cause, f"{title}, the last at {_clock(ended)}", evidence, title=title)


def _no_restart(cause: str, log: ConnectionLog, replicas: Frame) -> Verdict | None:
    """Ruled out where the stack knows of every replica in the log that it started earlier, and no log has a start since."""
    if log.coded or log.begins_at is None or not log.replicas or w.started_lately(log, replicas):
        return None
    if not replicas.available or log.starts["at"].ge(log.begins_at).any():
        return None
    frame = replicas.require()
    known = set(frame.loc[frame["started_at"].notna(), "name"])
    if not log.replicas <= known:
        return None
    return ruled_out(cause, f"none of {len(log.replicas)} replicas has started since {log.begins_at:%H:%M:%S} UTC")


@check("ws.proxy-timeout")
def check_proxy_timeout(log: Log, locations: Frame, replicas: Frame, proxy_errors: Frame, *, few: int = FEW) -> Verdict:
    """Fewer than *few* recent connections broke off after a silence as long as the proxy's read timeout."""
    cause = "ws.proxy-timeout"
    said = recent_errors(proxy_errors, _TIMEOUT)
    timeouts = w.read_timeouts(locations)
    evidence = [
        *(
            [Evidence("upstream timed out … while proxying upgraded connection", f"{said} recent lines", PROXY_LOG)]
            if said
            else []
        ),
        *_timeouts(locations),
    ]
    if missing(log):
        if said >= few:
            return confirmed(cause, f"NGINX says so of {said} connections lately", evidence)
        return inconclusive(cause, log)
    closings = w.attributed(log.require(), locations, replicas)
    ended, of = w.recent_of(closings, "timeout"), w.all_recent(closings)
    if max(len(ended), said) >= few:
        at = float(ended["quiet_seconds"].median()) if len(ended) else min(timeouts, default=0.0)
        title = f"The proxy ends connections that are quiet for {at:.0f} s"
        reason = f"{title}: {max(len(ended), said)} of {max(of, said)} recent closings"
        return confirmed(cause, reason, [*counted(ended), *evidence], title=title)
    broken = w.recent_of(closings, "abnormal")
    bunch = w.find_bunch(broken, few=few) if missing(locations) else None
    if bunch is not None:
        reason = f"{len(broken)} recent connections broke off, most after {bunch:.0f} s of silence; NGINX's timeout could not be read"
        return confirmed(cause, reason, counted(broken))
    reported = ", ".join(f"{timeout:g} s" for timeout in timeouts) or "which could not be read"
    lately = closings[closings["recent"].isin([True])]
    aged = of >= few and bool(timeouts) and bool(lately["quiet_seconds"].notna().all())
    return (
        (None if aged else unreported_ends(cause, log))
        or _unexplained(cause, closings, few, locations)
        or ruled_out(
            cause, f"{len(ended)} of {of} recent closings came after the proxy's read timeout ({reported})", evidence
        )
    )


def _unexplained(cause: str, closings: pd.DataFrame, few: int, explains: Frame) -> Verdict | None:
    """Inconclusive where connections break off and nobody knows why, or the reading that might know is missing."""
    broken, of = w.recent_of(closings, "abnormal"), w.all_recent(closings)
    if len(broken) < few or (len(broken) < of / 2 and explains.available):
        return None
    said = (
        f"{len(broken)} of {of} recent connections broke off (1006) at no common age and at no restart of their replica"
    )
    why = (
        f"; no {explains.what}: {explains.error}"
        if missing(explains)
        else "; was the proxy restarted, or a network cut?"
    )
    return inconclusive(cause, said + why)


@check("ws.unexplained-disconnections")
def check_unexplained_disconnections(
    log: Log,
    locations: Frame,
    replicas: Frame,
    proxy_errors: Frame,
    handshakes: Frame,
    samples: Frame,
    *,
    few: int = FEW,
) -> Verdict:
    """WebSockets get through, and most that ended lately ended for a reason that another check knows."""
    cause = "ws.unexplained-disconnections"
    rows = asked(handshakes)
    through = rows[rows["straight"].isin([False])]
    if not through.empty and not through["kind"].isin([OK, CLOSED]).any():
        known = (
            check_proxy_misconfigured(handshakes, locations, proxy_errors),
            check_connection_limit(log, proxy_errors, handshakes, locations, samples, few=few),
        )
        used = log.available and (log.require().opened or log.require().closed)
        if (nobody := taken_by_nobody(rows, of_proxy=False)) and not used:
            return inconclusive(cause, nobody)
        if not any(verdict.confirmed for verdict in known):
            title = "No WebSocket gets through the proxy, and nothing explains it"
            reason = f"{title}: {through.iloc[0]['error']}"
            return confirmed(cause, reason, places(rows), severity=Severity.P1, title=title)
    if missing(log):
        return inconclusive(cause, log)
    return (
        _broke_off(cause, log, locations, replicas, samples, few)
        or (inconclusive(cause, handshakes) if through.empty else None)
        or unreported_ends(cause, log, replicas)
        or ruled_out(
            cause, f"a handshake {PROXY} succeeds, and no more than a few recent WebSockets broke off unexplained"
        )
    )


def _broke_off(cause: str, log: Log, locations: Frame, replicas: Frame, samples: Frame, few: int) -> Verdict | None:
    """Most of the recent closings are attributed to nothing: without a closing frame, or many in the same moment."""
    closings = w.attributed(log.require(), locations, replicas)
    of = w.all_recent(closings)
    most = max(few, of / 2, MATTERS * w.open_now(samples))
    broken, unreported = (w.recent_of(closings, kind) for kind in ("abnormal", "unreported"))
    together = w.recent_of(closings[in_bursts(closings, few=few)], "unreported")
    blind = "".join(f"; no {r.what}: {r.error}" for r in (locations, replicas) if not r.available)
    if len(broken) >= most and not (missing(locations) and w.find_bunch(broken, few=few)):
        title = f"{len(broken)} of {of} recent WebSockets broke off, and nothing explains it"
        reason = f"{title}: no closing frame (1006), the last at {_clock(broken)}{blind}"
        return confirmed(cause, reason, [*counted(broken), *restarts(broken["replica"], replicas)], title=title)
    if len(together) >= most:
        title = f"{len(together)} of {of} recent WebSockets ended at once, and nothing explains it"
        reason = f"{title}: the last at {_clock(together)}{blind}; was the proxy restarted, or a network cut?"
        return confirmed(cause, reason, counted(together), title=title)
    if len(unreported) >= few:
        return inconclusive(cause, f"{len(unreported)} of {of} recent WebSockets ended, and no log says how")
    return None


MATTERS = 0.1
"""Of the WebSockets that are open so many must have broken off: a few phones lose their network at any time."""


def _clock(closings: pd.DataFrame) -> str:
    at = closings["at"].max()
    return "a time that is not known" if pd.isna(at) else f"{at:%H:%M:%S} UTC"


def _timeouts(locations: Frame) -> list[Evidence]:
    if not locations.available:
        return []
    frame = locations.require().dropna(subset=["read_timeout_seconds"])
    rows = frame[frame["carries_websockets"].isin([True])].sort_values(["read_timeout_seconds", "server", "location"])
    return [
        Evidence(
            f"proxy_read_timeout, location {row.location} of {row.server}",
            f"{row.read_timeout_seconds:g} s",
            CONFIGURATION,
        )
        for row in rows.head(3).itertuples()
    ]
