"""Whether the backend or the proxy refuses more than it did: the share of one 4xx among all requests, now and before."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import percent
from flowrex_ops.http.context import Limits
from flowrex_ops.http.failures import complete
from flowrex_ops.logs.access_log import CLIENT_ERROR, GAVE_UP, AccessLog
from flowrex_ops.logs.request_counts import total_of

_CHANCE = 0.001
_OTHERS = 0.1
_MOST = 0.5
HIDDEN = "all requests come from one address: a proxy in front hides the clients; have their own address passed on and logged (in NGINX by real_ip_header)"


def find_surge(log: AccessLog, limits: Limits) -> tuple[pd.DataFrame, str, str]:
    """The recent requests that were answered with the status that surges, what is to be said of it, and what cannot be told.

    Without rows nothing surges, or a few clients are all there is to it; where that is not known, the last text says why.
    """
    rows = complete(log.requests)
    begin = log.recent_since.replace(microsecond=0)
    now = rows[rows["at"].ge(begin)]
    before = rows[rows["at"].lt(begin) & rows["at"].ge(begin - limits.baseline)]
    refused = now[now["status"].between(CLIENT_ERROR, GAVE_UP - 1)]
    sums = refused.groupby("status")["requests"].sum().sort_values(ascending=False, kind="stable")
    says, unclear = "no recent request was answered 4xx", ""
    for number, (status, count) in enumerate(sums.items()):
        share = int(count) / max(1, total_of(now))
        earlier = total_of(before[before["status"].eq(status)]) / max(1, total_of(before))
        said = f"{percent(share)} of {total_of(now)} recent requests were answered {status}, {percent(earlier)} before"
        says = says if number else said
        if share < limits.refused_share:
            break
        if min(total_of(now), total_of(before)) < limits.refused_requests:
            unclear = f"{said}: of {total_of(now)} now and {total_of(before)} before, too few to compare"
        elif share >= limits.refused_factor * earlier:
            found, few = _spread(log, int(str(status)), int(count), limits)
            if found:
                return refused[refused["status"].eq(status)], said, ""
            says, unclear = (f"{said}; {few}", unclear) if found is False else (says, f"{said}; {few}")
    for (status, route), part in refused.groupby(["status", "route"]):
        if said := _surge_on_route(int(status), str(route), now, before, log, limits):
            return part, said, ""
    return refused.iloc[:0], says, unclear


def _surge_on_route(
    status: int, route: str, now: pd.DataFrame, before: pd.DataFrame, log: AccessLog, limits: Limits
) -> str:
    """What is to be said of a route that was served and is mostly refused now: among all requests it may be few. Empty for any other."""
    asked, earlier = (rows[rows["route"].eq(route)] for rows in (now, before))
    if min(total_of(asked), total_of(earlier)) < limits.refused_requests / 2:
        return ""
    share, was = (total_of(rows[rows["status"].eq(status)]) / total_of(rows) for rows in (asked, earlier))
    who = complete(log.refused)
    sums = who[who["status"].eq(status)].groupby("client")["requests"].sum().sort_values(ascending=False)
    others = sums.iloc[limits.flood_clients :]
    spread = len(others) > 1 and others.sum() >= limits.refused_share * sums.sum()
    if share < max(_MOST, limits.refused_factor * was) or not spread:
        return ""
    return f"{percent(share)} of {total_of(asked)} recent requests of {route} were answered {status}, {percent(was)} before"


def are_of_few(log: AccessLog, limits: Limits) -> bool:
    """Whether a few clients got nearly all failures, and others were served beside them."""
    failed = complete(log.clients)["failed"].astype(int).sort_values(ascending=False)
    others = int(failed.iloc[limits.flood_clients :].sum())
    return len(failed) > limits.flood_clients and others <= _OTHERS * int(failed.sum())


def is_over(rows: pd.DataFrame, log: AccessLog) -> bool:
    """Whether none was refused any more among so many later requests that this is no chance."""
    every = complete(log.requests)
    every = every[every["at"].ge(log.recent_since.replace(microsecond=0))]
    since = total_of(every[every["at"].gt(rows["at"].max())])
    share = total_of(rows) / max(1, total_of(every))
    return bool((1 - share) ** since <= _CHANCE)


def _spread(log: AccessLog, status: int, count: int, limits: Limits) -> tuple[bool | None, str]:
    """Whether it is as bad for the others without the few clients who got it most; None where no log tells."""
    refused = complete(log.refused)
    who = refused[refused["status"].eq(status) & refused["client"].fillna("").ne("")]
    clients = complete(log.clients)
    if 2 * total_of(who) < count:
        return None, f"the log names the clients of {total_of(who)} of {count} of them only"
    if clients["client"].nunique() < 2:  # noqa: PLR2004  # of one there are no few
        return None, HIDDEN
    top = who.sort_values(["requests", "client"], ascending=[False, True])["client"].head(limits.flood_clients)
    rest, others = who[~who["client"].isin(top)], clients[~clients["client"].isin(top)]
    # Two more at least: that one other client's mistake makes it many is chance.
    spread = len(rest) > 1 and total_of(rest) >= limits.refused_share * max(1, total_of(others))
    return spread, f"{total_of(who) - total_of(rest)} of {total_of(who)} by {len(top)} clients"
