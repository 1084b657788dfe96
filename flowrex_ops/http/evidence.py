"""What a verdict on failed requests is based on, in words: routes, replicas, errors, clients, with their numbers."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.http.attribution import total_of
from flowrex_ops.http.context import Limits, versions_of
from flowrex_ops.http.failures import UNLOGGED, complete
from flowrex_ops.logs.access_log import AccessLog
from flowrex_ops.logs.error_log import ErrorLog
from flowrex_ops.model import Evidence, Reading

Access = Reading[AccessLog]
Errors = Reading[ErrorLog]
Services = Reading[pd.DataFrame]

PROXY, LOG, STACK, ERROR_LOG = "access log", "backend log", "stack", "the proxy's error log"
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


def who_of(places: list[str], services: Services, bounds: Limits) -> str:
    """The replicas by name where they are not all, else the backend."""
    known = set(versions_of(services, bounds.service))
    if places and known and set(places) < known:
        return " and ".join(places)
    return "the backend"
