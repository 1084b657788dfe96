"""The newest lines of each log of the platform, as a folder of copied files: the parsers of another version can be tried on them."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flowrex_ops.copied.files import CLOCK, LOGS
from flowrex_ops.discovery.endpoints import discover
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.reading import call_within
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

MOST_BYTES = 4 * 2**20
"""Of each service's log, the newest."""


def keep_lines(settings: Settings, folder: Path, *, since: timedelta) -> list[str]:
    """Write ``logs/SERVICE-NUMBER.log`` of each service into *folder*, redacted; says in a line each what could not be read."""
    now, redactor, problems = datetime.now(UTC), Redactor(settings.secret_values()), list[str]()
    stack = discover(settings).stack
    limit = settings.limits.log_seconds
    try:
        services = {replica.service for replica in call_within(limit, stack.get_replicas, "the stack")}
    except FlowrexOpsError as error:
        return [f"no lines of logs are kept: {error}"]
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    (folder / CLOCK).write_text(f"{now.isoformat(timespec='seconds')}\n", encoding="utf-8")
    for service in sorted(services):
        lines: dict[str, list[str]] = defaultdict(list)

        def read(service: str = service, lines: dict[str, list[str]] = lines) -> None:
            for line in stack.read_logs(service, since=now - since, max_bytes=MOST_BYTES):
                lines[line.replica].append(line.text)

        try:
            call_within(limit, read, f"the log of '{service}'")
        except FlowrexOpsError as error:
            problems.append(f"no lines of '{service}': {error}")
            continue
        for number, texts in enumerate(lines.values(), start=1):
            text = redactor.text("\n".join(texts))  # as one: a private key has many lines
            (folder / LOGS / f"{service}-{number}.log").write_text(f"{text}\n", encoding="utf-8")
    return problems
