"""What tests of backup and restore share: data that is whole or not, and backups of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from flowrex_ops.discovery.endpoints import discover
from flowrex_ops.postgres.backups.backup import BackupStore
from flowrex_ops.postgres.backups.journal import kind_of
from flowrex_ops.settings import load
from flowrex_sandbox.sandbox import Sandbox, get_answer

ROWS = 500

CHILD = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
from flowrex_ops.mitigations import find
from flowrex_ops.guard import Approval, guard
from flowrex_ops.investigation import Investigation

settings, slug, wanted, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
seen = 0
def end(): os.kill(os.getpid(), getattr(signal, sys.argv[5]))
def timeline(kind, facts):
    global seen
    if kind != "mitigation-step":
        return
    print("STEP", facts["action"], flush=True)
    seen += 1
    if seen == wanted:
        threading.Timer(delay, end).start() if delay else end()
context = Investigation.open("database_restore", settings=settings, approve=[slug], operator="ada")
outcome = guard(find(slug).build(context), verdicts={}, approval=context.approval, timeline=timeline, max_targets=5)
print(outcome.state.value, outcome.reason)
"""


def quiet(_text: str) -> None:
    """Nobody listens."""


def open_backup_store(sandbox: Sandbox) -> BackupStore:
    """The sandbox's backups."""
    settings = load(sandbox.settings_file)
    return BackupStore.open(settings, discover(settings))


def write_generation(sandbox: Sandbox, generation: str) -> None:
    """A table in which every row says of which *generation* the data is."""
    sandbox.execute("CREATE TABLE IF NOT EXISTS generations (n integer PRIMARY KEY, generation text NOT NULL)")
    sandbox.execute("ALTER TABLE generations OWNER TO flowrex; TRUNCATE generations")
    sandbox.execute(f"INSERT INTO generations SELECT n, '{generation}' FROM generate_series(1, {ROWS}) n")


def read_generation(sandbox: Sandbox) -> str:
    """Of which generation the platform's data is; fails where it is not all of one, or not all of it."""
    found = sandbox.query("SELECT generation, count(*) FROM generations GROUP BY 1")
    assert len(found) == 1, found
    assert found[0][1] == ROWS
    assert sandbox.query(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'trades'::regclass AND contype = 'f'"
    ) == [(1,)]
    assert sandbox.query("SELECT count(*) FROM accounts") == [(5,)]
    return str(found[0][0])


def make_old_backup(sandbox: Sandbox) -> Path:
    """A backup of generation ``old``, of a platform that is of generation ``new`` by now."""
    write_generation(sandbox, "old")
    file = open_backup_store(sandbox).take(quiet)
    write_generation(sandbox, "new")
    return file


def databases(sandbox: Sandbox, kind: str) -> list[str]:
    """Those that restores have made, of one kind."""
    names = [str(row[0]) for row in sandbox.query("SELECT datname::text FROM pg_database")]
    return sorted(name for name in names if kind_of(name, "flowrex") == kind)


def comment(sandbox: Sandbox) -> str | None:
    """The one on the platform's database."""
    found = sandbox.query(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    )
    return found[0][0] if found else None


def clear(sandbox: Sandbox) -> None:
    """Everything that a test of restores may have left."""
    for kind in ("restore", "verify", "before"):
        for name in databases(sandbox, kind):
            sandbox.execute(f"DROP DATABASE {name} WITH (FORCE)")
    for replica in sandbox.stack().get_replicas("backend"):
        if not replica.running:
            sandbox.stack().start(replica, timeout_seconds=30)
    sandbox.execute("COMMENT ON DATABASE flowrex IS NULL; DROP TABLE IF EXISTS generations")
    for file in load(sandbox.settings_file).backup.folder.glob("*"):
        file.unlink()


def run(
    sandbox: Sandbox, slug: str, *, at: int = 0, delay: float = 0.0, by: str = "SIGKILL"
) -> subprocess.CompletedProcess[str]:
    """The procedure in a process of its own, ended at its step number *at*; zero lets it end by itself."""
    command = [sys.executable, "-c", CHILD, str(sandbox.settings_file), slug, str(at), str(delay), by]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def require_serving(sandbox: Sandbox) -> None:
    """Every replica runs and answers from the database; nothing half is left, nothing is noted as under way."""
    assert len(sandbox.replicas()) == sandbox.state.replicas
    assert all(sandbox.ask(replica, "/api/portfolio?account=1") == 200 for replica in sandbox.replicas())
    assert databases(sandbox, "restore") == []
    assert comment(sandbox) is None
    deadline = time.monotonic() + 10
    while get_answer(f"{sandbox.url}/api/portfolio?account=1") != 200:
        assert time.monotonic() < deadline, "users get no answer"
        time.sleep(0.1)
