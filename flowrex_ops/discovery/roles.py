"""Which service plays which part of the platform: told by what it was made from, and by who uses it, not by its name.

Each part's signs are those of the images and programs that people run; a service has to show enough of them, and more
than any other. What a setting names is never searched for.

By signs with points, and a tie is named, not guessed: a wrong database is worse than none. A port that nothing tells
is marked as a guess, so that a refused connection there is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from flowrex_ops.causes import COMPOSE
from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import Definition, Replica
from flowrex_ops.settings import Settings

Narrow = Callable[[Sequence[str]], Sequence[str]]

BACKEND, POSTGRES, REDIS, PROXY, PROMETHEUS = "backend", "postgres", "redis", "proxy", "prometheus"
_SECTIONS = {
    BACKEND: "backend",
    POSTGRES: "postgres",
    REDIS: "redis",
    PROXY: "front_door",
    PROMETHEUS: "prometheus",
}
_ENOUGH = 2
_IMAGE = _PROGRAM = 4
_VARIABLE = 3
_NAME = 2
_HINT = 1


@dataclass(frozen=True, slots=True)
class Signs:
    """What tells a part: the image's last word, the program it starts, variables of its image, its port, words in its name."""

    images: str
    programs: str
    variables: frozenset[str]
    port: int
    port_words: str
    names: str


SIGNS: Mapping[str, Signs] = {
    POSTGRES: Signs(
        r"postgres(ql|-?\d+)?(-(ha|repmgr|server))?|postgis|timescaledb(-ha)?|pgvector|citus|spilo(-\d+)?|crunchy-postgres",
        r"postgres|postmaster|pg_ctl(cluster)?|patroni",
        frozenset({"PGDATA", "PG_MAJOR", "POSTGRESQL_VOLUME_DIR"}),
        5432,
        r"(?:^|\s)-p\s*(\d+)|\bport=(\d+)",
        r"postgres(ql)?|pg|db|database|timescale(db)?",
    ),
    REDIS: Signs(
        r"redis(-stack(-server)?)?|valkey|keydb|dragonfly",
        r"(redis|valkey|keydb)-server|dragonfly",
        frozenset({"REDIS_DOWNLOAD_URL", "REDIS_DATA_DIR", "VALKEY_DATA_DIR", "VALKEY_DOWNLOAD_URL"}),
        6379,
        r"--port[ =](\d+)",
        r"redis|valkey|keydb|cache",
    ),
    PROXY: Signs(
        r"nginx(-unprivileged|-proxy)?|openresty|traefik|caddy|haproxy|envoy|angie|tengine|freenginx|httpd|apache2?|lighttpd|varnish|h2o",
        r"nginx|openresty|traefik|caddy|haproxy|envoy|angie|httpd|apache2|lighttpd|varnishd|h2o",
        frozenset({"NGINX_VERSION", "CADDY_VERSION", "HAPROXY_VERSION"}),
        80,
        r"(?!)",
        r"nginx|proxy|reverse-?proxy|gateway|edge|ingress|lb|traefik|caddy",
    ),
    PROMETHEUS: Signs(
        r"prometheus|victoria-metrics",
        r"prometheus|victoria-metrics(-prod)?",
        frozenset(),
        9090,
        r"--web\.listen-address=\S*?:(\d+)|-httpListenAddr=\S*?:(\d+)",
        r"prometheus|prom",
    ),
}
"""https://hub.docker.com: the official images and those of bitnami, Timescale, PostGIS, Zalando, Crunchy and others."""

_BESIDE = re.compile(
    r"exporter|backup|admin|bouncer|pgpool|pgcat|commander|insight|sentinel|alertmanager|pushgateway|blackbox|cadvisor|certbot"
)
"""Companions whose image or name speaks of a part that they are not."""

_SERVERS = re.compile(
    r"\b(gunicorn|uvicorn|hypercorn|daphne|granian|waitress-serve|uwsgi|runserver|fastapi|flask|sanic|aiohttp|tornado)\b"
)
_WORKERS = re.compile(
    r"\b(celery|flower|beat|worker|workers|scheduler|rq|dramatiq|arq|huey|taskiq|alembic|migrate|migrations?|cron|consumer)\b"
)
_WAITS = re.compile(
    r"\b(celery|flower|beat|workers?|scheduler|rq|dramatiq|arq|huey|taskiq|consumer|http\.server|cron)\b"
)
"""Of those what is not to end."""
_USES_DATABASE = re.compile(r"^(postgres(ql)?|asyncpg|timescaledb)(\+\w+)?://")
_CONNINFO = re.compile(r"(?:^|\s)(host|port|dbname|user|password)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))")
"""libpq's other form, ``host=db dbname=shop user=shop``: https://www.postgresql.org/docs/current/libpq-connect.html"""
_USES_REDIS = re.compile(r"^(redis|rediss|valkey)://")
_DATABASE_HOSTS = ("DB_HOST", "DATABASE_HOST", "POSTGRES_HOST", "POSTGRES_SERVER", "PGHOST", "POSTGRESQL_HOST")
_BACKEND_NAMES = re.compile(r"\b(backend|api|app|web|server|application|django|fastapi|flask)\b")
_BACKEND_PORTS = re.compile(
    r"(?:--port[ =]|-p[ =])(\d{2,5})\b|(?:--bind[ =]|-b[ =]?|runserver )(?:\S*?:)?(\d{2,5})\b|--http[ =:](?:\S*?:)?(\d{2,5})\b"
)
_CHECKED = re.compile(r"://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]):(\d{2,5})\b")
"""Where a container's health check asks it over HTTP."""
_FOLLOWS = re.compile(r"--(?:replicaof|slaveof)\b|\b(?:replica|slave|standby|secondary|follower|read-?only)\b")
"""A copy of another server, by its command, its image's variables (``REDIS_REPLICATION_MODE``, ``POSTGRESQL_REPLICATION_MODE``) or its name."""
_UPSTREAM = r"(?<![\w.-]){}(?::(\d+)|;|\s)"
_POOL = r"\bupstream\s+(\S+)\s*\{{[^}}]*?\bserver\s+{}[:;\s]"
_TLS_SERVER = re.compile(
    r"--(?:ssl-?)?(?:certfile|keyfile|certificate|cert)[ =]|https://(?:localhost|127\.0\.0\.1|\[::1\])[:/]"
)
"""Options of gunicorn, uvicorn, hypercorn, daphne and granian, or a health check: whoever names a certificate speaks TLS."""
_PORT_VARIABLES = ("UVICORN_PORT", "PORT", "APP_PORT", "HTTP_PORT", "SERVER_PORT")


@dataclass(frozen=True, slots=True)
class Found:
    """The service that plays a part and why it is taken for that; without one, ``why`` says why there is none."""

    service: str
    why: str


class Services:
    """The stack's services, each by one of its replicas: a running one where there is one."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        ordered = sorted(replicas, key=lambda replica: (not replica.running, replica.name))
        self.all: dict[str, Replica] = {}
        for replica in ordered:
            self.all.setdefault(replica.service, replica)

    def find(self, part: str, default: str, prefer: Narrow) -> Found:
        """Who shows the most signs of *part*; *prefer* narrows down those that show as many."""
        return _best({name: _signs(one, SIGNS[part], default) for name, one in self.all.items()}, part, prefer)

    def find_backend(self, default: str, prefer: Narrow) -> Found:
        """Who answers HTTP and uses the database, and is no part of the infrastructure."""
        infrastructure = {
            name
            for name, one in self.all.items()
            for signs in SIGNS.values()
            if sum(_signs(one, signs, "").values()) >= _VARIABLE
        }
        found = {
            name: _backend_signs(one, default)
            for name, one in self.all.items()
            if name not in infrastructure and not _BESIDE.search(_image_name(one.definition))
        }
        return _best(found, BACKEND, prefer)

    def named(self, host: str) -> str:
        """The service that others know as *host*; empty where none is."""
        return next((name for name, one in self.all.items() if host and host in (name, *one.definition.hostnames)), "")


@dataclass(frozen=True, slots=True)
class Parts:
    """*settings* with what was found, the port of each part, why a part was, or was not, found, and whose port is a guess."""

    settings: Settings
    ports: Mapping[str, int]
    why: Mapping[str, str]
    guessed: frozenset[str] = frozenset()


def find_parts(settings: Settings, stack: Stack, replicas: Sequence[Replica]) -> Parts:
    """Every part of the platform among *replicas*; what *settings* name is taken as it is."""
    services = Services(replicas)
    named = {part: getattr(settings, section) for part, section in _SECTIONS.items()}
    found = {
        part: Found(own.service, "by the settings") for part, own in named.items() if "service" in own.model_fields_set
    }

    def users(names: Sequence[str]) -> Sequence[str]:
        """Those of *names* to which somebody's variables lead."""
        hosts = {host for one in services.all.values() for host in used_hosts(one.definition.environment)}
        leading = [name for name in names if not _FOLLOWS.search(_all_words(services.all[name]))]
        return sorted({services.named(host) for host in hosts} & set(leading or names))

    def seen_outside(names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if published(services.all[name])]

    def upstreams(names: Sequence[str]) -> Sequence[str]:
        text = _proxy_configuration(stack, services.all.get(found[PROXY].service))
        return [name for name in names if re.search(_UPSTREAM.format(re.escape(name)), text)]

    narrowed = {POSTGRES: users, REDIS: users, PROXY: seen_outside, PROMETHEUS: seen_outside}
    for part, prefer in narrowed.items():
        if part not in found:
            found[part] = services.find(part, named[part].service, prefer)
    if BACKEND not in found:
        found[BACKEND] = services.find_backend(named[BACKEND].service, upstreams)
    ports, guessed = {}, set()
    for part, one in found.items():
        usual = getattr(named[part], "port", None) or SIGNS[part].port
        replica = services.all.get(one.service)
        reported = usual if "port" in named[part].model_fields_set else None
        reported = reported or (listening_port(replica, part, usual) if replica else None)
        if reported is None and replica and part == BACKEND:
            text = _proxy_configuration(stack, services.all.get(found[PROXY].service))
            upstream = re.search(_UPSTREAM.format(re.escape(one.service)), text)
            reported = int(upstream[1]) if upstream and upstream[1] else None
        ports[part] = reported or usual
        if reported is None:
            guessed.add(part)
    program = nginx_program(services.all.get(found[PROXY].service))
    resolved = with_services(settings, {part: one.service for part, one in found.items()}, ports, program)
    resolved = _with_scheme(resolved, services, services.all.get(found[PROXY].service), stack)
    return Parts(resolved, ports, {part: one.why for part, one in found.items()}, frozenset(guessed))


def _with_scheme(settings: Settings, services: Services, proxy: Replica | None, stack: Stack) -> Settings:
    """*settings* with what the backend speaks, where they do not say."""
    backend = settings.backend
    if "scheme" in backend.model_fields_set or not (one := services.all.get(backend.service)):
        return settings
    likely = str(backend.port).endswith("443")  # else NGINX is not asked once more
    scheme = "https" if speaks_tls(one, _proxy_configuration(stack, proxy) if likely else "") else "http"
    return settings.model_copy(update={"backend": backend.model_copy(update={"scheme": scheme})})


def speaks_tls(backend: Replica, configuration: str) -> bool:
    """Whether it says so by its command, its variables or its health check, or NGINX passes requests on to it by ``https://``."""
    made = backend.definition
    own = f"{made.command} {made.environment.get('GUNICORN_CMD_ARGS', '')} {made.health_check}"
    if _TLS_SERVER.search(own) or made.environment.get("UVICORN_SSL_CERTFILE"):
        return True
    name = re.escape(backend.service)
    places = "|".join([name, *map(re.escape, re.findall(_POOL.format(name), configuration))])
    return bool(re.search(rf"\b(?:proxy|grpc)_pass\s+(?:https|grpcs)://(?:{places})[:/;\s]", configuration))


def _proxy_configuration(stack: Stack, proxy: Replica | None) -> str:
    """As NGINX has it; empty where it cannot be read."""
    if proxy is None or not proxy.running:
        return ""
    try:
        return stack.execute(proxy, [*nginx_program(proxy), "-T"], timeout_seconds=2.0).stdout
    except SourceUnavailableError:
        return ""


def _best(signs: Mapping[str, Mapping[str, int]], part: str, prefer: Narrow) -> Found:
    scores = {name: sum(own.values()) for name, own in signs.items()}
    most = max(scores.values(), default=0)
    if most < _ENOUGH:
        return Found("", f"no service of the stack looks like {part}; set {part}.service")
    several = sorted(name for name, score in scores.items() if score == most)
    if len(several) > 1:
        several = sorted(prefer(several)) or several
    if len(several) == 1:
        return Found(several[0], ", ".join(signs[several[0]]))
    listed = ", ".join(f"'{name}'" for name in several)
    return Found("", f"several services look like {part}: {listed}; set {part}.service")


def _signs(replica: Replica, signs: Signs, default: str) -> dict[str, int]:
    """What *replica* shows of *signs*, and how much that says; its name alone suffices only where it is the usual one."""
    made = replica.definition
    if _BESIDE.search(_words(replica)):
        return {}
    programs = [program for program in _programs(made.command) if re.fullmatch(signs.programs, program)]
    variables = sorted(signs.variables & set(made.environment))
    found = {
        f"image {made.image}": _IMAGE * bool(re.fullmatch(signs.images, _image_name(made))),
        f"runs {''.join(programs[:1])}": _PROGRAM * bool(programs),
        f"variable {''.join(variables[:1])}": _VARIABLE * bool(variables),
        "its name": _NAME * (replica.service == default)
        + _HINT * bool(re.search(rf"(?:^|[-_.])(?:{signs.names})(?:$|[-_.\d])", replica.service)),
        f"port {signs.port}": _HINT * (signs.port in replica.ports),
    }
    return {sign: points for sign, points in found.items() if points}


def _backend_signs(replica: Replica, default: str) -> dict[str, int]:
    made = replica.definition
    words = replica.service.replace("_", "-")
    serves = _SERVERS.search(made.command)
    # gunicorn has workers, and an entry point migrates before it serves.
    works = (not serves and _WORKERS.search(made.command)) or _WORKERS.search(words)
    database = database_url(made.environment) or made.environment.keys() & {*_DATABASE_HOSTS}
    found = {
        "uses the database": _IMAGE * bool(database),
        "uses Redis": _HINT * bool(redis_url(made.environment)),
        f"runs {serves[0] if serves else ''}": _VARIABLE * bool(serves),
        "has a port": _NAME * bool(replica.ports),
        "its name": _VARIABLE * (replica.service == default) + _HINT * bool(_BACKEND_NAMES.search(words)),
        "works in the background": -2 * _IMAGE * bool(works),
    }
    return {sign: points for sign, points in found.items() if points}


def database_url(environment: Mapping[str, str]) -> str:
    """The URL of PostgreSQL among a user's variables, whatever its name; empty where none has one."""
    named = [environment.get("DATABASE_URL", ""), *(value for _, value in sorted(environment.items()))]
    urls = (value if _USES_DATABASE.match(value) else _of_conninfo(value) for value in named)
    return next(filter(None, urls), "")


def _of_conninfo(text: str) -> str:
    found = {name: quoted or plain for name, quoted, plain in _CONNINFO.findall(text)}
    if "host" not in found or "dbname" not in found:
        return ""
    user, password, database = (quote(found.get(name, ""), safe="") for name in ("user", "password", "dbname"))
    return f"postgresql://{user}:{password}@{found['host']}:{found.get('port', '5432')}/{database}"


def redis_url(environment: Mapping[str, str]) -> str:
    """The URL of Redis among a user's variables, whatever its name; empty where none has one."""
    urls = [value for _, value in sorted(environment.items()) if _USES_REDIS.match(value)]
    return next((url for url in (environment.get("REDIS_URL", ""), *urls) if _USES_REDIS.match(url)), "")


def used_hosts(environment: Mapping[str, str]) -> list[str]:
    """Where a user of PostgreSQL and Redis connects to, by its URLs or its variables for the hosts."""
    values = [_of_conninfo(value) or value for value in environment.values()]
    urls = [re.match(r"[^:]+://(?:[^@/]*@)?(\[[^\]]+\]|[^:/?]+)", url) for url in values]
    named = [environment[name] for name in (*_DATABASE_HOSTS, "REDIS_HOST") if environment.get(name)]
    return [url[1] for url in urls if url] + named


def serves(replica: Replica) -> bool:
    """Whether it looks like what runs all the time: a server of any part, or what waits for work."""
    made, words = replica.definition, f"{replica.service} {replica.definition.command}"
    if any(sum(_signs(replica, signs, "").values()) >= _ENOUGH for signs in SIGNS.values()):
        return True
    return bool(made.health_check or _SERVERS.search(words) or _BACKEND_NAMES.search(words) or _WAITS.search(words))


def published(replica: Replica) -> bool:
    """Whether one of its ports can be reached from outside the project's networks."""
    return any(host not in replica.addresses for host, _ in replica.ports.values())


def listening_port(replica: Replica, part: str, usual: int) -> int | None:
    """The port that *part* listens on, by its command, its variables, or what it EXPOSEs; None where nothing tells."""
    made = replica.definition
    pattern = _BACKEND_PORTS if part == BACKEND else re.compile(SIGNS[part].port_words)
    reported = pattern.search(made.command)
    if part == BACKEND and not reported:
        reported = _BACKEND_PORTS.search(made.environment.get("GUNICORN_CMD_ARGS", ""))
    if reported:
        return int(next(number for number in reported.groups() if number))
    names = _PORT_VARIABLES if part == BACKEND else ("PGPORT", "POSTGRESQL_PORT_NUMBER", "REDIS_PORT_NUMBER")
    given = next((made.environment[name] for name in names if made.environment.get(name, "").isdigit()), "")
    if given and part in (BACKEND, POSTGRES, REDIS):
        return int(given)
    if part == BACKEND and (checked := _CHECKED.search(made.health_check)):
        return int(checked[1])
    if usual in replica.ports or part != BACKEND:
        return usual if usual in replica.ports or len(replica.ports) != 1 else next(iter(replica.ports))
    return next(iter(replica.ports)) if len(replica.ports) == 1 else None


def nginx_program(proxy: Replica | None) -> tuple[str, ...]:
    """NGINX with the options that it was started with: another file than its own is no configuration of what runs."""
    started = re.search(r"\bnginx\b([^&|]*)", proxy.definition.command if proxy else "")
    options = re.findall(r"(?<!\S)(-[cp])\s*([^\s'\"]+)", started[1]) if started else []
    return ("nginx", *(word for option in options for word in option))


_CALLS_SERVICE = re.compile(r"^((?:\S+ )*?)(backend|postgres|redis|nginx)( nginx)?(?=\s|$)")


def as_named_here(target: str, settings: Settings) -> str:
    """The catalogue's command with the services, and NGINX's own options, as they are called on this platform."""
    before, compose, rest = target.partition(COMPOSE)
    if not compose or not (found := _CALLS_SERVICE.match(rest.strip())):
        return target
    services = {
        "backend": settings.backend.service,
        "postgres": settings.postgres.service,
        "redis": settings.redis.service,
        "nginx": settings.proxy.service,
    }
    program = f" {' '.join(settings.proxy.program)}" if found[3] else ""
    named = f"{found[1]}{services[found[2]]}{program}{rest.strip()[found.end() :]}"
    return f"{before}{compose} {named}"


def with_services(
    settings: Settings, services: Mapping[str, str], ports: Mapping[str, int], program: Sequence[str] = ("nginx",)
) -> Settings:
    """*settings* with the services and ports that were found, and NGINX's *program*, where they name none themselves."""
    parts = {
        "backend": BACKEND,
        "postgres": POSTGRES,
        "redis": REDIS,
        "front_door": PROXY,
        "tls": PROXY,
        "proxy": PROXY,
        "prometheus": PROMETHEUS,
    }
    changed = {}
    for section, part in parts.items():
        own = getattr(settings, section)
        new: dict[str, object] = {}
        if services.get(part) and "service" not in own.model_fields_set:
            new["service"] = services[part]
        if part in ports and section != "tls" and hasattr(own, "port") and "port" not in own.model_fields_set:
            new["port"] = ports[part]
        if section == "proxy" and "program" not in own.model_fields_set:
            new["program"] = tuple(program)
        changed[section] = own.model_copy(update=new)
    return settings.model_copy(update=changed)


def _image_name(made: Definition) -> str:
    return made.image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()


def _programs(command: str) -> Iterable[str]:
    """Names of the programs in a command: the first words, of which an entry point's script may be one, and ``sh -c``'s."""
    for word in command.split()[:6]:
        yield word.rpartition("/")[2].strip("\"';")


def _all_words(replica: Replica) -> str:
    modes = [value for name, value in replica.definition.environment.items() if name.endswith("REPLICATION_MODE")]
    return f"{replica.service} {replica.definition.command} {' '.join(modes)}".replace("_", "-").lower()


def _words(replica: Replica) -> str:
    made = replica.definition
    return f"{replica.service} {_image_name(made)} {' '.join(list(_programs(made.command))[:2])}".lower()
