"""``serve`` as a process: what it refuses to start with, its socket, its signals, and its end."""

from __future__ import annotations

import contextlib
import functools
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

from flowrex_ops.catalog import NOTEBOOKS, Runbook, find_runbooks
from flowrex_ops.errors import FlowrexOpsError, NotebookError, SettingsError
from flowrex_ops.incident.escalation import remind
from flowrex_ops.jobs.run import run_job
from flowrex_ops.jobs.table import Job, JobTable, Outcome
from flowrex_ops.jobs.workers import Workers, exclusive, recover
from flowrex_ops.record.orphaned import recover_orphaned
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import ServeSettings, Settings
from flowrex_ops.webhook.app import LOG, PATH, AlertWebhook
from flowrex_ops.webhook.intake import FALLBACK, SCHEMA, Intake
from flowrex_ops.webhook.metrics import Metrics
from flowrex_ops.webhook.timeline_sync import sync_outcome

_ATTEMPTS = 3
_REMINDERS_SECONDS = 30.0
_CONNECTIONS = 256
_CLOSE_SECONDS = 5
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
Say = Callable[[str], None]


def serve(settings: Settings, *, settings_file: Path | None = None, notebooks: Path = NOTEBOOKS, say: Say) -> None:
    """Serve until SIGTERM or SIGINT; a second one cuts the grace of runs short.

    SettingsError for an address that is taken, or that others can reach without a token; RecordError where the
    table of jobs cannot be used, or another server uses it.
    """
    chosen = settings.serve
    require_token_for(chosen)
    runbooks = _runbooks(notebooks, say)
    path = (chosen.state or settings.outputs / "jobs.sqlite").absolute()
    busy = f"'{path}' is used by another server; stop that one, or set serve.state"
    on_wait = functools.cache(lambda: say("waiting for an earlier server's runs to finish their records"))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(chosen))
        lock = stack.enter_context(exclusive(Path(f"{path}.lock"), busy=busy, on_wait=on_wait))
        table = stack.enter_context(contextlib.closing(JobTable(path, SCHEMA)))
        redactor = Redactor(settings.secret_values())
        outputs, seconds = str(settings.outputs.absolute()), settings.limits.run_seconds
        template = Job(outputs, seconds, settings=str(settings_file or ""))
        metrics = Metrics(waiting=table.length, running=lambda: len(workers.running))
        workers = Workers(
            table,
            functools.partial(run_job, cwd=Path.cwd(), keep_open=(lock,)),
            chosen.jobs,
            on_finish=functools.partial(_finished, metrics),
            on_error=functools.partial(_failed, metrics),
            attempts=_ATTEMPTS,
            keep_on=True,
        )
        webhook = AlertWebhook(Intake(table, chosen, runbooks, template), chosen, redactor, metrics, workers.wake.set)
        for job in table.jobs("running"):
            recover_orphaned(job.folder, redactor)
        recover(table, workers.finalize)
        workers.start()
        try:
            _serve(settings, webhook, workers, listener, say)
        finally:
            workers.stop()


def require_token_for(settings: ServeSettings) -> None:
    """SettingsError where anybody on the network could send alerts."""
    if settings.token is None and settings.host not in _LOOPBACK:
        raise SettingsError(
            f"serve.host: '{settings.host}' can be reached by others, and there is no serve.token; set one, or listen on 127.0.0.1"
        )


def listen(settings: ServeSettings) -> socket.socket:
    """A listening socket; SettingsError where the address is wrong or taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise SettingsError(
            f"serve.host '{settings.host}', serve.port {settings.port}: {(error.strerror or str(error)).lower()};"
            " choose another with --host and --port"
        ) from None
    # asyncio does so only for sockets that it made: head and body of an answer are two writes, and the second waited 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _runbooks(notebooks: Path, say: Say) -> dict[str, Runbook]:
    broken: dict[Path, NotebookError] = {}
    runbooks = find_runbooks(notebooks, broken)
    for error in broken.values():
        say(f"left out: {error}")
    if FALLBACK not in runbooks:
        raise NotebookError(
            f"'{notebooks}' has no runbook '{FALLBACK}', which answers alerts that no other does; add it"
        )
    return runbooks


def _serve(settings: Settings, webhook: AlertWebhook, workers: Workers, listener: socket.socket, say: Say) -> None:
    """HTTP in a thread; this one waits for signals, then answers 503 while runs come to their end. What waits stays on disk."""
    stops: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in _SIGNALS:
        signal.signal(number, lambda number, _frame: stops.put(number))
    server = uvicorn.Server(
        uvicorn.Config(
            webhook.app(),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
    )

    def run() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            stops.put(0)  # without HTTP there is nothing to wait for

    http = threading.Thread(target=run, name="http", daemon=True)
    http.start()
    threading.Thread(target=_keep_house, args=(settings, webhook), daemon=True).start()
    host, port = listener.getsockname()[:2]
    say(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}{PATH}")
    stops.get()
    webhook.stopping = True
    say(f"stopping; {len(workers.running)} runs go on, {workers.table.length()} wait and stay in the queue")
    workers.stop(grace_seconds=settings.serve.grace_seconds, force=lambda: not stops.empty())
    server.should_exit = True
    http.join()


def _keep_house(settings: Settings, webhook: AlertWebhook) -> None:
    """Reminders now and then, and what is old is forgotten; whatever fails is tried again."""
    while not webhook.stopping:
        try:
            for line in remind(settings):
                webhook.metrics.reminders.inc()
                LOG.info("%s", line)
            webhook.intake.prune()
        except (FlowrexOpsError, OSError) as error:
            _failed(webhook.metrics, error)
        time.sleep(_REMINDERS_SECONDS)


def _finished(metrics: Metrics, job: Job, outcome: Outcome) -> None:
    with contextlib.suppress(FlowrexOpsError):  # the table has it too
        sync_outcome(job, outcome)
    metrics.runs.labels(job.slug, outcome.status).inc()
    metrics.seconds.labels(job.slug).observe(outcome.seconds or 0)
    found = outcome.diagnosis or outcome.reason or "no diagnosis"
    LOG.info("%s: %s %s %s: %s", job.trigger, job.slug, outcome.record_id, outcome.status, found)


def _failed(metrics: Metrics, error: Exception) -> None:
    metrics.errors.inc()
    LOG.error("%s", error)
