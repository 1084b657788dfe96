"""Runs of a batch on the workers of a Dask cluster that is already there.

A worker that dies takes its runs with it: their records say that they were interrupted, the scheduler gives them to another worker.
The outputs must be a folder that all workers share, at the same path.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowrex_ops.batch.folder import NOT_STARTED, Batch, Outcome
from flowrex_ops.batch.task import Order, run_order
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.record.runner_process import RunnerProcess

_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 2.0
_LONELY_SECONDS = 60.0
"""How long a cluster may be without any worker."""
_PACKAGE = "flowrex-ops"


class ClusterError(FlowrexOpsError):
    """The cluster is not there, or not fit for these runs."""


def on_cluster(
    batch: Batch, address: str, *, most: int | None
) -> Callable[[Sequence[Order]], Generator[Outcome, None, None]]:
    """What makes orders on the cluster at *address*, *most* at once, once that is seen to be fit for it.

    ClusterError where the cluster is not there or not fit.
    """
    client = _connect(address)
    try:
        _require_same_version(client, address)
        _require_shared(client, batch.path, address)
    except BaseException:
        client.close(timeout=_CONNECT_SECONDS)
        raise
    stop = batch.path / f".stop-{secrets.token_hex(4)}"
    return functools.partial(_run, client=client, address=address, most=most, stop=stop)


def run_on_worker(order: Order, stop: Path) -> Outcome:
    """``run_order``, interrupted once the file *stop* is there: a thread of a worker cannot be cancelled from afar."""
    ended = threading.Event()

    def on_child(child: RunnerProcess | None) -> None:
        if child is None:
            ended.set()
        else:
            threading.Thread(target=_stop_at, args=(child, stop, ended), daemon=True).start()

    return run_order(order, on_child=on_child)


def _stop_at(child: RunnerProcess, stop: Path, ended: threading.Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        if stop.exists():
            child.stop()
            return


def _run(
    orders: Sequence[Order], *, client: Any, address: str, most: int | None, stop: Path
) -> Generator[Outcome, None, None]:
    try:
        yield from _gather(client, orders, most or len(orders), address, stop)
    finally:
        client.close(timeout=_CONNECT_SECONDS)


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


def _on_all(client: Any, address: str, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What *function* gives on each worker; ClusterError where there is none, or one does not answer."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        # Client.run itself has no time limit, and one worker that hangs would hang us.
        answers = client.sync(
            client._run,  # noqa: SLF001  (what Client.run hands to sync)
            function,
            *arguments,
            on_error="return",
            callback_timeout=_CONNECT_SECONDS,
        )
    except (OSError, TimeoutError) as error:
        reason = (
            "has no workers"
            if not client.scheduler_info()["workers"]
            else f"has a worker that does not answer: {error}"
        )
        raise ClusterError(f"--dask: '{address}' {reason}; start some with 'dask worker {address}'") from None
    return dict(answers)


def _require_same_version(client: Any, address: str) -> None:
    here = version(_PACKAGE)
    for worker, there in _on_all(client, address, version, _PACKAGE).items():
        if there != here:
            what = f"has {_PACKAGE} {there}" if isinstance(there, str) else f"lacks {_PACKAGE} ({type(there).__name__})"
            raise ClusterError(f"--dask: worker '{worker}' {what}, here it is {here}; install the same on all workers")


def _require_shared(client: Any, folder: Path, address: str) -> None:
    probe = folder / f".shared-{secrets.token_hex(4)}"
    probe.touch()
    try:
        for worker, seen in _on_all(client, address, Path.is_file, probe).items():
            if seen is not True:
                raise ClusterError(
                    f"--dask: worker '{worker}' does not see '{folder}'; outputs must be a folder that all workers share"
                )
    finally:
        probe.unlink(missing_ok=True)


def _gather(
    client: Any, orders: Sequence[Order], most: int, address: str, stop: Path
) -> Generator[Outcome, None, None]:
    """Outcomes as they come; the next order is submitted when there is room. Left early, what runs is interrupted."""
    waiting, running = list(orders), dict[Any, Order]()
    lonely_since = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                order = waiting.pop(0)
                key = f"{order.trigger} {secrets.token_hex(4)}"
                running[client.submit(run_on_worker, order, stop, key=key, pure=False)] = order
            for future in [future for future in _wait(running) if future.done()]:
                yield _outcome(future, running.pop(future))
            lonely_since = _require_alive(client, lonely_since, address)
    finally:
        if running:
            stop.touch()
            client.cancel(list(running), force=True)


def _wait(running: dict[Any, Order]) -> list[Any]:
    try:
        return list(_distributed().wait(list(running), timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _outcome(future: Any, order: Order) -> Outcome:
    """A future that failed was lost with several workers, or could not even begin there."""
    if future.status == "finished":
        outcome: Outcome = future.result(timeout=_CONNECT_SECONDS)
        return outcome
    error = future.exception(timeout=_CONNECT_SECONDS) if future.status == "error" else None
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}" if error else future.status
    return Outcome(order.task.number, NOT_STARTED, reason=f"the cluster gave it up: {reason}")


def _require_alive(client: Any, since: float, address: str) -> float:
    if client.status != "running":
        raise ClusterError(f"--dask: the scheduler at '{address}' is gone; start it, then go on with --resume latest")
    now = time.monotonic()
    if client.scheduler_info(n_workers=1)["workers"]:
        return now
    if now - since > _LONELY_SECONDS:
        raise ClusterError(
            f"--dask: '{address}' has had no worker for {_LONELY_SECONDS:g} s; go on with --resume latest"
        )
    return since
