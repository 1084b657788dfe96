"""The kernel as a process: started early, reached through a private socket, killed at the end.

It is started from this interpreter rather than from a kernelspec, so that it always has this package, and over
IPC rather than TCP, so that no other user of the machine can listen and no two runs compete for a port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

_LONGEST_SOCKET_PATH = 90
_ARGUMENTS = ("-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.hist_file=:memory:")


class KernelProcess:
    """One kernel of one run. It polls its parent and ends within about a second of the runner's death."""

    def __init__(self, *, cwd: Path, environment: Mapping[str, str], preload: str = "") -> None:
        """Start the kernel and return at once; it answers about half a second later.

        It imports the module *preload* before it answers: that costs nothing while the runner imports its own.
        """
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager
        from jupyter_core.utils import run_sync

        self._folder = Path(tempfile.mkdtemp(prefix="flowrex-ops-"))
        self.manager: AsyncKernelManager = AsyncKernelManager(connection_file=str(self._folder / "kernel.json"))
        self.manager._kernel_spec = KernelSpec(  # noqa: SLF001  # no public way to give one
            argv=[sys.executable, *_ARGUMENTS, *_preloading(preload)],
            display_name="Python 3",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": "flowrex-ops-warm"}},  # provisioner.py
        )
        if len(str(self._folder)) < _LONGEST_SOCKET_PATH:
            self.manager.transport = "ipc"
            self.manager.ip = str(self._folder / "socket")
        env = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **environment}
        try:
            run_sync(self.manager.start_kernel)(cwd=str(cwd), env=env)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def pid(self) -> int | None:
        """The kernel's process id, ``None`` once it has been reaped."""
        return getattr(self.manager.provisioner, "pid", None)

    def cause_of_death(self) -> str:
        """How the kernel ended, in words."""
        code = getattr(getattr(self.manager.provisioner, "process", None), "returncode", None)
        if code is None:
            return "the kernel died"
        if code == -signal.SIGKILL:
            return "the kernel died: killed by SIGKILL, as the system does when memory runs out"
        if code < 0:
            return f"the kernel died: killed by {signal.Signals(-code).name}"
        return f"the kernel died: it exited with code {code}"

    def kill(self) -> None:
        """End the kernel and its children now; nothing in it is worth a polite shutdown. Safe to call twice."""
        from jupyter_core.utils import run_sync

        process = getattr(self.manager.provisioner, "process", None)
        if self.pid and process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            process.wait()  # the provisioner's own waiting looks only every 0.1 s
        run_sync(self._reap)()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _reap(self) -> None:
        from jupyter_core.utils import ensure_async

        if self.manager.provisioner is not None and self.manager.provisioner.has_process:
            await self.manager.provisioner.wait()
        await ensure_async(self.manager.cleanup_resources())


def _preloading(module: str) -> list[str]:
    """As an expression, so that the notebook's namespace stays empty (ipykernel: IPKernelApp.exec_lines)."""
    return [f"--IPKernelApp.exec_lines=__import__('{module}')"] if module else []
