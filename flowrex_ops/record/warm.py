"""A process that has imported everything and forks kernels and runs: ``python -m flowrex_ops.record.warm SOCKET``.

A fresh kernel spends two to three seconds of a core on imports before its first cell, and who runs it as much again; a
fork of this process has them. It is as alone as a fresh one: a session, a folder, an environment and standard streams
of its own, and nothing that an earlier one did is in it, for the parent itself runs nothing. ``serve`` and ``batch`` keep one
(``warm_parent``), JupyterLab has one (``start_warm_parent``), and a ``run`` beside them uses theirs; who starts a kernel or a run below them asks it
(``forked.py``), and starts a fresh one where it does not answer.

One request is one connection. It sends ``{"role", "arguments", "cwd", "env"}`` with file descriptors, gets ``{"pid"}``, and
``{"returncode"}`` when the fork has ended. A kernel whose runner is gone is killed; a run sees to that itself, and says
so in its record. The process ends when its standard input does, after the last fork, and takes its folder along; until then nobody new is let in.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flowrex_ops
from flowrex_ops.record.forked import LARGEST_REQUEST, VARIABLE, shared_parent_link

_STREAMS = 3
_MOST_DESCRIPTORS = 16
_END_SECONDS = 1.0
_MODULES = (
    "ipykernel.kernelapp",
    "papermill",
    "flowrex_ops.record",  # in whichever order papermill and this are imported; see engine.py
    "flowrex_ops.record.client",
    "flowrex_ops.record.process",
    "flowrex_ops.record.run",
    "flowrex_ops.jobs.preload",
    "flowrex_ops.investigation",
    "httpcore",  # a first request imports these, a first look into Redis, a first handshake
    "redis",
    "websockets.sync.client",
)
_SUBJECTS = "*/causes.py"
"""What marks a folder of the library as a subject: all its modules are imported."""


@contextlib.contextmanager
def warm_parent(*, shared: bool = False) -> Iterator[None]:
    """Keep a warm parent for everything that this process and its children run meanwhile; not a second one below the first.

    *shared*: a plain ``run`` of the same user finds it, too.
    """
    if VARIABLE in os.environ:
        yield
        return
    parent, address = start_warm_parent()
    os.environ[VARIABLE] = address
    link = share_warm_parent(address) if shared else None
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        with contextlib.suppress(OSError):  # another has its name by now, or it was removed
            if link and link.readlink() == Path(address):
                link.unlink()
        assert parent.stdin is not None  # noqa: S101  (it is a pipe, by the call above)
        parent.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # somebody's kernel runs on
            parent.wait(_END_SECONDS)
        shutil.rmtree(Path(address).parent, ignore_errors=True)  # it may have been killed


def start_warm_parent() -> tuple[subprocess.Popen[bytes], str]:
    """One that lives until its standard input is closed, and its address."""
    address = str(Path(tempfile.mkdtemp(prefix="flowrex-ops-warm-")) / "socket")
    parent = subprocess.Popen(
        [sys.executable, "-m", "flowrex_ops.record.warm", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the runs, which put back what they began
    )
    return parent, address


def share_warm_parent(address: str) -> Path | None:
    """Link to it by its name, in place of one that was killed; None where nothing can be written."""
    try:
        link = shared_parent_link()
        link.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        for old in link.parent.glob("warm-*"):
            if not old.readlink().parent.exists():
                old.unlink()
        fresh = link.with_name(f"warm-{os.getpid()}.new")
        fresh.symlink_to(address)
        return fresh.replace(link)
    except (OSError, RuntimeError):  # no home, or none that may be written: then nobody else is quicker
        return None


def main() -> None:
    """Serve until standard input ends; in a fork, be the kernel or the run that was asked for."""
    if sys.path and Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # as ipykernel_launcher does: a notebook's folder is put there by IPython
    # matplotlib reads it as it is imported; ipykernel sets it where nobody else has.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    _import_everything()
    gc.freeze()  # so that a kernel's collector does not touch, and thereby copy, what all share
    try:
        parent = _Parent(sys.argv[1])
    except FileNotFoundError:
        return  # its owner was over before it was ready, and has taken the folder away
    request = parent.serve()
    if request is None:
        shutil.rmtree(Path(sys.argv[1]).parent, ignore_errors=True)
    else:
        _become(request)


def _import_everything() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    for marker in Path(flowrex_ops.__file__).parent.glob(_SUBJECTS):
        package = importlib.import_module(f"flowrex_ops.{marker.parent.name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("flowrex_ops.record.page").warm_up()


class _Parent:
    """One thread, so that a fork finds every lock free."""

    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address)
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, self._stop_listening)
        self._forks: dict[int, tuple[int, socket.socket]] = {}  # by pidfd

    def serve(self) -> dict[str, Any] | None:
        """None when all is over; in a fork, at once, what was asked for."""
        while self._forks or self._listener.fileno() >= 0:
            for key, _ in self._selector.select():
                request: dict[str, Any] | None = key.data(key.fileobj)
                if request is not None:
                    return request
        return None

    def _accept(self, listener: socket.socket) -> None:
        asking, _ = listener.accept()
        _, uid, _ = _peer(asking)
        if uid != os.getuid():
            asking.close()
            return
        self._selector.register(asking, selectors.EVENT_READ, self._fork)

    def _stop_listening(self, _stdin: int) -> None:
        if not os.read(0, 4096):
            self._selector.unregister(0)
            self._selector.unregister(self._listener)
            self._listener.close()

    def _fork(self, asking: socket.socket) -> dict[str, Any] | None:
        self._selector.unregister(asking)
        data, descriptors, _, _ = socket.recv_fds(asking, LARGEST_REQUEST, _MOST_DESCRIPTORS)
        if len(descriptors) < _STREAMS:  # it went away before it had asked
            asking.close()
            return None
        request: dict[str, Any] = json.loads(data)
        pid = os.fork()
        if pid == 0:
            self._leave(asking, descriptors[:_STREAMS])
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        watch = os.pidfd_open(pid)
        self._forks[watch] = (pid, asking)
        self._selector.register(watch, selectors.EVENT_READ, self._ended)
        if request["role"] == "kernel":
            self._selector.register(asking, selectors.EVENT_READ, lambda gone: self._kill(gone, pid))
        return None

    def _kill(self, gone: socket.socket, pid: int) -> None:
        self._selector.unregister(gone)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _ended(self, watch: int) -> None:
        pid, asking = self._forks.pop(watch)
        self._selector.unregister(watch)
        os.close(watch)
        with contextlib.suppress(KeyError):  # a run's is not watched, nor that of a runner that is gone
            self._selector.unregister(asking)
        _tell(asking, returncode=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        asking.close()

    def _leave(self, asking: socket.socket, streams: list[int]) -> None:
        """In the fork: nothing of the parent's stays open, and the streams are those of whoever asked."""
        os.setsid()
        _tell(asking, pid=os.getpid())  # by itself, now that it leads a group: whoever asked may kill that at once
        self._selector.close()
        for _, other in self._forks.values():
            other.close()
        for watch in self._forks:
            os.close(watch)
        for mine in (self._listener, asking):
            mine.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)


def _become(request: dict[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    import numpy as np

    np.random.seed()  # noqa: NPY002  # its state was copied; Python's own generator seeds itself anew in a fork
    if request["role"] == "run":
        from flowrex_ops.record.subprocess_runner import main as run

        code = run()
        gc.freeze()  # else the interpreter's end looks for cycles in all that was imported: half a second
        sys.exit(code)
    from ipykernel.kernelapp import launch_new_instance

    sys.argv = ["ipykernel_launcher", *request["arguments"]]
    # ipykernel ends when its parent does; which one that is it has read from the environment when it was imported.
    launch_new_instance([*request["arguments"], f"--IPKernelApp.parent_handle={os.getppid()}"])


def _tell(asking: socket.socket, **what: int) -> None:
    with contextlib.suppress(OSError):  # it may be gone
        asking.send(json.dumps(what).encode())


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end (unix(7), SO_PEERCRED)."""
    import struct

    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid


if __name__ == "__main__":
    main()
