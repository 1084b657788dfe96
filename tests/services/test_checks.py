"""Readings on the left, the verdict on the right: what triage says at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from database_examples import pools, silent
from triage_examples import (
    CALM,
    NOW,
    disks,
    front_door,
    health,
    machines,
    monitoring,
    pages,
    replica,
    services,
    targets,
)

from flowrex_ops.incident.symptoms import NO, UNKNOWN, YES, Survey, find_symptoms
from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind
from flowrex_ops.services import checks
from flowrex_ops.services.clocks import CLOCK_COLUMNS

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
JUST_NOW = NOW - timedelta(minutes=1)


def clocks(within: float = 1.0, **ahead: float | None) -> Reading[pd.DataFrame]:
    """How far each is ahead of this machine's; one without a time says so."""
    rows = [(who, by, within, "" if by is not None else "its answer has no date") for who, by in ahead.items()]
    return Reading("clocks", "clocks", pd.DataFrame(rows, columns=CLOCK_COLUMNS))


def blind(
    down: tuple[tuple[str, str, bool | None], ...] = (), told: Reading[pd.DataFrame] | None = None, *is_there: Any
) -> Verdict:
    """The targets that are down, what Prometheus tells of itself, and the replicas."""
    told = monitoring("", "") if told is None else told
    return checks.check_monitoring_blind(targets(*down), told, services(*is_there), health(200, 200))


REFUSED = "dial tcp 172.18.0.7:9100: connect: connection refused"

MACHINE_PARTS = [name for name in CALM if name.startswith(("room", "files"))]

EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "every service runs": (
        lambda: checks.check_down(services()),
        RULED_OUT,
        "4 of 4 containers are there (3 services)",
    ),
    "Redis has ended": (
        lambda: checks.check_down(services(replica("backend-1"), replica("redis-1", "exited"))),
        CONFIRMED,
        "redis is down: 1 of 2 replicas",
    ),
    "one replica of two has ended": (
        lambda: checks.check_down(services(replica("backend-1"), replica("backend-2", "exited"))),
        CONFIRMED,
        "backend-2 is down",
    ),
    "certbot runs now and then": (
        lambda: checks.check_down(services(replica("backend-1"), replica("certbot-1", "exited"))),
        RULED_OUT,
        "1 of 1 containers",
    ),
    "the stack knows nothing": (
        lambda: checks.check_down(services(replica("certbot-1", "exited"))),
        INCONCLUSIVE,
        "no service at all",
    ),
    "the stack does not answer": (
        lambda: checks.check_down(silent("services", "docker engine cannot be reached")),
        INCONCLUSIVE,
        "docker engine cannot be reached",
    ),
    "all say that they are well": (
        lambda: checks.check_unhealthy(services(), health(200, 200), front_door()),
        RULED_OUT,
        "all 2 backend replicas are ready",
    ),
    "a replica is not ready": (
        lambda: checks.check_unhealthy(services(), health(200, 503), front_door()),
        CONFIRMED,
        "backend-2 is unhealthy: not ready: HTTP 503",
    ),
    "a replica does not answer, and the stack cannot be asked": (
        lambda: checks.check_unhealthy(silent("services"), health(200, None), front_door()),
        CONFIRMED,
        "did not answer",
    ),
    "a replica that is gone is not ill, it is down": (
        lambda: checks.check_unhealthy(services(replica("backend-1", "exited")), health(None), front_door()),
        INCONCLUSIVE,
        "no running replica of the backend was asked",
    ),
    "what restarts over and over is not well whenever it is asked, and judged by itself": (
        lambda: checks.check_unhealthy(
            services(replica("backend-1"), replica("backend-2", restarts=3, started_at=JUST_NOW)),
            health(200, None),
            front_door(),
        ),
        RULED_OUT,
        "backend-2 keeps restarting",
    ),
    "a container is paused": (
        lambda: checks.check_unhealthy(services(replica("redis-1", "paused")), health(200), front_door()),
        CONFIRMED,
        "redis-1 is unhealthy: paused",
    ),
    "users get a 502": (
        lambda: checks.check_unhealthy(services(), health(200), front_door(502)),
        CONFIRMED,
        "front door is unhealthy: HTTP 502",
    ),
    "users get nothing": (
        lambda: checks.check_unhealthy(services(), health(200), front_door(None, "no answer: timed out")),
        CONFIRMED,
        "no answer: timed out",
    ),
    "what is seen is well, and the rest cannot be seen": (
        lambda: checks.check_unhealthy(services(), silent("readiness"), front_door()),
        INCONCLUSIVE,
        "no readiness",
    ),
    "a replica crashes again and again": (
        lambda: checks.check_restarting(services(replica("backend-1", restarts=3, started_at=JUST_NOW))),
        CONFIRMED,
        "backend-1 keeps restarting: 3 restarts",
    ),
    "supervisord waits before it tries again": (
        lambda: checks.check_restarting(services(replica("backend-1", "restarting"))),
        CONFIRMED,
        "backend-1 keeps restarting",
    ),
    "one restart is an accident": (
        lambda: checks.check_restarting(services(replica("backend-1", restarts=1, started_at=JUST_NOW))),
        RULED_OUT,
        "no replica restarted 2 times",
    ),
    "it crashed last week": (
        lambda: checks.check_restarting(services(replica("backend-1", restarts=9))),
        RULED_OUT,
        "in the last 30 minutes",
    ),
    "a deploy restarts nothing by itself": (
        lambda: checks.check_restarting(services(replica("backend-1", started_at=JUST_NOW, version="1.5.0"))),
        RULED_OUT,
        "no replica",
    ),
    "there is room": (lambda: checks.check_disk_full(disks(0.4, 0.89)), RULED_OUT, "/data of postgres-2 is 89% full"),
    "a disk is full": (lambda: checks.check_disk_full(disks(0.4, 0.97)), CONFIRMED, "postgres-2 is 97% full"),
    "no inode is left": (
        lambda: checks.check_inodes_full(disks(0.4, 0.5, inodes=1.0)),
        CONFIRMED,
        "/data of postgres-2 has used 100% of its inodes",
    ),
    "inodes are left": (
        lambda: checks.check_inodes_full(disks(0.99, 0.5, inodes=0.89)),
        RULED_OUT,
        "at most, /data of postgres-2 has used 89%",
    ),
    "one that has no number of inodes": (lambda: checks.check_inodes_full(disks(0.4)), RULED_OUT, "10%"),
    "without room there are no inodes either": (
        lambda: checks.check_inodes_full(disks(0.97, inodes=0.96)),
        INCONCLUSIVE,
        "see service.disk-full",
    ),
    "a container without a shell tells no inodes": (
        lambda: checks.check_inodes_full(disks(0.4, 0.5, inodes=None)),
        INCONCLUSIVE,
        "not every filesystem tells its inodes",
    ),
    "the data's disk is read-only": (
        lambda: checks.check_disk_read_only(disks(0.4, 0.5, read_only=True)),
        CONFIRMED,
        "/data of postgres-2 is mounted read-only",
    ),
    "every disk can be written to": (
        lambda: checks.check_disk_read_only(disks(0.4, 0.5)),
        RULED_OUT,
        "none of 2 filesystems",
    ),
    "a container without a shell tells no mounts": (
        lambda: checks.check_disk_read_only(disks(0.4, read_only=None)),
        INCONCLUSIVE,
        "not every container tells",
    ),
    "no disk can be seen": (lambda: checks.check_disk_full(disks()), INCONCLUSIVE, "no filesystem"),
    "a rule that cannot be evaluated": (
        lambda: blind((), monitoring("", "many-to-many matching not allowed")),
        CONFIRMED,
        "alerting rule Rule2 fails: many-to-many matching",
    ),
    "a target is down, and what it asks runs": (
        lambda: blind((("redis-1", REFUSED, False),)),
        CONFIRMED,
        "Prometheus does not see redis-1: dial tcp",
    ),
    "it is down since it is down": (
        lambda: blind((("redis", REFUSED, False),), None, replica("redis-1", "exited")),
        RULED_OUT,
        "what is down is down or unhealthy itself",
    ),
    "it was started a minute ago": (
        lambda: blind((("redis", REFUSED, False),), None, replica("redis-1", started_at=JUST_NOW)),
        RULED_OUT,
        "2 of 3 targets are up",
    ),
    "one scrape failed, and the one before did not": (
        lambda: blind((("redis-1", REFUSED, True),)),
        RULED_OUT,
        "2 of 3 targets are up, 2 of 2 rules are evaluated, notifications arrive",
    ),
    "it may only be slow": (
        lambda: blind((("redis-1", "context deadline exceeded", False),)),
        INCONCLUSIVE,
        "it may only be slow",
    ),
    "what it watches is on another machine": (
        lambda: blind((("node-exporter", REFUSED, False),)),
        INCONCLUSIVE,
        "nothing tells whether what it watches runs",
    ),
    "alerts reach nobody": (
        lambda: blind((), monitoring("", "", alertmanagers=0)),
        CONFIRMED,
        "Prometheus knows no Alertmanager: 2 alerting rules reach nobody",
    ),
    "no Alertmanager takes an alert": (
        lambda: blind((), monitoring("", dropped=10)),
        CONFIRMED,
        "notifications to Alertmanager fail: 10 of 10",
    ),
    "Alertmanager cannot write to Slack": (
        lambda: blind((), monitoring("", failed=6)),
        CONFIRMED,
        "notifications by Alertmanager (slack) fail: 6 of 10",
    ),
    "one notification of ten failed": (lambda: blind((), monitoring("", failed=1)), RULED_OUT, "notifications arrive"),
    "nothing counts what Alertmanager sends": (
        lambda: blind((), monitoring("", failed=None)),
        INCONCLUSIVE,
        "Alertmanager is not scraped; add a job",
    ),
    "dashboards alone": (
        lambda: blind((), monitoring(alertmanagers=0, dropped=None, failed=None)),
        RULED_OUT,
        "nobody is to be alerted",
    ),
    "there is no Prometheus": (
        lambda: checks.check_monitoring_blind(silent("targets"), silent("monitoring"), services(), health(200)),
        INCONCLUSIVE,
        "no targets",
    ),
    "all clocks agree": (
        lambda: checks.check_clock_drift(clocks(door=0.4, backend=-0.7), clocks(postgres=0.01), machines()),
        RULED_OUT,
        "3 clocks are within 30 s",
    ),
    "one clock is an hour ahead": (
        lambda: checks.check_clock_drift(clocks(door=0.4, backend=3600), clocks(postgres=0.01), machines()),
        CONFIRMED,
        "the clock of backend is 1 h 0 min ahead of this machine's",
    ),
    "all others agree that ours is a day ahead": (
        lambda: checks.check_clock_drift(clocks(door=-86400.2, backend=-86399.6), clocks(postgres=-86400), machines()),
        CONFIRMED,
        "this machine's clock is 24 h 0 min ahead of all 3 others",
    ),
    "a slow answer is no wrong clock": (
        lambda: checks.check_clock_drift(clocks(within=8, door=-36), clocks(postgres=0), machines()),
        RULED_OUT,
        "2 clocks",
    ),
    "one that tells no time may be the wrong one": (
        lambda: checks.check_clock_drift(clocks(door=None), clocks(postgres=0), machines()),
        INCONCLUSIVE,
        "not every clock told its time (door: its answer has no date)",
    ),
    "a wrong clock counts though the database is silent": (
        lambda: checks.check_clock_drift(clocks(door=90), silent("the database's clock"), machines()),
        CONFIRMED,
        "the clock of door",
    ),
    "the database is silent": (
        lambda: checks.check_clock_drift(clocks(door=0), silent("the database's clock"), machines()),
        INCONCLUSIVE,
        "no the database's clock",
    ),
    "nobody announces anything": (
        lambda: checks.check_external_outage(pages("none", "none")),
        RULED_OUT,
        "2 status pages tell of no outage",
    ),
    "one announces an outage": (
        lambda: checks.check_external_outage(pages("none", "critical")),
        CONFIRMED,
        "page-2 has announced an outage",
    ),
    "degraded performance is no outage": (
        lambda: checks.check_external_outage(pages("minor", "none")),
        RULED_OUT,
        "page-1: API: partial outage",
    ),
    "a page that is silent says nothing": (
        lambda: checks.check_external_outage(pages("none", "")),
        INCONCLUSIVE,
        "page-2 could not be asked",
    ),
    "an outage counts though another page is silent": (
        lambda: checks.check_external_outage(pages("major", "")),
        CONFIRMED,
        "page-1",
    ),
    "the kernel has given a clock up, though it is right by luck": (
        lambda: checks.check_clock_drift(
            clocks(door=0.4),
            clocks(postgres=0.01),
            machines(synchronised={"": 0.0}, maximum_error_seconds={"": 16.0}),
        ),
        CONFIRMED,
        "web:9100: its clock is not synchronised",
    ),
    "nobody watches the machines, and the clocks agree": (
        lambda: checks.check_clock_drift(clocks(door=0.4), clocks(postgres=0.01), silent("machines")),
        RULED_OUT,
        "2 clocks are within 30 s",
    ),
    "connections are tracked, few of many": (
        lambda: checks.check_conntrack(machines()),
        RULED_OUT,
        "2 machines asked; db:9100: 16182 of 262144 connections are tracked",
    ),
    "the table of connections is nearly full": (
        lambda: checks.check_conntrack(machines(conntrack_entries={"": 250_000.0})),
        CONFIRMED,
        "web:9100: 250000 of 262144 connections are tracked",
    ),
    "one machine does not track, or does not tell": (
        lambda: checks.check_conntrack(machines(conntrack_limit={"": None})),
        INCONCLUSIVE,
        "web:9100 does not tell how many it tracks",
    ),
    "no machine is watched": (
        lambda: checks.check_conntrack(silent("machines", "no node_exporter in Prometheus")),
        INCONCLUSIVE,
        "no node_exporter in Prometheus",
    ),
    "lines without a loss": (
        lambda: checks.check_packet_loss(machines()),
        RULED_OUT,
        "0% of what is received lost, 0% of what is sent lost",
    ),
    "a cable is bad": (
        lambda: checks.check_packet_loss(machines(receive_errs={"eth0": 120.0})),
        CONFIRMED,
        "eth0 of web:9100: 2.9% of what is received lost, 0% of what is sent lost",
    ),
    "no room to send from": (
        lambda: checks.check_packet_loss(machines(transmit_drop={"eth0": 400.0})),
        CONFIRMED,
        "9.1% of what is sent lost",
    ),
    "one frame in ten seconds of an idle line is none": (
        lambda: checks.check_packet_loss(machines(receive_packets={"eth0": 2.0}, receive_drop={"eth0": 0.1})),
        RULED_OUT,
        "eth0 of web:9100: 4.8%",
    ),
    "nothing goes over the line: 0 of 0": (
        lambda: checks.check_packet_loss(machines(receive_packets={"eth0": 0.0}, transmit_packets={"eth0": 0.0})),
        INCONCLUSIVE,
        "web:9100 does not tell what it loses",
    ),
    "a line that is used a little": (
        lambda: checks.check_network_saturated(machines()),
        RULED_OUT,
        "eth0 of db:9100: 4.0% of its speed is used",
    ),
    "a backup fills the line": (
        lambda: checks.check_network_saturated(machines(transmit_bytes={"eth0": 121e6})),
        CONFIRMED,
        "eth0 of web:9100: 97% of its speed is used",
    ),
    "a virtual machine does not know its line's speed": (
        lambda: checks.check_network_saturated(machines(speed_bytes={"eth0": -125000.0})),
        INCONCLUSIVE,
        "eth0 of web:9100 does not tell its lines' speed",
    ),
    "a plug that is not used has no speed, and is none": (
        lambda: checks.check_network_saturated(
            machines(
                speed_bytes={"eth0": 125e6, "eth1": -125000.0},
                receive_bytes={"eth0": 5e6, "eth1": 0.0},
                transmit_bytes={"eth0": 5e6, "eth1": 0.0},
            )
        ),
        RULED_OUT,
        "2 of 2 machines asked",
    ),
    "disks that stay as they are": (
        lambda: checks.check_disk_filling(machines()),
        RULED_OUT,
        "does not shrink",
    ),
    "a log without rotation": (
        lambda: checks.check_disk_filling(machines(room_in_1h={"/": -2e6}, room_in_6h={"/": -1.5e6})),
        CONFIRMED,
        "room on / of web:9100: gone in 14 h 48 min",
    ),
    "sessions in small files": (
        lambda: checks.check_disk_filling(machines(files_in_1h={"/": -9e6}, files_in_6h={"/": -9e6})),
        CONFIRMED,
        "files on / of web:9100: gone in 2 h 28 min",
    ),
    "a backup is written now, once": (
        lambda: checks.check_disk_filling(machines(room_in_1h={"/": -9e6}, room_in_6h={"/": -1e5})),
        RULED_OUT,
        "gone in 222 h",
    ),
    "a disk that was mounted just now": (
        lambda: checks.check_disk_filling(machines(room_minutes={"/": 9.0})),
        INCONCLUSIVE,
        "room on / of web:9100 does not tell half an hour",
    ),
    "a filesystem without a fixed number of files": (
        lambda: checks.check_disk_filling(machines(files_free={"/": 0.0})),
        RULED_OUT,
        "2 of 2 machines asked",
    ),
    "its room is told, its files are not": (
        lambda: checks.check_disk_filling(machines(files_free={"/": None})),
        INCONCLUSIVE,
        "files on / of web:9100",
    ),
    "an exporter that has just gone": (
        lambda: checks.check_disk_filling(machines(**{name: {"/": None} for name in MACHINE_PARTS})),
        INCONCLUSIVE,
        "web:9100 does not tell half an hour of its disks",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    judge, kind, words = EXAMPLES[example]
    verdict = judge()
    assert verdict.kind is kind, verdict.reason
    assert words in verdict.reason


def test_a_whole_service_is_worse_than_a_part_of_one() -> None:
    whole = checks.check_down(services(replica("backend-1"), replica("redis-1", "exited")))
    part = checks.check_down(services(replica("backend-1"), replica("backend-2", "exited")))
    assert (whole.severity, part.severity) == (Severity.P1, Severity.P2)
    assert whole.next_steps[-1].target == "docker-compose -f docker-compose.prod.yml up -d redis"


@pytest.mark.parametrize(
    ("gauges", "seen", "says"),
    [
        (pools(5, 2), YES, "1 of 2 pools are full"),
        (pools(4, 2), NO, "0 of 2 pools are full"),
        (pools(4, 2, maximum=None), UNKNOWN, "2 replicas do not tell their pool's size; set backend.pool_size"),
    ],
)
def test_pools_of_unknown_size_are_not_pools_with_room(gauges: Reading[pd.DataFrame], seen: str, says: str) -> None:
    """Where one is full that is seen all the same."""
    survey = SimpleNamespace(**dict.fromkeys(Survey.__annotations__, silent()) | {"pools": gauges})
    row = find_symptoms(survey, alerts={}).set_index("symptom").loc["connection pools are full"]
    assert (row["seen"], row["says"]) == (seen, says)
