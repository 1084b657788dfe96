"""How to get into PostgreSQL as the one who may create databases, without a password on any command line."""

from __future__ import annotations

from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowrex_ops.discovery.endpoints import POSTGRES_PORT, Endpoints
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.settings import Settings

MAINTENANCE = "postgres"
"""The database to be connected to while the platform's own is renamed; every cluster has it."""


@dataclass(frozen=True, slots=True)
class Login:
    """A role on a server. ``database`` is the platform's."""

    dsn: str = field(repr=False)
    database: str

    def conninfo(self, database: str = MAINTENANCE) -> str:
        """For psycopg, with the password."""
        return make_conninfo(self.dsn, dbname=database)

    def argument(self, database: str, **place: str | int) -> str:
        """For a program's ``--dbname``, without the password; *place* (host, port) is what differs where it runs."""
        parts = {name: value for name, value in conninfo_to_dict(self.dsn).items() if name != "password"}
        return make_conninfo("", **{**parts, **place, "dbname": database})

    def environment(self) -> dict[str, str]:
        """The password, for a program; it shows up in no list of processes."""
        password = conninfo_to_dict(self.dsn).get("password")
        return {"PGPASSWORD": str(password)} if password else {}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = conninfo_to_dict(self.dsn)
        return str(parts.get("host") or "localhost"), int(parts.get("port") or POSTGRES_PORT)


def get_login(settings: Settings, endpoints: Endpoints) -> Login:
    """The role of ``postgres.admin_dsn``, else the application's own. SourceUnavailableError where no server is known."""
    if not endpoints.postgres_dsn:
        raise SourceUnavailableError(
            "postgres is not configured and was not discovered; set postgres.dsn or run 'flowrex-ops doctor'"
        )
    own = conninfo_to_dict(endpoints.postgres_dsn)
    admin = settings.postgres.admin_dsn
    return Login(admin.get_secret_value() if admin else endpoints.postgres_dsn, str(own.get("dbname") or own["user"]))
