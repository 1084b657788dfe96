"""What the platform is and where; the only reader of the environment and of the settings file.

Order, first found wins: the path given, ``$FLOWREX_OPS_SETTINGS``, ``./flowrex-ops.toml``. Single values can be
overridden by environment variables (``FLOWREX_OPS_POSTGRES__DSN``), and each value as a file in a secrets folder
(``$FLOWREX_OPS_SECRETS_DIR/postgres__dsn``), the way Docker and Kubernetes mount secrets.
What is not configured is discovered later from the running stack (see ``flowrex_ops.discovery.endpoints``).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from flowrex_ops.errors import SettingsError
from flowrex_ops.outputs_url import check_url, is_url, working_folder

STATUS_PAGES = {
    "TwelveData": "https://status.twelvedata.com",
    "OANDA": "https://www.oanda.com/system-status",
    "AWS": "https://status.aws.amazon.com",
    "Cloudflare": "https://www.cloudflarestatus.com",
}
"""The pages of those that the platform stands on; asked for Statuspage's summary."""

NOT_PUBLIC = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
"""Loopback (RFC 1122, RFC 4291) and private networks (RFC 1918, RFC 4193)."""

DEFAULT_FILE = "flowrex-ops.toml"
PATH_VARIABLE = "FLOWREX_OPS_SETTINGS"
OUTPUTS_VARIABLE = "FLOWREX_OPS_OUTPUTS"
SECRETS_VARIABLE = "FLOWREX_OPS_SECRETS_DIR"
SHORTEST_SECRET = 4
SHORTEST_TOKEN = 16


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StackSettings(_Section):
    """Which stack runs the platform. ``project`` is the compose project; ``socket`` is supervisord's unix socket.

    ``may_be_absent`` names services that run only now and then; ``version_variable`` is the one that names the release in
    the compose file.
    """

    kind: Literal["compose", "supervisor"] = "compose"
    project: str = ""
    may_be_absent: tuple[str, ...] = ("certbot",)
    socket: Path | None = None
    docker_host: str = ""
    version_variable: str = Field(default="VERSION", min_length=1)


class PostgresSettings(_Section):
    """``reserve_dsn`` may use the slots kept for superusers; it is tried only when ``dsn`` is refused with 53300.

    ``application_role`` is the role whose sessions mitigations may touch; empty means the role of the backend's DATABASE_URL, else of ``dsn``.
    ``admin_dsn`` may create and rename databases; without it ``dsn`` is used for that too.
    """

    dsn: SecretStr | None = None
    admin_dsn: SecretStr | None = None
    service: str = "postgres"
    reserve_dsn: SecretStr | None = None
    application_role: str = ""

    @field_validator("dsn", "admin_dsn", "reserve_dsn")
    @classmethod
    def _is_a_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        """What libpq would not take is told before anything starts, and without the password in it."""
        if value is not None:
            from psycopg import ProgrammingError, conninfo

            try:
                port = conninfo.conninfo_to_dict(value.get_secret_value()).get("port", "")
            except ProgrammingError:
                port = None
            if port is None or not all(part.isdigit() or not part for part in str(port).split(",")):
                raise ValueError("it is no address of PostgreSQL; write postgresql://user:password@host:5432/database")
        return value


class RedisSettings(_Section):
    """``url`` as redis-py takes it: ``redis://:password@host:port/0``."""

    service: str = "redis"
    url: SecretStr | None = None


class BackendSettings(_Section):
    """The backend's service name, the port it listens on, and (where not discovered) its replicas' base URLs.

    ``scheme`` is what it speaks there. ``health_path`` answers 2xx where a replica is ready; without it the first of the usual ones that exists is asked.
    """

    service: str = "backend"
    port: int = Field(default=8000, ge=1, le=65535)
    scheme: Literal["http", "https"] = "http"
    urls: tuple[str, ...] = ()
    health_path: str = Field(default="", pattern="^(/|$)")
    pool_size: int | None = Field(default=None, ge=1)


class FrontDoorSettings(_Section):
    """Where users come in; without ``url`` the published ``port`` of ``service`` is asked.

    ``path`` answers without a server's error where users are served; without it the first of the usual ones that exists is asked.
    """

    url: str = ""
    path: str = Field(default="", pattern="^(/|$)")
    service: str = "nginx"
    port: int = Field(default=80, ge=1, le=65535)


class TlsEndpointSettings(_Section):
    """One endpoint: where to connect, the name that clients use for it, and the PEM file that it should serve.

    ``server_name`` is ``host`` where it is left out; ``certificate`` is read on this machine.
    """

    host: str = Field(min_length=1)
    port: int = Field(default=443, ge=1, le=65535)
    server_name: str = ""
    certificate: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """``"flowrex.app"``, ``"flowrex.app:443"`` and ``"[::1]:443"`` are endpoints too."""
        if not isinstance(value, str):
            return value
        address = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:/\s]+))(?::(?P<port>\d+))?", value.strip())
        if address is None:
            raise ValueError(f"'{value}' is not host:port")
        port = {"port": int(address["port"])} if address["port"] else {}
        return {"host": address["six"] or address["host"], **port}


class TlsSettings(_Section):
    """What users reach over TLS. ``ca_file`` holds anchors besides the system's.

    Without ``endpoints``, the published ``port`` of ``service`` is asked, whose names then are not known.
    """

    endpoints: tuple[TlsEndpointSettings, ...] = ()
    ca_file: Path | None = None
    warn_days: float = Field(default=21.0, ge=0)
    service: str = "nginx"
    port: int = Field(default=443, ge=1, le=65535)


class CertbotSettings(_Section):
    """certbot and its options, run in the running container (or program) of ``service``; on this machine where that is empty.

    ``server`` is the ACME server's directory, ``webroot`` the folder (as certbot sees it) from which NGINX serves
    ``/.well-known/acme-challenge/``; where one is empty, what certbot remembers of the certificate holds.
    """

    service: str = "certbot"
    program: tuple[str, ...] = Field(default=("certbot",), min_length=1)
    server: str = ""
    webroot: str = ""
    seconds: float = Field(default=120.0, gt=0)


class BrokerSettings(_Section):
    """The broker's REST API as the backend sees it, to ask it from here too; ``token`` is best a read-only one."""

    url: str = ""
    token: SecretStr | None = None
    account: str = ""


class ProxySettings(_Section):
    """The proxy's service; ``program`` is NGINX with its options where it runs, ``configuration`` is a copy of its files here.

    ``control`` is the folder, here, whose ``http-*.conf`` and ``server-*.conf`` NGINX includes; ``control_inside`` is the same
    folder as NGINX sees it, where that is another path. Without it nothing that needs the proxy is changed.

    ``never_block`` are networks of which no address is ever shut out: what is not public is a load balancer, or Docker, not a client.

    ``websocket_url`` is what clients open (``wss://flowrex.app/ws``); without it the path is asked at the TLS endpoints' first, or
    at the published ``port``.
    """

    service: str = "nginx"
    port: int = Field(default=80, ge=1, le=65535)
    program: tuple[str, ...] = Field(default=("nginx",), min_length=1)
    configuration: Path | None = None
    control: Path | None = None
    control_inside: str = ""
    websocket_url: str = ""
    websocket_path: str = Field(default="/ws", pattern="^/")
    never_block: tuple[IPvAnyNetwork, ...] = tuple(map(ip_network, NOT_PUBLIC))


class SentrySettings(_Section):
    """Sentry's API; without ``token`` nothing is asked. ``token`` needs the scope ``project:read`` alone."""

    url: str = "https://sentry.io"
    organization: str = "flowrex"
    project: str = "backend"
    token: SecretStr | None = None


class GrafanaSettings(_Section):
    """Where each applied mitigation is annotated; without ``url`` nothing is sent. ``token`` needs ``annotations:create`` alone.

    With ``dashboard_uid`` the annotation is that dashboard's, otherwise the organization's, found by its ``tags``.
    """

    url: str = ""
    token: SecretStr | None = None
    dashboard_uid: str = ""
    tags: tuple[str, ...] = ("flowrex-ops",)


class TicketSettings(_Section):
    """Where an incident's ticket is made, by one POST; without ``url`` none is.

    ``body`` is what the tracker wants, ``address`` where its answer tells the ticket's, ``link`` what leads from there to the incident.
    """

    url: str = ""
    token: SecretStr | None = None
    headers: Mapping[str, str] = Field(default_factory=lambda: {"Authorization": "Bearer {token}"})
    body: Mapping[str, Any] = Field(
        default_factory=lambda: {"title": "{severity} {title}", "body": "{summary}\n\n{id}: {link}"}
    )
    address: str = "{html_url}"
    link: str = "outputs/{id}"
    seconds: float = Field(default=10.0, gt=0, le=60)
    attempts: int = Field(default=3, ge=1, le=10)
    retry_seconds: float = Field(default=0.5, ge=0)

    @field_validator("headers", "body", "link")
    @classmethod
    def _known_names(cls, value: Any, info: ValidationInfo) -> Any:
        known = {"headers": "token", "link": "id"}.get(str(info.field_name), "id title severity link summary").split()
        if unknown := [name for name in re.findall(r"\{(\w+)\}", str(value)) if name not in known]:
            raise ValueError(f"'{{{unknown[0]}}}' is no name there; there are {', '.join(known)}")
        return value


class NotifySettings(_Section):
    """Who can be notified: names and apprise URLs. A receiver named like a role (``team-lead``) gets that role's reminders.

    ``default`` are those that a message goes to where none is named; all of them where that is empty, too.
    """

    urls: Mapping[str, SecretStr] = Field(default_factory=dict)
    default: tuple[str, ...] = ()
    seconds: float = Field(default=10.0, gt=0, le=60)
    attempts: int = Field(default=3, ge=1, le=10)
    retry_seconds: float = Field(default=0.5, ge=0)


class PrometheusSettings(_Section):
    """``url`` of Prometheus; without it the published ``port`` of ``service`` is asked."""

    url: str = ""
    service: str = "prometheus"
    port: int = Field(default=9090, ge=1, le=65535)


class MetricsSettings(_Section):
    """What the numbers on the backend's ``/metrics`` are called, by what they mean; the first name that is there counts.

    The defaults are ours, those of psycopg_pool's, SQLAlchemy's and asyncpg's collectors, OpenTelemetry's, and those of
    prometheus-fastapi-instrumentator and starlette-exporter. SQLAlchemy's size is without its overflow, so that the most
    a pool may have (``pool_maximum``) is ``pool_base`` and ``pool_overflow`` together.
    """

    pool_in_use: tuple[str, ...] = (
        "flowrex_database_connections",
        "sqlalchemy_pool_checked_out",
        "sqlalchemy_pool_checkedout",
        "sqlalchemy_pool_checked_out_connections",
        "db_pool_checked_out",
        "db_pool_checkedout",
        "db_pool_connections_in_use",
        "db_pool_in_use",
        "db_pool_used",
        "asyncpg_pool_in_use",
        'db_client_connections_usage{state="used"}',
        'db_client_connection_count{state="used"}',
    )
    pool_open: tuple[str, ...] = ("psycopg_pool_pool_size", "psycopg_pool_size", "asyncpg_pool_size", "aiopg_pool_size")
    pool_idle: tuple[str, ...] = (
        "psycopg_pool_pool_available",
        "psycopg_pool_available",
        "asyncpg_pool_idle",
        "asyncpg_pool_idle_size",
        "asyncpg_pool_free",
        "aiopg_pool_freesize",
    )
    pool_maximum: tuple[str, ...] = (
        "flowrex_database_connections_max",
        "psycopg_pool_pool_max",
        "psycopg_pool_max",
        "asyncpg_pool_max_size",
        "aiopg_pool_maxsize",
        "db_pool_max",
        "db_pool_max_size",
        "db_pool_connections_max",
        "db_client_connections_max",
        "db_client_connection_max",
    )
    pool_base: tuple[str, ...] = ("sqlalchemy_pool_size", "db_pool_size")
    pool_overflow: tuple[str, ...] = ("sqlalchemy_pool_max_overflow", "db_pool_max_overflow")
    pool_waiting: tuple[str, ...] = (
        "flowrex_database_pool_waiting",
        "psycopg_pool_requests_waiting",
        "db_pool_waiting",
        "db_client_connections_pending_requests",
        "db_client_connection_pending_requests",
    )
    pool_requests: tuple[str, ...] = ("flowrex_database_pool_requests_total", "psycopg_pool_requests_num")
    pool_queued: tuple[str, ...] = ("flowrex_database_pool_queued_total", "psycopg_pool_requests_queued")
    pool_errors: tuple[str, ...] = (
        "flowrex_database_pool_errors_total",
        "psycopg_pool_requests_errors",
        "db_client_connections_timeouts_total",
        "db_client_connection_timeouts_total",
    )
    pool_wait_seconds: tuple[str, ...] = ("flowrex_database_pool_wait_seconds_total",)
    pool_wait_ms: tuple[str, ...] = ("psycopg_pool_requests_wait_ms",)
    websocket_connections: tuple[str, ...] = (
        "flowrex_websocket_connections",
        "websocket_connections",
        "websocket_connections_active",
        "websocket_active_connections",
        "active_websocket_connections",
        "websockets_active",
        "websocket_clients",
        "ws_connections",
        "ws_connections_active",
        "ws_active_connections",
    )
    websocket_messages: tuple[str, ...] = (
        "flowrex_websocket_messages_total",
        "websocket_messages_total",
        "websocket_messages_sent_total",
        "ws_messages_total",
        "ws_messages_sent_total",
    )
    websocket_closed: tuple[str, ...] = (
        "flowrex_websocket_closed_total",
        "websocket_closed_total",
        "websocket_disconnects_total",
        "websocket_disconnections_total",
        "ws_disconnects_total",
    )
    websocket_memory_bytes: tuple[str, ...] = ("process_resident_memory_bytes",)
    load_requests: tuple[str, ...] = (
        "flowrex_http_requests_in_progress",
        "http_requests_inprogress",
        "http_requests_in_progress",
        "starlette_requests_in_progress",
        "fastapi_requests_in_progress",
        "http_server_active_requests",
    )
    requests: tuple[str, ...] = (
        "flowrex_http_requests_total",
        "http_requests_total",
        "starlette_requests_total",
        "fastapi_requests_total",
        "http_request_duration_seconds_count",
        "http_server_requests_total",
        "http_server_request_duration_seconds_count",
        "http_server_duration_milliseconds_count",
    )
    trades: tuple[str, ...] = ("flowrex_trades_total", "trades_total", "orders_total")
    trades_failed: tuple[str, ...] = (
        "flowrex_trades_failed_total",
        "trades_failed_total",
        "failed_trades_total",
        "trade_failures_total",
        "orders_failed_total",
        "orders_rejected_total",
    )
    market_data: tuple[str, ...] = ()
    """Gauges of when a symbol's price last moved, beside those that are found by their names (``metrics/market_data.py``)."""

    def of(self, part: str) -> dict[str, tuple[str, ...]]:
        """Names by meaning, of one *part* such as ``pool``."""
        head = f"{part}_"
        return {
            name.removeprefix(head): getattr(self, name) for name in type(self).model_fields if name.startswith(head)
        }


class LimitSettings(_Section):
    """The bounds of every reading (seconds, rows) and of a run (seconds).

    ``log_seconds`` are for a log, which an engine that is busy gives by some megabytes a second.
    """

    reading_seconds: float = Field(default=5.0, gt=0, le=60)
    log_seconds: float = Field(default=15.0, gt=0, le=60)
    rows: int = Field(default=1000, ge=1, le=1_000_000)
    log_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    cell_seconds: float = Field(default=120.0, gt=0)
    run_seconds: float = Field(default=900.0, gt=0)
    max_targets: int = Field(default=20, ge=1)


class BackupSettings(_Section):
    """Where backups lie, and what a restore stops meanwhile. ``seconds`` is the limit of one dump or one load.

    ``binaries`` is the folder with ``pg_dump`` and ``pg_restore`` of the server's major version; without it they are looked for.
    ``probe_path`` is asked of every replica after a restore and must answer 200; it should read the database.
    """

    folder: Path = Path("backups/postgres")
    binaries: Path | None = None
    seconds: float = Field(default=3600.0, gt=0)
    services: tuple[str, ...] = ("backend", "frontend")
    probe_path: str = Field(default="/health/ready", pattern="^/")


class RollbackSettings(_Section):
    """``script`` is the platform's own, called with the version to go back to; without it replicas are replaced one at a time."""

    script: Path | None = None
    script_seconds: float = Field(default=300.0, gt=0)


class ServeSettings(_Section):
    """The webhook for Alertmanager, in plain HTTP: TLS is its proxy's. Without ``token`` it listens on loopback alone.

    ``jobs`` runs go on at once, ``queue_size`` wait; beyond, senders are told to come again. ``repeat_seconds`` is how long an alert
    that keeps firing waits for another run, ``rejoin_seconds`` how long a pause may be that does not end its incident, ``join_seconds``
    for how long after an alert those of other groups are one storm with it: one incident, each runbook once.
    ``grace_seconds`` how long runs may go on after SIGTERM. ``state`` is the table of jobs; without it ``jobs.sqlite`` beside the records.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=9099, ge=0, le=65535)
    token: SecretStr | None = None
    jobs: int = Field(default=2, ge=1, le=64)
    queue_size: int = Field(default=100, ge=1)
    max_request_bytes: int = Field(default=1024 * 1024, ge=1024)
    request_seconds: float = Field(default=10.0, gt=0)
    repeat_seconds: float = Field(default=3600.0, ge=0)
    rejoin_seconds: float = Field(default=900.0, ge=0)
    join_seconds: float = Field(default=300.0, ge=0)
    grace_seconds: float = Field(default=30.0, ge=0)
    state: Path | None = None

    @model_validator(mode="after")
    def _long_token(self) -> ServeSettings:
        if self.token is not None and len(self.token.get_secret_value()) < SHORTEST_TOKEN:
            raise ValueError(f"token is shorter than {SHORTEST_TOKEN} characters")
        return self


class RedactionSettings(_Section):
    """Names of further settings or literal values that must never reach disk."""

    values: tuple[SecretStr, ...] = ()


class Settings(BaseSettings):
    """All settings. Every secret is a ``SecretStr``: printing a Settings object shows none.

    ``outputs`` is always a local folder. Where a URL was given for it, that stands in ``outputs_url``, and ``outputs`` is the
    working copy (see ``archive/store.py``).
    """

    model_config = SettingsConfigDict(
        env_prefix="FLOWREX_OPS_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    platform: str = "flowrex"
    timezone: str = ""
    outputs: Path = Path("outputs")
    outputs_url: str = ""
    stack: StackSettings = StackSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    backend: BackendSettings = BackendSettings()
    front_door: FrontDoorSettings = FrontDoorSettings()
    tls: TlsSettings = TlsSettings()
    certbot: CertbotSettings = CertbotSettings()
    broker: BrokerSettings = BrokerSettings()
    proxy: ProxySettings = ProxySettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    metrics: MetricsSettings = MetricsSettings()
    sentry: SentrySettings = SentrySettings()
    grafana: GrafanaSettings = GrafanaSettings()
    notify: NotifySettings = NotifySettings()
    ticket: TicketSettings = TicketSettings()
    status_pages: Mapping[str, str] = Field(default_factory=lambda: dict(STATUS_PAGES))
    limits: LimitSettings = LimitSettings()
    rollback: RollbackSettings = RollbackSettings()
    contacts: Mapping[str, str] = Field(default_factory=dict)
    approvers: tuple[str, ...] = ()
    backup: BackupSettings = BackupSettings()
    serve: ServeSettings = ServeSettings()
    redaction: RedactionSettings = RedactionSettings()

    @model_validator(mode="before")
    @classmethod
    def _keep_url(cls, values: object) -> object:
        """What ``outputs`` says, if that is a URL, before it becomes the working copy's folder."""
        if isinstance(values, dict) and is_url(values.get("outputs")):
            return {**values, "outputs_url": str(values["outputs"]).rstrip("/")}
        return values

    @field_validator("outputs", mode="before")
    @classmethod
    def _open_url(cls, value: object) -> object:
        if not is_url(value):
            return value
        check_url(str(value))
        return working_folder(str(value))

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        """An IANA name that this machine knows, or none at all."""
        try:
            return ZoneInfo(value).key if value else ""
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"'{value}' is no time zone that this machine knows, such as Europe/Berlin") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the protocol of pydantic-settings passes it)
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before secret files before the TOML file."""
        files = NestedSecretsSettingsSource(
            file_secret_settings, secrets_dir_missing="ok", secrets_prefix="", secrets_nested_delimiter="__"
        )
        return (init_settings, env_settings, files, TomlConfigSettingsSource(settings_cls))

    def secret_values(self) -> tuple[str, ...]:
        """Every secret value in these settings, for redaction: whole values and the passwords inside DSNs and URLs."""
        found: set[str] = set()
        for section in (
            self.postgres,
            self.redis,
            self.broker,
            self.sentry,
            self.grafana,
            self.notify,
            self.ticket,
            self.serve,
            self.redaction,
        ):
            for value in section.__dict__.values():
                several = list(value.values()) if isinstance(value, Mapping) else value
                for secret in several if isinstance(several, tuple | list) else (several,):
                    if isinstance(secret, SecretStr):
                        found.update(_secret_parts(secret.get_secret_value()))
        return tuple(sorted(found, key=len, reverse=True))


def load(path: str | Path | None = None) -> Settings:
    """Settings from *path*, or from where the module's docstring says; none at all is fine (defaults, discovery).

    Raises SettingsError with one line that names the file, the key and what would be right.
    """
    file = find_file(path)
    if file is not None:
        _require_readable(file)
    overrides: dict[str, object] = {"toml_file": file}
    secrets = os.environ.get(SECRETS_VARIABLE)
    if secrets:
        if not Path(secrets).is_dir():
            raise SettingsError(f"secrets folder '{secrets}' does not exist; correct ${SECRETS_VARIABLE}")
        overrides["secrets_dir"] = secrets
    configured = type("Settings", (Settings,), {"model_config": SettingsConfigDict(**overrides)})  # type: ignore[typeddict-item]  # keys are known above
    try:
        settings = configured()
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from None
    return settings if isinstance(settings, Settings) else Settings()


def find_file(path: str | Path | None = None) -> Path | None:
    """The settings file that ``load`` will read, or ``None``."""
    if path:
        return Path(path).expanduser().resolve()
    named = os.environ.get(PATH_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    default = Path(DEFAULT_FILE)
    return default.resolve() if default.is_file() else None


def _require_readable(file: Path) -> None:
    try:
        tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"settings file '{file}' does not exist; correct --settings or ${PATH_VARIABLE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file '{file}' cannot be read: {error}; correct its permissions") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file '{file}' is not valid TOML: {error}; correct that line") from None


def _explain(error: ValidationError, file: Path | None) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"settings file '{file}'" if file else "settings from the environment"
    if first["type"] == "extra_forbidden":
        return f"{where}: '{key}' is not a setting; 'flowrex-ops doctor --help' names the settings there are"
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: '{key}' is wrong: {said[:1].lower()}{said[1:]}; correct it or leave it out"


def _secret_parts(value: str) -> set[str]:
    """The value itself and the password inside it; a value shorter than that would redact half the record."""
    parts = {value}
    password = re.search(r"://[^:/@]*:([^@]+)@", value) or re.search(r"\bpassword\s*=\s*('[^']*'|\S+)", value)
    if password:
        parts.add(password.group(1).strip("'"))
    return {part for part in parts if len(part) >= SHORTEST_SECRET}
