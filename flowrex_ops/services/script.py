"""The platform's own script for going to a version, run within a limit."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flowrex_ops.errors import MitigationRefusedError, VerificationError

_LINES = 3


@dataclass(frozen=True, slots=True)
class Script:
    """``scripts/rollback.sh VERSION``, run in the folder above its own, where the compose files lie."""

    path: Path
    limit_seconds: float

    def require(self) -> None:
        """MitigationRefusedError where it cannot be run."""
        if not os.access(self.path, os.X_OK):
            raise MitigationRefusedError(f"'{self.path}' cannot be run; correct rollback.script or its permissions")

    def run(self, version: str) -> None:
        """VerificationError with its last words where it fails; with all that it started it ends when time is up."""
        self.require()
        process = subprocess.Popen(
            [str(self.path.resolve()), version],
            cwd=self.path.resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=self.limit_seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGTERM)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise VerificationError(
                f"'{self.path}' did not end in {self.limit_seconds:g} s; look at the stack"
            ) from None
        if process.returncode != 0:
            last = " / ".join(said.strip().splitlines()[-_LINES:]) or "no reason given"
            raise VerificationError(f"'{self.path} {version}' failed ({process.returncode}): {last}")
