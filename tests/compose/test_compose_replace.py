"""A container is replaced only by one that compose has made, alike it: asked of a tiny project on the real Engine."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import pytest

from flowrex_ops.compose.stack import ComposeStack
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Replica
from flowrex_sandbox.ports import pick_free_ports
from flowrex_sandbox.stacks.compose.images import BASE_IMAGE, _require_base_image

pytestmark = pytest.mark.docker

FILE = """
version: "3.7"
services:
  backend:
    image: localhost:1/flowrex-tiny:${VERSION:-1}
    entrypoint: ["${PROGRAM:-sleep}"]
    command: ["600"]
    stop_signal: SIGKILL
    environment: {DATABASE_URL: "postgresql://u:PASSWORD@db/x", RELEASE: "${VERSION:-1}"}
    ports: ["127.0.0.1:PORT:80"]
    networks: [front, back]
networks: {front: {}, back: {}}
"""


@dataclass
class Project:
    """A project with one replica, whose password does not stand in its file."""

    name: str
    folder: Path

    def start(self, *, password: str, env_file: str = "", container_name: str = "") -> None:
        """Bring it up as its engineers do: with ``--env-file``, or a variable of their shell."""
        text = FILE.replace("PASSWORD", password).replace("PORT", str(pick_free_ports(1)[0]))
        if container_name:
            text = text.replace("    stop_signal", f"    container_name: {container_name}\n    stop_signal")
        (self.folder / "docker-compose.yml").write_text(text, encoding="utf-8")
        (self.folder / "prod.env").write_text("DB_PASS=sesame\n", encoding="utf-8")
        named = ("--env-file", env_file) if env_file else ()
        self.compose(*named, "-p", self.name, "up", "-d", **({} if env_file else {"DB_PASS": "sesame"}))

    def compose(self, *arguments: str, **variables: str) -> None:
        subprocess.run(
            ["docker-compose", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
            env={**os.environ, **variables},
        )

    def stack(self, version_variable: str = "VERSION") -> ComposeStack:
        return ComposeStack(self.name, docker_host="", timeout_seconds=30, version_variable=version_variable)

    def replicas(self) -> list[Replica]:
        return list(self.stack().get_replicas("backend"))


@pytest.fixture
def project(docker_engine: None, tmp_path: Path) -> Iterator[Project]:
    _require_base_image(print)
    for version in "12":
        docker.from_env().images.get(BASE_IMAGE).tag("localhost:1/flowrex-tiny", version)
    made = Project(f"tiny-{uuid.uuid4().hex[:8]}", tmp_path)
    yield made
    for one in made.replicas():
        docker.from_env().containers.get(one.identity.partition("@")[0]).remove(force=True)
    made.compose("-p", made.name, "down", "-v", DB_PASS="")


class TestReplace:
    def test_new_one_is_as_the_old_one_but_for_its_version(self, project: Project) -> None:
        """Variables of ``--env-file``, networks and the names in them, and a port that only one can hold."""
        project.start(password="${DB_PASS}", env_file="prod.env")
        (old,) = project.replicas()
        was = _seen(old)

        new = project.stack().replace(old, "2", timeout_seconds=20)

        assert project.replicas() == [new]
        assert (new.version, new.running, new.identity != old.identity) == ("2", True, True)
        expected = {**was, "environment": [line.replace("RELEASE=1", "RELEASE=2") for line in was["environment"]]}
        assert _seen(new) == expected

    @pytest.mark.parametrize(
        ("password", "version", "variable", "reason"),
        [
            ("${DB_PASS}", "2", "VERSION", "compose would leave 'DB_PASS' blank, so nothing was changed; set it in"),
            ("${DB_PASS:-}", "2", "VERSION", "would not have what those that run have in 'DATABASE_URL', so none was"),
            ("fixed", "no-such-image", "VERSION", "failed: "),
            ("fixed", "no-such-program", "PROGRAM", "refused: .*no-such-program"),
        ],
        ids=["blank variable", "blank by default", "no image", "does not start"],
    )
    def test_old_one_runs_where_no_new_one_can(
        self, project: Project, password: str, version: str, variable: str, reason: str
    ) -> None:
        """Its only replica serves on, and nothing half-made is left."""
        project.start(password=password)
        (old,) = project.replicas()

        with pytest.raises(StackUnavailableError, match=reason):
            project.stack(variable).replace(old, version, timeout_seconds=20)

        assert [(one.name, one.running, _id(one)) for one in project.replicas()] == [("backend-1", True, _id(old))]

    def test_a_name_of_its_own_cannot_be_given_twice(self, project: Project) -> None:
        """Compose's own advice would be to remove the only one there is."""
        project.start(password="fixed", container_name=f"{project.name}-only")
        before = project.replicas()

        with pytest.raises(StackUnavailableError, match=r"a container_name \('.*-only'\).* so nothing was changed"):
            project.stack().replace(before[0], "2", timeout_seconds=20)

        assert project.replicas() == before


class TestScale:
    @pytest.mark.parametrize(("password", "count"), [("${DB_PASS}", 2), ("${DB_PASS:-}", 2), ("${DB_PASS}", 0)])
    def test_nothing_changes_where_a_variable_would_be_blank(self, project: Project, password: str, count: int) -> None:
        """Not even on the way to fewer: compose is asked before anything is removed."""
        project.start(password=password)
        before = project.replicas()

        with pytest.raises(StackUnavailableError, match=r"'DB_PASS' blank|'DATABASE_URL'"):
            project.stack().scale("backend", count, timeout_seconds=20)

        assert project.replicas() == before


def test_pinned_version_goes_where_compose_reads_it(project: Project) -> None:
    """With ``--env-file`` no ``.env`` is read."""
    project.start(password="${DB_PASS}", env_file="prod.env")
    (project.folder / ".env").write_text("VERSION=0\n", encoding="utf-8")
    (project.folder / "prod.env").write_text("DB_PASS=sesame\nVERSION=1\n", encoding="utf-8")

    was = project.stack().pin_version("backend", "2")

    files = [(project.folder / name).read_text(encoding="utf-8") for name in (".env", "prod.env")]
    assert (was, files) == ("1", ["VERSION=0\n", "DB_PASS=sesame\nVERSION=2\n"])


def test_what_the_files_would_make_otherwise_by_now(project: Project) -> None:
    """An edit that was not deployed; not a variable of the shell that deployed it, for then no file was edited since."""
    project.start(password="fixed")
    file = project.folder / "docker-compose.yml"
    beside = (
        '  beside: {image: "localhost:1/flowrex-tiny:1", entrypoint: [sleep], command: ["600"], stop_signal: SIGKILL}\n'
    )
    file.write_text(file.read_text(encoding="utf-8").replace("networks: {front", f"{beside}networks: {{front"), "utf-8")
    project.compose("-p", project.name, "up", "-d", VERSION="2")
    ask = partial(project.stack().get_outdated, timeout_seconds=20)

    assert ask() == []
    file.write_text(file.read_text(encoding="utf-8").replace('"600"', '"601"', 1), "utf-8")
    ((service, replica, made_at, edited_at),) = ask()
    assert (service, replica, made_at < edited_at) == ("backend", "backend-1", True)
    file.write_text(file.read_text(encoding="utf-8").replace('"600"', '"601"'), "utf-8")
    with pytest.raises(StackUnavailableError, match="none of the containers by its hash"):
        ask()


def _id(replica: Replica) -> str:
    """The container's, which stays when it is stopped and started."""
    return replica.identity.partition("@")[0]


def _seen(replica: Replica) -> dict[str, list[str]]:
    attributes = docker.from_env().containers.get(_id(replica)).attrs
    networks = attributes["NetworkSettings"]["Networks"]
    return {
        "environment": sorted(attributes["Config"]["Env"]),
        "networks": sorted(f"{name} {'backend' in network['Aliases']}" for name, network in networks.items()),
        "ports": sorted(str(port) for port in replica.ports.items()),
    }
