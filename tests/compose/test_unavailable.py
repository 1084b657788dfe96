"""An engine that is not there, does not answer or does not know the project: one clear line, in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lying import lying

from flowrex_ops.compose.stack import ComposeStack
from flowrex_ops.errors import StackUnavailableError
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.supervisor import SupervisorStack


@pytest.fixture
def deaf_socket(tmp_path: Path) -> Iterator[Path]:
    """A unix socket that accepts and never answers."""
    path = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        yield path


class TestSupervisor:
    def test_not_running(self, tmp_path: Path) -> None:
        """A socket that does not exist is named, with what to do."""
        stack = SupervisorStack(tmp_path / "none.sock", timeout_seconds=1)

        with pytest.raises(StackUnavailableError, match=r"none\.sock' cannot be reached.*start it or correct stack"):
            stack.get_replicas()

    def test_can_be_asked_again_after_a_failure(self, tmp_path: Path) -> None:
        """The second question gets the same clear answer as the first, not one about the connection's state."""
        stack = SupervisorStack(tmp_path / "none.sock", timeout_seconds=1)

        for _ in range(2):
            with pytest.raises(StackUnavailableError, match="cannot be reached"):
                stack.describe()

    def test_deaf(self, deaf_socket: Path) -> None:
        """An engine that does not answer costs the time limit and no more."""
        started = time.monotonic()

        with pytest.raises(StackUnavailableError, match=r"did not answer in 0\.3 s"):
            SupervisorStack(deaf_socket, timeout_seconds=0.3).get_replicas()
        assert time.monotonic() - started < 2

    def test_a_byte_a_second(self, tmp_path: Path) -> None:
        """The limit is of the whole answer, not of each read."""
        path = tmp_path / "lying.sock"
        with lying("its body a byte a second", path), pytest.raises(StackUnavailableError, match=r"in 1\.5 s"):
            SupervisorStack(path, timeout_seconds=1.5).get_replicas()

    def test_broken_inventory(self, supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
        """An inventory that is no JSON is named as such."""
        real = Path(supervisor_sandbox.state.run_dir) / "supervisor.sock"
        (tmp_path / "supervisor.sock").symlink_to(real)
        (tmp_path / "services.json").write_text("{", encoding="utf-8")

        with pytest.raises(StackUnavailableError, match=r"inventory '.*services\.json' cannot be read"):
            SupervisorStack(tmp_path / "supervisor.sock", timeout_seconds=5).get_replicas()


class TestCompose:
    def test_not_running(self, tmp_path: Path) -> None:
        """The engine's address is in the line, without the SDK's four layers of exceptions."""
        host = f"unix://{tmp_path}/docker.sock"
        stack = ComposeStack("flowrex", docker_host=host, timeout_seconds=1)

        with pytest.raises(StackUnavailableError) as caught:
            stack.get_replicas()
        expected = f"docker engine at '{host}' cannot be reached: no such file or directory; "
        assert str(caught.value) == expected + "start it, or correct stack.docker_host"

    def test_deaf(self, deaf_socket: Path) -> None:
        """An engine that does not answer costs the time limit and no more."""
        started = time.monotonic()

        with pytest.raises(StackUnavailableError, match=r"did not answer in 0\.3 s"):
            ComposeStack("", docker_host=f"unix://{deaf_socket}", timeout_seconds=0.3).get_replicas()
        assert time.monotonic() - started < 2

    @pytest.mark.parametrize(
        ("lie", "limit", "said"),
        [
            ("its body a byte a second", 1.5, r"did not answer in 1\.5 s"),
            ("an endless body", 20.0, "longer than 32 mib"),
        ],
    )
    def test_answer_without_an_end(self, lie: str, limit: float, said: str, tmp_path: Path) -> None:
        """The limit is of the whole, not of each read, and memory has one, too: it grew by gigabytes, long after the reading was over."""
        started = time.monotonic()
        with lying(lie, tmp_path / "lying.sock"), pytest.raises(StackUnavailableError, match=said):
            ComposeStack("flowrex", docker_host=f"unix://{tmp_path}/lying.sock", timeout_seconds=limit).get_replicas()
        assert time.monotonic() - started < limit + 2

    @pytest.mark.docker
    def test_project_that_does_not_run(self, docker_engine: None) -> None:
        """A named project without containers simply has no replicas."""
        stack = ComposeStack("no-such-project", docker_host="", timeout_seconds=5)

        assert list(stack.get_replicas()) == []

    @pytest.mark.docker
    def test_vanished_container(self, compose_sandbox: Sandbox) -> None:
        """Acting on a container that is gone is refused by the engine, and said so."""
        stack = compose_sandbox.stack()
        ghost = replace(stack.get_replicas("backend")[0], identity="0123456789ab@2026-01-01T00:00:00Z")

        with pytest.raises(StackUnavailableError, match=r"refused: .*No such container.*docker ps -a"):
            stack.restart(ghost, timeout_seconds=5)
