"""Runs of a batch on the workers of a Dask cluster that is already there.

A worker that dies takes its runs with it: their records say that they were interrupted, the scheduler gives them to another worker.
The outputs must be a folder that all workers share, at the same path.
"""

from __future__ import annotations

import contextlib
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
from flowrex_ops.record.runner_process import RunnerProcess

_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 2.0
_LONELY_SECONDS = 60.0
"""How long a cluster may be without any worker."""
_PACKAGE = "flowrex-ops"


class ClusterError(FlowrexOpsError):
    """The cluster is not there, or not fit for these runs."""


class ClusterRunner:
    """Makes jobs on the cluster at *address*; *shared* is a folder that its workers must see. ClusterError where it is not fit."""

    def __init__(self, address: str, shared: Path) -> None:
        self._address = address
        self._stop = shared / f".stop-{secrets.token_hex(4)}"
        self._seen, self._futures = time.monotonic(), set[Any]()
        self._client = _connect(address)
        try:
            self._require_same_version()
            self._require_shared(shared)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close(timeout=_CONNECT_SECONDS)

    def __call__(self, job: Job) -> Outcome:
        """Blocking. ClusterError where the cluster is gone, or gave the job up."""
        key = f"{job.trigger} {secrets.token_hex(4)}"
        future = self._client.submit(run_on_worker, job, Path.cwd(), self._stop, key=key, pure=False)
        self._futures.add(future)
        while not future.done():
            with contextlib.suppress(TimeoutError):
                _distributed().wait([future], timeout=_LOOK_SECONDS)
            self._require_alive()
        if future.status == "finished":
            outcome: Outcome = future.result(timeout=_CONNECT_SECONDS)
            return outcome
        error = future.exception(timeout=_CONNECT_SECONDS) if future.status == "error" else None
        if isinstance(error, FlowrexOpsError):
            raise error
        raise ClusterError(f"the cluster gave it up: {type(error).__name__ if error else future.status}: {error or ''}")

    def stop(self) -> None:
        """Interrupt all runs, by a file: a thread of a worker cannot be cancelled from afar. Nobody waits for them."""
        self._stop.touch()
        self._client.cancel(list(self._futures), force=True)

    def _require_same_version(self) -> None:
        here = version(_PACKAGE)
        for worker, there in self._on_all(version, _PACKAGE).items():
            if there != here:
                what = f"has {_PACKAGE} {there}" if isinstance(there, str) else f"lacks {_PACKAGE}"
                raise ClusterError(
                    f"--dask: worker '{worker}' {what}, here it is {here}; install the same on all workers"
                )

    def _require_shared(self, folder: Path) -> None:
        for worker, seen in self._on_all(Path.is_dir, folder).items():
            if seen is not True:
                raise ClusterError(
                    f"--dask: worker '{worker}' does not see '{folder}'; outputs must be a folder that all workers share"
                )

    def _on_all(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """What *function* gives on each worker; ClusterError where there is none, or one does not answer."""
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
            # Client.run itself has no time limit, and one worker that hangs would hang us.
            answers = self._client.sync(
                self._client._run,  # noqa: SLF001  (what Client.run hands to sync)
                function,
                *arguments,
                on_error="return",
                callback_timeout=_CONNECT_SECONDS,
            )
        except (OSError, TimeoutError) as error:
            workers = self._client.scheduler_info()["workers"]
            reason = f"has a worker that does not answer: {error}" if workers else "has no workers"
            start = f"start some with 'dask worker {self._address}'"
            raise ClusterError(f"--dask: '{self._address}' {reason}; {start}") from None
        return dict(answers)

    def _require_alive(self) -> None:
        if self._client.status != "running":
            raise ClusterError(
                f"--dask: the scheduler at '{self._address}' is gone; start it, then go on with --resume latest"
            )
        if self._client.scheduler_info(n_workers=1)["workers"]:
            self._seen, self._futures = time.monotonic(), set[Any]()
        elif time.monotonic() - self._seen > _LONELY_SECONDS:
            raise ClusterError(
                f"--dask: '{self._address}' has had no worker for {_LONELY_SECONDS:g} s; go on with --resume latest"
            )


def run_on_worker(job: Job, cwd: Path, stop: Path) -> Outcome:
    """``run_job``, interrupted once the file *stop* is there."""
    if stop.exists():
        raise ClusterError("the batch was stopped")
    ended = threading.Event()

    def watch(process: RunnerProcess) -> None:
        while not ended.wait(_LOOK_SECONDS):
            if stop.exists():
                return process.stop()
        return None

    def started(process: RunnerProcess) -> None:
        threading.Thread(target=watch, args=(process,), daemon=True).start()

    try:
        return run_job(job, cwd=cwd, on_process=started)
    finally:
        ended.set()


def _distributed() -> Any:
    """The package, which has no types worth the name."""
    import distributed

    return distributed


def _connect(address: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions; ours are compared by ourselves
            return _distributed().Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error).splitlines()[0].lower() if str(error) else type(error).__name__
        raise ClusterError(
            f"--dask: no scheduler answers at '{address}': {reason}; start one with 'dask scheduler'"
        ) from None
