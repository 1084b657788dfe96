"""An incident, or one record of it, as one zip that opens anywhere: a page with links, the files as they are, and their checksums.

```
index.html                what happened, with links to everything; needs no network and no tool of ours
SHA256SUMS                for 'sha256sum -c SHA256SUMS'
INC-YYYYMMDD-HHMM-xxxx/   as in the archive: records, evidence, messages, timeline, post-mortem, manifest
pages/                    HTML of records that have none, since their runner was killed
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
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import INCIDENT_FILE
from flowrex_ops.archive.manifest import FILE as MANIFEST
from flowrex_ops.archive.manifest import entry_of, finished_files, unfinished, verify
from flowrex_ops.archive.metadata import read_metadata
from flowrex_ops.archive.records import Record, find_incidents, load_record
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked, write_atomic
from flowrex_ops.record.banner import headline

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent / "templates"
_OLDEST = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can name."""


def export(outputs: Path, wanted: str, target: Path | None = None) -> Path:
    """Write the incident or record that *wanted* names to *target* (``INC-….zip`` in this folder where left out); its path.

    RecordError where there is no such thing, *target* exists already (nothing is overwritten) or cannot be written.
    """
    record = load_record(outputs, wanted) if "/" in wanted or wanted.endswith(".ipynb") else None
    folder = record.incident if record else find_incidents(outputs, wanted or "latest")[0]
    name = f"{folder.name}-{record.path.stem}" if record else folder.name
    target = target or Path(f"{name}.zip")
    if target.exists():
        raise RecordError(f"'{target}' exists already; give another file with --to")
    if not target.absolute().parent.is_dir():
        raise RecordError(f"'{target.parent}' is not a folder; give a file in one that exists with --to")
    write_atomic(target, pack(folder, record))
    return target


def pack(folder: Path, record: Record | None = None) -> bytes:
    """The zip of the incident in *folder*, or of one *record* in it with what belongs to it."""
    problems = [str(problem) for problem in verify(folder)]
    with _held(folder):
        files = {name: (folder / name).read_bytes() for name in _chosen(folder, record)}
    if record:  # the incident's manifest names files that are not in here
        about = {"version": 1, "written": datetime.now(UTC).isoformat(timespec="seconds")}
        listed = {name: entry_of(raw) for name, raw in files.items() if name != MANIFEST}
        files[MANIFEST] = (json.dumps({**about, "files": listed}, indent=1) + "\n").encode()
    contents = {f"{folder.name}/{name}": raw for name, raw in files.items()}
    contents |= _missing_pages(files)
    contents["index.html"] = _index(folder, contents, problems).encode()
    sums = [f"{hashlib.sha256(raw).hexdigest()}  {name}" for name, raw in sorted(contents.items())]
    return _zip({"index.html": contents.pop("index.html"), "SHA256SUMS": ("\n".join(sums) + "\n").encode(), **contents})


def _held(folder: Path) -> contextlib.AbstractContextManager[object]:
    """The incident's lock, where it can be had: a read-only archive has no writers either."""
    writable = os.access(folder / timeline.FILE, os.W_OK)
    return locked(folder / timeline.FILE) if writable else contextlib.nullcontext()


def _chosen(folder: Path, record: Record | None) -> Iterator[str]:
    """What goes in: everything, also records that were never finished, but no link that leads out of the folder."""
    names = {
        *finished_files(folder),
        *unfinished(folder),
        *(f"evidence/{path.name}" for path in folder.glob("evidence/*")),
        MANIFEST,
    }
    for name in sorted(names):
        inside = (folder / name).is_file() and (folder / name).resolve().is_relative_to(folder.resolve())
        if inside and (record is None or _belongs(name, record)):
            yield name


def _belongs(name: str, record: Record) -> bool:
    """Whether the file is the record's own, its evidence's, or tells about the incident."""
    path = PurePosixPath(name)
    if path.parts[0] == "records":
        return path.stem == record.path.stem
    if path.parts[0] == "evidence":
        return path.name.startswith(record.path.stem.lower())
    return name in (timeline.FILE, INCIDENT_FILE)


def _missing_pages(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Pages of records whose runner was killed before it could write one."""
    from flowrex_ops.record.page import render_page

    found = {}
    for name, raw in files.items():
        page = PurePosixPath(name).with_suffix(".html")
        if name.startswith("records/") and name.endswith(".ipynb") and str(page) not in files:
            try:
                found[f"pages/{page.name}"] = render_page(json.loads(raw)).encode()
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # what is left of it is in the notebook, which the index links to
    return found


def _index(folder: Path, contents: Mapping[str, bytes], problems: list[str]) -> str:
    within = {name: name.removeprefix(f"{folder.name}/") for name in contents}
    return _template().render(
        incident=_incident(folder),
        records=[_row(folder, name, contents) for name, short in within.items() if _is_record(short)],
        timeline=timeline.read(folder),
        evidence=[name for name, short in within.items() if short.startswith("evidence/")],
        messages=[name for name, short in within.items() if short.startswith("messages/")],
        post_mortem=[name for name, short in within.items() if short.startswith("post_mortem")],
        others=[name for name, short in within.items() if short in (timeline.FILE, INCIDENT_FILE, MANIFEST)],
        problems=problems,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )


def _incident(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / INCIDENT_FILE).read_bytes())
    except (OSError, ValueError):
        value = {}
    return {"id": folder.name, **(value if isinstance(value, dict) else {})}


def _row(folder: Path, name: str, contents: Mapping[str, bytes]) -> dict[str, Any]:
    page = PurePosixPath(name).with_suffix(".html")
    rendered = next((one for one in (str(page), f"pages/{page.name}") if one in contents), "")
    record = read_metadata(folder / "records" / PurePosixPath(name).name) or {}
    try:
        said = headline(record)
    except (KeyError, TypeError):
        said = str(record.get("diagnosis") or "")
    return {"notebook": name, "page": rendered, "name": page.stem, "said": said, **record}


def _is_record(name: str) -> bool:
    return name.startswith("records/") and name.endswith(".ipynb")


def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
    return environment.get_template("export.html.j2")


def _zip(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, raw in contents.items():
            about = zipfile.ZipInfo(name, max(_OLDEST, datetime.now(UTC).timetuple()[:6]))
            about.external_attr, about.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(about, raw)
    return buffer.getvalue()
