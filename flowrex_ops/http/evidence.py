"""What a verdict on failed requests is based on, in words: routes, replicas, errors, clients, with their numbers."""

from __future__ import annotations

import re

import pandas as pd

from flowrex_ops.checks import whole
from flowrex_ops.http.context import SLACK, Limits, versions_of
from flowrex_ops.http.failures import UNLOGGED, complete, said_of
from flowrex_ops.logs.access_log import AccessLog
from flowrex_ops.logs.error_log import ErrorLog
from flowrex_ops.logs.request_counts import total_of
from flowrex_ops.logs.tracebacks import FILES
from flowrex_ops.metrics.backend import FILES_COLUMNS
from flowrex_ops.model import Evidence, Reading

Access = Reading[AccessLog]
Errors = Reading[ErrorLog]
Services = Reading[pd.DataFrame]

PROXY, LOG, STACK, ERROR_LOG, METRICS = "access log", "backend log", "stack", "the proxy's error log", "/metrics"
_ENDED_WORKER = re.compile(
    r"WORKER TIMEOUT|Worker .*was (?:sent|terminated)|Child process \[\d+\] died|DAMN ! worker|WorkerLostError"
)
"""Of gunicorn, uvicorn and uWSGI; of Celery's pool."""
SHOWN = 4
_TENTH = 0.1


def list_signatures(rows: pd.DataFrame, errors: Errors) -> list[Evidence]:
    """The commonest errors: first line and last frame, with how many requests each has cost."""
    counts = _ranked(rows, "signature")
    found = []
    for signature, number in counts[:SHOWN]:
        line, frame = _reported(signature, errors)
        found.append(Evidence(f"{number} requests", f"{signature}: {line}" if line != signature else line, LOG))
        found += [Evidence("raised at", frame, LOG)] if frame else []
    return found


def example_of(rows: pd.DataFrame, errors: Errors) -> str:
    """The commonest error, as it was logged first."""
    ranked = _ranked(rows, "signature")
    if not ranked:
        return UNLOGGED
    line, _ = _reported(ranked[0][0], errors)
    return line or ranked[0][0]


def list_said(access: Access, rows: pd.DataFrame) -> list[Evidence]:
    """What the proxy logged of its own while *rows* failed, the commonest first."""
    if not access.available or rows.empty:
        return []
    said = said_of(access.require())
    said = said[said["at"].between(rows["at"].min() - SLACK, rows["at"].max() + SLACK)]
    return [Evidence(f"{number} lines", what, ERROR_LOG) for what, number in _ranked(said, "what")[:SHOWN]]


def list_meanwhile(errors: Errors) -> list[Evidence]:
    """What servers logged lately of their own processes that were ended, such as gunicorn's ``WORKER TIMEOUT``: a request that is lost so is in no log."""
    if not errors.available:
        return []
    table = errors.require().exceptions
    lately = pd.to_numeric(table["recent"], errors="coerce").gt(0)
    rows = table[lately & table["first_line"].astype(str).str.contains(_ENDED_WORKER)]
    return [
        Evidence(f"{row.replicas}, {row.recent} times", str(row.first_line), LOG)
        for row in rows.head(SHOWN).itertuples()
    ]


def why_unreached(access: Access, rows: pd.DataFrame) -> str:
    """Why the proxy got no answer, in its own words: what came first of it, for "no live upstreams" only follows; empty where it does not say."""
    words = [one.value for one in list_said(access, rows) if "upstream" in one.value]
    return next((one for one in words if not one.startswith("no live")), words[0] if words else "")


def _reported(signature: str, errors: Errors) -> tuple[str, str]:
    """First line and last frame of a signature."""
    if not errors.available:
        return "", ""
    table = errors.require().exceptions
    rows = table[table["signature"].eq(signature)].sort_values(["recent", "first_line"], ascending=[False, True])
    return (str(rows["first_line"].iloc[0]), str(rows["last_frame"].iloc[0])) if len(rows) else ("", "")


def list_by(rows: pd.DataFrame, column: str, source: str) -> list[Evidence]:
    """How many failed for each value of *column*, the most first; nothing where no log tells it."""
    if rows[column].eq("").all():
        return []
    return [
        Evidence(f"{column} {name or '(none)'}", f"{number} failed", source)
        for name, number in _ranked(rows, column)[:SHOWN]
    ]


def _ranked(rows: pd.DataFrame, column: str) -> list[tuple[str, int]]:
    sums = rows.groupby(column)["requests"].sum()
    return sorted(((str(name), int(number)) for name, number in sums.items()), key=lambda item: (-item[1], item[0]))


def names_of(rows: pd.DataFrame, column: str) -> list[str]:
    """Those that matter: a tenth of the failures or more."""
    return [name for name, number in _ranked(rows, column) if number >= _TENTH * total_of(rows)][:SHOWN]


def states_of(services: Services, names: set[str]) -> list[Evidence]:
    """What the stack says of the replicas of these services, or of these replicas."""
    if not services.available:
        return []
    table = services.require()
    rows = table[table["service"].isin(names) | table["name"].isin(names)].sort_values("name")
    return [Evidence(str(row["name"]), f"{row['state']}, {row['health']}", STACK) for _, row in rows.head(8).iterrows()]


def list_busiest(access: Access) -> list[Evidence]:
    """Whoever asked most."""
    clients = complete(access.require().clients).sort_values(["requests", "client"], ascending=[False, True])
    return [
        Evidence(f"client {row.client}", f"{row.requests} recent requests, {row.failed} failed", PROXY)
        for row in clients.head(3).itertuples()
    ]


def open_files(files: Services) -> pd.DataFrame:
    """Which ``share`` of its files each replica has open; missing where it does not tell."""
    table = whole(files.require(), FILES_COLUMNS) if files.available else pd.DataFrame(columns=FILES_COLUMNS)
    held, limit = (pd.to_numeric(table[name], errors="coerce") for name in ("open_files", "limit"))
    return table.assign(
        open_files=held, limit=limit, share=held / limit.where(limit.gt(0)), error=table["error"].fillna("")
    )


def list_without_files(errors: Errors) -> list[Evidence]:
    """What replicas logged lately for want of files, also where no request was lost: a connection that was not taken."""
    if not errors.available:
        return []
    table = errors.require().exceptions
    rows = table[table["kind"].eq(FILES) & pd.to_numeric(table["recent"], errors="coerce").gt(0)]
    return [
        Evidence(str(row.replicas), f"logged lately ({row.recent}): {row.first_line}", LOG) for row in rows.itertuples()
    ]


def who_of(places: list[str], services: Services, bounds: Limits) -> str:
    """The replicas by name where they are not all, else the backend."""
    known = set(versions_of(services, bounds.service))
    if places and known and set(places) < known:
        return " and ".join(places)
    return "the backend"
