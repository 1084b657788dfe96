"""What was accepted and what is to be run, in SQLite: every method is one transaction, on disk when it returns."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from flowrex_ops.errors import FlowrexOpsError, RecordError
from flowrex_ops.serve.decisions import Decision, Group, Kind, Known, Meaning, decide
from flowrex_ops.serve.payload import Alert, Payload

_SCHEMA = Path(__file__).with_name("queue.sql")
_KEPT = timedelta(days=90)
_LEAST = "P9"
"""Sorts behind every severity."""


class QueueFullError(FlowrexOpsError):
    """As many runs wait as may."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is to be made, once. ``trigger`` is how its record is recognised, whatever happened meanwhile."""

    id: int
    incident: str
    title: str
    runbook: str
    kind: Kind
    attempts: int

    @property
    def trigger(self) -> str:
        """``alert 17``, or ``alert 18, verification``."""
        return f"alert {self.id}" + ("" if self.kind is Kind.ALERT else f", {self.kind}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """An accepted alert that its incident's timeline does not tell of yet."""

    id: int
    incident: str
    title: str
    meaning: Meaning
    alert: Alert


class Queue:
    """The database at *path*; may be used from several threads. RecordError where it cannot be opened or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with _clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def accept(
        self,
        payload: Payload,
        *,
        now: datetime,
        runbook_for: Callable[[Alert], str],
        incident_id: Callable[[], str],
        repeat: timedelta,
        most: int,
        rejoin: timedelta = timedelta(0),
        is_over: Callable[[str], bool] = lambda _incident: False,
    ) -> Decision:
        """Keep every alert of *payload* and queue what it leads to; QueueFullError, and nothing kept, where that is too much."""
        with self._transaction() as db:
            group = _read_group(db, payload)
            if group.incident and is_over(group.incident):
                rejoin = timedelta(0)  # people have resolved it: what comes now is another one
            decision = decide(group, payload.alerts, runbook_for=runbook_for, now=now, repeat=repeat, rejoin=rejoin)
            if decision.runs and _length(db) + len(decision.runs) > most:
                raise QueueFullError(f"{most} runs wait already; send this alert again later")
            incident = incident_id() if decision.new_incident else group.incident
            _write_group(db, payload, decision, incident, now)
            jobs = _write_jobs(db, payload, decision, incident, now)
            _write_deliveries(db, payload, decision, incident, now, jobs)
            return decision

    def claim(self, now: datetime) -> Job | None:
        """The next job, most severe first, noted as begun; ``None`` when nothing waits."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT * FROM jobs WHERE state = 'queued' AND not_before <= ? ORDER BY severity, id LIMIT 1",
                (_iso(now),),
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'begun', begun_at = ?, attempts = attempts + 1 WHERE id = ?",
                (_iso(now), row["id"]),
            )
            return replace(_job(row), attempts=row["attempts"] + 1)

    def begun(self) -> list[Job]:
        """Jobs that somebody began and did not end: what a crash leaves behind."""
        with self._lock, _clear_errors(self.path):
            return [_job(row) for row in self._db.execute("SELECT * FROM jobs WHERE state = 'begun' ORDER BY id")]

    def end(self, job: Job, now: datetime, *, record: str, status: str, reason: str) -> None:
        """*job* is done with: *status* as its record has it, or ``not started``."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'ended', ended_at = ?, record = ?, status = ?, reason = ? WHERE id = ?",
                (_iso(now), record, status, reason, job.id),
            )

    def put_back(self, job: Job, *, not_before: datetime, counted: bool) -> None:
        """*job* left no record: it waits again. An attempt that was not *counted* was not its own fault."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'queued', not_before = ?, attempts = max(0, attempts - ?) WHERE id = ?",
                (_iso(not_before), 0 if counted else 1, job.id),
            )

    def to_note(self) -> list[Delivery]:
        """Deliveries that the timelines lack, oldest first."""
        with self._lock, _clear_errors(self.path):
            rows = self._db.execute(
                "SELECT d.*, (SELECT title FROM jobs j WHERE j.incident = d.incident ORDER BY id LIMIT 1) AS title"
                " FROM deliveries d WHERE noted = 0 ORDER BY id"
            ).fetchall()
        return [
            Delivery(
                row["id"],
                row["incident"],
                row["title"] or "",
                Meaning(row["meaning"]),
                Alert.model_validate_json(row["alert"]),
            )
            for row in rows
        ]

    def noted(self, delivery: Delivery) -> None:
        """The timeline tells of *delivery*."""
        with self._transaction() as db:
            db.execute("UPDATE deliveries SET noted = 1 WHERE id = ?", (delivery.id,))

    def length(self) -> int:
        """How many runs wait."""
        with self._lock, _clear_errors(self.path):
            return _length(self._db)

    def check(self, now: datetime) -> None:
        """Write something: RecordError where that fails."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO health VALUES (1, ?)", (_iso(now),))

    def prune(self, now: datetime) -> None:
        """Forget what ended long ago; records and timelines keep it."""
        before = _iso(now - _KEPT)
        with self._transaction() as db:
            db.execute("DELETE FROM deliveries WHERE noted = 1 AND at < ?", (before,))
            db.execute(
                "DELETE FROM jobs WHERE state = 'ended' AND ended_at < ? AND id NOT IN (SELECT job FROM deliveries WHERE job IS NOT NULL)",
                (before,),
            )
            db.execute("DELETE FROM alerts WHERE firing = 0 AND changed_at < ?", (before,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _clear_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RecordError(
            f"'{path}' cannot be used: {str(error).lower()}; correct serve.state or free some space"
        ) from error


def _iso(moment: datetime) -> str:
    """Sorts as text; always UTC."""
    return moment.isoformat(timespec="microseconds")


def _job(row: sqlite3.Row) -> Job:
    return Job(row["id"], row["incident"], row["title"], row["runbook"], Kind(row["kind"]), row["attempts"])


def _length(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0])


def _read_group(db: sqlite3.Connection, payload: Payload) -> Group:
    """What is known of the payload's group; of one that is new or quiet, what another group with the same alerts has."""
    alerts = db.execute("SELECT * FROM alerts WHERE group_key = ?", (payload.group_key,)).fetchall()
    row = db.execute("SELECT incident FROM groups WHERE key = ?", (payload.group_key,)).fetchone()
    if not any(alert["firing"] for alert in alerts) and (twins := _by_another_route(db, payload)):
        row, alerts = twins[0], [*alerts, *twins]
    if row is None:
        return Group()
    known = {
        a["fingerprint"]: Known(a["runbook"], bool(a["firing"]), datetime.fromisoformat(a["starts_at"])) for a in alerts
    }
    ended = max((datetime.fromisoformat(a["changed_at"]) for a in alerts if not a["firing"]), default=None)
    jobs = db.execute(
        "SELECT runbook, max(queued_at) AS last, max(state = 'queued') AS waits,"
        " max(CASE WHEN kind = 'verification' THEN queued_at END) AS verified FROM jobs WHERE incident = ? GROUP BY runbook",
        (row["incident"],),
    ).fetchall()
    return Group(
        row["incident"],
        known,
        {job["runbook"]: datetime.fromisoformat(job["last"]) for job in jobs},
        frozenset(job["runbook"] for job in jobs if job["waits"]),
        {job["runbook"]: datetime.fromisoformat(job["verified"]) for job in jobs if job["verified"]},
        ended if row["incident"] else None,
    )


def _by_another_route(db: sqlite3.Connection, payload: Payload) -> list[sqlite3.Row]:
    """Alerts of the payload that fire in another group, with its incident: Alertmanager's ``continue: true`` sends them twice."""
    found = []
    for alert in payload.alerts:
        query = (
            "SELECT alerts.*, groups.incident FROM alerts JOIN groups ON groups.key = alerts.group_key"
            " WHERE fingerprint = ? AND starts_at = ? AND firing AND group_key != ? AND incident != ''"
        )
        found += db.execute(query, (alert.fingerprint, _iso(alert.starts_at), payload.group_key)).fetchmany(1)
    return found


def _write_group(db: sqlite3.Connection, payload: Payload, decision: Decision, incident: str, now: datetime) -> None:
    db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?)", (payload.group_key, incident))
    for fingerprint in {alert.fingerprint for alert in payload.alerts}:
        known = decision.group.alerts[fingerprint]
        row = (payload.group_key, fingerprint, known.runbook, known.firing, _iso(known.starts_at), _iso(now))
        db.execute("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?)", row)


def _write_jobs(
    db: sqlite3.Connection, payload: Payload, decision: Decision, incident: str, now: datetime
) -> dict[str, int]:
    """The waiting job of each runbook of the group, new ones included."""
    title = _title(payload)
    for runbook, kind in decision.runs:
        told = [a.rank for a in payload.alerts if decision.group.alerts[a.fingerprint].runbook == runbook]
        severity = min((rank for rank in told if rank), default=_LEAST)
        db.execute(
            "INSERT INTO jobs (group_key, incident, title, runbook, kind, severity, queued_at, not_before) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (payload.group_key, incident, title, runbook, kind.value, severity, _iso(now), _iso(now)),
        )
    rows = db.execute("SELECT runbook, id FROM jobs WHERE incident = ? AND state = 'queued' ORDER BY id", (incident,))
    return {row["runbook"]: row["id"] for row in rows}


def _write_deliveries(
    db: sqlite3.Connection,
    payload: Payload,
    decision: Decision,
    incident: str,
    now: datetime,
    jobs: dict[str, int],
) -> None:
    """A stale one of a group without an incident has no timeline to stand in."""
    for alert, meaning in zip(payload.alerts, decision.meanings, strict=True):
        runbook = decision.group.alerts[alert.fingerprint].runbook
        job = None if meaning is Meaning.STALE else jobs.get(runbook)
        text = alert.model_dump_json(by_alias=True)
        db.execute(
            "INSERT INTO deliveries (at, incident, meaning, alert, job, noted) VALUES (?, ?, ?, ?, ?, ?)",
            (_iso(now), incident, meaning.value, text, job, int(not incident)),
        )


def _title(payload: Payload) -> str:
    """What the incident is called: the first alert that fires, or all of its group."""
    alert = next((alert for alert in payload.alerts if alert.status == "firing"), payload.alerts[0])
    return f"{alert.name or 'an alert'}: {alert.summary}" if alert.summary else alert.name or "an alert without a name"
