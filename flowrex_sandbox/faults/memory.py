"""Memory: bytes that replicas really hold, a process that the kernel really kills, a neighbor that thrashes.

Pressure is made by a container that thrashes inside 24 MiB of its own, which the whole machine's
/proc/pressure/memory shows. Under supervisord nothing bounds a process, so that drill, the kill and the page cache
are for Docker Compose alone.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from flowrex_sandbox.drill import COMPOSE_ONLY, drills_of
from flowrex_sandbox.faults.base import Fault, ReplicaBug
from flowrex_sandbox.health import await_backends
from flowrex_sandbox.processes import container_of
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
    return [float(found[0]) for page in sandbox.read_replicas("/metrics") if (found := _RESIDENT.findall(page))]


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


class _MemoryHog(ReplicaBug):
    """A bug that holds memory, in the first replica alone."""

    rank = 4
    everywhere: ClassVar[bool] = False

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return max(resident_bytes(sandbox), default=0) > self.count / 100 * _LIMIT_BYTES

    def stop(self, sandbox: Sandbox) -> None:
        """Have every replica drop what it holds; restart those whose memory stays large, since malloc keeps some."""
        super().stop(sandbox)
        large = [size for size in resident_bytes(sandbox) if size > _USUAL_BYTES]
        stack = sandbox.stack()
        for replica in stack.get_replicas("backend"):
            if large or replica.oom_killed or not replica.running:
                stack.restart(replica, timeout_seconds=20)
        await_backends(sandbox, timeout_seconds=_START_SECONDS)


class MemoryLeak(_MemoryHog):
    """Every replica leaks."""

    bugs = ("memory-leak",)
    everywhere = True

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
            details=lambda: "run 'flowrex-ops drill reset' and try again",
        )


class MemoryHeld(_MemoryHog):
    """A cache in one replica takes most of what it may have, and does not grow."""

    bugs = ("memory-percent",)
    count: int = 76
    """Per cent of the limit, beside what the replica needs anyway."""


class MemorySpike(_MemoryHog):
    """Memory rose for a report and fell again."""

    bugs = ("memory-spike",)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:  # noqa: ARG002  # it is over
        """Have the report, and return once it is over."""
        before = max(resident_bytes(sandbox))
        self.start(sandbox)
        for what, condition in (
            ("memory rose", lambda: max(resident_bytes(sandbox)) > before + 50 * MIB),
            ("memory fell again", lambda: max(resident_bytes(sandbox)) < before + 20 * MIB),
        ):
            await_condition(condition, what, timeout_seconds=30, poll_seconds=0.2)


class PageCache(_MemoryHog):
    """A replica is near its limit by docker stats, of page cache that the kernel gives back."""

    bugs = ("page-cache",)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return any(usage.cache_bytes > _LIMIT_BYTES / 2 for usage in sandbox.stack().get_usage("backend"))


class OomKill(_MemoryHog):
    """A request wants more than its container may have, and the kernel kills the replica."""

    bugs = ("memory-exhaust",)

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


class NoisyNeighbor(Fault):
    """A neighbor on the same machine thrashes inside a small limit of its own: tasks wait for memory."""

    def start(self, sandbox: Sandbox) -> None:
        image = docker("inspect", "--format", "{{.Image}}", container_of(sandbox.replicas()[0])).strip()
        command = ("run", "-d", "--rm", "--init", "--network", "none", "--memory", "24m", "--name", _neighbor(sandbox))
        docker(*command, "--label", f"{BESIDE}={sandbox.name}", image, "python", "-c", _THRASH)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return pressure_percent() > _SEVERE_PERCENT

    def stop(self, sandbox: Sandbox) -> None:
        name = _neighbor(sandbox)
        if sandbox.state.stack != "compose" or not docker("ps", "-aq", "--filter", f"name={name}").strip():
            return
        docker("rm", "-f", name)
        await_condition(
            lambda: pressure_percent() < _CALM_PERCENT, "memory pressure ended", timeout_seconds=60, poll_seconds=0.5
        )


def _neighbor(sandbox: Sandbox) -> str:
    return f"{sandbox.name}-neighbor"


def pressure_percent() -> float:
    """Share of the last ten seconds in which some task of this machine waited for memory; 0 where the kernel does not count."""
    if not _PRESSURE.exists():
        return 0.0
    return float(_PRESSURE.read_text(encoding="ascii").partition("avg10=")[2].split()[0])


PARAMETERS = {"trend_minutes": 0.35, "sample_seconds": 5.0, "frag_mib": 10.0, "pattern": "drill-*"}
"""A trend over twenty seconds instead of half an hour, and holes that count from 10 MiB: the sandbox's Redis is small."""

drill = drills_of("memory_usage", **PARAMETERS)
DRILLS = (
    drill("memory-healthy", title="nothing is wrong: memory stands still, Redis has room"),
    drill("memory-leak", MemoryLeak(), expected="memory.leak", approve="rolling-restart", alerts="MemoryGrowing"),
    drill("memory-near-limit", MemoryHeld(), expected="memory.container-limit", alerts="HighMemoryUsage"),
    # Only a container has a limit that the kernel kills for; a plain process would take the whole machine along.
    drill("oom-kill", OomKill(), expected="memory.oom-killed", stacks=COMPOSE_ONLY, alerts="BackendRestarted"),
    # The pressure is made inside a small limit of a container of its own; without one it would harm the machine.
    drill("host-pressure", NoisyNeighbor(), expected="memory.host-pressure", stacks=COMPOSE_ONLY),
    drill(
        "memory-high-steady",
        MemoryHeld(48),
        title="red herring: a replica uses most of its memory, below the threshold, and stands still",
    ),
    # Page cache is counted against a container's limit, and against no plain process.
    drill("page-cache", PageCache(), stacks=COMPOSE_ONLY),
    drill("memory-spike-over", MemorySpike()),
)
