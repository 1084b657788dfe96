"""The command without a process of its own: what it says and how it ends, a second of start-up sooner."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

from flowrex_ops.cli import main


def call(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of ``flowrex-ops ARGUMENTS`` in *cwd*, with no settings but those there."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
    nowhere = {"DOCKER_HOST": f"unix://{cwd}/no-docker.sock"}
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, own | nowhere, clear=True),
        mock.patch.object(sys, "argv", ["flowrex-ops", *arguments]),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()
