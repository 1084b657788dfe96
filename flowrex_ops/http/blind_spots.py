"""What the readings of failed requests could not have shown, so that nothing is ruled out for not having been seen."""

from __future__ import annotations

from flowrex_ops.http.attribution import Attribution
from flowrex_ops.http.context import versions_of
from flowrex_ops.http.evidence import Access, Errors, Services
from flowrex_ops.http.failures import UNLOGGED, complete, times_of
from flowrex_ops.http.refusals import HIDDEN
from flowrex_ops.logs.access_log import BAD_GATEWAY, GATEWAY_TIMEOUT, UNAVAILABLE
from flowrex_ops.logs.request_counts import total_of

_FORM = "give the proxy a log_format that tells it (docs/settings.md)"


def of_all(found: Attribution, access: Access) -> str:
    """Why nothing at all can be ruled out; empty where it can."""
    if access.available and (gap := access.require().gap):
        return f"{gap}; {_FORM}"
    if found.total < found.limits.few:
        return f"{found.total} recent requests are too few to rule anything out; look again when there are more, or raise recent_minutes"
    unknown = total_of(found.requests[found.requests["status"].eq(0)])
    if unknown > found.limits.failed_ratio * found.total:
        return f"the log does not tell the status of {unknown} of {found.total} recent requests; {_FORM}"
    return ""


def of_makers(found: Attribution) -> str:
    """Whether the proxy or the backend made an answer."""
    status = found.rows["status"].isin([BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT])
    rows = found.rows[found.rows["made_by"].eq("unknown") & status]
    if not found.counts(rows):
        return ""
    return f"who made {total_of(rows)} answers of 502, 503 or 504, no log tells: neither names an upstream, nor does the backend log its requests; {_FORM}"


def of_errors(found: Attribution) -> str:
    """What the backend's log has to say of the failed requests."""
    rows = found.rows[found.rows["made_by"].ne("proxy")]
    unlogged = rows[rows["signature"].eq(UNLOGGED) | rows["kind"].eq("")]
    if not found.counts(unlogged):
        return ""
    return (
        f"for {total_of(unlogged)} of {total_of(rows)} failed requests no error is in the backend's log;"
        " let it log exceptions and requests, and look into Sentry"
    )


def of_replicas(found: Attribution, errors: Errors, services: Services) -> str:
    """Which replica served what, and failed."""
    rows = found.rows[found.rows["made_by"].ne("proxy")]
    if found.counts(nameless := rows[rows["replica"].eq("")]):
        return f"no log tells which replica failed {total_of(nameless)} requests; {_FORM}, or let replicas log theirs"
    if not found.counts(rows):
        return ""
    served = {str(name) for name in found.requests["replica"]} - {""}
    logged = set(complete(errors.require().requests)["replica"]) if errors.available else set()
    silent = sorted(set(versions_of(services, found.limits.service)) - served - logged)
    return (
        f"no log tells what {' and '.join(silent)} served; read {'its log' if len(silent) == 1 else 'their logs'} by hand"
        if silent
        else ""
    )


def of_routes(found: Attribution) -> str:
    """Which route failed, and whether there are others to compare it with."""
    rows = found.rows
    if found.counts(nameless := rows[rows["route"].eq("")]):
        return f"no log tells on which route {total_of(nameless)} requests failed; {_FORM}"
    if found.counts(rows) and len(found.by_route) == 1:
        return f"only {next(iter(found.by_route))} was asked; there is no other route to compare it with"
    return ""


def of_releases(found: Attribution, services: Services) -> str:
    """What runs since when."""
    rows = services.require()
    rows = rows[rows["service"].eq(found.limits.service)]
    if rows.empty:
        return f"no replica of '{found.limits.service}' is known to the stack; set backend.service"
    unknown = int(times_of(rows, "started_at").isna().sum())
    if unknown:
        return f"{unknown} of {len(rows)} replicas do not tell when they were started"
    nameless = (
        found.counts(found.rows)
        and rows["version"].fillna("").eq("").all()
        and times_of(rows, "created_at").isna().all()
    )
    return (
        "replicas tell no release: label images with org.opencontainers.image.version, or tag them" if nameless else ""
    )


def of_clients(found: Attribution, access: Access) -> str:
    """Who asked."""
    clients = complete(access.require().clients)
    if total_of(clients) < found.limits.few:
        return f"the log names the clients of {total_of(clients)} recent requests only; {_FORM}"
    known = clients[clients["client"].fillna("").ne("")]
    if found.counts(found.rows) and len(known) < 2:  # noqa: PLR2004  # of one there are no few
        return HIDDEN
    return ""
