"""Rows as PostgreSQL gives them to our queries, out of copies of its views."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from flowrex_ops.compose.logfiles import parse_time
from flowrex_ops.copied.files import LOCKS, SERVER, SESSIONS, Files
from flowrex_ops.errors import SourceUnavailableError

_CLIENT = "client backend"
_OBJECT = ("locktype", "database", "relation", "page", "tuple", "transactionid", "objid")
_LOCK_COLUMNS = ("pid", "lock_type", "relation", "mode", "waiting")
_WEAK = "AccessShareLock"
_SLOTS = ("max_connections", "superuser_reserved_connections", "reserved_connections")
_TIMES = ("backend_start", "xact_start", "query_start", "state_change")


class CopiedDatabase:
    """Answers queries by their name; *role* is the application's, where somebody knows it."""

    def __init__(self, files: Files, role: str) -> None:
        self._files, self._role = files, role

    def __call__(self, query: str, **_given: Any) -> list[dict[str, Any]]:
        """The rows of *query*; SourceUnavailableError where no copy tells them."""
        known = {"sessions": self.sessions, "connection_limits": self.limits, "locks_of_blockers": self.locks}
        if query not in known:
            raise SourceUnavailableError(f"no copy of PostgreSQL's views tells {query.replace('_', ' ')}; ask it there")
        return known[query]()

    def sessions(self) -> list[dict[str, Any]]:
        """``pg_stat_activity``; ages are counted up to the moment when it was asked."""
        raw = self._activity()
        times = [{name: self._time(row.get(name, "")) for name in _TIMES} for row in raw]
        begun = [at for own in times for at in own.values() if at]
        now = next((at for row in raw if (at := self._time(row.get("now", "")))), max(begun, default=None))
        if any(row["wait_event_type"] == "Lock" for row in raw) and "blocked_by" not in raw[0]:
            raise self._files.broken(SESSIONS, "has sessions that wait for a lock and no column blocked_by")
        role = self.role()
        rows = [
            {name: row[name] or None for name in ("backend_type", "state", "wait_event_type", "wait_event")}
            | {name: own[name] for name in ("backend_start", "xact_start")}
            | {f"{name.split('_')[0]}_age_seconds": _age(now, own[name]) for name in _TIMES[1:]}
            | {"pid": int(row["pid"]), "role": row["usename"] or None, "application_role": row["usename"] == role}
            | {"superuser": False, "replication": row["backend_type"] == "walsender", "own": _is_psql(row)}
            | {"application": row.get("application_name", ""), "database": row.get("datname") or None}
            | {"client": row.get("client_addr") or "local", "query": " ".join(row["query"].split())[:500]}
            | {"blocked_by": [int(pid) for pid in row.get("blocked_by", "").strip("{}").split(",") if pid]}
            for row, own in zip(raw, times, strict=True)
        ]
        return sorted(rows, key=lambda row: (row["xact_start"] is None, str(row["xact_start"] or "")))

    def role(self) -> str:
        """The application's: whose sessions are the most, where nobody knows it."""
        mine = Counter(
            row["usename"] for row in self._activity() if row["backend_type"] == _CLIENT and not _is_psql(row)
        )
        return self._role or next((name for name, _ in mine.most_common(1)), "")

    def limits(self) -> list[dict[str, Any]]:
        """``pg_settings`` with the sessions counted."""
        known = {row["name"]: row["setting"] for row in self._files.rows(SERVER, "name", "setting")}
        raw = self._activity()
        try:
            most, superuser, reserved = int(known[_SLOTS[0]]), *(int(known.get(name, 0)) for name in _SLOTS[1:])
        except (KeyError, ValueError) as error:
            raise self._files.broken(SERVER, f"tells no connection slots: {error}") from None
        told = {"max_connections": most, "superuser_reserved": superuser, "reserved": reserved}
        told |= {"used": sum(row["backend_type"] in (_CLIENT, "") for row in raw)}
        asked_as = next((row["usename"] for row in raw if _is_psql(row)), "whoever copied it")
        version, all_seen = known.get("server_version", "unknown"), all(row["backend_type"] for row in raw)
        return [{**told, "server_version": version, "asked_as": asked_as, "sees_all_sessions": all_seen}]

    def locks(self) -> list[dict[str, Any]]:
        """``pg_locks`` of those that block others, by what is locked, as our query joins it."""
        raw = self._files.rows(LOCKS, "pid", "mode", "granted", *_OBJECT)
        blockers = {str(pid) for row in self.sessions() for pid in row["blocked_by"]}
        waiting = Counter(_keys(row) for row in raw if row["granted"] == "f")
        held = {
            (int(row["pid"]), row["locktype"], row.get("relation_name") or row["relation"], row["mode"]): _keys(row)
            for row in raw
            if row["granted"] == "t" and row["pid"] in blockers and row["mode"] != _WEAK
        }
        rows = [dict(zip(_LOCK_COLUMNS, (*lock, waiting[what]), strict=True)) for lock, what in held.items()]
        return sorted(rows, key=lambda row: -row["waiting"])

    def _activity(self) -> list[dict[str, str]]:
        needed = ("pid", "usename", "state", "query", "backend_type", "wait_event_type", "wait_event", *_TIMES)
        raw = self._files.rows(SESSIONS, *needed)
        if any(not row["pid"].isdigit() for row in raw):
            raise self._files.broken(SESSIONS, "has a row without a pid")
        return raw

    def _time(self, text: str) -> datetime | None:
        """``2026-01-31 04:12:00.25+00``."""
        if not text:
            return None
        at = parse_time(text + ":00" if text[-3:-2] in ("+", "-") else text)
        if at is None:
            raise self._files.broken(SESSIONS, f"has '{text[:40]}' in place of a time")
        return at


def _keys(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in _OBJECT)


def _is_psql(row: dict[str, str]) -> bool:
    """The session that made the copy."""
    return row.get("application_name") == "psql" and "pg_stat_activity" in row["query"]


def _age(now: datetime | None, since: datetime | None) -> float | None:
    return (now - since).total_seconds() if now and since else None
