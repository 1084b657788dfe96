"""Kernels forked from a warm parent where there is one (``warm.py``), through jupyter_client's extension point for that.

https://jupyter-client.readthedocs.io/en/stable/provisioning.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from flowrex_ops.record.forked import ForkedProcess, fork

_LAUNCHER = [sys.executable, "-m", "ipykernel_launcher"]


class WarmProvisioner(LocalProvisioner):
    """A fork of the warm parent where that answers; a fresh process, as by jupyter_client itself, where not."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """As LocalProvisioner's."""
        cwd = str(kwargs.get("cwd") or Path.cwd())
        forked = _fork(cmd, cwd, kwargs.get("env") or os.environ)
        if forked is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = forked  # type: ignore[assignment]  # it has what is used of a Popen
        self.pid = self.pgid = forked.pid
        self.cwd = cwd
        return self.connection_info


def _fork(command: list[str], cwd: str, env: Mapping[str, str]) -> ForkedProcess | None:
    if command[:3] != _LAUNCHER:
        return None
    with Path(os.devnull).open("rb") as nothing:
        return fork("kernel", command[3:], cwd=cwd, env=env, descriptors=(nothing.fileno(), 1, 2))
