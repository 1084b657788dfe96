"""Failed requests (5xx) as the proxy's log and the backend's tell of them together, each counted once.

The backend's own log decides what the backend failed; the proxy's adds what is missing there, by status and route, or
by status alone where paths are rewritten. A 502 that nobody can place is unexplained, not the proxy's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from flowrex_ops.logs.access_log import BAD_GATEWAY, GATEWAY_TIMEOUT, SERVER_ERROR, UNAVAILABLE, AccessLog
from flowrex_ops.logs.error_log import ErrorLog
from flowrex_ops.model import Reading

UNLOGGED = "no error logged"
FAILURE_COLUMNS = [
    "at", "replica", "method", "route", "status", "signature", "kind", "dependency", "made_by", "requests",
]  # fmt: skip
_OF_PROXIES = (BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT)
_TEXTS = ("replica", "method", "route", "signature", "kind", "dependency", "made_by", "version")


def recent_requests(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Recent requests as users sent them: the proxy's log, else the backend's; at least replica, route, status, requests."""
    for log in _logs(access, errors):
        return recent_of(log, access, errors)
    return pd.DataFrame(columns=[*FAILURE_COLUMNS, "version"])


def recent_of(log: AccessLog | ErrorLog, access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """A log's requests of the minutes that are recent for both logs, which were not read at the same moment.

    A row counts from the beginning of its bucket on; what a log does not tell is empty.
    """
    logs = _logs(access, errors)
    begin = max(one.recent_since for one in logs).replace(microsecond=0)
    end = min(one.until for one in logs)
    rows = complete(log.requests)
    return rows[rows["at"].ge(begin) & rows["at"].le(end)]


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """*rows* with every column, and nothing missing in them: texts empty, numbers 0."""
    texts = {name: rows[name].fillna("").astype(str) if name in rows else "" for name in _TEXTS}
    numbers = {
        name: pd.to_numeric(rows[name], errors="coerce").fillna(0).astype(int) if name in rows else 0
        for name in ("status", "requests")
    }
    return rows.assign(**texts, **numbers, at=times_of(rows, "at"))


def exhausted_of(log: AccessLog) -> pd.DataFrame:
    """When the proxy had no connections or files left lately: columns ``at``, ``what``, ``requests``."""
    rows = complete(log.exhausted)
    return rows[rows["at"].ge(log.recent_since.replace(microsecond=0))]


def limited_of(log: AccessLog) -> pd.DataFrame:
    """When the proxy logged lately that its own ``limit_req`` or ``limit_conn`` refused a request, ``SAID_COLUMNS``.

    It answers 503 then, where ``limit_req_status`` names no other: https://nginx.org/en/docs/http/ngx_http_limit_req_module.html
    """
    rows = said_of(log)
    return rows[rows["what"].str.match(r"limiting (?:requests|connections)\b", na=False)]


def said_of(log: AccessLog) -> pd.DataFrame:
    """The errors that the proxy logged lately, ``SAID_COLUMNS``."""
    rows = complete(log.said)
    return rows[rows["at"].ge(log.recent_since.replace(microsecond=0))].assign(what=rows["what"].astype(str))


def unreached_of(log: AccessLog) -> pd.DataFrame:
    """When the proxy logged lately that it got no answer: columns ``at``, ``status``, ``replica``, ``requests``."""
    rows = complete(log.unreached)
    return rows[rows["at"].ge(log.recent_since.replace(microsecond=0))]


def times_of(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column of times in UTC; missing where it is, or where it holds no time."""
    if column not in rows:
        return pd.Series(pd.NaT, index=rows.index, dtype="datetime64[ns, UTC]")
    return pd.to_datetime(rows[column], utc=True, errors="coerce")


def failures(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Recent failed requests, each once: by the backend's own log, and what the proxy's tells beyond it.

    What the proxy did not make, and no replica has logged, is kept without an error: its log was lost, or it logs no requests.
    """
    found = []
    if access.available:
        rows = recent_of(access.require(), access, errors)
        rows = rows.assign(made_by=rows["made_by"].replace("", "unknown"))
        failed = rows[rows["status"].ge(SERVER_ERROR)]
        if errors.available:
            failed = _beyond(
                failed, rows, access.require(), errors.require(), recent_of(errors.require(), access, errors)
            )
        found.append(failed)
    if errors.available:
        rows = recent_of(errors.require(), access, errors)
        found.append(rows[rows["status"].ge(SERVER_ERROR)].assign(made_by="backend"))
    parts = [part[FAILURE_COLUMNS] for part in found if len(part)]
    if not parts:
        return pd.DataFrame(columns=FAILURE_COLUMNS)
    every = pd.concat(parts, ignore_index=True)
    every["signature"] = every["signature"].replace("", UNLOGGED)
    return every.sort_values(FAILURE_COLUMNS, ignore_index=True)


def _beyond(
    failed: pd.DataFrame, asked: pd.DataFrame, log: AccessLog, reported: ErrorLog, logged: pd.DataFrame
) -> pd.DataFrame:
    """Of the proxy's failed requests its own, and those that the backend's log (*logged*) does not have."""
    by_proxy = failed["made_by"].eq("proxy")
    shared = logged["route"].isin(asked["route"])
    # Where the proxy rewrites paths, the two logs have no routes in common, and the status alone is compared.
    keys = (
        ["status", "route"]
        if 2 * int(logged.loc[shared, "requests"].sum()) >= int(logged["requests"].sum())
        else ["status"]
    )
    counted = logged[logged["status"].ge(SERVER_ERROR)].groupby(keys)["requests"].sum().to_dict()
    rows = []
    for key, part in failed[~by_proxy].sort_values("at").groupby(keys if len(keys) > 1 else keys[0]):
        left = int(part["requests"].sum()) - int(counted.get(key, 0))
        rows += list(_newest(part, left))
    surplus = pd.DataFrame(rows, columns=failed.columns)
    return pd.concat(
        [part for part in (failed[by_proxy], _told_apart(surplus, log, reported)) if len(part)] or [surplus]
    )


def _newest(part: pd.DataFrame, number: int) -> Iterator[pd.Series]:
    """Rows from the end of *part* that make up *number* requests."""
    for _, row in part.iloc[::-1].iterrows():
        if number <= 0:
            return
        taken = min(number, int(row["requests"]))
        number -= taken
        yield row.where(row.index != "requests", taken)


def _told_apart(surplus: pd.DataFrame, log: AccessLog, reported: ErrorLog) -> pd.DataFrame:
    """Where nobody says who made a 502, 503 or 504: the proxy, if the backend logs requests and has not logged it, or its error log says so."""
    proxys = set(unreached_of(log)["status"]) | (set(_OF_PROXIES) if len(reported.requests) else set())
    if len(reported.requests) and len(exhausted_of(log)):
        proxys |= {SERVER_ERROR}
    unknown = surplus["made_by"].eq("unknown") & surplus["status"].isin(proxys)
    return surplus.assign(made_by=surplus["made_by"].mask(unknown, "proxy"))


def _logs(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> list[AccessLog | ErrorLog]:
    return [reading.require() for reading in (access, errors) if reading.available]
