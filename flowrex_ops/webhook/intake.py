"""Keeps what was accepted and queues what it leads to, in one transaction beside the table of jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flowrex_ops.archive.folders import reserve_id
from flowrex_ops.archive.incidents import read_incident
from flowrex_ops.catalog import Runbook
from flowrex_ops.errors import RecordError
from flowrex_ops.jobs.table import Job, JobTable, insert, iso, length
from flowrex_ops.settings import ServeSettings
from flowrex_ops.webhook.deduplication import AlertState, Decision, Group, Kind, deduplicate
from flowrex_ops.webhook.payload import Alert, Payload, RefusedError

FALLBACK = "triage"
FIRST = "P"
"""A storm's triage goes before whatever else waits: it says which of the others matter."""
LATER = {"Retry-After": "30"}
SCHEMA = Path(__file__).with_name("alerts.sql")
"""Of its tables beside the jobs."""
_KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Intake:
    """Decides with *settings* which of *runbooks* (by slug) answers an alert; *template* is what all its jobs have in common."""

    table: JobTable
    settings: ServeSettings
    runbooks: Mapping[str, Runbook]
    template: Job

    def accept(self, payload: Payload, now: datetime) -> Decision:
        """Keep *payload*; it is on disk when this returns. RefusedError where its runs have no room."""
        with self.table.transaction() as db:
            group = _read_group(db, payload)
            decision = deduplicate(
                group,
                payload.alerts,
                runbook_for=self._runbook_for,
                now=now,
                repeat=timedelta(seconds=self.settings.repeat_seconds),
                rejoin=timedelta(seconds=0 if self._is_over(group) else self.settings.rejoin_seconds),
            )
            if decision.new_incident:
                decision = self._opened(db, decision, now)
            most = self.settings.queue_size
            if decision.runs and length(db) + len(decision.runs) > most:
                raise RefusedError(429, "queue full", f"{most} runs wait already; send this alert again later", LATER)
            _write_group(db, payload, decision.group, now)
            insert(db, list(self._jobs(payload, decision)), now)
            return decision

    def _opened(self, db: sqlite3.Connection, decision: Decision, now: datetime) -> Decision:
        """In an incident of its own, or in that of a storm that goes on: there each runbook that ran is not run again, and triage is."""
        incident = self._of_storm(db, now)
        if not incident:
            incident = reserve_id(Path(self.template.outputs))
            return replace(decision, group=replace(decision.group, incident=incident))
        ran = {row["slug"] for row in db.execute("SELECT DISTINCT slug FROM jobs WHERE incident = ?", (incident,))}
        wanted = ((FALLBACK, Kind.ALERT), *decision.runs)
        runs = tuple((slug, kind) for slug, kind in dict(wanted).items() if slug not in ran)
        return replace(decision, group=replace(decision.group, incident=incident), runs=runs, new_incident=False)

    def _of_storm(self, db: sqlite3.Connection, now: datetime) -> str:
        """The newest incident with an alert that fires and was told of within ``join_seconds``, unless people have resolved it."""
        query = (
            "SELECT incident FROM groups JOIN alerts ON group_key = key WHERE firing AND incident != '' AND changed_at > ?"
            " ORDER BY changed_at DESC LIMIT 1"
        )
        row = db.execute(query, (iso(now - timedelta(seconds=self.settings.join_seconds)),)).fetchone()
        return "" if row is None or self._is_over(Group(row["incident"])) else str(row["incident"])

    def job(self, payload: Payload, decision: Decision) -> Job:
        """What jobs that *payload* leads to have in common."""
        return replace(self.template, incident=decision.group.incident, title=_title(payload))

    def prune(self) -> None:
        """Forget jobs that ended, and alerts that ended, long ago; records and timelines keep them."""
        before = (iso(datetime.now(UTC) - _KEPT),)
        with self.table.transaction() as db:
            db.execute("DELETE FROM jobs WHERE state = 'finished' AND finished_at < ?", before)
            db.execute("DELETE FROM alerts WHERE firing = 0 AND changed_at < ?", before)

    def _jobs(self, payload: Payload, decision: Decision) -> Iterator[Job]:
        for slug, kind in decision.runs:
            answered = [a for a in payload.alerts if decision.group.alerts[a.fingerprint].runbook == slug]
            lowest = self.template.priority if answered else FIRST
            runbook = self.runbooks.get(slug)
            yield replace(
                self.job(payload, decision),
                runbook=str(runbook.path) if runbook else f"{slug}.ipynb",  # which was removed: its run says so
                slug=slug,
                kind=kind.value,
                trigger="alert {id}" if kind is Kind.ALERT else f"alert {{id}}, {kind}",
                priority=min((a.rank for a in answered if a.rank), default=lowest),
            )

    def _runbook_for(self, alert: Alert) -> str:
        """``triage`` gives way to every other runbook of the same alert."""
        found = [slug for slug, runbook in self.runbooks.items() if alert.name in runbook.alerts and slug != FALLBACK]
        return found[-1] if found else FALLBACK

    def _is_over(self, group: Group) -> bool:
        """Whether people have resolved its incident: what comes now is another one. One that cannot be read goes on."""
        try:
            return bool(read_incident(Path(self.template.outputs) / group.incident).get("resolved"))
        except RecordError:
            return False


def _read_group(db: sqlite3.Connection, payload: Payload) -> Group:
    """What is known of the payload's group; of one that is new or quiet, what another group with the same alerts has."""
    query = "SELECT alerts.*, incident FROM groups JOIN alerts ON group_key = key WHERE "
    alerts = db.execute(f"{query} key = ?", (payload.group_key,)).fetchall()
    if not any(alert["firing"] for alert in alerts):  # Alertmanager's ``continue: true`` sends one alert twice
        for alert in payload.alerts:
            same = (alert.fingerprint, iso(alert.starts_at), payload.group_key)
            twin = f"{query} fingerprint = ? AND starts_at = ? AND firing AND key != ? AND incident != '' LIMIT 1"
            alerts += db.execute(twin, same).fetchall()
    if not alerts:
        return Group()
    incident = alerts[-1]["incident"]
    jobs = db.execute(
        "SELECT slug, max(queued_at) AS last, max(state = 'queued') AS waits,"
        " max(CASE WHEN kind = 'verification' THEN queued_at END) AS verified FROM jobs WHERE incident = ? GROUP BY slug",
        (incident,),
    ).fetchall()
    ended = [_moment(alert["changed_at"]) for alert in alerts if not alert["firing"]]
    return Group(
        incident,
        {a["fingerprint"]: AlertState(a["runbook"], bool(a["firing"]), _moment(a["starts_at"])) for a in alerts},
        {job["slug"]: _moment(job["last"]) for job in jobs},
        frozenset(job["slug"] for job in jobs if job["waits"]),
        {job["slug"]: _moment(job["verified"]) for job in jobs if job["verified"]},
        max(ended, default=None) if incident else None,
    )


def _write_group(db: sqlite3.Connection, payload: Payload, group: Group, now: datetime) -> None:
    db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?)", (payload.group_key, group.incident))
    for fingerprint in {alert.fingerprint for alert in payload.alerts}:
        state = group.alerts[fingerprint]
        row = (payload.group_key, fingerprint, state.runbook, state.firing, iso(state.starts_at), iso(now))
        db.execute("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?)", row)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _title(payload: Payload) -> str:
    """What the incident is called: the first alert that fires, or all of its group."""
    alert = next((alert for alert in payload.alerts if alert.status == "firing"), payload.alerts[0])
    return f"{alert.name or 'an alert'}: {alert.summary}" if alert.summary else alert.name or "an alert without a name"
