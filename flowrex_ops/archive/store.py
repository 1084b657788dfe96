"""Records in a store: each machine writes below a folder of its own there, and reads what the others wrote.

``<url>/<host name>/INC-…`` (``RUN-…``) is an incident (a run) as its machine last sent it, ``manifest.json`` last. Nobody else writes there, so there
are no conflicts; what was fetched is only read here (``timeline.require_own``). ``outputs/.store`` has what was sent and seen:
``host`` the name that this folder sends below, ``sent/INC-…`` the manifest that was last sent, ``INC-…@<host>`` a mark of the one that was last fetched.

Trouble never fails a command: it is one line on standard error, and the next command tries again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from flowrex_ops.archive.folders import FOLDER_ID, incident_of, list_folders
from flowrex_ops.archive.manifest import FILE as MANIFEST
from flowrex_ops.archive.manifest import verify
from flowrex_ops.archive.timeline import FILE as TIMELINE
from flowrex_ops.archive.timeline import STORE_STATE, is_fetched
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked, write_atomic
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

PUSH_SECONDS, PULL_SECONDS = 30.0, 10.0
_S3 = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}}
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": _S3,
    "s3a": _S3,
    "file": {"auto_mkdir": True},
    "local": {"auto_mkdir": True},
}


def push(settings: Settings, *, seconds: float = PUSH_SECONDS) -> bool:
    """Send what the store has not, or not as it is now; whether all of it went. True where ``outputs`` is a local folder."""
    return _exchange(settings, seconds, fetch=False)


def pull(settings: Settings, *, seconds: float = PULL_SECONDS) -> bool:
    """Fetch what other machines sent since, and send what is due; whether all of it went."""
    return _exchange(settings, seconds, fetch=True)


def _exchange(settings: Settings, seconds: float, *, fetch: bool) -> bool:
    if not settings.outputs_url:
        return True
    from flowrex_ops.reading import call_within  # it imports pandas, which a local archive does not need

    store = f"the store '{settings.outputs_url}'"
    try:
        call_within(seconds, lambda: _Store(settings).exchange(fetch=fetch), store)
    except Exception as error:  # noqa: BLE001  (a backend raises what it likes; no command may fail for it)
        reason = " ".join(Redactor(settings.secret_values()).text(f"{type(error).__name__}: {error}").split())[:300]
        sys.stderr.write(f"flowrex-ops: {store} lacks something ({reason}); the next command tries again\n")
        return False
    return True


class _Store:
    """One conversation with the store. Credentials come from the environment, as each backend reads it (AWS_*)."""

    def __init__(self, settings: Settings) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.dirfs import DirFileSystem

        options = _OPTIONS.get(settings.outputs_url.partition("://")[0], {})
        files, root = url_to_fs(settings.outputs_url, skip_instance_cache=True, use_listings_cache=False, **options)
        self._files = DirFileSystem(root, files)
        self._outputs = settings.outputs
        self._state = settings.outputs / STORE_STATE
        self._failed: list[Exception] = []

    def exchange(self, *, fetch: bool) -> None:
        """Fetch, then send; one process of this machine at a time."""
        self._state.mkdir(parents=True, exist_ok=True)
        with locked(self._state / "lock"):
            name = (
                self._state / "host"
            )  # it stays where the machine (a container) gets another, or several share the folder
            if not name.is_file():
                name.write_text(socket.gethostname())
            for manifest, mark in self._changed() if fetch else ():
                self._try(self._fetch, manifest.parent, mark)
            for folder in sorted(list_folders(self._outputs)):
                self._try(self._send, folder, f"{name.read_text()}/{folder.name}")
        if self._failed:
            raise self._failed[0]

    def _try(self, work: Callable[[Any, str], None], incident: PurePath, about: str) -> None:
        """An incident that is damaged, or just being written, keeps no other from coming or going."""
        try:
            work(incident, about)
        except (RecordError, FileNotFoundError, ValueError, LookupError, TypeError) as error:
            self._failed.append(RecordError(f"'{incident.name}': {error}"))

    def _changed(self) -> Iterator[tuple[PurePosixPath, str]]:
        """``<host>/<incident>/manifest.json`` of what others sent since, and its mark; by one listing, the newest first."""
        from fsspec.utils import tokenize

        found = self._files.find("", detail=True).items()
        marks = {PurePosixPath(path): tokenize(about) for path, about in found if path.endswith(f"/{MANIFEST}")}
        for path in sorted(marks, key=lambda path: path.parent.name[4:], reverse=True):
            folder = self._outputs / path.parent.name
            ours = incident_of(folder) or (folder.is_dir() and not is_fetched(folder))
            theirs = FOLDER_ID.fullmatch(folder.name) and len(path.parts) == 3 and not ours  # noqa: PLR2004  # host, folder, file
            if theirs and _text(self._seen(path.parent)) != marks[path]:
                yield path, marks[path]

    def _fetch(self, there: PurePosixPath, mark: str) -> None:
        """Bring an incident here, whole and verified; one that does not go on from what is here replaces nothing."""
        folder, copy = self._outputs / there.name, self._state / "incoming" / there.name
        shutil.rmtree(copy.parent, ignore_errors=True)
        copy.mkdir(parents=True)
        self._files.get_file(f"{there}/{MANIFEST}", str(copy / MANIFEST))
        names = list(json.loads((copy / MANIFEST).read_bytes())["files"])
        if not all((copy / name).resolve().is_relative_to(copy.resolve()) for name in names):
            raise RecordError("its manifest leads out of its folder; restore it from a backup of the store")
        self._files.get([f"{there}/{name}" for name in names], [str(copy / name) for name in names])
        if problems := verify(copy):
            raise RecordError(f"it is being written, or was changed in the store: {problems[0]}")
        self._seen(there).touch()  # before the folder is there, or it would look like our own
        if not folder.is_dir() or (copy / TIMELINE).read_bytes().startswith((folder / TIMELINE).read_bytes()):
            if folder.is_dir():
                folder.rename(copy.parent / "replaced")
            copy.rename(folder)
        self._seen(there).write_text(mark)

    def _send(self, folder: Path, there: str) -> None:
        """Send what differs from what was last sent of an incident of our own."""
        sent, manifest = self._state / "sent" / folder.name, folder / MANIFEST
        if is_fetched(folder) or not manifest.is_file() or _text(sent) == manifest.read_text():
            return
        with locked(folder / TIMELINE, create=False):
            timeline, raw = (folder / TIMELINE).read_bytes(), manifest.read_bytes()
        if not timeline.startswith(self._read(f"{there}/{TIMELINE}")):
            raise RecordError("the store has it of another machine with this name; give each a host name of its own")
        known = json.loads(_text(sent) or '{"files": {}}')["files"]
        files = json.loads(raw)["files"].items()
        names = [name for name, entry in files if known.get(name) != entry and name != TIMELINE]
        self._files.put([str(folder / name) for name in names], [f"{there}/{name}" for name in names])
        self._files.pipe_file(f"{there}/{TIMELINE}", timeline)
        self._files.pipe_file(f"{there}/{MANIFEST}", raw)
        sent.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(sent, raw)

    def _read(self, path: str) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return bytes(self._files.cat_file(path))
        return b""

    def _seen(self, there: PurePosixPath) -> Path:
        return self._state / f"{there.name}@{there.parent}"


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
