"""An archive such as a month of incidents leaves it, made in a moment: metadata as real runs write it, nothing was run."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.causes import causes_by_runbook, find_causes

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 30
_EVIDENCE = {
    "http": [("{n} requests", "{exception} orders.py:place: {exception}: no price for order {n}", "backend log")],
    "db": [("root blocker PID {n}", "migration, idle in transaction, transaction open for {n} s", "postgres")],
    "memory": [("backend-{r}", "{n} MiB of 512 MiB (97%)", "stack")],
}
_EXCEPTIONS = ("KeyError", "ValueError", "TimeoutError", "PriceError", "LedgerError")


def make_archive(outputs: Path, records: int = 50, *, seed: int = 7, padding: int = 0) -> list[str]:
    """*records* in as many incidents less some that have two; each notebook *padding* bytes larger. Ids, oldest first."""
    chance, ids = random.Random(seed), []  # noqa: S311  # an example, no secret
    runbooks = [runbook for runbook in causes_by_runbook() if runbook != "triage"]
    while len(ids) < records:
        at = BEGIN + timedelta(days=DAYS) * (len(ids) / records)
        runbook = chance.choice(runbooks)
        cause = chance.choice([*causes_by_runbook()[runbook], None])
        first = metadata(runbook, cause, at, n=chance.randrange(10_000), seed=chance.randrange(100))
        ids += add_incident(outputs, at, [first], number=len(ids), padding=padding)
    return ids


def metadata(
    runbook: str, cause: str | None, at: datetime, *, n: int = 5, seed: int = 0, **more: Any
) -> dict[str, Any]:
    """``metadata.flowrex_ops.record`` of a run that confirmed *cause* (or nothing) and acted on it where *n* is even."""
    known = causes_by_runbook().get(runbook, ())
    finding = _finding(cause, n, seed) if cause else None
    verdicts = [
        {
            "cause": one,
            "verdict": "confirmed" if one == cause else "ruled out",
            "reason": f"as read {n}",
            "evidence": finding["evidence"] if finding and one == cause else [],
        }
        for one in known
    ]
    seconds = 3 + n % 20
    record = {
        "runbook": runbook,
        "title": runbook.replace("_", " ").capitalize(),
        "status": "complete",
        "reason": None,
        "started": at.isoformat(timespec="milliseconds"),
        "ended": (at + timedelta(seconds=seconds)).isoformat(timespec="milliseconds"),
        "seconds": float(seconds),
        "operator": ("ada", "grace", "linus")[seed % 3],
        "trigger": "",
        "host": "vm",
        "parameters": {"idle_after_seconds": 10.0},
        "versions": {"flowrex_ops": "0.1.0", "python": "3.11.7"},
        "cells": "23 of 23 code cells ran",
        "severity": finding["severity"] if finding else None,
        "diagnosis": cause,
        "findings": [finding] if finding else [],
        "verdicts": verdicts,
        "mitigations": [_mitigation(cause, n)] if cause else [],
        "platform": "flowrex",
        "stack": "Docker Compose project 'flowrex'",
    }
    return record | more


def about(runbook: str, cause: str | None, at: datetime, **more: Any) -> RecordMetadata:
    """The same, typed."""
    return RecordMetadata.model_validate(metadata(runbook, cause, at, **more))


def add_incident(
    outputs: Path, at: datetime, records: list[dict[str, Any]], *, number: int = 0, padding: int = 0, **facts: Any
) -> list[str]:
    """A sealed incident folder with these records; their ids."""
    folder = outputs / f"INC-{at:%Y%m%d-%H%M}-{number % 0x10000:04x}"
    (folder / "records").mkdir(parents=True)
    incident = {"id": folder.name, "status": "Resolved", "started": at.isoformat(), "title": "Orders time out", **facts}
    incident.setdefault("resolved", (at + timedelta(minutes=20 + number % 60)).isoformat())
    (folder / "incident.json").write_text(json.dumps(incident))
    timeline.append(folder, {"kind": "incident", "text": f"incident {folder.name} opened"})
    ids = []
    for place, record in enumerate(records, start=1):
        name = f"{place:03d}-{record['runbook']}"
        ids.append(f"{folder.name}/{name}")
        write_record(folder / "records" / f"{name}.ipynb", {**record, "id": ids[-1], "incident": folder.name}, padding)
    write_manifest(folder)
    return ids


def write_record(path: Path, record: Mapping[str, Any], padding: int = 0) -> None:
    """An executed notebook of one cell, as our runner writes it."""
    output = {"output_type": "stream", "name": "stdout", "text": "x" * padding}
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [output], "source": "look()"}
    notebook = {"cells": [cell], "metadata": {"flowrex_ops": {"record": record}}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(notebook, indent=1) + "\n")


def _finding(cause: str, n: int, seed: int) -> dict[str, Any]:
    evidence = [
        {
            "name": name.format(n=n, r=1 + seed % 3),
            "value": value.format(n=n, exception=_EXCEPTIONS[seed % 5]),
            "source": source,
        }
        for name, value, source in _EVIDENCE.get(cause.partition(".")[0], ())
    ]
    return {
        "cause": cause,
        "severity": find_causes()[cause].severity.value,
        "title": f"{find_causes()[cause].title}: backend-{1 + seed % 3}",
        "reason": f"{n} sessions of the migration wait",
        "evidence": evidence,
        "next_steps": [],
    }


def _mitigation(cause: str, n: int) -> dict[str, Any]:
    steps = [step.target for step in find_causes()[cause].next_steps if step.kind == "mitigation"]
    slug = steps[0] if steps else "restart-backend"
    state = "verified" if n % 2 == 0 else "planned"
    return {
        "slug": slug,
        "state": state,
        "reason": "as planned",
        "plan_hash": "d6185f44da6b",
        "action": "act",
        "targets": [],
    }
