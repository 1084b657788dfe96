"""Why WebSockets end: six causes told apart, each by one check. Each closing is charged to one of them."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import pandas as pd

from flowrex_ops.checks import websockets as w
from flowrex_ops.checks.verdicts import confirmed, inconclusive, judges, missing, ruled_out, undecided
from flowrex_ops.model import Evidence, Reading, Verdict
from flowrex_ops.sources.websocket import CLOSED, OK, PROXY, REFUSED, UNKNOWN
from flowrex_ops.sources.websocket_log import ConnectionLog

Frame = Reading[pd.DataFrame]
Log = Reading[ConnectionLog]

FEW = 3
"""From so many recent closings of one kind on it is a pattern; single ones are everyday life."""

LOG, PROXY_LOG, CONFIGURATION, HANDSHAKE = "backend log", "nginx log", "nginx -T", "handshake"
_WORKER_CONNECTIONS, _TIMEOUT, _TRY_AGAIN_LATER = "worker-connections", "timeout", 1013


@judges("ws.proxy-misconfigured")
def check_proxy_misconfigured(handshakes: Frame, locations: Frame, proxy_errors: Frame) -> Verdict:
    """A handshake through the proxy succeeds; one that fails everywhere, or for want of connections, is not its configuration's fault."""
    cause = "ws.proxy-misconfigured"
    problems = _problems(locations)
    rows = _asked(handshakes)
    through, straight = rows[~rows["straight"].isin([True])], rows[rows["straight"].isin([True])]
    if through.empty:
        return _by_configuration(cause, problems, handshakes, locations)
    met = through[through["kind"].isin([OK, CLOSED])]
    if not met.empty:
        text = f"a handshake {PROXY} is answered with 101 in {_fastest(met):.2f} s"
        return ruled_out(cause, text, _places(rows))
    failed = through.sort_values("url").iloc[0]
    said = f"a handshake {PROXY} fails: {failed['error']}"
    evidence = [*_places(rows), *problems]
    if problems:
        return confirmed(cause, f"{said}; {problems[0].name}: {problems[0].value}", evidence)
    if straight.empty:
        return undecided(cause, f"{said}; no replica could be asked, so it may be the proxy or the backend")
    good = straight[straight["kind"].isin([OK, CLOSED])]
    if good.empty:
        return ruled_out(cause, f"{said}; straight to the replicas it fails too, so it is not the proxy", evidence)
    return _through_only(cause, failed, f"{said}; straight to {len(good)} replicas it succeeds", proxy_errors, evidence)


def _through_only(cause: str, failed: pd.Series, said: str, proxy_errors: Frame, evidence: list[Evidence]) -> Verdict:
    """A handshake that fails through the proxy alone, though no location is known to lack its headers."""
    if failed["kind"] == REFUSED and int(failed["status"]) < HTTPStatus.INTERNAL_SERVER_ERROR:
        return confirmed(cause, said, evidence)
    if _recent_errors(proxy_errors, _WORKER_CONNECTIONS):
        return ruled_out(cause, f"{said}; NGINX has no worker connections left, which is another cause", evidence)
    return undecided(cause, f"{said}, and its status does not tell why; read NGINX's log")


@judges("ws.memory-leak")
def check_memory_leak(samples: Frame, *, leak_mb: float = 4.0) -> Verdict:
    """No replica's memory climbs by *leak_mb* or more while it was watched, without new connections to hold it."""
    cause = "ws.memory-leak"
    if missing(samples):
        return inconclusive(cause, samples)
    growth = w.memory_growth(samples.require())
    if growth.empty:
        return undecided(cause, "no replica told process_resident_memory_bytes twice; without it a leak cannot be seen")
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
    if leaking.empty:
        most = growth.sort_values(["grown_mb", "replica"]).iloc[-1]
        why = "no WebSocket sent or closed meanwhile" if idle.any() else "new connections hold it" if held.any() else ""
        text = f"memory grew by {most['grown_mb']:.1f} MB at most in {most['seconds']:.0f} s, on {most['replica']}"
        return ruled_out(cause, f"{text}{', and ' + why if why else ''}; a slow leak takes a longer look", evidence)
    worst = leaking.sort_values(["grown_mb", "replica"]).iloc[-1]
    per_minute = worst["grown_mb"] / max(1.0, worst["seconds"]) * 60
    title = f"{_names(leaking['replica'])} keep{'s' if len(leaking) == 1 else ''} memory of WebSockets for good"
    reason = (
        f"{worst['replica']} grows by {per_minute:.0f} MB a minute to {worst['memory_mb']:.0f} MB while its connections "
        f"went from {worst['connections'] - worst['new_connections']} to {worst['connections']}"
    )
    return confirmed(cause, reason, evidence, title=title)


RISING = 0.25
"""The share of the steps between samples that must go up; one big allocation is no leak."""

MB_PER_CONNECTION = 1.0
"""What a new connection may hold before its memory counts as leaked."""


@judges("ws.connection-limit")
def check_connection_limit(
    log: Log, proxy_errors: Frame, handshakes: Frame, locations: Frame, samples: Frame, *, few: int = FEW
) -> Verdict:
    """Nobody is turned away: NGINX has worker connections left, and no replica refuses with 1013 or 503."""
    cause = "ws.connection-limit"
    refused = _recent(log, "limit")
    exhausted = _recent_errors(proxy_errors, _WORKER_CONNECTIONS)
    rows = _asked(handshakes)
    straight = rows[rows["straight"].isin([True])]
    now = straight[
        straight["close_code"].eq(_TRY_AGAIN_LATER) | straight["status"].eq(int(HTTPStatus.SERVICE_UNAVAILABLE))
    ]
    evidence = [*_room(locations, samples)]
    if exhausted >= few:
        evidence = [Evidence("worker_connections are not enough", f"{exhausted} recent lines", PROXY_LOG), *evidence]
        title = "NGINX has no worker connections left"
        return confirmed(cause, f"{title}: it said so {exhausted} times lately", evidence, title=title)
    if len(refused) >= few or len(now):
        evidence = [*_counted(refused), *_places(now), *evidence]
        title = "The backend refuses WebSockets above its limit"
        reason = (
            f"{len(refused)} were closed with 1013 lately, on {_names(refused['replica'])}" if len(refused) else title
        )
        return confirmed(cause, reason + _why(refused), evidence, title=title)
    if missing(log) or missing(proxy_errors):
        return inconclusive(cause, log, proxy_errors)
    if untold := _untold(cause, log):
        return untold
    text = f"{len(refused)} connections were refused lately, and NGINX had worker connections for all"
    return ruled_out(cause, text, evidence)


@judges("ws.backend-error")
def check_backend_error(log: Log, *, few: int = FEW) -> Verdict:
    """Fewer than *few* recent connections were closed with 1011 by an exception in their handler."""
    cause = "ws.backend-error"
    if missing(log):
        return inconclusive(cause, log)
    failed = _recent(log, "error")
    of = w.all_recent(log.require().closings)
    errors = log.require().errors
    lately = errors[errors["recent"].gt(0)].sort_values(["recent", "exception"], ascending=[False, True])
    if len(failed) < few:
        return _untold(cause, log) or ruled_out(
            cause, f"{len(failed)} of {of} recent closings came from an exception (1011)"
        )
    evidence = [
        *_counted(failed),
        *(Evidence(f"{row.recent} recent tracebacks", str(row.exception), LOG) for row in lately.head(3).itertuples()),
    ]
    name = str(lately["exception"].iloc[0]) if len(lately) else str(failed["reason"].iloc[-1] or "see its log")
    title = f"The WebSocket handler fails: {name}"
    return confirmed(cause, f"{title} ({len(failed)} of {of} recent closings)", evidence, title=title)


@judges("ws.backend-restart")
def check_backend_restart(log: Log, locations: Frame, replicas: Frame, *, few: int = FEW) -> Verdict:
    """Fewer than *few* recent connections ended because their replica was restarted."""
    cause = "ws.backend-restart"
    if missing(log):
        return inconclusive(cause, log)
    closings = w.charged(log.require(), locations, replicas)
    ended, of = w.recent_of(closings, "restart"), w.all_recent(closings)
    if len(ended) < few:
        return (
            _untold(cause, log, replicas)
            or _unexplained(cause, closings, few, replicas)
            or ruled_out(cause, f"{len(ended)} of {of} recent closings came with a restart of their replica")
        )
    names = _names(ended["replica"])
    evidence = [*_counted(ended), *_restarts(ended, replicas)]
    title = f"{names} restarted and took {len(ended)} connections along"
    at = ended["at"].max()
    return confirmed(cause, f"{title}, the last at {at:%H:%M:%S} UTC", evidence, title=title)


@judges("ws.proxy-timeout")
def check_proxy_timeout(log: Log, locations: Frame, replicas: Frame, proxy_errors: Frame, *, few: int = FEW) -> Verdict:
    """Fewer than *few* recent connections broke off after a silence as long as the proxy's read timeout."""
    cause = "ws.proxy-timeout"
    said = _recent_errors(proxy_errors, _TIMEOUT)
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
    closings = w.charged(log.require(), locations, replicas)
    ended, of = w.recent_of(closings, "timeout"), w.all_recent(closings)
    if max(len(ended), said) >= few:
        at = float(ended["quiet_seconds"].median()) if len(ended) else min(timeouts, default=0.0)
        title = f"The proxy ends connections that are quiet for {at:.0f} s"
        reason = f"{title}: {max(len(ended), said)} of {max(of, said)} recent closings"
        return confirmed(cause, reason, [*_counted(ended), *evidence], title=title)
    broken = w.recent_of(closings, "abnormal")
    bunch = w.find_bunch(broken, few=few) if missing(locations) else None
    if bunch is not None:
        reason = f"{len(broken)} recent connections broke off, most after {bunch:.0f} s of silence; NGINX's timeout could not be read"
        return confirmed(cause, reason, _counted(broken))
    told = ", ".join(f"{timeout:g} s" for timeout in timeouts) or "which could not be read"
    return (
        _untold(cause, log)
        or _unexplained(cause, closings, few, locations)
        or ruled_out(
            cause, f"{len(ended)} of {of} recent closings came after the proxy's read timeout ({told})", evidence
        )
    )


def _untold(cause: str, log: Log, replicas: Frame | None = None) -> Verdict | None:
    """Inconclusive where the backend's log does not tell how connections end, or of no connection at all.

    Where only the server's own lines (uvicorn's) are there, a container that was made anew has taken the older ones along.
    """
    found = log.require()
    if found.untold and not found.coded:  # beside a handler's own lines the server's only say the same again
        said = f"the backend logged {found.untold} recent closings without saying how (no close code)"
        started = w.started_lately(found, replicas)
        also = f"; {', '.join(started)} started meanwhile" if started else ""
        return undecided(cause, f"{said}{also}; have its handler log each closing with its code")
    if not found.opened and not found.closed:
        return undecided(
            cause, "the backend's log tells of no WebSocket; have its handler log each closing with its code"
        )
    if not found.coded and (started := w.started_lately(found, replicas)):
        said = f"{', '.join(started)} started within the time looked at, and no log tells what was open before"
        return undecided(cause, said)
    return None


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
    return undecided(cause, said + why)


def _by_configuration(cause: str, problems: list[Evidence], handshakes: Frame, locations: Frame) -> Verdict:
    """What the configuration alone says, where no handshake through the proxy could be tried."""
    if problems:
        return confirmed(cause, f"{problems[0].name}: {problems[0].value}", problems)
    if missing(locations):
        return inconclusive(cause, handshakes, locations)
    if not locations.require()["carries_websockets"].isin([True]).any():
        return undecided(cause, "no location of the proxy leads to WebSockets; set proxy.websocket_path")
    return ruled_out(cause, "every location that leads to WebSockets passes upgrades on (no handshake was tried)")


def _problems(locations: Frame) -> list[Evidence]:
    """What the locations that lead to WebSockets lack."""
    if not locations.available:
        return []
    frame = locations.require()
    found = []
    for row in frame[frame["carries_websockets"].isin([True])].itertuples():
        lacks = []
        upgrade = str(row.upgrade_header).strip().lower()
        if not upgrade:
            lacks.append("no header Upgrade")
        elif upgrade not in ("$http_upgrade", "websocket") and not upgrade.startswith("$"):
            lacks.append(f"Upgrade: {upgrade}, which no server takes")
        connection = str(row.connection_header).strip().lower()
        if "upgrade" not in connection and not connection.startswith("$"):
            lacks.append("no header Connection: upgrade")
        if str(row.http_version) == "1.0":
            lacks.append("HTTP/1.0")
        if lacks:
            found.append(Evidence(f"location {row.location} of {row.server}", ", ".join(lacks), CONFIGURATION))
    return sorted(found, key=lambda item: (item.name, item.value))


def _asked(handshakes: Frame) -> pd.DataFrame:
    """The places where a handshake says something of the platform, and not only of this machine."""
    columns = ["place", "straight", "url", "status", "kind", "seconds", "close_code", "error"]
    if not handshakes.available:
        return pd.DataFrame(columns=columns)
    frame = handshakes.require()
    return frame[~frame["kind"].eq(UNKNOWN)]


def _recent(log: Log, kind: str) -> pd.DataFrame:
    """Recent closings of a kind that the log alone tells."""
    nothing: Frame = Reading("", "", error="not needed")
    if not log.available:
        return pd.DataFrame(columns=["at", "replica", "code", "by", "age_seconds", "reason", "quiet_seconds"])
    return w.recent_of(w.charged(log.require(), nothing, nothing), kind)


def _recent_errors(proxy_errors: Frame, kind: str) -> int:
    if not proxy_errors.available:
        return 0
    frame = proxy_errors.require()
    return int(frame.loc[frame["kind"].eq(kind), "recent"].sum())


def _counted(closings: pd.DataFrame) -> list[Evidence]:
    """Closings by code and who closed, with their ages, most first."""
    found = []
    for (code, by), part in closings.groupby(["code", "by"], sort=True):
        ages = pd.to_numeric(part["age_seconds"], errors="coerce").dropna()
        span = f", {ages.min():.1f} to {ages.max():.1f} s old" if len(ages) else ""
        name = f"closed with {code} ({w.CODE_NAMES.get(int(code), 'private')}) by {by}"
        found.append((len(part), Evidence(name, f"{len(part)} recent{span}", LOG)))
    return [item for _, item in sorted(found, key=lambda pair: (-pair[0], pair[1].name))[:4]]


def _places(rows: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(f"handshake, {row.place}", str(row.error) or f"101 in {float(row.seconds):.2f} s", HANDSHAKE)
        for row in rows.sort_values(["straight", "place"]).head(5).itertuples()
    ]


def _timeouts(locations: Frame) -> list[Evidence]:
    if not locations.available:
        return []
    frame = locations.require()
    rows = frame[frame["carries_websockets"].isin([True])].sort_values(["read_timeout_seconds", "server", "location"])
    return [
        Evidence(
            f"proxy_read_timeout, location {row.location} of {row.server}",
            f"{row.read_timeout_seconds:g} s",
            CONFIGURATION,
        )
        for row in rows.head(3).itertuples()
    ]


def _room(locations: Frame, samples: Frame) -> list[Evidence]:
    """How many WebSockets are open, and for how many NGINX has worker connections: each takes two."""
    found = []
    if samples.available:
        told = samples.require().dropna(subset=["connections"]).sort_values("at")
        newest = told.groupby("replica")["connections"].last()
        found.append(Evidence("connections open", f"{newest.sum():.0f} on {len(newest)} replicas", "backend /metrics"))
    if locations.available and len(locations.require()):
        row = locations.require().sort_values(["server", "location"]).iloc[0]
        value = f"{row['worker_connections']} a worker, {row['workers']} workers; each WebSocket takes two"
        found.append(Evidence("worker_connections", value, CONFIGURATION))
    return found


def _restarts(ended: pd.DataFrame, replicas: Frame) -> list[Evidence]:
    if not replicas.available:
        return []
    frame = replicas.require()
    hit = frame[frame["name"].isin(set(ended["replica"]))].sort_values("name")
    return [
        Evidence(f"{row.name}, {row.state}", _since(row.started_at) + f"{row.restarts} restarts by the engine", "stack")
        for row in hit.head(4).itertuples(index=False)
    ]


def _since(at: pd.Timestamp | None) -> str:
    return "" if at is None or pd.isna(at) else f"started {at:%H:%M:%S} UTC, "


def _why(closings: pd.DataFrame) -> str:
    reasons = sorted({str(reason) for reason in closings["reason"] if reason})
    return f": {reasons[0]}" if reasons else ""


def _fastest(rows: pd.DataFrame) -> float:
    return float(rows["seconds"].min())


def _names(names: Iterable[object]) -> str:
    found = sorted({str(name) for name in names})
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
