"""An incident, or a run, as one zip that opens anywhere: a page with links, the files as they are, and their checksums.

```
index.html                what happened, with links to everything; needs no network and no tool of ours
SHA256SUMS                for 'sha256sum -c SHA256SUMS'
INC-YYYYMMDD-HHMM-xxxx/   as in the archive: records, evidence, messages, timeline, post-mortem, manifest
```

Unpacked into any folder, ``records verify`` holds it against its manifest, as in the archive. Nothing is packed but what was
redacted when it was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.folders import is_run
from flowrex_ops.archive.incidents import INCIDENT_FILE
from flowrex_ops.archive.index import read_metadata
from flowrex_ops.archive.manifest import verify
from flowrex_ops.archive.records import find_folders
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked, write_atomic
from flowrex_ops.record.page import css, template
from flowrex_ops.record.words import headline


def export(outputs: Path, wanted: str, target: Path | None = None) -> Path:
    """Write the incident or run that *wanted* names (also by a record of it) to *target*; its path.

    ``INC-….zip`` in this folder where *target* is left out. RecordError where there is none, or *target* exists
    already (nothing is overwritten) or cannot be written.
    """
    (folder,) = find_folders(outputs, wanted or "latest")
    target = target or Path(f"{folder.name}.zip")
    if target.exists():
        raise RecordError(f"'{target}' exists already; give another file with --output")
    if not target.absolute().parent.is_dir():
        raise RecordError(f"'{target.parent}' is not a folder; give a file in one that exists with --output")
    write_atomic(target, pack(folder))
    return target


def pack(folder: Path) -> bytes:
    """The zip of the incident in *folder*: everything but locks and links that lead out of it."""
    problems = [str(problem) for problem in verify(folder)]
    # Its lock, so that nothing changes meanwhile; an archive that is read-only has no writers either.
    writable = os.access(folder / timeline.FILE, os.W_OK)
    with locked(folder / timeline.FILE) if writable else contextlib.nullcontext():
        inside = (path for path in sorted(folder.rglob("[!.]*")) if path.resolve().is_relative_to(folder.resolve()))
        files = {f"{folder.name}/{path.relative_to(folder)}": path.read_bytes() for path in inside if path.is_file()}
    index = _index(folder, list(files), problems).encode()
    contents = {"index.html": index, **files}
    sums = [f"{hashlib.sha256(raw).hexdigest()}  {name}\n" for name, raw in sorted(contents.items())]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in {"SHA256SUMS": "".join(sums).encode(), **contents}.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


def _index(folder: Path, names: list[str], problems: list[str]) -> str:
    about: Any = {}
    with contextlib.suppress(OSError, ValueError):
        about = json.loads((folder / INCIDENT_FILE).read_bytes())
    records = [name for name in names if name.endswith(".ipynb") and name.startswith(f"{folder.name}/records/")]
    return template("export.html.j2").render(
        css=css(),
        run=is_run(folder.name),
        incident={**(about if isinstance(about, dict) else {}), "id": folder.name},
        records=[_row(folder.parent / name, name, names) for name in records],
        files=[name for name in names if not name.startswith(f"{folder.name}/records/")],
        timeline=timeline.read(folder),
        problems=problems,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )


def _row(path: Path, name: str, names: list[str]) -> dict[str, Any]:
    record, page = read_metadata(path), name.replace(".ipynb", ".html")
    said = {"started": record.started_text, "status": record.status, "said": headline(record)} if record else {}
    return {**said, "notebook": name, "page": page if page in names else "", "name": path.stem}
