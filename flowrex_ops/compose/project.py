"""A compose project as compose itself left it written on its containers: its files, its folder, its variables."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flowrex_ops.errors import StackUnavailableError

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONE_OFF = "com.docker.compose.oneoff"
FILES = "com.docker.compose.project.config_files"
ENV_FILES = "com.docker.compose.project.environment_file"
"""There where ``--env-file`` was given; compose then reads no ``.env``."""
FOLDER = "com.docker.compose.project.working_dir"
MADE_BY = "com.docker.compose.version"
DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "docker-compose.prod.yml")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a project is deployed from, and by which compose."""

    files: tuple[str, ...]
    env_files: tuple[str, ...]
    folder: str
    made_by: str

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Deployment:
        """From a container's labels; StackUnavailableError for a container that no compose of today has made."""
        if not labels.get(FILES) or not labels.get(FOLDER):
            raise StackUnavailableError(
                f"the project's containers do not tell its files (label '{FILES}'); scale it with compose by hand"
            )
        env_files = tuple(file for file in labels.get(ENV_FILES, "").split(",") if file)
        return cls(tuple(labels[FILES].split(",")), env_files, labels[FOLDER], labels.get(MADE_BY, ""))

    def edited_at(self) -> datetime:
        """When the newest of its files was: those of compose, and those of variables, also ``*.env`` beside them (UTC)."""
        folder = Path(self.folder)
        files = [*(folder / one for one in (*self.files, *self.env_files, ".env")), *folder.glob("*.env")]
        times = [file.stat().st_mtime for file in files if file.is_file()]
        return datetime.fromtimestamp(max(times, default=0.0), UTC)

    def write_variable(self, name: str, value: str) -> str:
        """Set *name* where compose reads the project's variables and return what it was; an empty text where it has none."""
        for file in reversed(self.env_files or (".env",)):
            was = _write_variable(Path(self.folder) / file, name, value)
            if was is not None:
                return was
        return ""


def command_line(labels: Mapping[str, str]) -> str:
    """How compose is called for the project of a container with these *labels*; empty where they do not tell."""
    files, project = [file for file in labels.get(FILES, "").split(",") if file], labels.get(PROJECT)
    if not files or not project:
        return ""
    generation = "docker-compose" if labels.get(MADE_BY, "").startswith("1.") else "docker compose"
    return shlex.join([*generation.split(), *(word for file in files for word in ("-f", file)), "-p", project])


def choose_project(containers: Sequence[Mapping[str, str]], folder: Path) -> str:
    """The project deployed from *folder* or the nearest folder above it, else the only one there is.

    *containers* are the labels of each. StackUnavailableError lists them where that does not tell which one is meant.
    """
    folders = {labels[PROJECT]: labels.get(FOLDER, "") for labels in containers if PROJECT in labels}
    for place in (folder, *folder.parents):
        here = sorted(name for name, own in folders.items() if own and Path(own) == place)
        if here:
            return _only(here, f"in '{place}'")
        if any((place / name).is_file() for name in DEFAULT_FILES):
            break  # a project of its own, that is not up: those above are others
    return _only(sorted(folders), "on this engine")


def _only(names: Sequence[str], where: str) -> str:
    if len(names) == 1:
        return names[0]
    listed = ", ".join(f"'{name}'" for name in names)
    raise StackUnavailableError(f"there are several compose projects {where}: {listed}; name one with --project")


def changed_variables(before: Mapping[str, str], after: Mapping[str, str], *, versions: tuple[str, str]) -> list[str]:
    """Names of *before* that are not so in *after*, except where only the version in them is another one."""
    was, now = versions
    allowed = {name: value.replace(was, now) if was else value for name, value in before.items()}
    return sorted(name for name, value in before.items() if after.get(name) not in (value, allowed[name]))


def _write_variable(file: Path, name: str, value: str) -> str | None:
    """What it was; None, and no change, where the file has no such line."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return None
    line = re.compile(rf"^{re.escape(name)}=(.*)$", re.MULTILINE)
    found = line.search(text)
    if found is None:
        return None
    changed = line.sub(lambda _match: f"{name}={value}", text)
    temporary = file.with_name(f"{file.name}.new")
    try:
        temporary.write_text(changed, encoding="utf-8")
        status = file.stat()
        temporary.chmod(status.st_mode & 0o7777)  # it holds passwords
        with contextlib.suppress(PermissionError):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(file)
    except OSError as error:
        raise StackUnavailableError(f"'{file}' cannot be written: {error.strerror}; set {name}={value}") from None
    return found[1].strip().strip("\"'")
