"""Folders of incidents and of runs: their ids, and which there are.

An incident (``INC-…``) is opened by a person or an alert. A run that belongs to none has a folder of its own kind (``RUN-…``): the same,
but without ``incident.json``, so that nobody is notified of it, and it is neither open nor resolved. An incident can be opened with a
run: its folder then goes on as the incident's, under the same number.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from flowrex_ops.archive import timeline

INCIDENT, RUN = "INC-", "RUN-"
FOLDER_ID = re.compile(rf"(?:{INCIDENT}|{RUN})\d{{8}}-\d{{4}}-[0-9a-f]{{4}}")
"""The id of an incident or a run: ``INC-YYYYMMDD-HHMM-xxxx``."""


def is_run(name: str) -> bool:
    """Whether the folder of this name is a run's, and no incident's."""
    return name.startswith(RUN)


def list_incidents(outputs: Path) -> list[Path]:
    """Folders of all incidents, the newest first."""
    return _newest_first(path for path in outputs.glob(f"{INCIDENT}*") if path.is_dir())


def list_runs(outputs: Path) -> list[Path]:
    """Folders of all runs that belong to no incident, the newest first."""
    return _newest_first(path for path in outputs.glob(f"{RUN}*") if path.is_dir() and not incident_of(path))


def list_folders(outputs: Path) -> list[Path]:
    """Folders of all incidents and runs, in no order."""
    return [*outputs.glob(f"{INCIDENT}*"), *(path for path in outputs.glob(f"{RUN}*") if not incident_of(path))]


def incident_of(run: Path) -> Path | None:
    """The incident that was opened with *run*. A copy of the run may be left of before (from a store); it counts no more."""
    folder = run.parent / run.name.replace(RUN, INCIDENT, 1)
    return folder if is_run(run.name) and folder.is_dir() else None


def reserve_id(outputs: Path, kind: str = INCIDENT) -> str:
    """An id that no incident (or run) has yet, for whoever must write it down before the folder exists (``ensure_folder``)."""
    while True:
        name = f"{kind}{datetime.now(UTC):%Y%m%d-%H%M}-{secrets.token_hex(2)}"
        if not any((outputs / name.replace(kind, one, 1)).exists() for one in (INCIDENT, RUN)):
            return name


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    return sorted(folders, key=_opened, reverse=True)


def _opened(folder: Path) -> tuple[str, str]:
    """The minute of its name; within that the first line of its timeline, for the rest of the name is random."""
    with contextlib.suppress(OSError, ValueError, AttributeError), (folder / timeline.FILE).open() as lines:
        return folder.name[:17], str(json.loads(lines.readline()).get("at"))
    return folder.name[:17], ""
