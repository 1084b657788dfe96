"""An incident fetched from the store: every file held against its manifest, the folder whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from flowrex_ops.archive.manifest import FILE as MANIFEST
from flowrex_ops.archive.manifest import entry_of
from flowrex_ops.archive.store import Store
from flowrex_ops.archive.timeline import FILE as TIMELINE
from flowrex_ops.errors import RecordError
from flowrex_ops.files import READ_ONLY, TEMPORARY_PREFIX, locked, write_atomic


class Download:
    """The store's incident *name* as *manifest* describes it; *check* is called before each file and may raise.

    RecordError where the manifest is damaged, leads out of the folder, or does not describe what is there (it is
    just being written).
    """

    def __init__(self, store: Store, name: str, manifest: bytes, check: Callable[[], None]) -> None:
        self._store = store
        self._name = name
        self._manifest = manifest
        self._check = check
        self._files = self._listed()

    def into_new(self, folder: Path) -> None:
        """Make *folder*, which is not there; others see all of it or nothing."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.parent / f"{TEMPORARY_PREFIX}{folder.name}-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            for file in self._files:
                self._write(temporary, file, self._read(file))
            self._write(temporary, MANIFEST, self._manifest)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def into_existing(self, folder: Path) -> bool:
        """Bring *folder* up to the store's copy where that goes on from it; whether the two belong together at all."""
        theirs = self._read(TIMELINE)
        ours = _bytes(folder / TIMELINE)
        if ours.startswith(theirs) and ours != theirs:
            return True  # this machine is ahead
        if not theirs.startswith(ours) or self._clashes(folder, ours != theirs):
            return False
        changed = {file: self._read(file) for file in self._files if self._differs(folder, file)}
        with locked(folder / TIMELINE) as descriptor:
            if _bytes(folder / TIMELINE) != ours:
                return True  # it is being written to; the next time will tell
            for file, raw in changed.items():
                self._write(folder, file, raw)
            os.write(descriptor, theirs[len(ours) :])
            os.fsync(descriptor)
            self._write(folder, MANIFEST, self._manifest)
        return True

    def _clashes(self, folder: Path, grown: bool) -> bool:
        """Whether a record or a table of theirs would replace one of ours; two manifests of one timeline are no clash."""
        apart = (file for file in self._files if file.startswith(("records/", "evidence/")))
        return grown and any((folder / file).exists() and self._differs(folder, file) for file in apart)

    def _differs(self, folder: Path, file: str) -> bool:
        path = folder / file
        return file != TIMELINE and (not path.is_file() or entry_of(path.read_bytes()) != self._files[file])

    def _read(self, file: str) -> bytes:
        """The file, held against the manifest; the timeline may have grown since."""
        self._check()
        raw = self._store.read(f"{self._name}/{file}")
        listed = self._files[file]
        if raw is None or entry_of(raw[: listed["bytes"]] if file == TIMELINE else raw) != listed:
            raise RecordError(
                f"'{self._name}/{file}' is not what its manifest says: it is being written, or was changed"
            )
        return raw

    def _write(self, folder: Path, file: str, raw: bytes) -> None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, raw, mode=READ_ONLY if file.startswith("records/") else 0o644)

    def _listed(self) -> dict[str, Any]:
        try:
            files = json.loads(self._manifest)["files"]
            well = all(_stays_inside(name) and isinstance(entry["bytes"], int) for name, entry in files.items())
        except (ValueError, KeyError, TypeError, AttributeError):
            well = False
        if not well or TIMELINE not in files:
            raise RecordError(f"'{self._name}/{MANIFEST}' cannot be understood; restore it from a backup of the store")
        return dict(files)


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name != MANIFEST


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
