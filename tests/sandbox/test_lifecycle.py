"""Up, down, twice, side by side, and what goes wrong on the way."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from flowrex_ops.compose import open_stack
from flowrex_ops.errors import SandboxError
from flowrex_ops.settings import load
from flowrex_sandbox import control as sandbox
from flowrex_sandbox.faults.postgres import NoSlotsLeft
from flowrex_sandbox.processes import command_of, find_marked, kill
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.stacks.embedded import account, lifecycle, parts
from flowrex_sandbox.state import read_state


def quiet(_: str) -> None:
    """Progress that nobody wants to see."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A place for a sandbox that is gone after the test, whatever happened."""
    yield tmp_path / "home"
    sandbox.down(tmp_path / "home")


def listed(*arguments: str, project: str) -> list[str]:
    command = ["docker", *arguments, "--filter", f"label=com.docker.compose.project={project}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


class TestUp:
    def test_answers_its_users(self, any_sandbox: Sandbox) -> None:
        """Up means that the front door, the database and the cache answer."""
        settings = load(any_sandbox.settings_file)
        assert settings.postgres.dsn is not None
        assert settings.redis.url is not None

        assert get_answer(f"{any_sandbox.url}/api/prices") == 200
        with psycopg.connect(settings.postgres.dsn.get_secret_value()) as connection:
            assert connection.execute("SELECT current_user, current_database()").fetchone() == ("flowrex", "flowrex")
        assert redis.Redis.from_url(settings.redis.url.get_secret_value()).ping()

    def test_settings_lead_to_the_reserved_slots(self, any_sandbox: Sandbox) -> None:
        """``reserve_dsn`` is a superuser's, and the application's role is none."""
        settings = load(any_sandbox.settings_file)
        assert settings.postgres.reserve_dsn is not None

        roles = dict(
            any_sandbox.query("SELECT rolname, rolsuper FROM pg_roles WHERE rolname IN ('flowrex', 'postgres')")
        )
        with psycopg.connect(settings.postgres.reserve_dsn.get_secret_value()) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("postgres",)
        assert roles == {"flowrex": False, "postgres": True}

    def test_keeps_passwords_to_itself(self, any_sandbox: Sandbox) -> None:
        """Files with passwords in them are for their owner only, and no process shows one on its command line."""
        private = [any_sandbox.settings_file, any_sandbox.home / "state.json"]
        commands = " ".join(map(command_of, find_marked(any_sandbox.home)))

        assert [file.stat().st_mode & 0o077 for file in private] == [0, 0]
        assert any_sandbox.state.app_password not in commands
        assert any_sandbox.state.admin_password not in repr(any_sandbox)

    def test_again_changes_nothing(self, any_sandbox: Sandbox) -> None:
        """A second ``up`` finds everything running and leaves every replica as it is."""
        before = [replica.identity for replica in any_sandbox.stack().get_replicas()]

        again = sandbox.up(any_sandbox.state.stack, any_sandbox.home, on_progress=quiet)

        assert again == any_sandbox
        assert [replica.identity for replica in again.stack().get_replicas()] == before

    def test_again_starts_what_is_missing(self, any_sandbox: Sandbox) -> None:
        """A replica that somebody stopped is started by the next ``up``."""
        stack = any_sandbox.stack()
        stack.stop(stack.get_replicas("backend")[2], timeout_seconds=20)

        sandbox.up(any_sandbox.state.stack, any_sandbox.home, on_progress=quiet)

        assert [replica.running for replica in stack.get_replicas("backend")] == [True, True, True]

    def test_other_stack_in_the_same_home(self, supervisor_sandbox: Sandbox) -> None:
        """A home belongs to one stack."""
        with pytest.raises(SandboxError, match="is of stack 'supervisor', not 'compose'; choose another --home"):
            sandbox.up("compose", supervisor_sandbox.home, on_progress=quiet)

    def test_unknown_stack(self, home: Path) -> None:
        """A stack that there is not is named with those that there are."""
        with pytest.raises(SandboxError, match="no stack 'swarm'; take 'supervisor' or 'compose'"):
            sandbox.up("swarm", home, on_progress=quiet)


class TestEmbedded:
    @pytest.mark.thorough
    def test_two_side_by_side(self, supervisor_sandbox: Sandbox, home: Path) -> None:
        """Another home is another platform: other ports, other data, and ending it does not touch the first."""
        other = sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
        assert not set(other.state.ports.values()) & set(supervisor_sandbox.state.ports.values())
        other.execute("DELETE FROM prices")

        sandbox.down(home)

        assert get_answer(f"{supervisor_sandbox.url}/api/prices") == 200
        assert supervisor_sandbox.query("SELECT count(*) FROM prices") == [(5,)]

    def test_down_leaves_nothing(self, home: Path) -> None:
        """No process and no file is left, not even those of a fault that was never healed."""
        running = sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
        NoSlotsLeft().inject(running, {})

        assert sandbox.down(home)

        assert find_marked(home) == []
        assert list(home.parent.iterdir()) == []
        assert not sandbox.down(home)

    def test_survives_its_supervisor_being_killed(self, home: Path) -> None:
        """What a killed supervisord leaves behind is cleared away by the next ``up``, which keeps ports and data."""
        first = sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
        first.execute("UPDATE prices SET price = 1 WHERE symbol = 'EURUSD'")
        supervisord = (Path(first.state.run_dir) / "supervisord.pid").read_text(encoding="utf-8").strip()
        subprocess.run(["kill", "-9", supervisord], check=True)

        again = sandbox.up("supervisor", home, on_progress=quiet)

        assert again.state == first.state
        assert again.query("SELECT price::text FROM prices WHERE symbol = 'EURUSD'") == [("1.00000",)]

    def test_taken_port(self, home: Path) -> None:
        """A remembered port that another program has taken meanwhile is named, with what it is for."""
        state = sandbox.up("supervisor", home, replicas=1, on_progress=quiet).state
        kill(find_marked(home))
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", state.ports["redis"]))
            other.listen()

            expected = rf"port {state.ports['redis']} \(redis\) .* is taken .*'flowrex-ops sandbox down'"
            with pytest.raises(SandboxError, match=expected):
                sandbox.up("supervisor", home, on_progress=quiet)

    @pytest.mark.thorough
    def test_home_with_odd_characters(self, tmp_path: Path) -> None:
        """A path with spaces and letters beyond ASCII is a path like any other; only ``%`` is too much for supervisord."""
        with pytest.raises(SandboxError, match="for the '%' in its path; choose another --home"):
            sandbox.up("supervisor", tmp_path / "100%", on_progress=quiet)
        home = tmp_path / "Ärger & Ruhe"
        try:
            running = sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
            assert get_answer(f"{running.url}/api/prices") == 200
        finally:
            sandbox.down(home)
        assert find_marked(home) == []

    @pytest.mark.thorough
    def test_long_home(self, tmp_path: Path) -> None:
        """A home whose path is too long for a socket works, and its socket's folder goes with it."""
        home = tmp_path / ("long-" * 20) / "home"
        running = sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
        sockets = Path(running.state.run_dir)

        try:
            assert not sockets.is_relative_to(home)
            assert open_stack(load(running.settings_file)).describe()
        finally:
            sandbox.down(home)
        assert not sockets.exists()

    @pytest.mark.thorough
    @pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL as himself")
    def test_root_without_user_namespaces(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where root may make no user namespace, PostgreSQL runs as ``nobody``, with data where that user can go."""
        real = account._works
        monkeypatch.setattr(account, "_works", lambda command: command[0] != "unshare" and real(command))
        monkeypatch.setattr(lifecycle, "database_account", account.database_account.__wrapped__)
        home = tmp_path / "private" / "home"
        home.parent.mkdir(mode=0o700)
        if not account.can_reach(account.database_account.__wrapped__(), Path(sys.prefix)):
            pytest.skip("this environment is in a folder that 'nobody' may not enter")

        running = sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
        data = Path(running.state.data_dir)
        owner = data.owner()
        sandbox.down(home)

        assert owner == "nobody"
        assert not data.exists()

    @pytest.mark.thorough
    def test_without_nginx_users_go_to_a_replica(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """NGINX is the one part that can be done without; it is said, and everything else works."""
        monkeypatch.setattr(parts, "_find_nginx", lambda: None)
        said: list[str] = []

        running = sandbox.up("supervisor", home, replicas=1, on_progress=said.append)

        assert any("no NGINX on this machine" in line for line in said)
        assert {replica.service for replica in running.replicas("nginx")} == set()


class TestState:
    def test_home_with_other_files(self, tmp_path: Path) -> None:
        """A folder with something else in it becomes no home: ``down`` would remove it all."""
        (tmp_path / "thesis.txt").touch()

        with pytest.raises(SandboxError, match="is not empty and holds no sandbox; choose another --home"):
            sandbox.up("supervisor", tmp_path, on_progress=quiet)

    def test_damaged_state_does_not_stop_down(self, home: Path) -> None:
        """What the error about a damaged state advises works."""
        sandbox.up("supervisor", home, replicas=1, on_progress=quiet)
        (home / "state.json").write_text("{", encoding="utf-8")

        assert sandbox.down(home)
        assert find_marked(home) == []
        assert not home.exists()

    def test_unreadable(self, tmp_path: Path) -> None:
        """A state file that was damaged is named, with the way out."""
        (tmp_path / "state.json").write_text("{", encoding="utf-8")

        with pytest.raises(SandboxError, match=r"state\.json' cannot be read: .*'flowrex-ops sandbox down'"):
            read_state(tmp_path)

    def test_no_sandbox(self, tmp_path: Path) -> None:
        """Where there is none, opening says so, and status is empty."""
        with pytest.raises(SandboxError, match="start one with 'flowrex-ops sandbox up'"):
            sandbox.open_sandbox(tmp_path)
        assert sandbox.status(tmp_path) == []


@pytest.mark.docker
@pytest.mark.usefixtures("docker_engine")
class TestCompose:
    def test_two_side_by_side_and_down_leaves_nothing(self, compose_sandbox: Sandbox, home: Path) -> None:
        """A second project beside the first; its end takes containers, networks, volumes and files, and only its own."""
        other = sandbox.up("compose", home, replicas=1, on_progress=quiet)
        assert len(listed("ps", "-aq", project=other.name)) == 12

        sandbox.down(home)

        left = [
            listed(*what, project=other.name)
            for what in (("ps", "-aq"), ("network", "ls", "-q"), ("volume", "ls", "-q"))
        ]
        assert left == [[], [], []]
        assert not home.exists()
        assert get_answer(f"{compose_sandbox.url}/api/prices") == 200

    def test_taken_port(self, home: Path) -> None:
        """A port that another program took while the platform was stopped is named before any container is started."""
        running = sandbox.up("compose", home, replicas=1, on_progress=quiet)
        subprocess.run(
            ["docker", "rm", "-f", *listed("ps", "-aq", project=running.name)], check=True, capture_output=True
        )
        with socket.socket() as other:
            other.bind(("127.0.0.1", running.state.ports["redis"]))
            other.listen()

            with pytest.raises(SandboxError, match=r"\(redis\) of the sandbox .* is taken"):
                sandbox.up("compose", home, on_progress=quiet)

        # Its volumes are still there. With the folder gone so are the passwords to them: a new sandbox begins afresh.
        shutil.rmtree(home)
        again = sandbox.up("compose", home, replicas=1, on_progress=quiet)
        assert get_answer(f"{again.url}/api/prices") == 200


def test_compose_without_an_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine: one line with the engine's own words, and nothing is written."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/no.sock")
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")

    with pytest.raises(SandboxError, match="'docker"):
        sandbox.up("compose", home, on_progress=quiet)
    assert not home.exists()
