"""Why memory is high."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, mitigation, runbook
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
        "redis.read-only",
        "Redis is a replica that takes no writes",
        "Reads still work, each write is answered with READONLY: after a failover the platform talks to the wrong server.",
        Severity.P1,
        422,
        (
            command("redis-cli INFO replication", "which server is its master, and since when is the link down?"),
            NextStep(
                "person",
                "whoever runs Redis",
                "point redis.url (REDIS_URL) at the master; or REPLICAOF NO ONE, if no other takes writes: what the other has is lost",
            ),
        ),
    ),
    Cause(
        "redis.persistence-failing",
        "Redis cannot save what it holds",
        "A snapshot or its append-only file failed: with save points set each write is answered with MISCONF, and a restart loses what was not saved.",
        Severity.P2,
        424,
        (
            command(
                "docker-compose -f docker-compose.prod.yml logs --tail=50 redis",
                "which file, and why: disk full, rights, no memory to fork?",
            ),
            command("redis-cli BGSAVE", "once that is mended: writes are taken again as soon as it has saved"),
            command(
                "redis-cli CONFIG SET stop-writes-on-bgsave-error no",
                "until then, if a restart may lose what is written from now on",
            ),
        ),
    ),
    Cause(
        "redis.max-clients",
        "Redis takes no more clients",
        "Whoever connects next is turned away (max number of clients reached); those that are connected go on.",
        Severity.P2,
        425,
        (
            command("redis-cli CLIENT LIST", "who holds them, by addr and name? idle ones for hours are a leak"),
            command(
                "redis-cli CONFIG SET maxclients …", "more, for now; the limit of open files (ulimit -n) bounds it"
            ),
            NextStep(
                "person",
                "owner of the largest holder",
                "close what is not used; a pool for each process, of bounded size",
            ),
        ),
    ),
    Cause(
        "redis.replication-broken",
        "A replica of Redis is not in step",
        "It would lack writes after a failover; where min-replicas-to-write is set, writes are refused (NOREPLICAS).",
        Severity.P2,
        427,
        (
            command("redis-cli INFO replication", "which replica, in which state, how far behind?"),
            NextStep(
                "person",
                "whoever runs Redis",
                "look at that replica's log, memory and network; a full resync costs the master a fork",
            ),
        ),
    ),
    Cause(
        "redis.cache-miss-storm",
        "The cache finds hardly anything",
        "Its keys were flushed, end too soon or are called otherwise: what Redis answered is asked of the database, all at once.",
        Severity.P2,
        428,
        (
            command(
                "redis-cli INFO keyspace", "how many keys, with which avg_ttl? few: flushed, evicted, or restarted"
            ),
            NextStep(
                "person",
                "owner of the last deploy",
                "another TTL, another prefix of keys, a FLUSHDB? put it back; then let one request fill a key, the others wait for it",
            ),
            runbook(
                "database_connections",
                "what the database makes of it; fewer users at once help until the cache is warm",
            ),
        ),
    ),
    Cause(
        "redis.slow-commands",
        "A command holds Redis, and everybody waits",
        "Redis does one thing at a time: whoever asks for all keys, or all of a large key, stops everybody else for as long.",
        Severity.P2,
        426,
        (
            command("redis-cli SLOWLOG GET 10", "which command, on what, from where"),
            NextStep(
                "person",
                "owner of whoever sends it",
                "SCAN in place of KEYS, HSCAN or a few fields in place of HGETALL; a replica for reports",
            ),
            command(
                "redis-cli CLIENT KILL ADDR HOST:PORT",
                "ends that one client's connection, if it cannot wait; it may come back",
            ),
            command(
                "redis-cli SCRIPT KILL",
                "a script that has written nothing is ended (FUNCTION KILL for a function); one that has is waited for: SHUTDOWN NOSAVE, which Redis offers, loses what is not saved",
            ),
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
