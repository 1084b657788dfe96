"""Where the sources are: from the settings, and what they leave out from the running stack."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from flowrex_ops.compose import Stack, open_stack
from flowrex_ops.compose.project import command_line
from flowrex_ops.discovery.logins import Login, Logins
from flowrex_ops.discovery.roles import BACKEND, POSTGRES, PROMETHEUS, PROXY, REDIS, Parts, find_parts, used_hosts
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import Replica, TlsEndpoint, authority
from flowrex_ops.reading import call_within
from flowrex_ops.settings import Settings

POSTGRES_PORT = 5432
_TLS_PORTS = (443, 8443)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where to ask. ``origins`` says for each source where its address came from, or why it has none.

    ``replicas`` are those at the time of discovery; ``ReplicaFinder`` follows them from there.
    """

    stack: Stack
    stack_line: str
    stack_error: str | None = None
    postgres_dsn: str | None = None
    postgres_reserve_dsn: str | None = None
    application_role: str = ""
    redis_url: str | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    tls: tuple[TlsEndpoint, ...] = ()
    prometheus_url: str | None = None
    front_door_url: str | None = None
    replicas: Sequence[Replica] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    guessed: frozenset[str] = frozenset()
    """Parts whose port nothing tells, so that it is only the usual one."""
    stopped: frozenset[str] = frozenset()
    """Sources whose service is there and does not run, so that nobody could answer."""
    settings: Settings = field(default_factory=Settings.model_construct)
    """Those given, with the services and ports that were found where they name none."""

    @property
    def compose(self) -> str:
        """How compose is called for this platform; empty where that is not known, or something else runs it."""
        return next(filter(None, (command_line(replica.definition.labels) for replica in self.replicas)), "")

    @property
    def configuration(self) -> dict[str, str]:
        """How the platform is set up, to hold two runs against one another: sources' origins; replicas and releases of services."""
        found = {f"{source} from": origin for source, origin in self.origins.items()}
        for service in sorted({replica.service for replica in self.replicas}):
            own = [replica for replica in self.replicas if replica.service == service]
            versions = ", ".join(sorted({replica.version for replica in own if replica.version}))
            found[service] = f"{len(own)} replica{'' if len(own) == 1 else 's'}" + (f", {versions}" if versions else "")
        return found


def discover(settings: Settings) -> Endpoints:
    """Settings first, the running stack for the rest. A dead stack is told in ``stack_error``, not raised."""
    stack = open_stack(settings)
    replicas: list[Replica] = []
    error = None
    line: str = settings.stack.kind
    try:
        line, replicas = call_within(
            settings.limits.reading_seconds, lambda: (stack.describe(), list(stack.get_replicas())), line
        )
    except SourceUnavailableError as failure:
        error = str(failure)
    parts = find_parts(settings, stack, replicas)
    found = _Finder(parts, stack, replicas, error)
    postgres, redis, backends = found.postgres(), found.redis(), found.backends()
    reserve = settings.postgres.reserve_dsn
    return Endpoints(
        stack=stack,
        stack_line=line,
        stack_error=error,
        postgres_dsn=postgres,
        postgres_reserve_dsn=reserve.get_secret_value() if reserve else None,
        application_role=found.application_role(postgres),
        redis_url=redis,
        backends=backends,
        tls=found.tls(),
        prometheus_url=found.prometheus(),
        front_door_url=found.front_door(),
        replicas=tuple(replicas),
        origins=found.origins,
        project=getattr(stack, "project", "") if error is None else "",
        settings=parts.settings,
        guessed=parts.guessed,
        stopped=frozenset(found.stopped),
    )


class _Finder:
    """One method a source; each notes in ``origins`` where it looked."""

    def __init__(self, parts: Parts, stack: Stack, replicas: list[Replica], error: str | None) -> None:
        self._settings = parts.settings
        self._parts = parts
        self._stack = stack
        self._replicas = replicas
        self._error = error
        self._logins = Logins(stack, self._settings.limits.reading_seconds)
        self.origins: dict[str, str] = {}
        self.stopped: set[str] = set()

    def postgres(self) -> str | None:
        configured = self._settings.postgres.dsn
        if configured:
            self.origins["postgres"] = "settings: postgres.dsn"
            return configured.get_secret_value()
        return self._discover(
            "postgres", POSTGRES, self._settings.postgres.service, self._parts.ports[POSTGRES], self._postgres_dsn
        )

    def application_role(self, dsn: str | None) -> str:
        """As set; else that of the backend's own variables, else of *dsn*; empty where none of them tells."""
        if self._settings.postgres.application_role:
            return self._settings.postgres.application_role
        server = self._one(self._settings.postgres.service)
        user = self._user_of(server) if server else self._one(self._settings.backend.service)
        return (self._logins.database_user(user).user if user else "") or _user(dsn or "")

    def redis(self) -> str | None:
        configured = self._settings.redis.url
        if configured:
            self.origins["redis"] = "settings: redis.url"
            return configured.get_secret_value()
        return self._discover("redis", REDIS, self._settings.redis.service, self._parts.ports[REDIS], self._redis_url)

    def backends(self) -> dict[str, str]:
        found = backend_urls(self._settings, self._replicas)
        backend = self._settings.backend
        if backend.urls:
            self.origins["backend"] = "settings: backend.urls"
        else:
            self.origins["backend"] = self._origin(bool(found), BACKEND, backend.service, backend.port)
        return found

    def tls(self) -> tuple[TlsEndpoint, ...]:
        """The endpoints named, else the proxy's published port, whose names nobody has told."""
        tls = self._settings.tls
        if tls.endpoints:
            self.origins["tls"] = "settings: tls.endpoints"
            return tuple(
                TlsEndpoint(one.host, one.port, one.server_name or one.host, one.certificate) for one in tls.endpoints
            )
        # Its own address does not do: that a proxy of which nobody said so has TLS at all would be a guess.
        found = [r.ports[tls.port] for r in self._replicas if r.service == tls.service and tls.port in r.ports]
        if found or self._error or not self._one(tls.service):
            self.origins["tls"] = self._origin(bool(found), PROXY, tls.service, tls.port)
        else:
            self.origins["tls"] = f"not configured, and service '{tls.service}' publishes no port {tls.port}"
        return tuple(TlsEndpoint(host, port) for host, port in found)

    def prometheus(self) -> str | None:
        prometheus = self._settings.prometheus
        if prometheus.url:
            self.origins["prometheus"] = "settings: prometheus.url"
            return prometheus.url
        return self._discover("prometheus", PROMETHEUS, prometheus.service, prometheus.port, _http)

    def front_door(self) -> str | None:
        door = self._settings.front_door
        if door.url:
            self.origins["front door"] = "settings: front_door.url"
            return door.url
        # Where 443 is the only port, plain HTTP is answered 400 by it, which tells nothing.
        build = _https if door.port in _TLS_PORTS else _http
        return self._discover("front door", PROXY, door.service, door.port, build)

    def _discover(
        self, source: str, part: str, service: str, port: int, build: Callable[[str, int], str]
    ) -> str | None:
        found = [place for r in self._running(service) if (place := r.reach(port))]
        if self._one(service) and not self._running(service):
            self.stopped.add(source)
        self.origins[source] = self._origin(bool(found), part, service, port)
        return build(*found[0]) if found else None

    def _running(self, service: str) -> list[Replica]:
        return [replica for replica in self._replicas if replica.service == service and replica.running]

    def _one(self, service: str) -> Replica | None:
        own = [replica for replica in self._replicas if replica.service == service]
        return next((replica for replica in own if replica.running), own[0] if own else None)

    def _user_of(self, server: Replica) -> Replica | None:
        """The backend; where several could be it, whoever's variables lead to *server*."""
        hosts = {server.service, *server.definition.hostnames}
        users = (one for one in self._replicas if hosts & {*used_hosts(one.definition.environment)})
        return self._one(self._settings.backend.service) or next(users, None)

    def _origin(self, found: bool, part: str, service: str, port: int) -> str:
        """Where it was found, or the true reason why it was not."""
        if found:
            why = self._parts.why.get(part)
            return f"discovered: service '{service}' of the running stack{f' ({why})' if why else ''}, port {port}"
        if self._error:
            return f"not configured, and the stack could not be asked: {self._error}"
        one = self._one(service)
        if one is None:
            why = self._parts.why.get(part, "")
            return "not configured, and " + (why if "look" in why else f"the stack has no service '{service}'")
        if not one.running:
            return f"not configured, and service '{service}' of the stack is {one.state}, not running"
        return (
            f"not configured; service '{service}' runs, but publishes no port {port} and its container has no address"
        )

    def _postgres_dsn(self, host: str, port: int) -> str:
        server = self._one(self._settings.postgres.service)
        login = self._logins.postgres(server, self._user_of(server)) if server else Login()
        if login.unread:
            self.origins["postgres"] += f"; its password is in '{login.unread}', which cannot be read: set postgres.dsn"
        user = quote(login.user or "postgres", safe="")
        secret = ":" + quote(login.password, safe="") if login.password else ""
        database = quote(login.database or login.user or "postgres", safe="")
        return f"postgresql://{user}{secret}@{authority(host, port)}/{database}"

    def _redis_url(self, host: str, port: int) -> str:
        server, backend = self._one(self._settings.redis.service), self._one(self._settings.backend.service)
        login = self._logins.redis(server, backend) if server else Login()
        if login.unread:
            self.origins["redis"] += f"; its password is in '{login.unread}', which cannot be read: set redis.url"
        secret = f"{quote(login.user, safe='')}:{quote(login.password, safe='')}@" if login.password else ""
        return f"redis://{secret}{authority(host, port)}/0"


def _http(host: str, port: int) -> str:
    return f"http://{authority(host, port)}"


def _https(host: str, port: int) -> str:
    return f"https://{authority(host, port)}"


def _user(url: str) -> str:
    """The role of a URL of any driver (``postgresql+asyncpg://``) or of libpq's ``user=…``; empty where it names none."""
    found = re.match(r"[\w+.-]+://([^:/?#@]+)(?::[^@]*)?@", url)
    words = re.search(r"(?:^|\s)user=(\S+)", url)
    return unquote(found[1]) if found else words[1] if words else ""


class ReplicaFinder:
    """Where the replicas are now: under Compose a restart gives them other ports and addresses.

    While the stack does not answer, or a byte a second, what it said last is what is known.
    """

    def __init__(self, settings: Settings, stack: Stack, known: Sequence[Replica]) -> None:
        self._settings = settings
        self._stack = stack
        self._known = list(known)

    def urls(self) -> dict[str, str]:
        """Replica to base URL of the backend's replicas."""
        return backend_urls(self._settings, self._ask())

    def upstreams(self) -> dict[str, str]:
        """``host:port`` as the proxy has it to the replica of the backend that answers there; stopped ones too."""
        return upstream_addresses(self._settings, self._ask())

    def addresses(self) -> dict[str, str]:
        """Address that PostgreSQL may see a client come from, to the replica that has it."""
        return unambiguous_addresses(self._ask())

    def names(self) -> dict[str, str]:
        """``host:port``, or the host alone where one replica alone has it, to the replica."""
        by_port = {f"{host}:{port}": replica.name for replica in self._known for host, port in replica.ports.values()}
        by_url = {url.partition("//")[2]: name for name, url in backend_urls(self._settings, self._known).items()}
        return {**by_port, **unambiguous_addresses(self._known), **by_url}

    def _ask(self) -> list[Replica]:
        with contextlib.suppress(SourceUnavailableError):
            limit = self._settings.limits.reading_seconds
            self._known = call_within(limit, lambda: list(self._stack.get_replicas()), self._stack.kind)
        return self._known


def backend_urls(settings: Settings, replicas: Sequence[Replica]) -> dict[str, str]:
    """Base URLs of the backend's replicas: as configured, else of those that run."""
    backend = settings.backend
    if backend.urls:
        return {f"{backend.service}-{n}": url.rstrip("/") for n, url in enumerate(backend.urls, start=1)}
    running = [r for r in replicas if r.service == backend.service and r.running]
    build = _https if backend.scheme == "https" else _http
    return {replica.name: build(*place) for replica in running if (place := replica.reach(backend.port))}


def upstream_addresses(settings: Settings, replicas: Sequence[Replica]) -> dict[str, str]:
    """Where each replica of the backend can be asked: at its own addresses and its published port."""
    backend = settings.backend
    found: dict[str, set[str]] = {}
    for replica in (r for r in replicas if r.service == backend.service):
        places = [authority(address, backend.port) for address in replica.addresses]
        places += [authority(*replica.ports[backend.port])] if backend.port in replica.ports else []
        for place in places:
            found.setdefault(place, set()).add(replica.name)
    return {place: names.pop() for place, names in found.items() if len(names) == 1}


def unambiguous_addresses(replicas: Sequence[Replica]) -> dict[str, str]:
    """Address to replica, for addresses that one replica alone has (under supervisord all share 127.0.0.1)."""
    owners: dict[str, set[str]] = {}
    for replica in replicas:
        for address in replica.addresses:
            owners.setdefault(address, set()).add(replica.name)
    return {address: names.pop() for address, names in owners.items() if len(names) == 1}
