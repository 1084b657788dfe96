"""Where the sources are: from the settings, and what they leave out from the running stack."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import Replica
from flowrex_ops.settings import Settings
from flowrex_ops.sources.reading import call_within
from flowrex_ops.sources.tls import TlsEndpoint
from flowrex_ops.stack import Stack, open_stack

POSTGRES_PORT = 5432
REDIS_PORT = 6379


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
    found = _Finder(settings, stack, replicas, error)
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
    )


class _Finder:
    """One method a source; each notes in ``origins`` where it looked."""

    def __init__(self, settings: Settings, stack: Stack, replicas: list[Replica], error: str | None) -> None:
        self._settings = settings
        self._stack = stack
        self._replicas = replicas
        self._error = error
        self.origins: dict[str, str] = {}

    def postgres(self) -> str | None:
        configured = self._settings.postgres.dsn
        if configured:
            self.origins["postgres"] = "settings: postgres.dsn"
            return configured.get_secret_value()
        return self._discover("postgres", self._settings.postgres.service, POSTGRES_PORT, self._postgres_dsn)

    def application_role(self, dsn: str | None) -> str:
        """As set; else that of the backend's own DATABASE_URL, else of *dsn*; empty where none of them tells."""
        if self._settings.postgres.application_role:
            return self._settings.postgres.application_role
        own = ""
        if not self._error:
            with contextlib.suppress(SourceUnavailableError):
                own = self._stack.get_environment(self._settings.backend.service).get("DATABASE_URL", "")
        return _user(own) or _user(dsn or "")

    def redis(self) -> str | None:
        configured = self._settings.redis.url
        if configured:
            self.origins["redis"] = "settings: redis.url"
            return configured.get_secret_value()
        return self._discover("redis", self._settings.redis.service, REDIS_PORT, self._redis_url)

    def backends(self) -> dict[str, str]:
        found = backend_urls(self._settings, self._replicas)
        if self._settings.backend.urls:
            self.origins["backend"] = "settings: backend.urls"
        else:
            self.origins["backend"] = self._origin(bool(found), f"service '{self._settings.backend.service}'")
        return found

    def tls(self) -> tuple[TlsEndpoint, ...]:
        """The endpoints named, else the proxy's published port, whose names nobody has told."""
        tls = self._settings.tls
        if tls.endpoints:
            self.origins["tls"] = "settings: tls.endpoints"
            return tuple(
                TlsEndpoint(one.host, one.port, one.server_name or one.host, one.certificate) for one in tls.endpoints
            )
        found = [r.ports[tls.port] for r in self._replicas if r.service == tls.service and tls.port in r.ports]
        self.origins["tls"] = self._origin(bool(found), f"service '{tls.service}' with port {tls.port}")
        return tuple(TlsEndpoint(host, port) for host, port in found)

    def prometheus(self) -> str | None:
        prometheus = self._settings.prometheus
        if prometheus.url:
            self.origins["prometheus"] = "settings: prometheus.url"
            return prometheus.url
        return self._discover("prometheus", prometheus.service, prometheus.port, "http://{}:{}".format)

    def front_door(self) -> str | None:
        door = self._settings.front_door
        if door.url:
            self.origins["front door"] = "settings: front_door.url"
            return door.url
        return self._discover("front door", door.service, door.port, "http://{}:{}".format)

    def _discover(self, source: str, service: str, port: int, build: Callable[[str, int], str]) -> str | None:
        replica = next((r for r in self._replicas if r.service == service and port in r.ports), None)
        self.origins[source] = self._origin(replica is not None, f"service '{service}'")
        return build(*replica.ports[port]) if replica else None

    def _origin(self, found: bool, what: str) -> str:
        if found:
            return f"discovered: {what} of the running stack"
        if self._error:
            return f"not configured, and the stack could not be asked: {self._error}"
        return f"not configured, and the stack has no running {what}"

    def _postgres_dsn(self, host: str, port: int) -> str:
        environment = self._stack.get_environment(self._settings.postgres.service)
        user = environment.get("POSTGRES_USER", "postgres")
        database = environment.get("POSTGRES_DB", user)
        password = environment.get("POSTGRES_PASSWORD", "")
        login = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
        return f"postgresql://{login}@{host}:{port}/{quote(database, safe='')}"

    def _redis_url(self, host: str, port: int) -> str:
        password = self._stack.get_environment(self._settings.redis.service).get("REDIS_PASSWORD", "")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{login}{host}:{port}/0"


def _user(url: str) -> str:
    """The role of a URL of any driver (``postgresql+asyncpg://``) or of libpq's ``user=…``; empty where it names none."""
    found = re.match(r"[\w+.-]+://([^:/?#@]+)(?::[^@]*)?@", url)
    words = re.search(r"(?:^|\s)user=(\S+)", url)
    return unquote(found[1]) if found else words[1] if words else ""


class ReplicaFinder:
    """Where the replicas are now: under Compose a restart gives them other ports and addresses.

    While the stack does not answer, what it said last is what is known.
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
        by_url = {url.partition("//")[2]: name for name, url in backend_urls(self._settings, self._known).items()}
        return {**unambiguous_addresses(self._known), **by_url}

    def _ask(self) -> list[Replica]:
        with contextlib.suppress(SourceUnavailableError):
            self._known = list(self._stack.get_replicas())
        return self._known


def backend_urls(settings: Settings, replicas: Sequence[Replica]) -> dict[str, str]:
    """Base URLs of the backend's replicas: as configured, else of those that run."""
    backend = settings.backend
    if backend.urls:
        return {f"{backend.service}-{n}": url.rstrip("/") for n, url in enumerate(backend.urls, start=1)}
    running = [r for r in replicas if r.service == backend.service and r.running and backend.port in r.ports]
    return {replica.name: "http://{}:{}".format(*replica.ports[backend.port]) for replica in running}


def upstream_addresses(settings: Settings, replicas: Sequence[Replica]) -> dict[str, str]:
    """Where each replica of the backend can be asked: at its own addresses and its published port."""
    backend = settings.backend
    found: dict[str, set[str]] = {}
    for replica in (r for r in replicas if r.service == backend.service):
        places = [f"{address}:{backend.port}" for address in replica.addresses]
        places += ["{}:{}".format(*replica.ports[backend.port])] if backend.port in replica.ports else []
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
