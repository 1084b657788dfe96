"""``serve`` as a process: what it refuses to start with, its sockets, its signals, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from flowrex_ops.catalog import NOTEBOOKS, find_runbooks
from flowrex_ops.errors import FlowrexOpsError, NotebookError, RecordError, SettingsError
from flowrex_ops.files import record_error
from flowrex_ops.incident.reminders import remind
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.serve.app import FALLBACK, WEBHOOK, Door, serves
from flowrex_ops.serve.metrics import Metrics
from flowrex_ops.serve.patience import with_patience
from flowrex_ops.serve.queue import Queue
from flowrex_ops.serve.workers import Work, Workers
from flowrex_ops.settings import ServeSettings, Settings

_LOG = logging.getLogger("flowrex_ops.serve")
_LOCK_SECONDS = 25.0
"""How long runs of a server that was killed may take to finish their records."""
_REMINDERS_SECONDS = 30.0
_NOTES_SECONDS = 1.0
_CONNECTIONS = 256
_CLOSE_SECONDS = 5
Say = Callable[[str], None]


def serve(settings: Settings, *, settings_file: Path | None = None, notebooks: Path = NOTEBOOKS, say: Say) -> None:
    """Serve until SIGTERM or SIGINT; a second one cuts the grace of runs short.

    SettingsError for an address that others can reach without a token, or a certificate that cannot be used; RecordError where the
    queue cannot be used, or another server uses it.
    """
    chosen = settings.serve
    require_token_for(chosen)
    require_certificate(chosen)
    broken: dict[Path, NotebookError] = {}
    runbooks = find_runbooks(notebooks, broken)
    for error in broken.values():
        say(f"left out: {error}")
    if FALLBACK not in runbooks:
        raise NotebookError(
            f"'{notebooks}' has no runbook '{FALLBACK}', which answers alerts that no other does; add it"
        )
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(listen(chosen)))
        path = (chosen.state or settings.outputs / "serve.sqlite").absolute()
        lock = stack.enter_context(_only_server(path, say))
        queue = stack.enter_context(contextlib.closing(Queue(path)))
        metrics = Metrics(waiting=queue.length, running=lambda: workers.running)
        work = Work(
            queue=queue,
            runbooks=runbooks,
            outputs=settings.outputs.absolute(),
            parameters={"settings": str(settings_file)} if settings_file else {},
            run_seconds=settings.limits.run_seconds,
            lock=lock,
            redactor=Redactor(settings.secret_values()),
            metrics=metrics,
        )
        workers = Workers(work, chosen.jobs)
        door = Door(
            queue=queue,
            settings=chosen,
            by_alert=serves(runbooks),
            outputs=work.outputs,
            redactor=work.redactor,
            metrics=metrics,
            wake=workers.wake,
        )
        serving = _Serving(settings, door, workers, listener, say)
        workers.start()
        try:
            asyncio.run(serving.run())
        finally:
            workers.stop(grace_seconds=0)


def require_token_for(settings: ServeSettings) -> None:
    """SettingsError where anybody on the network could send alerts."""
    if settings.token is None and not _is_loopback(settings.host):
        raise SettingsError(
            f"serve.host: '{settings.host}' can be reached by others, and there is no serve.token; set one, or listen on 127.0.0.1"
        )


def require_certificate(settings: ServeSettings) -> None:
    """SettingsError where the certificate and its key cannot be used."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"serve.tls_certificate '{settings.tls_certificate}' and serve.tls_key '{settings.tls_key}' cannot be used: {reason};"
            " give a PEM certificate with its chain, and its key"
        ) from None


def listen(settings: ServeSettings) -> socket.socket:
    """A bound socket; SettingsError where the address is wrong or taken."""
    where = f"serve.host '{settings.host}', serve.port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise SettingsError(
            f"{where}: {(error.strerror or str(error)).lower()}; choose another with --host and --port"
        ) from None
    return bound


class _Server(uvicorn.Server):
    """uvicorn without its own signals: what a signal means is decided here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Serving:
    """One event loop: uvicorn, the housekeeping beside it, and the way to the end."""

    def __init__(self, settings: Settings, door: Door, workers: Workers, listener: socket.socket, say: Say) -> None:
        self._settings, self._door, self._workers, self._listener, self._say = settings, door, workers, listener, say
        self._stops = 0
        self._stop = asyncio.Event()
        self._server = _Server(_configuration(settings.serve, door))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._told_to_stop)
        housekeeping = threading.Event()
        keeper = threading.Thread(target=self._keep_house, args=(housekeeping,), daemon=True)
        keeper.start()
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        host, port = self._listener.getsockname()[:2]
        scheme = "https" if self._settings.serve.tls_certificate else "http"
        self._say(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{port}{WEBHOOK}")
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        await self._end()
        housekeeping.set()
        self._server.should_exit = True
        await serving

    def _told_to_stop(self) -> None:
        self._stops += 1
        self._stop.set()

    async def _end(self) -> None:
        """Answer 503 while runs come to their end; what waits stays on disk."""
        self._door.stopping = True
        self._say(
            f"stopping; {self._workers.running} runs go on, {self._door.queue.length()} wait and stay in the queue"
        )
        grace = self._settings.serve.grace_seconds
        await asyncio.to_thread(self._workers.stop, grace_seconds=grace, hurry=lambda: self._stops > 1)

    def _keep_house(self, stop: threading.Event) -> None:
        """Timelines at once, reminders now and then; whatever fails is tried again."""
        reminded = 0.0
        while not stop.wait(_NOTES_SECONDS):
            try:
                self._workers.note()
                if time.monotonic() - reminded >= _REMINDERS_SECONDS:
                    reminded = time.monotonic()
                    self._remind()
            except (FlowrexOpsError, OSError) as error:
                self._door.metrics.errors.inc()
                _LOG.error("%s", error)

    def _remind(self) -> None:
        now = datetime.now(UTC)
        for line in remind(self._settings, now=now):
            self._door.metrics.reminders.inc()
            self._say(line)
        self._door.queue.prune(now)


def _configuration(settings: ServeSettings, door: Door) -> uvicorn.Config:
    configuration = uvicorn.Config(
        door.app(),
        http=with_patience(settings.request_seconds),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    configuration.load()
    return configuration


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _only_server(database: Path, say: Say) -> Iterator[int]:
    """Hold the lock that this server shares with its runs: it is free once an earlier server and all its runs are gone."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise record_error(error, database) from error
    try:
        _await_lock(descriptor, database, say)
        yield descriptor
    finally:
        os.close(descriptor)


def _await_lock(descriptor: int, database: Path, say: Say) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RecordError(
                    f"'{database}' is used by another server; stop that one, or set serve.state"
                ) from None
            if not told:
                say("waiting for an earlier server's runs to finish their records")
                told = True
            time.sleep(0.1)
