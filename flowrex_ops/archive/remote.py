"""Records in a store: what a run wrote goes up, what others wrote comes down, nothing is overwritten unseen.

``push`` sends an incident's changed files, ``manifest.json`` last; ``pull`` fetches what the store has and this machine lacks.
Both have a time limit, and neither ever fails a command: what went wrong is one line on standard error, and the next command tries
again (an incident is due as long as its manifest is not the one that was last sent).

Machines take turns at sending an incident (``turn``). That two have written to it is noticed by its timeline: where neither is
the beginning of the other, both are kept. In the store, ours goes to a name of its own (``INC-…+<machine>``), a whole folder
that verifies; here, theirs does (``INC-…+store``). ``.heads/<incident>@<hash of its manifest>`` in the store lets one listing tell what changed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from flowrex_ops.archive.download import Download
from flowrex_ops.archive.manifest import FILE as MANIFEST
from flowrex_ops.archive.manifest import entry_of, finished_files
from flowrex_ops.archive.store import Store
from flowrex_ops.archive.synced import Synced
from flowrex_ops.archive.timeline import FILE as TIMELINE
from flowrex_ops.archive.turn import turn
from flowrex_ops.errors import FlowrexOpsError, RecordError
from flowrex_ops.files import locked
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

PUSH_SECONDS = 30.0
PULL_SECONDS = 10.0
HEADS = ".heads"
_INCIDENT = re.compile(r"INC-\d{8}-\d{4}-[0-9a-f]{4}(\+[\w.-]+)?")
_SHORT = 16


def push(folder: Path, settings: Settings, *, seconds: float = PUSH_SECONDS) -> bool:
    """Send what changed in the incident's *folder* to the store, and what is still due of others; whether all of it went.

    Nothing to do (and true) where ``outputs`` is a local folder. Raises nothing.
    """
    if not settings.outputs_url:
        return True

    def work(exchange: _Exchange) -> None:
        for one in dict.fromkeys([folder, *exchange.due()]):
            exchange.send(one)

    return _within(settings, seconds, work)


def pull(settings: Settings, *, seconds: float = PULL_SECONDS) -> bool:
    """Fetch what the store has and this machine lacks, the newest first, and send what is due; whether all of it went.

    Nothing to do (and true) where ``outputs`` is a local folder. Raises nothing.
    """
    if not settings.outputs_url:
        return True

    def work(exchange: _Exchange) -> None:
        exchange.fetch_all()
        for one in exchange.due():
            exchange.send(one)

    return _within(settings, seconds, work)


def _within(settings: Settings, seconds: float, work: Callable[[_Exchange], None]) -> bool:
    from flowrex_ops.reading import call_within  # it imports pandas, which a local archive does not need

    stop = threading.Event()
    try:
        call_within(seconds, lambda: work(_Exchange(settings, stop)), f"the store '{settings.outputs_url}'")
    except Exception as error:  # noqa: BLE001  (a backend raises what it likes; no run and no command may fail for it)
        reason = str(error) if isinstance(error, FlowrexOpsError) else f"{type(error).__name__}: {error}"
        reason = _line(Redactor(settings.secret_values()).text(reason))
        _say(f"the store '{settings.outputs_url}' lacks something: {reason}; the next command tries again")
        return False
    finally:
        stop.set()
    return True


class _Exchange:
    """One conversation with the store. It ends between two files once *stop* is set."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._outputs = settings.outputs
        self._store = Store(settings.outputs_url)
        self._synced = Synced(settings.outputs)
        self._stop = stop

    def due(self) -> Iterator[Path]:
        """Incidents that the store has not, or not as they are now."""
        for folder in sorted(self._outputs.glob("INC-*")):
            manifest = folder / MANIFEST
            known = manifest.is_file() and _INCIDENT.fullmatch(folder.name) and not folder.name.endswith("+store")
            if known and self._synced.of(folder.name).manifest != _hash(manifest.read_bytes()):
                yield folder

    def send(self, folder: Path) -> None:
        """Bring the store's copy up to *folder*; where somebody else wrote there, make one of our own."""
        if (folder / MANIFEST).is_file():
            machine, stop = self._synced.machine, self._check_stop
            with self._synced.held(folder.name), turn(self._store, folder.name, machine, stop):
                self._send(folder)

    def _send(self, folder: Path) -> None:
        ours = _Snapshot(folder)
        about = self._synced.of(folder.name)
        name = about.name or folder.name
        theirs = self._store.read(f"{name}/{TIMELINE}")
        if theirs is not None and not ours.timeline.startswith(theirs):
            if theirs.startswith(ours.timeline):  # the store is ahead, and has all of it
                return
            name = self._own_name(folder)
        self._upload(name, ours)
        self._synced.note(folder.name, manifest=_hash(ours.manifest), name=name)

    def fetch_all(self) -> None:
        """Everything that changed since it was last seen, the newest first."""
        heads: dict[str, set[str]] = {}
        for head in self._store.names(HEADS):
            incident, _, digest = head.rpartition("@")
            heads.setdefault(incident, set()).add(digest)
        names = self._store.names()
        if not names:
            self._store.require()
        failed: list[RecordError] = []
        for name in reversed(names):
            known = self._synced.seen(name)
            if _INCIDENT.fullmatch(name) and not (known and heads.get(name) == {known[:_SHORT]}):
                self._check_stop()
                try:
                    self._fetch(name)
                except RecordError as error:  # one that is damaged, or just being written, keeps no other from coming
                    failed.append(error)
        self._check_stop()
        if failed:
            raise failed[0]

    def _fetch(self, name: str) -> None:
        local = self._synced.local_name(name)
        raw = self._store.read(f"{name}/{MANIFEST}") if local else None
        if raw is None or local is None or _hash(raw) == self._synced.seen(name):
            return
        download = Download(self._store, name, raw, self._check_stop)
        folder = self._outputs / local
        if not folder.is_dir():
            download.into_new(folder)
        elif not download.into_existing(folder):
            beside = self._outputs / f"{name}+store"
            shutil.rmtree(beside, ignore_errors=True)
            download.into_new(beside)
            _say(f"'{name}' was also written by another machine; its copy is kept as '{beside.name}'")
            self._synced.note(local, seen=_hash(raw), manifest="")  # ours is due: the store may not have it at all
            return
        here = (folder / MANIFEST).read_bytes()
        about = {"manifest": _hash(raw)} if here == raw else {}
        self._synced.note(local, seen=_hash(raw), **about)

    def _upload(self, name: str, ours: _Snapshot) -> None:
        there = _listed(self._store.read(f"{name}/{MANIFEST}"))
        for file, raw in ours.files():
            if there.get(file) != entry_of(raw):
                self._check_stop()
                self._store.write(f"{name}/{file}", raw)
        self._store.write(f"{name}/{TIMELINE}", ours.timeline)
        self._store.write(f"{name}/{MANIFEST}", ours.manifest)
        head = f"{name}@{_hash(ours.manifest)[:_SHORT]}"
        self._store.write(f"{HEADS}/{head}", b"\n")
        for old in self._store.names(HEADS):
            if old.startswith(f"{name}@") and old != head:
                self._store.remove(f"{HEADS}/{old}")
        if name == ours.folder.name:
            self._synced.note(name, seen=_hash(ours.manifest))

    def _own_name(self, folder: Path) -> str:
        name = f"{folder.name.partition('+')[0]}+{self._synced.machine}"
        _say(f"'{folder.name}' was also written by another machine; this one's copy is kept in the store as '{name}'")
        self._synced.note(folder.name, name=name)
        return name

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RecordError("it took too long")


class _Snapshot:
    """An incident's folder as it is at one moment; files that never change once they are written are read later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with locked(folder / TIMELINE):
            self.timeline = (folder / TIMELINE).read_bytes()
            self.manifest = (folder / MANIFEST).read_bytes()
            self._names = [name for name in finished_files(folder) if name != TIMELINE]
            self._top = {name: (folder / name).read_bytes() for name in self._names if "/" not in name}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file but timeline and manifest."""
        for name in self._names:
            yield name, self._top[name] if name in self._top else (self.folder / name).read_bytes()


def _listed(manifest: bytes | None) -> dict[str, object]:
    try:
        files = json.loads(manifest or b"{}")["files"]
    except (ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".;")


def _say(text: str) -> None:
    sys.stderr.write(f"flowrex-ops: {text}\n")
