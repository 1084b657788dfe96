"""Why the database's connections run out."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, mitigation, runbook
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "database_connections"

CAUSES = (
    Cause(
        "db.unreachable",
        "PostgreSQL cannot be reached",
        "No connection is answered, so nothing that needs the database works.",
        Severity.P0,
        10,
        (
            NextStep("command", "flowrex-ops doctor", "see which source does not answer, and why"),
            NextStep("command", "docker-compose -f docker-compose.prod.yml logs --tail=100 postgres", "read its log"),
        ),
    ),
    Cause(
        "db.orphaned-prepared-transaction",
        "A prepared transaction was never finished",
        "It keeps its locks without any session, also across a restart of PostgreSQL.",
        Severity.P1,
        20,
        (
            NextStep(
                "command",
                "COMMIT PREPARED '<gid>' or ROLLBACK PREPARED '<gid>'",
                "decide with the owner of the transaction; no tool can know which is right",
            ),
        ),
    ),
    Cause(
        "db.lock-contention",
        "Sessions wait behind one root blocker",
        "One session holds a lock that the others need; they hold their connections while they wait.",
        Severity.P1,
        30,
        (mitigation("terminate-root-blocker", "end the session at the root of the blocking tree"),),
    ),
    Cause(
        "db.idle-in-transaction",
        "Sessions sit idle inside an open transaction",
        "The application took connections, opened transactions and never ended them: the pool leaks.",
        Severity.P1,
        40,
        (
            mitigation("terminate-idle-in-transaction", "end these sessions; their pool gets the slots back"),
            mitigation("restart-backend", "restart the replicas that leak, one at a time"),
        ),
    ),
    Cause(
        "db.long-running-query",
        "Queries run far longer than they should",
        "Each holds its connection for as long as it runs.",
        Severity.P1,
        50,
        (mitigation("cancel-long-queries", "cancel these queries; their sessions stay"),),
    ),
    Cause(
        "job.overlapping",
        "One job runs twice at once",
        "A run began before the one before it had ended: each holds the other up, and the next one comes.",
        Severity.P2,
        45,
        (
            NextStep("person", "owner of the job", "which run may end? a backup that is cut off is no backup"),
            command(
                "SELECT pg_cancel_backend(PID)", "the later one, in the evidence; then see that its next start waits"
            ),
            command(
                "flock -n /run/lock/JOB COMMAND",
                "in its cron line (or pg_try_advisory_lock in the job): a run that finds another at work ends at once",
            ),
        ),
    ),
    Cause(
        "db.max-connections",
        "PostgreSQL has no connection slots left",
        "New connections are refused (SQLSTATE 53300) whatever the pools allow.",
        Severity.P1,
        60,
        (
            NextStep("person", "owner of the largest holder", "ask for its connections to be closed"),
            NextStep(
                "person",
                "owner of the database",
                "where one role or database alone is refused: is its CONNECTION LIMIT meant?",
            ),
        ),
    ),
    Cause(
        "db.pool-saturated",
        "The backend's connection pools are full",
        "All pooled connections are taken and requests wait, though nothing is stuck in PostgreSQL.",
        Severity.P1,
        70,
        (
            mitigation("restart-backend", "only where connections leak: gives each replica a new pool"),
            runbook("error_rate", "see whether a few clients send most of the requests"),
        ),
    ),
    Cause(
        "db.unexplained-pool-exhaustion",
        "The connection pools have nothing to give, and nothing explains it",
        "Pools are full or waited for, while PostgreSQL sees neither stuck sessions, nor work, nor connections that leak.",
        Severity.P1,
        75,
        (
            NextStep(
                "command",
                "flowrex-ops run database_connections -p idle_after_seconds=2",
                "look again: a leak that has just begun, or a pooler between that lends its sessions out",
            ),
            NextStep(
                "command",
                "flowrex-ops run service_restart --approve rolling-restart --operator NAME",
                "one replica at a time gets a new pool; keep its log and a stack dump (py-spy dump) of one first",
            ),
        ),
    ),
    Cause(
        "db.replication-lag",
        "A standby is far behind, or holds commits up",
        "Reads from it are old and a failover would lose what it lacks; with synchronous replication each commit waits for it.",
        Severity.P2,
        80,
        (
            command(
                "SELECT * FROM pg_stat_replication",
                "see which standby it is; then look at its log, its disk and its network",
            ),
            NextStep(
                "person",
                "the database's administrator",
                "decide: wait, build the standby anew, or let commits go on without it (synchronous_standby_names)",
            ),
        ),
    ),
    Cause(
        "db.read-only",
        "PostgreSQL takes no writes",
        "It is a standby, or somebody has set new transactions to read-only: each write fails with SQLSTATE 25006, reads go on.",
        Severity.P1,
        15,
        (
            command(
                "SELECT * FROM pg_db_role_setting; SHOW default_transaction_read_only",
                "who has set it where, and why? a migration or a full disk may want it so",
            ),
            command(
                "ALTER DATABASE … RESET default_transaction_read_only",
                "or ALTER ROLE, or ALTER SYSTEM and pg_reload_conf(), after SET transaction_read_only = off; then restart the backend, whose sessions keep it",
            ),
            NextStep(
                "person",
                "the database's administrator",
                "a standby: is the platform to be pointed at the primary, or this one promoted?",
            ),
        ),
    ),
    Cause(
        "db.sequence-exhausted",
        "A sequence runs out of numbers",
        "At its end, or at the end of its column's type, each insert fails (SQLSTATE 2200H or 22003).",
        Severity.P2,
        17,
        (
            NextStep(
                "person",
                "owner of the table",
                "ALTER TABLE … ALTER COLUMN … TYPE bigint writes the whole table anew and locks it: plan it, foreign keys too",
            ),
            command(
                "ALTER SEQUENCE … AS bigint MINVALUE -2147483648 RESTART WITH -2147483648",
                "out of numbers already, and the column may not be changed now: negative ones are free, if no code minds them",
            ),
        ),
    ),
    Cause(
        "db.xid-wraparound",
        "Transaction ids run out",
        "Vacuum does not keep up with freezing; at two billion PostgreSQL takes no more writes until it has (hours).",
        Severity.P2,
        18,
        (
            NextStep(
                "person",
                "the database's administrator",
                "end what holds vacuum back: the session, prepared transaction or slot in the evidence",
            ),
            command(
                "VACUUM (FREEZE, VERBOSE) TABLE",
                "the tables with the greatest age(relfrozenxid) first, in the database that is named",
            ),
        ),
    ),
    Cause(
        "db.autovacuum-behind",
        "Autovacuum does not keep up",
        "Dead rows pile up: tables and indexes grow, and each query reads past what nobody needs.",
        Severity.P2,
        81,
        (
            NextStep(
                "person",
                "owner of the oldest snapshot, in the evidence",
                "end it: vacuum removes nothing that it could still see; then autovacuum goes on by itself",
            ),
            command(
                "ALTER TABLE … RESET (autovacuum_enabled)",
                "where it is off for the table; for the server: ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()",
            ),
            command(
                "VACUUM (VERBOSE, ANALYZE) …",
                "by hand, with the server busy: SET vacuum_cost_delay = '2ms' first; never FULL, which locks the table",
            ),
        ),
    ),
    Cause(
        "db.stale-statistics",
        "The planner works with old statistics, or none",
        "It guesses how many rows a query finds, and may read a whole table where an index would do.",
        Severity.P2,
        82,
        (
            command(
                "ANALYZE …",
                "reads a sample and locks out neither reads nor writes; after an upgrade: vacuumdb --analyze-in-stages",
            ),
            command(
                "SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL",
                "why did autovacuum not do it? a table with autovacuum_enabled=off needs an ANALYZE of its own after each load",
            ),
        ),
    ),
    Cause(
        "db.invalid-index",
        "An index is invalid",
        "A build that was to lock nobody (CONCURRENTLY) failed half-way: no query uses the index, and writes may pay for it all the same.",
        Severity.P2,
        83,
        (
            command(
                "REINDEX INDEX CONCURRENTLY …",
                "builds it anew; a unique one fails again while there are duplicates: find these first",
            ),
            command(
                "DROP INDEX CONCURRENTLY …",
                "instead, where it is no longer wanted, or is what is left of a REINDEX (its name ends with _ccnew or _ccold); ask its owner",
            ),
        ),
    ),
    Cause(
        "db.wal-archive-failing",
        "WAL is not archived",
        "PostgreSQL keeps each WAL file until it is archived, until the disk is full and it stops; no point-in-time restore reaches this far.",
        Severity.P2,
        84,
        (
            command(
                "docker-compose -f docker-compose.prod.yml logs --tail=100 postgres",
                "archive_command's own words stand there: a full archive, a key that has expired, a folder that is gone",
            ),
            command("df -h", "how long does the disk of pg_wal last? never delete a file of pg_wal by hand"),
            NextStep(
                "person",
                "the database's administrator",
                "put the archive right; PostgreSQL tries again each minute. Take a new base backup if WAL was skipped",
            ),
        ),
    ),
    Cause(
        "db.corrupted",
        "PostgreSQL's data is damaged",
        "A page on disk cannot be read or is not what was written: whatever needs it fails, a backup too, and more may be lost.",
        Severity.P1,
        19,
        (
            NextStep(
                "person",
                "the database's administrator",
                "before anything else: a copy of the data folder as it is (stop PostgreSQL first), and no VACUUM FULL, REINDEX or zero_damaged_pages until then",
            ),
            command(
                "dmesg -T | grep -iE 'I/O error|medium error|nvme.*(error|timeout)'",
                "on the database's host: does the disk or its controller fail?",
            ),
            command(
                "pg_amcheck --all",
                "how much is damaged? it only reads; an index can be built anew, a table needs its backup",
            ),
            runbook("database_restore", "restores into a new database, checks it, then swaps; the old one is kept"),
        ),
    ),
    Cause(
        "db.restarted",
        "PostgreSQL crashed and recovered",
        "One process died, so PostgreSQL threw out all sessions and replayed its WAL: what was not committed is gone, pools connect anew.",
        Severity.P1,
        21,
        (
            command(
                "docker-compose -f docker-compose.prod.yml logs --tail=200 postgres",
                "which process, by which signal, and which statement ran (Failed process was running)?",
            ),
            command(
                "dmesg -T | grep -iE 'out of memory|oom|segfault'",
                "signal 9 is mostly the kernel out of memory, or a container's limit; signals 6 and 11 a defect of PostgreSQL or an extension",
            ),
            runbook("memory_usage", "signal 9: what takes the memory?"),
        ),
    ),
    Cause(
        "db.deadlocks",
        "Sessions deadlock",
        "Two transactions take the same rows in another order; PostgreSQL ends one of them, whose request fails.",
        Severity.P2,
        85,
        (
            command(
                "docker-compose -f docker-compose.prod.yml logs postgres | grep -A8 'deadlock detected'",
                "which two statements? they stand below each line",
            ),
            NextStep(
                "person",
                "owner of these statements",
                "take rows in one order everywhere (ORDER BY id FOR UPDATE), and try again on SQLSTATE 40P01; since which deploy?",
            ),
        ),
    ),
)
