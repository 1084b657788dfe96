"""Who may log in to the databases: by the variables that their images take, and those of whoever uses them.

A secret in a file (``POSTGRES_PASSWORD_FILE``) is read where the container sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from flowrex_ops.compose import Stack
from flowrex_ops.discovery.roles import database_url, redis_url, used_hosts
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import Replica

_USERS = ("POSTGRES_USER", "POSTGRESQL_USERNAME", "POSTGRESQL_USER")
_PASSWORDS = ("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD")
_DATABASES = ("POSTGRES_DB", "POSTGRESQL_DATABASE")
_SUPERUSER = ("POSTGRESQL_POSTGRES_PASSWORD", "POSTGRESQL_ADMIN_PASSWORD")
_APPLICATION = (
    ("DB_USER", "DB_USERNAME", "DATABASE_USER", "POSTGRES_USER", "PGUSER", "POSTGRESQL_USERNAME"),
    ("DB_PASSWORD", "DB_PASS", "DATABASE_PASSWORD", "POSTGRES_PASSWORD", "PGPASSWORD", "POSTGRESQL_PASSWORD"),
    ("DB_NAME", "DB_DATABASE", "DATABASE_NAME", "POSTGRES_DB", "PGDATABASE", "POSTGRESQL_DATABASE"),
)
_REDIS = ("REDIS_PASSWORD", "VALKEY_PASSWORD", "KEYDB_PASSWORD")
_FILE = "_FILE"
"""Appended to a variable's name by the official images and by bitnami's: https://hub.docker.com/_/postgres, "Docker Secrets"."""


@dataclass(frozen=True, slots=True)
class Login:
    """``unread`` is the file that holds the password and could not be read."""

    user: str = ""
    password: str = ""
    database: str = ""
    unread: str = ""


class Logins:
    """Reads variables of replicas, and the files that they point at."""

    def __init__(self, stack: Stack, limit_seconds: float) -> None:
        self._stack = stack
        self._limit_seconds = limit_seconds

    def postgres(self, server: Replica, user: Replica | None) -> Login:
        """The server's own, as its image was told; what that leaves out is taken from whoever uses it."""
        own = self._login(server, (_USERS, _PASSWORDS, _DATABASES))
        if not own.password and not own.unread:
            superuser = self._login(server, ((), _SUPERUSER, _DATABASES))
            own = Login("postgres", superuser.password, superuser.database) if superuser.password else own
        if user is None:
            return own
        theirs = self.database_user(user)
        if own.password:
            # Theirs may be another database than the image's first one; what a pooler calls it may be nobody else's
            # name, and is better than an empty database that the image was not told of.
            straight = {server.service, *server.definition.hostnames} & {*used_hosts(user.definition.environment)}
            return replace(own, database=theirs.database) if theirs.database and (straight or not own.database) else own
        return theirs if theirs.user and (theirs.password or not own.user) else own

    def database_user(self, replica: Replica) -> Login:
        """Who the application is to PostgreSQL, by its URL or by its single variables."""
        environment = replica.definition.environment
        url = database_url(environment) or self._file(replica, environment.get("DATABASE_URL_FILE", ""))
        return _of_url(url) if url else self._login(replica, _APPLICATION)

    def redis(self, server: Replica, user: Replica | None) -> Login:
        """The server's password; the user's name and password where only they are told."""
        reported = re.search(r"--requirepass\s+(\S+)", server.definition.command)
        own = Login(password=reported[1]) if reported else self._login(server, ((), _REDIS, ()))
        if own.password or user is None:
            return own
        url = redis_url(user.definition.environment)
        theirs = _of_url(url) if url else self._login(user, ((), _REDIS, ()))
        return theirs if theirs.password else own

    def _login(self, replica: Replica, names: tuple[tuple[str, ...], ...]) -> Login:
        (user, _), (password, unread), (database, _) = (self._value(replica, several) for several in names)
        return Login(user, password, database, unread if not password else "")

    def _value(self, replica: Replica, names: tuple[str, ...]) -> tuple[str, str]:
        """The first of *names* that has a value, in itself or in a file; else empty, and the file that cannot be read."""
        environment: Mapping[str, str] = replica.definition.environment
        unread = ""
        for name in names:
            if environment.get(name):
                return environment[name], ""
            path = environment.get(name + _FILE, "")
            text = self._file(replica, path)
            if text:
                return text, ""
            unread = unread or path
        return "", unread

    def _file(self, replica: Replica, path: str) -> str:
        if not path or not replica.running:
            return ""
        try:
            done = self._stack.execute(replica, ["cat", path], timeout_seconds=self._limit_seconds)
        except SourceUnavailableError:
            return ""
        return done.stdout.strip() if done.exit_code == 0 else ""


def _of_url(url: str) -> Login:
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket in a password that nobody quoted
        return Login()
    database = parts.path.lstrip("/")
    return Login(unquote(parts.username or ""), unquote(parts.password or ""), unquote(database))
