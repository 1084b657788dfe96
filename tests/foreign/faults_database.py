"""PostgreSQL, used by its superuser through SQLAlchemy's pool. What spoils the pools comes last: what is next renews them."""

from __future__ import annotations

from collections.abc import Iterator

from faults import fault
from harbor import Harbor

_OF_THE_DESK = "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND application_name = ''"


@fault({"database_connections": "db.lock-contention"}, "psql")
def chain_of_locks(harbor: Harbor) -> Iterator[None]:
    """An engineer's psql holds what every order needs."""
    with harbor.connect() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
        harbor.await_in_database(
            f"{_OF_THE_DESK} AND wait_event_type = 'Lock' AND query_start < now() - interval '3 s'", 4
        )
        yield
        blocker.execute("ROLLBACK")


@fault({"database_connections": "db.long-running-query"}, long_query_seconds=4.0)
def query_without_end(harbor: Harbor) -> Iterator[None]:
    """The statement's, of every user who asks for one."""
    with harbor.switch("ponders"):
        harbor.await_in_database(f"{_OF_THE_DESK} AND state = 'active' AND query_start < now() - interval '4 s'", 3)
        yield
    harbor.change("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")


@fault({"database_connections": "db.idle-in-transaction"}, idle_after_seconds=3.0)
def sessions_forgotten_in_transactions(harbor: Harbor) -> Iterator[None]:
    """Nobody closes them; the pools run dry."""
    with harbor.switch("forgets"):
        harbor.await_in_database(
            f"{_OF_THE_DESK} AND state_change < now() - interval '3 s' AND state LIKE 'idle in%'", 10
        )
        yield


@fault(
    {"error_rate": "http.dependency-failing", "database_connections": "db.unexplained-pool-exhaustion"},
    "QueuePool limit",
)
def connections_leak(harbor: Harbor) -> Iterator[None]:
    """Taken, used, and never given back: PostgreSQL sees idle sessions, the pools are dry."""
    harbor.renew()
    with harbor.switch("leaks"):
        harbor.await_in_database(_OF_THE_DESK, 10)
        harbor.await_said(
            "desk", "QueuePool limit", 8
        )  # of both: while one still has connections, it is that replica's trouble
        yield
