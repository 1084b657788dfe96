"""Which service plays which part, for platforms as their images' own documentation starts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from flowrex_ops.discovery.logins import Logins
from flowrex_ops.discovery.roles import find_parts, listening_port
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Definition, Execution, Replica
from flowrex_ops.settings import Settings

FILES = {"/run/secrets/db": "sesame\n"}


class Inside:
    """The only part of a stack that is asked: commands that read, in a container that has some files."""

    def __init__(self, configuration: str = "") -> None:
        self.configuration = configuration

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        del replica, timeout_seconds
        if argv[0] == "nginx":
            return Execution(0, self.configuration, "")
        if argv[1] not in FILES:
            raise StackUnavailableError("no such file")
        return Execution(0, FILES[argv[1]], "")


def service(
    name: str,
    image: str = "",
    command: str = "",
    ports: Mapping[int, tuple[str, int]] | None = None,
    hostnames: tuple[str, ...] = (),
    **environment: str,
) -> Replica:
    made = Definition(image, command, environment, {}, hostnames)
    return Replica(
        name, f"{name}-1", "running", "none", "x", addresses=("172.20.0.9",), ports=ports or {}, definition=made
    )


def parts(*replicas: Replica, configuration: str = "") -> dict[str, str]:
    found = find_parts(Settings(), Inside(configuration), replicas).settings  # type: ignore[arg-type]  # all that is asked
    return {
        "backend": f"{found.backend.service}:{found.backend.port}",
        "postgres": found.postgres.service,
        "redis": found.redis.service,
        "proxy": f"{found.proxy.service}:{found.proxy.port}",
        "front door": f"{found.front_door.service}:{found.front_door.port}",
        "tls": found.tls.service,
        "prometheus": f"{found.prometheus.service}:{found.prometheus.port}",
    }


URL = "postgresql+asyncpg://shop:sesame@store:5432/shop"
OFFICIAL = (
    service("store", "postgres:15", "docker-entrypoint.sh postgres", POSTGRES_USER="shop", PGDATA="/var/lib"),
    service("kv", "redis:7-alpine", "docker-entrypoint.sh redis-server --port 6380"),
    service("shop", "shop:3", "gunicorn shop.main:app -k uvicorn.workers.UvicornWorker -b 0.0.0.0:9000", DB=URL),
    service("jobs", "shop:3", "celery -A shop worker", DB=URL),
    service("migrate", "shop:3", "alembic upgrade head", DB=URL),
    service("edge", "nginx:1.25", "/docker-entrypoint.sh nginx -g daemon off;", {80: ("127.0.0.1", 8080)}),
    service("web", "shop-web:3", "/docker-entrypoint.sh nginx -g daemon off;", {80: ("172.20.0.9", 80)}),
    service("watch", "prom/prometheus:v2.53.0", "/bin/prometheus --web.listen-address=:9191"),
    service("store-exporter", "prometheuscommunity/postgres-exporter", "/bin/postgres_exporter", DATA_SOURCE_NAME=URL),
    service("kv-exporter", "oliver006/redis_exporter", "/redis_exporter"),
    service("alerts", "prom/alertmanager", "/bin/alertmanager"),
    service("admin", "dpage/pgadmin4", "/entrypoint.sh"),
)


def test_official_images_under_other_names() -> None:
    """Image, program and port say who it is; exporters, workers, migrations and a frontend's NGINX are none of them."""
    assert parts(*OFFICIAL) == {
        "backend": "shop:9000",
        "postgres": "store",
        "redis": "kv",
        "proxy": "edge:80",
        "front door": "edge:80",
        "tls": "edge",
        "prometheus": "watch:9191",
    }


@pytest.mark.parametrize(
    ("part", "image"),
    [
        ("postgres", "bitnami/postgresql:16"),
        ("postgres", "timescale/timescaledb:latest-pg16"),
        ("postgres", "timescale/timescaledb-ha:pg16"),
        ("postgres", "postgis/postgis:15-3.4"),
        ("postgres", "pgvector/pgvector:pg17"),
        ("postgres", "registry:5000/team/postgres@sha256:abc"),
        ("redis", "bitnami/redis:7.2"),
        ("redis", "valkey/valkey:8"),
        ("redis", "eqalpha/keydb"),
        ("redis", "redis/redis-stack-server"),
        ("proxy", "traefik:v3.1"),
        ("proxy", "caddy:2-alpine"),
        ("proxy", "nginxinc/nginx-unprivileged"),
        ("proxy", "haproxy:3.0"),
        ("proxy", "httpd:2.4-alpine"),
        ("proxy", "varnish:7"),
        ("prometheus", "bitnami/prometheus"),
    ],
)
def test_each_part_by_its_image_alone(part: str, image: str) -> None:
    """Whatever the service is called, and however its command looks."""
    found = parts(service("x1", image, "/entrypoint"), service("x2", "shop:1", "uvicorn shop:app"))
    assert found[part].partition(":")[0] == "x1"


def test_images_of_ones_own_by_what_they_run() -> None:
    """``myshop_db`` says nothing; what it starts, and who uses it, does."""
    found = parts(
        service("a", "myshop_a", "/usr/lib/postgresql/15/bin/postgres -D /data"),
        service("b", "myshop_b", "valkey-server /etc/valkey.conf"),
        service("c", "myshop_c", "python -m shop", DATABASE_URL="postgres://u@a/x"),
        service("d", "myshop_d", "caddy run --config /etc/caddy/Caddyfile"),
    )
    assert (found["postgres"], found["redis"], found["backend"], found["proxy"]) == ("a", "b", "c:8000", "d:80")


def test_of_a_server_and_its_copy_the_server() -> None:
    """Both are used: writes go to the one, reads to the other."""
    urls = {
        "WRITE": "redis://kv:6379/0",
        "READ": "redis://kv-replica:6379/0",
        "W": "postgresql://u@main/d",
        "R": "postgresql://u@other/d",
    }
    found = parts(
        service("kv", "redis:7", "redis-server"),
        service("kv-replica", "redis:7", "redis-server --replicaof kv 6379"),
        service("main", "bitnami/postgresql:16", "/run.sh", POSTGRESQL_REPLICATION_MODE="master"),
        service("other", "bitnami/postgresql:16", "/run.sh", POSTGRESQL_REPLICATION_MODE="slave"),
        service("shop", "shop:1", "uvicorn shop:app", **urls),
    )
    assert (found["redis"], found["postgres"]) == ("kv", "main")


def test_of_two_databases_the_one_that_is_used() -> None:
    """The backend's URL names it, by an alias too; where nobody's does, both are named and none is taken."""
    main = service("main", "postgres:16", hostnames=("db.internal",))
    spare = service("spare", "postgres:16")
    user = service("app", "shop:1", "uvicorn app:app", DATABASE_URL="postgres://u@db.internal/x")
    assert parts(main, spare, user)["postgres"] == "main"
    why = find_parts(Settings(), Inside(), [main, spare]).why  # type: ignore[arg-type]  # all that is asked
    assert why["postgres"] == "several services look like postgres: 'main', 'spare'; set postgres.service"


def test_of_two_backends_the_proxys_upstream() -> None:
    """Both answer HTTP and use the database; the proxy's configuration says which serves users."""
    both = [service(name, "shop:1", "uvicorn x:app", DATABASE_URL="postgres://u@db/x") for name in ("east", "west")]
    edge = service("edge", "nginx:1", "nginx -g daemon off;")
    assert parts(*both, edge, configuration="proxy_pass http://west:8000;")["backend"] == "west:8000"


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("/docker-entrypoint.sh nginx -g daemon off;", ("nginx",)),
        ("sh -c envsubst </a >/b && exec nginx -c /etc/nginx/site.conf", ("nginx", "-c", "/etc/nginx/site.conf")),
        ("nginx -p /srv/ -g daemon off; -c conf/nginx.conf", ("nginx", "-p", "/srv/", "-c", "conf/nginx.conf")),
        ("haproxy -f /usr/local/etc/haproxy/haproxy.cfg", ("nginx",)),
    ],
)
def test_nginx_is_asked_for_the_configuration_that_it_was_started_with(command: str, program: tuple[str, ...]) -> None:
    """``nginx -T`` alone would tell of a file that nobody uses."""
    found = find_parts(Settings(), Inside(), [service("lb", "nginx:1", command)])  # type: ignore[arg-type]  # all that is asked
    assert tuple(found.settings.proxy.program) == program


def test_settings_win() -> None:
    """What is named is not searched for, though it looks like nothing."""
    given = Settings(backend={"service": "jobs", "port": 7000}, postgres={"service": "web"})
    found = find_parts(given, Inside(), OFFICIAL).settings  # type: ignore[arg-type]  # all that is asked
    assert (found.backend.service, found.backend.port, found.postgres.service) == ("jobs", 7000, "web")


@pytest.mark.parametrize(
    ("command", "variables", "port"),
    [
        ("uvicorn app:app --host 0.0.0.0 --port 9000", {}, 9000),
        ("gunicorn app:app --bind=[::]:8081", {}, 8081),
        ("gunicorn -b :5000 app:app", {}, 5000),
        ("python manage.py runserver 0.0.0.0:8123", {}, 8123),
        ("gunicorn app:app", {"GUNICORN_CMD_ARGS": "--bind=0.0.0.0:8002 --workers=3"}, 8002),
        ("python -m app", {"PORT": "3000"}, 3000),
        ("python -m app", {}, None),
    ],
)
def test_port_of_a_backend(command: str, variables: dict[str, str], port: int | None) -> None:
    """By its command, else its variables; otherwise nothing tells."""
    assert listening_port(service("app", "a", command, None, (), **variables), "backend", 8000) == port


def test_port_of_a_backend_by_its_health_check() -> None:
    """Nothing else tells it where a script of its own listens."""
    made = Definition(
        "shop:1", "python -m shop", health_check="CMD-SHELL curl -fs http://localhost:9000/status || exit 1"
    )
    assert listening_port(replace(service("app"), definition=made), "backend", 8000) == 9000


UPSTREAM = "upstream pool { server api:8443; keepalive 8; }\nlocation / { proxy_pass https://pool; }"


@pytest.mark.parametrize(
    ("command", "variables", "configuration", "scheme"),
    [
        ("gunicorn app:app -b 0.0.0.0:8443 --certfile /tls/a.crt --keyfile /tls/a.key", {}, "", "https"),
        ("uvicorn app:app --port 9000 --ssl-keyfile=/tls/a.key --ssl-certfile=/tls/a.crt", {}, "", "https"),
        ("gunicorn app:app -b 0.0.0.0:8443", {"GUNICORN_CMD_ARGS": "--certfile=/tls/a.crt"}, "", "https"),
        ("gunicorn -c conf.py app:app -b 0.0.0.0:8443", {}, UPSTREAM, "https"),
        ("gunicorn -c conf.py app:app -b 0.0.0.0:8443", {}, UPSTREAM.replace("https:", "http:"), "http"),
        ("gunicorn app:app -b 0.0.0.0:8000", {}, "location /docs { proxy_pass https://docs; }", "http"),
    ],
)
def test_a_backend_that_speaks_tls(command: str, variables: dict[str, str], configuration: str, scheme: str) -> None:
    """Whoever is given a certificate, or asked by ``https://``, would hang up on plain HTTP, which looks like a replica that is ill."""
    backend = service("api", "shop", command, DATABASE_URL="postgresql://u@db/d", **variables)
    found = find_parts(Settings(), Inside(configuration), [backend, service("edge", "nginx")])  # type: ignore[arg-type]  # all that is asked
    assert found.settings.backend.scheme == scheme


SERVER = service("db", "postgres:16")
LOGINS = [
    ({"POSTGRES_PASSWORD": "sesame", "POSTGRES_USER": "u", "POSTGRES_DB": "d"}, {}, ("u", "sesame", "d", "")),
    ({"POSTGRES_PASSWORD_FILE": "/run/secrets/db", "POSTGRES_USER": "u"}, {}, ("u", "sesame", "", "")),
    ({"POSTGRES_PASSWORD_FILE": "/run/secrets/gone"}, {}, ("", "", "", "/run/secrets/gone")),
    (
        {"POSTGRESQL_USERNAME": "u", "POSTGRESQL_PASSWORD": "sesame", "POSTGRESQL_DATABASE": "d"},
        {},
        ("u", "sesame", "d", ""),
    ),
    ({"POSTGRESQL_POSTGRES_PASSWORD": "sesame"}, {}, ("postgres", "sesame", "", "")),
    (
        {},
        {"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg2://u:s%40same@db:5432/d?sslmode=disable"},
        ("u", "s@same", "d", ""),
    ),
    (
        {"POSTGRES_PASSWORD_FILE": "/run/secrets/gone"},
        {"DB_USER": "u", "DB_PASSWORD": "p", "DB_NAME": "d"},
        ("u", "p", "d", ""),
    ),
    (
        {},
        {"DSN": "host=db port=5433 dbname=shop user=u password='s same' options='-c search_path=x'"},
        ("u", "s same", "shop", ""),
    ),
    ({"POSTGRES_PASSWORD": "s"}, {"DB_HOST": "db", "DB_USER": "u", "DB_NAME": "shop"}, ("", "s", "shop", "")),
    ({"POSTGRES_PASSWORD": "s", "POSTGRES_DB": "d"}, {"URL": "postgres://u:p@db/shop"}, ("", "s", "shop", "")),
    ({"POSTGRES_PASSWORD": "s", "POSTGRES_DB": "d"}, {"URL": "postgres://u:p@pooler/alias"}, ("", "s", "d", "")),
    ({"POSTGRES_PASSWORD": "s"}, {"URL": "postgres://u:p@pooler/shop"}, ("", "s", "shop", "")),
]


@pytest.mark.parametrize(("server", "user", "expected"), LOGINS)
def test_login_of_postgres(server: dict[str, str], user: dict[str, str], expected: tuple[str, ...]) -> None:
    """The image's variables, bitnami's, a secret's file, and the URL or the variables of whoever uses it.

    The database is the one that is used, unless a pooler may have a name of its own for it.
    """
    logins = Logins(Inside(), 1.0)  # type: ignore[arg-type]  # all that is asked
    found = logins.postgres(service("db", "x", **server), service("app", "y", **user))
    assert (found.user, found.password, found.database, found.unread) == expected


@pytest.mark.parametrize(
    ("command", "server", "user", "expected"),
    [
        ("redis-server --requirepass sesame", {}, {}, ("", "sesame")),
        ("", {"REDIS_PASSWORD": "sesame"}, {}, ("", "sesame")),
        ("", {"REDIS_PASSWORD_FILE": "/run/secrets/db"}, {}, ("", "sesame")),
        ("redis-server", {}, {"CACHE": "redis://app:sesame@kv:6379/2"}, ("app", "sesame")),
        ("redis-server", {"ALLOW_EMPTY_PASSWORD": "yes"}, {"REDIS_URL": "redis://kv/0"}, ("", "")),
    ],
)
def test_login_of_redis(command: str, server: dict[str, str], user: dict[str, str], expected: tuple[str, str]) -> None:
    """Its own command or variables, else the URL of whoever uses it."""
    logins = Logins(Inside(), 1.0)  # type: ignore[arg-type]  # all that is asked
    found = logins.redis(service("kv", "x", command, **server), service("app", "y", **user))
    assert (found.user, found.password) == expected
