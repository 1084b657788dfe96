"""The platform's images: tagged with a hash of what goes into them, so that nothing is built twice.

``python -m flowrex_sandbox.stacks.compose.images`` builds them before anybody waits for a platform.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.stacks.compose.engine import docker, docker_works

FOLDER = Path(__file__).parent
BASE_IMAGE = "debian:bookworm-slim"
IMAGES = ("infra", "backend", "prometheus")
REPOSITORY = "flowrex-sandbox-"
_PULL_SECONDS = 120.0
_BUILD_SECONDS = 900.0


def copy_build_folders(home: Path) -> dict[str, str]:
    """Copy the compose file and what the images are made of to *home*; the tag of each image."""
    shutil.copy(FOLDER / "docker-compose.prod.yml", home)
    for image in IMAGES:
        shutil.rmtree(home / image, ignore_errors=True)  # of an earlier version of this project
        shutil.copytree(FOLDER / image, home / image)
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("app", "outside"):
        shutil.copytree(FOLDER.parents[1] / "backend" / package, home / "backend" / package, ignore=ignore)
    shutil.copy(FOLDER.parents[1] / "sql" / "schema.sql", home / "infra")
    return {image: _content_hash(home / image) for image in IMAGES}


def build_missing(home: Path, tags: dict[str, str], on_progress: Callable[[str], None]) -> None:
    """Build the images that the engine does not have; the base image too, by download or from Debian's packages."""
    missing = [image for image in IMAGES if not _exists(f"{REPOSITORY}{image}:{tags[image]}")]
    if not missing:
        return
    _require_base_image(on_progress)
    # Side by side: each mostly waits for packages.
    with ThreadPoolExecutor(len(missing)) as pool:
        list(pool.map(lambda image: _build(home / image, f"{REPOSITORY}{image}:{tags[image]}", on_progress), missing))


def _build(folder: Path, tag: str, on_progress: Callable[[str], None]) -> None:
    with _one_at_a_time(folder.name):
        if _exists(tag):  # somebody else's sandbox, which starts at the same time, has built it meanwhile
            return
        on_progress(f"building image {folder.name}")
        # The classic builder needs no plug-in, which a distribution's engine does not bring.
        command = ["build", "-q", "-t", tag, str(folder)]
        docker(*command, timeout_seconds=_BUILD_SECONDS, environment={"DOCKER_BUILDKIT": "0"})


@contextlib.contextmanager
def _one_at_a_time(image: str) -> Iterator[None]:
    """Held by whoever builds *image* on this machine, and let go when that process ends."""
    with (Path(tempfile.gettempdir()) / f"{REPOSITORY}{image}-{os.getuid()}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_mode & 0o111}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _exists(image: str) -> bool:
    return docker_works("image", "inspect", image)


def _require_base_image(on_progress: Callable[[str], None]) -> None:
    if _exists(BASE_IMAGE):
        return
    on_progress(f"downloading {BASE_IMAGE}")
    if docker_works("pull", "-q", BASE_IMAGE, timeout_seconds=_PULL_SECONDS):
        return
    on_progress(f"no image registry answers: making {BASE_IMAGE} from Debian's packages")
    done = subprocess.run(
        ["sh", str(FOLDER / "make-base-image.sh"), BASE_IMAGE],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SandboxError(
            f"image '{BASE_IMAGE}' can neither be downloaded nor made: {reason};"
            " run flowrex_sandbox/stacks/compose/make-base-image.sh as root, or connect to a registry"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        build_missing(Path(made), copy_build_folders(Path(made)), print)
