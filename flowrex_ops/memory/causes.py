"""Why memory is high."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, mitigation
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "memory_usage"

CAUSES = (
    Cause(
        "memory.host-pressure",
        "The machine itself is short of memory",
        "Tasks wait for memory on the host; whatever the replicas' limits allow, the machine does not have it.",
        Severity.P2,
        410,
        (
            command("ps aux --sort=-rss | head -15", "on the host: who holds the memory? it may be none of ours"),
            NextStep("person", "infrastructure", "move the neighbour away, or give the machine more memory"),
        ),
    ),
    Cause(
        "memory.redis-rejecting",
        "Redis is full and rejects writes",
        "Its policy lets it evict nothing (more), so each write is answered with 'OOM command not allowed'.",
        Severity.P1,
        420,
        (
            mitigation(
                "unlink-keys", "delete by -p pattern='PREFIX*', once the owner of these keys agrees; read the plan"
            ),
            command("redis-cli CONFIG SET maxmemory …", "or raise the limit, if the host has the memory"),
        ),
    ),
    Cause(
        "memory.leak",
        "A replica's memory grows without end",
        "It rises all the time at the same load, and reaches its limit at a time that can be told.",
        Severity.P2,
        430,
        (
            mitigation("rolling-restart", "frees it for as long as it took to grow, one replica at a time"),
            command(
                "flowrex-ops run memory_usage --approve scale-backend --operator NAME -p replicas=7",
                "each replica then fills up later; the leak goes on",
            ),
            NextStep("person", "owner of the last deploy", "did it begin with a new version? then roll back"),
        ),
    ),
    Cause(
        "memory.oom-killed",
        "The kernel killed a replica for its memory",
        "It used more than its limit allows; what it was doing is lost.",
        Severity.P2,
        440,
        (
            command("docker-compose -f docker-compose.prod.yml logs --tail=200 backend", "what did it do just before?"),
            NextStep(
                "person", "owner of the service", "a single large request or report? bound it; else raise mem_limit"
            ),
        ),
    ),
    Cause(
        "memory.container-limit",
        "A replica sits near its memory limit",
        "It does not grow: the limit is too small for what it is asked to do.",
        Severity.P2,
        450,
        (
            command(
                "flowrex-ops run memory_usage --approve scale-backend --operator NAME -p replicas=7",
                "share the load out further, within what PostgreSQL can bear",
            ),
            NextStep("person", "owner of the service", "raise mem_limit to a third above what it uses"),
        ),
    ),
    Cause(
        "memory.unexplained-growth",
        "A replica's memory rises, and nothing explains it",
        "It would reach its limit soon if it goes on like this, though it does not rise all the time as a leak does.",
        Severity.P2,
        455,
        (
            command(
                "flowrex-ops run memory_usage -p sample_seconds=60",
                "look longer: a leak, a report, or a cache that fills",
            ),
            NextStep("person", "owner of the last deploy", "did it begin with a new version? then roll back"),
        ),
    ),
    Cause(
        "memory.redis-evicting",
        "Redis is full and throws keys away",
        "Its policy keeps it below maxmemory by deleting keys that somebody may still want, sessions too.",
        Severity.P2,
        460,
        (
            command("redis-cli CONFIG SET maxmemory …", "raise the limit, if the host has the memory"),
            NextStep("person", "owner of the largest prefix", "shorter expiry, or fewer keys"),
        ),
    ),
    Cause(
        "memory.redis-growth",
        "Redis fills up",
        "Keys are written faster than they expire, or never do; once it is full it evicts or rejects.",
        Severity.P2,
        470,
        (
            NextStep("person", "owner of the largest prefix", "set an expiry where these keys are written"),
            mitigation(
                "unlink-keys", "delete by -p pattern='PREFIX*', once the owner of these keys agrees; read the plan"
            ),
        ),
    ),
    Cause(
        "memory.redis-fragmentation",
        "Redis holds memory that it cannot use",
        "Deleted values left holes between those that stayed; the memory is taken from the machine and of no use.",
        Severity.P3,
        480,
        (
            command("redis-cli CONFIG SET activedefrag yes", "lets Redis move values together, at some CPU time"),
            command("docker-compose -f docker-compose.prod.yml restart redis", "else, where what it holds may be lost"),
        ),
    ),
)
