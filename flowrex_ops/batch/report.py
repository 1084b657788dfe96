"""The one report of a batch: as JSON for programs, as Markdown and HTML for people."""

from __future__ import annotations

import html
import json
import os
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
    """``{batch, name, report, counts{status: n}, severity, incidents{platform: id}, runs[]}``."""
    severity = worst_severity(outcomes)
    return {
        "batch": batch.id,
        "name": batch.name,
        "report": str(batch.path / "report.html"),
        "counts": dict(Counter(outcome.status for outcome in outcomes)),
        "severity": severity.value if severity else None,
        "incidents": dict(batch.incidents),
        "runs": [{**_about(job), **asdict(outcome)} for job, outcome in zip(batch.jobs, outcomes, strict=True)],
    }


def worst_severity(outcomes: Sequence[Outcome]) -> Severity | None:
    """The worst of all runs."""
    return worst([Severity(outcome.severity) for outcome in outcomes if outcome.severity])


def write_report(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` into the batch's folder; RecordError where that cannot be."""
    facts = to_json(batch, outcomes)
    rows = [_row(batch.path, job, outcome) for job, outcome in zip(batch.jobs, outcomes, strict=True)]
    write_atomic(batch.path / "report.json", json.dumps(facts, indent=1, default=str) + "\n")
    write_atomic(batch.path / "report.md", _markdown(batch, facts, rows))
    write_atomic(batch.path / "report.html", _html(batch, facts, rows))


def summary(counts: Mapping[str, int]) -> str:
    """``7 complete, 1 failed``."""
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to run"


def _about(job: Job) -> dict[str, Any]:
    return {"runbook": job.slug, "platform": job.platform, "parameters": dict(job.parameters), "number": job.id}


def _row(folder: Path, job: Job, outcome: Outcome) -> dict[str, str]:
    parameters = ", ".join(f"{name}={value}" for name, value in job.parameters.items())
    link = os.path.relpath(outcome.html or outcome.record, folder) if outcome.record else ""
    status = outcome.status + (f": {outcome.reason}" if outcome.reason else "")
    status += f" (interrupted before: {', '.join(outcome.earlier)})" if outcome.earlier else ""
    seconds = f"{outcome.seconds:.1f}" if outcome.seconds is not None else ""
    cells = (str(job.id), job.slug, job.platform, parameters, status, outcome.diagnosis or "-")
    return dict(zip(_COLUMNS, (*cells, outcome.severity or "-", seconds, link), strict=True))


def _markdown(batch: Batch, facts: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    lines = [
        f"# Batch {batch.id}",
        "",
        f"{summary(facts['counts'])}; worst severity {facts['severity'] or 'none'}.",
        "",
    ]
    lines += [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    for row in rows:
        cells = [row[name].replace("|", "\\|").replace("\n", " ") for name in _COLUMNS[:-1]]
        cells.append(f"[{Path(row['record']).stem}]({row['record']})" if row["record"] else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _html(batch: Batch, facts: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    body = "".join(f"<tr>{''.join(_cell(name, row[name]) for name in _COLUMNS)}</tr>\n" for row in rows)
    title = html.escape(f"Batch {batch.id}")
    said = html.escape(f"{summary(facts['counts'])}; worst severity {facts['severity'] or 'none'}.")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1><p>{said}</p>\n<table><tr>{head}</tr>\n{body}</table></body></html>\n"
    )


def _cell(name: str, value: str) -> str:
    text = html.escape(value)
    if name == "record" and value:
        return f'<td><a href="{text}">{html.escape(Path(value).stem)}</a></td>'
    return f"<td>{text}</td>"
