"""PostgreSQL's sessions, sorted: whose they are, and which single cause each one is attributed to.

A session that waits for a lock is a victim, whatever its age. A session that others wait for is a root blocker, also
when it sits idle in a transaction. Only what is left is judged as idle or as long-running: one trouble, one finding.
Backups, replication, maintenance, administrators and this tool are never counted against the application. Whose a session is
tell its role, application and address, not its rights: the official ``postgres`` image makes the application's role a superuser.

Each session is attributed to one cause. One that waits is a victim, one that others wait for is a root blocker (also
when it is idle in a transaction), only the rest is judged by its age: one trouble gives one finding. Whose a session
is tell role, application and address, never rights: the official image makes the application's role a superuser.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from flowrex_ops.checks import blank

Selection = Callable[[pd.DataFrame], pd.DataFrame]

CLIENT_BACKEND = "client backend"
BACKUP_APPLICATIONS = ("pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pgbackrest", "barman", "wal-g")
BY_HAND_APPLICATIONS = ("psql", "pgcli", "pgadmin", "dbeaver", "datagrip")
LOCAL = "local"
"""The client of a session over the server's own socket."""
IDLE_IN_TRANSACTION = ("idle in transaction", "idle in transaction (aborted)")
PREPARED_TRANSACTION_PID = 0
"""pg_blocking_pids() names a prepared transaction as pid 0 (PostgreSQL: Session Information Functions)."""


def protected(sessions: pd.DataFrame) -> pd.Series:
    """True for sessions that are no application's: other backend types, replication, backups, administrators, this tool."""
    return ~_clients(sessions) | _administrators(sessions)


def application_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """The sessions that are not protected."""
    return sessions[~protected(sessions)]


def administrator_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """Sessions with an administrator's rights that nothing ties to the application: perhaps they are its own all the same."""
    return sessions[_clients(sessions) & _administrators(sessions)]


def unseen(sessions: pd.DataFrame, *columns: str) -> str:
    """Why *sessions* rule nothing out: not even the session that asked is there, or nobody has a value in one of *columns*."""
    if sessions.empty:
        return "PostgreSQL shows no session, not even the one that asked"
    name = blank(sessions, "pid", "backend_type", "state", *columns)
    return f"PostgreSQL tells the {name} of no session{hidden_text(sessions)}" if name else ""


def hidden_text(sessions: pd.DataFrame) -> str:
    """What is to be said of sessions that the role may not look into; empty where there are none."""
    number = int(sessions["query"].eq("<insufficient privilege>").sum())
    return f"; {number} sessions hide from the role that asked; grant it pg_read_all_stats" if number else ""


def by_hand(sessions: pd.DataFrame) -> pd.Series:
    """True for sessions of a tool that a person types into."""
    return sessions["application"].fillna("").str.lower().str.startswith(BY_HAND_APPLICATIONS)


def _clients(sessions: pd.DataFrame) -> pd.Series:
    """Neither a process of the server, nor this tool, a backup or a VACUUM."""
    application = sessions["application"].fillna("").str.lower()
    backup = application.str.startswith(BACKUP_APPLICATIONS)
    vacuum = sessions["query"].fillna("").str.match(r"(?i)\s*VACUUM\b")
    return sessions["backend_type"].eq(CLIENT_BACKEND) & ~_flag(sessions, "own") & ~backup & ~vacuum


def _administrators(sessions: pd.DataFrame) -> pd.Series:
    """Superusers of another role than the application's who sit at the server or type, and roles made for replication."""
    superuser = _flag(sessions, "superuser")
    at_the_server = sessions["client"].fillna(LOCAL).eq(LOCAL) | by_hand(sessions)
    rights = (superuser & at_the_server) | (_flag(sessions, "replication") & ~superuser)
    return rights & ~_flag(sessions, "application_role")


def _flag(sessions: pd.DataFrame, column: str) -> pd.Series:
    return sessions[column].eq(other=True).astype(bool)


def waiting_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """Sessions that wait for a lock which another session or a prepared transaction holds."""
    return sessions[sessions["blocked_by"].map(_as_pids).astype(bool)]


def places(blocked_by: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, int]]:
    """The root of each pid of a blocking tree, and how many stand between: ``{pid: (root, depth)}``, roots with depth 0.

    Follows the first blocker that is not yet on the way, so that a deadlock (a cycle) ends too. Each pid is walked over once: a queue
    of thousands behind one lock is one chain.
    """
    found: dict[int, tuple[int, int]] = {}
    for start in sorted(blocked_by):
        way: dict[int, None] = {}
        at: int | None = start
        while at is not None and at not in found:
            way[at] = None
            at = next((pid for pid in blocked_by.get(at, ()) if pid not in way), None)
        root, depth = (next(reversed(way), start), -1) if at is None else found[at]
        for step, pid in enumerate(reversed(way), start=1):
            found[pid] = (root, depth + step)
    return found


def blocking_tree(sessions: pd.DataFrame) -> pd.DataFrame:
    """Who waits for whom: pid, blocker, root, depth, application, state, wait_seconds, query; roots first.

    ``depth`` 0 is a root. A root that is a prepared transaction has pid 0 and no session.
    """
    blocked_by = blockers(sessions)
    known = sessions.drop_duplicates("pid").set_index("pid")[["application", "state", "query_age_seconds", "query"]]
    by_pid = known.to_dict("index")
    rows = [_tree_row(pid, place, blocked_by, by_pid) for pid, place in sorted(places(blocked_by).items())]
    columns = ["root", "depth", "pid", "blocker", "application", "state", "wait_seconds", "query"]
    return pd.DataFrame(rows, columns=columns).sort_values(["root", "depth", "pid"], ignore_index=True)


def blockers(sessions: pd.DataFrame) -> dict[int, tuple[int, ...]]:
    """For every waiting pid the pids that it waits for."""
    waiting = waiting_sessions(sessions)
    return {int(pid): _as_pids(by) for pid, by in zip(waiting["pid"], waiting["blocked_by"], strict=True)}


def root_pids(sessions: pd.DataFrame) -> list[int]:
    """The roots of all blocking trees, the one that holds up most first; 0 is a prepared transaction."""
    waiting = blockers(sessions)
    counts = Counter(root for pid, (root, _) in places(waiting).items() if pid in waiting)
    return sorted(counts, key=lambda pid: (-counts[pid], pid))


def idle_in_transaction(
    sessions: pd.DataFrame, *, after_seconds: float, of: Selection = application_sessions
) -> pd.DataFrame:
    """Application sessions (or those *of* others) idle in a transaction for at least *after_seconds* that block nobody."""
    mine = _neither_waiting_nor_root(sessions, of)
    idle = mine["state"].isin(IDLE_IN_TRANSACTION) & mine["state_age_seconds"].ge(after_seconds)
    return mine[idle]


def long_running(sessions: pd.DataFrame, *, after_seconds: float, of: Selection = application_sessions) -> pd.DataFrame:
    """Application sessions (or those *of* others) whose statement has run for at least *after_seconds*, and that neither wait nor block."""
    mine = _neither_waiting_nor_root(sessions, of)
    running = mine["state"].eq("active") & mine["query_age_seconds"].ge(after_seconds)
    others = (awaiting_standby(sessions, of=of), overlapping_jobs(sessions, after_seconds=after_seconds))
    return mine[running & ~mine["pid"].isin([pid for rows in others for pid in rows["pid"]])]


def overlapping_jobs(sessions: pd.DataFrame, *, after_seconds: float, sure: bool = True) -> pd.DataFrame:
    """Sessions of each job of which several runs are under way, with ``job`` and ``run`` (0 is the oldest).

    A job is the backup of a database, or a statement without parameters that has run for *after_seconds*, of a program beside
    the application: of another role, or (where the replicas' own sessions are known) of no replica. Not *sure*: also what may be
    workers that share a statement with parameters, or the application itself.
    """
    replica = sessions["replica"].fillna("") if "replica" in sessions else pd.Series("", index=sessions.index)
    named = sessions.assign(**{name: sessions[name].fillna("") for name in (*_JOB, "query")})
    clients = named["backend_type"].eq(CLIENT_BACKEND) & ~_flag(named, "own")
    backup = named["application"].str.lower().str.startswith(BACKUP_APPLICATIONS)
    beside = replica.eq("") & (~_flag(named, "application_role") | replica.ne("").any() | (not sure))
    statement = named["pid"].isin(_neither_waiting_nor_root(named, application_sessions)["pid"]) & ~by_hand(named)
    statement &= beside & named["application"].ne("") & ~(sure & named["query"].str.contains(r"\$\d", regex=True))
    statement &= named["state"].eq("active") & named["query_age_seconds"].ge(after_seconds)
    at_work = clients & ((backup & named["state"].isin(["active", *IDLE_IN_TRANSACTION])) | statement)
    rows = named[at_work].assign(of=named["query"].mask(backup, ""))
    runs = [part.assign(job=part["application"], run=_runs(part)) for _, part in rows.groupby([*_JOB, "of"])]
    several = [part for part in runs if part["run"].max() > 0]
    return pd.concat(several) if several else rows.iloc[:0].assign(job="", run=0)


_JOB = ("role", "application", "database")
_TOGETHER_SECONDS = 5.0


def _runs(job: pd.DataFrame) -> pd.Series:
    """Which run each session of a job belongs to: those that began within seconds of one another are one.

    ``pg_dump --jobs`` connects its workers later, and waits for them idle in its own transaction.
    """
    began = pd.to_datetime(job["backend_start"], utc=True).sort_values()
    apart = began.diff().dt.total_seconds().gt(_TOGETHER_SECONDS)
    size = apart.cumsum().map(apart.cumsum().value_counts())
    leads = size.eq(1) & job.loc[began.index, "state"].isin(IDLE_IN_TRANSACTION) & size.shift(-1).gt(1)
    return (apart & ~leads.shift(fill_value=False)).cumsum()


def awaiting_standby(sessions: pd.DataFrame, *, of: Selection = application_sessions) -> pd.DataFrame:
    """Application sessions (or those *of* others) whose commit waits for a synchronous standby: long, but no long query."""
    mine = of(sessions)
    return mine[mine["wait_event"].eq("SyncRep")]


def with_replica(sessions: pd.DataFrame, addresses: Mapping[str, str]) -> pd.DataFrame:
    """*sessions* with a column ``replica``: by client address where that tells, else by the application's name."""
    by_address = sessions["client"].map(addresses)
    number = sessions["application"].fillna("").str.extract(r"backend-(\d+)$", expand=False)
    by_name = ("backend-" + number).where(number.notna())
    return sessions.assign(replica=by_address.where(by_address.notna(), by_name).fillna(""))


def count_holders(sessions: pd.DataFrame) -> pd.DataFrame:
    """Who holds the server's connections: role, application, client, state, connections, oldest_seconds; most first.

    With the column ``replica`` (``with_replica``) also which replica.
    """
    held = sessions[sessions["backend_type"].eq(CLIENT_BACKEND)]
    keys = ["role", "application", *(["replica"] if "replica" in held else []), "client", "state"]
    grouped = held.fillna(dict.fromkeys(keys, "")).groupby(keys)
    counted = grouped.agg(connections=("pid", "size"), oldest_seconds=("state_age_seconds", "max")).reset_index()
    return counted.sort_values(["connections", *keys], ascending=[False, *[True] * len(keys)], ignore_index=True)


def open_transactions(sessions: pd.DataFrame) -> pd.DataFrame:
    """Client sessions inside a transaction, longest first: pid, application, state, open_seconds, query_seconds, wait, query.

    ``open_seconds`` is the transaction's age, ``query_seconds`` the last statement's; queries are cut to 80 characters.
    """
    client = sessions[sessions["backend_type"].eq(CLIENT_BACKEND) & sessions["xact_age_seconds"].notna()]
    named = client.sort_values("xact_age_seconds", ascending=False).rename(
        columns={"xact_age_seconds": "open_seconds", "query_age_seconds": "query_seconds", "wait_event": "wait"}
    )
    shown = named[["pid", "application", "state", "open_seconds", "query_seconds", "wait", "query"]]
    return shown.assign(query=shown["query"].str.slice(0, 80))


def count_wait_events(sessions: pd.DataFrame) -> pd.DataFrame:
    """Wait events of client sessions: state, wait_event_type, wait_event, sessions; the most common first.

    What each event means: PostgreSQL, The Cumulative Statistics System, Wait Events.
    """
    client = sessions[sessions["backend_type"].eq(CLIENT_BACKEND)]
    keys = ["state", "wait_event_type", "wait_event"]
    counted = client.fillna(dict.fromkeys(keys, "")).groupby(keys).size().rename("sessions").reset_index()
    return counted.sort_values(["sessions", *keys], ascending=[False, True, True, True], ignore_index=True)


def _neither_waiting_nor_root(sessions: pd.DataFrame, of: Selection) -> pd.DataFrame:
    involved = set(blockers(sessions)) | set(root_pids(sessions))
    mine = of(sessions)
    return mine[~mine["pid"].isin(involved)]


def _as_pids(value: object) -> tuple[int, ...]:
    """``blocked_by`` of one row; a missing value is nobody."""
    return tuple(int(pid) for pid in value) if isinstance(value, list | tuple) else ()


def _tree_row(
    pid: int, place: tuple[int, int], blocked_by: Mapping[int, tuple[int, ...]], by_pid: Mapping[Any, Mapping[Any, Any]]
) -> dict[str, object]:
    session = by_pid.get(pid, {})
    prepared = pid == PREPARED_TRANSACTION_PID
    direct = blocked_by.get(pid, ())
    return {
        "root": place[0],
        "depth": place[1],
        "pid": pid,
        "blocker": direct[0] if direct else None,
        "application": "prepared transaction" if prepared else session.get("application", ""),
        "state": "prepared" if prepared else session.get("state", "gone"),
        "wait_seconds": session.get("query_age_seconds") if direct else None,
        "query": session.get("query", ""),
    }
