"""``flowrex-ops serve``: Alertmanager's webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flowrex_ops.cli.options import SettingsOption, option


def serve(
    host: Annotated[str, option("--host", "HOST", "Listen there; 127.0.0.1 unless set.")] = "",
    port: Annotated[int | None, option("--port", "PORT", "9099 unless set; 0: any.", min=0, max=65535)] = None,
    notebooks: Annotated[Path | None, option("--notebooks", "FOLDER", "Runbooks of another folder than ours.")] = None,
    settings: SettingsOption = "",
) -> None:
    """Take alerts from Alertmanager's webhook (POST /alertmanager) and run the runbooks that answer them; triage for the rest.

    An alert is on disk before it is acknowledged, and is run once, also where the server is killed meanwhile. Nothing is changed
    by such a run: it has neither approval nor operator. Settings: section serve (docs/serve.md). On another address than loopback
    a bearer token (serve.token) is required. SIGTERM lets runs go on for serve.grace_seconds; a second one ends them.

    Example: flowrex-ops serve --port 9099
    """
    import logging

    from flowrex_ops.catalog import NOTEBOOKS
    from flowrex_ops.errors import NotebookError
    from flowrex_ops.extras import require

    require("serve", "serve", "starlette", "uvicorn")
    from flowrex_ops.record.warm import warm_parent
    from flowrex_ops.settings import find_file, load
    from flowrex_ops.webhook.server import serve as serve_alerts

    if notebooks is not None and not notebooks.is_dir():
        raise NotebookError(f"--notebooks: '{notebooks}' is not a folder; give the folder of the runbooks")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("flowrex_ops.webhook").setLevel(logging.INFO)
    loaded = load(settings or None)
    if loaded.notify.urls:
        require("serve with receivers (notify.urls)", "notify", "apprise")
    given: dict[str, Any] = {"host": host, "port": port}
    chosen = loaded.serve.model_copy(update={name: value for name, value in given.items() if value not in ("", None)})
    with warm_parent(shared=True):
        serve_alerts(
            loaded.model_copy(update={"serve": chosen}),
            settings_file=find_file(settings or None),
            notebooks=notebooks or NOTEBOOKS,
            say=typer.echo,
        )
