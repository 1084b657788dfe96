"""The newest lines of each log of the platform, as a folder of copied files: the parsers of another version can be tried on them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from flowrex_ops.compose import Stack
from flowrex_ops.compose.logfiles import parse_time
from flowrex_ops.copied.files import CLOCK, LOGS
from flowrex_ops.discovery.endpoints import discover
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.files import write_atomic
from flowrex_ops.reading import call_within
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

MOST_BYTES = 4 * 2**20
"""Of each service's log, the newest."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_SAME = timedelta(seconds=1)


def keep_lines(settings: Settings, folder: Path, *, since: timedelta) -> list[str]:
    """Write ``logs/REPLICA.log`` of each replica into *folder*, redacted; says in a line each what could not be read or written."""
    now, limit, problems = datetime.now(UTC), settings.limits.log_seconds, list[str]()
    try:
        stack = discover(settings).stack
        services = {replica.service for replica in call_within(limit, stack.get_replicas, "the stack")}
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        write_atomic(folder / CLOCK, f"{now.isoformat(timespec='seconds')}\n")
    except (FlowrexOpsError, OSError) as error:
        return [f"no lines of logs are kept: {error}"]
    redactor = Redactor(settings.secret_values())
    for service in sorted(services):
        try:
            found = call_within(limit, partial(read_lines, stack, service, now - since), f"the log of '{service}'")
            for replica, lines in found.items():
                name = re.sub(r"[^\w.-]", "_", replica)
                text = redactor.text("\n".join(lines))  # as one: a private key has many lines
                write_atomic(folder / LOGS / f"{name}.log", f"{text}\n")
        except (FlowrexOpsError, OSError) as error:
            problems.append(f"no lines of '{service}': {error}")
    return problems


def read_lines(stack: Stack, service: str, since: datetime) -> Mapping[str, Sequence[str]]:
    """Lines by replica, as a file of them would be read again: what has no time of its own is given that of its container's log.

    Not each line: one that has none is read as of the time of the line before, and with one in front it would belong to no traceback.
    """
    found: dict[str, list[str]] = defaultdict(list)
    told: dict[str, datetime] = defaultdict(lambda: _LONG_AGO)
    for line in stack.read_logs(service, since=since, max_bytes=MOST_BYTES):
        own = parse_time(line.text)
        stamped = own is None and line.at is not None and line.text[:1] not in (" ", "\t", "{")
        if stamped and line.at and line.at - told[line.replica] >= _SAME:
            found[line.replica].append(f"{line.at.isoformat()} {line.text}")
            told[line.replica] = line.at
        else:
            found[line.replica].append(line.text)
            told[line.replica] = own or told[line.replica]
    return found
