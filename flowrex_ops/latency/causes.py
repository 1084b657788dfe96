"""Why answers are slow."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, runbook
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "slow_responses"
_COMPOSE = "docker-compose -f docker-compose.prod.yml"
_DUMP = command(f"{_COMPOSE} exec backend py-spy dump --pid 1", "see in which line its threads are, before any restart")

CAUSES = (
    Cause(
        "http.slow-database",
        "Requests wait for the database",
        "For a connection of the pool, for a lock, or for a query that takes long.",
        Severity.P2,
        310,
        (
            runbook("database_connections", "tells which session, lock or query it is, and frees it"),
            runbook("memory_usage", "more to ask than before? it tells whether the cache finds nothing any more"),
        ),
    ),
    Cause(
        "backend.event-loop-blocked",
        "A replica does not answer a path that costs nothing in time",
        "Its event loop is held up by a blocking call (an async route that sleeps, computes or uses a synchronous client), or no thread is left.",
        Severity.P2,
        320,
        (
            _DUMP,
            runbook("service_restart", "one replica at a time; it comes back if the call does"),
            NextStep(
                "person", "owner of the route", "move the call into a thread: def instead of async def, or to_thread"
            ),
        ),
    ),
    Cause(
        "host.cpu-saturated",
        "The machine or a container is short of CPU",
        "Tasks wait for a processor (pressure stall information), or the kernel holds a container back at its limit.",
        Severity.P2,
        330,
        (
            command(
                "docker stats --no-stream", "see who uses it; a neighbour may be held back: docker update --cpus 1 NAME"
            ),
            command(f"{_COMPOSE} exec backend cat /sys/fs/cgroup/cpu.stat", "nr_throttled grows: raise its limit"),
            NextStep("person", "owner of the machine", "more processors, or fewer neighbours"),
        ),
    ),
    Cause(
        "host.disk-slow",
        "The disk keeps tasks waiting",
        "Reads or writes are stalled (pressure stall information): a backup, a log without a bound, checkpoints, or the disk itself.",
        Severity.P2,
        335,
        (
            command(
                "iostat -x 2 3", "which disk, and is it reads or writes? await above 20 ms is slow for one of today"
            ),
            command("docker stats --no-stream", "BLOCK I/O tells which container; a backup or a report may be put off"),
            runbook("database_connections", "which queries read so much, and can be cancelled"),
        ),
    ),
    Cause(
        "http.slow-release",
        "Answers are slow since a release",
        "The new release is slow where the one before was not.",
        Severity.P2,
        340,
        (
            runbook("rollback", "go back to the release that was fast; look at its migrations first"),
            NextStep("person", "author of the release", "the routes are in the evidence"),
        ),
    ),
    Cause(
        "http.slow-replica",
        "One replica is slow, the others are not",
        "Its process, or the machine below it.",
        Severity.P2,
        350,
        (
            _DUMP,
            command("docker restart <container>", "restart this replica alone; read its log first, a restart loses it"),
        ),
    ),
    Cause(
        "http.slow-route",
        "One route is slow, the others are as before",
        "Its code, its queries, or something outside that only it asks.",
        Severity.P2,
        360,
        (
            runbook("trade_failures", "where the route asks the broker: it tells how fast that answers"),
            runbook("database_connections", "where it asks PostgreSQL: a query without an index"),
            NextStep("person", "owner of that route", "since when and on which replicas is in the evidence"),
        ),
    ),
    Cause(
        "http.slow-clients",
        "The time is in the clients' connections",
        "They send or read slowly, on a bad line: the platform answers as fast as ever. Working as meant.",
        Severity.P3,
        380,
        (NextStep("person", "network operator", "where many clients of one network are slow"),),
    ),
    Cause(
        "http.unexplained-latency",
        "Answers are slow, and no known cause explains it",
        "More take long than is usual, in a way that is none of the above: read on which routes, and in which part of the request.",
        Severity.P2,
        390,
        (
            _DUMP,
            command(f"{_COMPOSE} logs --since 5m backend", "read what is logged while it is slow"),
            NextStep("person", "on-call developer", "route, replica, release and part of the time are in the evidence"),
        ),
    ),
)
