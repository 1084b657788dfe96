"""A record's metadata read from its file, without the megabyte of outputs before it where that can be helped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_BEGIN = b'\n "metadata": {'
"""How the notebook's own metadata begin where it is written with an indent of one, as this tool and Jupyter do."""


def read_metadata(path: Path) -> dict[str, Any] | None:
    """``metadata.flowrex_ops.record`` of the notebook at *path*; ``None`` for whatever is no record."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    record = _record(_tail(raw)) or _record(_whole(raw))
    return record if record and isinstance(record.get("status"), str) else None


def _tail(raw: bytes) -> Any:
    """The members from ``metadata`` on: a line break inside of a JSON string is escaped, so this is no output's text."""
    place = raw.rfind(_BEGIN)
    return _whole(b"{" + raw[place:]) if place >= 0 else None


def _whole(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _record(document: Any) -> dict[str, Any] | None:
    try:
        record = document["metadata"]["flowrex_ops"]["record"]
    except (KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None
