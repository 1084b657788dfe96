"""The harbor: a platform as people build one from the documentation of its parts, which shares nothing with our sandbox."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flowrex_sandbox.ports import pick_free_ports
from flowrex_sandbox.sandbox import get_answer
from flowrex_sandbox.stacks.compose.images import _require_base_image
from flowrex_sandbox.waiting import await_condition

FILES = Path(__file__).parent / "compose"
PARTS = ("postgres:15", "redis:7", "nginx:1.22", "venue:7", "desk:3.1.0")
REPOSITORY = "localhost:1/harbor"
SETTINGS = """
status_pages = {{}}
[stack]
project = "{name}"
version_variable = "DESK_RELEASE"
[tls]
ca_file = "{folder}/ca.pem"
endpoints = [{{host = "127.0.0.1", port = {https}, server_name = "harbor.test"}}]
[proxy]
websocket_path = "/feed/stream"
"""
"""What a new user writes: which project, the certificate's name and authority, and where WebSockets are."""
_DAY = timedelta(days=1)


class Harbor:
    """The platform at *folder*: what a test does to it, and what it waits for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"harbor-{uuid.uuid4().hex[:8]}"
        self.http, self.https = pick_free_ports(2)
        self.engine = docker.from_env()
        self._crowd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Images, files, containers, and a crowd that uses them."""
        make_images()
        for name in ("switches", "conf.d", "tls"):
            (self.folder / name).mkdir()
        shutil.copy(FILES / "docker-compose.yml", self.folder)
        shutil.copy(FILES / "harbor.conf", self.folder / "conf.d")
        self.authority = Authority(self.folder)
        self.authority.issue("harbor.test", 80)
        text = SETTINGS.format(name=self.name, folder=self.folder, https=self.https)
        (self.folder / "flowrex-ops.toml").write_text(text, encoding="utf-8")
        self.compose("up", "-d")
        # Nobody is turned away at a door that is not open yet: a healthy platform has no 502 of its own start.
        await_condition(self._desk_is_up, "the desk is up", timeout_seconds=90, poll_seconds=0.2)
        self._crowd = subprocess.Popen([sys.executable, str(FILES / "crowd.py"), str(self.https)])
        await_condition(lambda: self.answers(200, since=0) > 100, "the crowd was served", timeout_seconds=60)

    def stop(self) -> None:
        """Nothing of it is left."""
        if self._crowd:
            self._crowd.kill()
            self._crowd.wait()
        self.compose("down", "-v")

    def compose(self, *arguments: str, release: str = "3.1.0") -> None:
        """``docker-compose`` as its engineers call it."""
        ports = {"HTTP_PORT": str(self.http), "HTTPS_PORT": str(self.https), "DESK_RELEASE": release}
        command = ["docker-compose", "-p", self.name, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, check=False, capture_output=True, text=True, timeout=120, env=os.environ | ports
        )
        assert done.returncode == 0, done.stderr

    def containers(self, service: str) -> list[docker.models.containers.Container]:
        """Of *service*, by number."""
        labels = [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]
        found = self.engine.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda one: str(one.name))

    def address(self, service: str, number: int = 0) -> str:
        """Of one of its containers."""
        networks = self.containers(service)[number].attrs["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """As an engineer does, with psql's name."""
        text = (
            f"postgresql://quay:anchor@{self.address('ledger')}:5432/postgres?application_name=psql&connect_timeout=5"
        )
        return psycopg.connect(text, autocommit=True)

    def redis(self, *words: str) -> str:
        """What ``redis-cli`` says in database 1."""
        done = self.containers("scratch")[0].exec_run(["redis-cli", "-n", "1", *words])
        return str(done.output.decode().strip())

    def answers(self, status: int, path: str = "", *, since: float | None = None, method: str = "") -> int:
        """How many the gate has logged since a time, by default since it was started."""
        log = self.containers("gate")[0].logs(since=int(since) if since else None, stderr=False).decode()
        return len(re.findall(rf'"{method}[^"]*{path}[^"]*" {status} ', log))

    def await_answers(self, status: int, path: str = "", *, number: int = 8, method: str = "") -> None:
        """Until *number* more such answers are in the gate's log."""
        before = self.answers(status, path, method=method)
        await_condition(
            lambda: self.answers(status, path, method=method) >= before + number,
            f"{number} answers {status} on {path or 'any path'}",
            timeout_seconds=40,
            poll_seconds=0.3,
        )

    def await_said(self, service: str, words: str, number: int) -> None:
        """Until each replica of *service* has logged *words* that often."""
        for container in self.containers(service):
            await_condition(
                lambda container=container: container.logs().count(words.encode()) >= number,  # type: ignore[misc]  # one of docker's
                f"{number} times '{words}' of {container.name}",
                timeout_seconds=60,
                poll_seconds=0.3,
            )

    def await_in_database(self, query: str, number: int) -> None:
        """Until *query* counts that many."""
        with self.connect() as connection:
            await_condition(
                lambda: int(str(connection.execute(query).fetchone()[0])) >= number,  # type: ignore[index]  # a count
                query,
                timeout_seconds=40,
                poll_seconds=0.3,
            )

    def await_age(self, service: str, seconds: float) -> None:
        """Until its containers run for so long."""

        def old() -> bool:
            started = max(datetime.fromisoformat(one.attrs["State"]["StartedAt"]) for one in self.containers(service))
            return (datetime.now(UTC) - started).total_seconds() >= seconds

        await_condition(old, f"{service} runs for {seconds:g} s", timeout_seconds=seconds + 5, poll_seconds=0.2)

    def await_restarts(self, container: docker.models.containers.Container, number: int) -> None:
        """Until the engine has started it again so often."""

        def restarted() -> bool:
            container.reload()
            return int(container.attrs["RestartCount"]) >= number

        await_condition(restarted, f"{number} restarts of {container.name}", timeout_seconds=40, poll_seconds=0.2)

    @contextmanager
    def switch(self, *names: str) -> Iterator[None]:
        """Switches that desk and venue look at."""
        for name in names:
            (self.folder / "switches" / name).touch()
        try:
            yield
        finally:
            for name in names:
                (self.folder / "switches" / name).unlink()

    def second(self, what: str) -> str:
        """The switch of the second replica alone."""
        return f"{what}.{self.containers('desk')[1].id[:12]}"

    def configure(self, old: str, new: str) -> None:
        """Change the gate's configuration; it is not told yet."""
        file = self.folder / "conf.d" / "harbor.conf"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def reload(self) -> None:
        """``nginx -s reload``, which resolves names again."""
        done = self.containers("gate")[0].exec_run(["nginx", "-s", "reload"])
        assert done.exit_code == 0, done.output

    def renew(self, *services: str) -> None:
        """New containers of desk and gate, whose logs know of no earlier fault; meanwhile nobody asks."""
        assert self._crowd
        self._crowd.send_signal(signal.SIGSTOP)
        self.compose("up", "-d", "--force-recreate", "--no-deps", *(services or ("desk", "gate")))
        await_condition(self._desk_is_up, "the desk is up", timeout_seconds=40, poll_seconds=0.1)
        self._crowd.send_signal(signal.SIGCONT)
        self.await_answers(200, number=20)

    def deploy(self, release: str) -> None:
        """All at once, as many do: those of before are gone before the new ones answer, and the gate is told last."""
        self.compose("up", "-d", "--no-deps", "desk", release=release)
        await_condition(self._desk_is_up, "the desk is up", timeout_seconds=40, poll_seconds=0.1)
        self.reload()
        await_condition(
            lambda: not self.answers(502, since=time.time() - 6),
            "no 502 any more",
            timeout_seconds=40,
            poll_seconds=0.3,
        )

    def serve_certificate(self, name: str, days_left: float) -> None:
        """A new one, once the gate's last worker with the old one is gone."""
        self.authority.issue(name, days_left)
        self.reload()
        lies = (self.folder / "tls" / "fullchain.pem").read_text(encoding="utf-8")
        await_condition(
            lambda: all(ssl.get_server_certificate(("127.0.0.1", self.https)) == lies for _ in range(5)),
            f"the certificate of {name} is served",
            timeout_seconds=20,
        )

    def change(self, statement: str) -> None:
        """An engineer's SQL."""
        with self.connect() as connection:
            connection.execute(statement)

    def _desk_is_up(self) -> bool:
        containers = self.containers("desk")
        return all(
            get_answer(f"http://{self.address('desk', number)}:8441/healthz") == 200
            for number in range(len(containers))
        )


class Authority:
    """It signs what the gate serves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._own = self._sign("Harbor CA", self._key, 3650, None)
        (folder / "ca.pem").write_bytes(self._own.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, days_left: float) -> None:
        """A certificate of 90 days for *name* in place."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign(name, key, days_left, self._own)
        form = serialization.Encoding.PEM
        pem = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self._folder / "tls" / "privkey.pem").write_bytes(pem)
        (self._folder / "tls" / "fullchain.pem").write_bytes(leaf.public_bytes(form))

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, days_left: float, issuer: x509.Certificate | None
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        end = datetime.now(UTC) + days_left * _DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(end - 90 * _DAY, datetime.now(UTC) - _DAY))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if issuer:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def make_images() -> None:
    """One image under the names of its parts, built where there is none of this content, and the next release upon it."""
    digest = hashlib.sha256()
    for file in sorted(one for one in FILES.rglob("*") if one.is_file() and "__pycache__" not in one.parts):
        digest.update(file.relative_to(FILES).as_posix().encode() + b"\0" + file.read_bytes())
    engine, tag = docker.from_env(), digest.hexdigest()[:12]
    images = {f"flowrex-foreign:{tag}": "Dockerfile", f"flowrex-foreign-next:{tag}": "Dockerfile.next"}
    for image, file in images.items():
        if not engine.images.list(name=image):
            _require_base_image(print)
            base = f"BASE=flowrex-foreign:{tag}"
            command = ["docker", "build", "-q", "-f", file, "--build-arg", base, "-t", image, "."]
            environment = os.environ | {"DOCKER_BUILDKIT": "0"}
            subprocess.run(command, cwd=FILES, check=True, timeout=600, capture_output=True, env=environment)
    for part in PARTS:
        engine.images.get(f"flowrex-foreign:{tag}").tag(
            f"{REPOSITORY}/{part.partition(':')[0]}", part.partition(":")[2]
        )
    engine.images.get(f"flowrex-foreign-next:{tag}").tag(f"{REPOSITORY}/desk", "3.2.0")
