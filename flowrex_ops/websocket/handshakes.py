"""Whether WebSockets get in at all: through the proxy, and past its and the backend's limits.

The handshake outranks the configuration: ``nginx -T`` shows what lies on disk, which holds after a reload only. One
that succeeds rules the proxy out, one that fails is explained by what its location lacks.
"""

from __future__ import annotations

from http import HTTPStatus

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Verdict
from flowrex_ops.websocket.evidence import (
    CONFIGURATION,
    FEW,
    PROXY_LOG,
    Frame,
    Log,
    asked,
    counted,
    names_of,
    places,
    recent,
    recent_errors,
    unreported_ends,
)
from flowrex_ops.websocket.source import CLOSED, OK, PROXY, REFUSED

_WORKER_CONNECTIONS, _TRY_AGAIN_LATER = "worker-connections", 1013


@check("ws.proxy-misconfigured")
def check_proxy_misconfigured(handshakes: Frame, locations: Frame, proxy_errors: Frame) -> Verdict:
    """A handshake through the proxy succeeds; one that fails everywhere, or for want of connections, is not its configuration's fault."""
    cause = "ws.proxy-misconfigured"
    problems = _problems(locations)
    rows = asked(handshakes)
    through, straight = rows[rows["straight"].isin([False])], rows[rows["straight"].isin([True])]
    if through.empty:
        return _by_configuration(cause, problems, handshakes, locations)
    met = through[through["kind"].isin([OK, CLOSED])]
    if not met.empty:
        text = f"a handshake {PROXY} is answered with 101 in {_fastest(met):.2f} s"
        return ruled_out(cause, text, places(rows))
    failed = through.sort_values("url").iloc[0]
    said = f"a handshake {PROXY} fails: {failed['error']}"
    # What a path lacks at which nobody takes a WebSocket is no fault.
    nobody = taken_by_nobody(rows) if problems or missing(locations) else ""
    evidence = [*places(rows), *problems]
    if problems and not nobody:
        return confirmed(cause, f"{said}; {problems[0].name}: {problems[0].value}", evidence)
    if nobody or straight.empty or blank(straight, "kind"):
        return inconclusive(
            cause, nobody or f"{said}; no replica could be asked, so it may be the proxy or the backend"
        )
    good = straight[straight["kind"].isin([OK, CLOSED])]
    if good.empty:
        return ruled_out(cause, f"{said}; straight to the replicas it fails too, so it is not the proxy", evidence)
    return _through_only(cause, failed, f"{said}; straight to {len(good)} replicas it succeeds", proxy_errors, evidence)


def taken_by_nobody(rows: pd.DataFrame, *, of_proxy: bool = True) -> str:
    """That no replica takes a WebSocket at this path, and the proxy does not fail by itself; empty where one does, or none told.

    Without *of_proxy* the replicas alone have to tell, or, where none could be asked, what answers through the proxy.
    """
    straight, through = rows[rows["straight"].isin([True])], rows[rows["straight"].isin([False])]
    answered = straight[straight["status"].notna()]
    told = rows if of_proxy else through if answered.empty else answered
    refused = told["kind"].eq(REFUSED) & told["status"].lt(HTTPStatus.INTERNAL_SERVER_ERROR)
    if (of_proxy and straight.empty) or through.empty or not refused.all():
        return ""
    who = "what is behind the proxy refuses it" if answered.empty else "every replica refuses it too"
    return f"{who}, {told['error'].iloc[0]}: set proxy.websocket_path, or there are no WebSockets"


def _through_only(cause: str, failed: pd.Series, said: str, proxy_errors: Frame, evidence: list[Evidence]) -> Verdict:
    """A handshake that fails through the proxy alone, though no location is known to lack its headers."""
    if failed["kind"] == REFUSED and int(failed["status"]) < HTTPStatus.INTERNAL_SERVER_ERROR:
        return confirmed(cause, said, evidence)
    if recent_errors(proxy_errors, _WORKER_CONNECTIONS):
        return ruled_out(cause, f"{said}; NGINX has no worker connections left, which is another cause", evidence)
    return inconclusive(cause, f"{said}, and its status does not tell why; read NGINX's log")


def _by_configuration(cause: str, problems: list[Evidence], handshakes: Frame, locations: Frame) -> Verdict:
    """What the configuration alone says, where no handshake through the proxy could be tried."""
    if problems:
        return confirmed(cause, f"{problems[0].name}: {problems[0].value}", problems)
    if missing(locations):
        return inconclusive(cause, handshakes, locations)
    if not locations.require()["carries_websockets"].isin([True]).any():
        return inconclusive(cause, "no location of the proxy leads to WebSockets; set proxy.websocket_path")
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


@check("ws.connection-limit")
def check_connection_limit(
    log: Log, proxy_errors: Frame, handshakes: Frame, locations: Frame, samples: Frame, *, few: int = FEW
) -> Verdict:
    """Nobody is turned away: NGINX has worker connections left, and no replica refuses with 1013 or 503."""
    cause = "ws.connection-limit"
    refused = recent(log, "limit")
    exhausted = recent_errors(proxy_errors, _WORKER_CONNECTIONS)
    rows = asked(handshakes)
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
        evidence = [*counted(refused), *places(now), *evidence]
        title = "The backend refuses WebSockets above its limit"
        reason = (
            f"{len(refused)} were closed with 1013 lately, on {names_of(refused['replica'])}" if len(refused) else title
        )
        return confirmed(cause, reason + _why(refused), evidence, title=title)
    if missing(log) or missing(proxy_errors):
        return inconclusive(cause, log, proxy_errors)
    if unreported := unreported_ends(cause, log):
        return unreported
    text = f"{len(refused)} connections were refused lately, and NGINX had worker connections for all"
    return ruled_out(cause, text, evidence)


def _room(locations: Frame, samples: Frame) -> list[Evidence]:
    """How many WebSockets are open, and for how many NGINX has worker connections: each takes two."""
    found = []
    if samples.available:
        reported = samples.require().dropna(subset=["connections"]).sort_values("at")
        newest = reported.groupby("replica")["connections"].last()
        found.append(Evidence("connections open", f"{newest.sum():.0f} on {len(newest)} replicas", "backend /metrics"))
    if locations.available and len(locations.require()):
        row = locations.require().sort_values(["server", "location"]).iloc[0]
        value = f"{row['worker_connections']} a worker, {row['workers']} workers; each WebSocket takes two"
        found.append(Evidence("worker_connections", value, CONFIGURATION))
    return found


def _why(closings: pd.DataFrame) -> str:
    reasons = sorted({str(reason) for reason in closings["reason"] if reason})
    return f": {reasons[0]}" if reasons else ""


def _fastest(rows: pd.DataFrame) -> float:
    return float(rows["seconds"].min())
