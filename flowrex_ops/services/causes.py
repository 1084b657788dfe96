"""What triage judges itself: a service, a disk, or somebody outside."""

from __future__ import annotations

from flowrex_ops.causes import COMPOSE, Cause, command, runbook
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "triage"
_NETWORK = "{{.Name}} {{.NetIO}}"

CAUSES = (
    Cause(
        "service.disk-full",
        "A disk is full",
        "What cannot be written any more is lost: logs, trades, the database's own journal.",
        Severity.P1,
        5,
        (
            NextStep("command", "docker system df -v", "see what holds the space"),
            NextStep("person", "infrastructure", "free it or enlarge the volume; never delete in PostgreSQL's folder"),
        ),
    ),
    Cause(
        "service.inodes-full",
        "A filesystem can hold no more files",
        "All its inodes are used, though df shows room: no file can be made, which is reported as 'no space left on device'.",
        Severity.P1,
        6,
        (
            command(
                "find MOUNT -xdev -type f | cut -d/ -f1-6 | sort | uniq -c | sort -n | tail",
                "which folder holds so many small files? sessions, caches, mail, or parts of uploads",
            ),
            NextStep(
                "person",
                "owner of what writes them",
                "have it delete its old ones; never by hand in PostgreSQL's folder",
            ),
            NextStep(
                "person",
                "infrastructure",
                "ext4 gets its number of inodes as it is made: a larger one, or another filesystem",
            ),
        ),
    ),
    Cause(
        "service.disk-read-only",
        "A disk has become read-only",
        "The kernel mounts a filesystem read-only after an error of its disk: reads go on, and every write fails.",
        Severity.P1,
        4,
        (
            command(
                "dmesg -T | grep -iE 'i/o error|remount|ext4-fs|xfs|btrfs'",
                "on the machine: when did it happen, and which disk is it?",
            ),
            NextStep(
                "person",
                "infrastructure",
                "a copy of the data first: the disk may be failing; then fsck with the services stopped, never while it is mounted",
            ),
            NextStep(
                "person", "whoever mounts it", "no error? then somebody has mounted it read-only on purpose: ask why"
            ),
        ),
    ),
    Cause(
        "service.down",
        "A service is down",
        "Its containers or processes exist and do not run, and nobody starts them again.",
        Severity.P1,
        10,
        (
            NextStep("command", "docker-compose -f docker-compose.prod.yml logs --tail=100 SERVICE", "why did it end?"),
            NextStep("command", "docker-compose -f docker-compose.prod.yml up -d SERVICE", "starts what is missing"),
        ),
    ),
    Cause(
        "service.restarting",
        "A replica keeps restarting",
        "It ends by itself again and again: a crash at start, a failing dependency, or the out-of-memory killer.",
        Severity.P2,
        15,
        (
            NextStep("command", "docker-compose -f docker-compose.prod.yml logs --tail=200 SERVICE", "its last words"),
            NextStep("person", "owner of the last deploy", "did it begin with a new version? then roll back"),
        ),
    ),
    Cause(
        "service.unhealthy",
        "A service runs and is unhealthy",
        "It does not pass its own health check, is not ready, is halted, or users get no good answer.",
        Severity.P1,
        20,
        (
            runbook("database_connections", "where replicas are not ready: most of them wait for the database"),
            runbook("error_rate", "where replicas are healthy and users get no good answer"),
        ),
    ),
    Cause(
        "monitoring.blind",
        "The monitoring is blind",
        "Prometheus answers, and does not see what runs, fails to evaluate a rule, or its alerts reach nobody: the next trouble calls no one.",
        Severity.P2,
        80,
        (
            command(
                "curl -s http://localhost:9090/api/v1/targets?state=active",
                "a target's lastError: its port, path or login, or the network between",
            ),
            command(
                "promtool check rules RULES.yml; curl -s http://localhost:9090/api/v1/rules",
                "a rule's lastError names the series that it cannot match; correct it and reload",
            ),
            command(
                f"{COMPOSE} logs --tail=100 alertmanager prometheus",
                "who refuses the notifications, and why? then send one by hand: amtool alert add test",
            ),
            NextStep("person", "whoever is on call", "until it sees again: look by yourself, no alert may come"),
        ),
    ),
    Cause(
        "host.clock-drift",
        "A clock is wrong",
        "Two machines disagree about the time: windows of logs miss what happened, tokens and certificates are refused, orders stand in the wrong order.",
        Severity.P3,
        85,
        (
            command(
                "timedatectl; chronyc tracking", "on the machine whose clock is off: is it synchronised, and with whom?"
            ),
            command(
                "date -u; docker-compose -f docker-compose.prod.yml exec postgres date -u", "which of the two is wrong?"
            ),
            NextStep(
                "person",
                "infrastructure",
                "have it corrected slowly (chrony slews it): a jump back writes two of the same second",
            ),
        ),
    ),
    Cause(
        "host.conntrack-full",
        "A machine can track hardly any more connections",
        "The kernel's table of tracked connections is full, or nearly: it drops new ones, which looks like a network that loses packets.",
        Severity.P1,
        7,
        (
            command(
                "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; dmesg | grep conntrack",
                "on that machine: 'table full, dropping packet' says that it has begun",
            ),
            command(
                "sysctl -w net.netfilter.nf_conntrack_max=524288", "room at once, 0.3 kB each; keep it in sysctl.d"
            ),
            command(
                "conntrack -L | grep -o 'dst=[^ ]*' | sort | uniq -c | sort -n | tail",
                "who opens so many, and to whom?",
            ),
        ),
    ),
    Cause(
        "net.dns-failing",
        "Names do not resolve",
        "A replica cannot find out where a database, a cache or somebody outside is: whatever it needs there fails, though it may well run.",
        Severity.P1,
        3,
        (
            command(
                f"{COMPOSE} exec backend sh -c 'cat /etc/resolv.conf; getent hosts NAME'",
                "which server is asked? 127.0.0.11 is Docker's own, which asks the machine's for names of outside",
            ),
            command(
                "resolvectl status; dig NAME @SERVER",
                "on the machine: does that server answer, and does it know the name?",
            ),
            command(
                f"{COMPOSE} config --services", "a name without a dot is a service's: is there one that is spelt so?"
            ),
            NextStep(
                "person",
                "infrastructure",
                "the name server, or the domain's record; a record that was changed takes its TTL",
            ),
        ),
    ),
    Cause(
        "credentials.rotated-halfway",
        "A login is refused",
        "PostgreSQL or Redis refuses the password that a replica has: it was changed there and not here, or a replica was made with another. Open connections go on, and hide it.",
        Severity.P1,
        8,
        (
            command(
                f"{COMPOSE} logs --since 5m SERVICE | grep -E 'authentication failed|28P01|WRONGPASS|NOAUTH|NOPERM'",
                "who is refused, and as whom?",
            ),
            command(
                f"{COMPOSE} up -d --no-deps --force-recreate SERVICE",
                "once .env, or the secret, has the password that is in force: a restart alone keeps the old environment",
            ),
            NextStep(
                "person",
                "whoever changed the password",
                "is it meant? else put the old one back; then whoever else has it: workers, backups, exporters, dashboards",
            ),
            NextStep(
                "person",
                "owner of Redis' users",
                "where it is a right (NOPERM): what does ACL LOG say, which command, key or channel did its user have, or does a new version need?",
            ),
        ),
    ),
    Cause(
        "config.drift",
        "What runs is not what is configured",
        "Replicas of one service were made otherwise than one another or than the files say, or a setting of PostgreSQL waits for a restart: the next start changes what nobody expects.",
        Severity.P3,
        86,
        (
            command(
                f"{COMPOSE} up -d --no-deps SERVICE",
                "makes all of them as the files say, which users notice; one at a time: flowrex-ops run service_restart",
            ),
            runbook("rollback", "where a deployment stopped halfway, and the new version is the one that fails"),
            command(
                "SELECT name, setting FROM pg_settings WHERE pending_restart", "takes a restart of PostgreSQL: plan it"
            ),
            NextStep("person", "whoever deployed last", "is it meant so, a canary say? then until when?"),
        ),
    ),
    Cause(
        "net.packet-loss",
        "A machine's line loses packets",
        "Errors (cable, plug, driver) or no room to take them in (queues): what is lost is sent again, and everybody waits.",
        Severity.P2,
        70,
        (
            command("ip -s -s link show DEVICE", "on that machine: which error is it, or dropped for want of room?"),
            command(
                "ethtool -S DEVICE | grep -iE 'err|drop|miss'; ethtool -g DEVICE",
                "crc: the cable or the plug; missed: a larger ring (ethtool -G DEVICE rx 4096)",
            ),
            NextStep("person", "infrastructure", "the switch's counters of the same line; another cable or port"),
        ),
    ),
    Cause(
        "net.saturated",
        "A machine's line is full",
        "It carries as much as it can: answers, backups and replication wait for one another.",
        Severity.P2,
        72,
        (
            command("iftop -P -i DEVICE", "on that machine: between whom does it go? or nethogs DEVICE: by process"),
            command(f"docker stats --no-stream --format '{_NETWORK}'", "which container sends or takes so much"),
            NextStep("person", "owner of what sends it", "put off a backup or a copy, or hold it back"),
        ),
    ),
    Cause(
        "service.disk-filling",
        "A disk will be full before long",
        "Room, or the number of files that it can still hold, goes down so fast that it is over within a day.",
        Severity.P3,
        75,
        (
            command("docker system df -v; du -xh MOUNT | sort -h | tail -20", "on that machine: what holds the room?"),
            command(
                "find MOUNT -xdev -mmin -60 -size +10M -exec ls -lh {} +",
                "what was written within the last hour: a log without rotation, a backup, pg_wal?",
            ),
            NextStep("person", "infrastructure", "more room before the time that is named"),
        ),
    ),
    Cause(
        "external.outage",
        "A third party has announced an outage",
        "The status page of a broker, of market data or of the infrastructure tells of a major or critical incident.",
        Severity.P2,
        90,
        (
            NextStep("link", "the status page", "follow it; nothing of ours helps"),
            NextStep("person", "trading operations", "tell users what does not work meanwhile"),
        ),
    ),
)
