"""Faults of memory: bytes that replicas really hold, a process that the kernel really kills, a neighbour that thrashes."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.observe import read_metrics
from flowrex_sandbox.health import await_backends
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import BESIDE, docker
from flowrex_sandbox.waiting import await_condition

MIB = 2**20
_RESIDENT = re.compile(r"^process_resident_memory_bytes (\S+)$", re.MULTILINE)
_LIMIT_BYTES = 256 * MIB
_USUAL_BYTES = 64 * MIB
"""A replica that is larger than this after its bugs were ended is restarted."""

_START_SECONDS = 30.0
_PRESSURE = Path("/proc/pressure/memory")
_SEVERE_PERCENT, _CALM_PERCENT = 14.0, 4.0


def resident_bytes(sandbox: Sandbox) -> list[float]:
    """Resident memory of every replica of the backend that answers, by its own word."""
    return [float(found[0]) for page in read_metrics(sandbox) if (found := _RESIDENT.findall(page))]


def has_stood_still(sandbox: Sandbox, seconds: float) -> bool:
    """Whether Prometheus remembers that long and no replica's memory moved by a fifth; true where there is no Prometheus."""
    if "prometheus" not in sandbox.state.ports:
        return True
    window = f"process_resident_memory_bytes[{seconds:.0f}s]"
    moved = f"count(max_over_time({window}) > 1.2 * min_over_time({window}))"
    remembered = f"count(process_resident_memory_bytes offset {seconds:.0f}s) >= {sandbox.state.replicas}"
    return _ask(sandbox, moved) == [] and bool(_ask(sandbox, remembered))


def _ask(sandbox: Sandbox, expression: str) -> list[Any] | None:
    """What Prometheus says; None where it does not answer."""
    query = urlencode({"query": expression})
    url = f"http://127.0.0.1:{sandbox.state.ports['prometheus']}/api/v1/query?{query}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return list(json.loads(answer.read())["data"]["result"])
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Hoard(Fault):
    """A bug that holds memory. ``count`` how often at once, ``everywhere`` in all replicas or in the first alone."""

    name = "memory-hoard"
    kind: str = ""
    count: int = 1
    everywhere: bool = False

    def start(self, sandbox: Sandbox) -> None:
        replicas = sandbox.replicas()
        for replica in replicas if self.everywhere else replicas[:1]:
            sandbox.ask(replica, f"/_sandbox/bugs/{self.kind}?count={self.count}", method="POST")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return max(resident_bytes(sandbox), default=0) > self.count / 100 * _LIMIT_BYTES

    def stop(self, sandbox: Sandbox) -> None:
        """Have every replica drop what it holds; restart those whose memory stays large, since malloc keeps some."""
        for replica in sandbox.replicas():
            sandbox.ask(replica, "/_sandbox/heal", method="POST")
        large = [size for size in resident_bytes(sandbox) if size > _USUAL_BYTES]
        stack = sandbox.stack()
        for replica in stack.get_replicas("backend"):
            if large or replica.oom_killed or not replica.running:
                stack.restart(replica, timeout_seconds=20)
        await_backends(sandbox, timeout_seconds=_START_SECONDS)


@dataclass(frozen=True, slots=True)
class MemoryLeak(_Hoard):
    """Every replica appends to a list that nobody empties."""

    name = "memory-leak"
    kind: str = "memory-leak"
    everywhere: bool = True

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Leak, and return once it has gone on for as long as the runbook looks back."""
        grown_bytes = 0.75 * MIB * 60 * thresholds.get("trend_minutes", 0.5)
        before = resident_bytes(sandbox)
        self.start(sandbox)
        await_condition(
            lambda: sum(resident_bytes(sandbox)) > sum(before) + grown_bytes * len(before),
            "the replicas leaked",
            timeout_seconds=90,
            poll_seconds=0.5,
            details=lambda: "run 'flowrex-ops drill heal' and try again",
        )


@dataclass(frozen=True, slots=True)
class MemoryHeld(_Hoard):
    """A cache in the first replica that takes ``count`` per cent of the limit, beside what the replica needs anyway."""

    name = "memory-held"
    kind: str = "memory-percent"
    count: int = 76


@dataclass(frozen=True, slots=True)
class MemoryHill(_Hoard):
    """A large report in the first replica: memory rose, and fell again."""

    name = "memory-hill"
    kind: str = "memory-hill"

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:  # noqa: ARG002  # it is over
        """Have the report, and return once it is over."""
        before = max(resident_bytes(sandbox))
        self.start(sandbox)
        for what, condition in (
            ("memory rose", lambda: max(resident_bytes(sandbox)) > before + 50 * MIB),
            ("memory fell again", lambda: max(resident_bytes(sandbox)) < before + 20 * MIB),
        ):
            await_condition(condition, what, timeout_seconds=30, poll_seconds=0.2)


@dataclass(frozen=True, slots=True)
class PageCache(_Hoard):
    """The first replica reads a large file again and again: ``docker stats`` shows it near its limit."""

    name = "page-cache"
    kind: str = "page-cache"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return any(usage.cache_bytes > _LIMIT_BYTES / 2 for usage in sandbox.stack().get_usage("backend"))


@dataclass(frozen=True, slots=True)
class OomKill(_Hoard):
    """The first replica asks for more than its container may have, and the kernel kills it; Docker starts it again."""

    name = "oom-kill"
    kind: str = "memory-exhaust"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        killed = [replica for replica in sandbox.replicas() if replica.oom_killed]
        return bool(killed) and len(resident_bytes(sandbox)) == sandbox.state.replicas


_THRASH = """
import mmap, os, time
file = open("/tmp/pages", "w+b")
for _ in range(48):
    file.write(os.urandom(2**20))
file.flush(); os.fsync(file.fileno())
pages, end = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), time.time() + 180
while time.time() < end:
    for place in range(0, len(pages), 4096):
        pages[place]
"""
"""48 MiB read over and over with 24 MiB to keep them in: each page has to be fetched again. Ends by itself."""


@dataclass(frozen=True, slots=True)
class Neighbour(Fault):
    """A container of somebody else's on the same machine thrashes inside its own small limit: tasks wait for memory."""

    name = "neighbour"

    def start(self, sandbox: Sandbox) -> None:
        image = docker("inspect", "--format", "{{.Image}}", sandbox.replicas()[0].identity.partition("@")[0]).strip()
        command = ("run", "-d", "--rm", "--init", "--network", "none", "--memory", "24m", "--name", _neighbour(sandbox))
        docker(*command, "--label", f"{BESIDE}={sandbox.name}", image, "python", "-c", _THRASH)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return pressure_percent() > _SEVERE_PERCENT

    def stop(self, sandbox: Sandbox) -> None:
        if (
            sandbox.state.stack != "compose"
            or not docker("ps", "-aq", "--filter", f"name={_neighbour(sandbox)}").strip()
        ):
            return
        docker("rm", "-f", _neighbour(sandbox))
        await_condition(
            lambda: pressure_percent() < _CALM_PERCENT, "memory pressure ended", timeout_seconds=60, poll_seconds=0.5
        )


def _neighbour(sandbox: Sandbox) -> str:
    return f"{sandbox.name}-neighbour"


def pressure_percent() -> float:
    """Share of the last ten seconds in which some task of this machine waited for memory; 0 where the kernel does not count."""
    if not _PRESSURE.exists():
        return 0.0
    return float(_PRESSURE.read_text(encoding="ascii").partition("avg10=")[2].split()[0])
