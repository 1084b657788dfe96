"""Folders as somebody copies them from a site, written by hand: what each shows, and what is right to say of it.

Of the kinds that HolmesGPT's evaluations generate, and of formats that LogHub collects; no line is theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
Site = tuple[Mapping[str, str], Mapping[str, str]]
"""Texts by file, and the expected cause by runbook."""
_REFUSED = "connect() failed (111: Connection refused) while connecting to upstream"
_NO_CONNECTION = (
    "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00"
)
_ACTIVITY = (
    "datid,datname,pid,usename,application_name,client_addr,backend_start,xact_start,query_start,state_change,"
    "wait_event_type,wait_event,state,query,backend_type,blocked_by,now"
)
SETTINGS = "name,setting\nmax_connections,{slots}\nsuperuser_reserved_connections,3\nserver_version,16.2\n"
_LOCKS = "locktype,database,relation,page,tuple,transactionid,objid,pid,mode,granted,relation_name"


def ago(minutes: float) -> datetime:
    """So long before the copies were made."""
    return NOW - timedelta(minutes=minutes)


def access(
    minutes: float,
    failing: float = 0,
    *,
    status: int = 500,
    path: str = "/api/orders",
    every: float = 2.0,
    share: int = 2,
) -> str:
    """NGINX's combined log over *minutes*; in the last *failing* of them each *share*th request is answered *status*."""
    lines = []
    for number in range(int(minutes * 60 / every)):
        at = ago(minutes) + timedelta(seconds=number * every)
        bad = at >= ago(failing) and number % share == 0
        where = path if number % 2 == 0 else "/api/portfolio"
        lines.append(
            f'203.0.113.{number % 40 + 1} - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET {where}?page={number} HTTP/1.1" '
            f'{status if bad else 200} {312 + number % 7} "-" "Mozilla/5.0"'
        )
    return "\n".join(lines) + "\n"


def timed(minutes: float, slow: float) -> str:
    """The log_format of docs/settings.md; in the last *slow* minutes one route waits for its answer for long."""
    lines = []
    for number in range(int(minutes * 30)):
        at = ago(minutes) + timedelta(seconds=number * 2)
        late = at >= ago(slow) and number % 4 == 0
        took = 3.2 if late else 0.041
        lines.append(
            f'{at:%Y-%m-%dT%H:%M:%S+00:00} 203.0.113.{number % 40 + 1} "GET {"/api/report" if number % 4 == 0 else "/api/orders"} HTTP/1.1" '
            f'200 312 {took:.3f} "Mozilla/5.0" host="flowrex.app" upstream="172.18.0.{number % 2 + 8}:8000" upstream_status="200" '
            f'upstream_time="{took:.3f}" connect_time="0.001" header_time="{took - 0.001:.3f}" version="1.4.2"'
        )
    return "\n".join(lines) + "\n"


def growing(metric: str, first_mib: float, mib_a_minute: float, minutes: int = 40) -> str:
    """A range answer of Prometheus: memory of one replica that grows, of the other that does not."""
    begin = ago(minutes).timestamp()
    series = [
        {
            "metric": {"__name__": metric, "job": "backend", "instance": f"172.18.0.{7 + number}:8000"},
            "values": [
                [begin + 15 * step, str(int(2**20 * (first_mib + (number == 1) * mib_a_minute * step / 4)))]
                for step in range(4 * minutes)
            ],
        }
        for number in (1, 2)
    ]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}})


_WITHOUT_UPGRADE = """nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
nginx: configuration file /etc/nginx/nginx.conf test is successful
# configuration file /etc/nginx/nginx.conf:
events { worker_connections 1024; }
http {
    upstream desk { server backend:8000; }
    server {
        listen 443 ssl;
        server_name flowrex.app;
        location / { proxy_pass http://desk; }
        location /ws { proxy_pass http://desk; proxy_read_timeout 3600s; }
    }
}
"""


def proxy_errors(minutes: float, text: str, *, upstream: str = "172.18.0.5:8000") -> str:
    """NGINX's error log, which shares the stream."""
    return "".join(
        f"{ago(minutes) + timedelta(seconds=number * 4):%Y/%m/%d %H:%M:%S} [error] 31#31: *{number} {text}, client: 203.0.113.9, "
        f'server: flowrex.app, request: "GET /api/orders HTTP/1.1", upstream: "http://{upstream}/api/orders", host: "flowrex.app"\n'
        for number in range(int(minutes * 15))
    )


def raised(minutes: float, exception: str, *, where: str = "orders.py", every: float = 4.0) -> str:
    """A backend's log: requests that fail with a traceback."""
    lines = []
    for number in range(int(minutes * 60 / every)):
        at = ago(minutes) + timedelta(seconds=number * every)
        lines += [
            f"{at:%Y-%m-%dT%H:%M:%S}.000Z ERROR request failed method=GET route=/api/orders status=500 duration_ms=41.2",
            "Traceback (most recent call last):",
            f'  File "/app/app/{where}", line 41, in handle',
            "    rows = load(request)",
            exception,
        ]
    return "\n".join(lines) + "\n"


def chatter(minutes: float, *texts: str) -> str:
    """A backend's log without anything that failed."""
    return "".join(
        f"{ago(minutes) + timedelta(seconds=number * 3):%Y-%m-%dT%H:%M:%S}.000Z INFO {texts[number % len(texts)]}\n"
        for number in range(int(minutes * 20))
    )


def container(service: str, number: int, image: str, *, started: float = 900, **state: object) -> dict[str, object]:
    """What ``docker inspect`` says of one."""
    at = f"{ago(started):%Y-%m-%dT%H:%M:%S}.000000000Z"
    return {
        "Id": f"{service}{number}".ljust(64, "0"),
        "Name": f"/harbor-{service}-{number}",
        "Created": at,
        "RestartCount": state.pop("RestartCount", 0),
        "State": {"Status": "running", "StartedAt": at, "ExitCode": 0, "OOMKilled": False, **state},
        "Config": {
            "Image": image,
            "Env": ["DATABASE_URL=postgresql://desk:hunter2-hunter2@postgres/desk"] if service == "backend" else [],
            "Labels": {"com.docker.compose.service": service, "com.docker.compose.container-number": str(number)},
        },
        "HostConfig": {"Memory": 512 * 2**20 if service == "backend" else 0},
        "NetworkSettings": {"Networks": {"harbor": {"IPAddress": f"172.18.0.{len(service) + number}"}}},
    }


def inspected(*backends: dict[str, object]) -> str:
    """A whole platform with these backends."""
    others = [container(name, 1, f"{name}:1") for name in ("nginx", "postgres", "redis")]
    return json.dumps([*(backends or [container("backend", n, "desk:1.4.2") for n in (1, 2)]), *others], indent=1)


def stats(**used_mib: float) -> str:
    """``docker stats`` as JSON, by service."""
    return "".join(
        json.dumps({"Name": f"harbor-{name}-1", "CPUPerc": "3.10%", "MemUsage": f"{used}MiB / 7.6GiB"}) + "\n"
        for name, used in used_mib.items()
    )


def session(
    pid: int, query: str, *, state: str = "active", since: float = 0.02, waits: str = "", blocked: str = ""
) -> str:
    """One row of ``pg_stat_activity``, in its transaction for *since* minutes."""
    begun = f"{ago(since):%Y-%m-%d %H:%M:%S.%f+00}"
    idle = state == "idle"
    return ",".join(
        [
            "16384,desk",
            f"{pid},desk,gunicorn,172.18.0.{pid % 2 + 8}",
            f"{ago(600):%Y-%m-%d %H:%M:%S.%f+00}",
            "" if idle else begun,
            begun,
            begun,
            waits or ("Client" if state != "active" else ""),
            ("transactionid" if waits else "ClientRead") if waits or state != "active" else "",
            state,
            f'"{query}"',
            "client backend",
            f'"{{{blocked}}}"',
            f"{NOW:%Y-%m-%d %H:%M:%S.%f+00}",
        ]
    )


def activity(*rows: str) -> str:
    """``pg_stat_activity`` with these sessions and that of the copy."""
    own = session(9999, "SELECT * FROM pg_stat_activity", since=0).replace("desk,gunicorn", "postgres,psql")
    return "\n".join([_ACTIVITY, *rows, own]) + "\n"


def info(seconds: int = 0, **facts: object) -> str:
    """``INFO`` so many seconds after the first copy."""
    known = {
        "redis_version": "7.2.4",
        "server_time_usec": int((NOW.timestamp() - 20 + seconds) * 1e6),
        "used_memory": 60 * 2**20,
        "used_memory_peak": 64 * 2**20,
        "used_memory_rss": 66 * 2**20,
        "maxmemory": 256 * 2**20,
        "maxmemory_policy": "noeviction",
        "mem_allocator": "jemalloc-5.3.0",
        "allocator_frag_ratio": "1.02",
        "allocator_frag_bytes": 1000000,
        "total_system_memory": 8 * 2**30,
        "evicted_keys": 0,
        "rejected_connections": 0,
        "connected_clients": 12,
        "maxclients": 10000,
        "rdb_last_bgsave_status": "ok",
        "role": "master",
        "connected_slaves": 0,
        "cmdstat_get": f"calls={1000 + seconds},usec={20000 + seconds},usec_per_call=20.00",
        "db0": "keys=1200,expires=1000,avg_ttl=600000",
        **facts,
    }
    return "# Server\r\n" + "".join(f"{name}:{fact}\r\n" for name, fact in known.items())


@cache
def certificate(host: str, days_left: float) -> str:
    """A site's certificate, as ``openssl s_client -showcerts`` prints it among other lines."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = NOW + timedelta(days=days_left)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "R11")])
    made = (
        x509.CertificateBuilder(
            issuer, name, key.public_key(), x509.random_serial_number(), end - timedelta(days=90), end
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, SHA256())
    )
    return f"CONNECTED(00000003)\n---\n{made.public_bytes(Encoding.PEM).decode()}---\nDONE\n"


def lines(text: str, many: int = 120) -> str:
    """*text* again and again, with ``{n}`` as it grows."""
    return "".join(text.format(n=number % 60) + "\n" for number in range(many))


def sites() -> dict[str, Site]:
    """Every folder by its name."""
    calm, quiet = access(30), {"docker-inspect.json": inspected(), "logs/backend.log": chatter(30, "order filled id=1")}
    new = [container("backend", number, "desk:1.5.0", started=9) for number in (1, 2)]
    killed = container("backend", 1, "desk:1.4.2", started=4, RestartCount=3, OOMKilled=True)
    waiting = [session(100 + n, "UPDATE orders SET state = 2", waits="Lock", since=1, blocked="77") for n in range(4)]
    held = [f"relation,16384,1700{n},,,,,77,RowExclusiveLock,t,orders" for n in range(2)]
    return {
        "502-after-deploy": (
            {
                "logs/nginx.log": access(30, 8),
                "logs/backend.log": chatter(21, "order filled id=1") + raised(8, "KeyError: 'account_id'"),
                "docker-inspect.json": inspected(*new),
            },
            {"error_rate": "http.bad-deploy"},
        ),
        "connection-refused": (
            {**quiet, "logs/nginx.log": access(30, 6, status=502) + proxy_errors(6, _REFUSED)},
            {"error_rate": "http.upstream-unreachable"},
        ),
        "upstream-timeout": (
            {
                **quiet,
                "logs/nginx-access.log": access(30, 6, status=504),
                "logs/nginx-error.log": proxy_errors(
                    6, "upstream timed out (110: Connection timed out) while reading response header from upstream"
                ),
            },
            {"error_rate": "http.upstream-unreachable"},
        ),
        "dns-failure": (
            {
                **quiet,
                "logs/nginx.log": access(30, 7),
                "logs/backend.log": raised(
                    7,
                    "httpx.ConnectError: [Errno -3] Temporary failure in name resolution: https://api.broker.example/v2",
                    where="broker.py",
                ),
            },
            {"error_rate": "http.dependency-failing"},
        ),
        "disk-full": (
            {
                **quiet,
                "logs/nginx.log": access(30, 7),
                "logs/backend.log": raised(
                    7, "OSError: [Errno 28] No space left on device: '/var/lib/desk/export.csv'"
                ),
            },
            {"error_rate": "http.single-route"},
        ),
        "bot-flood": (
            {
                **quiet,
                "logs/backend.log": raised(1, _NO_CONNECTION, every=0.1),
                "logs/nginx.log": access(30)
                + lines(
                    '198.51.100.7 - - [31/Jan/2026:04:11:{n:02d} +0000] "GET /api/orders HTTP/1.1" 500 0 "-" "scan"',
                    600,
                ),
            },
            {"error_rate": "http.traffic-flood"},
        ),
        "out-of-memory": (
            {
                "docker-inspect.json": inspected(killed, container("backend", 2, "desk:1.4.2")),
                "docker-stats.json": stats(backend=180, nginx=9, redis=70),
            },
            {"memory_usage": "memory.oom-killed", "triage": "service.restarting"},
        ),
        "near-its-limit": (
            {"docker-inspect.json": inspected(), "docker-stats.json": stats(backend=497, nginx=9, redis=70)},
            {"memory_usage": "memory.container-limit"},
        ),
        "redis-full": (
            {
                "redis-info.txt": info(used_memory=256 * 2**20, errorstat_OOM="count=10"),
                "redis-info-2.txt": info(10, used_memory=256 * 2**20, errorstat_OOM="count=410"),
            },
            {"memory_usage": "memory.redis-rejecting"},
        ),
        "certificate-expired": (
            {"certificates/flowrex.app.pem": certificate("flowrex.app", -1)},
            {"certificate_expiry": "tls.expired"},
        ),
        "certificate-of-another": (
            {"certificates/flowrex.app.pem": certificate("old.flowrex.app", 60)},
            {"certificate_expiry": "tls.hostname-mismatch"},
        ),
        "slow-query": (
            {
                "pg_stat_activity.csv": activity(session(77, "SELECT * FROM trades t JOIN fills f ON true", since=14)),
                "pg_settings.csv": SETTINGS.format(slots=100),
            },
            {"database_connections": "db.long-running-query"},
        ),
        "lock-pile-up": (
            {
                "pg_stat_activity.csv": activity(
                    session(77, "UPDATE orders SET state = 1", state="idle in transaction", since=6), *waiting
                ),
                "pg_settings.csv": SETTINGS.format(slots=100),
                "pg_locks.csv": "\n".join([_LOCKS, *held]) + "\n",
            },
            {"database_connections": "db.lock-contention"},
        ),
        "no-slot-left": (
            {
                "pg_stat_activity.csv": activity(
                    *(session(100 + n, "SELECT 1", state="idle", since=3) for n in range(96))
                ),
                "pg_settings.csv": SETTINGS.format(slots=100),
            },
            {"database_connections": "db.max-connections"},
        ),
        "pool-exhausted": (
            {
                **quiet,
                "logs/nginx.log": access(30, 7),
                "logs/backend.log": raised(
                    7,
                    _NO_CONNECTION,
                ),
            },
            {"error_rate": "http.dependency-failing", "database_connections": "db.unexplained-pool-exhaustion"},
        ),
        "scary-words": (
            {
                **quiet,
                "logs/nginx.log": calm,
                "logs/backend.log": chatter(
                    30,
                    "retry of error_report succeeded",
                    "GET /help/connection-refused 200",
                    "no fatal errors, 0 failed, OOM killer not seen",
                    "exception handler registered",
                ),
            },
            {"error_rate": "none", "slow_responses": "inconclusive"},
        ),
        "slow-route": (
            {**quiet, "logs/nginx.log": timed(60, 8)},
            {"slow_responses": "http.slow-route", "error_rate": "none"},
        ),
        "leaking": (
            {
                "docker-inspect.json": inspected(),
                "docker-stats.json": stats(backend=360, nginx=9, redis=70),
                "prometheus/rss.json": growing("process_resident_memory_bytes", 200, 4),
            },
            {"memory_usage": "memory.leak"},
        ),
        "no-upgrade-headers": (
            {"docker-inspect.json": inspected(), "nginx-T.txt": _WITHOUT_UPGRADE},
            {"websocket_disconnections": "ws.proxy-misconfigured"},
        ),
        "unknown-format": (
            {"logs/nginx.log": lines("<14>edge|{n}|Q|/api/orders|ok? maybe|17ms")},
            {"error_rate": "inconclusive", "slow_responses": "inconclusive"},
        ),
        "openssh-syslog": (
            {
                "logs/nginx.log": lines(
                    "Jan 31 04:11:{n:02d} gate sshd[2417]: Failed password for invalid user admin from 198.51.100.23 port 4{n:02d}12 ssh2"
                ),
            },
            {"error_rate": "inconclusive"},
        ),
        "apache-errors": (
            {
                "logs/nginx.log": lines(
                    "[Sat Jan 31 04:11:{n:02d} 2026] [error] mod_jk child workerEnv in error state 6"
                ),
            },
            {"error_rate": "inconclusive"},
        ),
        "linux-syslog": (
            {
                "logs/nginx.log": lines(
                    "Jan 31 04:11:{n:02d} combo kernel: Out of Memory: Killed process 4{n:02d} (httpd)."
                ),
                "logs/backend.log": lines(
                    "Jan 31 04:11:{n:02d} combo su(pam_unix)[214{n:02d}]: session opened for user cyrus by (uid=0)"
                ),
            },
            {"error_rate": "inconclusive", "memory_usage": "inconclusive"},
        ),
    }


def write(folder: Path, names: Iterable[str] = ()) -> Path:
    """The sites in *folder*, each with what is expected of it, in the form that ``backtest`` reads."""
    for name, (files, expected) in sites().items():
        if names and name not in names:
            continue
        told = {f"{runbook}-expected.txt": f"{cause}\n" for runbook, cause in expected.items()}
        for path, text in {"captured-at.txt": NOW.isoformat(), **files, **told}.items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return folder
