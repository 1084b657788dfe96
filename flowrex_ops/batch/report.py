"""The one report of a batch: as JSON for programs, as Markdown and HTML for people."""

from __future__ import annotations

import html
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowrex_ops.batch.folder import Batch
from flowrex_ops.files import write_atomic
from flowrex_ops.jobs.table import Job, Outcome
from flowrex_ops.model import Severity, worst

_COLUMNS = ("run", "runbook", "platform", "parameters", "status", "diagnosis", "severity", "seconds", "record")
_STYLE = "body{font:14px system-ui;margin:2em}table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}"


def to_json(batch: Batch, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """``{batch, name, report, counts{status: n}, severity, folders{platform: id}, runs[]}``."""
    severity = worst_severity(outcomes)
    return {
        "batch": batch.id,
        "name": batch.name,
        "report": str(batch.path / "report.html"),
        "counts": dict(Counter(outcome.status for outcome in outcomes)),
        "severity": severity.value if severity else None,
        "folders": dict(batch.folders),
        "runs": [_about(job) | asdict(outcome) for job, outcome in zip(batch.jobs, outcomes, strict=True)],
    }


def worst_severity(outcomes: Sequence[Outcome]) -> Severity | None:
    """The worst of all runs."""
    return worst([Severity(outcome.severity) for outcome in outcomes if outcome.severity])


def write_report(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` into the batch's folder; RecordError where that cannot be."""
    facts = to_json(batch, outcomes)
    rows = [_row(batch.path, job, outcome) for job, outcome in zip(batch.jobs, outcomes, strict=True)]
    write_atomic(batch.path / "report.json", json.dumps(facts, indent=1, default=str) + "\n")
    markdown = _markdown(batch, facts, rows)
    write_atomic(batch.path / "report.md", markdown)
    write_atomic(batch.path / "report.html", _html(batch, markdown))


def summary(counts: Mapping[str, int]) -> str:
    """``7 complete, 1 failed``."""
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to run"


def _about(job: Job) -> dict[str, Any]:
    return {"runbook": job.slug, "platform": job.platform, "parameters": dict(job.parameters), "number": job.id}


def _row(folder: Path, job: Job, outcome: Outcome) -> list[str]:
    parameters = ", ".join(f"{name}={value}" for name, value in job.parameters.items())
    status = outcome.status + (f": {outcome.reason}" if outcome.reason else "")
    status += f" (interrupted before: {', '.join(outcome.earlier)})" if outcome.earlier else ""
    seconds = f"{outcome.seconds:.1f}" if outcome.seconds is not None else ""
    cells = (str(job.id), job.slug, job.platform, parameters, status, outcome.diagnosis or "-", outcome.severity or "-")
    link = os.path.relpath(outcome.html or outcome.record, folder) if outcome.record else ""
    return [*map(_escape, cells), seconds, f"[{Path(link).stem}]({link})" if link else "-"]


def _escape(text: str) -> str:
    """So that Markdown and HTML take it as it is."""
    return re.sub(r"([\\`*_\[\]|$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _markdown(batch: Batch, facts: Mapping[str, Any], rows: Sequence[Sequence[str]]) -> str:
    said = f"{summary(facts['counts'])}; worst severity {facts['severity'] or 'none'}."
    table = [" | ".join(cells) for cells in (_COLUMNS, ["---"] * len(_COLUMNS), *rows)]
    return "\n".join([f"# Batch {batch.id}", "", said, "", *(f"| {line} |" for line in table), ""])


def _html(batch: Batch, markdown: str) -> str:
    from flowrex_ops.record.markup import markdown as to_html

    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Batch {batch.id}</title>'
        f"<style>{_STYLE}</style></head>\n<body>{to_html(markdown)}</body></html>\n"
    )
