"""The PostgreSQL source: read-only by construction, bounded when nobody answers, honest about refusals."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from threading import Thread

import pandas as pd
import psycopg
import pytest

from flowrex_ops.discovery.endpoints import _user
from flowrex_ops.postgres.sessions import root_pids
from flowrex_ops.postgres.source import PostgresSource, connect
from flowrex_ops.reading import UNREACHABLE_CODES
from flowrex_ops.waiting import wait_until
from flowrex_sandbox.faults.postgres import ArchiveFails
from flowrex_sandbox.faults.replication import StandbyBehind
from flowrex_sandbox.sandbox import Sandbox


@pytest.fixture
def source(supervisor_sandbox: Sandbox) -> Iterator[PostgresSource]:
    with closing(PostgresSource(supervisor_sandbox.app_dsn, limit_seconds=5, limit_rows=500)) as found:
        yield found


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "role"),
    [
        ("postgresql://flow%40rex:pw@db:5432/x", "flow@rex"),
        ("postgresql+asyncpg://flowrex:p#w@db/x", "flowrex"),
        ("host=db user=flowrex password=pw", "flowrex"),
        ("postgresql://db/x", ""),
        ("postgresql://[::1/x", ""),
        ("", ""),
    ],
)
def test_role_of_an_address(url: str, role: str) -> None:
    """As any driver's URL has it, or libpq's words; what cannot be read names nobody."""
    assert role == _user(url)


class TestReadOnly:
    def test_writing_is_refused_by_the_server(self, supervisor_sandbox: Sandbox) -> None:
        """Not a promise of ours: the session itself is read-only."""
        with closing(connect(supervisor_sandbox.app_dsn, limit_seconds=5)) as connection:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("CREATE TABLE scratch (id int)")

    def test_session_names_itself_and_cannot_hang(self, supervisor_sandbox: Sandbox) -> None:
        """Whoever looks at pg_stat_activity sees who asks; every statement and every lock has its limit."""
        with closing(connect(supervisor_sandbox.app_dsn, limit_seconds=5)) as connection:
            names = ("application_name", "statement_timeout", "lock_timeout", "default_transaction_read_only")
            shown = [connection.execute(f"SHOW {name}").fetchone() for name in names]
        assert [next(iter(row.values())) for row in shown if row] == ["flowrex-ops", "5s", "1s", "on"]


class TestReadings:
    def test_sessions_tell_state_and_age(self, source: PostgresSource, supervisor_sandbox: Sandbox) -> None:
        """A session idle in a transaction is seen as one, with the age of its transaction in seconds."""
        with closing(psycopg.connect(supervisor_sandbox.app_dsn, application_name="forgotten")) as connection:
            connection.execute("SELECT 1")
            seen = source.get_sessions().require().set_index("application").loc["forgotten"]
        assert seen["state"] == "idle in transaction"
        assert 0 <= seen["xact_age_seconds"] < 5

    def test_blocking_pid_is_the_real_one(self, source: PostgresSource, supervisor_sandbox: Sandbox) -> None:
        """One session holds an advisory lock, another waits for it: the root is the holder."""
        with ExitStack() as stack:
            holder, waiter = (
                stack.enter_context(closing(psycopg.connect(supervisor_sandbox.app_dsn))) for _ in range(2)
            )
            holder.execute("SELECT pg_advisory_xact_lock(815)")
            thread = Thread(target=lambda: waiter.execute("SELECT pg_advisory_xact_lock(815)"), daemon=True)
            thread.start()
            pid = holder.info.backend_pid
            assert wait_until(lambda: root_pids(source.get_sessions().require()) == [pid], seconds=5)
            held = source.get_locks().require()
            assert {"advisory"} <= set(held[held["pid"].eq(pid)]["lock_type"])
            holder.rollback()
            thread.join(5)

    def test_limits_count_the_slots(self, source: PostgresSource) -> None:
        """What an ordinary role can have is what is configured less what is kept back."""
        limits = source.get_connection_limits().require()
        assert limits.for_applications == limits.max_connections - limits.superuser_reserved - limits.reserved
        assert 0 < limits.used <= limits.max_connections


class TestNobodyAnswers:
    def test_refused_connection_is_unreachable(self) -> None:
        """Nobody listens: the reading says so at once, with a code, and without the password."""
        reading = PostgresSource("postgresql://x:hush-hush@127.0.0.1:1/x", limit_seconds=5, limit_rows=1).get_sessions()
        assert (reading.available, reading.code) == (False, "unreachable")
        assert "hush-hush" not in str(reading.error)

    def test_silent_server_costs_one_limit_not_three(self, silent_port: int) -> None:
        """Accepts and never answers: the first reading takes the limit, the next ones nothing."""
        source = PostgresSource(f"postgresql://x@127.0.0.1:{silent_port}/x", limit_seconds=0.5, limit_rows=1)
        readings = [source.get_sessions(), source.get_connection_limits(), source.get_prepared_transactions()]
        assert [reading.code for reading in readings] == ["timeout"] * 3
        assert [round(reading.seconds) for reading in readings[1:]] == [0, 0]

    def test_not_configured_says_what_to_set(self) -> None:
        """No address at all is another thing than a dead one."""
        reading = PostgresSource(None, limit_seconds=1, limit_rows=1).get_sessions()
        assert "set postgres.dsn" in str(reading.error)
        assert reading.code is None

    def test_server_that_is_stopped_cannot_be_reached(self) -> None:
        """Its service is known and does not run: nothing has to be asked to know that nobody answers."""
        source = PostgresSource(None, limit_seconds=1, limit_rows=1, missing="it is exited, not running", stopped=True)
        reading = source.get_sessions()
        assert (reading.error, reading.code in UNREACHABLE_CODES) == ("it is exited, not running", True)

    def test_wrong_password_is_told_apart(self, supervisor_sandbox: Sandbox) -> None:
        """The server answers, and does not let us in."""
        dsn = psycopg.conninfo.make_conninfo(supervisor_sandbox.app_dsn, password="wrong")
        reading = PostgresSource(dsn, limit_seconds=5, limit_rows=1).get_sessions()
        assert reading.code in ("28P01", "28000"), reading

    def test_comes_back_when_the_server_does(self, supervisor_sandbox: Sandbox, source: PostgresSource) -> None:
        """A connection that was cut is opened again by the next question."""
        pid = next(iter(source.get_sessions().require().query("own")["pid"]))
        supervisor_sandbox.execute(f"SELECT pg_terminate_backend({pid})")
        assert wait_until(lambda: source.get_sessions().available, seconds=5)


@contextmanager
def pooler(port: int, *, drops: bool = False) -> Iterator[int]:
    """In front of PostgreSQL, as PgBouncer is by default: startup options are refused, or (``drops``) left out without a word.

    It speaks the startup of the protocol and passes everything else on (PostgreSQL: Message Formats, StartupMessage).
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                length = int.from_bytes(client.recv(4, socket.MSG_WAITALL))
                body = client.recv(length - 4, socket.MSG_WAITALL)
                words = body[4:].rstrip(b"\0").split(b"\0")
                given = dict(zip(words[::2], words[1::2], strict=False))
                if given.pop(b"options", b"") and not drops:
                    text = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
                    client.sendall(b"E" + (len(text) + 4).to_bytes(4) + text)
                    return
                again = body[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in given.items()) + b"\0"
                with socket.create_connection(("127.0.0.1", port)) as behind:
                    behind.sendall((len(again) + 4).to_bytes(4) + again)
                    back = Thread(target=pump, args=(behind, client), daemon=True)
                    back.start()
                    pump(client, behind)
                    back.join(5)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


class TestPooler:
    @pytest.mark.parametrize("drops", [False, True], ids=["refuses options", "drops options"])
    def test_the_limits_are_set_afterwards(self, supervisor_sandbox: Sandbox, *, drops: bool) -> None:
        """Read-only, with time limits, and without prepared statements, whatever the pooler does with what is asked for."""
        real = supervisor_sandbox.state.ports["postgres"]
        with pooler(real, drops=drops) as port:
            dsn = supervisor_sandbox.app_dsn.replace(f":{real}/", f":{port}/") + "?sslmode=disable&gssencmode=disable"
            with closing(PostgresSource(dsn, limit_seconds=5, limit_rows=500)) as found:
                assert found.get_sessions().available
            with closing(connect(dsn, limit_seconds=5)) as connection:
                names = ("statement_timeout", "lock_timeout", "default_transaction_read_only")
                assert [connection.execute(f"SHOW {name}").fetchall()[0][name] for name in names] == ["5s", "1s", "on"]
                assert connection.prepare_threshold is None

    def test_a_server_that_refuses_in_words_is_not_gone(self) -> None:
        """It answers (PgBouncer, with its server gone), so that nobody is told that it is not there."""
        text = b"SFATAL\0C08P01\0Mquery_wait_timeout\0\0"
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                client = server.accept()[0]
                with client:
                    client.recv(4096)
                    client.sendall(b"E" + (len(text) + 4).to_bytes(4) + text)

            Thread(target=answer, daemon=True).start()
            dsn = f"postgresql://x@127.0.0.1:{server.getsockname()[1]}/x?sslmode=disable&gssencmode=disable"
            reading = PostgresSource(dsn, limit_seconds=2, limit_rows=5).get_sessions()
        assert (reading.code, "query_wait_timeout" in str(reading.error)) == ("answered", True)


class TestPartialView:
    def test_slots_of_other_roles_are_counted(self, supervisor_sandbox: Sandbox) -> None:
        """A role without pg_read_all_stats sees that there are sessions, though not what they do."""
        supervisor_sandbox.execute("CREATE ROLE onlooker LOGIN PASSWORD 'look'")
        dsn = supervisor_sandbox.app_dsn.partition("@")[2]
        try:
            with ExitStack() as opened:
                for _ in range(5):
                    opened.enter_context(closing(psycopg.connect(supervisor_sandbox.reporting_dsn)))
                source = opened.enter_context(
                    closing(PostgresSource(f"postgresql://onlooker:look@{dsn}", limit_seconds=5, limit_rows=500))
                )
                limits = source.get_connection_limits().require()
        finally:
            supervisor_sandbox.execute("DROP ROLE onlooker")
        assert not limits.sees_all_sessions
        assert limits.used >= 6


def test_a_database_in_sql_ascii_is_read(supervisor_sandbox: Sandbox) -> None:
    """Whatever bytes its clients send, as text."""
    supervisor_sandbox.execute(
        "CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    dsn = supervisor_sandbox.admin_dsn.rpartition("/")[0] + "/plain"
    try:
        with closing(psycopg.connect(dsn, client_encoding="latin1")) as talker:
            talker.execute("SELECT 'Zürich'")
            with closing(PostgresSource(dsn, limit_seconds=5, limit_rows=500)) as source:
                sessions, limits = source.get_sessions().require(), source.get_connection_limits()
    finally:
        supervisor_sandbox.execute("DROP DATABASE plain WITH (FORCE)")
    assert limits.available
    assert sessions.loc[sessions["database"].eq("plain"), "query"].str.contains("rich").any()


def test_a_standby_that_applies_nothing(source: PostgresSource, supervisor_sandbox: Sandbox) -> None:
    """A real one: what it has not applied is counted in bytes, for its lag in seconds stands still; gone, nothing is left of it."""
    fault = StandbyBehind()
    try:
        fault.inject(supervisor_sandbox, {})
        row = source.get_replication().require().iloc[0]
        assert (row["kind"], row["name"], row["state"], row["sync_state"]) == (
            "standby",
            "reports",
            "streaming",
            "async",
        )
        assert row["behind_bytes"] > 3 * 1024 * 1024
    finally:
        fault.stop(supervisor_sandbox)
    assert wait_until(lambda: source.get_replication().require().empty, seconds=10)


def test_sequences_are_measured_by_what_their_columns_hold(source: PostgresSource, supervisor_sandbox: Sandbox) -> None:
    """An integer identity near its end; a bigint one and one that begins again are far; one of somebody else's may not be read."""
    with psycopg.connect(supervisor_sandbox.app_dsn, autocommit=True) as app:
        try:
            app.execute("CREATE TABLE a (id integer GENERATED ALWAYS AS IDENTITY (START WITH 2147483640))")
            app.execute("CREATE SEQUENCE b AS bigint OWNED BY a.id START WITH 1")
            app.execute("CREATE TABLE c (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 3000000000))")
            app.execute("CREATE SEQUENCE d AS smallint START WITH 32767 CYCLE")
            app.execute("INSERT INTO a DEFAULT VALUES; INSERT INTO c DEFAULT VALUES; SELECT nextval('d')")
            supervisor_sandbox.execute("CREATE SEQUENCE secret")
            reading = source.get_sequences()
        finally:
            app.execute("DROP TABLE IF EXISTS a, c; DROP SEQUENCE IF EXISTS d")
            supervisor_sandbox.execute("DROP SEQUENCE IF EXISTS secret")
    found = reading.require().set_index("sequence")
    assert found.index[0] == "public.a_id_seq"
    assert found.loc["public.a_id_seq", ["fills", "type", "most", "used"]].tolist() == [
        "a.id",
        "integer",
        2147483647,
        2147483640,
    ]
    assert found.loc["public.b", "most"] == 2147483647
    assert found.loc["public.c_id_seq", "share"] < 1e-6
    assert "public.d" not in found.index
    assert pd.isna(found.loc["public.secret", "share"])


def test_who_has_set_the_application_to_read_only(source: PostgresSource, supervisor_sandbox: Sandbox) -> None:
    """By role and by database; the source's own connections, which are read-only, do not count."""
    assert source.get_read_only().require().iloc[0].tolist() == [False, False, "default", True, None]
    asked_by = PostgresSource(
        supervisor_sandbox.reporting_dsn, limit_seconds=5, limit_rows=9, application_role="flowrex"
    )
    try:
        supervisor_sandbox.execute("ALTER ROLE flowrex SET default_transaction_read_only = on")
        assert source.get_read_only().require().iloc[0].tolist() == [False, True, "user", True, "ALTER ROLE flowrex"]
        reported = asked_by.get_read_only().require().iloc[0]
        assert reported.tolist() == [False, False, "default", False, "ALTER ROLE flowrex"]
    finally:
        supervisor_sandbox.execute("ALTER ROLE flowrex RESET default_transaction_read_only")
        asked_by.close()


def test_transaction_ids_of_every_database(source: PostgresSource) -> None:
    """Also of those that nobody may connect to."""
    found = source.get_transaction_ids().require()
    assert {"flowrex", "template0"} <= set(found["database"])
    assert found["xid_age"].between(1, 2**31).all()


@pytest.fixture
def session(supervisor_sandbox: Sandbox) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """One of the application; its tables go with it."""
    with psycopg.connect(supervisor_sandbox.app_dsn, autocommit=True, application_name="loader") as app:
        yield app
        app.execute("DROP TABLE IF EXISTS a, b, c")


def test_tables_that_nobody_looks_after(
    source: PostgresSource, supervisor_sandbox: Sandbox, session: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Their own settings stand above the server's; whoever holds the oldest snapshot is named; what is not counted is told by its size."""
    session.execute("CREATE TABLE a (id int) WITH (autovacuum_enabled = off, autovacuum_vacuum_threshold = 9)")
    session.execute(
        "CREATE TABLE b (id int) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 7)"
    )
    with psycopg.connect(supervisor_sandbox.reporting_dsn, application_name="report") as report:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        session.execute("INSERT INTO a SELECT generate_series(1, 100); UPDATE a SET id = id; ANALYZE a")
        session.execute("SELECT pg_stat_force_next_flush()")
        session.execute("SELECT 1")
        found = source.get_table_upkeep().require().set_index("table")
        names = ["dead", "vacuum_at", "has_statistics", "counters_lost", "autovacuum"]
        assert found.loc["public.a", names].tolist() == [100, 9 + 0.2 * 100, True, False, "off for this table"]
        assert found.loc["public.b", ["vacuum_at", "analyze_at", "autovacuum"]].tolist() == [50, 7, "on"]
        assert str(found["held_by"].iloc[0]).startswith("session of report (PID ")
        assert 0 <= found["held_seconds"].iloc[0] < 60
    session.execute(
        "CREATE TABLE c WITH (autovacuum_enabled = off) AS SELECT repeat('x', 100) FROM generate_series(1, 9000)"
    )
    supervisor_sandbox.execute("SELECT pg_stat_reset_single_table_counters('c'::regclass)")
    unread = PostgresSource(supervisor_sandbox.reporting_dsn, limit_seconds=5, limit_rows=9)
    with closing(unread):
        rows = [one.get_table_upkeep().require().set_index("table").loc["public.c"] for one in (source, unread)]
    assert [row["has_statistics"] for row in rows] == [False, False]
    assert rows[0]["rows"] > 3000
    session.execute("ANALYZE c")
    supervisor_sandbox.execute("SELECT pg_stat_reset_single_table_counters('c'::regclass)")
    with closing(unread):
        rows = [one.get_table_upkeep().require().set_index("table").loc["public.c"] for one in (source, unread)]
    assert [(row["has_statistics"], row["counters_lost"]) for row in rows] == [(True, True), (None, True)]


def test_an_index_that_failed_and_one_that_is_being_built(
    source: PostgresSource, supervisor_sandbox: Sandbox, session: psycopg.Connection[tuple[object, ...]]
) -> None:
    session.execute("CREATE TABLE a AS SELECT 1 AS id FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute("CREATE UNIQUE INDEX CONCURRENTLY failed ON a (id)")
    assert source.get_invalid_indexes().require().to_numpy().tolist() == [["public.failed", "a", False, None]]
    session.execute("DROP INDEX failed")
    with psycopg.connect(supervisor_sandbox.app_dsn) as writer:
        writer.execute("INSERT INTO a VALUES (3)")
        thread = Thread(target=lambda: session.execute("CREATE INDEX CONCURRENTLY slow ON a (id)"), daemon=True)
        thread.start()
        assert wait_until(lambda: len(source.get_invalid_indexes().require()) == 1, seconds=5)
        (row,) = source.get_invalid_indexes().require().to_dict("records")
        assert str(row["locked_by"]).endswith(", CREATE INDEX CONCURRENTLY slow ON a (id)")
    thread.join(5)
    assert source.get_invalid_indexes().require().empty


def test_an_archive_that_takes_nothing_and_then_does(source: PostgresSource, supervisor_sandbox: Sandbox) -> None:
    """What waits is told to whoever may list it."""
    fault = ArchiveFails()
    try:
        fault.inject(supervisor_sandbox, {})
        row = source.get_archiver().require().iloc[0]
        assert (row["mode"], row["configured"], row["failed"] > 0, row["failed_seconds"] < 60) == (
            "on",
            True,
            True,
            True,
        )
        assert row["waiting"] >= 1
        assert row["wal_bytes"] >= 16 * 1024 * 1024
        unread = PostgresSource(supervisor_sandbox.reporting_dsn, limit_seconds=5, limit_rows=9)
        with closing(unread):
            assert pd.isna(unread.get_archiver().require().iloc[0]["waiting"])
    finally:
        fault.stop(supervisor_sandbox)
    assert wait_until(lambda: source.get_archiver().require().iloc[0]["waiting"] == 0, seconds=30)
