"""``flowrex-ops notebooks``: JupyterLab on the runbooks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowrex_ops.cli.options import SettingsOption

if TYPE_CHECKING:
    from flowrex_ops.catalog import Runbook

START, _CONFIG = "start.ipynb", ".jupyter"
_OPTIONS = (
    f"--LabApp.default_url=/lab/tree/{START}",
    "--FileContentsManager.post_save_hook=flowrex_ops.record.live.keep_saved",
)


def notebooks(
    context: typer.Context,
    settings: SettingsOption = "",
    edit: Annotated[
        bool, typer.Option("--edit", help="Open the runbooks themselves, to change them; no run is kept.")
    ] = False,
) -> None:
    """Open JupyterLab on copies of the runbooks, with a page to start from; a run is kept as a record when it is saved.

    The copies lie in outputs/live; one that has run and is not kept yet stays as it is, the others are renewed. Further options go to JupyterLab.

    Example: flowrex-ops notebooks --no-browser --port 8889
    """
    from flowrex_ops.extras import require
    from flowrex_ops.notebook import KEPT_VARIABLE
    from flowrex_ops.record.forked import VARIABLE
    from flowrex_ops.record.warm import share_warm_parent, start_warm_parent
    from flowrex_ops.settings import OUTPUTS_VARIABLE, PATH_VARIABLE, find_file, load

    require("notebooks", "lab", "jupyterlab")
    loaded = load(settings or None)  # a mistake in the settings is told here, and not in the first cell
    file = find_file(settings or None)
    environment = dict(os.environ) | ({PATH_VARIABLE: str(file)} if file else {})
    # Kernels run in the notebook's folder; records and locks must be where every other run of this folder has them.
    environment[OUTPUTS_VARIABLE] = str(loaded.outputs.absolute())
    options = list(context.args)
    if edit:
        folder = _originals()
    else:
        folder = loaded.outputs.absolute() / "live"
        _copy_runbooks(folder, loaded.outputs)
        environment[KEPT_VARIABLE] = "1"
        paths = (str(folder / _CONFIG), environment.get("JUPYTER_CONFIG_PATH", ""))
        environment["JUPYTER_CONFIG_PATH"] = ":".join(filter(None, paths))
        options = [*_OPTIONS, *options]
    if os.geteuid() == 0 and "--allow-root" not in options:
        typer.echo(
            "JupyterLab runs as root here: whoever reaches its address can do anything on this machine", err=True
        )
        options.append("--allow-root")
    # Kernels are forked from a parent with everything imported: the first cell answers at once. It ends with JupyterLab, which
    # becomes its owner below and closes the pipe as it ends, however it does.
    parent, environment[VARIABLE] = start_warm_parent()
    environment["JUPYTER_DEFAULT_PROVISIONER_NAME"] = "flowrex-ops-warm"
    share_warm_parent(environment[VARIABLE])
    assert parent.stdin is not None  # noqa: S101  (it is a pipe)
    os.set_inheritable(parent.stdin.fileno(), True)  # noqa: FBT003  (it has no name)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", *options]
    os.execve(sys.executable, command, environment)  # noqa: S606  (replaces this process, no shell)


def _originals() -> Path:
    from flowrex_ops.catalog import NOTEBOOKS, PACKAGED
    from flowrex_ops.errors import UsageError

    if NOTEBOOKS == PACKAGED:
        raise UsageError("--edit is for a checkout; what is installed is what all other commands run")
    return NOTEBOOKS


def _copy_runbooks(folder: Path, outputs: Path) -> None:
    """Nothing is written into tracked or installed notebooks; and no run that is not kept yet is lost when JupyterLab starts again."""
    from flowrex_ops.catalog import NOTEBOOKS, find_runbooks

    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    for runbook in find_runbooks().values():
        copy = folder / runbook.path.relative_to(NOTEBOOKS)
        if not _is_unkept(copy, outputs):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(runbook.path, copy)
    # No question about news at three in the morning.
    page = folder / _CONFIG / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    (folder / START).write_text(json.dumps(_start_page()), encoding="utf-8")


def _is_unkept(path: Path, outputs: Path) -> bool:
    from flowrex_ops.record.importing import kept_as

    try:
        notebook = json.loads(path.read_bytes())
        return any(cell.get("outputs") for cell in notebook["cells"]) and not kept_as(outputs, notebook)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _start_page() -> dict[str, object]:
    """A page to read and click, as a notebook: JupyterLab shows Markdown files as their source."""
    cells = [
        {"cell_type": "markdown", "id": str(number), "metadata": {}, "source": text}
        for number, text in enumerate(_start_texts())
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}  # else JupyterLab asks for one
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _start_texts() -> Iterator[str]:
    from flowrex_ops.catalog import NOTEBOOKS, find_runbooks

    found = find_runbooks()

    def link(runbook: Runbook) -> str:
        return f"[{runbook.title}]({runbook.path.relative_to(NOTEBOOKS).as_posix()})"

    yield f"# What is wrong?\n\n## {link(found['triage'])}\n\nAsks everything at once: how severe it is, what users feel, and which runbook is next. In each: *Run* → *Run All Cells*. Nothing is changed unless you write your name into `operator` and type a mitigation's slug."
    incidents = [one for one in found.values() if one.path.parent.name == "incidents"]
    rows = [
        f"| {link(one)} | {one.severity} | {', '.join(f'`{alert}`' for alert in one.alerts) or 'none'} |"
        for one in incidents
    ]
    yield "\n".join(["## By what users see", "", "| runbook | usual severity | alerts |", "|:--|:--|:--|", *rows])
    procedures = [one for one in found.values() if one.path.parent.name == "procedures"]
    yield "\n".join(
        ["## Procedures, which change something when approved", "", *(f"- {link(one)}" for one in procedures)]
    )
    yield "## Practice\n\n```sh\nflowrex-ops drill list\nflowrex-ops drill run lock-chain\n```"
