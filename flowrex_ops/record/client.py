"""Executes the cells of a record one after another, within limits, and says truly what became of each."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from dataclasses import dataclass
from typing import Any

from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from flowrex_ops.catalog import changes_platform
from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.record.cells import CellState
from flowrex_ops.record.interrupts import PUT_BACK_SECONDS, Guard
from flowrex_ops.record.process import KernelProcess
from flowrex_ops.record.recorder import Recorder

_LOG = logging.getLogger("flowrex_ops.record")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False

_START_SECONDS = 60
_ALIVE_POLL_SECONDS = 0.2
_SHORTEST_TIMEOUT = 0.05
_HANG_UP_SECONDS = 2.0
_SAYS = frozenset({"stream", "display_data", "update_display_data", "execute_result", "error"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a cell and the whole run may take, in seconds."""

    cell_seconds: float
    run_seconds: float


class RecordClient(NotebookClient):
    """Runs code cells in order, reports to the recorder, and stops at the first that does not complete."""

    def __init__(
        self, nb: NotebookNode, recorder: Recorder, kernel: KernelProcess, limits: Limits, guard: Guard
    ) -> None:
        super().__init__(nb, km=kernel.manager, startup_timeout=_START_SECONDS, log=_LOG)
        self._recorder = recorder
        self._kernel = kernel
        self._limits = limits
        self._guard = guard
        self._over = False  # whatever comes now, the last cell has had its end
        self._running = ""  # the message that the kernel works on
        self._deadline = time.monotonic() + limits.run_seconds
        self.timeout_func = self._seconds_for  # type: ignore[assignment]  # declared int; floats are compared and slept

    def run(self) -> None:
        """Execute all code cells; failures, and a signal that stops the run, land in the recorder and are not raised."""
        run_sync(self._run)()

    async def _run(self) -> None:
        cancel = functools.partial(self._cancel, asyncio.current_task())
        self._guard.arm(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, cancel))
        try:
            # A signal that came before now cancels here: no channel is opened to be torn down at once.
            await asyncio.sleep(0)
            await self.async_start_new_kernel_client()
            for index, cell in enumerate(self.nb.cells):
                if cell.cell_type == "code" and not await self._run_cell(cell, index):
                    return
        except asyncio.CancelledError:
            self._recorder.interrupt(self._guard.reason)
        except RuntimeError as error:
            self._recorder.fail(f"the kernel did not answer: {error}; {self._kernel.cause_of_death()}")
        finally:
            self._over = True
            await self._hang_up()

    def _cancel(self, task: asyncio.Task[None] | None) -> None:
        """Called by the loop between two steps, so that it is thrown where the run waits, and nowhere else."""
        if task is not None and not self._over:
            task.cancel()

    async def _hang_up(self) -> None:
        """Leave no task that waits for the kernel, and no open channel to it."""
        await _stop_waiting()
        if self.kc is not None:
            self.kc.stop_channels()

    async def _run_cell(self, cell: NotebookNode, index: int) -> bool:
        """Whether to go on."""
        number = self._recorder.cell_started(index)
        self._running = ""
        state, reason = CellState.COMPLETED, ""
        try:
            await self.async_execute_cell(cell, index)
        except CellExecutionError as error:
            state, reason = CellState.FAILED, f"cell {number} raised {error.ename}: {_first_line(error.evalue)}"
        except CellTimeoutError:
            state, reason = CellState.TIMED_OUT, self._timeout_reason(number)
            await self._let_put_back(cell, index)
        except (DeadKernelError, asyncio.CancelledError):  # nbclient takes whatever cancels its wait for a dead kernel
            if self._guard.reason:
                return await self._interrupt_cell(cell, index)
            state, reason = CellState.FAILED, f"{self._kernel.cause_of_death()} while cell {number} ran"
        if state is not CellState.COMPLETED:
            self._recorder.fail(reason)
        self._recorder.cell_ended(index, state, _note(state, reason))
        if self._guard.reason:
            self._recorder.interrupt(self._guard.reason)
        return state is CellState.COMPLETED and not self._guard.reason

    async def _interrupt_cell(self, cell: NotebookNode, index: int) -> bool:
        """Never go on."""
        await self._let_put_back(cell, index)
        note = f"Interrupted while this cell ran: {self._guard.reason}"
        self._recorder.cell_ended(index, CellState.INTERRUPTED, note)
        self._recorder.interrupt(self._guard.reason)
        return False

    async def _let_put_back(self, cell: NotebookNode, index: int) -> None:
        """Interrupt a change and give it its time, so that its mitigation brings back what must not stay."""
        self._over = True
        if not changes_platform(cell):
            return
        await _stop_waiting()
        await self._kernel.manager.interrupt_kernel()
        client: Any = self.kc  # nbclient declares it without what asks for replies
        # The kernel answers in order: once it tells about itself, the cell is over, whatever was heard of it.
        ends = (client.kernel_info(reply=True, timeout=PUT_BACK_SECONDS), self._async_poll_kernel_alive())
        waits = [asyncio.ensure_future(end) for end in ends]
        await asyncio.wait(waits, timeout=PUT_BACK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if self._running:
            last_words = asyncio.ensure_future(self._async_poll_output_msg(self._running, cell, index))
            await asyncio.wait([last_words], timeout=_HANG_UP_SECONDS)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Hand machine-readable outputs to the recorder the moment that they arrive."""
        if msg["content"].get("execution_state") == "idle":
            self._running = ""
        data = msg["content"].get("data")
        if isinstance(data, dict) and OUTCOME_MIME_TYPE in data:
            self._recorder.take(data[OUTCOME_MIME_TYPE])
        if msg["msg_type"] in _SAYS:
            fitted = self._recorder.overflow.fit(
                cell_index, msg["content"], updated=msg["msg_type"] == "update_display_data"
            )
            msg = {**msg, "content": fitted}
        output: NotebookNode | None = super().process_message(msg, cell, cell_index)
        return output

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: NotebookNode, cell_index: int) -> None:
        self._running = parent_msg_id
        await super()._async_poll_output_msg(parent_msg_id, cell, cell_index)

    async def _async_poll_kernel_alive(self) -> None:
        """As the parent's, five times a second: a dead kernel is noticed before a person wonders."""
        while True:
            await asyncio.sleep(_ALIVE_POLL_SECONDS)
            try:
                await self._async_check_alive()
            except DeadKernelError:
                if self.task_poll_for_reply is not None:
                    self.task_poll_for_reply.cancel()
                return

    def _seconds_for(self, cell: NotebookNode) -> float:
        """A cell that mitigates has all the time of the run: a change that is cut off is worse than a slow one."""
        left = self._deadline - time.monotonic()
        return max(_SHORTEST_TIMEOUT, left if changes_platform(cell) else min(self._limits.cell_seconds, left))

    def _timeout_reason(self, number: int) -> str:
        if time.monotonic() >= self._deadline:
            return f"the run's limit of {self._limits.run_seconds:g} s was reached while cell {number} ran"
        return f"cell {number} did not end within its limit of {self._limits.cell_seconds:g} s"


async def _stop_waiting() -> None:
    """End every task that waits for the kernel, or leave it where it does not let itself be ended."""
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending:
        task.cancel()
    if pending:
        done, _ = await asyncio.wait(pending, timeout=_HANG_UP_SECONDS)
        _ = [task.exception() for task in done if not task.cancelled()]  # asked for, or asyncio complains


def _note(state: CellState, reason: str) -> str:
    return "" if state is CellState.COMPLETED else f"{reason[:1].upper()}{reason[1:]}."


def _first_line(text: str) -> str:
    return str(text).strip().partition("\n")[0][:300]
