"""A plain platform under names of its own, on the real Engine: healthy, and then with one thing wrong at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from flowrex_ops.record.result import RunResult
from flowrex_ops.record.runbook import run_runbook
from flowrex_ops.sandbox.certificates import Authority
from flowrex_ops.sandbox.compose.images import REPOSITORY, build_missing, copy_build_folders
from flowrex_ops.sandbox.ports import pick_free_ports
from flowrex_ops.sandbox.sandbox import get_answer
from flowrex_ops.sandbox.waiting import await_condition

pytestmark = pytest.mark.docker

FILE = """
version: "3.7"
services:
  store:
    image: localhost:1/postgres:15
    user: postgres
    environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD: sesame, POSTGRES_DB: postgres}
    command: ["sh", "/srv/store.sh"]
    volumes: ["./store.sh:/srv/store.sh:ro"]
    stop_signal: SIGKILL
  kv:
    image: localhost:1/redis:7
    command: ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"]
    stop_signal: SIGKILL
  shop:
    image: localhost:1/shop:2
    command: ["python3", "/srv/shop.py"]
    environment: {APP_PORT: "9000", SHOP_DB: "postgresql+asyncpg://shop:sesame@store/postgres", CACHE: "redis://kv/1"}
    mem_limit: 400m
    volumes: ["./shop.py:/srv/shop.py:ro", "./state:/state:ro"]
    stop_signal: SIGKILL
  edge:
    image: localhost:1/nginx:1.22
    command: ["nginx", "-g", "daemon off;"]
    volumes: ["./edge.conf:/etc/nginx/nginx.conf:ro", "./tls:/tls:ro"]
    ports: ["127.0.0.1:HTTPS:443", "127.0.0.1:HTTP:80"]
    depends_on: [shop]
    stop_signal: SIGKILL
"""
STORE = """
echo sesame >/tmp/password
initdb -D /tmp/data -U shop -E UTF8 --locale=C.UTF-8 --pwfile=/tmp/password --auth-host=scram-sha-256 --no-sync >/dev/null
echo 'host all all all scram-sha-256' >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories=/tmp
"""
SHOP = """
import os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def leak():
    held = []
    while True:
        time.sleep(1)
        if os.path.exists("/state/leak"):
            held.append(bytearray(os.urandom(5 * 2**20)))
        else:
            held.clear()

threading.Thread(target=leak, daemon=True).start()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200 if self.path in ("/health", "/api/items") else 404
        if os.path.exists("/state/ill") and status == 200:
            status = 503
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
"""
EDGE = """
events {}
http {
  access_log /dev/stdout combined;
  error_log /dev/stderr;
  server { listen 80; location / { return 301 https://$host$request_uri; } }
  server {
    listen 443 ssl;
    ssl_certificate /tls/fullchain.pem;
    ssl_certificate_key /tls/privkey.pem;
    location / { proxy_pass http://shop:9000; }
  }
}
"""
NAMES = {"postgres:15": "infra", "redis:7": "infra", "nginx:1.22": "infra", "shop:2": "backend"}


@pytest.fixture(scope="module")
def folder(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The platform, serving."""
    build = tmp_path_factory.mktemp("images")
    tags = copy_build_folders(build)
    build_missing(build, tags, print)
    for name, image in NAMES.items():
        docker.from_env().images.get(f"{REPOSITORY}{image}:{tags[image]}").tag(*f"localhost:1/{name}".rsplit(":", 1))
    folder = tmp_path_factory.mktemp("plain") / f"plain-{uuid.uuid4().hex[:8]}"
    http, https = pick_free_ports(2)
    for name, text in {"store.sh": STORE, "shop.py": SHOP, "edge.conf": EDGE}.items():
        (folder / "state").mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    file = FILE.replace("HTTPS:", f"{https}:").replace("HTTP:", f"{http}:")
    (folder / "docker-compose.yml").write_text(file, encoding="utf-8")
    authority = Authority(folder / "authority")
    authority.prepare(afresh=True)
    (folder / "tls").mkdir()
    for part in ("fullchain.pem", "privkey.pem"):
        shutil.copy(authority.fullchain("flowrex.test").with_name(part), folder / "tls" / part)
    _compose(folder, "up", "-d")
    url = f"http://127.0.0.1:{http}/"
    await_condition(lambda: get_answer(url) is not None, "the proxy answered", timeout_seconds=30)
    yield folder
    _compose(folder, "down", "-v")


def _compose(folder: Path, *arguments: str) -> None:
    command = ["docker-compose", "-p", folder.name, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120, env={**os.environ})


@pytest.fixture
def triage(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    return _triage(folder, tmp_path, monkeypatch)


def _triage(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    return _run("triage", {"reading_seconds": 5.0}, folder, tmp_path, monkeypatch)


def _run(
    runbook: str, parameters: dict[str, float], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunResult:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWREX_OPS_SETTINGS", raising=False)
    monkeypatch.setenv("FLOWREX_OPS_STACK__PROJECT", folder.name)
    monkeypatch.setenv("FLOWREX_OPS_TLS__CA_FILE", str(Authority(folder / "authority").anchor))
    monkeypatch.setenv("FLOWREX_OPS_STATUS_PAGES", "{}")
    return run_runbook(runbook, parameters)


def test_healthy_platform_has_no_incident(triage: RunResult) -> None:
    """A proxy that redirects to HTTPS, and ``/health`` where we say ``/health/ready``: nothing is wrong with that."""
    kinds = {verdict["cause"]: verdict["verdict"] for verdict in triage.verdicts}
    assert (triage.diagnosis, triage.severity) == (None, None), triage.verdicts
    assert kinds["service.unhealthy"] == "ruled out", triage.verdicts
    assert triage.next_runbooks == ()


def test_replica_that_is_ill_is_a_part_and_no_outage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own health endpoint says 503, through the proxy too: P1, found under whatever name it has."""
    (folder / "state" / "ill").touch()
    try:
        found = _triage(folder, tmp_path, monkeypatch)
    finally:
        (folder / "state" / "ill").unlink()
    assert (found.diagnosis, found.severity) == ("service.unhealthy", "P1"), found.verdicts


@pytest.mark.parametrize("runbook", ["database_connections", "memory_usage"])
def test_nothing_is_found_where_nothing_is_wrong(
    runbook: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Prometheus nor a metrics page: no finding, and what cannot be seen so is inconclusive."""
    found = _run(runbook, {}, folder, tmp_path, monkeypatch)
    kinds = {verdict["cause"]: verdict["verdict"] for verdict in found.verdicts}
    unseen = {"database_connections": "db.pool-saturated", "memory_usage": "memory.leak"}[runbook]
    assert (found.diagnosis, kinds.get(unseen)) == (None, "inconclusive"), (found.status, found.reason, found.verdicts)


def test_leak_is_found_without_prometheus(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five megabytes a second, from the engine's own samples within the window of six seconds."""
    (folder / "state" / "leak").touch()
    try:
        found = _run("memory_usage", {}, folder, tmp_path, monkeypatch)
    finally:
        (folder / "state" / "leak").unlink()
    assert found.diagnosis == "memory.leak", found.verdicts
