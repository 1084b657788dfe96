"""``flowrex-ops notebooks``: JupyterLab on the runbooks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import typer

from flowrex_ops.cli.options import SettingsOption


def notebooks(context: typer.Context, settings: SettingsOption = "") -> None:
    """Open JupyterLab on the runbooks; further options go to JupyterLab.

    Installed from a wheel, it opens copies in the folder notebooks of the working directory, which it makes unless there is one.

    Example: flowrex-ops notebooks --no-browser --port 8889
    """
    from flowrex_ops.extras import require
    from flowrex_ops.settings import OUTPUTS_VARIABLE, PATH_VARIABLE, find_file, load

    require("notebooks", "lab", "jupyterlab")
    loaded = load(settings or None)  # a mistake in the settings is told here, and not in the first cell
    file = find_file(settings or None)
    environment = dict(os.environ) | ({PATH_VARIABLE: str(file)} if file else {})
    # Kernels run in the notebook's folder; records and locks must be where every other run of this folder has them.
    environment[OUTPUTS_VARIABLE] = str(loaded.outputs.absolute())
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={_folder()}", *context.args]
    os.execve(sys.executable, command, environment)  # noqa: S606  (replaces this process, no shell)


def _folder() -> Path:
    """A checkout's own runbooks; else copies, so that nobody edits the installed ones, which all other commands run."""
    from flowrex_ops.catalog import NOTEBOOKS, PACKAGED

    if NOTEBOOKS != PACKAGED:
        return NOTEBOOKS
    folder = Path("notebooks").absolute()
    if not folder.exists():
        shutil.copytree(NOTEBOOKS, folder)
    typer.echo(f"opening '{folder}'; without that folder, new copies of the runbooks are made", err=True)
    return folder
