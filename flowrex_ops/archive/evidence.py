"""The full tables behind the truncated views of a record."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.errors import RecordError
from flowrex_ops.files import write_atomic
from flowrex_ops.redaction.redactor import Redactor

if TYPE_CHECKING:
    import pandas as pd

VARIABLE = "FLOWREX_OPS_RECORD"
"""Environment variable of a kernel: JSON ``{"incident": <absolute folder>, "record": "001-database_connections"}``."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?%?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")


@dataclass(frozen=True, slots=True)
class KernelRecord:
    """Where the record that a kernel works for lies: the incident's folder, and the record's name in it."""

    incident: Path
    record: str


def kernel_record() -> KernelRecord | None:
    """The record that this kernel works for; ``None`` under plain papermill or JupyterLab."""
    try:
        value = json.loads(os.environ[VARIABLE])
        return KernelRecord(Path(value["incident"]), str(value["record"]))
    except (KeyError, ValueError, TypeError):
        return None


def write_evidence(folder: Path, name: str, frame: pd.DataFrame, redactor: Redactor) -> Path:
    """Write *frame* as ``evidence/<name>.csv`` in the incident's *folder*, redacted; return its path.

    *name* is lower case letters, digits, ``-`` and ``_``; begin it with the record's name to keep runs apart.
    RecordError for another name or a full disk. An earlier table of that name is replaced.
    """
    if not _NAME.fullmatch(name):
        raise RecordError(f"evidence cannot be called '{name}'; use lower case letters, digits, '-' and '_'")
    target = folder / "evidence" / f"{name}.csv"
    target.parent.mkdir(exist_ok=True)
    write_atomic(target, redactor.text(frame.map(_inert).to_csv(index=False)))
    return target


def _inert(value: Any) -> Any:
    """*value* as no spreadsheet takes it for a formula (OWASP: CSV Injection); a negative number is one."""
    starts = isinstance(value, str) and value[:1] in _FORMULA
    return f"'{value}" if starts and not _NUMBER.fullmatch(value) else value
