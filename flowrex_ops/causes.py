"""The catalogue of causes: stable slugs that tests, alerts and archived records depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowrex_ops.model import NextStep, Severity


@dataclass(frozen=True, slots=True)
class Cause:
    """What can be wrong: its slug, what it means, its usual severity, and what to do about it.

    ``rank`` orders findings of equal severity: the lower, the nearer to the root.
    """

    slug: str
    title: str
    meaning: str
    severity: Severity
    rank: int
    next_steps: tuple[NextStep, ...] = ()


def _mitigation(slug: str, text: str) -> NextStep:
    return NextStep("mitigation", slug, text)


def _runbook(slug: str, text: str) -> NextStep:
    return NextStep("runbook", slug, text)


_DATABASE = (
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
        (_mitigation("terminate-root-blocker", "end the session at the root of the blocking tree"),),
    ),
    Cause(
        "db.idle-in-transaction",
        "Sessions sit idle inside an open transaction",
        "The application took connections, opened transactions and never ended them: the pool leaks.",
        Severity.P1,
        40,
        (
            _mitigation("terminate-idle-in-transaction", "end these sessions; their pool gets the slots back"),
            _mitigation("restart-backend", "restart the replicas that leak, one at a time"),
        ),
    ),
    Cause(
        "db.long-running-query",
        "Queries run far longer than they should",
        "Each holds its connection for as long as it runs.",
        Severity.P1,
        50,
        (_mitigation("cancel-long-queries", "cancel these queries; their sessions stay"),),
    ),
    Cause(
        "db.max-connections",
        "PostgreSQL has no connection slots left",
        "New connections are refused (SQLSTATE 53300) whatever the pools allow.",
        Severity.P1,
        60,
        (NextStep("person", "owner of the largest holder", "ask for its connections to be closed"),),
    ),
    Cause(
        "db.pool-saturated",
        "The backend's connection pools are full",
        "All pooled connections are taken and requests wait, though nothing is stuck in PostgreSQL.",
        Severity.P1,
        70,
        (
            _mitigation("restart-backend", "only where connections leak: gives each replica a new pool"),
            _runbook("error_rate", "see whether a few clients send most of the requests"),
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
)

_RENEW = "docker-compose -f docker-compose.prod.yml run --rm certbot renew"
_TEST = "docker-compose -f docker-compose.prod.yml exec nginx nginx -t"
_RELOAD = "docker-compose -f docker-compose.prod.yml exec nginx nginx -s reload"


def _command(target: str, text: str) -> NextStep:
    return NextStep("command", target, text)


_TLS = (
    Cause(
        "tls.unreachable",
        "An endpoint gives no certificate",
        "Nothing answers there, or what answers does not speak TLS: users cannot connect at all.",
        Severity.P1,
        10,
        (
            _command("docker-compose -f docker-compose.prod.yml ps nginx", "see whether it runs"),
            _command("docker-compose -f docker-compose.prod.yml logs --tail=100 nginx", "read why it does not"),
        ),
    ),
    Cause(
        "tls.not-reloaded",
        "A renewed certificate lies on disk, and the old one is served",
        "NGINX reads certificates when it starts or reloads; the renewal went well, the reload did not happen.",
        Severity.P2,
        20,
        (
            _mitigation("reload-nginx", "tests, reloads, and reads what is served then"),
            _command(_TEST, "by hand: a reload with a broken configuration changes nothing"),
            _command(_RELOAD, "then this; no connection is lost"),
            _command("certbot renew --deploy-hook 'nginx -s reload'", "so that the next renewal does it by itself"),
        ),
    ),
    Cause(
        "tls.expired",
        "A certificate has expired",
        "Browsers warn and programs refuse to connect, since the date in the certificate has passed.",
        Severity.P1,
        30,
        (
            _mitigation("renew-certificate", "through certbot; then NGINX serves it"),
            _command(_RENEW, "by hand; read what it says"),
            _command(_RELOAD, "then serve it"),
        ),
    ),
    Cause(
        "tls.not-yet-valid",
        "A certificate is not valid yet",
        "It begins in the future: it was put in place too early, or a clock is wrong, its issuer's or this machine's.",
        Severity.P1,
        40,
        (
            _command("timedatectl", "see whether this machine's clock is right"),
            _command(_RENEW, "else get one that is valid now"),
        ),
    ),
    Cause(
        "tls.hostname-mismatch",
        "A certificate is not for the name that clients ask for",
        "Another server block answers, or the certificate was issued without this name.",
        Severity.P1,
        50,
        (
            _command(
                "docker-compose -f docker-compose.prod.yml exec nginx nginx -T",
                "see which server block has the name, and which certificate it serves",
            ),
            _command("certbot certonly --expand -d NAME …", "issue it again with every name that it needs"),
        ),
    ),
    Cause(
        "tls.incomplete-chain",
        "An intermediate certificate is not served",
        "Browsers that have seen it elsewhere connect; curl, mobile apps and trading clients refuse.",
        Severity.P1,
        60,
        (
            _command("ssl_certificate …/fullchain.pem;", "serve fullchain.pem, not cert.pem"),
            _command(_RELOAD, "then reload"),
        ),
    ),
    Cause(
        "tls.untrusted",
        "A certificate is signed by nobody that clients trust",
        "It is self-signed, or its authority is not among the anchors of this machine and of tls.ca_file.",
        Severity.P1,
        70,
        (
            _command(_RENEW, "put a certificate of a public authority in place"),
            _command("tls.ca_file", "where a private authority is meant, name its root in the settings"),
        ),
    ),
    Cause(
        "tls.expiring",
        "A certificate expires soon",
        "The renewal that should have happened by now has not.",
        Severity.P2,
        80,
        (
            _mitigation("renew-certificate", "through certbot; then NGINX serves it"),
            _command(_RENEW, "by hand; read what it says"),
            _command("docker-compose -f docker-compose.prod.yml logs certbot", "find out why it was not renewed"),
            _command(_RELOAD, "then serve it"),
        ),
    ),
)

_NGINX_DUMP = "docker-compose -f docker-compose.prod.yml exec nginx nginx -T"
_BACKEND_LOG = "docker-compose -f docker-compose.prod.yml logs --tail=500 backend"

_TRADES = (
    Cause(
        "trades.database",
        "Trades cannot be written to the database",
        "The order is refused before it reaches the broker, or filled there and not booked here.",
        Severity.P1,
        110,
        (
            _runbook("database_connections", "tells why the database does not take them"),
            NextStep("person", "owner of the last migration", "a right or a constraint on table trades has changed"),
            NextStep("person", "trading operations", "compare the broker's transactions with trades left 'pending'"),
        ),
    ),
    Cause(
        "trades.broker-credentials",
        "The broker refuses our credentials",
        "Token expired, revoked or wrong: every order is answered with 401 or 403.",
        Severity.P1,
        120,
        (
            NextStep("person", "owner of the broker account", "issue a new token and set BROKER_TOKEN"),
            NextStep("command", "docker-compose -f docker-compose.prod.yml up -d backend", "afterwards: it reads it"),
        ),
    ),
    Cause(
        "trades.broker-unreachable",
        "The broker cannot be reached",
        "No connection, or no usable answer: refused, reset, name not found, 5xx, nonsense instead of JSON.",
        Severity.P1,
        130,
        (
            NextStep("link", "the broker's status page", "see whether they know of it"),
            NextStep("person", "the broker's support", "if their page says that all is well and it persists"),
        ),
    ),
    Cause(
        "trades.broker-slow",
        "The broker does not answer in time",
        "Orders run into the adapter's time limit; whether they were filled is not known here.",
        Severity.P1,
        140,
        (
            NextStep("person", "trading operations", "look up at the broker which of the failed orders were filled"),
            NextStep("link", "the broker's status page", "see whether they know of it"),
        ),
    ),
    Cause(
        "trades.rejected-by-broker",
        "The broker rejects orders",
        "It answers and takes our credentials, but does not fill: market halted, no margin, too many requests.",
        Severity.P1,
        150,
        (
            NextStep(
                "person", "trading operations", "the reason is the broker's own word; look it up in its API's list"
            ),
        ),
    ),
    Cause(
        "trades.risk-limit",
        "The risk engine blocks trades, working as meant",
        "Orders above a limit are held back. It is a failure only if the limit is wrong.",
        Severity.P3,
        160,
        (NextStep("person", "risk management", "is the limit hit legitimately? raise it only by their decision"),),
    ),
    Cause(
        "trades.unexplained-failures",
        "Trades fail with a message that this runbook does not know",
        "Orders are not executed, and none of the known causes explains it: read the messages.",
        Severity.P1,
        170,
        (
            _command(_BACKEND_LOG, "what the backend logged when these trades failed"),
            NextStep(
                "person", "owner of the trading code", "what does this message mean, and since when is it written?"
            ),
        ),
    ),
)

_WS = (
    Cause(
        "ws.proxy-misconfigured",
        "The proxy does not pass WebSocket upgrades on",
        "The handshake fails through NGINX and works straight to a replica: no Upgrade header, or HTTP/1.0.",
        Severity.P1,
        310,
        (
            _command(_NGINX_DUMP, "find the location; it needs proxy_http_version 1.1, Upgrade and Connection"),
            _mitigation(
                "reload-websocket-proxy", "once it was corrected on disk: tested, reloaded, seen by handshakes"
            ),
        ),
    ),
    Cause(
        "ws.memory-leak",
        "The backend keeps memory of WebSockets for good",
        "Memory grows with messages, or with connections that are gone, until a replica is killed and drops all of its own.",
        Severity.P2,
        320,
        (
            _mitigation("rolling-restart", "one replica after the other: gives the memory back, its clients reconnect"),
            NextStep(
                "person", "owner of the WebSocket handler", "find what is kept: buffers, subscriptions, histories"
            ),
        ),
    ),
    Cause(
        "ws.connection-limit",
        "No more WebSockets are let in",
        "NGINX has no worker connections left (each WebSocket takes two), or the backend refuses above its own limit.",
        Severity.P2,
        330,
        (
            _command(_NGINX_DUMP, "events { worker_connections … }: raise it, and the open files that it needs"),
            _command(_RELOAD, "then reload"),
            NextStep("person", "owner of the backend", "raise its limit, or add replicas"),
        ),
    ),
    Cause(
        "ws.backend-error",
        "The WebSocket handler fails",
        "An exception in the handler closes the connection with 1011; the log has its traceback.",
        Severity.P2,
        340,
        (
            _command(_BACKEND_LOG, "read the traceback"),
            NextStep("person", "owner of the WebSocket handler", "roll back, if it came with the last release"),
        ),
    ),
    Cause(
        "ws.backend-restart",
        "Replicas restarted and took their connections with them",
        "Closings bunch at the moment of the restart, with 1012 or 1001, or without a word (1006).",
        Severity.P2,
        350,
        (
            _command(_BACKEND_LOG, "see why it restarted, unless somebody deployed"),
            _command("docker-compose -f docker-compose.prod.yml ps backend", "see whether it does so again and again"),
        ),
    ),
    Cause(
        "ws.proxy-timeout",
        "The proxy ends quiet connections",
        "Closings bunch at one age, which is NGINX's proxy_read_timeout: nothing was sent for so long.",
        Severity.P2,
        360,
        (
            _command(_NGINX_DUMP, "proxy_read_timeout of the WebSocket's location: raise it, such as to 3600s"),
            _command(_RELOAD, "after nginx -t; no connection is lost"),
            NextStep("person", "owner of the backend", "send pings more often than the shortest timeout on the way"),
        ),
    ),
    Cause(
        "ws.unexplained-disconnections",
        "WebSockets break off, and nothing explains it",
        "Connections break off or do not come about, and no hypothesis of this runbook knows why.",
        Severity.P2,
        370,
        (
            _command(_BACKEND_LOG, "read it at the moment that is named; the proxy's log, too"),
            NextStep(
                "person", "owner of the network", "ask for what stands before NGINX: load balancer, firewall, VPN"
            ),
        ),
    ),
)

_LOGS = "docker-compose -f docker-compose.prod.yml logs --tail=200"

_HTTP = (
    Cause(
        "http.upstream-unreachable",
        "The proxy does not reach the backend",
        "NGINX answers 502 or 504 by itself: no replica took the connection, or none answered in time.",
        Severity.P1,
        210,
        (
            _command("docker-compose -f docker-compose.prod.yml ps backend", "see which replicas run and are healthy"),
            _command("docker-compose -f docker-compose.prod.yml restart backend", "start again what hangs or is gone"),
            _command(f"{_LOGS} nginx", "read which upstream it names, and why"),
        ),
    ),
    Cause(
        "http.dependency-failing",
        "Something that the backend needs fails",
        "The errors name it: PostgreSQL, Redis, the broker, or another service outside.",
        Severity.P1,
        220,
        (
            _runbook("database_connections", "where it is PostgreSQL"),
            _runbook("trade_failures", "where it is the broker"),
            _command("docker-compose -f docker-compose.prod.yml exec redis redis-cli ping", "where it is Redis"),
            NextStep("link", "the service's status page", "where it is outside"),
        ),
    ),
    Cause(
        "http.bad-deploy",
        "Errors began with a release",
        "The new release fails where the one before did not.",
        Severity.P1,
        230,
        (
            _mitigation("rollback-bad-deploy", "go back to the release that worked, one replica at a time"),
            _runbook("rollback", "the same with more to look at first: versions, migrations"),
            NextStep("person", "author of the release", "the signature says which line raises"),
        ),
    ),
    Cause(
        "http.traffic-flood",
        "A few clients send most of the requests",
        "They take the connections that everybody needs; others are refused meanwhile.",
        Severity.P1,
        240,
        (
            _mitigation("block-client", "shut them out at the proxy for half an hour; it ends by itself"),
            _command(
                "flowrex-ops run error_rate --approve scale-backend --operator NAME -p replicas=7",
                "buys time, within what PostgreSQL can bear",
            ),
            _command("limit_req zone=per_client burst=20;", "or slow them down, if they are customers"),
            NextStep("person", "owner of the client", "ask what it is doing"),
        ),
    ),
    Cause(
        "http.single-replica",
        "One replica fails, the others do not",
        "Its process is broken, or what it was started with.",
        Severity.P1,
        250,
        (
            _command(
                "docker restart <container>", "restart this replica alone; read its log first, a restart loses it"
            ),
            _command(f"{_LOGS} backend", "read what it says"),
        ),
    ),
    Cause(
        "http.single-route",
        "One route fails, the others do not",
        "A defect in its code, or in the data that it reads.",
        Severity.P1,
        260,
        (
            NextStep(
                "person", "owner of that route", "the signature says which line raises; deploy a fix or switch it off"
            ),
        ),
    ),
    Cause(
        "http.new-exception",
        "Requests fail with an error that was not there before",
        "On every route and every replica alike, and with no release: a change in data, traffic or surroundings.",
        Severity.P1,
        270,
        (
            NextStep("link", "https://sentry.io/organizations/flowrex/issues/", "look for the same signature"),
            NextStep("person", "on-call developer", "the last frame says which line raises"),
        ),
    ),
    Cause(
        "http.unexplained-errors",
        "Requests fail, and no known cause explains it",
        "More fail than is usual, in a way that is none of the above: read where they do, and the example.",
        Severity.P2,
        290,
        (
            _command(f"{_LOGS} backend", "read what is logged at the moment that was first seen"),
            NextStep("link", "https://sentry.io/organizations/flowrex/issues/", "look for what the log does not have"),
            NextStep("person", "on-call developer", "route, method, status and replica are in the evidence"),
        ),
    ),
)

_MEMORY = (
    Cause(
        "memory.host-pressure",
        "The machine itself is short of memory",
        "Tasks wait for memory on the host; whatever the replicas' limits allow, the machine does not have it.",
        Severity.P2,
        410,
        (
            _command("ps aux --sort=-rss | head -15", "on the host: who holds the memory? it may be none of ours"),
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
            _mitigation(
                "unlink-keys", "delete by -p pattern='PREFIX*', once the owner of these keys agrees; read the plan"
            ),
            _command("redis-cli CONFIG SET maxmemory …", "or raise the limit, if the host has the memory"),
        ),
    ),
    Cause(
        "memory.leak",
        "A replica's memory grows without end",
        "It rises all the time at the same load, and reaches its limit at a time that can be told.",
        Severity.P2,
        430,
        (
            _mitigation("rolling-restart", "frees it for as long as it took to grow, one replica at a time"),
            _command(
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
            _command(
                "docker-compose -f docker-compose.prod.yml logs --tail=200 backend", "what did it do just before?"
            ),
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
            _command(
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
            _command(
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
            _command("redis-cli CONFIG SET maxmemory …", "raise the limit, if the host has the memory"),
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
            _mitigation(
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
            _command("redis-cli CONFIG SET activedefrag yes", "lets Redis move values together, at some CPU time"),
            _command(
                "docker-compose -f docker-compose.prod.yml restart redis", "else, where what it holds may be lost"
            ),
        ),
    ),
)

_PLATFORM = (
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
        "A service runs and is not well",
        "It does not pass its own health check, is not ready, is halted, or users get no good answer.",
        Severity.P1,
        20,
        (
            _runbook("database_connections", "where replicas are not ready: most of them wait for the database"),
            _runbook("error_rate", "where replicas are well and users get no good answer"),
        ),
    ),
    Cause(
        "external.outage",
        "Somebody outside has announced an outage",
        "The status page of a broker, of market data or of the infrastructure tells of a major or critical incident.",
        Severity.P2,
        90,
        (
            NextStep("link", "the status page", "follow it; nothing of ours helps"),
            NextStep("person", "trading operations", "tell users what does not work meanwhile"),
        ),
    ),
)

CAUSES: dict[str, Cause] = {
    cause.slug: cause for cause in (*_PLATFORM, *_DATABASE, *_TLS, *_TRADES, *_HTTP, *_WS, *_MEMORY)
}

RUNBOOK_CAUSES: dict[str, tuple[str, ...]] = {
    "triage": tuple(cause.slug for cause in _PLATFORM),
    "database_connections": tuple(cause.slug for cause in _DATABASE),
    "certificate_expiry": tuple(cause.slug for cause in _TLS),
    "trade_failures": tuple(cause.slug for cause in _TRADES),
    "error_rate": tuple(cause.slug for cause in _HTTP),
    "websocket_disconnections": tuple(cause.slug for cause in _WS),
    "memory_usage": tuple(cause.slug for cause in _MEMORY),
}
"""The causes that each runbook tells apart; runbook lint holds the notebooks to it."""


def rank_of(slugs: Iterable[str]) -> list[str]:
    """*slugs* ordered from the root of the trouble to its symptoms; unknown ones last."""
    return sorted(slugs, key=lambda slug: (CAUSES[slug].rank if slug in CAUSES else 10_000, slug))
