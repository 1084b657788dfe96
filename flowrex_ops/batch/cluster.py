"""Runs of a batch on the workers of a Dask cluster that is already there.

A worker that dies takes its runs with it: their records say that they were interrupted, the scheduler gives them to another worker.
The outputs must be a folder that all workers share, at the same path.
"""

from __future__ import annotations

import importlib
import secrets
import threading
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.jobs.run import run_job
from flowrex_ops.jobs.table import Job, Outcome

_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 2.0
_LONELY_SECONDS = 60.0
"""How long a cluster may be without any worker."""
_PACKAGE = "flowrex-ops"


class ClusterError(FlowrexOpsError):
    """The cluster is not there, or not fit for these runs."""


class Cluster:
    """The cluster at *address*, whose workers must see the folder *shared*. ClusterError where it is not there, or has no workers."""

    def __init__(self, address: str, shared: Path) -> None:
        self._stop = shared / f".stop-{secrets.token_hex(4)}"
        self._seen = time.monotonic()
        self._client = _connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close(timeout=_CONNECT_SECONDS)

    def execute(self, job: Job, stopped: Callable[[], bool]) -> Outcome:
        """Blocking. ClusterError where the cluster is gone, or gave the job up.

        A worker's thread cannot be cancelled from afar, so that a file tells it to stop; nobody waits for it then.
        """
        done = threading.Event()
        about = (job, Path.cwd(), self._stop, version(_PACKAGE))
        future = self._client.submit(run_on_worker, *about, key=f"{job.trigger} {secrets.token_hex(4)}", pure=False)
        future.add_done_callback(lambda _: done.set())
        while not done.wait(_LOOK_SECONDS):
            if stopped():
                self._stop.touch()
                self._client.cancel([future], force=True)
                raise ClusterError("the batch was stopped")
            self._require_workers()
        if future.status == "finished":
            outcome: Outcome = future.result(timeout=_CONNECT_SECONDS)
            return outcome
        error = future.exception(timeout=_CONNECT_SECONDS) if future.status == "error" else None
        if isinstance(error, FlowrexOpsError):
            raise error
        reason = f"{type(error).__name__}: {error}" if error else future.status
        raise ClusterError(f"the cluster gave it up: {reason}")

    def _require_workers(self) -> None:
        if self._client.scheduler_info(n_workers=1)["workers"]:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > _LONELY_SECONDS:
            raise ClusterError(f"the cluster has had no worker for {_LONELY_SECONDS:g} s; go on with --resume latest")


def run_on_worker(job: Job, cwd: Path, stop: Path, expected: str) -> Outcome:
    """``run_job``, interrupted once the file *stop* is there. ClusterError where this worker is not fit for it."""
    here = version(_PACKAGE)
    if here != expected:
        raise ClusterError(f"a worker has {_PACKAGE} {here}, not {expected}; install the same on all workers")
    if not stop.parent.is_dir():
        raise ClusterError(f"a worker does not see '{stop.parent}'; outputs must be a folder that all workers share")
    if stop.exists():
        raise ClusterError("the batch was stopped")
    return run_job(job, stop.exists, cwd=cwd)


def _connect(address: str) -> Any:
    """A client, once the cluster has a worker."""
    distributed = importlib.import_module("distributed")  # typed in part only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions; ours are compared by ourselves
            client = distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error).splitlines()[0].lower() if str(error) else type(error).__name__
        raise ClusterError(
            f"--dask: no scheduler answers at '{address}': {reason}; start one with 'dask scheduler'"
        ) from None
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError:
        client.close(timeout=_CONNECT_SECONDS)
        raise ClusterError(f"--dask: '{address}' has no workers; start some with 'dask worker {address}'") from None
    return client
