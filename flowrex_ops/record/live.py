"""A runbook that was run live is kept as a record when JupyterLab saves it: a hook of Jupyter Server's contents manager.

``FileContentsManager.post_save_hook`` is called after each save, also JupyterLab's own every two minutes
(https://jupyter-server.readthedocs.io/en/latest/developers/savehooks.html).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrex_ops.record.outcome import payloads

_kept: dict[Path, str] = {}
_turn = threading.Lock()


def keep_saved(os_path: str, model: Mapping[str, Any], contents_manager: Any) -> None:
    """Keep what was saved at *os_path*, if it is a runbook that came to its end and is not kept yet.

    In a thread: a page is rendered for a second, in which the browser would wait for its answer.
    """
    if model["type"] == "notebook":
        threading.Thread(target=_keep, args=(Path(os_path), contents_manager.log), daemon=True).start()


def _keep(path: Path, log: Any) -> None:
    from flowrex_ops.record.importing import import_notebook
    from flowrex_ops.settings import load

    with _turn:
        try:
            notebook = json.loads(path.read_bytes())
            closing = [one for one in payloads(notebook) if one.get("kind") == "outcome"]
            reported = json.dumps(closing, sort_keys=True)
            if not closing or _kept.get(path) == reported:
                return
            _kept[path] = reported
            log.info("kept as the record %s", import_notebook(path, load()).id)
        except Exception as error:  # noqa: BLE001  # whatever is wrong costs this record, and no save of JupyterLab's
            _kept.pop(path, None)  # the next save tries again
            log.warning("'%s' is not kept as a record: %s", path, error)
