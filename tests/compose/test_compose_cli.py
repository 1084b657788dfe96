"""Which generation of Compose is called: the one that made the project, where both are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowrex_ops.compose import open_stack
from flowrex_ops.compose.cli import find_command, run
from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Definition, Replica
from flowrex_ops.settings import Settings

V1, V2 = ("docker-compose",), ("docker", "compose")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Programs on a PATH of their own, which answer as those of each generation do."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def write(name: str, script: str) -> None:
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    find_command.cache_clear()
    yield write
    find_command.cache_clear()


def first(install: Install) -> None:
    install("docker-compose", 'echo "1.29.2"')


def second(install: Install) -> None:
    install("docker", '[ "$1" = compose ] && echo "v2.26.1"')


def engine_alone(install: Install) -> None:
    """``docker`` without the plug-in."""
    install("docker", "echo \"docker: 'compose' is not a docker command.\" >&2; exit 1")


@pytest.mark.parametrize(
    ("there", "made_by", "found"),
    [
        ((first,), "", V1),
        ((first, engine_alone), "", V1),
        ((first,), "2.26.1", V1),
        ((second,), "", V2),
        ((second,), "1.29.2", V2),
        ((first, second), "1.29.2", V1),
        ((first, second), "2.20.0", V2),
    ],
)
def test_whichever_is_there(
    install: Install, there: tuple[Callable[[Install], None], ...], made_by: str, found: tuple[str, ...]
) -> None:
    for one in there:
        one(install)
    assert find_command(made_by) == found


def test_neither(install: Install) -> None:
    engine_alone(install)
    with pytest.raises(
        StackUnavailableError, match="docker compose is missing; install docker-compose, or the plug-in"
    ):
        find_command()


@pytest.mark.parametrize(("command", "name"), [(V1, "docker-compose"), (V2, "docker")])
def test_the_projects_own_files_and_no_variable_of_the_callers(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str
) -> None:
    """``COMPOSE_FILE`` of an engineer's shell would scale another project."""
    monkeypatch.setenv("COMPOSE_FILE", "elsewhere.yml")
    install(name, f'echo "$PWD $@ file=$COMPOSE_FILE version=$VERSION" > {tmp_path}/called')
    run(
        command,
        ("up", "-d", "--no-recreate", "--scale", "backend=7", "backend"),
        project="flowrex",
        files=["docker-compose.prod.yml", "limits.yml"],
        folder=str(tmp_path),
        environment={"VERSION": "1.4.2"},
        timeout_seconds=5,
    )
    words = (tmp_path / "called").read_text().split()
    expected = "-f docker-compose.prod.yml -f limits.yml -p flowrex up -d --no-recreate --scale backend=7 backend"
    assert words == [os.fspath(tmp_path), *command[1:], *expected.split(), "file=", "version=1.4.2"]


def test_what_it_says_when_it_fails(install: Install, tmp_path: Path) -> None:
    install("docker-compose", "echo 'no configuration file provided: not found' >&2; exit 14")
    with pytest.raises(StackUnavailableError, match="failed: no configuration file provided"):
        run(V1, ("ps",), project="p", files=[], folder=str(tmp_path), environment={}, timeout_seconds=5)


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (
            {"files": "docker-compose.prod.yml", "made_by": "1.29.2"},
            "docker-compose -f docker-compose.prod.yml -p shop",
        ),
        (
            {"files": "/srv/a b/compose.yml,/srv/x.yml", "made_by": "2.27.0"},
            "docker compose -f '/srv/a b/compose.yml' -f /srv/x.yml -p shop",
        ),
        ({"files": "", "made_by": "2.27.0"}, ""),
    ],
    ids=["the playbook's", "of the second generation, two files", "not told"],
)
def test_a_platform_tells_how_its_compose_is_called(labels: dict[str, str], line: str) -> None:
    """What a finding tells people to type names their files, not the playbook's."""
    names = {"files": "project.config_files", "made_by": "version"}
    own = {f"com.docker.compose.{names[name]}": value for name, value in labels.items()}
    own["com.docker.compose.project"] = "shop"
    replicas = [
        Replica("redis", "redis-1", "running", "", "1"),
        Replica("web", "web-1", "running", "", "2", definition=Definition(labels=own)),
    ]
    assert Endpoints(stack=open_stack(Settings()), stack_line="", replicas=replicas).compose == line
