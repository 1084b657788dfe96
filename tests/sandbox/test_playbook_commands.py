"""The playbook's own commands, pasted verbatim into a shell in the folder with the compose file, do what they promise.

These commands are the playbook's text: they are what is tested, down to the spaces at the ends of lines.
"""

from __future__ import annotations

import os
import pty
import subprocess
from dataclasses import dataclass

import pytest

from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

pytestmark = pytest.mark.docker

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Pasted:
    """A command, and what must be in its answer."""

    name: str
    command: str
    answer: tuple[str, ...]


QUICK_DIAGNOSTICS = (
    Pasted("service status", "docker-compose -f docker-compose.prod.yml ps", ("backend", "postgres", "(healthy)")),
    Pasted(
        "recent backend log",
        "docker-compose -f docker-compose.prod.yml logs --tail=100 backend",
        ("route=/api/portfolio",),
    ),
    Pasted(
        "error distribution",
        """docker-compose -f docker-compose.prod.yml logs backend 2>&1 | grep "HTTP" | awk '{print $NF}' | sort | uniq -c""",
        (" 200", " 201"),
    ),
    Pasted("recent frontend log", "docker-compose -f docker-compose.prod.yml logs --tail=100 frontend", ("frontend",)),
    Pasted(
        "error log", "docker-compose -f docker-compose.prod.yml logs backend 2>&1 | grep -i error", ("ERROR not ready",)
    ),
    Pasted(
        "database connectivity",
        "docker-compose -f docker-compose.prod.yml exec postgres pg_isready",
        ("accepting connections",),
    ),
    Pasted("redis connectivity", "docker-compose -f docker-compose.prod.yml exec redis redis-cli ping", ("PONG",)),
    Pasted("resource usage", "docker stats --no-stream", ("MEM USAGE", "backend")),
)

DATABASE = (
    Pasted(
        "active connections",
        """docker-compose -f docker-compose.prod.yml exec postgres \\
    psql -U flowrex -c "SELECT count(*) FROM pg_stat_activity;"
""",
        ("count", "(1 row)"),
    ),
    Pasted(
        "long-running queries",
        """docker-compose -f docker-compose.prod.yml exec postgres \\
    psql -U flowrex -c "SELECT pid, now() - query_start AS duration, query 
    FROM pg_stat_activity WHERE state = 'active' 
    ORDER BY duration DESC LIMIT 10;"
""",  # noqa: W291  # as in the playbook
        ("duration", "pg_stat_activity"),
    ),
    Pasted(
        "blocked queries",
        """docker-compose -f docker-compose.prod.yml exec postgres \\
    psql -U flowrex -c "SELECT blocked_locks.pid AS blocked_pid,
    blocking_locks.pid AS blocking_pid, blocked_activity.query AS blocked_query
    FROM pg_catalog.pg_locks blocked_locks
    JOIN pg_catalog.pg_stat_activity blocked_activity ON blocked_activity.pid = blocked_locks.pid
    JOIN pg_catalog.pg_locks blocking_locks ON blocking_locks.locktype = blocked_locks.locktype
    JOIN pg_catalog.pg_stat_activity blocking_activity ON blocking_activity.pid = blocking_locks.pid
    WHERE NOT blocked_locks.granted;"
""",
        ("blocked_pid", "row"),
    ),
)

TRADES = (
    Pasted(
        "recent failed trades",
        """docker-compose -f docker-compose.prod.yml exec postgres \\
    psql -U flowrex -c "SELECT id, symbol, side, status, error_message, created_at 
    FROM trades WHERE status = 'failed' 
    ORDER BY created_at DESC LIMIT 20;"
""",  # noqa: W291  # as in the playbook
        ("error_message", " | failed | ", "rows)"),
    ),
    Pasted(
        "broker connectivity",
        # On one line: the playbook breaks it in four and indents them, which Python takes for an IndentationError.
        'docker-compose -f docker-compose.prod.yml exec backend python -c "from app.execution.adapters import get_adapter; '
        'import asyncio; adapter = get_adapter(); print(asyncio.run(adapter.check_connection()))"',
        ("'connected': True", "'error': None"),
    ),
)

# 'logs --since="1h"' is not among them: docker-compose 1.29 has no such option.
CHEAT_SHEET = (
    Pasted(
        "redis info",
        "docker-compose -f docker-compose.prod.yml exec redis redis-cli INFO",
        ("redis_version",),
    ),
    Pasted(
        "dump",
        "docker-compose -f docker-compose.prod.yml exec postgres pg_dump -U flowrex flowrex > backup.sql"
        " && grep -c COPY backup.sql; rm backup.sql",
        ("3",),
    ),
)


def paste(sandbox: Sandbox, command: str) -> tuple[int, str]:
    """What an engineer's terminal shows: ``docker-compose exec`` wants a terminal, so it gets one."""
    terminal, shell_side = pty.openpty()
    try:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail\n{command}"],
            cwd=sandbox.home,
            env={**os.environ, "TERM": "dumb", "PAGER": "cat"},
            stdin=shell_side,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(shell_side)
    return done.returncode, done.stdout.decode(errors="replace")


@pytest.fixture(scope="module")
def troubled(compose_sandbox: Sandbox) -> Sandbox:
    """A platform whose log holds an error to find."""
    replica = compose_sandbox.replicas()[0]

    def ready() -> bool:
        return compose_sandbox.ask(replica, "/health/ready") == 200

    compose_sandbox.ask(replica, "/_sandbox/bugs/open-transaction?count=5", method="POST")
    await_condition(lambda: not ready(), "an exhausted pool", timeout_seconds=20)
    compose_sandbox.ask(replica, "/_sandbox/heal", method="POST")
    await_condition(ready, "a pool that has recovered", timeout_seconds=20)
    return compose_sandbox


@pytest.mark.parametrize(
    "pasted", [*QUICK_DIAGNOSTICS, *DATABASE, *TRADES, *CHEAT_SHEET], ids=lambda pasted: pasted.name
)
def test_pasted(troubled: Sandbox, pasted: Pasted) -> None:
    """The command ends well and shows what the playbook says one looks for."""
    status, shown = paste(troubled, pasted.command)

    assert status == 0, shown
    for text in pasted.answer:
        assert text in shown
