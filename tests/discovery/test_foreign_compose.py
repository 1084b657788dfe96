"""Discovery on the real Engine: a small project whose images EXPOSE nothing, under names of its own."""

from __future__ import annotations

import subprocess
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from conftest import missing_part
from typer.testing import CliRunner

from flowrex_ops.cli.app import app
from flowrex_ops.compose.project import choose_project
from flowrex_ops.compose.stack import ComposeStack
from flowrex_ops.discovery.endpoints import Endpoints, discover
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.settings import Settings, load
from flowrex_sandbox.ports import pick_free_ports
from flowrex_sandbox.stacks.compose.images import BASE_IMAGE, _require_base_image

pytestmark = pytest.mark.docker

IMAGES = ("localhost:1/postgres:15", "localhost:1/valkey:8", "localhost:1/shop:1", "localhost:1/nginx:1.22")
FILE = """
version: "3.7"
x-all: &all {stop_signal: SIGKILL, command: ["sleep", "600"]}
services:
  store:
    <<: *all
    image: localhost:1/postgres:15
    environment: {POSTGRES_USER: shop, POSTGRES_DB: books, POSTGRES_PASSWORD_FILE: /etc/store.secret}
    volumes: ["./store.secret:/etc/store.secret:ro"]
  kv: {<<: *all, image: "localhost:1/valkey:8", network_mode: host}
  shop:
    <<: *all
    image: localhost:1/shop:1
    environment: {APP_PORT: "9000", SHOP_DB: "postgresql+psycopg://shop:x@store/books"}
  edge: {<<: *all, image: "localhost:1/nginx:1.22", ports: ["[::1]:PORT:80"]}
  lonely: {<<: *all, image: "localhost:1/shop:1", network_mode: none}
"""

ONE = {"com.docker.compose.project": "one", "com.docker.compose.project.working_dir": "/srv/one"}
TWO = {"com.docker.compose.project": "two", "com.docker.compose.project.working_dir": "/srv/two"}


@pytest.fixture(scope="module", params=[("docker-compose",), ("docker", "compose")], ids="-".join)
def project(
    request: pytest.FixtureRequest, docker_engine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, int]]:
    command: tuple[str, ...] = request.param
    if subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
        missing_part(f"'{' '.join(command)}'")
    _require_base_image(print)
    for image in IMAGES:
        docker.from_env().images.get(BASE_IMAGE).tag(*image.rsplit(":", 1))
    folder, port = tmp_path_factory.mktemp("shop"), pick_free_ports(1)[0]
    name = f"shop-{uuid.uuid4().hex[:8]}"
    (folder / "docker-compose.yml").write_text(FILE.replace("PORT:80", f"{port}:80"), encoding="utf-8")
    (folder / "store.secret").write_text("sesame\n", encoding="utf-8")
    _compose(command, folder, "-p", name, "up", "-d")
    yield name, folder, port
    _compose(command, folder, "-p", name, "down", "-v")


def _compose(command: tuple[str, ...], folder: Path, *arguments: str) -> None:
    subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def found(project: tuple[str, Path, int]) -> Endpoints:
    return discover(Settings(stack={"project": project[0]}))


def _address(found: Endpoints, service: str) -> str:
    return next(replica.addresses[0] for replica in found.replicas if replica.service == service)


def test_what_exposes_nothing_is_asked_at_its_own_address(found: Endpoints) -> None:
    """Neither EXPOSE nor ``ports``: the container's address, and the port that its own variables name."""
    assert found.backends == {"shop-1": f"http://{_address(found, 'shop')}:9000"}


def test_secret_in_a_file(found: Endpoints) -> None:
    """``POSTGRES_PASSWORD_FILE`` is read where the container sees it."""
    assert found.postgres_dsn == f"postgresql://shop:sesame@{_address(found, 'store')}:5432/books"
    assert found.application_role == "shop"


def test_host_networking_is_this_machine(found: Endpoints) -> None:
    """A container that shares the machine's network has no address of its own."""
    assert found.redis_url == "redis://127.0.0.1:6379/0"


def test_six_stands_in_brackets(found: Endpoints, project: tuple[str, Path, int]) -> None:
    """A port that is published on an IPv6 address makes a URL that can be read."""
    assert found.front_door_url == f"http://[::1]:{project[2]}"


def test_origins_say_why(found: Endpoints) -> None:
    """What it was taken for, and by which sign."""
    assert found.origins["postgres"] == (
        "discovered: service 'store' of the running stack (image localhost:1/postgres:15), port 5432"
    )
    assert found.origins["prometheus"].endswith("no service of the stack looks like prometheus; set prometheus.service")


def test_runs_and_cannot_be_reached_is_not_missing(project: tuple[str, Path, int]) -> None:
    """The reason is the true one: it is there and runs."""
    given = Settings(stack={"project": project[0]}, backend={"service": "lonely"})
    assert discover(given).origins["backend"] == (
        "not configured; service 'lonely' runs, but publishes no port 8000 and its container has no address"
    )


def test_project_of_the_working_directory(project: tuple[str, Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs here: the compose file's folder, or one beneath it, says which project is meant."""
    inner = project[1] / "deep"
    inner.mkdir(exist_ok=True)
    monkeypatch.chdir(inner)
    assert ComposeStack("", docker_host="", timeout_seconds=30).project == project[0]


def test_init_writes_what_was_found(
    project: tuple[str, Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ``load`` takes and that leads to the same places, without a secret; a second time it is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_STACK__PROJECT", "")
    monkeypatch.delenv("FLOWREX_OPS_SETTINGS", raising=False)
    done = CliRunner().invoke(app, ["init", "--project", project[0]])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("FLOWREX_OPS_STACK__PROJECT", project[0])
    text = (tmp_path / "flowrex-ops.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["backend"] == {"service": "shop", "port": 9000}
    assert "image localhost:1/postgres:15" in text
    assert "sesame" not in text
    assert discover(load()).backends == discover(Settings(stack={"project": project[0]})).backends
    assert "is there already" in str(CliRunner().invoke(app, ["init"]).exception)


class TestChoice:
    """Which project is meant, by the labels that compose's two generations leave."""

    def test_only_one(self) -> None:
        assert choose_project([ONE, ONE], Path("/root")) == "one"

    def test_several(self) -> None:
        """One line lists them, and says what to do."""
        with pytest.raises(StackUnavailableError) as reported:
            choose_project([TWO, ONE], Path("/root"))
        assert str(reported.value) == (
            "there are several compose projects on this engine: 'one', 'two'; name one with --project"
        )

    def test_folder(self) -> None:
        assert choose_project([TWO, ONE], Path("/srv/two/scripts")) == "two"
