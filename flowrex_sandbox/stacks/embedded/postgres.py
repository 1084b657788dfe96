"""The embedded PostgreSQL: its cluster, configuration, roles and schema."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.stacks.embedded.account import Account
from flowrex_sandbox.state import State

SCHEMA = Path(__file__).parents[2] / "sql" / "schema.sql"

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 40
superuser_reserved_connections = 3
max_prepared_transactions = 5
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
fsync = off
archive_mode = on
archive_command = '/bin/true'
deadlock_timeout = 1s
log_destination = stderr
log_timezone = UTC
log_line_prefix = '%m [%p] %q%a@%d '
timezone = UTC
"""

_LINUX = "client_connection_check_interval = 1s  # so that a killed replica's queries end with it\n"


def create_cluster(state: State, postgres_bin: Path, account: Account) -> None:
    """``initdb`` into the data folder, unless there is a cluster already; then write its configuration."""
    data = Path(state.data_dir)
    if not (data / "PG_VERSION").exists():
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        _initdb(state, postgres_bin, account)
    text = _CONFIGURATION.format(port=state.ports["postgres"]) + (_LINUX if sys.platform == "linux" else "")
    file = data / "postgresql.auto.conf"
    file.write_text(text, encoding="utf-8")
    _hand_over(data, account)


def create_database(state: State) -> None:
    """Roles, database and schema, unless they are there."""
    with psycopg.connect(state.dsn("postgres", "postgres"), autocommit=True) as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'flowrex'").fetchone():
            return
        for role, password in (("flowrex", state.app_password), ("reporting", state.reporting_password)):
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            admin.execute(statement.format(sql.Identifier(role), sql.Literal(password)))
        admin.execute("GRANT pg_monitor TO flowrex")
        admin.execute("CREATE DATABASE flowrex OWNER flowrex")
    with psycopg.connect(state.dsn("flowrex")) as connection:
        connection.execute(SCHEMA.read_bytes())


def _initdb(state: State, postgres_bin: Path, account: Account) -> None:
    data = Path(state.data_dir)
    with tempfile.NamedTemporaryFile("w", dir=data.parent, prefix="pw-") as password:
        password.write(state.admin_password + "\n")
        password.flush()
        _hand_over(data, account)
        _hand_over(Path(password.name), account)
        command = [
            *account.prefix, str(postgres_bin / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8",
            "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password.name}", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=data)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SandboxError(f"initdb failed: {reason}; put that right, in '{data}' or by another --home")


def _hand_over(path: Path, account: Account) -> None:
    if account.uid is None or account.gid is None:
        return
    for found in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.chown(found, account.uid, account.gid)
